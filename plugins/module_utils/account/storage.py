# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where results and evidence lie: the artifact bucket with its policy, and the KMS keys of the analysis regions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .findings import MANUAL, MISSING, OK, RIGHTS, UNKNOWN, Asks, ClientError, Finding, code_of, is_denied
from .policies import Call, Undecidable, decide, parse

CREATED = {"s3:objectcreationoperation": "true", "aws:securetransport": "true"}


def bucket(asks: Asks) -> Iterator[Finding]:
    """The bucket: there, where it is said to be, versioned, closed to the public, write-once by its policy."""
    name, region = asks.bucket, asks.bucket_region
    s3 = asks.client("s3", region)
    create = (
        f"aws s3api create-bucket --bucket {name} --region {region} "
        f"--create-bucket-configuration LocationConstraint={region} ({MANUAL}#bucket)"
    )
    try:
        answer = s3.head_bucket(Bucket=name)
    except ClientError as error:
        answer = error.response
        if code_of(error) in ("404", "NoSuchBucket"):
            yield Finding("bucket", MISSING, f"there is no bucket {name}", create)
            return
        if is_denied(error):
            text = f"{name} is none, another account's, or the caller has no right to it (s3:ListBucket)"
            yield Finding("bucket", MISSING, text, f"dfir_aws_artifact_bucket, or {RIGHTS}")
            return
        if code_of(error) not in ("301", "400", "PermanentRedirect"):  # what S3 says of a bucket that lies elsewhere
            raise
    location = answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region", "another region")
    if location != region:
        text = f"{name} lies in {location}, not in {region}"
        yield Finding("bucket", MISSING, text, f"dfir_aws_artifact_bucket_region {location}")
        return
    yield Finding("bucket", OK, f"{name} in {region}")
    yield from _versioning(s3, name)
    yield from _public(s3, name)
    yield from _policy(asks, s3, name)


def _versioning(s3: Any, name: str) -> Iterator[Finding]:
    if s3.get_bucket_versioning(Bucket=name).get("Status") == "Enabled":
        yield Finding("bucket", OK, "it keeps versions")
    else:
        yield Finding(
            "bucket",
            MISSING,
            "it does not keep versions",
            f"aws s3api put-bucket-versioning --bucket {name} --versioning-configuration Status=Enabled",
        )


def _public(s3: Any, name: str) -> Iterator[Finding]:
    try:
        block = s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"]
    except ClientError as error:
        if code_of(error) != "NoSuchPublicAccessBlockConfiguration":
            raise
        block = {}
    flags = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    if all(block.get(flag) for flag in flags):
        yield Finding("bucket", OK, "it is closed to the public")
    else:
        yield Finding(
            "bucket",
            MISSING,
            "public access to it is not blocked",
            "aws s3api put-public-access-block --bucket "
            f"{name} --public-access-block-configuration " + ",".join(f"{flag}=true" for flag in flags),
        )


def _policy(asks: Asks, s3: Any, name: str) -> Iterator[Finding]:
    put = (
        f"aws s3api put-bucket-policy --bucket {name} --policy file://policies/bucket-policy-with-tls.json "
        f"({MANUAL}#bucket)"
    )
    try:
        statements = parse(s3.get_bucket_policy(Bucket=name)["Policy"])
    except ClientError as error:
        if code_of(error) != "NoSuchBucketPolicy":
            raise
        yield Finding("bucket policy", MISSING, "there is none", put)
        return
    for text, call, wanted in _demands(name, str(asks.settings["account"]), str(asks.settings["partition"])):
        try:
            held = (decide(statements, call) == "deny") == wanted
        except Undecidable as error:
            yield Finding("bucket policy", UNKNOWN, f"{text} ({error} is not understood here)")
            continue
        if held:
            yield Finding("bucket policy", OK, text)
        elif "TLS" in text and s3.meta.endpoint_url.startswith("http://"):
            yield Finding("bucket policy", UNKNOWN, f"{text} (this endpoint speaks plain HTTP)")
        else:
            yield Finding("bucket policy", MISSING, f"it does not hold that {text}", put)


def _demands(name: str, account: str, partition: str) -> list[tuple[str, Call, bool]]:
    """What the policy must hold: the sentence, a call that shows it, and whether that call must be denied."""
    objects = f"arn:{partition}:s3:::{name}/"
    artifact, record = f"{objects}INC-0/snap-0/x", f"{objects}requests/{'0' * 16}.json"
    host = {**CREATED, "aws:principalarn": f"arn:{partition}:iam::{account}:role/dfir/dfir-0"}
    ours = {**CREATED, "aws:principalarn": f"arn:{partition}:iam::{account}:role/dfir-controller"}
    new, same = {"s3:if-none-match": "*"}, {"s3:if-match": '"0"'}
    return [
        ("artifacts are written once (If-None-Match demanded)", Call("s3:PutObject", artifact, host), True),
        ("hosts may write new artifacts", Call("s3:PutObject", artifact, {**host, **new}), False),
        ("records change by compare-and-swap only", Call("s3:PutObject", record, ours), True),
        ("the controller may change records", Call("s3:PutObject", record, {**ours, **same}), False),
        ("hosts write no records", Call("s3:PutObject", record, {**host, **new}), True),
        ("hosts write no tools", Call("s3:PutObject", f"{objects}toolbox/x", {**host, **new}), True),
        ("nobody but retention deletes", Call("s3:DeleteObject", artifact, ours), True),
        ("nobody but retention deletes versions", Call("s3:DeleteObjectVersion", artifact, ours), True),
        ("only TLS is spoken", Call("s3:PutObject", artifact, {**ours, **new, "aws:securetransport": "false"}), True),
    ]


def key(asks: Asks, region: str) -> Iterator[Finding]:
    """The key of copies and volumes in an analysis region."""
    name = str(asks.settings["kms_key_id"] or "")
    if not name:
        yield Finding(
            "KMS key", OK, "the region's default key for EBS; what it encrypts can never be shared", "", region
        )
        return
    create = (
        f"KEY=$(aws kms create-key --region {region} --query KeyMetadata.KeyId --output text); aws kms create-alias "
        f"--region {region} --alias-name {name} --target-key-id $KEY"
        if name.startswith("alias/")
        else f"name an alias that each region has ({MANUAL}#encryption-keys)"
    )
    try:
        found = asks.client("kms", region).describe_key(KeyId=name)["KeyMetadata"]
    except ClientError as error:
        if code_of(error) not in ("NotFoundException", "InvalidArnException"):
            raise
        yield Finding("KMS key", MISSING, f"there is no key {name}", create, region)
        return
    if found.get("KeyState", "Enabled") != "Enabled":
        remedy = "cancel-key-deletion" if found["KeyState"] == "PendingDeletion" else "enable-key"
        yield Finding(
            "KMS key",
            MISSING,
            f"{name} is in state {found['KeyState']}",
            f"aws kms {remedy} --region {region} --key-id {found['KeyId']}",
            region,
        )
    elif found.get("KeySpec", "SYMMETRIC_DEFAULT") != "SYMMETRIC_DEFAULT":
        yield Finding(
            "KMS key",
            MISSING,
            f"{name} is a key of the kind {found['KeySpec']}, EBS takes SYMMETRIC_DEFAULT",
            create,
            region,
        )
    else:
        yield Finding("KMS key", OK, name, "", region)
