# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does a file system hold changes that only its journal knows? Read from the bytes on the disk, never by a mount.

A snapshot of a running server has a journal that nobody replayed. Evidence is mounted without replaying it, so what
happened in the last minutes may be missing from the mounted tree; these functions say when that is so. Every function
takes a `Reader` and answers True (changes wait), False (nothing waits) or None (it cannot be told).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

Reader = Callable[[int, int], bytes]
"""Bytes at (offset, length); shorter only at the end of the device."""

SECTOR = 512

# ext2/3/4: Documentation/filesystems/ext4/super.rst of the Linux kernel.
EXT_SUPERBLOCK, EXT_MAGIC = 1024, 0xEF53
EXT_HAS_JOURNAL, EXT_NEEDS_RECOVERY = 0x4, 0x4

# XFS: "XFS Algorithms & Data Structures", superblock and journaling log.
XFS_MAGIC, XFS_LOG_MAGIC = 0x58465342, 0xFEEDBABE
XFS_UNMOUNT_FLAG = 0x20
XFS_MAX_RECORD_SECTORS = 512 + 8  # a record is at most 256 KiB and its headers

BTRFS_SUPERBLOCK, BTRFS_MAGIC = 65536, b"_BHRfS_M"

NTFS_LOGFILE, NTFS_VOLUME = 2, 3  # numbers of the MFT records of $LogFile and $Volume
NTFS_VOLUME_INFORMATION, NTFS_DATA, NTFS_END = 0x70, 0x80, 0xFFFFFFFF
NTFS_VOLUME_DIRTY = 0x1
NTFS_NO_CLIENT, NTFS_LOG_CLEAN = 0xFFFF, 0x2


def device_reader(device: str) -> Reader:
    """A reader of `device`, opened for reading only and closed after each read."""

    def read(offset: int, length: int) -> bytes:
        with Path(device).open("rb", buffering=0) as handle:
            handle.seek(offset)
            data = b""
            while len(data) < length:
                more = handle.read(length - len(data))
                if not more:
                    break
                data += more
            return data

    return read


def journal_dirty(fs_type: str, read: Reader) -> bool | None:
    """What the file system of type `fs_type` (as blkid spells it) says of its journal."""
    check = {"ext2": ext_dirty, "ext3": ext_dirty, "ext4": ext_dirty, "xfs": xfs_dirty, "btrfs": btrfs_dirty,
             "ntfs": ntfs_dirty}.get(fs_type)
    if check is None:
        return False if fs_type == "vfat" else None  # FAT has no journal at all
    try:
        return check(read)
    except (struct.error, IndexError, ValueError, OSError):
        return None  # a damaged file system: the answer is unknown, not "clean"


def ext_dirty(read: Reader) -> bool | None:
    """The `needs_recovery` flag: set as long as an ext3/4 file system is mounted for writing."""
    superblock = read(EXT_SUPERBLOCK, 1024)
    if struct.unpack_from("<H", superblock, 0x38)[0] != EXT_MAGIC:
        return None
    compat, incompat = struct.unpack_from("<II", superblock, 0x5C)
    return bool(compat & EXT_HAS_JOURNAL and incompat & EXT_NEEDS_RECOVERY)


def btrfs_dirty(read: Reader) -> bool | None:
    """A log tree exists: fsync'ed changes that no transaction has taken over yet."""
    superblock = read(BTRFS_SUPERBLOCK, 4096)
    if superblock[0x40:0x48] != BTRFS_MAGIC:
        return None
    return bool(struct.unpack_from("<Q", superblock, 0x60)[0] != 0)


