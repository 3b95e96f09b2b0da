# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which blocks will be read next, guessed from those that were: rows, backwards too, and even strides.

A file system's tables lie at even distances and its files in rows. A guess costs a block where it is wrong: between
neighbors it is made at once, otherwise after the same step came twice; of one block first, and of twice as many each
time that it was right.
"""

from __future__ import annotations

from collections import deque

FURTHEST = 15  # blocks ahead at most
_RUNS = 8  # that are followed at the same time
_LATELY = 8  # blocks among which a run may begin


class _Run:
    """Blocks at an even distance: `last` was read, `ahead` have been guessed beyond it."""

    __slots__ = ("ahead", "last", "right", "step")

    def __init__(self, last: int, step: int) -> None:
        self.last, self.step, self.right, self.ahead = last, step, 0, 0


class Pattern:
    """Told every block that is read, in order, it names those to ask for already."""

    def __init__(self, blocks: int, *, furthest: int = FURTHEST) -> None:
        self._blocks, self._furthest = blocks, furthest
        self._runs: deque[_Run] = deque(maxlen=_RUNS)  # the latest one last
        self._lately: deque[int] = deque(maxlen=_LATELY)

    def after(self, index: int) -> list[int]:
        """What is likely to come after `index`, the nearest first; nothing where there is no pattern."""
        run = self._goes_on(index) or self._begins(index)
        if index not in self._lately:
            self._lately.append(index)
        if run is None:
            return []
        wanted = min(1 << min(run.right, 10), self._furthest)
        if run.ahead > wanted // 2:  # half of them are on their way while the others are worked through
            return []
        found = [index + run.step * number for number in range(run.ahead + 1, wanted + 1)]
        run.ahead = wanted
        return [near for near in found if 0 <= near < self._blocks]

    def _goes_on(self, index: int) -> _Run | None:
        for run in self._runs:
            if index == run.last + run.step:
                run.last = index
                run.right += 1
                run.ahead = max(0, run.ahead - 1)
                self._runs.remove(run)
                self._runs.append(run)
                return run
        return None

    def _begins(self, index: int) -> _Run | None:
        lately = self._lately
        if index in lately:
            return None
        for before in reversed(lately):
            step = index - before
            if before - step in lately or (step == 1 and before == lately[-1]):
                run = _Run(index, step)
                self._runs.append(run)
                return run
        return None
