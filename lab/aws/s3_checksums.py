# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""S3's checksums: what a client says about its bytes is compared with the bytes, and every answer tells what is stored.

moto believes most of it, knows nothing of checksums at the end of a multipart upload, and writes a CRC32 where it lacks
a library for another algorithm.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from lab import sigv4
from lab.contracts import Refused

from . import moto_app  # moto_app first: it sets what moto reads while it is imported
from .calls import Call

# isort: split
import moto.s3.models
import moto.s3.responses
from moto.s3.models import MultipartChecksumBuilder

PREFIX = "x-amz-checksum-"
NO_VALUE = {f"{PREFIX}{word}" for word in ("algorithm", "mode", "type")}
WRITES = ("PutObject", "UploadPart")
TRAILERS = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


@lru_cache
def _table(polynomial: int) -> tuple[int, ...]:
    rows = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (polynomial if value & 1 else 0)
        rows.append(value)
    return tuple(rows)


def _crc(polynomial: int, size: int) -> Callable[[bytes], bytes]:
    """A reflected CRC in plain Python, about 10 MB/s: right, for those who choose what zlib does not have."""
    def digest(data: bytes) -> bytes:
        table, ones = _table(polynomial), (1 << 8 * size) - 1
        value = ones
        for byte in data:
            value = table[(value ^ byte) & 0xFF] ^ value >> 8
        return (value ^ ones).to_bytes(size, "big")

    return digest


ALGORITHMS: dict[str, Callable[[bytes], bytes]] = {
    "sha256": lambda data: hashlib.sha256(data).digest(),
    "sha1": lambda data: hashlib.sha1(data, usedforsecurity=False).digest(),
    "crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
    "crc32c": _crc(0x82F63B78, 4),
    "crc64nvme": _crc(0x9A6C9329AC4BC9B5, 8),
}


def digest_of(name: str, body: bytes) -> str:
    """A checksum as S3 writes it: base64 of the digest."""
    return base64.b64encode(ALGORITHMS[name](body)).decode()


class _AsAsked(MultipartChecksumBuilder):
    """No checksum of the whole where none was asked for: moto's default (CRC64NVME) is slow here, and not kept."""

    def __init__(self, checksum_algorithm: str | None, checksum_type: str | None) -> None:
        super().__init__(checksum_algorithm, checksum_type)
        self._asked = bool(checksum_algorithm)

    def addPart(self, part: bytes) -> None:  # noqa: N802  moto's name
        if self._asked:
            super().addPart(part)

    def build(self) -> tuple[str, str, int] | None:
        return super().build() if self._asked else None


def install() -> None:
    """Let moto compute what it was asked for."""
    def compute(body: bytes, algorithm: str, encode_base64: bool = True) -> bytes:
        digest = ALGORITHMS[algorithm.lower()](body)
        return base64.b64encode(digest) if encode_base64 else digest

    moto.s3.models.MultipartChecksumBuilder = _AsAsked  # type: ignore[misc]
    moto.s3.models.compute_checksum = compute
    moto.s3.responses.compute_checksum = compute


def _value(headers: dict[str, str]) -> tuple[str, str] | None:
    """Algorithm and value of the checksum that a request carries."""
    given = [name for name in headers if name.startswith(PREFIX) and name not in NO_VALUE]
    if not given:
        return None
    if len(given) > 1:
        raise Refused(400, "InvalidRequest", "Expecting a single x-amz-checksum- header")
    name = given[0].removeprefix(PREFIX)
    if name not in ALGORITHMS:
        raise Refused(400, "LabNotImplemented", f"The lab knows no checksum {name}; it has {', '.join(ALGORITHMS)}.")
    return name, headers[given[0]]


