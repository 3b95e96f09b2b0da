#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A raw image of what is stored in pieces, or an E01 of a finished image."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: ebs_image_rebuild
version_added: 0.1.0
short_description: Make an image of what is stored in pieces, or an E01 of a finished image
description:
  - Makes a raw image of segments (in a bucket, or copied to a folder), or of a folder of single blocks named
    C(index_snapshot_sha256_volumesize_blocksize), whichever file system is inside. Nothing is written into it.
  - Makes an E01 of a finished raw image or of segments, through libewf, reads it back, and keeps its SHA-256 in the
    manifest.
  - Digests are verified. Missing, doubled and foreign blocks are named, and then there is no image.
options:
  src:
    description:
      - C(s3://bucket/<case>/<snapshot>/image/), a folder of segments, a folder of single blocks; for V(e01), also a raw
        image or a block device.
    type: str
    required: true
  dest:
    description: File to make, or block device to overwrite. For V(e01), the name of the first file.
    type: path
    required: true
  format:
    description: What to make.
    type: str
    choices: [raw, e01]
    default: raw
  manifest:
    description:
      - The image's manifest. Where a raw image is made, the place for it; default, beside O(dest).
      - For V(e01), the manifest of the image that is converted; default, beside O(src) where that is a file, else
        beside O(dest), where it is fetched to.
    type: path
  expect:
    description: For single blocks, a manifest that says which blocks there should be.
    type: path
  against_aws:
    description: For single blocks, ask AWS which blocks there should be.
    type: bool
    default: false
  snapshot_id:
    description: For single blocks, the snapshot, where files of several lie in the folder.
    type: str
    default: ""
  ignore_foreign:
    description: For single blocks, leave out files that are no blocks of the snapshot instead of failing.
    type: bool
    default: false
  hashes:
    description: Digests of the whole image to compute.
    type: list
    elements: str
    choices: [sha256, md5]
    default: []
  bucket_region:
    description: Region of the bucket, where it is not O(region).
    type: str
  case:
    description: The incident, for the header of an E01 and for a manifest that is made.
    type: str
    default: ""
  examiner:
    description: For the header of an E01.
    type: str
    default: ""
  notes:
    description: For the header of an E01.
    type: str
    default: ""
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
seealso:
  - module: dfir.aws.ebs_image_verify
author:
  - The dfir.aws authors (@dfir-aws)
"""

EXAMPLES = r"""
- name: Rebuild an image from its segments
  dfir.aws.ebs_image_rebuild:
    src: s3://dfir-artifacts-123456789012/INC-2026-0042/snap-0123456789abcdef0/image/
    dest: /evidence/web01.raw
    region: eu-west-1

- name: Rebuild an image from single blocks
  dfir.aws.ebs_image_rebuild:
    src: /import/web01-blocks
    dest: /evidence/web01.raw
    against_aws: true
    region: eu-west-1

- name: Make an E01 of it
  dfir.aws.ebs_image_rebuild:
    src: /evidence/web01.raw
    dest: /evidence/web01.E01
    format: e01
    examiner: A. Analyst
"""

RETURN = r"""
image:
  description: The image that was made.
  returned: success
  type: dict
  contains:
    path:
      description: The image, or the first file of the E01.
      type: str
    size:
      description: Bytes of the image (for an E01, of the media in it).
      type: int
    sha256:
      description: SHA-256 of the whole image, if it is known.
      type: str
    md5:
      description: MD5 of the whole image, if it is known.
      type: str
    files:
      description: Files of the E01, with their sizes and digests.
      type: list
      elements: dict
manifest:
  description: Path of the manifest.
  returned: success
  type: str
missing_checked:
  description: Whether anything said which blocks there should be. A folder of single blocks alone does not.
  returned: success
  type: bool
ignored:
  description: Files that were left out.
  returned: success
  type: list
  elements: str
failed_blocks:
  description: Indexes of the blocks that are missing, damaged or foreign.
  returned: failure
  type: list
  elements: int
"""

from pathlib import Path
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule
from ansible_collections.dfir.aws.plugins.module_utils.ebs.blockfolder import BlockFolder
from ansible_collections.dfir.aws.plugins.module_utils.ebs.e01 import CaseFacts, make_e01
from ansible_collections.dfir.aws.plugins.module_utils.ebs.listing import listed_indexes
from ansible_collections.dfir.aws.plugins.module_utils.ebs.manifest import SUFFIX, Manifest
from ansible_collections.dfir.aws.plugins.module_utils.ebs.rebuild import (
    RebuildResult,
    rebuild_folder,
    rebuild_segments,
)
from ansible_collections.dfir.aws.plugins.module_utils.ebs.sinks import file_sink
from ansible_collections.dfir.aws.plugins.module_utils.ebs.sources import (
    ImageSource,
    RawSource,
    SegmentSource,
    SegmentStore,
    open_segments,
)
from ansible_collections.dfir.aws.plugins.module_utils.ebs_module import AWS_SPEC, bucket_client, engine_client
from ansible_collections.dfir.aws.plugins.module_utils.ebs_work import WORKER_SPEC, Work


def segments(module: Any) -> SegmentStore | None:
    """Where segments lie; None if it is something else."""
    src = module.params["src"]
    if src.startswith("s3://"):
        return open_segments(src, bucket_client(module, module.params["bucket_region"]))
    return open_segments(src) if (Path(src) / "segments").is_dir() else None


def convert(module: Any, work: Work) -> dict[str, Any]:
    """Make an E01."""
    given, store = module.params, segments(module)
    beside = given["dest"] if store is not None else given["src"]
    manifest = Path(given["manifest"] or f"{beside}{SUFFIX}")
    source: ImageSource
    if store is None:
        source = RawSource(given["src"])
    else:
        if not manifest.exists():
            store.save_manifest(manifest)
        source = SegmentSource(store)
    facts = CaseFacts(case=given["case"], examiner=given["examiner"], notes=given["notes"])
    try:
        made = make_e01(source, manifest, given["dest"], facts=facts, stop=work.stop, tell=work.tell)
    finally:
        source.close()
    image = {"path": str(made.first), "size": made.media_size, "sha256": made.media_sha256, "md5": made.media_md5,
             "files": made.files}
    return {"changed": made.changed, "image": image, "manifest": str(manifest), "missing_checked": True, "ignored": []}


def rebuild(module: Any, work: Work, manifest: Path) -> RebuildResult:
    """Make a raw image."""
    given, store, target = module.params, segments(module), file_sink(module.params["dest"])
    common: dict[str, Any] = {"hashes": given["hashes"], "stop": work.stop, "tell": work.tell}
    if store is not None:
        return rebuild_segments(store, target, manifest, **common)
    folder = BlockFolder(given["src"], snapshot_id=given["snapshot_id"], ignore_foreign=given["ignore_foreign"])
    common |= {"region": given["region"] or "", "case": given["case"]}
    if given["expect"]:
        with Manifest(given["expect"]) as expected:
            return rebuild_folder(folder, target, manifest, expected=expected, **common)
    expected_by_aws = None
    if given["against_aws"]:
        expected_by_aws = listed_indexes(engine_client(module, work), folder.snapshot_id)
    return rebuild_folder(folder, target, manifest, expected=expected_by_aws, **common)


def main() -> None:
    """Entry point."""
    module = AwsModule(
        supports_check_mode=True, check_boto3=False, mutually_exclusive=[("expect", "against_aws")],
        argument_spec={
            "src": {"type": "str", "required": True},
            "dest": {"type": "path", "required": True},
            "format": {"type": "str", "choices": ["raw", "e01"], "default": "raw"},
            "manifest": {"type": "path"},
            "expect": {"type": "path"},
            "against_aws": {"type": "bool", "default": False},
            "snapshot_id": {"type": "str", "default": ""},
            "ignore_foreign": {"type": "bool", "default": False},
            "hashes": {"type": "list", "elements": "str", "choices": ["sha256", "md5"], "default": []},
            "bucket_region": {"type": "str"},
            "case": {"type": "str", "default": ""},
            "examiner": {"type": "str", "default": ""},
            "notes": {"type": "str", "default": ""},
            **AWS_SPEC,
            **WORKER_SPEC,
        })
    work, given = Work(module), module.params

    def make() -> dict[str, Any]:
        manifest = Path(given["manifest"] or f"{given['dest']}{SUFFIX}")
        there = Path(given["dest"]).exists() if given["format"] == "e01" else manifest.exists()
        if module.check_mode and not there:
            return {"changed": True, "manifest": str(manifest)}
        if given["format"] == "e01":
            return convert(module, work)
        made = rebuild(module, work, manifest)
        image = {"path": given["dest"], "size": made.outcome.image_size, "sha256": made.outcome.image_sha256,
                 "md5": made.outcome.image_md5, "files": []}
        return {"changed": made.changed, "image": image, "manifest": str(made.manifest),
                "missing_checked": made.missing_checked, "ignored": made.ignored}

    work.run(make)


if __name__ == "__main__":
    main()
