# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file system in a stream of bytes, as a tree: dissect reads it, from a write-protected device or from anywhere else.

Nothing is mounted. Scanners, which read files, get numbered copies of a batch at a time, so that no name from the
evidence becomes a path of this machine and no copy of everything is ever made.
"""

from __future__ import annotations

import copy
import io
import os
import stat
from collections import OrderedDict
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from .ext_walk import INLINE, MAX_DEPTH, ExtWalk, Unusual, inline_content, nanoseconds
from .fat_records import Fat
from .model import Partition
from .ntfs_records import ROOT, NtfsNode, Table, mode_of
from .steps import StepError
from .tree import READ_LIMIT, Entry, Tree

EXT = ("ext2", "ext3", "ext4")
READABLE = (*EXT, "xfs", "btrfs")
"""What logical volumes are searched for, and what `dissect_lines` lists."""
STREAMED = (*READABLE, "ntfs", "vfat")
"""All that can be read here."""
FOLDS_CASE = ("ntfs", "vfat")  # a name is found there in whatever case it is asked for
FOLDERS_KEPT = 2000
REMEMBERED = 150_000  # entries of a tree that is kept in memory
FILE_LIMIT = 64 << 20  # the scanners look at no larger file
CHUNK = 1 << 20
BUFFER = 1 << 16


class FileSystem:
    """One file system behind the same few questions, whatever dissect calls the answers."""

    def __init__(self, kind: str, stream: BinaryIO) -> None:
        self.kind = kind
        self.local_times = kind == "vfat"  # they are what a clock on the wall showed; in which zone is not kept
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
            elif kind == "ntfs":
                self.root = NtfsNode(Table(stream), ROOT)
            elif kind == "vfat":
                self.root = Fat(stream).root
            else:
                raise StepError("not_supported", f"no reader for file system type {kind or 'unknown'}")
        except ImportError as error:
            raise StepError("not_supported", f"dissect is not installed: {error}") from error

    def walk(self) -> ExtWalk | None:
        """The fast way through all folders, where there is one."""
        if self.kind not in EXT:
            return None
        try:
            return ExtWalk(self.root.extfs, getattr(self.root.extfs.fh, "hint", None))
        except Unusual:
            return None

    def info(self, node: Any) -> os.stat_result:
        """What lstat would say."""
        device, size = 0, 0
        if self.kind in EXT:
            inode, wide = node.inode, node.extfs.sb.s_inode_size > 128
            mode, uid, gid = int(inode.i_mode), _wide(inode, "i_uid"), _wide(inode, "i_gid")
            times = [self._ext_ns(inode, name, wide) for name in ("i_atime", "i_mtime", "i_ctime")]
            links = int(inode.i_links_count)
        elif self.kind == "xfs":
            inode = node.inode
            mode, uid, gid = int(inode.di_mode), int(inode.di_uid), int(inode.di_gid)
            times, links = [int(node.atime_ns), int(node.mtime_ns), int(node.ctime_ns)], 1
        elif self.kind == "ntfs":
            record = node.record
            modified, accessed, changed, _born = (moment or 0 for moment in record.times)
            mode, uid, gid, size = mode_of(record), 0, 0, record.size or 0
            times, links = [accessed, modified, changed], len(record.own_names())
        elif self.kind == "vfat":
            mode, uid, gid, size = node.mode, 0, 0, node.size
            times, links = [node.accessed or 0, node.modified or 0, node.modified or 0], 1  # no change time is kept
        else:
            mode, uid, gid = int(node.mode), int(node.uid), int(node.gid)
            times, links = [int(node.atime_ns), int(node.mtime_ns), int(node.ctime_ns)], 1
            device = int(node.subvolume.objectid)  # each has inode numbers of its own
        if self.kind in READABLE:
            size = int(node.size)
        names = dict(zip(("st_atime_ns", "st_mtime_ns", "st_ctime_ns"), times, strict=True))
        seconds = tuple(moment // 10**9 for moment in times)
        return os.stat_result((mode, int(node.inum), device, links, uid, gid, size, *seconds), names)

    def birth_ns(self, node: Any) -> int | None:
        """When it was made, in nanoseconds."""
        if self.kind in EXT:
            return self._ext_ns(node.inode, "i_crtime", True) if node.extfs.sb.s_inode_size > 128 else None
        if self.kind == "ntfs":
            return cast("int | None", node.record.times[3])
        if self.kind == "vfat":
            return cast("int | None", node.born)
        return int(getattr(node, "crtime_ns" if self.kind == "xfs" else "otime_ns", 0) or 0) or None

    @staticmethod
    def _ext_ns(inode: Any, name: str, wide: bool) -> int:
        """Seconds are signed, and two more bits count the epochs after 2038: dissect takes them for unsigned. In small
        inodes it reads these bits from the next inode."""
        seconds, extra = int(getattr(inode, name)) & 0xFFFFFFFF, 0
        if wide and int(getattr(inode, "i_extra_isize", 0) or 0) >= 16:
            extra = int(getattr(inode, f"{name}_extra", 0) or 0)
        return nanoseconds(seconds, extra)

    def inline(self, node: Any) -> bytes | None:
        """What lies in an inode of ext itself: of that, dissect gives the first 60 bytes. None for all others."""
        if self.kind not in EXT or not int(node.inode.i_flags) & INLINE:
            return None
        walk = self.walk()
        return inline_content(walk.inode(int(node.inum))) if walk else None

    def children(self, folder: Any) -> Iterator[tuple[bytes, Any]]:
        """The entries of a folder, without itself and its parent."""
        if self.kind in EXT and int(folder.inode.i_flags) & INLINE:
            walk = self.walk()
            for raw_name, number in walk.inline_names(walk.inode(int(folder.inum))) if walk else ():
                yield raw_name, folder.extfs.get_inode(number)
            return
        if self.kind not in READABLE:
            found = folder.children() if self.kind == "ntfs" else folder.fat.children(folder)
            yield from ((name, node) for name, node in found if name not in (b".", b"..", b"") and b"/" not in name
                        and b"\0" not in name)
            return
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


def _upper(name: bytes) -> str:
    """For comparison. Windows knows no letter that becomes several: those stay as they are."""
    text = name.decode("utf-8", "surrogateescape")
    return "".join(letter.upper() if len(letter.upper()) == 1 else letter for letter in text)


class DissectTree(Tree):
    """The allocated files of a file system that is read from a stream."""

    copies = True

    def __init__(self, kind: str, stream: BinaryIO, folder: Path | None = None) -> None:
        """`folder` is where `host_path` copies files to; a tree without one makes no copies."""
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder or Path(os.devnull))
        self.copies = folder is not None
        try:
            self.system = FileSystem(kind, stream)
        except StepError:
            raise
        except Exception as error:  # each reader has errors of its own
            raise StepError("unreadable", f"the {kind} file system cannot be read: {error}") from error
        self.local_times = self.system.local_times
        self._folders: OrderedDict[bytes, dict[bytes, Any]] = OrderedDict()
        self._folded: OrderedDict[bytes, dict[str, bytes]] = OrderedDict()
        self._listed: dict[bytes, list[Entry]] = {}  # what `remember` has read, by folder
        self._known: dict[bytes, os.stat_result] = {}
        self._born: dict[bytes, int | None] = {}
        self._copied: dict[bytes, bytes] = {}
        self._number = 0

    @classmethod
    def of(cls, partition: Partition, folder: Path) -> DissectTree:
        """The tree of a partition; StepError when it cannot be read."""
        try:
            stream = partition.open()
        except StepError:
            raise
        except Exception as error:  # as above
            message = f"the {partition.type} file system cannot be read: {error}"
            raise StepError("unreadable", message) from error
        return cls(partition.type, stream, folder)

    def below(self, top: bytes) -> DissectTree:
        """A folder of this tree as a tree by itself."""
        tree = copy.copy(self)
        tree.system = copy.copy(self.system)
        tree.system.root = self._node(top)
        tree.left_out, tree._folders, tree._folded, tree._copied = frozenset(), OrderedDict(), OrderedDict(), {}
        tree._listed, tree._known, tree._born = {}, {}, {}
        return tree

    def remember(self, limit: int = REMEMBERED) -> bool:
        """Read the whole tree once and keep it, so that walking it again costs nothing; whether it was small enough."""
        listed: dict[bytes, list[Entry]] = {}
        born: dict[bytes, int | None] = {}
        for folder, found in self.folders():
            listed[folder] = [entry for entry, _unused in found]
            born.update((entry.path, moment) for entry, moment in found)
            if len(born) > limit:
                return False
        self._listed, self._born = listed, born
        self._known = {entry.path: entry.info for entries in listed.values() for entry in entries}
        return True

    def folders(self) -> Iterator[tuple[bytes, list[tuple[Entry, int | None]]]]:
        """Every folder with its entries, sorted by name, and when each was made, in nanoseconds. Folders come in the
        order that is read fastest."""
        if self._listed:
            for folder, entries in self._listed.items():
                yield folder, [(entry, self._born[entry.path]) for entry in entries]
            return
        walk = self.system.walk()
        if walk is None:
            for folder, entries in self.walk():
                yield folder, [(entry, self.birth_ns(entry.path)) for entry in entries]
            return
        extfs = self.system.root.extfs

        def other(number: int) -> Iterator[tuple[bytes, int]]:
            return ((name, int(node.inum)) for name, node in self.system.children(extfs.get_inode(number)))

        for folder, found in walk.folders(other):
            prefix = folder.rstrip(b"/") + b"/"
            yield folder, sorted(((Entry(prefix + one.name, one.info), one.born) for one in found),
                                 key=lambda pair: pair[0].path)
        self.unreadable += walk.unreadable

    def _spelled(self, folder: bytes, name: bytes) -> bytes:
        """A name as the folder has it, where case makes no difference."""
        if self.system.kind not in FOLDS_CASE:
            return name
        children: Collection[bytes] = ([entry.name for entry in self._listed[folder]] if folder in self._listed
                                       else self._children(folder))
        if name in children:
            return name
        if folder not in self._folded:
            self._folded[folder] = {_upper(one): one for one in children}
            if len(self._folded) > FOLDERS_KEPT:
                self._folded.popitem(last=False)
        return self._folded[folder].get(_upper(name), name)

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
        if path in self._known and self.system.kind in EXT:
            return self.system.root.extfs.get_inode(self._known[path].st_ino)
        folder, _unused, name = path.rpartition(b"/")
        return self._children(folder or b"/").get(name)

    def _info(self, path: bytes) -> os.stat_result | None:
        if path in self._known:
            return self._known[path]
        if self._listed and path != b"/":
            return None
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
            inline = self.system.inline(node)
            target = node.link if inline is None else inline[:int(node.size)]
        except Exception:  # a broken inode
            return None
        return target if isinstance(target, bytes) else str(target).encode("utf-8", "surrogateescape")

    def entries(self, path: str | bytes) -> list[Entry]:
        """What a folder holds, sorted by name."""
        real = self.resolve(path)
        if real in self._listed:
            return self._listed[real]
        info = self._info(real) if real is not None else None
        if real is None or info is None or not stat.S_ISDIR(info.st_mode):
            return []
        found: list[Entry] = []
        for name in self._children(real):
            full = real.rstrip(b"/") + b"/" + name
            one = self._info(full)
            if one is not None:
                found.append(Entry(full, one))
        return sorted(found, key=lambda entry: entry.path)

    def walk(self, top: str | bytes = b"/") -> Iterator[tuple[bytes, list[Entry]]]:
        """As in any tree. No kernel has looked at this one, so a folder may lie in itself: each is entered once."""
        first = self.lookup(top)
        todo = [] if first is None else [first]
        seen: set[tuple[int, int]] = set()
        while todo:
            folder = todo.pop()
            number = (folder.info.st_dev, folder.info.st_ino)
            if number in seen or folder.path.count(b"/") > MAX_DEPTH:
                continue
            seen.add(number)
            found = self.entries(folder.path)
            yield folder.path, found
            todo.extend(entry for entry in reversed(found) if self._enters(folder, entry))

    def open(self, path: str | bytes) -> IO[bytes] | None:
        """Open a regular file for reading; None when it is missing, no regular file, or unreadable."""
        entry = self.lookup(path)
        if entry is None or not entry.is_file:
            return None
        try:
            node = self._node(entry.path)
            inline = self.system.inline(node)
            if inline is not None:
                return io.BytesIO(inline[:entry.info.st_size])
            # Its own streams give a line byte by byte.
            return io.BufferedReader(cast(io.RawIOBase, node.open()), BUFFER)
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
        if path in self._born:
            return self._born[path]
        node = self._node(path)
        return None if node is None else self.system.birth_ns(node)

    def host_path(self, path: bytes) -> bytes:
        """The numbered copy of a file. It is made here, and ends where the content becomes unreadable."""
        if not self.copies:
            raise StepError("not_supported", "this tree was opened without a folder for copies")
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
