# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packing an image that lies in a bucket as segments into one object of a bucket, with no disk in between.

Every block is held against the manifest on its way. The object has its name when the last byte was sent and everything
was right, and not before: a run that is stopped, killed or refused leaves none. It begins anew, since neither age nor
zstd can be taken up in the middle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from . import age
from .blocks import BLOCK_SIZE, image_size
from .compression import SUFFIXES
from .errors import BadInput, Cancelled, Mismatch
from .manifest import Manifest, Outcome, utc_now
from .pack import PackResult, expect, write_stream
from .packed import IDENTITY_SUFFIX, PACKED_SUFFIX, RECORD_SUFFIX, PackedObject, PackRecord, Stop, Tell, beside
from .progress import Meter
from .s3 import call, put_once
from .s3_object import ObjectWriter, part_size, split_place
from .segments import MANIFEST_NAME
from .sources import SegmentSource, SegmentStore
from .verify import Verification

_ZEROS = bytes(1 << 20)


def default_place(prefix: str, compression: str) -> str:
    """The name of a packed image unless another is asked for: beside its segments."""
    return f"{prefix.rstrip('/')}/image.raw{SUFFIXES[compression]}{PACKED_SUFFIX}"


def pack_segments(
    store: SegmentStore,
    client: Any,
    place: str,
    *,
    recipients: Sequence[str] = (),
    passphrase: str | None = None,
    compression: str = "zstd",
    level: int | None = None,
    kms_key: str = "",
    stop: Stop | None = None,
    tell: Tell | None = None,
) -> PackResult:
    """Compress and encrypt segments into the object `place` (`s3://bucket/name`). `client`: boto3's, of its bucket."""
    if compression not in SUFFIXES:
        raise BadInput(f"There is no compression {compression!r}; there are {', '.join(SUFFIXES)}.")
    if bool(recipients) == bool(passphrase):
        raise BadInput("Name either recipients or a passphrase.")
    bucket, key = split_place(place)
    extra = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key} if kms_key else {}
    source = SegmentSource(store)
    try:
        with TemporaryDirectory(prefix="dfir-ebs-") as folder:
            path = Path(folder) / MANIFEST_NAME
            store.save_manifest(path)
            with Manifest(path) as manifest:
                outcome, gib = manifest.check(), manifest.identity.volume_gib
                record = PackRecord(
                    source.name, 0, compression, plain_size=image_size(gib), recipients=list(recipients),
                    snapshot_id=manifest.identity.snapshot_id, linear_sha256=outcome.linear_sha256,
                )  # fmt: skip
                if call(client, bucket, "head_object", Key=key):
                    return PackResult(place, _packed_before(client, place, record, outcome), changed=False)
                most = part_size(most_bytes(outcome.blocks, record.plain_size))
                protected = b""
                if passphrase:
                    to, protected = age.protected_identity(passphrase)
                    keys = [to]
                else:
                    keys = age.recipients(recipients)
                with ObjectWriter(client, place, part_bytes=most, extra=extra) as out:
                    write_stream(_image(source, manifest, stop, tell), out, keys, record, level)
                    expect(source.name, record.plain_sha256, outcome.image_sha256)
                    out.flush()
                    record.finished = utc_now()
                    # The packed object last: with its name everything that belongs to it is there.
                    if protected:
                        name = beside(key, out.attempt, IDENTITY_SUFFIX)
                        record.identity_file = name.rpartition("/")[2]
                        put_once(client, bucket, name, protected, **extra)
                    put_once(client, bucket, beside(key, out.attempt, RECORD_SUFFIX), record.to_bytes(), **extra)
                    out.publish()
    finally:
        source.close()
    return PackResult(place, record, changed=True)


def most_bytes(blocks: int, size: int) -> int:
    """The most bytes that so many written blocks of a volume can become: they do not shrink, the zeros between do."""
    return blocks * BLOCK_SIZE * 1002 // 1000 + size // 1000 + (1 << 20)


def _packed_before(client: Any, place: str, wish: PackRecord, outcome: Outcome) -> PackRecord:
    there = PackedObject(client, place)
    record = there.record()
    if record is None or not record.made_as(wish) or there.size != record.packed_size:
        raise BadInput(f"{place} exists already and was not made from this image so: choose another name.")
    expect(place, record.plain_sha256, outcome.image_sha256)
    return record


def _image(source: SegmentSource, manifest: Manifest, stop: Stop | None, tell: Tell | None) -> Iterator[Any]:
    """The whole image in order; raises at the first block that is not as the manifest says."""
    asked = stop or (lambda: False)
    size, place = image_size(manifest.identity.volume_gib), 0

    def pause() -> None:
        if asked():
            raise Cancelled("The run was cancelled.")

    def zeros(until: int) -> Iterator[bytes]:
        nonlocal place
        while place < until:
            length = min(len(_ZEROS), until - place)
            yield _ZEROS if length == len(_ZEROS) else _ZEROS[:length]
            place += length
            pause()

    findings = Verification(source.name, manifest.identity.snapshot_id, manifest.done.linear_sha256)
    meter = Meter(tell, size, len(manifest), lambda: 0)
    meter.phase = "packing"
    for done, block in enumerate(source.blocks(manifest, findings, pause), 1):
        _require(findings)
        yield from zeros(block.index * BLOCK_SIZE)
        yield block.data
        place += BLOCK_SIZE
        if meter.is_due():
            meter.tell(place, done, 0)
    _require(findings)
    yield from zeros(size)


def _require(findings: Verification) -> None:
    wrong = (*findings.different_blocks, *findings.unexpected_blocks)
    if wrong or findings.notes:
        said = " ".join(findings.notes) or f"block {wrong[0]} is not as the manifest says"
        error = Mismatch(f"{findings.what} cannot be packed, nothing was kept: {said}.")
        error.failed_blocks = wrong
        raise error
