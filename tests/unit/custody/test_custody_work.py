# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What playbooks without a record tell the custody ledger of their work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.filter.custody_work import (
    ACTIONS,
    custody_begins,
    custody_ends,
    custody_lines,
    custody_not_kept,
)
from ansible_collections.dfir.aws.plugins.filter.image import images_summary
from ansible_collections.dfir.aws.plugins.module_utils.custody.ledger import Ledger

from tests.unit.custody.custody_kit import INCIDENT, Case

ONE, TWO, HASH = "snap-0000000000000000a", "snap-0000000000000000b", "a" * 64
CALLER = {"kind": "cli", "name": "alice", "arn": "arn:aws:iam::123456789012:user/alice"}
REQUEST: dict[str, Any] = {
    "request_id": "0123456789abcdef", "incident": INCIDENT, "caller": CALLER, "analyst": {"uid": "alice"}, "attempt": 1,
    "snapshots": [{"id": ONE, "region": "us-east-1"}, {"id": TWO, "region": "us-east-1"}], "artifact_bucket": "bucket",
    "region": "us-east-1", "instance_ids": ["i-1"], "instance_tags": {"role": "web"}}
PLACE = f"s3://bucket/{INCIDENT}/{ONE}/triage/x/"
LOOKED = {"places": [PLACE, "/srv/out"], "files": [{"name": "report.html", "sha256": HASH, "bytes": 5}], "made": "now",
          "counts": {"high": 2, "text": "left out"}}
IMAGE = {"snapshot_id": ONE, "places": [f"s3://bucket/{INCIDENT}/{ONE}/image/"], "sha256": HASH, "size": 9, "blocks": 1,
         "linear_sha256": "b" * 64, "manifest": "/home/x", "verification": {"finished": "later"},
         "packed": {"path": f"s3://bucket/{INCIDENT}/{ONE}/image/image.raw.zst.age", "packed_sha256": "c" * 64}}
ACQUIRED = {"problem": "", "snapshots": [TWO], "instances": [{
    "instance_id": "i-1", "problem": "", "prefix": f"{INCIDENT}/i-1/metadata/",
    "files": [{"name": "instance.json", "sha256": HASH, "bytes": 7}],
    "snapshots": [{"snapshot_id": TWO, "volume_id": "vol-1", "device": "/dev/xvda", "size_gib": 8,
                   "started": "then"}]}]}
MADE = {"triage": LOOKED, "compare": LOOKED, "image": {"done": [IMAGE, {**IMAGE, "snapshot_id": TWO}]},
        "acquisition": ACQUIRED, "artifact_urls": {"objects": [1, 2], "expires_at": "later", "secret": "address"}}


def said(entries: list[dict[str, Any]]) -> list[tuple[str, str, str, str]]:
    return [(entry["action"], entry["phase"], entry["result"], entry["object"]["id"]) for entry in entries]


@pytest.mark.parametrize("work", ACTIONS)
def test_each_work_is_told_before_and_after_and_a_second_run_as_it_is(work: str, tmp_path: Path) -> None:
    case = Case(tmp_path)

    def write(entries: list[dict[str, Any]]) -> bool:
        return any(written.changed for written in Ledger(case.store, INCIDENT).append_tries(entries))

    begins, ends = custody_begins(REQUEST, work), custody_ends(REQUEST, work, MADE[work])
    assert write(begins) and write(ends)
    assert {entry["phase"] for entry in begins} == {"intent"} and {entry["action"] for entry in begins} == {
        ACTIONS[work][0]}
    case.ledger.refresh()
    assert case.ledger.open_intents() == []
    assert write(custody_begins(REQUEST, work)) is ACTIONS[work][1], "new work, or the same looked at once more"
    assert write(ends) is ACTIONS[work][1]
    # It fails: what was begun has failed.
    assert write(custody_begins({**REQUEST, "request_id": "f" * 16}, work))
    assert write(custody_ends({**REQUEST, "request_id": "f" * 16}, work, {}, "The disk is full."))
    case.ledger.refresh()
    assert case.ledger.open_intents() == []
    assert {entry["details"]["reason"] for entry in custody_ends(REQUEST, work, None, "Why.")} == {"Why."}


def test_artifacts_are_told_by_their_keys_and_only_those_in_the_bucket() -> None:
    assert said(custody_ends({**REQUEST, "snapshots": REQUEST["snapshots"][:1]}, "triage", LOOKED)) == [
        ("artifact", "record", "ok", f"{INCIDENT}/{ONE}/triage/x/report.html"), ("tool_run", "outcome", "ok", ONE)]
    outcome = custody_ends({**REQUEST, "snapshots": REQUEST["snapshots"][:1]}, "triage", LOOKED)[-1]
    assert outcome["details"] == {"places": f"{PLACE}, /srv/out", "made": "now", "count_high": 2}
    assert outcome["actor"] == CALLER
    [packed, image] = custody_ends(REQUEST, "image", IMAGE)
    assert packed["object"] == {"kind": "artifact", "id": f"{INCIDENT}/{ONE}/image/image.raw.zst.age",
                                "sha256": "c" * 64, "place": "s3://bucket"}
    assert (image["object"]["sha256"], image["details"]["linear_sha256"]) == (HASH, "b" * 64)
    assert "address" not in str(custody_ends(REQUEST, "artifact_urls", MADE["artifact_urls"]))


def test_an_acquisition_tells_metadata_snapshots_and_what_could_not_be_had() -> None:
    lost = {"instance_id": "i-2", "problem": "It is gone.", "prefix": "", "files": [], "snapshots": []}
    told = custody_ends(REQUEST, "acquisition", {
        **ACQUIRED, "problem": "1 of 2.", "instances": [*ACQUIRED["instances"], lost]})
    assert said(told) == [
        ("artifact", "record", "ok", f"{INCIDENT}/i-1/metadata/instance.json"), ("acquisition", "record", "ok", TWO),
        ("acquisition", "record", "failed", "i-2"), ("acquisition", "outcome", "failed", "i-1, role=web")]
    assert told[1]["details"] == {"instance": "i-1", "volume": "vol-1", "device": "/dev/xvda", "size_gib": 8,
                                  "moment": "then"}


def test_images_of_several_snapshots_are_told_as_they_stand() -> None:
    """Those that others work on stay begun."""
    claims = [{"snapshot_id": ONE, "state": "held", "holder": "host@1", "failures": []},
              {"snapshot_id": TWO, "state": "free", "holder": "", "failures": [{"holder": "host@1", "reason": "No."}]}]
    summary = images_summary(claims)
    assert said(custody_ends(REQUEST, "image", summary)) == [("image", "outcome", "failed", TWO)]


def test_what_is_shown_ends_with_the_ledger() -> None:
    stands = custody_not_kept(INCIDENT)
    assert custody_lines("done", stands) == ["done", stands["line"]] and not stands["kept"] and not stands["problem"]
