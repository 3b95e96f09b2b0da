# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A snapshot becomes an image: listing, fetching, verifying, writing, hashing and recording, in one pass in order.

What a run leaves when it ends for whatever reason (kill, power loss, full disk, refusal) is a journal and the blocks
that it vouches for; the next run verifies them and goes on. The image has its final name only when it is whole, and
the manifest comes last.
"""

from __future__ import annotations

import hashlib
import platform
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from .base import BaseImage, merge
from .blocks import BLOCK_SIZE, image_size
from .client import EbsClient, check_snapshot_id
from .errors import BadInput, Cancelled, ManifestError, SinkError
from .fetch import CONNECTIONS, Fetcher, Want
from .identity import SnapshotFacts
from .journal import Journal
from .listing import Listing
from .manifest import Identity, Manifest, Outcome, utc_now
from .progress import Meter, Progress
from .sinks import RawFile, Sink
from .version import __version__
from .wholehash import WholeHash

TOOL = "dfir.aws ebs"


@dataclass
class ImageRequest:
    """What is to be imaged, whereto. `facts`, `account_id`, `caller`, `case`: for the manifest, where they are known.

    `hashes`: digests of the whole image to compute in the same pass (`sha256`, `md5`). `base`: a finished image of an
    older snapshot of the same lineage.
    """

    snapshot_id: str
    sinks: Sequence[Sink]
    manifest: Path
    hashes: Sequence[str] = ()
    base: BaseImage | None = None
    facts: SnapshotFacts | None = None
    account_id: str = ""
    caller: str = ""
    case: str = ""
    connections: int = CONNECTIONS


@dataclass
class ImageResult:
    """`changed` is False where the finished image was there already."""

    identity: Identity
    outcome: Outcome
    manifest: Path
    changed: bool
    session: dict[str, Any] = field(default_factory=dict)


class Imaging:
    """One run. `tell` gets its progress about once a second; `client.stop` ends it."""

    def __init__(
        self, client: EbsClient, request: ImageRequest, *, tell: Callable[[Progress], None] | None = None
    ) -> None:
        check_snapshot_id(request.snapshot_id)
        if not request.sinks:
            raise BadInput("An image needs at least one target.")
        if request.connections < 1:
            raise BadInput("At least one connection is needed.")
        self._client, self._request, self._tell = client, request, tell
        self._sinks = list(request.sinks)
        self._listing = Listing(client, request.snapshot_id, first=request.base.snapshot_id if request.base else None)
        self._fetcher = Fetcher(client, request.snapshot_id, self._renew, connections=request.connections)
        self._whole = WholeHash(request.hashes)
        self._scratch = [memoryview(bytearray(BLOCK_SIZE)) for _number in range(2)]
        self._fetched = self._kept = 0

    def run(self) -> ImageResult:
        """Make the image, or find that it is there. The first failure ends it, with what was got kept."""
        try:
            return self._run()
        except OSError as error:
            raise SinkError(f"{error.filename or self._request.manifest}: {error.strerror or error}.") from error
        finally:
            self._fetcher.close()
            self._listing.close()
            for sink in self._sinks:
                sink.close()
            if self._request.base is not None:
                self._request.base.close()

    def _run(self) -> ImageResult:
        request = self._request
        if request.facts is not None:
            request.facts.require_imageable()
        if request.base is not None:
            request.base.open(self._client.region)
        identity = self._identity(self._listing.open())
        if request.manifest.exists():
            return self._there_already(identity)
        journal, records = self._open_journal(identity)
        try:
            for sink in self._sinks:
                sink.begin(journal.identity, resume=records is not None)
            return self._work(journal, records)
        except (BadInput, ManifestError):
            if records is None and not journal.count:
                journal.discard()
            raise
        finally:
            journal.close()

    def _identity(self, gib: int) -> Identity:
        request, facts = self._request, self._request.facts
        if facts is not None and facts.volume_gib != gib:
            raise BadInput(f"EC2 speaks of {facts.volume_gib} GiB, EBS direct of {gib}: these are not one snapshot.")
        known = facts or SnapshotFacts(request.snapshot_id, "completed", gib)
        return Identity(
            snapshot_id=request.snapshot_id,
            region=self._client.region,
            volume_gib=gib,
            volume_id=known.volume_id,
            snapshot_owner=known.owner,
            snapshot_time=known.started,
            encrypted=known.encrypted,
            kms_key=known.kms_key,
            account_id=request.account_id,
            caller=request.caller,
            case=request.case,
            base_snapshot=request.base.snapshot_id if request.base else "",
            tool=TOOL,
            tool_version=__version__,
        )

    def _there_already(self, identity: Identity) -> ImageResult:
        path = self._request.manifest
        with Manifest(path) as manifest:
            if not manifest.identity.same_source(identity):
                raise BadInput(f"{path} is the manifest of {manifest.identity.snapshot_id}: choose another name.")
            outcome = manifest.check()
            found = manifest.identity
        for kind in self._request.hashes:
            if not getattr(outcome, f"image_{kind}"):
                raise BadInput(f"{path} is there already, made without the {kind} that is asked for now.")
        for sink in self._sinks:
            if not sink.complete(identity):
                raise BadInput(f"{path} is there already, but not the image that it speaks of: move it away first.")
        return ImageResult(found, outcome, path, changed=False)

    def _open_journal(self, identity: Identity) -> tuple[Journal, Iterator[tuple[int, bytes]] | None]:
        path = self._request.manifest
        if not Journal.partial_path(path).exists():
            return Journal.begin(path, identity), None
        journal, records = Journal.resume(path)
        if not journal.identity.same_source(identity):
            other = journal.identity.snapshot_id
            journal.close()
            raise BadInput(
                f"{Journal.partial_path(path)} is an unfinished run of {other}: remove it, or choose a name."
            )
        return journal, records

    def _work(self, journal: Journal, records: Iterator[tuple[int, bytes]] | None) -> ImageResult:
        client, size = self._client, image_size(journal.identity.volume_gib)
        facts = self._request.facts
        session: dict[str, Any] = {"started": utc_now()}
        expected = facts.full_bytes // BLOCK_SIZE if facts else 0
        before = client.counts.copy()
        meter = Meter(self._tell, size, expected, lambda: sum(client.counts.values()) - client.counts["requests"])
        if records is not None:
            meter.phase = "checking"
            for index, digest in records:
                self._settle(index, digest)
                self._kept += 1
                if meter.is_due():
                    self._report(meter, index, journal)
            meter.phase = "imaging"
        self._image(journal, meter)
        meter.phase = "hashing"
        self._whole.zeros(size, self._pause)
        meter.phase = "finishing"
        meter.tell(size, journal.count, self._fetched)
        # Files last: a bucket is likelier to refuse, and a file's final name says that all is well.
        order = sorted(self._sinks, key=lambda sink: isinstance(sink, RawFile))
        notes = [sink.finish() for sink in order]
        outcome = Outcome(
            image_size=size,
            image_sha256=self._whole.hex("sha256"),
            image_md5=self._whole.hex("md5"),
            sinks=notes,
            environment=environment(),
        )
        session |= {
            "finished": utc_now(),
            "fetched": self._fetched,
            "kept": self._kept,
            "pages": self._listing.pages,
            "counts": dict(client.counts - before),
        }
        outcome.sessions.append(session)
        path = journal.finish(outcome)
        for sink in self._sinks:
            sink.publish_manifest(path)
        return ImageResult(journal.identity, outcome, path, changed=True, session=session)

    def _image(self, journal: Journal, meter: Meter) -> None:
        """The blocks that no journal vouches for."""
        sinks, append, pause = self._sinks, journal.append, self._pause
        block = self._whole.block if self._request.hashes else None
        clock, only = time.monotonic, sinks[0].write if len(sinks) == 1 else None
        for index, data, digest in self._fetcher.stream(self._wanted(journal.last + 1)):
            if data is None:
                self._settle(index, digest)
                self._kept += 1
            else:
                if only is not None:
                    only(index, data, digest)
                else:
                    for sink in sinks:
                        sink.write(index, data, digest)
                if block is not None:
                    block(index, data, pause)
                self._fetched += 1
            append(index, digest)
            if clock() > meter.due:
                self._report(meter, index, journal)

    def _wanted(self, start: int) -> Iterator[Want]:
        """What is to be had from `start` on: from AWS, from the base, or from what an earlier run left in a bucket."""
        request, sinks = self._request, self._sinks
        changes = self._listing.stream(start)
        if request.base is not None:
            wants = merge(request.base.manifest.records(start), changes)
        else:
            wants = (Want(index, token) for index, token in changes)
        looking = [sink for sink in sinks if sink.remembers]
        for want in wants:
            for sink in looking:
                if want.token is not None and (digest := sink.stored(want.block)) is not None:
                    want = Want(want.block, None, digest)
            yield want

    def _settle(self, index: int, digest: bytes) -> None:
        """A block whose digest is known: verify it where it lies, and bring it to where it is missing."""
        data, lacking = None, []
        for sink in self._sinks:
            scratch = self._scratch[1 if data is self._scratch[0] else 0]
            if sink.read(index, scratch) and hashlib.sha256(scratch).digest() == digest:
                data = scratch if data is None else data
                sink.keep(index)
            else:
                lacking.append(sink)
        if data is None:
            data = self._obtain(index, digest)
        for sink in lacking:
            sink.write(index, data, digest)
        self._whole.block(index, data, self._pause)
        if self._client.stop():
            raise Cancelled("The run was cancelled.")

    def _obtain(self, index: int, digest: bytes) -> memoryview:
        base = self._request.base
        if base is not None and base.manifest.find(index) == digest:
            base.read(index, digest, self._scratch[0])
            return self._scratch[0]
        data, found = self._fetcher.one(index, self._listing.token(index))
        self._fetched += 1
        if found != digest:
            path = Journal.partial_path(self._request.manifest)
            raise ManifestError(f"Block {index} of the snapshot is not what {path} says: remove that file, begin anew.")
        return data

    def _renew(self, index: int, fresh: bool) -> str:
        return self._listing.token(index, fresh=fresh)

    def _pause(self) -> None:
        if self._client.stop():
            raise Cancelled("The run was cancelled.")

    def _report(self, meter: Meter, index: int, journal: Journal) -> None:
        meter.tell((index + 1) * BLOCK_SIZE, max(journal.count, self._kept), self._fetched)


def environment() -> dict[str, str]:
    """The versions of what did the work."""
    found = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "openssl": ssl.OPENSSL_VERSION,
        "byteorder": sys.byteorder,
    }
    for name in ("botocore", "zstandard"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def make_image(
    client: EbsClient, request: ImageRequest, *, tell: Callable[[Progress], None] | None = None
) -> ImageResult:
    """Image a snapshot; see `Imaging`."""
    return Imaging(client, request, tell=tell).run()
