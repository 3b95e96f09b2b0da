# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trails of CloudTrail: their settings alone, and what CloudTrail asks of the bucket before it takes one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lab.config import ACCOUNT
from lab.contracts import Refused

from .calls import Call
from .policy import Need, says

SERVICE = "cloudtrail.amazonaws.com"
NOT_DELIVERED = "The lab's trails deliver nothing."


def arn(region: str, name: str) -> str:
    """The ARN of a trail by its name or ARN."""
    return name if name.startswith("arn:") else f"arn:aws:cloudtrail:{region}:{ACCOUNT}:trail/{name}"


def check(call: Call, policies: Callable[[Need], Iterable[Mapping[str, Any]]]) -> None:
    """Refuse a trail to whose bucket CloudTrail may not write, as AWS does."""
    bucket = call.params.get("S3BucketName")
    if call.operation not in ("CreateTrail", "UpdateTrail") or not bucket:
        return
    source = {"aws:sourcearn": [arn(call.region, call.params["Name"])], "aws:sourceaccount": [ACCOUNT]}
    for action, resource, more in (
            ("s3:GetBucketAcl", f"arn:aws:s3:::{bucket}", {}),
            ("s3:PutObject", f"arn:aws:s3:::{bucket}/AWSLogs/{ACCOUNT}/CloudTrail/x",
             {"s3:x-amz-acl": ["bucket-owner-full-control"]})):
        need = Need(action, resource, {**source, **more})
        found = list(policies(need))
        if not says(found, need, "Allow", principals=[SERVICE], account=ACCOUNT) or says(
                found, need, "Deny", principals=[SERVICE], account=ACCOUNT):
            raise Refused(400, "InsufficientS3BucketPolicyException",
                          f"Incorrect S3 bucket policy is detected for bucket: {bucket}")


def answer(call: Call, body: bytes) -> bytes:
    """What is said of a trail's status: that nothing is delivered."""
    if call.operation != "GetTrailStatus" or b"IsLogging" not in body:
        return body
    return json.dumps({**json.loads(body), "LatestDeliveryError": NOT_DELIVERED}).encode()
