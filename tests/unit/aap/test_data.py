# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`aap/` held against what it is about: the tables of fields, the playbooks, the roles, the inventory, the page."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.dfir.aws.plugins.module_utils import event_fields, operator_fields, request_fields

from tests.aap_kit import ROOT, load, surveys
from tests.fake_controller import rules

DATA = load()
SURVEYS = surveys(DATA)
TEMPLATES = {template["name"]: template for template in DATA["controller_templates"]}
# Who asks, for what and where: the registry's decision and the request's id need all of them, whatever is done then.
# Attempts tell requests apart where a record or a claim is found by the id.
RIGHTS = {"analyst_uid", "incident", "aws_snapshot_id", "aws_snapshot_region", "aws_analysis_region", "forensics_mode"}
# What a request says beyond that, as later steps call it
HOW = {"aws_ec2_instance_type": "instance_type", "journal": "journal", "evidence_by": "evidence_by",
       "time_limit_hours": "time_limit_hours", "max_cost_usd": "max_cost_usd", "max_hours": "max_hours",
       "wait_for_results": "wait_for_results"}
STEPS = {"analyze_request": set(HOW), "image_snapshot": {"max_cost_usd", "max_hours"},
         "image_snapshots": {"max_cost_usd", "max_hours"}, "answer_request": set(HOW)}
BY_ID = {"analyze_request", "image_snapshots", "summarize_images", "renew_artifact_urls", "answer_request"}
# Launched by rulebooks, which pass every value on as a text.
EVENTS = {"answer_request", "answer_event", "refuse_event"}


def wish_of(playbook: str) -> str:
    text = (ROOT / f"playbooks/{playbook}.yml").read_text(encoding="utf-8")
    found = re.search(r"^ +wish: (\w+)$", text, re.MULTILINE)
    return found.group(1) if found else ""


def asks_for_a_snapshot(playbook: str) -> bool:
    return "name: dfir.aws.request\n" in (ROOT / f"playbooks/{playbook}.yml").read_text(encoding="utf-8")


def fields_of(playbook: str) -> dict[str, request_fields.Field]:
    table = operator_fields.WISHES[wish_of(playbook)] if wish_of(playbook) else (
        event_fields.EVENT_FIELDS if playbook == "answer_event" else request_fields.FIELDS)
    return {field.name: field for field in table}


# What makes the ground that the platform's jobs stand on runs on a command line: the platform itself, and the account,
# whose administrator's credentials do not belong where requests are made.
WITHOUT_TEMPLATE = {"import_aap", "prepare_account"}


def test_every_playbook_has_one_template_named_after_it() -> None:
    names = {path.stem for path in (ROOT / "playbooks").glob("*.yml")} - WITHOUT_TEMPLATE
    assert {name: template["playbook"] for name, template in TEMPLATES.items()} \
        == {f"dfir {name}": f"playbooks/{name}.yml" for name in names}


@pytest.mark.parametrize("playbook", SURVEYS)
def test_a_survey_asks_for_what_its_playbook_uses_and_for_nothing_else(playbook: str) -> None:
    asked = {question["variable"] for question in SURVEYS[playbook].get("spec", [])}
    if wish_of(playbook):
        assert asked == set(operator_fields.names(wish_of(playbook)))
    elif playbook == "answer_event":
        assert asked == set(event_fields.EVENT_NAMES)
    elif asks_for_a_snapshot(playbook) or playbook == "image_snapshots":
        assert asked == RIGHTS | STEPS.get(playbook, set()) | ({"attempt"} if playbook in BY_ID else set())
    else:
        assert asked == set() and TEMPLATES[f"dfir {playbook}"]["survey_enabled"] is False
    assert TEMPLATES[f"dfir {playbook}"]["survey_enabled"] is bool(asked)


