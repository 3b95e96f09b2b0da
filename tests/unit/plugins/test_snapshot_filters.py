# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which snapshot an analysis works on."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.filter.snapshots import (
    choose_snapshot,
    later_expiry,
    snapshot_refusal,
    snapshot_result,
    winning_copy,
)

SOURCE = "snap-0123456789abcdef0"


def copy(name: str, start: str, state: str = "completed", source: str = SOURCE, region: str = "us-east-1",
         **more: Any) -> dict[str, Any]:
    return {"snapshot_id": f"snap-{name}", "start_time": f"2026-11-20T{start}:00Z", "state": state,
            "tags": {"dfir:source-snapshot": source, "dfir:source-region": region}, **more}


def choose(found: list[dict[str, Any]], copies: list[dict[str, Any]]) -> dict[str, Any]:
    return choose_snapshot(found, copies, SOURCE, "us-east-1")


def test_the_snapshot_itself_comes_first() -> None:
    answer = choose([{"snapshot_id": SOURCE, "state": "completed"}], [copy("a", "10:00")])
    assert answer["how"] == "itself" and answer["snapshot"]["snapshot_id"] == SOURCE and not answer["pending"]


def test_p33_an_earlier_copy_is_found_by_its_tags() -> None:
    answer = choose([], [copy("a", "10:00")])
    assert answer["how"] == "reuse" and answer["snapshot"]["snapshot_id"] == "snap-a"


@pytest.mark.parametrize("other", [copy("a", "10:00", source="snap-fff"), copy("a", "10:00", region="eu-north-1")])
def test_p33_a_copy_of_something_else_is_not_taken(other: dict[str, Any]) -> None:
    assert choose([], [other])["how"] == "copy"


def test_a_pending_copy_is_taken_and_waited_for() -> None:
    answer = choose([], [copy("b", "11:00", "pending"), copy("a", "10:00", "pending")])
    assert answer["how"] == "reuse" and answer["snapshot"]["snapshot_id"] == "snap-a" and answer["pending"]


def test_a_completed_copy_serves_before_an_older_pending_one() -> None:
    assert choose([], [copy("a", "10:00", "pending"), copy("b", "11:00")])["snapshot"]["snapshot_id"] == "snap-b"


def test_p35_a_failed_copy_is_a_carcass_and_no_snapshot() -> None:
    answer = choose([], [copy("a", "10:00", "error")])
    assert answer["how"] == "copy" and answer["carcasses"] == ["snap-a"]


def test_an_archived_copy_does_not_serve() -> None:
    assert choose([], [copy("a", "10:00", storage_tier="archive")])["how"] == "copy"


def test_p71_of_two_that_raced_the_oldest_wins_on_both_sides() -> None:
    rivals = [copy("b", "10:01", "pending"), copy("a", "10:00", "pending")]
    assert winning_copy(rivals, "snap-a") == {"snapshot_id": "snap-a", "surplus": ""}
    assert winning_copy(rivals, "snap-b") == {"snapshot_id": "snap-a", "surplus": "snap-b"}


def test_p71_of_two_from_the_same_second_both_sides_choose_the_same() -> None:
    rivals = [copy("b", "10:00", "pending"), copy("a", "10:00")]
    assert {winning_copy(rivals, mine)["snapshot_id"] for mine in ("snap-a", "snap-b")} == {"snap-a"}


def test_p71_a_copy_that_is_not_listed_yet_is_not_given_up() -> None:
    assert winning_copy([copy("a", "10:00")], "snap-b") == {"snapshot_id": "snap-b", "surplus": ""}


def test_p71_a_failed_copy_wins_against_nobody() -> None:
    assert winning_copy([copy("a", "10:00", "error"), copy("b", "10:01", "pending")], "snap-b")["surplus"] == ""


@pytest.mark.parametrize(("snapshot", "word"), [
    ([], "not shared"),
    ([{"state": "error", "state_message": "no key"}], "no key"),
    ([{"state": "recoverable"}], "recycle bin"),
    ([{"state": "completed", "storage_tier": "archive"}], "archived"),
    ([{"state": "completed", "outpost_arn": "arn:x"}], "Outpost"),
    ([{"state": "strange"}], "strange"),
])
def test_p10_a_snapshot_that_cannot_be_used_is_refused(snapshot: list[dict[str, Any]], word: str) -> None:
    sentence = snapshot_refusal(snapshot, SOURCE, "us-east-1")
    assert word in sentence and SOURCE in sentence and sentence.count("\n") == 0


@pytest.mark.parametrize("state", ["pending", "completed"])
def test_p10_a_good_one_is_not_refused(state: str) -> None:
    assert snapshot_refusal([{"state": state, "storage_tier": "standard"}], SOURCE, "us-east-1") == ""


def test_expiry_is_raised_and_never_lowered_and_only_on_copies() -> None:
    ours = copy("a", "10:00")
    ours["tags"]["dfir:expires"] = "2026-12-01T00:00:00Z"
    assert later_expiry(ours, "2026-12-02T00:00:00Z") == "2026-12-02T00:00:00Z"
    assert later_expiry(ours, "2026-11-30T00:00:00Z") == ""
    assert later_expiry({"snapshot_id": SOURCE, "tags": {}}, "2026-12-02T00:00:00Z") == ""


@pytest.mark.parametrize("described", [
    {"snapshot_id": "snap-a", "volume_size": 8, "encrypted": True, "kms_key_id": "k", "owner_id": "1"},
    {"SnapshotId": "snap-a", "VolumeSize": 8, "Encrypted": True, "KmsKeyId": "k", "OwnerId": "1"},
])
def test_result_reads_both_spellings(described: dict[str, Any]) -> None:
    result = snapshot_result(described, {"how": "copy"}, SOURCE, "us-east-1", "eu-west-1", "snap-a")
    assert result == {"id": "snap-a", "region": "eu-west-1", "volume_gib": 8, "encrypted": True, "kms_key_id": "k",
                      "owner_id": "1", "source_id": SOURCE, "source_region": "us-east-1", "copied": True,
                      "reused": False, "started": "snap-a"}