def check(call: Call) -> None:
    """Compare what the client says about its own body with the body, as S3 does, and leave the body plain."""
    stated = call.headers.get("x-amz-content-sha256", "")
    if stated.startswith("STREAMING-"):
        _unwrap(call, stated)
    elif stated and stated != sigv4.UNSIGNED and stated != hashlib.sha256(call.body).hexdigest():
        raise Refused(400, "XAmzContentSHA256Mismatch",
                      "The provided 'x-amz-content-sha256' header does not match what was computed.")
    if "content-md5" in call.headers:
        wanted = _decoded(call.headers["content-md5"], 16)
        if wanted is None:
            raise Refused(400, "InvalidDigest", "The Content-MD5 you specified was invalid.")
        if wanted != hashlib.md5(call.body, usedforsecurity=False).digest():
            raise Refused(400, "BadDigest", "The Content-MD5 you specified did not match what we received.")
    given = _value(call.headers)
    announced = call.headers.get("x-amz-sdk-checksum-algorithm", "").lower()
    if announced and call.operation in WRITES and (given is None or given[0] != announced):
        raise Refused(400, "InvalidRequest", "x-amz-sdk-checksum-algorithm specified, but no corresponding "
                                             "x-amz-checksum-* or x-amz-trailer headers were found.")
    if call.operation == "CompleteMultipartUpload":
        _check_end(call, given)
    elif given is not None:
        name, value = given
        wanted = _decoded(value, len(ALGORITHMS[name](b"")))
        if wanted is None:
            raise Refused(400, "InvalidRequest", f"Value for {PREFIX}{name} header is invalid.")
        if wanted != ALGORITHMS[name](call.body):
            raise Refused(400, "BadDigest", f"The {name.upper()} you specified did not match the calculated checksum.")
        if call.operation == "UploadPart":
            _check_part(call, name)


def _decoded(text: str, size: int) -> bytes | None:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if len(data) == size else None


def _unwrap(call: Call, stated: str) -> None:
    """Take the body out of its chunks (`aws-chunked`); the checksum comes in a trailing header that was announced."""
    if stated != TRAILERS:
        raise Refused(400, "LabNotImplemented",
                      f"The lab does not verify signed chunks ({stated}); send the hash of the body, or {TRAILERS}.")
    call.body, trailers = dechunk(call.body)
    announced = {name.strip().lower() for name in call.headers.get("x-amz-trailer", "").split(",") if name.strip()}
    if set(trailers) != announced:
        raise Refused(400, "MalformedTrailerError", "The request contained trailing data that was not well-formed or "
                                                    "did not conform to our published schema.")
    call.headers.update(trailers)
    if call.headers.get("x-amz-decoded-content-length", "") != str(len(call.body)):
        raise Refused(400, "IncompleteBody", "The body is not as long as x-amz-decoded-content-length says.")
    codings = [word for word in call.headers.pop("content-encoding", "").split(",")
               if word.strip() not in ("", "aws-chunked")]
    if codings:
        call.headers["content-encoding"] = ",".join(codings)


def dechunk(body: bytes) -> tuple[bytes, dict[str, str]]:
    """Decode aws-chunked: the data, and the trailing headers."""
    data, view = bytearray(), memoryview(body)
    offset = 0
    while True:
        end = body.find(b"\r\n", offset)
        length = body[offset:end].split(b";")[0] if end >= 0 else b""
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,16}", length):
            raise Refused(400, "IncompleteBody", "The chunked body ends without its last chunk.")
        size, offset = int(length, 16), end + 2
        if size == 0:
            break
        if body[offset + size:offset + size + 2] != b"\r\n":
            raise Refused(400, "IncompleteBody", "A chunk of the body does not end where it said it would.")
        data += view[offset:offset + size]
        offset += size + 2
    lines = (line.partition(":") for line in body[offset:].decode("latin-1").split("\r\n") if line)
    return bytes(data), {name.strip().lower(): value.strip() for name, _, value in lines}


# Multipart uploads. A part's checksum is compared when it arrives and once more when the client ends the upload.


def _upload(call: Call) -> Any:
    bucket = moto_app.bucket(str(call.params.get("Bucket")))
    return bucket.multiparts.get(call.params.get("uploadId")) if bucket is not None else None


def _kind(upload: Any) -> tuple[str, bool]:
    """The algorithm of an upload (empty: none was asked for), and whether its checksum is one over its parts'."""
    name = str(upload.metadata.get("x-amz-checksum-algorithm") or "").lower()
    kind = str(upload.metadata.get("x-amz-checksum-type") or "").upper()
    return name, bool(name) and kind != "FULL_OBJECT" and name != "crc64nvme"


def _check_part(call: Call, name: str) -> None:
    upload = _upload(call)
    wanted = _kind(upload)[0] if upload is not None else ""
    if wanted and name != wanted:
        raise Refused(400, "InvalidRequest", f"Checksum Type mismatch occurred, expected checksum Type: {wanted}, "
                                             f"actual checksum Type: {name}")


