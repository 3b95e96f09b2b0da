# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A request's record as history: what each step tells the custody ledger, and that it is told once."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.filter.settlement import STEPS, last_steps
from ansible_collections.dfir.aws.plugins.module_utils import custody_request
from ansible_collections.dfir.aws.plugins.module_utils import record as records
from ansible_collections.dfir.aws.plugins.module_utils.custody import verify
from ansible_collections.dfir.aws.plugins.module_utils.custody.ledger import Ledger

from tests.unit.custody.custody_kit import INCIDENT, Case, key

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=timezone.utc)
ID, SOURCE, COPY = "0123456789abcdef", "snap-0000000000000000a", "snap-0000000000000000b"
SUMS, IMAGE = "a" * 64, "b" * 64
CALLER = {"kind": "awx", "name": "alice", "arn": "arn:aws:sts::123456789012:assumed-role/dfir/job"}
SPEC = {
    "request_id": ID, "incident": INCIDENT, "caller": CALLER, "instance_type": "m6i.large", "time_limit_hours": None,
    "analyst": {"uid": "alice", "cidrs": ["192.0.2.1/32"]}, "mode": "automatic", "attempt": 1, "journal": "auto",
    "snapshots": [{"id": SOURCE, "region": "us-east-1"}], "analysis_region": "eu-west-1", "evidence_by": "direct",
    "artifact_bucket": "bucket", "artifact_prefix": f"{INCIDENT}/{SOURCE}/", "record_key": f"requests/{ID}.json"}
STEP: dict[str, dict[str, Any]] = {
    "plan": {"items": []},
    "snapshot": {"snapshots": [{"id": COPY, "source_id": SOURCE, "source_region": "us-east-1", "region": "eu-west-1",
                                "copied": True, "reused": False, "encrypted": True, "volume_gib": 2}], "volume_gib": 2},
    "analysis_host": {"instance_id": "i-1", "deadline": "2026-01-31T20:00:00Z", "expires": "2026-02-01T00:00:00Z",
                      "ended": False, "image_id": "ami-1", "volumes": [{"volume_id": "vol-1", "snapshot_id": COPY}]},
    "connection": {"reached": True}, "packages": {"packages": ["x"]},
    "evidence": {"volumes": [{"volume_id": "vol-1", "snapshot_id": COPY, "role": "evidence", "read_only": True,
                              "device": "/dev/nvme1n1", "size_bytes": 2 << 30, "image": {"sha256": IMAGE},
                              "partitions": [{"label": "a label out of the evidence"}]}], "sets": []},
    "analyst_access": {"user": "analyst", "uid": "alice", "key_fingerprint": "SHA256:x", "folder": "/srv/dfir/analyst"},
    "toolbox": {"image": "tools:1", "digest": f"sha256:{'c' * 64}", "versions": {"ewf-tools": "1", "plaso": "2"}},
    "forensics": {"started": True},
}
WAITED = {"ended_at": "2026-01-31T14:00:00Z", "objects": [{"name": "complete.json"}], "outcome": "complete",
          "marker": {"outcome": "complete", "sha256sums_sha256": SUMS}, "hashes": {"complete.json": "d" * 64},
          "extended_until": ""}


def stepped(record: dict[str, Any], holder: str, *names: str, **failed: str) -> dict[str, Any]:
    for name in names:
        record = records.stepped(record, holder, NOW, 60, name=name, outcome="ok", details=STEP[name]).record
    for name, reason in failed.items():
        record = records.stepped(record, holder, NOW, 60, name=name, outcome="failed",
                                 details={"reason": reason}).record
    return record


def opened(record: dict[str, Any] | None, holder: str) -> dict[str, Any]:
    return records.opened(record, SPEC, holder, NOW, 60, gone=lambda _holder: True).record


def whole() -> dict[str, Any]:
    record = stepped(opened(None, "one"), "one", *(name for name in STEPS if name != "journal"))
    for step in last_steps([], {"failed": False, "outcome": "complete"}, WAITED, {}, {"sha256": "e" * 64}):
        record = records.stepped(record, "one", NOW, 60, name=step["name"], outcome="ok",
                                 details=step["details"]).record
    return records.finished(record, "one", NOW, "complete").record


