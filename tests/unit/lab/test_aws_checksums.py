# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""S3's checksums, as an uploader relies on them: compared with the bytes, and answered from what is stored."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aws_kit import REGION, Kit, code
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from ebs_kit import listen

from lab import http_tls
from lab.aws.account import ADMIN
from lab.aws.s3_checksums import ALGORITHMS, digest_of

BUCKET = "bbb"
BODY = b"artifact" * 1000
LARGE = bytes(5 << 20)


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    folder = tmp_path_factory.mktemp("aws")
    kit = Kit(folder)
    kit.front.tls_context = http_tls.ensure(folder / "tls", ["127.0.0.1"]).context()
    kit.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    kit.folder = folder  # type: ignore[attr-defined]
    yield kit
    kit.close()


@pytest.fixture
def s3(kit: Kit) -> Any:
    return kit.client("s3")


def sha256(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


@pytest.mark.parametrize(("name", "check"), [
    ("crc32c", "e3069283"), ("crc64nvme", "ae8b14860a799888"), ("crc32", "cbf43926")])
def test_crcs_give_the_published_check_values(name: str, check: str) -> None:
    assert ALGORITHMS[name](b"123456789").hex() == check


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_p40_a_checksum_that_does_not_fit_is_refused_and_nothing_is_stored(s3: Any, name: str) -> None:
    field, key = f"Checksum{name.upper()}", f"put-{name}"

    def put(value: str) -> Any:
        return s3.put_object(Bucket=BUCKET, Key=key, Body=BODY, IfNoneMatch="*", **{field: value})

    assert code(put, value=digest_of(name, b"other")) == "BadDigest"
    assert code(put, value="AAA=") == "InvalidRequest"
    assert put(digest_of(name, BODY))[field] == digest_of(name, BODY)
    assert s3.head_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")[field] == digest_of(name, BODY)


def test_content_md5_is_compared(s3: Any) -> None:
    def put(md5: bytes) -> None:
        s3.put_object(Bucket=BUCKET, Key="md5", Body=BODY, ContentMD5=base64.b64encode(md5).decode())

    assert code(put, md5=hashlib.md5(b"other", usedforsecurity=False).digest()) == "BadDigest"
    assert code(put, md5=b"short") == "InvalidDigest"
    put(hashlib.md5(BODY, usedforsecurity=False).digest())


@pytest.mark.parametrize("name", ["sha256", "sha1", "crc32"])
def test_p40_a_multipart_upload_answers_the_hash_over_its_parts_hashes(s3: Any, name: str) -> None:
    key, field, upper = f"multipart-{name}", f"Checksum{name.upper()}", name.upper()
    begun = s3.create_multipart_upload(Bucket=BUCKET, Key=key, ChecksumAlgorithm=upper)
    assert (begun["ChecksumAlgorithm"], begun["ChecksumType"]) == (upper, "COMPOSITE")
    names = {"Bucket": BUCKET, "Key": key, "UploadId": begun["UploadId"]}
    parts = []
    for number, data in ((1, LARGE), (2, b"tail")):
        answer = s3.upload_part(**names, PartNumber=number, Body=io.BytesIO(data), ChecksumAlgorithm=upper)
        assert answer[field] == digest_of(name, data)
        parts.append({"PartNumber": number, "ETag": answer["ETag"], field: answer[field]})
    assert code(s3.upload_part, **names, PartNumber=2, Body=b"tail", **{field: digest_of(name, b"x")}) == "BadDigest"
    other = "SHA1" if upper != "SHA1" else "SHA256"
    assert code(s3.upload_part, **names, PartNumber=2, Body=b"tail", ChecksumAlgorithm=other) == "InvalidRequest"

    def end(parts: list[dict[str, Any]], **more: Any) -> Any:
        return s3.complete_multipart_upload(**names, MultipartUpload={"Parts": parts}, IfNoneMatch="*", **more)

    assert code(end, parts=[parts[0], {**parts[1], field: parts[0][field]}]) == "InvalidPart"
    assert code(end, parts=[parts[0], {k: v for k, v in parts[1].items() if k != field}]) == "InvalidRequest"
    digests = b"".join(ALGORITHMS[name](data) for data in (LARGE, b"tail"))
    whole = f"{digest_of(name, digests)}-2"
    assert code(end, parts=parts, **{field: f"{digest_of(name, digests)}-3"}) == "BadDigest"
    answer = end(parts, **{field: whole})
    assert (answer[field], answer["ChecksumType"]) == (whole, "COMPOSITE")
    head = s3.head_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
    assert (head[field], head["ChecksumType"], head["ContentLength"]) == (whole, "COMPOSITE", len(LARGE) + 4)
    assert s3.get_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")[field] == whole


def test_p40_a_multipart_upload_does_not_replace_what_is_there(s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="there", Body=b"first")
    names = {"Bucket": BUCKET, "Key": "there"}
    names["UploadId"] = s3.create_multipart_upload(**names)["UploadId"]
    etag = s3.upload_part(**names, PartNumber=1, Body=b"second")["ETag"]
    assert code(s3.complete_multipart_upload, **names, IfNoneMatch="*",
                MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]}) == "PreconditionFailed"
    assert s3.get_object(Bucket=BUCKET, Key="there")["Body"].read() == b"first"


