# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pieces that a logical volume is made of, and the volume as a file that is only read."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

BUFFER = 1 << 16

ReadAt = Callable[[str, int, int], bytes]
"""Bytes of a physical volume at (its name, offset, length); fewer only at its end."""


@dataclass(frozen=True)
class Part:
    """One piece of a logical volume."""

    start: int
    size: int

    def read_at(self, offset: int, count: int, files: Files) -> bytes:
        """Up to `count` bytes from `offset` within the piece, one at least."""
        raise NotImplementedError


@dataclass(frozen=True)
class Striped(Part):
    """Extents of physical volumes: one run, or stripes in turn."""

    places: tuple[tuple[str, int], ...]
    stripe: int

    def read_at(self, offset: int, count: int, files: Files) -> bytes:
        row, within = divmod(offset, self.stripe)
        turn, which = divmod(row, len(self.places))
        device, place = self.places[which]
        return files.read(device, place + turn * self.stripe + within, min(count, self.stripe - within,
                                                                           self.size - offset))


@dataclass(frozen=True)
class Nested(Part):
    """Another logical volume, such as a mirror's leg."""

    parts: list[Part]

    def read_at(self, offset: int, count: int, files: Files) -> bytes:
        return read_parts(self.parts, offset, count, files)


@dataclass(frozen=True)
class Zeros(Part):
    """Nothing but zeros."""

    def read_at(self, offset: int, count: int, files: Files) -> bytes:
        return bytes(min(count, self.size - offset))


@dataclass(frozen=True)
class Thin(Part):
    """A volume in a thin pool."""

    pool: tuple[list[Part], list[Part]]
    number: int

    def read_at(self, offset: int, count: int, files: Files) -> bytes:
        key = f"thin {self.number}"
        if key not in files.pools:
            try:
                from dissect.volume.dm.thin import ThinPool

                metadata, data = (content(parts, files.read_at) for parts in self.pool)
                files.pools[key] = ThinPool(metadata, data).open(self.number, self.start + self.size)
            except Exception as error:  # the library has errors of many kinds
                raise OSError(f"the thin pool cannot be read: {type(error).__name__}") from error
        stream = files.pools[key]
        stream.seek(self.start + offset)
        return bytes(stream.read(min(count, self.size - offset)))


class Files:
    """The physical volumes that are read: by `read_at`, or as devices that are opened when they are first asked for."""

    def __init__(self, read_at: ReadAt | None = None) -> None:
        self.read_at = read_at
        self.open: dict[str, int] = {}
        self.pools: dict[str, Any] = {}

    def read(self, device: str, place: int, count: int) -> bytes:
        if self.read_at is not None:
            return self.read_at(device, place, count)
        if device not in self.open:
            self.open[device] = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
        return os.pread(self.open[device], count, place)

    def close(self) -> None:
        for handle in self.open.values():
            os.close(handle)
        self.open.clear()


def read_parts(parts: Sequence[Part], offset: int, count: int, files: Files) -> bytes:
    """Up to `count` bytes from `offset`; empty behind the end."""
    low, high = 0, len(parts)
    while low < high:  # the last part that begins at or before the offset
        middle = (low + high) // 2
        low, high = (middle + 1, high) if parts[middle].start <= offset else (low, middle)
    if not low or offset >= parts[low - 1].start + parts[low - 1].size:
        return b""
    part = parts[low - 1]
    data = part.read_at(offset - part.start, count, files)
    if not data:
        raise OSError("a physical volume is shorter than its metadata says")
    return data


class Stream(io.RawIOBase):
    """A logical volume as a file that is only read."""

    def __init__(self, parts: Sequence[Part], read_at: ReadAt | None = None) -> None:
        self.parts, self.files, self.position = parts, Files(read_at), 0
        self.size = parts[-1].start + parts[-1].size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.position = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.position, os.SEEK_END: self.size}[whence])
        return self.position

    def tell(self) -> int:
        return self.position

    def readinto(self, buffer: Any) -> int:
        data = read_parts(self.parts, self.position, len(buffer), self.files)
        buffer[:len(data)] = data
        self.position += len(data)
        return len(data)

    def close(self) -> None:
        self.files.close()
        super().close()


def content(parts: Sequence[Part], read_at: ReadAt | None = None) -> BinaryIO:
    """What the pieces hold."""
    return cast(BinaryIO, io.BufferedReader(Stream(parts, read_at), BUFFER))


def runs(parts: Sequence[Part]) -> tuple[tuple[str, int, int], ...]:
    """Device, offset and length of each piece of a volume, in its order; nothing where it is more than that."""
    found: list[tuple[str, int, int]] = []
    for part in parts:
        if isinstance(part, Nested):
            inside = runs(part.parts)
            if sum(piece[2] for piece in inside) != part.size:
                return ()
        elif isinstance(part, Striped) and len(part.places) == 1:
            inside = ((*part.places[0], part.size),)
        else:
            return ()
        for device, place, length in inside:
            if found and found[-1][0] == device and found[-1][1] + found[-1][2] == place:
                found[-1] = (device, found[-1][1], found[-1][2] + length)
            else:
                found.append((device, place, length))
    return tuple(found)
