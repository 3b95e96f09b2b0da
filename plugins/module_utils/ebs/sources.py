# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finished images, read block by block and held against their manifest: what verifies, rebuilds and converts reads so.

Nothing is written where an image is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .blocks import BLOCK_SIZE, image_size
from .errors import BadInput, SegmentError
from .manifest import Identity, Manifest
from .segments import MANIFEST_NAME, SPAN, SegmentHead, SegmentReader
from .sinks import data_ranges, read_at

_ZERO_BLOCK = bytes(BLOCK_SIZE)

Pause = Callable[[], None]


class Findings(Protocol):
    """Who is told what is not as the manifest says."""

    notes: list[str]

    def differs(self, index: int) -> None: ...
    def surprises(self, index: int) -> None: ...


@dataclass(frozen=True)
class Block:
    """A block that the manifest names. `data` is what was read (of no use unless `good`), until the next one."""

    index: int
    digest: bytes
    data: memoryview
    good: bool


class ImageSource(Protocol):
    """Where a finished image lies."""

    name: str

    def blocks(self, manifest: Manifest, findings: Findings, pause: Pause) -> Iterator[Block]:
        """Every block of the manifest, ascending; what differs or is there without being in it is told.

        `pause` is called now and then: it may raise.
        """

    def close(self) -> None:
        """Let go."""


