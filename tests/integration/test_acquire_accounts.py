# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances of two accounts in one command: with a wrong external id, which closes one, then with the right one."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import audit, seed_member
from lab.aws.account import DEBIAN_IDS
from lab.config import ACCOUNT, MEMBER, LabConfig
from tests.kit import run

HOME, BUCKET = seed_member.REGION, f"dfir-artifacts-{ACCOUNT}"


@pytest.fixture
def ours(lab: LabConfig) -> Iterator[str]:
    """An instance of the forensic account with a data volume."""
    ec2 = audit.client(lab, "ec2", HOME)
    name = ec2.run_instances(
        ImageId=DEBIAN_IDS[HOME], InstanceType="t3.small", MinCount=1, MaxCount=1,
        BlockDeviceMappings=[{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1}}])["Instances"][0]["InstanceId"]
    ec2.get_waiter("instance_running").wait(InstanceIds=[name])
    yield name
    ec2.terminate_instances(InstanceIds=[name])
    ec2.get_waiter("instance_terminated").wait(InstanceIds=[name])


def taken(ec2: Any, incident: str) -> dict[str, dict[str, str]]:
    """Snapshots of an incident in an account, with their tags."""
    found = ec2.describe_snapshots(OwnerIds=["self"], Filters=[{"Name": "tag:dfir:incident", "Values": [incident]}])
    return {item["SnapshotId"]: {tag["Key"]: tag["Value"] for tag in item["Tags"]} for item in found["Snapshots"]}


def test_a_closed_account_keeps_no_other_and_is_taken_up_once_it_is_open(
        lab: LabConfig, tmp_path: Path, ours: str) -> None:
    own, theirs = audit.client(lab, "ec2", HOME), seed_member.client(lab, "ec2")
    incident = f"INC-{uuid.uuid4().hex[:8].upper()}"
    web, db = (seed_member.instance(lab, name) for name in seed_member.NAMES)
    (tmp_path / "shop.list").write_text(f"# the shop\n{MEMBER}={web},{db}\n{ACCOUNT}={ours}\n")
    (tmp_path / "request.json").write_text(json.dumps({
        "analyst_uid": "alice", "incident": incident, "aws_instance_region": HOME, "exclude_root": True,
        "aws_instance_list_file": f"{tmp_path}/shop.list"}))
    (tmp_path / "operator.yml").write_text(json.dumps({"all": {"hosts": {"localhost": {"dfir_aws_member_accounts": {
        MEMBER: {"role": seed_member.ROLE, "external_id": "another-word"}}}}}}))
    command = ["ansible-playbook", "playbooks/acquire_instance.yml", "-e", f"@{tmp_path}/request.json", "-vvv", "-i",
               "inventories/lab"]

    closed = run(*command, "-i", f"{tmp_path}/operator.yml")
    flat = " ".join(closed.stdout.split())
    assert closed.returncode != 0 and "2 of 3 instances could not be acquired: The role" in flat, closed.stdout
    assert flat.count("trust policy") and f"{web} (web)" not in flat  # nothing of it was seen
    assert taken(theirs, incident) == {} and [tags["dfir:source-instance"] for tags in taken(own, incident).values()] \
        == [ours]
    assert "another-word" not in closed.stdout

    first = taken(own, incident)
    done = run(*command)
    assert done.returncode == 0, done.stdout
    assert seed_member.EXTERNAL_ID not in done.stdout
    assert taken(own, incident) == first  # taken up, not taken again
    made = taken(theirs, incident)
    assert {tags["dfir:source-instance"] for tags in made.values()} == {web, db}
    assert {tags["dfir:source-account"] for tags in made.values()} == {MEMBER}
    try:
        s3 = audit.client(lab, "s3", HOME)
        for name, account in ((ours, ACCOUNT), (web, MEMBER), (db, MEMBER)):
            key = f"{incident}/{name}/metadata/index.json"
            index = json.loads(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
            assert (index["account"], index["instance_id"]) == (account, name)
        # The history of the member account says who came, for which incident and as whom.
        events = seed_member.client(lab, "cloudtrail").lookup_events(LookupAttributes=[
            {"AttributeKey": "EventName", "AttributeValue": "CreateSnapshots"}])["Events"]
        people = [json.loads(event["CloudTrailEvent"])["userIdentity"] for event in events]
        mine = [person for person in people if f"/dfir-{incident}-" in person["arn"]]
        assert len(mine) == 2 and {person["sessionContext"]["sourceIdentity"] for person in mine} == {"alice"}
    finally:
        for ec2, names in ((own, first), (theirs, made)):
            for name in names:
                ec2.delete_snapshot(SnapshotId=name)
