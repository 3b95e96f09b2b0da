# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in's Event-Driven Ansible: what eda-server's serializers and views take, refuse, and answer."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Mapping
from typing import Any

import yaml

from tests.fake_controller.rules import Refused

API = "/api/eda/v1/"
# Of each path: required fields, and the others, by the types that they take
FIELDS: dict[str, tuple[dict[str, type], dict[str, type]]] = {
    "eda-credentials": ({"name": str, "organization_id": int, "credential_type_id": int, "inputs": dict},
                        {"description": str}),
    "projects": ({"name": str, "organization_id": int, "url": str},
                 {"description": str, "scm_branch": str, "eda_credential_id": int, "verify_ssl": bool}),
    "decision-environments": ({"name": str, "organization_id": int, "image_url": str},
                              {"description": str, "eda_credential_id": int, "pull_policy": str}),
    "event-streams": ({"name": str, "organization_id": int, "eda_credential_id": int},
                      {"test_mode": bool, "additional_data_headers": str}),
    "activations": ({"name": str, "organization_id": int, "rulebook_id": int, "decision_environment_id": int},
                    {"description": str, "is_enabled": bool, "extra_var": str, "restart_policy": str,
                     "log_level": str, "eda_credentials": list, "source_mappings": str}),
}
NO_CHANGE = {"eda-credentials": {"credential_type_id"}}
CHOICES = {"restart_policy": {"always", "on-failure", "never"}, "log_level": {"debug", "info", "error"},
           "pull_policy": {"always", "never", "missing"}}
# Inputs of the types of credentials that are used: which there are, which are secret, which are required
HEADER = ("auth_type", "http_header_key")
TYPES: dict[str, tuple[set[str], set[str], set[str]]] = {
    "Red Hat Ansible Automation Platform": (
        {"host", "username", "password", "oauth_token", "verify_ssl", "request_timeout"}, {"password", "oauth_token"},
        {"host"}),
    "HMAC Event Stream": (
        {*HEADER, "secret", "hash_algorithm", "signature_encoding", "signature_prefix"}, {"secret"},
        {*HEADER, "secret", "hash_algorithm", "signature_encoding"}),
    "Token Event Stream": ({*HEADER, "token"}, {"token"}, {*HEADER, "token"}),
    "Source Control": ({"username", "password"}, {"password"}, set()),
}
MAPPED = {"event_stream_id", "event_stream_name", "rulebook_hash", "source_name"}


class Conflict(Exception):
    """What eda-server answers with HTTP 409."""


