# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a role hands on between its steps, and what people read."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.dfir.aws.plugins.filter import sharing

FORENSIC, MEMBER = "123456789012", "210987654321"
REQUEST = {"request_id": "0" * 16, "incident": "INC-1", "analyst": {"uid": "alice"}, "account": FORENSIC,
           "partition": "aws"}
MEMBERS = {MEMBER: {"role": "dfir-acquisition", "external_id": "4711"},
           "*": {"role": "other", "source_identity": False}}


def test_each_other_account_is_entered_by_its_role_and_ours_by_none() -> None:
    snapshots = [{"account": MEMBER}, {"account": FORENSIC}, {"account": "999999999999"}, {"account": MEMBER}]
    access = sharing.sharing_access(REQUEST, snapshots, FORENSIC, MEMBERS)
    assert [entry["account"] for entry in access] == [MEMBER, "999999999999"]
    assert sharing.sharing_role(access, MEMBER) == {
        "role_arn": f"arn:aws:iam::{MEMBER}:role/dfir-acquisition", "external_id": "4711",
        "session_name": f"dfir-INC-1-{'0' * 16}", "source_identity": "alice"}
    other = sharing.sharing_role(access, "999999999999")
    assert other["role_arn"].endswith(":role/other") and not {"external_id", "source_identity"} & set(other)
    assert sharing.sharing_role(access, FORENSIC) == {}
    assert sharing.sharing_access(REQUEST, snapshots, FORENSIC, {}) == []


def test_of_an_acquisition_goes_on_what_is_completed() -> None:
    one = {"snapshot_id": "snap-1", "account": MEMBER, "region": "eu-west-1", "state": "completed", "own": False}
    assert sharing.sharing_snapshots({"evidence": [one, {**one, "state": "error"}]}) == [
        {"snapshot_id": "snap-1", "account": MEMBER, "region": "eu-west-1"}]


def test_p37_a_lock_that_was_not_typed_for_ends_the_role_before_anything_is_looked_at() -> None:
    with pytest.raises(AnsibleFilterError, match="typed once more"):
        sharing.sharing_lock(REQUEST, "compliance", 30, 24, "INC-2")
    assert sharing.sharing_lock(REQUEST, "compliance", 30, 24, "INC-1")["cool_off_hours"] == 24
    assert sharing.sharing_lock(REQUEST, "governance", 90, 0, "")["mode"] == "governance"


def came(**more: Any) -> dict[str, Any]:
    return {"source_snapshot_id": "snap-1", "source_account": MEMBER, "source_region": "eu-west-1",
            "snapshot_id": "snap-2", "account": FORENSIC, "region": "us-east-1", "state": "copied", "verified": True,
            "lock": "governance", "locked_until": "2027-01-01T00:00:00Z", "problem": "", "notes": [],
            "words": "verified: read", "intermediate": "", **more}


def test_what_failed_is_counted_and_what_stays_can_be_removed() -> None:
    told = sharing.sharing_result([came(intermediate="snap-3"), came(source_snapshot_id="snap-4", problem="No key.")])
    assert told["failed"] == ["snap-4"] and told["problem"] == "1 of 2 snapshots could not be shared: No key."
    text = "\n".join(told["lines"])
    assert "delete-snapshot --region eu-west-1 --snapshot-id snap-3" in text and "snap-4: FAILED: No key." in text
    assert "governance until 2027-01-01T00:00:00Z" in text
    assert sharing.sharing_result([came()])["problem"] == ""
