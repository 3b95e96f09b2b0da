# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two instances and one that does not exist, acquired by the playbook on the lab's real hosts, twice."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from lab import audit
from lab.aws.account import DEBIAN_IDS
from lab.config import ACCOUNT, LabConfig
from lab.mail.reader import list_mails
from tests.kit import run

HOME, BUCKET, NOBODY = "eu-west-1", f"dfir-artifacts-{ACCOUNT}", "i-0123456789abcdef0"
BLOCK = 524_288


@pytest.fixture
def hosts(lab: LabConfig) -> Iterator[list[dict[str, Any]]]:
    """An instance with two data volumes and one with one, each with content of its own."""
    ec2, launched = audit.client(lab, "ec2", HOME), []
    for letters in ("fg", "f"):
        disks = [{"DeviceName": f"/dev/sd{letter}", "Ebs": {"VolumeSize": 1, "DeleteOnTermination": True}}
                 for letter in letters]
        launched += ec2.run_instances(ImageId=DEBIAN_IDS[HOME], InstanceType="t3.small", MinCount=1, MaxCount=1,
                                      BlockDeviceMappings=disks)["Instances"]
    names = [instance["InstanceId"] for instance in launched]
    ec2.get_waiter("instance_running").wait(InstanceIds=names)
    described = [instance for group in ec2.describe_instances(InstanceIds=names)["Reservations"]
                 for instance in group["Instances"]]
    for instance in described:
        for device, volume in data_volumes(instance).items():
            with raw(lab, volume).open("r+b") as disk:
                for block in (0, 7, 2047):
                    disk.seek(block * BLOCK)
                    disk.write(f"{instance['InstanceId']} {device} {block}".encode())
    yield sorted(described, key=lambda instance: len(data_volumes(instance)))
    ec2.terminate_instances(InstanceIds=names)
    ec2.get_waiter("instance_terminated").wait(InstanceIds=names)
    for snapshot in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]:
        if any(tag == {"Key": "dfir:source-instance", "Value": name} for tag in snapshot.get("Tags", [])
               for name in names):
            ec2.delete_snapshot(SnapshotId=snapshot["SnapshotId"])


def data_volumes(instance: dict[str, Any]) -> dict[str, str]:
    return {block["DeviceName"]: block["Ebs"]["VolumeId"] for block in instance["BlockDeviceMappings"]
            if block["DeviceName"] != instance["RootDeviceName"]}


def raw(lab: LabConfig, volume: str) -> Path:
    """The lab's file of a volume."""
    return next(path for path in (lab.state / "blocks").rglob(f"*{volume}*") if path.is_file())


def written(lab: LabConfig, snapshot: str) -> dict[int, bytes]:
    """All blocks of a snapshot that were ever written, through EBS direct."""
    ebs = audit.client(lab, "ebs", HOME)
    found, token = {}, {}
    while True:
        page = ebs.list_snapshot_blocks(SnapshotId=snapshot, **token)
        for block in page["Blocks"]:
            got = ebs.get_snapshot_block(SnapshotId=snapshot, BlockIndex=block["BlockIndex"],
                                         BlockToken=block["BlockToken"])
            found[block["BlockIndex"]] = got["BlockData"].read()
        if not page.get("NextToken"):
            return found
        token = {"NextToken": page["NextToken"]}


def content_of(lab: LabConfig, key: str) -> bytes:
    content: bytes = audit.client(lab, "s3", HOME).get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return content


def acquire(folder: Path, *options: str, **fields: Any) -> CompletedProcess[str]:
    (folder / "request.json").write_text(json.dumps(
        {"analyst_uid": "alice", "aws_instance_region": HOME, "exclude_root": True, **fields}))
    return run("ansible-playbook", "-i", "inventories/lab", "playbooks/acquire_instance.yml", "-e",
               f"@{folder}/request.json", *options)


