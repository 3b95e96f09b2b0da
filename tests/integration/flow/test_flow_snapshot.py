# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No snapshot to work on: not there, broken, public, late; copies that fail after AWS said yes; one copy for two."""

from __future__ import annotations

import uuid

import pytest

from lab.faults.registry import Registry
from lab.mail.sink import Sink
from tests.integration.flow.flow_kit import (
    AWAY,
    Site,
    arm,
    check_alert,
    client,
    copies,
    instances,
    remove,
    state,
    together,
    until,
)

# An operator's mistake that ends a request behind the step that is looked at, and before anything is made.
NO_SUBNET = {"all": {"hosts": {"localhost": {"dfir_aws_analysis_subnet_ids": ["subnet-00000000000000bad"]}}}}


@pytest.mark.cell("snapshot", "the snapshot is not there")
@pytest.mark.cell("snapshot", "the mail server refuses the alert")
@together()
def test_a_snapshot_that_is_not_there_and_a_mail_server_that_refuses(site: Site) -> None:
    sink = Sink(site.folder / "refused-mails", faults := Registry())
    faults.arm("smtp.refuse", times=None, args={"text": "no room for your mail"})
    sink.start("127.0.0.1", 0)
    mail = {"host": "127.0.0.1", "port": sink.port, "from": "dfir@example.org", "secure": "never"}
    request = site.request(overlay={"all": {"hosts": {"localhost": {"dfir_aws_mail": mail}}}},
                           aws_snapshot_id="snap-00000000000000bad")
    try:
        play = request.run()
    finally:
        sink.stop()
    # The run ends for its own reason, and what the mail was to say stands in the job output.
    assert play.code not in (0, None)
    assert "Snapshot snap-00000000000000bad is not in us-east-1, or it is not shared with this account" in play.sentence
    assert "Traceback" not in play.text
    assert "This mail was NOT sent: " in play.flat and "no room for your mail" in play.flat
    for told in (f"Subject: [{request.incident}] FAILED at snapshot", "WHAT EXISTS NOW", "Nothing: whatever this"):
        assert told in play.flat
    assert request.mails == [] and request.exists() == set()
    request.overlay = None
    check_alert(request, request.run(), "snapshot", "Snapshot snap-00000000000000bad is not in us-east-1")
    assert [run["outcome"] for run in request.record["runs"]] == ["released", "released"]


@pytest.mark.cell("snapshot", "the snapshot is in state error")
@together()
def test_a_snapshot_in_state_error(site: Site) -> None:
    origin = site.source()
    why = f"disk failure {uuid.uuid4().hex[:6]}"
    arm(site.lab, "ec2.copy_fails", f"source_snapshot={origin}", f"region={AWAY}", f"message={why}")
    broken = client(site.lab, "ec2", AWAY).copy_snapshot(SourceSnapshotId=origin, SourceRegion=AWAY)["SnapshotId"]
    site.sources.append(broken)
    until(lambda: state(site.lab, broken, AWAY) == "error", "the failure of the copy")
    request = site.request(aws_snapshot_id=broken)
    assert check_alert(request, request.run(), "snapshot", f"Snapshot {broken} is in state error ({why})") == []
    assert copies(site.lab, broken) == []


@pytest.mark.cell("snapshot", "the snapshot is public")
@together()
def test_p10_a_public_snapshot(site: Site) -> None:
    origin = site.source()
    ec2 = client(site.lab, "ec2", AWAY)
    ec2.modify_snapshot_attribute(SnapshotId=origin, Attribute="createVolumePermission", OperationType="add",
                                  GroupNames=["all"])
    request = site.request(aws_snapshot_id=origin)
    assert check_alert(request, request.run(), "snapshot", f"Snapshot {origin} is public") == []
    assert copies(site.lab, origin) == []


@pytest.mark.cell("snapshot", "the snapshot carries a Marketplace product code")
@together()
def test_p24_a_snapshot_with_a_marketplace_product_code(site: Site) -> None:
    origin = site.source()
    arm(site.lab, "ec2.product_code", f"snapshot={origin}", "code=25m3", "times=always")
    request = site.request(aws_snapshot_id=origin)
    assert check_alert(request, request.run(), "snapshot", f"Snapshot {origin} carries the AWS Marketplace product "
                       "code 25m3", "evidence_by=direct", "take an image of it") == []
    assert copies(site.lab, origin) == [] and instances(site.lab, request.id) == []


