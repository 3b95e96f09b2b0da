# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who asks and what may be done: the caller, the right to create, the permissions boundary."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import registry
from .compute import subnets
from .findings import MANUAL, MISSING, OK, RIGHTS, UNKNOWN, Asks, ClientError, Finding, code_of, is_denied
from .policies import Call, Undecidable, decide, parse

NOBODY = "0" * 16  # the id of a request that there is not
NO_SNAPSHOT = "snap-00000000000000000"


def caller(asks: Asks) -> Iterator[Finding]:
    """Whose credentials these are, and who of the registry stands behind them."""
    who = asks.client("sts", asks.bucket_region).get_caller_identity()
    arn = str(who["Arn"])
    if arn.endswith(":root"):
        yield Finding("caller", MISSING, f"{arn} may do everything: use a role", RIGHTS)
    else:
        yield Finding("caller", OK, arn)
    entries = registry.load(
        asks.settings["registry_source"],
        {"analysts": asks.settings["analysts"], "file": asks.settings["registry_file"]},
    )
    if not entries:
        yield Finding(
            "registry",
            MISSING,
            "it holds no analyst, every request would be refused",
            f"dfir_aws_analysts in the inventory ({MANUAL}#registry-of-analysts)",
        )
        return
    bound = [
        str(entry.get("uid"))
        for entry in entries
        if any(registry.matches(pattern, arn) for pattern in entry.get("callers") or [])
    ]
    if bound:
        yield Finding("registry", OK, f"on a command line this caller is {', '.join(bound)}")
    else:
        yield Finding(
            "registry",
            MISSING,
            "no analyst's callers cover this caller: a command line would be refused",
            f"callers of an entry in dfir_aws_analysts ({MANUAL}#registry-of-analysts)",
            needed=False,
        )


def permissions(asks: Asks, region: str) -> Iterator[Finding]:
    """The rights to create that AWS tells without creating, by DryRun; they need a subnet to ask about."""
    found = subnets(asks, region)
    if not found:
        yield Finding("rights", UNKNOWN, "without a subnet no right to create can be asked for", "", region)
        return
    subnet = found[0]
    ec2 = asks.client("ec2", region)
    tags = [{"Key": key, "Value": NOBODY} for key in ("dfir:request", "dfir:incident", "dfir:expires")]

    def tagged(kind: str) -> dict[str, Any]:
        return {"DryRun": True, "TagSpecifications": [{"ResourceType": kind, "Tags": tags}]}

    yield from _dry_run(
        region,
        "ec2:CreateSecurityGroup",
        lambda: ec2.create_security_group(
            GroupName=f"dfir-{NOBODY}", Description="never made", VpcId=subnet["VpcId"], **tagged("security-group")
        ),
    )
    yield from _dry_run(
        region,
        "ec2:CreateVolume",
        lambda: ec2.create_volume(
            AvailabilityZone=subnet["AvailabilityZone"], Size=1, VolumeType="gp3", Encrypted=True, **tagged("volume")
        ),
    )
    yield Finding(
        "rights", UNKNOWN, "RunInstances, CopySnapshot, iam:*, kms:CreateGrant show only when they are used", "", region
    )


def _dry_run(region: str, action: str, call: Any) -> Iterator[Finding]:
    try:
        call()
    except ClientError as error:
        if code_of(error) == "DryRunOperation":
            yield Finding("rights", OK, action, "", region)
        elif is_denied(error):
            yield Finding(
                "rights", MISSING, f"the caller has no right to {action} with the tags of a request", RIGHTS, region
            )
        else:
            yield Finding("rights", UNKNOWN, f"{action} answers {code_of(error)}", "", region)


def record_rights(asks: Asks) -> Iterator[Finding]:
    """The right to write records, proven by a write on the condition that what is not there is unchanged."""
    key = f"requests/{NOBODY}.json"
    try:
        # It never succeeds: nothing has this ETag, and there is no such record.
        asks.client("s3", asks.bucket_region).put_object(Bucket=asks.bucket, Key=key, Body=b"", IfMatch=f'"{NOBODY}"')
    except ClientError as error:
        if code_of(error) in ("NoSuchKey", "404", "PreconditionFailed", "412"):
            yield Finding("rights", OK, "s3:PutObject on records, by compare-and-swap")
        elif is_denied(error):
            yield Finding(
                "rights",
                MISSING,
                "the caller may not write records (s3:PutObject and s3:GetObject on requests/*)",
                RIGHTS,
            )
        else:
            yield Finding("rights", UNKNOWN, f"writing a record answers {code_of(error)}")


def boundary(asks: Asks) -> Iterator[Finding]:
    """The permissions boundary of hosts: there, wide enough to write artifacts (and to read blocks), and no wider."""
    arn = str(asks.settings["permissions_boundary_arn"] or "")
    create = (
        "aws iam create-policy --path /dfir/ --policy-name dfir-analysis-host-boundary --policy-document "
        f"file://policies/analysis-host-boundary.json ({MANUAL}#identities)"
    )
    if not arn:
        yield Finding("boundary", MISSING, "dfir_aws_permissions_boundary_arn is not set", create)
        return
    iam = asks.client("iam", asks.bucket_region)
    try:
        version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    except ClientError as error:
        if code_of(error) not in ("NoSuchEntity", "InvalidInput", "ValidationError"):
            raise
        yield Finding("boundary", MISSING, f"there is no policy {arn}", create)
        return
    document = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    objects = f"arn:{arn.split(':')[1]}:s3:::{asks.bucket}/"
    update = (
        f"aws iam create-policy-version --policy-arn {arn} --set-as-default --policy-document "
        "file://policies/analysis-host-boundary.json"
    )
    wide = [
        ("s3:GetObject", f"{objects}INC-0/x"),
        ("s3:DeleteObject", f"{objects}INC-0/x"),
        ("s3:PutObject", f"{objects}requests/x"),
        ("s3:PutObject", f"{objects}toolbox/x"),
        ("ec2:RunInstances", "*"),
        ("iam:PassRole", "*"),
        ("sts:AssumeRole", "*"),
    ]
    blocks = [
        ("ebs:ListSnapshotBlocks", f"arn:{arn.split(':')[1]}:ec2:{asks.bucket_region}::snapshot/{NO_SNAPSHOT}"),
        ("ebs:GetSnapshotBlock", f"arn:{arn.split(':')[1]}:ec2:{asks.bucket_region}::snapshot/{NO_SNAPSHOT}"),
    ]
    try:
        statements = parse(document)
        if decide(statements, Call("s3:PutObject", f"{objects}INC-0/x")) != "allow":
            yield Finding("boundary", MISSING, f"{arn} does not let hosts write artifacts into {asks.bucket}", update)
            return
        more = [action for action, resource in wide if decide(statements, Call(action, resource)) == "allow"]
        closed = [action for action, resource in blocks if decide(statements, Call(action, resource)) != "allow"]
    except Undecidable as error:
        yield Finding("boundary", UNKNOWN, f"{arn} is there, but {error} is not understood here")
        return
    if more:
        yield Finding(
            "boundary", MISSING, f"{arn} allows a host more than it needs ({', '.join(dict.fromkeys(more))})", update
        )
        return
    yield Finding("boundary", OK, arn)
    if closed:
        yield Finding(
            "boundary",
            MISSING,
            f"{arn} does not let hosts read blocks ({', '.join(closed)}): requests with evidence_by=direct would fail",
            update,
            needed=False,
        )
