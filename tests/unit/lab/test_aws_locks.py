# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps a snapshot of the lab from being deleted, over unmodified boto3."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from aws_kit import OTHER, ZONE, Kit, Recorder, code

pytestmark = pytest.mark.slow


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    kit = Kit(tmp_path, hosts=Recorder())
    yield kit
    kit.close()


@pytest.fixture
def ec2(kit: Kit) -> Any:
    return kit.client("ec2")


def snapshots(ec2: Any, number: int) -> list[str]:
    volume = ec2.create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"]
    return [ec2.create_snapshot(VolumeId=volume)["SnapshotId"] for _ in range(number)]


def test_p37_a_locked_snapshot_cannot_be_deleted(kit: Kit, ec2: Any) -> None:
    plain, governed, complied, cooling, over = names = snapshots(ec2, 5)
    ec2.lock_snapshot(SnapshotId=governed, LockMode="governance", LockDuration=1)
    ec2.lock_snapshot(SnapshotId=complied, LockMode="compliance", LockDuration=2)
    answer = ec2.lock_snapshot(SnapshotId=cooling, LockMode="compliance", CoolOffPeriod=24, LockDuration=2)
    assert answer["LockState"] == "compliance-cooloff" and answer["LockDuration"] in (1, 2)
    ec2.lock_snapshot(SnapshotId=over, LockMode="governance",
                      ExpirationDate=datetime.now(timezone.utc) - timedelta(days=1))
    listed = {item["SnapshotId"]: item["LockState"] for item in ec2.describe_locked_snapshots()["Snapshots"]}
    assert listed == {governed: "governance", complied: "compliance", cooling: "compliance-cooloff", over: "expired"}
    assert len(ec2.describe_locked_snapshots(SnapshotIds=names[:2])["Snapshots"]) == 1
    first = ec2.describe_locked_snapshots(MaxResults=5)
    assert len(first["Snapshots"]) == 4 and not first.get("NextToken")
    assert kit.client("ec2", OTHER).describe_locked_snapshots()["Snapshots"] == []
    for name in (governed, complied, cooling):
        assert code(ec2.delete_snapshot, SnapshotId=name) == "SnapshotLocked"
    ec2.delete_snapshot(SnapshotId=over)
    ec2.delete_snapshot(SnapshotId=plain)
    assert code(ec2.unlock_snapshot, SnapshotId=complied) == "SnapshotLocked"
    for name in (governed, cooling):
        ec2.unlock_snapshot(SnapshotId=name)
        ec2.delete_snapshot(SnapshotId=name)
    assert code(ec2.lock_snapshot, SnapshotId=complied, LockMode="compliance",
                LockDuration=1) == "InvalidParameterValue"


def test_p38_an_image_that_is_registered_keeps_its_snapshots(ec2: Any) -> None:
    root, data, free = snapshots(ec2, 3)
    image = ec2.register_image(Name="built", RootDeviceName="/dev/xvda", BlockDeviceMappings=[
        {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": root}},
        {"DeviceName": "/dev/sdf", "Ebs": {"SnapshotId": data}}])["ImageId"]

    def using(*names: str) -> list[str]:
        found = ec2.describe_images(Owners=["self"], Filters=[
            {"Name": "block-device-mapping.snapshot-id", "Values": list(names)}])
        return [item["ImageId"] for item in found["Images"]]

    assert using(data) == using(root, free) == [image] and using(free) == []
    for name in (root, data):
        assert code(ec2.delete_snapshot, SnapshotId=name) == "InvalidSnapshot.InUse"
    assert code(ec2.register_image, Name="none", BlockDeviceMappings=[
        {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-0123456789abcdef0"}}]) == "InvalidSnapshot.NotFound"
    ec2.deregister_image(ImageId=image)
    for name in (root, data, free):
        ec2.delete_snapshot(SnapshotId=name)


def test_a_delete_that_fails_deletes_nothing(kit: Kit, ec2: Any) -> None:
    one, other = snapshots(ec2, 2)
    kit.faults.arm("ec2.delete_refused", times=None, match={"snapshot": one}, args={"code": "InternalError"})
    assert code(ec2.delete_snapshot, SnapshotId=one) == "InternalError"
    ec2.delete_snapshot(SnapshotId=other)
    assert [item["SnapshotId"] for item in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]] == [one]
