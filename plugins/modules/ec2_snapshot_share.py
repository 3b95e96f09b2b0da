#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_snapshot_share
short_description: Make snapshots readable for another account, one step at a time
version_added: 0.1.0
author:
  - The dfir.aws authors (@dfir-aws)
description:
  - Does one step for all snapshots for which M(dfir.aws.ec2_sharing_info) says that it is left, and answers at once.
    Wait for what it began, RV(waiting), with M(dfir.aws.aws_wait).
  - Copies of earlier runs are found by their tags and taken up. A snapshot whose step fails stays out of those that
    follow, with a C(problem); it stops no other one.
  - That another account can read a snapshot is said after that account's own credentials have read a block of it.
options:
  step:
    description:
      - V(reencrypt) copies under a customer key where the owner is; V(share) lets the other account in; V(copy) copies
        with the other account's credentials; V(lock) locks what stays; V(verify) reads a block with the other account's
        credentials, and takes the permission back that this run gave when the account has a copy of its own.
    type: str
    choices: [reencrypt, share, copy, lock, verify]
    required: true
  snapshots:
    description: The snapshots, as M(dfir.aws.ec2_sharing_info) or an earlier step returned them.
    type: list
    elements: dict
    required: true
  incident:
    description: The incident's name, for the tags of copies.
    type: str
    required: true
  analyst:
    description: The uid of who asked, for the tags of copies.
    type: str
    required: true
  confirmation:
    description: The incident's name, typed once more, without which no lock in compliance mode is set.
    type: str
    default: ""
  side_by_side:
    description: How many snapshots are handled at the same time.
    type: int
    default: 8
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - dfir.aws.aws.attributes
  - dfir.aws.aws.access
attributes:
  check_mode:
    support: none
  diff_mode:
    support: none
  idempotent:
    support: full
notes:
  - "Needed: the rights of C(docs/iam/sharing-policy.json), in other accounts those of
    C(docs/iam/member-sharing-policy.json)."
seealso:
  - module: dfir.aws.ec2_sharing_info
"""

EXAMPLES = r"""
- name: Let the other account in
  dfir.aws.ec2_snapshot_share:
    step: share
    snapshots: "{{ looked.snapshots }}"
    incident: INC-2026-0042
    analyst: alice
    region: eu-west-1
"""

RETURN = r"""
snapshots:
  description: The entries after the step.
  returned: success
  type: list
  elements: dict
waiting:
  description: What this step began and is to be waited for - C(snapshot_id), C(account), C(region).
  returned: success
  type: list
  elements: dict
shared:
  description: What came of each snapshot - id, account and region of what the other account can read, C(state),
    C(verified), C(lock), C(words), C(problem).
  returned: with O(step=verify)
  type: list
  elements: dict
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule

from ..module_utils.assumed_role import ACCESS
from ..module_utils.sharing import apply
from ..module_utils.sharing.reach import Accounts

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception


def main() -> None:
    """Entry point."""
    module = AwsModule(argument_spec={
        "step": {"type": "str", "required": True, "choices": ["reencrypt", "share", "copy", "lock", "verify"]},
        "snapshots": {"type": "list", "elements": "dict", "required": True},
        "incident": {"type": "str", "required": True},
        "analyst": {"type": "str", "required": True},
        "confirmation": {"type": "str", "default": ""},
        "access": ACCESS,
        "side_by_side": {"type": "int", "default": 8},
    })
    given = module.params
    try:
        reach = Accounts(module, given["access"])
    except (ClientError, BotoCoreError) as error:
        module.fail_json_aws(error, msg="Cannot tell which account this is")

    def do(entry: dict[str, Any]) -> dict[str, Any]:
        try:
            return apply.step(reach, given["step"], entry, given)
        except Exception as error:  # whatever it is, it must not end the others
            return {**entry, "changed": False, "problem": f"{entry['snapshot_id']}: {given['step']} failed: {error}"}

    with ThreadPoolExecutor(max(1, given["side_by_side"])) as pool:
        done = list(pool.map(do, given["snapshots"]))
    waiting = [began for entry in done if (began := apply.waiting(entry, given["step"]))]
    more = {"shared": [apply.result(entry) for entry in done]} if given["step"] == "verify" else {}
    module.exit_json(changed=any(entry["changed"] for entry in done), snapshots=done, **more, waiting=waiting)


if __name__ == "__main__":
    main()
