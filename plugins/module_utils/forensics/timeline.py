# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file-system timeline of a partition: a bodyfile in the format of mactime 3.x, and the same sorted by time as CSV.

ext and NTFS are read by The Sleuth Kit from the device; XFS and btrfs, which it does not know, as `entries` reads them.
"""

from __future__ import annotations

import csv
import heapq
import io
import re
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import IO, Any

from .dissect_tree import EXT, DissectTree
from .entry_spool import BLOCK, Row, dump_rows, load_rows
from .model import Artifacts, Partition, clean_path
from .steps import Say, StepError
from .timeline_dissect import dissect_lines
from .timeline_line import Line, mode_string
from .times import iso
from .tools import ToolError, environment
from .tree import Entry, Tree

SLEUTHKIT_TYPES = {"ext2": "ext", "ext3": "ext", "ext4": "ext", "ntfs": "ntfs", "vfat": "fat", "exfat": "exfat",
                   "iso9660": "iso9660", "ufs": "ufs", "hfsplus": "hfs"}
DISSECT_TYPES = ("xfs", "btrfs")
TrueTimes = dict[str, tuple[int, int, int]]
CSV_COLUMNS = ("time", "macb", "size", "mode", "uid", "gid", "inode", "path")
CHUNK_ROWS = 400_000
MOST_FILES = 64
# The Sleuth Kit compares every name of a folder with all others: 200,000 take it minutes, a million hours.
CROWDED = 100_000


def make_timeline(partition: Partition, artifacts: Artifacts, stem: str, work: Path, say: Say) -> dict[str, Any]:
    """Write `.bodyfile` and `.timeline.csv`; the numbers of entries and rows."""
    work.mkdir(parents=True, exist_ok=True)
    entries = 0
    notes: dict[str, Any] = {}
    with ExitStack() as stack:
        sorter = Sorter(work)
        body = stack.enter_context(artifacts.create(f"{stem}.bodyfile"))
        table = stack.enter_context(artifacts.create(f"{stem}.timeline.csv"))
        for line in _lines(partition, work, notes):
            entries += 1
            body.write(line.text().encode())
            for moment, macb in line.rows():
                sorter.add((moment, line.path, macb, line.size, line.mode, line.uid, line.gid, line.inode))
            if entries % 5000 == 0:
                say(f"{entries:,} entries")
        if entries == 0:
            raise StepError("empty", f"no entry was read from the {partition.type} file system")
        rows = _write_csv(table, sorter)
    return {"entries": entries, "rows": rows, **notes}


def _lines(partition: Partition, work: Path, notes: dict[str, Any]) -> Iterable[Line]:
    if partition.type in SLEUTHKIT_TYPES and in_one_piece(partition):
        tree = _tree(partition, work)
        true_times, largest = _look_around(tree) if tree else ({}, 0)
        if tree and largest > CROWDED:
            notes["without_deleted"] = 1  # deleted names are in the list of deleted files only
            return tree_lines(tree)
        return sleuthkit_lines(partition, true_times)
    if partition.type in DISSECT_TYPES or (partition.logical and partition.type in EXT):
        return dissect_lines(partition)
    raise StepError("not_supported", f"no reader for file system type {partition.type or 'unknown'}")


def in_one_piece(partition: Partition) -> bool:
    """Whether The Sleuth Kit can read it: a partition, or a logical volume without a break."""
    return partition.logical is None or partition.logical.contiguous is not None


def place(partition: Partition) -> list[str]:
    """Where The Sleuth Kit finds a file system: arguments for its tools."""
    if partition.logical is None or partition.logical.contiguous is None:
        return [partition.device]
    device, offset = partition.logical.contiguous
    return ["-o", str(offset // 512), device]


def sleuthkit_lines(partition: Partition, true_times: TrueTimes) -> Iterator[Line]:
    """What `fls` lists, deleted names and orphans included, with times that it misreads put right."""
    for raw in fls(partition, "-r", "-m", "/"):
        line = parse_body_line(raw)
        if line is not None:
            right = true_times.get(line.inode.split("-")[0])
            if right and "(deleted" not in line.path:
                line.atime, line.mtime, line.ctime = right
            yield line


def fls(partition: Partition, *options: str) -> Iterator[bytes]:
    """Run fls on a partition and yield its lines; raise ToolError when it fails."""
    command = ["fls", "-f", SLEUTHKIT_TYPES[partition.type], *options, *place(partition)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        if process.stdout is None or process.stderr is None:  # for the type checker: both were asked for
            raise ToolError("no output from the tool")
        yield from process.stdout
        said = process.stderr.read(2000).decode("utf-8", "replace").strip()
        code = process.wait()
    if code != 0:
        raise ToolError(f"fls ended with exit code {code}: {said or 'no message'}")


def parse_body_line(raw: bytes) -> Line | None:
    """One line that fls wrote. The name may hold the separator, so the columns are counted from the end."""
    head, _unused, rest = raw.rstrip(b"\n").partition(b"|")
    columns = rest.rsplit(b"|", 9)
    if not head or len(columns) != 10:
        return None
    name, inode, mode, *numbers = columns
    try:
        uid, gid, size, atime, mtime, ctime, crtime = (int(number) for number in numbers)
    except ValueError:
        return None
    path = re.sub(rb"^//", b"/", name)
    return Line(clean_path(path), inode.decode("ascii", "replace"), mode.decode("ascii", "replace"), uid, gid, size,
                atime, mtime, ctime, crtime, path)


def _tree(partition: Partition, work: Path) -> Tree | None:
    """The files of an ext file system, by another reader than The Sleuth Kit's."""
    if not partition.type.startswith("ext"):
        return None
    if partition.mounted and partition.mount_point:
        return Tree(Path(partition.mount_point))
    return DissectTree.of(partition, work / "times") if partition.logical else None


