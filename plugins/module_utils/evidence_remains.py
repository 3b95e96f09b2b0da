# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be said of a partition in which blkid finds nothing: never used, damaged, or without any structure.

An overwritten superblock and an encrypted partition look the same from the front. Most file systems keep copies of
their superblock elsewhere; a few places are read, never the whole partition.
"""

from __future__ import annotations

from collections.abc import Iterator

from .evidence_journal import BTRFS_MAGIC, Reader

FRONT = 1 << 20
NOTHING = "no known signature: encrypted without a header, or overwritten"
ZEROS = "no known signature, and nothing but zeros in its first MiB: probably never used, or wiped"
EXT_MAGIC = b"\x53\xef"


def remains(read: Reader, size: int) -> str:
    """Why nothing can be mounted, in one sentence."""
    try:
        copy = next(_copies(read, size), None)
        if copy is not None:
            name, offset = copy
            return (f"no known signature, but a copy of the superblock of {name} lies at byte {offset}: the first one "
                    "is damaged or was overwritten. A copy of the image may be repaired with it, never the evidence")
        return NOTHING if any(read(0, min(FRONT, size))) else ZEROS
    except OSError as error:
        return f"it cannot be read: {error.strerror or 'input/output error'}"


def _copies(read: Reader, size: int) -> Iterator[tuple[str, int]]:
    """Copies of superblocks where the usual tools put them."""
    for block_size in (1024, 2048, 4096):
        # The second group has 8 blocks for each byte of a block; with blocks of 1 KiB all groups begin one later.
        offset = (8 * block_size + (block_size == 1024)) * block_size
        block = read(offset, 1024) if offset + 1024 <= size else b""
        if block[0x38:0x3A] == EXT_MAGIC and block[0x5A:0x5C] != b"\0\0":  # it says of which group it is the copy
            yield "ext2, ext3 or ext4", offset
    for groups in (4, 2, 8, 16):
        offset = -(-(size // 4096) // groups) * 4096
        if offset + 512 <= size and read(offset, 4) == b"XFSB":
            yield "XFS", offset
    if size >= (64 << 20) + 4096 and read((64 << 20) + 0x40, 8) == BTRFS_MAGIC:
        yield "btrfs", 64 << 20
    if size >= 512 and read(size - 512, 11)[3:] == b"NTFS    ":
        yield "NTFS", size - 512