@pytest.mark.cell("analysis_host", "no zone has capacity")
@together()
def test_a_pending_snapshot_is_waited_for_and_a_launch_without_capacity_is_told(site: Site) -> None:
    origin = site.source(complete=False)
    arm(site.lab, "ec2.no_capacity", "instance_type=c5.large", "times=always")
    request = site.request(aws_snapshot_id=origin, aws_ec2_instance_type="c5.large")
    play = request.start()
    play.until(f"snapshot: {origin} ")  # a line of progress
    assert copies(site.lab, origin) == []
    client(site.lab, "ebs", AWAY).complete_snapshot(SnapshotId=origin, ChangedBlocksCount=1)
    things = check_alert(request, play.end(), "analysis_host", "InsufficientInstanceCapacity",
                         "AWS launches no instance of type c5.large in any of the subnets: eu-west-1a (subnet-",
                         "; eu-west-1b (subnet-")
    assert "; the next zone is tried." not in play.flat
    assert {thing.kind for thing in things} == {"security-group", "role-in-profile", "instance-profile", "role-policy",
                                                "role"}
    assert [copy["State"] for copy in copies(site.lab, origin)] == ["completed"]
    remove(request, things)


@pytest.mark.cell("snapshot", "the snapshot is deleted while it is waited for")
@together()
def test_a_pending_snapshot_that_is_deleted_meanwhile(site: Site) -> None:
    origin = site.source(complete=False)
    request = site.request(aws_snapshot_id=origin)
    play = request.start()
    play.until(f"snapshot: {origin} ")
    client(site.lab, "ec2", AWAY).delete_snapshot(SnapshotId=origin)
    site.sources.remove(origin)
    assert check_alert(request, play.end(), "snapshot", f"Snapshot {origin} is not (or no longer) in {AWAY}") == []


@pytest.mark.cell("snapshot", "the copy fails after AWS has said yes")
@together()
def test_p35_a_copy_that_fails_late(site: Site) -> None:
    origin = site.source()
    arm(site.lab, "ec2.copy_slow", f"source_snapshot={origin}", "seconds=3")
    arm(site.lab, "ec2.copy_fails", f"source_snapshot={origin}", "message=the disk array is on fire")
    request = site.request(aws_snapshot_id=origin)
    play = request.run()
    assert check_alert(request, play, "snapshot", "is in state error: the disk array is on fire") == []
    assert copies(site.lab, origin) == []  # the carcass is gone


@pytest.mark.cell("snapshot", "the key refuses after AWS has said yes")
@together()
def test_p35_a_key_that_refuses_late(site: Site) -> None:
    origin = site.source()
    arm(site.lab, "ec2.kms_late_refusal", f"source_snapshot={origin}")
    request = site.request(aws_snapshot_id=origin)
    play = request.run()
    assert check_alert(request, play, "snapshot", "is in state error: Given key ID is not accessible") == []
    assert copies(site.lab, origin) == []


@pytest.mark.cell("snapshot", "two requests race for one copy")
@pytest.mark.cell("analysis_host", "no subnet matches")
@together()
def test_two_requests_at_the_same_moment_share_one_copy(site: Site) -> None:
    origin = site.source()
    arm(site.lab, "ec2.copy_slow", f"source_snapshot={origin}", "seconds=5", "times=always")
    requests = [site.request(aws_snapshot_id=origin, overlay=NO_SUBNET) for _ in range(2)]
    plays = [request.start() for request in requests]
    for request, play in zip(requests, plays, strict=True):
        assert check_alert(request, play.end(), "analysis_host", "0 subnets in eu-west-1 match subnet-0000000") == []
    used = {snapshot["id"] for request in requests for entry in request.record["steps"] if entry["name"] == "snapshot"
            for snapshot in entry["details"]["snapshots"]}
    left = copies(site.lab, origin)
    assert [copy["SnapshotId"] for copy in left] == list(used) and left[0]["State"] == "completed"
    # It belongs to its source: no request's name is on it, and nothing but retention removes it.
    tags = {tag["Key"]: tag["Value"] for tag in left[0]["Tags"]}
    assert tags["dfir:source-snapshot"] == origin and tags["dfir:source-region"] == AWAY and "dfir:expires" in tags
    assert "dfir:request" not in tags and "dfir:incident" not in tags
