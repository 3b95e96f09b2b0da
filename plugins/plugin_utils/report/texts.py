# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Words of a report: every text that goes into one passes `plain`, every number of bytes is told by `size`."""

from __future__ import annotations

import json
import re
from typing import Any, TypeGuard

SEVERITIES = ("critical", "high", "medium", "low", "info")
OTHER = "other"  # a severity that nobody knows is shown as what it is, after those that are known
KINDS = {"triage": "Disk triage", "analysis": "Disk analysis", "image": "Disk image", "compare": "Comparison",
         "case": "Case", "acquisition": "Acquisition"}
LONGEST = 2048  # characters of one text in the HTML; the JSON beside it holds the whole
ANEW = "make the data anew with the version of dfir.aws that makes the report."
NAME = 60  # characters of what is a short name, such as a partition's: more would push the page apart
EXACT = 1 << 53  # above, a number of JavaScript is no longer exact

# Controls, and characters that hide or reorder what a reader sees. The producer has escaped those of evidence; a text
# that came another way must not be the exception.
_UNSEEN = {*range(0x20), *range(0x7F, 0xA0), 0x061C, 0x200B, 0x200E, 0x200F, *range(0x2028, 0x202F),
           *range(0x2060, 0x2065), *range(0x2066, 0x206A), 0xFEFF, *range(0xD800, 0xE000)} - {0x09, 0x0A}
_ESCAPES = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _UNSEEN}
_NEEDS = re.compile("[" + "".join(map(re.escape, map(chr, sorted(_UNSEEN)))) + "]")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d(?:\.\d+)?)?)(?:Z|\+00:00)?")


class ReportError(ValueError):
    """The data is none of which a report can be made. The message is a sentence that says what to do."""


def plain(value: Any, longest: int = LONGEST) -> str:
    """A value as text that shows what it holds: nothing invisible, nothing endless."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (dict, list, tuple)):
        value = json.dumps(value, ensure_ascii=False, default=str)
    text = str(value)
    if _NEEDS.search(text):
        text = text.translate(_ESCAPES)
    return text if len(text) <= longest else text[:longest] + "…"


def moment(value: Any) -> str:
    """A time as a reader wants it: `2026-09-12 03:41:17`. Whatever is no such time stays as it is."""
    text = plain(value, NAME)
    found = _TIME.fullmatch(text)
    return f"{found[1]} {found[2]}" if found else text


def is_number(value: Any) -> bool:
    """Whether a value is a number; JSON's true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_whole(value: Any) -> TypeGuard[int]:
    """Whether a value is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def counted(number: Any) -> str:
    """A number with a comma every three digits; no number is told by its text."""
    if not is_number(number):
        return plain(number)
    return f"{number:,}"


def size(count: Any) -> str:
    """A number of bytes in words: 156.0 MiB."""
    if not is_number(count) or not abs(count) < 1 << 70:
        return plain(count)
    number = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(number) < 1024 or unit == "TiB":
            break
        number /= 1024
    return f"{number:.0f} {unit}" if unit == "B" or number == int(number) else f"{number:.1f} {unit}"


def severity(value: Any) -> str:
    """One of the severities, or `other`."""
    return value if isinstance(value, str) and value in SEVERITIES else OTHER


def counts(findings: list[dict[str, Any]]) -> dict[str, int]:
    """How many findings there are of each severity; all that are known, and `other` where there is one."""
    found = dict.fromkeys(SEVERITIES, 0)
    for finding in findings:
        name = severity(finding.get("severity"))
        found[name] = found.get(name, 0) + 1
    return found


def worst_first(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The findings by severity; those of one severity stay in the producer's order."""
    rank = {name: number for number, name in enumerate((*SEVERITIES, OTHER))}
    return sorted(findings, key=lambda finding: rank[severity(finding.get("severity"))])


def dicts(data: Any, key: str) -> list[dict[str, Any]]:
    """A list of the data whose entries are objects; missing or empty is an empty list."""
    found = data.get(key) or []
    if not isinstance(found, (list, tuple)) or not all(isinstance(entry, dict) for entry in found):
        raise ReportError(f"'{key}' of the report's data must be a list of objects: {ANEW}")
    return list(found)


def words(data: Any, key: str) -> list[str]:
    """A list of the data whose entries are texts."""
    found = data.get(key) or []
    if not isinstance(found, (list, tuple)):
        raise ReportError(f"'{key}' of the report's data must be a list of texts: {ANEW}")
    return [plain(entry) for entry in found]


def part(data: Any, key: str) -> dict[str, Any]:
    """An object of the data; missing or empty is an empty one."""
    found = data.get(key) or {}
    if not isinstance(found, dict):
        raise ReportError(f"'{key}' of the report's data must be an object: {ANEW}")
    return found
