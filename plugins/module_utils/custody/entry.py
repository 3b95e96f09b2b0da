# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an entry of a ledger is: docs/custody-ledger.schema.json in Python (a test compares the two)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from .canonical import parsed

FORMAT = 1
NOTHING = "0" * 64  # what the first entry carries instead of the hash of the one before
INCIDENT = r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.)){0,63}(?<![.])"
EVENT = r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}"
WORD = r"[a-z][a-z0-9_]{0,31}"
SHA256 = r"[0-9a-f]{64}"
TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{6})?Z"
ACTIONS = ("acquisition", "copy", "image", "mount", "tool_run", "artifact", "transfer", "access", "hand_over", "note",
           "closing")
PHASES = ("intent", "outcome", "record")
RESULTS = {"intent": ("begun",), "outcome": ("ok", "failed"), "record": ("ok", "failed")}
LONGEST = 2048
MOST_DETAILS = 50
MOST_NUMBER = 999_999_999


def _text(longest: int = LONGEST) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and len(value) <= longest


def like(pattern: str) -> Callable[[Any], bool]:
    """A check for texts that are wholly of a pattern."""
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _one(*values: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in values


def _maybe(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


def whole(value: Any) -> bool:
    """Whether a value is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def number(value: Any) -> bool:
    """Whether a value may number an entry."""
    return whole(value) and 1 <= value <= MOST_NUMBER


# Every field must be there, and no other may be.
FIELDS: dict[str, Any] = {
    "format": lambda value: whole(value) and value == FORMAT,
    "incident": like(INCIDENT),
    "number": number,
    "before": like(SHA256),
    "event": like(EVENT),
    "phase": _one(*PHASES),
    "action": _one(*ACTIONS),
    "actor": {"kind": like(WORD), "name": _text(), "arn": _text()},
    "time": {"utc": like(TIME), "source": _text(), "aws": _maybe(like(TIME))},
    "object": {"kind": like(WORD), "id": _text(), "sha256": _maybe(like(SHA256)), "place": _text()},
    "tool": {"name": _text(), "version": _text()},
    "result": _one("begun", "ok", "failed"),
    "details": None,  # names of one's own, see _details
}


def problem(entry: Any) -> str:
    """What is wrong with an entry by itself, as the end of a sentence; empty when nothing is."""
    found = fields_problem(entry, FIELDS)
    if found:
        return found
    if not _details(entry["details"]):
        return (f"'details' must be at most {MOST_DETAILS} names, each with a text of at most {LONGEST} characters, a "
                "whole number, true, false or null")
    if entry["result"] not in RESULTS[entry["phase"]]:
        return f"the result of the phase '{entry['phase']}' must be one of: {', '.join(RESULTS[entry['phase']])}"
    return ""


def read(body: bytes) -> dict[str, Any]:
    """An entry of its bytes; ValueError, the end of a sentence, when they are none."""
    value: dict[str, Any] = parsed(body)
    wrong = problem(value)
    if wrong:
        raise ValueError(wrong)
    return value


def fields_problem(value: Any, fields: Mapping[str, Any], where: str = "") -> str:
    """What is wrong with an object that has these fields and no other."""
    if not isinstance(value, dict):
        return f"{where or 'it'} must be an object"
    for name in sorted(set(value) ^ set(fields)):
        return f"{where}{name!r} is {'missing' if name in fields else 'no field that is known'}"
    for name, check in fields.items():
        if isinstance(check, Mapping):
            found = fields_problem(value[name], check, f"{name}.")
            if found:
                return found
        elif check is not None and not check(value[name]):
            return f"{where}{name!r} is not as it must be"
    return ""


def _details(value: Any) -> bool:
    return (isinstance(value, dict) and len(value) <= MOST_DETAILS
            and all(re.fullmatch(WORD, name) and _plain(item) for name, item in value.items()))


def _plain(item: Any) -> bool:
    return item is None or isinstance(item, (bool, int)) or (isinstance(item, str) and len(item) <= LONGEST)


def told(text: Any, longest: int = 200) -> str:
    """A text from a ledger as it may go onto a screen: one line, nothing invisible, nothing endless."""
    line = "".join(char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode()
                   for char in str(text))
    return line if len(line) <= longest else line[:longest] + "…"
