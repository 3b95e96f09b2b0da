# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two moments of a disk: a real file system, and a copy in which e2fsprogs' own debugfs changed something."""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.triage.compare import Comparison
from ansible_collections.dfir.aws.plugins.module_utils.triage.compare_blocks import (
    ENTRIES,
    LISTED,
    Marks,
    SharedSource,
    Way,
)
from ansible_collections.dfir.aws.plugins.module_utils.triage.compare_entries import Change
from ansible_collections.dfir.aws.plugins.module_utils.triage.look import Wish
from ansible_collections.dfir.aws.plugins.module_utils.triage.sources import ImageSource

BLOCK = 524_288
THEN, NOW = "@1690000000", "@2090000000"  # seconds, before and after the making of any disk here


def edit(image: Path, *commands: str) -> None:
    """Change a file system by debugfs, at a moment after all of its own. Every command must be understood."""
    script = "\n".join((f"set_current_time {NOW}", *commands, ""))
    done = subprocess.run(["debugfs", "-w", image], input=script, check=True, capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if not line.startswith("debugfs ")]
    assert not said, said


def touch(path: str, **fields: str) -> list[str]:
    """Commands that set fields of an inode."""
    return [f"set_inode_field {path} {name} {value}" for name, value in fields.items()]


def overwrite(image: Path, old: bytes, new: bytes) -> int:
    """Change bytes in place that are there once, past the file system; where they lie."""
    assert len(old) == len(new)
    length = min(image.stat().st_size, 64 << 20)
    with image.open("r+b") as file, mmap.mmap(file.fileno(), length) as data:
        place = data.find(old)
        assert place >= 0 and data.find(old, place + 1) < 0
        data[place:place + len(new)] = new
    return place


def copy_of(image: Path, to: Path) -> Path:
    """A second moment of it."""
    return Path(shutil.copy(image, to))


def marks_of(base: Path, new: Path) -> Marks:
    """Which blocks differ, by comparing the images themselves."""
    blocks = min(base.stat().st_size, new.stat().st_size) // BLOCK
    with base.open("rb") as one, new.open("rb") as other:
        return Marks(blocks, [number for number in range(blocks) if one.read(BLOCK) != other.read(BLOCK)])


def compare(base: Path, new: Path, *, blocks: bool = True, marks: Marks | None = None, **wish: Any) -> Comparison:
    """Compare two images, with or without knowing which blocks differ."""
    old, later = ImageSource(base), ImageSource(new)
    if not blocks:
        return Comparison(old, later, Way(ENTRIES, "by test"), Wish(**wish)).run()
    marks = marks or marks_of(base, new)
    return Comparison(SharedSource(old, later, marks), later, Way(LISTED, "by test", marks), Wish(**wish)).run()


def changes(one: Comparison) -> dict[str, Change]:
    """Its changes by path."""
    return {os.fsdecode(change.path): change for _part, change in one.changes}


def kinds(one: Comparison) -> dict[str, str]:
    """Path and kind."""
    return {path: change.kind for path, change in changes(one).items()}
