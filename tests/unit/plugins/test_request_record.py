# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a request: pure rules first, then compare-and-swap against a real S3 interface."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.filter.request import request_result
from ansible_collections.dfir.aws.plugins.module_utils import record as records
from ansible_collections.dfir.aws.plugins.module_utils.record import RecordError
from ansible_collections.dfir.aws.plugins.module_utils.request_spec import apart
from ansible_collections.dfir.aws.plugins.modules import request_record

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=timezone.utc)
SPEC = {"request_id": "0123456789abcdef", "caller": {"kind": "cli"}, "instance_type": "m6i.large",
        "time_limit_hours": None}


def fresh() -> dict[str, Any]:
    return records.opened(None, SPEC, "me", NOW, 60).record


def test_a_new_record_is_open_and_leased() -> None:
    change = records.opened(None, SPEC, "me", NOW, 60)
    assert change.changed and not change.adopted and change.record["state"] == "open"
    assert change.record["lease"] == {"holder": "me", "acquired_at": "2026-01-31T12:00:00Z",
                                      "expires_at": "2026-01-31T13:00:00Z"}


def test_another_holders_lease_is_respected_and_named() -> None:
    with pytest.raises(RecordError, match=r"worked on by you.*until 2026-01-31T13:00:00Z"):
        records.opened(records.opened(None, SPEC, "you", NOW, 60).record, SPEC, "me", NOW + timedelta(minutes=59), 60)


@pytest.mark.parametrize("how", ["expired", "dead", "force"])
def test_a_lease_that_binds_nobody_is_taken_over(how: str) -> None:
    before = records.opened(None, SPEC, "you", NOW, 60).record
    later = NOW + timedelta(minutes=61 if how == "expired" else 1)
    change = records.opened(before, SPEC, "me", later, 60, force=how == "force", gone=lambda holder: how == "dead")
    assert change.changed and change.adopted and change.record["lease"]["holder"] == "me"
    assert [run["holder"] for run in change.record["runs"]] == ["you", "me"]
    with pytest.raises(RecordError, match="worked on by me"):
        records.stepped(change.record, "you", later, 60, name="snapshot", outcome="ok", details={})


def test_opening_twice_changes_nothing_while_half_of_the_lease_is_left() -> None:
    again = records.opened(fresh(), SPEC, "me", NOW + timedelta(minutes=20), 60)
    assert not again.changed and again.adopted
    late = records.opened(fresh(), SPEC, "me", NOW + timedelta(minutes=40), 60)
    assert late.changed and late.record["lease"]["expires_at"] == "2026-01-31T13:40:00Z"
    assert len(late.record["runs"]) == 1


def test_a_step_is_noted_once_and_a_lease_never_gets_shorter() -> None:
    told = {"name": "snapshot", "outcome": "ok", "details": {"id": "snap-1"}}
    one = records.stepped(fresh(), "me", NOW, 600, **told)
    assert one.changed and one.record["steps"][0]["details"] == {"id": "snap-1"}
    assert one.record["lease"]["expires_at"] == "2026-01-31T22:00:00Z"
    two = records.stepped(one.record, "me", NOW, 60, **told)
    assert not two.changed and len(two.record["steps"]) == 1
    other = records.stepped(two.record, "me", NOW, 60, **{**told, "details": {"id": "snap-2"}})
    assert other.changed and len(other.record["steps"]) == 2
    assert other.record["lease"]["expires_at"] == "2026-01-31T22:00:00Z"


def test_release_leaves_the_request_open_and_anothers_lease_alone() -> None:
    change = records.released(fresh(), "me", NOW)
    assert change.changed and change.record["lease"] is None and change.record["state"] == "open"
    assert change.record["runs"][0]["outcome"] == "released"
    assert not records.released(change.record, "me", NOW).changed
    assert not records.released(fresh(), "you", NOW).changed
    assert records.opened(change.record, SPEC, "you", NOW, 60).record["lease"]["holder"] == "you"


