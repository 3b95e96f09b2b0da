# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When everything changed: all entries of all file systems as a bodyfile, and sorted by time as a table.

Times are in UTC at the full precision of the file system, in nanoseconds since 1970. The bodyfile, whose format has
seconds only, is there for the tools that read it. FAT keeps local times without a zone: they stand as if they were UTC,
and the report says so.
"""

from __future__ import annotations

import csv
import gzip
import heapq
import io
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, cast

from ..forensics.dissect_tree import DissectTree
from ..forensics.model import Artifacts, clean_path
from ..forensics.timeline import Sorter
from ..forensics.timeline_line import Line, marked, mode_string
from ..forensics.times import iso_ns
from ..forensics.tree import Entry
from .disk import Part
from .look import Triage

BODYFILE, TABLE = "timeline.bodyfile.gz", "timeline.csv.gz"
COLUMNS = ("time", "macb", "size", "mode", "uid", "gid", "inode", "partition", "path")
SECOND = 10**9
CHUNK = 100_000  # rows that are sorted in memory


def write_timeline(one: Triage, folder: Path, inline: int) -> tuple[dict[str, Any], list[str]]:
    """Write both files; returns what the report holds of them, with up to `inline` rows, and their names."""
    folder.mkdir(parents=True, exist_ok=True)
    artifacts = Artifacts(folder)
    counts: dict[str, int] = {}
    with ExitStack() as stack:
        sorter = Sorter(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".timeline-", dir=folder))),
                        CHUNK)
        body = stack.enter_context(_packed(stack.enter_context(artifacts.create(BODYFILE))))
        for part, tree in one.trees:
            if one.source.spent:
                one.not_read.append(f"{part.name}: its timeline, the budget of blocks was spent before")
                continue
            one.wish.tell(f"{part.name}: writing the timeline")
            counts[part.name] = _entries(part, tree, body, sorter, several=len(one.trees) > 1)
            one.source.check()
            if one.source.spent:
                one.not_read.append(f"{part.name}: its timeline, in part, the budget of blocks was spent")
        table = stack.enter_context(_packed(stack.enter_context(artifacts.create(TABLE))))
        pointed = {(name, finding.path) for name, finding in one.findings}
        rows, kept = _table(table, sorter, pointed, inline)
    digests = artifacts.digests()
    artifacts.forget_sums()
    local = [part.name for part, _tree in one.trees if part.type in ("vfat", "exfat")]
    note = (f"Times on {', '.join(local)} (FAT) are local times of an unknown zone, shown as if they were UTC."
            if local else "")
    return {"entries": rows, "names": sum(counts.values()), "by_partition": counts, "file": TABLE,
            "sha256": digests[TABLE], "zone_note": note, "rows": kept}, [BODYFILE, TABLE]


def _packed(stream: IO[bytes]) -> IO[bytes]:
    """Without name and time, so that the same content gives the same bytes."""
    return cast("IO[bytes]", gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0, compresslevel=6))


def _entries(part: Part, tree: DissectTree, body: IO[bytes], sorter: Sorter, *, several: bool) -> int:
    prefix = f"/{part.name}" if several else ""
    count = 0
    for entry, born in _all(tree):
        count += 1
        info, path = entry.info, clean_path(entry.path)
        times = (info.st_mtime_ns, info.st_atime_ns, info.st_ctime_ns, born)
        mode = mode_string(info.st_mode)
        modified, accessed, changed, born = (0 if moment is None else moment // SECOND for moment in times)
        body.write(Line(prefix + path, str(info.st_ino), mode, info.st_uid, info.st_gid, info.st_size, accessed,
                        modified, changed, born).text().encode())
        for moment, macb in marked(times):
            sorter.add((moment, part.name + path, macb, info.st_size, mode, info.st_uid, info.st_gid, str(info.st_ino)))
    return count


def _all(tree: DissectTree) -> Iterator[tuple[Entry, int | None]]:
    top = tree.lookup("/")
    if top is not None:
        yield top, tree.birth_ns(b"/")
    for _folder, found in tree.folders():
        yield from found


def _table(target: IO[bytes], rows: Iterable[Any], pointed: set[tuple[str, str]], inline: int) -> tuple[int, list[Any]]:
    """Write the rows in their order; how many they are, and those for the report: what findings point at, and the
    newest."""
    text = io.TextIOWrapper(target, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    named: deque[list[Any]] = deque(maxlen=inline)
    newest: deque[list[Any]] = deque(maxlen=inline)
    for moment, where, macb, size, mode, uid, gid, inode in rows:
        name, slash, rest = where.partition("/")
        path = slash + rest
        writer.writerow((iso_ns(moment), macb, size, mode, uid, gid, inode, name, path))
        count += 1
        row = [moment, macb, path, size, name, uid, mode]
        (named if (name, path) in pointed else newest).append(row)
    text.detach()
    room = max(0, inline - len(named))
    chosen = list(newest)[len(newest) - room:] if room else []
    return count, list(heapq.merge(named, chosen, key=lambda row: row[0]))
