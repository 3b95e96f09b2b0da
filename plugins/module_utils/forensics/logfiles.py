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
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from typing import IO

from .tree import Entry, Tree

SIZE_LIMIT = 256 << 20
_MONTHS = {name: number for number, name in enumerate(
    ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1)}
_TRADITIONAL = re.compile(r"([A-Z][a-z]{2}) +(\d{1,2}) (\d\d):(\d\d):(\d\d) (\S+) (.*)")
_ISO = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:?\d\d)? (\S+) (.*)")


@dataclass(frozen=True)
class LogLine:
    """One line of a log."""

    when: datetime
    message: str
    entry: Entry
    raw: str


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


def read_lines(tree: Tree, entry: Entry) -> Iterator[str]:
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
            while left > 0:
                line = source.readline(65536)
                if not line:
                    return
                left -= len(line)
                yield line.decode("utf-8", "surrogateescape").rstrip("\r\n")
        except (OSError, EOFError, lzma.LZMAError, zlib.error):
            return


def logs(tree: Tree, *names: str, folder: str = "/var/log") -> list[Entry]:
    """`auth.log`, `auth.log.1`, `auth.log-20260101.gz`, …, oldest first."""
    pattern = re.compile(rb"(?:" + b"|".join(re.escape(name.encode()) for name in names)
                         + rb")(?:[.-]\d+)?(?:\.(?:gz|xz|bz2))?")
    found = [entry for entry in tree.entries(folder) if entry.is_file and pattern.fullmatch(entry.name)]
    return sorted(found, key=lambda entry: entry.info.st_mtime_ns)


def syslog_lines(tree: Tree, entry: Entry, zone: tzinfo) -> Iterator[LogLine]:
    """Lines of a syslog file. Where they have no year, the file's last change tells it.

    The last line was written when the file was last changed. A log runs forward, so going back in it, the year falls
    by one wherever a month is later than the one after it.
    """
    pending: list[tuple[tuple[int, int, int, int, int], str, str]] = []
    for raw in read_lines(tree, entry):
        match = _ISO.match(raw)
        if match:
            when = _iso_moment(match, zone)
            if when is not None:
                yield LogLine(when, match[5], entry, raw)
            continue
        old = _TRADITIONAL.match(raw)
        if old and old[1] in _MONTHS:
            pending.append(((_MONTHS[old[1]], int(old[2]), int(old[3]), int(old[4]), int(old[5])), old[7], raw))
    yield from _with_years(pending, entry, zone)


def _iso_moment(match: re.Match[str], zone: tzinfo) -> datetime | None:
    try:
        moment = datetime.fromisoformat(match[1].replace(" ", "T"))
    except ValueError:
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
    for (month, day, hour, minute, second), message, raw in reversed(pending):
        if (month, day) > later and month - later[0] > 0:
            year -= 1
        later = (month, day)
        try:
            when = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=zone).astimezone(timezone.utc)
        except (ValueError, OverflowError):
            continue
        dated.append(LogLine(when, message, entry, raw))
    yield from reversed(dated)
