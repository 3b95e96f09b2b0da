# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""YARA and ClamAV over the regular files of a mounted partition.

The scanners read a folder of numbered links: nothing outside the list is read, and no name from the evidence can break
or forge what they print.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .content import VENDOR_DATABASE, VENDOR_FILES, files_of
from .model import Artifacts, Partition, clean, clean_path
from .raw_tree import open_tree
from .steps import Say, StepError
from .times import iso_ns
from .tools import SHARE, ToolError, environment
from .tree import Entry, Tree

SIZE_LIMIT = 64 << 20
BATCH = 1 << 30
VENDOR_RULES = SHARE / "rules" / "clamav-vendor"


@dataclass
class Farm:
    """Numbered links to the files to be scanned."""

    folder: Path
    tree: Tree
    entries: list[Entry]
    skipped: int

    def entry(self, link: str) -> Entry | None:
        """The file behind a number."""
        name = link.rsplit("/", 1)[-1]
        return self.entries[int(name)] if name.isdigit() and int(name) < len(self.entries) else None


def plant(partition: Partition, folder: Path) -> Iterator[Farm]:
    """Make the links: regular, not empty, not larger than the limit, each inode once.

    One farm holds them all, unless files have to be copied to be read: then there is one for each batch of copies.
    """
    tree = open_tree(partition, folder.with_name(f"{folder.name}-files"))
    farm, size = _cleared(folder, tree), 0
    inodes: set[tuple[int, int]] = set()  # subvolumes of btrfs have the same numbers
    for _unused, entries in tree.walk():
        for entry in entries:
            inode = entry.info.st_dev, entry.info.st_ino
            if not entry.is_file or entry.info.st_size == 0 or inode in inodes:
                continue
            if entry.info.st_size > SIZE_LIMIT:
                farm.skipped += 1
                continue
            if tree.copies and size + entry.info.st_size > BATCH and farm.entries:
                yield farm
                tree.forget_copies()
                farm, size = _cleared(folder, tree), 0
            inodes.add(inode)
            size += entry.info.st_size
            _link(farm, entry)
    yield farm
    tree.forget_copies()


def _cleared(folder: Path, tree: Tree) -> Farm:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return Farm(folder, tree, [], 0)


