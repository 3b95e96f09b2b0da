# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of rpm packages, from the evidence's own database: SQLite (RHEL 9, Fedora, Amazon Linux 2023) by Python's own
reader, Berkeley DB (RHEL 8, Amazon Linux 2) by dissect's. Both hold the headers of packages, which are read here.
"""

from __future__ import annotations

import shutil
import sqlite3
import struct
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from .tree import Tree

FOLDERS = ("/usr/lib/sysimage/rpm", "/var/lib/rpm")
SIZE_LIMIT = 2 << 30
HEADER_LIMIT = 64 << 20
PATH_LIMIT = 4096
STEPS = 20_000  # times 100,000 instructions of SQLite: a hostile schema may compute for ever
DIR_INDEXES, BASE_NAMES, DIR_NAMES, DIGESTS, FLAGS, INSTALL_TIME = 1116, 1117, 1118, 1035, 1037, 1008
CONFIGURATION = 1


class RpmError(Exception):
    """The database cannot be read; the message says why."""


@dataclass(frozen=True)
class RpmFile:
    """One file of a package; the digest (MD5, SHA-1 or SHA-2 in hex, by its length) is empty for folders and links."""

    path: bytes
    digest: str
    configuration: bool


@dataclass(frozen=True)
class RpmPackage:
    """One package that is installed; `installed`: when, in seconds since 1970, 0 where its header does not say."""

    installed: int
    files: tuple[RpmFile, ...]


def rpm_packages(tree: Tree) -> Iterator[RpmPackage]:
    """All packages; nothing where there is no rpm database."""
    for folder in FOLDERS:
        if tree.lookup(f"{folder}/rpmdb.sqlite") is not None:
            yield from map(package_of, _sqlite(tree, folder))
            return
        if tree.lookup(f"{folder}/Packages") is not None:
            yield from map(package_of, _berkeley(tree, f"{folder}/Packages"))
            return
        if tree.lookup(f"{folder}/Packages.db") is not None:
            raise RpmError("rpm's own database format (ndb, as SUSE has it) is not read")


def _copy(tree: Tree, path: str, target: Path) -> None:
    stream = tree.open(path)
    if stream is None:
        return
    left = SIZE_LIMIT
    with stream, target.open("wb") as copy:
        while left > 0 and (chunk := stream.read(1 << 20)):
            left -= copy.write(chunk)
    if left <= 0:
        raise RpmError("the database is too large")


def _sqlite(tree: Tree, folder: str) -> Iterator[bytes]:
    """Headers in rpmdb.sqlite. It is copied, because what was not yet merged into it lies in a file beside it."""
    work = Path(tempfile.mkdtemp(prefix="rpm-"))
    steps = iter(range(STEPS))
    try:
        for suffix in ("", "-wal"):
            _copy(tree, f"{folder}/rpmdb.sqlite{suffix}", work / f"rpmdb.sqlite{suffix}")
        with closing(sqlite3.connect(work / "rpmdb.sqlite")) as database:
            database.execute("PRAGMA trusted_schema = OFF")
            database.set_progress_handler(lambda: int(next(steps, None) is None), 100_000)
            for (header,) in database.execute("SELECT blob FROM Packages"):
                if isinstance(header, bytes) and len(header) <= HEADER_LIMIT:
                    yield header
    except sqlite3.Error as error:
        raise RpmError(f"SQLite says: {error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _berkeley(tree: Tree, path: str) -> Iterator[bytes]:
    try:
        from dissect.database.bsd.db import DB
    except ImportError as error:
        raise RpmError(f"dissect is not installed: {error}") from error
    stream = tree.open(path)
    if stream is None:
        raise RpmError("the database cannot be opened")
    with stream:
        try:
            for _unused, header in DB(stream).records():
                if 16 < len(header) <= HEADER_LIMIT:  # a short one holds the number of the next package
                    yield header
        except Exception as error:  # the library has errors of many kinds for what is damaged
            raise RpmError(f"Berkeley DB is damaged ({type(error).__name__})") from error


def package_of(header: bytes) -> RpmPackage:
    """A package from its header, whatever of it is whole."""
    try:
        installed = (*_numbers(header, _tags(header), INSTALL_TIME), 0)[0]
    except (struct.error, ValueError):
        installed = 0
    return RpmPackage(installed, tuple(header_files(header)))


def header_files(header: bytes) -> Iterator[RpmFile]:
    """The files that the header of a package names; a broken header names none, or those before the break."""
    try:
        tags = _tags(header)
        names, folders = _strings(header, tags, BASE_NAMES), _strings(header, tags, DIR_NAMES)
        indexes, flags = _numbers(header, tags, DIR_INDEXES), _numbers(header, tags, FLAGS)
        digests = _strings(header, tags, DIGESTS)
        for number, (name, index) in enumerate(zip(names, indexes, strict=False)):
            if len(folders[index]) + len(name) <= PATH_LIMIT:
                digest = digests[number].decode("ascii", "replace").lower() if number < len(digests) else ""
                yield RpmFile(folders[index] + name, digest,
                              bool(number < len(flags) and flags[number] & CONFIGURATION))
    except (struct.error, IndexError, ValueError):
        return


Tags = dict[int, tuple[int, int]]


def _tags(header: bytes) -> Tags:
    """Place and count of each tag's data. A header is: two numbers, the index of 16 bytes a tag, the data."""
    entries, _length = struct.unpack_from(">II", header)
    data = 8 + 16 * entries
    if data > len(header):
        raise ValueError("the index is longer than the header")
    found = {}
    for position in range(8, data, 16):
        tag, _kind, offset, count = struct.unpack_from(">IIiI", header, position)
        found[tag] = data + offset, count
    return found


def _numbers(header: bytes, tags: Tags, tag: int) -> tuple[int, ...]:
    place, count = tags.get(tag, (0, 0))
    if place < 0 or place + 4 * count > len(header):
        raise ValueError("numbers lie beyond the header")
    return struct.unpack_from(f">{count}I", header, place)


def _strings(header: bytes, tags: Tags, tag: int) -> list[bytes]:
    place, count = tags.get(tag, (0, 0))
    if count > len(header) or place < 0:
        raise ValueError("more strings than bytes")
    return header[place:].split(b"\0", count)[:count] if count else []
