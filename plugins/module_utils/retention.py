# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which copies of snapshots are outside their retention period, and what keeps the others.

Pure decisions over what AWS shows and the records say. A copy goes only where both agree: it carries all of our tags in
our forms, its `dfir:expires` is past, and each record of a request that used it is finished and of a class of incidents
whose period is over. Whatever is not surely so stays, and is told.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

from .outlived import MOMENT
from .request_fields import REGION, SNAPSHOT_ID
from .request_spec import iso, parse_iso
from .resources import tags_of
from .retention_policy import Policy, of_incident

SOURCE, SOURCE_REGION, EXPIRES = "dfir:source-snapshot", "dfir:source-region", "dfir:expires"
HOLD, CLASS = "dfir:legal-hold", "dfir:retention-class"
FORMS = {SOURCE: SNAPSHOT_ID, SOURCE_REGION: REGION, EXPIRES: MOMENT}
# Who else looks after snapshots, by the tags that the service itself gives (nobody else may begin one with `aws:`).
KEEPERS = {"aws:backup:": "AWS Backup", "aws:dlm:": "Data Lifecycle Manager", "aws:cloudformation:": "CloudFormation"}
BACKUP_TEXT = "This snapshot is created by the AWS Backup service"
GIB = 2**30
# Why a copy stays though its time may be over, beside those that are within their period.
WITHIN = ("expires", "keep_until", "keep_days", "keep_last")


class Use(NamedTuple):
    """A record, as far as it matters here: whose request, and when it was last heard of."""

    request_id: str
    incident: str
    state: str
    ended: datetime


@dataclass
class Cases:
    """What the records say."""

    uses: dict[tuple[str, str, str], list[Use]] = field(default_factory=dict)
    open_incidents: set[str] = field(default_factory=set)
    closed_incidents: set[str] = field(default_factory=set)
    unreadable: list[str] = field(default_factory=list)

    def add(self, record: Mapping[str, Any]) -> None:
        """Take in a record. `ValueError` or `KeyError` where it is none that can be understood."""
        request = record["request"]
        incident, state = str(request["incident"]), str(record["state"])
        if state not in ("open", "finished"):
            raise ValueError(state)
        use = Use(str(record["request_id"]), incident, state,
                  parse_iso(str(record.get("finished_at") or record["updated_at"])))
        for place in places(request):
            self.uses.setdefault(place, []).append(use)
        (self.open_incidents if state == "open" else self.closed_incidents).add(incident)

    def of(self, copy: Copy) -> list[Use]:
        """Whose copy it is: requests for its source that were analyzed in its region, and requests for itself."""
        found = [*self.uses.get((copy.source, copy.source_region, copy.region), ()),
                 *self.uses.get((copy.id, copy.region, ""), ())]
        return list({use.request_id: use for use in found}.values())


def places(request: Mapping[str, Any]) -> set[tuple[str, str, str]]:
    """Under which keys the snapshots of a request are looked for: as the source of a copy, and by themselves."""
    where = str(request["analysis_region"])
    return {key for snapshot in request["snapshots"] for key in (
        (str(snapshot["id"]), str(snapshot["region"]), where), (str(snapshot["id"]), str(snapshot["region"]), ""))}


@dataclass(frozen=True)
class Copy:
    """A snapshot that carries our tags."""

    id: str
    region: str
    tags: Mapping[str, str]
    description: str
    owner: str
    state: str
    started: datetime
    volume_gib: int
    full_bytes: int | None

    @property
    def source(self) -> str:
        return str(self.tags.get(SOURCE, ""))

    @property
    def source_region(self) -> str:
        return str(self.tags.get(SOURCE_REGION, ""))


def copy_of(described: Mapping[str, Any], region: str) -> Copy:
    """A snapshot as DescribeSnapshots shows it."""
    full = described.get("FullSnapshotSizeInBytes")
    return Copy(str(described["SnapshotId"]), region, tags_of(described), str(described.get("Description") or ""),
                str(described.get("OwnerId") or ""), str(described.get("State") or ""),
                described["StartTime"].astimezone(timezone.utc), int(described["VolumeSize"]),
                None if full is None else int(full))


def keeper(copy: Copy) -> str:
    """The AWS service that looks after a snapshot; empty when none does."""
    for begin, name in KEEPERS.items():
        if any(key.startswith(begin) for key in copy.tags):
            return name
    return "AWS Backup" if copy.description.startswith(BACKUP_TEXT) else ""


