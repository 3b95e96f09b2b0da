# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deleted files: what the file system still knows of them, and their content where it can be had.

Names come from folder entries that were unlinked but not overwritten. An inode without a name is an orphan. Content is
what the inode's block list still leads to; blocks that were given to another file since then are marked as unsure.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import subprocess
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from .ext_journal import JournalInodes, open_journal
from .model import Artifacts, Partition, clean_path
from .steps import Say
from .timeline import SLEUTHKIT_TYPES, fls, in_one_piece, parse_body_line, place
from .timeline_line import Line
from .times import iso
from .tools import ToolError, environment
from .xfs_deleted import XfsDeleted

FILE_LIMIT = 64 << 20
TOTAL_LIMIT = 1 << 30
COUNT_LIMIT = 20_000
NTFS_FIRST_FILE = 24  # MFT records below belong to the file system itself
SUPPORTED = ("ext2", "ext3", "ext4", "ntfs", "vfat", "exfat", "xfs")
# What an analyst must know who reads the list.
LIMITS = {
    "xfs": "XFS forgets the length of a deleted file, its mode, and mostly its name: content is given as whole blocks "
           "without the zeros at the end, and may have gaps where blocks were used by another file in between. Files "
           "of many extents, and inodes whose whole chunk was freed, are not found.",
    "btrfs": "btrfs writes every change to another place and soon re-uses the old one: neither the tools here nor "
             "btrfs' own list deleted files. Look into snapshots (subvolumes) on the same file system, which the "
             "timeline lists, and carve the free space.",
}
IN_PIECES = ("The logical volume lies in several pieces, and the tool that reads deleted files of this file system "
             "reads a volume in one piece only.")
NOT_READ = "no tool in this image reads deleted files of this file system"


