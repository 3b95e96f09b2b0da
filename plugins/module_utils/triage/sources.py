# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a triage looks into: a snapshot whose blocks are fetched as they are read, a raw image, or an E01.

Each is a file that is only read. File-system readers swallow errors, so that one broken inode does not hide the rest; a
source therefore remembers its first failure, and whoever reads asks for it before anything is believed.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

from ..ebs.blocks import BLOCK_SIZE
from ..ebs.client import EbsClient
from ..ebs.errors import BadInput, Cancelled, Missing
from ..ebs.reader import BudgetSpent, SnapshotFile, open_snapshot

E01_MAGIC = b"EVF\x09\x0d\x0a\xff\x00"
_SEGMENTS = 14_000  # more than EWF's names can count


def _never() -> bool:
    return False


class Source:
    """What is looked into. `stream` is a seekable file of `size` bytes."""

    kind = ""

    def __init__(self, name: str, stream: BinaryIO, size: int) -> None:
        self.name, self.stream, self.size = name, stream, size

    @property
    def failed(self) -> Exception | None:
        """The first error of reading, which a library may have kept to itself."""
        raise NotImplementedError

    @property
    def spent(self) -> bool:
        """Whether no more may be read: what was found since then is not whole."""
        return isinstance(self.failed, BudgetSpent)

    def check(self) -> None:
        """Raise the failure, unless it only is that enough was read."""
        failed = self.failed
        if failed is not None and not self.spent:
            raise failed

    def cost(self) -> dict[str, Any]:
        """What reading it has taken so far: blocks and bytes."""
        return {}

    def close(self) -> None:
        """Let go of it."""
        self.stream.close()


class SnapshotSource(Source):
    """A snapshot, by the EBS direct APIs. `options`: as `SnapshotBlocks` takes them (limit, image, connections)."""

    kind = "snapshot"

    def __init__(self, client: EbsClient, snapshot_id: str, **options: Any) -> None:
        self.file: SnapshotFile = open_snapshot(client, snapshot_id, spill=True, **options)
        super().__init__(snapshot_id, cast(BinaryIO, self.file), self.file.size)

    @property
    def failed(self) -> Exception | None:
        return self.file.blocks.failed

    def cost(self) -> dict[str, Any]:
        blocks = self.file.blocks
        return {"blocks_read": len(blocks.access.fetched), "bytes_read": len(blocks.access.fetched) * BLOCK_SIZE,
                "blocks_used": len(blocks.access.wanted), "blocks_cached": blocks.access.cached,
                "limit_blocks": blocks.limit}


class _Counted(io.RawIOBase):
    """A file that counts the blocks which were read of it, and asks now and then whether to go on."""

    def __init__(self, inner: BinaryIO, size: int, stop: Callable[[], bool]) -> None:
        self._inner, self._size, self._stop = inner, size, stop
        self.seen: set[int] = set()
        self.failed: Exception | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:  # a block device's size is not what its inode says
            offset, whence = self._size + offset, os.SEEK_SET
        return self._inner.seek(offset, whence)

    def tell(self) -> int:
        return self._inner.tell()

    def read(self, size: int | None = -1) -> bytes:
        if self.failed is not None:
            raise self.failed
        start = self._inner.tell()
        try:
            data = self._inner.read(-1 if size is None else size)
        except Exception as error:
            self.failed = error
            raise
        if data:
            last = (start + len(data) - 1) // BLOCK_SIZE
            if last not in self.seen:
                if self._stop():
                    self.failed = Cancelled("The triage was cancelled")
                    raise self.failed
                self.seen.update(range(start // BLOCK_SIZE, last + 1))
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._inner.close()
        super().close()


class ImageSource(Source):
    """A raw image, a block device, or an E01 with its segments."""

    def __init__(self, path: Path, stop: Callable[[], bool] = _never) -> None:
        try:
            head = path.open("rb", buffering=0)
        except OSError as error:
            raise BadInput(f"{path} cannot be opened ({error.strerror}): name an image, a device or an E01.") from error
        magic = head.read(len(E01_MAGIC))
        self.kind = "e01" if magic == E01_MAGIC else "raw"
        inner: BinaryIO = cast(BinaryIO, head)
        if self.kind == "e01":
            head.close()
            inner = _open_e01(path)
        size = inner.seek(0, os.SEEK_END)
        inner.seek(0)
        self.path = path.resolve()
        self._counted = _Counted(inner, size, stop)
        super().__init__(path.name, cast(BinaryIO, self._counted), size)

    @property
    def failed(self) -> Exception | None:
        return self._counted.failed

    def cost(self) -> dict[str, Any]:
        seen = len(self._counted.seen)
        return {"blocks_read": seen, "bytes_read": seen * BLOCK_SIZE}


def _open_e01(path: Path) -> BinaryIO:
    try:
        from dissect.evidence.ewf import EWF
    except ImportError as error:
        raise Missing("An E01 needs the Python package dissect.evidence: install it beside Ansible.") from error
    files = segments(path)
    try:
        return cast(BinaryIO, EWF(cast(Any, files)).open())
    except Exception as error:  # a damaged file provokes errors of many kinds
        raise BadInput(f"{path} cannot be read as an E01: {error}") from error


def segments(path: Path) -> list[Path]:
    """The files of an E01 in their order: .E01 to .E99, then .EAA to .EZZ, .FAA and so on."""
    stem, ending = path.with_suffix(""), path.suffix
    if ending.upper() != ".E01":
        return [path]
    upper = ending[1].isupper()
    found = []
    for number in range(1, _SEGMENTS):
        name = f"E{number:02d}" if number < 100 else _letters(number - 100)
        one = Path(f"{stem}.{name if upper else name.lower()}")
        if not one.exists():
            break
        found.append(one)
    return found


def _letters(number: int) -> str:
    rest, last = divmod(number, 26)
    first, middle = divmod(rest, 26)
    return chr(ord("E") + first) + chr(ord("A") + middle) + chr(ord("A") + last)
