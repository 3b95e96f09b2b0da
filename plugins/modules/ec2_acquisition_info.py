#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_acquisition_info
short_description: Which instances are meant, and what would be captured of each
version_added: 0.1.0
author:
  - The dfir.aws authors (@dfir-aws)
description:
  - Finds the instances of an acquisition by id or by tags, with their volumes and with what cannot be captured.
  - An instance that there is not is an entry with a RV(instances[].problem), and no error. So are the instances of
    another account that cannot be entered.
options:
  request:
    description: The acquisition, as M(dfir.aws.operator_request) let it in.
    type: dict
    required: true
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - dfir.aws.aws.read_only
  - dfir.aws.aws.access
notes:
  - "Needed: C(ec2:DescribeInstances), C(ec2:DescribeVolumes), C(ec2:DescribeSnapshots), C(ec2:DescribeInstanceTypes)."
"""

EXAMPLES = r"""
- name: Look at the instances
  dfir.aws.ec2_acquisition_info:
    request: "{{ acquire_instance_asked.request_spec }}"
    region: eu-west-1
"""

RETURN = r"""
instances:
  description: One entry an instance, by id.
  returned: success
  type: list
  elements: dict
  contains:
    instance_id:
      description: The instance. Empty where an account cannot be entered in which instances are looked for by tags.
      type: str
    account:
      description: Its account.
      type: str
    acquisition:
      description: What snapshots of this acquisition carry as C(dfir:acquisition).
      type: str
    volumes:
      description: Its volumes, each with C(captured) and C(why) not.
      type: list
      elements: dict
    not_captured:
      description: What will not be captured, and why.
      type: list
      elements: dict
    earlier:
      description: How many snapshots of this acquisition there are.
      type: int
    problem:
      description: Why it cannot be acquired, or empty.
      type: str
"""

from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule

from ..module_utils.acquisition import members, plan
from ..module_utils.assumed_role import ACCESS, CannotEnter, in_account

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception


def main() -> None:
    """Entry point."""
    module = AwsModule(supports_check_mode=True, argument_spec={
        "request": {"type": "dict", "required": True}, "access": ACCESS})
    request, accounts = module.params["request"], members.Accounts(module)
    instances: list[dict[str, Any]] = []
    closed = False
    for target in members.targets_of(request):
        account = str(target["account"])
        try:
            instances += plan.look(accounts.clients(account)("ec2"), {**request, **target})
        except (CannotEnter, ClientError, BotoCoreError) as error:
            if account == request["account"]:
                module.fail_json_aws(error, msg="Cannot look at the instances")
            # One account that cannot be reached does not keep the others.
            closed = True
            instances += plan.unreachable({**request, **target}, str(error) if isinstance(error, CannotEnter)
                                          else in_account(account, request["region"], error))
    there = {volume["volume_id"] for item in instances for volume in item["volumes"]}
    strange = sorted(set(request["exclude_volumes"]) - there)
    if strange and not closed:
        module.fail_json(msg=f"exclude_volumes names {', '.join(strange)}, which none of these instances has: correct "
                             "it, so that nothing is captured that was to be left out.")
    module.exit_json(changed=False, instances=instances)


if __name__ == "__main__":
    main()
