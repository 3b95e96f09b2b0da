# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said about keys. One function a sentence, so that a refusal that was seen before anything was done and one
that AWS gave later read the same.
"""

from __future__ import annotations

from collections.abc import Mapping

OK, REFUSED, NOT_CHECKABLE = "ok", "refused", "not checkable"
# What EBS asks of a key, as the EBS user guide lists it for shared and copied snapshots: to open what is encrypted
# under it, and to encrypt a copy under it.
OPEN, SEAL = "open", "seal"
RIGHTS = {
    OPEN: ("kms:DescribeKey", "kms:CreateGrant", "kms:Decrypt", "kms:ReEncryptFrom"),
    SEAL: ("kms:DescribeKey", "kms:CreateGrant", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptTo"),
}
PURPOSES = {OPEN: "to read what is encrypted under", SEAL: "to encrypt a copy under"}
# EBS encrypts under this key where nobody names another one. Its policy is AWS' and lets in its own account alone.
DEFAULT_ALIAS = "alias/aws/ebs"


def refusal(purpose: str, key: str, account: str) -> str:
    """KMS does not let an account use a key. The same words before the call and after it."""
    rights = ", ".join(RIGHTS[purpose])
    return (f"KMS refuses account {account} {PURPOSES[purpose]} the key {key}. The key's policy, and the policy of the "
            f"identity that works in {account}, must allow {rights} (docs/sharing.md, \"The key's policy\").")


def unusable(key: str, state: str) -> str:
    """A key whose state lets nobody use it."""
    return (f"The key {key} is {state}: nothing under it can be read, copied or shared until it is enabled again (a "
            "key that is pending deletion: cancel the deletion first).")


def default_key(snapshot_id: str, region: str) -> str:
    """A snapshot that cannot be shared as it is, and there is no key to encrypt it anew."""
    return (f"{snapshot_id} is encrypted under the account's default key ({DEFAULT_ALIAS}), which AWS lets no other "
            f"account use: it must be copied under a customer key first. Name one of {region} in dfir_aws_sharing_keys "
            "(docs/sharing.md).")


def unfit(key: str, what: str) -> str:
    """A key that is no key for snapshots."""
    return f"The key {key} {what}: EBS takes symmetric keys for ENCRYPT_DECRYPT of the snapshot's region only."


def aws_said(error: Exception) -> str:
    """AWS' own words, behind ours."""
    found = getattr(error, "response", {}).get("Error", {})
    said: Mapping[str, str] = found if isinstance(found, Mapping) else {}
    return f"{said.get('Code', type(error).__name__)}: {said.get('Message') or error}"
