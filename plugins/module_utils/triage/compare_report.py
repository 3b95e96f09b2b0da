# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A comparison as the data of a report, and all its changes as a table in a file."""

from __future__ import annotations

import csv
import gzip
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..ebs.version import __version__
from ..forensics.entry_walk import FileEntry
from ..forensics.findings import rank
from ..forensics.model import SEVERITIES, Artifacts, Finding, clean, clean_path
from ..forensics.suspicion import worst
from ..forensics.timeline_file import LEVEL, moments
from ..forensics.timeline_line import mode_string
from ..forensics.times import iso_ns, utc_now
from .compare import Comparison
from .compare_entries import KINDS, Change
from .compare_weigh import NEW_LINE
from .look import SCHEMA, versions

DATA, TABLE = "compare.json", "changes.csv.gz"
SHOWN = 5000  # changes in the report's table
WORDS = {"added": "Added", "removed": "Removed", "changed": "Changed", "renamed": "Renamed",
         "metadata": "Only metadata", "undecided": "Undecided"}
COLUMNS = ("rank", "severity", "kind", "partition", "path", "path_before", "why", "what", "size_before", "size",
           "mode_before", "mode", "uid", "gid", "inode_before", "inode", "modified_before", "modified",
           "changed_before", "changed", "born", "sha256_before", "sha256")
TITLES = {"metadata": "only_metadata", "undecided": "perhaps_changed"}
_SYSTEM = ("System", "Host name", "Instance", "Last activity")


def report(one: Comparison, base_started: str, new_started: str, rows: int) -> dict[str, Any]:
    """The data of a report (docs/report.md says what each key holds), with up to `rows` rows of a timeline."""
    found = list(_findings(one))
    kinds = Counter(change.kind for _part, change in one.changes)
    cost = [source.cost() for source in (one.base, one.new)]
    return {
        "schema": SCHEMA, "kind": "compare", "title": f"{one.base.name} and {one.new.name}",
        "incident": one.wish.incident, "made": utc_now(),
        "tool": {"name": "dfir.aws", "version": __version__, "parts": versions()},
        "source": {"kind": one.new.kind, "name": one.new.name, "size_bytes": one.new.size, "started": one.started,
                   "seconds": one.seconds, "blocks_read": sum(part["blocks_read"] for part in cost),
                   "bytes_read": sum(part["bytes_read"] for part in cost),
                   "limit_blocks": _both_limits(cost[0].get("limit_blocks"), cost[1].get("limit_blocks"))},
        "base": {"kind": one.base.kind, "name": one.base.name, "size_bytes": one.base.size, "started": base_started,
                 **cost[0]},
        "way": {"name": one.way.name, "reason": one.way.reason,
                "blocks": None if one.way.marks is None else len(one.way.marks)},
        "kinds": {kind: kinds[kind] for kind in KINDS}, "entries": one.entries,
        "facts": _facts(one, kinds, base_started, new_started),
        "warnings": one.warnings, "not_read": one.not_read,
        "partitions": [part.facts() for part in one.after.parts],
        "counts": {severity: sum(1 for _part, item in found if item.severity == severity) for severity in SEVERITIES},
        "findings": [{**finding.as_dict(), "partition": part} for part, finding in found],
        "tables": list(_tables(one)), "timeline": _timeline(one, rows),
    }


