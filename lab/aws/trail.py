# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CloudTrail's event history: the management calls that were really made, and LookupEvents over them.

As on AWS there are no data events (objects of S3, EBS direct), IAM's events are in us-east-1, and one attribute is
looked for at a time. Unlike there an event can be looked up at once; AWS takes some minutes.
"""

from __future__ import annotations

import json
import re
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

from lab.contracts import Refused

from . import moto_app
from .calls import Call
from .principals import Principal

KEPT = 20_000
PAGE = 50
READS = ("Describe", "Get", "List", "Lookup", "Simulate", "Head")
TYPES = {"i": "Instance", "vol": "Volume", "snap": "Snapshot", "sg": "SecurityGroup", "subnet": "Subnet", "vpc": "VPC",
         "eni": "NetworkInterface", "ami": "Ami"}
ID = re.compile(r"\b(?:i|vol|snap|sg|subnet|vpc|eni|ami)-[0-9a-f]{8,17}\b")
ATTRIBUTES = {"EventId": "EventId", "EventName": "EventName", "ReadOnly": "ReadOnly", "Username": "Username",
              "EventSource": "EventSource", "AccessKeyId": "AccessKeyId"}
FAILED = re.compile(rb"<Error>.*?<Code>([^<]+)</Code>", re.DOTALL)
SOURCES = {"elb": "elasticloadbalancing", "elbv2": "elasticloadbalancing"}
HIDDEN = "HIDDEN_DUE_TO_SECURITY_REASONS"


class Trail:
    """What was called in every account, the newest last."""

    def __init__(self) -> None:
        self._events: deque[tuple[tuple[str, str], dict[str, Any]]] = deque(maxlen=KEPT)

    @contextmanager
    def recorded(self, call: Call, caller: Principal) -> Iterator[list[bytes]]:
        """Record a call however it ends; what it answers goes into the list."""
        answer: list[bytes] = []
        refused: Refused | None = None
        try:
            yield answer
        except Refused as refusal:
            refused = refusal
            raise
        finally:
            if _is_management(call) and not caller.anonymous:
                region = "us-east-1" if call.service == "iam" else call.region
                event = _event(call, caller, region, b"".join(answer), refused)
                self._events.append(((caller.account, region), event))
                role = str(call.params.get("RoleArn") or "") if call.operation == "AssumeRole" else ""
                other = role.split(":")[4] if role.count(":") >= 5 else caller.account
                if other != caller.account:  # both accounts see who came from the one into the other
                    self._events.append(((other, region), event))

    def look_up(self, call: Call) -> dict[str, Any]:
        """LookupEvents, newest first, in pages."""
        params = call.params
        wanted = params.get("LookupAttributes") or []
        if len(wanted) > 1:
            raise Refused(400, "InvalidLookupAttributesException", "You can specify one lookup attribute only.")
        limit = int(params.get("MaxResults") or PAGE)
        if not 1 <= limit <= PAGE:
            raise Refused(400, "InvalidMaxResultsException", f"MaxResults must be 1 to {PAGE}.")
        start, end = (_seconds(params.get(name)) for name in ("StartTime", "EndTime"))
        if start is not None and end is not None and start > end:
            raise Refused(400, "InvalidTimeRangeException", "The start time is later than the end time.")
        found = [event for place, event in reversed(list(self._events))
                 if place == (moto_app.CALL.account, call.region)
                 and (start is None or event["EventTime"] >= start) and (end is None or event["EventTime"] <= end)
                 and all(_matches(event, one) for one in wanted)]
        # The token counts from the oldest event, so that what is called meanwhile moves no page.
        left = int(params["NextToken"]) if str(params.get("NextToken") or "").isdigit() else len(found)
        page = found[len(found) - left:][:limit]
        following = left - len(page)
        return {"Events": page, **({"NextToken": str(following)} if following > 0 else {})}


def _is_management(call: Call) -> bool:
    if call.service == "s3":
        return "Key" not in call.params and not call.operation.startswith(("ListObject", "DeleteObjects"))
    return (call.service, call.operation) not in (("sns", "Publish"), ("sns", "PublishBatch"))


def _seconds(moment: Any) -> float | None:
    if isinstance(moment, datetime):
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    return None if moment is None else float(moment)


def _matches(event: dict[str, Any], wanted: dict[str, str]) -> bool:
    key, value = wanted.get("AttributeKey", ""), wanted.get("AttributeValue", "")
    if key in ("ResourceName", "ResourceType"):
        return any(resource[key] == value for resource in event["Resources"])
    if key not in ATTRIBUTES:
        raise Refused(400, "InvalidLookupAttributesException", f"{key} is no lookup attribute.")
    return bool(event.get(ATTRIBUTES[key]) == value)


def _event(call: Call, caller: Principal, region: str, answer: bytes, refused: Refused | None) -> dict[str, Any]:
    now = datetime.now(timezone.utc)
    reads = call.operation.startswith(READS)
    asked = json.dumps(_shown(call), default=str)
    # What a call made is known from its answer; what a look found is no resource of the event.
    text = asked if reads else asked + answer.decode("utf-8", "replace")
    resources = [{"ResourceType": f"AWS::EC2::{TYPES[name.split('-')[0]]}", "ResourceName": name}
                 for name in dict.fromkeys(ID.findall(text))] if call.service == "ec2" else []
    name = caller.user_name if caller.kind == "User" else caller.arn.rpartition("/")[2]
    key = call.signature.access_key if call.signature else ""
    failed = FAILED.search(answer[:2000])
    number = str(uuid.uuid4())
    whole = {
        "eventVersion": "1.08", "eventID": number, "eventTime": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "eventSource": f"{SOURCES.get(call.service, call.service)}.amazonaws.com",
        "eventName": call.operation, "awsRegion": region,
        "sourceIPAddress": call.source_ip, "userAgent": call.headers.get("user-agent", ""), "readOnly": reads,
        "eventType": "AwsApiCall", "managementEvent": True, "recipientAccountId": caller.account,
        "userIdentity": {"type": "IAMUser" if caller.kind == "User" else caller.kind, "principalId": caller.user_id,
                         "arn": caller.arn, "accountId": caller.account, "accessKeyId": key, "userName": name,
                         **({"sessionContext": {"sourceIdentity": caller.source_identity}}
                            if caller.source_identity else {})},
        "requestParameters": json.loads(asked),
        **({"errorCode": refused.code, "errorMessage": refused.message} if refused else
           {"errorCode": failed[1].decode()} if failed else {}),
    }
    return {"EventId": number, "EventName": call.operation, "ReadOnly": str(reads).lower(), "AccessKeyId": key,
            "EventTime": int(now.timestamp()), "EventSource": whole["eventSource"], "Username": name,
            "Resources": resources, "CloudTrailEvent": json.dumps(whole)}


def _shown(call: Call) -> dict[str, Any]:
    """The parameters of a call as CloudTrail shows them: none that may be secrets."""
    if call.service != "ec2":
        return {key: value for key, value in call.params.items() if key.endswith(("Name", "Id", "Arn", "Bucket"))}
    return {key: HIDDEN if key == "UserData" else value for key, value in call.params.items()}
