# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles that work: IAM tells of a new role or policy before the rest of AWS knows it, so it is asked until it does."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .steps import ClientError, Site, code_of

DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthFailure", "InvalidClientTokenId",
          "UnrecognizedClientException", "InvalidAccessKeyId", "403")
SESSION = "dfir-setup"
PAUSE = 2.0

Client = Callable[[str, str, Mapping[str, str]], Any]


def admits(caller: str, site: Site, wanted: Mapping[str, Any]) -> bool:
    """Whether a role's trust lets the caller try it: by name, or by the account, and with no further conditions."""
    role = caller.replace(":sts:", ":iam:").replace(":assumed-role/", ":role/").rpartition("/")[0] \
        if ":assumed-role/" in caller else ""
    return not wanted["service"] and not wanted["conditions"] and \
        bool({caller, role, site.iam("root", "", "")} & set(wanted["principals"]))


def probe(client: Client, region: str, bucket: str, credentials: Mapping[str, str]) -> bool:
    """Whether the policies of a session have arrived: one of two reads that our roles may do works."""
    for service, ask in (("s3", lambda s3: s3.list_objects_v2(Bucket=bucket, Prefix="toolbox/", MaxKeys=1)),
                         ("ec2", lambda ec2: ec2.describe_snapshots(OwnerIds=["self"], MaxResults=5))):
        try:
            ask(client(service, region, credentials))
            return True
        except ClientError as error:
            if code_of(error) == "NoSuchBucket":
                return True  # who may not list it does not learn that
            if code_of(error) not in DENIED:
                raise
    return False


def wait(site: Site, roles: Sequence[Mapping[str, Any]], caller: str, client: Client, region: str, bucket: str,
         limit: float, pause: float = PAUSE) -> tuple[list[str], list[str], list[str]]:
    """Ask each role until it works: those that do, those that do not within the limit, those that cannot be asked.

    :param limit: seconds for all of them together.
    """
    asked = [role for role in roles if admits(caller, site, role)]
    unasked = [str(role["name"]) for role in roles if role not in asked]
    sts, end, ready = site.client("sts", region), time.monotonic() + limit, []
    left = [str(role["name"]) for role in asked]
    while left:
        for name in list(left):
            if _works(sts, client, site.iam("role", name), region, bucket):
                left.remove(name)
                ready.append(name)
        if not left or time.monotonic() >= end:
            break
        time.sleep(pause)
    return ready, left, unasked


def _works(sts: Any, client: Client, arn: str, region: str, bucket: str) -> bool:
    try:
        given = sts.assume_role(RoleArn=arn, RoleSessionName=SESSION, DurationSeconds=900)["Credentials"]
    except ClientError as error:
        if code_of(error) not in DENIED:
            raise
        return False
    return probe(client, region, bucket, {
        "aws_access_key_id": given["AccessKeyId"], "aws_secret_access_key": given["SecretAccessKey"],
        "aws_session_token": given["SessionToken"]})