def _both_limits(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _facts(one: Comparison, kinds: Counter[str], base_started: str, new_started: str) -> list[dict[str, str]]:
    """What the first screen tells; the first four stand in a mail, too."""
    told = ", ".join(f"{kinds[kind]:,} {WORDS[kind].lower()}" for kind in KINDS if kinds[kind])
    blocks = "" if one.way.marks is None else f"; {len(one.way.marks):,} blocks of 512 KiB differ"
    facts = [("Between", f"{_moment(base_started)} and {_moment(new_started)} UTC" if base_started and new_started
              else ""),
             ("Changes", f"{told or 'none'} of {one.entries:,} entries"),
             ("Compared by", f"{one.way.name}{blocks}")]
    known = {fact["label"]: fact["value"] for fact in reversed(one.after.facts)}
    facts += [(label, known[label]) for label in _SYSTEM if label in known]
    facts += [("Why so", one.way.reason), *((WORDS[kind], f"{kinds[kind]:,}") for kind in KINDS)]
    if one.moved_along:
        facts.append(("Moved along", f"{one.moved_along:,} in folders that were renamed"))
    facts += [("New findings", f"{len(one.fresh):,}"), ("Findings in both", f"{one.kept:,}"),
              ("Findings gone", f"{len(one.gone):,}")]
    return [{"label": label, "value": value, "partition": ""} for label, value in facts if value]


def _moment(text: str) -> str:
    return text[:19].replace("T", " ")


def _findings(one: Comparison) -> list[tuple[str, Finding]]:
    """What a triage finds now and did not find then, and changes that are suspicious in themselves, the worst first."""
    changes = {(part, clean_path(change.path)): change for part, change in one.changes}
    found, told = [], set()
    for part, finding in one.fresh:
        change = changes.get((part, finding.path))
        if change is not None:
            told.add((part, finding.path))
            why = "".join(f"; {reason}" for reason in change.reasons
                          if reason.removeprefix(NEW_LINE) not in finding.reason)
            finding.reason = clean(f"{finding.reason} (since then {WORDS[change.kind].lower()}{why})", 1200)
            finding.severity = worst(finding.severity, change.severity)
            finding.sha256 = finding.sha256 or change.sha256
            finding.excerpt = finding.excerpt or clean(change.excerpt)
        found.append((part, finding))
    for (part, path), change in changes.items():
        if change.severity != "info" and (part, path) not in told:
            entry = change.entry
            times = {key: iso_ns(value) for key, value in (("m", entry.mtime), ("a", entry.atime), ("c", entry.ctime),
                                                           ("b", entry.btime)) if value is not None}
            kind = TITLES.get(change.kind, f"{change.kind}_file")
            found.append((part, Finding(f"compare_{change.kind}", kind, change.severity, path,
                                        clean("; ".join(change.reasons), 1200), change.excerpt, entry.inode, times,
                                        change.sha256 or change.old_sha256)))
    return sorted(found, key=lambda pair: rank(pair[1]))


def row(number: int, part: str, change: Change) -> dict[str, Any]:
    """A change as a row of tables."""
    was, now = change.old, change.new

    def of(entry: FileEntry | None, name: str) -> Any:
        return None if entry is None else getattr(entry, name)

    return {
        "rank": number, "severity": change.severity, "kind": WORDS[change.kind].lower(), "partition": part,
        "path": clean_path(change.path),
        "path_before": clean_path(was.path) if was is not None and change.kind == "renamed" else "",
        "why": clean("; ".join(change.reasons), 1200), "what": clean("; ".join(change.what), 1200),
        "size_before": of(was, "size"), "size": of(now, "size"),
        "mode_before": mode_string(was.mode) if was else "", "mode": mode_string(now.mode) if now else "",
        "uid": change.entry.uid, "gid": change.entry.gid, "inode_before": of(was, "inode"), "inode": of(now, "inode"),
        "modified_before": iso_ns(of(was, "mtime")), "modified": iso_ns(of(now, "mtime")),
        "changed_before": iso_ns(of(was, "ctime")), "changed": iso_ns(of(now, "ctime")),
        "born": iso_ns(change.entry.btime), "sha256_before": change.old_sha256 or "", "sha256": change.sha256 or "",
    }


def _tables(one: Comparison) -> Iterator[dict[str, Any]]:
    titles = (("rank", "Rank", "number"), ("severity", "Severity", "text"), ("kind", "Kind", "text"),
              ("partition", "Partition", "text"), ("path", "Path", "text"), ("path_before", "Path before", "text"),
              ("why", "Why it counts", "text"), ("what", "What differs", "text"),
              ("size_before", "Bytes before", "bytes"), ("size", "Bytes", "bytes"), ("modified", "Modified", "time"),
              ("changed", "Inode changed", "time"), ("sha256", "SHA-256", "text"))
    shown = [row(number, part, change) for number, (part, change) in enumerate(one.changes[:SHOWN], 1)]
    more = f" These are the first {SHOWN:,} of {len(one.changes):,}." if len(one.changes) > SHOWN else ""
    yield {"id": "changes", "title": "What changed", "rows": shown,
           "columns": [{"key": key, "title": title, "type": kind} for key, title, kind in titles],
           "note": f"Rank 1 is the most suspicious. All of it, with what was before, is in {TABLE}.{more}"}
    gone = [{"severity": finding.severity, "partition": part, "path": finding.path, "reason": finding.reason,
             "excerpt": finding.excerpt} for part, finding in sorted(one.gone, key=lambda pair: rank(pair[1]))]
    yield {"id": "gone", "title": "Findings that are gone", "rows": gone,
           "columns": [{"key": key, "title": title, "type": "text"} for key, title in (
               ("severity", "Severity"), ("partition", "Partition"), ("path", "Path"), ("reason", "Reason"),
               ("excerpt", "Excerpt"))],
           "note": f"A triage of {one.base.name} finds these, and one of {one.new.name} does not."}


def _timeline(one: Comparison, most: int) -> dict[str, Any]:
    """Every time of what is there now and was not so before; the newest where there are many."""
    rows = [[moment, macb, clean_path(change.path), change.new.size, part, change.new.uid, mode_string(change.new.mode)]
            for part, change in one.changes if change.new is not None for moment, macb in moments(change.new)]
    rows.sort(key=lambda item: (item[0], item[2]))
    local = [part.name for part, tree in one.after.trees if tree.local_times]
    note = (f"Times on {', '.join(local)} (FAT) are local times of an unknown zone, shown as if they were UTC."
            if local else "")
    return {"entries": len(rows), "names": len({(item[4], item[2]) for item in rows}), "by_partition": {},
            "file": TABLE, "zone_note": note, "rows": rows[-most:] if most else []}


def write_table(one: Comparison, folder: Path) -> str:
    """Write all changes as a table; returns its name."""
    folder.mkdir(parents=True, exist_ok=True)
    artifacts = Artifacts(folder)
    with artifacts.create(TABLE) as raw, gzip.GzipFile("", "wb", LEVEL, raw, mtime=0) as packed, \
            io.TextIOWrapper(packed, encoding="utf-8", newline="") as text:
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for number, (part, change) in enumerate(one.changes, 1):
            writer.writerow(row(number, part, change))
    artifacts.forget_sums()
    return TABLE
