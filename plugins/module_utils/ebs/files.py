# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are complete or not there, on Linux, macOS and Windows' Linux."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from .errors import BadInput

try:
    import fcntl
except ImportError:  # a system without it: runs are not kept apart there
    fcntl = None  # type: ignore[assignment]


def flush_to_disk(file: BinaryIO | int) -> None:
    """Return when what was written would survive a power loss."""
    if not isinstance(file, int):
        file.flush()
        file = file.fileno()
    if fcntl is not None and hasattr(fcntl, "F_FULLFSYNC"):  # macOS: fsync alone leaves it in the disk's own cache
        with suppress(OSError):  # a file system that cannot
            fcntl.fcntl(file, fcntl.F_FULLFSYNC)
            return
    os.fsync(file)


def publish(partial: Path, final: Path) -> None:
    """Give a file, which was flushed to the disk, its final name, durably."""
    partial.replace(final)
    try:
        folder = os.open(final.parent, os.O_RDONLY)
    except OSError:  # a system that does not open folders
        return
    with suppress(OSError):  # some file systems do not flush folders
        os.fsync(folder)
    os.close(folder)


def lock(file: BinaryIO | int, path: Path) -> None:
    """Keep a second run away from `file`, which was opened as `path`, until it is closed (an advisory lock)."""
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had it may have finished and renamed it after it was opened here.
        mine = os.fstat(file if isinstance(file, int) else file.fileno()).st_ino == path.stat().st_ino
    except FileNotFoundError:
        mine = False
    except OSError:
        raise BadInput(f"Another run is working on {path}: wait for it, or choose another name.") from None
    if not mine:
        raise BadInput(f"Another run has just finished {path}: look at its result.")
