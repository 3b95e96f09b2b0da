# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP front with moto behind it, and over TLS; driven by boto3."""

from __future__ import annotations

import base64
import contextlib
import gc
import hashlib
import io
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError, SSLError
from botocore.exceptions import ConnectionError as BotoConnectionError
from ebs_kit import Kit, aws_client, block, get, linear, listen, put, tokens

from lab import http_tls
from lab.faults import Registry
from lab.front import Front


@pytest.fixture(scope="module")
def moto_app() -> Any:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    return DomainDispatcherApplication(create_backend_app)


@pytest.fixture(scope="module")
def faults() -> Registry:
    return Registry()


@pytest.fixture(scope="module")
def clients(moto_app: Any, faults: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    files = http_tls.ensure(tmp_path_factory.mktemp("tls"), ["127.0.0.1", "localhost"])
    front = Front(moto_app, None, faults=faults, tls_context=files.context())
    plain, secure = listen(), listen()
    front.serve(plain)
    front.serve(secure, tls=True)
    s3 = aws_client("s3", plain.getsockname(), "http")
    s3.create_bucket(Bucket="bbb", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    yield {"http": s3, "https": aws_client("s3", secure.getsockname(), "https", verify=str(files.ca))}
    front.close()


@pytest.fixture(params=["http", "https"])
def s3(request: pytest.FixtureRequest, clients: dict[str, Any], faults: Registry) -> Iterator[Any]:
    s3 = clients[request.param]
    yield s3
    faults.clear()
    for entry in s3.list_objects_v2(Bucket="bbb").get("Contents", []):
        s3.delete_object(Bucket="bbb", Key=entry["Key"])


@pytest.mark.parametrize(
    "key", ["plain", "a/b//c", "with space+plus", "ünï/çødé", "100%", "a%2Fb", "q?x=1&y#z", "~t'(*)!"]
)
def test_s3_keys_come_back_as_they_were(clients: dict[str, Any], key: str) -> None:
    s3 = clients["http"]
    s3.put_object(Bucket="bbb", Key=key, Body=b"data of " + key.encode(), Metadata={"my_key": "v"})
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket="bbb")["Contents"]] == [key]
    answer = s3.get_object(Bucket="bbb", Key=key)
    assert answer["Body"].read() == b"data of " + key.encode()
    head = s3.head_object(Bucket="bbb", Key=key)
    assert head["ContentLength"] == len(b"data of " + key.encode()) and head["Metadata"] == {"my_key": "v"}
    s3.delete_object(Bucket="bbb", Key=key)
    assert "Contents" not in s3.list_objects_v2(Bucket="bbb")


def test_s3_large_and_multipart_uploads(s3: Any) -> None:
    data = os.urandom(1 << 20) * 13
    digest = hashlib.sha256(data).digest()
    answer = s3.put_object(Bucket="bbb", Key="one", Body=io.BytesIO(data), ChecksumAlgorithm="SHA256", IfNoneMatch="*")
    assert answer["ChecksumSHA256"] == base64.b64encode(digest).decode()
    s3.upload_fileobj(
        io.BytesIO(data),
        "bbb",
        "parts",
        Config=TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20),
    )
    for key in ("one", "parts"):
        assert hashlib.sha256(s3.get_object(Bucket="bbb", Key=key)["Body"].read()).digest() == digest
    part = s3.get_object(Bucket="bbb", Key="one", Range="bytes=1048570-1048580")["Body"].read()
    assert part == data[1048570:1048581]
    with pytest.raises(ClientError) as seen:
        s3.put_object(Bucket="bbb", Key="one", Body=b"again", IfNoneMatch="*")
    assert seen.value.response["Error"]["Code"] == "PreconditionFailed"
    with pytest.raises(ClientError) as seen:
        s3.head_object(Bucket="bbb", Key="none")
    assert seen.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


def test_the_body_of_a_large_upload_is_not_kept(s3: Any) -> None:
    s3.put_object(Bucket="bbb", Key="big", Body=io.BytesIO(bytes(17 << 20)))
    s3.list_buckets()  # on the same connection: the server has finished with the upload

    def kept() -> int:
        requests = (o for o in gc.get_objects() if type(o).__name__ == "BackendRequest")
        return sum(len(r.__dict__.get("_cached_data") or b"") > 1 << 20 for r in requests)

    assert kept() == 0


def test_s3_faults(s3: Any, faults: Registry) -> None:
    faults.arm("s3.put_refused", match={"bucket": "bbb", "key": "case/*"})
    s3.put_object(Bucket="bbb", Key="other", Body=b"x")
    with pytest.raises(ClientError) as seen:
        s3.put_object(Bucket="bbb", Key="case/file", Body=b"x" * 300_000)
    assert seen.value.response["Error"]["Code"] == "AccessDenied"
    s3.put_object(Bucket="bbb", Key="case/file", Body=b"x")
    faults.arm("s3.slow", args={"seconds": 0.2})
    began = time.monotonic()
    assert s3.get_object(Bucket="bbb", Key="other")["Body"].read() == b"x"
    assert time.monotonic() - began >= 0.2


def test_moto_serves_ec2_and_json_services(moto_app: Any) -> None:
    front = Front(moto_app, None)
    sock = listen()
    front.serve(sock)
    try:
        where = sock.getsockname()
        assert aws_client("sts", where).get_caller_identity()["Account"] == "123456789012"
        assert aws_client("ec2", where).describe_vpcs()["Vpcs"]
        aws_client("ssm", where).put_parameter(Name="/x", Value="ü", Type="String")
        assert aws_client("ssm", where).get_parameter(Name="/x")["Parameter"]["Value"] == "ü"
    finally:
        front.close()


def test_tls_serves_blocks_and_checks_out(tmp_path: Path) -> None:
    kit = Kit(tmp_path / "ebs")
    try:
        files = http_tls.ensure(tmp_path / "tls", ["127.0.0.1", "localhost", "198.51.100.1"])
        assert files.key.stat().st_mode & 0o077 == 0
        made = files.certificate.read_bytes()
        assert (
            http_tls.ensure(tmp_path / "tls", ["localhost", "127.0.0.1", "198.51.100.1"]).certificate.read_bytes()
            == made
        )
        kit.front.tls_context = files.context()
        sock = listen()
        kit.front.serve(sock, tls=True)
        endpoint = f"https://localhost:{sock.getsockname()[1]}"
        secure = kit.client(endpoint=endpoint, verify=str(files.ca))
        snapshot = secure.start_snapshot(VolumeSize=1)["SnapshotId"]
        put(secure, snapshot, 3, block(3))
        secure.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=1, **linear({3: block(3)}))
        assert get(secure, snapshot, 3, tokens(secure, snapshot)[3]) == block(3)
        with pytest.raises((SSLError, BotoConnectionError)):
            kit.client(endpoint=endpoint).list_snapshot_blocks(SnapshotId=snapshot)
        with socket.create_connection(
            sock.getsockname(), timeout=5
        ) as plain:  # not TLS: dropped, nobody else disturbed
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                assert not plain.recv(1000).startswith(b"HTTP")
        assert get(secure, snapshot, 3, tokens(secure, snapshot)[3]) == block(3)
    finally:
        kit.close()
