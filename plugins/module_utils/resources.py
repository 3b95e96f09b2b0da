# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find what carries a request's tag at AWS, or lies below its IAM path, and say how to remove it."""

from __future__ import annotations

import contextlib
import datetime
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

REQUEST_TAG = "dfir:request"
NAME = re.compile(r"dfir-([0-9a-f]{16})")
# First what others depend on: an instance holds its volumes, interfaces and groups; a profile holds its role.
ORDER = ("instance", "volume", "network-interface", "security-group", "snapshot", "role-in-profile",
         "instance-profile", "role-policy", "role")
GONE = ("terminated", "deleted")


@dataclass
class Resource:
    """Something that exists."""

    type: str
    id: str
    region: str
    remove_command: str
    state: str = ""
    created: str = ""
    goes_with: str = ""
    name: str = ""
    request_id: str = ""
    expires: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    path: str = ""
    order: int = field(init=False)

    def __post_init__(self) -> None:
        self.order = ORDER.index(self.type)

    def facts(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in (
            "type", "id", "region", "state", "name", "request_id", "created", "expires", "goes_with", "remove_command",
            "tags", "path")}


def tags_of(described: Mapping[str, Any]) -> dict[str, str]:
    """Tags as a dictionary; network interfaces spell the key differently."""
    return {tag["Key"]: tag["Value"] for tag in described.get("Tags") or described.get("TagSet") or []}


def _command(*words: str) -> str:
    return " ".join(shlex.quote(word) for word in ("aws", *words))


def _time(value: Any) -> str:
    if not isinstance(value, datetime.datetime):
        return str(value or "")
    return value.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def find_ec2(ec2: Any, region: str, request_id: str | None) -> list[Resource]:
    """Everything in one region that carries the tag, of one request or of any."""
    if request_id:
        filters = [{"Name": f"tag:{REQUEST_TAG}", "Values": [request_id]}]
    else:
        filters = [{"Name": "tag-key", "Values": [REQUEST_TAG]}]

    def pages(operation: str, key: str, **more: Any) -> Iterator[dict[str, Any]]:
        for page in ec2.get_paginator(operation).paginate(Filters=filters, **more):
            yield from page[key]

    found: list[Resource] = []

    def add(kind: str, described: Mapping[str, Any], identifier: str, command: tuple[str, ...], **more: str) -> None:
        tags = tags_of(described)
        found.append(Resource(
            kind, identifier, region, _command("ec2", command[0], "--region", region, *command[1:]),
            name=tags.get("Name", ""), request_id=tags.get(REQUEST_TAG, ""), expires=tags.get("dfir:expires", ""),
            tags=tags, **more))

    for reservation in pages("describe_instances", "Reservations"):
        for instance in reservation["Instances"]:
            if instance["State"]["Name"] not in GONE:
                add("instance", instance, instance["InstanceId"],
                    ("terminate-instances", "--instance-ids", instance["InstanceId"]),
                    state=instance["State"]["Name"], created=_time(instance.get("LaunchTime")))
    for volume in pages("describe_volumes", "Volumes"):
        if volume["State"] not in GONE:
            add("volume", volume, volume["VolumeId"], ("delete-volume", "--volume-id", volume["VolumeId"]),
                state=volume["State"], created=_time(volume.get("CreateTime")), goes_with=_holder(volume))
    for interface in pages("describe_network_interfaces", "NetworkInterfaces"):
        identifier = interface["NetworkInterfaceId"]
        attachment = interface.get("Attachment") or {}
        add("network-interface", interface, identifier,
            ("delete-network-interface", "--network-interface-id", identifier), state=interface.get("Status", ""),
            goes_with=attachment.get("InstanceId", "") if attachment.get("DeleteOnTermination") else "")
    for group in pages("describe_security_groups", "SecurityGroups"):
        add("security-group", group, group["GroupId"], ("delete-security-group", "--group-id", group["GroupId"]))
    for snapshot in pages("describe_snapshots", "Snapshots", OwnerIds=["self"]):
        add("snapshot", snapshot, snapshot["SnapshotId"],
            ("delete-snapshot", "--snapshot-id", snapshot["SnapshotId"]), state=snapshot.get("State", ""),
            created=_time(snapshot.get("StartTime")))
    return found


def _holder(volume: Mapping[str, Any]) -> str:
    holders = [item["InstanceId"] for item in volume.get("Attachments") or []
               if item.get("DeleteOnTermination") and item.get("State") != "detached"]
    return holders[0] if holders else ""


def find_iam(iam: Any, request_id: str | None, path: str, *, tagged: bool = False) -> list[Resource]:
    """Instance profiles and roles below the path, of one request or of all. Their names carry the request.

    What has to be taken off first is listed by itself, so that there is one command for each.

    :param tagged: ask for their tags, too, which AWS does not list: one more call for each.
    """
    found = []
    for profile in _listed(iam, "list_instance_profiles", "InstanceProfiles", path):
        name = profile["InstanceProfileName"]
        if _belongs(name, request_id):
            with gone_meanwhile():
                tags = tags_of(iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]) if tagged else {}
                for role in profile.get("Roles") or []:
                    found.append(_iam_resource("role-in-profile", name, profile, (
                        "remove-role-from-instance-profile", "--instance-profile-name", name,
                        "--role-name", role["RoleName"]), part=role["RoleName"], tags=tags))
                found.append(_iam_resource("instance-profile", name, profile, (
                    "delete-instance-profile", "--instance-profile-name", name), tags=tags))
    for role in _listed(iam, "list_roles", "Roles", path):
        name = role["RoleName"]
        if _belongs(name, request_id):
            with gone_meanwhile():
                tags = tags_of(iam.get_role(RoleName=name)["Role"]) if tagged else {}
                for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
                    found.append(_iam_resource("role-policy", name, role, (
                        "delete-role-policy", "--role-name", name, "--policy-name", policy), part=policy, tags=tags))
                found.append(_iam_resource("role", name, role, ("delete-role", "--role-name", name), tags=tags))
    return found


@contextlib.contextmanager
def gone_meanwhile() -> Iterator[None]:
    """What was listed a moment ago may be gone by now: then it is not there, and that is no error."""
    try:
        yield
    except Exception as error:
        if not is_absent(error):
            raise


def is_absent(error: Exception) -> bool:
    """Whether AWS says that there is no such thing (any more)."""
    code = str((getattr(error, "response", None) or {}).get("Error", {}).get("Code", ""))
    return code.endswith(".NotFound") or code == "NoSuchEntity"


def _listed(iam: Any, operation: str, key: str, path: str) -> Iterable[dict[str, Any]]:
    for page in iam.get_paginator(operation).paginate(PathPrefix=path):
        # Asked of AWS, and looked at again: what lies at another path is somebody else's, and not ours to ask about.
        yield from (described for described in page[key] if described["Path"].startswith(path))


def _belongs(name: str, request_id: str | None) -> bool:
    match = NAME.fullmatch(name)
    return match is not None and request_id in (None, match.group(1))


def _iam_resource(kind: str, name: str, described: Mapping[str, Any], command: tuple[str, ...],
                  part: str = "", tags: Mapping[str, str] | None = None) -> Resource:
    match = NAME.fullmatch(name)
    return Resource(kind, f"{name}/{part}" if part else name, "global", _command("iam", *command), name=name,
                    created=_time(described.get("CreateDate")), request_id=match.group(1) if match else "",
                    expires=dict(tags or {}).get("dfir:expires", ""), tags=dict(tags or {}),
                    path=str(described.get("Path", "")))
