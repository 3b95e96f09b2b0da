# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The EBS direct API: requests that are signed here, answers that are believed only when everything about them fits."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from binascii import b2a_base64
from collections import Counter
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

from . import endpoints
from .blocks import BLOCK_SIZE
from .connection import HEAD_LIMIT, Answer, Connection, Timeouts
from .errors import (
    BadInput,
    Cancelled,
    ClockSkewed,
    CorruptBlock,
    CredentialsExpired,
    EngineError,
    Exhausted,
    NotImageable,
    ProtocolError,
    Refused,
    ServerFault,
    SnapshotGone,
    Throttled,
    TimedOut,
    TokenExpired,
    Transient,
)
from .rate import DEFAULT_RATE, LIST_RATE, RateBudget, RetryPolicy
from .sigv4 import CredentialSource, Signer

PAGE_SIZE = 10_000  # MaxResults: 100 to 10,000
BLOCK_BUFFER = BLOCK_SIZE + HEAD_LIMIT
_PAGE_BUFFER = 8 << 20
_SKEW = 240.0  # seconds; AWS refuses signatures that are five minutes off
_SNAPSHOT = re.compile(r"snap-[0-9a-f]{1,59}")
_REGION = re.compile(r"[a-z]{2,5}(-[a-z0-9]+){1,4}-[0-9]{1,2}")
_LENGTH = str(BLOCK_SIZE).encode()
_BASE64 = re.compile(r"[A-Za-z0-9+/=_.~-]*").fullmatch  # as tokens are: quoting them so is cheaper than `quote`
_THROTTLES = {"ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded"}
_SNAPSHOT_THROTTLES = {"RequestThrottledException"}
_ENDED = {"ExpiredTokenException", "ExpiredToken", "RequestExpired"}
_BAD_SIGNATURE = {"InvalidSignatureException", "SignatureDoesNotMatch", "AuthFailure", "RequestTimeTooSkewed"}
_ERROR_CODE = re.compile(r"<Code>([^<]{1,200})</Code>\s*(?:<Message>([^<]{0,2000})</Message>)?")

Stop = Callable[[], bool]


def check_snapshot_id(snapshot_id: str) -> str:
    """The id itself, if it is one."""
    if not _SNAPSHOT.fullmatch(snapshot_id):
        raise BadInput(f"{snapshot_id!r} is no snapshot id: snap- and hexadecimal digits is what one looks like.")
    return snapshot_id


