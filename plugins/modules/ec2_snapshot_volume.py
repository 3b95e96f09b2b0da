#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create a volume from a snapshot, at once, and never twice."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: ec2_snapshot_volume
version_added: 0.1.0
short_description: Create an encrypted volume from or for a snapshot, or adopt the one that exists
description:
  - Creates an encrypted volume from a snapshot in one zone, with its tags in the creating call, and answers with its id
    at once. Wait for it with M(dfir.aws.aws_wait), which also notices when KMS made it vanish.
  - M(amazon.aws.ec2_vol) waits for up to ten minutes in silence, and loses the id when the volume vanishes.
  - A volume from the same snapshot, in the same zone, with the same values of O(adopt_by_tags), is adopted.
    The call itself carries a client token made from these, so that two calls at the same time get one volume.
  - A volume that was made empty for the snapshot is adopted where one from the snapshot is asked for, and the other way
    round; RV(blank) says which it is. A request has one of them.
options:
  snapshot_id:
    description: The snapshot.
    type: str
    required: true
  blank:
    description:
      - Make an empty volume of O(size_gib) instead, which M(dfir.aws.ebs_snapshot_image) can fill with the blocks.
      - It carries no product code of the AWS Marketplace, and nothing of it is loaded when it is first read.
    type: bool
    default: false
  size_gib:
    description: Size of the snapshot's volume. Needed with O(blank).
    type: int
  availability_zone:
    description: The zone, that of the instance which the volume is for.
    type: str
    required: true
  tags:
    description: Tags of the volume. O(adopt_by_tags) are among them.
    type: dict
    required: true
  adopt_by_tags:
    description:
      - Names of the tags whose values tell whose volume it is, and what for. A request may have two volumes of one
        snapshot, the evidence and a throw-away one for its journals.
    type: list
    elements: str
    default: ["dfir:request"]
  volume_type:
    description: Type of the volume.
    type: str
    choices: [gp3, io2]
    default: gp3
  iops:
    description: Provisioned operations a second. Needed for V(io2).
    type: int
  throughput:
    description: MiB a second, for V(gp3).
    type: int
  initialization_rate:
    description:
      - MiB a second, 100 to 300, at which AWS loads the blocks from the snapshot. Costs extra.
      - Without it blocks are loaded when they are first read, which is slow.
    type: int
  kms_key_id:
    description: Key to encrypt the volume with. By default the account's default key for EBS.
    type: str
attributes:
  check_mode:
    description: Says whether a volume would be created.
    support: full
  diff_mode:
    description: Not done.
    support: none
  idempotent:
    description: Adopts an existing volume.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The dfir.aws authors (@dfir-aws)
"""

EXAMPLES = r"""
- name: Create the evidence volume in the host's zone
  dfir.aws.ec2_snapshot_volume:
    snapshot_id: snap-0123456789abcdef0
    availability_zone: eu-west-1a
    tags:
      dfir:request: 0123456789abcdef
      Name: evidence
    region: eu-west-1
"""

RETURN = r"""
volume_id:
  description: The volume; empty when check mode would create it.
  type: str
  returned: always
adopted:
  description: Whether it existed before.
  type: bool
  returned: always
state:
  description: Its state.
  type: str
  returned: always
  sample: creating
size_gib:
  description: Its size.
  type: int
  returned: always
instance_id:
  description: The instance that it is attached to, or empty.
  type: str
  returned: always
blank:
  description: Whether it was made empty. Its tag C(dfir:blank-for) names the snapshot.
  type: bool
  returned: always
