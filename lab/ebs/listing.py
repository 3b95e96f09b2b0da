# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages of blocks, as AWS gives them: full, short, or empty with more to come."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lab.ebs.settings import EbsSettings
from lab.ebs.snapshot import Snapshot
from lab.ebs.tokens import Position

LOOK_SECONDS = 2.0  # a page of changed blocks that takes longer to find ends here, as AWS's own do


@dataclass(frozen=True)
class Changed:
    """A block that differs: in the first snapshot, in the second, or in both."""

    index: int
    first: bool
    second: bool


def page_size(settings: EbsSettings, listing: str, position: Position, most: int) -> tuple[int, bool]:
    """How many blocks this page may hold, and whether it may pretend at the end that there is more."""
    draw = random.Random(f"{settings.page_seed}:{listing}:{position.index}:{position.page}")  # noqa: S311 repeatable
    kind = draw.random()
    if kind < settings.empty_pages:
        return 0, True
    if kind < settings.empty_pages + settings.short_pages:
        return draw.randint(1, most), draw.random() < 0.5
    return most, False


def take(items: Iterable[int], size: int) -> tuple[list[int], int | None]:
    """The first `size` items, and the one after them (None: there is none)."""
    page: list[int] = []
    for item in items:
        if len(page) == size:
            return page, item
        page.append(item)
    return page, None


def changed(first: Snapshot, second: Snapshot, start: int) -> Iterator[Changed | int]:
    """Blocks that differ between two snapshots, from `start` on, in order.

    Gives a bare index (where to go on) and ends when looking took `LOOK_SECONDS`.
    """
    same = first.same_files(second)
    until = time.monotonic() + LOOK_SECONDS
    left, right = first.written(start), second.written(start)
    one, two = next(left, None), next(right, None)
    while one is not None or two is not None:
        if time.monotonic() > until:
            yield min(i for i in (one, two) if i is not None)
            return
        if two is None or (one is not None and one < two):
            assert one is not None  # noqa: S101 for the type checker: one of the two is there
            yield Changed(one, True, False)
            one = next(left, None)
        elif one is None or two < one:
            yield Changed(two, False, True)
            two = next(right, None)
        else:
            if not same and first.digest(one) != second.digest(two):
                yield Changed(one, True, True)
            one, two = next(left, None), next(right, None)
