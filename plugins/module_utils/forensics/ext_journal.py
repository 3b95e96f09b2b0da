# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Older copies of inodes in an ext3/ext4 journal.

When the kernel deletes a file it clears the size and the block list in its inode. The journal holds whole blocks of the
inode table as they were written before; one of those copies may still have the list. The journal is read here as plain
data and is never replayed.
"""

from __future__ import annotations

import struct
from itertools import islice
from typing import IO

from .model import Partition

JBD2_MAGIC = 0xC03B3998
DESCRIPTOR, SUPERBLOCK_V1, SUPERBLOCK_V2 = 1, 3, 4
EXTENTS_FLAG = 0x80000
EXTENT_MAGIC = 0xF30A
MAX_JOURNAL = 1 << 30
MAX_NODES = 10_000


class JournalInodes:
    """Copies of inode-table blocks that the journal of one file system holds."""

    def __init__(self, device: IO[bytes]) -> None:
        self.device = device
        superblock = self._at(1024, 1024)
        if struct.unpack_from("<H", superblock, 56)[0] != 0xEF53:
            raise ValueError("no ext superblock")
        self.block_size = 1024 << struct.unpack_from("<I", superblock, 24)[0]
        self.blocks = struct.unpack_from("<I", superblock, 4)[0]
        self.first_data = struct.unpack_from("<I", superblock, 20)[0]
        self.inodes_per_group = struct.unpack_from("<I", superblock, 40)[0]
        self.inode_size = struct.unpack_from("<H", superblock, 88)[0] or 128
        incompatible = struct.unpack_from("<I", superblock, 96)[0]
        self.wide = bool(incompatible & 0x80)
        if self.wide:
            self.blocks |= struct.unpack_from("<I", superblock, 0x150)[0] << 32
        self.descriptor_size = (struct.unpack_from("<H", superblock, 254)[0] or 32) if self.wide else 32
        self.meta_groups = bool(incompatible & 0x10)
        self.journal_inode = struct.unpack_from("<I", superblock, 224)[0]
        self._nodes_left = MAX_NODES
        self._copies: dict[int, list[bytes]] | None = None

    def _at(self, offset: int, size: int) -> bytes:
        self.device.seek(offset)
        return self.device.read(size)

    def _block(self, number: int) -> bytes:
        return self._at(number * self.block_size, self.block_size)

    def _place(self, inode: int) -> tuple[int, int]:
        """Block and offset of an inode in the table."""
        group, index = divmod(inode - 1, self.inodes_per_group)
        table = self._at((self.first_data + 1) * self.block_size + group * self.descriptor_size, self.descriptor_size)
        start = struct.unpack_from("<I", table, 8)[0]
        if self.wide and self.descriptor_size >= 64:
            start |= struct.unpack_from("<I", table, 0x28)[0] << 32
        byte = index * self.inode_size
        return start + byte // self.block_size, byte % self.block_size

    def _inode(self, number: int) -> bytes:
        block, offset = self._place(number)
        return self._block(block)[offset:offset + self.inode_size]

    def extents(self, root: bytes) -> list[tuple[int, int, int]]:
        """`(logical, physical, length)` of an extent tree whose root is given. A forged tree ends the list early."""
        self._nodes_left = MAX_NODES
        return self._extents(root, 5)

    def _extents(self, root: bytes, depth_left: int) -> list[tuple[int, int, int]]:
        magic, count, _unused, depth = struct.unpack_from("<HHHH", root)
        self._nodes_left -= 1
        if magic != EXTENT_MAGIC or depth > depth_left or self._nodes_left < 0:
            return []
        found: list[tuple[int, int, int]] = []
        for index in range(min(count, (len(root) - 12) // 12)):
            entry = root[12 + index * 12:24 + index * 12]
            if depth:
                low, high = struct.unpack_from("<IH", entry, 4)
                child = low | high << 32
                if child < self.blocks:
                    found += self._extents(self._block(child), depth - 1)
            else:
                logical, length, high, low = struct.unpack("<IHHI", entry)
                physical = low | high << 32
                if length <= 32768 and physical and physical + length <= self.blocks:
                    found.append((logical, physical, length))
        return found

    def copies(self) -> dict[int, list[bytes]]:
        """Journaled blocks by the block number they belong to, oldest place in the journal first."""
        if self._copies is None:
            self._copies = self._read_journal()
        return self._copies

    def _read_journal(self) -> dict[int, list[bytes]]:
        found: dict[int, list[bytes]] = {}
        if not self.journal_inode or self.meta_groups:
            return found
        inode = self._inode(self.journal_inode)
        if not struct.unpack_from("<I", inode, 32)[0] & EXTENTS_FLAG:
            return found
        where = list(islice((physical + step for _unused, physical, length in sorted(self.extents(inode[40:100]))
                             for step in range(length)), MAX_JOURNAL // self.block_size))
        if not where:
            return found
        features = struct.unpack_from(">I", self._block(where[0]), 40)[0]
        position = 1
        while position < len(where):
            block = self._block(where[position])
            magic, kind, _unused = struct.unpack_from(">III", block)
            position += 1
            if magic != JBD2_MAGIC or kind != DESCRIPTOR:
                continue
            # A descriptor names the home of each block that follows it; what it describes may have been overwritten.
            for home, escaped in _tags(block, features):
                if position >= len(where):
                    break
                copy = self._block(where[position])
                if not escaped and struct.unpack_from(">I", copy)[0] == JBD2_MAGIC:
                    break
                found.setdefault(home, []).append(copy)
                position += 1
        return found

    def content(self, inode: int, limit: int) -> bytes | None:
        """A deleted file's content by the newest copy of its inode that still has a size and a block list."""
        home, offset = self._place(inode)
        for copy in reversed(self.copies().get(home, [])):
            old = copy[offset:offset + self.inode_size]
            if len(old) < 128:
                continue
            mode, size = struct.unpack_from("<H", old)[0], struct.unpack_from("<I", old, 4)[0]
            flags = struct.unpack_from("<I", old, 32)[0]
            if mode & 0xF000 != 0x8000 or not 0 < size <= limit or not flags & EXTENTS_FLAG:
                continue
            extents = sorted(self.extents(old[40:100]))
            if not extents:
                continue
            data = bytearray(size)
            end = 0
            for logical, physical, length in extents:
                start = logical * self.block_size
                if end <= start < size:  # extents never overlap in an honest inode
                    end = start + length * self.block_size
                    piece = self._at(physical * self.block_size, min(length * self.block_size, size - start))
                    data[start:start + len(piece)] = piece
            return bytes(data)
        return None


