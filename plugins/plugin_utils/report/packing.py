# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The timeline as one compact block: columns, each text once, times as differences, deflated, in base64.

Whole seconds and nanoseconds travel apart, because a number of JavaScript holds 53 bits only.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .texts import ANEW, EXACT, NAME, ReportError, dicts, is_whole, plain, severity, worst_first

MOST_ROWS = 100_000
MOST_BYTES = 3_000_000  # of the block; hostile names that do not shrink cost rows, not the report
LONGEST_PATH = 4096
SECOND = 1_000_000_000
FAR = 9 * 10**15  # seconds; further away, a time travels as text
BITS = {"m": 1, "a": 2, "c": 4, "b": 8}
Row = tuple[int | None, int, str, Any, str, Any, str]
Found = Mapping[tuple[str, str], tuple[int, str]]  # partition and path: number and severity


@dataclass(frozen=True)
class Packed:
    """A timeline for the report's script, and what a reader has to know of it."""

    block: str  # JSON
    inline: int  # rows in it
    total: int  # rows that the producer counted
    dropped: int  # rows that were given and did not fit
    timeless: int  # rows in it without a time


def json_block(value: Any) -> str:
    """JSON that may stand in a <script> element: nothing in it ends the element, or opens a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def pack(data: Mapping[str, Any]) -> Packed:
    """The timeline of a report's data."""
    timeline = data.get("timeline") or {}
    given = timeline.get("rows") or [] if isinstance(timeline, Mapping) else None
    if not isinstance(given, (list, tuple)):
        raise ReportError(f"'timeline' of the report's data must be an object whose 'rows' are a list: {ANEW}")
    rows = [_row(row, number) for number, row in enumerate(given)]
    # The number is the finding's in the report; of several about one file, the worst marks its rows.
    found = {(plain(finding.get("partition"), NAME), plain(finding.get("path"), LONGEST_PATH)):
             (number, severity(finding.get("severity")))
             for number, finding in reversed(list(enumerate(worst_first(dicts(data, "findings")), 1)))}
    kept = _fitting(rows, found, MOST_ROWS)
    block = _block(kept, found)
    while len(block) > MOST_BYTES and kept:
        kept = _fitting(kept, found, int(len(kept) * 0.9 * MOST_BYTES / len(block)))
        block = _block(kept, found)
    entries = timeline.get("entries")
    total = max(entries, len(rows)) if is_whole(entries) else len(rows)
    return Packed(block, len(kept), total, len(rows) - len(kept), sum(row[0] is None for row in kept))


def _row(row: Any, number: int) -> Row:
    """A row as the packing wants it. What is missing at its end is unknown."""
    if not isinstance(row, (list, tuple)) or not row or not (row[0] is None or is_whole(row[0])):
        raise ReportError(f"Row {number} of the timeline must be a list that begins with whole nanoseconds or null: "
                          f"{ANEW}")
    time, what, path, length, partition, uid, mode = row if len(row) == 7 else [*row, *[None] * 7][:7]
    return (time, _bits(str(what or "")), plain(path, LONGEST_PATH), _number(length), _name(partition), _number(uid),
            _name(mode))


@lru_cache(64)
def _bits(what: str) -> int:
    return sum(bit for char, bit in BITS.items() if char in what)


def _name(value: Any) -> str:
    return _short(value) if isinstance(value, str) else plain(value, NAME)


@lru_cache(4096)
def _short(text: str) -> str:
    return plain(text, NAME)


def _number(value: Any) -> int | str | None:
    """A whole number as the script can hold it exactly, else as text."""
    if is_whole(value):
        return value if abs(value) < EXACT else str(value)
    return None if value is None or value == "" else plain(value, NAME)


def _about(row: Row, found: Found) -> tuple[int, str] | None:
    """The finding about a row's file. One that names no partition is about that path on each."""
    return found.get((row[4], row[2])) or found.get(("", row[2]))


def _order(row: Row) -> tuple[bool, int]:
    return row[0] is None, row[0] or 0


def _fitting(rows: Sequence[Row], found: Found, most: int) -> list[Row]:
    """By time, oldest first and those without one last. Of too many, those with findings stay, and the newest."""
    ordered = sorted(rows, key=_order)
    if len(ordered) <= most:
        return ordered
    last = len(ordered)
    newest = sorted(range(last), key=lambda index: (_about(ordered[index], found) is None,
                                                    ordered[index][0] is None, -(ordered[index][0] or 0), index))
    chosen = set(newest[:max(0, most)])
    return [row for index, row in enumerate(ordered) if index in chosen]


def _block(rows: Sequence[Row], found: Found) -> str:
    """The block of the rows, which are in their order already."""
    paths = {path: number for number, path in enumerate(sorted({row[2] for row in rows}))}
    partitions = {name: number for number, name in enumerate(sorted({row[4] for row in rows}))}
    modes = {name: number for number, name in enumerate(sorted({row[6] for row in rows}))}
    seconds: list[int | None] = []
    nanos: list[int] = []
    far: dict[str, str] = {}
    marks = []
    before = 0
    for index, row in enumerate(rows):
        time = row[0]
        if time is None:
            seconds.append(None)
            nanos.append(0)
        else:
            second, nano = divmod(time, SECOND)
            near = max(-FAR, min(FAR, second))
            if near != second:
                far[str(index)] = str(time)
            seconds.append(near - before)
            nanos.append(nano)
            before = near
        about = _about(row, found)
        if about:
            marks.append([index, *about])
    columns = {
        "seconds": seconds, "nanos": nanos, "far": far, "what": [row[1] for row in rows],
        "path": [paths[row[2]] for row in rows], "sizes": [row[3] for row in rows],
        "partition": [partitions[row[4]] for row in rows], "uid": [row[5] for row in rows],
        "mode": [modes[row[6]] for row in rows], "paths": list(paths), "partitions": list(partitions),
        "modes": list(modes), "findings": marks,
    }
    whole = json.dumps(columns, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return json_block({"encoding": "deflate+base64", "rows": len(rows),
                       "data": base64.b64encode(zlib.compress(whole, 6)).decode("ascii")})


def unpack(block: str) -> dict[str, Any]:
    """The columns of a block: what the script does, for tests and for whoever has nothing but the HTML."""
    packed = json.loads(block)
    columns: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed["data"])))
    return columns