def test_finished_is_final() -> None:
    done = records.finished(fresh(), "me", NOW, "complete")
    assert done.changed and done.record["state"] == "finished" and done.record["lease"] is None
    assert not records.finished(done.record, "you", NOW, "complete").changed
    with pytest.raises(RecordError, match="stays so"):
        records.finished(done.record, "me", NOW, "failed")
    with pytest.raises(RecordError, match="raise 'attempt'"):
        records.stepped(done.record, "me", NOW, 60, name="x", outcome="ok", details={})
    again = records.opened(done.record, SPEC, "you", NOW, 60)
    assert not again.changed and again.adopted and again.record["outcome"] == "complete"
    with pytest.raises(RecordError, match="worked on by me"):
        records.finished(fresh(), "you", NOW, "complete")


@pytest.mark.parametrize("wrong", [{}, [], {"format": 2}, {**SPEC, "format": 1}])
def test_what_is_no_record_is_not_touched(wrong: Any) -> None:
    with pytest.raises(RecordError, match="not a record"):
        records.opened(wrong, SPEC, "me", NOW, 60)


def test_a_record_of_another_request_is_not_taken_for_ours() -> None:
    with pytest.raises(RecordError, match="belongs to request 0123456789abcdef"):
        records.opened(fresh(), {**SPEC, "request_id": "f" * 16}, "me", NOW, 60)


def test_a_dead_process_of_this_machine_is_known_to_be_gone() -> None:
    mine = records.holder_of_process("host", os.getpid(), uuid.uuid4())
    assert not records.is_gone(mine)
    child = subprocess.Popen(["sleep", "60"])
    holder = records.holder_of_process("host", child.pid, uuid.uuid4())
    assert not records.is_gone(holder)
    child.kill()
    child.wait()
    assert records.is_gone(holder)
    parts = mine.split(":")
    assert records.is_gone(":".join([parts[0], parts[1], "1", *parts[3:]])), "the number was given to a later process"
    elsewhere = ":".join([*holder.split(":")[:3], "00000000", "x"])
    assert not records.is_gone(elsewhere), "another machine's numbers say nothing"
    assert not records.is_gone("awx-job-7")
    assert records.spoken(holder) == f"process {child.pid} on host" and records.spoken("awx-job-7") == "awx-job-7"


class Failed(Exception):
    pass


class Module:
    """The two calls of AnsibleAWSModule that a shelf makes, with real clients."""

    def __init__(self, aws: Any) -> None:
        self.client = aws

    def fail_json(self, **result: Any) -> None:
        raise Failed(result["msg"])


