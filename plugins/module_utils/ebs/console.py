# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the command line says: results on standard output, everything else on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from .progress import Progress

_WIDTH = 28
_LINE_SECONDS = 10.0  # between two lines where nobody watches a bar


def say(text: str) -> None:
    """A line of the result."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """A line about the work."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def size(count: float) -> str:
    """Bytes as people read them."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit in ("B", "KiB") else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def duration(seconds: float) -> str:
    """Seconds as people read them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def describe(progress: Progress) -> str:
    """Progress in words."""
    left = "" if progress.left is None else f", about {duration(progress.left)} left"
    tries = f", {progress.retries} tried again" if progress.retries else ""
    return f"{progress.phase} {progress.share:4.0%}, {progress.blocks} blocks, {size(progress.rate)}/s{tries}{left}"


class Bar:
    """A bar on a terminal; elsewhere a line now and then. Call it with a `Progress`."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet, self._watched = quiet, sys.stderr.isatty()
        self._line_at = time.monotonic()
        self._drawn = 0

    def __call__(self, progress: Progress) -> None:
        if self._quiet:
            return
        text = describe(progress)
        if self._watched:
            full = round(progress.share * _WIDTH)
            line = f"[{'#' * full}{'.' * (_WIDTH - full)}] {text}"
            sys.stderr.write(f"\r{line}{' ' * max(0, self._drawn - len(line))}")
            sys.stderr.flush()
            self._drawn = len(line)
        elif time.monotonic() - self._line_at >= _LINE_SECONDS:
            self._line_at = time.monotonic()
            note(text)

    def end(self) -> None:
        """Leave the line of the bar."""
        if self._drawn:
            note("")
            self._drawn = 0


Teller = Callable[[Progress], None]
