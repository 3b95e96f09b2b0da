# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Importing `aap/` into a stand-in for the controller, which refuses what AWX refuses."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.dfir.aws.plugins.filter import aap_import as filters
from ansible_collections.dfir.aws.plugins.plugin_utils.platform_import import ImportProblem

from tests.aap_kit import ROOT, imported, load
from tests.fake_controller import rules
from tests.fake_controller.rules import Refused
from tests.fake_controller.server import Controller


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    return load()


@pytest.fixture
def controller() -> Controller:
    fake = Controller({f"playbooks/{path.name}" for path in (ROOT / "playbooks").glob("*.yml")}, "token")
    fake.pending = 0
    return fake


def test_an_empty_platform_gets_everything_once(controller: Controller, data: dict[str, Any]) -> None:
    would = imported(controller, data, check=True)
    assert not controller.objects["job_templates"]
    did = imported(controller, data)
    assert sorted(would) == sorted(did) and "create job template dfir analyze_request" in did
    assert imported(controller, data) == []
    template = controller.named("job_templates", "dfir analyze_request")
    linked = [controller.objects["credentials"][number]["name"]
              for number in controller.hanging["job_templates", template["id"], "credentials"]]
    assert sorted(linked) == ["dfir AWS", "dfir bucket", "dfir hosts", "dfir mail server"]
    nodes = {node["identifier"]: node for node in controller.objects["workflow_job_template_nodes"].values()}
    assert nodes["triage"]["success_nodes"] == [nodes["approval"]["id"]]
    assert nodes["approval"]["success_nodes"] == [nodes["analyze"]["id"]]
    approval = controller.objects["workflow_approval_templates"][nodes["approval"]["unified_job_template"]]
    assert approval["timeout"] == 86400
    injected = controller.named("credential_types", "dfir case bucket")["injectors"]["env"]
    assert injected["DFIR_AWS_ARTIFACT_BUCKET"] == "{{ bucket }}"


def test_what_differs_is_changed_and_what_was_typed_in_stays(controller: Controller, data: dict[str, Any]) -> None:
    imported(controller, data)
    controller.named("credentials", "dfir mail server")["inputs"]["password"] = "typed in"
    controller.named("credentials", "dfir bucket")["inputs"]["bucket"] = "typed-in"
    controller.named("notification_templates", "dfir team")["notification_configuration"]["password"] = "typed in"
    assert imported(controller, data) == []
    template = controller.named("job_templates", "dfir analyze_request")
    template["allow_simultaneous"] = False
    controller.hanging["job_templates", template["id"], "survey_spec"]["spec"].pop()
    nodes = {node["identifier"]: node for node in controller.objects["workflow_job_template_nodes"].values()}
    nodes["triage"]["success_nodes"] = [nodes["analyze"]["id"]]
    extra = controller.add("labels", {"name": "extra", "organization": 1})["id"]
    controller.hanging["job_templates", template["id"], "labels"].append(extra)
    changed = load(dfir_aap_project_branch="next", dfir_aap_mail_host="mx.example.org")
    expected = ["change notification template dfir team: notification_configuration",
                "change credential dfir mail server: inputs",
                "change project dfir aws: scm_branch",
                "change job template dfir analyze_request: allow_simultaneous",
                "change survey of job template dfir analyze_request",
                "unlink extra from labels of dfir analyze_request",
                "unlink analyze on success from triage of dfir triage_then_analyze",
                "link approval on success from triage of dfir triage_then_analyze"]
    assert imported(controller, changed, check=True) == expected
    assert imported(controller, changed) == expected and imported(controller, changed) == []
    assert controller.named("credentials", "dfir mail server")["inputs"]["password"] == "typed in"


