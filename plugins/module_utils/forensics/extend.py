# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prolong a session: `dfir-forensics extend HOURS`, called by the host's command dfir-extend.

A marker below the host's prefix tells everybody who waits for the host, and its name alone says until when. It is
written first: a timer that moved without anybody knowing would have the host ended as overdue. Nobody honours it beyond
what the request allows, since malware on the host can write one, too; this command does not even try.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from .console import tell
from .s3_put import UploadError, put
from .upload_state import write_json
from .watchdog import Request, RequestError, load_request, read_time

EXTENDED = "extended.json"  # in the uploader's own folder: until when, as far as it is decided
LEAST = timedelta(minutes=1)


class NotExtended(Exception):
    """Why the session is not prolonged, in one sentence."""


def marker_name(until: datetime) -> str:
    """The marker's name, which says it all."""
    return f"extended-until-{until.astimezone(timezone.utc):%Y%m%dT%H%M%SZ}.json"


def prolonged(request: Request, own: Path) -> datetime | None:
    """When this host ends: at its deadline, or later if that was decided, and never later than the request allows."""
    if request.deadline is None or request.latest is None:
        return request.deadline
    try:
        until = read_time(str(json.loads((own / EXTENDED).read_text(encoding="utf-8"))["until"]))
    except (OSError, ValueError, KeyError, TypeError):
        return request.deadline
    return max(request.deadline, min(until, request.latest))


def later(request: Request, current: datetime, hours: float, now: datetime) -> datetime:
    """The new end, `hours` after the one that holds now."""
    if request.latest is None or request.latest - current < LEAST:
        why = "" if request.latest is None else f", and the end at {_spoken(current)} is already the latest"
        raise NotExtended(f"This session cannot be prolonged: the request names no more hours (max_hours){why}. Save "
                          "your work; once more is another request.")
    if now >= current:
        raise NotExtended(f"It is too late: the time of this host was up at {_spoken(current)}.")
    until = current + timedelta(hours=hours)
    if until > request.latest:
        most = (request.latest - current).total_seconds() / 3600
        raise NotExtended(f"It would end at {_spoken(until)}, and the request allows {_spoken(request.latest)} at the "
                          f"latest (max_hours): ask for {int(most * 100) / 100:g} hours or less.")
    return until.replace(microsecond=0)


def extend(client: Any, request: Request, own: Path, hours: float, now: datetime) -> datetime:
    """Decide, tell it to the bucket, and remember it. The timer of the host is moved by who called."""
    current = prolonged(request, own)
    if current is None:
        raise NotExtended("This host has no deadline that could be moved.")
    if (own / "ended").exists():
        raise NotExtended("The session has ended: the host saves what is there and goes away.")
    until = later(request, current, hours, now)
    path = own / marker_name(until)
    if not path.exists():
        write_json(path, {"request_id": request.request_id, "hours": hours, "before": _iso(current),
                          "until": _iso(until), "asked_at": _iso(now)})
    data = path.read_bytes()
    try:
        put(client, request.bucket, request.prefix + path.name, path, hashlib.sha256(data).hexdigest(), len(data))
    except UploadError as error:
        if error.kind != "there":  # an earlier try that was not finished
            raise NotExtended(f"Not prolonged, since those who wait for this host cannot be told: {error}") from error
    write_json(own / EXTENDED, {"until": _iso(until)})
    return until


def _iso(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _spoken(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def _hours(text: str) -> float:
    hours = float(text)
    if not 0.01 <= hours <= 999:
        raise ValueError(text)
    return hours


def main(argv: Sequence[str] | None = None) -> int:
    """Print the new end and return 0, or say why not."""
    parser = argparse.ArgumentParser(prog="dfir-extend", description="Move the end of this host by some hours.")
    parser.add_argument("hours", type=_hours, help="hours more, such as 2 or 0.5")
    parser.add_argument("--request", type=Path, default=Path("/etc/dfir/request.json"), help=argparse.SUPPRESS)
    parser.add_argument("--own", type=Path, default=Path("/srv/dfir/upload"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    from .upload import make_client

    try:
        request = load_request(options.request)
        until = extend(make_client(request), request, options.own, options.hours, datetime.now(timezone.utc))
    except (NotExtended, RequestError) as error:
        tell(str(error), error=True)
        return 1
    except OSError as error:
        tell(f"Not prolonged: the host's own disk refused: {error}", error=True)
        return 75
    tell(_iso(until))
    return 0
