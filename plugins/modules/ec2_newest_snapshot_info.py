#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The newest snapshot of an instance's root volume."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_newest_snapshot_info
short_description: Find the newest snapshot of an instance's root volume
version_added: 0.1.0
author:
  - The dfir.aws authors (@dfir-aws)
description:
  - Finds the volume that an instance boots from, and this account's newest completed snapshot of it.
  - Nothing is created. Where there is no snapshot, RV(reason) says so.
options:
  instance_id:
    description: The instance.
    type: str
    required: true
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - dfir.aws.aws.read_only
notes:
  - "Needed: C(ec2:DescribeInstances) and C(ec2:DescribeSnapshots)."
"""

EXAMPLES = r"""
- name: Find the newest snapshot
  dfir.aws.ec2_newest_snapshot_info:
    instance_id: i-0123456789abcdef0
    region: eu-west-1
  register: newest
"""

RETURN = r"""
volume_id:
  description: The root volume. Empty where the instance has none any more.
  returned: success
  type: str
snapshot_id:
  description: Its newest snapshot. Empty where there is none.
  returned: success
  type: str
started_at:
  description: When it was made.
  returned: success
  type: str
  sample: "2026-01-31T12:00:00Z"
reason:
  description: Why there is none, and what to do. Empty where there is one.
  returned: success
  type: str
"""

from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule
from ansible_collections.dfir.aws.plugins.module_utils.request_spec import iso

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception


def root_volume(ec2: Any, instance_id: str) -> tuple[bool, str]:
    """Whether there is such an instance, and the volume that it boots from."""
    # By a filter: an id that is not there is then an empty answer and no error.
    found = ec2.describe_instances(Filters=[{"Name": "instance-id", "Values": [instance_id]}])["Reservations"]
    instances = [instance for reservation in found for instance in reservation["Instances"]]
    if not instances:
        return False, ""
    root = instances[0].get("RootDeviceName")
    return True, next((disk["Ebs"]["VolumeId"] for disk in instances[0].get("BlockDeviceMappings") or []
                       if disk.get("DeviceName") == root and "Ebs" in disk), "")


def newest(ec2: Any, volume_id: str) -> dict[str, Any]:
    """This account's newest completed snapshot of a volume; empty where there is none."""
    pages = ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"], Filters=[
        {"Name": "volume-id", "Values": [volume_id]}, {"Name": "status", "Values": ["completed"]}])
    found = [item for page in pages for item in page["Snapshots"]]
    return max(found, key=lambda item: (item["StartTime"], item["SnapshotId"]), default={})


def find(ec2: Any, instance_id: str, region: str) -> dict[str, str]:
    """What the module returns."""
    there, volume_id = root_volume(ec2, instance_id)
    snapshot = newest(ec2, volume_id) if volume_id else {}
    reason = ""
    if not there:
        reason = f"There is no instance {instance_id} in {region} any more: look for snapshots of its volumes by hand."
    elif not volume_id:
        reason = f"The instance {instance_id} in {region} has no root volume on EBS: nothing of it can be looked into."
    elif not snapshot:
        reason = (f"There is no completed snapshot of {volume_id}, the root volume of {instance_id} in {region}: make "
                  "one (aws ec2 create-snapshot), and look into that by hand.")
    return {"volume_id": volume_id, "snapshot_id": str(snapshot.get("SnapshotId", "")), "reason": reason,
            "started_at": iso(snapshot["StartTime"]) if snapshot else ""}


def main() -> None:
    """Entry point."""
    module = AwsModule(argument_spec={"instance_id": {"type": "str", "required": True}}, supports_check_mode=True)
    instance_id = module.params["instance_id"]
    try:
        result = find(module.client("ec2"), instance_id, module.region)
    except (ClientError, BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"Cannot look for a snapshot of the instance {instance_id}")
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
