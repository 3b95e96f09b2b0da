# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which instances are meant, what would be captured of each, and what cannot be: the plan, before anything happens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .labels import ACQUISITION, acquisition_id

ALIVE = ("pending", "running", "stopping", "stopped")


def found(ec2: Any, instance_ids: Sequence[str], wanted: Mapping[str, str]) -> list[dict[str, Any]]:
    """The instances with these ids, or those alive that carry all these tags. Ids that are nobody's are left out."""
    # By filter: one id that is wrong would be an error for all of them.
    if instance_ids:
        filters = [{"Name": "instance-id", "Values": list(instance_ids)}]
    else:
        filters = [*({"Name": f"tag:{key}", "Values": [value]} for key, value in wanted.items()),
                   {"Name": "instance-state-name", "Values": list(ALIVE)}]
    pages = ec2.get_paginator("describe_instances").paginate(Filters=filters)
    return sorted((instance for page in pages for group in page["Reservations"] for instance in group["Instances"]),
                  key=lambda instance: str(instance["InstanceId"]))


def volumes_of(ec2: Any, instance_ids: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """All volumes that are attached to these instances, in whatever state the attachment is."""
    out: dict[str, list[dict[str, Any]]] = {name: [] for name in instance_ids}
    filters = [{"Name": "attachment.instance-id", "Values": list(out)}]
    for page in ec2.get_paginator("describe_volumes").paginate(Filters=filters) if out else ():
        for volume in page["Volumes"]:
            for attachment in volume["Attachments"]:
                if attachment.get("InstanceId") in out:
                    out[attachment["InstanceId"]].append(volume)
    return out


def snapshots_of(ec2: Any, acquisitions: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """What earlier runs took of each acquisition, found by its tag. Own snapshots only: others' tags say what others
    want."""
    out: dict[str, list[dict[str, Any]]] = {name: [] for name in acquisitions}
    filters = [{"Name": f"tag:{ACQUISITION}", "Values": list(out)}]
    for page in ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"], Filters=filters) if out else ():
        for snapshot in page["Snapshots"]:
            tags = {tag["Key"]: tag["Value"] for tag in snapshot.get("Tags") or []}
            if tags.get(ACQUISITION) in out:
                out[tags[ACQUISITION]].append(snapshot)
    return out


def stores_of(ec2: Any, types: Iterable[str]) -> dict[str, int | None]:
    """GB of instance store by instance type; None where AWS does not say."""
    out: dict[str, int | None] = dict.fromkeys(types)
    filters = [{"Name": "instance-type", "Values": list(out)}]
    for page in ec2.get_paginator("describe_instance_types").paginate(Filters=filters) if out else ():
        for kind in page["InstanceTypes"]:
            out[kind["InstanceType"]] = int((kind.get("InstanceStorageInfo") or {}).get("TotalSizeInGB") or 0)
    return out


def look(ec2: Any, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One entry for each instance that was asked for, those that there are not included."""
    described = found(ec2, params["instance_ids"], params["instance_tags"])
    names = [str(instance["InstanceId"]) for instance in described]
    volumes = volumes_of(ec2, names)
    stores = stores_of(ec2, {str(instance["InstanceType"]) for instance in described})
    ids = {name: acquisition_id(params["account"], params["region"], params["incident"], name, params["attempt"])
           for name in [*names, *params["instance_ids"]]}
    taken = snapshots_of(ec2, ids.values())
    entries = [entry(instance, volumes[instance["InstanceId"]], stores.get(instance["InstanceType"]), params)
               | {"acquisition": ids[instance["InstanceId"]], "account": params["account"],
                  "earlier": len(taken[ids[instance["InstanceId"]]])} for instance in described]
    missing = [_without(name, params, f"There is no instance {name} in {params['region']} in the account "
                                      f"{params['account']}: check the id, the region and the account.")
               for name in params["instance_ids"] if name not in names]
    return sorted([*entries, *missing], key=lambda item: str(item["instance_id"]))


def unreachable(params: Mapping[str, Any], why: str) -> list[dict[str, Any]]:
    """The instances of an account that cannot be looked at, or one entry without an id where tags were to find them."""
    return [_without(name, params, why) for name in params["instance_ids"] or [""]]


def _without(name: str, params: Mapping[str, Any], problem: str) -> dict[str, Any]:
    number = acquisition_id(params["account"], params["region"], params["incident"], name, params["attempt"])
    return {"instance_id": name, "account": params["account"], "acquisition": number, "volumes": [], "not_captured": [],
            "earlier": 0, "state": "missing", "type": "", "name": "", "zone": "", "problem": problem}


def entry(instance: Mapping[str, Any], volumes: Sequence[Mapping[str, Any]], store: int | None,
          params: Mapping[str, Any]) -> dict[str, Any]:
    """What would be captured of one instance."""
    name, state = str(instance["InstanceId"]), str(instance["State"]["Name"])
    there = sorted((_volume(volume, instance, params) for volume in volumes), key=lambda item: str(item["device"]))
    lost = [{"what": f"{item['volume_id']} ({item['device']})", "why": item["why"]} for item in there if item["why"]]
    if store:
        lost.append({"what": "instance store", "why": f"{store} GB of disks within the host, of which AWS makes no "
                                                      "snapshots; they are lost when the instance stops"})
    elif store is None:
        lost.append({"what": "instance store", "why": f"not known: AWS says nothing about {instance['InstanceType']}"})
    problem = ""
    if state not in ALIVE:
        problem = f"Instance {name} is {state}: its volumes are gone or go. Look for snapshots of them."
    elif not any(item["captured"] for item in there):
        reasons = "; ".join(f"{one['what']}: {one['why']}" for one in lost)
        problem = f"Instance {name} has no volume to snapshot ({reasons or 'none is attached'})."
    tags = {tag["Key"]: tag["Value"] for tag in instance.get("Tags") or []}
    return {"instance_id": name, "name": tags.get("Name", ""), "state": state, "type": str(instance["InstanceType"]),
            "zone": str(instance["Placement"]["AvailabilityZone"]), "volumes": there, "not_captured": lost,
            "problem": problem}


def _volume(volume: Mapping[str, Any], instance: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    attachment = next(item for item in volume["Attachments"] if item.get("InstanceId") == instance["InstanceId"])
    device, state = str(attachment.get("Device") or ""), str(attachment.get("State") or "")
    root = device == instance.get("RootDeviceName")
    mapped = {block.get("Ebs", {}).get("VolumeId") for block in instance.get("BlockDeviceMappings") or []}
    why = ""
    if root and params["exclude_root"]:
        why = "left out as asked (exclude_root)"
    elif volume["VolumeId"] in params["exclude_volumes"]:
        why = "left out as asked (exclude_volumes)"
    elif state != "attached" or volume["VolumeId"] not in mapped:
        why = f"its attachment is {state or 'not told'}, so that the instance's snapshots leave it out"
    codes = [str(code["ProductCodeId"]) for code in volume.get("ProductCodes") or []]
    return {"volume_id": str(volume["VolumeId"]), "device": device, "root": root, "size_gib": int(volume["Size"]),
            "encrypted": bool(volume.get("Encrypted")), "kms_key_id": str(volume.get("KmsKeyId") or ""),
            "product_codes": codes, "captured": not why, "why": why}
