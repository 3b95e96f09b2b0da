# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams of zstd and gzip, with bounded memory in both directions.

Decompressing is where memory could run away: a kilobyte of compressed zeros may stand for thirty megabytes. What comes
is therefore unpacked in small slices.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from .errors import BadInput, Missing, SegmentError

SUFFIXES = {"zstd": ".zst", "gzip": ".gz", "none": ""}
LEVELS = {"zstd": 3, "gzip": 6, "none": 0}
_SLICE = 1024  # bytes of zstd that are unpacked at once: 32 MiB of zeros at most
_PIECE = 1 << 20  # the most that comes out of gzip at once


class Compressor(Protocol):
    """What both libraries' compressors have in common."""

    def compress(self, data: Any) -> bytes: ...
    def flush(self) -> bytes: ...


def compressor(kind: str, level: int | None = None) -> Compressor:
    """A compressor whose frame carries a checksum of the content."""
    level = LEVELS[kind] if level is None else level
    if kind == "none":
        return _Through()
    if kind == "gzip":
        return zlib.compressobj(_in_range(level, 1, 9), zlib.DEFLATED, 31)
    level = _in_range(level, 1, 19)
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]

        options = {zstd.CompressionParameter.compression_level: level, zstd.CompressionParameter.checksum_flag: 1}
        return zstd.ZstdCompressor(options=options)  # type: ignore[no-any-return, unused-ignore]
    except ImportError:
        found: Compressor = _zstandard().ZstdCompressor(level=level, write_checksum=True).compressobj()
        return found


class Decompressor:
    """Unpacks one stream. `put` gives what has come out so far; `end` raises unless the stream was whole."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._unpack: Any = None
        if kind == "gzip":
            self._unpack = zlib.decompressobj(31)
        elif kind == "zstd":
            self._unpack = _zstd_decompressor()

    def put(self, data: bytes) -> Iterator[bytes]:
        """What `data` adds, in pieces."""
        if self._kind == "none":
            yield data
            return
        try:
            yield from self._gzip(data) if self._kind == "gzip" else self._zstd(data)
        except Exception as error:  # each codec has errors of its own
            raise SegmentError(f"The content is no whole {self._kind} stream: {error}.") from error

    def _gzip(self, data: bytes) -> Iterator[bytes]:
        while data:
            self._no_more_after_the_end()
            if piece := self._unpack.decompress(data, _PIECE):
                yield piece
            data = self._unpack.unconsumed_tail
            if self._unpack.unused_data:
                raise ValueError("something follows its end")

    def _zstd(self, data: bytes) -> Iterator[bytes]:
        view = memoryview(data)
        for at in range(0, len(view), _SLICE):
            self._no_more_after_the_end()
            if piece := self._unpack.decompress(view[at : at + _SLICE]):
                yield piece
            if self._unpack.unused_data:
                raise ValueError("something follows its end")

    def _no_more_after_the_end(self) -> None:
        if self._unpack.eof:
            raise ValueError("something follows its end")

    def end(self) -> None:
        """Raise unless the stream has come to its own end."""
        if self._unpack is not None and not self._unpack.eof:
            raise SegmentError(f"The content is no whole {self._kind} stream: its end is missing.")


class _Through:
    def compress(self, data: Any) -> bytes:
        return bytes(data)

    def flush(self) -> bytes:
        return b""


def _in_range(level: int, least: int, most: int) -> int:
    if not least <= level <= most:
        raise BadInput(f"The compression level is {level}; it can be {least} to {most}.")
    return level


def _zstd_decompressor() -> Any:
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]

        return zstd.ZstdDecompressor()
    except ImportError:
        return _zstandard().ZstdDecompressor().decompressobj()


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError:
        raise Missing("zstd needs the Python package zstandard: install it, and run again.") from None
    return zstandard


def compressed(chunks: Iterator[Any], kind: str, level: int | None, see: Callable[[Any], None]) -> Iterator[bytes]:
    """The chunks as one compressed stream; `see` gets each before it is compressed."""
    packing = compressor(kind, level)
    for chunk in chunks:
        see(chunk)
        if piece := packing.compress(chunk):
            yield piece
    if piece := packing.flush():
        yield piece
