# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in's HTTP: objects by kind and number, what hangs on them, and a list of every write that arrived."""

from __future__ import annotations

import contextlib
import copy
import json
import re
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.fake_controller import eda, rules
from tests.fake_controller.rules import Refused

API = "/api/controller/v2/"
NEXT = ("success_nodes", "failure_nodes", "always_nodes")
LINKED = {"labels": "labels", "credentials": "credentials",
          **{f"notification_templates_{when}": "notification_templates"
             for when in ("started", "success", "error", "approvals")}}
UNIFIED = ("job_templates", "workflow_job_templates", "projects", "inventory_sources", "workflow_approval_templates")


class Controller:
    """What the platform has."""

    def __init__(self, playbooks: set[str], token: str, event_driven: eda.EventDriven | None = None) -> None:
        self.token, self.playbooks, self.eda = token, playbooks, event_driven
        self.objects: dict[str, dict[int, dict[str, Any]]] = {path: {} for path in ("organizations", *rules.FIELDS)}
        self.hanging: dict[tuple[str, int, str], Any] = {}
        self.writes: list[tuple[str, str, Any]] = []
        self.pending = 1  # how often a project says that it is being fetched
        self._last = 0
        self.add("organizations", {"name": "Default"})
        for name, kind in (("Amazon Web Services", "cloud"), ("Machine", "ssh")):
            self.add("credential_types", {"name": name, "kind": kind, "managed": True, "inputs": {}, "injectors": {}})

    def add(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """A new object, without checks."""
        self._last += 1
        self.objects[path][self._last] = {"id": self._last, **copy.deepcopy(dict(body))}
        return self.objects[path][self._last]

    def of(self, path: str) -> dict[int, dict[str, Any]]:
        """Objects by number; the union of what jobs can be made of, where AWX has one."""
        if path == "unified_job_templates":
            return {number: item for kind in UNIFIED for number, item in self.objects[kind].items()}
        if path not in self.objects:
            raise KeyError(path)
        return self.objects[path]

    def named(self, path: str, name: str) -> dict[str, Any]:
        """The object of that name, for tests."""
        return next(item for item in self.of(path).values() if item["name"] == name)

    def get(self, parts: list[str], query: dict[str, str]) -> Any:
        if len(parts) == 1:
            return _page([self._shown(parts[0], item) for item in self.of(parts[0]).values()
                          if self._fits(parts[0], item, query)])
        path, number = parts[0], int(parts[1])
        item = self.of(path)[number]
        if len(parts) == 2:
            return self._shown(path, item)
        if parts[2] == "survey_spec":
            return self.hanging.get((path, number, "survey_spec"), {})
        if parts[2] == "workflow_nodes":
            return _page([self._shown("workflow_job_template_nodes", node)
                          for node in self.objects["workflow_job_template_nodes"].values()
                          if node["workflow_job_template"] == number])
        return _page([self.of(LINKED[parts[2]])[key] for key in self.hanging.get((path, number, parts[2]), [])])

    def post(self, parts: list[str], body: dict[str, Any]) -> Any:
        if len(parts) == 1:
            return self._create(parts[0], body)
        path, number, below = parts[0], int(parts[1]), parts[2]
        item = self.of(path)[number]
        if below == "survey_spec":
            rules.survey(body)
            self.hanging[path, number, below] = copy.deepcopy(body)
            return {}
        if below == "workflow_nodes":
            return self._create("workflow_job_template_nodes", {**body, "workflow_job_template": number})
        if below == "create_approval_template":
            rules.fields("workflow_approval_templates", body, new=True)
            item["unified_job_template"] = self.add("workflow_approval_templates", body)["id"]
            return item
        return self._link(path, number, below, body)

    def patch(self, parts: list[str], body: dict[str, Any]) -> Any:
        path, item = parts[0], self.of(parts[0])[int(parts[1])]
        if item.get("managed"):
            raise Refused("Modifications not allowed for managed objects")
        self._check(path, {key: value for key, value in {**item, **body}.items() if key in body}, item)
        for field in ("inputs", "notification_configuration"):  # what is shown as a secret comes back as it is kept
            kept = item.get(field, {})
            body = {**body, field: {key: kept[key] if value == "$encrypted$" and key in kept else value
                                    for key, value in body[field].items()}} if field in body else body
        item.update(copy.deepcopy(body))
        return self._shown(path, item)

    def delete(self, parts: list[str]) -> Any:
        del self.of(parts[0])[int(parts[1])]
        return None

    def _create(self, path: str, body: dict[str, Any]) -> Any:
        self._check(path, body, None)
        within = {"schedules": "unified_job_template", "inventory_sources": "inventory"}.get(path, "organization")
        if path != "workflow_job_template_nodes" and any(
                other["name"] == body["name"] and other.get(within) == body.get(within)
                for other in self.of(path).values()):
            raise Refused(f"{path} with this name already exists")
        return self._shown(path, self.add(path, body))

    def _check(self, path: str, body: dict[str, Any], there: dict[str, Any] | None) -> None:
        rules.fields(path, body, new=there is None)
        for field, kind in rules.FIELDS[path][2].items():
            if body.get(field) is not None and body[field] not in self.of(kind):
                raise Refused(f"{field}: Invalid pk '{body[field]}' - object does not exist")
        whole = {**(there or {}), **body}
        if path == "credential_types":
            rules.credential_type(body)
        elif path == "credentials":
            known = {field["id"] for field in self.objects["credential_types"][whole["credential_type"]]["inputs"]
                     .get("fields", [])}
            if known and set(body.get("inputs", {})) - known:
                raise Refused("inputs: additional properties are not allowed")
        elif path == "notification_templates" and (there is None or "notification_configuration" in body):
            rules.notification(whole)
        elif path == "job_templates":
            if self.objects["projects"][whole["project"]].get("scm_type") and whole["playbook"] not in self._fetched():
                raise Refused(f"playbook: '{whole['playbook']}' not found for project")
            if whole.get("inventory") is None and not whole.get("ask_inventory_on_launch"):
                raise Refused("inventory: set one or ask for it on launch")
        elif path == "schedules":
            rules.recurrence(whole["rrule"])
            owner = whole["unified_job_template"]
            spec = next((value for (_path, number, below), value in self.hanging.items()
                         if number == owner and below == "survey_spec"), {})
            rules.answers(self.of("unified_job_templates")[owner], spec, whole.get("extra_data", {}))

    def _fetched(self) -> set[str]:
        return self.playbooks if self.pending <= 0 else set()

    def _link(self, path: str, number: int, below: str, body: dict[str, Any]) -> Any:
        other = body["id"]
        if below in NEXT:
            item = self.of(path)[number]
            nodes = self.objects["workflow_job_template_nodes"]
            if other not in nodes or nodes[other]["workflow_job_template"] != item["workflow_job_template"]:
                raise Refused("a node of the same workflow is required")
            linked = item.setdefault(below, [])
        else:
            if other not in self.of(LINKED[below]):
                raise Refused(f"{below}: object {other} does not exist")
            linked = self.hanging.setdefault((path, number, below), [])
            kinds = [self.objects["credentials"][key]["credential_type"] for key in linked if below == "credentials"]
            if below == "credentials" and not body.get("disassociate") \
                    and self.objects["credentials"][other]["credential_type"] in kinds:
                raise Refused("Cannot assign multiple credentials of the same type")
        if body.get("disassociate"):
            linked.remove(other)
        elif other not in linked:
            linked.append(other)
        return None

    def _fits(self, path: str, item: Mapping[str, Any], query: Mapping[str, str]) -> bool:
        for term, value in query.items():
            field, _below, of = term.partition("__")
            if term == "name__in" and item["name"] not in value.split(","):
                return False
            if term not in ("name__in", "page_size") and of != "name":
                raise Refused(f"this stand-in has no filter {term}")
            if of == "name":
                kind = rules.FIELDS[path][2].get(field) or {"organization": "organizations"}[field]
                number = item.get(field)
                if path == "job_templates" and field == "organization":
                    number = self.objects["projects"][item["project"]].get("organization")
                if number is None or self.of(kind)[number]["name"] != value:
                    return False
        return True

    def _shown(self, path: str, item: dict[str, Any]) -> dict[str, Any]:
        shown = copy.deepcopy(item)
        if path == "projects":
            shown["status"] = "successful" if self.pending <= 0 else "running"
            self.pending -= 1
        if path == "credentials":
            secret = {field["id"] for field in self.objects["credential_types"][item["credential_type"]]["inputs"]
                      .get("fields", []) if field.get("secret")}
            shown["inputs"] = {key: "$encrypted$" if key in secret and value else value
                               for key, value in item.get("inputs", {}).items()}
        if path == "notification_templates" and shown["notification_configuration"].get("password"):
            shown["notification_configuration"]["password"] = "$encrypted$"
        if path in ("job_templates", "workflow_job_templates"):
            shown["summary_fields"] = self._summary(path, item["id"])
        if path == "workflow_job_template_nodes":
            shown = {**{name: [] for name in NEXT}, "unified_job_template": None, **shown}
            owner = self.of("unified_job_templates").get(shown["unified_job_template"])
            shown["summary_fields"] = {"unified_job_template": owner} if owner else {}
        return shown

    def _summary(self, path: str, number: int) -> dict[str, Any]:
        """What lists tell of a template: ten of its labels, its credentials, and of its survey that there is one."""
        labels, credentials = ([{"id": key, "name": self.of(kind)[key]["name"]}
                                for key in self.hanging.get((path, number, kind), [])]
                               for kind in ("labels", "credentials"))
        told: dict[str, Any] = {"labels": {"count": len(labels), "results": labels[:10]}}
        if path == "job_templates":
            told["credentials"] = credentials
        survey = self.hanging.get((path, number, "survey_spec"))
        return told | ({"survey": {"title": survey["name"], "description": survey["description"]}} if survey else {})


def _page(items: list[Any]) -> dict[str, Any]:
    return {"count": len(items), "next": None, "previous": None, "results": items}


class _Handler(BaseHTTPRequestHandler):
    controller: Controller

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"{}") if length else {}
        address = urlsplit(self.path)
        if self.headers.get("Authorization") != f"Bearer {self.controller.token}":
            return self._send(401, {"detail": "Authentication credentials were not provided."})
        where: Any = self.controller
        api = API
        if self.controller.eda and address.path.startswith(eda.API):
            where, api = self.controller.eda, eda.API
        if not address.path.startswith(api) or not address.path.endswith("/"):
            return self._send(404, {"detail": "The requested resource could not be found."})
        parts = [part for part in re.split("/", address.path[len(api):]) if part]
        try:
            if self.command == "GET":
                return self._send(200, where.get(parts, dict(parse_qsl(address.query))))
            answer = where.delete(parts) if self.command == "DELETE" else \
                getattr(where, self.command.lower())(parts, body)
        except Refused as refusal:
            return self._send(400, {"detail": str(refusal)})
        except eda.Conflict as conflict:
            return self._send(409, str(conflict))
        except KeyError as missing:
            return self._send(404, {"detail": f"Not found: {missing}"})
        self.controller.writes.append((self.command, "/".join(parts), body))
        return self._send(204 if answer is None else 201 if self.command == "POST" else 200, answer)

    do_GET = do_POST = do_PATCH = do_DELETE = _answer

    def _send(self, status: int, answer: Any) -> None:
        body = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: tests read `Controller.writes`."""


@contextlib.contextmanager
def running(controller: Controller) -> Iterator[str]:
    """The controller behind a port of the loopback; yields its address."""
    handler = type("Handler", (_Handler,), {"controller": controller})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
