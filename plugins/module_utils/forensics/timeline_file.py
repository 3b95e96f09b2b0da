# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The timeline of several partitions as files: a bodyfile in the format of mactime 3.x, the same sorted by time as CSV,
and the newest rows for a report.

The CSV is the columnar file: whoever wants Parquet has a tool that makes it of this in a minute, and no writer of it
that is light enough to be asked of every execution environment. Both files are the same whenever the entries are.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from .entry_spool import Row
from .entry_walk import FileEntry
from .model import Artifacts, clean_path
from .timeline import Sorter
from .timeline_dissect import UNREADABLE, line_of
from .timeline_line import marked, mode_string
from .times import iso

COLUMNS = ("time", "macb", "partition", "path", "size", "mode", "uid", "gid", "inode")
CHUNK_ROWS = 150_000  # sorted in memory at once: some 80 MB
LEVEL = 5  # of gzip: twice as fast as the usual 9, a few percent larger
_mode = lru_cache(4096)(mode_string)


@dataclass
class Timeline:
    """What was written. `newest`: rows `[nanoseconds, "macb", path, size, partition, uid, mode]`, by time."""

    entries: int = 0
    rows: int = 0
    unreadable: int = 0  # names whose inode, and folders whose list of names, could not be read
    newest: list[list[Any]] = field(default_factory=list)
    local: list[str] = field(default_factory=list)  # partitions whose times are local, of an unknown zone


def write_timeline(found: Iterable[tuple[str, FileEntry]], artifacts: Artifacts, work: Path, *, name: str = "timeline",
                   several: bool = False, newest: int = 0, chosen: Collection[tuple[str, str]] = (),
                   local: Collection[str] = ()) -> Timeline:
    """Write `<name>.bodyfile.gz` and `<name>.csv.gz` from partitions' names with their entries.

    `several`: paths of the bodyfile begin with the partition, as in `/p1/etc/passwd`. `newest`: how many rows to give
    back: first those of the paths in `chosen` (partition and path as `clean_path` spells it), then the newest ones.
    `local`: partitions whose times are local ones (FAT); theirs stand in the CSV without the Z of UTC.
    """
    work.mkdir(parents=True, exist_ok=True)
    result = Timeline(local=sorted(local))
    latest = _Newest(newest, frozenset(chosen))
    sorter = Sorter(work, CHUNK_ROWS)
    with ExitStack() as stack:
        body = stack.enter_context(_packed(artifacts, f"{name}.bodyfile.gz"))
        for partition, entry in found:
            if entry.problem:
                result.unreadable += 1
                if entry.problem == "folder":  # it has an entry of its own besides
                    continue
            result.entries += 1
            prefix = b"/" + partition.encode() if several else b""
            body.write(line_of(entry, prefix).text())
            path = clean_path(entry.path)
            for moment, macb in moments(entry):
                row = (moment, partition, path, macb, entry.size, entry.mode, entry.uid, entry.gid, entry.inode)
                sorter.add(row)
        table = stack.enter_context(_packed(artifacts, f"{name}.csv.gz"))
        result.rows = _write_table(table, latest.passing(merged(sorter)), frozenset(local))
    result.newest = latest.rows()
    return result


def moments(entry: FileEntry) -> Iterator[tuple[int, str]]:
    """Each distinct time of an entry with the flags (modified, accessed, changed, born) that it stands for."""
    modified, accessed, changed, born = entry.mtime, entry.atime, entry.ctime, entry.btime
    if modified is not None and modified == accessed == changed == born:  # as with most files
        yield modified, "macb"
    elif modified is not None and modified == accessed == changed:  # as where a system was copied
        yield modified, "mac."
        if born is not None:
            yield born, "...b"
    else:
        yield from marked((modified, accessed, changed, born))


def merged(rows: Iterable[Row]) -> Iterator[Row]:
    """Sorted rows, those of the same time and path joined into one with the flags of both."""
    last: Row | None = None
    for row in rows:
        if last is not None and last[:3] == row[:3]:
            last = (*last[:3], _both(last[3], row[3]), *last[4:])
            continue
        if last is not None:
            yield last
        last = row
    if last is not None:
        yield last


def _both(one: str, other: str) -> str:
    return "".join(a if a != "." else b for a, b in zip(one, other, strict=True))


class _Newest:
    """The rows that a report shows, with bounded memory: those of chosen paths count more than any other."""

    def __init__(self, count: int, chosen: frozenset[tuple[str, str]]) -> None:
        self.count, self.chosen = count, chosen
        self._marked: deque[Row] = deque(maxlen=count)
        self._others: deque[Row] = deque(maxlen=count)

    def passing(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows, which are in order, as they are; the last ones are kept."""
        marked, others, chosen = self._marked.append, self._others.append, self.chosen
        for row in rows:
            if (row[1], row[2]) in chosen:
                marked(row)
            else:
                others(row)
            yield row

    def rows(self) -> list[list[Any]]:
        """All of them by time."""
        surplus = len(self._marked) + len(self._others) - self.count
        kept = sorted([*self._marked, *list(self._others)[max(0, surplus):]])
        return [[moment, macb, path, size, partition, uid, _mode(mode) if mode else UNREADABLE]
                for moment, partition, path, macb, size, mode, uid, _gid, _inode in kept]


@contextmanager
def _packed(artifacts: Artifacts, name: str) -> Iterator[IO[str]]:
    """A text artifact that is compressed while it is written; no time and no name in its header."""
    with artifacts.create(name) as raw, gzip.GzipFile("", "wb", LEVEL, raw, mtime=0) as packed, \
            io.BufferedWriter(packed, 1 << 18) as stream, io.TextIOWrapper(
                stream, encoding="utf-8", newline="") as text:
        yield text


def _write_table(target: IO[str], rows: Iterable[Row], local: frozenset[str]) -> int:
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    second, text = -1, iso(-1).removesuffix("Z")
    for moment, partition, path, macb, size, mode, uid, gid, inode in rows:
        whole, fraction = divmod(moment, 10**9)
        if whole != second:  # neighbors often share theirs
            second, text = whole, iso(whole).removesuffix("Z")
        zone = "" if partition in local else "Z"
        writer.writerow((f"{text}.{fraction:09d}{zone}", macb, partition, path, size, _mode(mode), uid, gid, inode))
        count += 1
    return count
