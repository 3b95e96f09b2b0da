# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at KMS keys before they are needed: their state, who manages them, and what dry runs say.

KMS answers a call with DryRun with DryRunOperationException when it would have done it. What a dry run cannot tell: a
policy that allows something by way of EC2 alone (kms:ViaService, kms:GrantIsForAWSResource) refuses our own call and
not EC2's. Such an answer is "not checkable", and stops nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from ..waits import code_of
from .words import NOT_CHECKABLE, OK, REFUSED, RIGHTS, aws_said, refusal, unfit, unusable

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception  # type: ignore[assignment,misc]

DRY = "DryRunOperationException"
CERTAIN = ("DisabledException", "KMSInvalidStateException", "NotFoundException", "InvalidKeyUsageException",
           "KeyUnavailableException")
BY_SERVICES = ("kms:viaservice", "kms:grantisforawsresource")


def account_of(arn: str) -> str:
    """The account in a key's ARN; empty where it is none."""
    parts = str(arn or "").split(":")
    return parts[4] if len(parts) > 5 else ""


def look(kms: Any, key: str) -> dict[str, Any]:
    """What DescribeKey tells: `arn`, `account`, `manager`, `state`, `problem`; `known` is false when it may not be
    asked, and nothing follows from that."""
    unknown = {"arn": key, "account": account_of(key), "manager": "", "state": "", "problem": "", "known": False}
    try:
        found = kms.describe_key(KeyId=key)["KeyMetadata"]
    except (ClientError, BotoCoreError) as error:
        if code_of(error) == "NotFoundException" and not account_of(key):
            return {**unknown, "problem": f"There is no key {key}: {aws_said(error)}"}
        return {**unknown, "why": aws_said(error)}
    arn, state = str(found["Arn"]), str(found.get("KeyState") or "")
    problem = ""
    if state not in ("", "Enabled", "Creating", "Updating"):
        problem = unusable(arn, state)
    elif found.get("KeyUsage", "ENCRYPT_DECRYPT") != "ENCRYPT_DECRYPT":
        problem = unfit(arn, f"is for {found['KeyUsage']}")
    elif found.get("KeySpec", "SYMMETRIC_DEFAULT") != "SYMMETRIC_DEFAULT":
        problem = unfit(arn, f"is of the kind {found['KeySpec']}")
    return {"arn": arn, "account": account_of(arn), "manager": str(found.get("KeyManager") or ""), "state": state,
            "problem": problem, "known": True}


def policy_of(kms: Any, key: str) -> list[str] | None:
    """Of a key's policy the patterns of actions that it ties to calls by way of services; None where it cannot be read.

    Only the key's own account may read it.
    """
    try:
        statements = json.loads(kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"])["Statement"]
    except (ClientError, BotoCoreError, ValueError, KeyError, TypeError):
        return None
    tied: list[str] = []
    for statement in [statements] if isinstance(statements, Mapping) else statements:
        named = {str(name).lower() for test in (statement.get("Condition") or {}).values() for name in test}
        if named & set(BY_SERVICES):
            actions = statement.get("Action", "kms:*")
            tied += [actions] if isinstance(actions, str) else actions
    return [pattern.lower() for pattern in tied]


def verdict(error: Exception | None, action: str, tied: Sequence[str] | None) -> tuple[str, str]:
    """What an answer to a dry run means: the verdict, and the words of whoever gave it.

    :param tied: as `policy_of` returns it.
    """
    if error is None:
        return OK, ""
    code, said = code_of(error), aws_said(error)
    if code == DRY:
        return OK, ""
    if code in CERTAIN:
        return REFUSED, said
    if code != "AccessDeniedException":
        return NOT_CHECKABLE, said
    # An identity's policy may speak of services, too, and cannot be read here.
    if "resource-based policy" not in said:
        return NOT_CHECKABLE, f"refused to this run's own call, EC2's may be allowed ({said})"
    if tied is None:
        return NOT_CHECKABLE, f"the key's policy cannot be read from here, EC2's call may be allowed ({said})"
    if any(fnmatchcase(action.lower(), pattern) for pattern in tied):
        return NOT_CHECKABLE, f"the key's policy allows it to services only, EC2's call may be allowed ({said})"
    return REFUSED, said


def sample(kms: Any, key: str) -> bytes | None:
    """Something encrypted under a key, to try to decrypt: a data key that nobody ever sees. None where it cannot be."""
    try:
        found: bytes = kms.generate_data_key_without_plaintext(KeyId=key, KeySpec="AES_256")["CiphertextBlob"]
    except (ClientError, BotoCoreError):
        return None
    return found


def check(kms: Any, key: str, *, purpose: str, account: str, principal: str, tied: Sequence[str] | None,
          ciphertext: bytes | None = None) -> list[dict[str, str]]:
    """Ask KMS, as the identity that will work in an account, for each right that a purpose needs.

    :param principal: that identity's ARN.
    :param tied: as `policy_of` returns it.
    :param ciphertext: something encrypted under the key.
    """
    calls: dict[str, Callable[[], Any] | str] = {
        "kms:DescribeKey": lambda: kms.describe_key(KeyId=key),
        "kms:CreateGrant": lambda: kms.create_grant(KeyId=key, GranteePrincipal=principal, Operations=["Decrypt"],
                                                    DryRun=True),
        "kms:Decrypt": (lambda: kms.decrypt(KeyId=key, CiphertextBlob=ciphertext, DryRun=True)) if ciphertext else
        "nothing encrypted under the key is at hand",
        "kms:GenerateDataKeyWithoutPlaintext": lambda: kms.generate_data_key_without_plaintext(
            KeyId=key, KeySpec="AES_256", DryRun=True),
        "kms:ReEncryptFrom": "it has no dry run of its own", "kms:ReEncryptTo": "it has no dry run of its own",
    }
    found = []
    for action in RIGHTS[purpose]:
        call = calls[action]
        if isinstance(call, str):
            said, why = NOT_CHECKABLE, call
        else:
            said, why = verdict(_error_of(call), action, tied)
        found.append({"action": action, "key": key, "account": account, "purpose": purpose, "verdict": said,
                      "why": why})
    return found


def _error_of(call: Callable[[], Any]) -> Exception | None:
    try:
        call()
    except (ClientError, BotoCoreError) as error:  # a botocore that does not know DryRun refuses the parameter
        return error
    return None


def refused(checks: list[dict[str, str]], purpose: str, key: str, account: str) -> str:
    """The sentence when something that a purpose needs is surely refused; empty otherwise."""
    about = [one for one in checks if (one["purpose"], one["key"], one["account"]) == (purpose, key, account)]
    return refusal(purpose, key, account) if any(one["verdict"] == REFUSED for one in about) else ""


def all_ok(checks: list[dict[str, str]], purpose: str, key: str, account: str) -> bool:
    """Whether everything that can be asked was answered with yes."""
    about = [one for one in checks if (one["purpose"], one["key"], one["account"]) == (purpose, key, account)]
    return bool(about) and all(one["verdict"] == OK or one["action"].startswith("kms:ReEncrypt") for one in about)
