# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role `event` hands on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils import event_fields, event_request


def event_result(admitted: Mapping[str, Any], taken: Mapping[str, Any]) -> dict[str, Any]:
    """An event that was let in, and whether it is this run's to answer."""
    marker = taken["marker"]
    message = ""
    if not taken["mine"]:
        message = (f"This event was answered at {marker['ended_at']}: {marker['outcome']}. {marker['reason']}".strip()
                   if marker["state"] == "ended" else
                   f"This event is being answered since {marker['taken_at']} by {marker['holder']}.")
    return {"request": admitted["request_spec"], "key": admitted["key"], "event": admitted["event"],
            "mine": bool(taken["mine"]), "message": message, "changed": bool(taken["changed"])}


def event_snapshot(request: Mapping[str, Any], newest: Mapping[str, Any]) -> dict[str, Any]:
    """The request with the snapshot that was found; with its own where the event named one."""
    return event_request.of_snapshot(request, newest.get("snapshot_id") or request["snapshots"][0]["id"])


def event_refusal(failed: Mapping[str, Any], door: str) -> dict[str, Any]:
    """What is to be noted and told of a request or an event that was not let in.

    :param failed: the result of the task that failed.
    :param door: where it came from, `requests` or `findings`.
    """
    reason = str(failed.get("msg") or "No reason was given; see the job output.")
    request_id = str(failed.get("key") or "")
    # What is wrong on our side is not noted, so that the sender's next try is answered, and always told.
    key = (request_id or _key_of_today(reason)) if failed.get("refused") else ""
    return _refusal(door, reason, key, failed.get("event") or {}, request_id=request_id)


def event_unfit(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The same of an event that the filter of the rulebook refused."""
    reason = event_fields.why(str(asked["event_reason"])) or "The event does not have the form that was expected."
    return _refusal(str(asked["event_door"]), reason, _key_of_today(f"{asked['event_door']} {reason}"), {})


def _key_of_today(reason: str) -> str:
    """For what has no identity of its own: the same reason is noted and told once a day."""
    day = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    return hashlib.sha256(f"{day} {reason}".encode()).hexdigest()[:16]


def _refusal(door: str, reason: str, key: str, event: Mapping[str, Any], request_id: str = "") -> dict[str, Any]:
    # Nobody is known as its analyst: only the team is told.
    request = {"request_id": request_id or "unknown", "door": door, "analyst": {"email": ""}}
    return {"request": request, "key": key, "reason": reason, "event": dict(event), "tell": not key}


class FilterModule:
    """Filters of the role event."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Their names."""
        return {"event_result": event_result, "event_snapshot": event_snapshot, "event_refusal": event_refusal,
                "event_unfit": event_unfit}
