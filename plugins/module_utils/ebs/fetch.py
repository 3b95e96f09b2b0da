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
from itertools import islice
from typing import NamedTuple, Optional

from .client import BLOCK_BUFFER, EbsClient, Tries
from .connection import Connection
from .errors import Cancelled, EngineError, TokenExpired, Transient

CONNECTIONS = 16
_ROW = 32  # requests that are signed in one go
_SIGNED_SECONDS = 1.0  # a signature that waited longer for its turn is made anew, with credentials as they are then
_DRAIN_SECONDS = 2.0


class Want(NamedTuple):
    """A block to come: with a token it is fetched, with a digest it is known to lie somewhere nearer."""

    block: int
    token: str | None
    digest: bytes | None = None


# A block, verified: index, data (None where it was not fetched; valid until the next one is taken), SHA-256.
Got = tuple[int, "memoryview | None", bytes]
# Plain tuples where there is one a block: a named one runs Python code to come into being.
_Ready = tuple[Want, bytes]  # and its request, empty where nothing is to be asked
_Asked = tuple[Want, Optional[Connection], float]  # noqa: UP045  over which connection, when; evaluated by 3.9, too


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
        return self.again(Want(index, token), None, 0.0)

    def stream(self, wanted: Iterable[Want]) -> Iterator[Got]:
        """Every wanted block, in the order of `wanted`. The first failure ends it."""
        source = iter(wanted)
        free, queue, ready = deque(self._all), deque[_Asked](), deque[_Ready]()
        done, signed = False, 0.0
        client, rate, stop, clock, limit = self._client, self._client.rate, self._client.stop, time.monotonic, len(free)
        take, check, buffer = rate.take, client.check_block, self._buffer
        try:
            while True:
                wait = 0.0
                while free and len(queue) < limit:
                    if not ready:
                        if done:
                            break
                        signed = clock()
                        ready.extend(map(self._sign, islice(source, _ROW)))
                        done = len(ready) < _ROW
                        continue
                    want, request = ready[0]
                    if not request:
                        queue.append((want, None, 0.0))
                    elif wait := take():
                        break
                    else:
                        sent, connection = clock(), free.popleft()
                        if sent > signed + _SIGNED_SECONDS:
                            ready = deque(self._sign(one) for one, _late in ready)
                            request, signed = ready[0][1], sent
                        try:  # noqa: SIM105  without a context manager for each block
                            connection.send(request)
                        except Transient:
                            pass  # the connection is closed: reading from it says so, and then it is tried again
                        queue.append((want, connection, sent))
                    ready.popleft()
                if stop():
                    raise Cancelled("The run was cancelled.")
                if queue:
                    asked = queue.popleft()
                    want, used, sent = asked
                    if used is None:
                        if want.digest is None:
                            raise AssertionError("a want has a token or a digest")
                        yield want.block, None, want.digest
                        continue
                    try:
                        data, digest = check(used.receive(buffer), buffer)
                    except Transient as error:
                        data, digest = self.again(want, error, sent, stale=used.reused)
                    except EngineError as error:
                        error.failed_blocks = (want.block,)
                        raise
                    free.append(used)
                    yield want.block, data, digest
                elif wait:
                    client.pause(wait)
                elif done and not ready:
                    return
        except Cancelled:
            raise
        except EngineError as error:
            self._name_failed(error, queue)
            raise
        finally:
            self.close()

    def _sign(self, want: Want) -> _Ready:
        if want.token is None:
            return want, b""
        return want, self._client.block_request(self._snapshot_id, want.block, want.token)

    def again(
        self, want: Want, error: Transient | None, sent: float, *, stale: bool = False
    ) -> tuple[memoryview, bytes]:
        """A block whose first try, sent at `sent`, ended with `error`; without one, this is the first."""
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
        for want, connection, _sent in queue:
            if connection is None:
                continue
            if time.monotonic() > until:
                break
            connection.hurry(until)
            try:
                self._client.check_block(connection.receive(self._buffer), self._buffer)
            except EngineError:
                failed.append(want.block)
        error.failed_blocks = tuple(failed)
