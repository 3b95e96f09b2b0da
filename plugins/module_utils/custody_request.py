# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The history of a request: what its record says of runs and steps, as entries of a custody ledger.

The record is state, the ledger is history. Entries follow from the whole record each time that it is written, and those
that the ledger has are left as they are: what a run that was killed, or a ledger that could not be written, left out
comes with the next write.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .custody.tries import Tries
from .custody_told import Told, about, artifact, entry, is_sha256

# Where the analyst worked by hand, the end of the time is an end like any other.
GOOD_ENDS = {"automatic": ("complete", "ended"), "manual": ("complete", "ended", "timeout")}
MOST_VERSIONS = 40  # of tools; an entry takes 50 details
SETTLEMENT = "settle"  # what goes wrong there says nothing about the work on the host


def entries(record: Mapping[str, Any]) -> list[Told]:
    """All entries of a request, in the order of its runs and steps, with the names of their tries."""
    tries = Tries()
    return [told for told in map(tries.named, _history(record)) if told]


def _history(record: Mapping[str, Any]) -> Iterator[Told]:
    for number, run in enumerate(record["runs"], 1):
        story = _Story(record, run, number)
        yield story.begins()
        for step in record["steps"]:
            if step["holder"] == run["holder"]:
                yield from story.step(step)
        if run.get("ended_at"):
            yield story.ends()


