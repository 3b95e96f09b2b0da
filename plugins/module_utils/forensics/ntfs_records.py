# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of the Master File Table of NTFS, and what its folders list, taken apart with `struct`.

dissect finds the table and opens contents. Its own records cost a millisecond each, and its folders list what the
bitmap of their index says is gone.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

ROOT, FIRST_USER = 5, 16  # segments; those before FIRST_USER belong to NTFS itself
STANDARD, LIST, NAME, DATA, INDEX_ROOT, INDEX_ALLOCATION, BITMAP, REPARSE = (
    0x10, 0x20, 0x30, 0x80, 0x90, 0xA0, 0xB0, 0xC0)
IN_USE, IS_FOLDER = 1, 2
READ_ONLY = 0x1
DOS_ONLY = 2  # the namespace of a short name that has a long one beside it
SYMLINK, MOUNT_POINT = 0xA000000C, 0xA0000003
SEGMENT = (1 << 48) - 1  # the lower part of a reference; the upper is a sequence number
EPOCH = 116_444_736_000_000_000  # 1970 in steps of 100 ns since 1601
SECTOR = 512
FOLDER_INDEX = "$I30".encode("utf-16-le")  # of the names in a folder; other indexes hold what belongs to NTFS
LIST_LIMIT = 1 << 20  # bytes of an attribute list (Windows allows 256 KiB), and of the bitmap of a folder
_HEADER = struct.Struct("<4sHHQHHHHIIQ")
_ATTRIBUTE = struct.Struct("<IIBBHHH")
_TIMES = struct.Struct("<QQQQI")
_LIST_ENTRY = struct.Struct("<IHBBQQH")
_INDEX_ENTRY = struct.Struct("<QHHI")


NO_TIMES = (None,) * 4  # modified, accessed, changed, born


class Record:
    """One file of the table, with what its extension records hold. Times are nanoseconds since 1970."""

    __slots__ = ("attributes", "base", "complete", "extensions", "flags", "has_name_list", "names", "reparse",
                 "segment", "sequence", "size", "streams", "tag", "times")

    def __init__(self, segment: int, sequence: int, flags: int, base: int) -> None:
        self.segment, self.sequence, self.flags, self.base = segment, sequence, flags, base
        self.times: tuple[int | None, ...] = NO_TIMES
        self.attributes = 0  # of DOS: read-only, hidden, system …
        self.names: list[tuple[int, int, int, bytes]] = []  # reference of the folder, its sequence, namespace, name
        self.streams: list[tuple[bytes, int, int]] = []  # name, size in bytes, attribute type
        self.size: int | None = None  # of the unnamed stream
        self.tag, self.reparse = 0, b""
        self.extensions: list[int] = []
        self.complete = True  # False: an extension record is missing

    @property
    def in_use(self) -> bool:
        return bool(self.flags & IN_USE)

    @property
    def is_folder(self) -> bool:
        return bool(self.flags & IS_FOLDER)

    def own_names(self) -> list[tuple[int, int, int, bytes]]:
        """The names that people see: a short name counts where there is no other in that folder."""
        return [name for name in self.names if name[2] != DOS_ONLY] or self.names


def utf8(name: bytes) -> bytes:
    """A name of the disk as it appears in a path: UTF-8, with halves of characters kept as they are."""
    return name.decode("utf-16-le", "surrogatepass").encode("utf-8", "surrogatepass")


def mended(data: bytes, magic: bytes) -> bytearray | None:
    """A record with the last two bytes of its sectors put back; None where they were not all written."""
    if data[:4] != magic or len(data) < 48:
        return None
    offset, count = struct.unpack_from("<HH", data, 4)
    if count < 1 or offset + 2 * count > len(data) or (count - 1) * SECTOR > len(data):
        return None
    whole = bytearray(data)
    check = data[offset:offset + 2]
    for number in range(1, count):
        end = number * SECTOR
        if data[end - 2:end] != check:
            return None
        whole[end - 2:end] = data[offset + 2 * number:offset + 2 * number + 2]
    return whole


def parse(data: bytes, segment: int) -> Record | None:
    """A record of the table; None where there is none. What is cut off is left out."""
    whole = mended(data, b"FILE")
    if whole is None:
        return None
    _magic, _fix, _count, _lsn, sequence, _links, first, flags, used, _size, base = _HEADER.unpack_from(whole)
    record = Record(segment, sequence, flags, base & SEGMENT)
    end = min(used, len(whole))
    at = first
    while at + 16 <= end:
        kind, length, foreign, name_length, name_at, _flags, _id = _ATTRIBUTE.unpack_from(whole, at)
        if kind == 0xFFFFFFFF or length < 16 or at + length > end:
            break
        _attribute(record, whole, at, kind, length, foreign, name_length, name_at)
        at += length
    return record


