# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots and volumes of the lab behave as AWS' do, over unmodified boto3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aws_kit import OTHER, REGION, ZONE, Kit, Recorder, allow, code, eventually
from botocore.exceptions import ClientError

from lab.aws import moto_app
from lab.config import ACCOUNT

pytestmark = pytest.mark.slow

GIB = 2**30


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    kit = Kit(tmp_path, hosts=Recorder())
    yield kit
    kit.close()


@pytest.fixture
def ec2(kit: Kit) -> Any:
    return kit.client("ec2")


def volume_with(kit: Kit, data: bytes, **more: Any) -> str:
    """A volume of 1 GiB that starts with `data`."""
    params = {"AvailabilityZone": ZONE, "Size": 1, "VolumeType": "gp3", **more}
    volume = kit.client("ec2").create_volume(**params)["VolumeId"]
    with kit.store.volume_path(REGION, volume).open("r+b") as disk:
        disk.write(data)
    return str(volume)


def snapshot_of(kit: Kit, data: bytes = b"evidence", **more: Any) -> str:
    volume = volume_with(kit, data)
    return str(kit.client("ec2").create_snapshot(VolumeId=volume, **more)["SnapshotId"])


def one(client: Any, snapshot: str) -> dict[str, Any]:
    return dict(client.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0])


def test_p33_p35_a_copy_has_its_own_id_and_blocks_and_no_tags(kit: Kit, ec2: Any) -> None:
    source = snapshot_of(kit, b"evidence", Description="d", TagSpecifications=[
        {"ResourceType": "snapshot", "Tags": [{"Key": "a", "Value": "b"}]}])
    there = kit.client("ec2", OTHER)
    answer = there.copy_snapshot(SourceRegion=REGION, SourceSnapshotId=source)
    copy = one(there, answer["SnapshotId"])
    assert answer["SnapshotId"] != source
    assert (copy["State"], copy["Progress"], copy["VolumeId"], copy["VolumeSize"]) == (
        "completed", "100%", "vol-ffffffff", 1)
    assert copy.get("Tags", []) == [] and source in copy["Description"] and REGION in copy["Description"]
    assert copy["FullSnapshotSizeInBytes"] == 524_288
    made = there.create_volume(SnapshotId=copy["SnapshotId"], AvailabilityZone=f"{OTHER}a")["VolumeId"]
    with kit.store.volume_path(OTHER, made).open("rb") as disk:
        assert disk.read(8) == b"evidence"
    assert code(there.describe_snapshots, SnapshotIds=[source]) == "InvalidSnapshot.NotFound"


def test_a_copys_tags_and_encryption_are_as_asked(kit: Kit) -> None:
    source, there = snapshot_of(kit), kit.client("ec2", OTHER)
    kms = kit.client("kms", OTHER)
    key = kms.create_key()["KeyMetadata"]
    tags = [{"Key": "dfir:source-snapshot", "Value": source}]
    given = there.copy_snapshot(SourceRegion=REGION, SourceSnapshotId=source, Encrypted=True, KmsKeyId=key["KeyId"],
                                TagSpecifications=[{"ResourceType": "snapshot", "Tags": tags}])["SnapshotId"]
    assert one(there, given)["Encrypted"] and one(there, given)["KmsKeyId"] == key["Arn"]
    assert one(there, given)["Tags"] == tags
    default = there.copy_snapshot(SourceRegion=REGION, SourceSnapshotId=source, Encrypted=True)["SnapshotId"]
    assert one(there, default)["Encrypted"] and one(there, default)["KmsKeyId"] != key["Arn"]
    again = there.copy_snapshot(SourceRegion=OTHER, SourceSnapshotId=default)["SnapshotId"]
    assert one(there, again)["Encrypted"]  # what is encrypted stays so
    assert code(there.copy_snapshot, SourceRegion=REGION, SourceSnapshotId=source,
                KmsKeyId=key["KeyId"]) == "InvalidParameterDependency"


