# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The custody form: a checked ledger as the data of a report (docs/report.md says what each key holds)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.ebs.version import __version__

STATES = {"valid": "everything fits", "unsigned": "everything fits, but the last entries are not signed",
          "invalid": "something does NOT fit"}
# Eight columns still can be read on paper.
ENTRIES = (("number", "No.", "number"), ("time", "Time (UTC)", "time"), ("who", "Who", "text"),
           ("what", "What", "text"), ("object", "Object", "text"), ("sha256", "SHA-256", "text"),
           ("place", "Where", "text"), ("more", "With what, whose clock, more", "text"))
ARTIFACTS = (("key", "Artifact", "text"), ("size", "Bytes", "bytes"), ("sha256", "SHA-256", "text"))
HANDED = (("number", "No.", "number"), ("time", "Time (UTC)", "time"), ("who", "Recorded by", "text"),
          ("object", "Object", "text"), ("place", "Where", "text"), ("details", "From, to, why", "text"))
ASKED = (("by", "Asked for by", "text"), ("what", "What", "text"), ("here", "Here", "text"))
# ISO/IEC 27037:2012, 6.1 (minimum content of a chain of custody record); NIST SP 800-86, 3.1.2 (what a chain of custody
# involves).
WANTED = (
    ("ISO/IEC 27037, 6.1", "a unique identifier of the evidence", "Object"),
    ("ISO/IEC 27037, 6.1", "who accessed it, when and where", "Who, Time, Where: as far as it was recorded. Access "
     "past these tools is not; CloudTrail's data events say that"),
    ("ISO/IEC 27037, 6.1", "who checked it in and out, and when", "hand-overs, as far as they were recorded"),
    ("ISO/IEC 27037, 6.1", "why, for which case, on whose authority", "the incident; the rest in More, where somebody "
     "recorded it. Not checked"),
    ("ISO/IEC 27037, 6.1", "unavoidable changes, by whom and why", "entries of the action note, where somebody "
     "recorded them. Not checked"),
    ("NIST SP 800-86, 3.1.2", "a log of every person who had the evidence", "Who and hand-overs, as far as they were "
     "recorded"),
    ("NIST SP 800-86, 3.1.2", "the actions on it, and when", "What and Time. Clocks are named, not checked"),
    ("NIST SP 800-86, 3.1.2", "storing it in a secure location", "Where. How safe that is was not checked"),
    ("NIST SP 800-86, 3.1.2", "examining copies only", "entries of the actions copy, image and mount. Not checked"),
    ("NIST SP 800-86, 3.1.2", "verifying the integrity of original and copy", "the artifacts in the table above, and "
     "no others, were read and have the SHA-256 that the ledger names. Originals in AWS were not read"),
)


def custody_form(checked: Mapping[str, Any], place: str) -> dict[str, Any]:
    """What a report tells of a ledger that was checked, by the result of the module `custody_check_info`.

    :param place: where ledger and artifacts were read.
    """
    verdict, entries = checked["verdict"], checked["entries"]
    rows = [_row(entry) for entry in entries]
    return {
        "schema": 1, "kind": "case", "title": f"Custody form of {verdict['incident']}", "incident": verdict["incident"],
        # The last entry's time, so that the same ledger gives the same form.
        "made": entries[-1]["time"]["utc"] if entries else "", "tool": {"name": "dfir.aws", "version": __version__},
        "source": {"kind": "ledger and artifacts", "name": place},
        "facts": [{"label": label, "value": value} for label, value in _facts(checked)],
        "warnings": [*([f"{verdict['problem']} ({verdict['place']})" if verdict["place"] else verdict["problem"]]
                       if verdict["problem"] else []), *verdict["remarks"]],
        "tables": [
            _table("entries", "Entries", ENTRIES, rows),
            _table("handed", "Hand-overs", HANDED, [row for row in rows if row["what"].startswith("hand over")]),
            _table("artifacts", "Artifacts whose content was checked", ARTIFACTS, checked["artifacts"]),
            _table("asked", "What a chain of custody is asked to hold", ASKED,
                   [dict(zip(("by", "what", "here"), row, strict=True)) for row in WANTED]),
        ],
    }


def _facts(checked: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    verdict = checked["verdict"]
    yield "Checked", STATES[verdict["state"]]
    yield "Case", "closed" if verdict["closed"] else "open: entries may follow"
    yield "Entries", str(verdict["entries"])
    yield "Signed up to", f"entry {verdict['signed']}, {verdict['signed_at']}" if verdict["signed"] else "nothing"
    yield "Head (note it elsewhere)", f"{verdict['entries']}:{verdict['head']}"
    yield "Key (SHA-256)", checked["key_sha256"]
    yield "Artifacts", (f"{verdict['artifacts']} read, each with the SHA-256 that the ledger names"
                        if verdict["artifacts_checked"] else "not read")


def _row(entry: Mapping[str, Any]) -> dict[str, Any]:
    actor, about, time, tool = entry["actor"], entry["object"], entry["time"], entry["tool"]
    what = entry["action"].replace("_", " ") + {"intent": " begins", "outcome": " ends", "record": ""}[entry["phase"]]
    details = ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in sorted(entry["details"].items()))
    clock = time["source"] + (f" (S3 said {time['aws']})" if time["aws"] else "")
    return {
        "number": entry["number"], "time": time["utc"],
        "who": actor["name"] + (f" ({actor['arn']})" if actor["arn"] else ""),
        "what": what if entry["phase"] == "intent" else f"{what}: {entry['result']}",
        "object": f"{about['kind']} {about['id']}", "sha256": about["sha256"] or "", "place": about["place"],
        "details": details,
        "more": "; ".join(text for text in (f"{tool['name']} {tool['version']}".strip(), clock, details) if text),
    }


def _table(name: str, title: str, columns: Sequence[tuple[str, str, str]],
           rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"id": name, "title": title, "rows": list(rows),
            "columns": [{"key": key, "title": words, "type": kind} for key, words, kind in columns]}


class FilterModule:
    """The filter custody_form."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Its name."""
        return {"custody_form": custody_form}
