# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS Signature Version 4, verified: in the Authorization header and in presigned addresses."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from urllib.parse import parse_qsl, quote

from lab.contracts import Refused

SKEW = timedelta(minutes=15)
UNSIGNED = "UNSIGNED-PAYLOAD"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class Signature:
    """What a request says about who signed it."""

    access_key: str
    date: str  # of the credential scope
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str
    moment: datetime
    token: str | None
    presigned: bool


def _moment(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        raise Refused(403, "AccessDenied", "X-Amz-Date must be in the ISO8601 Basic format.") from None


def _scope(credential: str) -> tuple[str, str, str, str]:
    parts = credential.rsplit("/", 4)
    if len(parts) != 5 or parts[4] != "aws4_request":
        raise Refused(400, "IncompleteSignature", "The credential scope must end in date/region/service/aws4_request.")
    return parts[0], parts[1], parts[2], parts[3]


def read(headers: Mapping[str, str], query: str, now: datetime | None = None) -> Signature | None:
    """The signature of a request (header names in lower case); None for an anonymous one. Refuses stale ones."""
    now = now or datetime.now(timezone.utc)
    authorization = headers.get("authorization", "")
    if authorization.startswith("AWS4-HMAC-SHA256"):
        fields = dict(re.findall(r"(Credential|SignedHeaders|Signature)=([^,\s]+)", authorization))
        if len(fields) != 3:
            raise Refused(400, "IncompleteSignature", "Authorization needs Credential, SignedHeaders and Signature.")
        access_key, date, region, service = _scope(fields["Credential"])
        moment = _moment(headers.get("x-amz-date", ""))
        if abs(now - moment) > SKEW:
            raise Refused(403, "RequestTimeTooSkewed",
                          "The difference between the request time and the current time is too large.")
        return Signature(access_key, date, region, service, tuple(fields["SignedHeaders"].split(";")),
                         fields["Signature"], moment, headers.get("x-amz-security-token"), False)
    if authorization:
        raise Refused(400, "LabNotImplemented", "The lab verifies AWS Signature Version 4 only; sign with that.")
    params = dict(parse_qsl(query, keep_blank_values=True))
    if "X-Amz-Signature" in params:
        access_key, date, region, service = _scope(params.get("X-Amz-Credential", ""))
        moment = _moment(params.get("X-Amz-Date", ""))
        try:
            seconds = int(params.get("X-Amz-Expires", ""))
        except ValueError:
            raise Refused(400, "AuthorizationQueryParametersError", "X-Amz-Expires should be a number.") from None
        if not 0 <= seconds <= 604800:
            raise Refused(400, "AuthorizationQueryParametersError",
                          "X-Amz-Expires must be between 0 and a week (in seconds).")
        if now > moment + timedelta(seconds=seconds) or moment > now + SKEW:
            raise Refused(403, "AccessDenied", "Request has expired")
        return Signature(access_key, date, region, service,
                         tuple(params.get("X-Amz-SignedHeaders", "host").split(";")), params["X-Amz-Signature"],
                         moment, params.get("X-Amz-Security-Token"), True)
    if "AWSAccessKeyId" in params and "Signature" in params:
        raise Refused(403, "AccessDenied", "Presign with Signature Version 4; version 2 is no longer accepted.")
    return None


@lru_cache(maxsize=256)
def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """The day's key; cached because each EBS block asks for it."""
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def _canonical_query(query: str) -> str:
    pairs = [(quote(name, safe="-_.~"), quote(value, safe="-_.~"))
             for name, value in parse_qsl(query, keep_blank_values=True) if name != "X-Amz-Signature"]
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _candidate_paths(path: str, service: str) -> tuple[str, ...]:
    # S3 signs the path as sent; others sign it encoded once more. Trying both for the others keeps clients that
    # follow either reading of the rule working, and forging one still needs the secret.
    if service == "s3":
        return (path or "/",)
    encoded = quote(path or "/", safe="/-_.~")
    return (encoded,) if encoded == path else (encoded, path or "/")


def verify(signature: Signature, secret: str, *, method: str, path: str, query: str, headers: Mapping[str, str],
           payload_hash: str) -> None:
    """Refuse unless the signature fits the request. `path` is the raw one, percent signs included."""
    lines = "".join(f"{name}:{' '.join(headers.get(name, '').split())}\n" for name in signature.signed_headers)
    scope = f"{signature.date}/{signature.region}/{signature.service}/aws4_request"
    key = signing_key(secret, signature.date, signature.region, signature.service)
    for candidate in _candidate_paths(path, signature.service):
        request = "\n".join((method, candidate, _canonical_query(query), lines,
                             ";".join(signature.signed_headers), payload_hash))
        text = "\n".join(("AWS4-HMAC-SHA256", signature.moment.strftime("%Y%m%dT%H%M%SZ"), scope,
                          hashlib.sha256(request.encode()).hexdigest()))
        wanted = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        if hmac.compare_digest(wanted, signature.signature):
            return
    raise Refused(403, "SignatureDoesNotMatch",
                  "The request signature we calculated does not match the signature you provided. "
                  "Check your key and signing method.")