class EbsClient:
    """Asks EBS direct in one region. `counts` has every refusal and retry by kind, and `requests`.

    `rate`: one budget for all that reads one snapshot, GetSnapshotBlock alone; pages have their own, `list_rate`.
    `stop` is asked while it waits: True ends the wait with `Cancelled`.
    """

    def __init__(
        self,
        region: str,
        credentials: CredentialSource,
        *,
        endpoint_url: str | None = None,
        fips: bool = False,
        ca_bundle: str | None = None,
        rate: RateBudget | None = None,
        list_rate: RateBudget | None = None,
        policy: RetryPolicy | None = None,
        timeouts: Timeouts | None = None,
        stop: Stop | None = None,
    ) -> None:
        if not _REGION.fullmatch(region):
            raise BadInput(f"{region!r} is no AWS region.")
        self.region = region
        self.rate = rate or RateBudget(DEFAULT_RATE)
        self.policy, self.timeouts = policy or RetryPolicy(), timeouts or Timeouts()
        self.stop: Stop = stop or (lambda: False)
        self.counts: Counter[str] = Counter()
        self._credentials, self._fips, self._ca_bundle = credentials, fips, ca_bundle
        self._list_rate = list_rate or RateBudget(LIST_RATE)
        self._lock = threading.Lock()
        self._page_lock = threading.Lock()
        self._page_buffer = memoryview(bytearray(_PAGE_BUFFER))
        self.service = Service("ebs", self, endpoint_url)
        self._pages = self.service.connection()

    def close(self) -> None:
        """Close the connection that pages come through."""
        self._pages.close()

    def count(self, kind: str) -> None:
        """Count a refusal or retry; from any thread."""
        with self._lock:
            self.counts[kind] += 1

    def pause(self, seconds: float) -> None:
        """Sleep, unless the run is to end."""
        until = time.monotonic() + seconds
        while True:
            if self.stop():
                raise Cancelled("The run was cancelled.")
            left = until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, 0.5))

    def block_request(self, snapshot_id: str, index: int, token: str) -> bytes:
        """A signed GetSnapshotBlock."""
        if _BASE64(token):
            token = token.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
        else:
            token = quote(token, safe="-_.~")
        return self.service.get(f"/snapshots/{snapshot_id}/blocks/{index}", f"blockToken={token}")

    def check_block(self, answer: Answer, buffer: memoryview) -> tuple[memoryview, bytes]:
        """The block in an answer and its SHA-256; raises unless length, algorithm and digest are right."""
        fields = answer.fields
        if answer.status != 200:
            raise self.service.error(answer, buffer)
        if answer.length != BLOCK_SIZE or fields.get(b"x-amz-data-length") != _LENGTH:
            raise CorruptBlock(f"The block has {answer.length} bytes instead of {BLOCK_SIZE}.")
        if fields.get(b"x-amz-checksum-algorithm") != b"SHA256":
            raise CorruptBlock("The block came without a SHA-256 checksum.")
        data = buffer[answer.start : answer.start + BLOCK_SIZE]
        digest = hashlib.sha256(data).digest()
        if b2a_base64(digest, newline=False) != fields.get(b"x-amz-checksum"):
            raise CorruptBlock("The block does not have the SHA-256 that came with it.")
        return data, digest

    def list_page(
        self, snapshot_id: str, *, first: str | None, start: int, page: str | None, size: int = PAGE_SIZE
    ) -> dict[str, Any]:
        """One page of ListSnapshotBlocks, or (with `first`, the older snapshot) of ListChangedBlocks.

        Entries come as (index, token) tuples, (index, None) for a block that the second snapshot no longer has.
        `TokenExpired` is left to the caller, who knows where to begin again.
        """
        query = {"maxResults": str(size)}
        if page is None:
            query["startingBlockIndex"] = str(start)
        else:
            query["pageToken"] = page
        if first is not None:
            query["firstSnapshotId"] = first
        path = f"/snapshots/{snapshot_id}/{'blocks' if first is None else 'changedblocks'}"
        with self._page_lock:
            answer = self.service.ask(self._pages, self._page_buffer, path, query, self._list_rate)
            text = bytes(self._page_buffer[answer.start : answer.start + answer.length])
        try:
            data = json.loads(text, object_hook=_entry)
        except ValueError as error:
            raise ProtocolError(f"The list of blocks is no JSON: {error}.") from error
        entries = data.get("Blocks" if first is None else "ChangedBlocks") if isinstance(data, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, tuple) for entry in entries):
            raise ProtocolError("The answer is no list of blocks.")
        if first is None and any(entry[1] is None for entry in entries):
            raise ProtocolError("The list of blocks has a block without a token.")
        if data.get("BlockSize") != BLOCK_SIZE or not isinstance(data.get("VolumeSize"), int):
            raise ProtocolError(f"The list of blocks speaks of blocks of {data.get('BlockSize')!r} bytes.")
        expiry = data.get("ExpiryTime")
        if not isinstance(expiry, (int, float)):
            expiry = time.time() + 3600
        following = data.get("NextToken")
        if following is not None and not (isinstance(following, str) and following):
            raise ProtocolError("The list of blocks has a NextToken that is none.")
        return {"entries": entries, "gib": data["VolumeSize"], "expiry": float(expiry), "next": following}

    def other(self, name: str) -> Service:
        """Another service of the same region (`ec2`, `sts`), signed with the same credentials."""
        return Service(name, self, None)


