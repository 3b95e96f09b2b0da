# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders a tree into an XFS image, always the same bytes.

mkfs.xfs fills a new file system from a prototype file, in a fixed order; only the times in the inodes are those of
the build. They are replaced afterwards by the tree's, checksums included. A prototype holds no deleted files.
"""

from __future__ import annotations

import struct
from pathlib import Path

from lab.evidence.run import BuildError, crc32c, run, sparse_file
from lab.evidence.tree import SECOND, Node, Times, Tree

KINDS = {"file": "-", "folder": "d", "link": "l"}
BIGTIME_EPOCH = 2**31  # seconds: bigtime counts nanoseconds from 1901


def make(image: Path, work: Path, tree: Tree, size: int, uuid: str, label: str) -> None:
    """Make the file system in a new sparse file of `size` bytes (at least 300 MiB, says mkfs.xfs)."""
    if tree.deletions:
        raise BuildError("an XFS prototype cannot hold deleted files; plant them on the ext4 partition")
    sparse_file(image, size)
    prototype = work / "prototype"
    prototype.write_text("\n".join(_prototype(tree, work)) + "\n", encoding="utf-8")
    run(["mkfs.xfs", "-q", "-m", f"crc=1,bigtime=1,uuid={uuid}", "-L", label, "-p", str(prototype), str(image)])
    _set_times(image, tree)


def _prototype(tree: Tree, work: Path) -> list[str]:
    root = tree.nodes["/"]
    lines = ["/no-boot-block", "0 0", f"d--{root.mode & 0o777:03o} {root.uid} {root.gid}"]
    open_folders = ["/"]
    for number, node in enumerate(node for node in tree if node.path != "/"):
        if " " in node.path or " " in node.target:
            raise BuildError(f"an XFS prototype cannot hold the name {node.path!r}: it has a space")
        while node.parent != open_folders[-1]:
            open_folders.pop()
            lines.append("$")
        entry = f"{node.name} {KINDS[node.kind]}--{node.mode & 0o777:03o} {node.uid} {node.gid}"
        if node.kind == "folder":
            open_folders.append(node.path)
            lines.append(entry)
        elif node.kind == "link":
            lines.append(f"{entry} {node.target}")
        else:
            blob = work / f"xfs-blob-{number}"
            blob.write_bytes(node.data)
            lines.append(f"{entry} {blob}")
    return [*lines, *("$" for _ in open_folders)]


def _set_times(image: Path, tree: Tree) -> None:
    names = run(["xfs_db", "-r", "-c", "blockget -n", "-c", "ncheck", str(image)])
    nodes: dict[int, Node] = {}
    for line in names.splitlines():
        number, _, name = line.strip().partition(" ")
        nodes[int(number)] = tree.nodes["/" + name.removesuffix("/.")]
    root = tree.nodes["/"]
    with image.open("r+b") as disk:
        place = _Places(disk.read(512))
        for inode in (place.root, *place.realtime):
            _patch(disk, place.offset(inode), place.inode_size, root.times)
        for inode, node in nodes.items():
            _patch(disk, place.offset(inode), place.inode_size, node.times)


class _Places:
    """Where inodes lie, from the superblock."""

    def __init__(self, superblock: bytes) -> None:
        magic, self.block_size = struct.unpack_from(">4sI", superblock, 0)
        if magic != b"XFSB":
            raise BuildError("mkfs.xfs left no XFS superblock")
        self.root, bitmap, summary = struct.unpack_from(">QQQ", superblock, 56)
        self.realtime = (bitmap, summary)
        self.group_blocks, = struct.unpack_from(">I", superblock, 84)
        self.inode_size, = struct.unpack_from(">H", superblock, 104)
        self.per_block_log, self.group_log = superblock[123], superblock[124]

    def offset(self, inode: int) -> int:
        group = inode >> (self.group_log + self.per_block_log)
        block = (inode >> self.per_block_log) & ((1 << self.group_log) - 1)
        slot = inode & ((1 << self.per_block_log) - 1)
        return (group * self.group_blocks + block) * self.block_size + slot * self.inode_size


def _patch(disk: object, offset: int, size: int, times: Times) -> None:
    disk.seek(offset)  # type: ignore[attr-defined]
    inode = bytearray(disk.read(size))  # type: ignore[attr-defined]
    if inode[:2] != b"IN" or inode[4] != 3:
        raise BuildError(f"no XFS inode of version 3 at byte {offset}: this mkfs.xfs lays inodes out differently")
    for position, moment in ((32, times.a), (40, times.m), (48, times.c), (144, times.b)):
        struct.pack_into(">Q", inode, position, moment + BIGTIME_EPOCH * SECOND)
    struct.pack_into("<I", inode, 100, 0)
    struct.pack_into("<I", inode, 100, crc32c(bytes(inode)) ^ 0xFFFFFFFF)
    disk.seek(offset)  # type: ignore[attr-defined]
    disk.write(inode)  # type: ignore[attr-defined]
