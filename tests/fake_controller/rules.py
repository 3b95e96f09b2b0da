# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWX accepts: fields of each kind, surveys, answers to surveys, recurrence rules, credential types."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import jinja2.sandbox
import yaml
from dateutil import rrule


class Refused(Exception):
    """What AWX answers with HTTP 400."""


SURVEY_TYPES: dict[str, tuple[type, ...]] = {
    "text": (str,), "textarea": (str,), "password": (str,), "multiplechoice": (str,), "multiselect": (str, list),
    "integer": (int,), "float": (float, int)}
ASK = tuple(f"ask_{what}_on_launch" for what in (
    "variables", "limit", "inventory", "scm_branch", "labels", "tags", "skip_tags"))
ASK_OF_JOBS = tuple(f"ask_{what}_on_launch" for what in (
    "credential", "execution_environment", "job_type", "verbosity", "diff_mode", "forks", "job_slice_count", "timeout",
    "instance_groups"))
# Of each kind: required fields, other fields, and fields that hold the number of an object of another kind
FIELDS: dict[str, tuple[set[str], set[str], dict[str, str]]] = {
    "labels": ({"name", "organization"}, set(), {"organization": "organizations"}),
    "credential_types": ({"name", "kind"}, {"description", "inputs", "injectors"}, {}),
    "credentials": ({"name", "credential_type"}, {"description", "inputs"},
                    {"organization": "organizations", "credential_type": "credential_types"}),
    "notification_templates": ({"name", "organization", "notification_type"},
                               {"description", "notification_configuration", "messages"},
                               {"organization": "organizations"}),
    "execution_environments": ({"name", "image"}, {"description", "pull"},
                               {"organization": "organizations", "credential": "credentials"}),
    "projects": ({"name"}, {"description", "scm_type", "scm_url", "scm_branch", "scm_refspec", "scm_clean",
                            "scm_delete_on_update", "scm_track_submodules", "scm_update_on_launch",
                            "scm_update_cache_timeout", "allow_override", "timeout"},
                 {"organization": "organizations", "credential": "credentials",
                  "default_environment": "execution_environments"}),
    "inventories": ({"name", "organization"}, {"description", "kind", "host_filter", "variables"},
                    {"organization": "organizations"}),
    "inventory_sources": ({"name", "inventory"}, {"description", "source", "source_path", "source_vars", "scm_branch",
                                                  "enabled_var", "enabled_value", "host_filter", "overwrite",
                                                  "overwrite_vars", "timeout", "verbosity", "limit",
                                                  "update_on_launch", "update_cache_timeout"},
                          {"inventory": "inventories", "credential": "credentials", "source_project": "projects",
                           "execution_environment": "execution_environments"}),
    "job_templates": ({"name", "project", "playbook"},
                      {"description", "job_type", "scm_branch", "forks", "limit", "verbosity", "extra_vars", "job_tags",
                       "force_handlers", "skip_tags", "start_at_task", "timeout", "use_fact_cache", "survey_enabled",
                       "become_enabled", "diff_mode", "allow_simultaneous", "job_slice_count", "webhook_service",
                       "prevent_instance_group_fallback", *ASK, *ASK_OF_JOBS},
                      {"project": "projects", "inventory": "inventories",
                       "execution_environment": "execution_environments"}),
    "workflow_job_templates": ({"name"}, {"description", "extra_vars", "survey_enabled", "allow_simultaneous", "limit",
                                          "scm_branch", "webhook_service", "skip_tags", "job_tags", *ASK},
                               {"organization": "organizations", "inventory": "inventories"}),
    "workflow_job_template_nodes": ({"workflow_job_template"},
                                    {"identifier", "all_parents_must_converge", "extra_data"},
                                    {"workflow_job_template": "workflow_job_templates",
                                     "unified_job_template": "unified_job_templates"}),
    "workflow_approval_templates": ({"name"}, {"description", "timeout"}, {}),
    "schedules": ({"name", "unified_job_template", "rrule"}, {"description", "enabled", "extra_data"},
                  {"unified_job_template": "unified_job_templates"}),
}
BOOLEANS = {"survey_enabled", "allow_simultaneous", "become_enabled", "diff_mode", "enabled", "overwrite",
            "overwrite_vars", "update_on_launch", "all_parents_must_converge", "scm_clean", "scm_update_on_launch",
            "allow_override", *ASK, *ASK_OF_JOBS}
NUMBERS = {"forks", "timeout", "verbosity", "update_cache_timeout", "job_slice_count"}
CHOICES = {"job_type": {"run", "check"}, "pull": {"", "always", "missing", "never"},
           "scm_type": {"", "git", "svn", "insights", "archive"},
           "source": {"file", "constructed", "scm", "ec2", "gce", "azure_rm", "vmware", "satellite6", "openstack",
                      "rhv", "controller", "insights", "terraform", "openshift_virtualization"}}
