#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What exists for a request, asked from AWS."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: request_resources_info
version_added: 0.1.0
short_description: Find what exists at AWS for a request, with the commands that remove it
description:
  - Finds instances, volumes, network interfaces, security groups and snapshots that carry the tag C(dfir:request),
    and IAM roles and instance profiles below the path C(/dfir/) that belong to the request.
  - The answer is what AWS says exists, not what a run remembers. Alerts, clean-up and audits all use it.
  - Copies of snapshots belong to their source, not to a request. They are not listed.
options:
  request_id:
    description: The request. Without it the resources of all requests are listed.
    type: str
  regions:
    description: Regions to look in. By default the region of the connection.
    type: list
    elements: str
  iam:
    description: Whether to look for IAM roles and instance profiles, too.
    type: bool
    default: true
  iam_path:
    description: Path below which the roles and profiles of requests lie.
    type: str
    default: /dfir/
  iam_tags:
    description: Whether to ask for the tags of roles and profiles, too, which takes a call for each.
    type: bool
    default: false
  partial:
    description:
      - Go on when a region, or IAM, cannot be listed, and say so in RV(unseen). By default that is a failure.
    type: bool
    default: false
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - dfir.aws.aws.read_only
author:
  - The dfir.aws authors (@dfir-aws)
"""

EXAMPLES = r"""
- name: What does this request leave behind?
  dfir.aws.request_resources_info:
    request_id: 0123456789abcdef
    regions: [eu-west-1, us-east-1]
    region: eu-west-1
  register: left
"""

RETURN = r"""
resources:
  description: What exists, in the order in which it can be removed.
  type: list
  elements: dict
  returned: always
  contains:
    type:
      description: Kind of resource.
      type: str
      sample: instance
    id:
      description: Its id, or the name of a role or profile.
      type: str
      sample: i-0123456789abcdef0
    region:
      description: Its region; C(global) for IAM.
      type: str
    state:
      description: Its state, where it has one.
      type: str
      sample: running
    name:
      description: Its name.
      type: str
    request_id:
      description: The request that it belongs to, as its tag or its name says.
      type: str
    created:
      description: When it was created, in UTC, where AWS says so.
      type: str
    expires:
      description: Value of its tag C(dfir:expires).
      type: str
    goes_with:
      description: The instance that takes it along when it terminates, or empty.
      type: str
    tags:
      description: Its tags. Those of roles and profiles only with O(iam_tags).
      type: dict
    path:
      description: The path of a role or profile.
      type: str
    remove_command:
      description: A command for the AWS CLI that removes it.
      type: str
      sample: aws ec2 terminate-instances --region eu-west-1 --instance-ids i-0123456789abcdef0
count:
  description: How many.
  type: int
  returned: always
remove_commands:
  description: All commands, in order.
  type: list
  elements: str
  returned: always
looked:
  description: Where the look succeeded - regions, and C(global) for IAM.
  type: list
  elements: str
  returned: always
unseen:
  description: Where it did not, with O(partial).
  type: list
  elements: dict
  returned: always
  contains:
    place:
      description: The region, or C(global) for IAM.
      type: str
    reason:
      description: What AWS said.
      type: str
"""

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule
from ansible_collections.dfir.aws.plugins.module_utils.resources import find_ec2, find_iam

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception


def main() -> None:
    """Entry point."""
    module = AwsModule(
        argument_spec={
            "request_id": {"type": "str"},
            "regions": {"type": "list", "elements": "str"},
            "iam": {"type": "bool", "default": True},
            "iam_path": {"type": "str", "default": "/dfir/"},
            "iam_tags": {"type": "bool", "default": False},
            "partial": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    params = module.params
    request_id = params["request_id"] or None
    regions = list(dict.fromkeys(params["regions"] or [module.region]))
    resources, looked, unseen = [], [], []
    for place in regions + (["global"] if params["iam"] else []):
        try:
            if place == "global":
                resources += find_iam(module.client("iam"), request_id, params["iam_path"], tagged=params["iam_tags"])
            else:
                resources += find_ec2(module.client("ec2", region=place), place, request_id)
            looked.append(place)
        except (ClientError, BotoCoreError) as error:
            if not params["partial"]:
                name = "IAM" if place == "global" else place
                module.fail_json_aws(error, msg=f"Cannot list what exists in {name}")
            unseen.append({"place": place, "reason": str(error)})
    facts = [resource.facts() for resource in sorted(resources, key=lambda item: item.order)]
    module.exit_json(changed=False, resources=facts, count=len(facts), looked=looked, unseen=unseen,
                     remove_commands=[fact["remove_command"] for fact in facts])


if __name__ == "__main__":
    main()
