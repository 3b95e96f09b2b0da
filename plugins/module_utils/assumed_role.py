# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A role of another account, assumed by a module for itself: its session is renewed before it ends, and what keeps a
role from being assumed is said in a sentence.

Credentials never leave the module: neither facts nor results hold them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

try:
    import boto3
    import botocore.session
    from botocore.credentials import CredentialProvider, RefreshableCredentials
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    CredentialProvider = object  # type: ignore[assignment,misc]
    BotoCoreError = ClientError = Exception  # type: ignore[assignment,misc]

# An hour is the longest session that a role may open for another one (role chaining), and what every role allows.
SECONDS = 3600
# The option of a module that acts in another account. The external id is no secret, and nobody's business either.
OPTION: dict[str, Any] = {
    "role_arn": {"type": "str", "required": True},
    "external_id": {"type": "str", "no_log": True},
    "session_name": {"type": "str", "required": True},
    "source_identity": {"type": "str"},
}
# The option of modules that work in several accounts; dfir.aws.aws.access documents it.
ACCESS: dict[str, Any] = {"type": "list", "elements": "dict", "default": [],
                          "options": {"account": {"type": "str", "required": True}, **OPTION}}
# What services answer to good credentials in a region that their account has not enabled.
NOT_ENABLED = ("AuthFailure", "InvalidClientTokenId", "OptInRequired", "UnrecognizedClientException")


class CannotEnter(Exception):
    """One sentence that says why nothing can be asked of an account."""


class Entrance:
    """The way into an account by a role.

    :param access: what `OPTION` describes.
    :param sts: makes the client of STS with the module's own credentials.
    """

    def __init__(self, access: Mapping[str, Any], sts: Callable[[], Any]) -> None:
        self._access, self._sts = access, sts
        self._session: Any = None

    def client(self, service: str, *, region: str | None, endpoint: str | None, verify: Any, config: Any) -> Any:
        """A client that works as the role. The first one assumes it; `CannotEnter` when that is refused."""
        if self._session is None:
            self._session = self._enter()
        return self._session.client(service, region_name=region, endpoint_url=endpoint, verify=verify, config=config)

    def _enter(self) -> Any:
        try:
            first = self._credentials()
        except (ClientError, BotoCoreError) as error:
            raise CannotEnter(why_not(str(self._access["role_arn"]), error)) from None
        core = botocore.session.Session()
        core.get_component("credential_provider").insert_before("env", _Provider(first, self._credentials))
        return boto3.session.Session(botocore_session=core)

    def _credentials(self) -> dict[str, str]:
        access = self._access
        asked = {"RoleArn": access["role_arn"], "RoleSessionName": access["session_name"], "DurationSeconds": SECONDS}
        for option, name in (("external_id", "ExternalId"), ("source_identity", "SourceIdentity")):
            if access.get(option):
                asked[name] = access[option]
        got = self._sts().assume_role(**asked)["Credentials"]
        return {"access_key": got["AccessKeyId"], "secret_key": got["SecretAccessKey"], "token": got["SessionToken"],
                "expiry_time": got["Expiration"].isoformat()}


class _Provider(CredentialProvider):
    METHOD = "dfir-assume-role"

    def __init__(self, first: dict[str, str], again: Callable[[], dict[str, str]]) -> None:
        super().__init__()
        self._first, self._again = first, again

    def load(self) -> Any:
        return RefreshableCredentials.create_from_metadata(metadata=self._first, refresh_using=self._again,
                                                           method=self.METHOD)


def why_not(role_arn: str, error: Exception) -> str:
    """Why a role could not be assumed, and where to look."""
    code = str((getattr(error, "response", None) or {}).get("Error", {}).get("Code", ""))
    if code in ("AccessDenied", "AccessDeniedException"):
        return (f"The role {role_arn} cannot be assumed. AWS does not say why: look at whether it exists, whether its "
                "trust policy admits this run's AWS identity with the external id and session name that are sent "
                "(docs/iam/member-acquisition-trust.json, dfir_aws_member_accounts), and whether this identity may "
                "call sts:AssumeRole and sts:SetSourceIdentity on it (docs/iam/member-access-policy.json). "
                f"AWS says: {error}")
    if code == "RegionDisabledException":
        return f"The role {role_arn} cannot be assumed: STS is not activated in this region for its account."
    return f"The role {role_arn} cannot be assumed: {error}"


def in_account(account: str, region: str, error: Exception) -> str:
    """What an account's own answer to a look means."""
    code = str((getattr(error, "response", None) or {}).get("Error", {}).get("Code", ""))
    if code in NOT_ENABLED:
        return (f"The account {account} does not take its own role's credentials in {region}: look at whether that "
                f"region is enabled there. AWS says: {error}")
    return f"The account {account} cannot be looked at in {region}: {error}"
