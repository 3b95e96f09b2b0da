# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a request: lock, replay guard and memory, as data.

Pure functions from one record to the next; who reads and writes it, and how races are settled, is the module's business
(`request_record`, by compare-and-swap). Times are UTC in ISO 8601, to the second.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Mapping
from copy import deepcopy
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from .processes import machine, started
from .request_spec import iso, parse_iso

FORMAT = 1
OUTCOMES = ("complete", "incomplete", "timeout", "ended", "failed")
Gone = Callable[[str], bool]


class RecordError(Exception):
    """One sentence that says why the record cannot be changed so, and what to do."""


class Change(NamedTuple):
    """The next record, and whether it differs from the last."""

    record: dict[str, Any]
    changed: bool
    adopted: bool = False


def opened(record: Mapping[str, Any] | None, spec: Mapping[str, Any], holder: str, now: datetime, minutes: int, *,
           force: bool = False, gone: Gone = lambda holder: False) -> Change:
    """Take the lease of a request, as a new record or on the one that is there.

    A finished request is returned as it is: nobody needs its lease.

    :param gone: tells whether a holder is known to be dead, so that nobody waits for its lease.
    :param force: take a lease that still runs: the operator knows that its holder is dead.
    """
    run = {"holder": holder, "started_at": iso(now), "caller": dict(spec["caller"]),
           "instance_type": spec["instance_type"], "time_limit_hours": spec["time_limit_hours"]}
    if record is None:
        fresh = {"format": FORMAT, "request_id": spec["request_id"], "request": deepcopy(dict(spec)), "state": "open",
                 "outcome": None, "created_at": iso(now), "updated_at": iso(now), "lease": None, "runs": [run],
                 "steps": []}
        return Change(_leased(fresh, holder, now, minutes), True)
    current = _copy(record, spec["request_id"])
    if current["state"] == "finished":
        return Change(current, False, adopted=True)
    lease = current["lease"]
    if lease and lease["holder"] == holder:
        return _renewed(current, holder, now, minutes)._replace(adopted=True)
    if not force:
        _refuse_other(current, holder, now, gone)
    current["runs"].append(run)
    return Change(_leased(current, holder, now, minutes), True, adopted=True)


def kept(change: Change, custody: Mapping[str, Any]) -> Change:
    """Remember how the custody ledger of the request is kept, where it is. A request that has ended stays as it is."""
    if not custody or change.record["state"] == "finished" or change.record.get("custody") == custody:
        return change
    return Change({**change.record, "custody": dict(custody)}, True, change.adopted)


def stepped(record: Mapping[str, Any], holder: str, now: datetime, minutes: int, *, name: str, outcome: str,
            details: Mapping[str, Any], started_at: str = "", ended_at: str = "",
            gone: Gone = lambda holder: False) -> Change:
    """Note that a step ended, and go on holding the lease. The same step told twice is noted once."""
    current = _open(record, holder, now, gone)
    told = {"name": name, "outcome": outcome, "details": deepcopy(dict(details)), "holder": holder}
    last = next((step for step in reversed(current["steps"]) if step["name"] == name), None)
    if last and all(last[key] == value for key, value in told.items()):
        return _renewed(current, holder, now, minutes)
    current["steps"].append({**told, "started_at": started_at or None, "ended_at": ended_at or iso(now)})
    return Change(_leased(current, holder, now, minutes), True)


def renewed(record: Mapping[str, Any], holder: str, now: datetime, minutes: int, *,
            gone: Gone = lambda holder: False) -> Change:
    """Hold the lease for `minutes` more, when less than half of them are left."""
    return _renewed(_open(record, holder, now, gone), holder, now, minutes)


def released(record: Mapping[str, Any], holder: str, now: datetime) -> Change:
    """Give the lease back: the request stays open for a later run. Another's lease is left alone."""
    current = _copy(record)
    if current["state"] == "finished" or not current["lease"] or current["lease"]["holder"] != holder:
        return Change(current, False)
    current["lease"] = None
    return Change(_ended_run(current, holder, now, "released"), True)


def finished(record: Mapping[str, Any], holder: str, now: datetime, outcome: str, *,
             gone: Gone = lambda holder: False) -> Change:
    """End a request for good. Saying so twice is no change; saying something else later is refused."""
    current = _copy(record)
    if current["state"] == "finished":
        if current["outcome"] != outcome:
            raise RecordError(f"Request {current['request_id']} ended as '{current['outcome']}' and stays so: a record "
                              f"that is finished does not become '{outcome}'.")
        return Change(current, False)
    _refuse_other(current, holder, now, gone)
    current.update(state="finished", outcome=outcome, finished_at=iso(now), lease=None)
    return Change(_ended_run(current, holder, now, outcome), True)


