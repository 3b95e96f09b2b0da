# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What imaging a snapshot would take: blocks, bytes, calls, money, time. At most the list of blocks is read for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .blocks import BLOCK_SIZE, block_count, image_size
from .client import PAGE_SIZE, EbsClient
from .errors import BadInput
from .identity import describe_snapshot
from .listing import Listing
from .rate import DEFAULT_RATE

# Public prices of us-east-1 in US dollars (EBS pricing page, EBS direct APIs). Other regions differ: pass theirs.
DEFAULT_PRICES: Mapping[str, float] = {"get_per_1000": 0.003, "list_per_1000": 0.0006, "put_per_1000": 0.006}
HASH_BYTES_PER_SECOND = 1.4e9  # SHA-256 of zeros with the processor's instructions for it; far less without


@dataclass(frozen=True)
class Budget:
    """`exact`: counted by listing, else estimated from FullSnapshotSizeInBytes. Seconds at the rate that was given."""

    snapshot_id: str
    exact: bool
    blocks: int
    bytes_to_fetch: int
    volume_bytes: int
    get_calls: int
    list_calls: int
    cost_usd: float
    fetch_seconds: float
    hole_bytes: int
    hole_hash_seconds: float  # of a digest over the whole image: holes count as zeros
    removed_blocks: int = 0  # incremental: become zeros, nothing to fetch

    def to_json(self) -> dict[str, Any]:
        """All of it as data."""
        return asdict(self)


def count_blocks(client: EbsClient, snapshot_id: str, *, first: str | None = None) -> tuple[int, int, int, int]:
    """Volume size in GiB, blocks to fetch, blocks removed (with `first`, the older snapshot) and pages, by listing."""
    listing = Listing(client, snapshot_id, first=first)
    try:
        there = gone = 0
        for _block, token in listing.stream():
            there += token is not None
            gone += token is None
        return listing.volume_gib, there, gone, listing.pages
    finally:
        listing.close()


def make_budget(
    snapshot_id: str,
    volume_gib: int,
    blocks: int,
    *,
    exact: bool,
    pages: int | None = None,
    removed: int = 0,
    prices: Mapping[str, float] | None = None,
    rate: float = DEFAULT_RATE,
    hash_rate: float = HASH_BYTES_PER_SECOND,
) -> Budget:
    """The budget for so many blocks. `prices`: dollars per 1,000 calls, of what differs from `DEFAULT_PRICES`."""
    table = {**DEFAULT_PRICES, **(prices or {})}
    unknown = sorted(set(table) - set(DEFAULT_PRICES))
    if unknown:
        raise BadInput(f"There is no price {unknown[0]!r}; there are {', '.join(DEFAULT_PRICES)}.")
    if any(isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0 for value in table.values()):
        raise BadInput("Prices are dollars per 1,000 calls: numbers from zero up.")
    if rate <= 0 or hash_rate <= 0:
        raise BadInput("Rates must be more than zero.")
    blocks = min(blocks, block_count(volume_gib))
    calls = pages if pages is not None else max(1, -(-blocks // PAGE_SIZE))
    size = image_size(volume_gib)
    holes = size - blocks * BLOCK_SIZE
    return Budget(
        snapshot_id=snapshot_id,
        exact=exact,
        blocks=blocks,
        bytes_to_fetch=blocks * BLOCK_SIZE,
        volume_bytes=size,
        get_calls=blocks,
        list_calls=calls,
        cost_usd=round((blocks * table["get_per_1000"] + calls * table["list_per_1000"]) / 1000, 6),
        fetch_seconds=round(blocks / rate, 1),
        hole_bytes=holes,
        hole_hash_seconds=round(holes / hash_rate, 1),
        removed_blocks=removed,
    )


def snapshot_budget(
    client: EbsClient,
    snapshot_id: str,
    *,
    first: str | None = None,
    exact: bool = False,
    prices: Mapping[str, float] | None = None,
    rate: float = DEFAULT_RATE,
) -> Budget:
    """The budget of a snapshot: from what EC2 says of it, or counted by listing (`exact`, or since `first`)."""
    if not (exact or first):
        facts = describe_snapshot(client, snapshot_id)
        facts.require_imageable()
        if facts.full_bytes:
            blocks = -(-facts.full_bytes // BLOCK_SIZE)
            return make_budget(snapshot_id, facts.volume_gib, blocks, exact=False, prices=prices, rate=rate)
    gib, blocks, removed, pages = count_blocks(client, snapshot_id, first=first)
    return make_budget(snapshot_id, gib, blocks, exact=True, pages=pages, removed=removed, prices=prices, rate=rate)
