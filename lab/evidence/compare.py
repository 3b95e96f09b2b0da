# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holds the artifacts of an analysis against the answer key: what was found, missed, or a false alarm."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.evidence.answer_key import Entry

ALARM = ("high", "critical")
WORTH_A_LOOK = ("medium", *ALARM)  # a planted artifact reported below this counts as missed
NAME = re.compile(r"(?P<volume>[A-Za-z0-9-]*?)p(?P<number>\d+)\."
                  r"(?P<kind>findings\.json|deleted\.json|bodyfile|yara\.json|clamav\.json)")


class ResultsError(Exception):
    """The results folder cannot be used; the message says why."""


@dataclass
class PartitionResults:
    """What was said of one partition."""

    findings: list[dict[str, Any]] = field(default_factory=list)
    deleted: list[dict[str, Any]] = field(default_factory=list)
    yara: list[dict[str, Any]] = field(default_factory=list)
    clamav: list[dict[str, Any]] = field(default_factory=list)
    timeline: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Row:
    """One line of the report."""

    status: str  # found, missed, optional, false alarm, quiet, other
    where: str
    entry: Entry
    detail: str = ""


@dataclass(frozen=True)
class Report:
    """The outcome."""

    rows: tuple[Row, ...]
    others: tuple[str, ...]  # alarms on files that the key does not know

    def count(self, status: str) -> int:
        """How many lines have this status."""
        return sum(1 for row in self.rows if row.status == status)

    @property
    def good(self) -> bool:
        """Nothing missed, no false alarm."""
        return self.count("missed") == 0 and self.count("false alarm") == 0

    def table(self) -> str:
        """For reading."""
        lines = [f"{'status':<12} {'where':<10} {'kind':<15} path"]
        for row in self.rows:
            path = f"p{row.entry.partition}:{row.entry.path or '(name gone)'}"
            lines.append(f"{row.status:<12} {row.where:<10} {row.entry.kind:<15} {path}"
                         + (f"   {row.detail}" if row.detail else ""))
        lines += [f"{'other':<12} {'findings':<10} {text}" for text in self.others]
        lines.append(f"\n{self.count('found')} found, {self.count('missed')} missed, "
                     f"{self.count('optional')} optional not found, {self.count('false alarm')} false alarms on "
                     f"{self.count('quiet') + self.count('false alarm')} benign files, "
                     f"{len(self.others)} other alarms")
        return "\n".join(lines)


def load_results(folder: Path) -> dict[int, PartitionResults]:
    """Read `<volume>p<N>.*` from a folder, by partition number."""
    if not folder.is_dir():
        raise ResultsError(f"{folder} is no folder; name the folder with the downloaded artifacts")
    results: dict[int, PartitionResults] = {}
    volumes: set[str] = set()
    for path in sorted(folder.iterdir()):
        matched = NAME.fullmatch(path.name)
        if matched is None:
            continue
        volumes.add(matched["volume"])
        partition = results.setdefault(int(matched["number"]), PartitionResults())
        kind = matched["kind"].removesuffix(".json")
        if kind == "bodyfile":
            partition.timeline = set(_bodyfile_paths(path))
        else:
            setattr(partition, kind, _entries(path))
    if not results:
        raise ResultsError(f"{folder} holds no artifacts such as vol-…p1.findings.json")
    if len(volumes) > 1:
        raise ResultsError(f"{folder} holds artifacts of several volumes ({', '.join(sorted(volumes))}); compare one")
    return results


def _entries(path: Path) -> list[dict[str, Any]]:
    """The list in an artifact file: the file itself, or the one list of objects under its keys."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ResultsError(f"{path} is not JSON: {error}") from error
    if isinstance(data, dict):
        data = next((data[key] for key in ("findings", "files", "hits", "deleted", "matches")
                     if isinstance(data.get(key), list)), None)
    if not isinstance(data, list) or not all(isinstance(entry, dict) for entry in data):
        raise ResultsError(f"{path} holds no list of entries")
    return data


def _bodyfile_paths(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            fields = line.split("|")
            if len(fields) == 11:
                yield _plain(fields[1])


def _plain(path: str) -> str:
    """A path from the partition's root, whatever a tool put around it."""
    path = re.sub(r" (\((deleted|realloc|deleted-realloc)\)|\(\$FILE_NAME\))$", "", path)
    path = re.sub(r"(?<=.) -> .*$", "", path)
    path = re.sub(r"^/?evidence/[^/]+/p\d+/", "/", path)
    return "/" + path.lstrip("/")


def compare(entries: Sequence[Entry], results: dict[int, PartitionResults]) -> Report:
    """Look every entry of the key up."""
    rows: list[Row] = []
    planted = {(entry.partition, entry.path) for entry in entries if not entry.benign}
    for entry in entries:
        partition = results.get(entry.partition, PartitionResults())
        if entry.benign:
            alarms = "; ".join(_alarms(entry, partition))
            rows.append(Row("false alarm" if alarms else "quiet", "-", entry, alarms))
            continue
        detail = _find(entry, partition)
        status = "found" if detail is not None else "missed" if entry.required else "optional"
        rows.append(Row(status, entry.must_be_in, entry, detail or entry.note))
    benign = {(entry.partition, entry.path) for entry in entries if entry.benign}
    others = Counter(
        f"p{number}:{_plain(str(finding.get('path', '')))}   {finding.get('kind')} ({finding.get('severity')})"
        for number, partition in sorted(results.items()) for finding in partition.findings
        if finding.get("severity") in ALARM
        and (number, _plain(str(finding.get("path", "")))) not in planted | benign)
    return Report(tuple(rows), tuple(f"{text} x{count}" if count > 1 else text for text, count in others.items()))


def _find(entry: Entry, partition: PartitionResults) -> str | None:
    """How the entry shows in its place; None when it doesn't."""
    if entry.must_be_in == "timeline":
        return "" if entry.path in partition.timeline else None
    found: list[dict[str, Any]] = getattr(partition, entry.must_be_in)
    if entry.must_be_in == "deleted":
        return _find_deleted(entry, found)
    for hit in found:
        if _plain(str(hit.get("path", ""))) != entry.path:
            continue
        if entry.must_be_in != "findings":
            return str(hit.get("rule") or hit.get("signature") or "")
        if hit.get("severity") in WORTH_A_LOOK and (not entry.kinds or hit.get("kind") in entry.kinds):
            return f"{hit.get('kind')} ({hit.get('severity')})"
    return None


def _find_deleted(entry: Entry, found: list[dict[str, Any]]) -> str | None:
    for item in found:
        if entry.path and _plain(str(item.get("path", ""))) != entry.path:
            continue
        if entry.sha256 and item.get("sha256") != entry.sha256:
            continue
        return f"content: {item.get('content', 'unknown')}"
    return None


def _alarms(entry: Entry, partition: PartitionResults) -> Iterator[str]:
    """What raised an alarm about a benign file."""
    for source, hits in (("findings", partition.findings), ("yara", partition.yara), ("clamav", partition.clamav)):
        for hit in hits:
            if _plain(str(hit.get("path", ""))) != entry.path:
                continue
            # A virus scanner's hit has no degrees.
            if source == "clamav" or hit.get("severity") in ALARM:
                name = hit.get("rule") or hit.get("signature") or hit.get("kind")
                yield f"{source}: {name} ({hit.get('severity', 'hit')})"
