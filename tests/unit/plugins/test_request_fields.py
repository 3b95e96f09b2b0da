# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of fields."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.dfir.aws.plugins.module_utils import request_door, request_fields

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
TABLE = yaml.safe_load((HERE / "data" / "hostile_inputs.yml").read_text(encoding="utf-8"))
VALID = TABLE["valid"]


def check(**changes: Any) -> tuple[dict[str, Any], list[request_fields.Problem]]:
    return request_fields.check({**VALID, **changes})


def test_the_table_is_long_enough_and_names_are_unique() -> None:
    names = [entry["name"] for entry in TABLE["refused"]]
    assert len(names) >= 40 and len(set(names)) == len(names)


def test_the_valid_request_is_accepted_with_defaults() -> None:
    values, problems = check()
    assert problems == []
    left_out = {"time_limit_hours": None, "max_cost_usd": None, "max_hours": None}
    assert values == {**VALID, **left_out, "aws_snapshot_id": [VALID["aws_snapshot_id"]], "journal": "auto",
                      "evidence_by": "volume", "wait_for_results": True, "attempt": 1}


@pytest.mark.parametrize("entry", TABLE["refused"], ids=lambda entry: entry["name"])
def test_p43_hostile_input_is_refused_with_one_sentence_that_names_the_field(entry: dict[str, Any]) -> None:
    raw = {**VALID, **entry["vars"]}
    problems = request_door.refused_names(raw, on_platform=False) + request_fields.check(raw)[1]
    assert [problem.field for problem in problems] == [entry["field"]]
    sentence = problems[0].sentence
    assert sentence.startswith(entry["field"]) and sentence.endswith((".", "?"))
    assert sentence.isascii() and sentence.isprintable()
    value = entry["vars"].get(entry["field"])
    if isinstance(value, str) and len(value) > 8 and value not in ("Automatic",):
        assert value not in sentence, "a hostile value must not come back in the message"


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("time_limit_hours", "", None),
        ("time_limit_hours", "2", 2),
        ("time_limit_hours", 2, 2),
        ("time_limit_hours", 2.0, 2),
        ("time_limit_hours", "1.5", 1.5),
        ("time_limit_hours", 72, 72),
        ("wait_for_results", "", True),
        ("wait_for_results", "False", False),
        ("wait_for_results", "yes", True),
        ("wait_for_results", False, False),
        ("max_cost_usd", "", None),
        ("max_cost_usd", "25", 25),
        ("max_cost_usd", 0.5, 0.5),
        ("attempt", "3", 3),
        ("attempt", "", 1),
        ("aws_ec2_instance_type", "", "m6i.large"),
        ("aws_ec2_instance_type", "c7i-flex.2xlarge", "c7i-flex.2xlarge"),
        ("aws_ec2_instance_type", "m7i.metal-24xl", "m7i.metal-24xl"),
        ("aws_ec2_instance_type", "g4dn.xlarge", "g4dn.xlarge"),
        ("forensics_mode", "", "automatic"),
        ("aws_snapshot_id", "snap-12345678", ["snap-12345678"]),
        ("aws_snapshot_id", ["snap-12345678"], ["snap-12345678"]),
        ("aws_snapshot_id", ["snap-12345679", "snap-12345678"], ["snap-12345678", "snap-12345679"]),
        ("aws_snapshot_id", "snap-12345679,snap-12345678", ["snap-12345678", "snap-12345679"]),
        ("aws_snapshot_id", " snap-12345679 , snap-12345678", ["snap-12345678", "snap-12345679"]),
        ("aws_snapshot_id", "snap-12345679\nsnap-12345678", ["snap-12345678", "snap-12345679"]),
        ("aws_snapshot_id", "snap-12345679\r\nsnap-12345678", ["snap-12345678", "snap-12345679"]),
        ("journal", "", "auto"),
        ("journal", "both", "both"),
        ("journal", "ignore", "ignore"),
        ("evidence_by", "", "volume"),
        ("evidence_by", "direct", "direct"),
        ("aws_snapshot_region", "", "eu-west-1"),
        ("aws_analysis_region", "us-gov-west-1", "us-gov-west-1"),
        ("aws_analysis_region", "ap-southeast-5", "ap-southeast-5"),
        ("incident", "a", "a"),
        ("incident", "x" * 64, "x" * 64),
        ("incident", "Case_7.1-b", "Case_7.1-b"),
    ],
)
def test_what_surveys_and_files_send_becomes_a_plain_value(name: str, raw: Any, value: Any) -> None:
    values, problems = check(**{name: raw})
    assert problems == [] and values[name] == value and type(values[name]) is type(value)


@pytest.mark.parametrize("family", ["a1", "t4g", "m6g", "c7gn", "is4gen", "im4gn", "x2gd", "r8g", "i8ge", "hpc7g"])
def test_arm_families_are_known(family: str) -> None:
    assert request_fields.is_arm(family)


@pytest.mark.parametrize("family", ["m6i", "g4dn", "g5", "gr6", "c7i-flex", "m7a", "i4i", "u7i-12tb"])
def test_x86_families_are_not_taken_for_arm(family: str) -> None:
    assert not request_fields.is_arm(family)


def test_a_tagged_string_becomes_a_built_in_one() -> None:
    class Tagged(str):
        def encode(self, *args: Any) -> bytes:  # type: ignore[override]
            raise AssertionError("a subclass must not decide what its value is")

    values, problems = check(incident=Tagged("INC-1"))
    assert problems == [] and type(values["incident"]) is str


def test_an_operator_may_set_other_bounds() -> None:
    raw = {**VALID, "time_limit_hours": 0.02}
    assert request_fields.check(raw, limits={"time_limit_hours": (0.01, 4)})[0]["time_limit_hours"] == 0.02
    problems = request_fields.check({**VALID, "time_limit_hours": 5}, limits={"time_limit_hours": (0.01, 4)})[1]
    assert "0.01 to 4" in problems[0].sentence


def test_all_problems_are_told_at_once() -> None:
    problems = check(incident="..", attempt=0)[1]
    assert [problem.field for problem in problems] == ["incident", "attempt"]


def test_p69_the_file_loads_by_path_with_nothing_of_ours_importable() -> None:
    path = ROOT / "plugins" / "module_utils" / "request_fields.py"
    spec = importlib.util.spec_from_file_location("loaded_by_path", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    assert "loaded_by_path" not in sys.modules
    spec.loader.exec_module(module)
    assert module.check(VALID)[1] == []
    text = path.read_text(encoding="utf-8")
    imported = {line.split()[1].split(".")[0] for line in text.splitlines() if line.startswith(("import ", "from "))}
    assert imported <= set(sys.stdlib_module_names) | {"__future__"}
