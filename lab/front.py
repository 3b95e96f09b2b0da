# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's HTTP front: one server for every AWS service, a thread per connection, plain and TLS.

EBS direct is served here from sparse files (`sendfile`, the header held back by MSG_MORE); whatever else is signed
for AWS goes to a WSGI application, and `/_lab/…` to the lab's own control calls, on listeners that allow it.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable
from email.utils import formatdate
from functools import lru_cache
from io import BufferedReader
from typing import Any, BinaryIO, Protocol, cast

from lab import http_errors, http_sendfile, http_wsgi
from lab.contracts import Faults, Refused
from lab.http_wire import BadRequest, Gone, Request, Response, body_of, read_head, split_target

LOG = logging.getLogger("lab.front")
IDLE_SECONDS = 300
SEND_SECONDS = 120
LINGER_SECONDS = 2
HEAVY = 16 * 1024 * 1024
TLS_RECORD = 16_384
DRAIN_LIMIT = 64 * 1024 * 1024  # an unread body up to this size is read and forgotten to keep the connection
_WRITES = ("PUT", "POST")

Handler = Callable[[Request], Response]


@lru_cache(maxsize=4)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


class EbsService(Protocol):
    """What the front needs of EBS direct (`lab.ebs.api.EbsDirect`)."""

    def handle(self, request: Request) -> Response: ...


class Front:
    """Serves on sockets that are already bound and listening; `close()` ends every listener and connection.

    A `Refused` raised anywhere becomes the error answer of the service that was asked.
    """

    def __init__(
        self,
        app: Callable[..., Iterable[bytes]] | None,
        ebs: EbsService | None,
        control: Handler | None = None,
        faults: Faults | None = None,
        *,
        tls_context: ssl.SSLContext | None = None,
    ) -> None:
        self.app, self.ebs, self.control, self.faults = app, ebs, control, faults
        self.tls_context = tls_context
        self._lock = threading.Lock()
        self._closing = False
        self._listeners: list[tuple[socket.socket, threading.Thread]] = []
        self._connections: set[_Connection] = set()

    def serve(self, sock: socket.socket, *, tls: bool = False, control: bool = False) -> None:
        """Accept connections on `sock` from a thread of its own. `control` allows `/_lab/…` there."""
        if tls and self.tls_context is None:
            raise ValueError("A TLS listener needs Front(tls_context=…); lab.http_tls makes one.")
        if self._closing:
            raise RuntimeError("This front is closed.")
        context = self.tls_context if tls else None
        name = f"front-{'tls' if tls else 'http'}"
        thread = threading.Thread(target=self._accept, args=(sock, context, control), name=name, daemon=True)
        with self._lock:
            self._listeners.append((sock, thread))
        thread.start()

    def close(self, timeout: float = 5.0) -> None:
        """Stop listening, end every connection, and wait for their threads."""
        self._closing = True
        with self._lock:
            listeners, self._listeners = self._listeners, []
            connections = list(self._connections)
        for sock, _ in listeners:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # wakes accept(); close() alone would not
            sock.close()
        for connection in connections:
            connection.shut()
        deadline = time.monotonic() + timeout
        for thread in [t for _, t in listeners] + [c.thread for c in connections if c.thread]:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))

    def _accept(self, sock: socket.socket, context: ssl.SSLContext | None, control: bool) -> None:
        while not self._closing:
            try:
                conn, _ = sock.accept()
            except OSError as error:
                if self._closing or sock.fileno() < 0:
                    return
                LOG.warning("accept failed, trying again: %s", error)
                time.sleep(0.1)  # out of file descriptors, mostly: connections end, then it goes on
                continue
            connection = _Connection(self, conn, context, control)
            connection.thread = threading.Thread(target=connection.run, name="front-conn", daemon=True)
            with self._lock:
                self._connections.add(connection)
            connection.thread.start()

    def _ended(self, connection: _Connection) -> None:
        with self._lock:
            self._connections.discard(connection)

    def answer(self, request: Request) -> Response:
        """The answer to one request; never raises but for a client that went away."""
        try:
            return self._route(request)
        except Gone:
            raise
        except BadRequest as error:
            return Response.text(f"{error}\n", error.status)
        except Refused as refused:
            return http_errors.refusal(request, refused)
        except Exception:
            LOG.exception("%s %s failed", request.method, request.path)
            return http_errors.aws_error(request, 500, "InternalError", "The lab failed; its log has the traceback.")

    def _route(self, request: Request) -> Response:
        if request.path.startswith("/_lab/"):
            if self.control is None or not request.control:
                return Response.text("The lab's control calls are not to be had here.\n", 403)
            return self.control(request)
        scope = request.scope
        if self.ebs is not None and (
            (scope is not None and scope.service == "ebs")
            or (scope is None and (request.path == "/snapshots" or request.path.startswith("/snapshots/snap-")))
        ):
            return self.ebs.handle(request)
        if self.faults is not None and (answer := self._fault(request, self.faults)) is not None:
            return answer
        if self.app is None:
            return Response.text("Nothing is served here.\n", 404)
        return http_wsgi.call(self.app, request)

    @staticmethod
    def _fault(request: Request, faults: Faults) -> Response | None:
        service, scope = http_errors.service_of(request), request.scope
        who = {"region": scope.region if scope else "", "caller": scope.access_key if scope else "",
               "method": request.method}
        if service == "s3":
            bucket, key = request.bucket_and_key()
            where = {**who, "bucket": bucket, "key": key}
            if fault := faults.take("s3.slow", **where):
                time.sleep(float(fault.args.get("seconds", 5)))
            if request.method in _WRITES and key and (fault := faults.take("s3.put_refused", **where)):
                status, code = int(fault.args.get("status", 403)), str(fault.args.get("code", "AccessDenied"))
                return http_errors.aws_error(request, status, code, "An armed fault of the lab refused this write.")
        action = http_errors.action_of(request)
        if faults.take("aws.throttle", **who, service=service, action=action, path=request.path):
            return http_errors.throttled(request)
        return None


