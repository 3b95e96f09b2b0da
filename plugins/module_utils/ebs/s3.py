# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sink that needs no disk: segments of compressed blocks in a bucket (see segments.py).

Every object is written once (`If-None-Match: *`) by a single PUT whose SHA-256 S3 compares and answers. A segment is
built in memory while the ones before it are on their way: a bounded number, so that memory is bounded.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections import OrderedDict, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .blocks import BLOCK_SIZE
from .errors import BadInput, Missing, SegmentError, SinkError
from .manifest import Identity
from .segments import (
    MANIFEST_NAME,
    SPAN,
    SegmentHead,
    SegmentReader,
    SegmentWriter,
    segment_name,
    zstd_codec,
)

UPLOADS = 2  # segments on their way at once
_KEPT = 2  # segments of an earlier run that are held while their blocks are checked
_THERE = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}
_NAME = re.compile(r"[0-9]{8}\.seg")
_ABSENT = {"NoSuchKey", "404", "NotFound"}


def s3_client(region: str, *, profile: str | None = None, endpoint_url: str | None = None) -> Any:
    """A boto3 client for S3 with time-outs and bounded retries."""
    try:
        import boto3
    except ImportError:
        raise Missing("The bucket is reached with boto3: install the Python package boto3, and run again.") from None
    session = boto3.session.Session(profile_name=profile, region_name=region)
    return session.client("s3", endpoint_url=endpoint_url, config=s3_config(endpoint_url))


def s3_config(endpoint_url: str | None) -> Any:
    """Time-outs and bounded retries; buckets in the path where the address is not AWS' own."""
    from botocore.config import Config

    return Config(
        connect_timeout=10,
        read_timeout=60,
        retries={"mode": "standard", "total_max_attempts": 8},
        max_pool_connections=UPLOADS + 2,
        s3={"addressing_style": "path"} if endpoint_url or os.environ.get("AWS_ENDPOINT_URL") else None,
    )


class AlreadyThere(Exception):
    """If-None-Match: an object of that name exists."""