def _attribute(record: Record, data: bytearray, at: int, kind: int, length: int, foreign: int, name_length: int,
               name_at: int) -> None:
    """Take in what one attribute says."""
    if foreign:
        if length < 64:
            return
        value, value_size = b"", 0
        (first,) = struct.unpack_from("<Q", data, at + 16)
        (size,) = struct.unpack_from("<Q", data, at + 48)
    else:
        value_size, value_at = struct.unpack_from("<IH", data, at + 16)
        value_at += at
        if value_at + value_size > at + length:
            return
        value = bytes(data[value_at:value_at + value_size])
        first, size = 0, value_size
    if kind == STANDARD and len(value) >= 36:
        born, modified, changed, accessed, record.attributes = _TIMES.unpack_from(value)
        record.times = tuple((ticks - EPOCH) * 100 if ticks else None for ticks in (modified, accessed, changed, born))
    elif kind == NAME and len(value) >= 66:
        (reference,) = struct.unpack_from("<Q", value)
        name = value[66:66 + 2 * value[64]]
        record.names.append((reference & SEGMENT, reference >> 48, value[65], utf8(name)))
    elif kind in (DATA, INDEX_ROOT) and first == 0:  # later pieces of a stream do not repeat its size
        name = bytes(data[at + name_at:at + name_at + 2 * name_length])
        if kind == DATA and not name:
            record.size = size
        elif kind == DATA or name != FOLDER_INDEX:
            record.streams.append((utf8(name), size, kind))
    elif kind == REPARSE and len(value) >= 8:
        (record.tag,) = struct.unpack_from("<I", value)
        record.reparse = value[8:]
    elif kind == LIST:
        record.extensions = [-1] if foreign else listed(value, record.segment)


def listed(data: bytes, segment: int) -> list[int]:
    """The other records that an attribute list names."""
    found: dict[int, None] = {}
    at = 0
    while at + 26 <= len(data):
        _kind, length, _name_length, _name_at, _first, reference, _id = _LIST_ENTRY.unpack_from(data, at)
        if length < 26:
            break
        if reference & SEGMENT != segment:
            found[reference & SEGMENT] = None
        at += length
    return list(found)


def link_target(record: Record) -> bytes | None:
    """Where a link leads, in the spelling of POSIX; None where that is another volume than C:.

    Links name drives, and nothing on a volume says which one it is; volumes with links to C: mostly are that.
    """
    if record.tag not in (SYMLINK, MOUNT_POINT) or len(record.reparse) < 12:
        return None
    at, length, print_at, print_length = struct.unpack_from("<HHHH", record.reparse)
    start = 12 if record.tag == SYMLINK else 8
    relative = record.tag == SYMLINK and bool(record.reparse[8] & 1)
    if print_length:
        at, length = print_at, print_length
    text = utf8(record.reparse[start + at:start + at + length]).replace(b"\\", b"/")
    if relative:
        return text
    text = text.removeprefix(b"/??/").removeprefix(b"//?/")
    return text[2:] if text[:2].upper() == b"C:" else None


