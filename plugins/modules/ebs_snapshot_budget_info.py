#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What imaging a snapshot would take, before a block is fetched."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: ebs_snapshot_budget_info
version_added: 0.1.0
short_description: Say what imaging a snapshot would cost and how long it would take
description:
  - Blocks, bytes to download, API calls, dollars, and seconds at the rate that AWS allows.
  - Estimated from what EC2 says of the snapshot, which costs nothing, or counted by listing its blocks.
options:
  snapshot_id:
    description: The snapshot.
    type: str
    required: true
  since:
    description: Count only what changed since this older snapshot of the same volume. Counts by listing.
    type: str
  exact:
    description: Count by listing, a call for every 10,000 blocks.
    type: bool
    default: false
  prices:
    description:
      - Dollars for 1,000 calls, where they differ from those of us-east-1. V(get_per_1000) and V(list_per_1000).
    type: dict
    default: {}
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
  - "Needed: C(ec2:DescribeSnapshots); to count, C(ebs:ListSnapshotBlocks) or C(ebs:ListChangedBlocks)."
seealso:
  - module: dfir.aws.ebs_snapshot_image
author:
  - The dfir.aws authors (@dfir-aws)
"""

EXAMPLES = r"""
- name: Ask what the image would cost
  dfir.aws.ebs_snapshot_budget_info:
    snapshot_id: snap-0123456789abcdef0
    region: eu-west-1
  register: budget

- name: Refuse what is too expensive
  ansible.builtin.assert:
    that: budget.budget.cost_usd <= 5
"""

RETURN = r"""
budget:
  description: The budget.
  returned: always
  type: dict
  contains:
    exact:
      description: Whether it was counted, or estimated.
      type: bool
    blocks:
      description: Blocks to fetch.
      type: int
    bytes_to_fetch:
      description: Their bytes.
      type: int
    volume_bytes:
      description: Size of the volume, which is that of its raw image.
      type: int
    get_calls:
      description: Calls of GetSnapshotBlock.
      type: int
    list_calls:
      description: Calls that list blocks.
      type: int
    cost_usd:
      description: Dollars for these calls.
      type: float
    fetch_seconds:
      description: Seconds at O(rate).
      type: float
    hole_bytes:
      description: Bytes that were never written. A digest of the whole image counts them as zeros.
      type: int
    hole_hash_seconds:
      description: Seconds for hashing these, roughly.
      type: float
    removed_blocks:
      description: With O(since), blocks that the newer snapshot no longer has.
      type: int
"""

from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule
from ansible_collections.dfir.aws.plugins.module_utils.ebs.budget import snapshot_budget
from ansible_collections.dfir.aws.plugins.module_utils.ebs_module import AWS_SPEC, engine_client
from ansible_collections.dfir.aws.plugins.module_utils.ebs_work import Work


def main() -> None:
    """Entry point."""
    module = AwsModule(supports_check_mode=True, argument_spec={
        "snapshot_id": {"type": "str", "required": True},
        "since": {"type": "str"},
        "exact": {"type": "bool", "default": False},
        "prices": {"type": "dict", "default": {}},
        **AWS_SPEC,
    })
    work, given = Work(module), module.params
    client = engine_client(module, work)

    def budget() -> dict[str, Any]:
        found = snapshot_budget(client, given["snapshot_id"], first=given["since"], exact=given["exact"],
                                prices=given["prices"], rate=given["rate"])
        return {"changed": False, "budget": found.to_json()}

    work.run(budget)


if __name__ == "__main__":
    main()
