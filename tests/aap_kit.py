# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`aap/` as the platform gets it, and an import without Ansible: the role's steps in the same order."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import jinja2.nativetypes
import yaml
from ansible_collections.dfir.aws.plugins.plugin_utils import platform_import

ROOT = Path(__file__).resolve().parents[1]


class _Raw(str):
    """A text that is never rendered."""


class _Loader(yaml.SafeLoader):
    """YAML with Ansible's tag for texts that are never rendered."""


_Loader.add_constructor("!unsafe", lambda loader, node: _Raw(loader.construct_scalar(node)))


def load(**settings: Any) -> dict[str, Any]:
    """All variables of `aap/`, rendered; settings stand in for those of `aap/settings.yml`."""
    raw: dict[str, Any] = {}
    for path in sorted((ROOT / "aap").glob("*.yml")):
        raw |= yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506  a SafeLoader and one tag
    raw |= settings
    environment = jinja2.nativetypes.NativeEnvironment()

    def render(value: Any) -> Any:
        if isinstance(value, _Raw):
            return str(value)
        if isinstance(value, str) and "{{" in value:
            return render(environment.from_string(value).render(raw))
        if isinstance(value, dict):
            return {key: render(part) for key, part in value.items()}
        return [render(part) for part in value] if isinstance(value, list) else value

    return {name: render(value) for name, value in raw.items()}


def surveys(data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Surveys by the name of the playbook; none for templates without one."""
    return {Path(template["playbook"]).stem: template.get("survey", {}) for template in data["controller_templates"]}


def imported(controller: Any, data: dict[str, Any], *, check: bool = False, by: Any = platform_import) -> list[str]:
    """Import as the role does; what was written, or in check mode would be, by title. `by`: what knows its API."""

    def get(reads: list[dict[str, str]]) -> list[dict[str, Any]]:
        answers = []
        for read in reads:
            path, _mark, query = read["ask"].partition("?")
            answers.append({"item": read, "json": controller.get(path.strip("/").split("/"), dict(parse_qsl(query)))})
        return answers

    titles = []
    for step in by.steps(data):
        found = get(by.reads(step))
        looked = get(by.looks(step, found))
        for write in by.writes(step, found, looked):
            titles.append(write["title"])
            if not check:
                parts = write["to"].strip("/").split("/")
                arguments = [parts] if write["method"] == "DELETE" else [parts, write["body"]]
                getattr(controller, write["method"].lower())(*arguments)
    return titles
