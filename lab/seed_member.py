# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fills the lab's second account as its owners would: a role for acquisition, two instances with real disks.

`web` has its data under a key of the account's own, which the forensic account may use, `db` under AWS' default key,
which no other account ever can. Nothing boots behind them: their networks would have the addresses of the hosts here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from lab.aws.account import DEBIAN_IDS, MEMBER_ADMIN
from lab.cli_client import LabError
from lab.config import ACCOUNT, CHECKOUT, MEMBER, LabConfig

REGION = "eu-west-1"
ROLE = "dfir-acquisition"
EXTERNAL_ID = "dfir-lab-4711"
KEY_ALIAS = "alias/shop"
NAMES = ("web", "db")
SECONDS = 60


def client(settings: LabConfig, service: str, region: str = REGION) -> Any:
    """A boto3 client of the member account's administrator."""
    return boto3.client(  # type: ignore[call-overload]
        service, region_name=region, endpoint_url=settings.endpoint, aws_access_key_id=MEMBER_ADMIN[1],
        aws_secret_access_key=MEMBER_ADMIN[2],
        config=Config(retries={"max_attempts": 3}, proxies={}, s3={"addressing_style": "path"}))


def document(name: str) -> str:
    """A policy of docs/iam for this account."""
    path = CHECKOUT / "docs" / "iam" / name
    if not path.exists():
        raise LabError(f"{path} is missing; the checkout is not complete")
    text = path.read_text()
    for placeholder, value in (("MEMBER_ID", MEMBER), ("ACCOUNT_ID", ACCOUNT), ("EXTERNAL_ID", EXTERNAL_ID)):
        text = text.replace(placeholder, value)
    return json.dumps(json.loads(text))


def role(settings: LabConfig) -> None:
    """The role that the forensic account's controller assumes."""
    iam, trust = client(settings, "iam"), document("member-acquisition-trust.json")
    try:
        iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=trust,
                        Description="Acquisition of evidence by the forensic account")
    except ClientError as error:
        if error.response["Error"]["Code"] != "EntityAlreadyExists":
            raise
        iam.update_assume_role_policy(RoleName=ROLE, PolicyDocument=trust)
    iam.put_role_policy(RoleName=ROLE, PolicyName="acquisition", PolicyDocument=document(
        "member-acquisition-policy.json"))
    iam.put_role_policy(RoleName=ROLE, PolicyName="sharing", PolicyDocument=document("member-sharing-policy.json"))


def key(settings: LabConfig) -> str:
    """The key of the shop; the forensic account may read with it, as far as its own policies go."""
    kms = client(settings, "kms")
    for page in kms.get_paginator("list_aliases").paginate():
        for alias in page["Aliases"]:
            if alias["AliasName"] == KEY_ALIAS:
                return str(alias["TargetKeyId"])
    statements = [
        {"Sid": "Own", "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{MEMBER}:root"}, "Action": "kms:*",
         "Resource": "*"},
        {"Sid": "Forensics", "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Resource": "*",
         "Action": ["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:ReEncryptFrom"]}]
    made = kms.create_key(Description="Data of the shop", Policy=json.dumps(
        {"Version": "2012-10-17", "Statement": statements}))["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName=KEY_ALIAS, TargetKeyId=made)
    return str(made)


def instances(settings: LabConfig, evidence: str, share: Any, own_key: str) -> dict[str, str]:
    """`web` and `db`, by name; their disks are made of the evidence, which `share` (the owner's client) lends."""
    ec2 = client(settings, "ec2")
    known = {name: found for name in NAMES if (found := instance(settings, name))}
    if len(known) == len(NAMES):
        return known
    permission = {"SnapshotId": evidence, "Attribute": "createVolumePermission", "UserIds": [MEMBER]}
    share.modify_snapshot_attribute(OperationType="add", **permission)
    try:
        for name, encryption in (("web", {"KmsKeyId": own_key}), ("db", {})):
            if name not in known:
                volume = ec2.create_volume(SnapshotId=evidence, AvailabilityZone=f"{REGION}a", Encrypted=True,
                                           **encryption, TagSpecifications=_tags("volume", name))["VolumeId"]
                known[name] = ec2.run_instances(
                    ImageId=DEBIAN_IDS[REGION], InstanceType="t3.small", MinCount=1, MaxCount=1,
                    Placement={"AvailabilityZone": f"{REGION}a"}, TagSpecifications=_tags("instance", name),
                )["Instances"][0]["InstanceId"]
                _running(ec2, known[name])
                ec2.attach_volume(VolumeId=volume, InstanceId=known[name], Device="/dev/sdf")
    finally:
        share.modify_snapshot_attribute(OperationType="remove", **permission)
    return known


def instance(settings: LabConfig, name: str) -> str:
    """The id of the member account's instance of that name; empty where there is none."""
    found = client(settings, "ec2").describe_instances(Filters=[
        {"Name": "tag:Name", "Values": [name]}, {"Name": "instance-state-name", "Values": ["running", "pending"]}])
    return next((str(item["InstanceId"]) for group in found["Reservations"] for item in group["Instances"]), "")


def _tags(kind: str, name: str) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": [{"Key": "Name", "Value": name}]}]


def _running(ec2: Any, instance_id: str) -> None:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        state = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]["State"]["Name"]
        if state == "running":
            return
        time.sleep(0.1)
    raise LabError(f"the instance {instance_id} of account {MEMBER} does not run after {SECONDS} s")


def seed(settings: LabConfig, *, evidence: str, share: Any, say: Callable[[str], None]) -> None:
    """Do all of it; without an evidence snapshot there are no instances."""
    try:
        role(settings)
        own_key = key(settings)
        made = instances(settings, evidence, share, own_key) if evidence else {}
    except ClientError as error:
        raise LabError(f"the account {MEMBER} could not be filled: {error}") from None
    told = f", instances {', '.join(f'{name} {made[name]}' for name in NAMES)} in {REGION}" if made else ""
    say(f"account {MEMBER}: role {ROLE} with external id {EXTERNAL_ID}, key {KEY_ALIAS}{told}")
