# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A ledger in a bucket, and a key of KMS. Clients of boto3 are given."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from .errors import BadInput, StoreError
from .rsa import ALGORITHM
from .stores import PIECE, hashed

try:
    from botocore.exceptions import BotoCoreError, ClientError

    FAILURES: tuple[type[Exception], ...] = (ClientError, BotoCoreError)
except ImportError:
    FAILURES = ()  # a ledger in a folder needs none of this

AT_ONCE = 8
ABSENT = ("NoSuchKey", "404", "NotFound")
LOST = ("PreconditionFailed", "ConditionalRequestConflict", "412")
WHY = {
    "NoSuchBucket": "there is no such bucket",
    "AccessDenied": "access denied; docs/iam/custody-policy.json says what is needed",
    "AccessDeniedException": "access denied; docs/iam/custody-policy.json says what is needed",
    "PermanentRedirect": "the bucket lies in another region",
    "AuthorizationHeaderMalformed": "the bucket lies in another region",
    "ExpiredToken": "the AWS credentials have expired",
    "ExpiredTokenException": "the AWS credentials have expired",
    "NotFoundException": "there is no such key in this region",
    "DisabledException": "the key is disabled",
    "KMSInvalidStateException": "the key is disabled, or about to be deleted",
    **dict.fromkeys(("InvalidKeyUsageException", "UnsupportedOperationException", "ValidationException"),
                    "the key is not for this: its KeyUsage must be SIGN_VERIFY and its KeySpec RSA_2048, RSA_3072 or "
                    "RSA_4096"),
}


def _code(error: Any) -> str:
    return str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))


def _failed(what: str, error: Any) -> StoreError:
    return StoreError(f"{what}: {WHY.get(_code(error)) or error}.")


class BucketStore:
    """See stores.Store. Objects are written with If-None-Match.

    :param retain_days: lock them for so long where the bucket has Object Lock; 0 leaves it to the bucket's default.
    :param known: a folder of one's own for what was read of ledgers: nothing there ever changes. For writing; whoever
        checks a ledger reads the bucket.
    """

    def __init__(self, s3: Any, bucket: str, *, retain_days: int = 0, lock_mode: str = "GOVERNANCE",
                 known: Path | None = None) -> None:
        self.aws_time: str | None = None
        self._s3, self._bucket = s3, bucket
        self._days, self._mode = retain_days, lock_mode
        self._known = known / bucket if known else None
        self._locks: bool | None = None if retain_days else False

    def names(self, prefix: str, after: str = "") -> list[str]:
        """See Store."""
        return [item["Key"] for item in self._list(prefix, after)]

    def read(self, name: str) -> bytes | None:
        """See Store."""
        try:
            body: bytes = self._s3.get_object(Bucket=self._bucket, Key=name)["Body"].read()
        except FAILURES as error:
            if _code(error) in ABSENT:
                return None
            raise _failed(f"{self.place(name)} cannot be read", error) from error
        return body

    def read_all(self, names: Iterable[str]) -> Iterator[bytes | None]:
        """See Store."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            yield from pool.map(self._read_once, names)

    def _read_once(self, name: str) -> bytes | None:
        path = self._known / name if self._known else None
        if path and path.is_file():
            return path.read_bytes()
        body = self.read(name)
        if path and body is not None:
            with suppress(OSError):  # it saves time, and no more
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                half = path.with_name(f"{path.name}.{os.getpid()}")
                half.write_bytes(body)
                half.replace(path)
        return body

    def put_once(self, name: str, body: bytes) -> bool:
        """See Store."""
        try:
            self._note_time(self._s3.put_object(
                Bucket=self._bucket, Key=name, Body=body, ContentType="application/json", ChecksumAlgorithm="SHA256",
                IfNoneMatch="*", **self._lock()))
        except FAILURES as error:
            if _code(error) in LOST:
                return False
            raise _failed(f"{self.place(name)} cannot be written", error) from error
        return True

    def measure(self, name: str) -> tuple[int, str] | None:
        """See Store. The whole object is read: what S3 keeps of it was told by who wrote it."""
        try:
            body = self._s3.get_object(Bucket=self._bucket, Key=name)["Body"]
            return hashed(iter(lambda: body.read(PIECE), b""))
        except FAILURES as error:
            if _code(error) in ABSENT:
                return None
            raise _failed(f"{self.place(name)} cannot be read", error) from error

    def place(self, name: str) -> str:
        """See Store."""
        return f"s3://{self._bucket}/{name}"

    def _list(self, prefix: str, after: str) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        wanted = {"Bucket": self._bucket, "Prefix": prefix, **({"StartAfter": after} if after else {})}
        try:
            for page in self._s3.get_paginator("list_objects_v2").paginate(**wanted):
                self._note_time(page)
                found += page.get("Contents") or []
        except FAILURES as error:
            raise _failed(f"{self.place(prefix)} cannot be listed", error) from error
        return found

    def _note_time(self, answer: Mapping[str, Any]) -> None:
        with suppress(KeyError, TypeError, ValueError):
            said = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
            self.aws_time = said.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _lock(self) -> dict[str, Any]:
        if self._locks is None:
            try:
                found = self._s3.get_object_lock_configuration(Bucket=self._bucket)["ObjectLockConfiguration"]
                self._locks = found.get("ObjectLockEnabled") == "Enabled"
            except FAILURES as error:
                if _code(error) != "ObjectLockConfigurationNotFoundError":
                    raise _failed(f"Whether {self._bucket} has Object Lock cannot be seen", error) from error
                self._locks = False
        if not self._locks:
            return {}
        until = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=self._days)
        return {"ObjectLockMode": self._mode, "ObjectLockRetainUntilDate": until}


class KmsKey:
    """See signature.Signer: an asymmetric RSA key of KMS."""

    def __init__(self, kms: Any, name: str) -> None:
        self.name = name
        self._kms = kms

    def public_key(self) -> bytes:
        """See Signer. KMS is asked, so the key does not come out of the case."""
        try:
            answer = self._kms.get_public_key(KeyId=self.name)
        except FAILURES as error:
            raise _failed(f"The public half of {self.name} cannot be had", error) from error
        self.name = str(answer["KeyId"])  # the ARN, whatever it was called by: an alias may move
        der: bytes = answer["PublicKey"]
        return der

    def sign(self, message: bytes) -> bytes:
        """See Signer."""
        try:
            signature: bytes = self._kms.sign(KeyId=self.name, Message=message, MessageType="RAW",
                                              SigningAlgorithm=ALGORITHM)["Signature"]
        except FAILURES as error:
            raise _failed(f"{self.name} did not sign", error) from error
        return signature


def need_boto3() -> None:
    """BadInput where there is no boto3."""
    if not FAILURES:
        raise BadInput("A bucket cannot be read here, since boto3 is not installed: copy the case into a folder with "
                       "`aws s3 sync`, or install boto3.")
