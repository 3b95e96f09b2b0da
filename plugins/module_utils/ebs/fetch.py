# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks from EBS direct, verified, in index order.

One thread asks over several connections and reads the answers in the order of its questions: while one block is
received, hashed and written, the next ones travel and wait in the kernel's buffers. That was the cheapest of what was
measured (no locks, no copies between threads, each block hashed while it is in the processor's cache), it gives the
blocks in the order in which a hash over the whole image needs them, and it takes one block of memory.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from .client import BLOCK_BUFFER, EbsClient, Tries
from .connection import Connection
from .errors import Cancelled, EngineError, TokenExpired, Transient

CONNECTIONS = 16
_DRAIN_SECONDS = 2.0


class Want(NamedTuple):
    """A block to come: with a token it is fetched, with a digest it is known to lie somewhere nearer."""

    block: int
    token: str | None
    digest: bytes | None = None


class Got(NamedTuple):
    """A block, verified; `data` is None where it was not fetched, and valid until the next one is taken."""

    block: int
    data: memoryview | None
    digest: bytes


class _Asked(NamedTuple):
    want: Want
    connection: Connection | None
    sent: float


class Fetcher:
    """`renew(index, fresh)` gives a token for a block whose own has ended."""

    def __init__(
        self,
        client: EbsClient,
        snapshot_id: str,
        renew: Callable[[int, bool], str],
        *,
        connections: int = CONNECTIONS,
    ) -> None:
        self._client, self._snapshot_id, self._renew = client, snapshot_id, renew
        self._all = [client.service.connection() for _number in range(connections)]
        self._spare = client.service.connection()  # for second tries, while the others have answers under way
        self._buffer = memoryview(bytearray(BLOCK_BUFFER))

    def close(self) -> None:
        """Close every connection."""
        for connection in (*self._all, self._spare):
            connection.close()

    def one(self, index: int, token: str) -> tuple[memoryview, bytes]:
        """A single block outside the stream."""
        return self._again(Want(index, token), None, 0.0)

    def stream(self, wanted: Iterable[Want]) -> Iterator[Got]:
        """Every wanted block, in the order of `wanted`. The first failure ends it."""
        source = iter(wanted)
        free, queue = deque(self._all), deque[_Asked]()
        held: Want | None = None  # taken from the source, but the budget does not let it go yet
        done = False
        client, rate, stop = self._client, self._client.rate, self._client.stop
        try:
            while True:
                wait = 0.0
                while free and not done and len(queue) < len(self._all):
                    if held is None:
                        held = next(source, None)
                        if held is None:
                            done = True
                            break
                    if held.token is None:
                        queue.append(_Asked(held, None, 0.0))
                    else:
                        if wait := rate.take():
                            break
                        queue.append(self._ask(held, free.popleft()))
                    held = None
                if stop():
                    raise Cancelled("The run was cancelled.")
                if queue:
                    asked = queue.popleft()
                    if asked.connection is None:
                        if asked.want.digest is None:
                            raise AssertionError("a want has a token or a digest")
                        yield Got(asked.want.block, None, asked.want.digest)
                    else:
                        data, digest = self._take(asked)
                        free.append(asked.connection)
                        yield Got(asked.want.block, data, digest)
                elif done:
                    return
                elif wait:
                    client.pause(wait)
        except Cancelled:
            raise
        except EngineError as error:
            self._name_failed(error, queue)
            raise
        finally:
            self.close()

    def _ask(self, want: Want, connection: Connection) -> _Asked:
        if want.token is None:
            raise AssertionError("asked before")
        sent = time.monotonic()
        with suppress(Transient):  # the connection is closed: reading from it says so, and then it is tried again
            connection.send(self._client.block_request(self._snapshot_id, want.block, want.token))
        return _Asked(want, connection, sent)

    def _take(self, asked: _Asked) -> tuple[memoryview, bytes]:
        """The block that was asked for; tried again as often as the policy allows."""
        connection, client = asked.connection, self._client
        if connection is None:
            raise AssertionError("asked before")
        try:
            return client.check_block(connection.receive(self._buffer), self._buffer)
        except Transient as error:
            first = error
        except EngineError as error:
            error.failed_blocks = (asked.want.block,)
            raise
        return self._again(asked.want, first, asked.sent, stale=connection.reused)

    def _again(
        self, want: Want, error: Transient | None, sent: float, *, stale: bool = False
    ) -> tuple[memoryview, bytes]:
        client, connection, token = self._client, self._spare, want.token or ""
        tries = Tries(client, client.rate, f"Block {want.block}")
        renewed = False
        while True:
            try:
                if error is not None:
                    tries.failed(error, sent, stale=stale)
                    if isinstance(error, TokenExpired):
                        token, renewed = self._renew(want.block, renewed), True
                while wait := client.rate.take():
                    client.pause(wait)
                sent = time.monotonic()
                try:
                    connection.send(client.block_request(self._snapshot_id, want.block, token))
                    return client.check_block(connection.receive(self._buffer), self._buffer)
                except Transient as again:
                    error, stale = again, connection.reused
            except EngineError as failure:
                failure.failed_blocks = failure.failed_blocks or (want.block,)
                raise

    def _name_failed(self, error: EngineError, queue: deque[_Asked]) -> None:
        """Look at the answers that are under way, for a moment: which of them failed as well?"""
        failed, until = list(error.failed_blocks), time.monotonic() + _DRAIN_SECONDS
        for asked in queue:
            if asked.connection is None:
                continue
            if time.monotonic() > until:
                break
            asked.connection.hurry(until)
            try:
                self._client.check_block(asked.connection.receive(self._buffer), self._buffer)
            except EngineError:
                failed.append(asked.want.block)
        error.failed_blocks = tuple(failed)
