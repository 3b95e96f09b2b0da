# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs every measurement (`make bench`): each prints its table and leaves its numbers in tests/output; what stands
against a bar is in build/bench.json.

What is asserted is that it measured, not how fast: this machine may be busy. Run one by hand for an exit code that
says whether its targets were met.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from measures import BUILD

OUTPUT = HERE.parent / "output"
FIELDS = ["name", "value", "unit", "compared_with", "ratio", "bar", "holds"]


@pytest.mark.parametrize("script", sorted(HERE.glob("bench_*.py")), ids=lambda path: path.stem)
def test_bench(script: Path) -> None:
    if script.stem == "bench_file_systems" and os.geteuid() != 0:
        pytest.skip("needs root: mounts file systems to fill them")
    numbers = OUTPUT / f"{script.stem}.json"
    numbers.unlink(missing_ok=True)
    print(f"\n{script.stem}", flush=True)
    done = subprocess.run([sys.executable, str(script)], cwd=HERE.parent.parent, check=False)
    assert done.returncode in (0, 1), "it failed; 1 would be a target that was missed"
    result = json.loads(numbers.read_text())
    assert result["targets"] and result["rows"]
    if "measures" in result:
        kept = json.loads(BUILD.read_text())
        assert list(kept) == ["measures"] and all(list(entry) == FIELDS for entry in kept["measures"])
        assert {entry["name"] for entry in result["measures"]} <= {entry["name"] for entry in kept["measures"]}
    assert all(value for row in result["rows"] for name, value in row.items() if name.endswith("_per_second"))
