# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may hand snapshots to which account, and what must be typed for a lock that nobody can take off."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils import operator_fields, registry
from ansible_collections.dfir.aws.plugins.module_utils.sharing import door

HOME, FAR, FORENSIC, MEMBER = "eu-west-1", "us-east-1", "123456789012", "210987654321"
CALLER = registry.Caller("cli", "", f"arn:aws:iam::{FORENSIC}:user/dfir-controller", FORENSIC)
GRANT = {"incidents": ["INC-*"], "accounts": [FORENSIC, MEMBER], "regions": [HOME, FAR], "modes": ["share"]}
ENTRY = {"uid": "alice", "email": "a@example.org", "callers": [CALLER.arn], "cidrs": ["198.51.100.1/32"],
         "public_key": {"source": "ssm"}}
ASKED = {"analyst_uid": "alice", "incident": "INC-1", "aws_snapshot_id": "snap-0123456789abcdef0",
         "aws_snapshot_region": HOME, "aws_source_account": MEMBER}
NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


def checked(**more: Any) -> tuple[dict[str, Any], list[str]]:
    values, problems = operator_fields.checked(door.SHARE, {**ASKED, **more})
    return values, [problem.field for problem in problems]


@pytest.mark.parametrize(("more", "field"), [
    ({"aws_source_account": "12345"}, "aws_source_account"),
    ({"aws_source_account": f"{MEMBER}\n"}, "aws_source_account"),
    ({"aws_target_account": "{{ x }}"}, "aws_target_account"),
    ({"aws_snapshot_id": "snap-xyz"}, "aws_snapshot_id"),
    ({"share_as": "steal"}, "share_as"),
    ({"lock_mode": "forever"}, "lock_mode"),
    ({"lock_days": 0}, "lock_days"),
    ({"lock_days": 36_501}, "lock_days"),
    ({"lock_mode": "compliance"}, "lock_confirmation"),
    ({"lock_mode": "compliance", "lock_confirmation": "INC-2"}, "lock_confirmation"),
    ({"lock_mode": "compliance", "lock_confirmation": "INC-1"}, "lock_cool_off_hours"),
    ({"lock_mode": "compliance", "lock_confirmation": "INC-1", "lock_cool_off_hours": 73}, "lock_cool_off_hours"),
])
def test_p37_p43_what_is_wrong_is_refused_at_the_door(more: dict[str, Any], field: str) -> None:
    assert checked(**more)[1] == [field]


def test_what_is_asked_for_becomes_one_structure() -> None:
    values, problems = checked(lock_mode="compliance", lock_confirmation="INC-1", lock_cool_off_hours="24",
                               lock_days="30", aws_target_region=FAR)
    assert problems == []
    spec = door.build(values, {"uid": "alice"}, CALLER, now=NOW)
    assert spec["snapshots"] == [{"snapshot_id": ASKED["aws_snapshot_id"], "account": MEMBER, "region": HOME}]
    assert spec["target"] == {"account": FORENSIC, "region": FAR, "how": "copy"}
    assert spec["lock"] == {"mode": "compliance", "days": 30, "cool_off_hours": 24} and spec["confirmation"] == "INC-1"
    plain = door.build(checked()[0], {"uid": "alice"}, CALLER, now=NOW)
    assert plain["lock"] == {"mode": "governance", "days": 90, "cool_off_hours": 0}
    assert plain["target"]["region"] == HOME and plain["request_id"] != spec["request_id"]


@pytest.mark.parametrize(("grant", "more", "field", "words"), [
    ({"accounts": [FORENSIC]}, {}, "aws_source_account", f"no right to the AWS account {MEMBER}"),
    ({"accounts": [MEMBER]}, {}, "aws_target_account", f"no right to the AWS account {FORENSIC}"),
    ({}, {"aws_target_account": "999999999999"}, "aws_target_account", "no right to the AWS account 999999999999"),
    ({"modes": ["acquire"]}, {}, "forensics_mode", "no right to the mode share"),
    ({"regions": [HOME]}, {"aws_target_region": FAR}, "aws_target_region", f"no right to the region {FAR}"),
    ({"incidents": ["INC-2"]}, {}, "incident", "no right to the incident INC-1"),
])
def test_p44_a_grant_must_cover_both_accounts(grant: dict[str, Any], more: dict[str, Any], field: str,
                                              words: str) -> None:
    values = checked(**more)[0]
    with pytest.raises(registry.Refused) as refused:
        door.sharer([{**ENTRY, "grants": [{**GRANT, **grant}]}], values, CALLER)
    assert refused.value.field == field and words in refused.value.sentence


def test_who_has_a_grant_for_both_is_let_in() -> None:
    assert door.sharer([{**ENTRY, "grants": [GRANT]}], checked()[0], CALLER)["uid"] == "alice"
