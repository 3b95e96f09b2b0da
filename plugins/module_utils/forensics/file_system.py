# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file system in a stream of bytes, behind the same few questions whatever it is: our own readers take the records of
ext, XFS, NTFS and FAT apart, dissect finds everything else.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO, cast

from .entries_ext import ExtReader
from .entries_xfs import XfsReader
from .entry_walk import FileEntry
from .fat_records import Fat
from .ntfs_records import ROOT, NtfsNode, Table, mode_of
from .steps import StepError

EXT = ("ext2", "ext3", "ext4")
READABLE = (*EXT, "xfs", "btrfs")
"""What logical volumes are searched for, and what `dissect_lines` lists."""
STREAMED = (*READABLE, "ntfs", "vfat")
"""All that can be read here."""
FOLDS_CASE = ("ntfs", "vfat")  # a name is found there in whatever case it is asked for
BUFFER = 1 << 16


class FileSystem:
    """One file system. A node is what dissect, or one of our readers, makes of an inode."""

    def __init__(self, kind: str, stream: BinaryIO) -> None:
        self.kind, self.stream = kind, stream
        self.local_times = kind == "vfat"  # they are what a clock on the wall showed; in which zone is not kept
        # dissect misses folders of some shapes and misreads times; of ext and XFS it follows links alone.
        self.reader: ExtReader | XfsReader | None = None
        try:
            if kind in EXT:
                from dissect.extfs import ExtFS

                self.root: Any = ExtFS(stream).root
                self.reader = ExtReader(stream)
            elif kind == "xfs":
                from dissect.xfs import XFS

                self.root = XFS(stream).root
                self.reader = XfsReader(stream)
            elif kind == "btrfs":
                from dissect.btrfs import Btrfs

                self.root = Btrfs(stream).fs_tree.root  # the default subvolume may hide all others
            elif kind == "ntfs":
                self.root = NtfsNode(Table(stream), ROOT)
            elif kind == "vfat":
                self.root = Fat(stream).root
            else:
                raise StepError("not_supported", f"no reader for file system type {kind or 'unknown'}")
        except ImportError as error:
            raise StepError("not_supported", f"dissect is not installed: {error}") from error

    def info(self, node: Any) -> os.stat_result:
        """What lstat would say."""
        device, size = 0, 0
        if self.reader is not None:
            inode = self.reader.inode(node.inum)
            mode, uid, gid, size, links = inode.mode, inode.uid, inode.gid, inode.size, inode.links
            times = (inode.atime, inode.mtime, inode.ctime)
        elif self.kind == "ntfs":
            record = node.record
            modified, accessed, changed, _born = (moment or 0 for moment in record.times)
            mode, uid, gid, size = mode_of(record), 0, 0, record.size or 0
            times, links = (accessed, modified, changed), len(record.own_names())
        elif self.kind == "vfat":
            mode, uid, gid, size = node.mode, 0, 0, node.size
            times, links = (node.accessed or 0, node.modified or 0, node.modified or 0), 1  # no change time is kept
        else:
            mode, uid, gid = int(node.mode), int(node.uid), int(node.gid)
            times = (_signed(node.atime_ns), _signed(node.mtime_ns), _signed(node.ctime_ns))
            links = int(node.inode.nlink)
            device, size = int(node.subvolume.objectid), int(node.size)  # each has inode numbers of its own
        return _stat(mode, int(node.inum), device, links, uid, gid, size, times)

    def node(self, number: int) -> Any:
        """The node of an inode's number; None where a number alone does not lead to it."""
        if self.reader is not None:
            return (self.root.extfs if self.kind in EXT else self.root.xfs).get_inode(number)
        return NtfsNode(self.root.table, number) if self.kind == "ntfs" else None

    def birth_ns(self, node: Any) -> int | None:
        """When it was made, in nanoseconds."""
        if self.reader is not None:
            return self.reader.inode(node.inum).btime
        if self.kind == "ntfs":
            return cast("int | None", node.record.times[3])
        if self.kind == "vfat":
            return cast("int | None", node.born)
        return _signed(node.otime_ns) or None

    def children(self, folder: Any) -> Iterator[tuple[bytes, Any]]:
        """The entries of a folder, without itself and its parent."""
        for name, node in self._listed(folder):
            raw = name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")
            if raw not in (b".", b"..", b"") and b"/" not in raw and b"\0" not in raw:
                yield raw, node

    def _listed(self, folder: Any) -> Iterator[tuple[str | bytes, Any]]:
        if self.reader is not None:
            for name, number in self.reader.names(self.reader.inode(folder.inum)):
                with suppress(Exception):  # a number that no inode has
                    yield name, self.node(number)
        elif self.kind == "ntfs":
            yield from folder.children()
        elif self.kind == "vfat":
            yield from folder.fat.children(folder)
        elif not lies_elsewhere(folder):
            yield from folder.listdir().items()

    def open(self, node: Any) -> BinaryIO:
        """The content of a regular file."""
        if self.reader is None:
            return _buffered(node.open())
        inline = self.inline(node)
        if inline is not None:
            return io.BytesIO(inline)
        # Of XFS, dissect returns what was on the disk before for what was allocated and never written.
        from dissect.util.stream import RunlistStream

        runs, size = self.reader.runs(node.inum)
        return _buffered(RunlistStream(self.stream, runs, size, self.reader.block_size))

    def link(self, node: Any) -> bytes:
        """Where a symbolic link leads."""
        target = self.inline(node)
        if target is None:
            target = node.link
        return target if isinstance(target, bytes) else str(target).encode("utf-8", "surrogateescape")

    def inline(self, node: Any) -> bytes | None:
        """What stands in an inode of ext itself: of that, dissect gives the first 60 bytes. None for all others."""
        return self.reader.inline_content(node.inum) if isinstance(self.reader, ExtReader) else None


