# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which blocks a snapshot has: a stream of (index, token) that survives empty pages and tokens that end."""

from __future__ import annotations

import bisect
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from .blocks import LARGEST_GIB, block_count
from .client import PAGE_SIZE, EbsClient, check_snapshot_id
from .errors import ProtocolError, TokenExpired

MARGIN = 60.0  # seconds before its end that a block token is no longer used
_REFRESH = 1000  # entries of a page that is fetched for one block


class Listing:
    """The written blocks of a snapshot; with `first` what changed since that older snapshot of the same lineage.

    Memory: two pages. The next page is asked for while the present one is worked through.
    """

    def __init__(
        self, client: EbsClient, snapshot_id: str, *, first: str | None = None, page_size: int = PAGE_SIZE
    ) -> None:
        self._client, self.snapshot_id = client, check_snapshot_id(snapshot_id)
        self.first = None if first is None else check_snapshot_id(first)
        self._size = page_size
        self.volume_gib = 0  # known after the first page
        self.pages = 0
        self._fresh: list[tuple[int, str]] = []  # of the last page that was fetched for a single block
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="listing")

    def close(self) -> None:
        """End the thread that fetches pages."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def open(self) -> int:
        """The size of the volume in GiB, as the first page states it: asked before anything is created."""
        if not self.volume_gib:
            self._page(0, None, 100, first=self.first)
        return self.volume_gib

    def _page(self, start: int, token: str | None, size: int, *, first: str | None = None) -> dict[str, Any]:
        page = self._client.list_page(self.snapshot_id, first=first, start=start, page=token, size=size)
        self.pages += 1
        self.volume_gib = same_volume(page, self.volume_gib)
        return page

    def stream(self, start: int = 0) -> Iterator[tuple[int, str | None]]:
        """(index, token) from block `start` on, strictly ascending; token None: the block was removed."""
        expected = start  # no index below may come any more
        page, following = self._ask(expected, None).result(), None
        while True:
            if not page["entries"] and page["next"] is not None and page["next"] == following:
                raise ProtocolError("The list of blocks does not go on: an empty page leads to itself.")
            following = page["next"]
            entries, expiry = page["entries"], page["expiry"]
            ahead = None if following is None else self._ask(expected, following)
            limit = block_count(self.volume_gib)
            for at, entry in enumerate(entries, 1):
                index = entry[0]
                if not expected <= index < limit:
                    raise ProtocolError(f"The list of blocks has block {index} where {expected} or more was due.")
                if not at % 256 and time.time() > expiry - MARGIN:
                    ahead = self._ask(index, None)  # this page's tokens are about to end: list again from here
                    break
                expected = index + 1
                yield entry
            if ahead is None:
                return
            try:
                page = ahead.result()
            except TokenExpired:
                page = self._ask(expected, None).result()

    def _ask(self, start: int, token: str | None) -> Future[dict[str, Any]]:
        return self._pool.submit(self._page, start, token, self._size, first=self.first)

    def token(self, index: int, *, fresh: bool = False) -> str:
        """A token for one written block; `fresh`: one that no earlier call has returned.

        Neighbours come with it, so that a row of them costs one page.
        """
        place = bisect.bisect_left(self._fresh, (index, ""))
        if not fresh and place < len(self._fresh) and self._fresh[place][0] == index:
            return self._fresh[place][1]
        token: str | None = None
        self._fresh = []
        while not self._fresh:  # empty pages
            try:
                page = self._page(index, token, _REFRESH)
            except TokenExpired:
                if token is None:
                    raise
                token = None
                continue
            self._fresh = page["entries"]
            token = page["next"]
            if token is None:
                break
        if not self._fresh or self._fresh[0][0] != index:
            raise ProtocolError(f"Block {index} is no longer in the list of blocks of {self.snapshot_id}.")
        return self._fresh[0][1]


def same_volume(page: dict[str, Any], known: int) -> int:
    """The size in GiB that a page states; raises where it is none, or another than what is `known` (0: nothing)."""
    gib = int(page["gib"])
    if not 0 < gib <= LARGEST_GIB or known not in (0, gib):
        raise ProtocolError(f"The list of blocks speaks of a volume of {gib} GiB.")
    return gib


def listed_indexes(client: EbsClient, snapshot_id: str) -> Iterator[int]:
    """The indexes of the written blocks, ascending."""
    listing = Listing(client, snapshot_id)
    try:
        for index, _token in listing.stream():
            yield index
    finally:
        listing.close()
