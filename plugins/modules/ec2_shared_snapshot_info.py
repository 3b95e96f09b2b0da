#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at one snapshot, this account's own or one that another account shares with it, or at the copies made of it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: ec2_shared_snapshot_info
version_added: 0.1.0
short_description: Look at one snapshot, whoever owns it, or at the copies that were made of it
description:
  - Describes a snapshot that this account owns or may use, and says whether everybody may use it, and, where AWS tells
    it, which AWS Marketplace product codes it carries.
  - M(amazon.aws.ec2_snapshot_info) asks for each snapshot who may use it, which AWS tells to its owner alone, and
    cannot ask whether one is public. It fits snapshots of one's own.
options:
  snapshot_id:
    description:
      - The snapshot.
      - Give this or O(copies_of).
    type: str
  copies_of:
    description:
      - A snapshot whose copies in the region are looked for, by the tags C(dfir:source-snapshot) and
        C(dfir:source-region) that the role P(dfir.aws.snapshot#role) gives them. They are described without
        RV(snapshots[].public) and RV(snapshots[].product_codes).
    type: str
  copies_of_region:
    description: The region of O(copies_of).
    type: str
  owner:
    description: The account whose copies count. Tags on somebody else's snapshot say what somebody else wants.
    type: str
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

- name: Look for copies of a snapshot of another region
  dfir.aws.ec2_shared_snapshot_info:
    copies_of: snap-0123456789abcdef0
    copies_of_region: us-east-1
    owner: "123456789012"
    region: eu-west-1
"""

RETURN = r"""
snapshots:
  description:
    - The snapshot, as M(amazon.aws.ec2_snapshot_info) spells it, without C(create_volume_permissions).
    - Empty when there is none with this id in the region, or when it is not shared with this account.
    - With O(copies_of), all copies.
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
from ansible_collections.amazon.aws.plugins.module_utils.tagging import boto3_tag_list_to_ansible_dict
from ansible_collections.dfir.aws.plugins.module_utils import product_codes
from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule

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
    return [{**_as_ansible_has_it(item), "public": public,
             "product_codes": product_codes.of_snapshot(ec2, snapshot_id)} for item in found]


def copies(ec2: Any, snapshot_id: str, region: str, owner: str) -> list[dict[str, Any]]:
    """The copies that an account has of a snapshot, in the client's region."""
    wanted = {"tag:dfir:source-snapshot": snapshot_id, "tag:dfir:source-region": region}
    pages = ec2.get_paginator("describe_snapshots").paginate(
        OwnerIds=[owner], Filters=[{"Name": name, "Values": [value]} for name, value in wanted.items()])
    return [_as_ansible_has_it(item) for page in pages for item in page["Snapshots"]]


def _as_ansible_has_it(item: dict[str, Any]) -> dict[str, Any]:
    return {**camel_dict_to_snake_dict(item, ignore_list=["Tags"]),
            "tags": boto3_tag_list_to_ansible_dict(item.get("Tags") or [])}


def main() -> None:
    """Entry point."""
    module = AwsModule(
        argument_spec={"snapshot_id": {"type": "str"}, "copies_of": {"type": "str"},
                       "copies_of_region": {"type": "str"}, "owner": {"type": "str"}},
        mutually_exclusive=[("snapshot_id", "copies_of")], required_one_of=[("snapshot_id", "copies_of")],
        required_together=[("copies_of", "copies_of_region", "owner")], supports_check_mode=True)
    given = module.params
    try:
        ec2 = module.client("ec2")
        if given["copies_of"]:
            snapshots = copies(ec2, given["copies_of"], given["copies_of_region"], given["owner"])
        else:
            snapshots = look(ec2, given["snapshot_id"])
    except (ClientError, BotoCoreError) as error:
        module.fail_json_aws(error, msg="Cannot look at " + (
            f"copies of snapshot {given['copies_of']}" if given["copies_of"] else f"snapshot {given['snapshot_id']}"))
    module.exit_json(changed=False, snapshots=snapshots)


if __name__ == "__main__":
    main()
