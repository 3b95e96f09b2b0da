# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows from a request: its time limit, its tags, and texts about it for people."""

from __future__ import annotations

import math
import shlex
import textwrap
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from ansible.errors import AnsibleFilterError
from ansible_collections.dfir.aws.plugins.module_utils.request_spec import iso, parse_iso

WIDTH = 76  # columns of a mail
LONGEST_HOURS = 72
# Hours for an empty volume, and GiB that take one hour more: a volume loads lazily from S3 (about a minute a GiB), and
# an analyst needs a working day to begin with.
SCALE = {"automatic": (2, 25), "manual": (8, 50)}
SEVERITIES = ("critical", "high", "medium", "low", "info")


def time_limit_hours(request: Mapping[str, Any], volume_gib: float) -> float | int:
    """The hours that were asked for, else what fits the volume."""
    asked = request.get("time_limit_hours")
    if asked is not None:
        return asked
    mode = str(request["mode"])
    if mode not in SCALE:
        raise AnsibleFilterError(f"time_limit_hours: no request has the mode {mode!r}.")
    least, gib_an_hour = SCALE[mode]
    return min(LONGEST_HOURS, math.ceil(least + float(volume_gib) / gib_an_hour))


def expires(request: Mapping[str, Any], hours: float, start: str = "") -> str:
    """The moment after which nothing of a request may live, in UTC, counted from `start` (now, when empty)."""
    if not request.get("request_id"):
        raise AnsibleFilterError("expires: needs a request as dfir.aws.analysis_request returned it.")
    begin = _moment(start) if start else datetime.now(timezone.utc)
    return iso(begin + timedelta(hours=float(hours)))


def request_tags(request: Mapping[str, Any], expires: str) -> dict[str, str]:
    """Tags of everything that a request creates, given in the creating call."""
    _moment(expires)
    return {**{str(name): str(value) for name, value in request["tags"].items()}, "dfir:expires": str(expires)}


def snapshot_copy_tags(snapshot: Mapping[str, Any], expires: str, kms_key_id: str = "") -> dict[str, str]:
    """Tags of a copy. It belongs to its source and not to a request: other requests will use it."""
    _moment(expires)
    tags = {"Name": f"dfir-copy-{snapshot['id']}", "dfir:source-snapshot": str(snapshot["id"]),
            "dfir:source-region": str(snapshot["region"]), "dfir:expires": str(expires)}
    return {**tags, "dfir:kms-key": str(kms_key_id)} if kms_key_id else tags


def request_result(request: Mapping[str, Any], opened: Mapping[str, Any], holder: str, region: str) -> dict[str, Any]:
    """What the role `request` hands on: the request, and how its record stands."""
    where = f"s3://{request['artifact_bucket']}/{request['artifact_prefix']}"
    finished = bool(opened.get("finished"))
    message = (f"Request {request['request_id']} has been answered before and ended as '{opened.get('outcome')}'. Its "
               f"artifacts are at {where}. To run it once more, raise 'attempt' to {int(request['attempt']) + 1}.")
    return {
        **request,
        "adopted": bool(opened.get("adopted")),
        "finished": finished,
        "outcome": opened.get("outcome"),
        "finished_message": message if finished else "",
        "holder": holder,
        "record": {"bucket": request["artifact_bucket"], "region": region, "request_id": request["request_id"],
                   "holder": holder},
    }


def local_time(moment: str, zone: str = "UTC") -> str:
    """A moment in UTC and in somebody's own zone: 2026-01-31 23:30 UTC (Sun 00:30 in Europe/Berlin)."""
    utc = _moment(moment)
    text = utc.strftime("%Y-%m-%d %H:%M UTC")
    if zone in ("", "UTC", "Etc/UTC"):
        return text
    try:
        local = utc.astimezone(ZoneInfo(zone))
    except (KeyError, ValueError, OSError):  # an unknown zone must not keep a mail from being sent
        return text
    day = "" if local.date() == utc.date() else local.strftime("%a ")
    return f"{text} ({day}{local.strftime('%H:%M')} in {zone})"


def one_line(text: Any, longest: int = 400) -> str:
    """Text for a mail header or a single line: no line break or control character gets through."""
    words = "".join(char if char.isprintable() else " " for char in str(text)).split()
    line = " ".join(words)
    return line if len(line) <= longest else line[: longest - 3].rstrip() + "..."


def shell_command(words: str | Sequence[Any], indent: int = 2) -> str:
    """A command to copy out of a mail: quoted, and continued with backslashes where it is wider than the mail.

    :param words: a list of words, which are quoted here, or a finished command line, which is only folded.
    """
    parts = shlex.split(words) if isinstance(words, str) else [str(word) for word in words]
    pad = " " * indent
    lines, line = [], ""
    for part in (shlex.quote(part) for part in parts):
        if line and len(pad) + len(line) + len(part) + 3 > WIDTH:
            lines.append(line)
            line = "  " + part
        else:
            line = f"{line} {part}" if line else part
    return " \\\n".join(pad + text for text in [*lines, line])


def mail_text(text: Any, indent: int = 0) -> str:
    """A paragraph folded to the mail's width; what has no blank to fold at stays whole."""
    pad = " " * indent
    return textwrap.fill(one_line(text, 4000), WIDTH, initial_indent=pad, subsequent_indent=pad, break_long_words=False,
                         break_on_hyphens=False)


def counts_by_severity(counts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Numbers of findings, worst first; what a severity is called decides the order, and zeros are left out."""
    known = [name for name in SEVERITIES if name in counts]
    names = known + sorted(str(name) for name in counts if name not in SEVERITIES)
    return [{"name": name, "count": int(counts[name])} for name in names if int(counts[name])]


def _moment(text: Any) -> datetime:
    try:
        return parse_iso(str(text))
    except ValueError:
        raise AnsibleFilterError(f"{text!r} is not a moment in UTC such as 2026-01-31T12:00:00Z.") from None


class FilterModule:
    """Filters about requests."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names as playbooks use them, below `dfir.aws.`."""
        return {
            "time_limit_hours": time_limit_hours,
            "expires": expires,
            "request_tags": request_tags,
            "snapshot_copy_tags": snapshot_copy_tags,
            "request_result": request_result,
            "local_time": local_time,
            "one_line": one_line,
            "shell_command": shell_command,
            "mail_text": mail_text,
            "counts_by_severity": counts_by_severity,
        }
