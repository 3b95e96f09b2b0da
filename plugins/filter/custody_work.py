# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What playbooks without a record tell a custody ledger: before their work, and after it, whatever came of it.

A request's record tells its history by itself (module request_record).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.custody_keep import standing
from ansible_collections.dfir.aws.plugins.module_utils.custody_told import Told, about, artifact, entry, is_sha256

# What each work does, and whether every run of it is new work. An image that is there is looked at once more.
ACTIONS = {"triage": ("tool_run", True), "compare": ("tool_run", True), "image": ("image", False),
           "acquisition": ("acquisition", False), "artifact_urls": ("access", True)}


class _Work:
    """One kind of work for a request."""

    def __init__(self, request: Mapping[str, Any], work: str) -> None:
        self.request, self.work = request, work
        self.action, self.repeats = ACTIONS[work]
        caller = request.get("caller") or {}
        self.actor = {name: str(caller.get(name) or "") for name in ("kind", "name", "arn")}
        self.snapshots = {str(item["id"]): str(item.get("region") or "") for item in request.get("snapshots") or []}
        self.bucket = str(request.get("artifact_bucket") or "")

    def begins(self) -> Iterator[Told]:
        """Its intents."""
        for part, what in self._parts():
            yield self._entry(part, "intent", what, details=self._asked())

    def failed(self, why: str) -> Iterator[Told]:
        """Its outcomes, where it broke off."""
        for part, what in self._parts():
            yield self._entry(part, "outcome", what, "failed", {"reason": why})

    def ended(self, made: Mapping[str, Any]) -> Iterator[Told]:
        """Its outcomes, and the artifacts that it left in the bucket."""
        if self.work == "image":
            for image in made.get("done", [made]):
                yield from self._image(image)
            for lost in made.get("failed") or []:
                yield self._entry(str(lost["snapshot_id"]), "outcome", self._snapshot(str(lost["snapshot_id"])),
                                  "failed", {"reason": str(lost["reason"])})
        elif self.work == "acquisition":
            yield from self._acquisition(made)
        elif self.work == "artifact_urls":
            [(part, what)] = self._parts()
            yield self._entry(part, "outcome", what, details={
                "artifacts": len(made.get("objects") or []), "until": str(made.get("expires_at") or "")})
        else:
            yield from self._look(made)

    def _parts(self) -> Iterable[tuple[str, Told]]:
        """What it is done to: part of its name, and object."""
        if self.work in ("triage", "image"):
            return [(name, self._snapshot(name)) for name in self.snapshots]
        if self.work == "compare":
            regions = sorted(set(self.snapshots.values()))
            return [("", about("snapshots", ", ".join(self.snapshots), ", ".join(regions)))]
        if self.work == "acquisition":
            tags = [f"{name}={value}" for name, value in sorted((self.request.get("instance_tags") or {}).items())]
            return [("", about("instances", ", ".join([*(self.request.get("instance_ids") or []), *tags]),
                               str(self.request.get("region") or "")))]
        return [("", about("case", str(self.request["incident"]), f"s3://{self.bucket}"))]

    def _asked(self) -> Told:
        return {"analyst": str((self.request.get("analyst") or {}).get("uid") or ""),
                "attempt": self.request.get("attempt")}

    def _look(self, made: Mapping[str, Any]) -> Iterator[Told]:
        places = [str(place) for place in made.get("places") or []]
        for place in places:
            if place.startswith(f"s3://{self.bucket}/"):
                for file in made.get("files") or []:
                    yield self._artifact(place.removeprefix(f"s3://{self.bucket}/") + str(file["name"]), file)
        for part, what in self._parts():
            yield self._entry(part, "outcome", what, details={
                "places": ", ".join(places), "made": str(made.get("made") or ""),
                **{f"count_{name}"[:32]: count for name, count in (made.get("counts") or {}).items()
                   if isinstance(count, int)}})

    def _image(self, image: Mapping[str, Any]) -> Iterator[Told]:
        name, places = str(image["snapshot_id"]), [str(place) for place in image["places"]]
        packed = image.get("packed") or {}
        key = str(packed.get("path") or "")
        if key.startswith(f"s3://{self.bucket}/"):
            yield self._artifact(key.removeprefix(f"s3://{self.bucket}/"), {
                "sha256": packed.get("packed_sha256"), "bytes": packed.get("packed_size")})
        sha256 = image.get("sha256")
        yield self._entry(name, "outcome", about("image", places[0], ", ".join(places),
                                                 sha256 if is_sha256(sha256) else None), details={
            "snapshot": name, "snapshot_region": self.snapshots.get(name, ""), "size_bytes": image.get("size"),
            "blocks": image.get("blocks"), "linear_sha256": str(image.get("linear_sha256") or ""),
            "manifest": str(image.get("manifest") or ""), "made_on": str(image.get("host") or ""),
            "read_back": str((image.get("verification") or {}).get("finished") or ""), "packed": key,
            "packed_sha256": str(packed.get("packed_sha256") or "")})

    def _acquisition(self, made: Mapping[str, Any]) -> Iterator[Told]:
        region = str(self.request.get("region") or "")
        for item in made.get("instances") or []:
            instance = str(item["instance_id"])
            for file in item.get("files") or []:
                yield self._artifact(f"{item['prefix']}{file['name']}", file)
            for one in item.get("snapshots") or []:
                yield self._entry(str(one["snapshot_id"]), "record", about("snapshot", str(one["snapshot_id"]), region),
                                  details={"instance": instance, "volume": str(one.get("volume_id") or ""),
                                           "device": str(one.get("device") or ""), "size_gib": one.get("size_gib"),
                                           "moment": str(one.get("started") or "")})
            if item.get("problem"):
                yield self._entry(instance, "record", about("instance", instance, region), "failed",
                                  {"reason": str(item["problem"])})
        [(part, what)] = self._parts()
        yield self._entry(part, "outcome", what, "failed" if made.get("problem") else "ok", {
            "instances": len(made.get("instances") or []), "snapshots": len(made.get("snapshots") or []),
            "reason": str(made.get("problem") or "")})

    def _snapshot(self, name: str) -> Told:
        return about("snapshot", name, self.snapshots.get(name, ""))

    def _artifact(self, key: str, file: Mapping[str, Any]) -> Told:
        return artifact(self.actor, self.bucket, key, str(file["sha256"]), {"size_bytes": file.get("bytes")})

    def _entry(self, part: str, phase: str, what: Told, result: str = "ok", details: Told | None = None) -> Told:
        name = f"{self.work}/{self.request['request_id']}" + (f"/{part}" if part else "")
        return {**entry(name, phase, self.action, self.actor, what, result, details), "repeats": self.repeats}


def custody_begins(request: Mapping[str, Any], work: str) -> list[Told]:
    """What is told before work: that it is about to be done."""
    return list(_Work(request, work).begins())


def custody_ends(request: Mapping[str, Any], work: str, made: Mapping[str, Any] | None = None, problem: str = "",
                 ) -> list[Told]:
    """What is told after work: what came of it, and its artifacts; or that it broke off.

    :param made: what the work's role handed on; nothing, where it did not come that far.
    """
    told = _Work(request, work)
    return list(told.ended(made) if made else told.failed(problem or "it gave no result"))


def custody_not_kept(incident: str) -> dict[str, Any]:
    """How a ledger stands that is not kept."""
    return standing(incident, kept=False)


def custody_lines(lines: str | Sequence[str], custody: Mapping[str, Any]) -> list[str]:
    """Lines for a screen, and how the ledger stands."""
    return [*([lines] if isinstance(lines, str) else lines), str(custody["line"])]


class FilterModule:
    """Filters of playbooks that keep custody."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Their names."""
        return {"custody_begins": custody_begins, "custody_ends": custody_ends, "custody_not_kept": custody_not_kept,
                "custody_lines": custody_lines}
