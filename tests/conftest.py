# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab of the tests' own: fresh, beside the one that somebody may have up, and gone afterwards."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.config import LabConfig
from tests.kit import CHECKOUT, TEST_LAB, run


@pytest.fixture(scope="session")
def output() -> Path:
    """Where logs of long runs stay."""
    folder = CHECKOUT / "tests" / "output"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def lab(output: Path) -> Iterator[LabConfig]:
    """The tests' lab, up and seeded, on real hosts; taken down at the end of the session."""
    if os.geteuid() != 0:
        pytest.skip("the lab boots hosts and needs root")
    run(sys.executable, "-m", "lab", "down", log=output / "lab-down-before.log")
    up = run(sys.executable, "-m", "lab", "up", log=output / "lab-up.log")
    assert up.returncode == 0, up.stdout[-4000:]
    yield LabConfig(state=Path(TEST_LAB["DFIR_LAB_STATE"]), cache=Path("/var/cache/dfir-aws"),
                    port=int(TEST_LAB["DFIR_LAB_PORT"]))
    down = run(sys.executable, "-m", "lab", "down", log=output / "lab-down.log")
    assert down.returncode == 0, down.stdout[-4000:]
