#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A snapshot as an image: a raw file, a device, segments in a bucket."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: ebs_snapshot_image
version_added: 0.1.0
short_description: Image a snapshot block by block, without launching anything
description:
  - Fetches every written block of a snapshot over EBS direct, verifies it, and writes it to a sparse raw file, a block
    device, or compressed segments in a bucket; to several of them in one pass.
  - Writes a manifest with the SHA-256 of each block, where they come from, and on demand digests of the whole image.
  - A run that was stopped, however it was stopped, goes on where it was; what is there is verified, not believed.
  - The image has its final name only when it is whole, and the manifest comes last.
options:
  snapshot_id:
    description: The snapshot. It must be completed, not public, not archived.
    type: str
    required: true
  dest:
    description: Raw file to make, or block device to overwrite from its beginning.
    type: path
  bucket:
    description: Bucket for segments, below C(<case>/<snapshot_id>/image/).
    type: str
  case:
    description: The incident. Needed with O(bucket); kept in the manifest.
    type: str
    default: ""
  bucket_region:
    description: Region of the bucket, where it is not the snapshot's.
    type: str
  bucket_kms_key:
    description: KMS key that the segments are encrypted under. Default, as the bucket says.
    type: str
    default: ""
  manifest:
    description:
      - Where the manifest goes, and its journal while it works. Default, beside O(dest); without it, in C(~/.dfir-ebs).
    type: path
  hashes:
    description: Digests of the whole image, computed in the same pass. Holes count as zeros, which takes time.
    type: list
    elements: str
    choices: [sha256, md5]
    default: []
  base:
    description: Finished raw image of an older snapshot of the same volume. Only what changed since is fetched.
    type: path
  base_manifest:
    description: Its manifest. Default, beside it.
    type: path
  connections:
    description: Connections to EBS direct.
    type: int
    default: 16
  describe:
    description: Ask EC2 and STS who the snapshot and the caller are, for the manifest and for clear refusals.
    type: bool
    default: true
extends_documentation_fragment:
  - dfir.aws.ebs
  - dfir.aws.ebs.worker
  - dfir.aws.ebs.claim
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
  - "Needed: C(ebs:ListSnapshotBlocks), C(ebs:GetSnapshotBlock) (with O(base), C(ebs:ListChangedBlocks)); C(kms:Decrypt)
    on the key of an encrypted snapshot; with O(describe), C(ec2:DescribeSnapshots); with O(bucket), C(s3:PutObject),
    C(s3:GetObject) and C(s3:ListBucket) for its prefix."
seealso:
  - module: dfir.aws.ebs_snapshot_budget_info
  - module: dfir.aws.ebs_image_verify
author:
  - The dfir.aws authors (@dfir-aws)
"""

EXAMPLES = r"""
- name: Image a snapshot into a file
  dfir.aws.ebs_snapshot_image:
    snapshot_id: snap-0123456789abcdef0
    region: eu-west-1
    dest: /evidence/INC-2026-0042/web01.raw
    case: INC-2026-0042
    hashes: [sha256]

- name: Image a snapshot into a bucket, without a local disk
  dfir.aws.ebs_snapshot_image:
    snapshot_id: snap-0123456789abcdef0
    region: eu-west-1
    bucket: dfir-artifacts-123456789012
    case: INC-2026-0042
"""

RETURN = r"""
image:
  description: The finished image.
  returned: success
  type: dict
  contains:
    snapshot_id:
      description: The snapshot.
      type: str
    size:
      description: Its bytes.
      type: int
    blocks:
      description: Written blocks.
      type: int
    linear_sha256:
      description: SHA-256 over the digests of the written blocks.
      type: str
    sha256:
      description: SHA-256 of the whole image, if it was asked for.
      type: str
    md5:
      description: MD5 of the whole image, if it was asked for.
      type: str
    sinks:
      description: Where it lies.
      type: list
      elements: dict
    session:
      description: What this run did. Empty if the image was there.
      type: dict
    sessions:
      description: What each run did that the image was made in, by the manifest.
      type: list
      elements: dict
manifest:
  description: Path of the manifest.
  returned: success
  type: str
failed_blocks:
  description: Indexes of the blocks that could not be had, the first cause first.
  returned: failure
  type: list
  elements: int
