# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What rules see of an event: checked values only, and of a hostile one words of ours. The rulebooks, side by side."""

from __future__ import annotations

import json
import random
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.dfir.aws.plugins.module_utils import event_fields, operator_fields
from ansible_collections.dfir.aws.plugins.module_utils.event_fields import EVENT_NAMES, REFUSALS
from ansible_collections.dfir.aws.plugins.module_utils.request_fields import NAMES, check
from ansible_collections.dfir.aws.plugins.module_utils.request_spec import identity

from tests.hostile_events import TEMPLATE, bodies, guardduty, security_hub

EDA = Path(__file__).resolve().parents[3] / "extensions" / "eda"
WORDS = {*REFUSALS, *EVENT_NAMES, *NAMES}


@pytest.fixture(scope="module")
def rebuild() -> Any:
    """The filter, loaded as ansible-rulebook does it."""
    return runpy.run_path(str(EDA / "plugins" / "event_filter" / "checked_event.py"))["main"]


def only(made: list[dict[str, Any]]) -> dict[str, Any]:
    assert len(made) == 1
    return made[0]


def test_a_request_is_rebuilt_from_its_fields_and_nothing_else(rebuild: Any, table: dict[str, Any]) -> None:
    body = {**table["valid"], "awx_user_name": "root", "request_result": {}, TEMPLATE: TEMPLATE}
    event = only(rebuild({"payload": body, "meta": {"headers": {"X": TEMPLATE}}}, door="requests"))
    assert set(event) == {"kind", "key", "request"} and set(event["request"]) == set(NAMES)
    assert "{{" not in json.dumps(event)
    assert all(type(value) is str for value in event["request"].values()), "a rulebook has no types to lose"
    # It is the same request as on every other door.
    before, problems = check(table["valid"])
    assert not problems and check(event["request"]) == (before, [])


@pytest.mark.parametrize("case", range(3))
def test_fields_that_differ_make_another_key(rebuild: Any, table: dict[str, Any], case: int) -> None:
    changes = ({"attempt": 2}, {"max_cost_usd": 3}, {"aws_snapshot_id": "snap-12345678"})[case]
    keys = {only(rebuild({"payload": body}, door="requests"))["key"]
            for body in (table["valid"], {**table["valid"], "x": 1}, {**table["valid"], **changes})}
    assert len(keys) == 2


def test_p69_no_hostile_body_raises_or_vanishes_or_gets_through(rebuild: Any, table: dict[str, Any]) -> None:
    count = 0
    for body in bodies(1000, random.Random(7), table["valid"]):
        for door in ("requests", "findings"):
            made = rebuild({"payload": body, "meta": {"headers": {TEMPLATE: TEMPLATE}}}, door=door)
            event = only(made)
            assert event["kind"] == "refused" and event["door"] == door and event["reason"] in WORDS, body
            count += 1
    assert count == 2000


@pytest.mark.parametrize("event", [None, [], "x", {}, {"payload": None}, {"body": 7}, {"payload": [{}]}])
def test_p69_what_is_no_object_is_refused(rebuild: Any, event: Any) -> None:
    for door in ("requests", "findings"):
        assert only(rebuild(event, door=door)) == {"kind": "refused", "door": door, "reason": "not_an_object"}


