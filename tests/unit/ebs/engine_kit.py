# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine against the lab's real EBS direct front, and what an image of its snapshots has to be."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.ebs.blocks import BLOCK_SIZE, GIB
from ansible_collections.dfir.aws.plugins.module_utils.ebs.client import EbsClient
from ansible_collections.dfir.aws.plugins.module_utils.ebs.connection import Timeouts
from ansible_collections.dfir.aws.plugins.module_utils.ebs.image import ImageRequest, ImageResult, make_image
from ansible_collections.dfir.aws.plugins.module_utils.ebs.rate import RateBudget, RetryPolicy
from ansible_collections.dfir.aws.plugins.module_utils.ebs.sigv4 import Credentials
from ansible_collections.dfir.aws.plugins.module_utils.ebs.sinks import RawFile

from tests.unit.lab.ebs_kit import KEY, REGION, SECRET, Kit, aws_client, block

BLOCKS = {index: block(index) for index in (0, 1, 2, 5, 63, 64, 65, 127, 500, 501, 1000, 2047)}
MANY = {index: block(index) for index in range(3, 303)}
QUICK = RetryPolicy(base=0.002, longest=0.02)


class SharedKit(Kit):
    """The lab's EBS direct with moto behind the same front; a snapshot is uploaded once for all tests."""

    def __init__(self, root: Path) -> None:
        super().__init__(root / "store")
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        self.front.app = DomainDispatcherApplication(create_backend_app)
        self._uploaded: dict[tuple[tuple[int, bytes], ...], str] = {}

    def s3(self) -> Any:
        """A client for the bucket dfir-images. A process has one moto: the lab's AWS, when a test of its own starts it,
        empties it, and which tests share a process is not for them to choose."""
        client = aws_client("s3", self.address)
        if "dfir-images" not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
            client.create_bucket(Bucket="dfir-images", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        return client

    def snapshot(self, blocks: Mapping[int, bytes]) -> str:
        """A snapshot of these blocks that no test changes, of one lineage with all others."""
        key = tuple((index, hashlib.sha256(blocks[index]).digest()) for index in sorted(blocks))
        if key not in self._uploaded:
            self._uploaded[key] = self.upload(blocks)
            self.catalog.snapshots[REGION, self._uploaded[key]]["lineage"] = "line"
        return self._uploaded[key]


def engine(
    kit: Kit, key: str = KEY, secret: str = SECRET, *, rate: float | RateBudget | None = None, **more: Any
) -> EbsClient:
    """A client of the kit, unlimited and impatient unless told otherwise."""
    settings: dict[str, Any] = {"endpoint_url": kit.endpoint, "policy": QUICK, "timeouts": Timeouts(2, 1, 10)}
    budget = rate if isinstance(rate, RateBudget) else RateBudget(rate)
    return EbsClient(REGION, lambda: Credentials(key, secret), rate=budget, **(settings | more))


def image(
    client: EbsClient, snapshot: str, path: Path, *, sinks: Iterable[Any] | None = None, tell: Any = None, **more: Any
) -> ImageResult:
    """Image into `path`, its manifest beside it."""
    request = ImageRequest(
        snapshot, list(sinks) if sinks is not None else [RawFile(path)], Path(f"{path}.manifest"), **more
    )
    return make_image(client, request, tell=tell)


def expect_image(path: Path, blocks: Mapping[int, bytes], gib: int = 1) -> None:
    """The file is the image of these blocks, to the last byte."""
    assert path.stat().st_size == gib * GIB
    zeros = bytes(BLOCK_SIZE)
    with path.open("rb") as file:
        for index in sorted({*blocks, *_not_holes(file.fileno())}):
            file.seek(index * BLOCK_SIZE)
            assert file.read(BLOCK_SIZE) == blocks.get(index, zeros), f"block {index}"


def _not_holes(fd: int) -> Iterator[int]:
    """Blocks that the file system keeps data for."""
    place, size = 0, os.lseek(fd, 0, os.SEEK_END)
    while place < size:
        try:
            place = os.lseek(fd, place, os.SEEK_DATA)
        except OSError:
            return
        end = os.lseek(fd, place, os.SEEK_HOLE)
        yield from range(place // BLOCK_SIZE, -(-end // BLOCK_SIZE))
        place = end


def stop_after(blocks: int) -> Callable[[], bool]:
    """A `stop` that says yes after it was asked that often."""
    asked = [0]

    def stop() -> bool:
        asked[0] += 1
        return asked[0] > blocks

    return stop
