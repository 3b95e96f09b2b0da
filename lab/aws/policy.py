# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides whether a principal may do something, as IAM does.

Explicit deny anywhere wins; otherwise identity policies must allow within the permissions boundary (and the session
policy), or a resource policy must allow the principal. On a resource of another account both must.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .conditions import CannotEvaluate, Context, as_list, conditions_hold, matches, substitute

STATEMENT_KEYS = {"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition", "Principal",
                  "NotPrincipal"}


@dataclass(frozen=True)
class Need:
    """One thing that a request needs to be allowed: an action on a resource, with what AWS knows about it."""

    action: str
    resource: str
    context: Context


@dataclass(frozen=True)
class Decision:
    """What policies say. `reason` ends the sentence of an access-denied answer, in AWS' words."""

    allowed: bool
    reason: str = ""


@dataclass(frozen=True)
class PolicySet:
    """All policies that speak about one principal."""

    identity: tuple[Mapping[str, Any], ...] = ()
    boundary: Mapping[str, Any] | None = None
    session: tuple[Mapping[str, Any], ...] = ()
    unlimited: bool = False  # the account's root user


def parse(document: str | Mapping[str, Any]) -> Mapping[str, Any]:
    """A policy document as a mapping."""
    loaded = json.loads(document) if isinstance(document, str) else document
    if not isinstance(loaded, Mapping) or "Statement" not in loaded:
        raise CannotEvaluate("a policy document without Statement")
    return loaded


def _listed(patterns: Any, value: str, context: Context, *, ignore_case: bool) -> bool:
    return any(matches(substitute(str(p), context), value, ignore_case=ignore_case) for p in as_list(patterns))


def _principal_listed(element: Any, principals: Iterable[str], account: str) -> bool:
    """`principals` are the ARNs under which the caller is known; none for an anonymous one."""
    if element == "*":
        return True
    known = set(principals)
    for kind, values in element.items():
        for value in as_list(values):
            if value == "*":
                return True
            if kind == "AWS" and (value in known or (known and value in (account, f"arn:aws:iam::{account}:root"))):
                return True
            if kind == "Service" and value in known:
                return True
            if kind not in ("AWS", "Service", "Federated", "CanonicalUser"):
                raise CannotEvaluate(f"the principal type {kind} is unknown to the lab")
    return False


def applies(statement: Mapping[str, Any], need: Need, principals: Iterable[str] | None, account: str) -> bool:
    """Whether a statement speaks about this need (`principals` is None for identity policies)."""
    strange = set(statement) - STATEMENT_KEYS
    if strange:
        raise CannotEvaluate(f"the policy element {sorted(strange)[0]} is unknown to the lab")
    if "Action" in statement:
        if not _listed(statement["Action"], need.action, {}, ignore_case=True):
            return False
    elif _listed(statement.get("NotAction", []), need.action, {}, ignore_case=True):
        return False
    if principals is not None:
        principals = list(principals)
        if "NotPrincipal" in statement:
            if _principal_listed(statement["NotPrincipal"], principals, account):
                return False
        elif not _principal_listed(statement.get("Principal", {}), principals, account):
            return False
    if "Resource" in statement:
        if not _listed(statement["Resource"], need.resource, need.context, ignore_case=False):
            return False
    elif "NotResource" in statement and _listed(statement["NotResource"], need.resource, need.context,
                                                ignore_case=False):
        return False
    return conditions_hold(statement.get("Condition", {}), need.context)


def says(policies: Iterable[Mapping[str, Any]], need: Need, effect: str, *, principals: Iterable[str] | None = None,
         account: str = "") -> Mapping[str, Any] | None:
    """The first statement with this effect that applies."""
    for policy in policies:
        for statement in as_list(policy["Statement"]):
            if statement.get("Effect") == effect and applies(statement, need, principals, account):
                return statement
    return None


def decide(need: Need, policies: PolicySet, *, principals: Iterable[str], account: str,
           resource_policies: Iterable[Mapping[str, Any]] = (), required: bool = False,
           foreign: bool = False) -> Decision:
    """Evaluate everything that speaks about the caller and the resource.

    `account` is the caller's. `required`: nobody may unless the resource's policy says so (KMS keys, trust in roles).
    `foreign`: the resource is another account's and has a policy, so that both sides must allow.
    """
    principals, resource_policies = list(principals), list(resource_policies)
    if policies.unlimited:
        denied = says(resource_policies, need, "Deny", principals=principals, account=account)
        return Decision(denied is None, "with an explicit deny in a resource-based policy" if denied else "")
    boundary = [policies.boundary] if policies.boundary is not None else []
    for kind, documents in (("an identity-based", policies.identity), ("a permissions boundary", boundary),
                            ("a session", policies.session)):
        if says(documents, need, "Deny"):
            name = kind if "boundary" in kind else f"{kind} policy"
            return Decision(False, f"with an explicit deny in {name}")
    if says(resource_policies, need, "Deny", principals=principals, account=account):
        return Decision(False, "with an explicit deny in a resource-based policy")
    if (required or foreign) and not says(resource_policies, need, "Allow", principals=principals, account=account):
        return Decision(False, f"because no resource-based policy allows the {need.action} action")
    # A policy that names the caller's account only lets that account decide: it grants nobody anything by itself.
    granted = None if foreign else says(resource_policies, need, "Allow", principals=principals)
    if granted is not None and _direct(granted, principals, account):
        return Decision(True)
    if granted is None and not says(policies.identity, need, "Allow"):
        return Decision(False, f"because no identity-based policy allows the {need.action} action")
    if boundary and not says(boundary, need, "Allow"):
        return Decision(False, f"because no permissions boundary allows the {need.action} action")
    if policies.session and not says(policies.session, need, "Allow"):
        return Decision(False, f"because no session policy allows the {need.action} action")
    return Decision(True)


def _direct(statement: Mapping[str, Any], principals: list[str], account: str) -> bool:
    """A resource policy that names a user or a session itself is not limited by a boundary; one that names a role,
    everybody or the account is."""
    if not principals:
        return True
    named = statement.get("Principal")
    values = as_list(named.get("AWS", [])) if isinstance(named, Mapping) else []
    return any(value in principals and (":user/" in value or ":assumed-role/" in value) for value in values)
