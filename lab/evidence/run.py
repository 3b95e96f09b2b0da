# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small helpers of the disk builders: tools, sparse files, checksums."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

CHUNK = 1024 * 1024


class BuildError(Exception):
    """A disk could not be built; the message says why."""


def run(command: list[str], *, env: dict[str, str] | None = None, text_input: str | None = None) -> str:
    """Run a tool and return what it said; raise with its last lines when it fails or is missing."""
    try:
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace", input=text_input, stdin=None if text_input else subprocess.DEVNULL,
                              env={**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC", **(env or {})})
    except FileNotFoundError as error:
        raise BuildError(f"{command[0]} is not installed; install the Debian package that brings it") from error
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-8:])
        raise BuildError(f"`{' '.join(command[:4])} …` failed with exit code {done.returncode}:\n{tail}")
    return done.stdout


def sparse_file(path: Path, size: int) -> None:
    """A new file of `size` bytes that are all holes."""
    with path.open("wb") as file:
        file.truncate(size)


def extents(path: Path) -> Iterator[tuple[int, int]]:
    """The parts of a file that are not holes, as (offset, length)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        offset = 0
        while offset < size:
            try:
                start = os.lseek(file.fileno(), offset, os.SEEK_DATA)
            except OSError:  # ENXIO: no data after this offset
                return
            offset = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            yield start, offset - start


def copy_into(source: Path, target: Path, at: int) -> None:
    """Copy a sparse file into another one at an offset, leaving out what is zero."""
    zeros = bytes(65536)
    with source.open("rb") as reader, target.open("r+b") as writer:
        for start, length in extents(source):
            reader.seek(start)
            position = start
            while position < start + length:
                data = reader.read(min(len(zeros), start + length - position))
                if data != zeros[:len(data)]:
                    writer.seek(at + position)
                    writer.write(data)
                position += len(data)


def _table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC32C = _table()


def crc32c(data: bytes, start: int = 0xFFFFFFFF) -> int:
    """CRC-32C before its final inversion, as file systems chain it."""
    value = start
    for byte in data:
        value = _CRC32C[(value ^ byte) & 0xFF] ^ value >> 8
    return value
