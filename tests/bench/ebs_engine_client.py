# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One client of the engine's benchmark, in a process of its own: `ebs_engine_client.py KIND '{settings as JSON}'`.

Prints one line of JSON: CPU and wall seconds of the work alone (imports and set-up are outside), and the process' peak
memory, which has everything in it. Every client runs on the last core.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import mmap
import os
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent.parent), str(HERE.parent.parent / "collections")]
BLOCK = 524_288


def measured(work: Callable[[], Any]) -> dict[str, Any]:
    """Run `work` and say what it took."""

    def cpu() -> float:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    before, began = cpu(), time.monotonic()
    found = work()
    taken = {"cpu": cpu() - before, "wall": time.monotonic() - began}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return taken | {"peak_mib": round(peak, 1)} | (found if isinstance(found, dict) else {})


def fresh(path: Path) -> Path:
    """A path at which nothing of an earlier round lies."""
    for end in ("", ".manifest", ".partial", ".manifest.partial"):
        Path(f"{path}{end}").unlink(missing_ok=True)
    return path


def engine_client(where: dict[str, Any]) -> Any:
    """The engine's client, with credentials found as a user's are, and no limit to its rate."""
    from ansible_collections.dfir.aws.plugins.module_utils.ebs.client import EbsClient
    from ansible_collections.dfir.aws.plugins.module_utils.ebs.rate import RateBudget
    from ansible_collections.dfir.aws.plugins.module_utils.ebs.sigv4 import session_credentials

    os.environ.update(AWS_ACCESS_KEY_ID=where["key"], AWS_SECRET_ACCESS_KEY=where["secret"])
    return EbsClient(
        where["region"], session_credentials(), endpoint_url=where["url"], ca_bundle=where["ca"], rate=RateBudget(None)
    )


def engine(where: dict[str, Any]) -> dict[str, Any]:
    """The engine into a sparse raw file."""
    from ansible_collections.dfir.aws.plugins.module_utils.ebs.image import ImageRequest, make_image
    from ansible_collections.dfir.aws.plugins.module_utils.ebs.sinks import RawFile

    client, path = engine_client(where), Path(where["output"])
    if not where.get("resume"):
        fresh(path)
    request = ImageRequest(
        where["snapshot"],
        [RawFile(path)],
        Path(f"{path}.manifest"),
        hashes=where.get("hashes", []),
        connections=where["connections"],
    )
    return measured(lambda: make_image(client, request).session)


def engine_s3(where: dict[str, Any]) -> dict[str, Any]:
    """The engine into segments of a bucket."""
    from ansible_collections.dfir.aws.plugins.module_utils.ebs.image import ImageRequest, make_image
    from ansible_collections.dfir.aws.plugins.module_utils.ebs.s3 import SegmentSink, s3_client

    client, manifest = engine_client(where), Path(f"{fresh(Path(where['output']))}.manifest")
    sink = SegmentSink(
        s3_client(where["region"], endpoint_url=where["s3"]), "bench", f"CASE/{where['snapshot']}/image/"
    )
    request = ImageRequest(where["snapshot"], [sink], manifest, connections=where["connections"])
    return measured(lambda: make_image(client, request).session)


def boto3_pool(where: dict[str, Any]) -> dict[str, Any]:
    """What a careful script does: a thread pool, each block verified, hashed and written."""
    import boto3
    from botocore.config import Config

    threads = where["connections"]
    client = boto3.client(
        "ebs",
        region_name=where["region"],
        endpoint_url=where["url"],
        aws_access_key_id=where["key"],
        aws_secret_access_key=where["secret"],
        verify=where["ca"],
        config=Config(max_pool_connections=threads, read_timeout=20, retries={"mode": "standard"}),
    )
    fd = os.open(fresh(Path(where["output"])), os.O_RDWR | os.O_CREAT)

    def one(entry: dict[str, Any]) -> None:
        answer = client.get_snapshot_block(
            SnapshotId=where["snapshot"], BlockIndex=entry["BlockIndex"], BlockToken=entry["BlockToken"]
        )
        data = answer["BlockData"].read()
        if base64.b64encode(hashlib.sha256(data).digest()).decode() != answer["Checksum"] or len(data) != BLOCK:
            raise SystemExit("a wrong block")
        os.pwrite(fd, data, entry["BlockIndex"] * BLOCK)

    def work() -> None:
        listing, blocks = client.list_snapshot_blocks(SnapshotId=where["snapshot"]), []
        os.ftruncate(fd, listing["VolumeSize"] << 30)
        while True:
            blocks += listing["Blocks"]
            if not listing.get("NextToken"):
                break
            listing = client.list_snapshot_blocks(SnapshotId=where["snapshot"], NextToken=listing["NextToken"])
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, blocks))

    return measured(work)


