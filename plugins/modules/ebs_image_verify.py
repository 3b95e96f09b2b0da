#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image read back and held against its manifest."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: ebs_image_verify
version_added: 0.1.0
short_description: Read an image back and hold it against its manifest, and on demand against AWS
description:
  - Reads every written block again and hashes it, expects zeros everywhere else, and computes the digests of the whole
    image anew. What was hashed on its way to the disk is not thereby on the disk.
  - Fails when anything differs, with the record of what does. Nothing is repaired.
options:
  src:
    description:
      - Raw file, block device, folder of segments, or C(s3://bucket/<case>/<snapshot>/image/).
      - A packed image (C(.age)), in a file or C(s3://bucket/name), is held against the record beside it, without a key.
    type: str
    required: true
  manifest:
    description: Default, beside the image; for segments, the one that lies with them.
    type: path
  record:
    description:
      - Keep the record of this verification as JSON, in a file or at C(s3://bucket/key), where it is written once.
        Makes the task report a change.
    type: str
    default: ""
  against_aws:
    description: Fetch the blocks from AWS once more, too. Costs as imaging did.
    type: bool
    default: false
  sample:
    description: With O(against_aws), fetch about so many blocks, chosen at random. The list is compared whole.
    type: int
extends_documentation_fragment:
  - dfir.aws.ebs
  - dfir.aws.ebs.worker
  - dfir.aws.ebs.claim
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
attributes:
  check_mode:
    description: Can run in check mode and tells what it would change, without changing anything.
    support: full
    details: Verifies, and writes no record.
  diff_mode:
    description: Returns details on what has changed, or would change, in diff mode.
    support: none
  idempotent:
    description: A second run in the same state changes nothing.
    support: partial
    details: Each run writes a record of its own, where one is asked for.
seealso:
  - module: dfir.aws.ebs_snapshot_image
author:
  - The dfir.aws authors (@dfir-aws)
"""

EXAMPLES = r"""
- name: Read the image back
  dfir.aws.ebs_image_verify:
    src: /evidence/INC-2026-0042/web01.raw
    record: /evidence/INC-2026-0042/web01.verification.json

- name: Hold a hundred blocks of an image in a bucket against AWS
  dfir.aws.ebs_image_verify:
    src: s3://dfir-artifacts-123456789012/INC-2026-0042/snap-0123456789abcdef0/image/
    region: eu-west-1
    against_aws: true
    sample: 100
"""

RETURN = r"""
verification:
  description: The record of the reading back.
  returned: always
  type: dict
  contains:
    ok:
      description: Whether everything is as the manifest says.
      type: bool
    blocks:
      description: Blocks that were compared.
      type: int
    different:
      description: Blocks that differ or cannot be read.
      type: int
    different_blocks:
      description: The first of them.
      type: list
      elements: int
    unexpected:
      description: Places that should be zeros and are not.
      type: int
    packed_sha256:
      description: SHA-256 of a packed image; empty for others.
      type: str
    notes:
      description: What else is not right.
      type: list
      elements: str
aws_verification:
  description: The record of the comparison with AWS.
  returned: with O(against_aws)
  type: dict
"""

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule
from ansible_collections.dfir.aws.plugins.module_utils.ebs.manifest import SUFFIX
from ansible_collections.dfir.aws.plugins.module_utils.ebs.packed import PACKED_SUFFIX, packed_at, verify_packed
from ansible_collections.dfir.aws.plugins.module_utils.ebs.s3 import put_once
from ansible_collections.dfir.aws.plugins.module_utils.ebs.sources import open_segments
from ansible_collections.dfir.aws.plugins.module_utils.ebs.verify import (
    Verification,
    verify_against_aws,
    verify_image,
    verify_segments,
)
from ansible_collections.dfir.aws.plugins.module_utils.ebs_module import (
    AWS_SPEC,
    bucket_client,
    engine_client,
    hold_claim,
)
from ansible_collections.dfir.aws.plugins.module_utils.ebs_work import CLAIM_SPEC, WORKER_SPEC, Work


def stored(module: Any, work: Work, folder: Path) -> tuple[Path, Verification]:
    """The manifest, and what reading back says."""
    src, manifest = module.params["src"], module.params["manifest"]
    if not src.startswith("s3://") and not Path(src).is_dir():
        path = Path(manifest or f"{src}{SUFFIX}")
        return path, verify_image(src, path, stop=work.stop, tell=work.tell)
    store = open_segments(src, bucket_client(module) if src.startswith("s3://") else None)
    try:
        path = Path(manifest) if manifest else folder / "manifest"
        if not manifest:
            store.save_manifest(path)
        return path, verify_segments(store, path, stop=work.stop, tell=work.tell)
    finally:
        store.close()


def as_packed(module: Any, work: Work) -> Verification:
    """What reading a packed image back says."""
    src = module.params["src"]
    client = bucket_client(module) if src.startswith("s3://") else None
    return verify_packed(packed_at(src, client), stop=work.stop, tell=work.tell)


def keep(module: Any, record: Verification, place: str) -> None:
    """Put a record into a file, or once and for all into a bucket."""
    if place.startswith("s3://"):
        bucket, key = place[len("s3://"):].split("/", 1)
        put_once(bucket_client(module), bucket, key, json.dumps(asdict(record), indent=1).encode())
    else:
        record.write(Path(place))


def main() -> None:
    """Entry point."""
    module = AwsModule(supports_check_mode=True, check_boto3=False, argument_spec={
        "src": {"type": "str", "required": True},
        "manifest": {"type": "path"},
        "record": {"type": "str", "default": ""},
        "against_aws": {"type": "bool", "default": False},
        "sample": {"type": "int"},
        **AWS_SPEC,
        **CLAIM_SPEC,
        **WORKER_SPEC,
    })
    work, given = Work(module), module.params
    packed = given["src"].endswith(PACKED_SUFFIX)
    if packed and (given["manifest"] or given["against_aws"]):
        module.fail_json(msg="A packed image is held against the record beside it: leave out manifest and against_aws.")
    client = engine_client(module, work) if given["against_aws"] else None
    hold_claim(module, work)

    def verify() -> dict[str, Any]:
        with tempfile.TemporaryDirectory(dir=module.tmpdir) as folder:
            manifest, record = (Path(), as_packed(module, work)) if packed else stored(module, work, Path(folder))
            found = {"verification": asdict(record)}
            if client is not None:
                record_of_aws = verify_against_aws(client, manifest, sample=given["sample"], tell=work.tell)
                found["aws_verification"] = asdict(record_of_aws)
        writes = bool(given["record"]) and not module.check_mode
        if writes:
            keep(module, record, given["record"])
            if client is not None:
                keep(module, record_of_aws, f"{given['record']}.aws")
        if not all(part["ok"] for part in found.values()):
            by = "record" if packed else "manifest"
            module.fail_json(msg=f"{given['src']} is not what its {by} says.", changed=writes, **found)
        return {"changed": bool(given["record"]), **found}

    work.run(verify)


if __name__ == "__main__":
    main()
