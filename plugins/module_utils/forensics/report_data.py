# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`report.json`: the results of an analysis as the data of a report (docs/report.md says what each key holds).

It is put together of what the steps have written. Of timelines, which may have many millions of rows, only the ends are
read; what a finding is about has its times with the finding.
"""

from __future__ import annotations

import csv
import heapq
import json
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from .about import add_tables
from .model import SEVERITIES, Artifacts, Host
from .steps import Outcome
from .timeline_line import marked

SCHEMA = 1
NAME = "report.json"
ROWS = 100_000  # of the timeline
LONG_ROW = 400  # bytes; of longer ones fewer are taken
HITS = 2000
YARA = (("path", "File", "text"), ("rule", "Rule", "text"), ("sha256", "SHA-256", "text"))
CLAMAV = (("path", "File", "text"), ("signature", "Signature", "text"), ("sha256", "SHA-256", "text"))
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def report_data(host: Host, artifacts: Artifacts, outcomes: Iterable[Outcome], summary: dict[str, Any],
                rows: int = ROWS) -> dict[str, Any]:
    """The whole of it. `summary`: that of the same analysis; `rows`: how many of the timeline at most."""
    outcomes = list(outcomes)
    findings: list[dict[str, Any]] = []
    facts: list[dict[str, str]] = []
    tables: list[dict[str, Any]] = []
    for volume, partition in host.pairs():
        stem, label = volume.stem(partition), host.label(volume, partition)
        findings += [{**one, "partition": label} for one in _json(artifacts, f"{stem}.findings.json", [])]
        for system in _json(artifacts, f"{stem}.system.json", {}).get("systems", []):
            facts += [{**fact, "partition": label} for fact in system["facts"]]
            add_tables(tables, system["tables"], label)
        for step, title, columns in (("yara", "YARA", YARA), ("clamav", "ClamAV", CLAMAV)):
            add_tables(tables, [_hits(artifacts, f"{stem}.{step}.json", step, title, columns)], label)
    findings.sort(key=lambda one: (-SEVERITIES.index(one["severity"]), one["kind"], one["path"]))
    return {
        "schema": SCHEMA, "kind": "analysis", "title": ", ".join(one.snapshot_id for one in host.evidence),
        "made": summary["ended"], "tool": {"name": "dfir.aws", "version": _version()},
        "versions": summary["versions"],
        "source": {"kind": "snapshot", "name": ", ".join(one.snapshot_id for one in host.evidence),
                   "size_bytes": sum(one.size_bytes for one in host.evidence), "started": summary["started"],
                   "seconds": summary["seconds"]},
        "facts": facts, "warnings": list(_warnings(outcomes, summary)), "not_read": list(_not_read(outcomes)),
        "partitions": [{"name": one["name"], "type": one["type"], "kind": one["kind"], "size_bytes": one["size_bytes"],
                        "entries": one["steps"].get("timeline", {}).get("entries"),
                        "journal_dirty": one["journal_dirty"]} for one in summary["partitions"]],
        "findings": findings, "tables": tables, "timeline": _timeline(host, artifacts, findings, summary, rows),
        "hashes": [{"name": name, "sha256": digest, "bytes": (artifacts.folder / name).stat().st_size}
                   for name, digest in artifacts.digests().items()],
    }


def _version() -> str:
    """Of the package that the image has."""
    try:
        return metadata.version("dfir-aws")
    except metadata.PackageNotFoundError:
        return ""


def _json(artifacts: Artifacts, name: str, otherwise: Any) -> Any:
    path = artifacts.folder / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else otherwise


def _hits(artifacts: Artifacts, name: str, step: str, title: str, columns: tuple[tuple[str, str, str], ...],
          ) -> dict[str, Any]:
    hits = _json(artifacts, name, {}).get("hits", [])
    return {"id": step, "title": title, "note": f"The first {HITS:,} of {len(hits):,}." if len(hits) > HITS else "",
            "columns": [{"key": key, "title": words, "type": kind} for key, words, kind in columns],
            "rows": [{key: hit.get(key, "") for key, _words, _kind in columns} for hit in hits[:HITS]]}


def _warnings(outcomes: list[Outcome], summary: dict[str, Any]) -> Iterator[str]:
    for one in summary["partitions"]:
        if one["journal_dirty"] and not one["journal_of"]:
            yield (f"{one['name']}: the journal holds changes that were not applied. What happened last before the "
                   "snapshot may be missing, or look older than it is.")
    for outcome in outcomes:
        if outcome.state in ("failed", "timeout"):
            yield f"{outcome.partition}: {outcome.name}: {outcome.detail or outcome.code or outcome.state}"
    for tool in summary["validation"]["failed"]:
        yield f"{tool} failed on its known sample after the work: do not rely on what it found."


def _not_read(outcomes: list[Outcome]) -> Iterator[str]:
    for outcome in outcomes:
        if outcome.state == "skipped":
            what = "" if outcome.name == "all" else f"{outcome.name}: "
            yield f"{outcome.partition}: {what}{outcome.detail or outcome.code}"


def _timeline(host: Host, artifacts: Artifacts, findings: list[dict[str, Any]], summary: dict[str, Any],
              most: int) -> dict[str, Any]:
    files = []
    newest: list[list[Any]] = []
    for volume, partition in host.pairs():
        path = artifacts.folder / f"{volume.stem(partition)}.timeline.csv"
        if path.exists():
            files.append(path.name)
            newest = heapq.nlargest(most, [*newest, *_end(path, host.label(volume, partition), most)],
                                    key=lambda row: row[0])
    there = {(row[4], row[2], row[0] // 10**9) for row in newest}
    pointed = [row for finding in findings for row in _of_finding(finding)
               if (row[4], row[2], row[0] // 10**9) not in there]
    room = max(0, most - len(pointed))
    counts = [one["steps"].get("timeline", {}).get("rows", 0) for one in summary["partitions"]]
    return {"entries": sum(counts), "file": files[0] if len(files) == 1 else "*.timeline.csv" if files else "",
            "rows": sorted([*pointed[:most], *newest[:room]], key=lambda row: row[0])}


def _end(path: Path, partition: str, most: int) -> Iterator[list[Any]]:
    """The last rows of a timeline, which is sorted. No name in it holds a line break."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - most * LONG_ROW))
        lines = file.read().decode("utf-8", "replace").splitlines()[1:]  # the titles, or a part of a row
    for columns in csv.reader(lines[-most:]):
        if len(columns) == 8:
            moment, macb, bytes_, mode, uid, _gid, _inode, name = columns
            yield [_nanoseconds(moment), macb, name, int(bytes_), partition, int(uid), mode]


def _of_finding(finding: dict[str, Any]) -> Iterator[list[Any]]:
    times = [_nanoseconds(finding["times"][letter]) if finding["times"].get(letter) else None for letter in "macb"]
    for moment, macb in marked(times):
        yield [moment, macb, finding["path"], None, finding["partition"], None, ""]


def _nanoseconds(text: str) -> int:
    """The other way round of `times.iso_ns`."""
    if text.startswith("@"):
        return int(text[1:]) * 10**9
    whole, _dot, fraction = text.removesuffix("Z").partition(".")
    since = datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc) - _EPOCH
    return (since.days * 86400 + since.seconds) * 10**9 + int((fraction or "0").ljust(9, "0"))
