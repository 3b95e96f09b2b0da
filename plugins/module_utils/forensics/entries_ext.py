# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inodes and folders of ext2, ext3 and ext4, taken apart with `struct`.

Times before 1970 and after 2038 are right here, and folders inside inodes, folders of several shapes and groups of
descriptors that lie elsewhere are read.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from typing import BinaryIO

from .entry_walk import FOLDER_LIMIT, RUN_LIMIT, Broken, Inode, Pieces

_OLD = struct.Struct("<HHIiii4xHH4xI4x60x8xI8xHH4x")
_NEW = struct.Struct("<HHIIIiI")  # from byte 128
EXTENTS, INLINE = 0x80000, 0x10000000  # flags of inodes
FILE_TYPE, META_GROUPS, BITS64 = 0x2, 0x10, 0x80  # incompatible features
SPARSE_SUPER, LARGE_FOLDER, SPARSE_SUPER2 = 0x1, 0x4000, 0x200
EXTENT_MAGIC, XATTR_MAGIC, XATTR_SYSTEM = 0xF30A, 0xEA020000, 7
DEPTH_LIMIT = 5  # of trees of extents
READ = 1 << 20


class ExtReader:
    """An ext file system in a stream."""

    root = 2

    def __init__(self, stream: BinaryIO) -> None:
        self.pieces = Pieces(stream)
        block = self.pieces.read(1024, 1024)
        if len(block) < 1024 or struct.unpack_from("<H", block, 56)[0] != 0xEF53:
            raise Broken("no superblock of ext")
        self.inodes, low, first_data, log_size = struct.unpack_from("<II12xII", block)
        self.per_group, self.inodes_per_group = struct.unpack_from("<I4xI", block, 32)
        compatible, self.features, self.read_only = struct.unpack_from("<III", block, 92)
        if log_size > 6 or not self.per_group or not self.inodes_per_group:
            raise Broken("the superblock makes no sense")
        self.block_size = 1024 << log_size
        (revision,) = struct.unpack_from("<I", block, 76)
        self.inode_size = struct.unpack_from("<H", block, 88)[0] if revision else 128
        if self.inode_size < 128 or self.inode_size & (self.inode_size - 1) or self.inode_size > self.block_size:
            raise Broken("the superblock makes no sense")
        (high,) = struct.unpack_from("<I", block, 336)
        self.blocks = low | (high << 32 if self.features & BITS64 else 0)
        self.large = bool(self.features & LARGE_FOLDER)
        self.typed = bool(self.features & FILE_TYPE)
        self.first_data = first_data
        self.descriptor = struct.unpack_from("<H", block, 254)[0] if self.features & BITS64 else 32
        if self.descriptor < 32 or self.descriptor & (self.descriptor - 1):
            raise Broken("the superblock makes no sense")
        (self.first_meta,) = struct.unpack_from("<I", block, 260)
        self.backups = struct.unpack_from("<II", block, 588) if compatible & SPARSE_SUPER2 else None
        self._tables: dict[int, int] = {}

    def place(self, number: int) -> int:
        """Where an inode lies, in bytes."""
        if not 0 < number <= self.inodes:
            raise Broken(f"there is no inode {number}")
        group, index = divmod(number - 1, self.inodes_per_group)
        table = self._tables.get(group)
        if table is None:
            table = self._tables[group] = self._table(group)
        return table + index * self.inode_size

    def inode(self, number: int) -> Inode:
        """An inode by its number."""
        size = self.inode_size
        raw = self.pieces.get(self.place(number), size)
        if len(raw) < size:
            raise Broken(f"inode {number} lies beyond the end")
        (mode, uid, low, atime, ctime, mtime, gid, links, flags, high, uid_high, gid_high) = _OLD.unpack_from(raw)
        kind = mode & 0o170000
        if not kind:
            raise Broken(f"inode {number} is not in use")
        if kind == stat.S_IFREG or (kind == stat.S_IFDIR and self.large):
            low |= high << 32
        atime, ctime, mtime, btime = atime * 10**9, ctime * 10**9, mtime * 10**9, None
        if size > 128:
            extra, _sum, ctime_x, mtime_x, atime_x, born, born_x = _NEW.unpack_from(raw, 128)
            # Two bits count the epochs after 2038, the others are nanoseconds.
            if extra >= 16:
                ctime += (ctime_x & 3) * (10**9 << 32) + (ctime_x >> 2)
                mtime += (mtime_x & 3) * (10**9 << 32) + (mtime_x >> 2)
                atime += (atime_x & 3) * (10**9 << 32) + (atime_x >> 2)
            if extra >= 24 and (born or born_x):
                btime = born * 10**9 + (born_x & 3) * (10**9 << 32) + (born_x >> 2)
        return Inode(number, mode, uid | uid_high << 16, gid | gid_high << 16, low, mtime, atime, ctime, btime,
                     links, raw if kind == stat.S_IFDIR or flags & INLINE else b"")

    def _table(self, group: int) -> int:
        """Where the inodes of a group lie, in bytes."""
        block, at = divmod(group * self.descriptor, self.block_size)
        raw = self.pieces.get(self._descriptors(block) * self.block_size + at, self.descriptor)
        if len(raw) < self.descriptor:
            raise Broken(f"the descriptor of group {group} lies beyond the end")
        table = int(struct.unpack_from("<I", raw, 8)[0])
        if self.descriptor >= 64:
            table |= struct.unpack_from("<I", raw, 40)[0] << 32
        if not 0 < table < self.blocks:
            raise Broken(f"the descriptor of group {group} makes no sense")
        return table * self.block_size

    def _descriptors(self, number: int) -> int:
        """The block that holds a block of group descriptors."""
        if not self.features & META_GROUPS or number < self.first_meta:
            return self.first_data + 1 + number
        group = number * (self.block_size // self.descriptor)
        return self.first_data + group * self.per_group + self._has_super(group)

    def _has_super(self, group: int) -> bool:
        """Whether a copy of the superblock stands at the beginning of a group."""
        if self.backups is not None:
            return group == 0 or group in self.backups
        if group <= 1 or not self.read_only & SPARSE_SUPER:
            return True
        return any(group == base**power for base in (3, 5, 7) for power in range(1, 21))

    def stretches(self, folder: Inode) -> Iterator[tuple[int, int]]:
        """Where the names of a folder lie: place and length in bytes."""
        (flags,) = struct.unpack_from("<I", folder.raw, 32)
        if not flags & INLINE and folder.size <= FOLDER_LIMIT:
            for start, count in self._runs(folder.raw[40:100], flags, -(-folder.size // self.block_size)):
                if start is not None:
                    yield start * self.block_size, count * self.block_size

    def names(self, folder: Inode) -> Iterator[tuple[bytes, int]]:
        """What a folder lists."""
        (flags,) = struct.unpack_from("<I", folder.raw, 32)
        if flags & INLINE:
            for piece in self._inline(folder.raw):
                yield from self._entries(piece)
            return
        if folder.size > FOLDER_LIMIT:
            raise Broken(f"folder {folder.number} claims {folder.size} bytes")
        left = -(-folder.size // self.block_size)
        lost = False
        step = max(1, READ // self.block_size)
        for start, count in self._runs(folder.raw[40:100], flags, left):
            if start is None:  # folders have no holes; where one is, nothing was written
                left -= min(count, left)
                continue
            for at in range(0, min(count, left), step):
                size = min(step, count - at, left - at) * self.block_size
                data = self.pieces.read((start + at) * self.block_size, size)
                lost = lost or len(data) < size
                for block in range(0, len(data), self.block_size):
                    try:
                        yield from self._entries(data[block:block + self.block_size])
                    except Broken:  # the other blocks of the folder may be whole
                        lost = True
            left -= min(count, left)
        if lost:
            raise Broken(f"folder {folder.number} is damaged")

    def _entries(self, data: bytes) -> Iterator[tuple[bytes, int]]:
        """The entries of a block. The inner blocks of a hashed folder look like blocks with one entry, for nobody."""
        at, end = 0, len(data)
        while at + 8 <= end:
            inode, length, name_length, kind = struct.unpack_from("<IHBB", data, at)
            if not self.typed:
                name_length |= kind << 8
            if end > 1 << 15 and (length in (0, 0xFFFF) or length & 3):  # as blocks of 64 KiB spell it
                length = end if length in (0, 0xFFFF) else (length & 0xFFFC) | (length & 3) << 16
            if length < 8 or at + length > end or (inode and name_length + 8 > length):
                raise Broken("an entry makes no sense")
            if inode:
                yield data[at + 8:at + 8 + name_length], inode
            at += length

    def inline_content(self, number: int) -> bytes | None:
        """The content of a file or link that stands in its inode with room for more than a link's 60 bytes; None where
        it does not."""
        inode = self.inode(number)
        if stat.S_IFMT(inode.mode) not in (stat.S_IFREG, stat.S_IFLNK) or not inode.raw:
            return None
        first, *rest = self._inline(inode.raw)
        return b"".join((inode.raw[40:44], first, *rest))[:inode.size]

    def _inline(self, raw: bytes) -> Iterator[bytes]:
        """The entries of a small folder stand in its inode, and go on in an attribute of it. The first four bytes are
        the number of its parent; they are left out."""
        yield raw[44:100]
        start = 128 + struct.unpack_from("<H", raw, 128)[0] if len(raw) > 130 else len(raw)
        if start + 4 > len(raw) or struct.unpack_from("<I", raw, start)[0] != XATTR_MAGIC:
            return
        start += 4
        at = start
        while at + 16 <= len(raw) and raw[at:at + 4] != bytes(4):
            length, index, offset, _inode, size, _hash = struct.unpack_from("<BBHIII", raw, at)
            if index == XATTR_SYSTEM and raw[at + 16:at + 16 + length] == b"data":
                yield raw[start + offset:start + offset + size]
                return
            at += 16 + (length + 3 & ~3)

    def runs(self, number: int) -> tuple[list[tuple[int | None, int]], int]:
        """Where the content of a file lies: first block (None: zeros) and number of blocks of each stretch, in order;
        and its size in bytes."""
        inode = self.inode(number)
        raw = self.pieces.get(self.place(number), self.inode_size)
        (flags,) = struct.unpack_from("<I", raw, 32)
        left = -(-inode.size // self.block_size)
        found: list[tuple[int | None, int]] = []
        for start, count in self._runs(raw[40:100], flags, left):
            found.append((start, min(count, left)))
            if len(found) > RUN_LIMIT:
                raise Broken(f"inode {number} consists of too many pieces")
            left -= min(count, left)
            if not left:
                break
        return [*found, (None, left)] if left else found, inode.size

    def _runs(self, data: bytes, flags: int, left: int) -> Iterator[tuple[int | None, int]]:
        """The stretches of `left` blocks, in order, from a tree of extents or a list of blocks."""
        if not flags & EXTENTS:
            yield from self._mapped(data, left)
            return
        done = 0
        for logical, start, count in self._extents(data, 0):
            if logical < done:
                raise Broken("extents lie over each other")
            if logical > done:
                yield None, logical - done
            yield start, count
            done = logical + count

    def _extents(self, node: bytes, level: int) -> Iterator[tuple[int, int | None, int]]:
        """Block of the file, block of the volume (None: was never written, reads as zeros) and number of blocks."""
        if len(node) < 12:
            raise Broken("a list of blocks is cut off")
        magic, count, _most, depth = struct.unpack_from("<HHHH", node)
        if (magic != EXTENT_MAGIC or level > DEPTH_LIMIT or 12 + 12 * count > len(node)
                or (level and not count)):  # empty ones below others would let a forged tree be walked for ever
            raise Broken("a list of blocks makes no sense")
        for number in range(count):
            at = 12 + 12 * number
            if depth == 0:
                logical, length, high, low = struct.unpack_from("<IHHI", node, at)
                if length <= 0x8000:
                    yield logical, low | high << 32, length
                else:
                    yield logical, None, length - 0x8000
            else:
                low, high = struct.unpack_from("<4xIH", node, at)
                block = self.pieces.read((low | high << 32) * self.block_size, self.block_size)
                yield from self._extents(block, level + 1)

    def _mapped(self, data: bytes, left: int) -> Iterator[tuple[int | None, int]]:
        """The stretches from a list of single blocks, as it was before extents; joined where they are neighbors."""
        start, count = 0, 0
        for block, size in self._blocks(struct.unpack("<15I", data)):
            size = min(size, left)
            left -= size
            if count and (block == start + count if start and block else not start and not block):
                count += size
            else:
                if count:
                    yield start or None, count
                start, count = block, size
            if left <= 0:
                break
        if count:
            yield start or None, count

    def _blocks(self, pointers: tuple[int, ...]) -> Iterator[tuple[int, int]]:
        for number, block in enumerate(pointers):
            yield from self._indirect(block, max(0, number - 11))

    def _indirect(self, block: int, level: int) -> Iterator[tuple[int, int]]:
        """Number of each block, and of how many it stands for: a hole (0) can be large."""
        if not block or not level:
            yield block, (self.block_size // 4) ** level
            return
        data = self.pieces.read(block * self.block_size, self.block_size)
        if len(data) < self.block_size:
            raise Broken("a list of blocks is cut off")
        for one in struct.unpack(f"<{len(data) // 4}I", data):
            yield from self._indirect(one, level - 1)
