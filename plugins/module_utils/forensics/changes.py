# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What only a journal knows: the evidence as it was mounted, held against the same with its journal applied.

Both timelines are compared by path, and both lists of findings by id: `<volume>p<N>.journal.changes.json`.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from typing import Any

from .model import Artifacts, Evidence, Host, Partition
from .steps import Outcome, Say
from .timeline import parse_body_line
from .timeline_line import Line

CHANGES = "changes.json"
LISTED = 10_000  # paths of a kind; the counts are always whole
NOT_LIVE = ("(deleted", "/$OrphanFiles")


def compare(host: Host, artifacts: Artifacts, say: Say) -> list[Outcome]:
    """Compare every partition that was analyzed twice."""
    evidence = {(volume.volume_id, partition.number): (volume, partition)
                for volume, partition in host.pairs() if not volume.journal_of and partition.logical is None}
    outcomes = []
    for volume, partition in host.pairs():
        before = evidence.get((volume.journal_of, partition.number))
        if before is None or not partition.mounted:
            continue
        label, clock = host.label(volume, partition), time.monotonic()
        outcome = _compare(before, (volume, partition), artifacts)
        outcome.partition, outcome.seconds = label, round(time.monotonic() - clock, 1)
        numbers = ", ".join(f"{name} {count:,}" for name, count in outcome.counts.items())
        say(f"{label}: changes {outcome.state}: {numbers or outcome.detail}")
        outcomes.append(outcome)
    return outcomes


def _compare(before: tuple[Evidence, Partition], after: tuple[Evidence, Partition], artifacts: Artifacts) -> Outcome:
    old, new = before[0].stem(before[1]), after[0].stem(after[1])
    timelines = [artifacts.folder / f"{stem}.bodyfile" for stem in (old, new)]
    if not all(path.is_file() for path in timelines):
        return Outcome("", "changes", "failed", code="no_timeline", detail="one of the two timelines is missing")
    try:
        report = _changes(artifacts, old, new)
        known, now = _findings(artifacts, old), _findings(artifacts, new)
        report["findings"] = [now[key] for key in now if key not in known]
        counts = {**report["counts"], "findings": len(report["findings"])}
        artifacts.write_json(f"{new}.{CHANGES}", {**report, "counts": counts})
    except (OSError, ValueError) as error:
        return Outcome("", "changes", "failed", code="error", detail=f"{type(error).__name__}: {error}")
    return Outcome("", "changes", "done", counts=counts)


def _changes(artifacts: Artifacts, old: str, new: str) -> dict[str, Any]:
    """Paths that only one of the two trees has, and those whose file differs. Digests keep the memory small."""
    seen = {_digest(line.path): _digest(*_state(line)) for line in _live(artifacts, old)}
    found: dict[str, list[dict[str, Any]]] = {"new": [], "changed": [], "gone": []}
    counts = dict.fromkeys(found, 0)

    def note(kind: str, line: Line) -> None:
        counts[kind] += 1
        if len(found[kind]) < LISTED:
            found[kind].append({"path": line.path, "inode": line.inode, "size": line.size, "mtime": line.mtime})

    left = set(seen)
    for line in _live(artifacts, new):
        key = _digest(line.path)
        left.discard(key)
        if key not in seen:
            note("new", line)
        elif seen[key] != _digest(*_state(line)):
            note("changed", line)
    if left:
        for line in _live(artifacts, old):
            if _digest(line.path) in left:
                note("gone", line)
    return {"evidence": old, "journal": new, "counts": counts, **found}


def _state(line: Line) -> tuple[Any, ...]:
    """What makes a file another one. Not when it was read: the mount that applied the journal may count as that."""
    return line.inode, line.mode, line.uid, line.gid, line.size, line.mtime, line.ctime


def _digest(*values: Any) -> bytes:
    text = "\0".join(str(value) for value in values)
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=12).digest()


def _live(artifacts: Artifacts, stem: str) -> Iterator[Line]:
    """The entries of a timeline that are there, deleted ones left out."""
    with (artifacts.folder / f"{stem}.bodyfile").open("rb") as stream:
        for raw in stream:
            line = parse_body_line(raw)
            if line is not None and not any(mark in line.path for mark in NOT_LIVE):
                yield line


def _findings(artifacts: Artifacts, stem: str) -> dict[str, dict[str, Any]]:
    path = artifacts.folder / f"{stem}.findings.json"
    if not path.is_file():
        return {}
    return {str(item["id"]): item for item in json.loads(path.read_text(encoding="utf-8"))}