"""

from pathlib import Path
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule
from ansible_collections.dfir.aws.plugins.module_utils.ebs.base import BaseImage
from ansible_collections.dfir.aws.plugins.module_utils.ebs.client import EbsClient
from ansible_collections.dfir.aws.plugins.module_utils.ebs.errors import BadInput
from ansible_collections.dfir.aws.plugins.module_utils.ebs.identity import caller, describe_snapshot
from ansible_collections.dfir.aws.plugins.module_utils.ebs.image import ImageRequest, ImageResult, make_image
from ansible_collections.dfir.aws.plugins.module_utils.ebs.manifest import SUFFIX
from ansible_collections.dfir.aws.plugins.module_utils.ebs.s3 import SegmentSink
from ansible_collections.dfir.aws.plugins.module_utils.ebs.segments import image_prefix
from ansible_collections.dfir.aws.plugins.module_utils.ebs.sinks import file_sink
from ansible_collections.dfir.aws.plugins.module_utils.ebs_module import (
    AWS_SPEC,
    bucket_client,
    engine_client,
    hold_claim,
    manifest_home,
)
from ansible_collections.dfir.aws.plugins.module_utils.ebs_work import CLAIM_SPEC, WORKER_SPEC, Work


def wish(module: Any) -> ImageRequest:
    """What is to be imaged, whereto."""
    given = module.params
    sinks: list[Any] = [file_sink(given["dest"])] if given["dest"] else []
    beside = given["dest"] and not given["dest"].startswith("/dev/")
    home = (given["dest"] or given["bucket"], given["case"], given["snapshot_id"])
    manifest = given["manifest"] or (f"{given['dest']}{SUFFIX}" if beside else manifest_home(*home))
    if given["bucket"]:
        prefix = image_prefix(given["case"], given["snapshot_id"])
        client = bucket_client(module, given["bucket_region"])
        sink = SegmentSink(client, given["bucket"], prefix, kms_key=given["bucket_kms_key"])
        if not sinks and not Path(manifest).exists():
            sink.adopt_manifest(Path(manifest))  # made on a disk that was thrown away
        sinks.append(sink)
    request = ImageRequest(given["snapshot_id"], sinks, Path(manifest), hashes=given["hashes"], case=given["case"],
                           connections=given["connections"])
    if given["base"]:
        request.base = BaseImage(given["base"], given["base_manifest"] or f"{given['base']}{SUFFIX}")
    return request


def describe(client: EbsClient, request: ImageRequest) -> None:
    """EC2's and STS' words for the manifest, and its refusals before anything is created."""
    request.account_id, request.caller = caller(client)
    request.facts = describe_snapshot(client, request.snapshot_id)
    request.facts.require_imageable()


def report(result: ImageResult) -> dict[str, Any]:
    """The module's result."""
    outcome = result.outcome
    return {
        "changed": result.changed,
        "manifest": str(result.manifest),
        "image": {
            "snapshot_id": result.identity.snapshot_id,
            "size": outcome.image_size,
            "blocks": outcome.blocks,
            "linear_sha256": outcome.linear_sha256,
            "sha256": outcome.image_sha256,
            "md5": outcome.image_md5,
            "sinks": outcome.sinks,
            "session": result.session,
            "sessions": outcome.sessions,
        },
    }


def main() -> None:
    """Entry point."""
    module = AwsModule(supports_check_mode=True, required_one_of=[("dest", "bucket")], argument_spec={
        "snapshot_id": {"type": "str", "required": True},
        "dest": {"type": "path"},
        "bucket": {"type": "str"},
        "case": {"type": "str", "default": ""},
        "bucket_region": {"type": "str"},
        "bucket_kms_key": {"type": "str", "default": "", "no_log": False},
        "manifest": {"type": "path"},
        "hashes": {"type": "list", "elements": "str", "choices": ["sha256", "md5"], "default": []},
        "base": {"type": "path"},
        "base_manifest": {"type": "path"},
        "connections": {"type": "int", "default": 16},
        "describe": {"type": "bool", "default": True},
        **AWS_SPEC,
        **CLAIM_SPEC,
        **WORKER_SPEC,
    })
    work = Work(module)
    client = engine_client(module, work)
    hold_claim(module, work)

    def image() -> dict[str, Any]:
        if module.params["bucket"] and not module.params["case"]:
            raise BadInput("An image in a bucket needs case: its objects lie below it.")
        request = wish(module)
        if module.params["describe"]:
            describe(client, request)
        if module.check_mode and not request.manifest.exists():
            return {"changed": True, "manifest": str(request.manifest)}
        return report(make_image(client, request, tell=work.tell))

    work.run(image)


if __name__ == "__main__":
    main()
