# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One kept-alive HTTP/1.1 connection, read strictly and into memory that is there already."""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass

from .endpoints import Endpoint
from .errors import CertificateError, ConnectionLost, EngineError, TimedOut

HEAD_LIMIT = 16_384  # bytes of status line and header fields
_SMALL = 65_536


@dataclass(frozen=True)
class Timeouts:
    """Seconds. `read`: without a single byte; `answer`: for one whole answer, however slowly it comes."""

    connect: float = 5.0
    read: float = 20.0
    answer: float = 300.0


class Answer:
    """Status and header fields (names in lower case) of an answer; its body lies in the buffer at `start`."""

    __slots__ = ("fields", "length", "start", "status")

    def __init__(self, status: int, fields: dict[bytes, bytes], start: int, length: int) -> None:
        self.status, self.fields, self.start, self.length = status, fields, start, length

    def text(self, name: bytes) -> str:
        """A header field as text; empty where it is missing."""
        return self.fields.get(name, b"").decode("latin-1")


class Connection:
    """Connects when it is needed. Not for two threads at once. After an error it is closed, and connects anew."""

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext | None, timeouts: Timeouts) -> None:
        self.endpoint, self.timeouts = endpoint, timeouts
        self._context = context
        self._socket: socket.socket | None = None
        self._asked = 0  # requests on this connection
        self.reused = False  # whether the request under way went out on a connection that had served one before

    def close(self) -> None:
        """Close the connection, whatever it is doing."""
        if self._socket is not None:
            sock, self._socket = self._socket, None
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits for it
            with suppress(OSError):
                sock.close()

    @property
    def number(self) -> int:
        """The socket's file descriptor, to wait for; -1 where there is none."""
        return self._socket.fileno() if self._socket is not None else -1

    def send(self, head: bytes) -> None:
        """Send one request; connect first where that is needed."""
        try:
            if self._socket is None:
                self._socket, self._asked = self._connect(), 0
            self.reused = self._asked > 0
            self._asked += 1
            self._socket.sendall(head)
        except BaseException as error:
            self.close()
            _explain(error, self.endpoint)
            raise

    def hurry(self, until: float) -> None:
        """Give the answer under way until `until` (monotonic)."""
        if self._socket is not None:
            self._socket.settimeout(max(0.01, until - time.monotonic()))

    def _connect(self) -> socket.socket:
        there, proxy = self.endpoint, self.endpoint.proxy
        target = (proxy.host, proxy.port) if proxy else (there.host, there.port)
        sock = socket.create_connection(target, self.timeouts.connect)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if there.tls:
                if proxy:
                    _tunnel(sock, there, proxy.authorization)
                if self._context is None:
                    raise AssertionError("whoever makes a TLS endpoint gives a context")
                sock = self._context.wrap_socket(sock, server_hostname=there.host)
            sock.settimeout(self.timeouts.read)
        except BaseException:
            sock.close()
            raise
        return sock

    def receive(self, buffer: memoryview) -> Answer:
        """The answer to the request that was sent, body included; `buffer` must hold both.

        Raises `ConnectionLost` or `TimedOut`; then the connection is closed.
        """
        try:
            return self._receive(buffer)
        except BaseException as error:
            self.close()
            _explain(error, self.endpoint)
            raise

    def _receive(self, buffer: memoryview) -> Answer:
        sock = self._socket
        if sock is None:
            raise ConnectionLost("The connection was closed before its answer was read.")
        take, deadline = sock.recv_into, time.monotonic() + self.timeouts.answer
        got = take(buffer)
        while not (head := _head(buffer, got)):
            if not got or not (more := take(buffer[got:])):
                raise ConnectionLost(f"{self.endpoint.host} closed the connection instead of answering.")
            got += more
            _check(deadline, self.endpoint)
        status, fields, keep = parse_head(head)
        start = len(head) + 4
        if b"transfer-encoding" in fields:
            length = self._chunked(sock, buffer, start, got, fields[b"transfer-encoding"], deadline)
        else:
            length = _content_length(fields)
            whole = start + length
            if whole > len(buffer):
                raise ConnectionLost(f"{self.endpoint.host} announced {length} bytes, which is more than expected.")
            while got < whole:
                more = take(buffer[got:whole])
                if not more:
                    raise ConnectionLost(f"The answer ended {whole - got} bytes early.")
                got += more
                if got < whole:
                    _check(deadline, self.endpoint)
            if got > whole:
                raise ConnectionLost("More came than the answer announced.")
        if not keep:
            self.close()
        return Answer(status, fields, start, length)

    def _chunked(
        self, sock: socket.socket, buffer: memoryview, start: int, got: int, coding: bytes, deadline: float
    ) -> int:
        """Read a chunked body to its place in the buffer; rare (AWS states lengths), so it is simple, not fast."""
        if coding.strip().lower() != b"chunked":
            raise ConnectionLost(f"The transfer encoding {coding!r} is not understood.")
        raw, body = bytearray(buffer[start:got]), bytearray()

        def need(count: int) -> None:
            while len(raw) < count:
                more = sock.recv(_SMALL)
                if not more:
                    raise ConnectionLost("The answer ended within a chunk.")
                raw.extend(more)
                _check(deadline, self.endpoint)

        def line() -> bytes:
            while (end := raw.find(b"\r\n")) < 0:
                if len(raw) > HEAD_LIMIT:
                    raise ConnectionLost("A chunk of the answer has no length.")
                need(len(raw) + 1)
            found = bytes(raw[:end])
            del raw[: end + 2]
            return found

        while True:
            text = line().split(b";", 1)[0].strip()
            try:
                size = int(text, 16) if text.isalnum() else -1
            except ValueError:
                size = -1
            if size < 0 or start + len(body) + size > len(buffer):
                raise ConnectionLost("A chunk of the answer has no proper length.")
            if not size:
                while line():  # trailers
                    pass
                break
            need(size + 2)
            body += raw[:size]
            if raw[size : size + 2] != b"\r\n":
                raise ConnectionLost("A chunk of the answer does not end where it said.")
            del raw[: size + 2]
        if raw:
            raise ConnectionLost("More came than the answer announced.")
        buffer[start : start + len(body)] = body
        return len(body)


