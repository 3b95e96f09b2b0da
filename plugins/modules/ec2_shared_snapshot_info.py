#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at one snapshot, this account's own or one that another account shares with it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: ec2_shared_snapshot_info
version_added: 0.1.0
short_description: Look at one snapshot, whoever owns it
description:
  - Describes a snapshot that this account owns or may use, and says whether everybody may use it, and, where AWS tells
    it, which AWS Marketplace product codes it carries.
  - M(amazon.aws.ec2_snapshot_info) asks for each snapshot who may use it, which AWS tells to its owner alone, and
    cannot ask whether one is public. It fits snapshots of one's own.
options:
  snapshot_id:
    description: The snapshot.
    type: str
    required: true
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - dfir.aws.aws.read_only
author:
  - The dfir.aws authors (@dfir-aws)
seealso:
  - module: amazon.aws.ec2_snapshot_info
notes:
  - "Needed: C(ec2:DescribeSnapshots). For product codes C(ec2:DescribeSnapshotAttribute); without it they are unknown."
"""

EXAMPLES = r"""
- name: Look at a snapshot that another account shares
  dfir.aws.ec2_shared_snapshot_info:
    snapshot_id: snap-0123456789abcdef0
    region: eu-west-1
"""

RETURN = r"""
snapshots:
  description:
    - The snapshot, as M(amazon.aws.ec2_snapshot_info) spells it, without C(create_volume_permissions).
    - Empty when there is none with this id in the region, or when it is not shared with this account.
  returned: always
  type: list
  elements: dict
  contains:
    public:
      description: Whether every AWS account may use it.
      type: bool
    product_codes:
      description:
        - AWS Marketplace product codes. None where AWS does not show them to this account, which is not their owner.
      type: list
      elements: str
"""

from typing import Any

from ansible.module_utils.common.dict_transformations import camel_dict_to_snake_dict
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.tagging import boto3_tag_list_to_ansible_dict
from ansible_collections.dfir.aws.plugins.module_utils import product_codes

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception

ABSENT = ("InvalidSnapshot.NotFound", "InvalidSnapshotID.Malformed")


def described(ec2: Any, snapshot_id: str, **more: Any) -> list[dict[str, Any]]:
    """The snapshot by its id: AWS answers an unknown one with an error, one that does not fit `more` with nothing."""
    try:
        return list(ec2.describe_snapshots(SnapshotIds=[snapshot_id], **more)["Snapshots"])
    except ClientError as error:
        if error.response["Error"]["Code"] in ABSENT:
            return []
        raise


def look(ec2: Any, snapshot_id: str) -> list[dict[str, Any]]:
    """The snapshot, whether it is public, and its product codes; nothing when it is not there."""
    found = described(ec2, snapshot_id)
    # Anybody may ask this, unlike DescribeSnapshotAttribute, which answers the owner only.
    public = bool(found and described(ec2, snapshot_id, RestorableByUserIds=["all"]))
    return [{**camel_dict_to_snake_dict(item, ignore_list=["Tags"]), "public": public,
             "product_codes": product_codes.of_snapshot(ec2, snapshot_id),
             "tags": boto3_tag_list_to_ansible_dict(item.get("Tags") or [])} for item in found]


def main() -> None:
    """Entry point."""
    module = AnsibleAWSModule(argument_spec={"snapshot_id": {"type": "str", "required": True}},
                              supports_check_mode=True)
    snapshot_id = module.params["snapshot_id"]
    try:
        snapshots = look(module.client("ec2"), snapshot_id)
    except (ClientError, BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"Cannot look at snapshot {snapshot_id}")
    module.exit_json(changed=False, snapshots=snapshots)


if __name__ == "__main__":
    main()
