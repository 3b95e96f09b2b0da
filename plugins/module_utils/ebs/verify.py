# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading an image back and holding it against its manifest: a step of its own, independent of the run that made it.

What was hashed on its way to the disk is not thereby on the disk. Here every written block is read again and hashed,
everything else must be zeros, and the digests of the whole image are computed anew. Nothing is repaired.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .blocks import BLOCK_SIZE, image_size
from .client import EbsClient
from .errors import BadInput, Cancelled, SegmentError
from .fetch import Fetcher, Want
from .files import flush_to_disk, publish
from .listing import Listing
from .manifest import Manifest, utc_now
from .progress import Meter, Progress
from .s3 import SegmentSink
from .sinks import data_ranges, read_at
from .version import __version__
from .wholehash import KINDS, WholeHash

_NAMED = 1000  # differing blocks that a record names; the rest is counted
_ZERO_BLOCK = bytes(BLOCK_SIZE)

Tell = Callable[[Progress], None]


@dataclass
class Verification:
    """The record of one reading back. `ok` only if everything that was looked at is as the manifest says."""

    what: str
    snapshot_id: str
    manifest_linear_sha256: str
    started: str = field(default_factory=utc_now)
    finished: str = ""
    blocks: int = 0  # compared
    different: int = 0  # differ from the manifest, or cannot be read
    different_blocks: list[int] = field(default_factory=list)  # the first of them
    unexpected: int = 0  # places that should be zeros (or not be there) and are not
    unexpected_blocks: list[int] = field(default_factory=list)
    image_sha256: str = ""
    image_md5: str = ""
    notes: list[str] = field(default_factory=list)
    ok: bool = False
    tool_version: str = __version__

    def differs(self, index: int) -> None:
        """A block is not what the manifest says."""
        self.different += 1
        if len(self.different_blocks) < _NAMED:
            self.different_blocks.append(index)

    def surprises(self, index: int) -> None:
        """Something lies where nothing was written."""
        self.unexpected += 1
        if len(self.unexpected_blocks) < _NAMED:
            self.unexpected_blocks.append(index)

    def end(self) -> Verification:
        """Set the verdict."""
        self.finished = utc_now()
        self.ok = not self.different and not self.unexpected and not self.notes
        return self

    def write(self, path: Path) -> None:
        """Keep the record as JSON, complete or not at all."""
        partial = Path(f"{path}.partial")
        with partial.open("w", encoding="utf-8") as file:
            json.dump(asdict(self), file, indent=1)
            file.write("\n")
            file.flush()
            flush_to_disk(file.fileno())
        publish(partial, path)


def _begin(what: str, manifest: Manifest) -> Verification:
    outcome = manifest.check()
    return Verification(what, manifest.identity.snapshot_id, outcome.linear_sha256)


def verify_image(
    path: Path | str, manifest_path: Path | str, *, stop: Callable[[], bool] | None = None, tell: Tell | None = None
) -> Verification:
    """Read a raw image or device back; digests of the whole image are compared where the manifest has them."""
    path, asked = Path(path), stop or (lambda: False)

    def pause() -> None:
        if asked():
            raise Cancelled("The verification was cancelled.")

    with Manifest(manifest_path) as manifest, _opened(path) as fd:
        record, size = _begin(str(path), manifest), image_size(manifest.identity.volume_gib)
        there = os.lseek(fd, 0, os.SEEK_END)
        if there < size or (there > size and path.is_file()):
            record.notes.append(f"The image has {there} bytes instead of {size}.")
            return record.end()
        whole = WholeHash([kind for kind in KINDS if getattr(manifest.done, f"image_{kind}")])
        meter = Meter(tell, size, len(manifest), lambda: 0)
        meter.phase = "verifying"
        buffer, place = memoryview(bytearray(BLOCK_SIZE)), 0
        for index, digest in manifest.records():
            _expect_zeros(fd, place, index * BLOCK_SIZE, record, pause)
            if not read_at(fd, index * BLOCK_SIZE, buffer, path) or hashlib.sha256(buffer).digest() != digest:
                record.differs(index)
            whole.block(index, buffer, pause)
            place = (index + 1) * BLOCK_SIZE
            record.blocks += 1
            pause()
            if meter.is_due():
                meter.tell(place, record.blocks, 0)
        _expect_zeros(fd, place, size, record, pause)
        whole.zeros(size, pause)
        for kind in KINDS:
            setattr(record, f"image_{kind}", whole.hex(kind))
            stated = getattr(manifest.done, f"image_{kind}")
            if stated and stated != whole.hex(kind):
                record.notes.append(f"The {kind} of the whole image is {whole.hex(kind)}, the manifest says {stated}.")
        return record.end()


