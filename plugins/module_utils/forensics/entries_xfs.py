# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inodes and folders of XFS, versions 4 and 5, taken apart with `struct`: all shapes of folders and sizes of blocks."""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from typing import BinaryIO

from .entry_walk import FOLDER_LIMIT, RUN_LIMIT, Broken, Inode, Pieces

_OLD = struct.Struct(">2sHBBHII16xiiiiiiQ")  # up to the size
LOCAL, IN_EXTENTS, IN_BTREE = 1, 2, 3
BIGTIME, MANY_EXTENTS = 1 << 3, 1 << 4  # of the second flags
BIGTIME_START = -(1 << 31) * 10**9
LEAVES = 32 << 30  # byte of a folder from where on there are only indexes
DATA_MAGIC, BLOCK_MAGIC = (b"XDD3", b"XD2D"), (b"XDB3", b"XD2B")
BMAP_MAGIC = (b"BMAP", b"BMA3")
DEPTH_LIMIT = 9
READ = 1 << 20


class XfsReader:
    """An XFS file system in a stream."""

    def __init__(self, stream: BinaryIO) -> None:
        self.pieces = Pieces(stream)
        block = self.pieces.read(0, 264)
        if len(block) < 264 or block[:4] != b"XFSB":
            raise Broken("no superblock of XFS")
        (self.block_size,) = struct.unpack_from(">I", block, 4)
        (self.root,) = struct.unpack_from(">Q", block, 56)
        self.group_blocks, self.groups = struct.unpack_from(">II", block, 84)
        version, _sector, self.inode_size, self.per_block = struct.unpack_from(">HHHH", block, 100)
        self.per_block_log, self.group_log = block[123], block[124]
        self.folder_block = self.block_size << block[192]
        (features2,), (incompatible,) = struct.unpack_from(">I", block, 200), struct.unpack_from(">I", block, 216)
        self.version5 = version & 15 == 5
        self.typed = bool(incompatible & 1) if self.version5 else bool(features2 & 0x200)
        if (not 512 <= self.block_size <= 1 << 16 or self.block_size & (self.block_size - 1) or block[192] > 7
                or self.inode_size not in (256, 512, 1024, 2048) or self.group_log > 32 or self.per_block_log > 8):
            raise Broken("the superblock makes no sense")

    def _place(self, block: int) -> int:
        """Where a block lies, in bytes: the upper bits of its number are its allocation group."""
        group, within = block >> self.group_log, block & ((1 << self.group_log) - 1)
        if group >= self.groups or within >= self.group_blocks:
            raise Broken(f"there is no block {block}")
        return (group * self.group_blocks + within) * self.block_size

    def place(self, number: int) -> int:
        """Where an inode lies, in bytes."""
        index = number & ((1 << self.per_block_log) - 1)
        return self._place(number >> self.per_block_log) + index * self.inode_size

    def _raw(self, number: int) -> bytes:
        return self.pieces.get(self.place(number), self.inode_size)

    def inode(self, number: int) -> Inode:
        """An inode by its number."""
        raw = self._raw(number)
        if len(raw) < self.inode_size:
            raise Broken(f"inode {number} lies beyond the end")
        magic, mode, version, _form, links, uid, gid, a_s, a_n, m_s, m_n, c_s, c_n, size = _OLD.unpack_from(raw)
        if magic != b"IN" or not mode:
            raise Broken(f"inode {number} is not in use")
        btime: int | None = None
        if version >= 2:
            (links,) = struct.unpack_from(">I", raw, 16)
        if version >= 3:
            (flags,) = struct.unpack_from(">Q", raw, 120)
            born_s, born_n, own = struct.unpack_from(">iiQ", raw, 144)
            if own != number:
                raise Broken(f"inode {number} says that it is {own}")
            if flags & BIGTIME:
                atime, mtime, ctime = struct.unpack_from(">QQQ", raw, 32)
                (btime,) = struct.unpack_from(">Q", raw, 144)
                return Inode(number, mode, uid, gid, size, mtime + BIGTIME_START, atime + BIGTIME_START,
                             ctime + BIGTIME_START, btime + BIGTIME_START if btime else None, links,
                             raw if stat.S_ISDIR(mode) else b"")
            btime = born_s * 10**9 + born_n if born_s or born_n else None
        return Inode(number, mode, uid, gid, size, m_s * 10**9 + m_n, a_s * 10**9 + a_n, c_s * 10**9 + c_n, btime,
                     links, raw if stat.S_ISDIR(mode) else b"")

    def stretches(self, folder: Inode) -> Iterator[tuple[int, int]]:
        """Where the names of a folder lie: place and length in bytes."""
        if folder.raw[5] == LOCAL or folder.size > FOLDER_LIMIT:
            return
        for logical, start, count in self._extents(folder.raw):
            if logical >= LEAVES // self.block_size:
                return
            if start is not None:
                yield self._place(start), count * self.block_size

    def names(self, folder: Inode) -> Iterator[tuple[bytes, int]]:
        """What a folder lists."""
        if folder.raw[5] == LOCAL:
            yield from self._short(self._fork(folder.raw)[:folder.size])
            return
        if folder.size > FOLDER_LIMIT:
            raise Broken(f"folder {folder.number} claims {folder.size} bytes")
        lost = False
        for block in self._folder_blocks(self._extents(folder.raw)):
            try:
                yield from self._block(block, folder.number)
            except Broken:  # the other blocks of the folder may be whole
                lost = True
        if lost:
            raise Broken(f"folder {folder.number} is damaged")

    def _fork(self, raw: bytes) -> bytes:
        """The part of an inode that holds the data or says where they are."""
        start = 176 if raw[4] >= 3 else 100
        return raw[start:start + 8 * raw[82] if raw[82] else self.inode_size]

    def _extents(self, raw: bytes) -> Iterator[tuple[int, int | None, int]]:
        """Block of the file, block of the volume (None: was never written, reads as zeros) and number of blocks."""
        fork = self._fork(raw)
        if raw[5] == IN_EXTENTS:
            many = raw[4] >= 3 and struct.unpack_from(">Q", raw, 120)[0] & MANY_EXTENTS
            count = struct.unpack_from(">Q", raw, 24)[0] if many else struct.unpack_from(">I", raw, 76)[0]
            if 16 * count > len(fork):
                raise Broken("there are more extents than room")
            yield from _extents(fork[:16 * count])
        elif raw[5] == IN_BTREE:
            yield from self._tree_root(fork)
        else:
            raise Broken("an inode has an unknown shape")

    def runs(self, number: int) -> tuple[list[tuple[int | None, int]], int]:
        """Where the content of a file lies: first block (None: zeros) and number of blocks of each stretch, in order;
        and its size in bytes."""
        inode = self.inode(number)
        raw = self._raw(number)
        left, done = -(-inode.size // self.block_size), 0
        found: list[tuple[int | None, int]] = []
        for logical, start, count in self._extents(raw):
            if logical < done or len(found) > RUN_LIMIT:
                raise Broken("extents lie over each other, or are too many")
            if logical >= left:
                break
            if logical > done:
                found.append((None, logical - done))
            done = min(logical + count, left)
            found.append((None if start is None else self._place(start) // self.block_size, done - logical))
        return [*found, (None, left - done)] if left > done else found, inode.size

    def _short(self, fork: bytes) -> Iterator[tuple[bytes, int]]:
        """The entries of a small folder stand in its inode."""
        if len(fork) < 6:
            raise Broken("a folder in an inode is cut off")
        wide = 8 if fork[1] else 4
        at = 2 + wide
        for _unused in range(fork[0]):
            length = fork[at] if at < len(fork) else 0
            after = at + 3 + length + self.typed
            if not length or after + wide > len(fork):
                raise Broken("a folder in an inode makes no sense")
            yield fork[at + 3:at + 3 + length], int.from_bytes(fork[after:after + wide], "big")
            at = after + wide

    def _folder_blocks(self, extents: Iterator[tuple[int, int | None, int]]) -> Iterator[bytes]:
        """The blocks of names. One may consist of several blocks of the file system, from several extents."""
        limit = LEAVES // self.block_size
        parts: bytes = b""
        expected = 0
        for logical, start, count in extents:
            if logical >= limit:
                return
            if logical < expected:
                raise Broken("extents lie over each other")
            if start is None:
                continue
            if logical != expected:
                parts = b""
            expected = logical + count
            place, left = self._place(start), count * self.block_size
            while left > 0:
                data = self.pieces.read(place, min(left, READ))
                if not data:
                    raise Broken("a folder lies beyond the end")
                place, left, parts = place + len(data), left - len(data), parts + data
                whole = len(parts) - len(parts) % self.folder_block
                for at in range(0, whole, self.folder_block):
                    yield parts[at:at + self.folder_block]
                parts = parts[whole:]

    def _block(self, data: bytes, owner: int) -> Iterator[tuple[bytes, int]]:
        """The entries of a block of names."""
        magic, end = data[:4], len(data)
        if magic in BLOCK_MAGIC:  # the only one of its folder: its index stands behind the names
            (count,) = struct.unpack_from(">I", data, end - 8)
            end -= 8 + 8 * count
        elif magic not in DATA_MAGIC:
            if any(magic):
                raise Broken("a block of names makes no sense")
            return
        if self.version5 and struct.unpack_from(">Q", data, 40)[0] != owner:
            raise Broken("a block of names belongs to another folder")
        at = 64 if self.version5 else 16
        while at + 16 <= end:
            if data[at:at + 2] == b"\xff\xff":
                length = int.from_bytes(data[at + 2:at + 4], "big")
                if length < 8 or length & 7:
                    raise Broken("an unused stretch makes no sense")
                at += length
                continue
            number, length = struct.unpack_from(">QB", data, at)
            after = at + (9 + length + self.typed + 2 + 7 & ~7)
            if not length or after > end:
                raise Broken("an entry makes no sense")
            yield data[at + 9:at + 9 + length], number
            at = after

    def _tree_root(self, fork: bytes) -> Iterator[tuple[int, int | None, int]]:
        level, count = struct.unpack_from(">HH", fork)
        most = (len(fork) - 4) // 16
        if count > most or not 0 < level <= DEPTH_LIMIT:
            raise Broken("a tree of extents makes no sense")
        for pointer in struct.unpack_from(f">{count}Q", fork, 4 + 8 * most):
            yield from self._tree(pointer, level - 1)

    def _tree(self, block: int, level: int) -> Iterator[tuple[int, int | None, int]]:
        """The extents in a node of a tree and below it."""
        data = self.pieces.read(self._place(block), self.block_size)
        if len(data) < self.block_size or data[:4] not in BMAP_MAGIC:
            raise Broken("a node of a tree of extents is broken")
        head = 72 if data[:4] == b"BMA3" else 24
        own, count = struct.unpack_from(">HH", data, 4)
        most = (self.block_size - head) // 16
        if own != level or not 0 < count <= most:  # empty ones would let a forged tree be walked for ever
            raise Broken("a node of a tree of extents makes no sense")
        if level == 0:
            yield from _extents(data[head:head + 16 * count])
            return
        for pointer in struct.unpack_from(f">{count}Q", data, head + 8 * most):
            yield from self._tree(pointer, level - 1)


def _extents(data: bytes) -> Iterator[tuple[int, int | None, int]]:
    """Extents as they are on the disk; their uppermost bit says that nothing was written there yet."""
    for upper, lower in struct.iter_unpack(">QQ", data):
        start = None if upper >> 63 else (upper & 511) << 43 | lower >> 21
        yield (upper & (1 << 63) - 1) >> 9, start, lower & (1 << 21) - 1
