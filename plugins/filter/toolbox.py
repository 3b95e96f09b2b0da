# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people are told of the image of tools: how old its rules and signatures are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.plain_facts import WORD
from ansible_collections.dfir.aws.plugins.module_utils.request_spec import parse_iso

KINDS = {"yara": "YARA", "clamav": "ClamAV"}
MOST_SETS = 40
LONGEST = 40


def rule_ages(content: Mapping[str, Any] | None, oldest: float = 0, now: str = "") -> dict[str, Any]:
    """Sets of rules and signatures with their versions and ages, and warnings about those that are too old.

    What an image says of itself comes from a host, where malware may have run: only words get through.

    :param oldest: days after which a set is too old; 0 warns of none.
    :param now: the moment that ages are counted to; empty: now.
    """
    content = content if isinstance(content, Mapping) else {}
    moment = parse_iso(now) if now else datetime.now(timezone.utc)
    given = content.get("sets")
    sets: list[dict[str, Any]] = []
    for item in given[:MOST_SETS] if isinstance(given, list) else []:
        if isinstance(item, Mapping) and item.get("kind") in KINDS:
            sets.append(_told(item, moment, float(oldest)))
    newer = "publish a newer image (playbooks/update_toolbox.yml)."
    warnings = [f"{one['kind']} {one['name']} is {one['days']} days old, more than {float(oldest):.0f}: {newer}"
                for one in sets if one["old"]]
    return {"known": bool(sets), "image": _word(content.get("image"), ""), "sets": sets, "warnings": warnings}


def _told(item: Mapping[str, Any], now: datetime, oldest: float) -> dict[str, Any]:
    days = _days(item.get("date"), now)
    old = days is not None and 0 < oldest < days
    files = item.get("files")
    age = "of unknown age" if days is None else f"of {_word(item['date'], '')[:10]}, {days} days old"
    return {"kind": KINDS[item["kind"]], "name": _word(item.get("name"), "unknown"), "days": days, "old": old,
            "version": _word(item.get("version"), "unknown"), "age": age,
            "files": files if isinstance(files, int) and 0 <= files < 10**6 else 0}


def _days(date: Any, now: datetime) -> int | None:
    try:
        return max(0, (now - parse_iso(str(date))).days) if date else None
    except ValueError:
        return None


def _word(value: Any, otherwise: str) -> str:
    return value[:LONGEST] if isinstance(value, str) and WORD.fullmatch(value) else otherwise


class FilterModule:
    """Filters about the image of tools."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names as playbooks use them, below `dfir.aws.`."""
        return {"rule_ages": rule_ages}
