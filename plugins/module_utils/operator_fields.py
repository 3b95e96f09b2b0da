# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be asked of requests that exist: which fields each wish has, and who may have it.

The rights are those of a request: whoever may have a snapshot analyzed for an incident may see its record and end it.
An operator is an entry of the registry with grants of its own. Retention is of all incidents, and a right of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from . import registry
from .request_fields import ANALYST, INCIDENT, Field, Problem, check

_WHO = Field("analyst_uid", "text", "must be the uid of whoever asks, as in the registry.", ANALYST)
_WHICH = Field("request_id", "text", "must be a request's id: 16 lower-case hexadecimal digits.", r"[0-9a-f]{16}")
_INCIDENT = Field("incident", "text", "must be an incident's name.", INCIDENT)
# These are about a case, which may have no request.
CASES = ("verify_case", "close_case")


def _switch(name: str) -> Field:
    """Something that is only done when it is asked for."""
    return Field(name, "boolean", "must be true or false.", allowed=("true", "false"), required=False, default=False)


WISHES: dict[str, tuple[Field, ...]] = {
    "show": (
        _WHO,
        _WHICH._replace(required=False),
        Field("incident", "text", "must be an incident's name.", INCIDENT, required=False),
    ),
    "close": (
        _WHO,
        _WHICH,
        _switch("take_over"),
    ),
    "verify_case": (
        _WHO,
        _INCIDENT,
        Field("noted_head", "text", "must be an entry's number, a colon and its SHA-256, as the custody form shows it.",
              r"[1-9][0-9]{0,8}:[0-9a-f]{64}", longest=74, required=False),
    ),
    "close_case": (_WHO, _INCIDENT),
    "expire": (
        _WHO,
        _switch("delete_expired"),
        _switch("apply_lifecycle"),
    ),
    "reap": (_switch("remove_outlived"),),
    "refuse": (
        Field("event_door", "text", "must be 'requests' or 'findings'.", allowed=("requests", "findings")),
        Field("event_reason", "text", "must be the reason that the event filter gave.", r"[a-z][a-z0-9_]{0,39}"),
    ),
}
# The right, among `rights` of a registry's entry, that a wish takes which is about no request in particular.
RIGHTS = {"expire": "retention"}


def names(wish: str) -> tuple[str, ...]:
    """The names of a wish's fields."""
    return tuple(field.name for field in WISHES[wish])


def checked(wish: str, raw: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Check the fields of a wish as they arrived, unrendered."""
    values, problems = check(raw, fields=WISHES[wish])
    if wish == "show" and not problems and (values["request_id"] is None) == (values["incident"] is None):
        problems = [Problem("request_id", "request_id or incident says what to show: give one of them.")]
    return values, problems


def allowed(entries: Iterable[Mapping[str, Any]], uid: str, caller: registry.Caller,
            records: Iterable[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], list[registry.Refused]]:
    """Of these records those whose requests the analyst might have made, and why not the others."""
    entries = list(entries)
    seen, refusals = [], []
    for record in records:
        try:
            for snapshot in record["request"]["snapshots"]:
                registry.decide(entries, _values(record["request"], snapshot, uid), caller)
            if record["request"]["account"] != caller.account:
                raise registry.Refused("account", f"account: request {record['request_id']} is of another account.")
        except registry.Refused as refusal:
            refusals.append(refusal)
        else:
            seen.append(record)
    return seen, refusals


def allow_case(entries: Iterable[Mapping[str, Any]], uid: str, caller: registry.Caller, incident: str) -> None:
    """Refuse an incident that no grant of the analyst covers, in one sentence for "none" and for "not yours"."""
    if not registry.covers(registry.who(list(entries), uid, caller), caller, incident):
        raise registry.Refused("incident", f"There is no case of the incident {incident} that '{uid}' has a right to.")


def _values(request: Mapping[str, Any], snapshot: Mapping[str, Any], uid: str) -> dict[str, Any]:
    return {"analyst_uid": uid, "incident": request["incident"], "forensics_mode": request["mode"],
            "aws_analysis_region": request["analysis_region"], "aws_snapshot_region": snapshot["region"]}
