# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file system in a stream of bytes, as a tree: dissect reads it, from a write-protected device or from anywhere else.

Nothing is mounted. Scanners, which read files, get numbered copies of a batch at a time, so that no name from the
evidence becomes a path of this machine and no copy of everything is ever made.
"""

from __future__ import annotations

import copy
import os
import stat
from collections import OrderedDict
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from .entries import entries_of
from .entry_walk import MAX_DEPTH, FileEntry
from .file_system import EXT, FOLDS_CASE, READABLE, STREAMED, FileSystem, entry_of, stat_of
from .model import Partition
from .steps import StepError
from .tree import READ_LIMIT, Entry, Tree

__all__ = ["EXT", "READABLE", "STREAMED", "DissectTree"]
FOLDERS_KEPT = 2000
REMEMBERED = 150_000  # entries of a tree that is kept in memory
FILE_LIMIT = 64 << 20  # the scanners look at no larger file
CHUNK = 1 << 20


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
        self._others: list[FileEntry] = []  # alternate streams, and what cannot be read: no folder lists them
        self._whole = True  # not the part below a folder
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
        tree._listed, tree._known, tree._born, tree._others, tree._whole = {}, {}, {}, [], False
        return tree

    def remember(self, limit: int = REMEMBERED) -> bool:
        """Read the whole tree once and keep it, so that walking it again costs nothing; whether it was small enough."""
        listed: dict[bytes, list[Entry]] = {b"/": []}
        born: dict[bytes, int | None] = {}
        others: list[FileEntry] = []
        broken = 0
        for one in self.all_entries():
            broken += bool(one.problem)
            if one.stream or one.problem:
                others.append(one)
            else:
                born[one.path] = one.btime
                entry = Entry(one.path, stat_of(one))
                if entry.is_dir:
                    listed.setdefault(one.path, [])
                if one.path != b"/":
                    listed.setdefault(one.path.rpartition(b"/")[0] or b"/", []).append(entry)
            if len(born) + len(others) > limit:
                return False
        for entries in listed.values():
            entries.sort(key=lambda entry: entry.path)
        self.unreadable += broken
        self._listed, self._born, self._others = listed, born, others
        self._known = {entry.path: entry.info for entries in listed.values() for entry in entries}
        return True

    def all_entries(self) -> Iterator[FileEntry]:
        """Every name with all that is known of it, the top included, in the order that is read fastest. What cannot be
        read is told by the entries' `problem`."""
        if not self._listed and (self._whole or self.system.reader is not None):
            yield from entries_of(self.system)
            return
        changes = self.system.kind != "vfat"
        top = self._info(b"/")
        if top is not None:
            yield entry_of(b"/", top, self.birth_ns(b"/"), keeps_changes=changes)
        folders = self._listed.items() if self._listed else self.walk()
        for _folder, found in folders:
            for entry in found:
                yield entry_of(entry.path, entry.info, self.birth_ns(entry.path), keeps_changes=changes)
        yield from self._others

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
                for name, child in self.system.children(node):  # those before what is broken count
                    found[name] = child
            except Exception:  # a broken folder does not hide the others
                self.unreadable += 1
        self._folders[folder] = found
        if len(self._folders) > FOLDERS_KEPT:
            self._folders.popitem(last=False)
        return found

    def _node(self, path: bytes) -> Any:
        if path == b"/":
            return self.system.root
        if path in self._known:
            node = self.system.node(self._known[path].st_ino)
            if node is not None:
                return node
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
        try:
            return self.system.link(self._node(path))
        except Exception:  # a broken inode
            return None

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
            return cast("IO[bytes]", self.system.open(self._node(entry.path)))
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
