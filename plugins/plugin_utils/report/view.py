# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the report's template shows: plain values, in their order, bounded in number and length."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .packing import pack
from .short import found_in_words
from .texts import (
    KINDS,
    NAME,
    OTHER,
    SEVERITIES,
    counted,
    counts,
    dicts,
    is_number,
    moment,
    part,
    plain,
    severity,
    size,
    words,
    worst_first,
)

WORST = 5
TABLES, COLUMNS = 200, 40  # more are no tables that anybody made for a reader
# Bytes of HTML for rows of each kind. What does not fit is counted and stands in the JSON: hostile evidence may bring
# any number of findings, and the report must open all the same.
ROOM = {"findings": 900_000, "tables": 600_000, "lists": 120_000}
TAGS_OF_A_FINDING, TAGS_OF_A_CELL = 620, 40
_SORTABLE = re.compile(r"\d{4}-\d\d-\d\d .*")


@dataclass
class Room:
    """Bytes of HTML that may still be filled."""

    left: int

    def take(self, texts: Sequence[str], tags: int) -> bool:
        """Whether texts fit, with the tags around them. Once something did not, nothing does: no holes in a list."""
        self.left -= tags + sum(len(html.escape(text).encode("utf-8", "replace")) for text in texts)
        return self.left >= 0


