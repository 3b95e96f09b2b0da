# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows from a request: its time limit, its tags, and texts about it for people."""

from __future__ import annotations

import math
import re
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


def time_limit_hours(request: Mapping[str, Any], volume_gib: float, operator_max: Any = None) -> float | int:
    """The hours that were asked for, else what fits the volume; never more than the bounds on a host's life."""
    asked = request.get("time_limit_hours")
    if asked is None:
        mode = str(request["mode"])
        if mode not in SCALE:
            raise AnsibleFilterError(f"time_limit_hours: no request has the mode {mode!r}.")
        least, gib_an_hour = SCALE[mode]
        asked = min(LONGEST_HOURS, math.ceil(least + float(volume_gib) / gib_an_hour))
    return min([asked, *_bounds(request, operator_max)])


def longest_hours(request: Mapping[str, Any], hours: float, operator_max: Any = None) -> float | int:
    """For how many hours a host may live when its session is prolonged: the lower of the request's and the operator's
    bound. Without one of the request, and where nobody works by hand, there is nothing to prolong."""
    prolonged = request.get("mode") == "manual" and request.get("max_hours") is not None
    return max([hours, min(_bounds(request, operator_max))]) if prolonged else hours


def _bounds(request: Mapping[str, Any], operator_max: Any) -> list[float | int]:
    """The bounds on a host's life in hours: the request's own, and the operator's."""
    found: list[float | int] = [request["max_hours"]] if request.get("max_hours") is not None else []
    if operator_max is None or str(operator_max).strip() == "":
        return found
    try:
        number = float(operator_max)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(operator_max, bool) or not 0 < number < math.inf:
        raise AnsibleFilterError(f"dfir_aws_max_hours must be a number of hours, or empty for no bound; it is "
                                 f"{operator_max!r}.")
    return [*found, int(number) if number.is_integer() else number]


def expires(request: Mapping[str, Any], hours: float, start: str = "") -> str:
    """The moment after which nothing of a request may live, in UTC, counted from `start` (now, when empty)."""
    if not request.get("request_id"):
        raise AnsibleFilterError("expires: needs a request as dfir.aws.analysis_request returned it.")
    begin = _moment(start) if start else datetime.now(timezone.utc)
    return iso(begin + timedelta(hours=float(hours)))


def request_tags(request: Mapping[str, Any], expires: str, deadline: str = "") -> dict[str, str]:
    """Tags of everything that a request creates, given in the creating call.

    :param deadline: when the host ends, where it may be prolonged until `expires`.
    """
    _moment(expires)
    tags = {**{str(name): str(value) for name, value in request["tags"].items()}, "dfir:expires": str(expires)}
    if deadline and deadline != expires:
        _moment(deadline)
        tags["dfir:deadline"] = str(deadline)
    return tags


def snapshot_copy_tags(snapshot: Mapping[str, Any], expires: str, kms_key_id: str = "") -> dict[str, str]:
    """Tags of a copy. It belongs to its source and not to a request: other requests will use it."""
    _moment(expires)
    tags = {"Name": f"dfir-copy-{snapshot['id']}", "dfir:source-snapshot": str(snapshot["id"]),
            "dfir:source-region": str(snapshot["region"]), "dfir:expires": str(expires)}
    return {**tags, "dfir:kms-key": str(kms_key_id)} if kms_key_id else tags


