#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which machine image an analysis host boots from."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: analysis_image_info
version_added: 0.1.0
short_description: Resolve the machine image of an analysis host, and refuse one that cannot do the work
description:
  - Resolves an image by its id, by a public SSM parameter, or by the id of its owner I(and) its name; never by name
    alone, because anybody can publish an image of any name.
  - Refuses Amazon Linux, which has no podman, no btrfs, no NTFS and no cron; Windows; and an image whose architecture
    the instance type does not have.
options:
  image_id:
    description: An image id. Outranks the other options.
    type: str
  parameter:
    description: Name of an SSM parameter that holds an image id.
    type: str
  owner:
    description: Account that owns the image, for O(name).
    type: str
  name:
    description: Name of the image, with wildcards; the newest one is taken.
    type: str
  instance_type:
    description: The instance type that is to boot it.
    type: str
    required: true
attributes:
  check_mode:
    description: Changes nothing.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
  idempotent:
    description: Changes nothing.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The dfir.aws authors (@dfir-aws)
"""

EXAMPLES = r"""
- name: Take the newest Debian 12
  dfir.aws.analysis_image_info:
    parameter: /aws/service/debian/release/12/latest/amd64
    instance_type: m6i.large
    region: eu-west-1
  register: image
"""

RETURN = r"""
image:
  description: The image.
  type: dict
  returned: always
  contains:
    image_id:
      description: Its id.
      type: str
    name:
      description: Its name.
      type: str
    owner_id:
      description: Account that owns it.
      type: str
    architecture:
      description: C(x86_64) or C(arm64).
      type: str
    root_device_name:
      description: Name under which its root volume is mapped.
      type: str
    root_volume_gib:
      description: Size of its root volume.
      type: int
"""

import re
from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception

AMAZON_LINUX = re.compile(r"(al20\d\d|amzn\d?)-ami-.*")


class Refused(Exception):
    """One sentence that says why not, and what to do."""


def image_id_of(params: dict[str, Any], ssm: Any) -> str | None:
    """The id that was given, or that the parameter holds."""
    if params["image_id"]:
        return str(params["image_id"])
    if not params["parameter"]:
        return None
    try:
        return str(ssm().get_parameter(Name=params["parameter"])["Parameter"]["Value"])
    except ClientError as error:
        if error.response["Error"]["Code"] != "ParameterNotFound":
            raise
        raise Refused(f"There is no SSM parameter {params['parameter']} in this region: "
                      "give another one, or an image id.") from error


def find_image(ec2: Any, params: dict[str, Any], image_id: str | None) -> dict[str, Any]:
    """The image as AWS describes it."""
    if image_id:
        found = ec2.describe_images(Filters=[{"Name": "image-id", "Values": [image_id]}])["Images"]
        where = f"image {image_id}"
    else:
        found = ec2.describe_images(Owners=[params["owner"]],
                                    Filters=[{"Name": "name", "Values": [params["name"]]}])["Images"]
        where = f"image named {params['name']} of account {params['owner']}"
    available = [image for image in found if image.get("State", "available") == "available"]
    if not available:
        raise Refused(f"There is no available {where} in this region: give another one.")
    return max(available, key=lambda image: (image.get("CreationDate", ""), image["ImageId"]))


def check_image(image: dict[str, Any], instance_type: str, architectures: list[str]) -> None:
    """Refuse what cannot work, before anything is launched."""
    name = f"{image['ImageId']} ({image.get('Name', 'without a name')})"
    if AMAZON_LINUX.fullmatch(str(image.get("Name", ""))):
        raise Refused(f"Image {name} is Amazon Linux, which has no podman, no btrfs, no NTFS and no cron: "
                      "take an official Debian or Ubuntu image.")
    if str(image.get("Platform", "")).lower() == "windows":
        raise Refused(f"Image {name} is Windows: take an official Debian or Ubuntu image.")
    if image.get("RootDeviceType") == "instance-store":
        raise Refused(f"Image {name} has no EBS root volume: take an official Debian or Ubuntu image.")
    if image["Architecture"] not in architectures:
        raise Refused(f"Image {name} is made for {image['Architecture']}, instance type {instance_type} has "
                      f"{', '.join(architectures)}: choose the other type or the other image.")


def architectures_of(ec2: Any, instance_type: str) -> list[str]:
    """What an instance type can boot."""
    try:
        found = ec2.describe_instance_types(InstanceTypes=[instance_type])["InstanceTypes"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "InvalidInstanceType":
            raise
        found = []
    if not found:
        raise Refused(f"Instance type {instance_type} is not offered in this region: choose another one.")
    return list(found[0]["ProcessorInfo"]["SupportedArchitectures"])


def facts(image: dict[str, Any]) -> dict[str, Any]:
    """What the launch needs to know."""
    root = image.get("RootDeviceName") or "/dev/xvda"
    sizes = [item["Ebs"].get("VolumeSize") for item in image.get("BlockDeviceMappings") or []
             if item.get("DeviceName") == root and "Ebs" in item]
    return {
        "image_id": image["ImageId"], "name": image.get("Name", ""), "owner_id": image.get("OwnerId", ""),
        "architecture": image["Architecture"], "root_device_name": root, "root_volume_gib": int((sizes or [0])[0] or 8),
    }


def main() -> None:
    """Entry point."""
    module = AnsibleAWSModule(
        argument_spec={
            "image_id": {"type": "str"},
            "parameter": {"type": "str"},
            "owner": {"type": "str"},
            "name": {"type": "str"},
            "instance_type": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    params = module.params
    if not (params["image_id"] or params["parameter"] or (params["owner"] and params["name"])):
        module.fail_json(msg="Give image_id, or parameter, or owner and name: a name alone can be anybody's image.")
    try:
        ec2 = module.client("ec2")
        image = find_image(ec2, params, image_id_of(params, lambda: module.client("ssm")))
        check_image(image, params["instance_type"], architectures_of(ec2, params["instance_type"]))
    except Refused as refusal:
        module.fail_json(msg=str(refusal))
    except (ClientError, BotoCoreError) as error:
        module.fail_json_aws(error, msg="Cannot look up the machine image")
    module.exit_json(changed=False, image=facts(image))


if __name__ == "__main__":
    main()
