# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP front: the bridge to moto (driven by boto3), and HTTP/1.1 itself (driven by bare sockets)."""

from __future__ import annotations

import base64
import contextlib
import gc
import hashlib
import http.client
import io
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError, SSLError
from botocore.exceptions import ConnectionError as BotoConnectionError
from ebs_kit import Kit, block, get, linear, listen, put, tokens

from lab import http_tls
from lab.contracts import Refused
from lab.faults import Registry
from lab.front import Front
from lab.http_wire import Request, Response


class Echo:
    """A WSGI application that tells what it got; the path decides how."""

    def __init__(self) -> None:
        self.closed = 0
        self.gate = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        path = environ["PATH_INFO"]
        if path == "/fail":
            raise ValueError("on purpose")
        if path == "/unread":
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"no"]
        if path == "/stream":
            start_response("200 OK", [])
            return self.stream()
        if path == "/empty":
            start_response("204 No Content", [])
            return []
        body = environ["wsgi.input"].read()
        told = {k: v for k, v in environ.items() if isinstance(v, str)}
        told |= {
            "body": hashlib.sha256(body).hexdigest(),
            "length": len(body),
            "preserved": environ["moto.preserved_header_names"],
        }
        data = json.dumps(told).encode()
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(data)))])
        return [data]

    def stream(self) -> Iterator[bytes]:
        try:
            yield b"first"
            self.gate.wait(5)
            yield b""
            yield b"second"
        finally:
            self.closed += 1


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def faults() -> Registry:
    return Registry()


@pytest.fixture
def front(echo: Echo, faults: Registry) -> Iterator[Front]:
    front = Front(echo, None, lambda request: Response.json({"control": request.path}), [], faults)
    yield front
    front.close()


@pytest.fixture
def address(front: Front) -> tuple[str, int]:
    sock = listen()
    front.serve(sock)
    name: tuple[str, int] = sock.getsockname()
    return name


def talk(address: tuple[str, int], data: bytes, *, until: bytes | None = None) -> bytes:
    """Send raw bytes, read until the server closes (or until `until` was seen)."""
    with socket.create_connection(address, timeout=5) as sock:
        sock.sendall(data)
        got = b""
        while until is None or until not in got:
            more = sock.recv(65_536)
            if not more:
                break
            got += more
        return got


def ask(address: tuple[str, int], method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, bytes]:
    connection = http.client.HTTPConnection(*address, timeout=5)
    try:
        connection.request(
            method,
            path,
            body,
            {name.replace("__", "-"): value for name, value in headers.items()},
            encode_chunked=headers.get("Transfer__Encoding") == "chunked",
        )
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def test_raw_path_query_and_host_reach_the_application(address: tuple[str, int]) -> None:
    told = json.loads(ask(address, "GET", "/b/a%2Fb%20c/%C3%BC//x?list-type=2&p=a%2Fb+c", Host="bucket.example")[2])
    assert told["RAW_URI"] == "/b/a%2Fb%20c/%C3%BC//x?list-type=2&p=a%2Fb+c"
    assert told["PATH_INFO"].encode("latin-1").decode() == "/b/a/b c/ü//x"
    assert told["QUERY_STRING"] == "list-type=2&p=a%2Fb+c"
    assert told["HTTP_HOST"] == "bucket.example"
    assert told["wsgi.url_scheme"] == "http" and told["REMOTE_ADDR"] == "127.0.0.1"


def test_absolute_target_names_the_host(address: tuple[str, int]) -> None:
    got = talk(address, b"GET http://proxied.example/k?q=1 HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n")
    told = json.loads(got.partition(b"\r\n\r\n")[2])
    assert (told["HTTP_HOST"], told["RAW_URI"], told["PATH_INFO"]) == (
        "proxied.example",
        "http://proxied.example/k?q=1",
        "/k",
    )


def test_underscored_headers_cannot_pass_for_dashed_ones(address: tuple[str, int]) -> None:
    told = json.loads(ask(address, "PUT", "/b/k", b"", **{"X_Amz_Date": "forged", "x-amz-meta-my_key": "v"})[2])
    assert "HTTP_X_AMZ_DATE" not in told
    assert told["HTTP_X_AMZ_META_MY_KEY"] == "v"
    assert told["preserved"] == {"HTTP_X_AMZ_META_MY_KEY": "x-amz-meta-my_key"}


