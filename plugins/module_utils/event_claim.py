# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of each event: one small object in the bucket, created and changed conditionally.

`requests/events/<key>.json` is created with If-None-Match and changed with If-Match: an event that is delivered again,
or to two listeners, is answered once, whatever restarted in between. A slot of the day's budget is an object, too,
`requests/events/budget/<day>/<number>.json`: however many want one at the same time, they never get more than there
are. So are the mails that tell of refusals, `requests/events/told/<day>/<number>.json`. All lie below `requests/`,
where no analysis host can write.

Standard library only, but for the client that is handed in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from .request_spec import RECORDS, iso, parse_iso

FORMAT = 1
EVENTS = f"{RECORDS}events/"
TAKEN, ENDED = "taken", "ended"
MAILS = 20  # that tell of refusals, a day
_LOST = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}
_ABSENT = {"NoSuchKey", "404", "NotFound"}


class EventError(Exception):
    """One sentence that says why markers cannot be worked with, and what to do."""


class Taken(NamedTuple):
    """Whether an event is this run's to answer (`mine`), and why not."""

    mine: bool
    marker: dict[str, Any]
    refusal: str = ""
    changed: bool = False


class Shelf:
    """The markers in a bucket. `client` is boto3's, for S3."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client, self.bucket = client, bucket

    def read(self, key: str) -> tuple[dict[str, Any] | None, str]:
        """A marker and its ETag; None where there is none."""
        name = f"{EVENTS}{key}.json"
        try:
            answer = self._client.get_object(Bucket=self.bucket, Key=name)
            content = json.loads(answer["Body"].read())
        except ValueError:
            content = None
        except Exception as error:
            if _code(error) in _ABSENT:
                return None, ""
            raise self._error(error, name, "read") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT or content.get("key") != key:
            raise EventError(f"s3://{self.bucket}/{name} is no marker of this project (format {FORMAT}): look at it, "
                             "and move it away if it does not belong there.")
        return content, str(answer["ETag"])

    def write(self, key: str, content: Mapping[str, Any], etag: str = "") -> bool:
        """Create it, or change the one of this ETag; False when somebody else was faster."""
        name = f"{EVENTS}{key}.json"
        condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        try:
            self._client.put_object(
                Bucket=self.bucket, Key=name, Body=json.dumps(content, indent=1, sort_keys=True).encode(),
                ContentType="application/json", ChecksumAlgorithm="SHA256", **condition)
        except Exception as error:
            if _code(error) in _LOST:
                return False
            raise self._error(error, name, "written") from error
        return True

    def slots(self, folder: str) -> set[int]:
        """The slots that are taken, of a folder such as `budget/2026-01-31`."""
        prefix = f"{EVENTS}{folder}/"
        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            names = [item["Key"].removeprefix(prefix) for page in pages for item in page.get("Contents") or []]
        except Exception as error:
            raise self._error(error, prefix, "listed") from error
        return {int(name[:-5]) for name in names if re.fullmatch(r"[0-9]{1,6}\.json", name)}

    def _error(self, error: Exception, name: str, done: str) -> EventError:
        why = {
            "NoSuchBucket": f"there is no bucket {self.bucket}: set dfir_aws_artifact_bucket.",
            "AccessDenied": "access denied: s3:GetObject and s3:PutObject on requests/* and s3:ListBucket on the "
                            "bucket are needed (docs/iam/controller-policy.json).",
        }.get(_code(error), str(error))
        return EventError(f"s3://{self.bucket}/{name} could not be {done}: {why}")


def take(shelf: Shelf, key: str, event: Mapping[str, Any], holder: str, now: datetime, *, budget: int,
         lease_minutes: int, write: bool = True) -> Taken:
    """Take an event, unless it was answered, somebody works on it, or the day's budget is used up.

    :param holder: this run.
    :param budget: events that are answered a day (UTC). 0: none.
    :param lease_minutes: when a run that took it and said nothing more counts as dead.
    :param write: False in check mode: say what would be.
    """
    stored, etag = shelf.read(key)
    if stored and not _may_take(stored, holder, now, lease_minutes):
        return Taken(False, stored)
    marker = {"format": FORMAT, "key": key, "event": dict(event), "state": TAKEN, "holder": holder,
              "taken_at": iso(now), "ended_at": None, "outcome": None, "reason": "", "details": {},
              "slot": (stored or {}).get("slot")}
    folder = f"budget/{iso(now)[:10]}"
    if not write:
        free = bool(marker["slot"]) or len(shelf.slots(folder)) < budget
        return Taken(free, marker, "" if free else _used_up(budget), changed=free)
    if not shelf.write(key, marker, etag):  # somebody else was faster
        return Taken(False, shelf.read(key)[0] or marker)
    if marker["slot"]:  # a dead run had one
        return Taken(True, marker, changed=True)
    marker["slot"] = _slot(shelf, folder, key, budget)
    if marker["slot"]:
        _put(shelf, key, marker)
        return Taken(True, marker, changed=True)
    return Taken(False, marker, _used_up(budget), changed=True)


def may_tell(shelf: Shelf, key: str, now: datetime) -> bool:
    """Whether one more mail of a refusal may be sent today. Whoever floods us must not flood mailboxes."""
    return bool(_slot(shelf, f"told/{iso(now)[:10]}", key, MAILS))


def end(shelf: Shelf, key: str, now: datetime, *, outcome: str, reason: str = "",
        details: Mapping[str, Any] | None = None, event: Mapping[str, Any] | None = None, write: bool = True,
        ) -> tuple[dict[str, Any], bool]:
    """Note how it ended, and whether that is new. What was noted stays; where there is no marker, one is made."""
    while True:
        stored, etag = shelf.read(key)
        if stored and stored["state"] == ENDED:
            return stored, False
        marker = {"format": FORMAT, "key": key, "event": dict(event or {}), "holder": "", "taken_at": None,
                  "slot": None, **(stored or {}), "state": ENDED, "ended_at": iso(now), "outcome": outcome,
                  "reason": reason[:1000], "details": dict(details or {})}
        if not write or shelf.write(key, marker, etag):
            return marker, True


def _may_take(marker: Mapping[str, Any], holder: str, now: datetime, lease_minutes: int) -> bool:
    if marker["state"] == ENDED:
        return False
    return marker["holder"] == holder or parse_iso(marker["taken_at"]) + timedelta(minutes=lease_minutes) < now


def _slot(shelf: Shelf, folder: str, key: str, most: int) -> str:
    taken = shelf.slots(folder)
    for number in range(1, most + 1):
        if number not in taken and shelf.write(f"{folder}/{number}", {"key": key}):
            return f"{folder}/{number}"
    return ""


def _put(shelf: Shelf, key: str, marker: Mapping[str, Any]) -> None:
    """Write a marker that is ours."""
    etag = shelf.read(key)[1]
    if not shelf.write(key, marker, etag):
        raise EventError(f"The marker of the event {key} was changed by somebody else: it is no longer this run's.")


def _used_up(budget: int) -> str:
    return (f"The budget of {budget} events a day is used up (dfir_aws_event_budget): this one was not answered. Look "
            "whether somebody provokes them.")


def _code(error: Exception) -> str:
    answer = getattr(error, "response", None) or {}
    return str(answer.get("Error", {}).get("Code", ""))
