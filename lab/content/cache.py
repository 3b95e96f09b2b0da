# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Things that take long to build are built once, under the hash of their recipe, and appear only when complete."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

RECENT_SECONDS = 3600


class BuildError(Exception):
    """Something could not be built; the message says what was tried and what to do."""


def recipe_key(*parts: str | bytes) -> str:
    """A short name for a recipe: everything that, when changed, makes a different result."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()[:16]


def ensure(cache: Path, kind: str, key: str, build: Callable[[Path], None]) -> Path:
    """The folder `<kind>-<key>` in the cache; `build` fills it when it is not there yet.

    Only one process builds a kind at a time; the others wait and find it done. The folder stays as long as this process
    lives; what other recipes of the kind have left is removed after a build.
    """
    target = cache / f"{kind}-{key}"
    if hold(target):
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f".{kind}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if hold(target):
            return target
        for stale in cache.glob(f".building-{kind}-*"):  # we hold the lock: its builder was killed
            shutil.rmtree(stale)
        work = Path(tempfile.mkdtemp(prefix=f".building-{kind}-", dir=cache))
        try:
            work.chmod(0o755)
            build(work)
            work.rename(target)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
        hold(target)
        _prune(cache, kind, target)
    return target


_held: dict[Path, int] = {}


def hold(folder: Path) -> bool:
    """Keep a folder of the cache from being removed until this process ends; False when there is no such folder."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    fcntl.flock(handle, fcntl.LOCK_SH)
    with suppress(OSError):  # a reader who does not own the cache leaves no trace of its use
        os.utime(handle)
    try:
        same = folder.stat().st_ino == os.fstat(handle).st_ino
    except FileNotFoundError:  # it was being removed
        same = False
    # One held before under this name goes: it is the same, or somebody has removed it by hand.
    previous = _held.pop(folder, None) if same else handle
    if previous is not None:
        os.close(previous)
    if same:
        _held[folder] = handle
    return same


def _prune(cache: Path, kind: str, current: Path) -> None:
    """Remove what older recipes of a kind left: all but the one used last, those used within the hour (hosts of a lab
    that was killed may still run on them), and those that a process holds."""
    name = re.compile(rf"{re.escape(kind)}-[0-9a-f]{{16}}")
    others = [path for path in cache.iterdir() if name.fullmatch(path.name) and path != current]
    for path in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[1:]:
        if path.stat().st_mtime > time.time() - RECENT_SECONDS:
            continue
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Away under its name first: nobody may find half of it.
            shutil.rmtree(path.rename(path.with_name(f".building-{path.name}-old")), ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(handle)