def test_a_slow_copy_shows_its_progress_and_cannot_be_used_yet(kit: Kit) -> None:
    source, there = snapshot_of(kit), kit.client("ec2", OTHER)
    kit.faults.arm("ec2.copy_slow", args={"seconds": 1.5})
    copy = there.copy_snapshot(SourceRegion=REGION, SourceSnapshotId=source)["SnapshotId"]
    assert one(there, copy)["State"] == "pending"
    assert code(there.create_volume, SnapshotId=copy, AvailabilityZone=f"{OTHER}a") == "IncorrectState"
    moved = eventually(lambda: 0 < int(one(there, copy)["Progress"][:-1]) < 100 and one(there, copy))
    assert moved["State"] == "pending"
    assert eventually(lambda: one(there, copy)["State"] == "completed")


@pytest.mark.parametrize(("fault", "words"), [("ec2.copy_fails", "Failed to copy"),
                                              ("ec2.kms_late_refusal", "not accessible")])
def test_p35_a_copy_fails_after_it_was_accepted(kit: Kit, fault: str, words: str) -> None:
    source, there = snapshot_of(kit), kit.client("ec2", OTHER)
    kit.delays.copy = 0.3
    kit.faults.arm(fault, match={"source_snapshot": source})
    copy = there.copy_snapshot(SourceRegion=REGION, SourceSnapshotId=source)["SnapshotId"]
    assert one(there, copy)["State"] == "pending"
    failed = eventually(lambda: one(there, copy)["State"] == "error" and one(there, copy))
    assert words in failed["StateMessage"]
    there.delete_snapshot(SnapshotId=copy)
    assert code(there.describe_snapshots, SnapshotIds=[copy]) == "InvalidSnapshot.NotFound"


def test_p35_want_of_rights_on_the_key_shows_late(kit: Kit) -> None:
    source = snapshot_of(kit)
    key = kit.client("kms", OTHER).create_key()["KeyMetadata"]["Arn"]
    there = kit.client("ec2", OTHER, kit.user("nokms", allow("ec2:*")))
    copy = there.copy_snapshot(SourceRegion=REGION, SourceSnapshotId=source, Encrypted=True, KmsKeyId=key)["SnapshotId"]
    assert eventually(lambda: one(there, copy)["State"] == "error")
    may = kit.client("ec2", OTHER, kit.user("kms", allow(["ec2:*", "kms:*"])))
    good = may.copy_snapshot(SourceRegion=REGION, SourceSnapshotId=source, Encrypted=True, KmsKeyId=key)["SnapshotId"]
    assert one(may, good)["State"] == "completed"


def test_p36_a_volume_without_rights_on_its_key_vanishes(kit: Kit) -> None:
    key = kit.client("kms").create_key()["KeyMetadata"]["Arn"]
    ec2 = kit.client("ec2", keys=kit.user("nokms", allow("ec2:*")))
    volume = ec2.create_volume(AvailabilityZone=ZONE, Size=1, Encrypted=True, KmsKeyId=key)["VolumeId"]
    assert eventually(lambda: not ec2.describe_volumes(Filters=[{"Name": "volume-id", "Values": [volume]}])["Volumes"])


def test_filters_owners_and_pages(kit: Kit, ec2: Any) -> None:
    names = [snapshot_of(kit, Description=f"d{n}", TagSpecifications=[
        {"ResourceType": "snapshot", "Tags": [{"Key": "n", "Value": str(n % 2)}]}]) for n in range(7)]

    def found(**params: Any) -> list[str]:
        return [s["SnapshotId"] for s in ec2.describe_snapshots(**params)["Snapshots"]]

    def having(name: str, *values: str) -> list[str]:
        return found(Filters=[{"Name": name, "Values": list(values)}])

    assert found(OwnerIds=["self"]) == names and found(OwnerIds=[ACCOUNT]) == names
    assert found(OwnerIds=["136693071363"]) == []
    assert having("tag:n", "1") == names[1::2]
    assert having("tag:n", "1", "0") == names
    assert having("tag-key", "n*") == names and having("tag-key", "m") == []
    assert having("snapshot-id", names[3], "snap-0123456789abcdef0") == [names[3]]
    assert having("status", "completed") == names and having("status", "pending", "error") == []
    assert having("description", "d?") == names and having("description", "d5") == [names[5]]
    assert having("progress", "100%") == names
    assert having("owner-id", ACCOUNT) == names
    assert having("volume-id", one(ec2, names[2])["VolumeId"]) == [names[2]]
    assert having("volume-size", "1") == names
    assert having("start-time", one(ec2, names[0])["StartTime"].strftime("%Y-") + "*") == names
    assert code(ec2.describe_snapshots, Filters=[{"Name": "colour", "Values": ["red"]}]) == "InvalidParameterValue"
    pages = list(ec2.get_paginator("describe_snapshots").paginate(PaginationConfig={"PageSize": 5}))
    assert [len(p["Snapshots"]) for p in pages] == [5, 2]
    assert code(ec2.describe_snapshots, MaxResults=5, SnapshotIds=names[:1]) == "InvalidParameterCombination"
    assert code(ec2.describe_snapshots, NextToken="x!") == "InvalidNextToken"


