# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages in the files of the systemd journal, which is the only log that many current systems keep.

Format: JOURNAL_FILE_FORMAT.md of systemd. A file is read once from front to back, object by object, instead of along
its chains of arrays: every object lies behind those it refers to, so one pass is enough, a hostile file cannot lead in
circles, and what lies behind a damaged place, or is not linked any more, is found as well.
"""

from __future__ import annotations

import lzma
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import IO

SIGNATURE = b"LPKSHHRH"
COMPACT = 16  # incompatible flag: offsets of 32 bits
DATA, ENTRY = 1, 3
XZ, LZ4, ZSTD = 1, 2, 4  # flags of a data object
VALUE_LIMIT = 64 << 10  # a longer message or field is no line of a log
ENTRY_LIMIT = 1 << 20
WINDOW = 1 << 20
# Bounds for a hostile file: damaged places, fields kept in memory, their size, and what is unpacked altogether.
DAMAGE_LIMIT, KEPT_LIMIT, KEPT_BYTES, UNPACKED_BYTES = 1000, 500_000, 64 << 20, 1 << 30
_HEADER = struct.Struct("<8sII72xQQ")  # signature, two kinds of flags, …, header size, arena size
_OBJECT = struct.Struct("<BB6sQ")
_PLAUSIBLE = re.compile(rb"(?=[\x01-\x07][\x00-\x04]\x00{6}[\x00-\xff]{5}\x00{3})", re.DOTALL)
_MINIMUM = {1: 65, 2: 41, 3: 64, 4: 16, 5: 16, 6: 24, 7: 64}
_FIELDS = (b"SYSLOG_IDENTIFIER", b"_COMM", b"_PID", b"SYSLOG_PID", b"_UID")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class JournalEntry:
    """One message. Journald itself says who sent it (`comm`, `uid`); the rest is the sender's own word."""

    when: datetime
    identifier: str
    pid: str
    message: str
    comm: str
    uid: int | None


class JournalError(Exception):
    """The file is none of the journal."""


class JournalFile:
    """The entries of one file whose message `wanted` accepts.

    `damaged` counts places that were skipped; `given_up` says why the file was not read to its end.
    """

    def __init__(self, stream: IO[bytes], wanted: Callable[[str], object]) -> None:
        self._stream, self._wanted = stream, wanted
        self.damaged, self.given_up = 0, ""
        self._kept = self._unpacked = 0
        head = stream.read(_HEADER.size)
        if len(head) < _HEADER.size or not head.startswith(SIGNATURE):
            raise JournalError("no signature of the journal")
        _unused, _unused, flags, self._start, _arena = _HEADER.unpack(head)
        self._compact = bool(flags & COMPACT)
        if not _HEADER.size <= self._start <= 4096:
            raise JournalError("the header's size makes no sense")
        # The file's real end counts: a file in use may have grown after its header was written.
        self._end = max(stream.seek(0, 2), 0)
        self._values: dict[int, tuple[bytes, str]] = {}

    def __iter__(self) -> Iterator[JournalEntry]:
        offset = self._start
        while offset + _OBJECT.size <= self._end and not self.given_up:
            head = self._at(offset, _OBJECT.size)
            if len(head) < _OBJECT.size:
                return
            kind, flags, reserved, size = _OBJECT.unpack(head)
            if reserved != bytes(6) or not self._fits(offset, kind, size):
                after = self._next(offset)
                if any(head) or after < self._end:  # zeros up to the end are room for what is to come
                    self.damaged += 1
                    if self.damaged >= DAMAGE_LIMIT:
                        self.given_up = "the rest was not read"
                offset = after
                continue
            if kind == DATA:
                self._keep(offset, flags, size)
            elif kind == ENTRY and size <= ENTRY_LIMIT:
                entry = self._entry(self._at(offset, size))
                if entry is not None:
                    yield entry
            offset += (size + 7) & ~7

    def _at(self, offset: int, size: int) -> bytes:
        self._stream.seek(offset)
        return self._stream.read(size)

    def _fits(self, offset: int, kind: int, size: int) -> bool:
        return kind in _MINIMUM and _MINIMUM[kind] <= size <= self._end - offset

    def _next(self, offset: int) -> int:
        """Where the next thing that looks like an object begins; the end where there is none."""
        offset += 8
        while offset < self._end:
            window = self._at(offset, WINDOW + 16)
            if not window:
                break
            for match in _PLAUSIBLE.finditer(window):
                place = match.start()
                if place % 8 == 0 and self._fits(offset + place, window[place],
                                                 int.from_bytes(window[place + 8:place + 16], "little")):
                    return offset + place
            offset += WINDOW
        return self._end

    def _keep(self, offset: int, flags: int, size: int) -> None:
        """Remember a field that a message is made of. Every message that is not wanted is forgotten at once."""
        skip = 72 if self._compact else 64
        if not skip < size <= skip + VALUE_LIMIT:
            return
        data = unpack(self._at(offset + skip, size - skip), flags)
        self._unpacked += len(data) if flags else 0
        if self._unpacked > UNPACKED_BYTES or self._kept > KEPT_BYTES or len(self._values) > KEPT_LIMIT:
            self.given_up = "it holds more than can be sensible, the rest was not read"
            return
        name, _unused, value = data.partition(b"=")
        if name in _FIELDS or name == b"MESSAGE":
            text = value.decode("utf-8", "surrogateescape")
            if name != b"MESSAGE" or self._wanted(text):
                self._values[offset] = name, text
                self._kept += len(text)

    def _entry(self, data: bytes) -> JournalEntry | None:
        (micros,) = struct.unpack_from("<Q", data, 24)
        width = 4 if self._compact else 16
        items = range(64, len(data) - width + 1, width)
        offsets = (struct.unpack_from("<I" if self._compact else "<Q", data, place)[0] for place in items)
        fields = dict(self._values[offset] for offset in offsets if offset in self._values)
        if b"MESSAGE" not in fields:
            return None
        try:
            when = _EPOCH + timedelta(microseconds=micros)
        except OverflowError:
            return None
        comm, uid = fields.get(b"_COMM", ""), fields.get(b"_UID", "")
        return JournalEntry(when, fields.get(b"SYSLOG_IDENTIFIER") or comm,
                            fields.get(b"SYSLOG_PID") or fields.get(b"_PID", ""), fields[b"MESSAGE"], comm,
                            int(uid) if re.fullmatch(r"[0-9]{1,10}", uid) else None)


def unpack(data: bytes, flags: int) -> bytes:
    """A data object's payload, unpacked up to the limit; empty when it is broken or nothing here can unpack it."""
    try:
        if flags & XZ:
            return lzma.LZMADecompressor(memlimit=64 << 20).decompress(data, VALUE_LIMIT)
        if flags & LZ4:
            from lz4 import block

            size = int.from_bytes(data[:8], "little")
            return bytes(block.decompress(data[8:], uncompressed_size=min(size, VALUE_LIMIT)))
        if flags & ZSTD:
            from backports import zstd

            return bytes(zstd.ZstdDecompressor().decompress(data, VALUE_LIMIT))
    except (ImportError, MemoryError):
        return b""
    except Exception:  # each library has errors of its own for what a hostile file holds
        return b""
    return data
