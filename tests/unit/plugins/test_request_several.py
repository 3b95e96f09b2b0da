# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A request of several snapshots is checked as strictly as one of a single snapshot."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils import request_several, request_spec
from ansible_collections.dfir.aws.plugins.module_utils.registry import Caller

ONE, TWO = "snap-0123456789abcdef0", "snap-0123456789abcdef1"
VALID = {"analyst_uid": "alice", "incident": "INC-1", "aws_analysis_region": "eu-west-1"}
CALLER = Caller("cli", "dfir", "arn:aws:iam::123456789012:user/dfir", "123456789012")


@pytest.mark.parametrize("raw", [[TWO, ONE], (ONE, TWO), f"{ONE},{TWO}", f"{TWO}, {ONE}", f"{ONE}\r\n{TWO}"])
def test_lists_and_texts_name_the_same(raw: Any) -> None:
    values, ids, problems = request_several.check({**VALID, "aws_snapshot_id": raw})
    assert problems == [] and ids == [ONE, TWO] and values["incident"] == "INC-1"


@pytest.mark.parametrize(("raw", "said"), [
    ([ONE, "snap-1"], "must be one snapshot id"),
    ([ONE, "{{ lookup('pipe', 'id') }}"], "holds a template"),
    (f"{ONE},{{{{ 1 }}}}", "holds a template"),
    ([ONE, [TWO]], "must be a single value"),
    ([ONE, ONE], "names one snapshot twice"),
    ([], "names 0 snapshots"),
    ([ONE] * 501, "names 501 snapshots"),
    (f"{ONE}," * 1000, "is too long"),
    (f"{ONE},", "is missing"),
    ({"a": 1}, "must be a single value"),
    (None, "is missing"),
    ([ONE, f"{TWO}\n"], "line break"),
])  # fmt: skip
def test_p64_one_that_is_wrong_refuses_all(raw: Any, said: str) -> None:
    _values, _ids, problems = request_several.check({**VALID, "aws_snapshot_id": raw})
    assert [problem.field for problem in problems] == ["aws_snapshot_id"] and said in problems[0].sentence


def test_other_fields_are_checked_as_ever() -> None:
    _values, _ids, problems = request_several.check({**VALID, "incident": "../x", "aws_snapshot_id": [ONE, TWO]})
    assert [problem.field for problem in problems] == ["incident"]


def spec(raw: Any) -> dict[str, Any]:
    values, ids, problems = request_several.check({**VALID, "aws_snapshot_id": raw})
    assert not problems
    built = request_spec.build(values, {"uid": "alice"}, CALLER, bucket="b", now=datetime.now(timezone.utc))
    return request_several.widen(built, values, ids)


def test_the_identity_is_of_the_set_and_that_of_one_stays_as_it_is() -> None:
    both, alone = spec([ONE, TWO]), spec([ONE])
    assert both["request_id"] == spec(f"{TWO},{ONE}")["request_id"] != alone["request_id"]
    assert alone["request_id"] == spec(ONE)["request_id"] and alone["artifact_prefix"] == f"INC-1/{ONE}/"
    assert both["snapshots"] == [{"id": ONE, "region": "eu-west-1"}, {"id": TWO, "region": "eu-west-1"}]
    assert both["tags"]["dfir:request"] == both["request_id"]
    assert both["record_key"] == f"requests/{both['request_id']}.json"
