# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the things that carry a request's tag have outlived their time or their request.

Pure functions over what AWS says exists and what the records say. Whatever is not surely ours is left alone and told:
a look-alike name, a tag in another case, another path, a tag that is missing or malformed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from .request_fields import ANALYST, INCIDENT
from .request_spec import parse_iso

MOMENT = r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z"
REQUEST = r"[0-9a-f]{16}"
FORMS = {"dfir:request": REQUEST, "dfir:incident": INCIDENT, "dfir:analyst": ANALYST, "dfir:expires": MOMENT}
# What a request makes and a host cannot always take along. Interfaces go with their host. A kept copy of a snapshot
# belongs to its source.
KINDS = ("instance", "volume", "security-group", "role-in-profile", "instance-profile", "role-policy", "role")
IAM = "global"


@dataclass
class Judgment:
    """What is to go, what stays, and what is not ours, each with one sentence."""

    outlived: list[dict[str, Any]] = field(default_factory=list)
    kept: list[dict[str, Any]] = field(default_factory=list)
    foreign: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class View:
    """What is known when things are judged."""

    now: datetime
    grace: timedelta  # how long after its end a host may still upload
    orphan_age: timedelta  # how old something without a record must be: its request may lie in another bucket
    records: Mapping[str, Mapping[str, Any]]
    unknown: Sequence[str] = ()  # requests whose record could not be read
    looked: Sequence[str] = ()
    unseen: Sequence[str] = ()
    iam_path: str = "/dfir/"


def why_not_ours(thing: Mapping[str, Any], iam_path: str = "/dfir/") -> str:
    """One sentence when something does not carry all of our tags in our forms; empty when it does."""
    tags = thing.get("tags") or {}
    for name, form in FORMS.items():
        if name not in tags:
            return f"it carries no tag {name}"
        if not re.fullmatch(form, str(tags[name]), re.ASCII):
            return f"its tag {name} is none that a request gives"
    request_id = str(tags["dfir:request"])
    try:
        parse_iso(str(tags["dfir:expires"]))
    except ValueError:
        return "its tag dfir:expires is no moment"
    if tags.get("Name") != f"dfir-{request_id}":
        return f"its tag Name is not dfir-{request_id}"
    if thing.get("region") == IAM:
        if thing.get("path") != iam_path:
            return f"its path is not {iam_path}"
        if thing.get("name") != f"dfir-{request_id}":
            return f"its name is not dfir-{request_id}"
    return ""


def judge(things: Iterable[Mapping[str, Any]], view: View) -> Judgment:
    """Judge everything that exists, request by request."""
    judgment = Judgment()
    requests: dict[str, list[Mapping[str, Any]]] = {}
    for thing in things:
        if thing["type"] in KINDS:
            requests.setdefault(str(thing.get("request_id") or ""), []).append(thing)
    for request_id, members in requests.items():
        _judge_request(request_id, members, view, judgment)
    for listed in (judgment.outlived, judgment.kept, judgment.foreign):
        listed.sort(key=lambda thing: KINDS.index(thing["type"]))
    return judgment


def _judge_request(request_id: str, members: Sequence[Mapping[str, Any]], view: View, judgment: Judgment) -> None:
    """First its hosts, then the rest: nothing is taken away from a host that stays."""
    lives = ""
    others = []
    for thing in members:
        foreign = why_not_ours(thing, view.iam_path)
        if thing["type"] == "instance":
            over = "" if foreign else _time_over(thing, view)
            if over:
                judgment.outlived.append({**thing, "reason": over})
                continue
            lives = str(thing["id"])
            if not foreign:
                judgment.kept.append({**thing, "reason": f"it may live until {_end(thing, view)}"})
        if foreign:
            judgment.foreign.append({**thing, "reason": foreign})
        elif thing["type"] != "instance":
            others.append(thing)
    for thing in others:
        if lives:
            judgment.kept.append({**thing, "reason": f"its host {lives} lives"})
            continue
        gone, reason = _without_host(request_id, thing, members, view)
        (judgment.outlived if gone else judgment.kept).append({**thing, "reason": reason})


def _without_host(request_id: str, thing: Mapping[str, Any], members: Sequence[Mapping[str, Any]], view: View,
                  ) -> tuple[bool, str]:
    """Whether something is to go whose host was not seen alive, and why."""
    record = view.records.get(request_id)
    blind = _blind_spot(thing, record, view)
    if blind:
        return False, f"its host might live where nobody could look: {blind}"
    over = _time_over(thing, view)
    if over:
        return True, over
    if request_id in view.unknown:
        return False, "its request's record could not be read"
    if record is None:
        if _older_than(view.orphan_age, members, view.now):
            return True, "it has no host, and its request has no record"
        return False, "its request has no record, but may be about to begin somewhere else"
    if record.get("state") == "finished":
        return True, f"it has no host, and its request ended as '{record.get('outcome')}'"
    return False, "its request is open, and may be run again"


def _blind_spot(thing: Mapping[str, Any], record: Mapping[str, Any] | None, view: View) -> str:
    """Where the host of something might live without having been seen. EC2 holds all of a request in one region."""
    if thing.get("region") != IAM:
        return ""
    if record is not None:
        region = str((record.get("request") or {}).get("analysis_region") or "")
        return "" if region in view.looked else region or "an unknown region"
    return ", ".join(view.unseen)


def _end(thing: Mapping[str, Any], view: View) -> str:
    """When it ends at the latest: as its tag says, or later where its record says that the host was given more time."""
    ends = [str(thing["tags"]["dfir:expires"])]
    record = view.records.get(str(thing["tags"]["dfir:request"])) or {}
    for step in record.get("steps") or []:
        told = (step.get("details") or {}).get("deadline")
        if step.get("outcome") == "ok" and re.fullmatch(MOMENT, str(told)):
            ends.append(str(told))
    return max(ends)


def _time_over(thing: Mapping[str, Any], view: View) -> str:
    end = _end(thing, view)
    return f"its time ended at {end}" if parse_iso(end) + view.grace <= view.now else ""


def _older_than(age: timedelta, members: Iterable[Mapping[str, Any]], now: datetime) -> bool:
    """Whether a request's oldest thing is so old. A security group alone does not say when it was made."""
    made = [parse_iso(str(thing["created"])) for thing in members
            if re.fullmatch(MOMENT, str(thing.get("created") or ""))]
    return bool(made) and min(made) + age <= now
