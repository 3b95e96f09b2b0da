# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the written blocks of a snapshot are, asked for as they are needed and in any order.

A listing from end to end costs a page for each 10,000 blocks, 3,300 pages for a full 16 TiB: who wants to look at a few
blocks asks around those. A page says of every block between its first and its last whether it was ever written.
"""

from __future__ import annotations

import bisect
import time
from collections import OrderedDict
from typing import NamedTuple

from .blocks import block_count
from .client import PAGE_SIZE, EbsClient, check_snapshot_id
from .errors import ProtocolError, TokenExpired
from .listing import MARGIN, same_volume

FIRST_PAGE = 250  # entries; each page asked for later is twice as large, up to AWS' most
PAGES = 24  # that are remembered: 240,000 tokens, about 50 MiB


class _Page(NamedTuple):
    """What is known of the blocks from `start` to `end`, both included: those in `tokens` were written."""

    start: int
    end: int
    expiry: float
    tokens: dict[int, str]


class BlockMap:
    """Written or not, and a token for each block that was. Memory: `pages` pages."""

    def __init__(self, client: EbsClient, snapshot_id: str, *, pages: int = PAGES) -> None:
        self._client, self.snapshot_id = client, check_snapshot_id(snapshot_id)
        self.volume_gib = 0
        self.asked = 0  # pages that were asked for
        self._most, self._size = pages, FIRST_PAGE
        self._starts: list[int] = []
        self._pages: OrderedDict[int, _Page] = OrderedDict()  # by start, the least recently used one first

    def open(self) -> int:
        """The size of the volume in GiB."""
        if not self.volume_gib:
            self._ask(0)
        return self.volume_gib

    def knows(self, index: int) -> bool:
        """Whether `token` answers without asking AWS."""
        return self._find(index) is not None

    def token(self, index: int) -> str | None:
        """The token of a block; None where it was never written, which reads as zeros."""
        page = self._find(index) or self._ask(index)
        return page.tokens.get(index)

    def renew(self, index: int) -> str:
        """A token that no earlier call returned, for a block whose own has ended before its time."""
        page = self._find(index)
        if page is not None:
            self._forget(page)
        token = self._ask(index).tokens.get(index)
        if token is None:
            raise ProtocolError(f"Block {index} is no longer in the list of blocks of {self.snapshot_id}.")
        return token

    def _find(self, index: int) -> _Page | None:
        place = bisect.bisect_right(self._starts, index) - 1
        page = self._pages[self._starts[place]] if place >= 0 else None
        if page is None or index > page.end:
            return None
        if time.time() > page.expiry - MARGIN:
            self._forget(page)
            return None
        self._pages.move_to_end(page.start)
        return page

    def _forget(self, page: _Page) -> None:
        del self._pages[page.start]
        self._starts.remove(page.start)

    def _ask(self, start: int) -> _Page:
        """The page that begins at `start`; one that has no entries is followed to the first that has."""
        following: str | None = None
        while True:
            try:
                found = self._client.list_page(
                    self.snapshot_id, first=None, start=start, page=following, size=self._size
                )
            except TokenExpired:
                if following is None:
                    raise
                following = None
                continue
            self.asked += 1
            self.volume_gib = same_volume(found, self.volume_gib)
            if found["entries"] or found["next"] is None:
                break
            if found["next"] == following:
                raise ProtocolError("The list of blocks does not go on: an empty page leads to itself.")
            following = found["next"]
        self._size = min(PAGE_SIZE, 2 * self._size)
        return self._remember(start, found["entries"], found["next"] is None, found["expiry"])

    def _remember(self, start: int, entries: list[tuple[int, str]], last: bool, expiry: float) -> _Page:
        tokens: dict[int, str] = {}
        expected, limit = start, block_count(self.volume_gib)
        for index, token in entries:
            if not expected <= index < limit:
                raise ProtocolError(f"The list of blocks has block {index} where {expected} or more was due.")
            tokens[index], expected = token, index + 1
        page = _Page(start, limit - 1 if last else expected - 1, expiry, tokens)
        if start not in self._pages:
            bisect.insort(self._starts, start)
        self._pages[start] = page
        self._pages.move_to_end(start)
        while len(self._pages) > self._most:
            self._forget(next(iter(self._pages.values())))
        return page