def said(record: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(entry["event"].removeprefix(f"request/{ID}/"), entry["phase"], entry["result"])
            for entry in custody_request.entries(record) if entry["action"] != "artifact"]


BEFORE = [("run-1", "intent", "begun"), (f"copy/{SOURCE}", "intent", "begun"), (f"mount/{SOURCE}", "intent", "begun"),
          ("host", "intent", "begun")]
WORK = [(f"copy/{SOURCE}", "outcome", "ok"), ("host", "outcome", "ok"), ("access", "intent", "begun"),
        ("tools", "intent", "begun"), ("analysis", "intent", "begun")]
AFTER = [(f"mount/{SOURCE}", "outcome", "ok"), ("access", "outcome", "ok"), ("tools", "outcome", "ok"),
         ("analysis", "outcome", "ok"), ("end", "record", "ok"), ("run-1", "outcome", "ok")]


def test_every_step_of_a_request_is_told_its_intents_before_it(tmp_path: Path) -> None:
    record, case = whole(), Case(tmp_path)
    assert said(record) == BEFORE + WORK + AFTER
    entries = {(entry["event"].removeprefix(f"request/{ID}/"), entry["phase"]): entry
               for entry in custody_request.entries(record)}
    copied, mounted = entries[f"copy/{SOURCE}", "outcome"], entries[f"mount/{SOURCE}", "outcome"]
    assert (copied["object"]["id"], copied["details"]["source"]) == (COPY, SOURCE)
    assert (mounted["object"]["id"], mounted["object"]["sha256"], mounted["details"]["read_only"]) == (
        "vol-1", IMAGE, True)
    access = entries["access", "outcome"]
    assert access["details"] == {"analyst": "alice", "user": "analyst", "key": "SHA256:x", "from": "192.0.2.1/32",
                                 "until": "2026-01-31T20:00:00Z", "until_at_the_latest": "2026-02-01T00:00:00Z"}
    assert entries["tools", "outcome"]["details"]["version_ewf_tools"] == "1"
    assert "out of the evidence" not in str(entries) and entries["run-1", "intent"]["actor"] == CALLER
    artifacts = {entry["object"]["id"].rpartition("/")[2]: entry["object"]["sha256"]
                 for entry in custody_request.entries(record) if entry["action"] == "artifact"}
    assert artifacts == {"complete.json": "d" * 64, "sha256sums.txt": SUMS, "report.html": "e" * 64}
    # All of it is what a ledger takes, and it is taken once.
    case.ledger.append_all(custody_request.entries(record))
    number = case.ledger.number
    assert not any(written.changed for written in Ledger(case.store, INCIDENT).append_all(
        custody_request.entries(record)))
    case.ledger.sign(key())
    verdict = verify.verify(case.store, INCIDENT, key().read(), artifacts=False)
    assert (verdict.state, len(verdict.entries)) == ("valid", number)


def test_each_write_of_the_record_only_adds_to_its_history() -> None:
    """What was told keeps its name and place, whatever comes later: a ledger that lagged behind is brought up."""
    record, before = opened(None, "one"), []
    for name in (name for name in STEPS if name != "journal"):
        record = stepped(record, "one", name)
        now = custody_request.entries(record)
        assert now[:len(before)] == before, name
        before = now


@pytest.mark.parametrize("last", [0, 1, 3])
def test_a_killed_run_leaves_its_intents_and_the_next_one_ends_them(last: int) -> None:
    names = [name for name in STEPS if name != "journal"]
    killed = stepped(opened(None, "one"), "one", *names[:last])
    before = said(killed)
    assert not [entry for entry in before if entry[0] == "run-1" and entry[1] == "outcome"]
    record = opened(killed, "two")
    record = stepped(record, "two", *names)
    after = said(record)
    assert after[:len(before)] == before and ("run-2", "intent", "begun") in after
    done = [event for event, phase, _result in after if phase == "outcome"]
    assert sorted(done) == sorted([f"copy/{SOURCE}", "host", f"mount/{SOURCE}", "access", "tools"])
    assert not [event for event, _phase, _result in after if "again" in event]


