# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CloudTrail's event history of an instance (pitfall 58): 90 days, management events, one attribute a call, two calls a
second, and a role's sessions under the instance id as user name in every region."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from ..request_spec import iso
from .metadata import Answers, Clients, interfaces_of

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception  # type: ignore[assignment,misc]

PAGE = 50
MOST_PAGES = 40  # of one look-up: 2,000 events, 20 s
SECONDS_BETWEEN_CALLS = 0.5
BLIND = (
    "The history reaches back 90 days at most; older events are in a trail's bucket only, if there is a trail.",
    "It holds management events alone: no object of S3, no block read by EBS direct, no invocation of a function.",
    "Events of the last 15 minutes may be missing: AWS delivers them late.",
    "Calls with the role's credentials are found by the instance id as session name. A session that somebody opened by "
    "AssumeRole has another name and is not found here.",
    "Calls in other accounts, and in regions that are not named here, are not seen.",
)


class Pace:
    """Two calls a second in each region, whatever how many instances are looked up side by side."""

    def __init__(self, sleep: Callable[[float], None] = time.sleep,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._sleep, self._clock = sleep, clock
        self._lock = threading.Lock()
        self._free: dict[str, float] = {}

    def __call__(self, region: str) -> None:
        with self._lock:
            now = self._clock()
            turn = max(now, self._free.get(region, now))
            self._free[region] = turn + SECONDS_BETWEEN_CALLS
        if turn > now:
            self._sleep(turn - now)


def look_ups(instance: Mapping[str, Any], home: str, regions: Sequence[str]) -> list[tuple[str, str, str]]:
    """What is to be looked up: region, attribute and value, each a call of its own."""
    name = str(instance["InstanceId"])
    about = [name, *interfaces_of(instance)]
    return [*((home, "ResourceName", value) for value in about),
            *((region, "Username", name) for region in dict.fromkeys([home, *regions]))]


def collect(answers: Answers, clients: Clients, instance: Mapping[str, Any], *, days: int, regions: Sequence[str],
            now: datetime, pace: Pace) -> None:
    """All look-ups of an instance. Each one says what it looked for, where, and whether there was more."""
    start = now - timedelta(days=days)
    answers.answers["range"] = {"from": iso(start), "to": iso(now),
                                "regions": list(dict.fromkeys([clients.region, *regions])), "blind": list(BLIND)}
    found: list[dict[str, Any]] = []
    for region, attribute, value in look_ups(instance, clients.region, regions):
        told: dict[str, Any] = {"region": region, "attribute": attribute, "value": value, "events": [],
                                "truncated": False}
        params: dict[str, Any] = {"LookupAttributes": [{"AttributeKey": attribute, "AttributeValue": value}],
                                  "StartTime": start, "EndTime": now, "MaxResults": PAGE}
        try:
            client = clients("cloudtrail", region)
            for number in range(1, MOST_PAGES + 1):
                pace(region)
                page = client.lookup_events(**params)
                told["events"] += page.get("Events") or []
                token = page.get("NextToken")
                if not token:
                    break
                params["NextToken"] = token
                told["truncated"] = number == MOST_PAGES
        except (ClientError, BotoCoreError) as error:
            answers.failed(f"lookup_events in {region}, {attribute} {value}", error)
        found.append(told)
    answers.answers["look_ups"] = found


def enabled_regions(answers: Answers) -> list[str]:
    """The regions that this account has enabled; none where that cannot be asked, which is recorded."""
    described = answers.ask("ec2", "describe_regions")
    return sorted(str(region["RegionName"]) for region in described.get("Regions") or []
                  if region.get("OptInStatus") != "not-opted-in")