def test_instances_are_acquired_side_by_side_and_one_that_is_not_there_fails_alone(
        lab: LabConfig, tmp_path: Path, hosts: list[dict[str, Any]]) -> None:
    ec2, s3 = audit.client(lab, "ec2", HOME), audit.client(lab, "s3", HOME)
    incident = f"INC-{uuid.uuid4().hex[:8].upper()}"
    names = [instance["InstanceId"] for instance in hosts]
    before = audit.account(lab)
    checked = acquire(tmp_path, "--check", incident=incident, aws_instance_id=[*names, NOBODY])
    flat = " ".join(checked.stdout.split())
    assert checked.returncode == 0 and audit.account(lab) == before, checked.stdout
    assert "USD a month for 3 GiB" in flat and f"There is no instance {NOBODY}" in flat and "NOT captured" in flat

    done = acquire(tmp_path, incident=incident, aws_instance_id=[*names, NOBODY])
    assert done.returncode != 0 and "1 of 3 instances could not be acquired" in " ".join(done.stdout.split())
    new = audit.account(lab) - before
    assert {thing.kind for thing in new} == {"snapshot", "object"}, done.stdout
    seen = {snapshot["VolumeId"]: snapshot for snapshot in ec2.describe_snapshots(
        Filters=[{"Name": "tag:dfir:incident", "Values": [incident]}])["Snapshots"]}
    for instance in hosts:
        for device, volume in data_volumes(instance).items():
            blocks = written(lab, seen[volume]["SnapshotId"])
            assert {0, 7, 2047} <= set(blocks)
            with raw(lab, volume).open("rb") as disk:
                for number, content in blocks.items():
                    disk.seek(number * BLOCK)
                    assert disk.read(BLOCK) == content, (device, number)
            tags = {tag["Key"]: tag["Value"] for tag in seen[volume]["Tags"]}
            assert re.fullmatch(rf"Forensics {incident} {instance['InstanceId']} {device} \d{{4}}-\d\d-\d\d "
                                r"\d\d:\d\d:\d\d UTC", tags["Name"])
    assert len(seen) == 3
    keys = {item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{incident}/")["Contents"]}
    for name in names:
        prefix = f"{incident}/{name}/metadata/"
        for file in json.loads(content_of(lab, f"{prefix}index.json"))["files"]:
            assert hashlib.sha256(content_of(lab, prefix + file["name"])).hexdigest() == file["sha256"]
        console = json.loads(content_of(lab, f"{prefix}console.json"))
        assert console["answers"]["latest"]["InstanceId"] == name
    [page] = [key for key in keys if key.endswith(".html")]
    report = content_of(lab, page).decode()
    assert all(name in report for name in (*names, *seen)) and "Acquisition" in report
    [mail] = [mail for mail in list_mails(lab.mails) if incident in mail.subject]
    assert "FAILED: 2 of 3 instances acquired" in mail.subject and NOBODY in mail.text and page in mail.text
    # Nobody has touched the instances.
    for group in ec2.describe_instances(InstanceIds=names)["Reservations"]:
        for instance in group["Instances"]:
            assert instance["State"]["Name"] == "running"

    # A second run finds everything done but what failed: it tries that again, and says so in the custody ledger.
    now = audit.account(lab)
    again = acquire(tmp_path, incident=incident, aws_instance_id=[*names, NOBODY])
    assert again.returncode != 0 and "changed=2" in again.stdout, again.stdout
    ledger = f"s3://{BUCKET}/custody/{incident}/"
    more = sorted(thing.id.removeprefix(ledger) for thing in audit.account(lab) - now)
    number = len([thing for thing in now if thing.id.startswith(f"{ledger}entries/")])
    assert more == [*(f"entries/{number + one:09d}.json" for one in (1, 2, 3)), f"signatures/{number + 3:09d}.json"]
    told = [json.loads(content_of(lab, f"custody/{incident}/entries/{one:09d}.json")) for one in range(1, number + 4)]
    assert {entry["object"]["id"] for entry in told if entry["object"]["kind"] == "snapshot"} == {
        snapshot["SnapshotId"] for snapshot in seen.values()}
    assert {entry["object"]["id"] for entry in told if entry["action"] == "artifact"} >= {
        f"{incident}/{name}/metadata/console.json" for name in names}
    assert [(entry["event"].partition("/")[2].partition("/")[2], entry["phase"], entry["result"])
            for entry in told[-3:]] == [("again-2", "intent", "begun"), (f"{NOBODY}/again-2", "record", "failed"),
                                        ("again-2", "outcome", "failed")]


def test_who_has_no_right_to_acquire_is_refused_and_nothing_is_asked(lab: LabConfig, tmp_path: Path) -> None:
    refused = acquire(tmp_path, incident="TRAINING-1", analyst_uid="bob", aws_instance_id=NOBODY)
    flat = " ".join(refused.stdout.split())
    assert refused.returncode != 0 and "'bob' has no right to the mode acquire for this request" in flat
