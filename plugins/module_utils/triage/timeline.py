# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When everything changed: all entries of all file systems of a triage, as files and as rows of its report.

FAT keeps local times without a zone: in the report they stand as if they were UTC, and a note says so.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..forensics import timeline_file
from ..forensics.dissect_tree import DissectTree
from ..forensics.entry_walk import FileEntry
from ..forensics.model import Artifacts
from .disk import Part
from .look import Triage

BODYFILE, TABLE = "timeline.bodyfile.gz", "timeline.csv.gz"


def write_timeline(one: Triage, folder: Path, inline: int) -> tuple[dict[str, Any], list[str]]:
    """Write both files; returns what the report holds of them, with up to `inline` rows, and their names."""
    folder.mkdir(parents=True, exist_ok=True)
    artifacts = Artifacts(folder)
    counts: dict[str, int] = {}
    local = [part.name for part, tree in one.trees if tree.local_times]
    with tempfile.TemporaryDirectory(prefix=".timeline-", dir=folder) as work:
        written = timeline_file.write_timeline(
            _all(one, counts), artifacts, Path(work), several=len(one.trees) > 1, newest=inline, local=local,
            chosen={(name, finding.path) for name, finding in one.findings})
    digests = artifacts.digests()
    artifacts.forget_sums()
    note = (f"Times on {', '.join(local)} (FAT) are local times of an unknown zone, shown as if they were UTC."
            if local else "")
    return {"entries": written.rows, "names": written.entries, "by_partition": counts, "file": TABLE,
            "sha256": digests[TABLE], "zone_note": note, "rows": written.newest}, [BODYFILE, TABLE]


def _all(one: Triage, counts: dict[str, int]) -> Iterator[tuple[str, FileEntry]]:
    for part, tree in one.trees:
        if one.source.spent:
            one.not_read.append(f"{part.name}: its timeline, the budget of blocks was spent before")
            continue
        one.wish.tell(f"{part.name}: writing the timeline")
        counts[part.name] = 0
        for entry in _of(one, part, tree):
            counts[part.name] += entry.problem != "folder"  # such a folder has an entry of its own besides
            yield part.name, entry


def _of(one: Triage, part: Part, tree: DissectTree) -> Iterator[FileEntry]:
    for entry in tree.all_entries():
        if entry.problem:
            one.source.check()
            if one.source.spent:
                one.not_read.append(f"{part.name}: its timeline, in part, the budget of blocks was spent")
                return
        yield entry
    one.source.check()
    if one.source.spent:
        one.not_read.append(f"{part.name}: its timeline, in part, the budget of blocks was spent")
