# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which snapshot an analysis works on."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.filter.snapshots import (
    choose_snapshot,
    choose_snapshots,
    copies_settled,
    later_expiry,
    snapshot_find_results,
    snapshot_refusal,
    snapshot_refusals,
    snapshot_result,
    snapshot_results,
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


class TestSeveral:
    """Three snapshots of one request: one is in the analysis region, one was copied before, one is to be copied."""

    SOURCES = [{"id": name, "region": "us-east-1"} for name in ("snap-1", "snap-2", "snap-3")]
    ITSELF = {"snapshot_id": "snap-1", "state": "completed", "volume_size": 8}
    EARLIER = copy("earlier", "10:00", "pending", source="snap-2", volume_size=20)

    @pytest.fixture
    def choices(self) -> list[dict[str, Any]]:
        found = [{"snapshots": [self.ITSELF]}, {"snapshots": []}, {"snapshots": []}]
        failed = copy("x", "01:00", "error", "snap-3")
        copies = [{"skipped": True}, {"snapshots": [self.EARLIER]}, {"snapshots": [failed]}]
        return choose_snapshots(self.SOURCES, found, copies)

    def looked(self, choices: list[dict[str, Any]], **source: Any) -> list[dict[str, Any]]:
        described = {"snapshot_id": "snap-3", "state": "completed", "volume_size": 30, **source}
        return [{"item": choices[2], "snapshots": [described]}]

    def test_each_is_decided_by_itself(self, choices: list[dict[str, Any]]) -> None:
        assert [(item["source_id"], item["how"]) for item in choices] == [
            ("snap-1", "itself"), ("snap-2", "reuse"), ("snap-3", "copy")]
        assert [item["carcasses"] for item in choices] == [[], [], ["snap-x"]]

    def test_all_that_cannot_be_used_is_said_at_once(self, choices: list[dict[str, Any]]) -> None:
        assert snapshot_refusals(choices, self.looked(choices)) == ""
        choices[0]["snapshot"]["storage_tier"] = "archive"
        said = snapshot_refusals(choices, self.looked(choices, public=True))
        assert "snap-1 is archived" in said and "snap-3 is public" in said and "snap-2" not in said
        gone = snapshot_refusals(choices, [{"item": choices[2], "snapshots": []}])
        assert "snap-3 is not in us-east-1" in gone

    def test_in_its_own_region_nothing_else_is_looked_at(self) -> None:
        nowhere = choose_snapshots(self.SOURCES[:1], [{"snapshots": []}], [{"skipped": True}])
        assert "snap-1 is not in us-east-1" in snapshot_refusals(nowhere, [])

    def test_what_there_is_has_all_sizes(self, choices: list[dict[str, Any]]) -> None:
        found = snapshot_find_results(choices, self.looked(choices))
        assert found["volume_gib"] == 58
        assert [(item["id"], item["source_id"], item["pending"]) for item in found["snapshots"]] == [
            ("snap-1", "snap-1", False), ("snap-earlier", "snap-2", True), ("snap-3", "snap-3", False)]

    def test_p71_each_copy_is_settled_by_itself(self, choices: list[dict[str, Any]]) -> None:
        started = [{"item": choices[2], "snapshot_id": "snap-mine"}]
        mine = copy("mine", "12:00", "pending", "snap-3")
        won = copies_settled(choices, started, [{"item": started[0], "snapshots": [mine]}])
        assert [item["waiting"] for item in won] == ["", "snap-earlier", "snap-mine"]
        assert [item["started"] for item in won] == ["", "", "snap-mine"] and not any(item["surplus"] for item in won)
        older = copy("older", "11:00", "pending", "snap-3")
        lost = copies_settled(choices, started, [{"item": started[0], "snapshots": [mine, older]}])
        assert (lost[2]["surplus"], lost[2]["started"], lost[2]["waiting"]) == ("snap-mine", "", "snap-older")
        assert lost[2]["how"] == "reuse"

    def test_in_check_mode_nothing_is_waited_for_that_was_not_made(self, choices: list[dict[str, Any]]) -> None:
        assert [item["waiting"] for item in copies_settled(choices, [{"item": choices[2], "skipped": True}])] == [
            "", "snap-earlier", ""]

    def test_the_result_has_each_where_it_is_now(self, choices: list[dict[str, Any]]) -> None:
        started = [{"item": choices[2], "snapshot_id": "snap-mine"}]
        settled = copies_settled(choices, started, [{"item": started[0], "snapshots": [copy("mine", "12:00", "pending",
                                                                                            "snap-3")]}])
        waited = [{"item": settled[1], "snapshot": {"SnapshotId": "snap-earlier", "VolumeSize": 20}},
                  {"item": settled[2], "snapshot": {"SnapshotId": "snap-mine", "VolumeSize": 30}}]
        result = snapshot_results(settled, waited, "eu-west-1")
        assert result["volume_gib"] == 58
        assert [(item["id"], item["source_id"], item["copied"], item["reused"]) for item in result["snapshots"]] == [
            ("snap-1", "snap-1", False, False), ("snap-earlier", "snap-2", False, True),
            ("snap-mine", "snap-3", True, False)]
