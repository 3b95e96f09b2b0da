# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which requests bring an automation controller to what `aap/` says: what to read, and what to write after that.

Nothing here talks to anybody. A step is read twice at most: objects and what they refer to by name, one request for
each kind, then what hangs on the objects and is not told with them. From both answers come the writes; no writes means
that nothing differs. A step carries the part of the data that it is about, so that the data is rendered once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import yaml

from .platform_kinds import (
    BY_NAME,
    BY_PATH,
    HANGING,
    KINDS,
    LINKS,
    NEXT,
    SECRET,
    STEPS,
    TEXTS_OF_VARIABLES,
    Kind,
    refers,
)

Item = Mapping[str, Any]
Data = Mapping[str, Sequence[Item]]
Step = Mapping[str, Any]


class ImportProblem(Exception):
    """The data, or what the controller has, does not allow the import; the text is one sentence."""


def steps(data: Data) -> list[Step]:
    """The steps that the data needs, in order: `{api, title, parts, ours}`.

    A part is `{what, kind, items}`: objects of a kind, or what hangs on them. `ours` is all that the whole data makes.
    """
    ours = sorted({(kind.path, str(item["name"])) for kind in KINDS for item in data.get(kind.variable) or []})
    found: list[Step] = []
    for step in STEPS:
        parts = [{"what": what, "kind": kind, "items": list(data[BY_NAME[kind].variable])} for what, kind in step
                 if data.get(BY_NAME[kind].variable)]
        if parts:
            found.append({"api": "controller", "parts": parts, "ours": [list(one) for one in ours],
                          "title": ", ".join(_titled(**part) for part in parts)})
    return found


def _titled(what: str, kind: str, items: Sequence[Item]) -> str:
    shown = f"{len(items)} {kind.replace('_', ' ')}"
    return {"objects": shown, "hanging": f"what hangs on {shown}"}.get(what, f"{what} of {shown}")


