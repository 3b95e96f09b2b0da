# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a file system holds, entry by entry, and the walk over folders that ext and XFS share."""

from __future__ import annotations

import stat
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import BinaryIO, Protocol

MAX_DEPTH = 512  # of folders
FOLDERS = 4096  # that are asked for at once
STRETCHES = 1000  # of a folder that are asked for
BATCH = 1 << 16  # names that are held at once
FOLDER_LIMIT = 2 << 30  # bytes of a folder; what claims more is broken
RUN_LIMIT = 1 << 20  # stretches of a file; forged lists of blocks could have billions
PIECE, PIECES = 1 << 16, 512  # bytes read at once, and how many such pieces are kept: 32 MiB


class FileEntry:
    """One name of a file system. Times are nanoseconds since 1970, UTC; None where there is none.

    `problem`: "": all is known; "inode": only the name is, what it stands for cannot be read; "folder": the list of
    names of this folder could not be read to its end (it comes besides the entry of the folder itself).
    """

    __slots__ = ("atime", "btime", "ctime", "gid", "inode", "links", "mode", "mtime", "path", "problem", "size",
                 "stream", "subvolume", "uid")

    def __init__(self, path: bytes, inode: int, mode: int = 0, uid: int = 0, gid: int = 0, size: int = 0,
                 mtime: int | None = None, atime: int | None = None, ctime: int | None = None,
                 btime: int | None = None, stream: bytes = b"", subvolume: int = 0, problem: str = "",
                 links: int = 1) -> None:
        self.path, self.inode, self.mode, self.uid, self.gid, self.size = path, inode, mode, uid, gid, size
        self.mtime, self.atime, self.ctime, self.btime = mtime, atime, ctime, btime
        self.stream = stream  # the name of an alternate stream; the path ends in it too, as in `file:stream`
        self.subvolume = subvolume  # of btrfs: each has inode numbers of its own
        self.problem = problem
        self.links = links

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.mode)

    def __repr__(self) -> str:
        return f"<FileEntry {self.path!r} {self.inode} {self.mode:o}{' ' + self.problem if self.problem else ''}>"


class Broken(Exception):
    """Something on the disk makes no sense; the message says what."""


class Inode:
    """What a reader knows of an inode, and what it needs to list it if it is a folder."""

    __slots__ = ("atime", "btime", "ctime", "gid", "links", "mode", "mtime", "number", "raw", "size", "uid")

    def __init__(self, number: int, mode: int, uid: int, gid: int, size: int, mtime: int, atime: int, ctime: int,
                 btime: int | None, links: int, raw: bytes) -> None:
        self.number, self.mode, self.uid, self.gid, self.size = number, mode, uid, gid, size
        self.mtime, self.atime, self.ctime, self.btime = mtime, atime, ctime, btime
        self.links = links
        self.raw = raw  # the inode as it is on the disk; empty where nothing in it is asked for later


class Reader(Protocol):
    """A file system of numbered inodes and folders that name them."""

    root: int
    pieces: Pieces

    def inode(self, number: int) -> Inode:
        """Raises Broken when there is no such inode."""

    def place(self, number: int) -> int:
        """Where an inode lies, in bytes; Broken when there is none."""

    def names(self, folder: Inode) -> Iterator[tuple[bytes, int]]:
        """Name and number of each entry, itself and its parent too. Raises Broken at the end when some are lost."""

    def stretches(self, folder: Inode) -> Iterator[tuple[int, int]]:
        """Where the names of a folder lie: place and length in bytes. Broken as above."""


def legible(name: bytes) -> bytes:
    """A name as one part of a path: what no name may hold is shown, not hidden (forged and encrypted names hold it)."""
    if b"/" in name:
        name = name.replace(b"/", b"\\x2f")
    return name.replace(b"\0", b"\\x00") if b"\0" in name else name