def _link(farm: Farm, entry: Entry) -> None:
    number = len(farm.entries)
    # Thousands of links a folder; one folder would slow both tools down on millions of files.
    bucket = os.fsencode(farm.folder) + b"/%04d" % (number // 5000)
    try:
        if number % 5000 == 0:
            os.makedirs(bucket, exist_ok=True)  # noqa: PTH103 - bytes
        os.symlink(farm.tree.host_path(entry.path), bucket + b"/%d" % number)  # noqa: PTH211 - bytes
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        farm.skipped += 1  # a path too long for a link
        return
    farm.entries.append(entry)


def describe(farm: Farm, entry: Entry) -> dict[str, Any]:
    """Path, size, times and SHA-256 of a file that was hit."""
    digest = hashlib.sha256()
    stream = farm.tree.open(entry.path)
    if stream is not None:
        with stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    info = entry.info
    times = {"m": iso_ns(info.st_mtime_ns), "a": iso_ns(info.st_atime_ns), "c": iso_ns(info.st_ctime_ns),
             "b": iso_ns(farm.tree.birth_ns(entry.path))}
    return {"path": clean_path(entry.path), "inode": info.st_ino, "size": info.st_size, "times": times,
            "sha256": digest.hexdigest() if stream is not None else None}


def lines_of(command: Sequence[str | Path], ok: tuple[int, ...]) -> Iterator[bytes]:
    """The lines that a scanner prints; ToolError when it ends with another code than `ok`."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        if process.stdout is None or process.stderr is None:  # for the type checker: both were asked for
            raise ToolError("no output from the tool")
        for raw in process.stdout:
            yield raw.rstrip(b"\n")
        said = process.stderr.read(4000).decode("utf-8", "replace").strip()
        code = process.wait()
    if code not in ok:
        raise ToolError(f"{command[0]} ended with exit code {code}: {said.splitlines()[-1] if said else 'no message'}")


def rule_files(extra: Path | None) -> list[Path]:
    """The image's rules and an operator's own."""
    folders = [SHARE / "rules" / "yara", *([extra] if extra else [])]
    return [path for folder in folders for pattern in ("*.yar", "*.yara") for path in sorted(folder.glob(pattern))]


_STRING = re.compile(r"0x([0-9a-f]+):(\$\w*): (.*)")
_MATCH = re.compile(r"(\w+) \[(.*)\] (\S+)")


def scan_yara(partition: Partition, artifacts: Artifacts, stem: str, work: Path, extra: Path | None,
              say: Say) -> dict[str, Any]:
    """Write `.yara.json`; the numbers of files and hits."""
    rules = rule_files(extra)
    if not rules:
        raise StepError("no_rules", "no YARA rules were found in the image")
    hits: list[dict[str, Any]] = []
    files = skipped = 0
    try:
        for farm in plant(partition, work / "yara"):
            files += len(farm.entries)
            skipped += farm.skipped
            say(f"{files:,} files")
            hits += yara_hits(farm, rules)
    finally:
        shutil.rmtree(work / "yara", ignore_errors=True)
    hits.sort(key=lambda hit: (hit["path"], hit["rule"]))
    artifacts.write_json(f"{stem}.yara.json", {"files": files, "skipped": skipped, "size_limit": SIZE_LIMIT,
                                               "hits": hits})
    return {"files": files, "skipped": skipped, "hits": len(hits)}


def yara_hits(farm: Farm, rules: Sequence[Path]) -> list[dict[str, Any]]:
    """Every hit in a farm, with up to ten strings."""
    hits: list[dict[str, Any]] = []
    known: dict[bytes, dict[str, Any]] = {}
    command: list[str | Path] = ["yara", "-w", "-m", "-s", "-r", "-p", "2", "-a", "600", *rules, farm.folder]
    for raw in lines_of(command, (0,)):
        line = raw.decode("utf-8", "replace")
        matched = _STRING.match(line)
        if matched and hits:
            if len(hits[-1]["strings"]) < 10:
                hits[-1]["strings"].append({"offset": int(matched[1], 16), "name": matched[2],
                                            "data": clean(matched[3], 120)})
            continue
        head = _MATCH.fullmatch(line)
        entry = farm.entry(head[3]) if head else None
        if head is None or entry is None:
            continue
        meta = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', head[2]))
        facts = known.get(entry.path) or known.setdefault(entry.path, describe(farm, entry))
        hits.append({"rule": head[1], "severity": meta.get("severity", "medium"),
                     "description": meta.get("description", ""), **facts, "strings": []})
    return hits


def databases() -> list[Path]:
    """Our own signatures and the team's, and the vendor's where an operator has put them into the image."""
    vendor = [folder for folder in (VENDOR_RULES, VENDOR_DATABASE) if files_of(folder, VENDOR_FILES)]
    return [SHARE / "rules" / "clamav", *vendor]


def clamav_hits(farm: Farm, database: Path) -> Iterator[tuple[Entry, str]]:
    """`(file, signature)` for every hit. Some versions of clamscan print the link, others the name it leads to."""
    by_path: dict[bytes, Entry] = {}
    copied = 0
    for number, entry in enumerate(farm.entries):
        path, link = farm.tree.host_path(entry.path), farm.folder / f"{number // 5000:04d}" / str(number)
        if b"\n" in path:
            # Such a name could forge a line of its own: a copy of its file is scanned instead.
            link.unlink(missing_ok=True)
            copied += entry.info.st_size
            if copied > BATCH:
                farm.skipped += 1
                continue
            link.write_bytes(farm.tree.read(entry.path, SIZE_LIMIT) or b"")
        by_path[path] = by_path[os.fsencode(link)] = entry
    command: list[str | Path] = [
        "clamscan", "--no-summary", "--stdout", "--infected", f"--max-filesize={SIZE_LIMIT}",
        f"--max-scansize={4 * SIZE_LIMIT}", "--max-scantime=60000", "-d", database]
    many = [*command, "-r", "--follow-file-symlinks=2", "--follow-dir-symlinks=0", farm.folder]
    for line in lines_of(many, (0, 1)):
        path, _unused, signature = line.removesuffix(b" FOUND").rpartition(b": ")
        if line.endswith(b" FOUND") and path in by_path:
            yield by_path[path], signature.decode("ascii", "replace")


def scan_clamav(partition: Partition, artifacts: Artifacts, stem: str, work: Path, say: Say) -> dict[str, Any]:
    """Write `.clamav.json`; the numbers of files and hits."""
    hits: list[dict[str, Any]] = []
    sources = databases()
    files = skipped = 0
    try:
        for farm in plant(partition, work / "clamav"):
            files += len(farm.entries)
            for source in sources:
                say(f"{files:,} files")
                for entry, name in clamav_hits(farm, source):
                    hits.append({"signature": name.removesuffix(".UNOFFICIAL"), "own": source == sources[0],
                                 **describe(farm, entry)})
            skipped += farm.skipped
    finally:
        shutil.rmtree(work / "clamav", ignore_errors=True)
    hits.sort(key=lambda hit: (hit["path"], hit["signature"]))
    artifacts.write_json(f"{stem}.clamav.json", {"files": files, "skipped": skipped,
                                                 "vendor_database": len(sources) > 1, "hits": hits})
    return {"files": files, "skipped": skipped, "hits": len(hits)}