def _look_around(tree: Tree) -> tuple[TrueTimes, int]:
    """Times outside 1970..2038 by inode, and how many entries the largest folder has.

    The Sleuth Kit reads ext4's seconds as 32 unsigned bits: a file from 1960 lands in 2096, one from 2200 in 2063.
    """
    found: TrueTimes = {}
    largest = 0
    for _unused, entries in tree.walk():
        largest = max(largest, len(entries))
        for entry in entries:
            moments = _seconds(entry)
            if any(not 0 <= moment < 1 << 31 for moment in moments):
                found[str(entry.info.st_ino)] = moments
    return found, largest


def _seconds(entry: Entry) -> tuple[int, int, int]:
    info = entry.info
    return info.st_atime_ns // 10**9, info.st_mtime_ns // 10**9, info.st_ctime_ns // 10**9


def tree_lines(tree: Tree) -> Iterator[Line]:
    """What a tree holds, deleted names left out."""
    top = tree.lookup("/")
    yield from [_line(tree, top)] if top else []
    for _unused, entries in tree.walk():
        for entry in entries:
            yield _line(tree, entry)


def _line(tree: Tree, entry: Entry) -> Line:
    info = entry.info
    atime, mtime, ctime = _seconds(entry)
    return Line(clean_path(entry.path), str(info.st_ino), mode_string(info.st_mode), info.st_uid, info.st_gid,
                info.st_size, atime, mtime, ctime, (tree.birth_ns(entry.path) or 0) // 10**9)


class Sorter:
    """Sorts any number of rows with bounded memory: full chunks go to disk and are merged at the end."""

    def __init__(self, work: Path, chunk: int = CHUNK_ROWS) -> None:
        self.work, self.chunk = work, chunk
        self.rows: list[Row] = []
        self.files: list[Path] = []
        self._number = 0

    def add(self, row: Row) -> None:
        """Take a row in."""
        self.rows.append(row)
        if len(self.rows) >= self.chunk:
            self._spill()

    def _spill(self) -> None:
        self.rows.sort()
        self._write(self.rows)
        self.rows = []
        if len(self.files) >= MOST_FILES:  # so that they can all be open at once
            files, self.files = self.files, []
            self._write(heapq.merge(*(_read_chunk(path) for path in files)))
            _remove(files)

    def _write(self, rows: Iterable[Row]) -> None:
        path = self.work / f"timeline-{self._number}.sort"
        self._number += 1
        rows = iter(rows)
        with path.open("wb") as stream:
            while block := list(islice(rows, BLOCK)):
                dump_rows(stream, block)
        self.files.append(path)

    def __iter__(self) -> Iterator[Row]:
        """All rows in order; the files on disk go afterwards."""
        try:
            yield from heapq.merge(sorted(self.rows), *(_read_chunk(path) for path in self.files))
        finally:
            _remove(self.files)


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _read_chunk(path: Path) -> Iterator[Row]:
    with path.open("rb") as stream:
        yield from load_rows(stream)


def _write_csv(target: IO[bytes], rows: Iterable[Row]) -> int:
    text = io.TextIOWrapper(target, encoding="utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    count = 0
    for moment, path, macb, size, mode, uid, gid, inode in rows:
        writer.writerow((iso(moment), macb, size, mode, uid, gid, inode, path))
        count += 1
    text.flush()
    text.detach()
    return count
