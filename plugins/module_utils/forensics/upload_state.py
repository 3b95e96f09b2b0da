# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the uploader knows: which files there are, which of them are finished, and what became of each."""

from __future__ import annotations

import json
import os
import stat
import urllib.parse
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ANALYST = "analyst/"
SETTLED = 15.0  # seconds without a change until a file of the analyst counts as finished
RESTLESS = 600.0  # a file that is written to all the time is taken as it is after so many seconds


@dataclass
class Sent:
    """What is known of one file: `sending` is written before the first try, so that an answer that got lost is not
    taken for somebody else's object."""

    key: str
    size: int
    mtime_ns: int
    sha256: str
    state: str = "sending"  # sending | done | conflict
    version: int = 1


@dataclass
class State:
    """The uploader's memory; it alone writes it."""

    path: Path
    files: dict[str, Sent] = field(default_factory=dict)
    busy: dict[str, float] = field(default_factory=dict)  # since when a file has been changing without being saved
    forgetful: bool = False  # the disk took nothing: what is known now is known until the end of this pass

    @classmethod
    def load(cls, path: Path) -> State:
        """The state as it was left; a missing or torn file is an empty state, and S3 refuses what is there already."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            return cls(path, {name: Sent(**entry) for name, entry in data["files"].items()},
                       {str(name): float(since) for name, since in (data.get("busy") or {}).items()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls(path)

    def save(self) -> None:
        """Replace the file in one step. A full disk keeps nothing from being uploaded: it costs the memory only."""
        try:
            write_json(self.path, {"files": {name: asdict(sent) for name, sent in self.files.items()},
                                   "busy": self.busy})
            self.forgetful = False
        except OSError:
            self.forgetful = True

    def done(self) -> list[Sent]:
        return [sent for sent in self.files.values() if sent.state == "done"]

    def conflicts(self) -> list[str]:
        return sorted(name for name, sent in self.files.items() if sent.state == "conflict")

    def is_done(self, name: str) -> bool:
        return name in self.files and self.files[name].state == "done"

    def is_new(self, name: str, path: Path) -> bool:
        """Whether this content was not yet looked at."""
        sent = self.files.get(name)
        if sent is None or sent.state == "sending":
            return True
        info = path.lstat()
        return (sent.size, sent.mtime_ns) != (info.st_size, info.st_mtime_ns)

    def is_ripe(self, name: str, path: Path, now: float) -> bool:
        """Whether a file of the analyst is finished, as far as anybody can tell, or has been restless for too long."""
        if now - path.lstat().st_mtime >= SETTLED:
            return True
        return now - self.busy.setdefault(name, now) >= RESTLESS


def write_json(path: Path, data: Any) -> None:
    """Write a JSON file that is complete or not there."""
    partial = path.with_name(f".{path.name}.new")
    try:
        with partial.open("w", encoding="utf-8") as handle:
            json.dump(data, handle, indent=1)
            handle.flush()
            os.fsync(handle.fileno())
        partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink()
        raise


@dataclass(frozen=True)
class Folders:
    """Where things are, inside the container as on the host."""

    results: Path
    analyst: Path
    work: Path  # where the analysis leaves its own account of the outcome
    own: Path  # the uploader's own folder: state, lock, how the work ended, the marker

    def files(self) -> Iterator[tuple[str, Path]]:
        """Name and path of every file that is to be kept."""
        for path in _regular_files(self.results):
            yield path.relative_to(self.results).as_posix(), path
        for path in _regular_files(self.analyst):
            yield ANALYST + os.fsencode(path.relative_to(self.analyst)).decode("utf-8", "surrogateescape"), path


def _regular_files(folder: Path) -> Iterator[Path]:
    """Regular files below a folder, in order; hidden ones are unfinished, links lead elsewhere."""
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(base) / name
            with suppress(FileNotFoundError):  # the analyst has just removed it
                if not name.startswith(".") and stat.S_ISREG(path.lstat().st_mode):
                    yield path


def object_name(name: str, version: int = 1) -> str:
    """The part of an object's key that comes from a file's name: anything unusual is percent-encoded."""
    safe = urllib.parse.quote(os.fsencode(name), safe="/ !'()*._-+=,@")
    return safe if version == 1 else f"{safe}.{version}"