class RawSource:
    """A raw image file, or a block device."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.name = str(path)
        try:
            self._fd = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise BadInput(f"The image {path} cannot be read: {error.strerror}.") from error
        if hasattr(os, "posix_fadvise"):
            with contextlib.suppress(OSError):  # from the disk, where the system lets go of what it has in memory
                os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        os.close(self._fd)

    def blocks(self, manifest: Manifest, findings: Findings, pause: Pause) -> Iterator[Block]:
        size = image_size(manifest.identity.volume_gib)
        there = os.lseek(self._fd, 0, os.SEEK_END)
        if there < size or (there > size and self.path.is_file()):
            findings.notes.append(f"The image has {there} bytes instead of {size}.")
            return
        buffer, place = memoryview(bytearray(BLOCK_SIZE)), 0
        for index, digest in manifest.records():
            self._expect_zeros(place, index * BLOCK_SIZE, findings, pause)
            good = read_at(self._fd, index * BLOCK_SIZE, buffer, self.path)
            good = good and hashlib.sha256(buffer).digest() == digest
            if not good:
                findings.differs(index)
            yield Block(index, digest, buffer, good)
            place = (index + 1) * BLOCK_SIZE
            pause()
        self._expect_zeros(place, size, findings, pause)

    def _expect_zeros(self, start: int, end: int, findings: Findings, pause: Pause) -> None:
        """Tell every block between two places that is not zeros."""
        for first, last in data_ranges(self._fd, start, end):
            for place in range(first - first % BLOCK_SIZE, last, BLOCK_SIZE):
                if os.pread(self._fd, BLOCK_SIZE, place) != _ZERO_BLOCK:
                    findings.surprises(place // BLOCK_SIZE)
                pause()


class SegmentStore(Protocol):
    """Where segments lie: a bucket (s3.SegmentSink) or a folder."""

    def look_back(self, identity: Identity) -> None: ...
    def numbers(self) -> Iterator[int]: ...
    def indexes(self, number: int) -> set[int]: ...
    def read(self, index: int, buffer: memoryview) -> bool: ...
    def close(self) -> None: ...
    @property
    def span(self) -> int: ...
    @property
    def name(self) -> str: ...
    def save_manifest(self, path: Path) -> None: ...


class SegmentSource:
    """Segments."""

    def __init__(self, store: SegmentStore) -> None:
        self._store, self.name = store, store.name

    def close(self) -> None:
        self._store.close()

    def blocks(self, manifest: Manifest, findings: Findings, pause: Pause) -> Iterator[Block]:
        store = self._store
        store.look_back(manifest.identity)
        buffer = memoryview(bytearray(BLOCK_SIZE))
        numbers = iter(store.numbers())
        number, left = next(numbers, None), set[int]()
        for index, digest in manifest.records():
            while number is not None and number <= index // store.span:
                for extra in sorted(left):
                    findings.surprises(extra)
                left = _indexes(store, number, findings)
                number = next(numbers, None)
            left.discard(index)
            try:
                good = store.read(index, buffer) and hashlib.sha256(buffer).digest() == digest
            except SegmentError:
                good = False
            if not good:
                findings.differs(index)
            yield Block(index, digest, buffer, good)
            pause()
        while number is not None:
            left |= _indexes(store, number, findings)
            number = next(numbers, None)
        for extra in sorted(left):
            findings.surprises(extra)


def _indexes(store: SegmentStore, number: int, findings: Findings) -> set[int]:
    try:
        return store.indexes(number)
    except SegmentError as error:
        findings.notes.append(str(error))
        return set()


class SegmentFolder:
    """The objects of an image, as they lie in a bucket, copied to a folder: `manifest` and `segments/*.seg`."""

    def __init__(self, path: Path | str, *, span: int = SPAN) -> None:
        self.path, self.span, self.name = Path(path), span, str(path)
        self._identity: Identity | None = None
        self._at: tuple[int, SegmentReader | None] = (-1, None)

    def look_back(self, identity: Identity) -> None:
        """Read a finished image."""
        self._identity = identity

    def numbers(self) -> Iterator[int]:
        """The segments that are there, ascending."""
        found = []
        for path in (self.path / "segments").iterdir():
            if path.suffix != ".seg" or not path.stem.isdecimal() or len(path.stem) != 8:
                raise SegmentError(f"{path} is no segment's name.")
            found.append(int(path.stem))
        return iter(sorted(found))

    def indexes(self, number: int) -> set[int]:
        """The blocks in a segment."""
        reader = self._reader(number)
        return set() if reader is None else {entry.index for entry in reader.entries}

    def read(self, index: int, buffer: memoryview) -> bool:
        """Read a block."""
        reader = self._reader(index // self.span)
        entry = next((entry for entry in reader.entries if entry.index == index), None) if reader else None
        if reader is None or entry is None:
            return False
        buffer[:BLOCK_SIZE] = reader.block(entry)
        return True

    def save_manifest(self, path: Path) -> None:
        """Copy the manifest."""
        source = self.path / MANIFEST_NAME
        try:
            path.write_bytes(source.read_bytes())
        except FileNotFoundError:
            raise BadInput(f"{source} is not there: without its manifest nobody knows whether all is there.") from None

    def close(self) -> None:
        self._at = (-1, None)

    def _reader(self, number: int) -> SegmentReader | None:
        if self._at[0] != number:
            path = self.path / "segments" / f"{number:08d}.seg"
            reader: Any = None
            if path.exists():
                reader = SegmentReader(path.read_bytes(), name=str(path))
                identity = self._identity
                if identity is None:
                    raise BadInput(f"{self.name}: its manifest comes first.")
                head = SegmentHead(identity.snapshot_id, identity.region, identity.volume_gib, number, self.span)
                if reader.head != head:
                    raise SegmentError(f"{path} is a segment of something else: {reader.head}.")
            self._at = (number, reader)
        return self._at[1]


def stored_span(manifest: Manifest) -> int:
    """Blocks a segment, as the run that wrote the segments noted it."""
    for sink in manifest.done.sinks:
        if sink.get("kind") == "s3-segments" and isinstance(sink.get("span"), int):
            return int(sink["span"])
    return SPAN


def open_segments(place: str, client: Any = None) -> SegmentStore:
    """Segments in a folder, or at `s3://bucket/<case>/<snapshot>/image/` (`client`: boto3's, for S3).

    How many blocks a segment has is read from their manifest.
    """
    if not place.startswith("s3://"):
        folder = SegmentFolder(place)
        folder.span = _span_of(folder)
        return folder
    from .s3 import SegmentSink

    bucket, prefix = [*place[len("s3://") :].split("/", 1), ""][:2]
    if not bucket or not prefix.strip("/"):
        raise BadInput(f"{place}: s3://bucket/<case>/<snapshot>/image/ is what an image in a bucket is called.")
    prefix = f"{prefix.rstrip('/')}/"
    sink = SegmentSink(client, bucket, prefix)
    span = _span_of(sink)
    if span == sink.span:
        return sink
    sink.close()
    return SegmentSink(client, bucket, prefix, span=span)


def _span_of(store: SegmentStore) -> int:
    with tempfile.TemporaryDirectory(prefix="dfir-ebs-") as folder:
        path = Path(folder) / MANIFEST_NAME
        store.save_manifest(path)
        with Manifest(path) as manifest:
            return stored_span(manifest)
