# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries of NTFS: its Master File Table is read once, from the beginning to the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .entry_spool import ORPHANS, Folders, Waiting
from .entry_walk import FileEntry, legible
from .ntfs_records import ROOT, Record, Table, mode_of, parse

READ = 1 << 20


def ntfs_entries(table: Table) -> Iterator[FileEntry]:
    """Every file that is in use, by all of its names, with its alternate streams."""
    folders = Folders(ROOT)
    sequences: dict[int, int] = {}
    waiting = Waiting()
    for record in _records(table):
        if isinstance(record, int):
            waiting.add((record,))
            continue
        if not record.in_use or record.base:
            continue
        if record.extensions:
            table.complete(record)
        names = [name for name in record.own_names() if record.segment != ROOT]
        if record.is_folder:
            sequences[record.segment] = record.sequence
            if names:
                folders.known[record.segment] = (names[0][0], names[0][3])
        if names or record.segment == ROOT:
            waiting.add((record.segment, mode_of(record), record.size or 0, record.times,
                         tuple((parent, sequence, name) for parent, sequence, _unused, name in names),
                         tuple((name, size) for name, size, _unused in record.streams)))
        elif not record.complete:  # its names are among what is lost
            waiting.add((record.segment,))
    for row in waiting:
        yield from _entries(row, folders, sequences)


def _records(table: Table) -> Iterator[Record | int]:
    """All records in order; the number alone of one that is damaged."""
    size = table.record_size
    step = max(1, READ // size)
    for first in range(0, table.count, step):
        try:
            table.stream.seek(first * size)
            data = table.stream.read(min(step, table.count - first) * size)
        except Exception:  # a part of the table that cannot be read does not end it
            yield from range(first, min(first + step, table.count))
            continue
        if not data:  # it claims to be larger than it is
            return
        for number in range(len(data) // size):
            raw = data[number * size:(number + 1) * size]
            if not any(raw[:4]):  # never used
                continue
            try:
                record = parse(raw, first + number)
            except Exception:  # whatever forged attributes provoke
                record = None
            if record is not None:
                yield record
            elif raw[:4] in (b"FILE", b"BAAD"):
                yield first + number


def _entries(row: tuple[Any, ...], folders: Folders, sequences: dict[int, int]) -> Iterator[FileEntry]:
    if len(row) == 1:
        yield FileEntry(ORPHANS + b"/OrphanFile-%d" % row[0], row[0], problem="inode")
        return
    segment, mode, size, (mtime, atime, ctime, btime), names, streams = row
    if segment == ROOT:
        paths = [b"/"]
    else:
        paths = []
        for parent, sequence, name in names:
            folder = folders.path(parent)
            if sequence and sequences.get(parent, sequence) != sequence:  # its folder was removed, the number reused
                folder = None
            paths.append((ORPHANS if folder is None else folder) + b"/" + legible(name))
    for path in paths:
        yield FileEntry(path, segment, mode, 0, 0, size, mtime, atime, ctime, btime, links=len(paths))
        for name, stream_size in streams:
            yield FileEntry(path + b":" + legible(name), segment, 0o100000 | mode & 0o777, 0, 0, stream_size, mtime,
                            atime, ctime, btime, name)
