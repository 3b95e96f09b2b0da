# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What changed on a volume between two snapshots of the same lineage, as ranges of bytes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from .blocks import BLOCK_SIZE
from .client import EbsClient
from .errors import BadInput
from .listing import Listing


@dataclass
class Range:
    """Neighboring blocks that changed, or that the second snapshot no longer has (they read as zeros there)."""

    kind: str  # changed | removed
    start: int  # bytes
    length: int  # bytes


@dataclass
class Difference:
    """All changes are counted; `ranges` has the first of them, `truncated` says whether there are more."""

    first: str
    second: str
    volume_gib: int = 0
    changed_blocks: int = 0
    removed_blocks: int = 0
    ranges: list[Range] = field(default_factory=list)
    range_count: int = 0
    truncated: bool = False

    @property
    def changed_bytes(self) -> int:
        """Bytes of the blocks that have another content, as EBS counts them: whole blocks."""
        return self.changed_blocks * BLOCK_SIZE

    def to_json(self) -> dict[str, Any]:
        """All of it as data."""
        return asdict(self) | {
            "changed_bytes": self.changed_bytes,
            "removed_bytes": self.removed_blocks * BLOCK_SIZE,
            "block_size": BLOCK_SIZE,
        }


def difference(client: EbsClient, first: str, second: str, *, most_ranges: int = 10_000) -> Difference:
    """Compare by listing; no block is read. EBS may list a block as changed that was written with the same content."""
    if first == second:
        raise BadInput("Name two snapshots: these are one.")
    found = Difference(first, second)
    listing = Listing(client, second, first=first)
    last = Range("", -1, 0)
    try:
        for index, token in listing.stream():
            kind, start = ("removed" if token is None else "changed"), index * BLOCK_SIZE
            if token is None:
                found.removed_blocks += 1
            else:
                found.changed_blocks += 1
            if last.kind == kind and last.start + last.length == start:
                last.length += BLOCK_SIZE
                continue
            last = Range(kind, start, BLOCK_SIZE)
            found.range_count += 1
            if len(found.ranges) < most_ranges:
                found.ranges.append(last)
        found.volume_gib = listing.volume_gib
    finally:
        listing.close()
    found.truncated = found.range_count > len(found.ranges)
    return found