class EventDriven:
    """What it has. `rulebooks` by name: what a project brings once it is fetched."""

    def __init__(self, rulebooks: Mapping[str, str]) -> None:
        self.rulebooks = dict(rulebooks)
        self.objects: dict[str, dict[int, dict[str, Any]]] = {
            path: {} for path in ("organizations", "credential-types", "rulebooks", *FIELDS)}
        self.pending = 1  # how often a project says that it is being fetched
        self.stopping = 1  # how often an activation that was told to stop says that it has not yet
        self._last = 0
        self.add("organizations", {"name": "Default"})
        for name in TYPES:
            self.add("credential-types", {"name": name})

    def add(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """A new object, without checks."""
        self._last += 1
        self.objects[path][self._last] = {"id": self._last, **copy.deepcopy(dict(body))}
        return self.objects[path][self._last]

    def named(self, path: str, name: str) -> dict[str, Any]:
        """The object of that name, for tests."""
        return next(item for item in self.objects[path].values() if item["name"] == name)

    def get(self, parts: list[str], query: Mapping[str, str]) -> Any:
        items = list(self.objects[parts[0]].values())
        if len(parts) > 1:
            return self._shown(parts[0], self.objects[parts[0]][int(parts[1])])
        part, project = query.get("name", "").lower(), query.get("project_id")
        inside = parts[0] in ("activations", "rulebooks")
        items = [item for item in items if (part in item["name"].lower() if inside
                                            else item["name"].lower().startswith(part))]
        items = [item for item in items if project is None or item.get("project_id") == int(project)]
        size = int(query.get("page_size", "20"))
        return {"count": len(items), "next": "another page" if len(items) > size else None, "previous": None,
                "page_size": size, "page": 1, "results": [self._shown(parts[0], item) for item in items[:size]]}

    def post(self, parts: list[str], body: dict[str, Any]) -> Any:
        if len(parts) == 3 and parts[0] == "activations" and parts[2] in ("enable", "disable"):
            item = self.objects["activations"][int(parts[1])]
            item["is_enabled"] = parts[2] == "enable"
            item["stopping"] = 0 if item["is_enabled"] else self.stopping
            return None
        [path] = parts
        self._check(path, body, None)
        if any(other["name"] == body["name"] for other in self.objects[path].values()):
            raise Refused(f"{path}: with this name already exists.")
        item = self.add(path, body)
        if path == "projects":
            for name, text in self.rulebooks.items():
                self.add("rulebooks", {"name": name, "rulesets": text, "project_id": item["id"]})
        return self._shown(path, item)

    def patch(self, parts: list[str], body: dict[str, Any]) -> Any:
        path, item = parts[0], self.objects[parts[0]][int(parts[1])]
        if path == "activations" and (item.get("is_enabled") or item.get("stopping", 0) > 0):
            item["stopping"] = item.get("stopping", 0) - 1
            raise Conflict("Activation is not in disabled mode and in stopped status")
        if "inputs" in body:
            body = {**body, "inputs": {**item["inputs"], **{key: value for key, value in body["inputs"].items()
                                                            if value != "$encrypted$"}}}
        self._check(path, body, item)
        item.update(copy.deepcopy(body))
        return self._shown(path, item)

    def _check(self, path: str, body: Mapping[str, Any], there: Mapping[str, Any] | None) -> None:
        required, others = FIELDS[path]
        known = {**required, **others}
        if unknown := set(body) - set(known) | (NO_CHANGE.get(path, set()) & set(body) if there else set()):
            # It drops what it does not know: what was meant would not hold, and nobody would be told.
            raise Refused(f"{path} takes no {', '.join(sorted(unknown))}")
        for name, value in body.items():
            if not isinstance(value, known[name]) or (known[name] is int and isinstance(value, bool)):
                raise Refused(f"{name}: a valid {known[name].__name__} is required.")
            if value not in CHOICES.get(name, {value} if not isinstance(value, (list, dict)) else [value]):
                raise Refused(f'{name}: "{value}" is not a valid choice.')
        whole = {**(there or {}), **body}
        if missing := [name for name in required if whole.get(name) in (None, "")]:
            raise Refused(f"{', '.join(missing)}: This field is required.")
        for name, kind in (("organization_id", "organizations"), ("eda_credential_id", "eda-credentials"),
                           ("credential_type_id", "credential-types"), ("rulebook_id", "rulebooks"),
                           ("decision_environment_id", "decision-environments")):
            if whole.get(name) is not None and whole[name] not in self.objects[kind]:
                raise Refused(f"{name}: {kind} with id {whole[name]} does not exist")
        {"eda-credentials": self._credential, "projects": self._project, "decision-environments": self._environment,
         "event-streams": self._stream, "activations": self._activation}[path](whole)

    def _type(self, credential: Mapping[str, Any]) -> str:
        return str(self.objects["credential-types"][credential["credential_type_id"]]["name"])

    def _credential(self, body: Mapping[str, Any]) -> None:
        inputs, (known, _secret, required) = body["inputs"], TYPES[self._type(body)]
        if unknown := set(inputs) - known:
            raise Refused(f"Input keys {unknown} are not defined in the schema.")
        for name, value in inputs.items():
            if not isinstance(value, (str, bool)) or (name == "verify_ssl") != isinstance(value, bool):
                raise Refused(f"inputs.{name}: Input fields must have a boolean or string value.")
        if empty := [name for name in required if not str(inputs.get(name) or "").strip()]:
            raise Refused(f"inputs.{', '.join(sorted(empty))}: Cannot be blank")
        if inputs.get("hash_algorithm", "sha256") not in hashlib.algorithms_available \
                or inputs.get("signature_encoding", "hex") not in ("hex", "base64"):
            raise Refused("inputs: Must be one of the choices")

    @staticmethod
    def _project(body: Mapping[str, Any]) -> None:
        if not re.fullmatch(r"(https?|git|ssh|git\+ssh)://[^/\s]+/\S+|git@[^:\s]+:\S+", body["url"]):
            raise Refused("url: Invalid source control URL")

    @staticmethod
    def _environment(body: Mapping[str, Any]) -> None:
        part = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
        if not re.fullmatch(rf"[\w.-]+(?::\d+)?/{part}(?:/{part})*(?::\w[\w.-]{{0,127}})?(?:@sha\d+:\w+)?",
                            body["image_url"], re.ASCII):
            raise Refused(f"Image url {body['image_url']} is malformed")

    def _stream(self, body: Mapping[str, Any]) -> None:
        if not self._type(self.objects["eda-credentials"][body["eda_credential_id"]]).endswith(" Event Stream"):
            raise Refused("The type of credential can only be one of those of event streams")

    def _activation(self, body: Mapping[str, Any]) -> None:
        book = self.objects["rulebooks"][body["rulebook_id"]]
        credentials = [self.objects["eda-credentials"].get(number) for number in body.get("eda_credentials", [])]
        if None in credentials:
            raise Refused("eda_credentials: EdaCredential does not exist")
        platform = [one for one in credentials if one and self._type(one) == "Red Hat Ansible Automation Platform"]
        if len(platform) > 1 or not (platform or "run_job_template" not in book["rulesets"]):
            raise Refused("The rulebook requires a RH AAP credential.")
        if platform and not (platform[0]["inputs"].get("oauth_token") or platform[0]["inputs"].get("password")):
            raise Refused("Invalid RH AAP credential: either username/password or token has to be set")
        if not isinstance(yaml.safe_load(body.get("extra_var") or "{}"), dict):
            raise Refused("Extra var is not in object format")
        sources = [source["name"] for ruleset in yaml.safe_load(book["rulesets"]) for source in ruleset["sources"]]
        used: set[str] = set()
        for one in yaml.safe_load(body.get("source_mappings") or "[]"):
            if missing := MAPPED - set(one):
                raise Refused(f"The source mapping is missing the required keys: {sorted(missing)}")
            if one["rulebook_hash"] != hashlib.sha256(book["rulesets"].encode()).hexdigest():
                raise Refused("Rulebook has changed since the sources were mapped. Please reattach event streams")
            if one["source_name"] not in sources or {one["source_name"], one["event_stream_name"]} & used:
                raise Refused(f"The source {one['source_name']} does not exist, or something is used twice")
            if self.objects["event-streams"].get(one["event_stream_id"], {}).get("name") != one["event_stream_name"]:
                raise Refused(f"Event stream {one['event_stream_name']} did not match with name in database")
            used |= {one["source_name"], one["event_stream_name"]}

    def _shown(self, path: str, item: dict[str, Any]) -> dict[str, Any]:
        shown = {key: value for key, value in copy.deepcopy(item).items() if key != "stopping"}
        if path == "projects":
            shown["import_state"] = "completed" if self.pending <= 0 else "running"
            self.pending -= 1
        if path == "eda-credentials":
            secret = TYPES[self._type(item)][1]
            shown["inputs"] = {key: "$encrypted$" if key in secret else value for key, value in item["inputs"].items()}
        if path == "activations":
            shown["eda_credentials"] = [{"id": number} for number in item.get("eda_credentials", [])]
        if path in ("eda-credentials", "event-streams"):  # these answer with objects where they took numbers
            for name in ("organization", "credential_type", "eda_credential"):
                if f"{name}_id" in shown:
                    shown[name] = {"id": shown.pop(f"{name}_id")}
        return shown
