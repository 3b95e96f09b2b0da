# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A containment for people: the plan, what came of it, and what does not come back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

WIDE = 300


def result(each: Sequence[Mapping[str, Any]], *, release: bool, check: bool) -> dict[str, Any]:
    """All instances together: `lines` for the screen, `problem` where one failed."""
    failed = [item for item in each if item["problem"]]
    verb = "released" if release else "contained"
    return {
        "instances": [dict(item) for item in each], "failed": [item["instance_id"] for item in failed],
        "statements": [item["statement"] for item in each if item["statement"]],
        "lines": [line for item in each for line in _lines(item, release=release, check=check)],
        "problem": (f"{len(failed)} of {len(each)} instances could not be {verb}: "
                    + " ".join(plain(item["problem"]) for item in failed)) if failed else "",
    }


def _lines(item: Mapping[str, Any], *, release: bool, check: bool) -> Iterator[str]:
    name, record = item["instance_id"], item["record"]
    if item["problem"] and not record:
        yield f"{name}: NOT {'released' if release else 'contained'}. {plain(item['problem'])}"
        return
    word = "would be" if check else "is"
    yield (f"{name}: {word} {'released' if release else 'contained'}" if not item["problem"] else
           f"{name}: {record['state']}. {plain(item['problem'])}")
    if not release:
        yield from _steps(record)
    for line in item["planned"] if check else item["done"]:
        yield f"  {'would be done' if check else 'done'}: {plain(line)}"
    if not item["planned"] and not item["done"]:
        yield "  nothing is left to do"
    for line in item["lost"]:
        yield f"  DOES NOT COME BACK: {plain(line)}"
    if release and not check and record.get("revoke_sessions"):
        yield "  revoked sessions do not come back, and connections that were cut neither"
    if item["statement"]:
        yield f"  Statement: {plain(item['statement'])}"


def _steps(record: Mapping[str, Any]) -> Iterator[str]:
    number = 0
    for step in record["steps"]:
        for one in step["items"]:
            if not one["does"]:
                continue
            number += 1
            if one["impossible"]:
                yield f"  {number}. {step['title']}: NOT POSSIBLE, {plain(one['impossible'])}"
            else:
                yield f"  {number}. {plain(one['does'])}; undone: {plain(one['undone'])}"
            for user in one.get("users") or []:
                yield f"     role {plain(one['key'])}: {plain(user)}"
            for line in one.get("surviving") or []:
                yield f"     {plain(one['key'])}, connections that live on: {plain(line)}"
    for line in record.get("untouched") or []:
        yield f"  Untouched: {plain(line)}"


def plain(text: Any) -> str:
    """One line without control characters: names of AWS resources are other people's words."""
    return re.sub(r"[^\x20-\x7e\xa0-\uffff]+", " ", str(text))[:WIDE * 3]
