# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every folder of an ext file system with its entries, one level of the tree after the other.

A level is read in the order in which it lies on the disk: its folders first, then the inodes that they name. Whoever
fetches blocks from afar is told of a whole level at once, and has many of them on their way at the same time. Inodes
and folders are read here and not by dissect, which is several times slower. Layout: Documentation/filesystems/ext4 of
the Linux kernel.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

INODE = struct.Struct("<HHIIIIIHHII4x60s8xI4x4xHH4x")  # as far as byte 128
EXTRA = struct.Struct("<H2xIIIII")  # size, then the upper halves of ctime, mtime, atime; crtime and its upper half
ENTRY = struct.Struct("<IHBB")
EXTENT = struct.Struct("<IHHI")
EXTENTS, INLINE = 0x80000, 0x10000000
META_GROUPS, SIXTY_FOUR = 0x10, 0x80
EXTENT_MAGIC = 0xF30A
ATTRIBUTES, SYSTEM = b"\x00\x00\x02\xea", 7  # extended attributes in an inode, and the prefix "system."
MAX_DEPTH = 512
UNWRITTEN = 0x8000
DEEPEST_EXTENT = 5

Ranges = list[tuple[int, int]]
Hint = Callable[[Ranges], None]
"""Told of ranges (offset, length) that will be read soon."""


class Unusual(Exception):
    """Something that the general way reads, and this one does not."""


@dataclass
class Found:
    """One entry of a folder."""

    name: bytes
    info: os.stat_result
    born: int | None  # nanoseconds
    raw: bytes  # the inode


def nanoseconds(seconds: int, extra: int) -> int:
    """Seconds are signed, and two more bits count the epochs after 2038."""
    seconds -= (seconds & 0x80000000) << 1
    return (seconds + ((extra & 3) << 32)) * 10**9 + (extra >> 2)


def inline_content(raw: bytes) -> bytes:
    """What an inode with inline data holds: the place of its block numbers, then an extended attribute."""
    content, start = raw[0x28:0x28 + 60], 128 + struct.unpack_from("<H", raw, 128)[0] if len(raw) > 130 else len(raw)
    if len(raw) < start + 4 or raw[start:start + 4] != ATTRIBUTES:
        return content
    place = first = start + 4
    while place + 16 <= len(raw) and raw[place:place + 4] != bytes(4):
        length, kind, offset, _inode, size = struct.unpack_from("<BBHII", raw, place)
        if kind == SYSTEM and raw[place + 16:place + 16 + length] == b"data":
            return content + raw[first + offset:first + offset + size]
        place += (16 + length + 3) & ~3
    return content


