# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which blocks of two disks differ, without reading them where that can be had: AWS lists it for snapshots of one
volume, and the manifests of two images hold the digest of every block.

Where the blocks are known, the older disk is read through the newer one wherever both are the same: such a block is
fetched once.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from ..ebs.blocks import BLOCK_SIZE, GIB, ZERO_DIGEST
from ..ebs.client import EbsClient
from ..ebs.errors import BadInput, Refused, SnapshotGone
from ..ebs.listing import Listing
from ..ebs.manifest import SUFFIX, Manifest
from .sources import ImageSource, Source

LISTED, DIGESTS, ENTRIES = "changed blocks", "manifests", "file systems"


class Marks:
    """Which blocks of 512 KiB differ. What only one of the disks has, because it is larger, counts as different."""

    def __init__(self, blocks: int, differing: Iterable[int] = ()) -> None:
        self._marks = bytearray(blocks)
        for index in differing:
            if index < blocks:
                self._marks[index] = 1

    def __len__(self) -> int:
        """How many differ, of those that both disks have."""
        return self._marks.count(1)

    def __contains__(self, index: int) -> bool:
        return index >= len(self._marks) or self._marks[index] == 1

    def touch(self, start: int, length: int) -> bool:
        """Whether any of these bytes lies in a block that differs."""
        last = (start + length - 1) // BLOCK_SIZE
        return length > 0 and (last >= len(self._marks) or self._marks.find(1, start // BLOCK_SIZE, last + 1) >= 0)

    def pieces(self, start: int, length: int) -> Iterator[tuple[int, int]]:
        """Those of these bytes that lie in blocks that differ, as start and length, block by block."""
        end = start + length
        while start < end:
            after = min(end, (start // BLOCK_SIZE + 1) * BLOCK_SIZE)
            if start // BLOCK_SIZE in self:
                yield start, after - start
            start = after


@dataclass(frozen=True)
class Way:
    """How the differences were found, and why so. `marks`: None where only the file systems tell."""

    name: str
    reason: str
    marks: Marks | None = None


def find_way(base: Source, new: Source, client: EbsClient | None, manifests: Sequence[Path]) -> Way:
    """The best way there is. `manifests`: of images of these snapshots; that of an image file may lie beside it."""
    found = [_manifest(base, manifests), _manifest(new, manifests)]
    unused = set(manifests) - set(found)
    if unused:
        raise BadInput(f"{min(map(str, unused))} is a manifest of neither {base.name} nor {new.name}: name those of "
                       "these two, or none.")
    if client is not None and base.kind == new.kind == "snapshot":
        try:
            return Way(LISTED, "AWS lists the blocks that differ between the two snapshots",
                       listed(client, base, new))
        except SnapshotGone:
            raise
        except Refused as error:
            why = f"AWS does not list what differs between the two ({' '.join(str(error).split()).rstrip('.')})"
    else:
        why = "not both are snapshots, so AWS cannot list what differs"
    if found[0] is not None and found[1] is not None:
        return Way(DIGESTS, f"{why}; both have the manifest of an image, whose digests were compared",
                   digested(found[0], found[1], base, new))
    lacking = " and ".join(one.name for one, path in zip((base, new), found, strict=True) if path is None)
    return Way(ENTRIES, f"{why}, and there is no manifest of an image of {lacking}: the entries of the file systems "
                        "were compared")


def listed(client: EbsClient, base: Source, new: Source) -> Marks:
    """What AWS lists. It may list a block that was written with the same content."""
    listing = Listing(client, new.name, first=base.name)
    try:
        return Marks(min(base.size, new.size) // BLOCK_SIZE, (index for index, _token in listing.stream()))
    finally:
        listing.close()


def digested(base_path: Path, new_path: Path, base: Source, new: Source) -> Marks:
    """What the digests in two manifests say."""
    with Manifest(base_path) as one, Manifest(new_path) as other:
        for manifest, source in ((one, base), (other, new)):
            if manifest.identity.volume_gib * GIB != source.size:
                raise BadInput(f"The manifest {manifest.path} is of {manifest.identity.volume_gib} GiB and "
                               f"{source.name} has {source.size} bytes: it is of something else.")
            manifest.check()
        return Marks(min(base.size, new.size) // BLOCK_SIZE, _differing(one.records(), other.records()))


def _differing(one: Iterator[tuple[int, bytes]], other: Iterator[tuple[int, bytes]]) -> Iterator[int]:
    """Two ascending lists, merged. What one does not name reads as zeros there."""
    end = (1 << 62, b"")
    left, right = next(one, end), next(other, end)
    while (left, right) != (end, end):
        index = min(left[0], right[0])
        mine = left[1] if left[0] == index else ZERO_DIGEST
        theirs = right[1] if right[0] == index else ZERO_DIGEST
        if mine != theirs:
            yield index
        if left[0] == index:
            left = next(one, end)
        if right[0] == index:
            right = next(other, end)


def _manifest(source: Source, manifests: Sequence[Path]) -> Path | None:
    """The manifest that belongs to a source."""
    if isinstance(source, ImageSource):
        beside = Path(f"{source.path}{SUFFIX}")
        return next((path for path in manifests if path.resolve() == beside), beside if beside.is_file() else None)
    for path in manifests:
        with Manifest(path) as manifest:
            if manifest.identity.snapshot_id == source.name:
                return path
    return None


class _Through(io.RawIOBase):
    """The older disk, of which blocks that do not differ are read from the newer one."""

    def __init__(self, base: Source, new: Source, marks: Marks) -> None:
        self._base, self._new, self._marks, self._place = base, new, marks, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = max(0, offset + (0, self._place, self._base.size)[whence])
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._base.size - self._place)
        if size is None or size < 0 or size > left:
            size = left
        end, found = self._place + size, []
        while self._place < end:
            index = self._place // BLOCK_SIZE
            source = self._base if index in self._marks else self._new
            source.stream.seek(self._place)
            data = source.stream.read(min(end, (index + 1) * BLOCK_SIZE) - self._place)
            if not data:
                break
            found.append(data)
            self._place += len(data)
        return b"".join(found)

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[:len(data)] = data
        return len(data)

    def hint(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Whoever fetches these can begin with them."""
        split: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
        for start, length in ranges:
            end = min(start + length, self._base.size)
            while start < end:
                index = start // BLOCK_SIZE
                after = min(end, (index + 1) * BLOCK_SIZE)
                split[index in self._marks].append((start, after - start))
                start = after
        for source, wanted in ((self._new, split[0]), (self._base, split[1])):
            tell = getattr(source.stream, "hint", None)
            if tell is not None and wanted:
                tell(wanted)


class SharedSource(Source):
    """The older disk beside the newer one."""

    def __init__(self, base: Source, new: Source, marks: Marks) -> None:
        self._base, self._new, self.kind = base, new, base.kind
        super().__init__(base.name, cast(BinaryIO, _Through(base, new, marks)), base.size)

    @property
    def failed(self) -> Exception | None:
        return self._base.failed or self._new.failed

    def cost(self) -> dict[str, Any]:
        return self._base.cost()

    def close(self) -> None:
        """The newer one is closed by whoever opened it."""
        self._base.close()
