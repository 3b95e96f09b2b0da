# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way from an ordinary shell to a host of the lab: Unix sockets, one for each person that may be on the other end.

A client sends `HOST PORT` and a line feed, gets `ok` or `error <reason>`, and then bytes flow both ways.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

CONNECT_SECONDS = 10.0
log = logging.getLogger(__name__)


class Relay:
    """Listens on one Unix socket and connects from one source address inside the lab."""

    def __init__(self, path: Path, source: str, open_socket: Callable[[], socket.socket]) -> None:
        self._path, self._source, self._open = path, source, open_socket
        self._listener = socket.socket(socket.AF_UNIX)

    def start(self) -> None:
        """Listen; everybody on the machine may connect (the lab is no barrier, the hosts' keys are)."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        self._listener.bind(str(self._path))
        self._path.chmod(0o666)
        self._listener.listen(64)
        threading.Thread(target=self._accept, name=f"relay-{self._path.stem}", daemon=True).start()

    def close(self) -> None:
        """Stop listening and remove the socket."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            try:
                client.settimeout(CONNECT_SECONDS)
                host, port = parse_target(_read_line(client))
                target = self._open()
            except (OSError, ValueError) as error:
                _answer(client, f"error {error}")
                return
            with target:
                try:
                    target.bind((self._source, 0))
                    target.settimeout(CONNECT_SECONDS)
                    target.connect((host, port))
                except OSError as error:
                    _answer(client, f"error {host} port {port}: {error.strerror or 'no answer'}")
                    return
                target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                target.settimeout(None)
                client.settimeout(None)
                if _answer(client, "ok"):
                    _join(client, target)


def parse_target(line: str) -> tuple[str, int]:
    """`HOST PORT` as sent by a client; hosts of the lab are named by their address."""
    host, _, port = line.strip().partition(" ")
    try:
        address = ipaddress.IPv4Address(host)
    except ValueError as error:
        raise ValueError(f"{host!r} is no IPv4 address; give the instance's private address") from error
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{port!r} is no TCP port")
    return str(address), int(port)


def _read_line(client: socket.socket) -> str:
    line = b""
    while not line.endswith(b"\n"):
        byte = client.recv(1)
        if not byte or len(line) > 100:
            raise ValueError("expected one line: HOST PORT")
        line += byte
    return line.decode("ascii", errors="replace")


def _answer(client: socket.socket, text: str) -> bool:
    try:
        client.sendall(f"{text}\n".encode())
    except OSError:
        return False
    return True


def _join(client: socket.socket, target: socket.socket) -> None:
    back = threading.Thread(target=_pump, args=(target, client), daemon=True)
    back.start()
    _pump(client, target)
    back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, sink):  # the other direction must not wait for a dead peer
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