def verify_segments(sink: SegmentSink, manifest_path: Path | str, *, tell: Tell | None = None) -> Verification:
    """Read the segments of a finished image in a bucket back."""
    with Manifest(manifest_path) as manifest:
        record = _begin(f"s3://{sink.bucket}/{sink.prefix}", manifest)
        sink.look_back(manifest.identity)
        meter = Meter(tell, image_size(manifest.identity.volume_gib), len(manifest), lambda: 0)
        meter.phase = "verifying"
        buffer = memoryview(bytearray(BLOCK_SIZE))
        numbers: Iterator[int] = iter(sink.numbers())
        number, left = next(numbers, None), set[int]()
        for index, digest in manifest.records():
            while number is not None and number <= index // sink.span:
                for extra in left:
                    record.surprises(extra)
                left = _indexes(sink, number, record)
                number = next(numbers, None)
            record.blocks += 1
            left.discard(index)
            try:
                good = sink.read(index, buffer) and hashlib.sha256(buffer).digest() == digest
            except SegmentError:
                good = False
            if not good:
                record.differs(index)
            if meter.is_due():
                meter.tell((index + 1) * BLOCK_SIZE, record.blocks, 0)
        while number is not None:
            left |= _indexes(sink, number, record)
            number = next(numbers, None)
        for extra in left:
            record.surprises(extra)
        return record.end()


def _indexes(sink: SegmentSink, number: int, record: Verification) -> set[int]:
    try:
        return sink.indexes(number)
    except SegmentError as error:
        record.notes.append(str(error))
        return set()


def verify_against_aws(
    client: EbsClient, manifest_path: Path | str, *, sample: int | None = None, tell: Tell | None = None
) -> Verification:
    """Ask AWS once more: the list of written blocks must be the manifest's, and the blocks (all, or a random sample of
    so many) must have its digests. Each block that is fetched costs as it did the first time."""
    with Manifest(manifest_path) as manifest:
        identity = manifest.identity
        if identity.region != client.region:
            raise BadInput(f"The manifest is of a snapshot in {identity.region}, not in {client.region}.")
        record = _begin(f"ebs:{client.region}:{identity.snapshot_id}", manifest)
        listing = Listing(client, identity.snapshot_id)
        fetcher = Fetcher(client, identity.snapshot_id, lambda index, fresh: listing.token(index, fresh=fresh))
        meter = Meter(tell, image_size(identity.volume_gib), sample or len(manifest), lambda: 0)
        meter.phase = "verifying"
        chance = 1.0 if sample is None else sample / max(1, len(manifest))
        try:
            if listing.open() != identity.volume_gib:
                record.notes.append(f"The volume has {listing.volume_gib} GiB, not {identity.volume_gib}.")
                return record.end()
            wanted = _compare_lists(manifest.records(), listing.stream(), record, chance)
            for index, data, digest in fetcher.stream(wanted):
                record.blocks += 1
                if data is not None and digest != manifest.find(index):
                    record.differs(index)
                if meter.is_due():
                    meter.tell((index + 1) * BLOCK_SIZE, record.blocks, record.blocks)
        finally:
            fetcher.close()
            listing.close()
        return record.end()


def _compare_lists(
    records: Iterator[tuple[int, bytes]], listed: Iterator[tuple[int, str | None]], record: Verification, chance: float
) -> Iterator[Want]:
    known = next(records, None)
    for index, token in listed:
        while known is not None and known[0] < index:
            record.differs(known[0])  # AWS does not have it
            known = next(records, None)
        if known is None or known[0] != index:
            record.surprises(index)
            continue
        known = next(records, None)
        if chance >= 1.0 or random.random() < chance:  # noqa: S311 a sample, no secret
            yield Want(index, token)
    while known is not None:
        record.differs(known[0])
        known = next(records, None)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise BadInput(f"The image {path} cannot be read: {error.strerror}.") from error
    try:
        if hasattr(os, "posix_fadvise"):
            with contextlib.suppress(OSError):  # from the disk, where the system lets go of what it has in memory
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        yield fd
    finally:
        os.close(fd)


def _expect_zeros(fd: int, start: int, end: int, record: Verification, pause: Callable[[], None]) -> None:
    """Note every block between two places that is not zeros."""
    for first, last in data_ranges(fd, start, end):
        for place in range(first - first % BLOCK_SIZE, last, BLOCK_SIZE):
            if os.pread(fd, BLOCK_SIZE, place) != _ZERO_BLOCK:
                record.surprises(place // BLOCK_SIZE)
            pause()
