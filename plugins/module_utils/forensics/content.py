# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the image holds besides tools: its own version, and its sets of YARA rules and ClamAV signatures, with their
versions and how old they are. Words and numbers only: it stands in `summary.json`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .tools import SHARE

RULES = SHARE / "rules"
VENDOR_DATABASE = Path("/var/lib/clamav")
MANIFEST = "content.json"  # written by whoever builds the image, beside the rules
KINDS = {"yara": ("*.yar", "*.yara"),
         "clamav": ("*.ndb", "*.hdb", "*.hsb", "*.mdb", "*.msb", "*.ldb", "*.fp", "*.sfp", "*.ign2")}
VENDOR_FILES = ("*.c[vl]d",)
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+-]{0,99}")
_HEADER = re.compile(rb"ClamAV-VDB:([^:]+):(\d+):(\d+):")


def files_of(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    """Files of a folder by their patterns, each once, in order."""
    return sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})


def describe() -> dict[str, Any]:
    """`{image, built, sets: [{kind, name, version, date, files}]}`; a date is null where nobody has said it."""
    manifest = _manifest(RULES / MANIFEST)
    sets: list[dict[str, Any]] = []
    for kind, patterns in KINDS.items():
        files = files_of(RULES / kind, patterns)
        named = {str(entry.get("name")): entry for entry in manifest.get("sets") or []
                 if isinstance(entry, dict) and entry.get("kind") == kind}
        for name, members in _by_set(files, named):
            entry = named.get(name, {})
            sets.append({"kind": kind, "name": name, "version": _word(entry.get("version")) or fingerprint(members),
                         "date": _word(entry.get("date")), "files": len(members)})
    sets += [vendor_set(path) for folder in (RULES / "clamav-vendor", VENDOR_DATABASE)
             for path in files_of(folder, VENDOR_FILES)]
    return {"image": _word(manifest.get("image")), "built": _word(manifest.get("built")), "sets": sets}


def _by_set(files: list[Path], named: dict[str, dict[str, Any]]) -> Iterator[tuple[str, list[Path]]]:
    """The files of each set: those that the manifest names, and all others as the set `dfir`, which is ours."""
    left = {path.name: path for path in files}
    for name, entry in named.items():
        members = [left.pop(str(file)) for file in entry.get("files") or [] if str(file) in left]
        if members:
            yield name, members
    if left:
        yield "dfir", list(left.values())


def fingerprint(files: list[Path]) -> str:
    """A version for files that have none: the beginning of a hash over them."""
    digest = hashlib.sha256()
    for path in sorted(files, key=lambda path: path.name):
        digest.update(f"{path.name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def vendor_set(path: Path) -> dict[str, Any]:
    """What the header of a database of ClamAV's own (`daily.cvd`) says of it."""
    with path.open("rb") as stream:
        header = _HEADER.match(stream.read(512))
    date, version = None, "unknown"
    if header:
        version = header[2].decode("ascii")
        date = _header_date(header[1].decode("ascii", "replace"))
    return {"kind": "clamav", "name": _word(path.stem) or "vendor", "version": version, "date": date, "files": 1}


def _header_date(text: str) -> str | None:
    """`07 Nov 2026 03-26 -0500` as a moment in UTC."""
    try:
        moment = datetime.strptime(text.strip(), "%d %b %Y %H-%M %z")
    except ValueError:
        return None
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _manifest(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and _WORD.fullmatch(value) else None
