# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The artifact bucket: versioned, closed to the public, written once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .documents import Documents, short
from .steps import (
    CREATE,
    KEEP,
    REFUSE,
    REMOVE,
    STAY,
    TAG,
    Site,
    Step,
    code_of,
    managed,
    our_tags,
    same,
    tags_of,
    unless,
)

try:
    from botocore.exceptions import ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    ClientError = Exception  # type: ignore[assignment,misc]

PART, POLICY, TLS = "bucket", "artifact-bucket-policy.json", "artifact-bucket-tls-statement.json"
PRICED = "0.023 a GB-month, 0.005 for 1,000 writes"
CLOSED = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
ABORT = "abort-uploads"
NONE = ("404", "NoSuchBucket", "NotFound", "NoSuchBucketPolicy", "NoSuchTagSet", "NoSuchLifecycleConfiguration",
        "NoSuchPublicAccessBlockConfiguration", "ObjectLockConfigurationNotFoundError",
        "ServerSideEncryptionConfigurationNotFoundError")
FOREIGN = ("403", "AccessDenied", "Forbidden", "301", "PermanentRedirect")


class Bucket:
    """One bucket as it is, with what this set-up asks of any bucket."""

    def __init__(self, s3: Any, name: str, region: str) -> None:
        self.s3, self.name, self.region = s3, name, region

    def state(self) -> str:
        """`there`, `missing`, or `foreign`: of another account, or in another region."""
        try:
            self.s3.head_bucket(Bucket=self.name)
        except ClientError as error:
            if code_of(error) in NONE:
                return "missing"
            if code_of(error) in FOREIGN:
                return "foreign"
            raise
        return "there"

    def create(self, **more: Any) -> None:
        """Make it, with its tag right after: S3 takes none while creating."""
        where = {} if self.region == "us-east-1" else {
            "CreateBucketConfiguration": {"LocationConstraint": self.region}}
        self.s3.create_bucket(Bucket=self.name, **where, **more)
        self.tag()
        self.s3.put_public_access_block(Bucket=self.name, PublicAccessBlockConfiguration=CLOSED)

    def tags(self) -> dict[str, str]:
        """Its tags."""
        told = unless(NONE, lambda: self.s3.get_bucket_tagging(Bucket=self.name))
        return tags_of(told["TagSet"]) if told else {}

    def tag(self) -> None:
        """Make it ours; its other tags stay."""
        tags = {**self.tags(), **tags_of(our_tags())}
        self.s3.put_bucket_tagging(Bucket=self.name, Tagging={"TagSet": [
            {"Key": key, "Value": value} for key, value in tags.items()]})

    def closed(self) -> bool:
        """Whether it is closed to the public by all four settings."""
        told = unless(NONE, lambda: self.s3.get_public_access_block(Bucket=self.name))
        return bool(told and told["PublicAccessBlockConfiguration"] == CLOSED)

    def policy(self) -> str | None:
        """Its policy."""
        told = unless(NONE, lambda: self.s3.get_bucket_policy(Bucket=self.name))
        return None if told is None else str(told["Policy"])

    def empty(self) -> bool:
        """Whether nothing lies in it: no object, no older version, no upload that is under way."""
        seen = self.s3.list_object_versions(Bucket=self.name, MaxKeys=1)
        return not (seen.get("Versions") or seen.get("DeleteMarkers")
                    or self.s3.list_multipart_uploads(Bucket=self.name, MaxUploads=1).get("Uploads"))

    def removal(self, part: str) -> Step:
        """It goes when it is ours and nothing lies in it."""
        thing = f"bucket {self.name}"
        state = self.state()
        if state != "there":
            return Step(part, thing, KEEP if state == "missing" else STAY,
                        "is not there" if state == "missing" else "another account's, or in another region")
        if TAG not in self.tags():
            return Step(part, thing, STAY, f"not ours: no tag {TAG}")
        if not self.empty():
            return Step(part, thing, STAY, "holds objects, or older versions of them", priced=PRICED)
        return Step(part, thing, REMOVE, act=lambda: self.s3.delete_bucket(Bucket=self.name))


