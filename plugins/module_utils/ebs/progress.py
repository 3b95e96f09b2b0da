# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run says of itself while it works."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from .blocks import BLOCK_SIZE


@dataclass(frozen=True)
class Progress:
    """How far a run is. Bytes and seconds; `left` is None while nobody can tell."""

    phase: str  # checking (what an earlier run left), imaging, hashing, finishing
    position: int  # bytes of the volume that are done, holes included
    size: int
    blocks: int  # written blocks that are done
    expected_blocks: int  # an estimate; 0: unknown
    fetched: int  # blocks of them that came from AWS in this run
    rate: float  # bytes a second of written blocks, of late
    retries: int
    seconds: float
    left: float | None

    @property
    def share(self) -> float:
        """0.0 to 1.0: of the expected blocks where there is an estimate, else of the volume."""
        if self.expected_blocks:
            return min(1.0, self.blocks / max(self.expected_blocks, self.blocks, 1))
        return self.position / self.size if self.size else 0.0


class Meter:
    """Calls `tell` at most every `every` seconds."""

    def __init__(
        self,
        tell: Callable[[Progress], None] | None,
        size: int,
        expected_blocks: int,
        retries: Callable[[], int],
        every: float = 1.0,
    ) -> None:
        self._tell, self._size, self._expected, self._retries = tell, size, expected_blocks, retries
        self._every = every
        self._began = self._told_at = time.monotonic()
        self.due = self._began + every if tell else float("inf")
        self._told_blocks = 0
        self._rate = 0.0
        self.phase = "imaging"

    def is_due(self) -> bool:
        """Whether it is time to report."""
        return time.monotonic() > self.due

    def tell(self, position: int, blocks: int, fetched: int, *, now: float | None = None) -> None:
        """Report, whether or not it is due."""
        if self._tell is None:
            return
        now = time.monotonic() if now is None else now
        passed = now - self._told_at
        if passed > 0:
            rate = (blocks - self._told_blocks) * BLOCK_SIZE / passed
            self._rate = rate if not self._rate else 0.7 * self._rate + 0.3 * rate
        self._told_at, self._told_blocks = now, blocks
        self.due = now + self._every
        left = None
        if self._expected and self._rate:
            left = max(0.0, (self._expected - blocks) * BLOCK_SIZE / self._rate)
        elif position and now > self._began:
            left = (self._size - position) * (now - self._began) / position
        self._tell(
            Progress(
                self.phase,
                position,
                self._size,
                blocks,
                self._expected,
                fetched,
                self._rate,
                self._retries(),
                now - self._began,
                left,
            )
        )
