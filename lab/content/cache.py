# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Things that take long to build are built once, under the hash of their recipe, and appear only when complete."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


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

    Only one process builds a kind at a time; the others wait and find it done.
    """
    target = cache / f"{kind}-{key}"
    if target.is_dir():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f".{kind}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.is_dir():
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
    return target
