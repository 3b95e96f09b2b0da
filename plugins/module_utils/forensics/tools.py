# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that the analysis starts: found, run with a bound, their words kept short."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SHARE = Path(os.environ.get("DFIR_SHARE") or Path(sys.prefix) / "share" / "dfir")
"""Rules, samples and filters of the image. Not beside this file: Ansible carries .py files and nothing else."""


class ToolError(Exception):
    """A tool failed, is missing or took too long; the message names it and what it said."""


def run(command: Sequence[str | bytes | os.PathLike[str]], *, timeout: float = 300, ok: Sequence[int] = (0,),
        cwd: Path | None = None, stdin: bytes | None = None) -> bytes:
    """Run a tool and return its standard output; raise ToolError unless it ended with one of `ok`."""
    name = os.fsdecode(command[0])
    try:
        done = subprocess.run(list(command), check=False, capture_output=True, timeout=timeout, cwd=cwd,
                              input=stdin if stdin is not None else b"", env=environment())
    except FileNotFoundError as error:
        raise ToolError(f"{name} is not installed in this image") from error
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{name} did not end within {timeout:.0f} s") from error
    if done.returncode not in ok:
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
        raise ToolError(f"{name} ended with exit code {done.returncode}: {said[-1][:300] if said else 'no message'}")
    return done.stdout


def environment() -> dict[str, str]:
    """A small environment for tools: English, UTC, everything temporary where the caller's TMPDIR says."""
    keep = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR") if key in os.environ}
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp", **keep, "LC_ALL": "C.UTF-8", "TZ": "UTC"}  # noqa: S108


def script(name: str) -> str:
    """A console script of this image's own Python environment (`log2timeline`), else whatever PATH has."""
    for candidate in (name, f"{name}.py"):
        path = Path(sys.executable).parent / candidate
        if path.exists():
            return str(path)
    return name
