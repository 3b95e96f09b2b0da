# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told to a custody ledger of work: entries before they have a number, a time and an entry before them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from .ebs.version import __version__

LONGEST = 500  # of a text about something; an entry takes 2048

Told = dict[str, Any]


def is_sha256(text: Any) -> bool:
    """Whether something is a SHA-256 in hexadecimal digits."""
    return isinstance(text, str) and re.fullmatch(r"[0-9a-f]{64}", text) is not None


def about(kind: str, name: str, place: str = "", sha256: str | None = None) -> Told:
    """The object of an entry."""
    return {"kind": kind, "id": name, "sha256": sha256 or None, "place": place}


def collection() -> dict[str, str]:
    """The tool of an entry that names no other."""
    return {"name": "dfir.aws", "version": __version__}


def entry(event: str, phase: str, action: str, actor: Mapping[str, str], what: Told, result: str = "ok",
          details: Mapping[str, Any] | None = None) -> Told:
    """One entry; details that say nothing are left out, and long ones are cut."""
    return {"event": event, "phase": phase, "action": action, "actor": dict(actor), "object": what,
            "tool": collection(), "result": "begun" if phase == "intent" else result,
            "details": {name: _plain(value) for name, value in (details or {}).items() if value not in ("", None)}}


def _plain(value: Any) -> Any:
    return value if isinstance(value, (bool, int)) else str(value)[:LONGEST]


def artifact(actor: Mapping[str, str], bucket: str, key: str, sha256: str, details: Mapping[str, Any]) -> Told:
    """An artifact by its key in the bucket. Checking a case reads and compares it; the event is named after key and
    content, so that the same is told once."""
    name = hashlib.sha256(f"{key}\0{sha256}".encode("utf-8", "replace")).hexdigest()[:32]
    return entry(f"artifact/{name}", "record", "artifact", actor, about("artifact", key, f"s3://{bucket}", sha256),
                 details=details)
