#!/usr/bin/env python3
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SSH ProxyCommand into the lab: `relay_client.py SOCKET HOST PORT`. Standard library only, so that it starts fast."""

from __future__ import annotations

import os
import select
import socket
import sys


def main(arguments: list[str]) -> int:
    """Join standard input and output to a port of a lab host."""
    if len(arguments) != 3:
        print("usage: relay_client.py SOCKET HOST PORT", file=sys.stderr)
        return 2
    path, host, port = arguments
    relay = socket.socket(socket.AF_UNIX)
    try:
        relay.connect(path)
    except OSError as error:
        print(f"relay: {path}: {error.strerror}; is the lab up?", file=sys.stderr)
        return 1
    relay.sendall(f"{host} {port}\n".encode())
    answer = b""
    while not answer.endswith(b"\n"):
        byte = relay.recv(1)
        if not byte:
            print("relay: the lab closed the connection without an answer", file=sys.stderr)
            return 1
        answer += byte
    if answer != b"ok\n":
        print(f"relay: {answer.decode(errors='replace').strip()}", file=sys.stderr)
        return 1
    sources = [0, relay.fileno()]
    while sources:
        for source in select.select(sources, [], [])[0]:
            data = os.read(source, 65536)
            if source == 0:
                if data:
                    relay.sendall(data)
                else:
                    sources.remove(0)
                    relay.shutdown(socket.SHUT_WR)
            elif data:
                view = memoryview(data)
                while view:
                    view = view[os.write(1, view):]
            else:
                return 0
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        sys.exit(1)
