# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose a resource is, and what its own policy says: the other half of a decision across accounts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.config import ACCOUNTS

from . import moto_app, policy
from .policy import Need


def owner(resource: str, caller_account: str) -> str:
    """The account of a resource; what belongs to nobody in particular counts as the caller's."""
    parts = resource.split(":", 5)
    if len(parts) < 6:
        return caller_account
    if parts[4].isdigit():
        return parts[4]
    if parts[2] == "s3":
        bucket = moto_app.bucket(parts[5].split("/", 1)[0])
        return str(bucket.account_id) if bucket is not None else caller_account
    if parts[2] == "ec2" and parts[5].startswith("snapshot/snap-"):
        found = moto_app.snapshot(parts[3], parts[5].removeprefix("snapshot/"))
        return str(found.owner_id) if found is not None else caller_account
    return caller_account


def foreign(resource: str, owner_account: str, caller_account: str) -> bool:
    """Whether the other side must allow it as well. A snapshot's side is the list of accounts it is shared with."""
    return owner_account != caller_account and not resource.split(":", 5)[-1].startswith("snapshot/")


def policies(need: Need) -> tuple[list[Mapping[str, Any]], bool]:
    """The policy of what a need is about, and whether nobody may anything that it does not allow."""
    resource = need.resource
    if resource.startswith("arn:aws:s3:::"):
        bucket = moto_app.bucket(resource[13:].split("/", 1)[0])
        return ([_parsed(bucket.policy)] if bucket is not None and bucket.policy else []), False
    if need.action == "sts:AssumeRole" or need.action == "sts:SetSourceIdentity":
        role = _role(resource)
        return ([_parsed(role.assume_role_policy_document)] if role is not None else []), True
    if need.action.startswith("kms:") and ":key/" in resource:
        key = _key(resource)
        return ([_parsed(key.policy)] if key is not None else []), key is not None
    return [], False


def _parsed(text: Any) -> Mapping[str, Any]:
    return policy.parse(text.decode() if isinstance(text, bytes) else text)


def _role(arn: str) -> Any:
    account = arn.split(":")[4] if arn.count(":") >= 5 else ""
    if account not in ACCOUNTS:
        return None
    return next((role for role in moto_app.iam(account).get_roles() if role.arn == arn), None)


def _key(arn: str) -> Any:
    _, _, _, region, account, name = arn.split(":", 5)
    return moto_app.kms(region, account).keys.get(name.removeprefix("key/")) if account in ACCOUNTS else None
