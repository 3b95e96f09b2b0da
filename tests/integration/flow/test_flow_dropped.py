# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SSH that drops in the middle: at every step on the host, one alert names exactly what exists.

An unreachable host triggers neither rescue nor always, and Ansible skips the plays that follow (pitfall 61).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.integration.flow.flow_kit import Site, check_alert, deny_ssh, remove, together
from tests.integration.flow.host_kit import dirty_ext4, host
from tests.integration.flow.test_flow_host import EACH_ONCE


@dataclass(frozen=True)
class Drop:
    """The step at which the connection goes, and the task after which it does."""

    step: str
    task: str


TABLE = [
    Drop("connection", "Reach | Wait until the host can be reached"),
    Drop("packages", "Prepare the scratch volume"),
    Drop("packages", "Install podman"),
    Drop("evidence", "Mount the evidence read-only"),
    Drop("journal", "Journal | Apply and mount"),
    Drop("analyst_access", "Make the analyst's user"),
    Drop("toolbox", "Get the image"),
    Drop("toolbox", "Prove the tools"),
    Drop("forensics", "Write settings and units"),
    Drop("forensics", "Start the work"),
]


def dropped(drop: Drop) -> Callable[[Site], None]:
    """The test of one drop."""

    def test(site: Site) -> None:
        journals = int(drop.step == "journal")  # second volumes
        content = dirty_ext4(site.folder) if journals else b"evidence"
        request = site.request(aws_snapshot_id=site.source(content=content))
        play = request.start()
        play.until(f" : {drop.task}]")
        with play.paused():
            found = host(request)
            deny_ssh(site.lab, found)
        things = check_alert(request, play.end(), drop.step, f"{found['InstanceId']} at {found['PrivateIpAddress']} ")
        assert re.search("The connection to .* failed or broke|cannot be reached by SSH", play.sentence), play.sentence
        assert "UNREACHABLE!" in play.text or drop.step == "connection"
        assert Counter(thing.kind for thing in things if thing.kind != "role-in-profile") == Counter(
            EACH_ONCE) + Counter(volume=journals)
        assert [mail.subject.split()[1] for mail in request.mails] == ["FAILED"]
        remove(request, things)

    test.__doc__ = f"Dropped after: {drop.task}."
    return test


for _drop in TABLE:
    _name = f"test_p61_ssh_drops_at_{_drop.step}_{re.sub('[^a-z]+', '_', _drop.task.lower())}"
    _test = pytest.mark.host(together(minutes=1.5)(dropped(_drop)))
    _test = pytest.mark.cell(_drop.step, f"SSH drops after: {_drop.task}")(_test)
    _test.__name__ = _name
    globals()[_name] = _test
