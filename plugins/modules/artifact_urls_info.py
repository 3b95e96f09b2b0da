#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses under which a host that may read nothing gets objects of the artifact bucket for a while."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: artifact_urls_info
version_added: 0.1.0
short_description: Sign addresses of objects in the artifact bucket
description:
  - Looks whether each object is there, and signs an address for it that is good for a limited time.
  - An analysis host may read nothing in the bucket; this is how the controller hands it single objects.
  - The addresses are credentials. Give the task C(no_log=true).
options:
  bucket:
    description: The bucket.
    type: str
    required: true
  keys:
    description: Keys of the objects.
    type: list
    elements: str
    required: true
  expires_in:
    description:
      - Seconds for which the addresses are good, seven days at most.
      - With temporary credentials, they are good no longer than these.
    type: int
    default: 3600
  reader_endpoint_url:
    description: The S3 endpoint that the reader uses, where it is another than the controller's.
    type: str
    default: ""
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - dfir.aws.aws.read_only
author:
  - The dfir.aws authors (@dfir-aws)
notes:
  - "Needed: C(s3:GetObject) on the objects, and C(s3:ListBucket) to tell an absent one from a forbidden one."
seealso:
  - module: amazon.aws.s3_object
"""

EXAMPLES = r"""
- name: Sign the address of the image's archive
  dfir.aws.artifact_urls_info:
    bucket: dfir-artifacts-123456789012
    keys: [toolbox/analyst-tools-0.1.0.tar]
    region: eu-west-1
  register: archive
  no_log: true
"""

RETURN = r"""
urls:
  description: The addresses, in the order of O(keys).
  returned: always
  type: list
  elements: dict
  contains:
    key:
      description: The object's key.
      type: str
    size:
      description: Its size in bytes.
      type: int
    url:
      description: The signed address. A credential.
      type: str
"""

from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception

LONGEST = 7 * 24 * 3600  # what Signature Version 4 allows in a query
ABSENT = ("404", "NoSuchKey", "NotFound", "NoSuchBucket")
# A region's own host name: the global one redirects, which breaks the signature.
SIGNING = {"signature_version": "s3v4", "s3": {"addressing_style": "virtual"}}
SIGNING_ELSEWHERE = {"signature_version": "s3v4", "s3": {"addressing_style": "path"}}


def signed(s3: Any, bucket: str, key: str, seconds: int) -> str:
    """An address of an object, good for some seconds. Nothing is asked of AWS for it."""
    return str(s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=seconds))


def main() -> None:
    """Entry point."""
    module = AnsibleAWSModule(supports_check_mode=True, argument_spec={
        "bucket": {"type": "str", "required": True},
        "keys": {"type": "list", "elements": "str", "required": True, "no_log": False},
        "expires_in": {"type": "int", "default": 3600},
        "reader_endpoint_url": {"type": "str", "default": ""},
    })
    bucket, seconds, reader = (module.params[name] for name in ("bucket", "expires_in", "reader_endpoint_url"))
    if not 1 <= seconds <= LONGEST:
        module.fail_json(msg=f"expires_in is {seconds}: an address is good for 1 to {LONGEST} seconds.")
    s3 = module.client("s3")
    if reader:
        signer = module.client("s3", endpoint=reader, config=SIGNING_ELSEWHERE)
    else:
        given = module.params.get("endpoint_url")
        signer = module.client("s3", config=SIGNING_ELSEWHERE if given else SIGNING)
    urls = []
    for key in module.params["keys"]:
        try:
            size = s3.head_object(Bucket=bucket, Key=key)["ContentLength"]
            urls.append({"key": key, "size": size, "url": signed(signer, bucket, key, seconds)})
        except (ClientError, BotoCoreError) as error:
            if getattr(error, "response", {}).get("Error", {}).get("Code") in ABSENT:
                module.fail_json(msg=f"s3://{bucket}/{key} is not there.")
            module.fail_json_aws(error, msg=f"Cannot look at s3://{bucket}/{key}")
    module.exit_json(changed=False, urls=urls)


if __name__ == "__main__":
    main()