def holder_of_process(host: str, pid: int, unique: object) -> str:
    """A holder's name: host, process, and what tells this process from a later one of the same number."""
    return f"{host}:{pid}:{_started(pid)}:{_kernel()}:{str(unique)[:8]}"


def is_gone(holder: str) -> bool:
    """True only when the holder was a process of this very machine (and container), and it is no more."""
    parts = holder.split(":")
    if len(parts) != 5 or not parts[1].isdigit() or not parts[3] or parts[3] != _kernel():
        return False
    pid, since = int(parts[1]), parts[2]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # it lives and is somebody else's
    return bool(since) and _started(pid) not in ("", since)


def spoken(holder: str) -> str:
    """A holder as a person reads it."""
    parts = holder.split(":")
    return f"process {parts[1]} on {parts[0]}" if len(parts) == 5 else holder


def _open(record: Mapping[str, Any], holder: str, now: datetime, gone: Gone) -> dict[str, Any]:
    current = _copy(record)
    if current["state"] == "finished":
        raise RecordError(f"Request {current['request_id']} ended as '{current['outcome']}': nothing can be added to "
                          "it. To run it once more, raise 'attempt'.")
    _refuse_other(current, holder, now, gone)
    return current


def is_held(record: Mapping[str, Any], holder: str, now: datetime, gone: Gone) -> bool:
    """Whether somebody else than `holder` works on the request."""
    lease = record["lease"]
    return bool(lease) and lease["holder"] != holder and parse_iso(lease["expires_at"]) > now and not gone(
        lease["holder"])


def _refuse_other(record: Mapping[str, Any], holder: str, now: datetime, gone: Gone) -> None:
    lease = record["lease"]
    if is_held(record, holder, now, gone):
        raise RecordError(f"Request {record['request_id']} is being worked on by {spoken(lease['holder'])}, which "
                          f"holds it until {lease['expires_at']} (UTC) at least: wait for it, or start again later.")


def _renewed(record: dict[str, Any], holder: str, now: datetime, minutes: int) -> Change:
    lease = record["lease"]
    ours = lease and lease["holder"] == holder
    if ours and parse_iso(lease["expires_at"]) - now >= timedelta(minutes=minutes) / 2:
        return Change(record, False)
    return Change(_leased(record, holder, now, minutes), True)


def _leased(record: dict[str, Any], holder: str, now: datetime, minutes: int) -> dict[str, Any]:
    lease = record["lease"]
    until = now + timedelta(minutes=minutes)
    since = iso(now)
    if lease and lease["holder"] == holder:  # never shorter than was promised before
        since, until = lease["acquired_at"], max(until, parse_iso(lease["expires_at"]))
    record["lease"] = {"holder": holder, "acquired_at": since, "expires_at": iso(until)}
    record["updated_at"] = iso(now)
    return record


def _ended_run(record: dict[str, Any], holder: str, now: datetime, outcome: str) -> dict[str, Any]:
    for run in record["runs"]:
        if run["holder"] == holder:
            run.update(ended_at=iso(now), outcome=outcome)
    record["updated_at"] = iso(now)
    return record


def _copy(record: Mapping[str, Any], request_id: str = "") -> dict[str, Any]:
    """A record of our own to change, once it proved to be one."""
    needed = ("format", "request_id", "state", "lease", "runs", "steps")
    if not isinstance(record, Mapping) or any(key not in record for key in needed) or record["format"] != FORMAT:
        raise RecordError("What lies at the record's place is not a record of this project (format 1): look at it, and "
                          "move it away if it does not belong there.")
    if request_id and record["request_id"] != request_id:
        raise RecordError(f"The record at the place of request {request_id} belongs to request {record['request_id']}.")
    return deepcopy(dict(record))


def _kernel() -> str:
    """Which kernel and which process namespace, in short: where a process number means something."""
    with contextlib.suppress(OSError):
        here = machine()
        return hashlib.sha256(f"{here['boot']} {here['namespace']}".encode()).hexdigest()[:8]
    return ""


def _started(pid: int) -> str:
    """When a process started; empty where nobody can tell."""
    with contextlib.suppress(OSError, IndexError):
        return started(pid)
    return ""