def test_public_and_shared_snapshots_are_known_to_the_catalog(kit: Kit, ec2: Any) -> None:
    snapshot = snapshot_of(kit)
    assert kit.aws.catalog.describe(REGION, snapshot)["public"] is False  # type: ignore[index]
    ec2.modify_snapshot_attribute(SnapshotId=snapshot, Attribute="createVolumePermission", OperationType="add",
                                  GroupNames=["all"])
    assert kit.aws.catalog.describe(REGION, snapshot)["public"] is True  # type: ignore[index]
    assert code(kit.client("ebs").list_snapshot_blocks, SnapshotId=snapshot) == "ValidationException"


def test_ebs_direct_is_guarded_by_the_same_policies(kit: Kit) -> None:
    snapshot = snapshot_of(kit)
    arn = f"arn:aws:ec2:{REGION}::snapshot/{snapshot}"
    reader = kit.client("ebs", keys=kit.user("reader", allow("ebs:ListSnapshotBlocks", arn)))
    assert len(reader.list_snapshot_blocks(SnapshotId=snapshot, MaxResults=1000)["Blocks"]) <= 1
    assert code(reader.start_snapshot, VolumeSize=1) == "AccessDeniedException"
    assert code(kit.client("ebs", keys=kit.user("nobody")).list_snapshot_blocks, SnapshotId=snapshot) == \
        "AccessDeniedException"


def test_an_upload_gets_the_id_of_its_token_and_becomes_a_snapshot(kit: Kit, ec2: Any) -> None:
    from lab.aws.rooms import snapshot_id

    ebs = kit.client("ebs")
    started = ebs.start_snapshot(VolumeSize=1, ClientToken="t", Description="d", Tags=[{"Key": "a", "Value": "b"}])
    name = started["SnapshotId"]
    assert name == snapshot_id("t") and one(ec2, name)["State"] == "pending"
    ebs.complete_snapshot(SnapshotId=name, ChangedBlocksCount=0)
    assert one(ec2, name)["State"] == "completed" and one(ec2, name)["Tags"] == [{"Key": "a", "Value": "b"}]


def test_volumes_are_as_asked_and_blank_ones_have_an_empty_snapshot(kit: Kit, ec2: Any) -> None:
    volume = ec2.create_volume(AvailabilityZone=ZONE, Size=4, VolumeType="gp3", Throughput=250, Iops=4000,
                               Encrypted=True)
    assert (volume["SnapshotId"], volume["Throughput"], volume["Iops"], volume["Encrypted"]) == ("", 250, 4000, True)
    assert kit.store.volume_path(REGION, volume["VolumeId"]).stat().st_size == 4 * GIB
    snapshot = snapshot_of(kit)
    assert code(ec2.create_volume, AvailabilityZone="eu-west-1q", Size=1) == "InvalidZone.NotFound"
    assert code(ec2.create_volume, AvailabilityZone=ZONE) == "MissingParameter"
    assert code(ec2.create_volume, AvailabilityZone=ZONE, Size=1, VolumeType="gp2",
                Throughput=200) == "InvalidParameterCombination"
    assert code(ec2.create_volume, AvailabilityZone=ZONE, SnapshotId="snap-0123456789abcdef0") == \
        "InvalidSnapshot.NotFound"
    assert ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=snapshot, Size=2)["Size"] == 2