def _head(buffer: memoryview, got: int) -> bytes:
    """Status line and header fields; empty as long as they are not complete."""
    for most in (1024, HEAD_LIMIT):
        head, end, _body = bytes(buffer[: min(got, most)]).partition(b"\r\n\r\n")
        if end:
            return head or b"-"  # which is no header either, and has an end
        if got <= most:
            break
    if got >= HEAD_LIMIT:
        raise ConnectionLost("The answer begins with no HTTP header.")
    return b""


def parse_head(head: bytes) -> tuple[int, dict[bytes, bytes], bool]:
    """Status, header fields, and whether the connection stays open; anything doubtful raises `ConnectionLost`."""
    lines = head.split(b"\r\n")
    first = lines[0]
    if not first.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")) or not first[9:12].isdigit():
        raise ConnectionLost("The answer is not HTTP/1.1.")
    fields: dict[bytes, bytes] = {}
    for text in lines[1:]:
        name, colon, value = text.partition(b":")
        name = name.lower()
        if not colon or not name or name != name.strip():
            raise ConnectionLost("The answer has a header field that is none.")
        value = value.strip()
        if fields.setdefault(name, value) != value:
            raise ConnectionLost(f"The answer has two different header fields {name.decode('latin-1')}.")
    option = fields.get(b"connection", b"").lower()
    return int(first[9:12]), fields, option != b"close" if first[7:8] == b"1" else option == b"keep-alive"


def _content_length(fields: dict[bytes, bytes]) -> int:
    text = fields.get(b"content-length", b"")
    if not text.isdigit() or len(text) > 12:
        raise ConnectionLost("The answer does not say how long it is.")
    return int(text)


def _tunnel(sock: socket.socket, there: Endpoint, authorization: str) -> None:
    """Ask a proxy for a way through to a TLS endpoint."""
    target = f"[{there.host}]:{there.port}" if ":" in there.host else f"{there.host}:{there.port}"
    extra = f"Proxy-Authorization: {authorization}\r\n" if authorization else ""
    sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{extra}\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer:  # byte by byte: what follows belongs to TLS
        one = sock.recv(1)
        if not one or len(answer) > HEAD_LIMIT:
            raise ConnectionLost("The proxy closed the connection.")
        answer += one
    status = answer.split(b"\r\n", 1)[0].decode("latin-1")
    if status.split(" ", 2)[1:2] != ["200"]:
        raise ConnectionLost(f"The proxy refused the connection to {target}: {status}.")


def _check(deadline: float, endpoint: Endpoint) -> None:
    if time.monotonic() > deadline:
        raise TimedOut(f"{endpoint.host} sends too slowly.")


def _explain(error: BaseException, endpoint: Endpoint) -> None:
    """Raise the engine's own error for one of the network's."""
    if isinstance(error, EngineError) or not isinstance(error, OSError):
        return
    if isinstance(error, ssl.SSLCertVerificationError):
        raise CertificateError(
            f"The certificate of {endpoint.host} is not trusted: {error.verify_message}. If your network uses a "
            "certificate authority of its own, name its file in AWS_CA_BUNDLE."
        ) from error
    if isinstance(error, TimeoutError):
        raise TimedOut(f"{endpoint.host} did not answer in time.") from error
    raise ConnectionLost(f"The connection to {endpoint.host} failed: {error}.") from error
