# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all labs of all tests before this one kept account of, held against the policy files (`make test-policies`).

Every action of every file was used by somebody who had that file, or there is a reason why no test can; and whoever had
nothing but these files was refused nothing that a playbook needs.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest

from lab.aws.usage import FOLDER, Use, read
from tests.policy_table import POLICIES, STATEMENTS, actions, document

# Refused to the lab's own users, and why that is no missing right.
TOLERATED = {
    "iam:ListAccountAliases": "amazon.aws.aws_caller_info asks for the account's name, too, and does without it",
    "s3:GetBucketOwnershipControls": "amazon.aws.s3_object asks before it writes, and does without it",
}
# The users under whom the playbooks run in the tests' labs; tests that try what is forbidden make users of their own.
RUNNERS = ("user/dfir-controller", "user/dfir-custodian")


@pytest.fixture(scope="module")
def folder() -> Path:
    folder = os.environ.get(FOLDER)
    if not folder:
        pytest.skip(f"no account of a whole run: {FOLDER} names no folder (.ci/run)")
    assert any(Path(folder).glob("whole-*.jsonl")), f"{folder} holds no account: run this after all other tests"
    return Path(folder)


@pytest.fixture(scope="module")
def uses(folder: Path) -> set[Use]:
    return read(folder)


@pytest.mark.parametrize("name", [name for name, policy in POLICIES.items() if policy.kind in ("identity", "host")])
def test_every_action_of_a_policy_is_used(uses: set[Use], name: str) -> None:
    sids = {statement["Sid"] for statement in document(name)["Statement"]}
    # A host's policy is the file, with more statements for more snapshots: sids are a part of its own.
    used = {(use.sid, use.action) for use in uses if use.effect == "Allow" and use.allowed and sids <= set(use.policy)}
    allows = {(sid, action) for sid, action in actions(name) if not _denies(name, sid)}
    unused = allows - used
    reasons = POLICIES[name].unused
    assert {pair for pair in unused if pair[1] not in reasons and pair not in STATEMENTS} == set(), \
        "in the policy, and never used"
    if over := set(reasons) - {action for _sid, action in unused}:
        warnings.warn(f"{name}: reasons in tests/policy_table.py for what this run has used: {', '.join(sorted(over))}",
                      stacklevel=1)


def test_every_statement_of_the_bucket_policy_refuses_somebody(uses: set[Use]) -> None:
    name = "artifact-bucket-policy.json"
    refused = {use.sid for use in uses if use.kind == "resource" and use.effect == "Deny" and not use.allowed}
    assert {statement["Sid"] for statement in document(name)["Statement"]} - refused == set()


def test_no_action_that_a_playbook_needs_is_missing(folder: Path) -> None:
    """An action that is always refused. One that is refused on some things only is in the policy; a playbook that lacks
    it fails its own tests, and tests that try what is forbidden leave such refusals behind."""
    ours = {use for use in read(folder, "whole") if use.caller.endswith(RUNNERS)}
    for runner in RUNNERS:
        given = {use.action for use in ours if use.caller.endswith(runner) and use.allowed}
        refused = {use.action for use in ours if use.caller.endswith(runner) and not use.allowed and not use.effect}
        assert refused - given - set(TOLERATED) == set(), runner


def _denies(name: str, sid: str) -> bool:
    return any(statement["Sid"] == sid and statement["Effect"] == "Deny" for statement in document(name)["Statement"])
