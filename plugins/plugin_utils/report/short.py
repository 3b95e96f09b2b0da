# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mails' short version of a report: the same data, a screen of plain text."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from .texts import (
    KINDS,
    OTHER,
    SEVERITIES,
    counted,
    counts,
    dicts,
    is_number,
    part,
    plain,
    severity,
    size,
    words,
    worst_first,
)

WIDTH = 78
LINES = 25
FACTS, WORST, WARNINGS = 4, 5, 3


def short_text(data: Mapping[str, Any], report: str = "") -> str:
    """Facts, counts, the worst findings, warnings and where to look: at most 25 lines of at most 78 columns.

    :param report: the name of the HTML file.
    """
    title = KINDS.get(plain(data.get("kind")), "Disk")
    incident = plain(data.get("incident"))
    lines = [line(f"{title}: {plain(data.get('title')) or '(no name)'}" + (f" ({incident})" if incident else ""))]
    source = source_in_words(data)
    lines += [line(source, 2)] if source else []
    facts = [fact for fact in dicts(data, "facts") if plain(fact.get("value"))]
    if facts:
        lines.append("")
        widest = min(20, max(len(plain(fact.get("label"))) for fact in facts[:FACTS]))
        lines += [line(f"{plain(fact.get('label')):<{widest}}  {plain(fact.get('value'))}", 2)
                  for fact in facts[:FACTS]]
    findings = worst_first(dicts(data, "findings"))
    lines += ["", line(found_in_words(findings))] if "findings" in data else []
    width = max((len(severity(finding.get("severity"))) for finding in findings[:WORST]), default=0)
    long: list[tuple[int, str]] = []  # texts that did not fit their line, and where it is
    for finding in findings[:WORST]:
        kind = (plain(finding.get("kind")) or "finding").replace("_", " ")
        head = f"{severity(finding.get('severity')):<{width}}  {kind}"
        about = ": ".join(text for text in (plain(finding.get("path")), plain(finding.get("reason"))) if text)
        long.append((len(lines), f"{head}: {about}" if about else head))
        lines.append(line(long[-1][1], 2))
    if len(findings) > WORST:
        lines.append(f"  and {len(findings) - WORST:,} more")
    warnings = words(data, "warnings")
    if warnings:
        lines += ["", "WARNING" + ("S" if len(warnings) > 1 else "")]
        long = [*((len(lines) + number, warning) for number, warning in enumerate(warnings[:WARNINGS])), *long]
        lines += [line(warning, 2) for warning in warnings[:WARNINGS]]
        lines += [f"  and {len(warnings) - WARNINGS:,} more"] if len(warnings) > WARNINGS else []
    where = _where(data, report)
    if where:
        lines += ["", *(line(text) for text in where)]
    return "\n".join(_with_the_rest(lines, long)) + "\n"


def _with_the_rest(lines: list[str], long: list[tuple[int, str]]) -> list[str]:
    """Give what was cut a second line as long as there are lines left: warnings first, then the worst findings."""
    second: dict[int, list[str]] = {}
    for place, text in long:
        if lines[place].endswith("…") and len(lines) + len(second) < LINES:
            second[place] = folded(text, 2)
    return [each for place, text in enumerate(lines) for each in second.get(place, [text])]


def found_in_words(findings: list[dict[str, Any]]) -> str:
    """`12 findings: 2 critical, 3 high, 7 info`."""
    if not findings:
        return "No findings."
    number = counts(findings)
    told = ", ".join(f"{number[name]:,} {name}" for name in (*SEVERITIES, OTHER) if number.get(name))
    return f"{len(findings):,} finding{'s' if len(findings) > 1 else ''}: {told}"


def source_in_words(data: Mapping[str, Any]) -> str:
    """`snapshot in eu-central-1, 64 GiB; 156 MiB of it read in 9.3 s`."""
    source = part(data, "source")
    region = plain(source.get("region"))
    name = plain(source.get("name"))
    what = plain(source.get("kind")) + (f" {name}" if name and name != plain(data.get("title")) else "")
    told = [what + (f" in {region}" if region else "")]
    if source.get("size_bytes") is not None:
        told.append(size(source["size_bytes"]))
    words_ = ", ".join(text.strip() for text in told if text.strip())
    if source.get("bytes_read") is not None:
        took = source.get("seconds")
        words_ += f"; {size(source['bytes_read'])} of it read" + (f" in {took:g} s" if is_number(took) else "")
    return words_


def _where(data: Mapping[str, Any], report: str) -> list[str]:
    timeline = part(data, "timeline")
    entries, file = timeline.get("entries"), plain(timeline.get("file"))
    told = [f"Report: {plain(report)}"] if report else []
    if entries or file:
        told.append(f"Timeline: {counted(entries or 0)} entries" + (f" in {file}" if file else ""))
    left = len(words(data, "not_read"))
    return [*told, *([f"Not read: {left:,}, named in the report"] if left else [])]


def line(text: str, indent: int = 0) -> str:
    """One line that fits, whatever the text holds: wide letters take two columns."""
    wanted = text.replace("\n", " ").replace("\t", " ").rstrip()
    room = WIDTH - indent
    if _width(wanted) > room:
        out, used = "", 0
        for char in wanted:
            used += _width(char)
            if used > room - 1:
                break
            out += char
        wanted = out.rstrip() + "…"
    return " " * indent + wanted


def folded(text: str, indent: int) -> list[str]:
    """Two lines of a text that is too long for one, parted at a blank where there is one late enough."""
    first = line(text, indent)[indent:-1]
    at = first.rfind(" ")
    if at < len(first) // 2:
        at = len(first)
    return [" " * indent + first[:at].rstrip(), line(text[at:].lstrip(), indent + 2)]


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else int(not unicodedata.combining(char))
               for char in text)
