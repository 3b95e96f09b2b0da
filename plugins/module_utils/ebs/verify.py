# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading an image back and holding it against its manifest: a step of its own, independent of the run that made it.

What was hashed on its way to the disk is not thereby on the disk. Here every written block is read again and hashed,
everything else must be zeros, and the digests of the whole image are computed anew. Nothing is repaired.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .blocks import BLOCK_SIZE, image_size
from .client import EbsClient
from .errors import BadInput, Cancelled
from .fetch import Fetcher, Want
from .files import flush_to_disk, publish
from .listing import Listing
from .manifest import Manifest, utc_now
from .progress import Meter, Progress
from .sources import ImageSource, RawSource, SegmentSource, SegmentStore
from .version import __version__
from .wholehash import KINDS, WholeHash

_NAMED = 1000  # differing blocks that a record names; the rest is counted

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
    packed_sha256: str = ""  # of a packed image
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


def verify_source(
    source: ImageSource,
    manifest_path: Path | str,
    *,
    whole: bool = True,
    stop: Callable[[], bool] | None = None,
    tell: Tell | None = None,
) -> Verification:
    """Read an image back; with `whole` the digests of the whole image are compared where the manifest has them."""
    asked = stop or (lambda: False)

    def pause() -> None:
        if asked():
            raise Cancelled("The verification was cancelled.")

    with Manifest(manifest_path) as manifest:
        record, size = _begin(source.name, manifest), image_size(manifest.identity.volume_gib)
        kinds = [kind for kind in KINDS if whole and getattr(manifest.done, f"image_{kind}")]
        digests = WholeHash(kinds)
        meter = Meter(tell, size, len(manifest), lambda: 0)
        meter.phase = "verifying"
        for block in source.blocks(manifest, record, pause):
            digests.block(block.index, block.data, pause)
            record.blocks += 1
            if meter.is_due():
                meter.tell((block.index + 1) * BLOCK_SIZE, record.blocks, 0)
        if record.notes:
            return record.end()
        digests.zeros(size, pause)
        for kind in kinds:
            setattr(record, f"image_{kind}", digests.hex(kind))
            found, stated = digests.hex(kind), getattr(manifest.done, f"image_{kind}")
            if stated != found:
                record.notes.append(f"The {kind} of the whole image is {found}, the manifest says {stated}.")
        return record.end()


def verify_image(
    path: Path | str, manifest_path: Path | str, *, stop: Callable[[], bool] | None = None, tell: Tell | None = None
) -> Verification:
    """Read a raw image or device back."""
    source = RawSource(path)
    try:
        return verify_source(source, manifest_path, stop=stop, tell=tell)
    finally:
        source.close()


def verify_segments(
    store: SegmentStore,
    manifest_path: Path | str,
    *,
    stop: Callable[[], bool] | None = None,
    tell: Tell | None = None,
) -> Verification:
    """Read the segments of a finished image back: block by block, which says all that a digest over them would."""
    return verify_source(SegmentSource(store), manifest_path, whole=False, stop=stop, tell=tell)


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
