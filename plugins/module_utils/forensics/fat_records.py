# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders of FAT12, FAT16 and FAT32, taken apart with `struct`.

dissect reads the geometry and the table. Its chains of clusters can go in circles, and it joins clusters that are
not beside each other.
"""

from __future__ import annotations

import calendar
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

LONG_NAME, VOLUME_LABEL, FOLDER, READ_ONLY = 0x0F, 0x08, 0x10, 0x01
ENTRY = 32
FOLDER_LIMIT = 2 << 21  # bytes: 65,536 entries and then some; no folder of FAT may be larger
_SHORT = struct.Struct("<11sBBBHHHHHHHI")


class FatNode:
    """One entry. Times are nanoseconds since 1970 as if the clock of the machine had shown UTC; None where not kept."""

    __slots__ = ("accessed", "attributes", "born", "cluster", "fat", "inum", "modified", "size")

    def __init__(self, fat: Fat, inum: int, attributes: int, cluster: int, size: int, modified: int | None = None,
                 accessed: int | None = None, born: int | None = None) -> None:
        self.fat, self.inum, self.attributes, self.cluster, self.size = fat, inum, attributes, cluster, size
        self.modified, self.accessed, self.born = modified, accessed, born

    @property
    def is_folder(self) -> bool:
        return bool(self.attributes & FOLDER)

    @property
    def mode(self) -> int:
        """As Linux shows it."""
        return (0o040000 if self.is_folder else 0o100000) | (0o555 if self.attributes & READ_ONLY else 0o777)

    def open(self) -> BinaryIO:
        """The content."""
        return self.fat.stream_of(self.cluster, self.size)


class Fat:
    """A volume. Numbers of entries are those of The Sleuth Kit: where the entry lies, counted in entries."""

    def __init__(self, stream: BinaryIO) -> None:
        from dissect.fat import FATFS

        self.volume: Any = FATFS(stream)
        self.stream = stream
        self.cluster_size = int(self.volume.cluster_size)
        bpb = self.volume.bpb
        self._first = (int(bpb.BPB_RsvdSecCnt) + int(bpb.BPB_NumFATs) * int(self.volume.fat_size)) * int(
            self.volume.sector_size)
        self._data = int(self.volume.first_data_sector) * int(self.volume.sector_size)
        self._fixed = int(bpb.BPB_RootEntCnt) * ENTRY  # bytes of the root folder before FAT32
        root = int(self.volume.bpb_ext.BPB_RootClus) if self.volume.fat.bits_per_entry == 32 else 0
        self._bad = (1 << min(self.volume.fat.bits_per_entry, 28)) - 9
        self.root = FatNode(self, 2, FOLDER, root, 0)

    def chain(self, cluster: int) -> list[int]:
        """The clusters of a file. It ends where the table is wrong."""
        found: dict[int, None] = {}
        while 2 <= cluster < min(self._bad, self.volume.fat.entry_count) and cluster not in found:
            found[cluster] = None
            cluster = self.volume.fat.get(cluster)
        return list(found)

    def stream_of(self, cluster: int, size: int) -> BinaryIO:
        """The content that begins at a cluster."""
        from dissect.util.stream import RunlistStream

        runs: list[tuple[int, int]] = []
        for number in self.chain(cluster):
            if runs and number - 2 == sum(runs[-1]):
                runs[-1] = (runs[-1][0], runs[-1][1] + 1)
            else:
                runs.append((number - 2, 1))
        stream: BinaryIO = RunlistStream(self.volume.data_stream, runs, size, self.cluster_size)
        return stream

    def _pieces(self, folder: FatNode) -> Iterator[tuple[int, int]]:
        """Place and size of each stretch of a folder, in bytes."""
        if folder.cluster == 0 and folder.inum == 2:
            yield self._first, self._fixed
            return
        for number in self.chain(folder.cluster)[:FOLDER_LIMIT // self.cluster_size + 1]:
            yield self._data + (number - 2) * self.cluster_size, self.cluster_size

    def children(self, folder: FatNode) -> Iterator[tuple[bytes, FatNode]]:
        """What a folder lists, without itself, its parent and the name of the volume."""
        parts: dict[int, bytes] = {}
        check = -1
        for place, size in self._pieces(folder):
            self.stream.seek(place)
            data = self.stream.read(size)
            for at in range(0, len(data) - ENTRY + 1, ENTRY):
                if data[at] == 0:
                    return
                attributes = data[at + 11]
                if data[at] == 0xE5:
                    parts = {}
                elif attributes & 0x3F == LONG_NAME:
                    if data[at] & 0x40 or data[at + 13] != check:
                        parts, check = {}, data[at + 13]
                    parts[data[at] & 0x3F] = data[at + 1:at + 11] + data[at + 14:at + 26] + data[at + 28:at + 32]
                else:
                    entry = data[at:at + ENTRY]
                    if not attributes & VOLUME_LABEL and entry[:11] not in (b".          ", b"..         "):
                        long = b"".join(parts[key] for key in sorted(parts)) if _checksum(entry) == check else b""
                        yield _name(entry, long), self._node(entry, (place + at - self._first) // ENTRY + 3)
                    parts, check = {}, -1

    def _node(self, entry: bytes, inum: int) -> FatNode:
        (_name, attributes, _case, tenth, born_time, born_date, access_date, high, time, date, low,
         size) = _SHORT.unpack(entry)
        cluster = low | (high << 16 if self.volume.fat.bits_per_entry == 32 else 0)
        born = moment(born_date, born_time)
        if attributes & FOLDER:
            size = len(self.chain(cluster)) * self.cluster_size
        return FatNode(self, inum, attributes, cluster, size, moment(date, time), moment(access_date, 0),
                       None if born is None else born + tenth * 10_000_000)


def moment(date: int, time: int) -> int | None:
    """A date and a time of day of FAT, in nanoseconds; None where there is none."""
    if not date:
        return None
    year, month, day = 1980 + (date >> 9), max(1, min(12, date >> 5 & 15)), max(1, date & 31)
    seconds = calendar.timegm((year, month, 1, 0, 0, 0)) + (day - 1) * 86_400
    return (seconds + (time >> 11) * 3600 + (time >> 5 & 63) * 60 + (time & 31) * 2) * 10**9


def _checksum(entry: bytes) -> int:
    """What ties the pieces of a long name to their entry."""
    total = 0
    for value in entry[:11]:
        total = ((total >> 1) + ((total & 1) << 7) + value) & 0xFF
    return total


def _name(entry: bytes, long: bytes) -> bytes:
    """The long name where there is one, else the short one in the case that the entry says."""
    if long:
        text = long.decode("utf-16-le", "surrogatepass").partition("\0")[0].rstrip("\uffff")
        if text:
            return text.encode("utf-8", "surrogatepass")
    raw = (b"\xe5" if entry[0] == 0x05 else entry[:1]) + entry[1:11]
    base, extension = (raw[:8].decode("cp437").rstrip(" \0"), raw[8:].decode("cp437").rstrip(" \0"))
    base = base.lower() if entry[12] & 0x08 else base
    extension = extension.lower() if entry[12] & 0x10 else extension
    return (f"{base}.{extension}" if extension else base).encode()
