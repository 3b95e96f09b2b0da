# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A member account's snapshots, made readable for the forensic one by the playbook, twice; keys that bar the way."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from lab import audit, seed_member
from lab.aws.account import DEBIAN_IDS
from lab.config import ACCOUNT, MEMBER, LabConfig
from tests.kit import run

HOME, FAR, BLOCK = "eu-west-1", "us-east-1", 524_288
USE = ["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey"]
ELSEWHERE = {"Condition": {"StringEquals": {"kms:ViaService": f"ec2.{FAR}.amazonaws.com"}}}


def evidence(lab: LabConfig, content: bytes, **key: str) -> str:
    """A snapshot of the member account with one block, under its default key where no other one is named."""
    ebs, data = seed_member.client(lab, "ebs"), content.ljust(BLOCK, b"\0")
    name = str(ebs.start_snapshot(VolumeSize=1, Encrypted=True, **key)["SnapshotId"])
    ebs.put_snapshot_block(SnapshotId=name, BlockIndex=3, BlockData=data, DataLength=BLOCK, ChecksumAlgorithm="SHA256",
                           Checksum=base64.b64encode(hashlib.sha256(data).digest()).decode())
    ebs.complete_snapshot(SnapshotId=name, ChangedBlocksCount=1)
    return name


def key(lab: LabConfig, *actions: str, **more: Any) -> str:
    """A key of the member account that lets the forensic account do this and no more."""
    own = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{MEMBER}:root"}, "Action": "kms:*", "Resource": "*"}
    other = {**own, "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": list(actions), **more}
    made = seed_member.client(lab, "kms").create_key(
        Policy=json.dumps({"Version": "2012-10-17", "Statement": [own, other]}))
    return str(made["KeyMetadata"]["Arn"])


@pytest.fixture
def operator(tmp_path: Path) -> Path:
    """An inventory without forensic keys, for keys that bar the way."""
    path = tmp_path / "operator.yml"
    path.write_text(json.dumps({"all": {"hosts": {"localhost": {"dfir_aws_sharing_keys": {}}}}}))
    return path


@pytest.fixture
def tidy(lab: LabConfig) -> Iterator[None]:
    """What a test has made is unlocked and removed."""
    clients = [audit.client(lab, "ec2", region) for region in (HOME, FAR)] + [seed_member.client(lab, "ec2")]
    before = [owned(ec2) for ec2 in clients]
    yield
    for ec2, known in zip(clients, before, strict=True):
        locked = {item["SnapshotId"] for item in ec2.describe_locked_snapshots()["Snapshots"]}
        for name in owned(ec2) - known:
            if name in locked:
                ec2.unlock_snapshot(SnapshotId=name)
            ec2.delete_snapshot(SnapshotId=name)


def owned(ec2: Any) -> set[str]:
    return {item["SnapshotId"] for item in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]}


def share(folder: Path, *options: str, **fields: Any) -> CompletedProcess[str]:
    (folder / "request.json").write_text(json.dumps(
        {"analyst_uid": "alice", "aws_snapshot_region": HOME, "aws_source_account": MEMBER, **fields}))
    return run("ansible-playbook", "-i", "inventories/lab", *options, "playbooks/share_snapshots.yml", "-e",
               f"@{folder}/request.json")


def flat(done: CompletedProcess[str]) -> str:
    return re.sub(r'[\s",]+', " ", done.stdout)


def test_a_default_key_snapshot_of_a_member_account_becomes_a_locked_copy_that_was_read(
        lab: LabConfig, tmp_path: Path, tidy: None) -> None:
    incident, name = f"INC-{uuid.uuid4().hex[:8].upper()}", evidence(lab, b"from the member account")
    asked = {"incident": incident, "aws_snapshot_id": name, "aws_target_region": FAR, "lock_days": 30}
    far, theirs = audit.client(lab, "ec2", FAR), seed_member.client(lab, "ec2")
    before = owned(far), owned(theirs)
    checked = share(tmp_path, "--check", **asked)
    assert checked.returncode == 0 and (owned(far), owned(theirs)) == before, checked.stdout
    assert "alias/aws/ebs" in flat(checked) and "LockSnapshot: governance 30 days" in flat(checked)

    done = share(tmp_path, **asked)
    assert done.returncode == 0 and "has read block 3" in flat(done), done.stdout
    [copy] = owned(far) - before[0]
    [between] = owned(theirs) - before[1]
    assert f"delete-snapshot --region {HOME} --snapshot-id {between}" in flat(done)
    [lock] = far.describe_locked_snapshots(SnapshotIds=[copy])["Snapshots"]
    assert (lock["LockState"], lock["LockDuration"]) == ("governance", 30)
    ebs = audit.client(lab, "ebs", FAR)
    page = ebs.list_snapshot_blocks(SnapshotId=copy)
    while not page["Blocks"]:
        page = ebs.list_snapshot_blocks(SnapshotId=copy, NextToken=page["NextToken"])
    block = ebs.get_snapshot_block(SnapshotId=copy, BlockIndex=3, BlockToken=page["Blocks"][0]["BlockToken"])
    assert block["BlockData"].read().startswith(b"from the member account")

    again = share(tmp_path, **asked)
    assert again.returncode == 0 and "changed=0" in again.stdout and "is taken up" in flat(again), again.stdout
    assert owned(far) - before[0] == {copy} and owned(theirs) - before[1] == {between}