def call(client: Any, bucket: str, operation: str, **fields: Any) -> dict[str, Any]:
    """One call; an object that is not there gives an empty answer, one that is there already `AlreadyThere`."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        answer: dict[str, Any] = getattr(client, operation)(Bucket=bucket, **fields)
        return answer
    except ClientError as error:
        words = error.response.get("Error", {})
        code = str(words.get("Code", ""))
        if code in _ABSENT:
            return {}
        if code in _THERE:
            raise AlreadyThere from error
        where = fields.get("Key") or fields.get("Prefix", "")
        what = f"{code}: {words.get('Message', '')}"
        raise SinkError(f"s3://{bucket}/{where}: {operation} was refused: {what}.") from error
    except BotoCoreError as error:
        raise SinkError(f"The bucket {bucket} cannot be reached: {error}.") from error


def put_once(client: Any, bucket: str, key: str, body: bytes, **extra: str) -> None:
    """A small object, never overwritten, whose SHA-256 S3 compares and confirms."""
    checksum = base64.b64encode(hashlib.sha256(body).digest()).decode()
    try:
        answer = call(
            client, bucket, "put_object", Key=key, Body=body,
            ChecksumAlgorithm="SHA256", ChecksumSHA256=checksum, IfNoneMatch="*", **extra,
        )  # fmt: skip
    except AlreadyThere:
        raise SinkError(f"s3://{bucket}/{key} is there already and was not replaced.") from None
    if answer.get("ChecksumSHA256") != checksum:
        raise SinkError(f"s3://{bucket}/{key} was not confirmed with the SHA-256 that was sent.")


class SegmentSink:
    """Segments below `prefix` (`<case>/<snapshot>/image/`) of a bucket. `client` is boto3's, for S3."""

    kind = "s3-segments"

    def __init__(
        self, client: Any, bucket: str, prefix: str, *, span: int = SPAN, uploads: int = UPLOADS, kms_key: str = ""
    ) -> None:
        if not prefix.endswith("/"):
            raise BadInput(f"The prefix {prefix!r} must end in a slash: everything of this image lies below it.")
        self._client, self.bucket, self.prefix, self._span = client, bucket, prefix, span
        self._extra = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key} if kms_key else {}
        self._pack, self._unpack = zstd_codec()
        self._pool = ThreadPoolExecutor(uploads, thread_name_prefix="segments")
        self._under_way: deque[Future[None]] = deque()
        self._uploads = uploads
        self._identity: Identity | None = None
        self._look = False  # whether an earlier run may have left segments
        self._readers: OrderedDict[int, SegmentReader | None] = OrderedDict()
        self._writer: SegmentWriter | None = None
        self._segments = self._bytes = 0

    def begin(self, identity: Identity, *, resume: bool) -> None:
        """Nothing is created. Segments that are there already, of this snapshot, are taken into account."""
        self._identity = identity
        if self._head(self.prefix + MANIFEST_NAME) is not None:
            raise BadInput(f"s3://{self.bucket}/{self.prefix} holds a finished image already: choose another place.")
        found = self._call("list_objects_v2", Prefix=f"{self.prefix}segments/", MaxKeys=1)
        self._look = bool(found.get("KeyCount", len(found.get("Contents", []))))

    @property
    def span(self) -> int:
        """Blocks a segment."""
        return self._span

    @property
    def name(self) -> str:
        """Where the image lies, for people."""
        return f"s3://{self.bucket}/{self.prefix}"

    def adopt_manifest(self, path: Path) -> bool:
        """Where the bucket has a finished image, bring its manifest to `path`; whether it has."""
        if self._head(self.prefix + MANIFEST_NAME) is None:
            return False
        fetched = Path(f"{path}.fetched")
        try:
            self.save_manifest(fetched)
            fetched.replace(path)
        finally:
            fetched.unlink(missing_ok=True)
        return True

    def save_manifest(self, path: Path) -> None:
        """Download the manifest of a finished image."""
        found = self._call("get_object", Key=self.prefix + MANIFEST_NAME)
        if not found:
            raise BadInput(f"{self.name} holds no finished image: there is no manifest.")
        try:
            with path.open("wb") as file:
                while data := found["Body"].read(1 << 20):
                    file.write(data)
        except Exception as error:  # urllib3's and botocore's own, of a stream that ends; the disk's
            raise SinkError(f"The manifest of {self.name} could not be fetched: {error}.") from error

    def look_back(self, identity: Identity) -> None:
        """Read a finished image: no `begin`, nothing is written."""
        self._identity, self._look = identity, True

    def numbers(self) -> Iterator[int]:
        """The segments that are there, ascending."""
        token: dict[str, str] = {}
        while True:
            page = self._call("list_objects_v2", Prefix=f"{self.prefix}segments/", **token)
            for found in page.get("Contents", []):
                name = found["Key"][len(self.prefix) + len("segments/") :]
                if not _NAME.fullmatch(name):
                    raise SegmentError(f"s3://{self.bucket}/{found['Key']} is no segment's name.")
                yield int(name[:8])
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def indexes(self, number: int) -> set[int]:
        """The blocks in a segment."""
        reader = self._reader(number)
        return set() if reader is None else {entry.index for entry in reader.entries}

    @property
    def remembers(self) -> bool:
        return self._look

    def stored(self, index: int) -> bytes | None:
        """The SHA-256 of a block in a segment that an earlier run has left."""
        reader = self._reader(index // self._span)
        if reader is not None:
            for entry in reader.entries:
                if entry.index == index:
                    return entry.digest
        return None

    def read(self, index: int, buffer: memoryview) -> bool:
        reader = self._reader(index // self._span)
        if reader is None:
            return False
        for entry in reader.entries:
            if entry.index == index:
                buffer[:BLOCK_SIZE] = reader.block(entry)
                return True
        return False

    def write(self, index: int, data: memoryview, digest: bytes) -> None:
        number = index // self._span
        if self._reader(number) is not None:
            # A segment is uploaded whole or not at all, and never replaced: it must have this very block.
            if self.stored(index) != digest:
                raise SinkError(
                    f"s3://{self.bucket}/{segment_name(self.prefix, number)} is there already and does not have "
                    f"block {index} of the snapshot: choose another prefix."
                )
            return
        if self._writer is None or self._writer.head.segment != number:
            self._flush()
            self._writer = SegmentWriter(self._head_of(number), self._pack)
        self._writer.add(index, digest, data)

    def keep(self, index: int) -> None:
        """Nothing to do: the segment lies where it should."""

    def finish(self) -> dict[str, Any]:
        """Upload the last segment (field notes, pitfall 12) and wait for all."""
        self._flush()
        self._wait(0)
        self._pool.shutdown()
        return {
            "kind": self.kind,
            "target": f"s3://{self.bucket}/{self.prefix}",
            "span": self._span,
            "segments_written": self._segments,
            "bytes_written": self._bytes,
        }

    def complete(self, identity: Identity) -> bool:
        return self._head(self.prefix + MANIFEST_NAME) is not None

    def publish_manifest(self, path: Path) -> None:
        """Upload the manifest: with it the image is complete."""
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
            file.seek(0)
            self._put(self.prefix + MANIFEST_NAME, file, digest.digest())

    def close(self) -> None:
        """Let uploads under way end; what was not yet whole is left out."""
        self._writer = None
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._readers.clear()

    def _head_of(self, number: int) -> SegmentHead:
        if self._identity is None:
            raise AssertionError("begin comes first")
        identity = self._identity
        return SegmentHead(identity.snapshot_id, identity.region, identity.volume_gib, number, self._span)

    def _reader(self, number: int) -> SegmentReader | None:
        if not self._look:
            return None
        if number not in self._readers:
            name = segment_name(self.prefix, number)
            data = self._get(name)
            reader = None
            if data is not None:
                reader = SegmentReader(data, self._unpack, name=f"s3://{self.bucket}/{name}")
                if reader.head != self._head_of(number):
                    raise SinkError(f"s3://{self.bucket}/{name} is a segment of something else: {reader.head}.")
            self._readers[number] = reader
            while len(self._readers) > _KEPT:
                self._readers.popitem(last=False)
        return self._readers[number]

    def _flush(self) -> None:
        writer, self._writer = self._writer, None
        if writer is None or not len(writer):
            return
        self._wait(self._uploads - 1)
        data = writer.finish()
        self._segments += 1
        self._bytes += len(data)
        name = segment_name(self.prefix, writer.head.segment)
        self._under_way.append(self._pool.submit(self._upload, name, data))

    def _upload(self, name: str, data: bytearray) -> None:
        self._put(name, data, hashlib.sha256(data).digest())

    def _wait(self, most: int) -> None:
        """Wait until at most so many uploads are under way; the first failure is raised."""
        while self._under_way and (len(self._under_way) > most or self._under_way[0].done()):
            self._under_way.popleft().result()

    def _put(self, name: str, body: Any, digest: bytes) -> None:
        checksum = base64.b64encode(digest).decode()
        there = f"s3://{self.bucket}/{name}"
        try:
            answer = self._call(
                "put_object",
                Key=name,
                Body=body,
                ChecksumAlgorithm="SHA256",
                ChecksumSHA256=checksum,
                IfNoneMatch="*",
                **self._extra,
            )
        except AlreadyThere:
            # Ours, if its first answer got lost and boto3 asked again; then it has this very checksum.
            answer = self._head(name) or {}
            if answer.get("ChecksumSHA256") != checksum:
                raise SinkError(f"{there} is there already, and it is not what this run would write.") from None
            return
        if answer.get("ChecksumSHA256") != checksum:
            raise SinkError(f"{there} was not confirmed with the SHA-256 that was sent.")

    def _get(self, name: str) -> bytes | None:
        found = self._call("get_object", Key=name)
        try:
            return found["Body"].read() if found else None
        except Exception as error:  # urllib3's and botocore's own, of a stream that ends
            raise SinkError(f"s3://{self.bucket}/{name} could not be read: {error}.") from error

    def _head(self, name: str) -> dict[str, Any] | None:
        return self._call("head_object", Key=name, ChecksumMode="ENABLED") or None

    def _call(self, operation: str, **fields: Any) -> dict[str, Any]:
        return call(self._client, self.bucket, operation, **fields)
