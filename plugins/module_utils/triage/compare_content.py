# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a file holds the same on two disks, by reading as little as can be.

Where it is known which blocks differ, only bytes of the file in such blocks are read: a block of 512 KiB holds parts of
many files, and all but one of them may be as they were. A file that was written elsewhere is read up to the first byte
that differs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from ..forensics.dissect_tree import DissectTree
from ..forensics.entry_walk import FileEntry
from ..forensics.lvm_pieces import Stream, runs
from .compare_blocks import Marks
from .compare_entries import OTHER, SAME, UNKNOWN
from .disk import Part
from .sources import Source

PIECE = 1 << 20
OUTSIDE = 12 << 10  # bytes of a file, above which the list of its blocks may lie outside of its inode
MOST = 64 << 20  # bytes of a file that was written elsewhere and may hold the same all the same
BUDGET = "the budget of blocks was spent"


@dataclass
class Side:
    """A file system at one of the two moments. `parts`: all that is on its disk."""

    source: Source
    part: Part
    tree: DissectTree
    parts: list[Part] = field(default_factory=list)

    def layout(self) -> list[tuple[int, int, int]] | None:
        """Where its bytes lie on the disk: place in the partition, place on the disk, length. None where that cannot be
        said, as of stripes."""
        if "." not in self.part.name:
            return [(0, self.part.start, self.part.size)]
        stream = getattr(self.part.stream, "raw", None)
        if not isinstance(stream, Stream):
            return None
        starts = {part.name: part.start for part in self.parts}
        found, place = [], 0
        for device, at, length in runs(stream.parts):
            found.append((place, starts[device] + at, length))
            place += length
        return found or None

    def pieces(self, entry: FileEntry) -> list[tuple[int, int]] | None:
        """Where the content of a file lies in the partition, in order, without holes; None where nothing here tells."""
        reader = self.tree.system.reader
        if reader is None:
            return None
        try:
            found, size = reader.runs(entry.inode)
        except Exception:  # a broken list of blocks
            return None
        pieces, done = [], 0
        for start, count in found:
            length = min(count * reader.block_size, size - done)
            if start is not None and length > 0:
                pieces.append((start * reader.block_size, length))
            done += length
        return pieces

    def node(self, entry: FileEntry) -> Any:
        """What its file system opens it by."""
        return self.tree.system.node(entry.inode) if not entry.stream else None

    def inline(self, entry: FileEntry) -> bytes | None:
        """What stands in the inode itself."""
        node = self.node(entry)
        return None if node is None else self.tree.system.inline(node)

    def open(self, entry: FileEntry) -> BinaryIO | None:
        """The content of a file; by its number where that leads to it, since a name may be a hostile one."""
        if entry.stream:
            return None
        node = self.node(entry)
        return self.tree.system.open(node) if node is not None else self.tree.open(entry.path)  # type: ignore[return-value]


class Contents:
    """Compares files of two file systems. `marks`: which blocks of the two disks differ, where that is known."""

    def __init__(self, old: Side, new: Side, marks: Marks | None) -> None:
        self.old, self.new = old, new
        layout = new.layout()
        alike = layout is not None and layout == old.layout() and new.tree.system.kind == old.tree.system.kind
        self.layout = layout if alike and new.tree.system.reader is not None else None
        self.marks = marks if self.layout is not None else None
        self.why = ""  # why the last answer was that it is unknown

    @property
    def followed(self) -> bool:
        """Whether blocks that differ can be told from those of a file."""
        return self.marks is not None

    def compare(self, was: FileEntry, now: FileEntry) -> str:
        """SAME, OTHER, or UNKNOWN, and then `why`."""
        self.why = ""
        if was.size != now.size:
            return OTHER
        if not now.size:
            return SAME
        try:
            answer = self._compare(was, now)
        except Exception as error:  # whatever a hostile file system provokes
            self.why, answer = f"it cannot be read ({type(error).__name__})", UNKNOWN
        for side in (self.old, self.new):
            side.source.check()
        if answer == UNKNOWN and (self.old.source.spent or self.new.source.spent):
            self.why = BUDGET
        return answer

    def _compare(self, was: FileEntry, now: FileEntry) -> str:
        inline = self.old.inline(was), self.new.inline(now)
        if inline[0] is not None and inline[1] is not None:
            return SAME if inline[0] == inline[1] else OTHER
        if self.marks is not None and inline == (None, None):
            before, after = self.old.pieces(was), self.new.pieces(now)
            if before is not None and before == after:
                return self._touched(before)
        return self._whole(was, now)

    def _touched(self, pieces: list[tuple[int, int]]) -> str:
        """Of a file that lies where it lay: its bytes in blocks that differ."""
        for start, length in self._marked(pieces):
            one, other = self.old.part.read_at(start, length), self.new.part.read_at(start, length)
            if len(one) < length or len(other) < length:
                self.why = "it lies beyond the end of the disk"
                return UNKNOWN
            if one != other:
                return OTHER
        return SAME

    def _marked(self, pieces: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """Those parts of pieces of the partition that lie in blocks of the disk that differ."""
        if self.marks is None:
            return
        for start, length in pieces:
            for inside, place, size in self.layout or ():
                low, high = max(start, inside), min(start + length, inside + size)
                if low < high and self.marks.touch(place + low - inside, high - low):
                    for at, many in self.marks.pieces(place + low - inside, high - low):
                        yield at - place + inside, many

    def _whole(self, was: FileEntry, now: FileEntry) -> str:
        """Of a file that was written elsewhere: up to the first difference."""
        one, other = self.old.open(was), self.new.open(now)
        if one is None or other is None:
            self.why = "it cannot be opened"
            return UNKNOWN
        done = 0
        with one, other:
            while done < now.size:
                if done >= MOST:
                    self.why = f"its first {MOST >> 20} MiB are the same, no more was compared"
                    return UNKNOWN
                left, right = one.read(PIECE), other.read(PIECE)
                if left != right:
                    return OTHER
                if not left:
                    self.why = "it ends before its size"
                    return UNKNOWN
                done += len(left)
        return SAME

    def suspects(self, files: list[FileEntry]) -> Iterator[FileEntry]:
        """Of files whose entries say that nothing changed: those that may have, because a block of theirs, or that of
        their inode, differs. In the order of their inodes."""
        if self.marks is None:
            return
        for now in sorted(files, key=lambda one: one.inode):
            pieces = self.new.pieces(now)
            if (pieces is None or self._inode_touched(now) or next(self._marked(pieces), None) is not None
                    or (now.size > OUTSIDE and self.old.pieces(now) != pieces)):
                yield now

    def _inode_touched(self, now: FileEntry) -> bool:
        reader = self.new.tree.system.reader
        try:
            return reader is None or next(self._marked([(reader.place(now.inode), 1)]), None) is not None
        except Exception:  # it is not known where it lies
            return True
