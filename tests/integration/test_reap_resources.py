# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook that reaps as it runs on a schedule, on a real host: told, checked, removed, nothing foreign touched."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import boto3
import pytest

from lab import audit
from lab.aws.account import DEBIAN_IDS
from lab.config import ACCOUNT, LabConfig
from tests.kit import run
from tests.reaper_kit import FUTURE, HOME, Account, Case

GOES = [Case("run: a host past its time, and what is its own", "goes", record="absent",
             makes=("identity", "group", "host", "volume")),
        Case("run: a volume caught before it was attached", "goes", record="absent"),
        Case("run: leftovers of a finished request", "goes", makes=("identity", "group"), expires=FUTURE,
             record="finished")]
STAYS = [Case("run: a host in its time", "stays", makes=("identity", "group", "host"), expires=FUTURE, record="absent"),
         Case("run: tags in capitals", "stays", record="absent",
              tags={"dfir:request": None, "DFIR:Request": "0123456789abcdef"}),
         Case("run: identity at another path", "stays", makes=("identity",), path="/dfir-others/", record="absent"),
         Case("run: a kept copy", "stays", makes=("snapshot",), record="absent",
              tags={"dfir:request": None, "dfir:source-snapshot": "snap-0123456789abcdef0"})]
HELD = Case("run: a group that somebody else uses", "fails", makes=("group",), held_by="uses", record="absent")
# The lab's controller may handle things of one analysis region only, and other tests leave requests open.
HERE = f'{{"dfir_aws_reaper_regions": ["{HOME}"]}}'


def reap(overlay: str, *more: str) -> CompletedProcess[str]:
    return run("ansible-playbook", "-i", "inventories/lab", "-i", overlay, "playbooks/reap_resources.yml", *more)


@pytest.mark.cell("clean_up", "nobody cleans up: the reaper removes what outlived its request, and nothing else")
def test_what_outlived_goes_and_nothing_else(lab: LabConfig, tmp_path: Path) -> None:
    overlay = tmp_path / "operator.yml"
    overlay.write_text(f'{{"all": {{"hosts": {{"localhost": {HERE}}}}}}}')
    account = Account(functools.partial(_client, lab), DEBIAN_IDS[HOME], f"dfir-artifacts-{ACCOUNT}")
    for case in (*GOES, *STAYS, HELD):
        account.plant(case)
    hosts = [thing for name in account.made for kind, thing in account.made[name] if kind == "instance"]
    _client(lab, "ec2").get_waiter("instance_running").wait(InstanceIds=hosts)
    before = audit.account(lab)

    told = reap(str(overlay))
    assert told.returncode == 0 and "changed=0" in told.stdout, told.stdout
    for case in GOES:
        for kind, name in account.made[case.name]:
            assert f"outlived: {kind} {name} " in told.stdout
    for case in STAYS:
        for _kind, name in account.made[case.name]:
            assert not re.search(rf"outlived: \S+ {name} ", told.stdout)
    assert audit.account(lab) == before

    checked = reap(str(overlay), "--check", "-e", "remove_outlived=true")
    assert checked.returncode == 0 and "changed=2" in checked.stdout, checked.stdout
    assert audit.account(lab) == before

    done = reap(str(overlay), "-e", "remove_outlived=true")
    after = audit.account(lab)
    gone = {(thing.kind, thing.id) for thing in before - after}
    wanted = {thing for case in GOES for thing in account.made[case.name]}
    parts = {thing for thing in gone - wanted if thing[0] in ("volume", "network-interface", "role-policy")}
    assert gone - parts == wanted, done.stdout
    assert {kind for kind, name in parts if kind == "role-policy"} and not after - before
    # Somebody else's host holds one group: told in the end, after all the rest.
    [(_kind, held)] = account.made[HELD.name]
    assert done.returncode != 0 and f"The security-group {held} could not be removed" in " ".join(done.stdout.split())
    assert "1 could not be removed or looked at, everything else is done" in " ".join(done.stdout.split())

    _leave_nothing(lab, account, held)


def _leave_nothing(lab: LabConfig, account: Account, held: str) -> None:
    """What this test planted is no other test's business."""
    ec2, iam = _client(lab, "ec2"), _client(lab, "iam")
    made = {thing for things in account.made.values() for thing in things} & set(account.everything())
    users = ec2.describe_instances(Filters=[{"Name": "instance.group-id", "Values": [held]}])["Reservations"]
    hosts = [name for kind, name in made if kind == "instance"] + [
        item["InstanceId"] for reservation in users for item in reservation["Instances"]]
    ec2.terminate_instances(InstanceIds=hosts)
    ec2.get_waiter("instance_terminated").wait(InstanceIds=hosts)
    for kind, name in sorted(made):
        if kind == "volume":
            ec2.delete_volume(VolumeId=name)
        elif kind == "security-group":
            ec2.delete_security_group(GroupId=name)
        elif kind == "snapshot":
            volume = ec2.describe_snapshots(SnapshotIds=[name])["Snapshots"][0]["VolumeId"]
            ec2.delete_snapshot(SnapshotId=name)
            ec2.delete_volume(VolumeId=volume)
        elif kind == "instance-profile":
            iam.remove_role_from_instance_profile(InstanceProfileName=name, RoleName=name)
            iam.delete_instance_profile(InstanceProfileName=name)
        elif kind == "role":
            iam.delete_role_policy(RoleName=name, PolicyName="artifacts")
            iam.delete_role(RoleName=name)


def _client(lab: LabConfig, service: str, region: str = HOME) -> Any:
    if service == "s3":  # records are the controller's alone: the bucket refuses even the administrator
        return boto3.client("s3", region_name=region, endpoint_url=lab.endpoint,
                            aws_access_key_id="AKIADFIRLABCONTROLLER",
                            aws_secret_access_key="lab-controller-secret-not-a-secret-0000000")
    return audit.client(lab, service, region)
