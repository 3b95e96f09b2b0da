# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests that exist: who may see or end them, what ending one takes, and how one reads."""

from __future__ import annotations

import copy
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.filter.closing import closing, closing_report, request_screen
from ansible_collections.dfir.aws.plugins.module_utils import operator_fields, record, registry, request_fields
from ansible_collections.dfir.aws.plugins.module_utils.registry import Caller, Refused
from ansible_collections.dfir.aws.plugins.module_utils.request_spec import build

CLI = Caller("cli", "dfir-controller", "arn:aws:iam::123456789012:user/dfir-controller", "123456789012")
NOW = datetime.now(timezone.utc).replace(microsecond=0)
HOST = {"instance_id": "i-1", "address": "10.0.0.5", "user": "dfir", "known_hosts": ["10.0.0.5 ssh-ed25519 AAAA"],
        "deadline": "2026-11-21T00:00:00Z"}
ALIVE = [{"type": "instance", "id": "i-1", "region": "eu-west-1", "state": "running", "expires": "2026-11-21T00:00:00Z",
          "goes_with": "", "remove_command": "aws ec2 terminate-instances --instance-ids i-1"}]
ELSEWHERE = "other:4711:99:abcdef01:12345678"


@pytest.fixture
def spec(analysts: list[Any], table: dict[str, Any]) -> dict[str, Any]:
    values, problems = request_fields.check(table["valid"])
    assert not problems
    return build(values, registry.decide(analysts, values, CLI), CLI, bucket="b", now=NOW)


@pytest.fixture
def opened(spec: dict[str, Any]) -> dict[str, Any]:
    """A record of a request that somebody on another machine works on."""
    return dict(record.opened(None, spec, ELSEWHERE, NOW, 60).record)


def noted(opened: dict[str, Any], *names: str) -> dict[str, Any]:
    now = opened
    for name in names:
        details = HOST if name == "analysis_host" else {"x": 1}
        now = dict(record.stepped(now, ELSEWHERE, NOW, 60, name=name, outcome="ok", details=details,
                                  started_at=record.iso(NOW - timedelta(seconds=42))).record)
    return now


def released(opened: dict[str, Any]) -> dict[str, Any]:
    return dict(record.released(opened, ELSEWHERE, NOW).record)


class TestWhoMay:
    def test_whoever_might_have_made_it(self, analysts: list[Any], opened: dict[str, Any]) -> None:
        seen, refusals = operator_fields.allowed(analysts, "alice", CLI, [opened])
        assert seen == [opened] and not refusals

    def test_an_operator_with_grants_of_their_own(self, analysts: list[Any], opened: dict[str, Any]) -> None:
        operator = {**copy.deepcopy(analysts[0]), "uid": "oscar"}
        assert operator_fields.allowed([*analysts, operator], "oscar", CLI, [opened])[0] == [opened]

    @pytest.mark.parametrize("changed", [
        {"incident": "TRAINING-1"}, {"analysis_region": "ap-southeast-2"}, {"account": "999999999999"},
        {"snapshots": [{"id": "snap-1", "region": "us-east-1"}, {"id": "snap-2", "region": "us-west-2"}]},
        {"mode": "unheard-of"},
    ])
    def test_nobody_without_the_right_to_all_of_it(self, analysts: list[Any], opened: dict[str, Any],
                                                   changed: dict[str, Any]) -> None:
        opened["request"] |= changed
        seen, refusals = operator_fields.allowed(analysts, "alice", CLI, [opened])
        assert not seen and len(refusals) == 1

    def test_another_analyst_has_no_right_to_it(self, analysts: list[Any], opened: dict[str, Any]) -> None:
        assert operator_fields.allowed(analysts, "bob", CLI, [opened])[0] == []

    def test_somebody_else_may_not_act_as_the_analyst(self, analysts: list[Any]) -> None:
        with pytest.raises(Refused, match="may not act as the analyst 'alice'"):
            registry.who(analysts, "alice", CLI._replace(arn="arn:aws:iam::123456789012:user/mallory"))


class TestFields:
    @pytest.mark.parametrize(("wish", "raw", "words"), [
        ("close", {"analyst_uid": "alice"}, "request_id is missing"),
        ("close", {"request_id": "0" * 16}, "analyst_uid is missing"),
        ("close", {"analyst_uid": "alice", "request_id": f"{'0' * 16}\n"}, "request_id"),
        ("close", {"analyst_uid": "alice", "request_id": "../../toolbox/x"}, "request_id must be"),
        ("close", {"analyst_uid": "alice", "request_id": "{{ lookup('pipe', 'id') }}"}, "holds a template"),
        ("close", {"analyst_uid": "alice", "request_id": "0" * 16, "take_over": "perhaps"}, "take_over must be"),
        ("show", {"analyst_uid": "alice"}, "give one of them"),
        ("show", {"analyst_uid": "alice", "request_id": "0" * 16, "incident": "INC-1"}, "give one of them"),
        ("reap", {"remove_outlived": "{{ true }}"}, "holds a template"),
    ])
    def test_what_is_wrong_is_said(self, wish: str, raw: dict[str, Any], words: str) -> None:
        assert words in " ".join(problem.sentence for problem in operator_fields.checked(wish, raw)[1])

    def test_nothing_is_removed_and_nobodys_lease_is_taken_unless_it_is_said(self) -> None:
        assert operator_fields.checked("reap", {}) == ({"remove_outlived": False}, [])
        values, problems = operator_fields.checked("close", {"analyst_uid": "alice", "request_id": "0" * 16})
        assert not problems and values["take_over"] is False


