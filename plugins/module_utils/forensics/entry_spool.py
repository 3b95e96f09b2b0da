# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries of file systems that are read in the order of the disk, not of folders: paths are known at the end only.

So what is found waits in a file, and folders in memory, until all folders are known.
"""

from __future__ import annotations

import marshal
import tempfile
from collections.abc import Iterator
from typing import IO, Any

from .entry_walk import MAX_DEPTH, legible

Row = tuple[Any, ...]
BLOCK = 1000  # rows that are written at once
IN_MEMORY = 32 << 20  # bytes that wait in memory before they go to a file
ORPHANS = b"/$OrphanFiles"  # where The Sleuth Kit puts what belongs to no folder, too


def dump_rows(stream: IO[bytes], rows: list[Row]) -> None:
    """Write some tuples of numbers, bytes, text and None as one block."""
    block = marshal.dumps(rows)
    stream.write(len(block).to_bytes(8, "little"))
    stream.write(block)


def load_rows(stream: IO[bytes]) -> Iterator[Row]:
    """The tuples of all blocks from where the stream stands to its end; one block is in memory at a time."""
    while head := stream.read(8):
        yield from marshal.loads(stream.read(int.from_bytes(head, "little")))  # noqa: S302 - written above


class Waiting:
    """Tuples that wait, in the order in which they came."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - closed at the end
        self._rows: list[Row] = []

    def add(self, row: Row) -> None:
        """Take one in."""
        self._rows.append(row)
        if len(self._rows) >= BLOCK:
            dump_rows(self._file, self._rows)
            self._rows = []

    def __iter__(self) -> Iterator[Row]:
        """All of them, once."""
        with self._file:
            dump_rows(self._file, self._rows)
            self._file.seek(0)
            yield from load_rows(self._file)


class Folders:
    """The folders of a file system by number, each with its parent and name, and their paths."""

    def __init__(self, root: int, top: bytes = b"") -> None:
        self.root, self.top = root, top
        self.known: dict[int, tuple[int, bytes]] = {}
        self._paths: dict[int, bytes | None] = {root: top}

    def place(self, number: int) -> bytes:
        """What the paths of a folder's entries begin with."""
        path = self.path(number)
        return ORPHANS if path is None else path

    def path(self, number: int) -> bytes | None:
        """The path of a folder; None when it does not hang together with the root."""
        chain: list[tuple[int, bytes]] = []
        at = number
        while at not in self._paths:
            if at not in self.known or len(chain) > MAX_DEPTH:
                self._paths[at] = None
                break
            self._paths[at] = None  # who comes by here again goes in a circle
            parent, name = self.known[at]
            chain.append((at, name))
            at = parent
        path = self._paths[at]
        for one, name in reversed(chain):
            path = None if path is None else path + b"/" + legible(name)
            self._paths[one] = path
        return path