MAIL = {"host": str, "port": int, "username": str, "password": str, "use_tls": bool, "use_ssl": bool, "sender": str,
        "recipients": list, "timeout": int}
BLOCKED_ENVIRONMENT = {"VIRTUAL_ENV", "PATH", "PYTHONPATH", "JOB_ID", "INVENTORY_ID", "PROJECT_REVISION"}


def fields(path: str, body: Mapping[str, Any], *, new: bool) -> None:
    """Fields that the kind has, of the types that it takes, and none that is required missing."""
    required, plain, keys = FIELDS[path]
    unknown = set(body) - required - plain - set(keys)
    if unknown:  # AWX drops what it does not know: what was meant would not hold, and nobody would be told
        raise Refused(f"{path} has no field {', '.join(sorted(unknown))}")
    if new and not all(body.get(name) for name in required):
        raise Refused(f"{path}: required: {', '.join(sorted(name for name in required if not body.get(name)))}")
    for name, value in body.items():
        if name in BOOLEANS and not isinstance(value, bool):
            raise Refused(f"{name}: must be a valid boolean")
        if name in NUMBERS and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
            raise Refused(f"{name}: a valid integer is required")
        if name in CHOICES and value not in CHOICES[name]:
            raise Refused(f"{name}: '{value}' is not a valid choice")
        if name in ("extra_vars", "source_vars") and not isinstance(yaml.safe_load(value) or {}, dict):
            raise Refused(f"{name}: must be valid JSON or YAML")
        if name in ("inputs", "injectors", "notification_configuration", "extra_data") and not isinstance(value, dict):
            raise Refused(f"{name}: must be a dictionary")
        if name in ("name", "identifier") and (not isinstance(value, str) or len(value) > 512):
            raise Refused(f"{name}: must be a text of at most 512 characters")


def survey(spec: Mapping[str, Any]) -> None:
    """A survey as the survey_spec of a template takes it."""
    for name, kind in (("name", str), ("description", str), ("spec", list)):
        if not isinstance(spec.get(name), kind):
            raise Refused(f"survey: {name} is missing or of the wrong type")
    if not spec["spec"]:
        raise Refused("survey: no items")
    seen: set[str] = set()
    for question in spec["spec"]:
        for name, kind in (("type", str), ("question_name", str), ("variable", str), ("required", bool)):
            if not isinstance(question.get(name), kind):
                raise Refused(f"survey: {name} of {question.get('variable')} is missing or not a {kind.__name__}")
        if question["variable"] in seen:
            raise Refused(f"survey: the variable {question['variable']} is asked twice")
        seen.add(question["variable"])
        _question(question)


def _question(question: Mapping[str, Any]) -> None:
    name, kind = question["variable"], question["type"]
    if kind not in SURVEY_TYPES:
        raise Refused(f"survey: {name}: {kind} is not a type of question")
    for bound in ("min", "max"):
        value = question.get(bound)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise Refused(f"survey: {name}: {bound} is expected to be an integer")
    default = question.get("default", "")
    if kind in ("multiplechoice", "multiselect"):
        choices = listed(question.get("choices"))
        if not choices:
            raise Refused(f"survey: {name}: choices are missing")
        defaults = listed(default)
        if kind == "multiplechoice" and len(defaults) > 1:
            raise Refused(f"survey: {name}: one default at most")
        if not set(defaults) <= set(choices):
            raise Refused(f"survey: {name}: the default is none of the choices")
    elif default != "":
        if not isinstance(default, SURVEY_TYPES[kind]) or isinstance(default, bool):
            raise Refused(f"survey: {name}: the default is expected to be of type {kind}")
        problem = answer(question, default)
        if problem:  # AWX drops such a default at the launch without a word
            raise Refused(f"survey: default: {problem}")
    if isinstance(default, str) and default.startswith("$encrypted$"):
        raise Refused(f"survey: {name}: $encrypted$ is reserved")


def listed(value: Any) -> list[Any]:
    """Choices or defaults, which come as a list or as lines."""
    return [line for line in value.splitlines() if line.strip()] if isinstance(value, str) else list(value or [])


def answer(question: Mapping[str, Any], value: Any) -> str:
    """What is wrong with an answer; empty when nothing is."""
    name, kind = question["variable"], question["type"]
    least, most = question.get("min"), question.get("max")
    if kind == "multiselect":
        good = isinstance(value, list) and set(value) <= set(listed(question["choices"]))
        return "" if good else f"{name}: expected to be a list of choices"
    if kind == "multiplechoice":
        return "" if value in listed(question["choices"]) else f"{name}: expected to be one of the choices"
    if isinstance(value, bool) or not isinstance(value, SURVEY_TYPES[kind]):
        return f"{name}: expected to be of type {kind}"
    size = len(value) if isinstance(value, str) else value
    if least is not None and size < least:
        return f"{name}: too small (at least {least})"
    return f"{name}: too large (at most {most})" if most is not None and size > most else ""


