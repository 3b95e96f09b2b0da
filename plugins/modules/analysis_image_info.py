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
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - dfir.aws.aws.read_only
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
instance_type:
  description: The instance type.
  type: dict
  returned: success
  contains:
    name:
      description: Its name.
      type: str
    vcpus:
      description: How many virtual processors it has.
      type: int
    memory_mib:
      description: Its memory in MiB.
      type: int
    architectures:
      description: What it can boot.
      type: list
      elements: str
"""

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule

from ..module_utils.machine_image import (
    Refused,
    check_image,
    described_type,
    facts,
    find_image,
    image_id_of,
    type_facts,
)

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception


def main() -> None:
    """Entry point."""
    module = AwsModule(
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
        instance_type = type_facts(described_type(ec2, params["instance_type"]))
        check_image(image, params["instance_type"], instance_type["architectures"])
    except Refused as refusal:
        module.fail_json(msg=str(refusal))
    except (ClientError, BotoCoreError) as error:
        module.fail_json_aws(error, msg="Cannot look up the machine image")
    module.exit_json(changed=False, image=facts(image), instance_type=instance_type)


if __name__ == "__main__":
    main()