class _Connection:
    """One client's connection: requests are read and answered one after the other."""

    def __init__(self, front: Front, sock: socket.socket, context: ssl.SSLContext | None, control: bool) -> None:
        self.front, self.sock, self.context, self.control = front, sock, context, control
        self.thread: threading.Thread | None = None
        self.peer: tuple[str, int] = ("", 0)
        self.local: tuple[str, int] = ("", 0)
        self._dropped = False
        self._heavy = False

    def shut(self) -> None:
        """End the connection from another thread."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        """Serve until the client closes, falls silent, or an answer ends the connection."""
        try:
            self._set_up()
            with cast(BufferedReader, self.sock.makefile("rb", 65_536)) as source:
                while not self.front._closing and self._one(source):
                    if self._heavy:
                        # Flask and moto leave a request in reference cycles, and with it the whole body of an upload;
                        # the collector counts objects, not bytes, and would let gigabytes pile up.
                        gc.collect()
                self._linger(source)
        except (OSError, EOFError, Gone, ValueError) as error:  # ValueError: a socket that was closed meanwhile
            LOG.debug("connection of %s ended: %s", self.peer, error)
        finally:
            self.front._ended(self)
            with contextlib.suppress(OSError):
                self.sock.close()

    def _set_up(self) -> None:
        # Blocking sockets with kernel time-outs: a Python time-out would make the socket non-blocking for sendfile.
        for option, seconds in ((socket.SO_RCVTIMEO, IDLE_SECONDS), (socket.SO_SNDTIMEO, SEND_SECONDS)):
            self.sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", seconds, 0))
        if self.sock.family in (socket.AF_INET, socket.AF_INET6):
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.peer, self.local = self.sock.getpeername()[:2], self.sock.getsockname()[:2]
        if self.context is not None:
            self.sock = self.context.wrap_socket(self.sock, server_side=True)

    def _one(self, source: BufferedReader) -> bool:
        """Read and answer one request; whether the connection stays."""
        try:
            head = read_head(source)
            if head is None:
                return False
            method, target, version, headers = head
            path, query, host = split_target(target)
            body = body_of(headers, source, self._proceed)
        except BadRequest as error:
            self._send(Response.text(f"{error}\n", error.status), head_only=False, keep=False)
            return False
        if host is not None:
            headers = type(headers)([(n, v) for n, v in headers.pairs if n.lower() != "host"] + [("Host", host)])
        scheme = "http" if self.context is None else "https"
        request = Request(
            method, target, path, query, headers, body, version, scheme, self.peer, self.local, self.control
        )
        response = self.front.answer(request)
        self._heavy = body.taken > HEAVY
        wish = headers.get("connection", "").lower()
        keep = not response.close and "close" not in wish and (version != "HTTP/1.0" or "keep-alive" in wish)
        if not body.ended and body.awaited:
            keep = False  # the client may or may not send its body now: nobody can tell where the next request starts
        elif not body.ended and not body.drain(DRAIN_LIMIT):
            keep = False
        try:
            keep = self._send(response, head_only=method == "HEAD", keep=keep)
        finally:
            close = getattr(response.body, "close", None)
            if close is not None:
                close()
        LOG.debug("%s %s %s -> %d", self.peer, method, path, response.status)
        return keep

    def _proceed(self) -> None:
        self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _send(self, response: Response, *, head_only: bool, keep: bool) -> bool:
        body = response.body
        names = {name.lower() for name, _ in response.headers}
        bare = head_only or response.status in (204, 304) or 100 <= response.status < 200
        length = None if not hasattr(body, "__len__") else len(body)
        if hasattr(body, "fileno"):
            length = body.length
        chunked = False
        if "content-length" not in names:
            if length is not None and not (bare and not head_only):
                response.headers.append(("Content-Length", str(length)))
            elif length is None and not bare:
                chunked = True
                response.headers.append(("Transfer-Encoding", "chunked"))
        if "date" not in names:
            response.headers.append(("Date", _date(int(time.time()))))
        if not keep:
            response.headers.append(("Connection", "close"))
        if response.reset and not response.limit:
            self._reset()
            return False
        head = response.head()
        if response.stall and not response.stall_after:
            time.sleep(response.stall)
        if bare:
            self.sock.sendall(head)
        elif hasattr(body, "fileno"):
            self._send_slice(head, body, response)
        elif isinstance(body, (bytes, bytearray, memoryview)):
            self._send_bytes(head, body, response)
        else:
            self._send_pieces(head, body, chunked)
        if response.limit is not None and length is not None and response.limit < length:
            if response.reset:
                self._reset()
            return False
        return keep

    def _send_bytes(self, head: bytes, body: Any, response: Response) -> None:
        view = memoryview(body)[: response.limit]
        if response.stall and response.stall_after:
            self.sock.sendall(head + view[: response.stall_after])
            time.sleep(response.stall)
            self.sock.sendall(view[response.stall_after :])
        else:
            # One segment where it fits; and a head that fills a record of TLS together with what follows.
            first = len(view) if len(view) <= 65_536 else max(0, TLS_RECORD - len(head))
            self.sock.sendall(head + view[:first])
            if first < len(view):
                self.sock.sendall(view[first:])

    def _send_slice(self, head: bytes, piece: Any, response: Response) -> None:
        length = piece.length if response.limit is None else min(response.limit, piece.length)
        if self.context is not None or (response.stall and response.stall_after):
            self._send_bytes(head, piece.view(), response)
            return
        if length:
            http_sendfile.send(self.sock, head, piece.fileno(), piece.offset, length)
        else:
            self.sock.sendall(head)

    def _send_pieces(self, head: bytes, pieces: Iterable[bytes], chunked: bool) -> None:
        self.sock.sendall(head)
        for piece in pieces:
            if piece:
                self.sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            self.sock.sendall(b"0\r\n\r\n")

    def _linger(self, source: BinaryIO) -> None:
        """Let the client read our last answer: closing with its bytes unread would reset the connection under it."""
        if self.context is not None or self.front._closing or self._dropped:
            return
        self.sock.shutdown(socket.SHUT_WR)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", LINGER_SECONDS, 0))
        left = DRAIN_LIMIT
        while left > 0 and (data := source.read(65_536)):
            left -= len(data)

    def _reset(self) -> None:
        # Linger 0 makes close() send RST: the client sees "connection reset by peer", as from a dying server.
        self._dropped = True
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