class Table:
    """The Master File Table of a volume."""

    def __init__(self, stream: BinaryIO) -> None:
        from dissect.ntfs import NTFS

        # Given these two it does not look for their files, which may be broken.
        self.volume: Any = NTFS(stream, sds=io.BytesIO(), usnjrnl=io.BytesIO())
        self.record_size = int(self.volume._record_size)
        self.stream: Any = self.volume.mft.fh
        if self.record_size < SECTOR:
            raise ValueError(f"records of {self.record_size} bytes")
        self.count = int(self.stream.size) // self.record_size

    def get(self, segment: int) -> Record | None:
        """A record with its extension records; None where there is none."""
        record = self._bare(segment)
        if record is not None and record.extensions:
            self.complete(record)
        return record

    def _bare(self, segment: int) -> Record | None:
        if not 0 <= segment < self.count:
            return None
        self.stream.seek(segment * self.record_size)
        return parse(self.stream.read(self.record_size), segment)

    def complete(self, record: Record) -> None:
        """Take in what the extension records hold."""
        extensions = record.extensions
        if extensions == [-1]:  # the list itself lies elsewhere
            try:
                extensions = listed(self._list(record.segment), record.segment)
            except Exception:  # a broken list: what the base record holds is what there is
                extensions, record.complete = [], False
        for segment in extensions:
            other = self._bare(segment)
            if other is None or other.base != record.segment or not other.in_use:
                record.complete = False
                continue
            record.names += other.names
            record.streams += other.streams
            record.size = other.size if record.size is None else record.size
            if other.tag:
                record.tag, record.reparse = other.tag, other.reparse
        record.extensions = []

    def _list(self, segment: int) -> bytes:
        from dissect.ntfs.mft import MftRecord
        from dissect.util.stream import RunlistStream

        self.stream.seek(segment * self.record_size)
        record = MftRecord.from_bytes(self.stream.read(self.record_size), None)  # None: it must not follow the list
        for attribute in record.attributes[LIST]:
            header = attribute.header
            runs, size = header.dataruns(), min(int(header.size), LIST_LIMIT)
            return bytes(RunlistStream(self.volume.fh, runs, size, self.volume.cluster_size).read(size))
        return b""

    def children(self, segment: int) -> Iterator[tuple[bytes, int]]:
        """Name and reference (with its sequence number) of each entry of a folder. A broken folder raises an error."""
        record = self.volume.mft.get(segment)
        root = record.open("$I30", INDEX_ROOT).read()
        (buffer_size,), (at, used, flags) = struct.unpack_from("<8xI", root), struct.unpack_from("<II4xB", root, 16)
        yield from _index_entries(root, 16 + at, 16 + used)
        if not flags & 1:
            return
        bitmap = record.open("$I30", BITMAP).read(LIST_LIMIT)
        stream = record.open("$I30", INDEX_ALLOCATION)
        for number in range(min(int(stream.size) // buffer_size, 8 * len(bitmap))):
            if not bitmap[number >> 3] >> (number & 7) & 1:
                continue
            stream.seek(number * buffer_size)
            block = mended(stream.read(buffer_size), b"INDX")
            if block is None:
                raise ValueError(f"index block {number} of folder {segment} is broken")
            at, used = struct.unpack_from("<II", block, 24)
            yield from _index_entries(block, 24 + at, 24 + used)


def _index_entries(data: bytes | bytearray, at: int, end: int) -> Iterator[tuple[bytes, int]]:
    end = min(end, len(data))
    while at + 16 <= end:
        reference, length, key_length, flags = _INDEX_ENTRY.unpack_from(data, at)
        if length < 16 or at + length > end or flags & 2:
            break
        if key_length >= 66 and data[at + 16 + 65] != DOS_ONLY:
            name = bytes(data[at + 82:at + 82 + 2 * data[at + 16 + 64]])
            yield utf8(name), reference
        at += length


class NtfsNode:
    """A file by its reference: what is read of it, is read when it is asked for."""

    def __init__(self, table: Table, reference: int) -> None:
        self.table, self.inum, self.sequence = table, reference & SEGMENT, reference >> 48
        self._record: Record | None = None

    @property
    def record(self) -> Record:
        """Its record. A reference whose sequence number is another one is that of a file that is gone."""
        if self._record is None:
            record = self.table.get(self.inum)
            if record is None or not record.in_use or (self.sequence and record.sequence != self.sequence):
                raise ValueError(f"record {self.inum} is broken or belongs to another file")
            self._record = record
        return self._record

    @property
    def link(self) -> bytes:
        """Where it leads."""
        target = link_target(self.record)
        if target is None:
            raise ValueError(f"record {self.inum} is no link that can be followed")
        return target

    def open(self) -> BinaryIO:
        """The content of its unnamed stream."""
        stream: BinaryIO = self.table.volume.mft.get(self.inum).open()
        return stream

    def children(self) -> Iterator[tuple[bytes, NtfsNode]]:
        """What a folder lists, without itself."""
        for name, reference in self.table.children(self.inum):
            yield name, NtfsNode(self.table, reference)


def mode_of(record: Record) -> int:
    """As Linux would show it. What is read-only in a folder's attributes means another thing to Windows."""
    if record.tag in (SYMLINK, MOUNT_POINT):
        return 0o120777
    if record.is_folder:
        return 0o040777
    return 0o100555 if record.attributes & READ_ONLY else 0o100777