"""

import hashlib
from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.tagging import boto3_tag_specifications
from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception

BLANK = "dfir:blank-for"
ALIVE = ["creating", "available", "in-use"]


def existing(ec2: Any, params: dict[str, Any]) -> dict[str, Any] | None:
    """The oldest volume that is already there for the same purpose, made from the snapshot or empty for it."""
    filters = {
        "availability-zone": params["availability_zone"],
        **{f"tag:{name}": params["tags"][name] for name in params["adopt_by_tags"]},
    }
    listed = [{"Name": name, "Values": [str(value)]} for name, value in filters.items()]
    found = [volume for page in ec2.get_paginator("describe_volumes").paginate(
        Filters=[*listed, {"Name": "status", "Values": ALIVE}]) for volume in page["Volumes"]
        if params["snapshot_id"] in (volume.get("SnapshotId"), blank_for(volume))]
    return min(found, key=lambda volume: (str(volume["CreateTime"]), volume["VolumeId"]), default=None)


def blank_for(volume: dict[str, Any]) -> str:
    """The snapshot that an empty volume was made for; empty for any other volume."""
    return next((str(tag["Value"]) for tag in volume.get("Tags") or [] if tag["Key"] == BLANK), "")


def creation(params: dict[str, Any]) -> dict[str, Any]:
    """Arguments of CreateVolume."""
    owner = [str(params["tags"][name]) for name in params["adopt_by_tags"]]
    token = "/".join((*owner, params["snapshot_id"], params["availability_zone"]))
    content: dict[str, Any] = {"SnapshotId": params["snapshot_id"]}
    tags = params["tags"]
    if params["blank"]:
        content, token = {"Size": params["size_gib"]}, f"{token}/blank"
        tags = {**tags, BLANK: params["snapshot_id"]}
    wanted = {
        **content, "AvailabilityZone": params["availability_zone"],
        "VolumeType": params["volume_type"], "Encrypted": True, "KmsKeyId": params["kms_key_id"] or None,
        "Iops": params["iops"], "Throughput": params["throughput"],
        "VolumeInitializationRate": None if params["blank"] else params["initialization_rate"],
        "ClientToken": hashlib.sha256(token.encode()).hexdigest(),
        "TagSpecifications": boto3_tag_specifications(tags, types=["volume"]),
    }
    return {name: value for name, value in wanted.items() if value is not None}


def facts(volume: dict[str, Any]) -> dict[str, Any]:
    attachments = volume.get("Attachments") or []
    return {
        "volume_id": volume.get("VolumeId", ""), "state": volume.get("State", ""), "size_gib": volume.get("Size", 0),
        "instance_id": attachments[0].get("InstanceId", "") if attachments else "", "blank": bool(blank_for(volume)),
    }


def main() -> None:
    """Entry point."""
    module = AwsModule(
        argument_spec={
            "snapshot_id": {"type": "str", "required": True},
            "blank": {"type": "bool", "default": False},
            "size_gib": {"type": "int"},
            "availability_zone": {"type": "str", "required": True},
            "tags": {"type": "dict", "required": True},
            "adopt_by_tags": {"type": "list", "elements": "str", "default": ["dfir:request"]},
            "volume_type": {"type": "str", "choices": ["gp3", "io2"], "default": "gp3"},
            "iops": {"type": "int"},
            "throughput": {"type": "int"},
            "initialization_rate": {"type": "int"},
            "kms_key_id": {"type": "str", "no_log": False},
        },
        required_if=[("volume_type", "io2", ["iops"]), ("blank", True, ["size_gib"])],
        supports_check_mode=True,
    )
    params = module.params
    for name in params["adopt_by_tags"]:
        if not params["tags"].get(name):
            module.fail_json(msg=f"tags lacks {name}: without it the volume could not be found again.")
    try:
        ec2 = module.client("ec2")
        volume = existing(ec2, params)
        if volume is not None:
            module.exit_json(changed=False, adopted=True, **facts(volume))
        created = {} if module.check_mode else ec2.create_volume(**creation(params))
    except (ClientError, BotoCoreError) as error:
        how = "an empty volume for" if params["blank"] else "a volume from"
        module.fail_json_aws(error, msg=f"Cannot create {how} {params['snapshot_id']}")
    module.exit_json(changed=True, adopted=False, **facts(created))


if __name__ == "__main__":
    main()
