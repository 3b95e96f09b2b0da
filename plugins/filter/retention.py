# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role `retention` says and hands on."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
KEPT = ("id", "region", "source", "source_region", "incidents", "classes", "requests", "expires", "gib", "size_known",
        "reason")


def retention_report(found: Mapping[str, Any], lifecycle: Mapping[str, Any] | None = None,
                     check_mode: bool = False) -> list[str]:
    """What a look found, line by line: each copy that is to go and each that something keeps, the others in numbers.

    :param found: what M(dfir.aws.ec2_expiring_snapshots_info) returned.
    :param lifecycle: what M(dfir.aws.s3_retention_lifecycle) returned.
    """
    rows = found["expiring"]
    within = sum(item["number"] for item in found["within"])
    lines = [f"copies    {len(rows)} to go, {len(found['kept'])} kept by something, {within} within their period, "
             f"{len(found['foreign'])} not surely ours; in {', '.join(found['looked']) or 'no region'}"]
    lines += [f"to go     {_named(row)}, {_size(row)}, {_whose(row)}" for row in rows]
    if rows:
        lines.append(f"together  {found['gib']:.1f} GiB; {_saving(found['saving'])}")
    lines += [f"kept      {_named(row)}, {row['reason']}" for row in found["kept"]]
    lines += [f"not ours  {_named(row)}, {row['reason']}" for row in found["foreign"]]
    by_class = Counter[str]()
    for item in found["within"]:
        by_class[item["class"]] += item["number"]
    lines += [f"within    {number} of class {name}" for name, number in sorted(by_class.items())]
    lines += [_bin(item) for item in found["recycle_bin"]]
    lines += _lifecycle(lifecycle or {}, check_mode)
    lines += [f"unread    {key} holds no record that can be read, so nothing goes; restore an earlier version of it"
              for key in found["unreadable"]]
    return [*lines, *(f"unseen    {item['place']}, {item['reason']}" for item in found["unseen"])]


def retention_outcome(found: Mapping[str, Any], tried: Iterable[Row], lifecycle: Mapping[str, Any] | None = None,
                      check_mode: bool = False) -> dict[str, Any]:
    """What the role hands on, and the report for the bucket.

    :param tried: results of M(dfir.aws.ec2_expired_snapshot), each with the row as C(item).
    """
    done = [result for result in tried if not result.get("skipped")]
    failed = [{**_short(result["item"]), "reason": " ".join(str(result.get("msg") or "no reason").split())}
              for result in done if "gone" not in result]
    failed += [{"id": item["place"], "region": item["place"], "reason": f"{item['place']}: {item['reason']}"}
               for item in found["unseen"]]
    failed += [{"id": key, "region": "", "reason": f"{key} holds no record that can be read."}
               for key in found["unreadable"]]
    removed = [_short(result["item"]) for result in done if result.get("gone") is False and result.get("changed")]
    left = [{**_short(result["item"]), "reason": str(result["left"])} for result in done if result.get("left")]
    data: dict[str, Any] = {
        "expiring": [_short(row) for row in found["expiring"]], "removed": removed, "failed": failed, "left": left,
        "vanished": [_short(result["item"]) for result in done if result.get("gone")],
        "kept": [_short(row) for row in found["kept"]], "foreign": [_short(row) for row in found["foreign"]]}
    verb = "a run would delete" if check_mode else "deleted  "
    came = [f"{verb} {_named(row)}" for row in removed]
    came += [f"left      {row['reason']}" for row in left]
    came += [f"FAILED    {row['reason']}" for row in failed]
    report = {"format": 1, "kind": "retention", "day": found["looked_at"][:10], "looked": found["looked"], **data,
              "saving": found["saving"], "gib": found["gib"], "within": found["within"],
              "recycle_bin": found["recycle_bin"], "lifecycle": _differences(lifecycle or {})}
    digest = hashlib.sha256(json.dumps(report, sort_keys=True).encode()).hexdigest()[:16]
    return {**data, "lines": [*retention_report(found, lifecycle, check_mode), *came], "came": came, "report": report,
            "digest": digest, "gib": found["gib"], "saving": found["saving"],
            "key": f"retention/{found['looked_at'][:10]}/{digest}.json",
            "to_tell": bool(found["expiring"] or failed)}


def _named(row: Row) -> str:
    return f"{row['id']} in {row['region']}"


def _size(row: Row) -> str:
    return f"{row['gib']:.1f} GiB" + (" written" if row["size_known"] else ", its whole volume, for AWS does not say "
                                                                           "how much is written")


def _whose(row: Row) -> str:
    return f"{', '.join(row['incidents'])} ({', '.join(row['classes'])}), kept until {row['expires']}"


def _saving(saving: Row) -> str:
    if saving["usd_at_most"] is None:
        return f"no price is known for {', '.join(saving['unpriced'])} (dfir_aws_prices)"
    stand_in = f", of us-east-1 for want of those of {', '.join(saving['stand_in'])}" if saving["stand_in"] else ""
    return (f"saves at most {saving['usd_at_most']:.2f} USD a month (what other snapshots need of them stays, and is "
            f"paid on; prices of {'; '.join(saving['prices'])}{stand_in})")


def _bin(item: Row) -> str:
    if item["state"] == "covered":
        return f"net       in {item['region']} the Recycle Bin takes them in (rule {item['reason']})"
    why = "not checkable" if item["state"] == "not checkable" else "no Recycle Bin rule takes them in"
    return f"net       in {item['region']} {why}; what makes one is {item['command']}"


def _differences(lifecycle: Row) -> dict[str, list[str]]:
    return {key: list(lifecycle.get(key) or []) for key in ("missing", "differing", "surplus")}


def _lifecycle(lifecycle: Row, check_mode: bool) -> list[str]:
    said = {"missing": "no rule yet for", "differing": "another rule than wanted for",
            "surplus": "a rule that should not be there for"}
    set_now = "; a run would set it" if check_mode else "; set now"
    end = set_now if lifecycle.get("changed") else "; apply_lifecycle sets it"
    return [f"lifecycle {words} {', '.join(_differences(lifecycle)[key])}{end}" for key, words in said.items()
            if _differences(lifecycle)[key]]


def _short(row: Row) -> dict[str, Any]:
    return {key: row[key] for key in KEPT if key in row}


def retention_subject(outcome: Mapping[str, Any]) -> str:
    """The subject of a mail: what went, what failed, or what is to go."""
    parts: Sequence[tuple[str, str]] = (("removed", "deleted"), ("left", "left alone"), ("failed", "FAILED"))
    said = [f"{len(outcome[key])} {words}" for key, words in parts if outcome[key]]
    if not outcome["removed"] and outcome["expiring"] and not outcome["left"]:
        said.insert(0, f"{len(outcome['expiring'])} to go")
    return f"[retention] copies of snapshots: {', '.join(said) or 'nothing to go'}"


class FilterModule:
    """Filters of the role `retention`."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names as playbooks use them, below `dfir.aws.`."""
        return {function.__name__: function for function in (retention_report, retention_outcome, retention_subject)}