def artifact_policy(documents: Documents, tls: bool) -> dict[str, Any]:
    """The policy of the artifact bucket, with the statement that refuses plain HTTP."""
    policy = documents.read(POLICY)
    if tls:
        policy["Statement"].append(documents.read(TLS))
    return policy


def _retention(lock: Mapping[str, Any]) -> dict[str, Any]:
    return {"ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": lock["mode"].upper(), "Days": lock["days"]}}}


def present(site: Site, documents: Documents, name: str, region: str, *, tls: bool, lock: Mapping[str, Any],
            key: str, abort_days: int) -> Iterator[Step]:
    """The bucket as it should be.

    :param lock: `mode` and `days` of Object Lock; nothing: none.
    :param key: the key it encrypts with; empty: S3's own.
    """
    s3, policy = site.client("s3", region), artifact_policy(documents, tls)
    bucket, thing = Bucket(s3, name, region), f"bucket {name}"
    state = bucket.state()
    if state == "foreign":
        yield Step(PART, thing, REFUSE, f"is another account's, or lies in another region than {region}")
        return

    def set_up(differs: Sequence[str]) -> None:
        if "not versioned" in differs:
            s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        if "open to the public" in differs:
            s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=CLOSED)
        if "another default key" in differs:
            s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration=_encryption(key))
        if "no rule that ends uploads" in differs:
            s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={
                "Rules": [*_rules(s3, name), _abort(abort_days)]})
        if "no Object Lock" in differs:
            s3.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=_retention(lock))
        if "its policy" in differs:
            s3.put_bucket_policy(Bucket=name, Policy=short(policy))

    if state == "missing":
        wanted = ["not versioned", "no rule that ends uploads", "its policy", *(["another default key"] if key else []),
                  *(["no Object Lock"] if lock else [])]

        def create() -> None:
            bucket.create(**({"ObjectLockEnabledForBucket": True} if lock else {}))
            set_up(wanted)

        yield Step(PART, thing, CREATE, f"in {region}{_locked(lock)}", priced=PRICED, act=create)
        return
    differs = _differs(bucket, policy, lock, key)
    yield managed(site, PART, thing, TAG in bucket.tags(), differs, bucket.tag, lambda: set_up(differs), priced=PRICED)


def _locked(lock: Mapping[str, Any]) -> str:
    return f", Object Lock {lock['mode']} for {lock['days']} days" if lock else ""


def _differs(bucket: Bucket, policy: Mapping[str, Any], lock: Mapping[str, Any], key: str) -> list[str]:
    s3, name, found = bucket.s3, bucket.name, []
    if s3.get_bucket_versioning(Bucket=name).get("Status") != "Enabled":
        found.append("not versioned")
    if not bucket.closed():
        found.append("open to the public")
    if key:
        told = unless(NONE, lambda: s3.get_bucket_encryption(Bucket=name))
        if not told or told["ServerSideEncryptionConfiguration"]["Rules"] != _encryption(key)["Rules"]:
            found.append("another default key")
    if not any("AbortIncompleteMultipartUpload" in rule and rule["Status"] == "Enabled" for rule in _rules(s3, name)):
        found.append("no rule that ends uploads")
    if lock:
        told = unless(NONE, lambda: s3.get_object_lock_configuration(Bucket=name))
        rule = ((told or {}).get("ObjectLockConfiguration", {}).get("Rule") or {}).get("DefaultRetention", {})
        if (rule.get("Mode"), rule.get("Days")) != (lock["mode"].upper(), lock["days"]):
            found.append("no Object Lock")
    now = bucket.policy()
    if now is None or not same(now, policy):
        found.append("its policy")
    return found


def _encryption(key: str) -> dict[str, Any]:
    return {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key},
                       "BucketKeyEnabled": True}]}


def _rules(s3: Any, name: str) -> list[dict[str, Any]]:
    told = unless(NONE, lambda: s3.get_bucket_lifecycle_configuration(Bucket=name))
    return list(told["Rules"]) if told else []


def _abort(days: int) -> dict[str, Any]:
    return {"ID": ABORT, "Status": "Enabled", "Filter": {"Prefix": ""},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": days}}


def absent(site: Site, name: str, region: str) -> Iterator[Step]:
    """The bucket goes when it is ours and nothing lies in it."""
    yield Bucket(site.client("s3", region), name, region).removal(PART)
