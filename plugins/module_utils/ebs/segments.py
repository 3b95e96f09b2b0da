# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Segments: an image in a bucket, as objects of compressed blocks.

Segment `n` holds the written blocks of the range `n * span` to `(n + 1) * span - 1`; a range in which nothing was ever
written has no segment. Where a block lies follows from its index alone, a run that goes on makes the same segments as
one that was never stopped, and a segment that is there is whole.

Names, below a prefix of the case and the snapshot (`<case>/<snapshot>/image/`; nothing else of the bucket is touched)::

    segments/00000000.seg ... segments/99999999.seg
    manifest                 the manifest of the image (see manifest.py), written last: with it the image is complete

One segment, all numbers little-endian:

==========  ==========================================================================================================
header      magic `DFIRSEG1`, u32 length, that many bytes of JSON: `snapshot_id`, `region`, `volume_gib`, `segment`,
            `span`, `block_size`
payloads    one after the other, as the index says; each is a block of 524,288 bytes, packed by itself
index       44 bytes for each block, strictly ascending: u32 block index, u8 codec, three zero bytes, u32 length of the
            payload, 32 bytes SHA-256 of the *unpacked* block
trailer     u32 number of blocks, u32 offset of the index, u32 CRC-32 of header and index, magic `DFIRSEGE`
==========  ==========================================================================================================

Codecs: 0 as it is (what does not get smaller is not compressed), 1 zstd, 2 zeros (no payload at all).
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .blocks import BLOCK_SIZE, ZERO_DIGEST
from .errors import BadInput, Missing, SegmentError

MAGIC, END_MAGIC = b"DFIRSEG1", b"DFIRSEGE"
SPAN = 64  # blocks a segment: 32 MiB of the volume, a single PUT whose checksum S3 answers
RAW, ZSTD, ZEROS = 0, 1, 2
LEVEL = 1
MANIFEST_NAME = "manifest"
_HEAD = struct.Struct("<8sI")
_ENTRY = struct.Struct("<IB3xI32s")
_TRAILER = struct.Struct("<III8s")

Codec = Callable[[Any], bytes]


def zstd_codec(level: int = LEVEL) -> tuple[Codec, Codec]:
    """Functions that pack and unpack one block; from the standard library (Python 3.14) or the package zstandard."""
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]

        return (lambda data: zstd.compress(data, level)), zstd.decompress
    except ImportError:
        pass
    try:
        import zstandard
    except ImportError:
        raise Missing(
            "Segments are compressed with zstd: install the Python package zstandard, and run again."
        ) from None
    pack, unpack = zstandard.ZstdCompressor(level=level), zstandard.ZstdDecompressor()
    return pack.compress, lambda data: unpack.decompress(data, max_output_size=BLOCK_SIZE)


def image_prefix(case: str, snapshot_id: str) -> str:
    """Where the image of a snapshot lies in the artifact bucket."""
    for part in (case, snapshot_id):
        if not part or part in (".", "..") or "/" in part:
            raise BadInput(f"{part!r} cannot be a part of an object's name.")
    return f"{case}/{snapshot_id}/image/"


def segment_name(prefix: str, number: int) -> str:
    """The key of segment `number`."""
    return f"{prefix}segments/{number:08d}.seg"


@dataclass(frozen=True)
class SegmentHead:
    """What a segment says of itself."""

    snapshot_id: str
    region: str
    volume_gib: int
    segment: int
    span: int = SPAN
    block_size: int = BLOCK_SIZE

    def range(self) -> range:
        """The indexes that may be in it."""
        return range(self.segment * self.span, (self.segment + 1) * self.span)


@dataclass(frozen=True)
class Entry:
    """One block of a segment: its index, codec, place and length of its payload, and the SHA-256 of the block."""

    index: int
    codec: int
    offset: int
    length: int
    digest: bytes


