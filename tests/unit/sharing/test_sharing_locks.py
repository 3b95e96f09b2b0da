# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks: what must be typed for one that nobody can take off, and which are needed beside one that is there."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.sharing import locks

CASE = "INC-2026-0042"


@pytest.mark.parametrize(("mode", "days", "hours", "typed", "sentence"), [
    ("compliance", 30, 24, "", "typed once more"),
    ("compliance", 30, 24, "INC-2026-0043", "typed once more"),
    ("compliance", 30, 24, CASE.lower(), "typed once more"),
    ("compliance", 30, 24, f"{CASE} ", "typed once more"),
    ("compliance", 30, None, CASE, "lock_cool_off_hours"),
    ("compliance", 30, 0, CASE, "lock_cool_off_hours"),
    ("compliance", 30, 73, CASE, "lock_cool_off_hours"),
    ("compliance", 0, 24, CASE, "lock_days"),
    ("governance", 0, None, "", "lock_days"),
    ("governance", 36_501, None, "", "lock_days"),
    ("forever", 30, None, "", "lock_mode"),
])
def test_p37_a_lock_that_is_not_asked_for_as_it_must_be_is_refused(mode: str, days: int, hours: int | None, typed: str,
                                                                    sentence: str) -> None:
    with pytest.raises(locks.LockRefused, match=sentence):
        locks.checked(mode, days, hours, typed, CASE)


def test_no_incident_confirms_nothing() -> None:
    with pytest.raises(locks.LockRefused):
        locks.checked("compliance", 30, 24, "", "")


def test_what_is_asked_for_as_it_must_be() -> None:
    assert locks.checked("compliance", 30, 24, CASE, CASE) == {"mode": "compliance", "days": 30, "cool_off_hours": 24}
    assert locks.checked("governance", 90, None, "", CASE) == {"mode": "governance", "days": 90, "cool_off_hours": 0}
    assert locks.checked("none", 0, None, "", CASE)["mode"] == "none"


@pytest.mark.parametrize(("mode", "days", "there", "needed", "why"), [
    ("none", 0, {}, False, ""),
    ("governance", 90, {}, True, ""),
    ("governance", 90, {"LockState": "expired", "LockDuration": 400}, True, ""),
    ("governance", 90, {"LockState": "governance", "LockDuration": 90}, False, "already"),
    ("governance", 90, {"LockState": "governance", "LockDuration": 400}, False, "400 days"),
    ("governance", 90, {"LockState": "governance", "LockDuration": 30}, True, "extended to 90"),
    ("governance", 90, {"LockState": "compliance", "LockDuration": 1}, False, "more than governance"),
    ("governance", 90, {"LockState": "compliance-cooloff", "LockDuration": 1}, False, "more than governance"),
    ("compliance", 30, {"LockState": "governance", "LockDuration": 400}, True, ""),
    ("compliance", 30, {"LockState": "compliance", "LockDuration": 30}, False, "already"),
    ("compliance", 30, {"LockState": "compliance", "LockDuration": 10}, True, "extended"),
])
def test_p37_no_lock_is_made_weaker_and_none_of_its_mode_shorter(mode: str, days: int, there: dict[str, Any],
                                                                 needed: bool, why: str) -> None:
    hours = 24 if mode == "compliance" else 0
    found, said = locks.wanted({"mode": mode, "days": days, "cool_off_hours": hours}, there)
    assert found is needed and why in said


def test_p37_a_lock_in_compliance_mode_is_extended_without_a_new_cooling_off() -> None:
    lock = {"mode": "compliance", "days": 30, "cool_off_hours": 24}
    assert locks.arguments("snap-1", lock, {})["CoolOffPeriod"] == 24
    assert "CoolOffPeriod" not in locks.arguments("snap-1", lock, {"LockState": "compliance"})
