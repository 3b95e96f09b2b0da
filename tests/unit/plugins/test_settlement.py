# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a request stands, and what follows from it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.dfir.aws.plugins.filter.settlement import (
    STEPS,
    closing_words,
    custody_settled,
    ended_now,
    follow_up,
    interrupted,
    is_due,
    last_steps,
    outcome,
    problem,
    removed,
    retraction,
    seconds_until,
    settlement,
    timed_steps,
    worsened,
)

ROLE = Path(__file__).resolve().parents[3] / "roles" / "settle"
HOST = {"instance_id": "i-1", "address": "10.0.0.5", "deadline": "2026-11-21T00:00:00Z"}
GOOD = settlement({"plan_result": {"a": 1}, "snapshot_result": {"id": "snap-1"}, "analysis_host_result": HOST}, {
    "analysis_host_reach_result": {"reached": True}, "toolbox_begin_result": {"a": 1}, "evidence_result": {"a": 1},
    "toolbox_result": {"a": 1},
    "evidence_journal_result": {"a": 1},
    "analyst_access_result": {"a": 1}, "forensics_result": {"started": True}})


def facts(upto: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What controller and host know when every step up to (and without) `upto` has gone well."""
    names = list(STEPS)[:list(STEPS).index(upto)]
    controller = {STEPS[name]: {"x": 1} for name in names if name in ("plan", "snapshot")}
    controller |= {"analysis_host_result": HOST} if "analysis_host" in names else {}
    controller |= {"snapshot_find_result": {"x": 1}}
    at_host = {STEPS[name]: {"x": 1} for name in names if name not in ("plan", "snapshot", "analysis_host")}
    return controller, at_host


def test_success_is_proven_by_every_step() -> None:
    assert not GOOD["failed"] and GOOD["step"] == "" and not GOOD["terminate"]


@pytest.mark.parametrize("step", STEPS)
def test_p61_a_step_without_a_fact_is_a_failure_even_when_nobody_said_so(step: str) -> None:
    result = settlement(*facts(step))
    assert result["failed"] and result["step"] == step and result["reason"]


def test_p62_no_host_at_all_is_a_failure() -> None:
    assert settlement(facts("connection")[0], {})["step"] == "connection"


def test_a_snapshot_that_cannot_be_planned_with_is_the_snapshots_failure() -> None:
    refused = {"analyze_request_problem": problem({"msg": "Snapshot snap-1 is archived."})}
    assert settlement(refused, {})["step"] == "snapshot"
    assert settlement(refused | {"snapshot_find_result": {"how": "copy"}}, {})["step"] == "plan"


def test_the_reason_is_the_failed_tasks_own_sentence() -> None:
    controller, host = facts("evidence")
    error = problem({"msg": "Volume vol-1 is not there"}, "Mount")
    result = settlement(controller, {**host, "analyze_request_problem": error})
    assert (result["step"], result["task"], result["reason"]) == ("evidence", "Mount", "Volume vol-1 is not there.")


@pytest.mark.parametrize(("step", "ends"), [("plan", False), ("snapshot", False), ("analysis_host", False),
                                            ("connection", False), ("packages", True), ("evidence", False),
                                            ("journal", False), ("analyst_access", False), ("toolbox", True),
                                            ("forensics", True)])
def test_only_a_host_without_working_tools_is_ended(step: str, ends: bool) -> None:
    controller, host = facts(step)
    place = controller if step in ("plan", "snapshot", "analysis_host") else host
    place["analyze_request_problem"] = problem({"msg": "It failed."})
    result = settlement(controller, host)
    assert result["terminate"] is ends and result["closed"] is ends
    assert ("attempt" in result["next_step"]) is ends


@pytest.mark.parametrize("step", ["connection", "evidence", "toolbox", "forensics"])
def test_a_host_that_ended_while_it_was_worked_on_is_one_that_has_ended(step: str) -> None:
    """Its session was ended, or its deadline came, after it was found running: no failure to connect, no alarm."""
    controller, host = facts(step)
    host["analyze_request_problem"] = problem({"msg": "It cannot be reached by SSH."})
    assert settlement(controller, host)["failed"]
    for heard in (host, {key: value for key, value in host.items() if key != "analyze_request_problem"}):
        result = settlement(controller, heard, gone=True)
        assert result["ended"] and not result["failed"] and not result["terminate"] and result["reason"] == ""


def test_a_host_that_ended_hides_no_failure_of_the_controller() -> None:
    controller, host = facts("analysis_host")
    controller["analyze_request_problem"] = problem({"msg": "No volume could be created."})
    result = settlement(controller, host, gone=True)
    assert result["failed"] and not result["ended"] and result["step"] == "analysis_host"


def test_a_host_with_another_ssh_key_is_not_to_be_logged_in_to() -> None:
    controller, host = facts("connection")
    tasks = yaml.safe_load((ROLE.parent / "analysis_host" / "tasks" / "reach.yml").read_text())
    [sentence] = [task["ansible.builtin.fail"]["msg"] for task in tasks if "another SSH key" in str(task)]
    host["analyze_request_problem"] = problem({"msg": sentence})
    result = settlement(controller, host)
    assert result["step"] == "connection" and result["next_step"].startswith("Do not log in to 10.0.0.5.")
    assert not result["terminate"] and "port 22" not in result["next_step"]


@pytest.mark.parametrize("step", list(STEPS)[3:])
def test_p61_a_host_that_is_not_heard_of_is_not_ended_for_its_tools(step: str) -> None:
    result = settlement(*facts(step))
    assert result["failed"] and not result["terminate"] and not result["closed"]
    assert "The connection to i-1 at 10.0.0.5 failed or broke" in result["reason"]


@pytest.mark.parametrize(("state", "gone"), [("terminated", True), ("stopped", True), ("pending", False), ("", False)])
def test_a_host_that_died_needs_another_attempt(state: str, gone: bool) -> None:
    controller, host = facts("analysis_host")
    controller["analyze_request_problem"] = problem({"msg": "Instance i-1 died", "state": state})
    result = settlement(controller, host)
    assert ("raise 'attempt'" in result["next_step"]) is gone and not result["closed"]


def test_a_host_that_ended_before_is_settled_and_not_failed() -> None:
    result = settlement({"snapshot_result": {"id": "x"}, "analysis_host_result": {**HOST, "ended": True}}, {})
    assert not result["failed"] and result["ended"]


def test_problem_tells_loops_and_commands() -> None:
    assert problem({"results": [{"failed": False, "msg": "fine"}, {"failed": True, "msg": "A"},
                                {"failed": True, "msg": "B"}], "msg": "One or more items failed"})["message"] == "A B."
    # As ansible-core up to 2.20 words it, and as 2.21 does.
    for wording in ("non-zero return code", "The command exited with a non-zero return code."):
        assert problem({"msg": wording, "stderr": "x\nError: no registry"})["message"] == "Error: no registry."
    assert "job output" in problem({})["message"]
    for wording in ("Task failed: Module failed: No rights", "Task failed: Action failed: No rights", "No rights"):
        assert problem({"msg": wording})["message"] == "No rights."
    looked = "Task failed: The lookup plugin 'amazon.aws.ssm_parameter' failed: Failed to find SSM parameter /x (404)"
    assert problem({"msg": looked})["message"] == "A look-up failed: Failed to find SSM parameter /x (404)."


@pytest.mark.parametrize(("marker", "mode", "failed", "how"), [
    ({"outcome": "complete"}, "automatic", False, "complete"),
    ({"outcome": "ended"}, "manual", False, "ended"),
    ({"outcome": "timeout"}, "manual", False, "timeout"),
    ({"outcome": "timeout", "missing": ["vol-1p1.plaso"]}, "automatic", True, "timeout"),
    ({"outcome": "incomplete"}, "automatic", True, "incomplete"),
    ({"outcome": "incomplete", "missing": ["analyst_files"], "counts": {"analyst_unsaved": 2}}, "manual", True,
     "incomplete"),
    ({"outcome": "'; rm -rf"}, "automatic", True, "incomplete"),
    (None, "automatic", True, "incomplete"),
])
def test_outcome(marker: dict[str, Any] | None, mode: str, failed: bool, how: str) -> None:
    result = outcome({"marker": marker, "outcome": "ended"}, GOOD, {"mode": mode})
    assert result["failed"] is failed and result["outcome"] == how and result["closed"]
    if marker and marker.get("missing"):
        assert ("vol-1p1.plaso" in result["reason"]
                or result["reason"] == "2 files of the analyst's folder could not be saved before the host ended.")


def test_tools_that_failed_after_the_work_take_their_results_back() -> None:
    marker = {"outcome": "incomplete", "missing": [], "validation": {"ran": True, "failed": ["yara", "clamav"]}}
    assert retraction({"marker": marker}) == {"retracted": True, "tools": ["clamav", "yara"],
                                              "results": [".clamav.json", ".yara.json"]}
    ended = {"marker": marker, "outcome": "ended", "ended_at": "2026-11-20T10:02:00Z"}
    result = outcome(ended, GOOD, {"mode": "automatic"})
    assert result["failed"] and result["closed"] and result["outcome"] == "incomplete" and result["step"] == "results"
    assert result["reason"] == ("After the work clamav, yara failed on a known sample, although good before it: "
                                ".clamav.json, .yara.json must not be relied on.")
    results, _clean_up, failed = last_steps([], result, ended)
    assert results["details"]["retracted"] == {"tools": ["clamav", "yara"], "results": [".clamav.json", ".yara.json"]}
    assert failed["outcome"] == "failed" and "yara" in failed["details"]["reason"]
    # What is missing is told as well, and a marker that contradicts itself brings no success.
    both = marker | {"missing": ["p1.plaso"]}
    assert "without p1.plaso" in outcome({"marker": both}, GOOD, {"mode": "automatic"})["reason"]
    assert outcome({"marker": marker | {"outcome": "complete"}}, GOOD, {"mode": "automatic"})["outcome"] == "incomplete"


@pytest.mark.parametrize("validation", [None, {}, {"ran": True, "failed": []}, {"failed": None}, [], "yara"])
def test_nothing_is_taken_back_without_a_tool_that_failed(validation: Any) -> None:
    found = retraction({"marker": {"outcome": "complete", "validation": validation}})
    assert found == {"retracted": False, "tools": [], "results": []}
    assert not retraction({})["retracted"] and not retraction({"marker": None})["retracted"]


def test_a_tool_that_nobody_knows_takes_everything_back() -> None:
    found = retraction({"marker": {"validation": {"failed": ["yara", "<b>"]}}})
    assert found == {"retracted": True, "tools": ["unknown", "yara"], "results": ["all artifacts"]}


def test_p46_what_could_not_be_removed_fails_the_request_and_keeps_it_open() -> None:
    result = outcome({"marker": {"outcome": "complete"}}, GOOD, {"mode": "automatic"}, [{"id": "sg-1", "type": "x"}])
    assert result["failed"] and "sg-1" in result["reason"] and not result["closed"]


def test_a_failed_settlement_can_be_run_again() -> None:
    result = interrupted(problem({"msg": "throttled"}), GOOD)
    assert result["failed"] and result["step"] == "settle" and not result["closed"] and not result["terminate"]


def test_removed_is_what_existed_and_does_not() -> None:
    before = [{"type": "role", "id": "a"}, {"type": "security-group", "id": "b"}]
    assert removed(before, before[1:]) == [{"type": "role", "id": "a"}]


def test_each_step_lasts_from_the_end_of_the_one_before() -> None:
    facts = {"analysis_host_result": {"instance_id": "i-1", "ended_at": "2026-11-20T10:00:30Z"},
             "snapshot_result": {"id": "snap-1", "ended_at": "2026-11-20T10:00:09Z"}}
    assert timed_steps(facts, "2026-11-20T10:00:00Z") == [
        {"name": "snapshot", "started_at": "2026-11-20T10:00:00Z", "ended_at": "2026-11-20T10:00:09Z",
         "details": {"id": "snap-1"}},
        {"name": "analysis_host", "started_at": "2026-11-20T10:00:09Z", "ended_at": "2026-11-20T10:00:30Z",
         "details": {"instance_id": "i-1"}}]
    assert timed_steps({}, "2026-11-20T10:00:00Z") == []
    assert timed_steps({"snapshot_result": ended_now({"id": "x"})}, "")[0]["ended_at"].endswith("Z")


def test_the_last_steps_are_the_results_the_clean_up_and_what_failed() -> None:
    before = [{"name": "forensics", "ended_at": "2026-11-20T10:01:00Z"}]
    waited = {"ended_at": "2026-11-20T10:02:00Z", "objects": [1, 2]}
    results, clean_up = last_steps(before, {"failed": False, "outcome": "complete"}, waited)
    assert (results["started_at"], results["details"]) == ("2026-11-20T10:01:00Z", {"outcome": "complete", "files": 2})
    assert clean_up["started_at"] == "2026-11-20T10:02:00Z"
    assert last_steps([], {"failed": False}, {}) == []
    failed = last_steps(before, {"failed": True, "step": "results", "reason": "no"}, {})
    assert failed == [{"name": "results", "outcome": "failed", "details": {"reason": "no"}}]


REQUEST = {"request_id": "0a", "artifact_bucket": "b", "artifact_prefix": "INC-1/snap-1/"}


def test_closing_words_of_a_finished_request_name_findings_and_place() -> None:
    waited = {"marker": {"counts": {"findings": 52, "findings_critical": 4, "findings_high": 22, "findings_low": 7}}}
    assert closing_words(REQUEST, {"closed": True, "outcome": "complete"}, waited, {}) == [
        "Request 0a: complete, 52 findings (4 critical, 22 high).", "Results: s3://b/INC-1/snap-1/"]
    assert closing_words(REQUEST, {"closed": True, "outcome": "timeout"}, {}, {})[0] == "Request 0a: timeout."


def test_closing_words_of_an_open_request_name_host_and_deadline() -> None:
    words = closing_words(REQUEST, {"closed": False}, {}, {"instance_id": "i-1", "deadline": "2026-11-21T00:00:00Z"})
    assert "i-1" in words[0] and "2026-11-21T00:00:00Z" in words[0] and "again" in words[-1]


def test_seconds_until() -> None:
    moment = (datetime.now(timezone.utc) + timedelta(seconds=100)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert 158 <= seconds_until(moment, 60) <= 160
    assert seconds_until("2020-01-01T00:00:00Z") == 1


RECORD = {
    "request_id": "0123456789abcdef", "lease": None,
    "request": {"request_id": "0123456789abcdef", "artifact_bucket": "b", "mode": "manual"},
    "steps": [{"name": "snapshot", "outcome": "ok", "details": {"id": "snap-1"}},
              {"name": "analysis_host", "outcome": "failed", "details": {"reason": "no capacity"}},
              {"name": "analysis_host", "outcome": "ok", "details": HOST},
              {"name": "forensics", "outcome": "ok", "details": {"started": True}}],
}


def test_a_record_is_all_that_a_later_run_needs() -> None:
    found = follow_up(RECORD, "me", "eu-west-1")
    assert found["request"]["record"] == {"bucket": "b", "region": "eu-west-1", "request_id": "0123456789abcdef",
                                          "holder": "me"}
    assert found["results"]["analysis_host"] == HOST and found["results"]["evidence"] == {}
    # Its host was told of when it was ready: what is left to do is what follows the end of the host.
    assert found["followed"] and found["standing"]["ended"] and not found["standing"]["failed"]


@pytest.mark.parametrize("why", ["no host", "not at work", "another run waits for it"])
def test_a_request_that_there_is_nothing_to_follow_of(why: str) -> None:
    later = (datetime.now(timezone.utc) + timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
    steps = {"no host": RECORD["steps"][:2], "not at work": RECORD["steps"][:3]}.get(why, RECORD["steps"])
    lease = {"holder": "awx-job-1", "expires_at": later} if why == "another run waits for it" else None
    assert not follow_up({**RECORD, "steps": steps, "lease": lease}, "me", "eu-west-1")["followed"]


@pytest.mark.parametrize(("look", "minutes", "due"), [
    ("complete", 60, True), ("ended", 60, True), ("timeout", 60, False), ("timeout", -10, False),
    ("timeout", -30, True)])
def test_a_request_is_due_when_its_end_was_seen_or_its_time_and_the_grace_are_over(look: str, minutes: int,
                                                                                   due: bool) -> None:
    deadline = (datetime.now(timezone.utc) + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert is_due({"outcome": look}, deadline, 1500) is due


@pytest.mark.parametrize(("extended", "due"), [(60, False), (-10, False), (-30, True), (None, True)])
def test_a_session_that_was_prolonged_is_due_after_its_new_end(extended: int | None, due: bool) -> None:
    def moment(minutes: int) -> str:
        return (datetime.now(timezone.utc) + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")

    look = {"outcome": "timeout", "extended_until": moment(extended) if extended else ""}
    assert is_due(look, moment(-120), 1500) is due
    assert not is_due({"outcome": "timeout", "extended_until": moment(-200)}, moment(60), 1500)


def test_the_text_of_the_alert_is_kept_in_the_record_whether_it_was_sent_or_not() -> None:
    settled = {"failed": True, "step": "snapshot", "reason": "No."}
    for error in ("", "the server says 550"):
        told = {"kind": "alert", "sent": not error, "error": error, "subject": "[INC-1] FAILED", "text": "WHY\n  No."}
        [step] = last_steps([], settled, {}, told)
        assert step["details"] == {"reason": "No.", "mail_sent": not error, "mail_error": error,
                                   "mail_subject": "[INC-1] FAILED", "mail_text": "WHY\n  No."}
    assert last_steps([], settled, {})[0]["details"] == {"reason": "No."}


def test_a_record_that_cannot_be_written_is_a_failure_and_hides_none() -> None:
    lost = problem({"msg": "The record could not be written: access denied"})
    result = worsened(lost, GOOD)
    assert result["failed"] and result["step"] == "settle" and "access denied" in result["reason"]
    assert not result["closed"] and not result["terminate"]
    before = {**settlement(*facts("toolbox")), "closed": True, "terminate": True}
    result = worsened(lost, before)
    assert result["step"] == "toolbox" and result["reason"].startswith(before["reason"]) and result["terminate"]
    assert "access denied" in result["reason"] and not result["closed"]
    result = worsened(lost, before, "Its host could not be ended")
    assert "Its host could not be ended: " in result["reason"] and "still exists" in result["next_step"]


def test_the_end_of_a_request_is_told_whatever_it_is() -> None:
    """Each task of a block asks the block's condition anew: one on what the block itself sets skips the mail."""
    tasks = yaml.safe_load((ROLE / "tasks" / "main.yml").read_text(encoding="utf-8"))
    [block] = [task for task in tasks if task["name"] == "Bring a request that went well to its end"]
    assert "settle_result" not in block["when"]
    assert any("collect.yml" in str(task) for task in block["block"])


def test_custody_that_is_not_complete_is_a_failure_that_the_next_run_can_mend() -> None:
    well = {"failed": False, "outcome": "complete", "closed": True, "reason": "", "step": ""}
    assert custody_settled(well, {"problem": ""}) == well and custody_settled(well, {}) == well
    told = custody_settled(well, {"problem": "No.", "closed": False})
    assert told["failed"] and not told["closed"] and told["reason"] == "Its custody ledger is not complete: No."
    assert custody_settled(told, {"problem": "No."}) == told, "said once"
    # Of a case that was closed meanwhile nothing can be mended: the request ends, and the job says what is missing.
    late = custody_settled(well, {"problem": "Closed.", "closed": True})
    assert late["failed"] and late["closed"]


def test_the_results_say_which_artifacts_are_known_by_their_hashes() -> None:
    waited = {"ended_at": "2026-11-21T00:00:00Z", "objects": [], "marker": {"sha256sums_sha256": "not one"},
              "hashes": {"complete.json": "a" * 64, "summary.json": ""}, "extended_until": "2026-11-21T02:00:00Z"}
    [results, _clean_up] = last_steps([], {"failed": False, "outcome": "complete"}, waited, {}, {"sha256": "b" * 64})
    assert results["details"]["artifacts"] == [
        {"name": "complete.json", "sha256": "a" * 64, "said_by": "controller"},
        {"name": "report.html", "sha256": "b" * 64, "said_by": "controller"}]
    assert results["details"]["extended_until"] == "2026-11-21T02:00:00Z"
    closed = {"closed": True, "outcome": "complete"}
    assert closing_words(REQUEST, closed, {}, {}, {"line": "Custody."})[-1] == "Custody."