def answers(template: Mapping[str, Any], spec: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Answers that come with a schedule: all that is required, and nothing that is not asked."""
    questions = {question["variable"]: question for question in spec.get("spec", [])} \
        if template.get("survey_enabled") else {}
    problems = [answer(questions[name], value) for name, value in given.items() if name in questions]
    problems += [f"'{name}' value missing" for name, question in questions.items()
                 if question["required"] and name not in given]
    if not template.get("ask_variables_on_launch"):
        problems += [f"Variables {name} are not allowed on launch" for name in given if name not in questions]
    if any(problems):
        raise Refused(f"extra_data: {'; '.join(problem for problem in problems if problem)}")


def recurrence(text: str) -> None:
    """A recurrence rule as schedules take it."""
    starts = re.findall(r"DTSTART(?:;[^:]+)?:[0-9]+T[0-9]+Z?", text)
    if len(starts) != 1:
        raise Refused("rrule: one DTSTART is required")
    if re.search(r"DTSTART:[0-9]+T[0-9]+(?: |$)", text):
        raise Refused("rrule: DTSTART cannot be a naive datetime")
    rules = re.findall(r"RULE:\S*", text)
    if "RRULE:" not in text or "EXDATE:" in text.upper() or "RDATE:" in text.upper():
        raise Refused("rrule: one RRULE or more is required, EXDATE and RDATE are not allowed")
    for rule in rules:
        if "INTERVAL" not in rule or "SECONDLY" in rule or re.search(r"BYDAY=[0-9]", rule) \
                or ("COUNT" in rule and "UNTIL" in rule) \
                or int((re.findall(r"COUNT=([0-9]+)", rule) or ["0"])[0]) > 999:
            raise Refused(f"rrule: {rule}: INTERVAL is missing, or something is not supported")
    try:
        rrule.rrulestr(text, forceset=True)
    except (ValueError, TypeError) as error:
        raise Refused(f"rrule: parsing failed: {error}") from None


def credential_type(body: Mapping[str, Any]) -> None:
    """Inputs and injectors of a credential type of one's own."""
    if body.get("kind", "cloud") not in ("cloud", "net"):
        raise Refused("kind: must be 'cloud' or 'net'")
    inputs, injectors = body.get("inputs", {}), body.get("injectors", {})
    if set(inputs) - {"fields", "required"} or set(injectors) - {"env", "extra_vars", "file"}:
        raise Refused("inputs or injectors: additional properties are not allowed")
    names: dict[str, str] = {}
    for field in inputs.get("fields", []):
        extra = set(field) - {"type", "format", "choices", "id", "label", "help_text", "multiline", "secret", "default"}
        if extra or not {"id", "label"} <= set(field) or field["id"] == "tower" or field["id"] in names \
                or not re.fullmatch(r"[a-zA-Z_]\w*", field["id"], re.ASCII) or field.get("type", "string") != "string":
            raise Refused(f"inputs: {field.get('id')}: not a field, or twice ({', '.join(sorted(extra))})")
        if "default" in field and not isinstance(field["default"], str):
            raise Refused(f"inputs: {field['id']}: the default is not a string")
        names[field["id"]] = "EXAMPLE"
    if set(inputs.get("required", [])) - set(names):
        raise Refused("inputs: required names no field")
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined)
    for name, template in injectors.get("env", {}).items():
        if not re.fullmatch(r"[a-zA-Z_]\w*", name, re.ASCII) or name.startswith("ANSIBLE_") \
                or name in BLOCKED_ENVIRONMENT:
            raise Refused(f"injectors: the environment variable {name} is not allowed")
        try:
            environment.from_string(template).render(names)
        except jinja2.TemplateError as error:
            raise Refused(f"injectors: {name} uses an undefined field: {error}") from None


def notification(body: Mapping[str, Any]) -> None:
    """Settings of mails; other types are not used here."""
    if body.get("notification_type", "email") != "email":
        raise Refused("notification_type: this stand-in knows mail alone")
    for name, kind in MAIL.items():
        value = body.get("notification_configuration", {}).get(name)
        right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))  # true is a whole number, too
        if not right or value == []:
            raise Refused(f"notification_configuration: {name} is missing or not of type {kind.__name__}")


def as_text(value: Any) -> str:
    """A dictionary or a text as one line."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
