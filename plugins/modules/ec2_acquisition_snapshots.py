#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_acquisition_snapshots
short_description: Snapshot all volumes of instances, each instance in one crash-consistent call
version_added: 0.1.0
author:
  - The dfir.aws authors (@dfir-aws)
description:
  - Calls CreateSnapshots once for each instance, with names, description and tags in the call, and answers at
    once. Wait for the snapshots with M(dfir.aws.aws_wait). Instances are neither stopped nor changed.
  - Snapshots of the same acquisition are found by their tag and taken up, whatever became of the run that made them.
  - Several instances are handled side by side; one that fails has a C(problem).
options:
  request:
    description: The acquisition, as M(dfir.aws.operator_request) let it in.
    type: dict
    required: true
  instances:
    description: The instances, as M(dfir.aws.ec2_acquisition_info) returns them.
    type: list
    elements: dict
    required: true
  side_by_side:
    description: How many instances are handled at the same time.
    type: int
    default: 8
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - dfir.aws.aws.attributes
  - dfir.aws.aws.access
attributes:
  check_mode:
    support: none
  diff_mode:
    support: none
  idempotent:
    support: full
notes:
  - "Needed: C(ec2:CreateSnapshots), C(ec2:CreateTags) on snapshots, C(ec2:DescribeSnapshots)."
"""

EXAMPLES = r"""
- name: Take the snapshots
  dfir.aws.ec2_acquisition_snapshots:
    request: "{{ acquire_instance_asked.request_spec }}"
    instances: "{{ found.instances }}"
    region: eu-west-1
"""

RETURN = r"""
instances:
  description: One entry an instance - C(snapshots), C(not_captured), C(problem).
  returned: success
  type: list
  elements: dict
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule

from ..module_utils.acquisition import members, snapshots
from ..module_utils.assumed_role import ACCESS, CannotEnter


def main() -> None:
    """Entry point."""
    module = AwsModule(argument_spec={
        "request": {"type": "dict", "required": True},
        "instances": {"type": "list", "elements": "dict", "required": True},
        "side_by_side": {"type": "int", "default": 8},
        "access": ACCESS,
    })
    request, accounts = module.params["request"], members.Accounts(module)
    entries = module.params["instances"]
    clients: dict[str, tuple[Any, Any]] = {}
    closed: dict[str, str] = {}
    for account in sorted({members.account_of(entry, request) for entry in entries}):
        try:
            clients[account] = (accounts.client(account, "ec2"), accounts.client(account, "ec2", config={
                "retries": {"mode": "standard", "total_max_attempts": 1}}))
        except CannotEnter as refusal:
            closed[account] = str(refusal)

    def take(entry: dict[str, Any]) -> dict[str, Any]:
        account = members.account_of(entry, request)
        options = {**request, "account": account, "acquisition": entry["acquisition"],
                   "analyst": request["analyst"]["uid"]}
        try:
            if account in closed:
                raise CannotEnter(closed[account])
            return snapshots.acquire(*clients[account], entry, options)
        except Exception as error:  # whatever it is, it must not end the others
            return {"instance_id": entry["instance_id"], "changed": False, "snapshots": [],
                    "not_captured": entry["not_captured"],
                    "problem": f"The volumes of {entry['instance_id']} could not be snapshotted: {error}"}

    with ThreadPoolExecutor(max(1, module.params["side_by_side"])) as pool:
        told = list(pool.map(take, entries))
    module.exit_json(changed=any(item["changed"] for item in told), instances=told)


if __name__ == "__main__":
    main()
