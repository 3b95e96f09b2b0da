# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS Signature Version 4, the server's side: in the Authorization header and in presigned addresses.

Fast enough to be asked for every block: what a day, a second or a path have in common is computed once and kept.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from urllib.parse import parse_qsl, quote, unquote

from lab.contracts import Refused

SKEW = timedelta(minutes=15)
UNSIGNED = "UNSIGNED-PAYLOAD"
# Services that speak JSON append a word to their errors' names.
JSON_SERVICES = {"ebs", "kms", "secretsmanager", "servicequotas", "ssm"}
# One parameter that is written as it must be for signing: what may stand bare does, all else is an upper-case escape.
_ONE_CANONICAL = re.compile(
    r"[A-Za-z0-9_.~-]+=(?:[A-Za-z0-9_.~-]|%(?:[01][0-9A-F]|2[0-9A-CF]|3[A-F]|40|5[B-E]|60|7[BCDF]))*"
)
_FIELDS = re.compile(r"(Credential|SignedHeaders|Signature)=([^,\s]+)")


@dataclass(frozen=True)
class Signature:
    """What a request says about who signed it."""

    access_key: str
    date: str  # of the credential scope
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str
    stamp: str  # when it was signed, as it was signed
    token: str | None
    presigned: bool


@lru_cache(maxsize=256)
def _moment(stamp: str) -> datetime:
    try:
        return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        raise Refused(403, "AccessDenied", "X-Amz-Date must be in the ISO8601 Basic format.") from None


def _scope(credential: str) -> tuple[str, str, str, str]:
    parts = credential.rsplit("/", 4)
    if len(parts) != 5 or parts[4] != "aws4_request":
        raise Refused(400, "IncompleteSignature", "The credential scope must end in date/region/service/aws4_request.")
    return parts[0], parts[1], parts[2], parts[3]


def read(headers: Mapping[str, str], query: str, now: datetime | None = None) -> Signature | None:
    """The signature of a request (header names in lower case); None for an anonymous one. Refuses stale ones."""
    authorization = headers.get("authorization", "")
    if authorization.startswith("AWS4-HMAC-SHA256"):
        return _in_header(headers, authorization, now or datetime.now(timezone.utc))
    if authorization:
        raise Refused(400, "LabNotImplemented", "The lab verifies AWS Signature Version 4 only; sign with that.")
    if not query:
        return None
    params = dict(parse_qsl(query, keep_blank_values=True))
    if "X-Amz-Signature" in params:
        return _in_query(params, now or datetime.now(timezone.utc))
    if "AWSAccessKeyId" in params and "Signature" in params:
        raise Refused(403, "AccessDenied", "Presign with Signature Version 4; version 2 is no longer accepted.")
    return None


def _in_header(headers: Mapping[str, str], authorization: str, now: datetime) -> Signature:
    fields = dict(_FIELDS.findall(authorization))
    if len(fields) != 3:
        raise Refused(400, "IncompleteSignature", "Authorization needs Credential, SignedHeaders and Signature.")
    access_key, date, region, service = _scope(fields["Credential"])
    stamp = headers.get("x-amz-date", "")
    if abs(now - _moment(stamp)) > SKEW:
        code = "InvalidSignatureException" if service in JSON_SERVICES else "RequestTimeTooSkewed"
        raise Refused(403, code, "The difference between the request time and the current time is too large.")
    return Signature(access_key, date, region, service, tuple(fields["SignedHeaders"].split(";")),
                     fields["Signature"], stamp, headers.get("x-amz-security-token"), False)


def _in_query(params: Mapping[str, str], now: datetime) -> Signature:
    access_key, date, region, service = _scope(params.get("X-Amz-Credential", ""))
    stamp = params.get("X-Amz-Date", "")
    try:
        seconds = int(params.get("X-Amz-Expires", ""))
    except ValueError:
        raise Refused(400, "AuthorizationQueryParametersError", "X-Amz-Expires should be a number.") from None
    if not 0 <= seconds <= 604800:
        raise Refused(400, "AuthorizationQueryParametersError",
                      "X-Amz-Expires must be between 0 and a week (in seconds).")
    if now > _moment(stamp) + timedelta(seconds=seconds) or _moment(stamp) > now + SKEW:
        raise Refused(403, "AccessDenied", "Request has expired")
    return Signature(access_key, date, region, service, tuple(params.get("X-Amz-SignedHeaders", "host").split(";")),
                     params["X-Amz-Signature"], stamp, params.get("X-Amz-Security-Token"), True)


@lru_cache(maxsize=512)
def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """The key that signs requests of one day, region and service."""
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


@lru_cache(maxsize=512)
def _keyed(key: bytes) -> hmac.HMAC:
    # To be copied: `hmac.digest` gives the lock of the interpreter away each time, which costs more than the digest.
    return hmac.new(key, digestmod="sha256")


def _canonical_query(query: str) -> str:
    if _ONE_CANONICAL.fullmatch(query) and not query.startswith("X-Amz-Signature="):
        return query
    pairs = []
    for part in query.split("&") if query else ():
        name, _, value = part.partition("=")
        if name != "X-Amz-Signature":
            pairs.append((quote(unquote(name), safe="-_.~"), quote(unquote(value), safe="-_.~")))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


@lru_cache(maxsize=4096)
def _candidate_paths(path: str, service: str) -> tuple[str, ...]:
    # S3 signs the path as sent; others sign it encoded once more. Trying both for the others keeps clients that
    # follow either reading of the rule working, and forging one still needs the secret.
    if service == "s3":
        return (path or "/",)
    encoded = quote(path or "/", safe="/-_.~")
    return (encoded,) if encoded == path else (encoded, path or "/")


def verify(signature: Signature, secret: str, *, method: str, path: str, query: str, headers: Mapping[str, str],
           payload_hash: str) -> None:
    """Refuse unless the signature fits the request. `path` is the raw one, percent signs included.

    `payload_hash` is what the client states of its body, or the body's own hash: whoever reads the body compares them.
    """
    if signature.stamp.startswith(signature.date) and "host" in signature.signed_headers:
        lines = "".join(f"{name}:{_squeeze(headers.get(name, ''))}\n" for name in signature.signed_headers)
        scope = f"{signature.date}/{signature.region}/{signature.service}/aws4_request"
        key = signing_key(secret, signature.date, signature.region, signature.service)
        rest = "\n".join((_canonical_query(query), lines, ";".join(signature.signed_headers), payload_hash))
        for candidate in _candidate_paths(path, signature.service):
            digest = hashlib.sha256(f"{method}\n{candidate}\n{rest}".encode()).hexdigest()
            text = f"AWS4-HMAC-SHA256\n{signature.stamp}\n{scope}\n{digest}"
            keyed = _keyed(key).copy()
            keyed.update(text.encode())
            if hmac.compare_digest(keyed.hexdigest(), signature.signature):
                return
    raise Refused(403, "InvalidSignatureException" if signature.service in JSON_SERVICES else "SignatureDoesNotMatch",
                  "The request signature we calculated does not match the signature you provided. "
                  "Check your AWS Secret Access Key and signing method.")


def _squeeze(value: str) -> str:
    return " ".join(value.split()) if "  " in value else value.strip()
