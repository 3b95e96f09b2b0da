# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP/1.1 requests and answers as the lab's front reads and writes them.

The raw path and query are kept as they came: signatures are computed over them, and S3 keys may hold `%2F`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, BinaryIO, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

MAX_LINE = 65_536
MAX_HEADERS = 200


class BadRequest(Exception):
    """What arrived is not HTTP that we speak; `status` is the answer before the connection closes."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Gone(Exception):
    """The client went away or fell silent."""


class Headers(Mapping[str, str]):
    """Header fields: looked up without regard to case, a repeated field joined by commas; `pairs` as they came."""

    __slots__ = ("_fields", "pairs")

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self.pairs = list(pairs)
        self._fields: dict[str, str] = {}
        for name, value in self.pairs:
            low = name.lower()
            self._fields[low] = f"{self._fields[low]},{value}" if low in self._fields else value

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def get(self, name: str, default: Any = None) -> Any:  # the Mapping mix-in's get costs an exception a miss
        return self._fields.get(name.lower(), default)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


class Body(io.RawIOBase):
    """A request's body, read from the connection only when somebody asks; `100 Continue` is sent at the first read."""

    def __init__(self, source: BinaryIO, length: int | None, proceed: Callable[[], None] | None = None) -> None:
        super().__init__()
        self._source = source
        self._left = length or 0  # bytes left of the body, or of the current chunk
        self._chunked = length is None
        self._proceed = proceed
        self._ended = length == 0
        self._broken = False
        self.taken = 0  # bytes read so far

    @property
    def ended(self) -> bool:
        """Whether all of it was read, so that the connection can carry another request."""
        return self._ended

    @property
    def awaited(self) -> bool:
        """Whether the client still waits for `100 Continue`."""
        return self._proceed is not None

    def readable(self) -> bool:
        return True

    def _start(self) -> None:
        if self._proceed is not None:
            proceed, self._proceed = self._proceed, None
            proceed()

    def _next_chunk(self) -> None:
        line = self._source.readline(MAX_LINE)
        if not line.endswith(b"\n"):
            raise Gone("the client left within a chunked body")
        size = line.split(b";", 1)[0].strip()
        try:
            if not size.isalnum():
                raise ValueError
            self._left = int(size, 16)
        except ValueError:
            raise BadRequest("The length of a chunk is not a hexadecimal number.") from None
        if self._left == 0:
            while (line := self._source.readline(MAX_LINE)) not in (b"\r\n", b"\n"):  # trailers
                if not line:
                    raise Gone("the client left within a chunked body")
            self._ended = True

    def _some(self, size: int) -> bytes:
        """At most `size` bytes, all of one chunk; empty at the end only."""
        if self._ended:
            return b""
        self._start()
        try:
            return self._piece(size)
        except (BadRequest, Gone):
            self._broken = True
            raise

    def _piece(self, size: int) -> bytes:
        if self._chunked and self._left == 0:
            self._next_chunk()
            if self._ended:
                return b""
        # For a body of known length this one call fills the final bytes object: a large upload is held once.
        data = self._source.read(min(size, self._left))
        if not data:
            raise Gone("the client left within a body")
        self._left -= len(data)
        self.taken += len(data)
        if self._left == 0:
            if not self._chunked:
                self._ended = True
            elif self._source.read(2) != b"\r\n":
                raise BadRequest("A chunk of the body does not end where it said it would.")
        return data

    def read(self, size: int = -1) -> bytes:
        if size is None or size < 0:
            return self.readall()
        parts: list[bytes] = []
        while size and (data := self._some(size)):
            parts.append(data)
            size -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readall(self) -> bytes:
        parts: list[bytes] = []
        while data := self._some(self._left or (1 << 62)):
            parts.append(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = self._some(len(view)) if len(view) else b""
        view[: len(data)] = data
        return len(data)

    def drain(self, limit: int) -> bool:
        """Read and forget what is left, if it is not more than `limit` bytes; whether the end was reached."""
        while limit > 0 and not self._broken and (data := self._some(min(limit, 65_536))):
            limit -= len(data)
        return self._ended


@dataclass(frozen=True)
class Scope:
    """What the credential of a signed request says of itself (nothing of it is verified here)."""

    access_key: str
    date: str
    region: str
    service: str


@dataclass
class Request:
    """One request. `path` and `query` are raw (percent-encoded); `body` is a stream, `data()` reads it whole."""

    method: str
    target: str
    path: str
    query: str
    headers: Headers
    body: Any  # Body, or a BytesIO once `data()` was called
    version: str = "HTTP/1.1"
    scheme: str = "http"
    peer: tuple[str, int] = ("", 0)
    local: tuple[str, int] = ("", 0)
    control: bool = False  # whether it came in where the lab's own control calls are allowed
    _data: bytes | None = None
    _scope: Scope | None = None
    _scoped: bool = False

    def data(self) -> bytes:
        """The whole body. May be called any number of times; whoever comes later can still read the stream."""
        if self._data is None:
            self._data = self.body.read()
            self.body = io.BytesIO(self._data)
        return self._data

    @property
    def scope(self) -> Scope | None:
        """The credential scope of a SigV4 request, from its header or (presigned) its query."""
        if not self._scoped:
            self._scoped = True
            self._scope = _scope(self.headers.get("authorization", ""), self.query)
        return self._scope

    def form(self) -> dict[str, str]:
        """The parameters of a query-protocol request (EC2, IAM, STS, SNS): form body and query string."""
        pairs = parse_qsl(self.query, keep_blank_values=True)
        if self.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            pairs += parse_qsl(self.data().decode("utf-8", "replace"), keep_blank_values=True)
        return dict(pairs)

    def json(self) -> Any:
        """The body as JSON; raises `BadRequest` with a sentence."""
        try:
            return json.loads(self.data() or b"null")
        except ValueError:
            raise BadRequest("The body is not JSON.") from None

    def bucket_and_key(self) -> tuple[str, str]:
        """Bucket and key of a path-style S3 request, decoded."""
        bucket, _, key = self.path.lstrip("/").partition("/")
        return unquote(bucket), unquote(key)


class Slice(Protocol):
    """A piece of an open file that is sent without passing through Python."""

    offset: int
    length: int

    def fileno(self) -> int: ...

    def view(self) -> memoryview:
        """The same bytes as memory (mapped), for TLS."""
        ...


@dataclass
class Response:
    """One answer. `body` is bytes, an iterable of bytes (sent as it comes) or a `Slice` of a file.

    `limit`, `reset` and `stall` are for injected faults: send only so many bytes of the body, then close (or reset)
    the connection; wait `stall` seconds when so many bytes (`stall_after`) have gone out.
    """

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: Any = b""
    close: bool = False
    limit: int | None = None
    reset: bool = False
    stall: float = 0.0
    stall_after: int = 0
    reason: str = ""

    @staticmethod
    def json(data: Any, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> Response:
        """An answer in JSON."""
        return Response(status, [("Content-Type", "application/json"), *headers], json.dumps(data).encode())

    @staticmethod
    def text(text: str, status: int = 200) -> Response:
        """A plain answer."""
        return Response(status, [("Content-Type", "text/plain; charset=utf-8")], text.encode())

    def head(self) -> bytes:
        """Status line and header fields, as they are."""
        lines = [f"HTTP/1.1 {self.status} {self.reason or _REASONS.get(self.status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


_REASONS = {status.value: status.phrase for status in HTTPStatus}


def _scope(authorization: str, query: str) -> Scope | None:
    if authorization.startswith("AWS4-HMAC-SHA256"):
        _, _, credential = authorization.partition("Credential=")
        credential = credential.partition(",")[0].strip()
    elif "X-Amz-Credential=" in query:
        credential = dict(parse_qsl(query)).get("X-Amz-Credential", "")
    else:
        return None
    parts = credential.rsplit("/", 4)
    if len(parts) != 5:
        return None
    return Scope(parts[0], parts[1], parts[2], parts[3])


def read_head(source: io.BufferedReader) -> tuple[str, str, str, Headers] | None:
    """Method, target, version and header fields of the next request; None when the client closed in between."""
    known = source.peek()
    lines = (_head_at_hand(source, known) or _head_by_lines(source)) if known else []
    if not lines:
        return None
    words = lines[0].split()
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise BadRequest("This is not an HTTP/1.1 request.")
    if len(lines) > MAX_HEADERS + 1:
        raise BadRequest("There are too many header fields.")
    pairs: list[tuple[str, str]] = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequest("A header field is malformed.")
        pairs.append((name, value.strip()))
    return words[0], words[1], words[2], Headers(pairs)


def _head_at_hand(source: io.BufferedReader, known: bytes) -> list[str]:
    """The lines of a head that came in one piece, as most do; nothing is read of any other."""
    end = known.find(b"\r\n\r\n")
    if end <= 0:
        return []
    text = known[:end].decode("latin-1")
    lines = text.split("\r\n")
    if text.count("\n") != len(lines) - 1 or not lines[0]:  # lines that end otherwise, or an empty one before
        return []
    source.read(end + 4)
    return lines


def _head_by_lines(source: BinaryIO) -> list[str]:
    """The lines of a head, as they come; none when the client closed before the first."""
    line = source.readline(MAX_LINE)
    while line in (b"\r\n", b"\n"):  # some clients send an empty line after a body
        line = source.readline(MAX_LINE)
    lines: list[str] = []
    while line not in (b"\r\n", b"\n"):
        if not line.endswith(b"\n"):
            if len(line) >= MAX_LINE:
                raise BadRequest("A header field is too long.", 431) if lines else BadRequest(
                    "The request line is too long.", 414
                )
            if not line and not lines:
                return []
            raise Gone("the client left within a request")
        lines.append(line.decode("latin-1").rstrip("\r\n"))
        if len(lines) > MAX_HEADERS + 1:
            break  # whoever reads them refuses
        line = source.readline(MAX_LINE)
    return lines


def split_target(target: str) -> tuple[str, str, str | None]:
    """Raw path, raw query, and the host of an absolute-form target."""
    host = None
    if not target.startswith("/") and "://" in target:
        parts = urlsplit(target)
        host = parts.netloc
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    path, _, query = target.partition("?")
    return path, query, host


def body_of(headers: Headers, source: BinaryIO, proceed: Callable[[], None]) -> Body:
    """The body that the header fields announce."""
    waits = proceed if headers.get("expect", "").lower() == "100-continue" else None
    coding = headers.get("transfer-encoding", "").lower()
    if coding:
        if coding != "chunked" or "content-length" in headers:
            raise BadRequest("The only transfer encoding understood here is chunked, without a Content-Length.", 501)
        return Body(source, None, waits)
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise BadRequest("The Content-Length is not a number.")
    return Body(source, int(length), waits)