def reads(step: Step) -> list[dict[str, str]]:
    """What to look up by name: `{path, ask}`, one request for all names of a kind; `ask` is below the API's address."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for part in step["parts"]:
        kind = BY_NAME[part["kind"]]
        for item in part["items"]:
            asked = [(kind.path, item["name"], _within(kind, item))]
            if part["what"] == "objects":
                asked += [(path, name, _scope(path, item)) for _field, path, name in _references(item)]
            elif part["what"] == "hanging":
                asked += [(path, name, _scope(path, item)) for field, path in LINKS.items()
                          for name in item.get(field) or []]
            elif part["what"] == "nodes":
                asked += [("unified_job_templates", node["unified_job_template"], "") for node in _nodes(item)
                          if node.get("unified_job_template")]
            for path, name, scope in asked:
                found.setdefault((path, scope), {})[str(name)] = None
    return [{"path": path, "ask": _query(path, names, scope)} for (path, scope), names in found.items()]


def looks(step: Step, answers: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """What to read of the objects that exist, and was not told with them: `{path, name, field, ask}`."""
    known, wanted = Known(answers, step), []
    for part in step["parts"]:
        path = BY_NAME[part["kind"]].path
        for item in part["items"]:
            there = known.get(path, item["name"])
            if there is None or part["what"] == "objects":
                continue
            fields = ["workflow_nodes"]
            if part["what"] == "hanging":
                fields = [field for field in LINKS if item.get(field) and _told(there, field) is None]
                if item.get("survey") and "survey" in there.get("summary_fields", {"survey": None}):
                    fields.append("survey_spec")
            wanted += [{"path": path, "name": item["name"], "field": field,
                        "ask": f"{path}/{there['id']}/{field}/?page_size=200"} for field in fields]
    return wanted


def writes(step: Step, answers: Iterable[Mapping[str, Any]], looked: Iterable[Mapping[str, Any]]
           ) -> list[dict[str, Any]]:
    """What to send: `{title, method, to, body}`. In check mode `to` may name what does not exist yet."""
    known, found = Known(answers, step), []
    looked = list(looked)
    for part in step["parts"]:
        kind = BY_NAME[part["kind"]]
        hanging = {(answer["item"]["name"], answer["item"]["field"]): answer["json"] for answer in looked
                   if answer["item"]["path"] == kind.path}
        for make in _MAKERS[part["what"]]:
            found += [write for item in part["items"] for write in make(kind, item, known, hanging)]
    return found


class Known:
    """What the controller answered by name, and what this import itself makes."""

    def __init__(self, answers: Iterable[Mapping[str, Any]], step: Step) -> None:
        self.found: dict[tuple[str, str], list[Item]] = {}
        for answer in answers:
            if answer["json"].get("next"):
                raise ImportProblem(f"The platform has more than 200 {answer['item']['path']} whose names begin like "
                                    "ours: rename ours, or remove some of those.")
            for item in answer["json"]["results"]:
                self.found.setdefault((answer["item"]["path"], item["name"]), []).append(item)
        self.ours = {(path, name) for path, name in step["ours"]}
        self.ours |= {("unified_job_templates", name) for path, name in self.ours
                      if path in ("job_templates", "workflow_job_templates")}

    def get(self, path: str, name: str) -> Item | None:
        """The object of that name; None where there is none."""
        found = {item["id"]: item for item in self.found.get((path, name), [])}
        if len(found) > 1:
            raise ImportProblem(f"The controller has {len(found)} objects named '{name}' in {path}: rename all "
                                "but one.")
        return next(iter(found.values()), None)

    def id_of(self, path: str, name: str) -> Any:
        """Its number; a text in words for what this import is going to make."""
        there = self.get(path, name)
        if there:
            return there["id"]
        if (path, name) in self.ours:
            return f"(the new {name})"
        what = BY_PATH[path].title if path in BY_PATH else path.rstrip("s").replace("_", " ")
        raise ImportProblem(f"The controller has no {what} named '{name}', and the data does not make one: create "
                            "it, or correct the name.")


def _nodes(item: Item) -> list[Item]:
    return list(item.get("simplified_workflow_nodes") or [])


def _references(item: Item) -> list[tuple[str, str, str]]:
    return [(field, refers(field), str(value)) for field, value in item.items() if refers(field) and value]


def _within(kind: Kind, item: Item) -> str:
    return f"{kind.within}__name={item[kind.within]}" if kind.within and item.get(kind.within) else ""


def _scope(path: str, item: Item) -> str:
    """Names of most kinds are unique inside an organization only."""
    kind = BY_PATH.get(path)
    return f"organization__name={item['organization']}" if kind and kind.within == "organization" \
        and item.get("organization") else ""


def _query(path: str, names: Iterable[str], scope: str) -> str:
    names = list(names)
    if any("," in name for name in names) or len(names) > 200:
        raise ImportProblem(f"The data names {len(names)} of {path}: at most 200 can be looked up, and none whose "
                            "name has a comma. Rename or split.")
    field, _equals, value = scope.partition("=")
    return f"{path}/?{urlencode({'name__in': ','.join(names), 'page_size': 200, **({field: value} if scope else {})})}"


def _object(kind: Kind, item: Item, known: Known, _hanging: Mapping[Any, Any]) -> list[dict[str, Any]]:
    body: dict[str, Any] = {}
    for field, value in item.items():
        if field in HANGING or field in kind.only_looked_up:
            continue
        if refers(field):
            body[field] = known.id_of(refers(field), value) if value else None
        else:
            as_text = field in TEXTS_OF_VARIABLES and not isinstance(value, str)
            body[field] = json.dumps(value, sort_keys=True) if as_text else value
    there = known.get(kind.path, item["name"])
    if there is None:
        given = {field: value for field, value in body.items() if value is not None}
        return [write(f"create {kind.title} {item['name']}", "POST", f"{kind.path}/", given)]
    kept = {field: merged(field, value, there.get(field)) for field, value in body.items()}
    changed = {field: value for field, value in kept.items() if not _same(field, value, there.get(field))}
    if not changed:
        return []
    return [write(f"change {kind.title} {item['name']}: {', '.join(sorted(changed))}", "PATCH",
                  f"{kind.path}/{there['id']}/", changed)]


def merged(field: str, value: Any, there: Any) -> Any:
    """What the platform keeps beside our own: values that were typed in there, secrets above all."""
    if field in ("inputs", "notification_configuration") and isinstance(there, Mapping) and "fields" not in there:
        ours = {key: part for key, part in value.items() if there.get(key) != SECRET and part != ""}
        return {**there, **ours}
    return value


def _same(field: str, ours: Any, there: Any) -> bool:
    if field in TEXTS_OF_VARIABLES:
        return _loaded(ours) == _loaded(there)
    return ours == there or (ours in (None, "") and there in (None, ""))


def _loaded(text: Any) -> Any:
    return (yaml.safe_load(text) or {}) if isinstance(text, str) else (text or {})


def _survey(kind: Kind, item: Item, known: Known, hanging: Mapping[Any, Any]) -> list[dict[str, Any]]:
    if not item.get("survey"):
        return []
    there = hanging.get((item["name"], "survey_spec"), {})
    if _survey_form(item["survey"]) == _survey_form(there):
        return []
    verb = "change" if there else "create"
    return [write(f"{verb} survey of {kind.title} {item['name']}", "POST",
                  f"{kind.path}/{known.id_of(kind.path, item['name'])}/survey_spec/", dict(item["survey"]))]


def _survey_form(survey: Mapping[str, Any]) -> Any:
    """A survey without differences that are none: choices and defaults may be lists or lines."""
    spec = [{key: value.splitlines() if key == "choices" and isinstance(value, str) else value
             for key, value in question.items() if value not in (None, "")} for question in survey.get("spec") or []]
    return (survey.get("name"), survey.get("description"), spec)


def _links(kind: Kind, item: Item, known: Known, hanging: Mapping[Any, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for field, path in LINKS.items():
        if not item.get(field):
            continue
        told = _told(known.get(kind.path, item["name"]) or {}, field)
        linked = hanging.get((item["name"], field), {}).get("results", []) if told is None else told
        there = {one["id"]: one["name"] for one in linked}
        wanted = {known.id_of(path, name): name for name in item[field]}
        to = f"{kind.path}/{known.id_of(kind.path, item['name'])}/{field}/"
        shown = field.replace("_", " ")
        # Two credentials of a type cannot be linked at once: what goes, goes first.
        found += [write(f"unlink {name} from {shown} of {item['name']}", "POST", to,
                        {"id": number, "disassociate": True})
                  for number, name in there.items() if number not in wanted]
        found += [write(f"link {name} to {shown} of {item['name']}", "POST", to, {"id": number})
                  for number, name in wanted.items() if number not in there]
    return found


def _told(there: Item, field: str) -> list[Item] | None:
    """What is linked, where the list of objects says it: of credentials all, of labels ten at most."""
    told = there.get("summary_fields", {}).get(field)
    if isinstance(told, Mapping):
        return list(told["results"]) if told.get("count") == len(told["results"]) else None
    return told


def _there(item: Item, hanging: Mapping[Any, Any]) -> dict[str, Item]:
    return {node["identifier"]: node for node in hanging.get((item["name"], "workflow_nodes"), {}).get("results", [])}


def _node_writes(kind: Kind, item: Item, known: Known, hanging: Mapping[Any, Any]) -> list[dict[str, Any]]:
    there, found = _there(item, hanging), []
    wanted = {node["identifier"]: node for node in _nodes(item)}
    for name, node in wanted.items():
        body: dict[str, Any] = {"all_parents_must_converge": bool(node.get("all_parents_must_converge"))}
        if node.get("unified_job_template"):
            body["unified_job_template"] = known.id_of("unified_job_templates", node["unified_job_template"])
        if name not in there:
            to = f"{kind.path}/{known.id_of(kind.path, item['name'])}/workflow_nodes/"
            found.append(write(f"create node {name} of {item['name']}", "POST", to, {"identifier": name, **body}))
            continue
        changed = {field: value for field, value in body.items() if there[name].get(field) != value}
        if changed:
            found.append(write(f"change node {name} of {item['name']}: {', '.join(sorted(changed))}", "PATCH",
                               f"workflow_job_template_nodes/{there[name]['id']}/", changed))
    found += [write(f"remove node {name} of {item['name']}", "DELETE",
                    f"workflow_job_template_nodes/{node['id']}/", {})
              for name, node in there.items() if name not in wanted]
    return found


def _approvals(_kind: Kind, item: Item, _known: Known, hanging: Mapping[Any, Any]) -> list[dict[str, Any]]:
    there, found = _there(item, hanging), []
    for node in _nodes(item):
        wanted = node.get("approval_node")
        if not wanted:
            continue
        has = there.get(node["identifier"], {})
        known = has.get("summary_fields", {}).get("unified_job_template") or {}
        if not has.get("unified_job_template"):
            found.append(write(f"create approval {wanted['name']} of {item['name']}", "POST",
                               f"workflow_job_template_nodes/{has.get('id', '(new)')}/create_approval_template/",
                               dict(wanted)))
            continue
        changed = {field: value for field, value in wanted.items() if known.get(field) != value}
        if changed:
            found.append(write(f"change approval {wanted['name']} of {item['name']}: {', '.join(sorted(changed))}",
                               "PATCH", f"workflow_approval_templates/{has['unified_job_template']}/", changed))
    return found


def _edges(_kind: Kind, item: Item, _known: Known, hanging: Mapping[Any, Any]) -> list[dict[str, Any]]:
    there, found = _there(item, hanging), []
    names = {node["id"]: name for name, node in there.items()}
    identifiers = {node["identifier"] for node in _nodes(item)}
    for node in _nodes(item):
        has = there.get(node["identifier"], {})
        for field in NEXT:
            wanted = list(node.get(field) or [])
            if set(wanted) - identifiers:
                raise ImportProblem(f"The node {node['identifier']} of {item['name']} leads to "
                                    f"{', '.join(sorted(set(wanted) - identifiers))}, which is no node: "
                                    f"correct {field}.")
            linked = [names[number] for number in has.get(field, []) if number in names]
            to = f"workflow_job_template_nodes/{has.get('id', '(new)')}/{field}/"
            shown = f"{field.partition('_')[0]} from {node['identifier']}"
            found += [write(f"unlink {name} on {shown} of {item['name']}", "POST", to,
                            {"id": there[name]["id"], "disassociate": True}) for name in linked if name not in wanted]
            found += [write(f"link {name} on {shown} of {item['name']}", "POST", to,
                            {"id": there.get(name, {}).get("id", "(new)")}) for name in wanted if name not in linked]
    return found


def write(title: str, method: str, to: str, body: dict[str, Any]) -> dict[str, Any]:
    """A request that changes something, and what it is called in the job's output."""
    return {"title": title, "method": method, "to": to, "body": body}


_MAKERS: Mapping[str, tuple[Callable[..., list[dict[str, Any]]], ...]] = {
    "objects": (_object,), "hanging": (_survey, _links), "nodes": (_node_writes,), "approvals": (_approvals,),
    "edges": (_edges,)}
