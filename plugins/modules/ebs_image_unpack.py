#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A packed image, decrypted and decompressed."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: ebs_image_unpack
version_added: 0.1.0
short_description: Decrypt and decompress an image
description:
  - Writes under a temporary name and gives the file its name after the last chunk was checked. What was altered, cut
    off, or is for somebody else, never leaves a file that looks whole.
  - That it can be decrypted does not say who packed it, anybody can encrypt for a recipient. Give O(sha256) or
    O(manifest) where that matters.
options:
  src:
    description: The packed file, or object (C(s3://bucket/name)).
    type: path
    required: true
  dest:
    description: File to make. Sparse, where the image is zeros.
    type: path
    required: true
  identity_files:
    description: Files with the secret keys, age identities or private SSH keys.
    type: list
    elements: path
    default: []
  passphrase:
    description: Opens the identity beside the packed file or object, or those named.
    type: str
  compression:
    description: Default, by the name.
    type: str
    choices: [zstd, gzip, none]
  sha256:
    description: What the image must have. Default, as the record beside the packed image says, if there is one.
    type: str
    default: ""
  manifest:
    description: The image's manifest. The image must have the SHA-256 of the whole image that it states.
    type: path
  bucket_region:
    description: Region of the bucket, where it is not O(region).
    type: str
extends_documentation_fragment:
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
requirements:
  - pyrage
  - zstandard (for zstd, before Python 3.14)
seealso:
  - module: dfir.aws.ebs_image_pack
author:
  - The dfir.aws authors (@dfir-aws)
"""

EXAMPLES = r"""
- name: Unpack an image
  dfir.aws.ebs_image_unpack:
    src: /import/web01.raw.zst.age
    dest: /evidence/web01.raw
    identity_files: [/etc/dfir/age.key]
    manifest: /import/web01.raw.manifest

- name: Unpack an image that lies in a bucket
  dfir.aws.ebs_image_unpack:
    src: s3://dfir-artifacts-123456789012/INC-2026-0042/snap-0123456789abcdef0/image/image.raw.zst.age
    dest: /evidence/web01.raw
    identity_files: [/etc/dfir/age.key]
    region: eu-west-1
"""

RETURN = r"""
image:
  description: The image.
  returned: success
  type: dict
  contains:
    path:
      description: The file.
      type: str
    size:
      description: Its bytes.
      type: int
    sha256:
      description: Its SHA-256.
      type: str
"""

from pathlib import Path
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule
from ansible_collections.dfir.aws.plugins.module_utils.ebs.pack import unpack, wanted_sha256
from ansible_collections.dfir.aws.plugins.module_utils.ebs_module import bucket_client
from ansible_collections.dfir.aws.plugins.module_utils.ebs_work import WORKER_SPEC, Work


def main() -> None:
    """Entry point."""
    module = AwsModule(
        supports_check_mode=True, check_boto3=False, required_one_of=[("identity_files", "passphrase")],
        mutually_exclusive=[("sha256", "manifest")],
        argument_spec={
            "src": {"type": "path", "required": True},
            "dest": {"type": "path", "required": True},
            "identity_files": {"type": "list", "elements": "path", "default": [], "no_log": False},
            "passphrase": {"type": "str", "no_log": True},
            "compression": {"type": "str", "choices": ["zstd", "gzip", "none"]},
            "sha256": {"type": "str", "default": ""},
            "manifest": {"type": "path"},
            "bucket_region": {"type": "str"},
            **WORKER_SPEC,
        })
    work, given = Work(module), module.params

    def make() -> dict[str, Any]:
        target = Path(given["dest"])
        if module.check_mode and not target.exists():
            return {"changed": True, "image": {"path": str(target)}}
        made = unpack(
            given["src"], target, identity_files=given["identity_files"], passphrase=given["passphrase"],
            compression=given["compression"] or "", expect_sha256=given["sha256"] or wanted_sha256(given["manifest"]),
            client=bucket_client(module, given["bucket_region"]) if given["src"].startswith("s3://") else None,
            stop=work.stop, tell=work.tell)
        return {"changed": made.changed, "image": {"path": str(made.path), "size": made.size, "sha256": made.sha256}}

    work.run(make)


if __name__ == "__main__":
    main()
