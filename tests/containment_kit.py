# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances to be contained on the lab's AWS, and all their settings that containment changes."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.containment import base

from lab.config import ACCOUNT
from lab.seed import document
from tests.unit.lab.aws_kit import REGION, Kit, Recorder, allow

BUCKET = f"dfir-artifacts-{ACCOUNT}"
DISKS = [{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1, "DeleteOnTermination": True}},
         {"DeviceName": "/dev/sdg", "Ebs": {"VolumeSize": 1, "DeleteOnTermination": False}}]
POLICIES = ("containment-policy.json", "containment-revoke-policy.json")
CLIENT = functools.cache(Kit.client)


class Died(BaseException):
    """A run that ended from one moment to the next."""


def account(folder: Path) -> Kit:
    """One with an artifact bucket and the role `web`."""
    kit = Kit(folder, hosts=Recorder())
    s3 = kit.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_bucket_policy(Bucket=BUCKET, Policy=document("artifact-bucket-policy.json"))
    kit.host_role("web", allow("ec2:DescribeVolumes"))
    return kit


def user(kit: Kit) -> tuple[str, str]:
    """The keys of somebody with the policies of docs/iam and nothing else."""
    return kit.user("container", *(statement for name in POLICIES
                                   for statement in json.loads(document(name))["Statement"]))


def asked(incident: str = "INC-1", **more: Any) -> dict[str, Any]:
    return {"request_id": "0" * 16, "incident": incident, "account": ACCOUNT, "region": REGION,
            "network_acl": False, "revoke_sessions": False, "artifact_bucket": BUCKET,
            "caller": {"kind": "cli", "name": "alice", "arn": "arn"}, "analyst": {"uid": "alice"}, **more}


def subnet(kit: Kit, number: int) -> str:
    ec2 = kit.client("ec2")
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    made: str = ec2.create_subnet(VpcId=vpc, CidrBlock=f"172.31.{200 + number}.0/24")["Subnet"]["SubnetId"]
    return made


def settings(kit: Kit, name: str) -> dict[str, Any]:
    """All that containment changes, as AWS says it."""
    ec2 = CLIENT(kit, "ec2")
    instance = base.found(ec2, name)
    assert instance is not None

    def value(attribute: str, key: str) -> Any:
        return ec2.describe_instance_attribute(InstanceId=name, Attribute=attribute)[key].get("Value")

    profile = ec2.describe_iam_instance_profile_associations(
        Filters=[{"Name": "instance-id", "Values": [name]}])["IamInstanceProfileAssociations"]
    return {
        "volumes": {block["Ebs"]["VolumeId"]: block["Ebs"]["DeleteOnTermination"]
                    for block in instance["BlockDeviceMappings"]},
        "shutdown": value("instanceInitiatedShutdownBehavior", "InstanceInitiatedShutdownBehavior"),
        "stop": value("disableApiStop", "DisableApiStop"),
        "termination": value("disableApiTermination", "DisableApiTermination"),
        "groups": {one["NetworkInterfaceId"]: sorted(group["GroupId"] for group in one["Groups"])
                   for one in ec2.describe_network_interfaces(
                       Filters=[{"Name": "attachment.instance-id", "Values": [name]}])["NetworkInterfaces"]},
        "shown": sorted(group["GroupId"] for group in instance["SecurityGroups"]),
        "profile": [one["IamInstanceProfile"]["Arn"] for one in profile],
        "acl": ec2.describe_network_acls(Filters=[{"Name": "association.subnet-id", "Values": [
            instance["SubnetId"]]}])["NetworkAcls"][0]["NetworkAclId"],
    }


def launch(kit: Kit, **more: Any) -> str:
    return str(kit.launch(BlockDeviceMappings=DISKS, IamInstanceProfile={"Name": "web"},
                          InstanceInitiatedShutdownBehavior="terminate", **more)["InstanceId"])


def record(kit: Kit, name: str) -> dict[str, Any]:
    got = kit.client("s3").get_object(Bucket=BUCKET, Key=f"requests/containment/{name}.json")
    found: dict[str, Any] = json.loads(got["Body"].read())
    return found