class Service:
    """Builds signed GET requests for one service, and understands its errors."""

    def __init__(self, name: str, client: EbsClient, endpoint_url: str | None) -> None:
        self.name, self._client = name, client
        self.endpoint = endpoints.endpoint(endpoint_url or endpoints.address(name, client.region, fips=client._fips))
        self._signer = Signer(client._credentials, name, client.region)
        self._context = endpoints.tls_context(client._ca_bundle) if self.endpoint.tls else None
        proxy = self.endpoint.proxy if not self.endpoint.tls else None
        self._base = self.endpoint.base if proxy else ""
        via = f"Proxy-Authorization: {proxy.authorization}\r\n" if proxy and proxy.authorization else ""
        self._common = f" HTTP/1.1\r\nHost: {self.endpoint.netloc}\r\n{via}User-Agent: dfir-ebs\r\nAccept: */*\r\n"

    def connection(self) -> Connection:
        """A new connection to the service; it connects when it is used."""
        return Connection(self.endpoint, self._context, self._client.timeouts)

    def get(self, path: str, query: str) -> bytes:
        """A signed GET; `query` is canonical."""
        signed = self._signer.headers(self.endpoint.netloc, path, query)
        mark = "?" if query else ""
        return f"GET {self._base}{path}{mark}{query}{self._common}{signed}\r\n\r\n".encode("ascii")

    def ask(
        self, connection: Connection, buffer: memoryview, path: str, query: Mapping[str, str], rate: RateBudget
    ) -> Answer:
        """A request outside the hot path, tried until it succeeds or must not be tried again."""
        client = self._client
        canonical = "&".join(f"{name}={quote(query[name], safe='-_.~')}" for name in sorted(query))
        tries = Tries(client, rate, f"{self.name} {path}")
        while True:
            while wait := rate.take():
                client.pause(wait)
            sent = time.monotonic()
            try:
                client.count("requests")
                connection.send(self.get(path, canonical))
                answer = connection.receive(buffer)
                if answer.status != 200:
                    raise self.error(answer, buffer)
                return answer
            except TokenExpired:
                client.count(TokenExpired.kind)
                raise
            except Transient as error:
                tries.failed(error, sent, stale=connection.reused)

    def error(self, answer: Answer, buffer: memoryview) -> EngineError:
        """What an answer with another status than 200 means."""
        body = bytes(buffer[answer.start : answer.start + min(answer.length, 65_536)])
        code, message, reason = _error_words(answer, body)
        status = answer.status
        what = f"{code or status}: {message}" if message else f"{code or f'HTTP status {status}'}"
        if code in _SNAPSHOT_THROTTLES:
            return Throttled(what, "throttled_snapshot")
        if code in _THROTTLES or status == 429:
            return Throttled(what, "throttled_account")
        if status >= 500:
            return ServerFault(f"AWS failed: {what}.")
        if status == 408:
            return TimedOut(what)
        if code in _ENDED:
            self._signer.forget()
            return CredentialsExpired(what)
        if code in _BAD_SIGNATURE and self._correct_clock(answer):
            return ClockSkewed(what)
        if reason in ("INVALID_BLOCK_TOKEN", "INVALID_PAGE_TOKEN"):
            return TokenExpired(what)
        kind: type[Refused] = Refused
        if code == "ResourceNotFoundException" or code == "InvalidSnapshot.NotFound":
            kind = SnapshotGone
        elif reason == "INVALID_SNAPSHOT_ID":
            kind = NotImageable
        return kind(f"AWS refused the request: {what}", code, reason)

    def _correct_clock(self, answer: Answer) -> bool:
        """Whether the signature failed for this machine's clock; then it is corrected by the answer's date."""
        try:
            there = parsedate_to_datetime(answer.text(b"date")).timestamp()
        except (TypeError, ValueError):
            return False
        skew = there - time.time()
        if abs(skew - self._signer.skew) < _SKEW:
            return False
        self._signer.skew = skew
        return True


class Tries:
    """Counts the failures of one request and waits between them; raises `Exhausted` when it was tried enough."""

    def __init__(self, client: EbsClient, rate: RateBudget, what: str) -> None:
        self._client, self._rate, self._what = client, rate, what
        self._failures = self._throttles = self._stale = 0

    def failed(self, error: Transient, sent: float, *, stale: bool = False) -> None:
        """Wait until the next try is due. `stale`: the connection had been idle, and AWS may have closed it."""
        client, policy = self._client, self._client.policy
        client.count(error.kind)
        throttled = isinstance(error, Throttled)
        if throttled:
            self._throttles += 1
            self._rate.throttled(sent)
        elif stale and error.kind == "connection_lost" and not self._stale:
            self._stale = 1  # the request may never have been read: this try does not count
        else:
            self._failures += 1
        if self._failures >= policy.attempts or self._throttles >= policy.throttles:
            times = self._failures + self._throttles
            raise Exhausted(f"{self._what} failed {times} times; the last cause: {error}") from error
        client.pause(policy.delay(self._throttles if throttled else self._failures, throttled))


def _entry(found: dict[str, Any]) -> Any:
    """An entry of a list as a tuple as soon as it is read: ten thousand dictionaries would take 4 MiB."""
    index = found.get("BlockIndex")
    if index is None:
        return found
    token = found.get("BlockToken", found.get("SecondBlockToken"))
    good = isinstance(index, int) and not isinstance(index, bool) and isinstance(token, str) and token != ""
    removed = token is None and "FirstBlockToken" in found
    if not (good or removed):
        raise ProtocolError(f"The list of blocks has an entry that is none: {found}.")
    return index, token


def _error_words(answer: Answer, body: bytes) -> tuple[str, str, str]:
    """Code, message and reason of an error answer: REST-JSON (EBS), or XML (EC2, STS)."""
    code = answer.text(b"x-amzn-errortype").split(":", 1)[0]
    message = reason = ""
    try:
        data = json.loads(body)
        if isinstance(data, dict):
            code = code or str(data.get("__type") or data.get("code") or "").rsplit("#", 1)[-1]
            message, reason = str(data.get("Message") or data.get("message") or ""), str(data.get("Reason") or "")
    except ValueError:
        if found := _ERROR_CODE.search(body.decode("utf-8", "replace")):
            code, message = code or found[1], found[2] or ""
    return code[:200], message[:1000], reason[:100]
