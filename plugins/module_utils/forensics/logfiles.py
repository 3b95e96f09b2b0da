# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of text logs with their moments: compressed or not, with or without a year, in the machine's own time zone."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from typing import IO, NamedTuple

from .tree import Entry, Tree

SIZE_LIMIT = 256 << 20
# What is unpacked and kept of all logs together: a file of a few hundred KiB can hold a gigabyte of short lines.
ALL_BYTES, ALL_LINES, KEPT_LINES = 1 << 30, 6_000_000, 500_000
_MONTHS = {name: number for number, name in enumerate(
    ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1)}
_TRADITIONAL = re.compile(r"([A-Z][a-z]{2}) +(\d{1,2}) (\d\d):(\d\d):(\d\d) (\S+) (.*)")
_ISO = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:?\d\d)? (\S+) (.*)")


@dataclass
class Budget:
    """What may still be read of all logs."""

    size: int = ALL_BYTES
    lines: int = ALL_LINES
    kept: int = KEPT_LINES

    @property
    def spent(self) -> bool:
        return min(self.size, self.lines, self.kept) <= 0


class LogLine(NamedTuple):
    """One line of a log."""

    when: datetime
    message: str
    entry: Entry
    raw: str
    inferred: str = ""  # what of `when` the line itself does not say: "zone", "year and zone"


def zone_of(tree: Tree) -> tzinfo:
    """The evidence's own time zone, from its /etc/localtime; UTC where that cannot be read."""
    data = tree.read("/etc/localtime", 1 << 20)
    if data and data[:4] == b"TZif":
        try:
            from zoneinfo import ZoneInfo

            return ZoneInfo.from_file(io.BytesIO(data), key="evidence")
        except (ValueError, ImportError):
            pass
    return timezone.utc


def read_lines(tree: Tree, entry: Entry, budget: Budget) -> Iterator[str]:
    """A log's lines, unpacked by the name's ending; a damaged archive gives what can be read of it."""
    stream = tree.open(entry.path)
    if stream is None:
        return
    with stream:
        name = entry.name
        source: IO[bytes] = stream
        if name.endswith(b".gz"):
            source = gzip.GzipFile(fileobj=stream)  # type: ignore[assignment]
        elif name.endswith(b".xz"):
            source = lzma.LZMAFile(stream)  # noqa: SIM115 - closed with the stream below it
        elif name.endswith(b".bz2"):
            source = bz2.BZ2File(stream)
        left = SIZE_LIMIT
        try:
            most = min(left, budget.size)
            if source is stream and entry.info.st_size > most > 0:  # its end is the newest
                stream.seek(entry.info.st_size - most)
                budget.size -= len(stream.readline())
            while left > 0 and not budget.spent:
                line = source.readline(65536)
                if not line:
                    return
                left -= len(line)
                budget.size -= len(line)
                budget.lines -= 1
                yield line.decode("utf-8", "surrogateescape").rstrip("\r\n")
        except (OSError, EOFError, lzma.LZMAError, zlib.error, MemoryError):  # xz asks for what its header says
            return


def logs(tree: Tree, *names: str, folder: str = "/var/log") -> list[Entry]:
    """`auth.log`, `auth.log.1`, `auth.log-20260101.gz`, …, oldest first."""
    pattern = re.compile(rb"(?:" + b"|".join(re.escape(name.encode()) for name in names)
                         + rb")(?:[.-]\d+)?(?:\.(?:gz|xz|bz2))?")
    found = [entry for entry in tree.entries(folder) if entry.is_file and pattern.fullmatch(entry.name)]
    return sorted(found, key=lambda entry: entry.info.st_mtime_ns)


def syslog_lines(tree: Tree, entry: Entry, zone: tzinfo, wanted: Callable[[str], object] = bool,
                 budget: Budget | None = None) -> Iterator[LogLine]:
    """Lines of a syslog file whose message is wanted. Where they have no year, the file's last change tells it.

    The last line was written when the file was last changed. A log runs forward, so going back in it, the year falls
    by one wherever a month is later than the one after it.
    """
    budget = budget or Budget()
    pending: list[tuple[tuple[int, int, int, int, int], str, str]] = []
    day = None
    for raw in read_lines(tree, entry, budget):
        match = _ISO.match(raw)
        if match:
            when = _iso_moment(match, zone) if wanted(match[5]) else None
            if when is not None:
                budget.kept -= 1
                yield LogLine(when, match[5], entry, raw, "" if match[3] else "zone")
            continue
        old = _TRADITIONAL.match(raw)
        if old and old[1] in _MONTHS:
            keep = bool(wanted(old[7]))
            if keep or (old[1], old[2]) != day:  # of what is not wanted, the change of date still tells the year
                budget.kept -= 1
                pending.append(((_MONTHS[old[1]], int(old[2]), int(old[3]), int(old[4]), int(old[5])),
                                old[7] if keep else "", raw if keep else ""))
            day = old[1], old[2]
    yield from _with_years(pending, entry, zone)


def _iso_moment(match: re.Match[str], zone: tzinfo) -> datetime | None:
    try:
        moment = datetime.fromisoformat(match[1].replace(" ", "T"))
    except ValueError:
        return None
    if not 1970 <= moment.year < 9999:  # a forged time, whose day before or after no calendar has
        return None
    offset = match[3]
    if offset and offset != "Z":
        digits = offset.replace(":", "")
        shift = timedelta(hours=int(digits[1:3]), minutes=int(digits[3:5]))
        if shift >= timedelta(hours=24):
            return None
        return moment.replace(tzinfo=timezone(-shift if digits[0] == "-" else shift)).astimezone(timezone.utc)
    return moment.replace(tzinfo=timezone.utc if offset == "Z" else zone).astimezone(timezone.utc)


def _with_years(pending: list[tuple[tuple[int, int, int, int, int], str, str]], entry: Entry,
                zone: tzinfo) -> Iterator[LogLine]:
    last = datetime.fromtimestamp(entry.info.st_mtime_ns / 1e9, timezone.utc).astimezone(zone)
    year, later = last.year, (last.month, last.day + 1)
    dated: list[LogLine] = []
    begins, known = last, (0, 0, 0, 0, 0)
    for (month, day, hour, minute, second), message, raw in reversed(pending):
        if (month, day) > later and month - later[0] > 0:
            year -= 1
        later = (month, day)
        if not raw:
            continue
        try:
            if (year, month, day, hour, minute) != known:  # most lines share theirs with the next one
                begins = datetime(year, month, day, hour, minute, tzinfo=zone).astimezone(timezone.utc)
                known = (year, month, day, hour, minute)
            when = begins + timedelta(seconds=min(second, 59))
        except (ValueError, OverflowError):
            continue
        dated.append(LogLine(when, message, entry, raw, "year and zone"))
    yield from reversed(dated)
