# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One large object of a bucket as a stream, written and read without a disk.

Writing is a multipart upload: until it is completed there is no object, and it is completed after the last byte, once
(`If-None-Match: *`), each part with the SHA-256 that S3 compares. What a killed run leaves are parts that nobody sees;
the bucket's lifecycle rule removes them (AbortIncompleteMultipartUpload).
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from .errors import BadInput, Mismatch, SinkError
from .s3 import AlreadyThere, call

ATTEMPT = "dfir-attempt"  # metadata of an object: which run wrote it
MIB = 1 << 20
SMALLEST_PART, LARGEST_PART = 8 * MIB, 128 * MIB  # two are in memory at once
_PARTS = 9_900  # S3 takes 10,000
_TRIES = 8


def split_place(place: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`."""
    bucket, slash, key = place.removeprefix("s3://").partition("/")
    if not place.startswith("s3://") or not bucket or not slash or not key or key.endswith("/"):
        raise BadInput(f"{place}: s3://bucket/name is what an object is called.")
    return bucket, key


def part_size(most: int) -> int:
    """Bytes a part, so that an object of up to `most` bytes fits into what S3 takes."""
    size = max(SMALLEST_PART, -(-most // _PARTS // MIB) * MIB + MIB)
    if size > LARGEST_PART:
        limit = _PARTS * (LARGEST_PART - MIB) // (1 << 30)
        raise BadInput(
            f"Packed it may have up to {most // (1 << 30)} GiB; streamed into a bucket it can have {limit} GiB. "
            "Rebuild the image on a machine with a disk, pack it there, and copy the file."
        )
    return size


class ObjectWriter:
    """A multipart upload. Leaving it with an error removes what was sent; `complete` gives the object its name."""

    def __init__(
        self, client: Any, place: str, *, part_bytes: int = SMALLEST_PART, extra: dict[str, str] | None = None
    ) -> None:
        self._client, self.place = client, place
        self.bucket, self.key = split_place(place)
        self.attempt = uuid.uuid4().hex[:12]
        self._extra, self._part = extra or {}, part_bytes
        self._upload = ""
        self._buffer = bytearray()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="parts")
        self._sending: Future[dict[str, Any]] | None = None
        self._parts: list[dict[str, Any]] = []
        self._digests = hashlib.sha256()  # over the parts' digests: what S3 calls the checksum of the whole
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """Of what was written so far."""
        return self._hash.hexdigest()

    def __enter__(self) -> ObjectWriter:
        fields = {"ChecksumAlgorithm": "SHA256", "Metadata": {ATTEMPT: self.attempt}, **self._extra}
        answer = call(self._client, self.bucket, "create_multipart_upload", Key=self.key, **fields)
        self._upload = str(answer.get("UploadId", ""))
        if not self._upload:
            raise SinkError(f"The bucket {self.bucket} does not exist.")
        return self

    def __exit__(self, kind: object, *_unused: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        if kind is not None and self._upload:
            with suppress(SinkError, AlreadyThere):  # the lifecycle rule does what cannot be done here
                call(self._client, self.bucket, "abort_multipart_upload", Key=self.key, UploadId=self._upload)

    def write(self, data: bytes) -> None:
        """Append."""
        self._hash.update(data)
        self.size += len(data)
        view = memoryview(data)
        while len(view):
            room = self._part - len(self._buffer)
            self._buffer += view[:room]
            view = view[room:]
            if len(self._buffer) >= self._part:
                self._send()

    def _send(self) -> None:
        body, self._buffer = self._buffer, bytearray()
        self._wait()
        self._sending = self._pool.submit(self._put, len(self._parts) + 1, body)

    def _put(self, number: int, body: bytearray) -> dict[str, Any]:
        digest = hashlib.sha256(body).digest()
        checksum = base64.b64encode(digest).decode()
        answer = call(
            self._client, self.bucket, "upload_part", Key=self.key, UploadId=self._upload, PartNumber=number, Body=body,
            ChecksumAlgorithm="SHA256", ChecksumSHA256=checksum,
        )  # fmt: skip
        if answer.get("ChecksumSHA256") != checksum:
            raise SinkError(f"Part {number} of {self.place} was not confirmed with the SHA-256 that was sent.")
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum}

    def _wait(self) -> None:
        if self._sending is not None:
            sent, self._sending = self._sending.result(), None
            self._digests.update(base64.b64decode(sent["ChecksumSHA256"]))
            self._parts.append(sent)

    def flush(self) -> None:
        """Send what is left; nothing has its name yet."""
        if self._buffer or (not self._parts and self._sending is None):
            self._send()
        self._wait()

    def publish(self) -> None:
        """Give the object its name, unless there is one of that name."""
        try:
            answer = call(
                self._client, self.bucket, "complete_multipart_upload", Key=self.key, UploadId=self._upload,
                MultipartUpload={"Parts": self._parts}, IfNoneMatch="*",
            )  # fmt: skip
        except (AlreadyThere, SinkError) as error:
            # Ours, if its first answer got lost and boto3 asked again.
            answer = call(self._client, self.bucket, "head_object", Key=self.key, ChecksumMode="ENABLED")
            if answer.get("Metadata", {}).get(ATTEMPT) != self.attempt:
                if isinstance(error, SinkError):
                    raise
                raise BadInput(f"Another run has just finished {self.place}: look at its result.") from None
        if "ChecksumSHA256" not in answer:
            answer = call(self._client, self.bucket, "head_object", Key=self.key, ChecksumMode="ENABLED")
        stated = str(answer.get("ChecksumSHA256", "")).partition("-")[0]  # behind it the number of parts
        if stated != base64.b64encode(self._digests.digest()).decode():
            raise SinkError(f"{self.place} was not confirmed with the SHA-256 of its parts.")


class ObjectReader:
    """An object as a file that is read from its beginning. A connection that breaks is taken up where it broke, of the
    very same object."""

    def __init__(self, client: Any, place: str) -> None:
        self._client, self.place = client, place
        self.bucket, self.key = split_place(place)
        facts = call(client, self.bucket, "head_object", Key=self.key)
        if not facts:
            raise BadInput(f"{place} is not there.")
        self._etag, self.size = facts["ETag"], int(facts["ContentLength"])
        self.attempt = str(facts.get("Metadata", {}).get(ATTEMPT, ""))
        self._body: Any = None
        self._place = 0

    def __enter__(self) -> ObjectReader:
        return self

    def __exit__(self, *_unused: object) -> None:
        self._drop()

    def tell(self) -> int:
        """Bytes so far."""
        return self._place

    def _drop(self) -> None:
        if self._body is not None:
            with suppress(Exception):  # what broke before
                self._body.close()
            self._body = None

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; none at the end."""
        wanted = self.size - self._place if size < 0 else min(size, self.size - self._place)
        if not wanted:
            return b""
        for left in reversed(range(_TRIES)):
            try:
                if self._body is None:
                    self._body = self._open()
                data: bytes = self._body.read(wanted)
                if data:
                    self._place += len(data)
                    return data
                raise EOFError("it ended early")
            except (BadInput, SinkError, Mismatch):
                raise
            except Exception as error:  # urllib3's and botocore's own, of a stream that ends
                self._drop()
                if not left:
                    raise SinkError(f"{self.place} could not be read: {error}.") from error
        raise AssertionError("the last try raises")

    def _open(self) -> Any:
        try:
            found = call(
                self._client, self.bucket, "get_object", Key=self.key, Range=f"bytes={self._place}-",
                IfMatch=self._etag,
            )  # fmt: skip
        except AlreadyThere:
            found = {}
        if not found:
            raise Mismatch(f"{self.place} was replaced or removed while it was read.")
        return found["Body"]


def read_small(client: Any, place: str, most: int = 1 << 20) -> bytes | None:
    """A small object; None where it is not there."""
    bucket, key = split_place(place)
    found = call(client, bucket, "get_object", Key=key)
    if not found:
        return None
    try:
        data: bytes = found["Body"].read(most + 1)
    except Exception as error:  # as above
        raise SinkError(f"{place} could not be read: {error}.") from error
    if len(data) > most:
        raise BadInput(f"{place} has more bytes than it can have.")
    return data
