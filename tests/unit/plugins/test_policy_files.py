# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policy files: each belongs to somebody, each playbook has one, and the lab can decide by all that they say."""

from __future__ import annotations

import re

import pytest

from lab.aws import conditions
from lab.aws.policy import STATEMENT_KEYS
from tests.policy_table import FOLDER, POLICIES, STATEMENTS, actions, document

PLAYBOOKS = {path.stem for path in (FOLDER.parents[1] / "playbooks").glob("*.yml")}
# Asks the automation platform alone
NO_AWS = {"import_aap"}
PLACEHOLDERS = {"ACCOUNT_ID", "ARTIFACT_BUCKET", "ARTIFACT_PREFIX", "ANALYSIS_REGION", "TRAIL_BUCKET", "TRAIL_ARN",
                "EXCEPTIONS", "MEMBER_ID", "EXTERNAL_ID"}


def test_every_file_belongs_to_somebody_and_is_explained() -> None:
    files = {path.name for path in FOLDER.glob("*.json")}
    assert files == set(POLICIES), "tests/policy_table.py says whose each file is"
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [name for name in files if f"`{name}`" not in page] == []


def test_every_playbook_runs_under_a_policy() -> None:
    covered = {playbook for policy in POLICIES.values() if policy.kind == "identity" for playbook in policy.playbooks}
    assert covered == PLAYBOOKS - NO_AWS


@pytest.mark.parametrize("name", POLICIES)
def test_the_lab_can_decide_by_it(name: str) -> None:
    sids = [statement["Sid"] for statement in document(name)["Statement"]]
    assert len(sids) == len(set(sids)) and all(re.fullmatch("[A-Za-z0-9]+", sid) for sid in sids)
    for statement in document(name)["Statement"]:
        assert set(statement) <= STATEMENT_KEYS
        for operator, keys in statement.get("Condition", {}).items():
            plain = operator.lower().rpartition(":")[2].removesuffix("ifexists")
            assert plain == "null" or plain in conditions.POSITIVE or plain in conditions.NEGATIVE, operator
            assert [key for key in keys if not conditions.known_key(key)] == []
    words = set(re.findall(r"[A-Z]+_[A-Z]+|EXCEPTIONS", (FOLDER / name).read_text(encoding="utf-8")))
    assert words <= PLACEHOLDERS


@pytest.mark.parametrize("name", [name for name, policy in POLICIES.items() if policy.kind == "identity"])
def test_no_identity_is_given_everything(name: str) -> None:
    assert [action for _sid, action in actions(name) if "*" in action] == []


def test_reasons_stand_for_actions_that_are_there() -> None:
    for name, policy in POLICIES.items():
        assert set(policy.unused) <= {action for _sid, action in actions(name)}, name
        assert all(len(reason) > 20 for reason in policy.unused.values())
    given = {pair for name in POLICIES for pair in actions(name)}
    assert set(STATEMENTS) <= given
