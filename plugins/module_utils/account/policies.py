# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a policy document says about one call: enough of IAM's language to read the policies of this project.

It decides only what it understands. Anything else is `Undecidable`, and the check says "not checkable" instead of
guessing.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class Undecidable(Exception):
    """The document uses something that is not understood here."""


@dataclass(frozen=True)
class Call:
    """One call, as a policy sees it. `context` holds its condition keys, in lower case; other keys are absent."""

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


def parse(document: str | Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The statements of a document."""
    data = json.loads(document) if isinstance(document, str) else document
    return [item for item in _list(data.get("Statement")) if isinstance(item, Mapping)]


def decide(statements: list[Mapping[str, Any]], call: Call) -> str:
    """`deny` where a statement denies the call, `allow` where one allows it and none denies, else `nothing`.

    Principals are not looked at, but that a resource policy's denial must be meant for everybody.
    """
    effects = {str(item["Effect"]) for item in statements if _applies(item, call)}
    return "deny" if "Deny" in effects else "allow" if "Allow" in effects else "nothing"


def _applies(statement: Mapping[str, Any], call: Call) -> bool:
    if statement.get("Principal", "*") not in ("*", {"AWS": "*"}, {"AWS": ["*"]}) or "NotPrincipal" in statement:
        return False
    for part, value, ignore_case in (("Action", call.action, True), ("Resource", call.resource, False)):
        if part in statement and not _any(statement[part], value, ignore_case):
            return False
        if f"Not{part}" in statement and _any(statement[f"Not{part}"], value, ignore_case):
            return False
    return all(
        _holds(operator, key, [str(item) for item in _list(wanted)], call.context)
        for operator, keys in (statement.get("Condition") or {}).items()
        for key, wanted in keys.items()
    )


def _holds(operator: str, key: str, wanted: list[str], context: Mapping[str, str]) -> bool:
    name, value = operator.lower(), context.get(key.lower())
    if any("${" in text for text in wanted):
        raise Undecidable(f"the policy variable in {key}")
    if name == "null":
        return str(value is None).lower() in [text.lower() for text in wanted]
    negated = "not" in name
    plain = name.removesuffix("ifexists").replace("not", "")
    if plain not in ("bool", "stringequals", "stringlike", "arnequals", "arnlike"):
        raise Undecidable(f"the condition operator {operator}")
    if value is None:
        return negated or name.endswith("ifexists")
    if plain == "bool":
        hit = value.lower() in [text.lower() for text in wanted]
    elif plain == "stringequals":
        hit = value in wanted
    else:
        hit = _any(wanted, value, False)
    return hit != negated


def _any(patterns: Any, value: str, ignore_case: bool) -> bool:
    fold = str.lower if ignore_case else str
    return any(fnmatch.fnmatchcase(fold(value), fold(str(text)).replace("[", "[[]")) for text in _list(patterns))


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [] if value is None else [value]