class SegmentWriter:
    """Builds one segment in memory: about as much as its payloads."""

    def __init__(self, head: SegmentHead, pack: Codec) -> None:
        self.head, self._pack = head, pack
        text = json.dumps(vars(head), sort_keys=True).encode()
        self._header = _HEAD.pack(MAGIC, len(text)) + text
        self._buffer = bytearray(self._header)
        self._index = bytearray()
        self._last = -1

    def __len__(self) -> int:
        """Blocks so far."""
        return len(self._index) // _ENTRY.size

    def add(self, index: int, digest: bytes, data: Any) -> None:
        """Add a block (524,288 bytes) whose SHA-256 the caller has verified. Indexes ascend."""
        if index not in self.head.range() or index <= self._last:
            raise SegmentError(f"Block {index} does not belong into segment {self.head.segment} after {self._last}.")
        codec, payload = ZEROS, b""
        if digest != ZERO_DIGEST:
            codec, payload = ZSTD, self._pack(data)
            if len(payload) >= BLOCK_SIZE:
                codec, payload = RAW, data
        self._index += _ENTRY.pack(index, codec, len(payload), digest)
        self._buffer += payload
        self._last = index

    def finish(self) -> bytearray:
        """The whole segment. The writer is of no more use."""
        place, crc = len(self._buffer), zlib.crc32(self._index, zlib.crc32(self._header))
        self._buffer += self._index
        self._buffer += _TRAILER.pack(len(self), place, crc, END_MAGIC)
        return self._buffer


class SegmentReader:
    """Reads one segment from memory. Nothing is believed before its checks have passed."""

    def __init__(self, data: Any, unpack: Codec | None = None, *, name: str = "segment") -> None:
        self._data, self._name = memoryview(data), name
        self._unpack = unpack
        self.head, self.entries = self._parse()

    def _parse(self) -> tuple[SegmentHead, list[Entry]]:
        data, size = self._data, len(self._data)
        try:
            magic, length = _HEAD.unpack_from(data)
            count, place, crc, end = _TRAILER.unpack_from(data, size - _TRAILER.size)
            header, index = data[: _HEAD.size + length], data[place : size - _TRAILER.size]
            if (magic, end) != (MAGIC, END_MAGIC) or len(index) != count * _ENTRY.size or place < len(header):
                raise ValueError("its frame is broken")
            if zlib.crc32(index, zlib.crc32(header)) != crc:
                raise ValueError("header and index do not have their checksum")
            head = SegmentHead(**json.loads(bytes(header[_HEAD.size :])))
            entries, at, last, allowed = [], len(header), -1, head.range()
            for number, codec, length, digest in _ENTRY.iter_unpack(index):
                if number not in allowed or number <= last or codec not in (RAW, ZSTD, ZEROS):
                    raise ValueError(f"block {number} cannot be in it")
                entries.append(Entry(number, codec, at, length, digest))
                at, last = at + length, number
            if at != place:
                raise ValueError("its payloads are not as long as they should be")
            if head.block_size != BLOCK_SIZE:
                raise ValueError(f"its blocks have {head.block_size} bytes")
        except (struct.error, ValueError, TypeError) as error:
            raise SegmentError(f"{self._name} is no whole segment: {error}.") from error
        return head, entries

    def block(self, entry: Entry) -> bytes:
        """One block, unpacked and verified."""
        payload = self._data[entry.offset : entry.offset + entry.length]
        try:
            if entry.codec == ZEROS:
                block = bytes(BLOCK_SIZE)
            elif entry.codec == RAW:
                block = bytes(payload)
            else:
                if self._unpack is None:
                    self._unpack = zstd_codec()[1]
                block = self._unpack(payload)
        except Missing:
            raise
        except Exception as error:  # each codec has errors of its own; whatever it is, the payload is no block
            raise SegmentError(f"Block {entry.index} of {self._name} cannot be unpacked: {error}.") from error
        if len(block) != BLOCK_SIZE or hashlib.sha256(block).digest() != entry.digest:
            raise SegmentError(f"Block {entry.index} of {self._name} does not have its SHA-256.")
        return block

    def blocks(self) -> Iterator[tuple[int, bytes, bytes]]:
        """(index, SHA-256, data) of every block, verified, ascending."""
        for entry in self.entries:
            yield entry.index, entry.digest, self.block(entry)
