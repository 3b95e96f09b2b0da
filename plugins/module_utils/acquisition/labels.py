# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an acquisition is once it was let in, and the names and tags of what it makes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ..registry import Caller
from ..request_spec import iso
from . import targets

ACQUISITION = "dfir:acquisition"
NAME_LIMIT = 255  # of a tag's value and of a snapshot's description


def _digest(what: Mapping[str, Any]) -> str:
    text = json.dumps(what, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def acquisition_id(account: str, region: str, incident: str, instance_id: str, attempt: int) -> str:
    """16 hexadecimal digits that mean one acquisition of one instance, whoever asks and whatever else is asked for."""
    return _digest({"account": account, "region": region, "incident": incident, "instance": instance_id,
                    "attempt": attempt})


def build(values: Mapping[str, Any], analyst: Mapping[str, Any], caller: Caller, *, bucket: str, now: datetime,
          members: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Everything that later steps may know of what was asked for.

    :param members: how other accounts than the caller's are entered.
    """
    asked = targets.wanted(values, caller.account)
    what = {"account": caller.account, "incident": values["incident"], "analyst": analyst["uid"],
            "region": values["aws_instance_region"], "instances": sorted({
                name for target in asked for name in target["instance_ids"]}),
            "tags": values["aws_instance_tags"] or [], "attempt": values["attempt"]}
    if [target["account"] for target in asked] != [caller.account]:
        what["targets"] = {target["account"]: target["instance_ids"] for target in asked}
    request_id = _digest({"kind": "acquisition", **what})
    return {
        "request_id": request_id,
        "targets": [targets.entrance(target, members or {}, caller, incident=values["incident"], request_id=request_id,
                                     analyst=str(analyst["uid"])) for target in asked],
        "incident": values["incident"], "attempt": values["attempt"], "account": caller.account,
        "partition": caller.partition, "analyst": dict(analyst),
        "caller": {"kind": caller.kind, "name": caller.name, "arn": caller.arn},
        "region": values["aws_instance_region"], "instance_ids": what["instances"],
        "instance_tags": dict(pair.split("=", 1) for pair in what["tags"]),
        "exclude_volumes": values["exclude_volumes"] or [], "exclude_root": values["exclude_root"],
        "label": values["label"] or "", "contain": values.get("contain") or [],
        "cloudtrail_days": values["cloudtrail_days"], "afterwards": values["afterwards"],
        "requested_at": iso(now), "artifact_bucket": bucket,
    }


def folder(incident: str, instance_id: str, acquisition: str, attempt: int) -> str:
    """Where the metadata of an instance lies. Nothing is overwritten: a later attempt has a folder of its own."""
    own = "" if attempt == 1 else f"run-{acquisition}/"
    return f"{incident}/{instance_id}/{own}metadata/"


def name(incident: str, instance_id: str, moment: str, label: str = "", device: str = "") -> str:
    """What people search for.

    :param moment: UTC, as `iso` writes it.
    """
    when = f"{moment[:10]} {moment[11:19]} UTC"
    return " ".join(part for part in ("Forensics", incident, instance_id, device, when, label) if part)[:NAME_LIMIT]


def description(incident: str, instance_id: str, moment: str, analyst: str) -> str:
    """The description that all snapshots of one call share."""
    when = f"{moment[:10]} {moment[11:19]} UTC"
    return f"Forensics: {instance_id} acquired {when} for incident {incident} by {analyst}"[:NAME_LIMIT]


def tags(instance_id: str, options: Mapping[str, Any], moment: str) -> dict[str, str]:
    """The tags of the creating call, which gives all snapshots the same. They carry no `dfir:request`, and no time
    when they expire: evidence goes with nobody's request."""
    return {
        "Name": name(options["incident"], instance_id, moment, options["label"]),
        "dfir:incident": options["incident"], ACQUISITION: options["acquisition"],
        "dfir:source-instance": instance_id, "dfir:source-region": options["region"],
        "dfir:source-account": options["account"],
        "dfir:analyst": options["analyst"], "dfir:attempt": str(options["attempt"]),
    }


def own_tags(instance_id: str, options: Mapping[str, Any], moment: str, volume_id: str, device: str) -> dict[str, str]:
    """The tags of one snapshot among them, which only a second call can give."""
    return {"Name": name(options["incident"], instance_id, moment, options["label"], device),
            "dfir:source-volume": volume_id, **({"dfir:device": device} if device else {})}
