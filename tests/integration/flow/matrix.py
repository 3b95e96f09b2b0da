# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fault matrix: every step of a request and every way in which it was made to fail, a test each.

A test is a cell when it is marked `cell(step, way)`; several marks make several cells. `--matrix FILE` writes them as a
page, each `held` or `broken` as the test came out in this very run; what did not run is not in it.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

STEPS = ("request", "plan", "snapshot", "analysis_host", "connection", "packages", "evidence", "journal",
         "analyst_access", "toolbox", "forensics", "results", "clean_up")
HEAD = """# What was made to fail, and what held

Written by `make fault-matrix`: each row is a test of this name that ran in the lab, on real hosts, disks and file
systems. `held` means that a run which cannot go on ended with one sentence that says why, that one alert names exactly
what exists then, with commands that remove exactly that, that nothing of anybody else's has changed, and that a failure
is never told as a good end; and that a run which can go on did so.

| step | what fails | | test |
| --- | --- | --- | --- |
"""


class Matrix:
    """Collects cells while tests run, and writes them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: set[tuple[int, str, str, str]] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note how each cell came out."""
        report = yield
        if report.when == "call" or report.failed:
            for mark in item.iter_markers("cell"):
                step, way = mark.args
                self._rows.add((STEPS.index(step), way, "held" if report.passed else "broken", item.name))
        return report

    def pytest_sessionfinish(self) -> None:
        """Write the page, and show it."""
        rows = sorted(self._rows)
        text = "".join(f"| {STEPS[step]} | {way} | {outcome} | `{name}` |\n" for step, way, outcome, name in rows)
        held = sum(1 for row in rows if row[2] == "held")
        self._path.write_text(f"{HEAD}{text}\n{len(rows)} cells, {held} held.\n")
        print("\n")
        for step, way, outcome, _name in rows:
            print(f"{outcome:<8}{STEPS[step]:<15}{way}")
        print(f"fault matrix: {len(rows)} cells, {held} held, {len(rows) - held} broken; {self._path}")
