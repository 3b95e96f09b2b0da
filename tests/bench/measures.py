# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmarks found, in one file: `build/bench.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

BUILD = Path(__file__).resolve().parents[2] / "build" / "bench.json"


def measure(
    name: str, value: float, unit: str, *, compared_with: str = "", ratio: float | None = None, bar: str, holds: bool
) -> dict[str, Any]:
    """One measure: a value, what it is compared with, and whether it keeps its promise (`bar`)."""
    return {
        "name": name,
        "value": round(value, 4),
        "unit": unit,
        "compared_with": compared_with,
        "ratio": None if ratio is None else round(ratio, 3),
        "bar": bar,
        "holds": holds,
    }


def keep(measures: list[dict[str, Any]]) -> None:
    """Put measures into the file; those of the same name are replaced."""
    try:
        known = json.loads(BUILD.read_text())["measures"]
    except (OSError, ValueError, KeyError):
        known = []
    names = {entry["name"] for entry in measures}
    BUILD.parent.mkdir(exist_ok=True)
    kept = [entry for entry in known if entry["name"] not in names]
    BUILD.write_text(json.dumps({"measures": kept + measures}, indent=1) + "\n")


def show(measures: list[dict[str, Any]]) -> None:
    """A table."""
    width = max(len(entry["name"]) for entry in measures)
    for entry in measures:
        ratio = "" if entry["ratio"] is None else f"{entry['ratio']:.2f}x of {entry['compared_with']}"
        verdict = "holds" if entry["holds"] else "MISSED"
        print(
            f"{entry['name']:{width}}  {entry['value']:>10.3f} {entry['unit']:9} {ratio:32} {entry['bar']:26} {verdict}"
        )
