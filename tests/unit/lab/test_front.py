# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP/1.1 as the front speaks it; driven by bare sockets."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError
from ebs_kit import aws_client, listen

from lab.contracts import Refused
from lab.faults import Registry
from lab.front import Front
from lab.http_wire import Response


class Echo:
    """A WSGI application that tells what it got; the path decides how."""

    def __init__(self) -> None:
        self.closed = 0
        self.gate = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        path = environ["PATH_INFO"]
        if path == "/fail":
            raise ValueError("on purpose")
        if path == "/denied":
            raise Refused(403, "AccessDenied", "not you")
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
def others() -> set[threading.Thread]:
    """Threads of other tests' services, which may live as long as the process."""
    return set(threading.enumerate())


@pytest.fixture
def front(echo: Echo, faults: Registry) -> Iterator[Front]:
    front = Front(echo, None, lambda request: Response.json({"control": request.path}), faults)
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


def test_the_application_may_refuse(address: tuple[str, int]) -> None:
    status, _, body = ask(address, "PUT", "/denied", b"x")
    assert status == 403 and b"<Code>AccessDenied</Code><Message>not you</Message>" in body


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
            getattr(aws_client(service, address), method)(**fields)
        assert seen.value.response["Error"]["Code"] == code, service
    faults.clear()
    faults.arm("aws.throttle", match={"service": "ec2", "action": "DescribeVol*"})
    with pytest.raises(ClientError):
        aws_client("ec2", address).describe_volumes()
    assert faults.list() == []
    for caller, error in (("AKIASOMEBODYELSE", ResponseParserError), ("AKIA", ClientError)):
        faults.arm("aws.throttle", match={"caller": caller})
        with pytest.raises(error):  # nobody here knows EC2
            aws_client("ec2", address).describe_volumes()
        assert len(faults.list()) == 1


def test_close_ends_listeners_and_idle_connections(others: set[threading.Thread], front: Front,
                                                   address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=5) as idle:
        idle.sendall(b"GET /empty HTTP/1.1\r\nHost: h\r\n\r\n")
        assert idle.recv(1000).startswith(b"HTTP/1.1 204")
        began = time.monotonic()
        front.close()
        assert idle.recv(1000) == b"" and time.monotonic() - began < 2
    with pytest.raises(OSError):
        socket.create_connection(address, timeout=1)
    assert not [t for t in set(threading.enumerate()) - others if t.name.startswith("front-")]


def test_a_tls_listener_without_a_context_is_refused(front: Front) -> None:
    with pytest.raises(ValueError, match="tls_context"):
        front.serve(listen(), tls=True)
