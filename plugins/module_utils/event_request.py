# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A checked event becomes a request to look into a snapshot, made by the service principal that the operator names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from . import registry, request_fields, request_spec
from .event_fields import age_in_seconds, event_key

AHEAD_SECONDS = 300  # how far a sender's clock may be ahead


def refuse_by_age(event: Mapping[str, Any], now: datetime, max_age_minutes: int) -> None:
    """An old event, or one of the future, is not answered: alerts that come again and again come from a recording."""
    try:
        age = age_in_seconds(event["event_time"], now)
    except ValueError:
        raise registry.Refused("event_time", f"event_time: {event['event_time']} is no time.") from None
    if age > max_age_minutes * 60:
        raise registry.Refused("event_time", f"event_time: the event was made at {event['event_time']}, and none is "
                                             f"answered after {max_age_minutes} minutes "
                                             "(dfir_aws_event_max_age_minutes).")
    if age < -AHEAD_SECONDS:
        raise registry.Refused("event_time", f"event_time: the event was made at {event['event_time']}, which is still "
                                             "to come.")


def values(event: Mapping[str, Any], analyst: str, incident_prefix: str) -> dict[str, Any]:
    """The fields of the request. Each event is an incident of its own until a person says otherwise.

    :param analyst: the uid of the service principal in the registry. Empty: events are not answered.
    """
    if not analyst:
        raise registry.Refused("analyst_uid", "analyst_uid: events are not answered before the operator names the "
                                              "registry's entry that they are answered for (dfir_aws_event_analyst).")
    day = str(event["event_time"])[:10].replace("-", "")
    made, problems = request_fields.check({
        "analyst_uid": analyst, "incident": f"{incident_prefix}-{day}-{event_key(event)[:8]}",
        "aws_analysis_region": event["event_region"],
        "aws_snapshot_id": "snap-00000000"})  # stands in for the resource, which may be an instance
    if problems:
        raise registry.RegistryError(f"The operator's settings for events make no request: {problems[0].sentence}")
    return {**made, "aws_snapshot_id": [event["event_resource"]]}


def build(event: Mapping[str, Any], made: Mapping[str, Any], entries: Iterable[Mapping[str, Any]],
          caller: registry.Caller, *, bucket: str, now: datetime) -> dict[str, Any]:
    """The request, once it is allowed. Its identity is that of the event's resource, whatever snapshot is found."""
    analyst = registry.decide(entries, made, caller)
    if event["event_account"] != caller.account:
        raise registry.Refused("event_account", f"event_account: the finding is about the account "
                                                f"{event['event_account']}, but this run's AWS credentials belong to "
                                                f"{caller.account}.")
    return request_spec.build(made, analyst, caller, bucket=bucket, now=now)


def of_snapshot(spec: Mapping[str, Any], snapshot_id: str) -> dict[str, Any]:
    """The request with the snapshot that stands for its resource."""
    snapshot = {**spec["snapshots"][0], "id": snapshot_id, "artifact_prefix": f"{spec['incident']}/{snapshot_id}/"}
    return {**spec, "snapshots": [snapshot], "artifact_prefix": snapshot["artifact_prefix"]}
