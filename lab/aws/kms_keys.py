# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys: whose they are, which ones a copy or a volume uses, and what moto lets through and AWS does not."""

from __future__ import annotations

from typing import Any

from lab.config import ACCOUNTS
from lab.contracts import Refused

from . import moto_app
from .calls import Call
from .policy import Need

# isort: split
from moto.kms.models import KmsBackend

CREATE_KEY = KmsBackend.create_key
SIGNING = {"Sign", "Verify", "GetPublicKey"}
# What a key does only while it is on, and what can be asked with DryRun.
USING = SIGNING | {"CreateGrant", "Decrypt", "Encrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext",
                   "GenerateMac", "ReEncrypt", "VerifyMac"}
DRY = (USING - {"GetPublicKey"}) | {"RetireGrant", "RevokeGrant"}
# What AWS lets another account do with a key, when the key's policy does.
ACROSS = SIGNING | {"CreateGrant", "Decrypt", "DescribeKey", "Encrypt", "GenerateDataKey",
                    "GenerateDataKeyWithoutPlaintext", "GetKeyRotationStatus", "ListGrants", "ReEncrypt", "RetireGrant",
                    "RevokeGrant"}


def _key(region: str, arn: str | None) -> Any:
    account = arn.split(":")[4] if arn else ""
    return moto_app.kms(region, account).keys.get(arn.rsplit("/", 1)[-1]) if arn and account in ACCOUNTS else None


def owner(call: Call) -> str | None:
    """The account of the key that a call names by its ARN, where the lab has that account."""
    name = str(call.params.get("KeyId") or "")
    account = name.split(":")[4] if name.count(":") >= 5 else ""
    return account if account in ACCOUNTS else None


def managed(key: Any) -> bool:
    """Whether AWS looks after a key: its policy is AWS', and no other account can ever use it."""
    return any(alias.startswith("alias/aws/") for alias in key.aliases)


def managed_policy(account: str, region: str) -> dict[str, Any]:
    """The policy of `alias/aws/ebs`: everybody of the account, through EC2, and nobody else."""
    use = ["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*",
           "kms:ReEncrypt*"]
    return {"Version": "2012-10-17", "Statement": [
        {"Sid": "Allow access through EBS for all principals in the account that are authorized to use EBS",
         "Effect": "Allow", "Principal": {"AWS": "*"}, "Action": use, "Resource": "*",
         "Condition": {"StringEquals": {"kms:CallerAccount": account,
                                        "kms:ViaService": f"ec2.{region}.amazonaws.com"}}},
        {"Sid": "Allow direct access to key metadata to the account", "Effect": "Allow",
         "Principal": {"AWS": f"arn:aws:iam::{account}:root"}, "Resource": "*",
         "Action": ["kms:Describe*", "kms:Get*", "kms:List*", "kms:RevokeGrant"]}]}


def arn(region: str, key_id: str | None) -> str | None:
    """The ARN of the KMS key that an id, ARN or alias means; None where there is none."""
    if not key_id:
        return None
    account: str | None = None
    name = key_id
    if key_id.startswith("arn:"):
        parts = key_id.split(":", 5)
        if len(parts) < 6 or parts[3] != region or parts[4] not in ACCOUNTS:
            return None
        account, name = parts[4], parts[5]
    model = moto_app.kms(region, account)
    name = name.removeprefix("key/")
    if name.startswith("alias/"):
        name = model.get_key_id_from_alias(name) or ""
    key = model.keys.get(name)
    return str(key.arn) if key is not None else None


def behind(call: Call, context: dict[str, list[str]]) -> list[Need]:
    """What a copy or a volume needs on the key that it is to have, and on that of an encrypted snapshot it is of.

    KMS sees EC2 of the region that the key is in.
    """

    def there(key: str) -> dict[str, list[str]]:
        return {**context, "kms:viaservice": [f"ec2.{key.split(':')[3]}.amazonaws.com"]}

    if call.operation not in ("CopySnapshot", "CreateVolume"):
        return []
    out = []
    wanted = arn(call.region, call.params.get("KmsKeyId"))
    if wanted:
        out += [Need(f"kms:{action}", wanted, there(wanted)) for action in
                ("DescribeKey", "CreateGrant", "GenerateDataKeyWithoutPlaintext")]
    source = moto_app.snapshot(call.params.get("SourceRegion") or call.region,
                               call.params.get("SourceSnapshotId") or call.params.get("SnapshotId") or "")
    if source is not None and source.encrypted and source.kms_key_id:
        out += [Need(f"kms:{action}", source.kms_key_id, there(source.kms_key_id)) for action in
                ("DescribeKey", "CreateGrant", "Decrypt")]
    return out


def aliases(region: str, arn: str | None) -> dict[str, list[str]]:
    """The condition key that tells a key's aliases."""
    key = _key(region, arn)
    return {"kms:resourcealiases": sorted(key.aliases)} if key is not None and key.aliases else {}


def tags(region: str, arn: str | None) -> dict[str, list[str]]:
    """The condition keys that tell a key's tags."""
    key = _key(region, arn)
    if key is None:
        return {}
    listed = moto_app.kms(region, key.account_id).list_resource_tags(key.id).get("Tags", [])
    return {f"aws:resourcetag/{tag['TagKey'].lower()}": [tag["TagValue"]] for tag in listed}


def check(call: Call, arn: str | None, account: str) -> None:
    """Refuse what only a key's own account may, to sign with a key that is off, and what moto would sign wrongly."""
    key = _key(call.region, arn)
    if key is not None and key.account_id != account and call.operation not in ACROSS:
        raise Refused(400, "AccessDeniedException", f"kms:{call.operation} cannot be called on a key of another "
                                                    f"account ({key.arn}).")
    if key is not None and call.operation in USING:
        if key.key_state == "PendingDeletion":
            raise Refused(400, "KMSInvalidStateException", f"{key.arn} is pending deletion.")
        if not key.enabled:
            raise Refused(400, "DisabledException", f"{key.arn} is disabled.")
    if call.params.get("DryRun") and call.operation in DRY:
        _dry(call, key)
    if call.operation in SIGNING and key is not None and call.params.get("MessageType") == "DIGEST":
        raise Refused(400, "LabNotImplemented", "The lab does not do kms:Sign of digests (it would hash them once more)"
                                                ": pass the message itself.")


def _dry(call: Call, key: Any) -> None:
    """What KMS answers when it would have done it. moto does it, and makes a grant, whether it is asked to or not."""
    if call.operation == "Decrypt" and key is not None:
        try:
            moto_app.kms(call.region, key.account_id).decrypt(
                ciphertext_blob=call.params["CiphertextBlob"],
                encryption_context=call.params.get("EncryptionContext") or {})
        except Exception:
            raise Refused(400, "InvalidCiphertextException", "") from None
    raise Refused(400, "DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")


def off(need: Need) -> bool:
    """Whether a need is about a key that does nothing now, whatever policies say."""
    key = _key(need.resource.split(":")[3], need.resource)
    return key is not None and (not key.enabled or key.key_state == "PendingDeletion")


def _create_key(self: KmsBackend, policy: Any, key_usage: Any, *more: Any, **named: Any) -> Any:
    return CREATE_KEY(self, policy, key_usage or "ENCRYPT_DECRYPT", *more, **named)


def install() -> None:
    """A key encrypts where nobody says what it is for; moto leaves that open."""
    KmsBackend.create_key = _create_key  # type: ignore[method-assign]
