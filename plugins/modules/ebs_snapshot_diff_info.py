#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What changed between two snapshots."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: ebs_snapshot_diff_info
version_added: 0.1.0
short_description: Say which blocks changed between two snapshots, as ranges of bytes
description:
  - Compares two snapshots of one volume by listing. No block is read.
  - A block that was written again with the same content counts as changed, as EBS counts.
options:
  first_snapshot_id:
    description: The older snapshot.
    type: str
    required: true
  second_snapshot_id:
    description: The newer snapshot of the same volume.
    type: str
    required: true
  max_ranges:
    description: Return so many ranges at most. All are counted.
    type: int
    default: 10000
extends_documentation_fragment:
  - dfir.aws.ebs
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
  - "Needed: C(ebs:ListChangedBlocks)."
  - Copies of snapshots have no lineage in common with their source, unless they are incremental.
author:
  - The dfir.aws authors (@dfir-aws)
"""

EXAMPLES = r"""
- name: Ask what changed between yesterday and today
  dfir.aws.ebs_snapshot_diff_info:
    first_snapshot_id: snap-0aaaaaaaaaaaaaaaa
    second_snapshot_id: snap-0bbbbbbbbbbbbbbbb
    region: eu-west-1
"""

RETURN = r"""
difference:
  description: What changed.
  returned: always
  type: dict
  contains:
    changed_blocks:
      description: Blocks with another content.
      type: int
    changed_bytes:
      description: Their bytes.
      type: int
    removed_blocks:
      description: Blocks that the newer snapshot does not have. They read as zeros there.
      type: int
    removed_bytes:
      description: Their bytes.
      type: int
    volume_gib:
      description: Size of the newer volume.
      type: int
    ranges:
      description: Neighboring blocks of one kind, ascending.
      type: list
      elements: dict
      contains:
        kind:
          description: V(changed) or V(removed).
          type: str
        start:
          description: First byte.
          type: int
        length:
          description: Bytes.
          type: int
    range_count:
      description: How many ranges there are.
      type: int
    truncated:
      description: Whether there are more than O(max_ranges).
      type: bool
"""

from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule
from ansible_collections.dfir.aws.plugins.module_utils.ebs.diff import difference
from ansible_collections.dfir.aws.plugins.module_utils.ebs_module import AWS_SPEC, engine_client
from ansible_collections.dfir.aws.plugins.module_utils.ebs_work import Work


def main() -> None:
    """Entry point."""
    module = AwsModule(supports_check_mode=True, argument_spec={
        "first_snapshot_id": {"type": "str", "required": True},
        "second_snapshot_id": {"type": "str", "required": True},
        "max_ranges": {"type": "int", "default": 10000},
        **AWS_SPEC,
    })
    work, given = Work(module), module.params
    client = engine_client(module, work)

    def compare() -> dict[str, Any]:
        found = difference(client, given["first_snapshot_id"], given["second_snapshot_id"],
                           most_ranges=given["max_ranges"])
        return {"changed": False, "difference": found.to_json()}

    work.run(compare)


if __name__ == "__main__":
    main()
