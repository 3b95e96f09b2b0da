# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host images which snapshot: one small object in the bucket for each, created and changed conditionally.

`claims/<incident>/<snapshot>.json`, created with If-None-Match, changed with If-Match: of two hosts that want the same
snapshot, one gets it. Whoever holds it writes it again from time to time; a claim that was not written for as long as
its lease says may be taken over. How long that is, the bucket's own clock says (`Date` and `Last-Modified` of one
answer): hosts' clocks are never compared.

Standard library only, but for the client that is handed in.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

FORMAT = 1
CLAIMS = "claims/"
LEASE_SECONDS = 300
DONE, HELD, OPEN = "done", "held", "open"
_LOST = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}
_ABSENT = {"NoSuchKey", "404", "NotFound"}
_RENEWALS = 3  # within a lease: one or two may fail


class ClaimError(Exception):
    """One sentence that says why claims cannot be worked with, and what to do."""


class Stored(NamedTuple):
    """A claim as it lies in the bucket. `etag` is empty where there is none; `age`: seconds since it was written."""

    content: dict[str, Any]
    etag: str
    age: float


def claim_key(incident: str, snapshot_id: str) -> str:
    """Where the claim on a snapshot lies."""
    return f"{CLAIMS}{incident}/{snapshot_id}.json"


def fresh(incident: str, snapshot_id: str) -> dict[str, Any]:
    """A claim that nobody holds."""
    return {"format": FORMAT, "incident": incident, "snapshot_id": snapshot_id, "state": OPEN, "holder": None,
            "lease_seconds": LEASE_SECONDS, "failures": [], "taken_over": [], "image": None}


def may_take(stored: Stored, holder: str) -> bool:
    """Whether `holder` may begin with this snapshot: nobody has it, or nobody any more, and it was not this holder that
    failed with it."""
    claim = stored.content
    if claim["state"] == DONE or any(item["holder"] == holder for item in claim["failures"]):
        return False
    return claim["state"] == OPEN or claim["holder"] == holder or stored.age > claim["lease_seconds"]


def taken(stored: Stored, holder: str, lease_seconds: int, now: str) -> dict[str, Any]:
    """The claim, held by `holder`."""
    claim = json.loads(json.dumps(stored.content))
    if claim["state"] == HELD and claim["holder"] != holder:
        claim["taken_over"].append({"from": claim["holder"], "at": now})
    claim.update(state=HELD, holder=holder, lease_seconds=lease_seconds, claimed_at=now)
    return dict(claim)


def ended(claim: Mapping[str, Any], now: str, *, image: Mapping[str, Any] | None = None,
          failure: str = "") -> dict[str, Any]:
    """The claim of a snapshot that was imaged, or could not be, or (neither) was given back."""
    done = {**claim, "state": DONE if image else OPEN, "ended_at": now}
    if image:
        done["image"] = dict(image)
    elif failure:
        done["failures"] = [*claim["failures"], {"holder": claim["holder"], "at": now, "reason": failure[:500]}]
    return done


