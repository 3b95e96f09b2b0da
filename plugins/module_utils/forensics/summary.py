# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`summary.json`: numbers and words from short lists. No name, path or text from the evidence is in it, because it is
what the controller reads."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from . import content
from .model import SEVERITIES, Artifacts, Host
from .steps import Outcome
from .times import utc_now
from .validate import versions

TYPES = ("ext2", "ext3", "ext4", "xfs", "btrfs", "ntfs", "vfat", "exfat", "swap")


COUNTED = (("yara", "hits", "yara_hits"), ("clamav", "hits", "clamav_hits"), ("deleted", "deleted", "deleted_files"),
           ("deleted", "recovered", "recovered_files"), ("timeline", "entries", "timeline_entries"),
           ("plaso", "events", "plaso_events"))


def summarize(host: Host, artifacts: Artifacts, outcomes: Iterable[Outcome], started: str, seconds: float,
              settings: dict[str, str], validation: dict[str, Any]) -> dict[str, Any]:
    """The whole summary. Totals are of the evidence: what a journal adds is counted by itself, and not twice.

    :param validation: what running every tool on its sample once more has shown, after the work.
    """
    by_partition: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_partition.setdefault(outcome.partition, []).append(outcome)
    partitions = []
    totals: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for volume, partition in host.pairs():
        found = _findings(artifacts, f"{volume.stem(partition)}.findings.json")
        severities = Counter(item["severity"] for item in found if item.get("severity") in SEVERITIES)
        steps = {}
        for outcome in by_partition.get(host.label(volume, partition), []):
            steps[outcome.name] = {"state": outcome.state, "seconds": outcome.seconds,
                                   **({"code": outcome.code} if outcome.code else {}), **outcome.counts}
        partitions.append({
            "volume_id": volume.volume_id, "journal_of": volume.journal_of, "name": host.label(volume, partition),
            "number": partition.number,
            **({"logical_volume": partition.logical.index} if partition.logical else {}), "kind": partition.kind,
            "type": partition.type if partition.type in TYPES else ("" if not partition.type else "other"),
            "size_bytes": partition.size_bytes, "mounted": partition.mounted,
            "journal_dirty": partition.journal_dirty, "steps": steps,
            "findings": {severity: severities.get(severity, 0) for severity in SEVERITIES}})
        if volume.journal_of:
            continue
        kinds += Counter(str(item.get("kind")) for item in found)
        totals["findings"] += len(found)
        for severity in SEVERITIES:
            totals[f"findings_{severity}"] += severities.get(severity, 0)
        for step, number, name in COUNTED:
            totals[name] += int(steps.get(step, {}).get(number, 0) or 0)
    first = host.evidence[0]
    return {"schema": 1, "volume_id": first.volume_id, "snapshot_id": first.snapshot_id, "started": started,
            "ended": utc_now(), "seconds": seconds, "settings": settings, "versions": versions(),
            "content": content.describe(), "validation": validation,
            "volumes": [{"volume_id": volume.volume_id, "snapshot_id": volume.snapshot_id,
                         "journal_of": volume.journal_of, "size_bytes": volume.size_bytes,
                         **({"sha256": volume.sha256} if volume.sha256 else {})} for volume in host.volumes],
            "sets": [dict(found) for found in host.sets], "partitions": partitions,
            "kinds": dict(sorted(kinds.items())), "totals": dict(totals)}


def _findings(artifacts: Artifacts, name: str) -> list[dict[str, Any]]:
    path = artifacts.folder / name
    if not path.exists():
        return []
    data = json.loads(path.read_text(encoding="utf-8"))
    return list(data)
