# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One snapshot on disk: `data` (sparse raw), `map` (a byte a block), `sums` (32 bytes a block), `meta.json`."""

from __future__ import annotations

import base64
import hashlib
import json
import mmap
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.contracts import BLOCK_SIZE
from lab.ebs import sparse

BLOCKS_PER_GIB = (1 << 30) // BLOCK_SIZE
# What a byte of the map says of its block.
ABSENT, WRITTEN, SUMMED, UPLOADED = 0, 1, 2, 3  # WRITTEN: digest not known yet; UPLOADED: put since StartSnapshot
_PRESENT = re.compile(rb"[^\x00]")
_PUT = re.compile(rb"\x03")


class BlockSlice:
    """One block, as the front sends it: from file to socket, or as mapped memory for TLS."""

    __slots__ = ("_snapshot", "length", "offset")

    def __init__(self, snapshot: Snapshot, index: int) -> None:
        self._snapshot, self.offset, self.length = snapshot, index * BLOCK_SIZE, BLOCK_SIZE

    def fileno(self) -> int:
        return self._snapshot.fd

    def view(self) -> memoryview:
        return self._snapshot.mapped()[self.offset : self.offset + self.length]


class Snapshot:
    """An open snapshot. Its files stay open as long as somebody holds this object, even when it is deleted."""

    fd = -1  # before anything can fail: __del__ looks at it

    def __init__(self, folder: Path) -> None:
        meta = json.loads((folder / "meta.json").read_text())
        self.folder = folder
        self.gib: int = meta["gib"]
        self.pending: bool = meta["pending"]
        self.parent: str | None = meta.get("parent")
        self.blocks = self.gib * BLOCKS_PER_GIB
        self.last_write = time.time()
        self.timeout: float | None = meta.get("timeout")
        self._lock = threading.Lock()
        self._view: memoryview | None = None
        self._count: int | None = None
        self._map = _map(folder / "map")
        self._sums = _map(folder / "sums")
        self.fd = os.open(folder / "data", (os.O_RDWR if self.pending else os.O_RDONLY) | os.O_CLOEXEC)

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)

    @staticmethod
    def prepare(folder: Path, gib: int, *, pending: bool, parent: str | None = None, **meta: Any) -> None:
        """Map, sums and meta of a new snapshot in `folder`; the caller provides `data`."""
        blocks = gib * BLOCKS_PER_GIB
        for name, size in (("map", blocks), ("sums", blocks * 32)):
            if not (folder / name).exists():
                sparse.create(folder / name, size)
            else:
                os.truncate(folder / name, size)
        write_json(folder / "meta.json", {"gib": gib, "pending": pending, "parent": parent, **meta})

    def has(self, index: int) -> bool:
        """Whether the block was ever written."""
        return 0 <= index < self.blocks and self._map[index] != ABSENT

    def written(self, start: int = 0) -> Iterator[int]:
        """The indexes of written blocks from `start` on, in order."""
        return (match.start() for match in _PRESENT.finditer(self._map, start))

    def allocated(self) -> int:
        """How many blocks are written."""
        if self._count is not None:
            return self._count
        piece = 1 << 20
        count = sum(
            len(part) - part.count(0) for part in (self._map[at : at + piece] for at in range(0, self.blocks, piece))
        )
        if not self.pending:
            self._count = count
        return count

    def digest(self, index: int) -> bytes:
        """The SHA-256 of a written block, computed once and kept on disk."""
        if self._map[index] == WRITTEN:
            data = os.pread(self.fd, BLOCK_SIZE, index * BLOCK_SIZE)
            if len(data) != BLOCK_SIZE:
                raise OSError(f"block {index} of {self.folder.name} is cut short")
            self._sums[index * 32 : index * 32 + 32] = hashlib.sha256(data).digest()
            self._map[index] = SUMMED  # only after its digest is there: readers look at the map first
        return self._sums[index * 32 : index * 32 + 32]

    def checksum(self, index: int) -> str:
        """The digest as AWS writes it: base64."""
        return base64.b64encode(self.digest(index)).decode("ascii")

    def block(self, index: int) -> BlockSlice:
        """A written block, to be sent."""
        return BlockSlice(self, index)

    def read(self, index: int) -> bytes:
        """A block's bytes; zeros where nothing was written."""
        return os.pread(self.fd, BLOCK_SIZE, index * BLOCK_SIZE)

    def mapped(self) -> memoryview:
        """The whole image as memory; pages come and go with the page cache."""
        if self._view is None:
            self._view = memoryview(mmap.mmap(self.fd, self.blocks * BLOCK_SIZE, prot=mmap.PROT_READ))
        return self._view

    def put(self, index: int, data: bytes | memoryview, digest: bytes) -> bool:
        """Write a block of a pending snapshot; False when it is not pending (any more)."""
        with self._lock:
            if not self.pending:
                return False
            sparse.write_all(self.fd, data, index * BLOCK_SIZE)
            self._sums[index * 32 : index * 32 + 32] = digest
            self._map[index] = UPLOADED
            self.last_write = time.time()
            return True

    def erase(self, index: int) -> bool:
        """Make a block of a pending snapshot unwritten again; False when it is not pending (any more)."""
        with self._lock:
            if not self.pending:
                return False
            sparse.punch_hole(self.fd, index * BLOCK_SIZE, BLOCK_SIZE)
            self._map[index] = ABSENT
            return True

    def uploaded(self) -> tuple[int, str]:
        """How many blocks were put since StartSnapshot, and their LINEAR aggregate checksum (base64)."""
        count, total = 0, hashlib.sha256()
        for match in _PUT.finditer(self._map):
            count += 1
            total.update(self._sums[match.start() * 32 : match.start() * 32 + 32])
        return count, base64.b64encode(total.digest()).decode("ascii")

    def complete(self) -> None:
        """Seal it: from here on nothing changes."""
        with self._lock:
            path = self.folder / "meta.json"
            write_json(path, json.loads(path.read_text()) | {"pending": False})
            self.pending = False

    def mark_extents(self) -> None:
        """Fill the map of a new snapshot from what is written in `data`."""
        for start, end in sparse.extents(self.fd):
            first, last = start // BLOCK_SIZE, min(-(-end // BLOCK_SIZE), self.blocks)
            for at in range(first, last, 1 << 20):
                self._map[at : min(at + (1 << 20), last)] = bytes([WRITTEN]) * (min(at + (1 << 20), last) - at)

    def inherit(self) -> None:
        """What a parent's upload brought counts as inherited in its child."""
        for match in _PUT.finditer(self._map):
            self._map[match.start()] = SUMMED

    def same_files(self, other: Snapshot) -> bool:
        """Whether both are copies of one another (hard links)."""
        return os.path.samestat(os.fstat(self.fd), os.fstat(other.fd))


def write_json(path: Path, data: Any) -> None:
    """Replace a small file in one step."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    partial.write_text(json.dumps(data))
    partial.replace(path)


def _map(path: Path) -> mmap.mmap:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        return mmap.mmap(fd, 0)
    finally:
        os.close(fd)
