# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is calling: users and role sessions behind access keys, with the policies that speak about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from lab.config import ACCOUNT, ACCOUNTS
from lab.contracts import Refused

from . import moto_app, policy


@dataclass(frozen=True)
class Principal:
    """A caller. `arns` are the names by which policies may call it; `arn` is the one that messages show."""

    kind: str  # User, AssumedRole or Anonymous
    arn: str
    secret: str = ""
    token: str | None = None
    user_id: str = ""
    user_name: str = ""
    principal_arn: str = ""  # aws:PrincipalArn: for a session that of its role
    arns: tuple[str, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    instance_arn: str | None = None
    issued: datetime | None = None
    owner: Any = None
    session_policy: str | None = None
    account: str = ACCOUNT
    source_identity: str = ""

    @property
    def anonymous(self) -> bool:
        return self.kind == "Anonymous"


ANONYMOUS = Principal("Anonymous", "anonymous")


def _refuse_key(service: str) -> Refused:
    if service == "s3":
        return Refused(403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
    if service == "ec2":
        return Refused(401, "AuthFailure", "AWS was not able to validate the provided access credentials")
    code = "InvalidClientTokenId" if service in ("iam", "sts", "sns") else "UnrecognizedClientException"
    return Refused(403, code, "The security token included in the request is invalid.")


def _refuse_expired(service: str) -> Refused:
    if service == "ec2":
        return Refused(400, "RequestExpired", "Request has expired.")
    if service == "s3":
        return Refused(400, "ExpiredToken", "The provided token has expired.")
    code = "ExpiredToken" if service in ("iam", "sts", "sns") else "ExpiredTokenException"
    return Refused(403 if service != "ebs" else 400, code, "The security token included in the request is expired")


def _user(access_key: str, account: str) -> Principal | None:
    iam = moto_app.iam(account)
    for user in list(iam.users.values()):
        for key in user.access_keys:
            if key.access_key_id == access_key and key.status == "Active":
                tags = {tag["Key"]: tag["Value"] for tag in iam.tagger.list_tags_for_resource(user.arn)["Tags"]}
                return Principal("User", user.arn, key.secret_access_key, None, user.id, user.name, user.arn,
                                 (user.arn,), tags, owner=user, account=account)
    return None


def _session(access_key: str, service: str, now: datetime, account: str) -> Principal | None:
    session = moto_app.sts(account).get_assumed_role_from_access_key(access_key)
    if session is None:
        return None
    if session.expiration.replace(tzinfo=timezone.utc) <= now:
        raise _refuse_expired(service)
    # A session outlives neither its role nor the role's policies: both are looked up at each request.
    role = next((r for r in moto_app.iam(account).get_roles() if r.arn == session.role_arn), None)
    if role is None:
        raise _refuse_key(service)
    tags = {tag["Key"]: tag["Value"] for tag in role.tags}
    return Principal("AssumedRole", session.arn, session.secret_access_key, session.session_token,
                     f"{role.id}:{session.session_name}", "", role.arn, (session.arn, role.arn), tags,
                     getattr(session, "lab_instance_arn", None), getattr(session, "lab_issued", None), role,
                     session.policy, account, getattr(session, "lab_source_identity", ""))


def find(access_key: str, token: str | None, service: str, now: datetime | None = None) -> Principal:
    """The caller behind an access key. Refuses unknown, inactive, mismatched and expired ones, as `service` would."""
    now = now or datetime.now(timezone.utc)
    found = next((caller for account in ACCOUNTS if (
        caller := _user(access_key, account) or _session(access_key, service, now, account)) is not None), None)
    if found is None:
        raise _refuse_key(service)
    if (found.token or None) != (token or None):
        raise _refuse_key(service)
    return found


def default_document(managed: Any) -> str:
    """The default version of a managed policy."""
    return str(next(v.document for v in managed.versions if v.is_default))


def _documents(owner: Any) -> list[Any]:
    managed = [default_document(entry) for entry in owner.managed_policies.values()]
    return [policy.parse(text) for text in [*owner.policies.values(), *managed]]


def policies(caller: Principal) -> policy.PolicySet:
    """All policies that say what a caller may do."""
    if caller.anonymous:
        return policy.PolicySet()
    owner = caller.owner
    identity = _documents(owner)
    if caller.kind == "User":
        for group in moto_app.iam(caller.account).get_groups_for_user(owner.name):
            identity += _documents(group)
    boundary = None
    arn = boundary_arn(owner)
    if arn:
        managed = moto_app.iam(caller.account).managed_policies.get(arn)
        # A boundary that was deleted allows nothing.
        boundary = policy.parse(default_document(managed)) if managed else {"Statement": []}
    session = (policy.parse(caller.session_policy),) if caller.session_policy else ()
    return policy.PolicySet(tuple(identity), boundary, session)


def boundary_arn(owner: Any) -> str | None:
    """The permissions boundary of a user or role (moto keeps a user's elsewhere)."""
    arn = getattr(owner, "permissions_boundary_arn", None)
    return str(arn) if arn else None


def context(caller: Principal) -> dict[str, list[str]]:
    """The condition keys that describe the caller."""
    if caller.anonymous:
        return {"aws:principaltype": ["Anonymous"], "aws:userid": ["anonymous"]}
    keys = {
        "aws:principalarn": [caller.principal_arn], "aws:principalaccount": [caller.account],
        "aws:principaltype": [caller.kind], "aws:userid": [caller.user_id],
    }
    if caller.user_name:
        keys["aws:username"] = [caller.user_name]
    for key, value in caller.tags.items():
        keys[f"aws:principaltag/{key.lower()}"] = [value]
    if caller.instance_arn:
        keys["ec2:sourceinstancearn"] = [caller.instance_arn]
    if caller.source_identity:
        keys["aws:sourceidentity"] = [caller.source_identity]
    if caller.issued:
        keys["aws:tokenissuetime"] = [caller.issued.isoformat()]
    return keys
