# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that lack something: packages, room, a tool that works. And AWS and mail servers that are slow or late."""

from __future__ import annotations

import pytest

from lab.faults.registry import Registry
from lab.mail.sink import Sink
from tests.integration.flow.controllers import controller
from tests.integration.flow.flow_kit import AWAY, Site, arm, check_alert, client, copies, remove, together, until
from tests.integration.flow.host_kit import artifacts, as_root, host, on_host
from tests.integration.flow.test_flow_retracted import SAMPLE
from tests.integration.flow.test_flow_snapshot import NO_SUBNET

# All room of the volume that tools and results are on: allocated and not written, but for the last 64 MiB.
FULL = ("fallocate -l $(($(df --output=avail -B1 /srv/dfir | tail -n 1) - 67108864)) /srv/dfir/.full || exit 1; "
        "cat /dev/zero > /srv/dfir/.rest 2> /dev/null; df --output=avail -k /srv/dfir | tail -n 1")
IS_PULLED = "while systemctl is-active dfir-image.service | grep -qx activating; do sleep 0.3; done"
MISSING = {"toolbox_packages": ["podman", "no-such-package"], "toolbox_wait_seconds": 8}


@pytest.mark.cell("packages", "a package is nowhere to be had")
@pytest.mark.host
@together(minutes=2)
def test_a_package_that_is_not_to_be_had(site: Site) -> None:
    request = site.request(aws_snapshot_id=site.source(),
                           overlay={"all": {"children": {"analysis_host": {"vars": MISSING}}}})
    things = check_alert(request, request.run(), "packages", "no-such-package", "could not be installed",
                         "check that the host reaches its package source", "The host has been ended")
    assert things == [] and host(request)["State"]["Name"] == "terminated"
    assert request.record["state"] == "finished" and request.record["outcome"] == "failed"


@pytest.mark.cell("toolbox", "no room for the image of tools")
@pytest.mark.host
@together(minutes=2)
def test_a_host_that_has_no_room_for_its_tools(site: Site) -> None:
    request = site.request(aws_snapshot_id=site.source())
    play = request.start()
    play.until(" : Install podman]")
    with play.paused():
        assert int(as_root(request, FULL).split()[-1]) < 1024  # KiB
    things = check_alert(request, play.end(), "toolbox", "no space left on device", "The host has been ended")
    assert things == [] and host(request)["State"]["Name"] == "terminated"
    assert request.record["outcome"] == "failed"


@pytest.mark.cell("toolbox", "a tool of the image does not work")
@pytest.mark.host
@together(minutes=2)
def test_a_tool_that_does_not_work(site: Site) -> None:
    request = site.request(aws_snapshot_id=site.source())
    play = request.start()
    play.until(" : Begin to pull the image]")
    play.until(" : Mount the evidence read-only]")
    with play.paused():
        as_root(request, f"{IS_PULLED}; for file in {SAMPLE}; do echo > $file; done")
    things = check_alert(request, play.end(), "toolbox", "is not fit for use", "fails", "The host has been ended")
    assert things == [] and host(request)["State"]["Name"] == "terminated"
    assert [mail.subject.split()[1] for mail in request.mails] == ["FAILED"]
    assert request.record["state"] == "finished" and request.record["outcome"] == "failed"


@pytest.mark.cell("results", "S3 is slow")
@pytest.mark.host
@together(minutes=2)
def test_a_slow_s3_costs_time_and_nothing_else(site: Site) -> None:
    request = site.request(aws_snapshot_id=site.source(), wait_for_results=True, time_limit_hours=1)
    play = request.start()
    play.wait(lambda: request.mails)
    assert [mail.subject.split()[1] for mail in request.mails] == ["ready:"], play.text[-3000:]
    arm(site.lab, "s3.slow", f"key={request.incident}/*", "seconds=4", "times=always")
    on_host(request, "echo found it > /srv/dfir/analyst/note.txt; dfir-push /srv/dfir/analyst/note.txt; dfir-end")
    assert play.end().code == 0, play.text[-3000:]
    assert artifacts(request)["analyst/note.txt"] == b"found it\n"
    assert request.exists() == set() and request.record["outcome"] == "ended"


