# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small EBS direct service on loopback for tests: the real front, store and API, with a catalog of its own."""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import socket
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from lab.contracts import BLOCK_SIZE, Refused
from lab.ebs.api import EbsDirect
from lab.ebs.settings import EbsSettings
from lab.ebs.store import Store
from lab.faults import Registry
from lab.front import Front

REGION = "us-east-1"
KEY, SECRET = "AKIAEBSKITADMIN00000", "kit-secret"
READER, READER_SECRET = "AKIAEBSKITREADER0000", "kit-reader-secret"


class Catalog:
    """Snapshots' states in a dictionary; tests change them at will."""

    def __init__(self) -> None:
        self.snapshots: dict[tuple[str, str], dict[str, Any]] = {}
        self.completes_at_once = True

    def describe(self, region: str, snapshot_id: str) -> Mapping[str, Any] | None:
        facts = self.snapshots.get((region, snapshot_id))
        return None if facts is None else dict(facts)

    def start(
        self,
        region: str,
        gib: int,
        *,
        parent: str | None,
        description: str,
        tags: Mapping[str, str],
        encrypted: bool,
        kms_key: str | None,
        client_token: str | None,
        account: str,
    ) -> str:
        token = client_token or str(len(self.snapshots))
        snapshot_id = "snap-0" + hashlib.sha256(token.encode()).hexdigest()[:16]
        lineage = self.snapshots[region, parent]["lineage"] if parent else snapshot_id
        self.add(
            region,
            snapshot_id,
            gib,
            state="pending",
            lineage=lineage,
            encrypted=encrypted,
            kms_key=kms_key,
            tags=dict(tags),
            description=description,
        )
        return snapshot_id

    def add(self, region: str, snapshot_id: str, gib: int, **facts: Any) -> None:
        self.snapshots[region, snapshot_id] = {
            "state": "completed",
            "gib": gib,
            "owner": "123456789012",
            "public": False,
            "tier": "standard",
            "encrypted": False,
            "volume_id": "vol-ffffffff",
            "lineage": "line",
            **facts,
        }

    def complete(self, region: str, snapshot_id: str) -> None:
        if self.completes_at_once:
            self.snapshots[region, snapshot_id]["state"] = "completed"


class Authorizer:
    """An admin who may do everything, and a reader for whom tests set patterns of `action resource`."""

    def __init__(self) -> None:
        self.reader_may: list[str] = []
        self.asked: list[tuple[str, str]] = []

    def secret_key(self, access_key: str, session_token: str | None) -> str:
        secrets = {KEY: SECRET, READER: READER_SECRET}
        if access_key not in secrets or session_token is not None:
            raise Refused(403, "UnrecognizedClientException", "The security token included in the request is invalid.")
        return secrets[access_key]

    def account(self, access_key: str, session_token: str | None) -> str:
        return "123456789012"

    def check(
        self, *, method: str, path: str, query: str, headers: Mapping[str, str], action: str, resource: str, region: str
    ) -> None:
        self.asked.append((action, resource))
        allowed = any(fnmatch.fnmatchcase(f"{action} {resource}", pattern) for pattern in self.reader_may)
        if READER in headers["authorization"] and not allowed:
            raise Refused(403, "AccessDeniedException", f"Not authorized to perform: {action} on {resource}")