class TestClosing:
    def test_a_host_at_work_is_told(self, opened: dict[str, Any]) -> None:
        plan = closing(released(noted(opened, "analysis_host", "forensics")), "me", "eu-west-1", ALIVE)
        assert plan["reachable"] and plan["worked"] and not plan["refusal"] and not plan["held_by"]
        assert any("told to end its work" in line for line in closing_report(plan, ALIVE))

    def test_an_address_is_not_told_to_a_host_of_another_name(self, opened: dict[str, Any]) -> None:
        others = [{**ALIVE[0], "id": "i-2"}]
        plan = closing(released(noted(opened, "analysis_host")), "me", "eu-west-1", others)
        assert not plan["reachable"] and plan["alive"] == ["i-2"]
        assert any("is terminated" in line for line in closing_report(plan, others))

    def test_a_host_that_the_record_does_not_know_is_terminated(self, opened: dict[str, Any]) -> None:
        plan = closing(released(opened), "me", "eu-west-1", ALIVE)
        assert not plan["reachable"] and not plan["known_host"] and plan["alive"] == ["i-1"]

    def test_a_run_that_prepares_is_not_disturbed(self, opened: dict[str, Any]) -> None:
        plan = closing(opened, "me", "eu-west-1", [])
        assert "process 4711 on other" in plan["refusal"] and "take_over=true" in plan["refusal"]
        assert closing(opened, "me", "eu-west-1", [], True)["refusal"] == ""

    def test_a_run_that_waits_brings_it_to_its_end_itself(self, opened: dict[str, Any]) -> None:
        plan = closing(noted(opened, "analysis_host", "forensics"), "me", "eu-west-1", ALIVE)
        assert not plan["refusal"] and "process 4711 on other" in plan["held_by"] and plan["reachable"]

    def test_what_is_finished_stays_so(self, opened: dict[str, Any]) -> None:
        plan = closing(record.finished(opened, ELSEWHERE, NOW, "incomplete").record, "me", "eu-west-1", ALIVE)
        assert plan["finished"] and not plan["refusal"]
        said = " ".join(closing_report(plan, ALIVE))
        assert "ended before, as 'incomplete'" in said and "instance i-1" in said and "reap_resources" in said


class TestScreen:
    def test_everything_is_on_it(self, opened: dict[str, Any]) -> None:
        now = noted(opened, "plan", "analysis_host")
        now = dict(record.stepped(now, ELSEWHERE, NOW, 60, name="toolbox", outcome="failed",
                                  details={"reason": "fls does not run", "alert": "The request FAILED\n\nWHY"}).record)
        text = "\n".join(request_screen(now, ALIVE, [{"place": "us-east-1", "reason": "denied\nby AWS"}]))
        for words in (now["request_id"], "INC-2026-0042", "Alice", "snap-", "s3://b/INC-2026-0042/", "plan: ok, 42 s",
                      "toolbox: failed", "reason: fls does not run", "instance_id: i-1",
                      "held by process 4711 on other",
                      "instance i-1 (eu-west-1), running, until 2026-11-21T00:00:00Z", "terminate-instances",
                      "us-east-1 could not be asked: denied by AWS", "        The request FAILED"):
            assert words in text, words

    def test_how_it_stands(self, opened: dict[str, Any]) -> None:
        assert "open, nobody works on it" in "\n".join(request_screen(released(opened)))
        late = copy.deepcopy(opened)
        late["lease"]["expires_at"] = "2020-01-01T00:00:00Z"
        assert "process 4711 on other is gone" in "\n".join(request_screen(late))
        done = record.finished(opened, ELSEWHERE, NOW, "complete").record
        text = "\n".join(request_screen(done))
        assert "finished as 'complete'" in text and text.endswith("WHAT EXISTS NOW\n  nothing")

    def test_no_control_character_reaches_the_screen(self, opened: dict[str, Any]) -> None:
        now = dict(record.stepped(opened, ELSEWHERE, NOW, 60, name="evidence", outcome="failed",
                                  details={"reason": "\x1b[2Jgone\r", "alert": "a\x1b]0;x\x07\nb"}).record)
        assert all(char.isprintable() for line in request_screen(now) for char in line)
