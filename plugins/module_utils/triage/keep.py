# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A triage as files of a folder: its data, and the timeline in two forms. The data come last, when all is there.

A snapshot never changes, so the same questions have the same answers: a folder that holds them already is left alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..ebs.errors import BadInput
from ..ebs.version import __version__
from ..forensics.model import Artifacts
from ..forensics.s3_put import digest
from .look import SCHEMA

DATA = "triage.json"


def question(source: str, region: str, limit: int | None, timeline: bool, rule_files: Iterable[Path]) -> str:
    """What tells one triage from another: source, version, rules and limits, as a digest."""
    running = hashlib.sha256(json.dumps([SCHEMA, __version__, source, region, limit, timeline]).encode())
    for path in rule_files:
        try:
            running.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            raise BadInput(f"{path} cannot be read: {error.strerror}.") from error
    return running.hexdigest()[:24]


def answered(folder: Path, asked: str, name: str = DATA) -> dict[str, Any] | None:
    """The data in a folder, where they answer that question and are whole."""
    try:
        data = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(data, dict) or data.get("asked") != asked:
        return None
    return data if all((folder / file["name"]).is_file() and digest(folder / file["name"])[0] == file["sha256"]
                       for file in data.get("hashes") or []) else None


def keep(folder: Path, data: dict[str, Any], asked: str, names: Iterable[str], to: str = DATA
         ) -> dict[str, Any]:
    """Write the data beside the files that are there already, whose digests they get; what was written."""
    hashes = []
    for name in names:
        sha256, size = digest(folder / name)
        hashes.append({"name": name, "sha256": sha256, "bytes": size})
    whole = {**data, "hashes": hashes, "asked": asked}
    artifacts = Artifacts(folder)
    artifacts.write_json(to, whole)
    artifacts.forget_sums()
    return whole


def files(folder: Path, data: dict[str, Any], name: str = DATA) -> list[dict[str, Any]]:
    """Every file of a triage with its SHA-256, the data first."""
    sha256, size = digest(folder / name)
    return [{"name": name, "path": str(folder / name), "sha256": sha256, "bytes": size},
            *({**file, "path": str(folder / file["name"])} for file in data.get("hashes") or [])]
