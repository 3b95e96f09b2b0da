# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When is the work of a host over, and how did it end? What the uploader asks before it writes the last artifact.

The host's units answer with files: `/etc/dfir/request.json` says what was asked for and until when, `ended` in the
uploader's own folder is written by systemd when the analysis unit stops (its $SERVICE_RESULT, $EXIT_CODE and
$EXIT_STATUS), and `outcome.json` in the work folder is the analysis' own account.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

OUTCOMES = ("complete", "incomplete", "timeout", "ended")
TIMED_OUT = 124  # what coreutils' timeout ends with
STOPPED = {"TERM", "INT", "HUP", "143", "130", "129"}


class RequestError(Exception):
    """The request file cannot be used; the message says why."""


@dataclass(frozen=True)
class Request:
    """What the uploader needs to know of the request."""

    request_id: str
    mode: str
    bucket: str
    prefix: str
    region: str
    endpoint_url: str | None
    deadline: datetime | None
    latest: datetime | None = None  # until when the host may be prolonged; None: not at all
    # Of several snapshots: where the artifacts of each volume go. All of it lies below `root`, the incident's folder.
    folders: Mapping[str, str] = field(default_factory=dict)

    @property
    def root(self) -> str:
        """What names in lists of hashes are relative to."""
        return self.prefix.split("/", 1)[0] + "/" if self.folders else self.prefix

    def key(self, name: str) -> str:
        """The key of an artifact by its file's name: a volume's own artifacts go to its snapshot's folder."""
        volume = re.match(r"(vol-[0-9a-f]+)p[0-9]+\.", name)
        return self.folders.get(volume.group(1) if volume else "", self.prefix) + name


@dataclass
class Ending:
    """How the work ended: one of OUTCOMES, what is missing, the analysis' own numbers, and what proving the tools once
    more has shown."""

    outcome: str
    missing: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    validation: dict[str, Any] = field(default_factory=dict)


def load_request(path: Path) -> Request:
    """Read the request file that the role `forensics` wrote."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        request = Request(
            request_id=str(data["request_id"]), mode=str(data["mode"]), bucket=str(data["artifact_bucket"]),
            prefix=str(data["artifact_prefix"]), region=str(data["artifact_bucket_region"]),
            endpoint_url=str(data.get("endpoint_url") or "") or None,
            deadline=read_time(data["deadline"]) if data.get("deadline") else None,
            latest=read_time(data["latest"]) if data.get("latest") else None,
            folders={str(volume): str(folder) for volume, folder in (data.get("artifact_folders") or {}).items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RequestError(f"{path} does not describe a request: {error!r}; run the role forensics again") from error
    if not request.bucket or not request.prefix.endswith("/"):
        raise RequestError(f"{path}: artifact_bucket must be given, and artifact_prefix must end with a slash")
    if not all(folder.startswith(request.root) and folder.endswith("/") for folder in request.folders.values()):
        raise RequestError(f"{path}: artifact_folders must be below {request.root} and end with a slash")
    return request


def read_time(text: str) -> datetime:
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def ending(request: Request, ended: Path, outcome: Path, now: datetime) -> Ending | None:
    """How the work ended, or None while it goes on. A passed deadline is an end whatever still runs."""
    unit = _read_words(ended)
    if unit is None:
        if request.deadline is None or now < request.deadline:
            return None
        return _merge("timeout", outcome)
    code, status = [*unit, "", "", ""][1:3]
    if request.mode == "manual":
        if code == "exited" and status == "0":
            return Ending("timeout")  # the wait process ran its full time
        return Ending("ended" if status in STOPPED else "incomplete")
    if status == str(TIMED_OUT) or unit[0] == "timeout":
        return _merge("timeout", outcome)
    if status in STOPPED:
        return _merge("ended", outcome)
    said = read_outcome(outcome)
    if said is None:
        return Ending("incomplete", ["analysis"])
    if status != "0" and said.outcome == "complete":
        said.outcome = "incomplete"
    return said


def _merge(outcome: str, path: Path) -> Ending:
    """An end that came from outside: what the analysis says of itself counts, but not that it is complete."""
    said = read_outcome(path)
    if said is not None and said.outcome == "complete" and not said.missing:
        return said  # it was done before anybody stopped it
    return Ending(outcome, (said.missing if said else []) or ["analysis"], said.counts if said else {},
                  said.validation if said else {})


def _read_words(path: Path) -> list[str] | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").split() or ["unknown"]
    except FileNotFoundError:
        return None


def read_outcome(path: Path) -> Ending | None:
    """The analysis' own account; None when there is none or it cannot be read."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        outcome = str(data["outcome"])
        missing = [str(item)[:200] for item in data.get("missing") or []]
        counts = {str(name)[:60]: int(value) for name, value in (data.get("counts") or {}).items()
                  if isinstance(value, int)}
        proven = data.get("validation") or {}
        tools = [str(tool)[:40] for tool in proven.get("failed") or []]
        validation: dict[str, Any] = {"ran": bool(proven.get("ran")), "failed": tools} if proven else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return Ending(outcome if outcome in OUTCOMES else "incomplete", missing, counts, validation)


def marker(request: Request, end: Ending, *, sums_sha256: str, uploaded: int, size: int, missing: Sequence[str],
           now: datetime) -> dict[str, Any]:
    """The last artifact, `complete.json`: numbers, enumerations and names of artifacts, nothing from the evidence."""
    lacking = [*end.missing, *(name for name in missing if name not in end.missing)]
    # By hand nothing is missing because the time was over: what is missing then is work that could not be saved.
    whole = end.outcome == "complete" or (request.mode == "manual" and end.outcome in ("ended", "timeout"))
    broken = bool(end.validation.get("failed")) and end.outcome == "complete"
    outcome = "incomplete" if broken or (lacking and whole) else end.outcome
    return {
        "request_id": request.request_id, "mode": request.mode, "outcome": outcome, "missing": lacking,
        "counts": {**end.counts, "uploaded_files": uploaded, "uploaded_bytes": size},
        **({"validation": end.validation} if end.validation else {}),
        "sha256sums_sha256": sums_sha256, "finished_at": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
