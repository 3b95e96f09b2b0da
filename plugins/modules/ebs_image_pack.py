#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image, compressed and encrypted."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: ebs_image_pack
version_added: 0.1.0
short_description: Compress and encrypt an image
description:
  - Compresses with zstd or gzip, then encrypts with age, as one stream. C(age) and C(zstd) open it without us.
  - A record of sizes and digests is put beside it (C(<dest>.json); in a bucket C(<dest>.<attempt>.json)). The packed
    image gets its name last.
  - An image that lies in a bucket as segments becomes one object of a bucket, as a stream that needs no disk. Every
    block is held against the manifest on its way. What is stopped leaves no object and begins anew.
options:
  src:
    description: File or block device, or segments in a bucket, C(s3://bucket/<case>/<snapshot>/image/).
    type: path
    required: true
  dest:
    description:
      - Default, O(src) with C(.zst.age), C(.gz.age) or C(.age). For segments C(image.raw.zst.age) beside them.
      - Lies where O(src) does, a file for a file, C(s3://bucket/name) for segments.
    type: path
  recipients:
    description: Who can open it, age recipients or public SSH keys.
    type: list
    elements: str
    default: []
  passphrase:
    description:
      - A passphrase instead. It protects a generated identity, put beside the packed file (C(<dest>.identity)), which
        encrypts the stream; opening takes both.
      - Takes some seconds and up to 1 GiB of memory, that is its point.
    type: str
  compression:
    description: How it is compressed. An E01 is compressed already.
    type: str
    choices: [zstd, gzip, none]
    default: zstd
  level:
    description: Level of the compression. Default 3 for zstd, 6 for gzip.
    type: int
  manifest:
    description:
      - The image's manifest. The image must have the SHA-256 of the whole image that it states.
      - Segments have theirs beside them.
    type: path
  bucket_region:
    description: Region of the bucket, where it is not O(region).
    type: str
  bucket_kms_key:
    description: KMS key for what is written into the bucket.
    type: str
    default: ""
extends_documentation_fragment:
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
requirements:
  - pyrage
  - zstandard (for zstd, before Python 3.14)
notes:
  - Packing segments takes about 150 MiB of memory, growing to 400 MiB where more than 75 GiB of blocks were written.
    More than about 1.2 TiB of them is refused, since they may not fit into what S3 takes so.
seealso:
  - module: dfir.aws.ebs_image_unpack
author:
  - The dfir.aws authors (@dfir-aws)
"""

EXAMPLES = r"""
- name: Pack an image for two people
  dfir.aws.ebs_image_pack:
    src: /evidence/web01.raw
    manifest: /evidence/web01.raw.manifest
    recipients:
      - age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p
      - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0Zb8cLDeuEZkWBBBlHq0hNjtG7zS4kf6kV0WJQ1F7u

- name: Pack an image that lies in the bucket
  dfir.aws.ebs_image_pack:
    src: s3://dfir-artifacts-123456789012/INC-2026-0042/snap-0123456789abcdef0/image/
    recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p]
    region: eu-west-1
"""

RETURN = r"""
packed:
  description: What is in the record beside the packed file.
  returned: success
  type: dict
  contains:
    path:
      description: The packed file.
      type: str
    plain_size:
      description: Bytes of the image.
      type: int
    plain_sha256:
      description: SHA-256 of the image.
      type: str
    packed_size:
      description: Bytes of the packed file.
      type: int
    packed_sha256:
      description: SHA-256 of the packed file.
      type: str
    identity_file:
      description: With O(passphrase), the name of the identity that it protects.
      type: str
"""

from pathlib import Path
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule
from ansible_collections.dfir.aws.plugins.module_utils.ebs.errors import BadInput
from ansible_collections.dfir.aws.plugins.module_utils.ebs.pack import pack, packed_name, wanted_sha256
from ansible_collections.dfir.aws.plugins.module_utils.ebs.pack_bucket import default_place, pack_segments
from ansible_collections.dfir.aws.plugins.module_utils.ebs.packed import PackedObject
from ansible_collections.dfir.aws.plugins.module_utils.ebs.sources import open_segments
from ansible_collections.dfir.aws.plugins.module_utils.ebs_module import bucket_client, hold_claim
from ansible_collections.dfir.aws.plugins.module_utils.ebs_work import CLAIM_SPEC, WORKER_SPEC, Work


def in_bucket(module: Any, work: Work, common: dict[str, Any]) -> dict[str, Any]:
    """Pack segments."""
    given = module.params
    place = given["dest"] or default_place(given["src"], given["compression"])
    if not place.startswith("s3://"):
        raise BadInput("dest: segments are packed into a bucket (s3://bucket/name). For a file, rebuild the image.")
    if given["manifest"]:
        raise BadInput("manifest: segments have theirs beside them, leave it out.")
    client = bucket_client(module, given["bucket_region"])
    if module.check_mode and not exists(client, place):
        return {"changed": True, "packed": {"path": place}}
    made = pack_segments(open_segments(given["src"], client), client, place, kms_key=given["bucket_kms_key"], **common)
    return {"changed": made.changed, "packed": {"path": place, **made.record.to_json()}}


def exists(client: Any, place: str) -> bool:
    """Whether an object is there."""
    try:
        PackedObject(client, place)
    except BadInput:
        return False
    return True


def main() -> None:
    """Entry point."""
    module = AwsModule(
        supports_check_mode=True, check_boto3=False, mutually_exclusive=[("recipients", "passphrase")],
        argument_spec={
            "src": {"type": "path", "required": True},
            "dest": {"type": "path"},
            "recipients": {"type": "list", "elements": "str", "default": []},
            "passphrase": {"type": "str", "no_log": True},
            "compression": {"type": "str", "choices": ["zstd", "gzip", "none"], "default": "zstd"},
            "level": {"type": "int"},
            "manifest": {"type": "path"},
            "bucket_region": {"type": "str"},
            "bucket_kms_key": {"type": "str", "default": "", "no_log": False},
            **CLAIM_SPEC,
            **WORKER_SPEC,
        })
    work, given = Work(module), module.params
    hold_claim(module, work)
    common = {name: given[name] for name in ("recipients", "passphrase", "compression", "level")}
    common |= {"stop": work.stop, "tell": work.tell}

    def make() -> dict[str, Any]:
        if given["src"].startswith("s3://"):
            return in_bucket(module, work, common)
        target = Path(given["dest"]) if given["dest"] else packed_name(Path(given["src"]), given["compression"])
        if (given["dest"] or "").startswith("s3://"):
            raise BadInput("dest: a file is packed into a file. For the bucket, image into the bucket.")
        if module.check_mode and not target.exists():
            return {"changed": True, "packed": {"path": str(target)}}
        made = pack(given["src"], target, expect_sha256=wanted_sha256(given["manifest"]), **common)
        return {"changed": made.changed, "packed": {"path": str(made.path), **made.record.to_json()}}

    work.run(make)


if __name__ == "__main__":
    main()
