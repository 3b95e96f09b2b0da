# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an image goes: what a target must be able to do, and the two that are files.

A sink is given the blocks in ascending order, each once: by `write`, or by `keep` when it has the block already. What
lies between two of them reads as zeros when it is finished, whatever lay there before.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any, Protocol

from .blockcache import SUFFIX, known_blocks
from .blocks import BLOCK_SIZE, ZERO_DIGEST, image_size
from .errors import BadInput, EngineError, SinkError
from .files import flush_to_disk, lock, publish
from .manifest import Identity

_ZEROS = bytes(1 << 20)


class Sink(Protocol):
    """A target of an image."""

    @property
    def remembers(self) -> bool:
        """Whether it has records of its own of what an earlier run left (`stored`)."""

    def begin(self, identity: Identity, *, resume: bool) -> None:
        """Make ready; `resume`: a journal vouches for what an earlier run has left here."""

    def stored(self, index: int) -> bytes | None:
        """The SHA-256 of a block by this target's own records; None where it has none (files never do)."""

    def read(self, index: int, buffer: memoryview) -> bool:
        """Read a block back into `buffer`, unverified; False if there is none here."""

    def write(self, index: int, data: memoryview, digest: bytes) -> None:
        """Take a block. `data` is not kept beyond the call."""

    def keep(self, index: int) -> None:
        """The block that was read back is right: it stays."""

    def finish(self) -> dict[str, Any]:
        """Flush everything and publish; what the manifest says of this target."""

    def complete(self, identity: Identity) -> bool:
        """Whether a finished image lies here."""

    def publish_manifest(self, path: Path) -> None:
        """The manifest is complete: put it beside the image, where it is not already."""

    def close(self) -> None:
        """Let go, whatever the state; what is there stays for a later run."""


class _FileSink:
    """What a file and a block device have in common."""

    kind = ""

    @property
    def remembers(self) -> bool:
        return False

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._fd = -1
        self._size = 0
        self._clean = False  # whether everything that was not written is known to be zeros
        self._next = 0  # the byte up to which the target is as it should be

    def stored(self, index: int) -> bytes | None:
        return None

    def read(self, index: int, buffer: memoryview) -> bool:
        return not self._clean and read_at(self._fd, index * BLOCK_SIZE, buffer, self.path)

    def write(self, index: int, data: memoryview, digest: bytes) -> None:
        place = index * BLOCK_SIZE
        if digest == ZERO_DIGEST:
            return  # written with zeros only: the gap that the next block closes
        if not self._clean:
            self._gap(place)
        self._put(data, place)
        self._next = place + BLOCK_SIZE

    def keep(self, index: int) -> None:
        self._gap(index * BLOCK_SIZE)
        self._next = (index + 1) * BLOCK_SIZE

    def publish_manifest(self, path: Path) -> None:
        return

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _put(self, data: memoryview | bytes, place: int) -> None:
        try:
            done = os.pwrite(self._fd, data, place)
            while done < len(data):  # a nearly full disk takes a part first
                done += os.pwrite(self._fd, memoryview(data)[done:], place + done)
        except OSError as error:
            raise _sink_error(self.path, error) from error

    def _gap(self, until: int) -> None:
        """Make zeros of everything from the last block to `until`."""
        if self._clean:
            return
        try:
            for start, end in data_ranges(self._fd, self._next, until):
                for place in range(start, end, len(_ZEROS)):
                    length = min(len(_ZEROS), end - place)
                    # Reading what is zero already costs less than writing it, and wears nothing.
                    if os.pread(self._fd, length, place) != _ZEROS[:length]:
                        self._put(_ZEROS[:length], place)
        except OSError as error:
            raise _sink_error(self.path, error) from error