class Shelf:
    """The claims in a bucket. `client` is boto3's, for S3."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client, self.bucket = client, bucket

    def read(self, incident: str, snapshot_id: str) -> Stored:
        """A claim; a fresh one where there is none."""
        key = claim_key(incident, snapshot_id)
        try:
            answer = self._client.get_object(Bucket=self.bucket, Key=key)
            content = json.loads(answer["Body"].read())
        except ValueError:
            content = None
        except Exception as error:
            if _code(error) in _ABSENT:
                return Stored(fresh(incident, snapshot_id), "", 0.0)
            raise self._error(error, key, "read") from error
        right = isinstance(content, dict) and content.get("format") == FORMAT and set(fresh("", "")) <= set(content)
        if not right or content["snapshot_id"] != snapshot_id or content["incident"] != incident:
            raise ClaimError(f"s3://{self.bucket}/{key} is no claim of this project (format {FORMAT}): look at it, and "
                             "move it away if it does not belong there.")
        said = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
        clock = parsedate_to_datetime(said) if said else datetime.now(timezone.utc)
        return Stored(content, str(answer["ETag"]), (clock - answer["LastModified"]).total_seconds())

    def write(self, claim: Mapping[str, Any], etag: str) -> str:
        """The new ETag; empty when somebody else was faster."""
        key = claim_key(claim["incident"], claim["snapshot_id"])
        condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        try:
            answer = self._client.put_object(
                Bucket=self.bucket, Key=key, Body=json.dumps(claim, indent=1, sort_keys=True).encode(),
                ContentType="application/json", ChecksumAlgorithm="SHA256", **condition)
        except Exception as error:
            if _code(error) in _LOST:
                return ""
            raise self._error(error, key, "written") from error
        return str(answer["ETag"])

    def is_told(self, incident: str, request_id: str) -> bool:
        """Whether the summary of a request was sent."""
        key = f"{CLAIMS}{incident}/summary-{request_id}.json"
        try:
            self._client.head_object(Bucket=self.bucket, Key=key)
        except Exception as error:
            if _code(error) in _ABSENT:
                return False
            raise self._error(error, key, "read") from error
        return True

    def tell(self, incident: str, request_id: str) -> bool:
        """Note that it was; False where that is noted already."""
        key = f"{CLAIMS}{incident}/summary-{request_id}.json"
        try:
            self._client.put_object(Bucket=self.bucket, Key=key, Body=json.dumps({"told_at": utc_now()}).encode(),
                                    ContentType="application/json", ChecksumAlgorithm="SHA256", IfNoneMatch="*")
        except Exception as error:
            if _code(error) in _LOST:
                return False
            raise self._error(error, key, "written") from error
        return True

    def _error(self, error: Exception, key: str, done: str) -> ClaimError:
        why = {
            "NoSuchBucket": f"there is no bucket {self.bucket}: set dfir_aws_artifact_bucket.",
            "AccessDenied": "access denied: s3:GetObject and s3:PutObject on claims/* and s3:ListBucket on the bucket "
                            "are needed (docs/iam/imaging-host-policy.json), and a bucket policy that lets claims "
                            "change (docs/iam/artifact-bucket-policy.json).",
        }.get(_code(error), str(error))
        return ClaimError(f"The claim s3://{self.bucket}/{key} could not be {done}: {why}")


def utc_now() -> str:
    """UTC, to the second."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def take_next(shelf: Shelf, incident: str, snapshot_ids: Sequence[str], holder: str, lease_seconds: int
              ) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """Take the first snapshot that may be taken; None, and all claims as they stand, where there is none."""
    claims = []
    for snapshot_id in snapshot_ids:
        stored = shelf.read(incident, snapshot_id)
        while may_take(stored, holder):
            claim = taken(stored, holder, lease_seconds, utc_now())
            if shelf.write(claim, stored.etag):
                return claim, []
            stored = shelf.read(incident, snapshot_id)  # somebody else was faster
        claims.append(stored.content)
    return None, claims


def others_hold(claims: Sequence[Mapping[str, Any]], holder: str) -> list[str]:
    """Snapshots that others work on, and that may come free for this holder."""
    return [claim["snapshot_id"] for claim in claims if claim["state"] == HELD and claim["holder"] != holder
            and all(item["holder"] != holder for item in claim["failures"])]


def end(shelf: Shelf, incident: str, snapshot_id: str, holder: str, *, image: Mapping[str, Any] | None = None,
        failure: str = "") -> tuple[dict[str, Any], bool]:
    """End a claim that `holder` has, and whether that changed anything. Saying it twice is no change."""
    while True:
        stored = shelf.read(incident, snapshot_id)
        claim = stored.content
        if claim["state"] == DONE and claim["holder"] == holder:
            return claim, False
        if claim["state"] != HELD or claim["holder"] != holder:
            if not image:  # nothing to give back
                return claim, False
            raise ClaimError(f"The claim on {snapshot_id} is held by {claim['holder'] or 'nobody'} by now, not by "
                             f"{holder}: what was imaged is in the bucket, and its new holder goes on from it.")
        now = ended(claim, utc_now(), image=image, failure=failure)
        if shelf.write(now, stored.etag):
            return now, True


class Renewal:
    """Writes a claim again and again while its holder works, in a thread of its own. `lost` says why it is no more."""

    def __init__(self, shelf: Shelf, incident: str, snapshot_id: str, holder: str,
                 pause: Callable[[float], bool] | None = None) -> None:
        self.lost = ""
        self._shelf, self._what, self._holder = shelf, (incident, snapshot_id), holder
        self._ends = threading.Event()
        self._pause = pause or self._ends.wait
        seconds = self._renew()
        if not self.lost:
            threading.Thread(target=self._watch, args=(seconds,), name="claim", daemon=True).start()

    def close(self, *, give_back: bool = False) -> None:
        """Renew no more; `give_back`: and let others begin at once."""
        self._ends.set()
        if give_back and not self.lost:
            end(self._shelf, *self._what, self._holder)

    def _watch(self, seconds: float) -> None:
        failed = 0
        while not self._pause(seconds / _RENEWALS):
            try:
                seconds = self._renew()
                failed = 0
            except ClaimError as error:
                failed += 1
                if failed >= _RENEWALS:  # the lease has run out: somebody else may work on it now
                    self.lost = str(error)
            if self.lost:
                return

    def _renew(self) -> float:
        stored = self._shelf.read(*self._what)
        claim = stored.content
        mine = claim["state"] == HELD and claim["holder"] == self._holder
        if not mine or not self._shelf.write(claim, stored.etag):
            again = self._shelf.read(*self._what).content if mine else claim
            self.lost = f"the claim on {self._what[1]} is held by {again['holder'] or 'nobody'} by now"
        return float(claim["lease_seconds"])


def _code(error: Exception) -> str:
    answer = getattr(error, "response", None) or {}
    return str(answer.get("Error", {}).get("Code", ""))
