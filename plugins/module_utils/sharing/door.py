# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be asked of sharing, who may ask, and what it is once it was let in.

Whoever shares hands evidence to an account: a grant with the mode `share` must cover both accounts, and both regions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from .. import registry
from ..request_fields import FIELDS, REGION, SNAPSHOT_ID, Field, Problem
from ..request_spec import iso
from . import locks

SHARE = "share"
_COMMON = {field.name: field for field in FIELDS}
_ACCOUNT = r"[0-9]{12}"
WISH = (
    _COMMON["analyst_uid"],
    _COMMON["incident"],
    Field("aws_snapshot_id", "texts", "must be one snapshot id, 'snap-' and 17 (or, for old ones, 8) lower-case "
          "hexadecimal digits, or up to {most} different ones, separated by commas or line breaks.", SNAPSHOT_ID,
          most=40),
    Field("aws_snapshot_region", "text", "must be the AWS region of the snapshots, such as 'eu-west-1'.", REGION,
          longest=24),
    Field("aws_source_account", "text", "must be the account that owns the snapshots, 12 digits (empty: the one that "
          "this runs in).", _ACCOUNT, longest=12, required=False),
    Field("aws_target_account", "text", "must be the account that shall read them, 12 digits (empty: the one that "
          "this runs in).", _ACCOUNT, longest=12, required=False),
    Field("aws_target_region", "text", "must be the AWS region to copy them to, such as 'eu-west-1' (empty: the region "
          "of the snapshots).", REGION, longest=24, required=False),
    Field("share_as", "text", "must be 'copy' (the other account gets copies of its own) or 'share' (it may read them "
          "where they are).", allowed=("copy", "share"), required=False, default="copy"),
    Field("lock_mode", "text", "must be 'governance', 'compliance' (nobody can take it off) or 'none'.",
          allowed=(locks.GOVERNANCE, locks.COMPLIANCE, locks.NONE), required=False, default=locks.GOVERNANCE),
    Field("lock_days", "integer", "must be a whole number of days from {least} to {most}.", r"[0-9]{1,5}",
          required=False, default=90, least=1, most=locks.LONGEST_DAYS),
    Field("lock_cool_off_hours", "integer", "must be a whole number of hours from {least} to {most}, in which a "
          "lock in compliance mode can still be taken off.", r"[0-9]{1,2}", required=False,
          least=1, most=locks.LONGEST_HOURS),
    Field("lock_confirmation", "text", "must be the incident's name, typed once more, for a lock in compliance mode.",
          _COMMON["incident"].pattern, required=False),
)


def problems(values: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with fields that are right each by itself."""
    try:
        lock_of(values)
    except locks.LockRefused as refused:
        return [Problem(str(refused).split(" ", 1)[0], str(refused))]
    return []


def lock_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """The lock that is asked for."""
    return locks.checked(values["lock_mode"], values["lock_days"], values["lock_cool_off_hours"],
                         values["lock_confirmation"] or "", values["incident"])


def sharer(entries: Iterable[Mapping[str, Any]], values: Mapping[str, Any], caller: registry.Caller,
           ) -> dict[str, Any]:
    """The entry of whoever may share these snapshots with that account; `Refused` otherwise."""
    entries, region = list(entries), values["aws_snapshot_region"]
    asked = {**values, "forensics_mode": SHARE, "aws_analysis_region": values["aws_target_region"] or region}
    entry: dict[str, Any] = {}
    for name in ("aws_source_account", "aws_target_account"):
        try:
            entry = registry.decide(entries, asked, caller._replace(account=values[name] or caller.account))
        except registry.Refused as refusal:
            ours = {"aws_analysis_region": "aws_target_region", "account": name}
            sentence = refusal.sentence.replace("aws_analysis_region:", "aws_target_region:")
            parts = dict.fromkeys(sentence.removesuffix(".").replace("account:", f"{name}:").split("; "))
            raise registry.Refused(ours.get(refusal.field, refusal.field), "; ".join(parts) + ".") from None
    return entry


def build(values: Mapping[str, Any], analyst: Mapping[str, Any], caller: registry.Caller, *, now: datetime,
          ) -> dict[str, Any]:
    """Everything that later steps may know of what was asked for."""
    source = values["aws_source_account"] or caller.account
    snapshots = [{"snapshot_id": name, "account": source, "region": values["aws_snapshot_region"]}
                 for name in values["aws_snapshot_id"]]
    target = {"account": values["aws_target_account"] or caller.account,
              "region": values["aws_target_region"] or values["aws_snapshot_region"], "how": values["share_as"]}
    text = json.dumps({"kind": "sharing", "incident": values["incident"], "analyst": analyst["uid"],
                       "snapshots": snapshots, "target": target}, sort_keys=True, separators=(",", ":"))
    return {
        "request_id": hashlib.sha256(text.encode()).hexdigest()[:16], "incident": values["incident"],
        "account": caller.account, "partition": caller.partition, "analyst": dict(analyst),
        "caller": {"kind": caller.kind, "name": caller.name, "arn": caller.arn}, "snapshots": snapshots,
        "target": target, "lock": lock_of(values), "confirmation": values["lock_confirmation"] or "",
        "requested_at": iso(now),
    }
