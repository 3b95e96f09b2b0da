# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role `aap_import` reads from a controller, and sends to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible.utils.unsafe_proxy import wrap_var
from ansible_collections.dfir.aws.plugins.plugin_utils import platform_eda, platform_import

API: Mapping[str, Any] = {"controller": platform_import, "eda": platform_eda}


def aap_steps(data: Mapping[str, Any], api: str = "controller") -> list[dict[str, Any]]:
    """The steps of an import, in order. Injectors of credential types look like templates: none is to be rendered."""
    marked: list[dict[str, Any]] = wrap_var([dict(step) for step in API[api].steps(_plain(data))])
    return marked


def aap_reads(step: Mapping[str, Any]) -> list[dict[str, str]]:
    """What a step looks up by name."""
    return _said(lambda: API[step["api"]].reads(_plain(step)))


def aap_looks(step: Mapping[str, Any], answers: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """What a step reads of the objects that exist."""
    return _said(lambda: API[step["api"]].looks(_plain(step), _answers(answers)))


def aap_writes(step: Mapping[str, Any], answers: Sequence[Mapping[str, Any]], looked: Sequence[Mapping[str, Any]]
               ) -> list[dict[str, Any]]:
    """What a step sends."""
    return _said(lambda: wrap_var(API[step["api"]].writes(_plain(step), _answers(answers), _answers(looked))))


def aap_eda_probe(credentials: Sequence[Mapping[str, Any]]) -> str:
    """What to ask Event-Driven Ansible first."""
    return platform_eda.probe(_plain(credentials))


def aap_eda_lacking(answer: Mapping[str, Any], credentials: Sequence[Mapping[str, Any]]) -> str:
    """Why nothing can be sent to Event-Driven Ansible; empty when it can."""
    return platform_eda.lacking(_plain(credentials), _plain(answer))


def aap_project_states(answer: Mapping[str, Any], step: Mapping[str, Any]) -> list[str]:
    """How the projects of a step were fetched: C(successful) or C(completed), or not yet, or not at all."""
    names = {item["name"] for part in step["parts"] if part["kind"].endswith("projects") for item in part["items"]}
    field = "import_state" if step["api"] == "eda" else "status"
    return [str(item.get(field, "")) for item in answer["results"] if item["name"] in names] or ["not there"]


def aap_refusals(results: Iterable[Mapping[str, Any]], sending: Sequence[Mapping[str, Any]] = ()) -> list[str]:
    """What went wrong with requests, without what was sent: an answer's text, or why there was none."""
    lines = []
    for number, result in enumerate(results):
        if result.get("skipped") or 200 <= int(result.get("status", -1)) < 300:
            continue
        title = sending[number]["title"] if sending else f"read {result.get('item', {}).get('ask', '')}"
        answer = result.get("json") or str(result.get("msg") or "no answer")
        said = json.dumps(answer, sort_keys=True) if isinstance(answer, (dict, list)) else str(answer)
        lines.append(f"{title}: HTTP {result.get('status', 'none')}: {' '.join(said.split())[:600]}")
    return lines


def _answers(results: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{"item": result["item"], "json": result["json"]} for result in _plain(list(results)) if "json" in result]


def _plain(value: Any) -> Any:
    """Built-in types, whatever subclass (tagged, unsafe, lazy) they came in."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Sequence):
        return [_plain(part) for part in value]
    return value


def _said(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except platform_import.ImportProblem as problem:
        raise AnsibleFilterError(str(problem)) from None


class FilterModule:
    """Filters of the role `aap_import`."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names as playbooks use them, below `dfir.aws.`."""
        return {function.__name__: function
                for function in (aap_steps, aap_reads, aap_looks, aap_writes, aap_refusals, aap_project_states,
                                 aap_eda_probe, aap_eda_lacking)}