def dsnap(where: dict[str, Any]) -> dict[str, Any]:
    """dsnap as PyPI has it."""
    import boto3
    from botocore.config import Config
    from dsnap.snapshot import LocalSnapshot

    os.environ.update(
        AWS_ACCESS_KEY_ID=where["key"],
        AWS_SECRET_ACCESS_KEY=where["secret"],
        AWS_ENDPOINT_URL=where["url"],
        AWS_CA_BUNDLE=where["ca"],
    )
    folder = Path(where["output"]).parent
    fresh(folder / f"{where['snapshot']}.img")
    snapshot = LocalSnapshot(
        str(folder), where["snapshot"], boto3.session.Session(region_name=where["region"]), Config()
    )
    # It prints a line a block.
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        found = measured(lambda: snapshot.fetch(force=True))
    return found | {"image": snapshot.path}


def hash_cold(where: dict[str, Any]) -> dict[str, Any]:
    """SHA-256 over bytes that are in no cache of the processor: an image in memory, mapped and touched before."""
    with Path(where["output"]).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        view = memoryview(data)
        sum(view[:: mmap.PAGESIZE])

        def work() -> None:
            running = hashlib.sha256()
            for place in range(0, len(view), BLOCK):
                running.update(view[place : place + BLOCK])

        found = measured(work)
        view.release()
    return found


def hash_stored(where: dict[str, Any]) -> dict[str, Any]:
    """What a resume cannot do without: reading the image, each block's SHA-256, and the whole one's where asked."""

    def work() -> None:
        buffer = memoryview(bytearray(BLOCK))
        whole = hashlib.sha256()
        with Path(where["output"]).open("rb", buffering=0) as file:
            while file.readinto(buffer):
                hashlib.sha256(buffer).digest()
                if where.get("hashes"):
                    whole.update(buffer)

    return measured(work)


def largest(where: dict[str, Any]) -> dict[str, Any]:
    """A fully written volume of `gib` GiB, listing and manifest at full size; the blocks themselves are pretended."""
    from ansible_collections.dfir.aws.plugins.module_utils.ebs import image as engine_image
    from ansible_collections.dfir.aws.plugins.module_utils.ebs.connection import Answer
    from ansible_collections.dfir.aws.plugins.module_utils.ebs.sinks import RawFile

    client, blocks = engine_client(where), where["gib"] * 2048
    digest, data = hashlib.sha256(b"pretended").digest(), memoryview(bytearray(BLOCK))
    answer = Answer(200, {}, 0, BLOCK)

    class Silent:
        """A connection on which nothing travels."""

        reused = False

        def send(self, _head: bytes) -> None: ...

        def receive(self, _buffer: memoryview) -> Answer:
            return answer

        def close(self) -> None: ...

    class Nowhere(RawFile):
        """A file that only has its size."""

        def write(self, index: int, data: memoryview, digest: bytes) -> None: ...

    def page(*_unused: Any, start: int, page: str | None, size: int, **_more: Any) -> dict[str, Any]:
        first = int(page) if page else start
        last = min(blocks, first + size)
        # As it comes from AWS: text that is parsed, tokens of the usual length.
        text = ",".join(f'{{"BlockIndex":{i},"BlockToken":"{i:068d}"}}' for i in range(first, last))
        entries = json.loads(f"[{text}]", object_hook=client_entry)
        following = str(last) if last < blocks else None
        return {"entries": entries, "gib": where["gib"], "expiry": time.time() + 1e6, "next": following}

    from ansible_collections.dfir.aws.plugins.module_utils.ebs.client import _entry as client_entry

    client.list_page = page
    client.check_block = lambda _answer, _buffer: (data, digest)
    client.service.connection = Silent
    path = fresh(Path(where["output"]))
    request = engine_image.ImageRequest(where["snapshot"], [Nowhere(path)], Path(f"{path}.manifest"), connections=16)
    found = measured(lambda: engine_image.make_image(client, request).session)
    size = Path(f"{path}.manifest").stat().st_size
    fresh(path)
    return found | {"manifest_bytes": size, "blocks": blocks}


KINDS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "engine": engine,
    "engine_s3": engine_s3,
    "boto3": boto3_pool,
    "dsnap": dsnap,
    "hash_cold": hash_cold,
    "hash_stored": hash_stored,
    "largest": largest,
}

if __name__ == "__main__":
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(json.dumps(KINDS[sys.argv[1]](json.loads(sys.argv[2]))), flush=True)
