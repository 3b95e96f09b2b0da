# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Things that outlived their time or request, and things that only look like it, planted in an account."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

BUCKET = "records"
HOME, AWAY = "eu-west-1", "us-east-1"
TRUST = json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]})
POLICY = json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::records/INC-1/*"}]})
Client = Callable[..., Any]


def moment(hours: float) -> str:
    return (datetime.now(timezone.utc) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


PAST, FUTURE = moment(-30), moment(20)


@dataclass
class Case:
    """One thing, or several of one request, and what becomes of them."""

    name: str
    fate: str  # goes, stays, fails
    makes: tuple[str, ...] = ("volume",)
    expires: str = PAST
    record: str = "open"  # open, finished, absent, broken
    tags: dict[str, str | None] = field(default_factory=dict)  # other values, or none
    region: str = HOME
    path: str = "/dfir/"
    suffix: str = ""  # of the name of role and profile
    deadline: str = ""  # that the record tells
    held_by: str = ""  # what a bystander's instance does with it: uses
    request_id: str = ""

    def __post_init__(self) -> None:
        self.request_id = self.request_id or hashlib.sha256(self.name.encode()).hexdigest()[:16]

    @property
    def all_tags(self) -> list[dict[str, str]]:
        tags: dict[str, str | None] = {
            "Name": f"dfir-{self.request_id}", "dfir:request": self.request_id, "dfir:incident": "INC-1",
            "dfir:analyst": "alice", "dfir:expires": self.expires, **self.tags}
        return [{"Key": name, "Value": value} for name, value in tags.items() if value is not None]


CASES = [
    # What goes
    Case("a volume past its time, its request open", "goes"),
    Case("a volume past its time without a record", "goes", record="absent"),
    Case("a volume past its time whose record is broken", "goes", record="broken"),
    Case("a volume past its time in another region", "goes", region=AWAY),
    Case("a volume of a finished request, its host gone", "goes", expires=FUTURE, record="finished"),
    Case("a volume without record and host", "goes", expires=FUTURE, record="absent"),
    Case("a security group past its time", "goes", makes=("group",)),
    Case("a security group of a finished request", "goes", makes=("group",), expires=FUTURE, record="finished"),
    Case("role and profile past their time", "goes", makes=("identity",)),
    Case("role and profile of a finished request", "goes", makes=("identity",), expires=FUTURE, record="finished"),
    Case("role and profile without record and host", "goes", makes=("identity",), expires=FUTURE, record="absent"),
    Case("a host past its time", "goes", makes=("host",)),
    Case("a host past its time with all that is its own", "goes", makes=("identity", "group", "host", "volume")),
    # What stays: it is in time, and its request may need it
    Case("a volume in its time", "stays", expires=FUTURE),
    Case("a volume past its time by less than the grace", "stays", expires=moment(-0.5)),
    Case("a volume in its time whose record is broken", "stays", expires=FUTURE, record="broken"),
    Case("a security group in its time without a record", "stays", makes=("group",), expires=FUTURE, record="absent"),
    Case("a host in its time, its request finished", "stays", makes=("identity", "group", "host", "volume"),
         expires=FUTURE, record="finished"),
    Case("a host that was given more time", "stays", makes=("identity", "group", "host"), deadline=FUTURE),
    # What stays: it is not surely ours
    Case("tags in capitals", "stays", tags={"dfir:request": None, "DFIR:Request": "0123456789abcdef"}),
    Case("an expiry in capitals", "stays", tags={"dfir:expires": None, "dfir:Expires": PAST}),
    Case("no incident", "stays", tags={"dfir:incident": None}),
    Case("no analyst", "stays", tags={"dfir:analyst": None}),
    Case("no expiry", "stays", tags={"dfir:expires": None}),
    Case("no name", "stays", tags={"Name": None}),
    Case("another name", "stays", tags={"Name": "dfir-ffffffffffffffff"}),
    Case("a request in capitals", "stays", tags={"dfir:request": "0123456789ABCDEF", "Name": "dfir-0123456789ABCDEF"}),
    Case("a request too short", "stays", tags={"dfir:request": "0123456789abcde", "Name": "dfir-0123456789abcde"}),
    Case("an incident with a slash", "stays", tags={"dfir:incident": "INC/1"}),
    Case("an expiry in words", "stays", tags={"dfir:expires": "yesterday"}),
    Case("an expiry without a time", "stays", tags={"dfir:expires": "2020-01-01"}),
    Case("an expiry in another zone", "stays", tags={"dfir:expires": "2020-01-01T00:00:00+00:00"}),
    Case("an expiry that is no day", "stays", tags={"dfir:expires": "2020-02-31T00:00:00Z"}),
    Case("an expiry with a blank", "stays", tags={"dfir:expires": f"{PAST} "}),
    Case("a host without an expiry, and what is its own", "stays", makes=("group", "host"),
         tags={"dfir:expires": None}),
    Case("identity at no path", "stays", makes=("identity",), path="/"),
    Case("identity at a path in capitals", "stays", makes=("identity",), path="/DFIR/"),
    Case("identity below our path", "stays", makes=("identity",), path="/dfir/others/"),
    Case("identity at a path that begins like ours", "stays", makes=("identity",), path="/dfir-others/"),
    Case("identity with a longer name", "stays", makes=("identity",), suffix="-old"),
    Case("identity without tags", "stays", makes=("identity",),
         tags=dict.fromkeys(("Name", "dfir:request", "dfir:incident", "dfir:analyst", "dfir:expires"))),
    Case("identity with another request's tags", "stays", makes=("identity",),
         tags={"Name": "dfir-eeeeeeeeeeeeeeee", "dfir:request": "eeeeeeeeeeeeeeee"}),
    Case("a kept copy of a snapshot", "stays", makes=("snapshot",),
         tags={"dfir:request": None, "dfir:source-snapshot": "snap-0123456789abcdef0"}),
    Case("a snapshot with a request's tags", "stays", makes=("snapshot",)),
    # What cannot be removed, and is told
    Case("a security group that somebody else uses", "fails", makes=("group",), held_by="uses"),
    Case("a volume on somebody else's instance", "fails", makes=("volume",), held_by="uses"),
    Case("a role that somebody gave a managed policy", "fails", makes=("role",), held_by="managed"),
]


class Account:
    """Plants cases, and says what is there."""

    def __init__(self, client: Client, image: str, bucket: str = BUCKET) -> None:
        self._client, self._image, self._bucket = client, image, bucket
        self.made: dict[str, list[tuple[str, str]]] = {}

    def plant(self, case: Case) -> None:
        """Make what a case needs, its record included."""
        things: list[tuple[str, str]] = []
        for what in case.makes:
            things += getattr(self, f"_{what}")(case)
        self.made[case.name] = things
        record = {"format": 1, "request_id": case.request_id, "state": case.record, "outcome": "complete", "steps": [],
                  "created_at": PAST, "request": {"incident": "INC-1", "analysis_region": case.region}}
        if case.deadline:
            record["steps"] = [{"name": "analysis_host", "outcome": "ok", "details": {"deadline": case.deadline}}]
        if case.record != "absent":
            self._client("s3").put_object(Bucket=self._bucket, Key=f"requests/{case.request_id}.json", IfNoneMatch="*",
                                          Body=json.dumps(record) if case.record != "broken" else "[")

    def _spec(self, case: Case, *kinds: str) -> list[dict[str, Any]]:
        return [{"ResourceType": kind, "Tags": case.all_tags} for kind in kinds]

    def _volume(self, case: Case) -> list[tuple[str, str]]:
        ec2 = self._client("ec2", case.region)
        made = ec2.create_volume(AvailabilityZone=f"{case.region}a", Size=1,
                                 TagSpecifications=self._spec(case, "volume"))
        if case.held_by:
            ec2.attach_volume(VolumeId=made["VolumeId"], InstanceId=self._bystander(), Device="/dev/sdf")
        return [("volume", made["VolumeId"])]

    def _group(self, case: Case) -> list[tuple[str, str]]:
        made = self._client("ec2", case.region).create_security_group(
            GroupName=f"dfir-{case.request_id}", Description="x", TagSpecifications=self._spec(case, "security-group"))
        if case.held_by:
            self._bystander(SecurityGroupIds=[made["GroupId"]])
        return [("security-group", made["GroupId"])]

    def _bystander(self, **more: Any) -> str:
        made = self._client("ec2").run_instances(ImageId=self._image, InstanceType="t3.medium", MinCount=1, MaxCount=1,
                                                 **more)
        identifier = str(made["Instances"][0]["InstanceId"])
        self._client("ec2").get_waiter("instance_running").wait(InstanceIds=[identifier])
        return identifier

    def _host(self, case: Case) -> list[tuple[str, str]]:
        made = self._client("ec2").run_instances(
            ImageId=self._image, InstanceType="t3.medium", MinCount=1, MaxCount=1,
            TagSpecifications=self._spec(case, "instance", "volume", "network-interface"))["Instances"][0]
        return [("instance", made["InstanceId"])]

    def _snapshot(self, case: Case) -> list[tuple[str, str]]:
        ec2 = self._client("ec2")
        volume = ec2.create_volume(AvailabilityZone=f"{HOME}a", Size=1)["VolumeId"]
        made = ec2.create_snapshot(VolumeId=volume, TagSpecifications=self._spec(case, "snapshot"))
        return [("snapshot", made["SnapshotId"])]

    def _role(self, case: Case) -> list[tuple[str, str]]:
        iam, name = self._client("iam"), f"dfir-{case.request_id}{case.suffix}"
        iam.create_role(RoleName=name, Path=case.path, AssumeRolePolicyDocument=TRUST, Tags=case.all_tags,
                        PermissionsBoundary="arn:aws:iam::123456789012:policy/dfir/dfir-analysis-host-boundary")
        iam.put_role_policy(RoleName=name, PolicyName="artifacts", PolicyDocument=POLICY)
        if case.held_by == "managed":
            made = iam.create_policy(PolicyName="theirs", PolicyDocument=POLICY)["Policy"]["Arn"]
            iam.attach_role_policy(RoleName=name, PolicyArn=made)
        return [("role", name)]

    def _identity(self, case: Case) -> list[tuple[str, str]]:
        iam, name = self._client("iam"), f"dfir-{case.request_id}{case.suffix}"
        things = self._role(case)
        iam.create_instance_profile(InstanceProfileName=name, Path=case.path, Tags=case.all_tags)
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
        return [*things, ("instance-profile", name)]

    def everything(self) -> dict[tuple[str, str], str]:
        """All things of the account, each with its tags and what else a removal might touch."""
        found: dict[tuple[str, str], Any] = {}
        for region in (HOME, AWAY):
            ec2 = self._client("ec2", region)
            for volume in ec2.describe_volumes()["Volumes"]:
                found["volume", volume["VolumeId"]] = [volume.get("Tags"), volume["State"], volume["Attachments"]]
            for group in ec2.describe_security_groups()["SecurityGroups"]:
                found["security-group", group["GroupId"]] = [group.get("Tags"), group["IpPermissions"]]
            for snapshot in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]:
                found["snapshot", snapshot["SnapshotId"]] = snapshot.get("Tags")
            for reservation in ec2.describe_instances()["Reservations"]:
                for host in reservation["Instances"]:
                    if host["State"]["Name"] not in ("terminated", "shutting-down"):
                        found["instance", host["InstanceId"]] = [host.get("Tags"), host["SecurityGroups"]]
        iam = self._client("iam")
        for role in iam.list_roles()["Roles"]:
            name = role["RoleName"]
            found["role", name] = [role["Path"], iam.list_role_policies(RoleName=name)["PolicyNames"],
                                   iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]]
        for profile in iam.list_instance_profiles()["InstanceProfiles"]:
            found["instance-profile", profile["InstanceProfileName"]] = [
                profile["Path"], [role["RoleName"] for role in profile["Roles"]]]
        return {key: json.dumps(value, sort_keys=True, default=str) for key, value in found.items()}
