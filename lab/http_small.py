# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small HTTP services of the lab, which answer on a socket that somebody else opened, inside the lab's network."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

log = logging.getLogger(__name__)


class SmallHandler(BaseHTTPRequestHandler):
    """Keeps connections alive and says nothing about itself."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "lab", ""
    timeout = 120  # an idle connection does not keep its thread for ever

    def send_head(self, status: int, content_type: str, size: int, headers: Mapping[str, str] | None = None) -> None:
        """Send status and headers of an answer with `size` bytes."""
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(size))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class names it so)
        log.debug("%s %s", self.client_address[0], format % args)


class SmallServer:
    """One HTTP service, a thread per connection."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self._handler = handler
        self._server: ThreadingHTTPServer | None = None

    def start(self, listener: socket.socket) -> None:
        """Answer on `listener` until `close`; it belongs to this service from now on."""
        server = ThreadingHTTPServer(listener.getsockname()[:2], self._handler, bind_and_activate=False)
        server.socket.close()
        server.socket = listener
        server.daemon_threads = True
        self._server = server
        threading.Thread(target=self._accept, args=(server,), daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        if self._server is not None:
            with suppress(OSError):
                self._server.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for connections
            self._server.socket.close()
            self._server = None

    @staticmethod
    def _accept(server: ThreadingHTTPServer) -> None:
        while True:
            try:
                connection, address = server.socket.accept()
            except OSError:
                return  # closed
            server.process_request(connection, address)
