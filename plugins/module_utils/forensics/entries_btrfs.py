# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries of btrfs: the tree of each subvolume is read once, leaf by leaf; dissect finds the trees.

Each inode stands there beside its names. Names of inodes in leaves that are lost are listed without their times.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from typing import Any

from .entry_spool import Folders, Waiting
from .entry_walk import MAX_DEPTH, FileEntry, legible

INODE, REFERENCE, LONG_REFERENCE, FOLDER_INDEX, ROOT_ITEM, ROOT_BACK_REFERENCE = 1, 12, 13, 96, 132, 144
TOP, FIRST, LAST = 5, 256, (1 << 64) - 257  # the subvolume above all others; numbers of inodes and subvolumes
EMPTY = 2  # the inode number that the kernel gives a folder where a subvolume was when a snapshot was made
_HEAD = struct.Struct("<32x16xQQ16xQQIB")  # place, flags, generation, owner, number of items, level
_ITEM = struct.Struct("<QBQII")
_POINTER = struct.Struct("<QBQQQ")
_INODE = struct.Struct("<16xQ16xIIIIQ48x" + "qI" * 4)


class _Lost(Exception):
    """A node of a tree cannot be read."""


class BtrfsTrees:
    """The trees of a file system that dissect has opened."""

    def __init__(self, volume: Any) -> None:
        self.volume = volume
        self.size = int(volume.node_size)

    def root_of(self, subvolume: int) -> tuple[int, int]:
        """Address of a subvolume's tree, and the number of its first folder."""
        item = self.volume._open_tree(subvolume).root_item
        return int(item.bytenr), int(item.root_dirid)

    def items(self, address: int, lost: list[int]) -> Iterator[tuple[int, int, int, bytes]]:
        """Number, type, offset and data of all items of a tree, in order; `lost` takes the addresses of lost nodes."""
        todo = [(address, -1)]
        seen: set[int] = set()
        while todo:
            at, level = todo.pop()
            if at in seen:  # a forged tree; in a true one each node has one parent
                continue
            seen.add(at)
            try:
                node = self._node(at, level)
            except _Lost:
                lost.append(at)
                continue
            _place, _flags, _generation, _owner, count, level = _HEAD.unpack_from(node)
            if level:
                most = min(count, (len(node) - 101) // 33)
                todo += [(_POINTER.unpack_from(node, 101 + 33 * index)[3], level - 1)
                         for index in range(most - 1, -1, -1)]
                continue
            for index in range(min(count, (len(node) - 101) // 25)):
                number, kind, offset, start, size = _ITEM.unpack_from(node, 101 + 25 * index)
                yield number, kind, offset, node[101 + start:101 + start + size]

    def _node(self, address: int, level: int) -> bytes:
        """A node, of the level that its parent promises (-1: any): so no tree goes in circles."""
        try:
            node = bytes(self.volume._read_node(address))
        except Exception as error:  # an address that no chunk holds, a disk that is missing
            raise _Lost from error
        if len(node) < self.size:
            raise _Lost
        place, _flags, _generation, _owner, _count, own = _HEAD.unpack_from(node)
        if place != address or own > 7 or level not in (-1, own):
            raise _Lost
        return node


def btrfs_entries(volume: Any) -> Iterator[FileEntry]:
    """Every entry of every subvolume that hangs below the top."""
    trees = BtrfsTrees(volume)
    homes = _homes(trees)
    todo: list[tuple[int, bytes, int]] = [(TOP, b"", 0)]
    seen = {TOP}
    while todo:
        subvolume, top, depth = todo.pop()
        found: list[tuple[int, bytes]] = []
        yield from _subvolume(trees, subvolume, top, homes, found)
        for other, path in sorted(found, reverse=True):
            if other not in seen and depth < MAX_DEPTH:
                seen.add(other)
                todo.append((other, path, depth + 1))


def _homes(trees: BtrfsTrees) -> dict[int, tuple[int, int, bytes]]:
    """Where each subvolume lies: subvolume, folder and name. A snapshot of that folder has its name, too, and the
    kernel shows an empty folder there: who followed it would go in circles."""
    found: dict[int, tuple[int, int, bytes]] = {}
    for number, kind, offset, data in trees.items(int(trees.volume.sb.root), []):
        if kind == ROOT_BACK_REFERENCE and len(data) >= 18:
            folder, length = struct.unpack_from("<Q8xH", data)
            found[number] = (offset, folder, data[18:18 + length])
    return found


def _subvolume(trees: BtrfsTrees, subvolume: int, top: bytes, homes: dict[int, tuple[int, int, bytes]],
               found: list[tuple[int, bytes]]) -> Iterator[FileEntry]:
    """The entries of one subvolume; those below it are added to `found`."""
    try:
        address, root = trees.root_of(subvolume)
    except Exception:  # whatever a broken tree of roots provokes
        yield FileEntry(top or b"/", FIRST, subvolume=subvolume, problem="inode")
        return
    folders, waiting = Folders(root, top), Waiting()
    lost: list[int] = []
    doors: list[tuple[int, bytes, int]] = []  # folder, name and number of a subvolume
    inode: tuple[int, bytes] = (0, b"")
    for number, kind, offset, data in trees.items(address, lost):
        if kind == INODE and len(data) >= 160:
            inode = (number, data)
            if number == root:
                waiting.add((number, 0, b"", data))
        elif kind in (REFERENCE, LONG_REFERENCE) and number != root:
            body = inode[1] if inode[0] == number else b""
            for parent, name in _references(kind, offset, data):
                waiting.add((number, parent, name, body))
                if body and stat.S_ISDIR(struct.unpack_from("<I", body, 52)[0]):
                    folders.known[number] = (parent, name)
        elif kind == FOLDER_INDEX and len(data) > 30 and data[8] == ROOT_ITEM:
            (other,), (length,) = struct.unpack_from("<Q", data), struct.unpack_from("<H", data, 27)
            doors.append((number, data[30:30 + length], other))
    seen: set[int] = set()
    for number, parent, name, body in waiting:
        if lost:
            seen.add(number)
        yield _entry(number, parent, name, body, folders, subvolume)
    for folder, name, other in doors:
        path = folders.place(folder) + b"/" + legible(name)
        if homes.get(other, (subvolume, folder, name)) == (subvolume, folder, name):
            found.append((other, path))
        else:
            yield FileEntry(path, EMPTY, stat.S_IFDIR | 0o755, subvolume=subvolume)
    if lost:
        yield from _nameless(trees, address, seen, folders, subvolume)


def _references(kind: int, offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    """Folder and name of each name of an inode."""
    at = 0
    while at + 10 <= len(data):
        if kind == LONG_REFERENCE:
            parent, length = struct.unpack_from("<Q8xH", data, at) if at + 18 <= len(data) else (0, 0)
            at += 18
        else:
            parent, (length,) = offset, struct.unpack_from("<8xH", data, at)
            at += 10
        if length and at + length <= len(data):
            yield parent, data[at:at + length]
        at += length


def _entry(number: int, parent: int, name: bytes, body: bytes, folders: Folders, subvolume: int) -> FileEntry:
    path = (folders.top or b"/") if number == folders.root else folders.place(parent) + b"/" + legible(name)
    if not body:
        return FileEntry(path, number, subvolume=subvolume, problem="inode")
    size, links, uid, gid, mode, _device, a_s, a_n, c_s, c_n, m_s, m_n, b_s, b_n = _INODE.unpack_from(body)
    return FileEntry(path, number, mode, uid, gid, size, m_s * 10**9 + m_n, a_s * 10**9 + a_n, c_s * 10**9 + c_n,
                     b_s * 10**9 + b_n if b_s or b_n else None, subvolume=subvolume, links=links)


def _nameless(trees: BtrfsTrees, address: int, seen: set[int], folders: Folders,
              subvolume: int) -> Iterator[FileEntry]:
    """What folders name and no leaf that can be read holds, and the folders themselves whose names may be lost."""
    for number, kind, _offset, data in trees.items(address, []):
        if kind == FOLDER_INDEX and len(data) > 30 and data[8] == INODE:
            (other,), (length,) = struct.unpack_from("<Q", data), struct.unpack_from("<H", data, 27)
            if other not in seen:
                path = folders.place(number) + b"/" + legible(data[30:30 + length])
                yield FileEntry(path, other, subvolume=subvolume, problem="inode")
    yield FileEntry(folders.top or b"/", folders.root, stat.S_IFDIR, subvolume=subvolume, problem="folder")