def _check_end(call: Call, given: tuple[str, str] | None) -> None:
    """Hold the checksums that end an upload against its parts; moto compares their ETags."""
    upload = _upload(call)
    if upload is None:
        return  # moto says so
    name, composite = _kind(upload)
    listed = _listed(call.body)
    for number, checksums in listed:
        part = upload.parts.get(number)
        if part is None:
            return  # moto says so
        if composite and name not in checksums:
            raise Refused(400, "InvalidRequest",
                          f"The upload was created using a {name} checksum. The complete request must include the "
                          f"checksum for each part. It was missing for part {number} in the request.")
        for algorithm, value in checksums.items():
            if value != digest_of(algorithm, part.value):
                raise Refused(400, "InvalidPart",
                              "One or more of the specified parts could not be found. The part may not have been "
                              "uploaded, or the specified entity tag may not match the part's entity tag.")
    if given is not None and listed:
        parts = [upload.parts[number].value for number, _ in listed]
        digest = ALGORITHMS[given[0]]
        whole = f"{digest_of(given[0], b''.join(map(digest, parts)))}-{len(parts)}" if composite else digest_of(
            given[0], b"".join(parts))
        if given[1] != whole:
            raise Refused(400, "BadDigest", f"The {given[0].upper()} you specified did not match the calculated "
                                            "checksum.")


def _listed(body: bytes) -> list[tuple[int, dict[str, str]]]:
    """Number and checksums of each part that a CompleteMultipartUpload names."""
    found = []
    for part in re.findall(r"<Part>(.*?)</Part>", body.decode("utf-8", "replace"), re.DOTALL):
        number = re.search(r"<PartNumber>\s*(\d+)\s*</PartNumber>", part)
        checksums = re.findall(r"<Checksum(\w+)>\s*([^<\s]+)\s*</Checksum\1>", part)
        if number:
            found.append((int(number[1]), {name.lower(): value.replace("&#x3D;", "=") for name, value in checksums
                                           if name.lower() in ALGORITHMS}))
    return found


def for_moto(call: Call, headers: dict[str, str]) -> None:
    """The header fields that moto needs to keep a checksum."""
    if call.operation in WRITES and (given := _value(headers)):
        headers["x-amz-sdk-checksum-algorithm"] = given[0].upper()
    if call.operation == "CreateMultipartUpload" and "x-amz-checksum-algorithm" in headers:
        whole = headers["x-amz-checksum-algorithm"].upper() == "CRC64NVME"
        headers.setdefault("x-amz-checksum-type", "FULL_OBJECT" if whole else "COMPOSITE")
    if headers.get("x-amz-content-sha256", "").startswith("STREAMING-"):
        headers["x-amz-content-sha256"] = sigv4.UNSIGNED
        headers.pop("x-amz-decoded-content-length", None)
        headers.pop("x-amz-trailer", None)


def answer(call: Call, headers: list[tuple[str, str]], body: bytes) -> tuple[list[tuple[str, str]], bytes]:
    """A good answer with the checksum that S3 would give in it."""
    names = {name.lower() for name, _ in headers}
    if call.operation in WRITES:
        given = _value(call.headers)
        if given is not None and f"{PREFIX}{given[0]}" not in names:
            headers = [*headers, (f"{PREFIX}{given[0]}", given[1])]
    elif call.operation in ("CompleteMultipartUpload", "HeadObject"):
        key = _object(call)
        if key is None or not key.checksum_algorithm or not key.checksum_value or key.checksum_type is None:
            return headers, body
        composite = key.checksum_type == "COMPOSITE"
        value = f"{key.checksum_value}-{key.checksum_parts}" if composite else key.checksum_value
        field = f"{PREFIX}{key.checksum_algorithm.lower()}"
        if call.operation == "HeadObject":
            # moto tells the number of parts on GetObject only.
            if field in names:
                headers = [(name, value if name.lower() == field else old) for name, old in headers]
                headers += [] if f"{PREFIX}type" in names else [(f"{PREFIX}type", key.checksum_type)]
        else:
            more = (f"<Checksum{key.checksum_algorithm}>{value}</Checksum{key.checksum_algorithm}>"
                    f"<ChecksumType>{key.checksum_type}</ChecksumType>").encode()
            body = body.replace(b"</CompleteMultipartUploadResult>", more + b"</CompleteMultipartUploadResult>")
            headers = [(name, str(len(body)) if name.lower() == "content-length" else old) for name, old in headers]
    return headers, body


def _object(call: Call) -> Any:
    return moto_app.s3().get_object(call.params["Bucket"], call.params["Key"],
                                    version_id=call.params.get("versionId"))
