# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what changed, as far as it is worth it and the budget lasts: new lines of texts, then hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ..forensics.entry_walk import FileEntry
from .compare_content import BUDGET, Side
from .compare_entries import SAME, Change
from .compare_weigh import LINES_LIMIT, wants_lines, weigh_lines

TEXTS, HASHED = 500, 500  # files
LARGEST, TOGETHER = 16 << 20, 256 << 20  # bytes of a file that is hashed, and of all of them
_CHUNK = 1 << 20


class Reading:
    """Takes changes, the most suspicious first. `left`: how many files were not read, and `why`."""

    def __init__(self, old: Side, new: Side) -> None:
        self.old, self.new = old, new
        self.left, self.why = 0, ""

    def take(self, changes: Sequence[Change]) -> None:
        """Read them."""
        for change in [change for change in changes if wants_lines(change)][:TEXTS]:
            before = self._read(self.old, change.old)
            after = self._read(self.new, change.new)
            if after is not None:
                weigh_lines(change, before or b"", after)
        wanted = [change for change in changes if change.is_file and change.content != SAME and change.entry.size]
        room = TOGETHER
        for number, change in enumerate(wanted):
            if number >= HASHED or change.entry.size > min(LARGEST, room):
                self._leave(f"others rank above them, or they have more than {LARGEST >> 20} MiB")
                continue
            room -= change.entry.size
            change.sha256 = self._hash(self.new, change.new)
            change.old_sha256 = self._hash(self.old, change.old)
            if (change.new and not change.sha256) or (change.old and change.old.size and not change.old_sha256
                                                      and change.old.size <= LARGEST):
                spent = self.old.source.spent or self.new.source.spent
                self._leave(BUDGET if spent else "it cannot be read")

    def _leave(self, why: str) -> None:
        self.left += 1
        self.why = self.why or why

    @staticmethod
    def _read(side: Side, entry: FileEntry | None) -> bytes | None:
        """A text; None where it is none, too large, or cannot be read."""
        if entry is None or entry.size > LINES_LIMIT:
            return None
        try:
            stream = side.open(entry)
            data = None if stream is None else stream.read(LINES_LIMIT)
        except Exception:  # whatever a hostile file system provokes
            data = None
        side.source.check()
        return data

    @staticmethod
    def _hash(side: Side, entry: FileEntry | None) -> str | None:
        """SHA-256 of a file; None where it cannot be read to its end."""
        if entry is None or entry.size > LARGEST:
            return None
        running, done = hashlib.sha256(), 0
        try:
            stream = side.open(entry)
            while stream is not None and (chunk := stream.read(_CHUNK)):
                running.update(chunk)
                done += len(chunk)
        except Exception:  # as above
            done = -1
        side.source.check()
        return running.hexdigest() if done == entry.size else None
