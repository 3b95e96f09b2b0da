#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: artifact_put
short_description: Put a file into the artifact bucket, once
version_added: 0.1.0
author:
  - The dfir.aws authors (@dfir-aws)
description:
  - Uploads a file under a name that nothing has yet, and believes it only when S3's own SHA-256 agrees.
  - Nothing is ever overwritten. The same content under that name is no change, and another content is an error.
options:
  bucket:
    description: The artifact bucket.
    type: str
    required: true
  key:
    description: The object's key.
    type: str
    required: true
  path:
    description: The file, 4 GiB at most.
    type: path
  content:
    description: The content itself, instead of a file.
    type: str
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - dfir.aws.aws.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
notes:
  - "Needed: C(s3:PutObject) and C(s3:GetObject) on the object, and C(s3:ListBucket) for its name as a prefix."
"""

EXAMPLES = r"""
- name: Publish an archive
  dfir.aws.artifact_put:
    bucket: dfir-artifacts-123456789012
    key: toolbox/analyst-tools-0.1.0-20261127.101500.tar
    path: /tmp/analyst-tools.tar
    region: eu-west-1
"""

RETURN = r"""
sha256:
  description: The file's SHA-256.
  returned: success
  type: str
size:
  description: Its size in bytes.
  returned: success
  type: int
"""

import base64
import tempfile
from pathlib import Path
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule

from ..module_utils.forensics.s3_put import SINGLE_LIMIT, UploadError, digest, put

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception


def stored(s3: Any, bucket: str, key: str) -> str | None:
    """The SHA-256 that S3 keeps of an object, empty where it keeps none; None where there is no object."""
    # Listed and not asked for: an absent object looks forbidden to who may list one folder only.
    listed = s3.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1).get("Contents") or []
    if not listed or listed[0]["Key"] != key:  # the shortest name comes first
        return None
    return str(s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED").get("ChecksumSHA256") or "")


def publish(module: AwsModule, path: Path) -> dict[str, Any]:
    """Upload the file unless it is there."""
    bucket, key = module.params["bucket"], module.params["key"]
    sha256, size = digest(path)
    if size > SINGLE_LIMIT:
        module.fail_json(msg=f"{path} has {size} bytes: more than {SINGLE_LIMIT >> 30} GiB cannot be held against what "
                             "S3 keeps.")
    s3 = module.client("s3")
    there = stored(s3, bucket, key)
    same = there == base64.b64encode(bytes.fromhex(sha256)).decode()
    if there is not None and not same:
        module.fail_json(msg=f"s3://{bucket}/{key} is there with another content, and nothing is ever overwritten: "
                             "choose another name.")
    if there is None and not module.check_mode:
        put(s3, bucket, key, path, sha256, size)
    return {"changed": there is None, "sha256": sha256, "size": size}


def main() -> None:
    """Entry point."""
    module = AwsModule(
        supports_check_mode=True, required_one_of=[("path", "content")], mutually_exclusive=[("path", "content")],
        argument_spec={
            "bucket": {"type": "str", "required": True},
            # The name of an object, which is no secret.
            "key": {"type": "str", "required": True, "no_log": False},
            "path": {"type": "path"},
            "content": {"type": "str"},
        })
    where = f"s3://{module.params['bucket']}/{module.params['key']}"
    try:
        if module.params["content"] is None:
            result = publish(module, Path(module.params["path"]))
        else:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "content"
                path.write_text(module.params["content"], encoding="utf-8")
                result = publish(module, path)
    except UploadError as error:
        module.fail_json(msg=f"{where} was not written: {error}.")
    except OSError as error:
        module.fail_json(msg=f"{where} was not written, since its file cannot be read: {error}.")
    except (ClientError, BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"Cannot look at {where}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