def test_what_steps_read_of_a_request_is_what_surveys_ask_for() -> None:
    """Held against the code of the roles, so that the list above cannot say what it likes."""
    def texts(role: str) -> str:
        return "".join(path.read_text(encoding="utf-8") for path in (ROOT / "roles" / role).rglob("*.yml"))

    filters = {"image": "image.py", "triage": "triage.py"}
    for role, playbook in (("image", "image_snapshot"), ("triage", "triage_snapshot")):
        code = texts(role) + (ROOT / "plugins" / "filter" / filters[role]).read_text(encoding="utf-8")
        read = {field for field, name in HOW.items() if re.search(rf"request(?:\.|\[\"|\.get\(\"){name}\b", code)}
        assert read == STEPS.get(playbook, set()), role
    code = "".join(texts(role) for role in ("plan", "analysis_host", "settle", "forensics", "evidence"))
    code += "".join(path.read_text(encoding="utf-8") for folder in ("filter", "module_utils", "action")
                    for path in (ROOT / "plugins" / folder).glob("*.py") if path.name not in ("request_fields.py",
                                                                                          "request_spec.py"))
    code += (ROOT / "playbooks/analyze_request.yml").read_text(encoding="utf-8")
    assert {field for field, name in HOW.items() if re.search(rf"\b{name}\b", code)} == set(HOW)


@pytest.mark.parametrize("playbook", SURVEYS)
def test_a_question_lets_in_what_the_table_lets_in(playbook: str) -> None:
    fields = fields_of(playbook)
    for question in SURVEYS[playbook].get("spec", []):
        field = fields[question["variable"]]
        required = question["required"]
        assert question["question_name"] and len(question["question_description"]) > 15
        assert not question["variable"].startswith(("awx_", "tower_"))
        # A choice has a default always: it may be required where the field is not.
        assert required is True if field.required else (required is False or "default" in question)
        if playbook in EVENTS:
            assert question["type"] == ("textarea" if field.kind == "texts" else "text")
            assert required is field.required and question["min"] == int(required) and "default" not in question
        elif field.kind == "boolean":
            assert question["choices"] == ["true", "false"] and question["default"] == str(field.default).lower()
        elif field.allowed:
            assert question["choices"] == list(field.allowed) and question["default"] == field.default
        elif field.kind in ("integer", "number"):
            assert question["type"] == ("integer" if field.kind == "integer" else "float")
            assert (question["min"], question["max"]) == (math.floor(field.least), math.ceil(field.most))
            assert question.get("default") == field.default
        else:
            longest = (field.longest + 2) * int(field.most) if question["type"] == "textarea" else field.longest
            assert question["max"] in (longest, 16 if field.name == "request_id" else longest)
            assert question.get("default", "") == (field.default or "")
            assert required or question["min"] == 0, "an answer that was left empty would be too short"


def test_nothing_is_prompted_for_but_the_survey() -> None:
    for template in [*TEMPLATES.values(), *DATA["controller_workflows"]]:
        asks = {name: value for name, value in template.items() if name.startswith("ask_")}
        assert {"ask_variables_on_launch", "ask_limit_on_launch", "ask_inventory_on_launch"} <= set(asks)
        assert not any(asks.values()) and "extra_vars" not in template
        assert not template.get("limit")


def test_jobs_run_side_by_side_for_requests_and_alone_for_what_is_scheduled() -> None:
    scheduled = {schedule["unified_job_template"] for schedule in DATA["controller_schedules"]}
    for name, template in TEMPLATES.items():
        playbook = Path(template["playbook"]).stem
        if name in scheduled:
            assert template["allow_simultaneous"] is False and template["notification_templates_error"]
        elif asks_for_a_snapshot(playbook) or playbook == "image_snapshots":
            assert template["allow_simultaneous"] is True
    assert {"dfir reap_resources", "dfir follow_requests"} <= scheduled
    assert not scheduled & {workflow["name"] for workflow in DATA["controller_workflows"]}, "see trust_workflow_user"


def test_what_the_rulebook_launches_is_a_template_that_asks_for_what_it_passes_on() -> None:
    [book] = yaml.safe_load((ROOT / "extensions/eda/rulebooks/event_stream.yml").read_text(encoding="utf-8"))
    launched = {rule["action"]["run_job_template"]["name"]: set(
        rule["action"]["run_job_template"]["job_args"]["extra_vars"]) for rule in book["rules"]}
    assert launched == {f"dfir {playbook}": {question["variable"] for question in SURVEYS[playbook]["spec"]}
                        for playbook in EVENTS}


