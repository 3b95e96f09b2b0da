#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image as a new snapshot."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: ebs_snapshot_upload
version_added: 0.1.0
short_description: Upload an image or a volume into a new snapshot
description:
  - Writes every block that is not zeros into a new snapshot over EBS direct, each with its SHA-256, and completes the
    snapshot with the digest over them, which AWS verifies.
  - A run that was stopped goes on with the same snapshot. The journal beside the image becomes the manifest of the new
    snapshot.
options:
  src:
    description: Raw image or block device. A last part of less than a block is filled up with zeros.
    type: path
    required: true
  description:
    description: Description of the snapshot.
    type: str
    default: ""
  tags:
    description: Tags of the snapshot, given in the call that creates it.
    type: dict
    default: {}
  encrypted:
    description: Encrypt the snapshot.
    type: bool
    default: false
  kms_key_id:
    description: ARN of the KMS key. Default, the account's for EBS.
    type: str
    default: ""
  token:
    description: Uploads of the same image with different tokens give different snapshots.
    type: str
    default: ""
  manifest:
    description: Default, O(src) with C(.upload).
    type: path
  case:
    description: The incident, for the manifest.
    type: str
    default: ""
  wait_timeout:
    description: Seconds to wait for AWS to complete the snapshot, once everything was sent.
    type: int
    default: 3600
extends_documentation_fragment:
  - dfir.aws.ebs
  - dfir.aws.ebs.worker
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
  - "Needed: C(ebs:StartSnapshot), C(ebs:PutSnapshotBlock), C(ebs:CompleteSnapshot), C(ec2:DescribeSnapshots),
    C(ec2:CreateTags) where there are O(tags); for an encrypted snapshot, C(kms:GenerateDataKeyWithoutPlaintext) and
    C(kms:DescribeKey) on the key."
author:
  - The dfir.aws authors (@dfir-aws)
"""

EXAMPLES = r"""
- name: Upload an image
  dfir.aws.ebs_snapshot_upload:
    src: /evidence/web01.raw
    region: eu-west-1
    description: web01, restored from INC-2026-0042
    tags:
      dfir:incident: INC-2026-0042
  register: restored
"""

RETURN = r"""
snapshot_id:
  description: The new snapshot.
  returned: success
  type: str
manifest:
  description: Path of its manifest.
  returned: success
  type: str
blocks:
  description: Blocks in it.
  returned: success
  type: int
blocks_sent:
  description: Blocks that this run sent.
  returned: success
  type: int
linear_sha256:
  description: The digest over the blocks' digests that AWS verified.
  returned: success
  type: str
"""

from pathlib import Path
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule
from ansible_collections.dfir.aws.plugins.module_utils.ebs.identity import caller, describe_snapshot
from ansible_collections.dfir.aws.plugins.module_utils.ebs.upload import SUFFIX, Upload, UploadRequest, client_config
from ansible_collections.dfir.aws.plugins.module_utils.ebs_module import AWS_SPEC, engine_client
from ansible_collections.dfir.aws.plugins.module_utils.ebs_work import WORKER_SPEC, Work


def main() -> None:
    """Entry point."""
    module = AwsModule(supports_check_mode=True, argument_spec={
        "src": {"type": "path", "required": True},
        "description": {"type": "str", "default": ""},
        "tags": {"type": "dict", "default": {}},
        "encrypted": {"type": "bool", "default": False},
        "kms_key_id": {"type": "str", "default": "", "no_log": False},
        "token": {"type": "str", "default": "", "no_log": False},
        "manifest": {"type": "path"},
        "case": {"type": "str", "default": ""},
        "wait_timeout": {"type": "int", "default": 3600},
        **AWS_SPEC,
        **WORKER_SPEC,
    })
    work, given = Work(module), module.params
    client = engine_client(module, work)
    more = {"endpoint": given["ebs_endpoint_url"]} if given["ebs_endpoint_url"] else {}

    def state_of(snapshot_id: str) -> tuple[str, str]:
        facts = describe_snapshot(client, snapshot_id)
        return facts.state, facts.message

    def upload() -> dict[str, Any]:
        manifest = Path(given["manifest"] or f"{given['src']}{SUFFIX}")
        if module.check_mode and not manifest.exists():
            return {"changed": True, "manifest": str(manifest)}
        account, who = caller(client)
        request = UploadRequest(
            Path(given["src"]), client.region, description=given["description"],
            tags={str(key): str(value) for key, value in given["tags"].items()}, encrypted=given["encrypted"],
            kms_key=given["kms_key_id"], token=given["token"], manifest=manifest, case=given["case"],
            account_id=account, caller=who, rate=given["rate"], seconds=given["wait_timeout"])
        boto_client = module.client("ebs", config=client_config(), **more)
        made = Upload(boto_client, request, state_of, stop=work.stop, tell=work.tell).run()
        return {"changed": made.changed, "snapshot_id": made.snapshot_id, "manifest": str(made.manifest),
                "blocks": made.outcome.blocks, "blocks_sent": made.put, "linear_sha256": made.outcome.linear_sha256}

    work.run(upload)


if __name__ == "__main__":
    main()
