# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file system inside a logical volume, as a tree: dissect reads it from the write-protected device.

Nothing is mounted. Scanners, which read files, get numbered copies of a batch at a time, so that no name from the
evidence becomes a path of this machine and no copy of everything is ever made.
"""

from __future__ import annotations

import copy
import os
import stat
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from .model import Partition
from .steps import StepError
from .tree import READ_LIMIT, Entry, Tree

EXT = ("ext2", "ext3", "ext4")
READABLE = (*EXT, "xfs", "btrfs")
FOLDERS_KEPT = 2000
FILE_LIMIT = 64 << 20  # the scanners look at no larger file
CHUNK = 1 << 20


class FileSystem:
    """One file system behind the same few questions, whatever dissect calls the answers."""

    def __init__(self, kind: str, stream: BinaryIO) -> None:
        self.kind = kind
        try:
            if kind in EXT:
                from dissect.extfs import ExtFS

                self.root: Any = ExtFS(stream).root
            elif kind == "xfs":
                from dissect.xfs import XFS

                self.root = XFS(stream).root
            elif kind == "btrfs":
                from dissect.btrfs import Btrfs

                self.root = Btrfs(stream).fs_tree.root  # the default subvolume may hide all others
            else:
                raise StepError("not_supported", f"no reader for file system type {kind or 'unknown'}")
        except ImportError as error:
            raise StepError("not_supported", f"dissect is not installed: {error}") from error

    def info(self, node: Any) -> os.stat_result:
        """What lstat would say."""
        device = 0
        if self.kind in EXT:
            inode = node.inode
            mode, uid, gid = int(inode.i_mode), _wide(inode, "i_uid"), _wide(inode, "i_gid")
            times = [self._ext_ns(inode, name) for name in ("i_atime", "i_mtime", "i_ctime")]
            links = int(inode.i_links_count)
        elif self.kind == "xfs":
            inode = node.inode
            mode, uid, gid = int(inode.di_mode), int(inode.di_uid), int(inode.di_gid)
            times, links = [int(node.atime_ns), int(node.mtime_ns), int(node.ctime_ns)], 1
        else:
            mode, uid, gid = int(node.mode), int(node.uid), int(node.gid)
            times, links = [int(node.atime_ns), int(node.mtime_ns), int(node.ctime_ns)], 1
            device = int(node.subvolume.objectid)  # each has inode numbers of its own
        names = dict(zip(("st_atime_ns", "st_mtime_ns", "st_ctime_ns"), times, strict=True))
        seconds = tuple(moment // 10**9 for moment in times)
        return os.stat_result((mode, int(node.inum), device, links, uid, gid, int(node.size), *seconds), names)

    def birth_ns(self, node: Any) -> int | None:
        """When it was made, in nanoseconds."""
        if self.kind in EXT:
            return self._ext_ns(node.inode, "i_crtime") if node.extfs.sb.s_inode_size > 128 else None
        return int(getattr(node, "crtime_ns" if self.kind == "xfs" else "otime_ns", 0) or 0) or None

    @staticmethod
    def _ext_ns(inode: Any, name: str) -> int:
        """Seconds are signed, and two more bits count the epochs after 2038: dissect takes them for unsigned."""
        seconds, extra = int(getattr(inode, name)) & 0xFFFFFFFF, 0
        if int(getattr(inode, "i_extra_isize", 0) or 0) >= 16:
            extra = int(getattr(inode, f"{name}_extra", 0) or 0)
        seconds -= (seconds & 0x80000000) << 1
        return (seconds + ((extra & 3) << 32)) * 10**9 + (extra >> 2)

    @staticmethod
    def children(folder: Any) -> Iterator[tuple[bytes, Any]]:
        """The entries of a folder, without itself and its parent."""
        for name, node in () if lies_elsewhere(folder) else dict(folder.listdir()).items():
            raw = name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")
            if raw not in (b".", b"..", b"") and b"/" not in raw and b"\0" not in raw:
                yield raw, node


def lies_elsewhere(folder: Any) -> bool:
    """Whether a folder of btrfs only has the name of a subvolume that lies elsewhere. Snapshots have such names, and
    the kernel shows an empty folder: who follows them goes in circles."""
    parent, subvolume = getattr(folder, "parent", None), getattr(folder, "subvolume", None)
    if parent is None or subvolume is None or parent.subvolume.objectid == subvolume.objectid:
        return False
    return bool(subvolume.path.rpartition("/")[0] != parent.full_path)


def _wide(inode: Any, name: str) -> int:
    """An owner: the upper half has a place of its own."""
    return int(getattr(inode, name)) | int(getattr(inode, f"{name}_high", 0) or 0) << 16


class DissectTree(Tree):
    """The allocated files of a file system that is read from a stream."""

    copies = True

    def __init__(self, partition: Partition, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder)
        try:
            self.system = FileSystem(partition.type, partition.open())
        except StepError:
            raise
        except Exception as error:  # each reader has errors of its own
            raise StepError("unreadable", f"the {partition.type} file system cannot be read: {error}") from error
        self._folders: OrderedDict[bytes, dict[bytes, Any]] = OrderedDict()
        self._copied: dict[bytes, bytes] = {}
        self._number = 0

    def below(self, top: bytes) -> DissectTree:
        """A folder of this tree as a tree by itself."""
        tree = copy.copy(self)
        tree.system = copy.copy(self.system)
        tree.system.root = self._node(top)
        tree.left_out, tree._folders, tree._copied = frozenset(), OrderedDict(), {}
        return tree

    def _children(self, folder: bytes) -> dict[bytes, Any]:
        """The entries of a folder whose path is resolved; a broken one has none."""
        if folder in self._folders:
            self._folders.move_to_end(folder)
            return self._folders[folder]
        node = self._node(folder)
        found: dict[bytes, Any] = {}
        if node is not None:
            try:
                found = dict(self.system.children(node))
            except Exception:  # a broken folder does not hide the others
                self.unreadable += 1
        self._folders[folder] = found
        if len(self._folders) > FOLDERS_KEPT:
            self._folders.popitem(last=False)
        return found

    def _node(self, path: bytes) -> Any:
        if path == b"/":
            return self.system.root
        folder, _unused, name = path.rpartition(b"/")
        return self._children(folder or b"/").get(name)

    def _info(self, path: bytes) -> os.stat_result | None:
        node = self._node(path)
        if node is None:
            return None
        try:
            return self.system.info(node)
        except Exception:  # a broken inode
            self.unreadable += 1
            return None

    def _link(self, path: bytes) -> bytes | None:
        node = self._node(path)
        try:
            target = node.link
        except Exception:  # a broken inode
            return None
        return target if isinstance(target, bytes) else str(target).encode("utf-8", "surrogateescape")

    def entries(self, path: str | bytes) -> list[Entry]:
        """What a folder holds, sorted by name."""
        real = self.resolve(path)
        info = self._info(real) if real is not None else None
        if real is None or info is None or not stat.S_ISDIR(info.st_mode):
            return []
        found = []
        for name in self._children(real):
            full = real.rstrip(b"/") + b"/" + name
            one = self._info(full)
            if one is not None:
                found.append(Entry(full, one))
        return sorted(found, key=lambda entry: entry.path)

    def open(self, path: str | bytes) -> IO[bytes] | None:
        """Open a regular file for reading; None when it is missing, no regular file, or unreadable."""
        entry = self.lookup(path)
        if entry is None or not entry.is_file:
            return None
        try:
            return cast("IO[bytes]", self._node(entry.path).open())
        except Exception:  # a broken list of blocks
            self.unreadable += 1
            return None

    def read(self, path: str | bytes, limit: int = READ_LIMIT) -> bytes | None:
        """The first `limit` bytes of a regular file, or None."""
        stream = self.open(path)
        if stream is None:
            return None
        try:
            return bytes(stream.read(limit))
        except Exception:  # as above
            self.unreadable += 1
            return None

    def birth_ns(self, path: bytes) -> int | None:
        """When a file was created."""
        node = self._node(path)
        return None if node is None else self.system.birth_ns(node)

    def host_path(self, path: bytes) -> bytes:
        """The numbered copy of a file. It is made here, and ends where the content becomes unreadable."""
        if path == b"/":
            return self.root
        if path not in self._copied:
            self._number += 1
            self._copied[path] = self.root + b"/%d" % self._number
            self._copy(path, self._copied[path])
        return self._copied[path]

    def _copy(self, path: bytes, target: bytes) -> None:
        stream = self.open(path)
        with open(target, "wb") as copy:  # noqa: PTH123 - bytes
            left = FILE_LIMIT
            while stream is not None and left > 0:
                try:
                    data = stream.read(min(left, CHUNK))
                except Exception:  # as above
                    self.unreadable += 1
                    break
                if not data:
                    break
                left -= copy.write(data)

    def forget_copies(self) -> None:
        """Remove the copies that were made."""
        for path in self._copied.values():
            os.unlink(path)  # noqa: PTH108 - bytes
        self._copied.clear()