def why_not_ours(copy: Copy) -> str:
    """One sentence when it is not surely a copy that a request made; empty when it is.

    A description cannot be changed once a snapshot is made: evidence that somebody gave our tags to is known by it.
    """
    for name, form in FORMS.items():
        if name not in copy.tags:
            return f"it carries no tag {name}"
        if not re.fullmatch(form, copy.tags[name], re.ASCII):
            return f"its tag {name} is none that a request gives"
    try:
        parse_iso(copy.tags[EXPIRES])
    except ValueError:
        return f"its tag {EXPIRES} is no moment"
    if copy.source == copy.id:
        return "it is the evidence itself"
    if copy.tags.get("Name") != f"dfir-copy-{copy.source}":
        return f"its tag Name is not dfir-copy-{copy.source}"
    if copy.description != f"Copy of {copy.source} from {copy.source_region}":
        return "it was not made as a copy by a request: its description is another one, so it may be evidence itself"
    return ""


def held_by_tag(copy: Copy) -> bool:
    """Whether the snapshot itself says that it is under legal hold: the tag does by being there, whatever its value."""
    return HOLD in copy.tags


class Judge:
    """Takes in one snapshot after the other, and says in the end which are to go.

    Of those within their period only the number is kept, by region, class and what keeps them. `kept` and `foreign` are
    rows for a report: over their time, but held by something, and not surely ours.
    """

    def __init__(self, policies: Sequence[Policy], cases: Cases, now: datetime) -> None:
        self.policies, self.cases, self.now = policies, cases, now
        self.within: Counter[tuple[str, str, str]] = Counter()
        self.kept: list[dict[str, Any]] = []
        self.foreign: list[dict[str, Any]] = []
        self._named = {policy.name: policy for policy in policies}
        self._most = max(policy.keep_last for policy in policies)
        self._due: list[Copy] = []
        # Of each incident the newest, as many as any class keeps; of each source of an open case the newest.
        self._last: dict[str, list[tuple[datetime, str]]] = {}
        self._newest: dict[tuple[str, str], tuple[datetime, str]] = {}

    def look(self, described: Mapping[str, Any], region: str) -> None:
        """Take in a snapshot as DescribeSnapshots shows it."""
        copy = copy_of(described, region)
        manager = keeper(copy)
        foreign = f"it is in the hands of {manager}" if manager else why_not_ours(copy)
        if foreign:
            self.foreign.append(self.row(copy, "managed" if manager else "foreign", foreign))
            return
        uses = self.cases.of(copy)
        self._count(copy, uses)
        code, reason = self._why_kept(copy, uses)
        if code:
            self._keep(copy, code, reason)
        else:
            self._due.append(copy)

    def forget(self, region: str) -> None:
        """A region could not be looked at to its end: nothing there goes."""
        self._due = [copy for copy in self._due if copy.region != region]

    def due(self) -> list[Copy]:
        """Those that are to go as far as tags, records and classes say, once all were looked at, oldest first."""
        found = []
        for copy in sorted(self._due, key=lambda copy: (copy.started, copy.id)):
            code, reason = self._why_kept_of_many(copy)
            if code:
                self._keep(copy, code, reason)
            else:
                found.append(copy)
        self._due = found
        return list(found)

    def _keep(self, copy: Copy, code: str, reason: str) -> None:
        row = self.row(copy, code, reason)
        if code in WITHIN:
            self.within[copy.region, ", ".join(row["classes"]) or "none", code] += 1
        else:
            self.kept.append(row)

    def row(self, copy: Copy, code: str, reason: str, *, tags: bool = False) -> dict[str, Any]:
        """A snapshot as it is told."""
        uses = self.cases.of(copy)
        known = copy.full_bytes is not None
        gib = copy.full_bytes / GIB if copy.full_bytes is not None else float(copy.volume_gib)
        found: dict[str, Any] = {
            "id": copy.id, "region": copy.region, "source": copy.source, "source_region": copy.source_region,
            "incidents": sorted({use.incident for use in uses}), "requests": sorted(use.request_id for use in uses),
            "classes": sorted({policy.name for policy in self._classes(copy, uses) if policy}),
            "expires": copy.tags.get(EXPIRES, ""), "started": iso(copy.started), "volume_gib": copy.volume_gib,
            "gib": round(gib, 3), "size_known": known, "code": code, "reason": reason}
        return {**found, "tags": dict(copy.tags)} if tags else found

    def _classes(self, copy: Copy, uses: Iterable[Use]) -> list[Policy | None]:
        """The classes that all have to agree: of each incident, and the one that the snapshot's own tag names."""
        found = [of_incident(self.policies, use.incident) for use in uses]
        return [*found, self._named.get(copy.tags[CLASS])] if CLASS in copy.tags else found

    def _count(self, copy: Copy, uses: Sequence[Use]) -> None:
        if copy.state != "completed":
            return
        age = (copy.started, copy.id)
        for incident in {use.incident for use in uses}:
            last = self._last.setdefault(incident, [])
            if len(last) < self._most:
                heapq.heappush(last, age)
            elif last:
                heapq.heappushpop(last, age)
            if incident in self.cases.open_incidents:
                source = (copy.source, copy.source_region)
                self._newest[source] = max(self._newest.get(source, age), age)

    def _why_kept(self, copy: Copy, uses: Sequence[Use]) -> tuple[str, str]:
        """What keeps it, seen by itself: a word for it and a sentence; both empty when nothing does."""
        if parse_iso(copy.tags[EXPIRES]) > self.now:
            return "expires", f"it is kept until {copy.tags[EXPIRES]} (tag {EXPIRES})"
        classes = self._classes(copy, uses)
        for policy in classes:
            code, reason = self._within(policy, copy, uses) if policy and uses else ("", "")
            if code:
                return code, reason
        if copy.state in ("recoverable", "recovering"):
            return "recycle_bin", "it lies in the Recycle Bin"
        if copy.state not in ("completed", "error"):
            return "state", f"it is in state {copy.state}"
        if held_by_tag(copy):
            return "legal_hold", f"it is under legal hold (tag {HOLD})"
        if self.cases.unreadable:
            return "unreadable", (f"the record {self.cases.unreadable[0]} cannot be read, and its request may have "
                                  "used it")
        if not uses:
            return "no_record", "no record of a request says that it used it"
        running = next((use for use in uses if use.state == "open"), None)
        if running:
            return "open", f"the request {running.request_id} is open and uses it"
        for policy, use in zip(classes, uses, strict=False):
            if policy is None:
                return "no_class", f"no class of incidents covers {use.incident}"
        if None in classes:
            return "no_class", f"its tag {CLASS} names no class that there is"
        held = next((policy.name for policy in classes if policy and policy.legal_hold), "")
        return ("legal_hold", f"its class {held} is under legal hold") if held else ("", "")

    def _within(self, policy: Policy, copy: Copy, uses: Sequence[Use]) -> tuple[str, str]:
        if policy.keep_until and self.now < policy.keep_until:
            return "keep_until", f"its class {policy.name} is kept until {iso(policy.keep_until)}"
        if policy.keep_days is not None:
            used = max(copy.started, *(use.ended for use in uses))
            if self.now < used + timedelta(days=policy.keep_days):
                return "keep_days", (f"its class {policy.name} keeps {policy.keep_days:g} days after the last use, "
                                     f"which ended at {iso(used)}")
        return "", ""

    def _why_kept_of_many(self, copy: Copy) -> tuple[str, str]:
        """What keeps it, seen among all others."""
        uses = self.cases.of(copy)
        age = (copy.started, copy.id)
        for policy in self._classes(copy, uses):
            for incident in sorted({use.incident for use in uses}):
                if policy and age in heapq.nlargest(policy.keep_last, self._last.get(incident, ())):
                    return "keep_last", f"it is one of the last {policy.keep_last} of {incident} (class {policy.name})"
        if copy.state == "completed" and any(use.incident in self.cases.open_incidents for use in uses) \
                and self._newest.get((copy.source, copy.source_region)) == age:
            return "last_copy", "it is the last copy of its source, and the case has an open request"
        return "", ""


class Facts(NamedTuple):
    """What AWS says of those that are due, beside their descriptions."""

    images: Mapping[str, Sequence[str]]
    locks: Mapping[str, str]
    shared: Mapping[str, Sequence[str]]


def why_held(snapshot_id: str, facts: Facts) -> tuple[str, str]:
    """What at AWS keeps a snapshot: a word for it and a sentence; both empty when nothing does."""
    if facts.images.get(snapshot_id):
        return "image", f"the image {', '.join(facts.images[snapshot_id])} uses it"
    if facts.locks.get(snapshot_id):
        return "locked", f"it is locked ({facts.locks[snapshot_id]})"
    if facts.shared.get(snapshot_id):
        return "shared", f"it is shared with {', '.join(facts.shared[snapshot_id])}"
    return "", ""
