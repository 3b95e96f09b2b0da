# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every fault the lab knows: what it does, what it can be narrowed to (`match`) and what can be set (`args`).

| name | what happens | match | args |
|---|---|---|---|
| ebs.throttle_account | 400 ThrottlingException: the quota of the account | action region snapshot block | |
| ebs.throttle_snapshot | 400 RequestThrottledException: the quota of one snapshot | action region snapshot block | |
| ebs.error_5xx | an internal error | action region snapshot block | status (500) |
| ebs.reset | the connection is reset instead of an answer | action region snapshot block | after_bytes (0) |
| ebs.stall | the answer stalls, then goes on | action region snapshot block | seconds (30), after_bytes (0) |
| ebs.truncate | the body ends early and the connection closes | action region snapshot block | bytes (half the body) |
| ebs.corrupt | one byte of the block is flipped, the checksum stays | action region snapshot block | offset (0) |
| ebs.expired_token | the page or block token counts as expired | action region snapshot block | |
| ec2.copy_fails | a copy ends in state `error` | *copy* | message |
| ec2.copy_slow | a copy stays pending for longer | *copy* | seconds (60) |
| ec2.kms_late_refusal | a copy ends in `error` for want of rights on its key | *copy* | message |
| ec2.no_capacity | RunInstances: InsufficientInstanceCapacity | region zone instance_type | |
| ec2.delete_refused | DeleteSnapshot fails | region snapshot | code (InternalError), message |
| ec2.product_code | a snapshot, its copies and volumes carry a Marketplace product code | region snapshot | code |
| ec2.boot_dies | the host ends while it boots | region instance instance_type | seconds (0) |
| host.ssh_blocked | port 22 of a host is unreachable | region instance instance_type | |
| host.foreign_keys | the console shows other SSH keys than the host has | region instance instance_type | |
| iam.not_yet | a role cannot be assumed, as until all of AWS knows it | role | |
| s3.put_refused | PutObject, UploadPart and the like: 403 | region bucket key method caller | status, code |
| s3.slow | a request to S3 waits before it is served | region bucket key method caller | seconds (5) |
| smtp.refuse | the mail server refuses a connection, from `stage` on | peer | stage (rcpt), code (550), text |
| aws.throttle | any API call: the throttling error of its service | service region action method path caller | |

*copy*: region snapshot source_region source_snapshot. A *caller* is named by the id of an access key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Point:
    """One fault point: a sentence, the context names it can be matched on, its settings and their types."""

    what: str
    match: tuple[str, ...] = ()
    args: Mapping[str, type] = field(default_factory=dict)


_EBS = ("action", "region", "snapshot", "block")
_COPY = ("region", "snapshot", "source_region", "source_snapshot")
_S3 = ("region", "bucket", "key", "method", "caller")

POINTS: Mapping[str, Point] = {
    "ebs.throttle_account": Point("400 ThrottlingException: the quota of the account", _EBS),
    "ebs.throttle_snapshot": Point("400 RequestThrottledException: the quota of one snapshot", _EBS),
    "ebs.error_5xx": Point("an internal error", _EBS, {"status": int}),
    "ebs.reset": Point("the connection is reset instead of an answer", _EBS, {"after_bytes": int}),
    "ebs.stall": Point("the answer stalls, then goes on", _EBS, {"seconds": float, "after_bytes": int}),
    "ebs.truncate": Point("the body ends early and the connection closes", _EBS, {"bytes": int}),
    "ebs.corrupt": Point("one byte of the block is flipped, the checksum stays", _EBS, {"offset": int}),
    "ebs.expired_token": Point("the page or block token counts as expired", _EBS),
    "ec2.copy_fails": Point("a copy ends in state error", _COPY, {"message": str}),
    "ec2.copy_slow": Point("a copy stays pending for longer", _COPY, {"seconds": float}),
    "ec2.kms_late_refusal": Point("a copy ends in error for want of rights on its key", _COPY, {"message": str}),
    "ec2.no_capacity": Point("RunInstances: InsufficientInstanceCapacity", ("region", "zone", "instance_type")),
    "ec2.delete_refused": Point("DeleteSnapshot fails", ("region", "snapshot"), {"code": str, "message": str}),
    "ec2.product_code": Point(
        "a snapshot, its copies and volumes carry a Marketplace product code", ("region", "snapshot"), {"code": str}
    ),
    "ec2.boot_dies": Point(
        "the host ends while it boots", ("region", "instance", "instance_type"), {"seconds": float}
    ),
    "host.ssh_blocked": Point("port 22 of a host is unreachable", ("region", "instance", "instance_type")),
    "host.foreign_keys": Point(
        "the console shows other SSH keys than the host has", ("region", "instance", "instance_type")
    ),
    "iam.not_yet": Point("a role cannot be assumed, as until all of AWS knows it", ("role",)),
    "s3.put_refused": Point(
        "PutObject, UploadPart and the like are refused", _S3, {"status": int, "code": str}
    ),
    "s3.slow": Point("a request to S3 waits before it is served", _S3, {"seconds": float}),
    "smtp.refuse": Point(
        "the mail server refuses a connection, from its stage on", ("peer",), {"stage": str, "code": int, "text": str}
    ),
    "aws.throttle": Point(
        "any API call: the throttling error of its service",
        ("service", "region", "action", "method", "path", "caller"),
    ),
}
