# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ended by hand: a host at work takes its results along; one that nobody reaches is terminated, and that is said."""

from __future__ import annotations

import subprocess

import pytest

from tests.integration.flow.flow_kit import Request, Site, deny_ssh, flat, instances, together
from tests.integration.flow.host_kit import artifacts
from tests.kit import run


def close(request: Request, *more: str) -> subprocess.CompletedProcess[str]:
    return run("ansible-playbook", "-i", "inventories/lab", "playbooks/close_request.yml", "-e", "analyst_uid=alice",
               "-e", f"request_id={request.id}", *more)


@pytest.mark.cell("results", "the request is closed by hand")
@pytest.mark.host
@together(minutes=3)
def test_a_host_at_work_takes_its_results_along(site: Site) -> None:
    request = site.request(aws_snapshot_id=site.source())
    ready = request.run()
    assert ready.code == 0, ready.text[-3000:]
    checked = close(request, "--check")
    assert checked.returncode == 0 and "is told to end its work" in flat(checked.stdout), checked.stdout
    assert request.record["state"] == "open" and "complete.json" not in artifacts(request)

    closed = close(request)
    assert closed.returncode == 0, closed.stdout[-4000:]
    assert {"complete.json", "sha256sums.txt"} <= artifacts(request).keys() and request.exists() == set()
    [host] = instances(site.lab, request.id)
    assert host["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"  # it ended itself, after its upload
    record = request.record
    assert (record["state"], record["outcome"], record["lease"]) == ("finished", "ended", None)
    [step] = [step for step in record["steps"] if step["name"] == "close_by_hand"]
    assert step["details"]["host_told"] is True and step["details"]["analyst"] == "alice"
    assert [mail.subject.split()[1] for mail in request.mails] == ["ready:", "ended:"]


@pytest.mark.cell("results", "it is closed by hand and nobody reaches the host")
@pytest.mark.host
@together(minutes=3)
def test_a_host_that_nobody_reaches_is_terminated_and_what_is_missing_is_said(site: Site) -> None:
    request = site.request(aws_snapshot_id=site.source())
    ready = request.run()
    assert ready.code == 0, ready.text[-3000:]
    [host] = instances(site.lab, request.id)
    deny_ssh(site.lab, host)
    closed = close(request)
    assert closed.returncode != 0 and "Traceback" not in closed.stdout
    assert "The completion marker (complete.json) never came" in flat(closed.stdout), closed.stdout[-3000:]
    assert request.exists() == set() and request.record["outcome"] == "incomplete"
    [host] = instances(site.lab, request.id)
    assert host["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert "INCOMPLETE" in request.mails[-1].text
