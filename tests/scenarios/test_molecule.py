# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every molecule scenario, one test each, against real hosts of the lab."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.config import LabConfig
from tests.kit import CHECKOUT, run
from tests.secret_words import shown

# `default` brings a developer's lab up and down; here the `lab` fixture does that.
SCENARIOS = sorted(path.parent.name for path in (CHECKOUT / "molecule").glob("*/molecule.yml")
                   if path.parent.name != "default")

LONG = ("proxyjump", "retraction", "several", "update_toolbox")  # more than a minute each: `make test-more`
TALKATIVE = "time_out"  # runs with -vvv


@pytest.mark.parametrize("scenario", [pytest.param(name, marks=[pytest.mark.more] if name in LONG else [])
                                      for name in SCENARIOS])
def test_scenario(scenario: str, lab: LabConfig, output: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = output / f"molecule-{scenario}.log"
    with capfd.disabled():
        print(f"\nscenario {scenario} runs; its output: {log.relative_to(CHECKOUT)}", flush=True)
    done = run("molecule", "test", "-s", scenario, log=log)
    assert done.returncode == 0, f"molecule test -s {scenario} failed:\n{done.stdout[-6000:]}"
    found = shown(lab, done.stdout)
    assert not found, f"the output of {scenario} shows {found}"
    if scenario == TALKATIVE:
        assert "ESTABLISH SSH CONNECTION" in done.stdout, "-vvv was not in force: the look for secrets proves nothing"