class ExtWalk:
    """Reads an ext file system that dissect has opened. `unreadable` counts what of it could not be read."""

    def __init__(self, extfs: Any, hint: Hint | None = None) -> None:
        superblock = extfs.sb
        if int(superblock.s_feature_incompat) & META_GROUPS:
            raise Unusual("descriptors of groups lie scattered")
        self.stream: BinaryIO = extfs.fh
        self.block = int(extfs.block_size)
        self.inode_size = int(superblock.s_inode_size)
        self.per_group = int(superblock.s_inodes_per_group)
        self.count = int(superblock.s_inodes_count)
        self.typed = bool(int(superblock.s_feature_incompat) & 2)
        self.unreadable = 0
        self._hint = hint
        wide = int(superblock.s_feature_incompat) & SIXTY_FOUR and int(extfs._group_desc_size) >= 64
        size = int(extfs._group_desc_size)
        table = self._read(int(extfs.groups_offset), size * int(extfs.groups_count))
        low = [struct.unpack_from("<I", table, place + 8)[0] for place in range(0, len(table) - 31, size)]
        high = [struct.unpack_from("<I", table, place + 0x28)[0] if wide else 0
                for place in range(0, len(table) - 31, size)]
        self._tables = [(top << 32 | bottom) * self.block for top, bottom in zip(high, low, strict=True)]

    def _read(self, place: int, length: int) -> bytes:
        self.stream.seek(place)
        return self.stream.read(length)

    def place(self, inode: int) -> int:
        """Where an inode lies."""
        group, index = divmod(inode - 1, self.per_group)
        return self._tables[group] + index * self.inode_size

    def inode(self, number: int) -> bytes:
        """An inode as it is."""
        raw = self._read(self.place(number), self.inode_size)
        if len(raw) < 128:
            raise ValueError(f"inode {number} lies outside")
        return raw

    def info(self, number: int, raw: bytes) -> tuple[os.stat_result, int | None]:
        """What lstat would say, and when it was made."""
        (mode, uid, low, accessed, changed, modified, _deleted, gid, links, _blocks, _flags, _block, high, uid_high,
         gid_high) = INODE.unpack_from(raw)
        born, ctime_extra, mtime_extra, atime_extra = None, 0, 0, 0
        if len(raw) >= 152:
            size, ctime_extra, mtime_extra, atime_extra, crtime, crtime_extra = EXTRA.unpack_from(raw, 128)
            if size < 16:
                ctime_extra = mtime_extra = atime_extra = 0
            if size >= 20:
                born = nanoseconds(crtime, crtime_extra if size >= 24 else 0)
        times = (nanoseconds(accessed, atime_extra), nanoseconds(modified, mtime_extra),
                 nanoseconds(changed, ctime_extra))
        return os.stat_result(
            (mode, number, 0, links, uid | uid_high << 16, gid | gid_high << 16, low | high << 32,
             times[0] // 10**9, times[1] // 10**9, times[2] // 10**9),
            {"st_atime_ns": times[0], "st_mtime_ns": times[1], "st_ctime_ns": times[2]}), born

    def runs(self, raw: bytes) -> Ranges:
        """Where a folder's content lies, in its order."""
        flags, = struct.unpack_from("<I", raw, 0x20)
        if flags & INLINE or not flags & EXTENTS:
            raise Unusual("no extents")
        found: Ranges = []
        self._extents(raw[0x28:0x28 + 60], found, 0)
        return found

    def _extents(self, node: bytes, found: Ranges, depth: int) -> None:
        magic, entries, _most, below = struct.unpack_from("<HHHH", node)
        if magic != EXTENT_MAGIC or depth > DEEPEST_EXTENT or 12 + entries * 12 > len(node):
            raise Unusual("a broken tree of extents")
        for number in range(entries):
            at = 12 + number * 12
            if below:
                _first, leaf_low, leaf_high = struct.unpack_from("<IIH", node, at)
                self._extents(self._read((leaf_high << 32 | leaf_low) * self.block, self.block), found, depth + 1)
            else:
                _first, length, high, low = EXTENT.unpack_from(node, at)
                if length <= UNWRITTEN:
                    found.append(((high << 32 | low) * self.block, length * self.block))

    def inline_names(self, raw: bytes) -> Iterator[tuple[bytes, int]]:
        """Names and inodes of a folder that lies in its own inode: behind its parent's number, and in an attribute."""
        content = inline_content(raw)
        for piece in (content[4:60], content[60:]):
            yield from self.names(piece)

    def names(self, data: bytes) -> Iterator[tuple[bytes, int]]:
        """Names and inodes in a folder's content; a block that is broken loses its rest only."""
        for start in range(0, len(data), self.block):
            place, end = start, min(start + self.block, len(data))
            while place + 8 <= end:
                inode, length, name_length, kind = ENTRY.unpack_from(data, place)
                if not self.typed:
                    name_length |= kind << 8
                if length < 8 or length % 4 or place + length > end:
                    self.unreadable += place != start or any(data[place:place + 8])
                    break
                if 0 < inode <= self.count and name_length <= length - 8:
                    name = data[place + 8:place + 8 + name_length]
                    if name not in (b".", b"..", b"") and b"/" not in name and b"\0" not in name:
                        yield name, inode
                place += length

    def folders(self, other: Callable[[int], Iterable[tuple[bytes, int]]]) -> Iterator[tuple[bytes, list[Found]]]:
        """Every folder with its entries, level by level. `other`: names and inodes of a folder (by its inode) that is
        not made as most are."""
        root = self.inode(2)
        level: list[tuple[bytes, int, bytes]] = [(b"/", 2, root)]
        seen = {2}
        for _depth in range(MAX_DEPTH):
            if not level:
                return
            below: list[tuple[bytes, int, bytes]] = []
            for part in _pieces(level, 4096):  # what is under way of a level that is very broad stays bounded
                for path, found in self._level(part, other):
                    yield path, found
                    for one in found:
                        if stat.S_ISDIR(one.info.st_mode) and one.info.st_ino not in seen:
                            seen.add(one.info.st_ino)
                            below.append((path.rstrip(b"/") + b"/" + one.name, one.info.st_ino, one.raw))
            level = below

    def _level(self, level: list[tuple[bytes, int, bytes]],
               other: Callable[[int], Iterable[tuple[bytes, int]]]) -> Iterator[tuple[bytes, list[Found]]]:
        runs: dict[int, Ranges | None] = {}
        for _path, number, raw in level:
            try:
                runs[number] = self.runs(raw)
            except Unusual:
                runs[number] = None
        self._tell(one for ranges in runs.values() if ranges for one in ranges)
        listed: dict[int, list[tuple[bytes, int]]] = {}
        for _path, number, raw in sorted(level, key=lambda item: (runs[item[1]] or [(0, 0)])[0]):
            ranges = runs[number]
            try:
                if struct.unpack_from("<I", raw, 0x20)[0] & INLINE:
                    listed[number] = list(self.inline_names(raw))
                elif ranges is None:
                    listed[number] = list(other(number))
                else:
                    size = struct.unpack_from("<I", raw, 4)[0]
                    data = b"".join(self._read(place, length) for place, length in ranges)[:max(size, self.block)]
                    listed[number] = list(dict(self.names(data)).items())
            except (OSError, ValueError, struct.error):
                self.unreadable += 1
                listed[number] = []
        numbers = sorted({inode for names in listed.values() for _name, inode in names})
        self._tell((self.place(number), self.inode_size) for number in numbers)
        inodes = dict(self._inodes(numbers))
        for path, number, _raw in level:
            found = []
            for name, inode in listed[number]:
                if inode in inodes:
                    raw = inodes[inode]
                    found.append(Found(name, *self.info(inode, raw), raw))
            yield path, found

    def _inodes(self, numbers: list[int]) -> Iterator[tuple[int, bytes]]:
        for number in numbers:
            try:
                yield number, self.inode(number)
            except (OSError, ValueError, IndexError):
                self.unreadable += 1

    def _tell(self, ranges: Iterable[tuple[int, int]]) -> None:
        if self._hint is not None:
            self._hint(sorted(set(ranges)))


def _pieces(rows: list[Any], length: int) -> Iterator[list[Any]]:
    for start in range(0, len(rows), length):
        yield rows[start:start + length]
