# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks as they are asked for, in any order, some of them before they are needed.

One thread. A block that is likely to be needed soon is asked for over a connection of its own, and its answer travels
and waits in the kernel's buffers until somebody wants it: the time of the way is saved, and no thread is needed for it.
"""

from __future__ import annotations

import select
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress

from .client import BLOCK_BUFFER, EbsClient
from .connection import Connection
from .errors import EngineError, Transient
from .fetch import Fetcher, Want

CONNECTIONS = 16

Take = Callable[[int, memoryview, bytes], None]
_Asked = tuple[Want, Connection, float]


class OnDemand:
    """`take(index, data, digest)` gets every block once its answer was read and verified; `data` is not kept."""

    def __init__(
        self,
        client: EbsClient,
        snapshot_id: str,
        renew: Callable[[int], str],
        take: Take,
        *,
        connections: int = CONNECTIONS,
    ) -> None:
        self._client, self._snapshot_id, self._take = client, snapshot_id, take
        self._fetcher = Fetcher(client, snapshot_id, lambda index, _fresh: renew(index), connections=1)
        self._free = deque(client.service.connection() for _number in range(connections))
        self._asked: OrderedDict[int, _Asked] = OrderedDict()  # under way, the oldest first
        self._buffer = memoryview(bytearray(BLOCK_BUFFER))

    def close(self) -> None:
        """Close every connection, whatever is under way."""
        self._fetcher.close()
        for connection in (*self._free, *(asked[1] for asked in self._asked.values())):
            connection.close()
        self._asked.clear()

    def __contains__(self, index: int) -> bool:
        return index in self._asked

    @property
    def room(self) -> int:
        """How many blocks can be asked for before the answer of another must be read."""
        return len(self._free)

    def ask(self, index: int, token: str) -> None:
        """Ask for a block; where no connection is free, the oldest answer is read first."""
        if not self._free:
            self.read(next(iter(self._asked)))
        client = self._client
        while wait := client.rate.take():
            client.pause(wait)
        connection, sent = self._free.popleft(), time.monotonic()
        with suppress(Transient):  # the connection is closed: reading from it says so, and then it is tried again
            connection.send(client.block_request(self._snapshot_id, index, token))
        self._asked[index] = Want(index, token), connection, sent

    def settle(self, most: int) -> list[int]:
        """Read the answers that have arrived, the oldest first and so many at most; of which blocks they were.

        Nobody may ever want them, and until they are read their connections can do nothing else.
        """
        waiting = {connection.number: index for index, (_want, connection, _sent) in self._asked.items()}
        poll = select.poll()
        for number in waiting:
            if number >= 0:
                poll.register(number, select.POLLIN)
        arrived = {waiting[number] for number, _event in poll.poll(0)}
        settled = [index for index in self._asked if index in arrived][:most]
        for index in settled:
            self.read(index)
        return settled

    def read(self, index: int) -> None:
        """Read the answer for a block that was asked for, and hand it on."""
        want, connection, sent = self._asked.pop(index)
        try:
            try:
                data, digest = self._client.check_block(connection.receive(self._buffer), self._buffer)
            except Transient as error:
                data, digest = self._fetcher.again(want, error, sent, stale=connection.reused)
        except EngineError as error:
            connection.close()
            error.failed_blocks = error.failed_blocks or (index,)
            raise
        finally:
            self._free.append(connection)
        self._take(index, data, digest)
