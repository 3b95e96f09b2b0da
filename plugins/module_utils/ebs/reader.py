# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A snapshot as a file: read-only, seekable, as large as the volume, without an instance and without a copy of it.

    with open_snapshot(client, "snap-0123456789abcdef0") as disk:
        disk.seek(1 << 20)
        head = disk.read(4096)

A block is fetched when something in it is read, verified by the SHA-256 that AWS states, and kept: in memory, and on
the disk where that is asked for (blockcache.py), which a later image of the whole goes on with. Blocks that were never
written are zeros and cost nothing. What is read with a pattern is asked for ahead (pattern.py).
"""

from __future__ import annotations

import io
import os
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .blockcache import BlockCache
from .blockmap import BlockMap
from .blocks import BLOCK_SIZE, block_count, image_size
from .client import EbsClient
from .errors import BadInput, EngineError
from .ondemand import CONNECTIONS, OnDemand
from .pattern import FURTHEST, Pattern
from .spill import LARGEST, Spill

MEMORY = 96 << 20  # bytes of blocks that are kept

_ZEROS = bytes(BLOCK_SIZE)
_UNUSED = 24  # blocks that may have been asked for in vain, beside an eighth of all


class BudgetSpent(EngineError):
    """As many blocks as were allowed have been fetched; what is in the cache can still be read."""


@dataclass
class Access:
    """Which blocks reading has cost, in the order in which they were asked for, and which of them were of use."""

    fetched: list[int] = field(default_factory=list)  # asked of AWS, each time
    ahead: set[int] = field(default_factory=set)  # asked for before anybody wanted them
    wanted: set[int] = field(default_factory=set)  # that something was read from, absent ones left out
    cached: int = 0  # taken from the disk
    unused: int = 0  # of those ahead: how many nobody has wanted so far


class SnapshotBlocks:
    """The blocks of a snapshot. `limit`: how many may be fetched in all; `image`: where to keep them on the disk, as
    the partial image of that name; `spill`: without that, keep up to a GiB of them in a file without a name. `access`
    says what it has cost."""

    def __init__(
        self,
        client: EbsClient,
        snapshot_id: str,
        *,
        memory: int = MEMORY,
        limit: int | None = None,
        image: Path | str | None = None,
        connections: int = CONNECTIONS,
        furthest: int = FURTHEST,
        spill: bool = False,
    ) -> None:
        if connections < 1 or memory < BLOCK_SIZE:
            raise BadInput("Reading a snapshot needs at least one connection and memory for one block.")
        self.name, self.access, self.limit = snapshot_id, Access(), limit
        self.map = BlockMap(client, snapshot_id)
        self.gib = self.map.open()
        self.size = image_size(self.gib)
        self._kept = memory // BLOCK_SIZE
        self._memory: OrderedDict[int, bytes] = OrderedDict()  # the least recently used one first
        self._pattern = Pattern(block_count(self.gib), furthest=min(furthest, connections - 1, self._kept // 4))
        self._cache = BlockCache(image, snapshot_id, client.region, self.gib) if image is not None else None
        self._scratch = memoryview(bytearray(BLOCK_SIZE))
        self._spill = Spill(LARGEST if spill and self._cache is None else 0)
        self._coming: deque[int] = deque()  # what somebody has said will be read
        self._early: set[int] = set()  # in memory, and nobody has wanted them yet
        self.failed: EngineError | None = None  # the first one: who reads through a library may never see it
        self._wire = OnDemand(client, snapshot_id, self.map.renew, self._take, connections=connections)

    def get(self, index: int) -> bytes:
        """A block; raises `BudgetSpent` where it would have to be fetched and no more may be."""
        found = self._memory.get(index)
        if found is None:
            try:
                found = self._bring(index)
            except EngineError as error:
                self.failed = self.failed or error
                raise
        else:
            self._memory.move_to_end(index)
            if index not in self.access.wanted:
                self._ahead(index)
        if index not in self.access.wanted and found is not _ZEROS:
            self.access.wanted.add(index)
            self._early.discard(index)
            self.access.unused -= index in self.access.ahead
        return found

    def hint(self, indexes: Iterable[int]) -> None:
        """These blocks will be read, in about this order: as many as there are connections are fetched meanwhile.

        What was said before and has not been asked for is forgotten. Nothing is fetched beyond the limit for it.
        """
        self._coming = deque(indexes)
        try:
            self._fetch_coming()
        except EngineError as error:
            self.failed = self.failed or error
            raise

    def _fetch_coming(self) -> None:
        access, coming = self.access, self._coming
        while coming and self._room():
            index = coming.popleft()
            if self._has(index):
                continue
            token = self.map.token(index)
            if token is None:
                continue
            if self.limit is not None and len(access.fetched) >= self.limit:
                coming.clear()
                return
            self._ask_early(index, token)

    def close(self) -> None:
        """Let go. What was asked for and has not been read is given up; it was counted."""
        self._wire.close()
        self._spill.close()
        if self._cache is not None:
            self._cache.close()

    def _bring(self, index: int) -> bytes:
        if self._cache is not None and self._cache.read(index, self._scratch):
            self.access.cached += 1
            self._keep(index, self._scratch)
            self._ahead(index)
            return self._memory[index]
        if (spilled := self._spill.read(index)) is not None:
            self.access.cached += 1
            self._keep(index, spilled)
            self._ahead(index)
            return spilled
        if index not in self._wire:
            token = self.map.token(index)
            if token is None:
                self._ahead(index)
                return _ZEROS
            self._count(index)
            self._wire.ask(index, token)
        self._ahead(index)  # before the answer is waited for: the next ones travel meanwhile
        if index in self._wire:  # it may have been taken off its connection to make room
            self._wire.read(index)
        return self._memory[index]

    def _count(self, index: int) -> None:
        fetched = self.access.fetched
        if self.limit is not None and len(fetched) >= self.limit:
            raise BudgetSpent(
                f"The budget of {self.limit} blocks ({self.limit * BLOCK_SIZE >> 20} MiB) is spent, {self.name} was "
                "read no further: allow more blocks to see more."
            )
        fetched.append(index)

    def _ahead(self, index: int) -> None:
        """Ask for what is likely to be wanted next, as far as that costs no waiting and has been of use so far."""
        access = self.access
        if self._coming:  # somebody knows better
            self._fetch_coming()
            return
        for near in self._pattern.after(index):
            if not self._room() or access.unused > _UNUSED + len(access.fetched) // 8:
                return
            if self._has(near):
                continue
            token = self.map.token(near) if self.map.knows(near) else None
            if token is not None and (self.limit is None or len(access.fetched) < self.limit):
                self._ask_early(near, token)

    def _room(self) -> bool:
        """Whether one more block can be asked for without waiting. What was asked for early and has come makes room, as
        long as memory does not fill with blocks that nobody wants."""
        if not self._wire.room and len(self._early) < self._kept // 4:
            self._early.update(self._wire.settle(self._kept // 4 - len(self._early)))
        return self._wire.room > 0

    def _ask_early(self, index: int, token: str) -> None:
        """Ask for a block that nobody has wanted yet."""
        access = self.access
        self._count(index)
        access.unused += index not in access.ahead and index not in access.wanted
        access.ahead.add(index)
        self._wire.ask(index, token)

    def _take(self, index: int, data: memoryview, digest: bytes) -> None:
        if self._cache is not None:
            self._cache.write(index, data, digest)
        self._keep(index, data)

    def _has(self, index: int) -> bool:
        """Whether a block is here, or on its way."""
        return (
            index in self._memory
            or index in self._wire
            or index in self._spill
            or (self._cache is not None and index in self._cache.digests)
        )

    def _keep(self, index: int, data: memoryview | bytes) -> None:
        while len(self._memory) >= self._kept:
            oldest, held = self._memory.popitem(last=False)
            self._early.discard(oldest)
            self._spill.write(oldest, held)
        self._memory[index] = bytes(data)


class SnapshotFile(io.RawIOBase):
    """The blocks as a file. One thread at a time."""

    def __init__(self, blocks: SnapshotBlocks) -> None:
        self.blocks, self.size, self.name = blocks, blocks.size, blocks.name
        self._place, self._opened = 0, True
        self._index, self._block = -1, b""  # the one that was read last: most reads are small, and near the last one

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.size}.get(whence)
        if start is None or start + offset < 0:
            raise ValueError(f"{self.name} cannot be read from {offset} ({whence}).")
        self._place = start + offset
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        """Up to `size` bytes from where it stands; fewer only at the end."""
        if not self._opened:
            raise ValueError(f"{self.name} is closed.")
        left = max(0, self.size - self._place)
        if size is None or size < 0 or size > left:
            size = left
        index, start = divmod(self._place, BLOCK_SIZE)
        if start + size <= BLOCK_SIZE:  # within one block, as most reads are
            found = self._get(index)[start : start + size] if size else b""
        else:
            found = b"".join(self._pieces(index, start, size))
        self._place += len(found)
        return found

    def _pieces(self, index: int, start: int, size: int) -> Iterator[bytes]:
        while size:
            piece = self._get(index)[start : start + size]
            yield piece
            size -= len(piece)
            index, start = index + 1, 0

    def hint(self, ranges: Iterable[tuple[int, int]]) -> None:
        """These ranges (offset, length) will be read, in about this order."""
        indexes: dict[int, None] = {}
        for place, length in ranges:
            if 0 <= place < self.size and length > 0:
                last = min(place + length, self.size) - 1
                indexes.update(dict.fromkeys(range(place // BLOCK_SIZE, last // BLOCK_SIZE + 1)))
        self.blocks.hint(indexes)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        found = self.read(len(view))
        view[: len(found)] = found
        return len(found)

    def readall(self) -> bytes:
        return self.read()

    def _get(self, index: int) -> bytes:
        if index != self._index:
            self._block = self.blocks.get(index)
            self._index = index
        return self._block

    def close(self) -> None:
        if self._opened:
            self._opened = False
            self.blocks.close()
        super().close()


def open_snapshot(client: EbsClient, snapshot_id: str, **options: Any) -> SnapshotFile:
    """A snapshot as a file; options as for `SnapshotBlocks`, whose `access` is at `file.blocks.access`."""
    return SnapshotFile(SnapshotBlocks(client, snapshot_id, **options))
