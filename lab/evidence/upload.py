# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings a disk into the lab as a snapshot, by the EBS direct API, as any client would."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from lab.contracts import BLOCK_SIZE
from lab.evidence.run import extents

GIB_BYTES = 1 << 30
IN_FLIGHT = 4  # blocks read ahead a worker


class UploadError(Exception):
    """The disk could not be uploaded; the message says why."""


def upload(image: Path, client: Any, *, client_token: str, workers: int = 8, description: str = "",
           tags: dict[str, str] | None = None, say: Callable[[str], None] | None = None) -> str:
    """Upload `image` with the boto3 client `ebs`; the snapshot's id. The same token gives the same snapshot.

    A snapshot that is completed already is left as it is; one that was begun and not completed is written anew.
    """
    size = image.stat().st_size
    if size == 0 or size % GIB_BYTES:
        raise UploadError(f"{image} has {size} bytes; a snapshot's size is a whole number of GiB")
    started = client.start_snapshot(
        VolumeSize=size // GIB_BYTES, ClientToken=client_token, Description=description, Timeout=60,
        Tags=[{"Key": key, "Value": value} for key, value in (tags or {}).items()])
    snapshot = str(started["SnapshotId"])
    if _is_completed(client, snapshot):
        return snapshot
    if started.get("BlockSize", BLOCK_SIZE) != BLOCK_SIZE:
        raise UploadError(f"the service asks for blocks of {started['BlockSize']} bytes; only {BLOCK_SIZE} is known")
    digests: dict[int, bytes] = {}
    with image.open("rb") as disk, ThreadPoolExecutor(workers) as pool:
        def put(index: int) -> tuple[int, bytes]:
            data = os.pread(disk.fileno(), BLOCK_SIZE, index * BLOCK_SIZE)
            if not data.strip(b"\0"):
                return index, b""
            digest = hashlib.sha256(data).digest()
            client.put_snapshot_block(
                SnapshotId=snapshot, BlockIndex=index, BlockData=data, DataLength=len(data), ChecksumAlgorithm="SHA256",
                Checksum=base64.b64encode(digest).decode())
            return index, digest

        pending: set[Future[tuple[int, bytes]]] = set()
        try:
            for index in written_blocks(image):
                pending.add(pool.submit(put, index))
                if len(pending) >= workers * IN_FLIGHT:
                    pending = _collect(pending, digests, FIRST_COMPLETED)
            _collect(pending, digests, "ALL_COMPLETED")
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    aggregate = hashlib.sha256(b"".join(digests[index] for index in sorted(digests))).digest()
    client.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=len(digests), ChecksumAlgorithm="SHA256",
                             ChecksumAggregationMethod="LINEAR", Checksum=base64.b64encode(aggregate).decode())
    if say:
        say(f"{snapshot}: {len(digests)} blocks of {size // GIB_BYTES} GiB uploaded")
    return snapshot


def _is_completed(client: Any, snapshot: str) -> bool:
    """Whether blocks can be listed already. StartSnapshot repeats its first answer, `pending`, for the same token."""
    try:
        client.list_snapshot_blocks(SnapshotId=snapshot, MaxResults=100)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("ValidationException", "ResourceNotFoundException"):
            return False
        raise
    return True


def written_blocks(image: Path) -> Iterator[int]:
    """Indexes of the blocks that are not only holes."""
    last = -1
    for start, length in extents(image):
        for index in range(max(start // BLOCK_SIZE, last + 1), (start + length - 1) // BLOCK_SIZE + 1):
            yield index
            last = index


def _collect(pending: set[Future[tuple[int, bytes]]], digests: dict[int, bytes],
             until: str) -> set[Future[tuple[int, bytes]]]:
    done, rest = wait(pending, return_when=until)
    for future in done:
        index, digest = future.result()
        if digest:
            digests[index] = digest
    return rest
