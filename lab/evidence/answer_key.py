# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The answer key: every planted artifact and where results must show it, and what must not raise an alarm."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lab.evidence.tree import iso

PLACES = ("findings", "timeline", "deleted", "yara", "clamav")


@dataclass(frozen=True)
class Entry:
    """One line of the key. `must_be_in` is empty for benign entries: no finding of high or critical severity there."""

    kind: str
    partition: int
    path: str  # from the partition's root; empty when the file's name is not recoverable
    must_be_in: str
    benign: bool = False
    required: bool = True
    kinds: tuple[str, ...] = ()  # kinds of finding that count; any, when empty
    note: str = ""
    at: str = ""  # UTC
    sha256: str = ""  # of recovered content


@dataclass
class AnswerKey:
    """Collects entries while the disk is built."""

    entries: list[Entry] = field(default_factory=list)

    def planted(self, kind: str, partition: int, path: str, must_be_in: str, *, kinds: list[str] | None = None,
                note: str = "", at: int | None = None, content: bytes | None = None, required: bool = True) -> None:
        """Something that results must show."""
        if must_be_in not in PLACES:
            raise ValueError(f"{must_be_in!r} is no place for results; use one of {', '.join(PLACES)}")
        self.entries.append(Entry(kind, partition, path, must_be_in, False, required, tuple(kinds or ()), note,
                                  iso(at) if at is not None else "",
                                  hashlib.sha256(content).hexdigest() if content is not None else ""))

    def benign(self, kind: str, partition: int, path: str) -> None:
        """Something that must not be reported as high or critical."""
        self.entries.append(Entry(kind, partition, path, "", True))

    def dump(self, about: dict[str, Any]) -> str:
        """The key as JSON, with facts about the disk."""
        return json.dumps({"disk": about, "artifacts": [asdict(entry) for entry in self.entries]}, indent=1) + "\n"


def load(path: Path) -> list[Entry]:
    """Read a key from its file."""
    artifacts = json.loads(path.read_text(encoding="utf-8"))["artifacts"]
    return [Entry(**{**artifact, "kinds": tuple(artifact["kinds"])}) for artifact in artifacts]
