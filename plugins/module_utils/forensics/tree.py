# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a mounted file system as if it were the root, without ever leaving it.

Absolute links and `..` in evidence point into the evidence, as they did when it was running; never into the machine
that looks at it. The mount is read-only, so what was resolved cannot change before it is opened.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

READ_LIMIT = 16 << 20
SUBVOLUME = 256  # inode number of the first folder of every subvolume of btrfs, and of no other folder there
_MAX_LINKS = 40


@dataclass
class Entry:
    """One name in the tree; `path` is absolute within the evidence, as bytes."""

    path: bytes
    info: os.stat_result

    @property
    def name(self) -> bytes:
        return self.path.rsplit(b"/", 1)[-1]

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.info.st_mode)

    @property
    def is_dir(self) -> bool:
        return stat.S_ISDIR(self.info.st_mode)

    @property
    def executable(self) -> bool:
        return self.is_file and bool(self.info.st_mode & 0o111)


class Tree:
    """A mounted evidence file system."""

    copies = False  # whether `host_path` makes copies, which `forget_copies` removes
    local_times = False  # whether its times are local ones of an unknown zone, kept as if they were UTC

    def __init__(self, root: Path) -> None:
        self.root = os.fsencode(os.path.realpath(root)).rstrip(b"/") or b"/"
        self.mounts = _mounted_below(self.root)
        self.left_out: frozenset[bytes] = frozenset()  # folders that `walk` does not enter
        self.unreadable = 0

    def below(self, top: bytes) -> Tree:
        """A folder of this tree as a tree by itself: absolute links lead to its top."""
        return Tree(Path(os.fsdecode(self.host_path(top))))

    def resolve(self, path: str | bytes, *, follow_last: bool = True) -> bytes | None:
        """The path in the evidence that `path` stands for once links are followed; None where there is nothing."""
        raw = os.fsencode(path)
        if not raw or b"\0" in raw:  # text from evidence that is no name at all
            return None
        todo = [part for part in raw.split(b"/") if part not in (b"", b".")][::-1]
        done: list[bytes] = []
        links = 0
        while todo:
            part = todo.pop()
            if part == b"..":
                if done:
                    done.pop()
                continue
            part = self._spelled(b"/" + b"/".join(done), part)
            here = b"/" + b"/".join((*done, part))
            info = self._info(here)
            if info is None:
                return None
            if stat.S_ISLNK(info.st_mode) and (todo or follow_last):
                links += 1
                target = self._link(here)
                if links > _MAX_LINKS or target is None:
                    return None
                if target.startswith(b"/"):
                    done = []
                todo.extend(piece for piece in reversed(target.split(b"/")) if piece not in (b"", b"."))
                continue
            done.append(part)
        return b"/" + b"/".join(done)

    def _spelled(self, folder: bytes, name: bytes) -> bytes:
        """A name as the file system spells it: those of Windows find it in any case."""
        return name

    def _info(self, path: bytes) -> os.stat_result | None:
        """lstat of a path whose folders are resolved."""
        try:
            return os.lstat(self.host_path(path))
        except OSError:
            return None

    def _link(self, path: bytes) -> bytes | None:
        """What a link says."""
        try:
            return os.readlink(self.host_path(path))  # noqa: PTH115 - bytes
        except OSError:
            return None

    def forget_copies(self) -> None:
        """Nothing was copied: files lie where they are."""

    def host_path(self, path: bytes) -> bytes:
        """Where a path that `resolve` or `walk` returned lies on this machine."""
        return self.root if path == b"/" else self.root + path

    def lookup(self, path: str | bytes, *, follow_last: bool = True) -> Entry | None:
        """The entry behind a path, links followed inside the evidence; None where there is nothing."""
        real = self.resolve(path, follow_last=follow_last)
        info = None if real is None else self._info(real)
        return None if real is None or info is None else Entry(real, info)

    def open(self, path: str | bytes) -> IO[bytes] | None:
        """Open a regular file for reading; None when it is missing, no regular file, or unreadable."""
        entry = self.lookup(path)
        if entry is None or not entry.is_file:  # a device is not even opened: some act on that
            return None
        try:
            handle = os.open(self.host_path(entry.path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            self.unreadable += 1
            return None
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            return None
        return os.fdopen(handle, "rb")

    def read(self, path: str | bytes, limit: int = READ_LIMIT) -> bytes | None:
        """The first `limit` bytes of a regular file, or None."""
        stream = self.open(path)
        if stream is None:
            return None
        with stream:
            try:
                return stream.read(limit)
            except OSError:
                self.unreadable += 1
                return None

    def text(self, path: str | bytes, limit: int = READ_LIMIT) -> str | None:
        """A text file; bytes that are no UTF-8 are kept as surrogates, for `model.clean` to escape."""
        data = self.read(path, limit)
        return None if data is None else data.decode("utf-8", "surrogateescape")

    def entries(self, path: str | bytes) -> list[Entry]:
        """What a folder holds, sorted by name; nothing when there is no such folder. Links are not followed."""
        real = self.resolve(path)
        if real is None:
            return []
        found: list[Entry] = []
        try:
            with os.scandir(self.host_path(real)) as listing:
                for item in listing:
                    try:
                        found.append(Entry(real.rstrip(b"/") + b"/" + item.name, item.stat(follow_symlinks=False)))
                    except OSError:
                        self.unreadable += 1
        except OSError as error:
            if error.errno != errno.ENOTDIR:
                self.unreadable += 1
            return []
        return sorted(found, key=lambda entry: entry.path)

    def walk(self, top: str | bytes = b"/") -> Iterator[tuple[bytes, list[Entry]]]:
        """Every folder with its entries. No link is followed and no other file system is entered."""
        first = self.lookup(top)
        todo = [] if first is None else [first]
        while todo:
            folder = todo.pop()
            found = self.entries(folder.path)
            yield folder.path, found
            todo.extend(entry for entry in reversed(found) if self._enters(folder, entry))

    def _enters(self, folder: Entry, entry: Entry) -> bool:
        """Whether `walk` goes on there. A subvolume of btrfs shows another device number, like a mount."""
        same = entry.info.st_dev == folder.info.st_dev or entry.info.st_ino == SUBVOLUME
        return entry.is_dir and same and entry.path not in self.mounts and entry.path not in self.left_out

    def birth_ns(self, path: bytes) -> int | None:
        """When a file was created, in nanoseconds, where the file system keeps it."""
        return _birth_ns(self.host_path(path))


def _mounted_below(root: bytes) -> frozenset[bytes]:
    """Where something is mounted in a tree, as paths within it."""
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return frozenset()
    points = (re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), line.split(b" ")[4]) for line in lines)
    return frozenset(point[len(root):] for point in points if point.startswith(root + b"/"))


