# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that sign: what moto lets through and AWS does not."""

from __future__ import annotations

from typing import Any

from lab.contracts import Refused

from . import moto_app
from .calls import Call

# isort: split
from moto.kms.models import KmsBackend

CREATE_KEY = KmsBackend.create_key
SIGNING = {"Sign", "Verify", "GetPublicKey"}


def _key(region: str, arn: str | None) -> Any:
    return moto_app.kms(region).keys.get(arn.rsplit("/", 1)[-1]) if arn else None


def aliases(region: str, arn: str | None) -> dict[str, list[str]]:
    """The condition key that tells a key's aliases."""
    key = _key(region, arn)
    return {"kms:resourcealiases": sorted(key.aliases)} if key is not None and key.aliases else {}


def tags(region: str, arn: str | None) -> dict[str, list[str]]:
    """The condition keys that tell a key's tags."""
    if _key(region, arn) is None or arn is None:
        return {}
    listed = moto_app.kms(region).list_resource_tags(arn.rsplit("/", 1)[-1]).get("Tags", [])
    return {f"aws:resourcetag/{tag['TagKey'].lower()}": [tag["TagValue"]] for tag in listed}


def check(call: Call, arn: str | None) -> None:
    """Refuse to sign with a key that is off, and what moto would sign wrongly."""
    key = _key(call.region, arn)
    if call.operation not in SIGNING or key is None:
        return
    if key.key_state == "PendingDeletion":
        raise Refused(400, "KMSInvalidStateException", f"{key.arn} is pending deletion.")
    if not key.enabled:
        raise Refused(400, "DisabledException", f"{key.arn} is disabled.")
    if call.params.get("MessageType") == "DIGEST":
        raise Refused(400, "LabNotImplemented", "The lab does not do kms:Sign of digests (it would hash them once more)"
                                                ": pass the message itself.")


def _create_key(self: KmsBackend, policy: Any, key_usage: Any, *more: Any, **named: Any) -> Any:
    return CREATE_KEY(self, policy, key_usage or "ENCRYPT_DECRYPT", *more, **named)


def install() -> None:
    """A key encrypts where nobody says what it is for; moto leaves that open."""
    KmsBackend.create_key = _create_key  # type: ignore[method-assign]
