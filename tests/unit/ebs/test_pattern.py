# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read ahead: rows and strides, and next to nothing where there is no pattern."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.ebs.pattern import FURTHEST, Pattern

BLOCKS = 100_000


def guesses(reads: Iterable[int]) -> tuple[set[int], int]:
    """What was guessed right before it was read, and how many guesses there were in all."""
    pattern, named, right = Pattern(BLOCKS), set[int](), set[int]()
    for index in reads:
        if index in named:
            right.add(index)
        named |= set(pattern.after(index))
    return right, len(named)


@pytest.mark.parametrize("step", [1, -1, 2, 256, -4096])
def test_an_even_distance_is_seen(step: int) -> None:
    reads = [50_000 + number * step for number in range(12)]
    right, count = guesses(reads)
    assert right == set(reads[2 if step == 1 else 3 :]) and count <= len(right) + FURTHEST


def test_rows_that_alternate_are_told_apart() -> None:
    tables, files = [10 + 256 * number for number in range(60)], [70_000 + number for number in range(60)]
    right, count = guesses(index for pair in zip(tables, files, strict=True) for index in pair)
    assert len(right) > 110 and count <= len(right) + 2 * FURTHEST


def test_without_a_pattern_hardly_anything_is_guessed() -> None:
    chance = random.Random(1)
    _right, count = guesses(chance.randrange(BLOCKS) for _number in range(2000))
    assert count < 20


def test_reading_to_and_fro_is_no_pattern() -> None:
    assert guesses([7, 900] * 50) == (set(), 0)


def test_nothing_outside_the_volume_is_named() -> None:
    pattern = Pattern(10)
    named = [near for index in range(10) for near in pattern.after(index)]
    assert named == [2, *range(3, 10)] and len(set(named)) == len(named)
    assert [Pattern(10, furthest=0).after(index) for index in range(3)] == [[], [], []]