class RawFile(_FileSink):
    """A sparse raw image: `<name>.partial` until it is whole, then its name, durably. Blocks that a reader's cache has
    left there (blockcache.py) are kept."""

    kind = "raw"

    def __init__(self, path: Path | str) -> None:
        super().__init__(path)
        self._known: dict[int, bytes] = {}

    @property
    def remembers(self) -> bool:
        return bool(self._known)

    def stored(self, index: int) -> bytes | None:
        return self._known.get(index)

    @property
    def partial(self) -> Path:
        """Where the image lies until it is whole."""
        return Path(f"{self.path}.partial")

    def begin(self, identity: Identity, *, resume: bool) -> None:
        self._size = image_size(identity.volume_gib)
        if self.path.exists():
            if not resume:
                raise BadInput(f"{self.path} exists already: move it away, or choose another name.")
            self.path.replace(self.partial)  # killed between the image's final name and the manifest's
        known = known_blocks(self.path, identity.snapshot_id, identity.region, identity.volume_gib)
        self._known = known or {}
        there = (resume or known is not None) and self.partial.exists()
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        try:
            self._fd = os.open(self.partial, flags, 0o600)
            lock(self._fd, self.partial)
            if not there:
                os.ftruncate(self._fd, 0)
                self._clean = True
            os.ftruncate(self._fd, self._size)
        except OSError as error:
            raise _sink_error(self.partial, error) from error

    def finish(self) -> dict[str, Any]:
        self._gap(self._size)
        try:
            flush_to_disk(self._fd)
            publish(self.partial, self.path)
            Path(f"{self.partial}{SUFFIX}").unlink(missing_ok=True)
        except OSError as error:
            raise _sink_error(self.path, error) from error
        self.close()
        return {"kind": self.kind, "target": str(self.path)}

    def complete(self, identity: Identity) -> bool:
        return self.path.is_file() and self.path.stat().st_size == image_size(identity.volume_gib)


class BlockDevice(_FileSink):
    """A disk or partition, written from its beginning; nobody else may have it open for writing (or mounted)."""

    kind = "device"

    def begin(self, identity: Identity, *, resume: bool) -> None:
        self._size = image_size(identity.volume_gib)
        try:
            if not stat.S_ISBLK(self.path.stat().st_mode):
                raise BadInput(f"{self.path} is no block device.")
            # On Linux O_EXCL refuses a device that is mounted or otherwise in use.
            self._fd = os.open(self.path, os.O_RDWR | os.O_EXCL | getattr(os, "O_CLOEXEC", 0))
            size = os.lseek(self._fd, 0, os.SEEK_END)
        except OSError as error:
            raise _sink_error(self.path, error) from error
        if 0 < size < self._size:  # some systems do not tell
            raise BadInput(
                f"{self.path} has {size} bytes; the snapshot needs {self._size} ({identity.volume_gib} GiB)."
            )

    def finish(self) -> dict[str, Any]:
        self._gap(self._size)
        try:
            flush_to_disk(self._fd)
        except OSError as error:
            raise _sink_error(self.path, error) from error
        self.close()
        return {"kind": self.kind, "target": str(self.path)}

    def complete(self, identity: Identity) -> bool:
        return self.path.is_block_device()


def file_sink(path: Path | str) -> RawFile | BlockDevice:
    """The sink for a path: a device that exists is written as such, everything else becomes a raw image."""
    return BlockDevice(path) if Path(path).is_block_device() else RawFile(path)


def read_at(fd: int, place: int, buffer: memoryview, path: Path) -> bool:
    """Fill `buffer` from `place`; False where the file ends before."""
    got = 0
    try:
        while got < len(buffer):
            if hasattr(os, "preadv"):
                more = os.preadv(fd, [buffer[got:]], place + got)
            else:
                data = os.pread(fd, len(buffer) - got, place + got)
                more = len(data)
                buffer[got : got + more] = data
            if not more:
                return False
            got += more
    except OSError as error:
        raise _sink_error(path, error) from error
    return True


def data_ranges(fd: int, start: int, end: int) -> Any:
    """(start, end) of what is not a hole between two places; all of it where the system cannot tell."""
    while start < end:
        data, hole = start, end
        if hasattr(os, "SEEK_DATA"):
            try:
                data = os.lseek(fd, start, os.SEEK_DATA)
                hole = os.lseek(fd, data, os.SEEK_HOLE)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return  # nothing but a hole up to the end of the file
        if data >= end:
            return
        yield data, min(hole, end)
        start = hole


def _sink_error(path: Path, error: OSError) -> EngineError:
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", -1)):
        return SinkError(f"There is no room left for {path}: make room, then run again; it goes on where it stopped.")
    if error.errno == errno.EBUSY:
        return BadInput(f"{path} is mounted or in use: nothing was written to it.")
    return SinkError(f"{path}: {error.strerror or error}.")