def test_p35_what_a_key_refuses_is_said_in_the_same_words_before_and_after(
        lab: LabConfig, tmp_path: Path, operator: Path, tidy: None) -> None:
    closed, tied = key(lab, "kms:DescribeKey"), key(lab, *USE, **ELSEWHERE)
    early, late = (evidence(lab, b"barred", KmsKeyArn=arn) for arn in (closed, tied))
    ours = owned(audit.client(lab, "ec2", HOME))
    done = share(tmp_path, "-i", str(operator), incident="INC-KEYS", aws_snapshot_id=[early, late])
    text = flat(done)
    assert done.returncode != 0 and "2 of 2 snapshots could not be shared" in text, done.stdout
    assert "kms:Decrypt on" in text and "not checkable" in text and "AWS later of the copy" in text
    words = (f"KMS refuses account {ACCOUNT} to read what is encrypted under the key {{}}. The key's policy and the "
             f"policy of the identity that works in {ACCOUNT} must allow kms:DescribeKey kms:CreateGrant kms:Decrypt")
    text = text.replace("''", "'")
    assert words.format(closed) in text and words.format(tied) in text, done.stdout
    assert text.count("CANNOT be shared. KMS refuses account") == 1  # the plan knew of one of them
    assert owned(audit.client(lab, "ec2", HOME)) == ours


def test_p37_compliance_without_the_typed_name_is_refused_at_the_door(lab: LabConfig, tmp_path: Path) -> None:
    asked = {"incident": "INC-1", "aws_snapshot_id": "snap-0123456789abcdef0", "lock_mode": "compliance",
             "lock_cool_off_hours": 24}
    for typed in ({}, {"lock_confirmation": "INC-2"}):
        refused = share(tmp_path, **asked, **typed)
        assert refused.returncode != 0 and "typed once more" in flat(refused), refused.stdout
    stranger = share(tmp_path, **{**asked, "lock_mode": "none", "aws_target_account": "999999999999"})
    assert stranger.returncode != 0 and "no right to the AWS account 999999999999" in flat(stranger), stranger.stdout


@pytest.fixture
def instance(lab: LabConfig) -> Iterator[str]:
    """An instance of the member account with a data volume under its default key."""
    ec2 = seed_member.client(lab, "ec2")
    name = str(ec2.run_instances(ImageId=DEBIAN_IDS[HOME], InstanceType="t3.small", MinCount=1, MaxCount=1,
                                 Placement={"AvailabilityZone": f"{HOME}a"})["Instances"][0]["InstanceId"])
    ec2.get_waiter("instance_running").wait(InstanceIds=[name], WaiterConfig={"Delay": 1})
    volume = ec2.create_volume(AvailabilityZone=f"{HOME}a", Size=1, Encrypted=True)["VolumeId"]
    ec2.attach_volume(VolumeId=volume, InstanceId=name, Device="/dev/sdf")
    yield name
    ec2.terminate_instances(InstanceIds=[name])
    ec2.get_waiter("instance_terminated").wait(InstanceIds=[name], WaiterConfig={"Delay": 1})
    if ec2.describe_volumes(Filters=[{"Name": "volume-id", "Values": [volume]}])["Volumes"]:
        ec2.delete_volume(VolumeId=volume)


def test_what_was_acquired_is_shared_by_itself_where_the_operator_wants_it(
        lab: LabConfig, tmp_path: Path, instance: str, tidy: None) -> None:
    incident, ours = f"INC-{uuid.uuid4().hex[:8].upper()}", audit.client(lab, "ec2", HOME)
    before = owned(ours)
    (tmp_path / "operator.yml").write_text(json.dumps({"all": {"hosts": {"localhost": {
        "dfir_aws_sharing_acquired": True, "dfir_aws_sharing_lock_days": 7}}}}))
    (tmp_path / "request.json").write_text(json.dumps(
        {"analyst_uid": "alice", "incident": incident, "aws_instance_region": HOME, "aws_account": MEMBER,
         "aws_instance_id": instance, "exclude_root": True, "cloudtrail_days": 0}))
    done = run("ansible-playbook", "-i", "inventories/lab", "-i", str(tmp_path / "operator.yml"),
               "playbooks/acquire_instance.yml", "-e", f"@{tmp_path}/request.json")
    assert done.returncode == 0 and "copied" in flat(done) and "verified:" in flat(done), done.stdout
    [copy] = owned(ours) - before
    tags = {tag["Key"]: tag["Value"] for tag in ours.describe_snapshots(SnapshotIds=[copy])["Snapshots"][0]["Tags"]}
    assert (tags["dfir:incident"], tags["dfir:source-instance"], tags["dfir:sharing"]) == (incident, instance, "copy")
    [lock] = ours.describe_locked_snapshots(SnapshotIds=[copy])["Snapshots"]
    assert (lock["LockState"], lock["LockDuration"]) == ("governance", 7)