@pytest.mark.cell("results", "the mail server refuses the ready mail")
@pytest.mark.host
@together(minutes=2)
def test_a_ready_mail_that_cannot_be_sent_is_in_the_job_output(site: Site) -> None:
    sink = Sink(site.folder / "refused-ready", faults := Registry())
    faults.arm("smtp.refuse", times=None, args={"text": "mailbox unavailable"})
    sink.start("127.0.0.1", 0)
    mail = {"host": "127.0.0.1", "port": sink.port, "from": "dfir@example.org", "secure": "never"}
    request = site.request(aws_snapshot_id=site.source(), wait_for_results=False,
                           overlay={"all": {"hosts": {"localhost": {"dfir_aws_mail": mail}}}})
    try:
        play = request.run()
    finally:
        sink.stop()
    assert "Traceback" not in play.text and request.mails == []
    assert "This mail was NOT sent: " in play.flat and "mailbox unavailable" in play.flat
    for told in (f"[{request.incident}] ready:", "CONNECT", host(request)["PrivateIpAddress"]):
        assert told in play.flat
    # The host is good and somebody can work on it: with a mail server, the same request tells so.
    request.overlay = None
    again = request.run()
    assert again.code == 0, again.text[-3000:]
    assert [mail.subject.split()[1] for mail in request.mails] == ["ready:"]
    client(site.lab, "ec2").terminate_instances(InstanceIds=[host(request)["InstanceId"]])
    until(lambda: host(request)["State"]["Name"] == "terminated", "the end of the host")
    assert request.run().code not in (0, None)
    assert request.exists() == set()


@pytest.mark.cell("snapshot", "the copy takes longer than it may")
@together()
def test_a_copy_that_takes_longer_than_it_may(site: Site) -> None:
    origin = site.source()
    arm(site.lab, "ec2.copy_slow", f"source_snapshot={origin}", "seconds=60")
    request = site.request(aws_snapshot_id=origin, aws_snapshot_region=AWAY,
                           overlay={"all": {"hosts": {"localhost": {"snapshot_timeout": 6}}}})
    assert check_alert(request, request.run(), "snapshot", "pending") == []
    # The copy goes on without us, and its id is in the record's or AWS's hands: the next run takes it up.
    [copy] = copies(site.lab, origin)
    until(lambda: copies(site.lab, origin)[0]["State"] == "completed", "the end of the copy")
    request.overlay = NO_SUBNET
    check_alert(request, request.run(), "analysis_host", "0 subnets in eu-west-1 match")
    assert [item["SnapshotId"] for item in copies(site.lab, origin)] == [copy["SnapshotId"]]


@pytest.mark.cell("analysis_host", "the first boot takes longer than it may")
@pytest.mark.host
@together(minutes=1)
def test_a_first_boot_that_takes_longer_than_it_may(site: Site) -> None:
    request = site.request(aws_snapshot_id=site.source(),
                           overlay={"all": {"hosts": {"localhost": {"analysis_host_boot_timeout": 1}}}})
    things = check_alert(request, request.run(), "analysis_host", host(request)["InstanceId"], "after 1 s")
    remove(request, things)


@pytest.mark.cell("request", "the record cannot be written")
@together()
def test_a_record_that_cannot_be_written(site: Site) -> None:
    origin = site.source()
    with controller(site.lab, "s3:PutObject") as caller:
        request = site.request(aws_snapshot_id=origin, aws_snapshot_region=AWAY, overlay=caller.inventory)
        play = request.run()
    assert play.code not in (0, None) and "Traceback" not in play.text
    assert "access denied: the credentials need s3:GetObject and s3:PutObject on requests/*" in play.sentence
    assert request.record == {} and copies(site.lab, origin) == []