@dataclass
class Deleted:
    """One deleted file, as `….deleted.json` lists it."""

    path: str
    name_known: bool
    reallocated: bool
    line: Line
    size: int = 0
    sha256: str | None = None
    content: str = "none"  # recovered, partial, journal, blocks, none, too_large, reallocated, limit
    member: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the list."""
        line = self.line
        times = {key: iso(value) for key, value in (("m", line.mtime), ("a", line.atime), ("c", line.ctime),
                                                    ("b", line.crtime)) if value}
        return {"path": self.path, "name_known": self.name_known, "inode": _number(line.inode), "kind": line.mode[:1],
                "mode": line.mode, "uid": line.uid, "gid": line.gid, "size": self.size, "times": times,
                "reallocated": self.reallocated, "content": self.content, "sha256": self.sha256, "member": self.member}


def _number(inode: str) -> int | None:
    digits = re.match(r"\d+", inode)
    return int(digits[0]) if digits else None


def recover_deleted(partition: Partition, artifacts: Artifacts, stem: str, say: Say) -> dict[str, Any]:
    """Write `.deleted.json` and `.deleted.tar.gz`; the numbers of names, orphans and recovered files."""
    in_pieces = partition.type not in ("xfs", "btrfs") and not in_one_piece(partition)
    if partition.type not in SUPPORTED or in_pieces:
        limits = IN_PIECES if in_pieces else LIMITS.get(partition.type, NOT_READ)
        artifacts.write_json(f"{stem}.deleted.json", {"supported": False, "type": partition.type, "limits": limits,
                                                      "files": []})
        with artifacts.create(f"{stem}.deleted.tar.gz") as target, _archive(target):
            pass
        return {"supported": False, "deleted": 0, "recovered": 0}
    files: list[Deleted] = []
    journal = open_journal(partition) if partition.type in ("ext3", "ext4") else None
    xfs = XfsDeleted(partition) if partition.type == "xfs" else None
    total = 0
    truncated = False
    with artifacts.create(f"{stem}.deleted.tar.gz") as target, _archive(target) as archive:
        for item in xfs_entries(xfs) if xfs else deleted_entries(partition):
            if len(files) >= COUNT_LIMIT:
                truncated = True
                break
            if item.line.mode[2:3] in ("r", "-") or item.line.mode[:1] in ("r", "-"):
                if total >= TOTAL_LIMIT:
                    item.content, truncated = "limit", True
                else:
                    total += _recover(partition, item, archive, journal, xfs)
            files.append(item)
            say(f"{len(files):,} deleted entries, {total >> 20} MiB recovered")
    recovered = sum(1 for item in files if item.member)
    artifacts.write_json(f"{stem}.deleted.json", {
        "supported": True, "type": partition.type, "truncated": truncated,
        **({"limits": LIMITS[partition.type], "unreadable": xfs.unreadable} if xfs else {}),
        "files": [item.as_dict() for item in files]})
    return {"supported": True, "deleted": len(files), "named": sum(1 for item in files if item.name_known),
            "orphans": sum(1 for item in files if not item.name_known), "recovered": recovered, "bytes": total}


class _archive:
    """A tar.gz on a stream, without the time of its making: the same content makes the same bytes."""

    def __init__(self, target: IO[bytes]) -> None:
        self.zip = gzip.GzipFile(filename="", fileobj=target, mode="wb", compresslevel=3, mtime=0)
        self.tar = tarfile.open(fileobj=self.zip, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    def __enter__(self) -> tarfile.TarFile:
        return self.tar

    def __exit__(self, *_unused: object) -> None:
        self.tar.close()
        self.zip.close()


def deleted_entries(partition: Partition) -> Iterator[Deleted]:
    """Deleted names and orphans. An inode that has a name is not repeated as an orphan."""
    seen: set[str] = set()
    orphans: list[Deleted] = []
    for raw in fls(partition, "-r", "-d", "-m", "/"):
        line = parse_body_line(raw)
        if line is None:
            continue
        path, reallocated = _strip_flag(line.path)
        if partition.type == "ntfs" and _no_file(path, line):
            continue
        orphan = path.startswith(("/$OrphanFiles/", "/-/"))
        item = Deleted(path, not orphan, reallocated, line, size=line.size)
        if orphan:
            orphans.append(item)
            continue
        if line.inode not in ("0", ""):
            seen.add(line.inode)
        yield item
    for item in orphans:
        if item.line.inode not in seen:
            yield item


def xfs_entries(xfs: XfsDeleted) -> Iterator[Deleted]:
    """Freed inodes of XFS, and removed names whose inode is in use again."""
    for path, name_known, reallocated, line in xfs.lines():
        line.path = clean_path(path)
        yield Deleted(line.path, name_known, reallocated, line, size=line.size)


def _no_file(path: str, line: Line) -> bool:
    """NTFS: the name attribute that fls lists beside each file, and records that are reserved and were never used."""
    return path.endswith(" ($FILE_NAME)") or ((_number(line.inode) or 0) < NTFS_FIRST_FILE and line.size == 0)


def _strip_flag(path: str) -> tuple[str, bool]:
    for flag, reallocated in ((" (deleted-realloc)", True), (" (deleted)", False)):
        if path.endswith(flag):
            return path[: -len(flag)], reallocated
    return path, False


def _recover(partition: Partition, item: Deleted, archive: tarfile.TarFile, journal: JournalInodes | None,
             xfs: XfsDeleted | None) -> int:
    """Put a file's content into the archive and note what came of it; the number of bytes."""
    inode = _number(item.line.inode)
    if item.reallocated or not inode:
        item.content = "reallocated" if item.reallocated else "none"
        return 0
    data: bytes | None = None
    origin = "recovered"
    if xfs is not None:
        data, origin = xfs.content(inode, FILE_LIMIT)
        if data is None:
            item.content = origin if origin != "blocks" else "none"
            return 0
        item.size = len(data)
    elif item.line.size > 0:
        data = _icat(partition, item.line.inode)
    elif journal is not None:
        # The kernel clears size and block list on deletion; an older copy of the inode may still be in the journal.
        data, origin = journal.content(inode, FILE_LIMIT), "journal"
    if not data:
        return 0
    if len(data) > FILE_LIMIT:
        item.content = "too_large"
        return 0
    if origin == "recovered" and len(data) < item.line.size:
        origin = "partial"
    item.size, item.content = max(item.size, len(data)), origin
    item.sha256 = hashlib.sha256(data).hexdigest()
    item.member = member_name(item.path, inode, item.name_known)
    info = tarfile.TarInfo(item.member)
    info.size, info.mode, info.mtime = len(data), 0o400, max(0, item.line.mtime or item.line.ctime)
    archive.addfile(info, io.BytesIO(data))
    return len(data)


def member_name(path: str, inode: int, name_known: bool) -> str:
    """A name in the archive that stays below its folder wherever it is unpacked, and runs nowhere by accident."""
    if not name_known:
        return f"orphans/{inode}"
    parts = [re.sub(r"[^A-Za-z0-9._@%+=,-]", "_", part)[:100] for part in path.split("/")]
    return "/".join(("files", *(part for part in parts if part not in ("", ".", ".."))))[:900] + f".{inode}"


def _icat(partition: Partition, inode: str) -> bytes | None:
    """What the inode's block list leads to, one byte more than the limit at most."""
    command = ["icat", "-r", "-f", SLEUTHKIT_TYPES[partition.type], *place(partition), inode]
    until = time.monotonic() + 60
    chunks: list[bytes] = []
    size = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment()) as process:
        if process.stdout is None:  # for the type checker: it was asked for
            raise ToolError("no output from the tool")
        while chunk := process.stdout.read(1 << 20):
            chunks.append(chunk)
            size += len(chunk)
            if size > FILE_LIMIT or time.monotonic() > until:
                process.kill()
                break
    return b"".join(chunks) or None
