# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a request is once it was let in: one structure, and an identity that is the same on every door."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from .registry import Caller

RECORDS = "requests/"
FOLDERS = f"{RECORDS}folders/"  # whose each folder of artifacts is


def iso(moment: datetime) -> str:
    """UTC, to the second, as every time is written here: 2026-01-31T12:00:00Z."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_iso(text: str) -> datetime:
    """The moment that `iso` wrote."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)


def identity(account: str, uid: str, values: Mapping[str, Any]) -> str:
    """16 hexadecimal digits over the fields that make two requests the same request.

    Instance type, time limit, cost limit, journals, how the evidence comes and waiting are how, not what: the same
    request may come back with others. Snapshots are sorted: the order in which somebody names them says nothing.
    """
    canonical = {
        "account": account,
        "incident": values["incident"],
        "analyst": uid,
        "snapshots": [{"id": snapshot, "region": values["aws_snapshot_region"]}
                      for snapshot in values["aws_snapshot_id"]],
        "analysis_region": values["aws_analysis_region"],
        "mode": values["forensics_mode"],
        "attempt": values["attempt"],
    }
    text = json.dumps(canonical, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def apart(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The request with a folder of its own, where artifacts of another request lie in the common one."""
    own = f"run-{spec['request_id']}/"
    prefix = str(spec["artifact_prefix"])
    return {**spec, "artifact_prefix": prefix if prefix.endswith(own) else prefix + own}


def build(values: Mapping[str, Any], analyst: Mapping[str, Any], caller: Caller, *, bucket: str,
          now: datetime) -> dict[str, Any]:
    """`request_spec`: everything that later steps may know of a request."""
    request_id = identity(caller.account, analyst["uid"], values)
    # No artifact is ever overwritten: a later attempt has folders of its own.
    own = "" if values["attempt"] == 1 else f"run-{request_id}/"
    snapshots = [{"id": snapshot, "region": values["aws_snapshot_region"],
                  "artifact_prefix": f"{values['incident']}/{snapshot}/{own}"}
                 for snapshot in values["aws_snapshot_id"]]
    return {
        "request_id": request_id,
        "name": f"dfir-{request_id}",
        "attempt": values["attempt"],
        "incident": values["incident"],
        "account": caller.account,
        "partition": caller.partition,
        "analyst": dict(analyst),
        "caller": {"kind": caller.kind, "name": caller.name, "arn": caller.arn},
        "snapshots": snapshots,
        "analysis_region": values["aws_analysis_region"],
        "instance_type": values["aws_ec2_instance_type"],
        "mode": values["forensics_mode"],
        "journal": values["journal"],
        "evidence_by": values["evidence_by"],
        "time_limit_hours": values["time_limit_hours"],
        "max_cost_usd": values["max_cost_usd"],
        "max_hours": values["max_hours"],
        "wait_for_results": values["wait_for_results"],
        "requested_at": iso(now),
        "record_key": f"{RECORDS}{request_id}.json",
        "artifact_bucket": bucket,
        # What is about several snapshots together lies in a folder of its own.
        "artifact_prefix": (snapshots[0]["artifact_prefix"] if len(snapshots) == 1
                            else f"{values['incident']}/set-{request_id}/"),
        "tags": {
            "Name": f"dfir-{request_id}",
            "dfir:incident": values["incident"],
            "dfir:request": request_id,
            "dfir:analyst": analyst["uid"],
        },
    }
