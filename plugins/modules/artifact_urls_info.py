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
  - With O(prefix), signs an address for every object below it.
  - An analysis host may read nothing in the bucket; this is how the controller hands it single objects.
  - The addresses are credentials. Give the task C(no_log=true).
options:
  bucket:
    description: The bucket.
    type: str
    required: true
  keys:
    description: Keys of the objects. Either these or O(prefix).
    type: list
    elements: str
  prefix:
    description:
      - What the keys of all wanted objects begin with. It must end with a slash, so that no neighbor is meant.
      - Each object is listed and not asked for, so the caller needs no right to read it - the address does.
    type: str
  exclude:
    description: Shell patterns of keys below O(prefix) that are left out.
    type: list
    elements: str
    default: []
  limit:
    description: How many objects below O(prefix) are signed at most, the newest first.
    type: int
    default: 10000
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
  - "Needed: C(s3:GetObject) on the objects, and C(s3:ListBucket) to list them, or to tell an absent one from a
    forbidden one."
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

- name: Sign the addresses of a case's artifacts
  dfir.aws.artifact_urls_info:
    bucket: dfir-artifacts-123456789012
    prefix: INC-2026-0042/
    exclude: ["*/image/*"]
    expires_in: 14400
    region: eu-west-1
  register: artifacts
  no_log: true
"""

RETURN = r"""
urls:
  description: The addresses, in the order of O(keys) or of the keys found below O(prefix).
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
left_out:
  description: How many objects below O(prefix) were left out for O(limit). Those of O(exclude) are not counted.
  returned: always
  type: int
expires_at:
  description: When the addresses expire, in UTC.
  returned: always
  type: str
  sample: "2026-01-31T12:00:00Z"
"""

import fnmatch
from datetime import datetime, timedelta, timezone
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule

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


def below(s3: Any, bucket: str, prefix: str, exclude: list[str], limit: int) -> tuple[list[dict[str, Any]], int]:
    """Objects below a prefix by their keys, and how many more there are."""
    found = [item for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
             for item in page.get("Contents") or [] if not item["Key"].endswith("/")
             and not any(fnmatch.fnmatchcase(item["Key"], pattern) for pattern in exclude)]
    newest = sorted(found, key=lambda item: item["LastModified"], reverse=True)[:limit]
    return sorted(newest, key=lambda item: str(item["Key"])), len(found) - len(newest)


def main() -> None:
    """Entry point."""
    module = AwsModule(supports_check_mode=True, argument_spec={
        "bucket": {"type": "str", "required": True},
        "keys": {"type": "list", "elements": "str", "no_log": False},
        "prefix": {"type": "str"},
        "exclude": {"type": "list", "elements": "str", "default": []},
        "limit": {"type": "int", "default": 10000},
        "expires_in": {"type": "int", "default": 3600},
        "reader_endpoint_url": {"type": "str", "default": ""},
    }, required_one_of=[("keys", "prefix")], mutually_exclusive=[("keys", "prefix")])
    bucket, seconds, reader = (module.params[name] for name in ("bucket", "expires_in", "reader_endpoint_url"))
    prefix = module.params["prefix"]
    if not 1 <= seconds <= LONGEST:
        module.fail_json(msg=f"expires_in is {seconds}: an address is good for 1 to {LONGEST} seconds.")
    if prefix is not None and prefix.rstrip("/") + "/" != prefix:
        module.fail_json(msg=f"prefix is {prefix!r}: it must end with one slash, so that no neighbor is meant.")
    s3 = module.client("s3")
    if reader:
        signer = module.client("s3", endpoint=reader, config=SIGNING_ELSEWHERE)
    else:
        given = module.params.get("endpoint_url")
        signer = module.client("s3", config=SIGNING_ELSEWHERE if given else SIGNING)
    expires_at = (datetime.now(timezone.utc) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    urls, left_out = [], 0
    if prefix is not None:
        try:
            found, left_out = below(s3, bucket, prefix, module.params["exclude"], module.params["limit"])
        except (ClientError, BotoCoreError) as error:
            module.fail_json_aws(error, msg=f"Cannot list s3://{bucket}/{prefix}")
        urls = [{"key": item["Key"], "size": item["Size"], "url": signed(signer, bucket, item["Key"], seconds)}
                for item in found]
    for key in module.params["keys"] or []:
        try:
            size = s3.head_object(Bucket=bucket, Key=key)["ContentLength"]
            urls.append({"key": key, "size": size, "url": signed(signer, bucket, key, seconds)})
        except (ClientError, BotoCoreError) as error:
            if getattr(error, "response", {}).get("Error", {}).get("Code") in ABSENT:
                module.fail_json(msg=f"s3://{bucket}/{key} is not there.")
            module.fail_json_aws(error, msg=f"Cannot look at s3://{bucket}/{key}")
    module.exit_json(changed=False, urls=urls, left_out=left_out, expires_at=expires_at)


if __name__ == "__main__":
    main()
