#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What changed between two snapshots, file by file, without an instance, a mount or root."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: ebs_snapshot_compare
version_added: 0.1.0
short_description: Say which files changed between two snapshots, and what of that is suspicious
description:
  - Compares the file systems of two snapshots over EBS direct, fetching only blocks that hold metadata or differ.
    Nothing is launched, mounted or copied, and root is not needed. It works on raw images and E01 files, too.
  - Says which files were added, removed, changed, renamed, or have other metadata only, ranks them by suspicion with
    a reason, and says what a triage finds in the newer one and not in the older one.
  - Which blocks differ is asked of AWS where both are snapshots of one lineage, else taken from the manifests of their
    images where both have one. Where neither can be had, the entries of the file systems alone are compared. The
    result says which way was gone, and why.
  - What could not be read within the limit is listed, and nothing is concluded from it.
options:
  base_snapshot_id:
    description:
      - The older snapshot.
      - Where both are snapshots whose start times are known, the one that was started first is the older one,
        whichever option names it.
    type: str
  base_image:
    description: The older disk as a raw image, a device, or the first file of an E01.
    type: path
  manifests:
    description:
      - Manifests of images of the two snapshots, in any order. That of a raw image is found where it lies beside it.
    type: list
    elements: path
    default: []
  dest:
    description:
      - Folder on the machine that compares. It gets C(compare.json) and C(changes.csv.gz).
      - A folder that holds the answer to the same question already is left as it is.
    type: path
    required: true
  incident:
    description: The incident, for the report.
    type: str
    default: ""
  rules:
    description: Files with rules beside those that are built in, see C(roles/triage/files).
    type: list
    elements: path
    default: []
  indicators:
    description: Lists of hashes, paths and words, one a line.
    type: list
    elements: path
    default: []
  timeline_rows:
    description: How many times of changed entries go into the report itself, the newest first.
    type: int
    default: 100000
extends_documentation_fragment:
  - dfir.aws.ebs
  - dfir.aws.ebs.worker
  - dfir.aws.ebs.source
  - dfir.aws.aws.attributes
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
notes:
  - C(ebs:ListChangedBlocks) is needed on both snapshots for the first of the three ways; without the right, the next
    one is gone, and the result says so.
  - O(limit_blocks) bounds what is fetched of each of the two. O(cache) keeps blocks of the newer one.
seealso:
  - module: dfir.aws.ebs_snapshot_triage
  - module: dfir.aws.ebs_snapshot_diff_info
author:
  - The dfir.aws authors (@dfir-aws)
"""

EXAMPLES = r"""
- name: What did the intruder do between Tuesday's backup and now?
  dfir.aws.ebs_snapshot_compare:
    base_snapshot_id: snap-0123456789abcdef0
    snapshot_id: snap-0fedcba9876543210
    region: eu-west-1
    incident: INC-2026-0042
    dest: /evidence/INC-2026-0042/compare

- name: Compare two images
  dfir.aws.ebs_snapshot_compare:
    base_image: /evidence/tuesday.raw
    image: /evidence/now.raw
    region: eu-west-1
    dest: /evidence/compare
"""

RETURN = r"""
comparison:
  description: What was found, in short. The whole is in C(compare.json).
  returned: success
  type: dict
  contains:
    title:
      description: The older and the newer one.
      type: str
    base:
      description: The older one, and what reading it took.
      type: dict
    source:
      description: The newer one, and what reading both took, as blocks, bytes and seconds.
      type: dict
    way:
      description: How it was found out which blocks differ (C(name)), why so (C(reason)), and how many (C(blocks)).
      type: dict
    kinds:
      description: How many entries were added, removed, changed, renamed, have other metadata, or are undecided.
      type: dict
    counts:
      description: Findings by severity.
      type: dict
    facts:
      description: Label and value of what the first screen tells.
      type: list
      elements: dict
    warnings:
      description: What limits all of it.
      type: list
      elements: str
    not_read:
      description: What was not read, and why.
      type: list
      elements: str
    made:
      description: When, in UTC.
      type: str
files:
  description: What was written, each with C(name), C(path), C(sha256) and C(bytes).
  returned: when something was written or is there
  type: list
  elements: dict
"""

from pathlib import Path
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule
from ansible_collections.dfir.aws.plugins.module_utils.ebs.errors import BadInput
from ansible_collections.dfir.aws.plugins.module_utils.ebs_work import Work
from ansible_collections.dfir.aws.plugins.module_utils.triage import compare_report, keep, rules
from ansible_collections.dfir.aws.plugins.module_utils.triage.compare import Comparison, moment_of
from ansible_collections.dfir.aws.plugins.module_utils.triage.compare_blocks import SharedSource, find_way
from ansible_collections.dfir.aws.plugins.module_utils.triage.look import Wish
from ansible_collections.dfir.aws.plugins.module_utils.triage_source import (
    SOURCE_SPEC,
    pair_client,
    pair_names,
    pair_of,
)


def short(data: dict[str, Any]) -> dict[str, Any]:
    """What a playbook needs of it. Text from evidence was cleaned, and is no more than shown."""
    return {name: data[name] for name in ("title", "base", "source", "way", "kinds", "counts", "facts", "warnings",
                                          "not_read", "made")}


def main() -> None:
    """Entry point."""
    module = AwsModule(
        supports_check_mode=True,
        required_one_of=[("snapshot_id", "image"), ("base_snapshot_id", "base_image")],
        mutually_exclusive=[("snapshot_id", "image"), ("base_snapshot_id", "base_image")],
        argument_spec={
            "base_snapshot_id": {"type": "str"},
            "base_image": {"type": "path"},
            "manifests": {"type": "list", "elements": "path", "default": []},
            "dest": {"type": "path", "required": True},
            "incident": {"type": "str", "default": ""},
            "rules": {"type": "list", "elements": "path", "default": []},
            "indicators": {"type": "list", "elements": "path", "default": []},
            "timeline_rows": {"type": "int", "default": 100000},
            **SOURCE_SPEC,
        })
    given = module.params
    work = Work(module)
    client = pair_client(module, work)

    def compare() -> dict[str, Any]:
        if given["timeline_rows"] < 0:
            raise BadInput("timeline_rows must not be negative.")
        folder, manifests = Path(given["dest"]), [Path(path) for path in given["manifests"]]
        extra = [*map(Path, given["rules"]), *map(Path, given["indicators"]), *manifests]
        found = rules.load(map(Path, given["rules"]), map(Path, given["indicators"]))
        asked = keep.question(pair_names(module), client.region if client else "", given["limit_blocks"] or None,
                              True, extra)
        there = keep.answered(folder, asked, compare_report.DATA)
        if there is not None:
            return {"changed": False, "comparison": short(there),
                    "files": keep.files(folder, there, compare_report.DATA)}
        if module.check_mode:
            return {"changed": True}
        pair = pair_of(module, work, client)
        try:
            way = find_way(pair.base, pair.new, client, manifests)
            base = SharedSource(pair.base, pair.new, way.marks) if way.marks is not None else pair.base
            one = Comparison(base, pair.new, way, Wish(given["incident"], found, lambda text: work.guard.tell(text, 0)),
                             moment_of(pair.base_started)).run()
            data = compare_report.report(one, pair.base_started, pair.new_started, given["timeline_rows"])
            names = [compare_report.write_table(one, folder)]
            data = keep.keep(folder, data, asked, names, compare_report.DATA)
        finally:
            pair.close()
        return {"changed": True, "comparison": short(data), "files": keep.files(folder, data, compare_report.DATA)}

    work.run(compare)


if __name__ == "__main__":
    main()