def request_result(request: Mapping[str, Any], opened: Mapping[str, Any], holder: str, region: str) -> dict[str, Any]:
    """What the role `request` hands on: the request, and how its record stands.

    `launched` says that a host was launched for it before, `plan` is the plan that was made then, and `earlier` holds
    what earlier runs found on the host: a run that comes after the host's end can ask nobody else.
    """
    record = opened.get("record") or {}
    # Where its artifacts go was decided when it was first opened.
    kept = record.get("request") or {}
    request = {**request, **{name: kept[name] for name in ("artifact_prefix",) if name in kept}}
    where = f"s3://{request['artifact_bucket']}/{request['artifact_prefix']}"
    finished = bool(opened.get("finished"))
    message = (f"Request {request['request_id']} has been answered before and ended as '{opened.get('outcome')}'. Its "
               f"artifacts are at {where}. To run it once more, raise 'attempt' to {int(request['attempt']) + 1}.")
    custody = opened.get("custody") or {}
    if custody.get("problem"):
        message += f" {custody['line']}"
    done = {step["name"]: step["details"] for step in record.get("steps") or [] if step["outcome"] == "ok"}
    return {
        **request,
        "custody": custody,
        "launched": "analysis_host" in done,
        "plan": done.get("plan") or {},
        "earlier": {"evidence": done.get("journal") or done.get("evidence") or {},
                    **{name: done.get(name) or {} for name in ("toolbox", "analyst_access")}},
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


def size(number: Any) -> str:
    """Bytes for people: 512 MiB."""
    value = float(number or 0)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if value >= 10 or unit == "B" or value.is_integer() else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.0f} TiB" if value >= 10 or value.is_integer() else f"{value:.1f} TiB"


def marker_state(marker: Mapping[str, Any] | None, expired: bool = False) -> str:
    """How an analysis ended: without a marker, or with a word that is none of ours, it is incomplete.

    :param expired: its time is over; without a marker, that is what happened to it.
    """
    outcome = marker.get("outcome") if isinstance(marker, Mapping) else None
    if expired and not marker:
        return "expired"
    return outcome if outcome in ("complete", "timeout", "ended") else "incomplete"


def mail_recipients(request: Mapping[str, Any], others: Sequence[str] = ()) -> list[str]:
    """The analyst and the team, each once. An address that would be more than an address is left out."""
    wanted = [request["analyst"]["email"], *others]
    good = [address for address in wanted if re.fullmatch(r"[^\s<>,;:\"@]{1,64}@[A-Za-z0-9.-]{1,253}", str(address))]
    return list(dict.fromkeys(str(address) for address in good))


def mail_result(error: str, kind: str, subject: str, text: str = "") -> dict[str, Any]:
    """What the role `notify` hands on."""
    return {"kind": kind, "sent": not error, "error": error, "subject": subject, "text": text}


def findings_in_short(summary: Mapping[str, Any] | None) -> dict[str, Any]:
    """The numbers of `summary.json` that a mail tells, worst first.

    The file was written on the analysis host, where malware may have run: only numbers, and names of the form that our
    own names have, get through.
    """
    summary = summary if isinstance(summary, Mapping) else {}
    totals = _numbers(summary.get("totals"))
    severities = [{"name": name, "count": totals.get(f"findings_{name}", 0)} for name in SEVERITIES]
    kinds = _numbers(summary.get("kinds"))
    return {
        "known": bool(totals),
        "total": totals.get("findings", 0),
        "severities": [item for item in severities if item["count"]],
        "kinds": [{"name": name, "count": kinds[name]} for name in sorted(kinds, key=lambda name: (-kinds[name], name))
                  if kinds[name]],
        "totals": {name: count for name, count in totals.items() if not name.startswith("findings")},
    }


def _numbers(value: Any) -> dict[str, int]:
    """Whole numbers by well-formed name."""
    if not isinstance(value, Mapping):
        return {}
    return {str(name): int(count) for name, count in list(value.items())[:200]
            if re.fullmatch(r"[a-z][a-z0-9_]{0,39}", str(name)) and isinstance(count, int) and 0 <= count < 10**12}


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
            "longest_hours": longest_hours,
            "expires": expires,
            "request_tags": request_tags,
            "snapshot_copy_tags": snapshot_copy_tags,
            "request_result": request_result,
            "local_time": local_time,
            "one_line": one_line,
            "shell_command": shell_command,
            "mail_text": mail_text,
            "mail_recipients": mail_recipients,
            "mail_result": mail_result,
            "marker_state": marker_state,
            "size": size,
            "findings_in_short": findings_in_short,
        }