def _tags(block: bytes, features: int) -> list[tuple[int, bool]]:
    """Home block numbers in a descriptor block, and whether the copy's first bytes were escaped."""
    wide, checksum_v3 = bool(features & 0x2), bool(features & 0x10)
    tags: list[tuple[int, bool]] = []
    offset, end = 12, len(block) - (4 if features & 0x18 else 0)
    while offset + 8 <= end:
        if checksum_v3:
            if offset + 16 > end:
                break
            home, flags, high, _unused = struct.unpack_from(">IIII", block, offset)
            offset += 16
        else:
            home, _unused, flags = struct.unpack_from(">IHH", block, offset)
            high = struct.unpack_from(">I", block, offset + 8)[0] if wide and offset + 12 <= end else 0
            offset += 12 if wide else 8
        tags.append((home | (high << 32 if wide else 0), bool(flags & 1)))
        if not flags & 2:  # not "same UUID": sixteen bytes of UUID follow
            offset += 16
        if flags & 8:  # last tag
            break
    return tags


def open_journal(partition: Partition) -> JournalInodes | None:
    """The journal of a partition, or None where there is none to be read."""
    try:
        journal = JournalInodes(partition.open())  # read until the step's process ends
    except (OSError, ValueError, struct.error):
        return None
    return journal if journal.journal_inode else None
