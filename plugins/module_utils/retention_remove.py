# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Delete one copy of a snapshot, after a last look at its tags and at the records.

Between a report and a removal somebody may have prolonged the copy, put it under hold, shared it, or begun a request
that uses it. So all of that is asked again right before. An image that uses it, or a lock, AWS itself refuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from .record_store import listed, read
from .request_spec import RECORDS
from .resources import is_absent
from .retention import Cases, Copy, copy_of, held_by_tag, keeper, why_not_ours
from .retention_find import shared_with
from .waits import code_of

# Clocks of the bucket and of the controller differ, and the look itself took a while.
MARGIN = timedelta(minutes=15)
# AWS' own words for what nothing but a person can change, in ours.
WORDS = {
    "InvalidSnapshot.InUse": "an image uses it: deregister the image first",
    "SnapshotLocked": "it is locked: it can be deleted when the lock has ended",
    "UnauthorizedOperation": "this run's AWS identity may not delete it (docs/iam/retention-policy.json)",
}


class Left(Exception):
    """One sentence that says why a copy is left alone: something changed since it was judged."""


class Gone(Exception):
    """It is not there any more."""


def look_again(ec2: Any, s3: Any, bucket: str, snapshot_id: str, region: str, *, tags: Mapping[str, str],
               request_ids: Iterable[str], looked_at: datetime) -> Copy:
    """The copy as it is now, when it may still go; `Gone` or `Left` otherwise."""
    try:
        found = ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"]
    except Exception as error:
        if is_absent(error):
            raise Gone from error
        raise
    if not found:
        raise Gone
    copy = copy_of(found[0], region)
    # The records last: a request that begins to use the copy opens its record before it touches the copy.
    for reason in (_as_before(copy, tags), _held(ec2, snapshot_id),
                   _used(s3, bucket, copy, set(request_ids), looked_at)):
        if reason:
            raise Left(f"The snapshot {snapshot_id} is left alone: {reason}.")
    return copy


def delete(ec2: Any, snapshot_id: str) -> None:
    """Delete it; `Gone` where somebody was quicker."""
    try:
        ec2.delete_snapshot(SnapshotId=snapshot_id)
    except Exception as error:
        if is_absent(error):
            raise Gone from error
        raise


def in_words(error: Exception) -> str:
    """Why AWS did not delete it, in a few words; empty where only AWS' own sentence can say it."""
    return WORDS.get(code_of(error), "")


def _as_before(copy: Copy, tags: Mapping[str, str]) -> str:
    manager = keeper(copy)
    if manager:
        return f"it is in the hands of {manager}"
    foreign = why_not_ours(copy)
    if foreign:
        return foreign
    if held_by_tag(copy):
        return "it is under legal hold"
    changed = sorted(name for name in {*tags, *copy.tags} if tags.get(name) != copy.tags.get(name))
    if changed:
        return f"its tags changed meanwhile ({', '.join(changed)})"
    return "" if copy.state in ("completed", "error") else f"it is in state {copy.state}"


def _held(ec2: Any, snapshot_id: str) -> str:
    shared = shared_with(ec2, snapshot_id)
    return f"it is shared with {', '.join(shared)}" if shared else ""


def _used(s3: Any, bucket: str, copy: Copy, request_ids: set[str], looked_at: datetime) -> str:
    """Whether its requests are still finished, and no other one came: those records are read whose object changed."""
    known = {f"{RECORDS}{request_id}.json" for request_id in request_ids}
    # Listed, and not only asked for: an object that is gone looks forbidden to who may not list the whole bucket.
    keys = {key for key, changed in listed(s3, bucket) if key in known or changed >= looked_at - MARGIN}
    if known - keys:
        return f"the record {min(known - keys)} is gone"
    cases = Cases()
    for key in sorted(keys):
        try:
            cases.add(read(s3, bucket, key) or {})
        except (ValueError, KeyError, TypeError):
            return f"the record {key} cannot be read"
    uses = cases.of(copy)
    if {use.request_id for use in uses} != request_ids:
        return "the requests that used it are other ones now"
    running = next((use.request_id for use in uses if use.state != "finished"), "")
    return f"the request {running} is open and uses it" if running else ""
