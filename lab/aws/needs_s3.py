# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an S3 call needs to be allowed, per Amazon's service authorization reference."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree

from lab.contracts import Refused

from .calls import Call
from .policy import Need

CREATES_OBJECT = {"PutObject": "true", "CopyObject": "true", "CompleteMultipartUpload": "true",
                  "CreateMultipartUpload": "false", "UploadPart": "false", "UploadPartCopy": "false"}
ACTIONS = {
    **dict.fromkeys(CREATES_OBJECT, "PutObject"),
    "HeadObject": "GetObject", "HeadBucket": "ListBucket", "ListObjects": "ListBucket", "ListObjectsV2": "ListBucket",
    "ListBuckets": "ListAllMyBuckets", "ListObjectVersions": "ListBucketVersions",
    "ListMultipartUploads": "ListBucketMultipartUploads", "ListParts": "ListMultipartUploadParts",
    "GetBucketEncryption": "GetEncryptionConfiguration", "PutBucketEncryption": "PutEncryptionConfiguration",
    "DeleteBucketEncryption": "PutEncryptionConfiguration", "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock", "DeletePublicAccessBlock": "PutBucketPublicAccessBlock",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    "DeleteBucketLifecycle": "PutLifecycleConfiguration",
    "GetObjectLockConfiguration": "GetBucketObjectLockConfiguration",
    "PutObjectLockConfiguration": "PutBucketObjectLockConfiguration",
    "GetBucketCors": "GetBucketCORS", "PutBucketCors": "PutBucketCORS", "DeleteBucketCors": "PutBucketCORS",
    "GetBucketTagging": "GetBucketTagging", "DeleteBucketTagging": "PutBucketTagging",
    "GetBucketAccelerateConfiguration": "GetAccelerateConfiguration",
    "GetBucketReplication": "GetReplicationConfiguration",
    "GetBucketNotificationConfiguration": "GetBucketNotification",
    "PutBucketNotificationConfiguration": "PutBucketNotification",
}
VERSIONED = {"GetObject": "GetObjectVersion", "HeadObject": "GetObjectVersion", "DeleteObject": "DeleteObjectVersion",
             "GetObjectTagging": "GetObjectVersionTagging", "GetObjectAcl": "GetObjectVersionAcl"}
# Answered by moto as if they did something, which they do not.
REFUSED = {"SelectObjectContent", "RestoreObject", "CreateSession", "WriteGetObjectResponse"}


def arn(bucket: str, key: str | None = None) -> str:
    """The ARN of a bucket or of an object in it."""
    return f"arn:aws:s3:::{bucket}" + (f"/{key}" if key is not None else "")


def copy_source(call: Call) -> tuple[str, str, str | None] | None:
    """Bucket, key and version that a copy reads."""
    raw = call.headers.get("x-amz-copy-source")
    if not raw:
        return None
    parts = urlsplit(raw)
    bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
    return bucket, key, parse_qs(parts.query).get("versionId", [None])[0]


def context(call: Call) -> dict[str, list[str]]:
    """The s3: condition keys of a call."""
    keys: dict[str, list[str]] = {}
    for header in ("if-match", "if-none-match"):
        if header in call.headers:
            keys[f"s3:{header}"] = [call.headers[header]]
    for header, value in call.headers.items():
        if header.startswith("x-amz-"):
            keys[f"s3:{header}"] = [value]
    for name, key in (("prefix", "s3:prefix"), ("delimiter", "s3:delimiter"), ("max-keys", "s3:max-keys"),
                      ("versionId", "s3:versionid")):
        if name in call.params:
            keys[key] = [str(call.params[name])]
    if call.operation in CREATES_OBJECT:
        keys["s3:objectcreationoperation"] = [CREATES_OBJECT[call.operation]]
    if call.signature:
        keys["s3:authtype"] = ["REST-QUERY-STRING" if call.signature.presigned else "REST-HEADER"]
        keys["s3:signatureversion"] = ["AWS4-HMAC-SHA256"]
    return keys


def deleted_keys(call: Call) -> list[tuple[str, str | None]]:
    """Keys and versions that a multi-object delete names."""
    try:
        tree = ElementTree.fromstring(call.body)  # noqa: S314  the lab's own clients, no entities
    except ElementTree.ParseError:
        raise Refused(400, "MalformedXML", "The XML you provided was not well-formed.") from None
    found = []
    for item in tree.iter():
        if item.tag.rsplit("}", 1)[-1] == "Object":
            fields = {child.tag.rsplit("}", 1)[-1]: child.text or "" for child in item}
            found.append((fields.get("Key", ""), fields.get("VersionId")))
    return found


def needs(call: Call, base: dict[str, list[str]]) -> list[Need]:
    """All that must be allowed for this call."""
    if call.operation in REFUSED:
        raise Refused(400, "LabNotImplemented", f"The lab has no honest {call.operation}: nothing would happen.")
    ctx = {**base, **context(call)}
    bucket, key = call.params.get("Bucket"), call.params.get("Key")
    if not bucket:
        return [Need(f"s3:{ACTIONS.get(call.operation, call.operation)}", "*", ctx)]
    if call.operation == "DeleteObjects":
        return [Need("s3:DeleteObjectVersion" if version else "s3:DeleteObject", arn(bucket, name), ctx)
                for name, version in deleted_keys(call)]
    action = ACTIONS.get(call.operation, call.operation)
    if call.params.get("versionId"):
        action = VERSIONED.get(call.operation, action)
    out = [Need(f"s3:{action}", arn(bucket, key), ctx)]
    if call.operation in ("PutObject", "CopyObject", "CreateMultipartUpload"):
        if "x-amz-tagging" in call.headers:
            out.append(Need("s3:PutObjectTagging", arn(bucket, key), ctx))
        if "x-amz-object-lock-retain-until-date" in call.headers:
            out.append(Need("s3:PutObjectRetention", arn(bucket, key), ctx))
        if re.search(r"x-amz-(acl|grant-)", " ".join(call.headers)):
            out.append(Need("s3:PutObjectAcl", arn(bucket, key), ctx))
    if action == "PutObject" and "if-match" in call.headers:
        # A conditional overwrite compares with what is there, so it needs to read it.
        out.append(Need("s3:GetObject", arn(bucket, key), ctx))
    if call.operation == "GetObjectAttributes":
        out.append(Need("s3:GetObject", arn(bucket, key), ctx))
    source = copy_source(call)
    if source and call.operation in ("CopyObject", "UploadPartCopy"):
        out.append(Need("s3:GetObjectVersion" if source[2] else "s3:GetObject", arn(source[0], source[1]), base))
    return out
