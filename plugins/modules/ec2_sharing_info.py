#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_sharing_info
short_description: Find out what must be done with snapshots so that another account can read them
version_added: 0.1.0
author:
  - The dfir.aws authors (@dfir-aws)
description:
  - Looks at snapshots, at the keys that they are encrypted under, and at what earlier runs made of them, and says which
    calls are left. M(dfir.aws.ec2_snapshot_share) makes them.
  - Asks KMS beforehand, with dry runs, whether the keys will do. What a dry run cannot tell is V(not checkable), and
    stops nothing.
  - Makes nothing. Where a key is to be read with, it has KMS make a data key and throws that away, to have something
    for the dry run of Decrypt.
options:
  snapshots:
    description: The snapshots, each with C(snapshot_id), C(account) and C(region).
    type: list
    elements: dict
    required: true
  target:
    description:
      - Who shall read them, C(account) and C(region) (empty, the region of each), and C(how) - C(copy), the account
        gets copies of its own, or C(share), it may read them where they are.
    type: dict
    required: true
  keys:
    description:
      - Customer keys by region, as ARNs. The one of the snapshots' region encrypts anew what nobody else could read;
        the one of the target's region encrypts copies there.
    type: dict
    default: {}
  lock:
    description: The lock that is wanted, C(mode), C(days) and C(cool_off_hours).
    type: dict
    default: {mode: none, days: 0, cool_off_hours: 0}
  side_by_side:
    description: How many snapshots are handled at the same time.
    type: int
    default: 8
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - dfir.aws.aws.read_only
  - dfir.aws.aws.access
notes:
  - "Needed: C(ec2:DescribeSnapshots), C(ec2:DescribeSnapshotAttribute), C(ec2:DescribeLockedSnapshots). For the keys,
    as far as they are to be asked, C(kms:DescribeKey), C(kms:GetKeyPolicy), C(kms:CreateGrant), C(kms:Decrypt),
    C(kms:GenerateDataKeyWithoutPlaintext). C(sts:AssumeRole) for roles."
seealso:
  - module: dfir.aws.ec2_snapshot_share
"""

EXAMPLES = r"""
- name: Look at the snapshots
  dfir.aws.ec2_sharing_info:
    snapshots: "{{ share_snapshots_asked.request_spec.snapshots }}"
    target: {account: "123456789012", region: eu-west-1, how: copy}
    keys: {eu-west-1: "arn:aws:kms:eu-west-1:123456789012:alias/dfir-sharing"}
    region: eu-west-1
"""

RETURN = r"""
snapshots:
  description:
    - One entry a snapshot - C(steps), the steps that are left, C(why), C(calls), C(checks) of keys, C(notes), and
      C(problem), a sentence, when it cannot be done.
  returned: success
  type: list
  elements: dict
account:
  description: The account that this run works in.
  returned: success
  type: str
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule

from ..module_utils.assumed_role import ACCESS, CannotEnter
from ..module_utils.sharing import find, plan
from ..module_utils.sharing.reach import Accounts

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception

NO_LOCK = {"mode": "none", "days": 0, "cool_off_hours": 0}


def main() -> None:
    """Entry point."""
    module = AwsModule(supports_check_mode=True, argument_spec={
        "snapshots": {"type": "list", "elements": "dict", "required": True},
        "target": {"type": "dict", "required": True},
        "keys": {"type": "dict", "default": {}, "no_log": False},  # their names, no key
        "lock": {"type": "dict", "default": NO_LOCK},
        "access": ACCESS,
        "side_by_side": {"type": "int", "default": 8},
    })
    given = module.params
    try:
        reach = Accounts(module, given["access"])
    except (ClientError, BotoCoreError) as error:
        module.fail_json_aws(error, msg="Cannot tell which account this is")
    looker = find.Looker(reach, {**given["target"], "keys": given["keys"], "lock": given["lock"]})

    def look(item: dict[str, Any]) -> dict[str, Any]:
        try:
            entry = plan.decide(*looker.facts(item))
        except CannotEnter as why:
            entry = plan.decide({**find.blank(item), "problem": str(why)}, looker.plain_target(item), [])
        return {**entry, "calls": plan.calls(entry)}

    with ThreadPoolExecutor(max(1, given["side_by_side"])) as pool:
        found = list(pool.map(look, given["snapshots"]))
    module.exit_json(changed=False, snapshots=found, account=reach.own)


if __name__ == "__main__":
    main()
