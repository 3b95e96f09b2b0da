# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A controller that dies at any step: the next run adopts what exists, makes nothing twice, and comes further.

As a job that is canceled and as a machine that dies: SIGKILL.
"""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.integration.flow.flow_kit import AWAY, HOME, Request, Site, arm, copies, instances, together, until
from tests.integration.flow.host_kit import end_session, ended, host
from tests.integration.flow.test_flow_host import EACH_ONCE
from tests.kit import run

PREPARING = {
    "plan": ["Make | Work it out", "Note the plan"],
    "snapshot": ["Copy | Start the copies", "Wait | Follow the snapshots"],
    "analysis_host": ["Network | Make the host's security group", "Identity | Create the host's role",
                      "Identity | Let it write below its own prefix", "Identity | Create the instance profile",
                      "Launch | Wait until it runs", "Create volumes | Create them in the host's zone",
                      "Attach volumes | Attach each"],
}
WORKING = {
    "connection": ["Reach | Wait until its first boot is over"],
    "packages": ["Files | Write them", "Scratch volume | Make a file system, once", "Install | Wait for what"],
    "evidence": ["Mount | Write-protect, identify", "Facts | Enable that"],
    "analyst_access": ["Make the analyst's user", "Inject the key"],
    "toolbox": ["Image | Wait for what is under way", "Validate | Run every tool on a known sample"],
    "forensics": ["Units | Write what the host needs", "Start | Start uploads and the watchdog"],
    "results": ["Say that the host is ready"],
}


def killed_at_each(request: Request, moments: dict[str, list[str]]) -> None:
    """Run the request and kill the run, once for each task; what was made is never made twice."""
    for tasks in moments.values():
        for task in tasks:
            play = request.start()
            play.until(task)
            assert play.code is None, play.text[-3000:]
            play.kill()
            exists = Counter(kind for kind, _id in request.exists()) - Counter({"network-interface": 1})
            assert exists <= Counter(EACH_ONCE), (task, exists)
            assert not [mail for mail in request.mails if "FAILED" in mail.subject], task


def ready(request: Request) -> None:
    """A run that nobody disturbs, to its good end."""
    play = request.run()
    assert play.code == 0, play.text[-4000:]
    assert len(instances(request.lab, request.id)) == 1
    assert Counter(kind for kind, _id in request.exists()) - Counter({"network-interface": 1}) == EACH_ONCE
    assert request.record["state"] == "open" and request.record["lease"] is None


@pytest.mark.cell("plan", "the controller is killed at each task that matters")
@pytest.mark.cell("analysis_host", "the controller is killed before each thing is made")
@pytest.mark.cell("snapshot", "the controller is killed as it begins to copy")
@pytest.mark.host
@together(minutes=4)
def test_a_controller_that_is_killed_while_it_prepares_a_host(site: Site) -> None:
    origin = site.source()
    arm(site.lab, "ec2.copy_slow", f"source_snapshot={origin}", "seconds=20")
    request = site.request(aws_snapshot_id=origin, aws_snapshot_region=AWAY)
    killed_at_each(request, PREPARING)
    ready(request)
    assert len(copies(site.lab, origin)) == 1
    assert [mail.subject.split()[1] for mail in request.mails] == ["ready:"]
    ended(request)


@pytest.mark.cell("connection", "the controller is killed")
@pytest.mark.cell("packages", "the controller is killed at each task that matters")
@pytest.mark.cell("evidence", "the controller is killed at each task that matters")
@pytest.mark.cell("analyst_access", "the controller is killed at each task that matters")
@pytest.mark.cell("toolbox", "the controller is killed at each task that matters")
@pytest.mark.cell("forensics", "the controller is killed at each task that matters")
@pytest.mark.cell("results", "the controller is killed as it writes its mail")
@pytest.mark.cell("clean_up", "the controller is killed while it cleans up")
@pytest.mark.host
@together(minutes=6)
def test_a_controller_that_is_killed_while_its_host_works(site: Site) -> None:
    request = site.request(aws_snapshot_id=site.source(), aws_snapshot_region=AWAY)
    killed_at_each(request, WORKING)
    ready(request)
    # A crash in between may repeat a mail, and never loses one.
    assert {mail.subject.split()[1] for mail in request.mails} == {"ready:"}
    end_session(request)
    play = request.start()
    play.until("Remove | Delete the security group")
    play.kill()
    again = request.run()
    assert again.code == 0, again.text[-3000:]
    assert request.exists() == set() and request.record["outcome"] == "ended"
    assert request.mails[-1].subject.split()[1] == "ended:"


@pytest.mark.cell("analysis_host", "the controller is killed between a volume's creation and its attachment, for ever")
@pytest.mark.host
@together(minutes=2)
def test_a_volume_that_nobody_attached_outlives_its_host_and_is_the_reapers(site: Site) -> None:
    """The host ends by itself and takes along what is attached; a volume in between is found by its tags."""
    request = site.request(aws_snapshot_id=site.source(), time_limit_hours=0.02)
    play = request.start()
    play.until("Evidence volumes | Wait for the end of the first boot")
    play.kill()
    until(lambda: host(request)["State"]["Name"] == "terminated", "the end of the host")
    assert host(request)["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    [volume] = [name for kind, name in request.exists() if kind == "volume"]
    overlay = site.folder / f"reaper-{request.id}.json"
    settings = {"dfir_aws_reaper_regions": [HOME], "reaper_grace": 0}
    overlay.write_text(json.dumps({"all": {"hosts": {"localhost": settings}}}))
    told = run("ansible-playbook", "-i", "inventories/lab", "-i", str(overlay), "playbooks/reap_resources.yml")
    assert told.returncode == 0 and f"outlived: volume {volume} " in told.stdout, told.stdout
    # The request itself may go on, too: it finds that its host is gone, and removes what that left.
    again = request.run()
    assert again.code not in (0, None) and "raise 'attempt'" in again.sentence
    assert request.exists() == set() and request.record["outcome"] == "incomplete"