@pytest.fixture
def shelf(aws: Any) -> request_record.Shelf:
    bucket = f"b-{uuid.uuid4().hex}"
    aws("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return request_record.Shelf(Module(aws), bucket, "requests/0123456789abcdef.json")


def test_a_record_is_created_once_and_changed_by_compare_and_swap(shelf: Any) -> None:
    assert shelf.read() == (None, "")
    assert shelf.write({"a": 1}, "") and not shelf.write({"a": 2}, "")
    record, etag = shelf.read()
    assert record == {"a": 1}
    assert shelf.write({"a": 3}, etag) and not shelf.write({"a": 4}, etag)
    assert shelf.read()[0] == {"a": 3}


def test_check_mode_tells_and_writes_nothing(shelf: Any) -> None:
    change = request_record.swap(shelf, lambda record: records.opened(record, SPEC, "me", NOW, 60), creates=True,
                                 check_mode=True)
    assert change.changed and shelf.read() == (None, "")
    later = request_record.swap(shelf, lambda record: pytest.fail("there is nothing to change"), creates=False,
                                check_mode=True)
    assert later.changed


@pytest.mark.parametrize("state", ["finished", "released"])
def test_the_last_steps_are_noted_in_the_write_that_ends_the_run(shelf: Any, state: str) -> None:
    shelf.write(fresh(), "")
    params = {"state": state, "holder": "me", "lease_minutes": 60, "outcome": "failed",
              "request_id": SPEC["request_id"], "steps": [
                  {"name": "snapshot", "outcome": "failed", "details": {"reason": "no"}}]}
    request_record.swap(shelf, lambda record: request_record.next_record(params, record, NOW), creates=False,
                        check_mode=False)
    record, _etag = shelf.read()
    assert [(step["name"], step["outcome"]) for step in record["steps"]] == [("snapshot", "failed")]
    assert record["lease"] is None and record["state"] == ("finished" if state == "finished" else "open")


def test_of_two_runs_that_race_one_gets_the_lease(shelf: Any) -> None:
    start, results = threading.Barrier(2), []

    def run(holder: str) -> None:
        def change(record: Any) -> Any:
            result = records.opened(record, SPEC, holder, NOW, 60)
            if len(results) == 0 and record is None:
                start.wait(timeout=10)  # both have seen that there is no record
            return result

        try:
            request_record.swap(shelf, change, creates=True, check_mode=False)
            results.append(holder)
        except RecordError as error:
            results.append(str(error))

    threads = [threading.Thread(target=run, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    winners = [result for result in results if result in ("one", "two")]
    assert len(results) == 2 and len(winners) == 1
    assert shelf.read()[0]["lease"]["holder"] == winners[0]
    assert any(f"worked on by {winners[0]}" in result for result in results)


def test_errors_of_s3_become_sentences(shelf: Any, aws: Any) -> None:
    nowhere = request_record.Shelf(Module(aws), "no-such-bucket", "requests/x.json")
    with pytest.raises(Failed, match="no bucket no-such-bucket"):
        nowhere.read()
    assert shelf.write({}, "")
    aws("s3").put_object(Bucket=shelf._bucket, Key=shelf._key, Body=b"{")
    with pytest.raises(Failed, match="is not JSON"):
        shelf.read()


def test_what_is_stored_is_plain_json(shelf: Any, aws: Any) -> None:
    request_record.swap(shelf, lambda record: records.opened(record, SPEC, "me", NOW, 60), creates=True,
                        check_mode=False)
    answer = aws("s3").get_object(Bucket=shelf._bucket, Key=shelf._key)
    assert answer["ContentType"] == "application/json"
    assert json.loads(answer["Body"].read())["request"]["request_id"] == SPEC["request_id"]


@pytest.mark.parametrize(("there", "taken"), [
    ([], False), (["complete.json"], True), (["analyst/note.txt"], True), (["vol-1p1.bodyfile"], True),
    (["image/manifest"], False), (["run-fedcba9876543210/complete.json"], False)])
def test_a_folder_with_anothers_artifacts_is_taken(shelf: Any, aws: Any, there: list[str], taken: bool) -> None:
    """An automatic analysis before a session of the same snapshot: its marker would end the session."""
    for name in (*there, "../snap-10/complete.json"):
        aws("s3").put_object(Bucket=shelf._bucket, Key=os.path.normpath(f"INC-9/snap-1/{name}"), Body=b"x")
    assert shelf.is_taken("INC-9/snap-1/") is taken


def test_of_two_at_the_same_moment_one_gets_the_folder_and_keeps_it(shelf: Any, aws: Any) -> None:
    """Neither has written an artifact yet: what decides is a write that only one of them can win."""
    results: dict[str, bool] = {}
    start = threading.Barrier(2)

    def go(request_id: str) -> None:
        other = request_record.Shelf(Module(aws), shelf._bucket, f"requests/{request_id}.json")
        start.wait(timeout=10)
        results[request_id] = other.claim("INC-9/snap-1/", request_id)

    threads = [threading.Thread(target=go, args=(name * 16,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert sorted(results.values()) == [False, True]
    # Once more, after a crash before its record was written: the answers stay.
    assert {name: shelf.claim("INC-9/snap-1/", name) for name in results} == results
    assert shelf.claim("INC-9/snap-10/", "b" * 16) and not shelf.is_taken("INC-9/snap-1/")


def test_whoever_comes_second_works_beside_the_first_and_stays_there() -> None:
    spec = {**SPEC, "artifact_bucket": "b", "artifact_prefix": "INC-1/snap-1/", "attempt": 1}
    own = apart(spec)
    assert own["artifact_prefix"] == "INC-1/snap-1/run-0123456789abcdef/" and apart(own) == own
    opened = {"record": records.opened(None, own, "me", NOW, 60).record, "adopted": True}
    result = request_result(spec, opened, "me", "eu-west-1")  # a later run, which does not know
    assert result["artifact_prefix"] == own["artifact_prefix"]
    finished = request_result(spec, {**opened, "finished": True, "outcome": "complete"}, "me", "eu-west-1")
    assert "INC-1/snap-1/run-0123456789abcdef/" in finished["finished_message"]
