# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks of EBS direct: their size, where they lie in an image, and how many a volume has.

A snapshot is a row of blocks of 524,288 bytes, counted from zero. Only blocks that were ever written are listed; every
other one reads as zeros (EBS API reference, ListSnapshotBlocks). The image of a snapshot is exactly as large as the
volume: `VolumeSize` GiB, however little of it was written.
"""

from __future__ import annotations

import hashlib

BLOCK_SIZE = 524_288
GIB = 1 << 30
BLOCKS_PER_GIB = GIB // BLOCK_SIZE
LARGEST_GIB = 65_536  # io2 Block Express; larger volumes do not exist
ZERO_DIGEST = hashlib.sha256(bytes(BLOCK_SIZE)).digest()  # of a block that was written and holds zeros only


def offset(index: int) -> int:
    """Where block `index` begins in the image, in bytes."""
    return index * BLOCK_SIZE


def image_size(volume_gib: int) -> int:
    """The size of the image of a volume, in bytes."""
    return volume_gib * GIB


def block_count(volume_gib: int) -> int:
    """How many blocks a volume has, written or not."""
    return volume_gib * BLOCKS_PER_GIB
