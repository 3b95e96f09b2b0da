# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab has for acquiring instances: snapshots of all volumes in one call, and the history of calls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from aws_kit import OTHER, REGION, Kit, Recorder, allow, code

pytestmark = pytest.mark.slow

DISKS = [{"DeviceName": f"/dev/sd{letter}", "Ebs": {"VolumeSize": 1}} for letter in "fg"]
TAGS = [{"ResourceType": "snapshot", "Tags": [{"Key": "dfir:incident", "Value": "INC-1"}]}]


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    kit = Kit(tmp_path, hosts=Recorder())
    yield kit
    kit.close()


@pytest.fixture
def instance(kit: Kit) -> dict[str, Any]:
    return kit.launch(BlockDeviceMappings=DISKS)


def volumes(instance: dict[str, Any]) -> dict[str, str]:
    return {block["DeviceName"]: block["Ebs"]["VolumeId"] for block in instance["BlockDeviceMappings"]}


def head(kit: Kit, volume: str) -> bytes:
    with kit.store.volume_path(REGION, volume).open("rb") as disk:
        return disk.read(1 << 20)


def test_all_data_volumes_in_one_call_with_their_bytes_and_tags(kit: Kit, instance: dict[str, Any]) -> None:
    ec2, there = kit.client("ec2"), volumes(instance)
    for device in ("/dev/sdf", "/dev/sdg"):
        with kit.store.volume_path(REGION, there[device]).open("r+b") as disk:
            disk.write(device.encode())
    asked = {"InstanceId": instance["InstanceId"], "ExcludeBootVolume": True}
    made = ec2.create_snapshots(InstanceSpecification=asked, Description="d", TagSpecifications=TAGS)["Snapshots"]
    assert {item["VolumeId"] for item in made} == {there["/dev/sdf"], there["/dev/sdg"]}
    for item in made:
        seen = ec2.describe_snapshots(SnapshotIds=[item["SnapshotId"]])["Snapshots"][0]
        assert seen["Description"] == "d" and seen["Tags"] == TAGS[0]["Tags"]
        copy = ec2.create_volume(SnapshotId=item["SnapshotId"], AvailabilityZone=f"{REGION}a")["VolumeId"]
        before, after = (head(kit, volume) for volume in (item["VolumeId"], copy))
        assert before.startswith(b"/dev/sd") and after == before


def test_what_cannot_be_taken_is_refused_and_leaves_nothing(kit: Kit, instance: dict[str, Any]) -> None:
    ec2, there = kit.client("ec2"), volumes(instance)

    def refused(**spec: Any) -> str:
        return code(ec2.create_snapshots, InstanceSpecification={"InstanceId": instance["InstanceId"], **spec})

    assert refused() == "LabNotImplemented"  # the root disk of a lab host has no blocks
    assert refused(ExcludeBootVolume=True, ExcludeDataVolumeIds=["vol-0123456789abcdef0"]) == "InvalidParameterValue"
    everything = [there["/dev/sdf"], there["/dev/sdg"]]
    assert refused(ExcludeBootVolume=True, ExcludeDataVolumeIds=everything) == "InvalidParameterCombination"
    assert refused(InstanceId="i-0123456789abcdef0") == "InvalidInstanceID.NotFound"
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []


def test_p58_the_history_tells_what_was_called_by_whom_where_and_that_it_was_denied(kit: Kit) -> None:
    kit.host_role("web", allow("ec2:DescribeVolumes"))
    instance = kit.launch(IamInstanceProfile={"Name": "web"}, UserData="secret")
    session = kit.session(instance, "web")
    kit.client("ec2", keys=session).describe_volumes()
    assert code(kit.client("ec2", OTHER, session).terminate_instances, InstanceIds=[instance["InstanceId"]])
    here, there = kit.client("cloudtrail"), kit.client("cloudtrail", OTHER)

    def names(client: Any, key: str, value: str, **more: Any) -> list[str]:
        found = client.lookup_events(LookupAttributes=[{"AttributeKey": key, "AttributeValue": value}], **more)
        return [event["EventName"] for event in found["Events"]]

    assert "RunInstances" in names(here, "ResourceName", instance["InstanceId"])
    # A session's calls are found under the instance id as user name, in the region where it called.
    assert names(here, "Username", instance["InstanceId"]) == ["DescribeVolumes"]
    assert names(there, "Username", instance["InstanceId"]) == ["TerminateInstances"]
    denied = next(json.loads(event["CloudTrailEvent"]) for event in there.lookup_events()["Events"]
                  if event["EventName"] == "TerminateInstances")
    assert denied["errorCode"] == "UnauthorizedOperation" and denied["awsRegion"] == OTHER
    assert "CreateRole" in names(there, "EventName", "CreateRole")  # IAM is at home in us-east-1
    run = next(event for event in here.lookup_events()["Events"] if event["EventName"] == "RunInstances")
    assert "secret" not in run["CloudTrailEvent"] and "c2VjcmV0" not in run["CloudTrailEvent"]
    assert code(kit.client("ec2").describe_volumes, VolumeIds=["vol-0123456789abcdef0"]) == "InvalidVolume.NotFound"
    failed = json.loads(here.lookup_events()["Events"][0]["CloudTrailEvent"])
    assert (failed["eventName"], failed["errorCode"]) == ("DescribeVolumes", "InvalidVolume.NotFound")
    later = datetime.now(timezone.utc) + timedelta(minutes=5)
    assert names(here, "Username", instance["InstanceId"], StartTime=later) == []


def test_p58_one_attribute_a_call_no_data_events_and_pages(kit: Kit) -> None:
    trail, s3, ec2 = kit.client("cloudtrail"), kit.client("s3"), kit.client("ec2")
    s3.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket="bucket", Key="k", Body=b"x")
    for _number in range(55):
        ec2.describe_regions()
    two = [{"AttributeKey": "EventName", "AttributeValue": "a"}, {"AttributeKey": "ReadOnly", "AttributeValue": "true"}]
    assert code(trail.lookup_events, LookupAttributes=two) == "InvalidLookupAttributesException"
    first = trail.lookup_events()
    second = trail.lookup_events(NextToken=first["NextToken"])
    seen = [event["EventId"] for event in first["Events"] + second["Events"]]
    found = [event["EventName"] for event in first["Events"] + second["Events"]]
    assert len(first["Events"]) == 50 and len(set(seen)) == len(seen)
    assert found.count("DescribeRegions") == 55 and "CreateBucket" in found and "PutObject" not in found
    assert code(trail.create_event_data_store, Name="lake") == "LabNotImplemented"