def test_what_is_read_does_not_grow_with_the_templates(controller: Controller, data: dict[str, Any],
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    """One request a kind and step, and of each template only its survey: a request takes a second of a controller."""
    asked: list[str] = []
    get = controller.get

    def noting(parts: list[str], query: dict[str, str]) -> Any:
        asked.append("/".join(parts))
        return get(parts, query)

    monkeypatch.setattr(controller, "get", noting)
    imported(controller, data)
    assert len(asked) < 45, asked
    asked.clear()
    imported(controller, data)
    hanging = [path for path in asked if path.endswith(("labels", "credentials")) and "/" in path]
    assert hanging == [] and len(asked) < 45 + len(data["controller_templates"]) + 5, asked


def test_labels_that_lists_do_not_tell_of_are_read(controller: Controller, data: dict[str, Any]) -> None:
    imported(controller, data)
    number = controller.named("job_templates", "dfir analyze_request")["id"]
    for letter in "abcdefghij":
        made = controller.add("labels", {"name": letter, "organization": 1})["id"]
        controller.hanging["job_templates", number, "labels"].append(made)
    assert len([title for title in imported(controller, data) if title.startswith("unlink")]) == 10


def test_a_name_that_nobody_has_or_two_have_ends_the_import(controller: Controller, data: dict[str, Any]) -> None:
    with pytest.raises(ImportProblem, match="no organization named 'Nobody'"):
        imported(controller, load(dfir_aap_organization="Nobody"))
    lost = copy.deepcopy(data)
    lost["controller_schedules"][0]["unified_job_template"] = "dfir lost"
    with pytest.raises(ImportProblem, match="named 'dfir lost'"):
        imported(controller, lost, check=True)
    for _time in range(2):
        controller.add("credential_types", {"name": "dfir mail", "kind": "cloud", "inputs": {}, "injectors": {}})
    with pytest.raises(ImportProblem, match="2 objects named 'dfir mail'"):
        imported(controller, data)


@pytest.mark.parametrize(("change", "sentence"), [
    ({"required": "true"}, "required"), ({"type": "number"}, "type of question"), ({"variable": "incident"}, "twice"),
    ({"type": "integer", "default": 7, "max": 5}, "too large"),
    ({"type": "integer", "default": "1"}, "of type integer"),
    ({"type": "text", "default": "abc", "max": 2}, "too large"), ({"min": 0.5}, "integer"),
    ({"type": "multiplechoice", "choices": "a\nb", "default": "c"}, "none of the choices"),
    ({"type": "multiplechoice"}, "choices are missing")])
def test_the_stand_in_refuses_what_awx_refuses_in_a_survey(change: dict[str, Any], sentence: str) -> None:
    question = {"type": "text", "question_name": "Q", "variable": "q", "required": True}
    first = {**question, "variable": "incident"}
    rules.survey({"name": "n", "description": "", "spec": [first, question]})
    with pytest.raises(Refused, match=sentence):
        rules.survey({"name": "n", "description": "", "spec": [first, {**question, **change}]})


@pytest.mark.parametrize("rule", [
    "RRULE:FREQ=DAILY;INTERVAL=1", "DTSTART:20260101T000000Z RRULE:FREQ=DAILY",
    "DTSTART:20260101T000000 RRULE:FREQ=DAILY;INTERVAL=1",
    "DTSTART:20260101T000000Z RRULE:FREQ=SECONDLY;INTERVAL=1", "DTSTART:20260101T000000Z RRULE:FREQ=NEVER;INTERVAL=1",
    "DTSTART:20260101T000000Z RRULE:FREQ=DAILY;INTERVAL=1;COUNT=1000",
    "DTSTART:20260101T000000Z RRULE:FREQ=DAILY;INTERVAL=1 EXDATE:20260102T000000Z"])
def test_the_stand_in_refuses_what_awx_refuses_in_a_rule(rule: str) -> None:
    with pytest.raises(Refused, match="rrule"):
        rules.recurrence(rule)


def test_the_stand_in_takes_no_answers_that_are_not_asked_and_no_unknown_fields(controller: Controller,
                                                                                 data: dict[str, Any]) -> None:
    for field, value, sentence in (("extra_data", {"remove_outlived": "true", "verbose": 1}, "not allowed on launch"),
                                   ("extra_data", {}, "value missing"),
                                   ("extra_data", {"remove_outlived": "maybe"}, "choices"),
                                   ("every", "hour", "has no field")):
        wrong = copy.deepcopy(data)
        wrong["controller_schedules"][0][field] = value
        fresh = copy.deepcopy(controller)
        with pytest.raises(Refused, match=sentence):
            imported(fresh, wrong)


@pytest.mark.parametrize("name", filters.FilterModule().filters())
def test_every_filter_has_its_documentation(name: str) -> None:
    document = yaml.safe_load((Path(filters.__file__).parent / f"{name}.yml").read_text(encoding="utf-8"))
    assert document["DOCUMENTATION"]["name"] == name and document["EXAMPLES"] and document["RETURN"]
