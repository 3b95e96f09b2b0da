# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which cells of the fault matrix run: all that need no host, and of the others all or a seeded sample."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

CHOSEN = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--matrix", type=Path, help="write the fault matrix to this page")
    parser.addoption("--sample", type=int, help="of the tests marked `host`, run so many")
    parser.addoption("--seed", type=int, default=1, help="which of them, and what `make soak` does")
    parser.addoption("--rounds", type=int, default=1, help="how many requests `make soak` disturbs")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the sample leaves out, and say what it is."""
    size = config.getoption("--sample")
    if size is None:
        return
    hosts = [item for item in items if item.get_closest_marker("host")]
    seed = config.getoption("--seed")
    chosen = random.Random(seed).sample(hosts, min(size, len(hosts)))
    left = [item for item in hosts if item not in chosen]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in left]
    config.stash[CHOSEN] = f"sample of seed {seed}: " + ", ".join(item.name for item in chosen)


def pytest_report_collectionfinish(config: pytest.Config) -> str:
    """The sample, so that it can be told and run again."""
    return config.stash.get(CHOSEN, "")
