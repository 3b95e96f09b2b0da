# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Network namespaces: made and removed with iproute2, entered by one thread that opens sockets for everybody else.

A socket belongs to the namespace in which it was opened, whichever thread uses it later. So the lab's process stays in
the outer namespace and still listens inside.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CLONE_NEWNET = 0x40000000
FOLDER = Path("/run/netns")


class NetworkError(Exception):
    """The lab's network could not be set up; the message says which step."""


def run(command: list[str], text: str = "") -> str:
    """Run a command with `text` as its input; its output, or a NetworkError with what it said."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NetworkError(f"`{' '.join(command)}` failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def exists(name: str) -> bool:
    """Is there a network namespace of that name?"""
    return (FOLDER / name).exists()


def add(name: str) -> None:
    """Make a network namespace."""
    run(["ip", "netns", "add", name])


def delete(name: str) -> None:
    """Remove a network namespace and with it every interface in it; fine when there is none."""
    if exists(name):
        run(["ip", "netns", "delete", name])


def batch(name: str, lines: list[str]) -> None:
    """Run several `ip` commands inside a namespace; the first one that fails ends it."""
    run(["ip", "-netns", name, "-batch", "-"], "".join(line + "\n" for line in lines))


def write_sysctl(name: str, values: dict[str, str]) -> None:
    """Set network kernel settings of a namespace."""
    script = "; ".join(f"echo {value} > /proc/sys/net/{key}" for key, value in values.items())
    run(["nsenter", f"--net={FOLDER / name}", "sh", "-ec", script])


def processes_in(name: str) -> list[int]:
    """Ids of the processes that live in a network namespace."""
    try:
        wanted = (FOLDER / name).stat()
    except FileNotFoundError:
        return []
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            status = (entry / "ns/net").stat()
        except OSError:
            continue  # it ended meanwhile
        if (status.st_ino, status.st_dev) == (wanted.st_ino, wanted.st_dev):
            found.append(int(entry.name))
    return found


class SocketFactory:
    """Opens sockets inside a network namespace for a process that lives outside of it."""

    def __init__(self, name: str) -> None:
        self._path = FOLDER / name
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="netns", initializer=self._enter)

    def _enter(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        descriptor = os.open(self._path, os.O_RDONLY)
        try:
            if libc.setns(descriptor, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), f"cannot enter the network namespace {self._path}")
        finally:
            os.close(descriptor)

    def open(self, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
        """A new socket inside."""
        return self._thread.submit(socket.socket, socket.AF_INET, kind).result()

    def listen(self, address: str, port: int, backlog: int = 128) -> socket.socket:
        """A listening TCP socket inside."""
        listener = self.open()
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
            listener.listen(backlog)
        except OSError as error:
            listener.close()
            raise NetworkError(f"cannot listen on {address}:{port} inside the lab: {error.strerror}") from error
        return listener

    def close(self) -> None:
        """End the thread; sockets that were opened live on."""
        self._thread.shutdown(wait=True)
