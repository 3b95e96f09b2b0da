# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules by which S3 itself archives and removes the objects of closed cases, made of the classes of incidents.

A rule is made for each incident and not for each class: a rule knows prefixes and no patterns, and the first class that
covers a name counts. An incident that is open, held or in no class has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from .retention_policy import Policy, of_incident

OURS = "dfir-retention-"
MOST = 1000  # rules that a bucket can have


class LifecycleError(ValueError):
    """One sentence that says why no rules can be made."""


class Difference(NamedTuple):
    """What the bucket's rules lack, by incident; `rules` is what they should be, others' rules first and untouched."""

    missing: list[str]
    changed: list[str]
    surplus: list[str]
    rules: list[dict[str, Any]]


def wanted(policies: Sequence[Policy], incidents: Iterable[Mapping[str, Any]], now: datetime,
           noncurrent_days: int) -> list[dict[str, Any]]:
    """The rules of these incidents, each with `incident` and `open`, in the order of their names."""
    rules = []
    for item in sorted(incidents, key=lambda item: str(item["incident"])):
        policy = of_incident(policies, str(item["incident"]))
        rule = _rule(str(item["incident"]), policy, now, noncurrent_days) if policy and not item["open"] else None
        if rule:
            rules.append(rule)
    return rules


def _rule(incident: str, policy: Policy, now: datetime, noncurrent_days: int) -> dict[str, Any] | None:
    artifacts = policy.artifacts
    rule: dict[str, Any] = {"ID": f"{OURS}{incident}", "Filter": {"Prefix": f"{incident}/"}, "Status": "Enabled"}
    if artifacts.archive_days:
        rule["Transitions"] = [{"Days": artifacts.archive_days, "StorageClass": artifacts.archive_class}]
    # S3 counts from an object's own day, so a day for all can only hold the rule back.
    if artifacts.expire_days and not (policy.keep_until and now < policy.keep_until):
        rule["Expiration"] = {"Days": artifacts.expire_days}
        # The bucket is versioned: what expires becomes an older version, which is the net for a rule given by mistake.
        rule["NoncurrentVersionExpiration"] = {"NoncurrentDays": noncurrent_days}
    return rule if len(rule) > 3 else None


def compare(there: Iterable[Mapping[str, Any]], rules: Iterable[Mapping[str, Any]]) -> Difference:
    """What a bucket's rules lack. `LifecycleError` where they would be too many."""
    listed = [dict(rule) for rule in there]
    others = [rule for rule in listed if not str(rule.get("ID") or "").startswith(OURS)]
    mine = {str(rule["ID"]): rule for rule in listed if str(rule.get("ID") or "").startswith(OURS)}
    want = {str(rule["ID"]): dict(rule) for rule in rules}
    if len(others) + len(want) > MOST:
        raise LifecycleError(f"The bucket would have {len(others) + len(want)} lifecycle rules, and S3 takes {MOST}: "
                             "take artifacts out of the classes of incidents whose objects are gone.")

    def names(found: Iterable[str]) -> list[str]:
        return sorted(name.removeprefix(OURS) for name in found)

    return Difference(names(want.keys() - mine.keys()),
                      names(name for name in want.keys() & mine.keys() if want[name] != mine[name]),
                      names(mine.keys() - want.keys()), [*others, *want.values()])