def test_checksums_that_trail_the_body_over_tls(kit: Kit, s3: Any) -> None:
    sock = listen()
    kit.front.serve(sock, tls=True)
    from aws_kit import SESSION

    folder: Path = kit.folder  # type: ignore[attr-defined]
    secure = SESSION.client("s3", region_name=REGION, endpoint_url=f"https://127.0.0.1:{sock.getsockname()[1]}",
                            aws_access_key_id=ADMIN[1], aws_secret_access_key=ADMIN[2],
                            verify=str(folder / "tls" / "ca.pem"))
    seen: list[str] = []
    secure.meta.events.register("before-send.s3.PutObject",
                                lambda request, **_: seen.append(str(request.headers["x-amz-content-sha256"])))
    answer = secure.put_object(Bucket=BUCKET, Key="trailed", Body=io.BytesIO(BODY), ChecksumAlgorithm="SHA256")
    assert answer["ChecksumSHA256"] == sha256(BODY)
    assert "STREAMING-UNSIGNED-PAYLOAD-TRAILER" in seen[0]
    stored = s3.get_object(Bucket=BUCKET, Key="trailed")
    assert stored["Body"].read() == BODY and "ContentEncoding" not in stored


def chunked(kit: Kit, body: bytes, *, announced: str = "x-amz-checksum-crc32", length: int = len(BODY),
            kind: str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER") -> tuple[int, str]:
    """Status and text of the answer to a PutObject in chunks, signed but otherwise as given."""
    request = AWSRequest("PUT", f"{kit.endpoint}/{BUCKET}/chunked", data=body, headers={
        "content-encoding": "aws-chunked", "x-amz-decoded-content-length": str(length), "x-amz-trailer": announced})
    auth = S3SigV4Auth(Credentials(*ADMIN[1:]), "s3", REGION)
    auth.payload = lambda _: kind  # type: ignore[method-assign]
    auth.add_auth(request)
    connection = http.client.HTTPConnection(kit.endpoint.removeprefix("http://"), timeout=10)
    connection.request("PUT", f"/{BUCKET}/chunked", body=body, headers=dict(request.headers.items()))
    with connection.getresponse() as answer:
        return answer.status, answer.read().decode()


def test_trailers_are_held_against_the_body(kit: Kit, s3: Any) -> None:
    good = base64.b64encode(zlib.crc32(BODY).to_bytes(4, "big"))
    chunks = b"1000\r\n" + BODY[:4096] + b"\r\n%x\r\n" % (len(BODY) - 4096) + BODY[4096:] + b"\r\n0\r\n"
    end = b"x-amz-checksum-crc32:" + good + b"\r\n\r\n"
    assert chunked(kit, chunks + end)[0] == 200
    assert s3.get_object(Bucket=BUCKET, Key="chunked")["Body"].read() == BODY
    for body, more, error in (
        (chunks + end.replace(good, b"AAAAAA=="), {}, "BadDigest"),
        (chunks + b"\r\n", {}, "MalformedTrailerError"),
        (chunks + end, {"announced": "x-amz-checksum-sha256"}, "MalformedTrailerError"),
        (chunks + end, {"length": len(BODY) + 1}, "IncompleteBody"),
        (chunks[:-3], {}, "IncompleteBody"),
        (b"zz\r\n" + chunks, {}, "IncompleteBody"),
        (b"5\r\n" + chunks, {}, "IncompleteBody"),
        (chunks + end, {"kind": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"}, "LabNotImplemented"),
    ):
        status, text = chunked(kit, body, **more)  # type: ignore[arg-type]
        assert (status, f"<Code>{error}</Code>" in text) == (400, True), (error, text)
