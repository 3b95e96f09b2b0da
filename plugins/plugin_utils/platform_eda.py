# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which requests bring Event-Driven Ansible's own API to what `aap/eda.yml` says.

It differs from the controller's: references end in `_id` on the way in and are objects on the way out, names are
looked up by their beginning, an activation is changed only while it is stopped, and event streams are tied to a
rulebook by a hash of its text. Paths and fields were learnt from eda-server and from the modules of `ansible.eda`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import yaml

from .platform_import import Data, ImportProblem, Item, Known, Step, merged, write

ORGANIZATIONS, PROJECTS, ENVIRONMENTS = "organizations", "projects", "decision-environments"
TYPES, CREDENTIALS, STREAMS, ACTIVATIONS = "credential-types", "eda-credentials", "event-streams", "activations"
# Of each variable: its path, its title, and which of our fields are references: to what, and their name in the API
KINDS: dict[str, tuple[str, str, dict[str, tuple[str, str]]]] = {
    "eda_credentials": (CREDENTIALS, "EDA credential", {"credential_type": (TYPES, "credential_type_id")}),
    "eda_projects": (PROJECTS, "EDA project", {"credential": (CREDENTIALS, "eda_credential_id")}),
    "eda_decision_environments": (ENVIRONMENTS, "decision environment",
                                  {"credential": (CREDENTIALS, "eda_credential_id")}),
    "eda_event_streams": (STREAMS, "event stream", {"credential_name": (CREDENTIALS, "eda_credential_id")}),
    "eda_rulebook_activations": (ACTIVATIONS, "rulebook activation",
                                 {"decision_environment": (ENVIRONMENTS, "decision_environment_id")}),
}
STEPS = (("eda_credentials",), ("eda_projects", "eda_decision_environments", "eda_event_streams"),
         ("eda_rulebook_activations",))
# The API's names of plain fields, where they are others
NAMES = {"extra_vars": "extra_var", "enabled": "is_enabled", "headers": "additional_data_headers"}
ONLY_AT_FIRST = frozenset({"credential_type_id"})  # what no change takes
TEXTS_OF_YAML = frozenset({"extra_var", "source_mappings"})


def steps(data: Data) -> list[Step]:
    """The steps that the data needs, in order, as those of the controller."""
    ours = sorted({(path, str(item["name"])) for variable, (path, _title, _refers) in KINDS.items()
                   for item in data.get(variable) or []})
    found: list[Step] = []
    for step in STEPS:
        parts = [{"what": "objects", "kind": kind, "items": list(data[kind])} for kind in step if data.get(kind)]
        if parts:
            titles = [f"{len(part['items'])} {part['kind'].replace('_', ' ')}" for part in parts]
            found.append({"api": "eda", "parts": parts, "ours": [list(one) for one in ours],
                          "title": ", ".join(titles)})
    return found


def lacking(credentials: Sequence[Item], answer: Mapping[str, Any]) -> str:
    """Why nothing can be sent: no such API, or credentials neither there nor complete in the data; else empty."""
    if answer.get("status") == 404:
        return "The platform has no Event-Driven Ansible below that path (aap_import_eda_api)."
    there = {item["name"] for item in answer["json"]["results"]}
    empty = {str(item["name"]): sorted(name for name, value in (item.get("inputs") or {}).items() if value == "")
             for item in credentials if item["name"] not in there}
    words = "; ".join(f"{name}: {', '.join(fields)}" for name, fields in empty.items() if fields)
    return f"These credentials are not there yet, and the data leaves out what they need ({words}): give it, " \
           "as docs/aap.md says, or make them by hand." if words else ""


def probe(credentials: Sequence[Item]) -> str:
    """What to ask first: which of the credentials there are, below the API's address."""
    return _query(CREDENTIALS, [str(item["name"]) for item in credentials])


def reads(step: Step) -> list[dict[str, str]]:
    """What to look up, one request for each kind."""
    found: dict[str, dict[str, None]] = {}
    for kind, item in ((part["kind"], item) for part in step["parts"] for item in part["items"]):
        path, _title, refers = KINDS[kind]
        asked = [(path, item["name"]), (ORGANIZATIONS, item.get("organization"))]
        asked += [(there, item.get(field)) for field, (there, _name) in refers.items()]
        if path == ACTIVATIONS:
            asked += [(PROJECTS, item["project"])]
            asked += [(CREDENTIALS, name) for name in item.get("eda_credentials") or []]
            asked += [(STREAMS, one["event_stream"]) for one in item.get("event_streams") or []]
        for there, name in asked:
            if name:
                found.setdefault(there, {})[str(name)] = None
    return [{"path": there, "ask": _query(there, list(names))} for there, names in found.items()]


