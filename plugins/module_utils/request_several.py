# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A request for images of several snapshots: each is checked as the one of an ordinary request is.

Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from . import request_fields, request_spec
from .request_fields import Problem

FIELD = "aws_snapshot_id"
MOST = 500
LONGEST = 40 * MOST


def named(raw: Any) -> list[Any]:
    """The snapshots as they were named, unchecked: a list, or one text with commas or line breaks between them, as
    surveys send it. ValueError carries a sentence."""
    if isinstance(raw, str):
        if str.__len__(raw) > LONGEST:
            raise ValueError(f"{FIELD} is too long ({str.__len__(raw)} characters): {MOST} snapshots at most.")
        found: list[Any] = [part.strip(" ") for part in re.split(r",|\r?\n", str.__str__(raw))]
    elif isinstance(raw, (list, tuple)):
        found = list(raw)
    else:
        return [raw]  # whatever it is, the check of one says what it should be
    if not 0 < len(found) <= MOST:
        raise ValueError(f"{FIELD} names {len(found)} snapshots: from 1 to {MOST} can be imaged by one request.")
    return found


def check(raw: Mapping[str, Any], *, limits: Mapping[str, tuple[float, float]] | None = None
          ) -> tuple[dict[str, Any], list[str], list[Problem]]:
    """The values of a request with its first snapshot, all its snapshots (sorted: their order says nothing), and what
    is wrong."""
    try:
        given = named(raw.get(FIELD))
    except ValueError as error:
        return {}, [], [Problem(FIELD, str(error))]
    fields = {field: raw.get(field) for field in request_fields.NAMES}
    values, problems = request_fields.check({**fields, FIELD: _alone(given[0])}, limits=limits)
    ids = [*(values.get(FIELD) or [""])]
    for snapshot in given[1:]:
        more, wrong = request_fields.check({FIELD: _alone(snapshot)})
        problems += [problem for problem in wrong if problem.field == FIELD and problem not in problems]
        ids += more.get(FIELD) or [""]
    if not problems and len(set(ids)) < len(ids):
        problems.append(Problem(FIELD, f"{FIELD} names one snapshot twice."))
    return values, sorted(ids), problems


def _alone(item: Any) -> Any:
    """One item as a field that takes one or several wants it: nothing in it is taken apart once more."""
    return item if item is None or item == "" else [item]


def widen(spec: Mapping[str, Any], values: Mapping[str, Any], snapshot_ids: list[str]) -> dict[str, Any]:
    """The request of one snapshot, as one of all of them, with an identity of its own."""
    if len(snapshot_ids) == 1:
        return dict(spec)
    request_id = request_spec.identity(spec["account"], spec["analyst"]["uid"],
                                       {**values, FIELD: [",".join(snapshot_ids)]})
    return {
        **spec,
        "request_id": request_id,
        "name": f"dfir-{request_id}",
        "record_key": f"{request_spec.RECORDS}{request_id}.json",
        "artifact_prefix": f"{spec['incident']}/",
        "snapshots": [{"id": snapshot, "region": values["aws_snapshot_region"]} for snapshot in snapshot_ids],
        "tags": {**spec["tags"], "Name": f"dfir-{request_id}", "dfir:request": request_id},
    }
