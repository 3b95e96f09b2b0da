# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of snapshots, records of requests and classes of incidents, made up for tests of retention."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

NOW = datetime(2026, 11, 28, 12, 0, 0, tzinfo=timezone.utc)
HOME, AWAY = "eu-west-1", "us-east-1"
ACCOUNT = "123456789012"
CLASSES: list[dict[str, Any]] = [
    {"name": "held", "incidents": ["HELD-*"], "legal_hold": True},
    {"name": "training", "incidents": ["TRAINING-*"], "keep_days": 1},
    {"name": "dated", "incidents": ["DATED-*"], "keep_until": "2027-01-31"},
    {"name": "over", "incidents": ["OVER-*"], "keep_until": "2026-11-27"},
    {"name": "last", "incidents": ["LAST-*"], "keep_last": 2},
    {"name": "both", "incidents": ["BOTH-*"], "keep_days": 5, "keep_last": 1},
    {"name": "cases", "incidents": ["INC-*"], "keep_days": 30},
]


def ago(days: float, now: datetime = NOW) -> str:
    return (now - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def hexa(name: str, length: int) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:length]


def snap(name: str) -> str:
    """The id of a snapshot, by any name."""
    return f"snap-0{hexa(name, 16)}"


@dataclass
class Copied:
    """A copy of a source, as the role `snapshot` makes it, and what is other with it."""

    source: str = "web"
    days: float = 100  # since it was made
    expired: float = 90  # days since its dfir:expires
    tags: dict[str, str | None] = field(default_factory=dict)  # other values, or none
    description: str = ""
    state: str = "completed"
    gib: int = 8
    full_gib: float | None = 2
    region: str = HOME
    source_region: str = AWAY

    def all_tags(self, now: datetime = NOW) -> dict[str, str]:
        source = snap(self.source)
        tags: dict[str, str | None] = {
            "Name": f"dfir-copy-{source}", "dfir:source-snapshot": source, "dfir:source-region": self.source_region,
            "dfir:expires": ago(self.expired, now), **self.tags}
        return {name: value for name, value in tags.items() if value is not None}

    def text(self) -> str:
        return self.description or f"Copy of {snap(self.source)} from {self.source_region}"

    def described(self, name: str) -> dict[str, Any]:
        """As DescribeSnapshots shows it."""
        found = {"SnapshotId": snap(f"copy {name}"), "OwnerId": ACCOUNT, "State": self.state, "VolumeSize": self.gib,
                 "StartTime": NOW - timedelta(days=self.days), "Description": self.text(),
                 "Tags": [{"Key": key, "Value": value} for key, value in self.all_tags().items()]}
        return found if self.full_gib is None else {**found, "FullSnapshotSizeInBytes": int(self.full_gib * 2**30)}


@dataclass
class Asked:
    """A request for a source, and how its record stands."""

    incident: str = "INC-1"
    source: str = "web"
    days: float = 95  # since it ended, or was last changed
    state: str = "finished"
    region: str = HOME
    source_region: str = AWAY
    snapshot_id: str = ""

    @property
    def request_id(self) -> str:
        return hexa(f"{self.incident} {self.source} {self.region} {self.days} {self.state}", 16)

    def record(self, now: datetime = NOW) -> dict[str, Any]:
        ended = ago(self.days, now)
        found = {"format": 1, "request_id": self.request_id, "state": self.state, "outcome": "complete", "lease": None,
                 "runs": [], "steps": [], "created_at": ended, "updated_at": ended,
                 "request": {"incident": self.incident, "analysis_region": self.region, "account": ACCOUNT,
                             "snapshots": [{"id": self.snapshot_id or snap(self.source),
                                            "region": self.source_region}]}}
        return {**found, "finished_at": ended} if self.state == "finished" else found


def plant(name: str, copied: Copied) -> str:
    """Put a copy into the models of the lab in this process, as if it had been made long ago; its id.

    A call each would take longer than the test, and none can make a snapshot old.
    """
    from lab.aws import moto_app
    from lab.aws.ec2_snapshots import NO_VOLUME, LabSnapshot

    now = datetime.now(timezone.utc)
    backend = moto_app.ec2(copied.region)
    snapshot = LabSnapshot(backend, snap(f"copy {name}"), NO_VOLUME, copied.gib, copied.text(), lineage=name)
    snapshot.status, snapshot.start_time = copied.state, (now - timedelta(days=copied.days)).replace(tzinfo=None)
    with moto_app.MODELS:
        backend.snapshots[snapshot.id] = snapshot
        snapshot.add_tags(copied.all_tags(now))
    return str(snapshot.id)


def put_record(s3: Any, bucket: str, asked: Asked) -> str:
    """Put the record of a request into the bucket; its id."""
    s3.put_object(Bucket=bucket, Key=f"requests/{asked.request_id}.json",
                  Body=json.dumps(asked.record(datetime.now(timezone.utc))))
    return asked.request_id