def looks(step: Step, answers: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The rulebooks of the projects that activations run."""
    known, wanted = Known(answers, step), []
    for item in (item for part in step["parts"] for item in part["items"]):
        project = known.get(PROJECTS, item["project"]) if "rulebook" in item else None
        if project:
            query = urlencode({"project_id": project["id"], "name": item["rulebook"], "page_size": 200})
            wanted.append({"path": ACTIVATIONS, "name": item["name"], "field": "rulebooks",
                           "ask": f"rulebooks/?{query}"})
    return wanted


def writes(step: Step, answers: Iterable[Mapping[str, Any]], looked: Iterable[Mapping[str, Any]]
           ) -> list[dict[str, Any]]:
    """What to send: `{title, method, to, body}`."""
    known, found = Known(answers, step), []
    rulebooks = {answer["item"]["name"]: answer["json"]["results"] for answer in looked}
    for kind, item in ((part["kind"], item) for part in step["parts"] for item in part["items"]):
        path, title, refers = KINDS[kind]
        there = known.get(path, item["name"])
        if path == ACTIVATIONS:
            body = _plain(item, refers, known) | _of_activation(item, known, rulebooks)
        else:
            body = _plain(item, refers, known)
        if there is None:
            # What is empty is not sent: required fields without a value are refused in the platform's own words.
            body = {field: _without_gaps(value) for field, value in body.items() if value is not None}
            found.append(write(f"create {title} {item['name']}", "POST", f"{path}/", body))
            continue
        wanted = {field: merged(field, value, there.get(field)) for field, value in body.items()
                  if field not in ONLY_AT_FIRST}
        changed = {field: value for field, value in wanted.items() if not _same(field, value, _shown(there, field))}
        if changed:
            found += _changes(path, title, there, changed)
    return found


def _changes(path: str, title: str, there: Item, changed: dict[str, Any]) -> list[dict[str, Any]]:
    to, name = f"{path}/{there['id']}/", there["name"]
    said = write(f"change {title} {name}: {', '.join(sorted(changed))}", "PATCH", to, changed)
    if path != ACTIVATIONS:
        return [said]
    if set(changed) == {"is_enabled"}:
        verb = "enable" if changed["is_enabled"] else "disable"
        return [write(f"{verb} {title} {name}", "POST", f"{to}{verb}/", {})]
    if not there.get("is_enabled"):
        return [said]
    said["body"] = {"is_enabled": True, **changed}
    return [write(f"stop {title} {name}", "POST", f"{to}disable/", {}), said]


def _plain(item: Item, refers: Mapping[str, tuple[str, str]], known: Known) -> dict[str, Any]:
    body: dict[str, Any] = {"organization_id": known.id_of(ORGANIZATIONS, item["organization"])}
    for field, value in item.items():
        if field in refers:
            path, name = refers[field]
            body[name] = known.id_of(path, value) if value else None
        elif field == "forward_events":
            body["test_mode"] = not value
        elif field not in ("organization", "project", "rulebook", "eda_credentials", "event_streams"):
            body[NAMES.get(field, field)] = value
    return body


def _of_activation(item: Item, known: Known, rulebooks: Mapping[str, list[Item]]) -> dict[str, Any]:
    found = [book for book in rulebooks.get(item["name"], []) if book["name"] == item["rulebook"]]
    if known.get(PROJECTS, item["project"]) and not found:
        raise ImportProblem(f"The EDA project {item['project']} has no rulebook {item['rulebook']}: correct its branch "
                            "or the rulebook's name, and synchronize the project.")
    known.id_of(PROJECTS, item["project"])
    book = found[0] if found else {"id": f"(the new {item['rulebook']})", "rulesets": ""}
    mappings = [{"source_name": one["source_name"], "event_stream_name": one["event_stream"],
                 "event_stream_id": known.id_of(STREAMS, one["event_stream"]),
                 "rulebook_hash": hashlib.sha256(str(book["rulesets"]).encode()).hexdigest()}
                for one in item.get("event_streams") or []]
    return {"rulebook_id": book["id"], "source_mappings": yaml.safe_dump(mappings) if mappings else "",
            "eda_credentials": sorted(known.id_of(CREDENTIALS, name) for name in item.get("eda_credentials") or [])}


def _shown(there: Item, field: str) -> Any:
    """A field as we would write it: lists answer with numbers of references here, and with objects there."""
    value = there.get(field)
    if field == "eda_credentials":
        return sorted(one["id"] if isinstance(one, Mapping) else one for one in value or [])
    if value is None and field.endswith("_id") and isinstance(there.get(field[:-3]), Mapping):
        return there[field[:-3]]["id"]
    return value


def _same(field: str, ours: Any, there: Any) -> bool:
    if field in TEXTS_OF_YAML:
        return bool((yaml.safe_load(ours or "") or None) == (yaml.safe_load(there or "") or None))
    return bool(ours == there or (ours in (None, "", []) and there in (None, "", [])))


def _without_gaps(value: Any) -> Any:
    return {key: part for key, part in value.items() if part != ""} if isinstance(value, dict) else value


def _query(path: str, names: list[str]) -> str:
    """A name is a beginning there, in lists of activations a part: how all of ours begin suits both."""
    first, last = min(names, default=""), max(names, default="")
    same = next((number for number, letter in enumerate(first) if last[number:number + 1] != letter), len(first))
    return f"{path}/?{urlencode({'name': first[:same], 'page_size': 200})}"
