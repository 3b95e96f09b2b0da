# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What XFS still knows of deleted files.

A freed inode loses its mode and its length, but the list of extents stays in its record until the record is used again
(`xfs_undelete` makes use of that, too). A removed folder entry loses the upper half of its inode number and keeps its
name, in folders that are too large to lie in their own inode. Neither is documented as a promise: every piece is
checked against what it claims, and blocks count only while they belong to no other file.

Out of reach: inodes whose whole chunk of 64 was freed, files of so many extents that the list lay in blocks of its own,
and names in small folders.
"""

from __future__ import annotations

import bisect
import stat
import struct
from collections.abc import Iterator
from typing import IO, Any

from .model import Partition
from .steps import StepError
from .timeline_dissect import MAX_DEPTH
from .timeline_line import Line

FREE_TAG = 0xFFFF
FREE_MAGIC = (b"ABTB", b"AB3B")
FOLDER_MAGIC = {b"XD2B": 16, b"XD2D": 16, b"XDB3": 64, b"XDD3": 64}  # header sizes; B: one block, with leaf entries
EXTENTS, BTREE = 2, 3  # formats of a folder that does not lie in its inode
BIGTIME = 8
MAX_NODES = 200_000
FOLDER_LIMIT = 256 << 20


class XfsDeleted:
    """Freed inodes of one XFS file system, with the names that removed folder entries give them."""

    def __init__(self, partition: Partition) -> None:
        try:
            from dissect.xfs import XFS
        except ImportError as error:
            raise StepError("not_supported", f"dissect is not installed: {error}") from error
        self.device: IO[bytes] = partition.open()
        self.fs: Any = XFS(self.device)
        self.block_size, self.group_blocks = int(self.fs.block_size), int(self.fs.sb.sb_agblocks)
        self.unreadable = 0  # groups and folders that were skipped
        self._free: dict[int, list[tuple[int, int]]] = {}
        self._extents: dict[int, list[tuple[int, int, int]]] = {}

    def lines(self) -> Iterator[tuple[str, bool, bool, Line]]:
        """`(path, name known, inode reused, line)` for freed inodes, then for names whose inode is in use again."""
        names: dict[int, str] = {}
        for number, path in self._names():
            names.setdefault(number, path)
        for inode, raw in self._freed():
            extents = self._parse(raw)
            path = names.pop(inode & 0xFFFFFFFF, "")
            if extents or path:
                self._extents[inode] = extents
                size = sum(count for _unused, _unused, count in extents) * self.block_size
                yield path or f"/$OrphanFiles/{inode}", bool(path), False, _line(path, inode, raw, size)
        for inode, path in names.items():
            yield path, True, True, Line(path, str(inode), "-/----------", 0, 0, 0, 0, 0, 0, 0)

    def content(self, inode: int, limit: int) -> tuple[bytes | None, str]:
        """What the freed inode's extents hold, and one word on it.

        Its length is gone: whole blocks are read, and the zeros after the last byte of content cut off.
        """
        extents = self._extents.get(inode, [])
        if not extents:
            return None, "none"
        if not all(self._is_free(start, count) for _unused, start, count in extents):
            return None, "reallocated"
        if (extents[-1][0] + extents[-1][2]) * self.block_size > limit:
            return None, "too_large"
        data = bytearray()
        for offset, start, count in extents:
            data.extend(bytes(offset * self.block_size - len(data)))  # a hole
            self.device.seek(self._place(start))
            data.extend(self.device.read(count * self.block_size))
        return bytes(data.rstrip(b"\0")) or None, "blocks"

    def _place(self, block: int) -> int:
        group, within = block >> self.fs.sb.sb_agblklog, block & ((1 << self.fs.sb.sb_agblklog) - 1)
        return (group * self.group_blocks + within) * self.block_size

    def _freed(self) -> Iterator[tuple[int, bytes]]:
        """Number and record of every inode that is free and was used before."""
        size = int(self.fs.sb.sb_inodesize)
        for number in range(self.fs.sb.sb_agcount):
            try:
                group = self.fs.get_allocation_group(number)
                for record in group.walk_agi():
                    for bit in range(64):
                        if not record.ir_free >> bit & 1:
                            continue
                        within = record.ir_startino + bit
                        group.fh.seek(within * size)
                        raw = group.fh.read(size)
                        if raw[:4] == b"IN\0\0" and len(raw) == size:
                            yield (number << group._inum_bits) + within, raw
            except Exception:  # a broken group does not hide the others; the library has errors of many kinds
                self.unreadable += 1

    def _parse(self, raw: bytes) -> list[tuple[int, int, int]]:
        """`(block in the file, block of the file system, count)` of the extents that a freed record still holds."""
        found: list[tuple[int, int, int]] = []
        mask = (1 << self.fs.sb.sb_agblklog) - 1
        for place in range(0xB0 if raw[4] == 3 else 0x64, len(raw) - 15, 16):
            high, low = struct.unpack_from(">QQ", raw, place)
            offset, start, count = high >> 9 & (1 << 54) - 1, (high & 0x1FF) << 43 | low >> 21, low & (1 << 21) - 1
            behind = found[-1][0] + found[-1][2] if found else 0
            if not count or high >> 63 or offset < behind or offset > 1 << 31:
                break
            if start >> self.fs.sb.sb_agblklog >= self.fs.sb.sb_agcount or (start & mask) + count > self.group_blocks:
                break
            found.append((offset, start, count))
        return found

    def _is_free(self, start: int, count: int) -> bool:
        """Whether no file has these blocks now."""
        group, within = start >> self.fs.sb.sb_agblklog, start & ((1 << self.fs.sb.sb_agblklog) - 1)
        if group not in self._free:
            self._free[group] = sorted(self._free_space(group))
        ranges = self._free[group]
        index = bisect.bisect_right(ranges, (within, 1 << 40)) - 1
        return index >= 0 and ranges[index][0] <= within and within + count <= sum(ranges[index])

    def _free_space(self, group: int) -> Iterator[tuple[int, int]]:
        """The free extents of an allocation group, from its tree by block number."""
        base = group * self.group_blocks * self.block_size
        self.device.seek(base + self.fs.sb.sb_sectsize)
        header = self.device.read(32)
        if header[:4] != b"XAGF":
            return
        todo: list[int] = [struct.unpack_from(">I", header, 16)[0]]
        seen: set[int] = set()
        while todo and len(seen) < MAX_NODES:
            block = todo.pop()
            if block in seen or block >= self.group_blocks:
                continue
            seen.add(block)
            self.device.seek(base + block * self.block_size)
            node = self.device.read(self.block_size)
            if node[:4] not in FREE_MAGIC or len(node) < self.block_size:
                continue
            level, records = struct.unpack_from(">HH", node, 4)
            start = 56 if node[:4] == b"AB3B" else 16
            most = (self.block_size - start) // (8 if level == 0 else 12)
            for index in range(min(records, most)):
                if level == 0:
                    yield struct.unpack_from(">II", node, start + 8 * index)
                else:
                    todo.append(struct.unpack_from(">I", node, start + 8 * most + 4 * index)[0])

    def _names(self) -> Iterator[tuple[int, str]]:
        """Lower half of the inode number and path of every removed entry in every folder."""
        todo: list[tuple[Any, str, int]] = [(self.fs.root, "", 0)]
        seen = {self.fs.root.inum}
        size = self.block_size << int(self.fs.sb.sb_dirblklog)
        while todo:
            folder, path, depth = todo.pop()
            try:
                own_blocks = folder.inode.di_format in (EXTENTS, BTREE)
                stream = folder.open()
                for _unused in range(min(int(folder.size), FOLDER_LIMIT) // size if own_blocks else 0):
                    for number, name in removed(stream.read(size), has_type=bool(self.fs._has_ftype)):
                        yield number, f"{path}/{name}"
                for node in folder.iterdir():
                    if (node.filename not in (".", "..") and node.filetype == stat.S_IFDIR and node.inum not in seen
                            and depth < MAX_DEPTH):
                        seen.add(node.inum)
                        todo.append((node, f"{path}/{node.filename}", depth + 1))
            except Exception:  # as in the timeline: what follows in a broken folder is not there
                self.unreadable += 1


def removed(block: bytes, *, has_type: bool) -> Iterator[tuple[int, str]]:
    """Lower half of the inode number and name of what was removed from a block of a folder."""
    position = FOLDER_MAGIC.get(block[:4], 0)
    if not position:
        return
    end = len(block)
    if block[3:4] == b"B" or block[:4] == b"XDB3":
        end -= 8 + 8 * min(struct.unpack_from(">I", block, end - 8)[0], end // 8 - 1)
    while position + 16 <= end:
        tag, length = struct.unpack_from(">HH", block, position)
        if tag != FREE_TAG:
            position += _entry_size(block[position + 8], has_type)
            continue
        if length < 8 or length % 8 or position + length > end:
            return
        for place in range(position, position + length - 15, 8):
            size, count = _entry_size(block[place + 8], has_type), block[place + 8]
            name = block[place + 9:place + 9 + count]
            # The last two bytes of an entry are its own position: nothing else looks like one by chance. Those of the
            # last in a free stretch were overwritten.
            if place + size > position + length or not name or b"/" in name or b"\0" in name:
                continue
            if place + size == position + length or struct.unpack_from(">H", block, place + size - 2)[0] == place:
                yield struct.unpack_from(">I", block, place + 4)[0], name.decode("utf-8", "surrogateescape")
        position += length


def _entry_size(name: int, has_type: bool) -> int:
    return (8 + 1 + name + has_type + 2 + 7) & ~7


def _line(path: str, inode: int, raw: bytes, size: int) -> Line:
    """Owner and times of a freed inode; its mode is gone. The time of its change is that of its deletion."""
    big = raw[4] == 3 and struct.unpack_from(">Q", raw, 120)[0] & BIGTIME

    def moment(offset: int) -> int:
        value = struct.unpack_from(">Q", raw, offset)[0]
        if big:
            return int(value // 1_000_000_000 - (1 << 31))
        return int(struct.unpack_from(">i", raw, offset)[0])

    uid, gid = struct.unpack_from(">II", raw, 8)
    return Line(path, str(inode), "-/----------", uid, gid, size, moment(32), moment(40), moment(48),
                moment(144) if raw[4] == 3 else 0)
