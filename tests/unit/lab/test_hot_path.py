# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The short ways that a block's request takes give what the long ways give."""

from __future__ import annotations

import io
import os
import socket
import threading
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

import pytest

from lab import http_sendfile, http_wire, sigv4
from lab.ebs import api

HEADS = [
    b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA:  b  \r\nA: c\r\n\r\nbody\r\n\r\n",
    b"GET / HTTP/1.1\nHost: x\n\n",
    b"GET / HTTP/1.1\nHost: x\r\nB: c\r\n\r\n",
    b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\n\nGET /other HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
]


class Drops(io.RawIOBase):
    """A connection that brings `size` bytes at a time."""

    def __init__(self, data: bytes, size: int) -> None:
        self.data, self.size = data, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece, self.data = self.data[: self.size], self.data[self.size :]
        buffer[: len(piece)] = piece
        return len(piece)


def read(data: bytes, size: int) -> tuple[str, str, list[tuple[str, str]], bytes]:
    source = io.BufferedReader(Drops(data, size), 65_536)
    head = http_wire.read_head(source)
    assert head is not None
    return head[0], head[1], head[3].pairs, source.read()


@pytest.mark.parametrize("head", HEADS)
def test_a_head_reads_the_same_in_one_piece_and_byte_by_byte(head: bytes) -> None:
    whole = read(head, len(head))
    assert whole == read(head, 1) == read(head, 7)
    assert whole[:2] == ("GET", "/a?b=c" if b"?" in head else "/")


@pytest.mark.parametrize("size", [1, 100_000])
def test_a_head_with_too_many_fields_is_refused(size: int) -> None:
    fields = b"".join(b"a%d: b\r\n" % n for n in range(http_wire.MAX_HEADERS + 1))
    source = io.BufferedReader(Drops(b"GET / HTTP/1.1\r\n" + fields + b"\r\n", size), 65_536)
    with pytest.raises(http_wire.BadRequest):
        http_wire.read_head(source)


QUERIES = [f"blockToken={quote(chr(code), safe='')}x" for code in range(256)] + [
    "", "a", "a=", "=a", "a=b", "a=b=c", "a=%2f", "a=%41", "a=%7e", "a=b+c", "a=%zz", "a=%2", "a=%FF", "a=%C3%BC",
    "X-Amz-Signature=x", "b=1&a=2", "a=1&a=0", "a b=c", "ü=ü", "a=b#c", "a=*",
]  # fmt: skip


@pytest.mark.parametrize("query", QUERIES)
def test_the_short_way_to_a_canonical_query_changes_nothing(query: str, monkeypatch: pytest.MonkeyPatch) -> None:
    short = sigv4._canonical_query(query)
    monkeypatch.setattr(sigv4, "_ONE_CANONICAL", sigv4.re.compile(r"(?!)"))
    assert short == sigv4._canonical_query(query)


@pytest.mark.parametrize("query", [f"blockToken={'a' * 500}!", f"blockToken={'%2B' * 500}%2b"])
def test_a_long_query_that_is_not_canonical_is_seen_at_once(query: str) -> None:
    name, value = query.split("=")
    assert sigv4._canonical_query(query) == f"{name}={quote(unquote(value), safe='-_.~')}"


@pytest.mark.parametrize("query", ["", "a=%3D%3D", "blockToken=a/b+c==", "a=1&b=%26", "blockToken", "a=b=c"])
def test_parameters_are_those_of_the_standard_library(query: str) -> None:
    assert api._parameters(query) == dict(parse_qsl(query.replace("+", "%2B"), keep_blank_values=True))


def test_a_piece_of_a_file_arrives_whole_when_the_socket_takes_little_at_once(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(os.urandom(600_000))
    ours, theirs = socket.socketpair()
    with ours, theirs, path.open("rb") as file:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        head = b"h" * 20_000  # more than the buffer holds
        sender = threading.Thread(target=http_sendfile.send, args=(ours, head, file.fileno(), 1_000, 500_000))
        sender.start()
        got = b""
        while len(got) < 520_000 and (more := theirs.recv(65_536)):
            got += more
        sender.join()
        assert ours.getblocking()
        assert got == head + path.read_bytes()[1_000:501_000]


def test_a_file_that_ends_early_and_a_client_that_is_gone_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"x" * 100)
    ours, theirs = socket.socketpair()
    with ours, theirs, path.open("rb") as file:
        with pytest.raises(EOFError):
            http_sendfile.send(ours, b"head", file.fileno(), 0, 200)
        theirs.close()
        with pytest.raises(OSError, match="Broken pipe"):
            http_sendfile.send(ours, b"head", file.fileno(), 0, 100)
    with path.open("rb") as file, pytest.raises(OSError, match="closed"):
        http_sendfile.send(ours, b"head", file.fileno(), 0, 100)