def test_p69_a_table_that_breaks_is_a_refusal(rebuild: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(event: Any, door: str) -> Any:
        raise RecursionError

    monkeypatch.setattr(rebuild.__globals__["TABLE"], "rebuilt", broken)
    assert only(rebuild({"payload": {}}, door="requests"))["reason"] == "broken"


def test_p57_a_finding_of_guardduty_by_either_source(rebuild: Any) -> None:
    for place in ("payload", "body"):  # webhook or event stream, SQS
        event = only(rebuild({place: guardduty("i-0123456789abcdef0")}, door="findings"))
        assert event["kind"] == "finding" and event["finding"] == {
            "event_id": "6f1cba5f-7b1c-4a0d-9d6e-0123456789ab", "event_time": "2026-01-31T12:00:00Z",
            "event_source": "aws.guardduty", "event_account": "123456789012", "event_region": "us-east-1",
            "event_resource": "i-0123456789abcdef0", "event_finding": "CryptoCurrency:EC2/BitcoinTool.B!DNS"}
        assert event["key"] == event_fields.event_key(event["finding"])
    snapshot = only(rebuild({"payload": guardduty(snapshot="snap-0123456789abcdef0")}, door="findings"))
    assert snapshot["finding"]["event_resource"] == "snap-0123456789abcdef0"
    assert snapshot["finding"]["event_account"] == "123456789012", "EC2 writes a snapshot's ARN without an account"


def test_p57_security_hub_may_name_several_and_each_once(rebuild: Any) -> None:
    arns = [f"arn:aws:ec2:eu-west-1:210987654321:instance/i-{number:017x}" for number in (1, 2, 1)]
    made = rebuild({"payload": security_hub(*arns, "arn:aws:s3:::bucket")}, door="findings")
    assert [event["finding"]["event_resource"] for event in made] == [f"i-{1:017x}", f"i-{2:017x}"]
    assert {event["finding"]["event_account"] for event in made} == {"210987654321"}
    assert only(rebuild({"payload": security_hub("arn:aws:s3:::bucket")}, door="findings"))["reason"] == "no_resource"
    assert only(rebuild({"payload": security_hub(*arns * 7)}, door="findings"))["reason"] == "too_many"


@pytest.mark.parametrize(("change", "reason"), [
    ({"id": "x"}, "event_id"), ({"time": "today"}, "event_time"), ({"time": "2026-01-31T12:00:00Z\n"}, "event_time"),
    ({"source": "aws.s3"}, "event_source"), ({"id": None}, "event_id"), ({"detail": TEMPLATE}, "no_resource"),
])
def test_p43_a_finding_that_does_not_fit_is_refused_by_name(rebuild: Any, change: dict[str, Any], reason: str) -> None:
    body = {**guardduty("i-0123456789abcdef0"), **change}
    assert only(rebuild({"payload": body}, door="findings"))["reason"] == reason


def test_a_type_that_is_no_name_is_left_behind(rebuild: Any) -> None:
    body = guardduty("i-0123456789abcdef0")
    body["detail"]["type"] = TEMPLATE
    assert only(rebuild({"payload": body}, door="findings"))["finding"]["event_finding"] == "unknown"


def test_every_reason_has_a_sentence_and_passes_the_door_behind() -> None:
    for reason in WORDS:
        assert event_fields.why(reason)
        assert not operator_fields.checked("refuse", {"event_door": "requests", "event_reason": reason})[1]
    assert event_fields.why("nothing_of_ours") == ""


def rulebook(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((EDA / "rulebooks" / f"{name}.yml").read_text(encoding="utf-8"))
    return found


def given(rule: dict[str, Any]) -> dict[str, str]:
    """The extra variables of a rule's action, and the name of what it runs."""
    [(kind, action)] = rule["action"].items()
    variables = action["extra_vars"] if kind == "run_playbook" else action["job_args"]["extra_vars"]
    return {**variables, "runs": str(action["name"]).replace("dfir.aws.", "").replace("dfir ", "")}


def test_p70_the_rulebooks_differ_in_their_action_alone() -> None:
    def stripped(name: str) -> Any:
        return [{**ruleset, "rules": [{**rule, "action": given(rule)} for rule in ruleset["rules"]]}
                for ruleset in rulebook(name)]

    assert stripped("analysis_requests") == stripped("event_stream")
    kinds = {name: {kind for ruleset in rulebook(name) for rule in ruleset["rules"] for kind in rule["action"]}
             for name in ("analysis_requests", "event_stream", "findings_by_queue")}
    assert kinds == {"analysis_requests": {"run_playbook"}, "event_stream": {"run_job_template"},
                     "findings_by_queue": {"run_playbook"}}
    by_queue, by_http = rulebook("findings_by_queue")[0], rulebook("analysis_requests")[0]
    assert by_queue["rules"] == by_http["rules"] and by_queue["sources"][0] == by_http["sources"][0]
    assert by_queue["sources"][1]["filters"] == by_http["sources"][1]["filters"]
    for ruleset in rulebook("event_stream"):
        assert all(rule["action"]["run_job_template"]["include_events"] is False for rule in ruleset["rules"])


@pytest.mark.parametrize("name", ["analysis_requests", "event_stream", "findings_by_queue"])
def test_no_rulebook_limits_its_playbooks_to_the_hosts_of_the_inventory(name: str) -> None:
    """`hosts` becomes the limit of what `run_playbook` runs: an analysis host, which no inventory has, was left out."""
    assert {ruleset["hosts"] for ruleset in rulebook(name)} == {"all"}


def test_rules_hand_on_every_field_and_each_as_a_text() -> None:
    rules = {rule["condition"].split('"')[1]: given(rule) for rule in rulebook("analysis_requests")[0]["rules"]}
    assert set(rules["request"]) == {*NAMES, "runs"} and set(rules["finding"]) == {*EVENT_NAMES, "runs"}
    assert set(rules["refused"]) == {"event_door", "event_reason", "runs"}
    for kind, variables in rules.items():
        playbook = EDA.parents[1] / "playbooks" / f"{variables.pop('runs')}.yml"
        assert playbook.exists()
        part = "event" if kind == "refused" else f"event.{kind}"
        for name, value in variables.items():
            assert value == f"'{{{{ {part}.{name.removeprefix('event_') if kind == 'refused' else name} }}}}'"


def test_every_source_has_the_filter_alone_and_is_authenticated() -> None:
    for ruleset in rulebook("analysis_requests"):
        for source in ruleset["sources"]:
            assert [list(item) for item in source["filters"]] == [["dfir.aws.checked_event"]]
            options = source["eda.builtin.webhook"]
            assert {"certfile", "keyfile"} <= set(options) and {"hmac_secret", "token"} & set(options)


def documented(number: int) -> dict[str, Any]:
    """A block of Python of docs/webhook.md, run."""
    blocks = re.findall(r"^```python\n(.*?)^```$", (EDA.parents[1] / "docs" / "webhook.md").read_text(encoding="utf-8"),
                        re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(blocks[number], names)
    return names


@pytest.mark.parametrize("change", [
    {}, {"aws_snapshot_region": None}, {"attempt": "2"}, {"forensics_mode": "manual"}, {"max_cost_usd": 3},
    {"aws_snapshot_id": "snap-2222222a,snap-1111111a"}, {"aws_snapshot_id": ["snap-2222222a", "snap-1111111a"]},
])
def test_the_sender_computes_the_id_that_the_door_makes(table: dict[str, Any], change: dict[str, Any]) -> None:
    request = {name: value for name, value in {**table["valid"], **change}.items() if value is not None}
    values, problems = check(request)
    assert not problems
    assert documented(0)["request_id"]("123456789012", request) == identity("123456789012", "alice", values)


def test_a_mail_is_believed_when_its_sender_is_proven_and_known() -> None:
    request_of_mail = documented(1)["request_of_mail"]
    passed = {name: {"status": "PASS"} for name in ("spfVerdict", "dkimVerdict", "dmarcVerdict")}
    raw = b"From: Alice <alice@example.org>\nSubject: x\n\nincident: INC-1\nanalyst_uid: bob\n{{ x }}: 1\n\nRegards"
    assert request_of_mail(passed, raw) == {"incident": "INC-1", "analyst_uid": "alice"}
    assert request_of_mail({**passed, "dmarcVerdict": {"status": "FAIL"}}, raw) is None
    assert request_of_mail(passed, raw.replace(b"alice@", b"mallory@")) is None
    assert request_of_mail(passed, raw.replace(b"Alice <", b"Mallory <m@example.org>, Alice <")) is None
    assert request_of_mail(passed, b"Subject: x\n\nincident: INC-1") is None
