# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the metadata of an instance in the artifact bucket: each section once, and at the end an index with hashes."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..ebs.version import __version__
from ..forensics.s3_put import UploadError, put
from ..request_spec import iso
from . import trail
from .labels import folder
from .metadata import SECTIONS, Answers, Clients, plain

INDEX = "index.json"
HISTORY = "cloudtrail"


class Store:
    """One folder of the bucket."""

    def __init__(self, s3: Any, bucket: str, prefix: str) -> None:
        self._s3, self._bucket, self.prefix = s3, bucket, prefix
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        self.names = {str(item["Key"])[len(prefix):] for page in pages for item in page.get("Contents") or []}

    def read(self, name: str) -> bytes:
        """The content of an object."""
        content: bytes = self._s3.get_object(Bucket=self._bucket, Key=self.prefix + name)["Body"].read()
        return content

    def keep(self, name: str, content: bytes) -> tuple[bytes, bool]:
        """Put it there, or take what another run has put there: what was seen first is the better evidence."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            sha256 = hashlib.sha256(content).hexdigest()
            try:
                put(self._s3, self._bucket, self.prefix + name, Path(file.name), sha256, len(content))
            except UploadError as error:
                if error.kind != "there":
                    raise
                return self.read(name), False
        return content, True


def collect(clients: Clients, s3: Any, instance: Mapping[str, Any], options: Mapping[str, Any], pace: trail.Pace,
            now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)) -> dict[str, Any]:
    """Everything about one instance. A second run takes what is there, and asks for the rest.

    :param options: `incident`, `acquisition`, `attempt`, `bucket`, `days`, `regions`, `caller`, `account`.
    """
    name = str(instance["InstanceId"])
    store = Store(s3, options["bucket"], folder(options["incident"], name, options["acquisition"], options["attempt"]))
    wanted = [*SECTIONS, *([HISTORY] if options["days"] else [])]
    if INDEX in store.names:
        return _told(store, json.loads(store.read(INDEX)), changed=False)
    files, seen = [], {}
    for section in wanted:
        file = f"{section}.json"
        if file in store.names:
            content = store.read(file)
        else:
            content, _ours = store.keep(file, _section(section, clients, instance, options, pace, now()))
        seen[section] = json.loads(content)
        files.append({"name": file, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)})
    index = {
        "schema": 1, "kind": "instance metadata", "instance_id": name, "incident": options["incident"],
        "account": options["account"], "region": clients.region, "acquisition": options["acquisition"],
        "attempt": options["attempt"], "finished": iso(now()), "tool": {"name": "dfir.aws", "version": __version__},
        "caller": options["caller"], "files": files,
        "not_had": [{"section": section, **error} for section, data in seen.items() for error in data["errors"]],
        "facts": facts(seen),
    }
    content, ours = store.keep(INDEX, _json(index))
    return _told(store, json.loads(content), changed=ours)


def _section(section: str, clients: Clients, instance: Mapping[str, Any], options: Mapping[str, Any],
             pace: trail.Pace, now: datetime) -> bytes:
    answers = Answers(clients)
    if section == HISTORY:
        regions = options["regions"] or trail.enabled_regions(answers)
        trail.collect(answers, clients, instance, days=options["days"], regions=regions, now=now, pace=pace)
    else:
        SECTIONS[section](answers, instance)
    return _json({"schema": 1, "section": section, "instance_id": instance["InstanceId"], "region": clients.region,
                  "collected": iso(now), "answers": answers.answers, "errors": answers.errors})


def _json(data: Any) -> bytes:
    return json.dumps(data, default=plain, indent=1, sort_keys=True).encode() + b"\n"


def _told(store: Store, index: Mapping[str, Any], *, changed: bool) -> dict[str, Any]:
    content = store.read(INDEX)
    return {"instance_id": index["instance_id"], "changed": changed, "prefix": store.prefix,
            "files": [*index["files"], {"name": INDEX, "sha256": hashlib.sha256(content).hexdigest(),
                                        "bytes": len(content)}],
            "not_had": index["not_had"], "facts": index["facts"], "finished": index["finished"], "problem": ""}


def facts(seen: Mapping[str, Any]) -> list[dict[str, str]]:
    """What a reader wants to know first, from the sections."""
    answer = seen["instance"]["answers"].get("describe_instances") or {}
    groups = answer.get("Reservations") or []
    instance: dict[str, Any] = next((one for group in groups for one in group["Instances"]), {})
    placement, profile = instance.get("Placement") or {}, instance.get("IamInstanceProfile") or {}
    output = (seen["console"]["answers"].get("latest") or seen["console"]["answers"].get("kept") or {}).get("Output")
    told = [
        ("State", (instance.get("State") or {}).get("Name")), ("Type", instance.get("InstanceType")),
        ("Zone", placement.get("AvailabilityZone")), ("Launched", instance.get("LaunchTime")),
        ("Image", instance.get("ImageId")), ("Private address", instance.get("PrivateIpAddress")),
        ("Public address", instance.get("PublicIpAddress")), ("Key pair", instance.get("KeyName")),
        ("Instance profile", profile.get("Arn")),
        ("Security groups", ", ".join(str(one["GroupId"]) for one in instance.get("SecurityGroups") or [])),
        ("Flow logs", _flow_logs(seen["flow_logs"])),
        ("Console output", f"{len(str(output)):,} characters" if output else "none"),
        *_history(seen.get(HISTORY)),
    ]
    return [{"label": label, "value": str(value)[:300]} for label, value in told if value]


def _flow_logs(section: Mapping[str, Any]) -> str:
    found = section["answers"].get("describe_flow_logs")
    if found is None:
        return "not known"
    return ", ".join(str(one["FlowLogId"]) for one in found.get("FlowLogs") or []) or "none"


def _history(section: Mapping[str, Any] | None) -> Sequence[tuple[str, str]]:
    if section is None:
        return [("CloudTrail", "not looked up, as asked")]
    looked, told = section["answers"]["look_ups"], section["answers"]["range"]
    own = {event["EventId"] for one in looked if one["attribute"] == "ResourceName" for event in one["events"]}
    role = {event["EventId"] for one in looked if one["attribute"] == "Username" for event in one["events"]}
    cut = ", cut off" if any(one["truncated"] for one in looked) else ""
    return [("CloudTrail", f"{len(own)} events about it, {len(role)} calls of its role{cut}"),
            ("CloudTrail range", f"{told['from']} to {told['to']} in {', '.join(told['regions'])}")]