class _Story:
    """One run of a request."""

    def __init__(self, record: Mapping[str, Any], run: Mapping[str, Any], number: int) -> None:
        self.request, self.run, self.number = record["request"], run, number
        self.outcome = str(record.get("outcome") or "")
        self.actor = _actor(run.get("caller") or self.request.get("caller") or {})
        self.region = str(self.request.get("analysis_region") or "")
        self.done = {str(step["name"]): step["details"] for step in record["steps"] if step["outcome"] == "ok"}
        self.host = str(self.done.get("analysis_host", {}).get("instance_id") or "")
        self.failed: Mapping[str, Any] | None = None
        self.told = False  # results, which a settlement that is interrupted notes once more
        self.open: dict[str, Told] = {}

    def begins(self) -> Told:
        request = self.request
        return self._entry(f"run-{self.number}", "intent", "note", self._itself(), details={
            "what": "request accepted" if self.number == 1 else "request taken up again",
            "analyst": str((request.get("analyst") or {}).get("uid") or ""), "mode": str(request.get("mode") or ""),
            "attempt": request.get("attempt"), "snapshots": ", ".join(self._snapshots()),
            "snapshot_region": ", ".join(sorted({str(item.get("region") or "") for item in self._of_snapshots()})),
            "analysis_region": self.region, "instance_type": str(self.run.get("instance_type") or ""),
            "journal": str(request.get("journal") or ""), "evidence_by": str(request.get("evidence_by") or "")})

    def ends(self) -> Told:
        failed = self.failed
        details = {"outcome": str(self.run.get("outcome") or "")}
        if failed:
            details |= {"failed_at": str(failed["name"]), "reason": str(failed["details"].get("reason") or "")}
        return self._entry(f"run-{self.number}", "outcome", "note", self._itself(), "failed" if failed else "ok",
                           details)

    def step(self, step: Mapping[str, Any]) -> Iterator[Told]:
        """What follows from a step: outcomes of what it ended, intents of what comes next."""
        if step["outcome"] != "ok":
            self.failed = step
            why = {"failed_at": str(step["name"]), "reason": str(step["details"].get("reason") or "")}
            if step["name"] != SETTLEMENT:
                yield from ({**told, "phase": "outcome", "result": "failed", "details": why}
                            for told in self.open.values())
                self.open = {}
            return
        tell = TELLERS.get(str(step["name"]))
        if tell:
            yield from tell(self, step["details"])

    def _plan(self, _details: Mapping[str, Any]) -> Iterator[Told]:
        for item in self._of_snapshots():
            source, region = str(item["id"]), str(item.get("region") or "")
            if region != self.region:
                yield self._begin(f"copy/{source}", "copy", about("snapshot", source, region))
            yield self._begin(f"mount/{source}", "mount", about("snapshot", source, region))
        yield self._begin("host", "note", self._itself(), {"what": "launch of the analysis host"})

    def _snapshot(self, details: Mapping[str, Any]) -> Iterator[Told]:
        for item in details.get("snapshots") or []:
            source, used = str(item.get("source_id") or ""), str(item.get("id") or "")
            if used == source:
                self.open.pop(f"copy/{source}", None)
                continue
            yield self._outcome(f"copy/{source}", "copy", about("snapshot", used, str(item.get("region") or "")), {
                "source": source, "source_region": str(item.get("source_region") or ""),
                "reused": bool(item.get("reused")), "encrypted": bool(item.get("encrypted")),
                "kms_key": str(item.get("kms_key_id") or ""), "volume_gib": item.get("volume_gib")})

    def _analysis_host(self, details: Mapping[str, Any]) -> Iterator[Told]:
        host = str(details.get("instance_id") or "")
        self.host = host
        if details.get("ended"):  # it did so before this run looked: what it did not say, nobody hears any more
            return
        yield self._outcome("host", "note", about("instance", host, self.region), {
            "what": "launch of the analysis host", "image": str(details.get("image_id") or ""),
            "type": str(details.get("instance_type") or ""), "ends": str(details.get("deadline") or ""),
            "ends_at_the_latest": str(details.get("expires") or ""),
            "volumes": ", ".join(f"{item.get('volume_id')} of {item.get('snapshot_id')}"
                                 for item in details.get("volumes") or [])})
        yield self._begin("access", "access", about("instance", host, self.region))
        yield self._begin("tools", "tool_run", about("instance", host, self.region), {
            "what": "tools are proven on known samples"})
        yield self._begin("analysis", "tool_run", about("instance", host, self.region), {
            "what": f"{self.request.get('mode')} analysis"})

    def _evidence(self, details: Mapping[str, Any]) -> Iterator[Told]:
        sources = {str(item.get("id")): str(item.get("source_id") or item.get("id"))
                   for item in self.done.get("snapshot", {}).get("snapshots") or []}
        for volume in details.get("volumes") or []:
            snapshot = str(volume.get("snapshot_id") or "")
            if volume.get("role") == "evidence":
                yield self._outcome(f"mount/{sources.get(snapshot, snapshot)}", "mount", self._volume(volume), {
                    **_of_volume(volume), "snapshot": snapshot})

    def _journal(self, details: Mapping[str, Any]) -> Iterator[Told]:
        for volume in details.get("volumes") or []:
            if volume.get("role") == "journal":
                yield self._outcome(f"mount/journal/{volume.get('journal_of')}", "mount", self._volume(volume), {
                    **_of_volume(volume), "what": "a second, throw-away volume with journals applied",
                    "of": str(volume.get("journal_of") or "")})

    def _analyst_access(self, details: Mapping[str, Any]) -> Iterator[Told]:
        host = self.done.get("analysis_host", {})
        yield self._outcome("access", "access", about("instance", self.host, self.region), {
            "analyst": str(details.get("uid") or ""), "user": str(details.get("user") or ""),
            "key": str(details.get("key_fingerprint") or ""), "until": str(host.get("deadline") or ""),
            "until_at_the_latest": str(host.get("expires") or ""),
            "from": ", ".join((self.request.get("analyst") or {}).get("cidrs") or [])})

    def _toolbox(self, details: Mapping[str, Any]) -> Iterator[Told]:
        versions = {re.sub(r"[^a-z0-9_]", "_", f"version_{name}".lower())[:32]: str(version)
                    for name, version in sorted((details.get("versions") or {}).items())[:MOST_VERSIONS]}
        image, digest = str(details.get("image") or ""), str(details.get("digest") or "")
        sha256 = digest.rpartition("sha256:")[2]
        yield self._outcome("tools", "tool_run", about(
            "container_image", digest or image, self.host, sha256 if is_sha256(sha256) else None), {
            "what": "tools are proven on known samples", "image": image, **versions})

    def _results(self, details: Mapping[str, Any]) -> Iterator[Told]:
        if self.told:
            return
        self.told = True
        how, retracted = str(details.get("outcome") or ""), details.get("retracted")
        good = how in GOOD_ENDS.get(str(self.request.get("mode")), ()) and not retracted
        more = {"tools_that_failed_afterwards": ", ".join(retracted.get("tools") or [])} if retracted else {}
        if details.get("extended_until"):
            more["session_extended_until"] = str(details["extended_until"])
        for one in details.get("artifacts") or []:
            yield artifact(self.actor, str(self.request.get("artifact_bucket")),
                           f"{self.request.get('artifact_prefix')}{one['name']}", str(one["sha256"]),
                           {"said_by": str(one.get("said_by") or "")})
        yield self._outcome("analysis", "tool_run", about("instance", self.host, self.region), {
            "outcome": how, "files": details.get("files"), "place": self._prefix(), **more},
            "ok" if good else "failed")

    def _clean_up(self, _details: Mapping[str, Any]) -> Iterator[Told]:
        yield self._outcome("end", "note", about("instance", self.host, self.region), {
            "what": "the host has ended, and what it could not take along was removed"})

    def _close_by_hand(self, details: Mapping[str, Any]) -> Iterator[Told]:
        told = self._outcome(f"ended-by-hand/{self.number}", "note", self._itself(), {
            "what": "ended by hand", "analyst": str(details.get("analyst") or ""),
            "host_was_told": bool(details.get("host_told"))})
        yield {**told, "actor": _actor(details)}

    def _begin(self, name: str, action: str, what: Told, details: Mapping[str, Any] | None = None) -> Told:
        self.open[name] = self._entry(name, "intent", action, what, details=details)
        return self.open[name]

    def _outcome(self, name: str, action: str, what: Told, details: Mapping[str, Any], result: str = "ok") -> Told:
        self.open.pop(name, None)
        return self._entry(name, "outcome", action, what, result, details)

    def _entry(self, name: str, phase: str, action: str, what: Told, result: str = "ok",
               details: Mapping[str, Any] | None = None) -> Told:
        return entry(f"request/{self.request['request_id']}/{name}", phase, action, self.actor, what, result, details)

    def _itself(self) -> Told:
        return about("request", str(self.request["request_id"]),
                     f"s3://{self.request.get('artifact_bucket')}/{self.request.get('record_key') or ''}")

    def _volume(self, volume: Mapping[str, Any]) -> Told:
        sha256 = str((volume.get("image") or {}).get("sha256") or "")
        return about("volume", str(volume.get("volume_id") or ""), self.host, sha256 if is_sha256(sha256) else None)

    def _of_snapshots(self) -> list[Mapping[str, Any]]:
        return list(self.request.get("snapshots") or [])

    def _snapshots(self) -> list[str]:
        return [str(item["id"]) for item in self._of_snapshots()]

    def _prefix(self) -> str:
        return f"s3://{self.request.get('artifact_bucket')}/{self.request.get('artifact_prefix')}"


def _actor(caller: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(caller.get(name) or "") for name in ("kind", "name", "arn")}


def _of_volume(volume: Mapping[str, Any]) -> Told:
    """What is told of a volume: nothing that its content names."""
    return {"device": str(volume.get("device") or ""), "read_only": bool(volume.get("read_only")),
            "size_bytes": volume.get("size_bytes"), "partitions": len(volume.get("partitions") or [])}


# Steps of a record (filter timed_steps, last_steps) by what they tell.
TELLERS: dict[str, Callable[[_Story, Mapping[str, Any]], Iterator[Told]]] = {
    "plan": _Story._plan, "snapshot": _Story._snapshot, "analysis_host": _Story._analysis_host,
    "evidence": _Story._evidence, "journal": _Story._journal, "analyst_access": _Story._analyst_access,
    "toolbox": _Story._toolbox, "results": _Story._results, "clean_up": _Story._clean_up,
    "close_by_hand": _Story._close_by_hand,
}