class Kit:
    """The running service. `client()` is a real boto3 client of it."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.store = Store(root)
        self.catalog, self.authorizer, self.faults = Catalog(), Authorizer(), Registry()
        settings = {"cache_seconds": 0, "short_pages": 0, "empty_pages": 0} | settings
        self.settings = EbsSettings(**settings)
        self.ebs = EbsDirect(self.store, self.catalog, self.authorizer, self.faults, self.settings)
        self.front = Front(None, self.ebs, faults=self.faults)
        self.listener = listen()
        self.front.serve(self.listener)
        self.address: tuple[str, int] = self.listener.getsockname()
        self.endpoint = f"http://127.0.0.1:{self.address[1]}"

    def close(self) -> None:
        self.front.close()

    def client(
        self,
        key: str = KEY,
        secret: str = SECRET,
        *,
        region: str = REGION,
        endpoint: str = "",
        verify: str | None = None,
        retries: int = 1,
    ) -> Any:
        return boto3.client(
            "ebs",
            region_name=region,
            endpoint_url=endpoint or self.endpoint,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            verify=verify,
            config=Config(
                retries={"total_max_attempts": retries, "mode": "standard"},
                read_timeout=20,
                max_pool_connections=20,
                parameter_validation=False,
            ),
        )

    def upload(
        self,
        blocks: Mapping[int, bytes],
        *,
        gib: int = 1,
        region: str = REGION,
        parent: str | None = None,
        complete: bool = True,
        **start: Any,
    ) -> str:
        """A snapshot with these blocks, by the API."""
        client = self.client(region=region)
        if parent:
            start["ParentSnapshotId"] = parent
        snapshot_id: str = client.start_snapshot(VolumeSize=gib, **start)["SnapshotId"]
        for index, data in blocks.items():
            put(client, snapshot_id, index, data)
        if complete:
            client.complete_snapshot(SnapshotId=snapshot_id, ChangedBlocksCount=len(blocks), **linear(blocks))
        return snapshot_id


def listen() -> socket.socket:
    """A listening socket on a free loopback port."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    sock.listen(128)
    return sock


def block(seed: int | str) -> bytes:
    """A block full of bytes that depend on `seed`."""
    return hashlib.sha256(str(seed).encode()).digest() * (BLOCK_SIZE // 32)


def checksum(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def linear(blocks: Mapping[int, bytes]) -> dict[str, str]:
    """The aggregate checksum of an upload, as CompleteSnapshot takes it."""
    total = hashlib.sha256(b"".join(hashlib.sha256(blocks[index]).digest() for index in sorted(blocks)))
    return {
        "Checksum": base64.b64encode(total.digest()).decode(),
        "ChecksumAlgorithm": "SHA256",
        "ChecksumAggregationMethod": "LINEAR",
    }


def put(client: Any, snapshot_id: str, index: int, data: bytes, **more: Any) -> Any:
    fields = {"DataLength": len(data), "Checksum": checksum(data), "ChecksumAlgorithm": "SHA256"} | more
    return client.put_snapshot_block(SnapshotId=snapshot_id, BlockIndex=index, BlockData=data, **fields)


def get(client: Any, snapshot_id: str, index: int, token: str) -> bytes:
    data: bytes = client.get_snapshot_block(SnapshotId=snapshot_id, BlockIndex=index, BlockToken=token)[
        "BlockData"
    ].read()
    return data


def pages(operation: Callable[..., Any], **fields: Any) -> list[dict[str, Any]]:
    """Every page of a listing, followed by NextToken to its null end."""
    found = [operation(**fields)]
    while token := found[-1].get("NextToken"):
        assert len(found) < 10_000, "the listing does not end"
        found.append(operation(**fields, NextToken=token))
    return found


def tokens(client: Any, snapshot_id: str, **fields: Any) -> dict[int, str]:
    """Block tokens by index."""
    listing = pages(client.list_snapshot_blocks, SnapshotId=snapshot_id, **fields)
    return {entry["BlockIndex"]: entry["BlockToken"] for page in listing for entry in page["Blocks"]}


def client_context(ca: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(ca))


def aws_client(service: str, address: tuple[str, int], scheme: str = "http", **more: Any) -> Any:
    """A boto3 client of any service behind the front."""
    settings = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    return boto3.client(
        service,
        region_name="eu-west-1",
        endpoint_url=f"{scheme}://127.0.0.1:{address[1]}",
        aws_access_key_id="AKIA",
        aws_secret_access_key="s",
        config=settings,
        **more,
    )
