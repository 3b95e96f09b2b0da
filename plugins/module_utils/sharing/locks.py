# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks of snapshots: which one is asked for, whether it may be, and whether it is needed.

A lock in governance mode can be taken off by whoever has the right to. One in compliance mode cannot be taken off by
anybody, AWS included, once its time to think it over has passed, and can only be extended (pitfall 37).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NONE, GOVERNANCE, COMPLIANCE = "none", "governance", "compliance"
# LockSnapshot's own limits (EC2 API reference): LockDuration in days, CoolOffPeriod in hours.
LONGEST_DAYS, LONGEST_HOURS = 36_500, 72
STRENGTH = {"": 0, "expired": 0, GOVERNANCE: 1, "compliance-cooloff": 2, COMPLIANCE: 2}
# How AWS, a partition without it, or a botocore from before it, says that there is no such call.
NO_SUCH_CALL = ("InvalidAction", "UnknownOperationException", "UnsupportedOperation", "AttributeError")


class LockRefused(ValueError):
    """One sentence that says why a lock is not set, before anything was done."""


def checked(mode: str, days: int, cool_off_hours: int | None, confirmation: str, incident: str) -> dict[str, Any]:
    """The lock that is asked for; `LockRefused` where it is not asked for as it must be.

    :param confirmation: what somebody typed for compliance mode: the incident's name.
    :param cool_off_hours: how long a lock in compliance mode can still be taken off.
    """
    if mode not in (NONE, GOVERNANCE, COMPLIANCE):
        raise LockRefused(f"lock_mode must be {GOVERNANCE}, {COMPLIANCE} or {NONE}.")
    if mode == NONE:
        return {"mode": NONE, "days": 0, "cool_off_hours": 0}
    if not 1 <= days <= LONGEST_DAYS:
        raise LockRefused(f"lock_days must be a whole number of days from 1 to {LONGEST_DAYS}.")
    if mode == GOVERNANCE:
        return {"mode": GOVERNANCE, "days": days, "cool_off_hours": 0}
    if not incident or confirmation != incident:
        raise LockRefused("lock_confirmation must be the incident's name, typed once more: a lock in compliance mode "
                          f"cannot be taken off by anybody for {days} days. Use {GOVERNANCE} where that is not meant.")
    if cool_off_hours is None or not 1 <= cool_off_hours <= LONGEST_HOURS:
        raise LockRefused(f"lock_cool_off_hours must be from 1 to {LONGEST_HOURS}: the hours in which a lock in "
                          "compliance mode can still be taken off.")
    return {"mode": COMPLIANCE, "days": days, "cool_off_hours": cool_off_hours}


def wanted(lock: Mapping[str, Any], there: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether LockSnapshot must be called, and a sentence about a lock that is there.

    No lock is made weaker, and none of the same mode shorter: who set it had a reason.

    :param there: an entry of DescribeLockedSnapshots, or nothing.
    """
    if lock["mode"] == NONE:
        return False, ""
    state, days = str(there.get("LockState") or ""), int(there.get("LockDuration") or 0)
    if STRENGTH.get(state, 0) < STRENGTH[lock["mode"]]:
        return True, ""
    if state.startswith(COMPLIANCE) and lock["mode"] == GOVERNANCE:
        return False, f"it is locked in {state} mode already, which is more than {GOVERNANCE}"
    if days >= lock["days"]:
        return False, f"it is locked in {state} mode for {days} days already"
    return True, f"its lock of {days} days is extended to {lock['days']}"


def arguments(snapshot_id: str, lock: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of LockSnapshot. A lock in compliance mode is extended without a new time to think it over."""
    asked: dict[str, Any] = {"SnapshotId": snapshot_id, "LockMode": lock["mode"], "LockDuration": lock["days"]}
    if lock["mode"] == COMPLIANCE and there.get("LockState") != COMPLIANCE:
        asked["CoolOffPeriod"] = lock["cool_off_hours"]
    return asked