def test_schedules_are_valid_and_answer_their_surveys() -> None:
    for schedule in DATA["controller_schedules"]:
        template = TEMPLATES[schedule["unified_job_template"]]
        rules.recurrence(schedule["rrule"])
        rules.answers(template, template.get("survey", {}), schedule["extra_data"])
        assert "FREQ=HOURLY;INTERVAL=1" in schedule["rrule"] or "FREQ=DAILY;INTERVAL=1" in schedule["rrule"]


def test_time_outs_lie_above_the_longest_wait() -> None:
    settings = yaml.safe_load((ROOT / "inventories/aws/group_vars/all.yml").read_text(encoding="utf-8"))

    def waits(*roles: str) -> int:
        defaults = [yaml.safe_load((ROOT / f"roles/{role}/defaults/main.yml").read_text(encoding="utf-8"))
                    for role in roles]
        return sum(value for found in defaults for name, value in found.items()
                   if name.endswith("_timeout") and isinstance(value, int))

    longest = settings["dfir_aws_time_limit_maximum"] * 3600 + waits("snapshot", "analysis_host", "toolbox")
    assert TEMPLATES["dfir analyze_request"]["timeout"] > longest
    assert TEMPLATES["dfir close_request"]["timeout"] > waits("settle", "analysis_host")
    assert TEMPLATES["dfir update_toolbox"]["timeout"] > waits("toolbox_image")
    assert TEMPLATES["dfir reap_resources"]["timeout"] > waits("reaper")
    assert all(template["timeout"] >= 3600 for template in TEMPLATES.values())


def test_what_credentials_inject_is_what_the_inventory_reads_and_no_secret_is_a_variable() -> None:
    read = set(re.findall(r"env', '(DFIR_AWS_\w+)'", (ROOT / "inventories/aws/group_vars/all.yml").read_text("utf-8")))
    injected: set[str] = set()
    for kind in DATA["controller_credential_types"]:
        rules.credential_type(kind)
        assert set(kind["injectors"]) == {"env"}, "extra variables outrank facts, and a run that brings ours is refused"
        injected |= set(kind["injectors"]["env"])
    assert injected == read
    secret = {field["id"] for kind in DATA["controller_credential_types"] for field in kind["inputs"]["fields"]
              if field.get("secret")}
    assert secret == {"password"}
    assert not any(secret & set(credential["inputs"]) for credential in DATA["controller_credentials"])


def test_the_activation_runs_the_rulebook_for_event_streams() -> None:
    streams = {stream["name"]: stream["credential_name"] for stream in DATA["eda_event_streams"]}
    assert set(streams.values()) <= {credential["name"] for credential in DATA["eda_credentials"]}
    for activation in DATA["eda_rulebook_activations"]:
        assert activation["rulebook"] == "event_stream.yml" and re.fullmatch(r"[a-z0-9_]+", activation["name"])
        assert {item["event_stream"] for item in activation["event_streams"]} == set(streams)
        assert activation["project"] in {project["name"] for project in DATA["eda_projects"]}


def test_the_page_shows_the_forms_as_they_are() -> None:
    page = (ROOT / "docs/aap.md").read_text(encoding="utf-8")
    begin, end = "<!-- forms: made by tests/forms.py -->\n", "<!-- end of forms -->"
    done = subprocess.run([sys.executable, "-m", "tests.forms"], cwd=ROOT, text=True, capture_output=True, check=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT / "collections")})
    assert page.partition(begin)[2].partition(end)[0] == done.stdout, "python -m tests.forms prints what belongs there"
    for kind in DATA["controller_credential_types"]:
        assert all(f"`{name}`" in page for name in kind["injectors"]["env"])
    assert all(f"`{name}`" in page for name in DATA if name.startswith("dfir_aap_")
               and name not in ("dfir_aap_common", "dfir_aap_questions", "dfir_aap_surveys"))
