# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file system that this host has no driver for, as a tree: The Sleuth Kit lists it and copies its files out.

Kernels without a FAT driver are the usual case: the EFI partition of a server. Copies carry numbers as names, so that
no name from the evidence ever becomes a path of this machine.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path
from typing import IO

from .dissect_tree import READABLE as DISSECT_READABLE
from .dissect_tree import DissectTree
from .model import Partition
from .steps import StepError
from .timeline import SLEUTHKIT_TYPES, fls, parse_body_line
from .tools import environment
from .tree import READ_LIMIT, Entry, Tree

READABLE = ("vfat", "exfat", "ntfs")
"""Types that need no links to be followed, which copies could not do."""
FILE_LIMIT = 64 << 20  # the scanners look at no larger file either
TOTAL_LIMIT = 2 << 30
COUNT_LIMIT = 50_000


def open_tree(partition: Partition, work: Path) -> Tree:
    """The partition's files: where it is mounted, else copied to `work`; StepError when neither can be."""
    if partition.mounted and partition.mount_point:
        return Tree(Path(partition.mount_point))
    if partition.logical and partition.type in DISSECT_READABLE:
        return DissectTree.of(partition, work / "copied")
    if partition.logical or partition.type not in READABLE:
        raise StepError("not_mounted", "the partition is not mounted, so there are no files to look at")
    return CopiedTree(partition, work / "copied")


class CopiedTree(Tree):
    """Allocated files of an unmounted file system. Contents are copied when they are first asked for."""

    def __init__(self, partition: Partition, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder)
        self.partition = partition
        self.known: dict[bytes, Entry] = {b"/": Entry(b"/", _info(0o040755, 0, 0, (0, 0, 0)))}
        self.children: dict[bytes, list[Entry]] = {b"/": []}
        self.born: dict[bytes, int] = {}
        self.addresses: dict[bytes, str] = {}
        self.copied = 0
        for raw in fls(partition, "-r", "-u", "-m", "/"):
            self._take(raw)

    def _take(self, raw: bytes) -> None:
        line = parse_body_line(raw)
        if line is None:
            return
        path, mode = line.raw, line.mode
        kind = {"d": stat.S_IFDIR, "r": stat.S_IFREG, "-": stat.S_IFREG}.get(mode[2:3])
        # The name attribute of an NTFS file is listed like a file; $OrphanFiles and the like are made up by the tool.
        if kind is None or path.endswith(b" ($FILE_NAME)") or path in self.known or mode[:1] in ("v", "V"):
            return
        if len(self.known) > COUNT_LIMIT:
            raise StepError("too_large", "too many files to be read without a mount")
        number = int(line.inode.split("-")[0])
        times = (line.atime, line.mtime, line.ctime or line.mtime)  # FAT does not know when an inode changed
        entry = Entry(path, _info(kind | _permissions(mode), number, line.size, times))
        self.known[path] = entry
        self.addresses[path] = line.inode
        self.children.setdefault(path.rsplit(b"/", 1)[0] or b"/", []).append(entry)
        if kind == stat.S_IFDIR:
            self.children.setdefault(path, [])
        if line.crtime:
            self.born[path] = line.crtime * 1_000_000_000

    def resolve(self, path: str | bytes, *, follow_last: bool = True) -> bytes | None:
        """The path without dots, as it is spelled in the evidence; None where there is nothing."""
        done: list[bytes] = []
        for part in os.fsencode(path).split(b"/"):
            if part == b"..":
                done = done[:-1]
            elif part not in (b"", b"."):
                done.append(part)
        real = b"/" + b"/".join(done)
        return real if path and real in self.known else None

    def lookup(self, path: str | bytes, *, follow_last: bool = True) -> Entry | None:
        """The entry of that path."""
        real = self.resolve(path)
        return None if real is None else self.known[real]

    def entries(self, path: str | bytes) -> list[Entry]:
        """What a folder holds, sorted by name."""
        real = self.resolve(path)
        return [] if real is None else sorted(self.children.get(real, []), key=lambda entry: entry.path)

    def host_path(self, path: bytes) -> bytes:
        """The numbered copy of a file. It is made here, and empty when the content is too large or unreadable."""
        address = self.addresses.get(path)
        if address is None:
            return self.root
        copy = self.root + b"/" + re.sub(r"[^0-9-]", "", address).encode()
        if not os.path.exists(copy):  # noqa: PTH110 - bytes
            with open(copy, "wb") as target:  # noqa: PTH123 - bytes
                if self.known[path].info.st_size <= FILE_LIMIT:
                    self._copy(address, target)
        return copy

    def _copy(self, address: str, target: IO[bytes]) -> None:
        command = ["icat", "-f", SLEUTHKIT_TYPES[self.partition.type], self.partition.device, address]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment()) as process:
            left = FILE_LIMIT
            while process.stdout is not None and left > 0 and (chunk := process.stdout.read(min(left, 1 << 20))):
                left -= target.write(chunk)
            process.kill()
        if process.returncode not in (0, -9):
            self.unreadable += 1
        self.copied += FILE_LIMIT - left
        if self.copied > TOTAL_LIMIT:
            raise StepError("too_large", "too much content to be read without a mount")

    def open(self, path: str | bytes) -> IO[bytes] | None:
        """The copy of a regular file."""
        entry = self.lookup(path)
        if entry is None or not entry.is_file:
            return None
        return open(self.host_path(entry.path), "rb")  # noqa: PTH123 - bytes

    def read(self, path: str | bytes, limit: int = READ_LIMIT) -> bytes | None:
        """The first `limit` bytes of a regular file, or None."""
        stream = self.open(path)
        if stream is None:
            return None
        with stream:
            return stream.read(limit)

    def birth_ns(self, path: bytes) -> int | None:
        """When a file was created."""
        return self.born.get(path)


def _permissions(mode: str) -> int:
    """`r/rrwxr-xr-x` as a number."""
    value = 0
    for char in mode[3:12]:
        value = (value << 1) | (char in "rwx")
    return value


def _info(mode: int, inode: int, size: int, times: tuple[int, int, int]) -> os.stat_result:
    names = dict(zip(("st_atime_ns", "st_mtime_ns", "st_ctime_ns"), (moment * 10**9 for moment in times), strict=True))
    return os.stat_result((mode, inode, 0, 1, 0, 0, size, *times), names)