def xfs_dirty(read: Reader) -> bool | None:
    """The newest record of the log is anything but an unmount record."""
    superblock = read(0, SECTOR)
    if struct.unpack_from(">I", superblock, 0)[0] != XFS_MAGIC:
        return None
    log_start = struct.unpack_from(">Q", superblock, 48)[0]
    if log_start == 0:
        return None  # the log is on another device
    blocks_per_group = struct.unpack_from(">I", superblock, 84)[0]
    log_blocks = struct.unpack_from(">I", superblock, 96)[0]
    block_log, group_log = superblock[120], superblock[124]
    group, block = log_start >> group_log, log_start & ((1 << group_log) - 1)
    start = (group * blocks_per_group + block) << block_log
    return _XfsLog(read, start, (log_blocks << block_log) // SECTOR).dirty()


class _XfsLog:
    """The circular log of XFS in sectors. Every sector starts with the number of the round that wrote it, or, where a
    record begins, with a magic number followed by the round."""

    def __init__(self, read: Reader, start: int, sectors: int) -> None:
        if sectors < 2:
            raise ValueError("the log is too small to be one")
        self.read, self.start, self.sectors = read, start, sectors

    def _sector(self, number: int) -> bytes:
        return self.read(self.start + (number % self.sectors) * SECTOR, SECTOR)

    def _round(self, number: int) -> int:
        first, second = struct.unpack_from(">II", self._sector(number), 0)
        return int(second if first == XFS_LOG_MAGIC else first)

    def _head(self) -> int:
        """Number of the sector that would be written next: found by bisection, since the rounds fall only once."""
        last = self._round(self.sectors - 1)
        if self._round(0) == last:
            return 0
        low, high = 0, self.sectors - 1  # round(low) != last, round(high) == last
        while high - low > 1:
            middle = (low + high) // 2
            if self._round(middle) == last:
                high = middle
            else:
                low = middle
        return high

    def dirty(self) -> bool:
        head = self._head()
        if head == 0 and self._round(0) == 0:
            return False  # an all-zero log holds nothing
        for distance in range(1, min(XFS_MAX_RECORD_SECTORS, self.sectors) + 1):
            sector = self._sector(head - distance)
            if struct.unpack_from(">I", sector, 0)[0] == XFS_LOG_MAGIC:
                return not self._is_unmount(head - distance, sector, distance)
        return True  # no record where the newest one must be: torn by the snapshot

    def _is_unmount(self, number: int, header: bytes, distance: int) -> bool:
        version, length = struct.unpack_from(">II", header, 8)
        operations = struct.unpack_from(">I", header, 40)[0]
        size = struct.unpack_from(">I", header, 320)[0]
        headers = max(1, -(-size // 32768)) if version & 2 else 1
        sectors = headers + -(-length // SECTOR)
        if operations != 1 or sectors != distance:
            return False
        flags = self._sector(number + headers)[9]  # xlog_op_header: tid 4, len 4, client id 1, flags 1
        return bool(flags & XFS_UNMOUNT_FLAG)


def ntfs_dirty(read: Reader) -> bool | None:
    """The volume's dirty flag, or a log whose clients have not signed off."""
    boot = read(0, SECTOR)
    if boot[3:11] != b"NTFS    ":
        return None
    sector_size = struct.unpack_from("<H", boot, 11)[0]
    cluster = sector_size * (boot[13] if boot[13] <= 128 else 1 << (256 - boot[13]))
    table = struct.unpack_from("<Q", boot, 48)[0] * cluster
    size_code = struct.unpack_from("<b", boot, 64)[0]
    record_size = size_code * cluster if size_code > 0 else 1 << -size_code
    if not 512 <= record_size <= 65536:
        return None

    def attribute(number: int, wanted: int) -> bytes:
        return _ntfs_attribute(_ntfs_fixed(read(table + number * record_size, record_size)), wanted)

    information = attribute(NTFS_VOLUME, NTFS_VOLUME_INFORMATION)
    content = struct.unpack_from("<H", information, 20)[0]
    if struct.unpack_from("<H", information, content + 10)[0] & NTFS_VOLUME_DIRTY:
        return True
    first_cluster = _ntfs_first_cluster(attribute(NTFS_LOGFILE, NTFS_DATA))
    return _ntfs_log_dirty(read(first_cluster * cluster, 4096))


def _ntfs_fixed(record: bytes) -> bytes:
    """The record with its update sequence undone: the last two bytes of each 512 are kept in its header."""
    if record[:4] not in (b"FILE", b"RSTR"):
        raise ValueError("not an NTFS record")
    position, count = struct.unpack_from("<HH", record, 4)
    data = bytearray(record)
    for index in range(1, count):
        end = index * 512
        if end > len(data):
            break
        data[end - 2:end] = record[position + 2 * index:position + 2 * index + 2]
    return bytes(data)


def _ntfs_attribute(record: bytes, wanted: int) -> bytes:
    offset = struct.unpack_from("<H", record, 20)[0]
    while True:
        kind, length = struct.unpack_from("<II", record, offset)
        if kind == wanted:
            return record[offset:offset + length]
        if kind == NTFS_END or length == 0:
            raise ValueError("the record lacks the attribute")
        offset += length


def _ntfs_first_cluster(attribute: bytes) -> int:
    """Where the first run of a non-resident attribute begins."""
    if not attribute[8]:
        raise ValueError("the attribute is resident")
    runs = struct.unpack_from("<H", attribute, 32)[0]
    length_bytes, offset_bytes = attribute[runs] & 0xF, attribute[runs] >> 4
    start = runs + 1 + length_bytes
    return int.from_bytes(attribute[start:start + offset_bytes], "little", signed=True)


def _ntfs_log_dirty(page: bytes) -> bool:
    if page[:4] == b"\xff" * 4:
        return False  # an emptied log
    page = _ntfs_fixed(page)
    area = struct.unpack_from("<H", page, 24)[0]
    in_use, flags = struct.unpack_from("<HH", page, area + 12)
    return bool(in_use != NTFS_NO_CLIENT and not flags & NTFS_LOG_CLEAN)
