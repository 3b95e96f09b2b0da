# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input at the real door: the playbook itself, against the lab. One sentence, the field named, nothing created."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml

from lab import audit
from lab.config import LabConfig
from tests.kit import CHECKOUT, run

TABLE = yaml.safe_load((CHECKOUT / "tests/unit/plugins/data/hostile_inputs.yml").read_text())
Answers = dict[str, CompletedProcess[str]]


def ask(case: dict[str, Any], folder: Path) -> CompletedProcess[str]:
    """Send one request in as a user would, its variables in a JSON file that nothing renders."""
    variables = {name: value for name, value in (TABLE["valid"] | case["vars"]).items() if value is not None}
    request = folder / (re.sub(r"\W+", "-", case["name"]) + ".json")
    request.write_text(json.dumps(variables))
    return run("ansible-playbook", "-i", "inventories/lab", "playbooks/analyze_request.yml", "-e", f"@{request}")


@pytest.fixture(scope="module")
def answers(lab: LabConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Answers, set[audit.Thing]]:
    """Every refusal, two at a time, and what all of them together added to the account."""
    folder = tmp_path_factory.mktemp("requests")
    before = audit.account(lab)
    with ThreadPoolExecutor(2) as pool:
        done = pool.map(lambda case: ask(case, folder), TABLE["refused"])
        by_name = {case["name"]: answer for case, answer in zip(TABLE["refused"], done, strict=True)}
    return by_name, audit.account(lab) - before


def test_the_table_is_long_enough() -> None:
    assert len(TABLE["refused"]) >= 40


def test_nothing_was_created(answers: tuple[Answers, set[audit.Thing]]) -> None:
    assert answers[1] == set()


@pytest.mark.parametrize("case", TABLE["refused"], ids=lambda case: case["name"])
def test_refused_in_one_sentence(case: dict[str, Any], answers: tuple[Answers, set[audit.Thing]]) -> None:
    answer = answers[0][case["name"]]
    assert answer.returncode != 0
    assert "Request refused." in answer.stdout
    assert case["field"] in answer.stdout
    assert "Traceback" not in answer.stdout
    assert "TASK [Launch" not in answer.stdout