def test_the_rate_of_a_volume_is_kept_and_described(kit: Kit, ec2: Any) -> None:
    snapshot = snapshot_of(kit)
    made = ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=snapshot, VolumeInitializationRate=300)
    [volume] = ec2.describe_volumes(VolumeIds=[made["VolumeId"]])["Volumes"]
    assert made["VolumeInitializationRate"] == volume["VolumeInitializationRate"] == 300
    for rate, of in ((99, {"SnapshotId": snapshot}), (301, {"SnapshotId": snapshot}), (100, {"Size": 1})):
        assert code(ec2.create_volume, AvailabilityZone=ZONE, VolumeInitializationRate=rate,
                    **of) == "InvalidParameterValue"


def test_a_client_token_makes_one_volume(ec2: Any) -> None:
    params = {"AvailabilityZone": ZONE, "Size": 1, "ClientToken": "same"}
    first = ec2.create_volume(**params)["VolumeId"]
    assert ec2.create_volume(**params)["VolumeId"] == first
    assert code(ec2.create_volume, **{**params, "Size": 2}) == "IdempotentParameterMismatch"


def test_p18_attachments_that_aws_refuses(kit: Kit, ec2: Any) -> None:
    instance = kit.launch()["InstanceId"]
    volume, second = volume_with(kit, b"a"), volume_with(kit, b"b")
    elsewhere = volume_with(kit, b"c", AvailabilityZone=f"{REGION}b")

    def attach(volume: str, device: str = "/dev/sdf") -> None:
        ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device=device)

    assert code(attach, volume=elsewhere) == "InvalidVolume.ZoneMismatch"
    attach(volume)
    assert code(attach, volume=second) == "InvalidParameterValue"  # the device name is taken
    assert code(attach, volume=volume, device="/dev/sdg") == "VolumeInUse"
    assert code(attach, volume=second, device="sdg") == "InvalidParameterValue"
    assert code(ec2.delete_volume, VolumeId=volume) == "VolumeInUse"
    assert code(attach, volume="vol-0123456789abcdef0") == "InvalidVolume.NotFound"


def test_p24_a_product_code_attaches_to_a_stopped_instance_only(kit: Kit, ec2: Any) -> None:
    volume, instance = volume_with(kit, b"m"), kit.launch()["InstanceId"]
    moto_app.ec2(REGION).volumes[volume].product_codes = ["marketplace-code"]
    with pytest.raises(ClientError, match="Marketplace"):
        ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device="/dev/sdf")
    ec2.stop_instances(InstanceIds=[instance])
    kit.instance(instance, "stopped")
    ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device="/dev/sdf")


def test_detaching_needs_the_volume_only(kit: Kit, ec2: Any) -> None:
    volume, instance = volume_with(kit, b"m"), kit.launch()["InstanceId"]
    ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device="/dev/sdf")
    eventually(lambda: kit.hosts and volume in kit.hosts.attached)
    assert code(ec2.detach_volume, VolumeId=volume, Device="/dev/sdg") == "InvalidAttachment.NotFound"
    ec2.detach_volume(VolumeId=volume)
    eventually(lambda: ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]["State"] == "available")
    assert kit.hosts is not None and volume not in kit.hosts.attached
    assert code(ec2.detach_volume, VolumeId=volume) == "IncorrectState"


def test_volumes_take_the_time_that_was_asked_for(kit: Kit, ec2: Any) -> None:
    kit.delays.volume = kit.delays.snapshot = 0.4
    volume = ec2.create_volume(AvailabilityZone=ZONE, Size=1)
    assert volume["State"] == "creating"
    eventually(lambda: ec2.describe_volumes(VolumeIds=[volume["VolumeId"]])["Volumes"][0]["State"] == "available")
    snapshot = ec2.create_snapshot(VolumeId=volume["VolumeId"])
    assert snapshot["State"] == "pending"
    eventually(lambda: one(ec2, snapshot["SnapshotId"])["State"] == "completed")
