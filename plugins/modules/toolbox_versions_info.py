#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: toolbox_versions_info
short_description: Which images of tools have been published
version_added: 0.1.0
author:
  - The dfir.aws authors (@dfir-aws)
description:
  - Reads the descriptors of published images, which lie below C(toolbox/) in the artifact bucket beside the archives.
    Each was written once, and last of all that belongs to its image.
options:
  bucket:
    description: The artifact bucket.
    type: str
    required: true
  name:
    description: The image's name.
    type: str
    default: analyst-tools
  content:
    description: Only images with this content, as M(dfir.aws.toolbox_context) says it.
    type: str
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - dfir.aws.aws.read_only
notes:
  - "Needed: C(s3:ListBucket) for C(toolbox/), C(s3:GetObject) on C(toolbox/*)."
"""

EXAMPLES = r"""
- name: Which images are there?
  dfir.aws.toolbox_versions_info:
    bucket: dfir-artifacts-123456789012
    region: eu-west-1
"""

RETURN = r"""
versions:
  description: The descriptors, newest first.
  returned: success
  type: list
  elements: dict
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception

FOLDER = "toolbox/"
# Name, version with the moment of its build, content.
DESCRIPTOR = r"{name}-[0-9][A-Za-z0-9_.+]*-(\d{{8}}\.\d{{6}})-([0-9a-f]{{16}})\.json"


def descriptors(s3: Any, bucket: str, name: str, content: str | None) -> Iterator[tuple[str, str]]:
    """The moment of each build with the key of its descriptor."""
    pattern = re.compile(DESCRIPTOR.format(name=re.escape(name)))
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{FOLDER}{name}-"):
        for item in page.get("Contents") or []:
            match = pattern.fullmatch(item["Key"][len(FOLDER):])
            if match and content in (None, match[2]):
                yield match[1], item["Key"]


def main() -> None:
    """Entry point."""
    module = AwsModule(supports_check_mode=True, argument_spec={
        "bucket": {"type": "str", "required": True},
        "name": {"type": "str", "default": "analyst-tools"},
        "content": {"type": "str"},
    })
    bucket = module.params["bucket"]
    s3 = module.client("s3")
    versions = []
    try:
        found = descriptors(s3, bucket, module.params["name"], module.params["content"])
        for _moment, key in sorted(found, reverse=True):
            versions.append(json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read()))
    except ValueError:
        module.fail_json(msg=f"s3://{bucket}/{key} is no descriptor of an image of tools: somebody else wrote it.")
    except (ClientError, BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"Cannot read the published images in s3://{bucket}/{FOLDER}")
    module.exit_json(changed=False, versions=versions)


if __name__ == "__main__":
    main()
