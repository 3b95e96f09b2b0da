# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one audit that the demo and the tests share: everything that the lab's account holds, before and after.

It asks the public API as the lab's administrator, in every region that the lab uses, and answers with one line a
thing, so that "nothing was left" is a set difference and not an opinion.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from .config import LabConfig, load

REGIONS = ("eu-west-1", "us-east-1")
ADMIN_KEY = "AKIADFIRLABADMIN0000"
ADMIN_SECRET = "lab-admin-secret-not-a-secret-000000000000"  # noqa: S105  a constant of the lab, documented as public


@dataclass(frozen=True, order=True)
class Thing:
    """One thing in the account. `detail` tells versions of the same thing apart (an object's version, a state)."""

    kind: str
    region: str
    id: str
    detail: str = ""
    tags: Mapping[str, str] = field(default_factory=dict, compare=False, hash=False)

    def __str__(self) -> str:
        return " ".join(part for part in (self.kind, self.id, self.region, self.detail) if part)


def client(config: LabConfig, service: str, region: str) -> Any:
    """A boto3 client of the lab's administrator."""
    return _client(config.endpoint, service, region)


@functools.cache  # making a client takes longer than most calls
def _client(endpoint: str, service: str, region: str) -> Any:
    return boto3.client(  # type: ignore[call-overload]
        service, region_name=region, endpoint_url=endpoint, aws_access_key_id=ADMIN_KEY,
        aws_secret_access_key=ADMIN_SECRET, config=Config(retries={"max_attempts": 2}, s3={"addressing_style": "path"}))


def _tags(raw: Iterable[Mapping[str, str]] | None) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in raw or ()}


def _ec2(config: LabConfig, region: str) -> Iterator[Thing]:
    ec2 = client(config, "ec2", region)
    for page in ec2.get_paginator("describe_instances").paginate():
        for reservation in page["Reservations"]:
            for item in reservation["Instances"]:
                # AWS shows a terminated instance for about an hour; it costs nothing and holds nothing.
                if item["State"]["Name"] != "terminated":
                    yield Thing("instance", region, item["InstanceId"], item["State"]["Name"], _tags(item.get("Tags")))
    for page in ec2.get_paginator("describe_volumes").paginate():
        for item in page["Volumes"]:
            yield Thing("volume", region, item["VolumeId"], "", _tags(item.get("Tags")))
    for page in ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"]):
        for item in page["Snapshots"]:
            yield Thing("snapshot", region, item["SnapshotId"], "", _tags(item.get("Tags")))
    for item in ec2.describe_security_groups()["SecurityGroups"]:
        yield Thing("security-group", region, item["GroupId"], item["GroupName"], _tags(item.get("Tags")))
    for item in ec2.describe_key_pairs()["KeyPairs"]:
        yield Thing("key-pair", region, item["KeyName"])
    for item in ec2.describe_network_interfaces()["NetworkInterfaces"]:
        yield Thing("network-interface", region, item["NetworkInterfaceId"], "", _tags(item.get("TagSet")))
    for item in ec2.describe_images(Owners=["self"])["Images"]:
        yield Thing("image", region, item["ImageId"])


def _iam(config: LabConfig) -> Iterator[Thing]:
    iam = client(config, "iam", "us-east-1")
    for item in iam.list_roles()["Roles"]:
        yield Thing("role", "", item["RoleName"])
        for name in iam.list_role_policies(RoleName=item["RoleName"])["PolicyNames"]:
            yield Thing("role-policy", "", f"{item['RoleName']}/{name}")
    for item in iam.list_instance_profiles()["InstanceProfiles"]:
        yield Thing("instance-profile", "", item["InstanceProfileName"])
    for item in iam.list_users()["Users"]:
        yield Thing("user", "", item["UserName"])
    for item in iam.list_policies(Scope="Local")["Policies"]:
        yield Thing("policy", "", item["Arn"])


