# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files out of a disk, each with its SHA-256: by path, by pattern, by inode.

No name from the evidence becomes a path of this machine as it is: names are spelled in letters, digits and a few signs,
and a list beside the files says what each was called.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..ebs.errors import BadInput, EngineError
from ..ebs.version import __version__
from ..forensics.model import clean_path
from ..forensics.stage import numbered, plain_name
from ..forensics.times import iso_ns, utc_now
from ..forensics.tree import Entry, Tree
from .disk import Part
from .globs import matching
from .sources import Source

LIST = "extracted.json"
CHUNK = 1 << 20
KINDS = {stat.S_IFDIR: "folder", stat.S_IFLNK: "link", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket",
         stat.S_IFCHR: "device", stat.S_IFBLK: "device"}


@dataclass
class Wanted:
    """What is asked for. `largest`, `total`: bytes; larger files, and what comes after the total, are listed only."""

    paths: Sequence[str] = ()
    inodes: Sequence[int] = ()
    partition: str = ""  # all of them, if empty
    largest: int = 1 << 30
    total: int = 8 << 30
    asked: str = ""  # a digest of the question, kept in the list
    tell: Callable[[str], None] = field(default=lambda _text: None)


def extract(source: Source, trees: Sequence[tuple[Part, Tree]], wanted: Wanted, folder: Path) -> dict[str, Any]:
    """Write the files into a folder that is empty or does not exist, and the list last; returns the list."""
    for path in wanted.paths:
        if not path.startswith("/") or not path.strip("/"):
            raise BadInput(f"{path!r} is no absolute path within the evidence: say /etc/passwd, or /home/*/.ssh/**.")
    if not wanted.paths and not wanted.inodes:
        raise BadInput("Nothing is asked for: name paths or inodes.")
    used = [(part, tree) for part, tree in trees if wanted.partition in ("", part.name)]
    if not used:
        known = ", ".join(part.name for part, _tree in trees) or "none"
        raise BadInput(f"There is no partition {wanted.partition or 'at all'} that can be read; there are: {known}.")
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise BadInput(f"{folder} is not empty: name another folder, so that nothing is mixed up.")
    taken: list[dict[str, Any]] = []
    left, left_out = wanted.total, 0
    for part, tree in used:
        for entry in _entries(tree, wanted):
            source.check()
            row = _facts(part, tree, entry)
            taken.append(row)
            if not entry.is_file:
                row["reason"] = f"a {KINDS.get(stat.S_IFMT(entry.info.st_mode), 'special file')}, no regular file"
            elif entry.info.st_size > min(wanted.largest, left):
                row["reason"] = ("larger than the limit for one file" if entry.info.st_size > wanted.largest
                                 else "the limit for all files is reached")
                left_out += 1
            else:
                _copy(source, tree, entry, folder, row)
                left -= row["bytes"]
                wanted.tell(f"{len(taken)} files, {(wanted.total - left) >> 20} MiB")
    source.check()
    if source.spent:
        raise source.failed or EngineError("The budget of blocks is spent.")
    if not taken:
        raise BadInput("Nothing of what was asked for is there: check the paths against the timeline of a triage.")
    data = {"source": {"kind": source.kind, "name": source.name, **source.cost()}, "made": utc_now(),
            "asked": wanted.asked, "tool": {"name": "dfir.aws", "version": __version__}, "files": taken,
            "left_out": left_out}
    partial = folder / f".partial-{LIST}"
    partial.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    partial.rename(folder / LIST)
    return data


def _entries(tree: Tree, wanted: Wanted) -> Iterator[Entry]:
    seen: set[bytes] = set()
    for entry in matching(tree, wanted.paths):
        seen.add(entry.path)
        yield entry
    numbers = set(wanted.inodes)
    for _folder, entries in tree.walk() if numbers else ():
        for entry in entries:
            if entry.info.st_ino in numbers and entry.path not in seen:
                seen.add(entry.path)
                yield entry


def _facts(part: Part, tree: Tree, entry: Entry) -> dict[str, Any]:
    info = entry.info
    times = {"m": info.st_mtime_ns, "a": info.st_atime_ns, "c": info.st_ctime_ns, "b": tree.birth_ns(entry.path)}
    return {"partition": part.name, "path": clean_path(entry.path), "inode": info.st_ino,
            "mode": stat.filemode(info.st_mode), "uid": info.st_uid, "gid": info.st_gid, "size": info.st_size,
            "times": {key: iso_ns(value) for key, value in times.items() if value is not None},
            "file": "", "sha256": None, "bytes": 0, "reason": ""}


def _copy(source: Source, tree: Tree, entry: Entry, folder: Path, row: dict[str, Any]) -> None:
    """Write one file; it has its name only when it is whole."""
    stream = tree.open(entry.path)
    source.check()
    if stream is None:
        row["reason"] = "it cannot be read"
        return
    *above, name = [plain_name(os.fsdecode(piece)) for piece in entry.path.split(b"/") if piece]
    home = _home(folder / row["partition"], above)
    partial = home / ".partial"
    running, size = hashlib.sha256(), 0
    try:
        with stream, partial.open("wb") as target:
            while chunk := stream.read(CHUNK):
                running.update(chunk)
                size += len(chunk)
                target.write(chunk)
    except EngineError:
        partial.unlink()
        raise
    except Exception as error:  # a broken list of blocks
        partial.unlink()
        source.check()
        row["reason"] = f"it cannot be read to its end ({type(error).__name__})"
        return
    if size != entry.info.st_size:
        partial.unlink()
        source.check()
        row["reason"] = f"only {size} of its {entry.info.st_size} bytes can be read"
        return
    number = 1
    while (final := home / numbered(name, number)).exists():
        number += 1
    partial.rename(final)
    row |= {"file": str(final.relative_to(folder)), "sha256": running.hexdigest(), "bytes": size}


def _home(top: Path, names: Sequence[str]) -> Path:
    """The folder of these names, made. Names that were different in the evidence can be spelled alike here."""
    for name in names:
        number = 1
        while (folder := top / numbered(name, number)).is_file():
            number += 1
        top = folder
    top.mkdir(parents=True, exist_ok=True)
    return top
