# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots of all volumes of an instance in one crash-consistent call, and never twice.

CreateSnapshots knows no client token. What an earlier run took is found by its tag, and the call itself is made once: a
client that tried again after a lost answer would take a second set.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from ..request_spec import iso
from ..waits import THROTTLED, UNREACHABLE, code_of
from .labels import description, own_tags, tags
from .plan import snapshots_of

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception  # type: ignore[assignment,misc]

# CreateSnapshots is refused when asked too often; nothing was made then, and asking again is safe.
BUSY = (*THROTTLED, "SnapshotCreationPerVolumeRateExceeded")
ATTEMPTS = 6
# How often a set is looked for whose answer was lost, with a pause of that many seconds.
LOOKS, PAUSE = 5, 3.0


class Failed(Exception):
    """One sentence that says why an instance has no snapshots."""


def taken(ec2: Any, acquisition: str) -> list[dict[str, Any]]:
    """The snapshots of an acquisition: of each volume the oldest, so that two runs at once agree on a set."""
    oldest: dict[str, dict[str, Any]] = {}
    for snapshot in snapshots_of(ec2, [acquisition])[acquisition]:
        volume = str(snapshot["VolumeId"])
        if volume not in oldest or _age(snapshot) < _age(oldest[volume]):
            oldest[volume] = snapshot
    return sorted(oldest.values(), key=lambda snapshot: str(snapshot["VolumeId"]))


def _age(snapshot: Mapping[str, Any]) -> tuple[str, str]:
    return str(snapshot.get("StartTime") or ""), str(snapshot["SnapshotId"])


def request(entry: Mapping[str, Any], options: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Arguments of CreateSnapshots for an instance of the plan.

    :param entry: what the plan says of it.
    :param options: `incident`, `acquisition`, `region`, `analyst`, `attempt`, `label`.
    """
    instance, moment = str(entry["instance_id"]), iso(now)
    left_out = [volume for volume in entry["volumes"] if not volume["captured"]]
    spec: dict[str, Any] = {"InstanceId": instance, "ExcludeBootVolume": any(volume["root"] for volume in left_out)}
    data = [str(volume["volume_id"]) for volume in left_out if not volume["root"] and "as asked" in volume["why"]]
    if data:
        spec["ExcludeDataVolumeIds"] = data
    return {"InstanceSpecification": spec,
            "Description": description(options["incident"], instance, moment, options["analyst"]),
            "TagSpecifications": [{"ResourceType": "snapshot", "Tags": [
                {"Key": key, "Value": value} for key, value in tags(instance, options, moment).items()]}]}


def create(ec2: Any, once: Any, arguments: Mapping[str, Any], acquisition: str) -> None:
    """Make the call; one whose answer was lost is believed when its snapshots are there.

    :param once: a client that never tries again by itself.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            once.create_snapshots(**arguments)
            return
        except (ClientError, BotoCoreError) as error:
            if type(error).__name__ in UNREACHABLE:
                if _there(ec2, acquisition):
                    return
                raise Failed(f"AWS was not heard of after CreateSnapshots was called ({error}), and no snapshot is "
                             "there. Run it again: what may have been taken is found then.") from error
            if code_of(error) not in BUSY or attempt == ATTEMPTS:
                raise
            time.sleep(2.0 ** attempt)


def _there(ec2: Any, acquisition: str) -> bool:
    for number in range(LOOKS):
        if number:
            time.sleep(PAUSE)
        if taken(ec2, acquisition):
            return True
    return False


def acquire(ec2: Any, once: Any, entry: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Take what is not taken, name each snapshot by its device, and say what there is."""
    instance = str(entry["instance_id"])
    there = taken(ec2, options["acquisition"])
    changed = not there
    if not there:
        create(ec2, once, request(entry, options, datetime.now(timezone.utc)), options["acquisition"])
        there = _visible(ec2, options["acquisition"], [v for v in entry["volumes"] if v["captured"]])
    devices = {str(volume["volume_id"]): str(volume["device"]) for volume in entry["volumes"]}
    made = []
    for snapshot in there:
        volume, moment = str(snapshot["VolumeId"]), _moment(snapshot)
        has = {tag["Key"]: tag["Value"] for tag in snapshot.get("Tags") or []}
        device = devices.get(volume) or has.get("dfir:device", "")
        wanted = own_tags(instance, options, moment, volume, device)
        if has.get("dfir:source-volume") != volume:
            ec2.create_tags(Resources=[snapshot["SnapshotId"]],
                            Tags=[{"Key": key, "Value": value} for key, value in wanted.items()])
            changed, has = True, {**has, **wanted}
        made.append({"snapshot_id": str(snapshot["SnapshotId"]), "account": options["account"], "volume_id": volume,
                     "device": device,
                     "size_gib": int(snapshot["VolumeSize"]), "state": str(snapshot["State"]), "started": moment,
                     "name": has.get("Name", ""), "encrypted": bool(snapshot.get("Encrypted"))})
    lost = [*entry["not_captured"], *_late(entry, made)]
    return {"instance_id": instance, "changed": changed, "snapshots": made, "not_captured": lost, "problem": ""}


def _visible(ec2: Any, acquisition: str, volumes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """AWS shows new snapshots with some delay."""
    found: list[dict[str, Any]] = []
    for number in range(LOOKS):
        if number:
            time.sleep(PAUSE)
        found = taken(ec2, acquisition)
        if len(found) >= len(volumes):
            return found
    if not found:
        raise Failed("CreateSnapshots was called, and its snapshots are not visible yet. Run it again in a minute: "
                     "they are found by their tag.")
    return found


def _late(entry: Mapping[str, Any], made: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Volumes that should have been captured and were not: attached after the call, mostly."""
    have = {snapshot["volume_id"] for snapshot in made}
    return [{"what": f"{volume['volume_id']} ({volume['device']})",
             "why": "attached now, and not among the snapshots of this acquisition; raise attempt to take all anew"}
            for volume in entry["volumes"] if volume["captured"] and volume["volume_id"] not in have]


def _moment(snapshot: Mapping[str, Any]) -> str:
    return iso(snapshot["StartTime"])