def _buffered(stream: Any) -> BinaryIO:
    """Streams of dissect give a line byte by byte."""
    return cast("BinaryIO", io.BufferedReader(stream, BUFFER))


def _stat(mode: int, number: int, device: int, links: int, uid: int, gid: int, size: int,
          times: tuple[int, int, int]) -> os.stat_result:
    """`times`: accessed, modified, changed, in nanoseconds."""
    names = dict(zip(("st_atime_ns", "st_mtime_ns", "st_ctime_ns"), times, strict=True))
    return os.stat_result((mode, number, device, links, uid, gid, size, *(moment // 10**9 for moment in times)), names)


def stat_of(entry: FileEntry) -> os.stat_result:
    """What lstat would say of an entry; a time that its file system does not keep is 0, that of changes as modified."""
    modified = entry.mtime or 0
    return _stat(entry.mode, entry.inode, entry.subvolume, entry.links, entry.uid, entry.gid, entry.size,
                 (entry.atime or 0, modified, modified if entry.ctime is None else entry.ctime))


def entry_of(path: bytes, info: os.stat_result, born: int | None, *, keeps_changes: bool = True) -> FileEntry:
    """The other way round."""
    return FileEntry(path, info.st_ino, info.st_mode, info.st_uid, info.st_gid, info.st_size, info.st_mtime_ns,
                     info.st_atime_ns, info.st_ctime_ns if keeps_changes else None, born, subvolume=info.st_dev,
                     links=info.st_nlink)


def lies_elsewhere(folder: Any) -> bool:
    """Whether a folder of btrfs only has the name of a subvolume that lies elsewhere. Snapshots have such names, and
    the kernel shows an empty folder: who follows them goes in circles."""
    parent, subvolume = getattr(folder, "parent", None), getattr(folder, "subvolume", None)
    if parent is None or subvolume is None or parent.subvolume.objectid == subvolume.objectid:
        return False
    return bool(subvolume.path.rpartition("/")[0] != parent.full_path)


def _signed(nanoseconds: int) -> int:
    """A time of btrfs: its seconds are signed, and dissect takes them for unsigned."""
    return nanoseconds - (10**9 << 64) if nanoseconds >= 10**9 << 63 else int(nanoseconds)