def view(data: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that the template names."""
    findings = worst_first(dicts(data, "findings"))
    number = counts(findings)
    groups = _groups(findings)
    room, lists = Room(ROOM["tables"]), Room(ROOM["lists"])
    tables = [_table(table, index, room) for index, table in enumerate(dicts(data, "tables")[:TABLES], 1)]
    kind = KINDS.get(plain(data.get("kind")), "Disk")
    return {
        # Where nobody looked for them, there is no section that says that there are none.
        "looked": "findings" in data, "timed": "timeline" in data,
        "kind": kind, "title": plain(data.get("title"), 200) or "(no name)",
        "incident": plain(data.get("incident"), 100),
        "made": moment(data.get("made")), "made_raw": plain(data.get("made"), NAME), "tool": _tool(part(data, "tool")),
        "found": found_in_words(findings), "total": len(findings),
        "counts": [(name, number[name]) for name in (*SEVERITIES, OTHER) if name in number],
        "worst": [finding for group in groups for finding in group["rows"]][:WORST],
        "groups": groups, **_facts(data), "source": _source(part(data, "source")),
        "warnings": _bounded(words(data, "warnings"), lists), "not_read": _bounded(words(data, "not_read"), lists),
        "tables": [*tables, *([_partitions(data, room)] if data.get("partitions") else [])],
        "timeline": _timeline(data), "hashes": _hashes(data), "versions": _pairs(part(data, "versions")),
    }


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": plain(tool.get("name"), NAME) or "dfir.aws", "version": plain(tool.get("version"), NAME),
            "parts": _pairs(part(tool, "parts"))}


def _pairs(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    ordered = sorted(values.items(), key=lambda item: str(item[0]))
    return [(plain(name, NAME), plain(value, NAME)) for name, value in ordered]


def _facts(data: Mapping[str, Any]) -> dict[str, Any]:
    """The facts. A partition that all are from is named once."""
    facts = [{"label": plain(fact.get("label"), NAME), "value": plain(fact.get("value"), 300),
              "partition": plain(fact.get("partition"), NAME)} for fact in dicts(data, "facts")[:60]]
    partitions = {fact["partition"] for fact in facts}
    if len(partitions) != 1:
        return {"facts": facts, "one_partition": ""}
    return {"facts": [{**fact, "partition": ""} for fact in facts], "one_partition": partitions.pop()}


def _source(source: Mapping[str, Any]) -> list[dict[str, str]]:
    """What was read, as labels and values."""
    name, kind = plain(source.get("name"), 200), plain(source.get("kind"), NAME)
    told = [(kind[:1].upper() + kind[1:] if kind else "Source", name), ("Region", plain(source.get("region"), NAME)),
            ("Size", size(source.get("size_bytes")))]
    if source.get("written_blocks") is not None:
        told.append(("Blocks ever written", counted(source["written_blocks"])))
    if source.get("bytes_read") is not None:
        blocks = source.get("blocks_read")
        told.append(("Read", size(source["bytes_read"]) + (f" in {counted(blocks)} blocks" if blocks else "")))
    if source.get("limit_blocks") is not None:
        told.append(("At most", f"{counted(source['limit_blocks'])} blocks"))
    told.append(("Started (UTC)", moment(source.get("started"))))
    if source.get("seconds") is not None:
        told.append(("Took", f"{counted(source['seconds'])} s"))
    return [{"label": label, "value": value, "partition": ""} for label, value in told if value]


def _bounded(texts: list[str], room: Room) -> dict[str, Any]:
    shown = []
    for text in texts:
        if not room.take([text], TAGS_OF_A_CELL):
            break
        shown.append(text)
    return {"rows": shown, "more": len(texts) - len(shown)}


def _groups(findings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The findings of each severity that has some, worst first."""
    groups: dict[str, dict[str, Any]] = {}
    room = Room(ROOM["findings"])
    for number, finding in enumerate(findings, 1):
        name = severity(finding.get("severity"))
        group = groups.setdefault(name, {"name": name, "rows": [], "total": 0, "more": 0})
        group["total"] += 1
        told = _finding(finding, number, name)
        texts = [text for value in told.values() for text in ([value] if isinstance(value, str) else [])]
        if room.take(texts, TAGS_OF_A_FINDING):
            group["rows"].append(told)
        else:
            group["more"] += 1
    return list(groups.values())


def _finding(finding: Mapping[str, Any], number: int, name: str) -> dict[str, Any]:
    times = finding.get("times")
    told: dict[str, Any] = {key: plain(finding.get(key)) for key in ("path", "reason", "excerpt")}
    told |= {key: plain(finding.get(key), NAME) for key in ("partition", "rule")}
    given = plain(finding.get("severity"), 20)
    told |= {
        "number": number, "severity": name, "label": given if name == OTHER and given else name,
        "kind": plain(finding.get("kind"), NAME).replace("_", " ") or "finding",
        "inode": plain(finding.get("inode"), NAME), "sha256": plain(finding.get("sha256"), 128),
        "times": _times(times) if isinstance(times, Mapping) else [],
    }
    # What a finding is placed by: when its content was written, else what else is known of it.
    told["when"] = next((moment(times[letter]) for letter in "mbca" if times.get(letter)), "") \
        if isinstance(times, Mapping) else ""
    if told["rule"].replace("_", " ") == told["kind"]:
        told["rule"] = ""
    return told


def _times(times: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Equal times of a file as one, as in a timeline: `m.c. 2026-09-12 03:41:17`, oldest first."""
    groups: dict[str, str] = {}
    for letter in "macb":
        when = moment(times.get(letter))
        if when:
            groups[when] = groups.get(when, "") + letter
    return [("".join(letter if letter in letters else "·" for letter in "macb"), when)
            for when, letters in sorted(groups.items())]


def _table(table: Mapping[str, Any], number: int, room: Room) -> dict[str, Any]:
    """A table; its cells are (text, what to sort by, class). A column's type decides how both look."""
    columns = [{"key": str(column.get("key")), "title": plain(column.get("title") or column.get("key"), 100),
                "type": plain(column.get("type"), 20) or "text"} for column in dicts(table, "columns")[:COLUMNS]]
    rows, given = [], dicts(table, "rows")
    for row in given:
        cells = [_cell(row.get(column["key"]), column["type"]) for column in columns]
        if not room.take([text for cell in cells for text in cell], TAGS_OF_A_CELL * (len(cells) + 1)):
            break
        rows.append(cells)
    return {"id": f"table-{number}", "title": plain(table.get("title") or table.get("id"), 100) or f"Table {number}",
            "columns": columns, "rows": rows, "total": len(given), "more": len(given) - len(rows),
            "note": plain(table.get("note"))}


def _cell(value: Any, kind: str) -> tuple[str, str, str]:
    if kind == "time":
        text = moment(value)
        return (text, text, "time") if _SORTABLE.fullmatch(text) else (text, "", "")
    if kind in ("number", "bytes") and is_number(value):
        # Ids are no amounts: only what is counted in bytes gets separators.
        return counted(value) if kind == "bytes" else plain(value), plain(value), "number"
    text = plain(value)
    return text, "" if kind == "number" else text[:200], ""


def _partitions(data: Mapping[str, Any], room: Room) -> dict[str, Any]:
    journals = {True: "holds changes that are not applied", False: "clean"}
    rows = [{**entry, "size": size(entry.get("size_bytes")),
             "journal": journals.get(entry["journal_dirty"], "unknown") if isinstance(entry.get("journal_dirty"), bool)
             else ""} for entry in dicts(data, "partitions")]
    titles: tuple[tuple[str, str, str], ...] = (
        ("name", "Partition", ""), ("type", "Type", ""), ("kind", "Kind", ""), ("size_bytes", "Bytes", "bytes"),
        ("size", "Size", ""), ("entries", "Entries", "bytes"), ("journal", "Journal", ""), ("reason", "Note", ""))
    columns = [{"key": key, "title": title, "type": kind} for key, title, kind in titles]
    return {**_table({"title": "Partitions", "columns": columns, "rows": rows}, 0, room), "id": "partitions"}


def _timeline(data: Mapping[str, Any]) -> dict[str, Any]:
    timeline = part(data, "timeline")
    packed = pack(data)
    return {"block": packed.block, "inline": packed.inline, "total": packed.total, "dropped": packed.dropped,
            "timeless": packed.timeless, "file": plain(timeline.get("file"), 200),
            "note": plain(timeline.get("zone_note"))}


def _hashes(data: Mapping[str, Any]) -> list[dict[str, str]]:
    told = [{"name": plain(entry.get("name")), "sha256": plain(entry.get("sha256"), 128),
             "bytes": counted(entry.get("bytes"))} for entry in dicts(data, "hashes")]
    timeline = part(data, "timeline")
    file, digest = plain(timeline.get("file")), plain(timeline.get("sha256"), 128)
    if digest and not any(entry["name"] == file for entry in told):
        told.append({"name": file, "sha256": digest, "bytes": ""})
    return told[:2000]
