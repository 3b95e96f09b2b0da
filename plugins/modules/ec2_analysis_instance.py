#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Launch the instance of a request, at once, and never twice."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: ec2_analysis_instance
version_added: 0.1.0
short_description: Launch an instance that terminates itself, or adopt the one that exists
description:
  - Launches one instance with all its tags in the creating call, and answers with its id at once.
    Wait for it with M(dfir.aws.aws_wait), which also notices when it dies.
  - What makes an analysis host one is not left to options. Shutting it down terminates it, IMDSv2 is required, with a
    hop limit of 1, and its network interface goes with it.
  - A living instance with the same value of O(adopt_by_tag) is adopted. The call itself carries a client token made
    from that value, so that two calls at the same time get one instance.
  - Where a zone has no capacity, or a subnet no address left, the next of O(subnet_ids) is tried. When all of them
    refuse, that is a failure that says so after a few tries. M(amazon.aws.ec2_instance) tries for up to six minutes in
    silence, without a way to have it otherwise.
options:
  image_id:
    description: The machine image.
    type: str
    required: true
  instance_type:
    description: The instance type.
    type: str
    required: true
  subnet_ids:
    description:
      - The subnets, in the order in which they are tried. All lie in one VPC, the one of O(security_group_ids).
      - Put each into a zone of its own. A zone without capacity has none for any of its subnets.
    type: list
    elements: str
    required: true
  security_group_ids:
    description: Its security groups.
    type: list
    elements: str
    required: true
  instance_profile_arn:
    description: Its instance profile.
    type: str
    required: true
  assign_public_ip:
    description: Whether it gets a public address.
    type: bool
    default: false
  volumes:
    description: Its disks, as the filter P(dfir.aws.launch_disks#filter) makes them.
    type: list
    elements: dict
    required: true
  user_data:
    description: Its user data.
    type: str
    required: true
  tags:
    description: Tags of the instance and its volumes. One of them is O(adopt_by_tag).
    type: dict
    required: true
  adopt_by_tag:
    description: The tag whose value tells whose instance it is.
    type: str
    default: dfir:request
attributes:
  check_mode:
    description: Says whether an instance would be launched.
    support: full
  diff_mode:
    description: Not done.
    support: none
  idempotent:
    description: Adopts an existing instance.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The dfir.aws authors (@dfir-aws)
"""

EXAMPLES = r"""
- name: Launch the host
  dfir.aws.ec2_analysis_instance:
    image_id: ami-0123456789abcdef0
    instance_type: m6i.large
    subnet_ids: [subnet-0123456789abcdef0, subnet-0fedcba9876543210]
    security_group_ids: [sg-0123456789abcdef0]
    instance_profile_arn: arn:aws:iam::123456789012:instance-profile/dfir/dfir-0123456789abcdef
    volumes: "{{ found.image | dfir.aws.launch_disks(94) }}"
    user_data: "#cloud-config"
    tags:
      dfir:request: 0123456789abcdef
      Name: dfir-0123456789abcdef
    region: eu-west-1
  register: launched
  until: launched is succeeded or not (launched.try_again | default(false))
  retries: 12
  delay: 3
"""

RETURN = r"""
instance_id:
  description: The instance; empty when check mode would launch it.
  type: str
  returned: success
adopted:
  description: Whether it existed before.
  type: bool
  returned: success
subnet_id:
  description: The subnet in which it was launched; empty when it existed before.
  type: str
  returned: success
tries:
  description: One line for each subnet that refused.
  type: list
  elements: str
  returned: always
  sample: ["eu-west-1a (subnet-0123456789abcdef0) has no capacity for an instance of type m6i.large now"]
try_again:
  description: The failure is one that passes within seconds. EC2 does not see the instance profile yet.
  type: bool
  returned: failure
"""

import hashlib
from typing import Any

from ansible.module_utils.common.dict_transformations import snake_dict_to_camel_dict
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.amazon.aws.plugins.module_utils.tagging import boto3_tag_specifications
from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception

ALIVE = ["pending", "running"]
# EC2's server errors are tried again by botocore, a lack of capacity among them: there the next zone is better than
# patience. A call that is throttled is tried again here.
RETRIES = {"retries": {"mode": "standard", "total_max_attempts": 3}}
BUSY = AWSRetry.jittered_backoff(retries=5, delay=1, max_delay=10)


def existing(ec2: Any, params: dict[str, Any]) -> str:
    """The oldest living instance that is already there for the same purpose, or nothing."""
    filters = {f"tag:{params['adopt_by_tag']}": [str(params["tags"][params["adopt_by_tag"]])],
               "instance-state-name": ALIVE}
    listed = [{"Name": name, "Values": values} for name, values in filters.items()]
    found = [item for page in ec2.get_paginator("describe_instances").paginate(Filters=listed)
             for reservation in page["Reservations"] for item in reservation["Instances"]]
    oldest = min(found, key=lambda item: (str(item["LaunchTime"]), item["InstanceId"]), default={"InstanceId": ""})
    return str(oldest["InstanceId"])


def launch(params: dict[str, Any], subnet_id: str) -> dict[str, Any]:
    """Arguments of RunInstances.

    The client token is the request's in this subnet: the same call once more gets the same instance, and a call for
    another zone is not held against the one before it.
    """
    owner = str(params["tags"][params["adopt_by_tag"]])
    return {
        "MinCount": 1, "MaxCount": 1, "ImageId": params["image_id"], "InstanceType": params["instance_type"],
        "InstanceInitiatedShutdownBehavior": "terminate",
        "IamInstanceProfile": {"Arn": params["instance_profile_arn"]},
        "MetadataOptions": {"HttpEndpoint": "enabled", "HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        "NetworkInterfaces": [{
            "DeviceIndex": 0, "SubnetId": subnet_id, "Groups": params["security_group_ids"],
            "AssociatePublicIpAddress": params["assign_public_ip"], "DeleteOnTermination": True}],
        "BlockDeviceMappings": [snake_dict_to_camel_dict(disk, capitalize_first=True) for disk in params["volumes"]],
        "UserData": params["user_data"],
        "TagSpecifications": boto3_tag_specifications(params["tags"], types=["instance", "volume"]),
        "ClientToken": hashlib.sha256(f"{owner}/{subnet_id}".encode()).hexdigest(),
    }


def said(error: Exception) -> tuple[str, str]:
    """Code and words of AWS' refusal."""
    answer = getattr(error, "response", {}).get("Error", {})
    return str(answer.get("Code", "")), str(answer.get("Message", ""))


def elsewhere(error: Exception, params: dict[str, Any]) -> str:
    """Why this subnet refused, where another one may not; else nothing."""
    return {
        "InsufficientInstanceCapacity": f"has no capacity for an instance of type {params['instance_type']} now",
        "Unsupported": f"does not offer what was asked for with instance type {params['instance_type']}",
        "InsufficientFreeAddressesInSubnet": "has no free address",
    }.get(said(error)[0], "")


def zone_of(ec2: Any, subnet_id: str) -> str:
    """The name of a subnet's zone, for people; the subnet's own id where it is not told."""
    try:
        return str(ec2.describe_subnets(SubnetIds=[subnet_id])["Subnets"][0]["AvailabilityZone"])
    except (ClientError, BotoCoreError, LookupError):
        return subnet_id


def explain(error: Exception, params: dict[str, Any], tries: list[str]) -> tuple[str, bool]:
    """What AWS' refusal means for whoever asked, and whether it passes within seconds."""
    code, message = said(error)
    if elsewhere(error, params):
        return (f"AWS launches no instance of type {params['instance_type']} in any of the subnets: "
                f"{'; '.join(tries)}. Try again later, ask for another instance type, or add a subnet in another zone "
                "to dfir_aws_analysis_subnet_ids", False)
    if code == "IdempotentParameterMismatch":
        return ("An instance was launched for the same request a moment ago, and AWS does not show it yet. Try again "
                "in a minute", False)
    return "Cannot launch an instance", "nstance profile" in message.lower() or "nstanceprofile" in message.lower()


def place(ec2: Any, params: dict[str, Any], tries: list[str]) -> tuple[str, str]:
    """Launch it in the first subnet that takes it; instance and subnet. `tries` gets a line for each that refused."""
    last = len(params["subnet_ids"]) - 1
    for position, subnet_id in enumerate(params["subnet_ids"]):
        try:
            launched = BUSY(ec2.run_instances)(**launch(params, subnet_id))
            return str(launched["Instances"][0]["InstanceId"]), subnet_id
        except ClientError as error:
            why = elsewhere(error, params)
            if why:
                tries.append(f"{zone_of(ec2, subnet_id)} ({subnet_id}) {why}")
            if not why or position == last:
                raise
    raise LookupError("no subnet to try")


def main() -> None:
    """Entry point."""
    module = AwsModule(
        argument_spec={
            "image_id": {"type": "str", "required": True},
            "instance_type": {"type": "str", "required": True},
            "subnet_ids": {"type": "list", "elements": "str", "required": True},
            "security_group_ids": {"type": "list", "elements": "str", "required": True},
            "instance_profile_arn": {"type": "str", "required": True},
            "assign_public_ip": {"type": "bool", "default": False},
            "volumes": {"type": "list", "elements": "dict", "required": True},
            "user_data": {"type": "str", "required": True},
            "tags": {"type": "dict", "required": True},
            "adopt_by_tag": {"type": "str", "default": "dfir:request"},
        },
        supports_check_mode=True,
    )
    params = module.params
    if not params["tags"].get(params["adopt_by_tag"]):
        module.fail_json(msg=f"tags lacks {params['adopt_by_tag']}: without it the instance could not be found again.")
    if not params["subnet_ids"]:
        module.fail_json(msg="subnet_ids is empty: there is no place to launch the instance.")
    tries: list[str] = []
    try:
        instance_id = existing(module.client("ec2"), params)
        if instance_id or module.check_mode:
            module.exit_json(changed=not instance_id, adopted=bool(instance_id), instance_id=instance_id, subnet_id="",
                             tries=tries)
        launched, subnet_id = place(module.client("ec2", config=RETRIES), params, tries)
    except (ClientError, BotoCoreError) as error:
        words, passes = explain(error, params, tries)
        module.fail_json_aws(error, msg=words, try_again=passes, tries=tries)
    module.exit_json(changed=True, adopted=False, instance_id=launched, subnet_id=subnet_id, tries=tries)


if __name__ == "__main__":
    main()
