# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put one file into a bucket, once, and believe it only when S3's own checksum agrees.

A single PUT answers with the SHA-256 of what S3 stored. A multipart upload answers with a hash over the parts' hashes,
which is recomputed here from the parts as they were read from the disk. Every write says `If-None-Match: *`: nothing
that is there is replaced.
"""

from __future__ import annotations

import base64
import hashlib
import io
from contextlib import suppress
from pathlib import Path
from typing import Any

try:
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError

    HAS_BOTOCORE = True
except ImportError:  # the module can be imported, for its documentation for instance, where boto3 is not
    HAS_BOTOCORE = False

CHUNK = 1 << 20
SINGLE_LIMIT = 4 << 30  # S3 takes 5 GiB in one PUT; a retry of that much is enough
PART = 64 << 20
MAX_PARTS = 10_000

PERMANENT = {"AccessDenied", "AllAccessDisabled", "AccountProblem", "InvalidAccessKeyId", "InvalidBucketName",
             "NoSuchBucket", "NotSignedUp", "PermanentRedirect", "SignatureDoesNotMatch", "KMS.DisabledException",
             "KMS.NotFoundException", "KMS.AccessDeniedException", "InvalidRequest", "MethodNotAllowed"}
THERE = {"PreconditionFailed", "412"}
CHANGED = {"BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "IncompleteBody"}


class UploadError(Exception):
    """A file did not arrive. `kind`: temporary (try again), permanent (somebody must act), changed (the file was
    written to meanwhile), there (an object of that name exists), unproven (an object was written that differs)."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Window(io.RawIOBase):
    """The first `size` bytes of a file: what is appended while it is sent waits for the next time."""

    def __init__(self, path: Path, size: int) -> None:
        self._handle, self._size, self._at = path.open("rb"), size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = self._handle.seek(max(0, start + offset))
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._size - self._at)
        data = self._handle.read(left if size is None or size < 0 else min(size, left))
        self._at += len(data)
        if not data and left and size != 0:
            raise OSError("the file has become shorter while it was sent")
        return data

    def readall(self) -> bytes:
        return self.read()

    def close(self) -> None:
        self._handle.close()
        super().close()


def digest(path: Path) -> tuple[str, int]:
    """SHA-256 (hexadecimal) and size of a file as it is now; one that grows meanwhile is read up to this size."""
    running, size = hashlib.sha256(), 0
    with Window(path, path.stat().st_size) as handle:
        while chunk := handle.read(CHUNK):
            running.update(chunk)
            size += len(chunk)
    return running.hexdigest(), size


def part_size(size: int, wanted: int = PART) -> int:
    """Bytes a part, so that no more than 10,000 parts come out, in whole MiB."""
    needed = -(-size // MAX_PARTS)
    return max(wanted, -(-needed // CHUNK) * CHUNK)


def put(client: Any, bucket: str, key: str, path: Path, sha256: str, size: int, *,
        single_limit: int = SINGLE_LIMIT, part: int = PART) -> None:
    """Upload `path`, whose SHA-256 and size are known, as `key`; raise UploadError unless S3 confirms them."""
    try:
        if size > single_limit:
            _multipart(client, bucket, key, path, size, sha256, part_size(size, part))
        else:
            _single(client, bucket, key, path, size, sha256)
    except ClientError as error:
        raise _classified(key, error) from error
    except NoCredentialsError as error:
        raise UploadError("temporary", f"{key}: the metadata service gives no credentials: does the instance have "
                                       "its profile?") from error
    except (HTTPClientError, BotoCoreError) as error:
        raise UploadError("temporary", f"{key}: S3 could not be reached: {error}") from error


def _single(client: Any, bucket: str, key: str, path: Path, size: int, sha256: str) -> None:
    expected = base64.b64encode(bytes.fromhex(sha256)).decode()
    with Window(path, size) as handle:
        answer = client.put_object(Bucket=bucket, Key=key, Body=handle, IfNoneMatch="*", ChecksumAlgorithm="SHA256",
                                   ChecksumSHA256=expected)
    _compare(key, expected, answer.get("ChecksumSHA256"))


def _multipart(client: Any, bucket: str, key: str, path: Path, size: int, sha256: str, part: int) -> None:
    upload = client.create_multipart_upload(Bucket=bucket, Key=key, ChecksumAlgorithm="SHA256")["UploadId"]
    try:
        parts, whole = [], hashlib.sha256()
        with Window(path, size) as handle:
            for number in range(1, -(-size // part) + 1):
                data = handle.read(part)
                whole.update(data)
                parts.append(_part(client, bucket, key, upload, number, data))
        if whole.hexdigest() != sha256:
            raise UploadError("changed", f"{key}: the file changed while it was uploaded")
        answer = client.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, IfNoneMatch="*",
                                                  MultipartUpload={"Parts": parts})
        _compare(key, composite([base64.b64decode(item["ChecksumSHA256"]) for item in parts]),
                 answer.get("ChecksumSHA256"))
    except BaseException:
        with suppress(ClientError, BotoCoreError):  # the bucket's life-cycle rule removes what stays behind
            client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
        raise


def _part(client: Any, bucket: str, key: str, upload: str, number: int, data: bytes) -> dict[str, Any]:
    expected = base64.b64encode(hashlib.sha256(data).digest()).decode()
    answer = client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=io.BytesIO(data),
                                ChecksumAlgorithm="SHA256", ChecksumSHA256=expected)
    _compare(f"{key} part {number}", expected, answer.get("ChecksumSHA256"))
    return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": expected}


def composite(digests: list[bytes]) -> str:
    """The checksum of a multipart object: the hash over its parts' hashes, and how many there are."""
    return f"{base64.b64encode(hashlib.sha256(b''.join(digests)).digest()).decode()}-{len(digests)}"


def _compare(what: str, expected: str, answered: str | None) -> None:
    if answered is None:
        raise UploadError("permanent", f"{what}: the store answers without a checksum, so that nothing is proven")
    if answered != expected:
        raise UploadError("unproven", f"{what}: S3 stored SHA-256 {answered}, sent was {expected}")


def _classified(key: str, error: Any) -> UploadError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    text = str(error.response.get("Error", {}).get("Message", ""))[:300]
    if code in THERE or status == 412:
        return UploadError("there", f"{key}: an object of that name exists already")
    if code in CHANGED:
        return UploadError("changed", f"{key}: the file changed while it was uploaded ({code})")
    kind = "permanent" if code in PERMANENT else "temporary"
    return UploadError(kind, f"{key}: S3 refused it: {code or status}: {text}")
