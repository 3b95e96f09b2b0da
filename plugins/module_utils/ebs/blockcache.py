# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks that were looked at, kept on the disk: a partial image, which a later image of the whole goes on with.

They lie where the image will: in `<image>.partial`, each in its place. Beside it, `<image>.partial.blocks` says which
are there, with the SHA-256 that AWS stated for each; a block is believed only when it still has it.

    head    magic, length of the text, the text (JSON: snapshot, region, GiB), CRC-32 of all that
    record  index, SHA-256, CRC-32 of both (laid out as in a manifest)
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

from .blocks import BLOCK_SIZE, block_count, image_size
from .errors import BadInput, SinkError
from .files import lock
from .manifest import BODY, CRC, RECORD, RECORD_SIZE

SUFFIX = ".blocks"
_MAGIC = b"dfirblk1"
_HEAD = struct.Struct("<8sI")


class BlockCache:
    """The blocks of one snapshot that are there already. One process at a time."""

    def __init__(self, image: Path | str, snapshot_id: str, region: str, gib: int) -> None:
        self.path = Path(f"{image}.partial")
        self.index_path = Path(f"{self.path}{SUFFIX}")
        self._limit = block_count(gib)
        self.digests: dict[int, bytes] = {}
        if Path(image).exists():
            raise BadInput(f"{image} is finished already: look at that image instead of the snapshot.")
        if self.path.exists() and not self.index_path.exists():
            raise BadInput(f"{self.path} belongs to an unfinished image: finish it, or choose another name.")
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        self._fd = -1
        try:
            # The index first: blocks without it belong to nobody.
            self._file = cast(BinaryIO, os.fdopen(os.open(self.index_path, flags, 0o600), "r+b"))
        except OSError as error:
            raise SinkError(f"{self.index_path}: {error.strerror or error}.") from error
        try:
            lock(self._file, self.index_path)
            self._fd = os.open(self.path, flags, 0o600)
            lock(self._fd, self.path)
            self._load(json.dumps({"snapshot_id": snapshot_id, "region": region, "gib": gib}).encode())
            os.ftruncate(self._fd, image_size(gib))
        except OSError as error:
            self.close()
            raise SinkError(f"{self.path}: {error.strerror or error}.") from error
        except BaseException:
            self.close()
            raise

    def _load(self, text: bytes) -> None:
        head = _HEAD.pack(_MAGIC, len(text)) + text
        head += CRC.pack(zlib.crc32(head))
        there = self._file.read(len(head))
        if there and there != head and not head.startswith(there):
            raise BadInput(f"{self.index_path} is of another snapshot: remove it and {self.path}, or choose a name.")
        if there != head:
            self._file.seek(0)
            self._file.write(head)
        place = len(head)
        while len(row := self._file.read(RECORD_SIZE)) == RECORD_SIZE:
            index, digest, crc = RECORD.unpack(row)
            if zlib.crc32(row[: BODY.size]) != crc or index >= self._limit:
                break  # the end that a power loss left
            self.digests[index] = digest
            place += RECORD_SIZE
        self._file.seek(place)
        self._file.truncate()

    def read(self, index: int, buffer: memoryview) -> bool:
        """Whether `buffer` has the block now: it was here, and is as it was."""
        digest = self.digests.get(index)
        if digest is None:
            return False
        try:
            data = os.pread(self._fd, BLOCK_SIZE, index * BLOCK_SIZE)
        except OSError as error:
            raise SinkError(f"{self.path}: {error.strerror or error}.") from error
        if hashlib.sha256(data).digest() != digest:
            del self.digests[index]
            return False
        buffer[:] = data
        return True

    def write(self, index: int, data: memoryview | bytes, digest: bytes) -> None:
        """Keep a block that was verified."""
        try:
            done = 0
            while done < len(data):  # a nearly full disk takes a part first
                done += os.pwrite(self._fd, memoryview(data)[done:], index * BLOCK_SIZE + done)
            body = BODY.pack(index, digest)
            self._file.write(body + CRC.pack(zlib.crc32(body)))
            self._file.flush()
        except OSError as error:
            raise SinkError(f"{self.path}: {error.strerror or error}.") from error
        self.digests[index] = digest

    def close(self) -> None:
        """Let go; what is there stays."""
        self._file.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def known_blocks(image: Path | str, snapshot_id: str, region: str, gib: int) -> dict[int, bytes] | None:
    """The SHA-256 of each block that a cache has left of an image; None where there was none."""
    if not Path(f"{image}.partial{SUFFIX}").exists():
        return None
    cache = BlockCache(image, snapshot_id, region, gib)
    cache.close()
    return cache.digests