def walk(reader: Reader, top: int | None = None) -> Iterator[FileEntry]:
    """Every entry below the folder `top` (else the root), which comes first, one level of the tree after the other.

    Within a level, folders and then inodes are taken in the order of their numbers, which mostly is that of the disk.
    A stream that fetches blocks from afar is told beforehand of all that some thousands of folders need, so that many
    blocks are on their way at the same time.
    """
    number = reader.root if top is None else top
    try:
        root = reader.inode(number)
    except Broken:
        yield FileEntry(b"/", number, problem="inode")
        return
    yield _entry(root, b"/")
    if not stat.S_ISDIR(root.mode):
        yield FileEntry(b"/", number, stat.S_IFDIR, problem="folder")
        return
    level: list[tuple[int, bytes]] = [(number, b"")]
    seen = {number}  # a folder that several names lead to is listed once: no walk in circles
    for _depth in range(MAX_DEPTH + 1):
        level.sort()
        below: list[tuple[int, bytes]] = []
        for start in range(0, len(level), FOLDERS):
            for entry in _folders(reader, level[start:start + FOLDERS]):
                yield entry
                if stat.S_ISDIR(entry.mode) and not entry.problem and entry.inode not in seen:
                    seen.add(entry.inode)
                    below.append((entry.inode, entry.path))
        level = below
        if not level:
            return


def _folders(reader: Reader, some: list[tuple[int, bytes]]) -> Iterator[FileEntry]:
    """What these folders list."""
    if reader.pieces.afar:
        some = _asked_for(reader, some)
    batch: list[tuple[int, bytes]] = []
    for number, path in some:
        prefix, problem = path + b"/", False
        try:
            for name, inode in reader.names(reader.inode(number)):
                if name not in (b".", b"..", b""):
                    batch.append((inode, prefix + legible(name)))
                    if len(batch) >= BATCH:
                        yield from _batch(reader, batch)
                        batch = []
        except Exception:  # Broken, or whatever else a forged folder provokes: it does not end the list
            problem = True
        if problem:
            yield FileEntry(path or b"/", number, stat.S_IFDIR, problem="folder")
    yield from _batch(reader, batch)


def _asked_for(reader: Reader, some: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Tell where the names of these folders lie; the folders in the order in which their names do."""
    placed: list[tuple[int, int, bytes]] = []
    ranges: list[tuple[int, int]] = []
    for number, path in some:
        found: list[tuple[int, int]] = []
        with suppress(Exception):  # `names` will say what is wrong with it
            found.extend(islice(reader.stretches(reader.inode(number)), STRETCHES))
        ranges += found
        placed.append((found[0][0] if found else 0, number, path))
    reader.pieces.ask(ranges)
    return [(number, path) for _place, number, path in sorted(placed)]


def _batch(reader: Reader, batch: list[tuple[int, bytes]]) -> Iterator[FileEntry]:
    batch.sort()
    if reader.pieces.afar:
        places: dict[int, None] = {}
        for number, _path in batch:
            with suppress(Broken):
                places[reader.place(number) // PIECE] = None
        reader.pieces.ask([(place * PIECE, PIECE) for place in places])
    for number, full in batch:
        try:
            inode = reader.inode(number)
        except Broken:  # one broken inode does not end the list
            yield FileEntry(full, number, problem="inode")
            continue
        yield _entry(inode, full)


def _entry(inode: Inode, path: bytes) -> FileEntry:
    return FileEntry(path, inode.number, inode.mode, inode.uid, inode.gid, inode.size, inode.mtime, inode.atime,
                     inode.ctime, inode.btime, links=inode.links)


class Pieces:
    """Reads a stream in pieces and keeps the last ones: neighbors of an inode are asked for next."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        # Of a file whose blocks come from afar: takes ranges (offset, length) that will be read soon.
        self._hint: Callable[[list[tuple[int, int]]], None] | None = getattr(stream, "hint", None)
        self._kept: OrderedDict[int, bytes] = OrderedDict()

    @property
    def afar(self) -> bool:
        """Whether it is of use to say beforehand what will be read."""
        return self._hint is not None

    def ask(self, ranges: list[tuple[int, int]]) -> None:
        """Say which ranges (offset, length) will be read soon."""
        if self._hint is not None:
            self._hint(sorted(set(ranges)))

    def get(self, place: int, size: int) -> bytes:
        """Bytes of a record that does not cross a multiple of PIECE; fewer at the end of the stream."""
        number, at = divmod(place, PIECE)
        piece = self._kept.get(number)
        if piece is None:
            piece = self.read(number * PIECE, PIECE)
            self._kept[number] = piece
            if len(self._kept) > PIECES:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(number)
        return piece[at:at + size]

    def read(self, place: int, size: int) -> bytes:
        """Bytes of the stream; Broken when it cannot deliver them."""
        try:
            self.stream.seek(place)
            return self.stream.read(size)
        except Exception as error:  # a device's, an image's, or that of a snapshot whose blocks cannot be had
            raise Broken(f"nothing can be read at byte {place}: {error}") from error