@pytest.mark.parametrize("size", [0, 1, 65_535, 3_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies(address: tuple[str, int], size: int, chunked: bool) -> None:
    data = os.urandom(size)
    pieces = iter([data[i : i + 70_001] for i in range(0, size, 70_001)])
    more = {"Transfer__Encoding": "chunked"} if chunked else {}
    told = json.loads(ask(address, "PUT", "/b/k", pieces if chunked else data, **more)[2])
    assert (told["length"], told["body"]) == (size, hashlib.sha256(data).hexdigest())


def test_many_requests_on_one_connection_also_pipelined(address: tuple[str, int]) -> None:
    one = b"PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
    chunk = b"PUT /b/k HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk += b"2;x=y\r\nab\r\n1\r\nc\r\n0\r\nTrailer: t\r\n\r\n"
    last = b"GET /empty HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    got = talk(address, one + chunk + one + last)
    assert got.count(b"HTTP/1.1 200 OK") == 3 and got.count(hashlib.sha256(b"abc").hexdigest().encode()) == 3
    assert b"HTTP/1.1 204 No Content" in got and b"Connection: close" in got


def test_expect_100_continue_is_answered_when_the_body_is_wanted(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=5) as sock:
        sock.sendall(b"PUT /b/k HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"abc")
        assert hashlib.sha256(b"abc").hexdigest().encode() in sock.recv(65_536)


def test_refusal_before_the_body_ends_the_connection_without_100(address: tuple[str, int]) -> None:
    got = talk(address, b"PUT /unread HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 403 Forbidden") and b"100 Continue" not in got and b"Connection: close" in got


def test_unread_body_does_not_become_the_next_request(address: tuple[str, int]) -> None:
    evil = b"GET /fail HTTP/1.1\r\n\r\n"
    first = b"PUT /unread HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(evil)
    got = talk(address, first + evil + b"GET /empty HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert re.findall(rb"HTTP/1.1 (\d+)", got) == [b"403", b"204"]


def test_streaming_answer_arrives_piece_by_piece(address: tuple[str, int], echo: Echo) -> None:
    connection = http.client.HTTPConnection(*address, timeout=5)
    connection.request("GET", "/stream")
    answer = connection.getresponse()
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert answer.read(5) == b"first", "the first piece comes before the second exists"
    echo.gate.set()
    assert answer.read() == b"second"
    connection.request("GET", "/empty")
    assert connection.getresponse().status == 204
    connection.close()
    assert echo.closed == 1


def test_head_has_no_body_but_its_length(address: tuple[str, int]) -> None:
    got = talk(
        address, b"HEAD /b/k HTTP/1.1\r\nHost: h\r\n\r\nGET /empty HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    )
    head, _, rest = got.partition(b"\r\n\r\n")
    assert b"Content-Length: " in head and not head.endswith(b"Content-Length: 0")
    assert rest.startswith(b"HTTP/1.1 204"), "nothing between the two answers"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"HELLO\r\n\r\n", b"400"),
        (b"GET / HTTP/2.0\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nName : x\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n folded\r\n\r\n", b"400"),
        (b"PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"PUT / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", b"400"),
        (b"PUT / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", b"501"),
        (b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", b"501"),
        (b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", b"400"),
        (b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", b"400"),
        (b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc", b"400"),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 70_000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 300 + b"\r\n", b"400"),
    ],
)
def test_malformed_requests_get_an_answer_and_the_connection_closes(
    address: tuple[str, int], data: bytes, status: bytes
) -> None:
    got = talk(address, data)
    assert got.split()[1] == status and b"Connection: close" in got
    assert ask(address, "GET", "/empty")[0] == 204, "the next client is served"


def test_a_failure_of_the_application_is_a_500_and_no_more(address: tuple[str, int]) -> None:
    status, _, body = ask(address, "GET", "/fail")
    assert status == 500 and b"on purpose" not in body and b"<Code>InternalError</Code>" in body
    assert ask(address, "GET", "/empty")[0] == 204


def test_control_calls_only_where_they_are_allowed(front: Front, address: tuple[str, int]) -> None:
    assert ask(address, "GET", "/_lab/faults")[0] == 403
    inner = listen()
    front.serve(inner, control=True)
    status, _, body = ask(inner.getsockname(), "GET", "/_lab/faults")
    assert (status, json.loads(body)) == (200, {"control": "/_lab/faults"})


def test_middleware_answers_first_and_may_refuse(front: Front, address: tuple[str, int]) -> None:
    def gate(request: Request) -> Response | None:
        if request.path == "/held":
            return Response.text(request.data().decode(), 202)
        if request.path == "/denied":
            raise Refused(403, "AccessDenied", "not you")
        request.notes["seen"] = request.data()
        return None

    front.middleware.append(gate)
    assert ask(address, "POST", "/held", b"x")[::2] == (202, b"x")
    status, _, body = ask(address, "PUT", "/denied", b"x")
    assert status == 403 and b"<Code>AccessDenied</Code><Message>not you</Message>" in body
    told = json.loads(ask(address, "PUT", "/b/k", b"read twice")[2])
    assert told["body"] == hashlib.sha256(b"read twice").hexdigest()


def test_refusals_speak_the_dialect_of_the_service(front: Front, address: tuple[str, int], faults: Registry) -> None:
    faults.arm("aws.throttle", times=None)
    expected = {
        "ec2": ("describe_instances", {}, "RequestLimitExceeded"),
        "iam": ("list_users", {}, "Throttling"),
        "ssm": ("get_parameter", {"Name": "x"}, "ThrottlingException"),
        "s3": ("list_buckets", {}, "SlowDown"),
        "sts": ("get_caller_identity", {}, "Throttling"),
        "kms": ("list_keys", {}, "ThrottlingException"),
    }
    for service, (method, fields, code) in expected.items():
        with pytest.raises(ClientError) as seen:
            getattr(client(service, address), method)(**fields)
        assert seen.value.response["Error"]["Code"] == code, service
    faults.clear()
    faults.arm("aws.throttle", match={"service": "ec2", "action": "DescribeVol*"})
    with pytest.raises(ClientError):
        client("ec2", address).describe_volumes()
    assert faults.list() == []


def test_close_ends_listeners_and_idle_connections(front: Front, address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=5) as idle:
        idle.sendall(b"GET /empty HTTP/1.1\r\nHost: h\r\n\r\n")
        assert idle.recv(1000).startswith(b"HTTP/1.1 204")
        began = time.monotonic()
        front.close()
        assert idle.recv(1000) == b"" and time.monotonic() - began < 2
    with pytest.raises(OSError):
        socket.create_connection(address, timeout=1)
    assert not [t for t in threading.enumerate() if t.name.startswith("front-")]


# moto behind the bridge


def client(service: str, address: tuple[str, int], scheme: str = "http", **more: Any) -> Any:
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


@pytest.fixture(scope="module")
def moto_app() -> Any:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    return DomainDispatcherApplication(create_backend_app)


@pytest.fixture(params=["http", "https"])
def s3(request: pytest.FixtureRequest, moto_app: Any, faults: Registry, tmp_path: Path) -> Iterator[Any]:
    files = http_tls.ensure(tmp_path / "tls", ["127.0.0.1", "localhost"])
    front = Front(moto_app, None, faults=faults, tls_context=files.context())
    sock = listen()
    front.serve(sock, tls=request.param == "https")
    more = {"verify": str(files.ca)} if request.param == "https" else {}
    s3 = client("s3", sock.getsockname(), request.param, **more)
    s3.create_bucket(Bucket="bbb", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    yield s3
    for entry in s3.list_objects_v2(Bucket="bbb").get("Contents", []):
        s3.delete_object(Bucket="bbb", Key=entry["Key"])
    s3.delete_bucket(Bucket="bbb")
    front.close()


@pytest.mark.parametrize(
    "key", ["plain", "a/b//c", "with space+plus", "ünï/çødé", "100%", "a%2Fb", "q?x=1&y#z", "~t'(*)!"]
)
def test_s3_keys_come_back_as_they_were(s3: Any, key: str) -> None:
    s3.put_object(Bucket="bbb", Key=key, Body=b"data of " + key.encode(), Metadata={"my_key": "v"})
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket="bbb")["Contents"]] == [key]
    answer = s3.get_object(Bucket="bbb", Key=key)
    assert answer["Body"].read() == b"data of " + key.encode()
    head = s3.head_object(Bucket="bbb", Key=key)
    assert head["ContentLength"] == len(b"data of " + key.encode()) and head["Metadata"] == {"my_key": "v"}


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
        assert client("sts", where).get_caller_identity()["Account"] == "123456789012"
        assert client("ec2", where).describe_vpcs()["Vpcs"]
        client("ssm", where).put_parameter(Name="/x", Value="ü", Type="String")
        assert client("ssm", where).get_parameter(Name="/x")["Parameter"]["Value"] == "ü"
    finally:
        front.close()


# TLS


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


def test_a_tls_listener_without_a_context_is_refused(front: Front) -> None:
    with pytest.raises(ValueError, match="tls_context"):
        front.serve(listen(), tls=True)
