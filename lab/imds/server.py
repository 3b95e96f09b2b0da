# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The instance metadata service, version 2: who asks is known by the address that the question comes from."""

from __future__ import annotations

import secrets
import socket
import threading
import time
from datetime import datetime, timezone

from lab.contracts import InstanceMetadata, MetadataSource
from lab.http_small import SmallHandler, SmallServer
from lab.imds.tree import VERSIONS, find, metadata_tree

MAX_TOKEN_SECONDS = 21_600


class Tokens:
    """Session tokens: each belongs to one instance and ends at its time."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def make(self, instance_id: str, seconds: int) -> str:
        """A new token for an instance."""
        token = secrets.token_urlsafe(40)
        now = time.monotonic()
        with self._lock:
            self._known = {key: value for key, value in self._known.items() if value[1] > now}
            self._known[token] = (instance_id, now + seconds)
        return token

    def valid(self, token: str, instance_id: str) -> bool:
        """Was this token made for that instance, and does it still run?"""
        owner, end = self._known.get(token, ("", 0.0))
        return owner == instance_id and end > time.monotonic()


class ImdsServer(SmallServer):
    """Serves every instance on one listening socket, which must sit where the hosts' own addresses are seen
    (169.254.169.254 port 80 inside the lab)."""

    def __init__(self, source: MetadataSource) -> None:
        owner = self

        class Handler(_Handler):
            imds = owner

        super().__init__(Handler)
        self.source = source
        self.tokens = Tokens()
        self._boot_times: dict[str, datetime] = {}

    def first_seen(self, instance_id: str) -> datetime:
        """When an instance first asked: what its identity document calls pending time."""
        return self._boot_times.setdefault(instance_id, datetime.now(timezone.utc))


class _Handler(SmallHandler):
    imds: ImdsServer
    server_version = "EC2ws"

    def do_PUT(self) -> None:
        instance = self._caller()
        if instance is None:
            return
        if self.path != "/latest/api/token":
            self._answer(404)
            return
        asked = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if not asked.isdigit() or not 1 <= int(asked) <= MAX_TOKEN_SECONDS:
            self._answer(400)
            return
        # The hop limit: an answer that a container's own network would have to forward dies on its way.
        self.connection.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, instance.hop_limit)
        token = self.imds.tokens.make(instance.instance_id, int(asked))
        self._answer(200, token.encode(), {"X-aws-ec2-metadata-token-ttl-seconds": asked})

    def do_GET(self) -> None:
        instance = self._caller()
        if instance is None:
            return
        token = self.headers.get("X-aws-ec2-metadata-token")
        if token is None and instance.tokens_required:
            self._answer(401)
            return
        if token is not None and not self.imds.tokens.valid(token, instance.instance_id):
            self._answer(401)
            return
        version, _, path = self.path.partition("?")[0].lstrip("/").partition("/")
        if not version:
            self._answer(200, "\n".join(VERSIONS).encode())
            return
        found = None
        if version in VERSIONS:
            tree = metadata_tree(
                instance, lambda role: self.imds.source.role_credentials(instance.instance_id, role),
                self.imds.first_seen(instance.instance_id))
            found = find(tree, path)
        if found is None:
            self._answer(404)
        else:
            self._answer(200, found)

    def _caller(self) -> InstanceMetadata | None:
        if int(self.headers.get("Content-Length") or 0):
            self.close_connection = True  # nobody sends a body here; don't take it for the next request
        if "X-Forwarded-For" in self.headers:
            self._answer(403)  # somebody's open proxy: the reason why version 2 exists
            return None
        instance = self.imds.source.instance_by_ip(self.client_address[0])
        if instance is None:
            self._answer(404)
            return None
        if not instance.enabled:
            self._answer(403)
            return None
        return instance

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        if status != 200:
            body = f"{status} - {self.responses[status][0]}\n".encode()
        self.send_head(status, "text/plain", len(body), headers)
        self.wfile.write(body)
