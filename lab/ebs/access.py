# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may do what how often: signatures, decisions kept for a moment, and both quotas."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Hashable, Mapping
from typing import Any

from lab import sigv4
from lab.contracts import Authorizer, Refused, SnapshotCatalog
from lab.ebs.errors import EbsError, account_throttled, from_refused, snapshot_throttled
from lab.ebs.settings import EbsSettings
from lab.http_wire import Request

KEPT = 10_000  # decisions remembered before all are forgotten


class _Kept:
    """Answers kept for a moment. Only good answers are kept: a refusal is decided anew each time."""

    def __init__(self, settings: EbsSettings) -> None:
        self._settings = settings
        self._known: dict[Hashable, tuple[float, Any]] = {}

    def get(self, key: Hashable) -> Any:
        found = self._known.get(key)
        return found[1] if found is not None and found[0] > time.monotonic() else None

    def put(self, key: Hashable, answer: Any) -> None:
        if len(self._known) >= KEPT:
            self._known = {}
        self._known[key] = (time.monotonic() + self._settings.cache_seconds, answer)

    def drop(self, key: Hashable) -> None:
        self._known.pop(key, None)


class Access:
    """Verifies signatures, asks the authorizer and the catalog, and counts against the quotas."""

    def __init__(self, authorizer: Authorizer, catalog: SnapshotCatalog, settings: EbsSettings) -> None:
        self._authorizer, self._catalog, self._settings = authorizer, catalog, settings
        self._secrets, self._allowed, self._described = _Kept(settings), _Kept(settings), _Kept(settings)
        self._lock = threading.Lock()
        self._buckets: dict[Hashable, _Bucket] = {}

    def authenticate(self, request: Request, *, unsigned_body: bool) -> None:
        """Raise unless the request is signed by the access key that it names."""
        try:
            signature = sigv4.read(request.headers, "")  # no presigned addresses: EBS direct has none
            if signature is None:
                raise EbsError(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
            key = (signature.access_key, signature.token)
            secret = self._secrets.get(key)
            if secret is None:
                secret = self._authorizer.secret_key(*key)
                self._secrets.put(key, secret)
            stated = request.headers.get("x-amz-content-sha256")
            if unsigned_body and stated in (None, sigv4.UNSIGNED):
                # SDKs sign the hash of a block over plain HTTP and the fixed string over TLS, and state neither.
                try:
                    self._verify(request, signature, secret, sigv4.UNSIGNED)
                    return
                except Refused:
                    if stated is not None:
                        raise
            digest = hashlib.sha256(request.data()).hexdigest()
            self._verify(request, signature, secret, stated or digest)
            if stated is not None and stated != digest:
                raise Refused(400, "InvalidSignatureException", "The body does not match x-amz-content-sha256.")
        except Refused as refused:
            raise from_refused(refused) from None

    @staticmethod
    def _verify(request: Request, signature: sigv4.Signature, secret: str, payload_hash: str) -> None:
        sigv4.verify(signature, secret, method=request.method, path=request.path, query=request.query,
                     headers=request.headers, payload_hash=payload_hash)

    def authorize(self, request: Request, action: str, resource: str) -> None:
        """Raise unless the caller may do `action` (`ebs:GetSnapshotBlock`) on `resource` (an ARN)."""
        scope = request.scope
        if scope is None:
            raise EbsError(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
        key = (scope.access_key, request.headers.get("x-amz-security-token"), action, resource, request.peer[0])
        if self._allowed.get(key):
            return
        try:
            self._authorizer.check(
                method=request.method,
                path=request.path,
                query=request.query,
                headers=request.headers,
                action=action,
                resource=resource,
                region=scope.region,
            )
        except Refused as refused:
            reason = "DEPENDENCY_ACCESS_DENIED" if action.startswith("kms:") else "UNAUTHORIZED_ACCOUNT"
            raise from_refused(refused, reason) from None
        self._allowed.put(key, True)

    def account(self, request: Request) -> str:
        """Whose access key has signed a request, which `authenticate` has verified."""
        if request.scope is None:
            raise EbsError(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
        return self._authorizer.account(request.scope.access_key, request.headers.get("x-amz-security-token"))

    def describe(self, region: str, snapshot_id: str, *, fresh: bool = False) -> Mapping[str, Any] | None:
        """What the catalog says of a snapshot, at most a moment old."""
        key = (region, snapshot_id)
        known: Mapping[str, Any] | None = None if fresh else self._described.get(key)
        if known is None:
            known = self._catalog.describe(region, snapshot_id)
            if known is not None:
                self._described.put(key, known)
        return known

    def forget(self, region: str, snapshot_id: str) -> None:
        """Ask the catalog again next time."""
        self._described.drop((region, snapshot_id))

    def count(self, action: str, region: str, snapshot_id: str | None) -> None:
        """Raise the documented throttling error when a quota that is switched on is used up."""
        settings = self._settings
        account = settings.list_quota if action.startswith("List") else settings.account_quota
        if action in ("StartSnapshot", "CompleteSnapshot"):
            return
        if account is not None and not self._spend((action, region), account):
            raise account_throttled()
        per_snapshot = None if action.startswith("List") else settings.snapshot_quota
        if per_snapshot is not None and not self._spend((action, region, snapshot_id), per_snapshot):
            raise snapshot_throttled(snapshot_id or "")

    def _spend(self, key: Hashable, rate: float) -> bool:
        with self._lock:
            bucket = self._buckets.get(key)
            if bucket is None or bucket.rate != rate:
                bucket = self._buckets[key] = _Bucket(rate)
            return bucket.spend()


class _Bucket:
    """A token bucket that holds a tenth of a second."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._most = max(1.0, rate / 10)
        self._left = self._most
        self._at = time.monotonic()

    def spend(self) -> bool:
        now = time.monotonic()
        self._left = min(self._most, self._left + (now - self._at) * self.rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