class _StatxTime(ctypes.Structure):
    _fields_ = [("sec", ctypes.c_int64), ("nsec", ctypes.c_uint32), ("_pad", ctypes.c_int32)]


class _Statx(ctypes.Structure):
    """The beginning of `struct statx`, up to the times; the rest is room that the kernel fills."""

    _fields_ = [("mask", ctypes.c_uint32), ("blksize", ctypes.c_uint32), ("attributes", ctypes.c_uint64),
                ("nlink", ctypes.c_uint32), ("uid", ctypes.c_uint32), ("gid", ctypes.c_uint32),
                ("mode", ctypes.c_uint16), ("_pad", ctypes.c_uint16), ("ino", ctypes.c_uint64),
                ("size", ctypes.c_uint64), ("blocks", ctypes.c_uint64), ("attributes_mask", ctypes.c_uint64),
                ("atime", _StatxTime), ("btime", _StatxTime), ("ctime", _StatxTime), ("mtime", _StatxTime),
                ("_rest", ctypes.c_uint64 * 16)]


_AT_FDCWD, _AT_SYMLINK_NOFOLLOW, _STATX_BTIME = -100, 0x100, 0x800
_statx: Any = None  # Python has no os.statx before 3.15
with suppress(AttributeError, OSError):
    _statx = ctypes.CDLL(None, use_errno=True).statx


def _birth_ns(path: bytes) -> int | None:
    if _statx is None:
        return None
    answer = _Statx()
    if _statx(_AT_FDCWD, path, _AT_SYMLINK_NOFOLLOW, _STATX_BTIME, ctypes.byref(answer)) != 0:
        return None
    if not answer.mask & _STATX_BTIME:
        return None
    return int(answer.btime.sec) * 1_000_000_000 + int(answer.btime.nsec)
