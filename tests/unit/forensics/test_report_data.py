# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The results of an analysis as the data of a report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.forensics import report_data
from ansible_collections.dfir.aws.plugins.module_utils.forensics.model import (
    Artifacts,
    Evidence,
    Finding,
    Host,
    Partition,
)
from ansible_collections.dfir.aws.plugins.module_utils.forensics.steps import Outcome
from ansible_collections.dfir.aws.plugins.module_utils.forensics.timeline import CSV_COLUMNS
from ansible_collections.dfir.aws.plugins.module_utils.forensics.times import iso_ns
from ansible_collections.dfir.aws.plugins.plugin_utils.report.render import render

VOLUME = "vol-0123456789abcdef0"
NS = 10**9
NASTY = "/<script>alert(1)</script>"


def part(number: int, kind: str = "filesystem", journal_dirty: bool = False) -> Partition:
    return Partition(number, f"/dev/x{number}", "ext4", kind, 1 << 30, True, "/mnt", journal_dirty, None)


def timeline(artifacts: Artifacts, number: int, rows: list[tuple[int, str]]) -> None:
    with artifacts.create(f"{VOLUME}p{number}.timeline.csv") as stream:
        lines = [",".join(CSV_COLUMNS)] + [f"{iso_ns(moment * NS)},m.c.,5,r/rrw-r--r--,0,0,7,{path}"
                                           for moment, path in rows]
        stream.write(("\n".join(lines) + "\n").encode())


@pytest.fixture
def results(tmp_path: Path) -> tuple[Host, Artifacts, list[Outcome], dict[str, Any]]:
    """Two partitions that were analyzed, and one that is none of ours."""
    artifacts = Artifacts(tmp_path)
    finding = Finding("preload", "preload", "critical", "/etc/ld.so.preload", "a library is forced on everything",
                      times={"m": "2026-09-12T03:41:17.5Z", "c": "2026-09-12T03:41:17.5Z", "b": "1969-12-31T23:59:59Z"})
    low = Finding("odd", "odd_name", "low", NASTY, "an odd name")
    artifacts.write_json(f"{VOLUME}p1.findings.json", [low.as_dict(), finding.as_dict()])
    artifacts.write_json(f"{VOLUME}p2.findings.json", [])
    table = {"id": "accounts", "title": "Accounts", "note": "", "columns": [{"key": "name", "title": "Name",
                                                                             "type": "text"}]}
    for number in (1, 2):
        artifacts.write_json(f"{VOLUME}p{number}.system.json", {"systems": [{"top": "/", "facts": [
            {"label": "System", "value": f"Debian {number}"}], "tables": [{**table, "rows": [{"name": "eve"}]}]}]})
    artifacts.write_json(f"{VOLUME}p1.yara.json", {"hits": [{"path": "/tmp/x", "rule": "miner", "sha256": "0" * 64}]})
    timeline(artifacts, 1, [(-5, "/old"), *((number, f"/one/{number}") for number in range(1, 3000))])
    timeline(artifacts, 2, [(2_000 + number, f"/two/{number}") for number in range(500)])
    outcomes = [Outcome("p1", "timeline", "done", counts={"entries": 3000, "rows": 3000}),
                Outcome("p2", "timeline", "done", counts={"entries": 500, "rows": 500}),
                Outcome("p2", "plaso", "failed", code="tool_error", detail="log2timeline ended with exit code 1"),
                Outcome("p3", "all", "skipped", code="swap", detail="swap, not a file system")]
    host = Host((Evidence(VOLUME, "snap-0123456789abcdef0", 3 << 30, (part(1, journal_dirty=True), part(2),
                                                                      part(3, "swap"))),))
    partitions = [{"name": f"p{number}", "journal_of": "", "journal_dirty": number == 1, "type": "ext4",
                   "kind": "filesystem", "size_bytes": 1 << 30,
                   "steps": {one.name: one.counts for one in outcomes if one.partition == f"p{number}"}}
                  for number in (1, 2, 3)]
    summary = {"started": "2026-09-13T10:00:00Z", "ended": "2026-09-13T10:01:00Z", "seconds": 60.0,
               "versions": {"sleuthkit": "4.12"}, "validation": {"ran": True, "failed": ["clamav"]},
               "partitions": partitions}
    return host, artifacts, outcomes, summary


def test_everything_that_was_found_and_what_was_not_looked_into(results: Any) -> None:
    data = report_data.report_data(*results)
    assert json.loads(json.dumps(data)) == data
    assert [(one["severity"], one["partition"]) for one in data["findings"]] == [("critical", "p1"), ("low", "p1")]
    assert [(one["value"], one["partition"]) for one in data["facts"]] == [("Debian 1", "p1"), ("Debian 2", "p2")]
    assert [table["title"] for table in data["tables"]] == ["Accounts", "YARA", "Accounts (p2)"]
    assert data["not_read"] == ["p3: swap, not a file system"]
    first, second, third = data["warnings"]
    assert first.startswith("p1: the journal holds changes") and "exit code 1" in second and "clamav" in third
    assert {one["name"] for one in data["hashes"]} >= {f"{VOLUME}p1.findings.json", f"{VOLUME}p2.timeline.csv"}
    assert data["timeline"]["entries"] == 3500 and len(data["timeline"]["rows"]) == 3502
    page = render(data)
    assert "Disk analysis" in page and "<script>alert" not in page and "Debian 2" in page


def test_of_the_timeline_what_findings_point_at_and_the_newest_rows_are_kept(results: Any) -> None:
    rows = report_data.report_data(*results, rows=600)["timeline"]["rows"]
    assert len(rows) == 600 and rows == sorted(rows, key=lambda row: row[0])
    pointed = [row[:3] for row in rows if row[2] == "/etc/ld.so.preload"]
    assert pointed == [[-NS, "...b", "/etc/ld.so.preload"], [1_789_184_477_500_000_000, "m.c.", "/etc/ld.so.preload"]]
    others = [row for row in rows if row[2] != "/etc/ld.so.preload"]
    # Both partitions end within each other: 2,999 is the last of one, 2,499 of the other.
    assert min(row[0] for row in others) == 2_451 * NS and {row[4] for row in others} == {"p1", "p2"}


def test_without_any_result_there_is_a_report_that_says_so(tmp_path: Path) -> None:
    host = Host((Evidence(VOLUME, "snap-0123456789abcdef0", 1 << 30, (part(1),)),))
    summary = {"started": "", "ended": "", "seconds": 0, "versions": {}, "validation": {"failed": []}, "partitions": []}
    data = report_data.report_data(host, Artifacts(tmp_path), [Outcome("p1", "findings", "timeout")], summary)
    assert data["findings"] == [] and data["timeline"]["rows"] == [] and data["warnings"] == ["p1: findings: timeout"]
    assert "p1: findings: timeout" in render(data)


@pytest.mark.parametrize("moment", [0, -1, 1_789_184_477_123_456_789, -62_000_000_000 * NS, 300_000_000_000 * NS])
def test_times_are_read_as_they_were_written(moment: int) -> None:
    assert report_data._nanoseconds(iso_ns(moment)) == (moment if abs(moment) < 299 * 10**18 else moment // NS * NS)