def _s3(config: LabConfig) -> Iterator[Thing]:
    s3 = client(config, "s3", REGIONS[0])
    for bucket in s3.list_buckets()["Buckets"]:
        yield Thing("bucket", "", bucket["Name"])
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket["Name"]):
            for item in page.get("Versions", []):
                yield Thing("object", "", f"s3://{bucket['Name']}/{item['Key']}", str(item.get("VersionId", "")))
            for item in page.get("DeleteMarkers", []):
                yield Thing("delete-marker", "", f"s3://{bucket['Name']}/{item['Key']}", str(item.get("VersionId", "")))
        for upload in s3.list_multipart_uploads(Bucket=bucket["Name"]).get("Uploads", []):
            yield Thing("multipart-upload", "", f"s3://{bucket['Name']}/{upload['Key']}", upload["UploadId"])


def _secrets(config: LabConfig, region: str) -> Iterator[Thing]:
    for item in client(config, "secretsmanager", region).list_secrets()["SecretList"]:
        yield Thing("secret", region, item["Name"])
    for page in client(config, "ssm", region).get_paginator("describe_parameters").paginate():
        for item in page["Parameters"]:
            yield Thing("parameter", region, item["Name"], str(item.get("Version", "")))


def account(config: LabConfig) -> set[Thing]:
    """Everything that the account holds now."""
    things: set[Thing] = set()
    for region in REGIONS:
        things.update(_ec2(config, region))
        things.update(_secrets(config, region))
    things.update(_iam(config))
    things.update(_s3(config))
    return things


def split(new: Iterable[Thing], *, artifact_prefix: str, record_key: str) -> tuple[list[Thing], list[Thing]]:
    """Of what a request added: what it may leave (artifacts, its record, kept copies), and what it must not."""
    kept: list[Thing] = []
    left: list[Thing] = []
    for thing in sorted(new):
        path = thing.id.split("/", 3)[-1] if thing.kind == "object" else ""
        allowed = (
            (thing.kind == "object" and (
                path.startswith(artifact_prefix) or path == record_key
                # Whose the folder of artifacts is stays as long as the record, and the custody ledger for good.
                or (bool(record_key) and path.startswith(("requests/folders/", "custody/")))))
            or (thing.kind == "snapshot" and "dfir:source-snapshot" in thing.tags and "dfir:request" not in thing.tags)
        )
        (kept if allowed else left).append(thing)
    return kept, left


def save(things: Iterable[Thing], path: Path) -> None:
    """Keep an audit for a later comparison."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(thing) for thing in sorted(things)], indent=1))


def saved(path: Path) -> set[Thing]:
    """An audit that `save` kept."""
    return {Thing(**entry) for entry in json.loads(path.read_text())}


def report(before: set[Thing], after: set[Thing], *, artifact_prefix: str, record_key: str) -> bool:
    """Print what a request left in the account; true when that is nothing but artifacts, record and kept copies."""
    kept, left = split(after - before, artifact_prefix=artifact_prefix, record_key=record_key)
    gone = sorted(before - after)
    for (kind, name), number in sorted(Counter((thing.kind, thing.id.rpartition("/")[0]) for thing in kept).items()):
        print(f"  kept: {number} {kind}{'s' if number > 1 else ''} {name and f'in {name}/'}".rstrip())
    for title, things in (("LEFT BEHIND", left), ("GONE, though not the request's", gone)):
        for thing in things:
            print(f"  {title}: {thing}")
    if left or gone:
        return False
    print("account: nothing left but the artifacts and the kept copy")
    return True


def main(argv: list[str] | None = None) -> int:
    """`python -m lab.audit save FILE` and `… compare FILE --prefix P --record K`."""
    parser = argparse.ArgumentParser(prog="python -m lab.audit", description=main.__doc__)
    parser.add_argument("action", choices=("save", "compare"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--prefix", default="\0", help="key prefix below which new artifacts are expected")
    parser.add_argument("--record", default="", help="key of the record that is expected")
    parser.add_argument("--expect", action="append", default=[], help="name of an artifact below the prefix")
    options = parser.parse_args(argv)
    things = account(load())
    if options.action == "save":
        save(things, options.file)
        return 0
    held = report(saved(options.file), things, artifact_prefix=options.prefix, record_key=options.record)
    for name in options.expect:
        if not any(thing.kind == "object" and thing.id.endswith(f"/{options.prefix}{name}") for thing in things):
            print(f"  MISSING: {options.prefix}{name}")
            held = False
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
