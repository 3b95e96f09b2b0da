# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS Signature Version 4 for requests without a body, at the price of two hashes each.

What does not change within a second (date, credentials, signing key) is computed once a second: credentials that
refresh themselves are asked that often, so that a run of many hours goes on with fresh ones.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from typing import NamedTuple

from .errors import CredentialsError, Missing

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


class Credentials(NamedTuple):
    """What one request is signed with; `token` is empty for long-term keys."""

    access_key: str
    secret_key: str
    token: str = ""


CredentialSource = Callable[[], Credentials]


def session_credentials(profile: str | None = None) -> CredentialSource:
    """Credentials as boto3 finds them (environment, profile, role, instance metadata), renewed before they end."""
    try:
        import botocore.session
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise Missing("Credentials are found with boto3: install the Python package boto3, and run again.") from None
    try:
        found = botocore.session.Session(profile=profile).get_credentials()
    except BotoCoreError as error:
        raise CredentialsError(f"No AWS credentials: {error}") from error
    if found is None:
        raise CredentialsError("No AWS credentials were found: set a profile, a role or the AWS_* variables.")

    def current() -> Credentials:
        try:
            frozen = found.get_frozen_credentials()
        except Exception as error:  # a refresh fails with whatever its provider raises
            raise CredentialsError(f"The AWS credentials could not be renewed: {error}") from error
        return Credentials(frozen.access_key or "", frozen.secret_key or "", frozen.token or "")

    return current


class _Moment(NamedTuple):
    """What all requests of one second share."""

    second: int
    canonical_end: str
    to_sign: str
    headers: str
    key: bytes


class Signer:
    """Signs for one service in one region. Used by several threads: what it keeps is replaced in one step."""

    def __init__(self, credentials: CredentialSource, service: str, region: str) -> None:
        self._credentials, self._service, self._region = credentials, service, region
        self.skew = 0.0  # seconds that AWS' clock is ahead of this machine's
        self._key: tuple[Credentials, str, bytes] | None = None
        self._moment: _Moment | None = None

    def forget(self) -> None:
        """Ask for the credentials again at the next request."""
        self._moment = None

    def _prepare(self, second: int) -> _Moment:
        credentials = self._credentials()
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        day = stamp[:8]
        if self._key is None or self._key[:2] != (credentials, day):
            key = b"AWS4" + credentials.secret_key.encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._key = (credentials, day, key)
        scope = f"{day}/{self._region}/{self._service}/aws4_request"
        names, token_line, token_header = "host;x-amz-date", "", ""
        if credentials.token:
            names += ";x-amz-security-token"
            token_line = f"x-amz-security-token:{credentials.token}\n"
            token_header = f"X-Amz-Security-Token: {credentials.token}\r\n"
        canonical_end = f"x-amz-date:{stamp}\n{token_line}\n{names}\n{EMPTY_SHA256}"
        to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n"
        headers = (
            f"X-Amz-Date: {stamp}\r\n{token_header}Authorization: AWS4-HMAC-SHA256 "
            f"Credential={credentials.access_key}/{scope}, SignedHeaders={names}, Signature="
        )
        return _Moment(second, canonical_end, to_sign, headers, self._key[2])

    def headers(self, host: str, path: str, query: str) -> str:
        """The header lines that sign a GET; the last one is not ended.

        `path` needs no encoding, `query` is canonical: sorted by name, everything but `A-Za-z0-9-_.~` in percents.
        """
        second = int(time.time() + self.skew)
        moment = self._moment
        if moment is None or moment.second != second:
            moment = self._moment = self._prepare(second)
        _second, canonical_end, to_sign, headers, key = moment
        canonical = f"GET\n{path}\n{query}\nhost:{host}\n{canonical_end}"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        return headers + hmac.digest(key, (to_sign + digest).encode(), "sha256").hex()