def test_what_failed_is_said_and_the_next_run_tries_it_again() -> None:
    record = stepped(opened(None, "one"), "one", "plan", snapshot="The copy failed.")
    record = records.released(record, "one", NOW).record
    assert said(record) == [*BEFORE, (f"copy/{SOURCE}", "outcome", "failed"), (f"mount/{SOURCE}", "outcome", "failed"),
                            ("host", "outcome", "failed"), ("run-1", "outcome", "failed")]
    assert custody_request.entries(record)[-1]["details"] == {
        "outcome": "released", "failed_at": "snapshot", "reason": "The copy failed."}
    record = records.opened(record, SPEC, "two", NOW + timedelta(hours=2), 60).record
    record = stepped(record, "two", "plan", "snapshot")
    assert said(record)[8:] == [("run-2", "intent", "begun"), (f"copy/{SOURCE}/again-2", "intent", "begun"),
                                (f"mount/{SOURCE}/again-2", "intent", "begun"), ("host/again-2", "intent", "begun"),
                                (f"copy/{SOURCE}/again-2", "outcome", "ok")]


def test_a_plan_that_is_refused_is_a_request_that_failed() -> None:
    record = records.released(stepped(opened(None, "one"), "one", plan="It costs too much."), "one", NOW).record
    assert said(record) == [("run-1", "intent", "begun"), ("run-1", "outcome", "failed")]


def test_tools_that_fail_afterwards_and_an_interrupted_settlement() -> None:
    """Results are told once for a run, and a settlement that was interrupted takes nothing back."""
    record = stepped(opened(None, "one"), "one", *(name for name in STEPS if name != "journal"))
    taken_back = {"outcome": "incomplete", "files": 3, "retracted": {"tools": ["plaso"], "results": [".plaso"]}}
    for details in (taken_back, {"outcome": "failed", "files": 3}):
        record = records.stepped(record, "one", NOW, 60, name="results", outcome="ok", details=details).record
    record = stepped(record, "one", settle="S3 went away.")
    analysis = [entry for entry in custody_request.entries(record) if entry["event"].endswith("/analysis")]
    assert [(entry["phase"], entry["result"]) for entry in analysis] == [("intent", "begun"), ("outcome", "failed")]
    assert analysis[1]["details"]["tools_that_failed_afterwards"] == "plaso"


def test_a_host_that_is_at_work_keeps_its_analysis_open_when_a_settlement_is_interrupted() -> None:
    record = stepped(opened(None, "one"), "one", *(name for name in STEPS if name != "journal"), settle="S3 went away.")
    assert ("analysis", "outcome", "failed") not in said(record)


def test_who_ends_a_request_by_hand_is_who_did_it() -> None:
    record = stepped(opened(None, "one"), "one", *(name for name in STEPS if name != "journal"))
    record = opened(record, "two")
    who = {"analyst": "bob", "kind": "cli", "name": "bob", "arn": "arn:aws:iam::123456789012:user/bob"}
    record = records.stepped(record, "two", NOW, 60, name="close_by_hand", outcome="ok",
                             details={"host_told": True, **who}).record
    [entry] = [entry for entry in custody_request.entries(record) if "ended-by-hand" in entry["event"]]
    assert entry["actor"] == {name: who[name] for name in ("kind", "name", "arn")}
    assert entry["details"] == {"what": "ended by hand", "analyst": "bob", "host_was_told": True}


def test_the_record_remembers_how_custody_is_kept_and_one_that_ended_stays_as_it_is() -> None:
    settings = {"key": "alias/dfir-custody", "retain_days": 0, "lock_mode": "GOVERNANCE"}
    change = records.kept(records.opened(None, SPEC, "one", NOW, 60), settings)
    assert change.changed and change.record["custody"] == settings
    again = records.kept(records.opened(change.record, SPEC, "one", NOW, 60), {})
    assert again.record["custody"] == settings and not again.changed
    done = records.finished(opened(None, "one"), "one", NOW, "failed")
    assert "custody" not in records.kept(done, settings).record
