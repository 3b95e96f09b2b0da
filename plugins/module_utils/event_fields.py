# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an event may say: a request of somebody's tool, or a finding of GuardDuty or Security Hub.

Nothing from an event is trusted. What comes out of `rebuilt` is made anew from checked values; everything else is left
behind, and a refusal is made of words of ours alone. Standard library and the table of a request's fields only: the
event filter loads both files by path.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple

from .request_fields import NAMES, REGION, SNAPSHOT_ID, Field, check

REQUESTS, FINDINGS = "requests", "findings"
INSTANCE_ID = r"i-(?:[0-9a-f]{17}|[0-9a-f]{8})"
# What AWS gives its identifiers to: arn:aws:ec2:eu-west-1:123456789012:instance/i-... and snapshot/snap-... GuardDuty
# writes a snapshot's without an account, as EC2 does.
ARN = rf"arn:aws[a-z-]{{0,12}}:ec2:({REGION}):([0-9]{{12}})?:(?:instance/({INSTANCE_ID})|snapshot/({SNAPSHOT_ID}))"
FINDING = r"[A-Za-z0-9][A-Za-z0-9 :/._!()-]{0,127}"
MOST = 20  # findings of one event, and resources of one finding: Security Hub's own bound for custom actions

EVENT_FIELDS: tuple[Field, ...] = (
    Field("event_id", "text", "must be EventBridge's id of the event, a UUID.",
          r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    Field("event_time", "text", "must be when the event was made, in UTC, such as '2026-01-31T12:00:00Z'.",
          r"20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]Z", longest=20),
    Field("event_source", "text", "must be 'aws.guardduty' or 'aws.securityhub'.",
          allowed=("aws.guardduty", "aws.securityhub")),
    Field("event_account", "text", "must be the account of what the finding is about, 12 digits.", r"[0-9]{12}"),
    Field("event_region", "text", "must be the AWS region of what the finding is about.", REGION, longest=24),
    Field("event_resource", "text", "must be the instance or the snapshot that the finding is about.",
          rf"{INSTANCE_ID}|{SNAPSHOT_ID}"),
    Field("event_finding", "text", "must be the finding's type.", FINDING, longest=128, required=False,
          default="unknown"),
)
EVENT_NAMES: tuple[str, ...] = tuple(field.name for field in EVENT_FIELDS)

# Why nothing is made of an event, beside a field that does not fit (then its name is the reason).
REFUSALS: dict[str, str] = {
    "not_an_object": "The body is no JSON object.",
    "no_resource": "The finding names no EC2 instance and no EBS snapshot: narrow down the EventBridge rule.",
    "too_many": f"The event names more than {MOST} findings, or a finding more than {MOST} resources.",
    "broken": "The body could not be taken apart.",
}
# The operator's bounds are the door's business; here a number has to be one.
_ANY = {"time_limit_hours": (0.01, 999.0)}


class Named(NamedTuple):
    """What a finding names, unchecked."""

    account: Any
    region: Any
    resource: Any
    finding: Any


class Unfit(Exception):
    """Carries the reason, one of REFUSALS or a field's name."""


def refused(door: str, reason: str) -> dict[str, Any]:
    """An event that stands for one that was refused."""
    return {"kind": "refused", "door": door, "reason": reason}


def why(reason: str) -> str:
    """The sentence of a reason; empty where there is no such reason."""
    if reason in REFUSALS:
        return REFUSALS[reason]
    if reason in EVENT_NAMES or reason in NAMES:
        return f"The field {reason} is missing, or does not have the form that docs/webhook.md asks for."
    return ""


def rebuilt(event: Any, door: str) -> list[dict[str, Any]]:
    """What the rules see of an event: nothing that was not checked.

    :param event: as a source put it: the body is under `payload` (webhooks, event streams) or `body` (SQS).
    :param door: `requests` or `findings`.
    """
    body = event.get("payload", event.get("body")) if isinstance(event, dict) else None
    try:
        if not isinstance(body, dict):
            raise Unfit("not_an_object")
        return {REQUESTS: _request, FINDINGS: _findings}[door](body)
    except Unfit as unfit:
        return [refused(door, str(unfit))]


def event_key(values: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that stand for an event and what it names: the same for each time that it is delivered."""
    names = ("event_id", "event_account", "event_region", "event_resource")
    return _digest({name: values[name] for name in names})


def age_in_seconds(event_time: str, now: datetime) -> float:
    """How old an event is; ValueError where its time is none (the 31st of February has the right form)."""
    made = datetime.strptime(event_time, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    return (now - made).total_seconds()


def _request(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    values, problems = check(body, limits=_ANY)
    if problems:
        raise Unfit(problems[0].field)
    return [{"kind": "request", "key": _digest(values),
             "request": {name: _as_text(value) for name, value in values.items()}}]


def _findings(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for item in _named(body):
        values, problems = check({
            "event_id": body.get("id"), "event_time": body.get("time"), "event_source": body.get("source"),
            "event_account": item.account, "event_region": item.region, "event_resource": item.resource,
            "event_finding": item.finding if _fits(FINDING, item.finding) else None}, fields=EVENT_FIELDS)
        if problems:
            raise Unfit(problems[0].field)
        key = event_key(values)
        found[key] = {"kind": "finding", "key": key, "finding": values}
    if not found:
        raise Unfit("no_resource")
    return list(found.values())


def _named(body: Mapping[str, Any]) -> Iterator[Named]:
    """What an event of EventBridge names. GuardDuty: one resource. Security Hub: findings with resources."""
    detail = _part(body, "detail")
    if body.get("source") == "aws.guardduty":
        resource, account, region = _part(detail, "resource"), detail.get("accountId"), detail.get("region")
        instance = _part(resource, "instanceDetails").get("instanceId")
        if instance is not None:
            yield Named(account, region, instance, detail.get("type"))
        yield from _by_arn(_part(resource, "ebsSnapshotDetails").get("snapshotArn"), account, detail.get("type"))
        return
    if body.get("source") != "aws.securityhub":
        raise Unfit("event_source")
    for finding in _several(detail.get("findings")):
        types = finding.get("Types")
        kind = types[0] if isinstance(types, list) and types else None
        for resource in _several(finding.get("Resources")):
            yield from _by_arn(resource.get("Id"), finding.get("AwsAccountId"), kind)


def _by_arn(arn: Any, account: Any, finding: Any) -> Iterator[Named]:
    match = re.fullmatch(ARN, arn) if isinstance(arn, str) else None
    if match:  # everything else that findings are about is nothing to triage
        region, owner, instance, snapshot = match.groups()
        yield Named(owner or account, region, instance or snapshot, finding)


def _part(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    return value if isinstance(value, dict) else {}


def _several(value: Any) -> list[Mapping[str, Any]]:
    items = value if isinstance(value, list) else []
    if len(items) > MOST:
        raise Unfit("too_many")
    return [item for item in items if isinstance(item, dict)]


def _as_text(value: Any) -> str:
    """A checked value as a survey would send it: the door takes it from there, and a rulebook has no types to lose."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(value) if isinstance(value, list) else str(value)


def _fits(pattern: str, value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _digest(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
