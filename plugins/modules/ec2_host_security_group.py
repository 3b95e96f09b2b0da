#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The security group of one request's host, made once and never taken from somebody else."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: ec2_host_security_group
version_added: 0.1.0
short_description: Create the security group of a host, or adopt the one that exists
description:
  - Creates a security group with its tags in the creating call, and gives it the rules that are named and no others.
  - A group of this name in the same network with the same value of O(adopt_by_tag) is adopted; its rules are brought to
    what is named, its tags stay as they are. One of the same name with another value is somebody else's, and refused.
  - M(amazon.aws.ec2_security_group) sleeps for seconds after creating, and does not say why AWS refused.
options:
  name:
    description: Name of the group.
    type: str
    required: true
  description:
    description: Its description, which AWS never lets anybody change.
    type: str
    required: true
  vpc_id:
    description: The network.
    type: str
    required: true
  tags:
    description: Tags of the group. O(adopt_by_tag) is among them.
    type: dict
    required: true
  adopt_by_tag:
    description: Name of the tag whose value tells whose group it is.
    type: str
    default: dfir:request
  ingress:
    description: Who may connect to the host, as filter P(dfir.aws.ssh_rules#filter) writes it.
    type: list
    elements: dict
    required: true
    suboptions: &rule
      proto:
        description: C(tcp), C(udp), or C(all).
        type: str
        default: tcp
        choices: [tcp, udp, all]
      from_port:
        description: The first port. Together with O(ingress[].to_port), or O(ingress[].ports).
        type: int
      to_port:
        description: The last port.
        type: int
      ports:
        description: Ports and ranges of ports (C(8000-8100)), in place of the two above.
        type: list
        elements: str
        default: []
      cidr_ip:
        description: IPv4 address ranges.
        type: list
        elements: str
        default: []
      cidr_ipv6:
        description: IPv6 address ranges.
        type: list
        elements: str
        default: []
      ip_prefix:
        description: Prefix lists, such as that of a gateway endpoint.
        type: list
        elements: str
        default: []
      rule_desc:
        description: What the rule is for.
        type: str
  egress:
    description: What the host may connect to. Empty leaves it as EC2 makes it, everything.
    type: list
    elements: dict
    default: []
    suboptions: *rule
attributes:
  check_mode:
    description: Says whether something would be created or changed.
    support: full
  diff_mode:
    description: Not done.
    support: none
  idempotent:
    description: Adopts an existing group.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The dfir.aws authors (@dfir-aws)
notes:
  - "Needed: C(ec2:DescribeSecurityGroups), C(ec2:CreateSecurityGroup), C(ec2:CreateTags),
    C(ec2:AuthorizeSecurityGroupIngress), C(ec2:RevokeSecurityGroupIngress); with O(egress) also
    C(ec2:AuthorizeSecurityGroupEgress) and C(ec2:RevokeSecurityGroupEgress)."
"""

EXAMPLES = r"""
- name: Open port 22 to the controller and to the analyst
  dfir.aws.ec2_host_security_group:
    region: eu-west-1
    name: dfir-0123456789abcdef
    description: Analysis host of request 0123456789abcdef
    vpc_id: vpc-0123456789abcdef0
    ingress: "{{ ['10.1.2.0/28'] | dfir.aws.ssh_rules(['203.0.113.7/32']) }}"
    tags:
      dfir:request: 0123456789abcdef
"""

RETURN = r"""
group_id:
  description: The group; empty when check mode would create it.
  type: str
  returned: always
adopted:
  description: Whether it existed before.
  type: bool
  returned: always
"""

import time
from collections.abc import Callable
from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.tagging import boto3_tag_specifications
from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule

from ..module_utils.group_rules import WrongRule, changes, wanted_rules

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception

LISTED = {"type": "list", "elements": "str", "default": []}
RULE = {
    "proto": {"type": "str", "default": "tcp", "choices": ["tcp", "udp", "all"]}, "from_port": {"type": "int"},
    "to_port": {"type": "int"}, "ports": LISTED, "cidr_ip": LISTED, "cidr_ipv6": LISTED, "ip_prefix": LISTED,
    "rule_desc": {"type": "str"},
}
# Seconds between tries: a new group is not known everywhere at once, and for a while AWS may answer that there is none.
LATE = (0.5, 1, 2, 4, 8)


class Foreign(Exception):
    """There is a group of this name that is somebody else's."""


def known(call: Callable[..., Any], **arguments: Any) -> Any:
    """What a call answers once AWS knows the group."""
    for pause in LATE:
        try:
            return call(**arguments)
        except ClientError as error:
            if error.response["Error"]["Code"] != "InvalidGroup.NotFound":
                raise
        time.sleep(pause)
    return call(**arguments)


def find(ec2: Any, params: dict[str, Any]) -> dict[str, Any] | None:
    """The group of this name in the network.

    :raises Foreign: it does not carry the value by which it would be ours.
    """
    filters = [{"Name": "group-name", "Values": [params["name"]]}, {"Name": "vpc-id", "Values": [params["vpc_id"]]}]
    groups = ec2.describe_security_groups(Filters=filters)["SecurityGroups"]
    if not groups:
        return None
    group: dict[str, Any] = groups[0]
    tags = {tag["Key"]: tag["Value"] for tag in group.get("Tags") or []}
    if tags.get(params["adopt_by_tag"]) != str(params["tags"][params["adopt_by_tag"]]):
        raise Foreign(f"The security group {group['GroupId']} has the name {params['name']} and another owner (its tag "
                      f"{params['adopt_by_tag']} is {tags.get(params['adopt_by_tag'])!r}): rename or remove it.")
    return group


def create(ec2: Any, params: dict[str, Any]) -> dict[str, Any] | None:
    """Create the group; None when another run of the same request did so at this moment."""
    try:
        made = ec2.create_security_group(
            GroupName=params["name"], Description=params["description"], VpcId=params["vpc_id"],
            TagSpecifications=boto3_tag_specifications(params["tags"], types=["security-group"]))
    except ClientError as error:
        if error.response["Error"]["Code"] == "InvalidGroup.Duplicate":
            return None
        raise
    group: dict[str, Any] = known(ec2.describe_security_groups, GroupIds=[made["GroupId"]])["SecurityGroups"][0]
    return group


def bring_rules(ec2: Any, group: dict[str, Any], ingress: Any, egress: Any, *, check_mode: bool) -> bool:
    """Give the group the rules that are wanted and take all others away; whether that changed anything."""
    plan = []
    for has, wants, give, take in (
        (group.get("IpPermissions"), ingress, "authorize_security_group_ingress", "revoke_security_group_ingress"),
        (group.get("IpPermissionsEgress"), egress, "authorize_security_group_egress", "revoke_security_group_egress"),
    ):
        if wants is None:
            continue
        missing, superfluous = changes(has or [], wants)
        plan += [(give, missing), (take, superfluous)]
    todo = [(call, permissions) for call, permissions in plan if permissions]
    for call, permissions in [] if check_mode else todo:
        known(getattr(ec2, call), GroupId=group["GroupId"], IpPermissions=permissions)
    return bool(todo)


def main() -> None:
    """Entry point."""
    module = AwsModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "description": {"type": "str", "required": True},
            "vpc_id": {"type": "str", "required": True},
            "tags": {"type": "dict", "required": True},
            "adopt_by_tag": {"type": "str", "default": "dfir:request"},
            "ingress": {"type": "list", "elements": "dict", "required": True, "options": RULE},
            "egress": {"type": "list", "elements": "dict", "default": [], "options": RULE},
        },
        supports_check_mode=True,
    )
    params = module.params
    if not params["tags"].get(params["adopt_by_tag"]):
        module.fail_json(msg=f"tags lacks {params['adopt_by_tag']}: without it the group could not be found again.")
    group: dict[str, Any] | None = None
    try:
        ingress = wanted_rules(params["ingress"])
        egress = wanted_rules(params["egress"]) if params["egress"] else None
        ec2 = module.client("ec2")
        group = find(ec2, params)
        adopted = group is not None
        if group is None and module.check_mode:
            module.exit_json(changed=True, adopted=False, group_id="")
        if group is None:
            group = create(ec2, params)
        if group is None:
            group, adopted = find(ec2, params), True
        if group is None:
            module.fail_json(msg=f"Another run made the security group {params['name']}, and it is gone again.")
        changed = bring_rules(ec2, group, ingress, egress, check_mode=module.check_mode)
    except (Foreign, WrongRule) as refusal:
        module.fail_json(msg=str(refusal))
    except (ClientError, BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"The security group {params['name']} cannot be "
                                        f"{'given its rules' if group else 'made'}")
    module.exit_json(changed=changed or not adopted, adopted=adopted, group_id=group["GroupId"])


if __name__ == "__main__":
    main()
