# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signature Version 4, the server's side: is this request signed with that secret key?

Fast enough to be asked for every block: the signing key of a day, region and service is derived once and kept.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from calendar import timegm
from functools import lru_cache
from urllib.parse import quote, unquote

from lab.contracts import Refused
from lab.http_wire import Request

SKEW_SECONDS = 15 * 60
UNSIGNED = "UNSIGNED-PAYLOAD"
_HEADER = re.compile(
    r"AWS4-HMAC-SHA256\s+Credential=(?P<key>[^/,\s]+)/(?P<date>\d{8})/(?P<region>[^/,\s]+)/(?P<service>[^/,\s]+)"
    r"/aws4_request\s*,\s*SignedHeaders=(?P<signed>[^,\s]+)\s*,\s*Signature=(?P<signature>[0-9a-f]{64})"
)


@lru_cache(maxsize=512)
def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """The key that signs requests of one day, region and service."""
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def verify(request: Request, secret: str, *, payload: str | None = None, now: float | None = None) -> None:
    """Raise `Refused` unless the Authorization header signs this very request with `secret`.

    `payload` is the hash that the caller accepts for the body when no `x-amz-content-sha256` header states one; by
    default the body's own. A stated hash is taken as stated: whoever reads the body compares it.
    """
    header = request.headers.get("authorization")
    if not header:
        raise Refused(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
    match = _HEADER.fullmatch(header)
    if match is None:
        raise Refused(400, "IncompleteSignatureException", "The Authorization header is not of Signature Version 4.")
    stamp = request.headers.get("x-amz-date", "")
    _check_time(stamp, match["date"], now)
    signed = match["signed"].split(";")
    if "host" not in signed:
        raise Refused(403, "InvalidSignatureException", "The Host header must be signed.")
    stated = payload or request.headers.get("x-amz-content-sha256") or hashlib.sha256(request.data()).hexdigest()
    s3 = match["service"] == "s3"
    canonical = "\n".join(
        (
            request.method,
            _s3_path(request.path) if s3 else _path(request.path),
            _query(request.query),
            *[f"{name}:{_squeeze(request.headers.get(name, ''))}" for name in signed],
            "",
            match["signed"],
            stated,
        )
    )
    scope = f"{match['date']}/{match['region']}/{match['service']}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = signing_key(secret, match["date"], match["region"], match["service"])
    if not hmac.compare_digest(hmac.digest(key, text.encode(), "sha256").hex(), match["signature"]):
        raise Refused(
            403,
            "SignatureDoesNotMatch" if s3 else "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
            "Access Key and signing method.",
        )


def _check_time(stamp: str, date: str, now: float | None) -> None:
    try:
        signed_at = timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        raise Refused(400, "IncompleteSignatureException", "The X-Amz-Date header is missing or malformed.") from None
    if not stamp.startswith(date):
        raise Refused(403, "InvalidSignatureException", "Date in Credential scope does not match X-Amz-Date.")
    if abs((time.time() if now is None else now) - signed_at) > SKEW_SECONDS:
        raise Refused(403, "InvalidSignatureException", f"Signature expired or not yet current: {stamp}.")


@lru_cache(maxsize=4096)
def _path(path: str) -> str:
    return quote(path, safe="/~-_.")


def _s3_path(path: str) -> str:
    return "/".join(quote(unquote(part), safe="~-_.") for part in path.split("/"))


def _query(query: str) -> str:
    if not query:
        return ""
    pairs = []
    for part in query.split("&"):
        name, _, value = part.partition("=")
        pairs.append((quote(unquote(name), safe="-_.~"), quote(unquote(value), safe="-_.~")))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _squeeze(value: str) -> str:
    return " ".join(value.split()) if "  " in value else value.strip()
