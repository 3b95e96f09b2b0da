# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest of an image: which blocks were written, the SHA-256 of each, and where they come from.

While an image is made, the manifest is its journal: a file that only grows, and from which a run that was killed goes
on. It never holds tokens. When the image is complete a footer is added, the file is flushed to the disk and gets its
final name: a manifest under its final name is complete.

On disk, all numbers little-endian:

==========  ==========================================================================================================
header      magic `DFIREBSM`, u16 version (1), u16 zero, u32 length, that many bytes of JSON (`Identity`), u32 CRC-32
            of everything before it
records     40 bytes for each written block, in strictly ascending order: u32 index, 32 bytes SHA-256, u32 CRC-32 of
            these 36 bytes (begun with the header's CRC, so that a record of another file is not taken for one of this)
footer      u32 0xFFFFFFFF, 32 bytes SHA-256 of all record bytes, u32 length, that many bytes of JSON (`Outcome`)
trailer     u64 offset of the footer, u32 CRC-32 of the whole footer, magic `DFIREBSE`
==========  ==========================================================================================================

The *linear digest* is the SHA-256 over the raw digests of the written blocks in index order: what CompleteSnapshot
takes as aggregate checksum (method LINEAR) for an upload of the same blocks. AWS never returns it.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO

from .blocks import block_count
from .errors import ManifestError

MAGIC, END_MAGIC, VERSION = b"DFIREBSM", b"DFIREBSE", 1
SUFFIX = ".manifest"
HEAD = struct.Struct("<8sHHI")
RECORD = struct.Struct("<I32sI")
BODY = struct.Struct("<I32s")
FOOT = struct.Struct("<I32sI")
TRAILER = struct.Struct("<QI8s")
CRC = struct.Struct("<I")
RECORD_SIZE = RECORD.size  # 40
END_INDEX = 0xFFFFFFFF
_LONGEST_JSON = 1 << 20
_CHUNK = 4096  # records read at once


def utc_now() -> str:
    """The present time in UTC, ISO 8601, whole seconds."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Identity:
    """Where an image comes from. What is unknown (no right to ask) is empty; nothing is guessed."""

    snapshot_id: str
    region: str
    volume_gib: int
    volume_id: str = ""
    snapshot_owner: str = ""  # account that owns the snapshot
    snapshot_time: str = ""  # when it was taken, UTC
    encrypted: bool | None = None
    kms_key: str = ""
    account_id: str = ""  # account of the caller
    caller: str = ""  # ARN of the caller
    case: str = ""  # incident, as the analysts name it
    base_snapshot: str = ""  # incremental: the snapshot whose image was the base
    tool: str = ""
    tool_version: str = ""
    started: str = field(default_factory=utc_now)

    def same_source(self, other: Identity) -> bool:
        """Whether both speak of the same snapshot, so that one's blocks can complete the other's image."""
        mine = (self.snapshot_id, self.region, self.volume_gib)
        return mine == (other.snapshot_id, other.region, other.volume_gib)


@dataclass
class Outcome:
    """What is known at the end. Digests in lower-case hexadecimal; an empty one was not asked for."""

    blocks: int = 0
    linear_sha256: str = ""
    image_size: int = 0
    image_sha256: str = ""
    image_md5: str = ""
    finished: str = ""
    # One entry a run that worked on it: started, finished, fetched, kept, requests, refusals and retries by kind.
    sessions: list[dict[str, Any]] = field(default_factory=list)
    sinks: list[dict[str, Any]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)  # versions of Python, libraries, operating system
    derived: dict[str, Any] = field(default_factory=dict)  # made from the finished image later: e01, packed, ...


class LinearDigest:
    """The running SHA-256 over the raw digests of blocks that are added in index order."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.add = self._hash.update  # the hot path spares a call

    def hex(self) -> str:
        return self._hash.hexdigest()


class Manifest:
    """A manifest that is being read; complete ones only, unless `partial`. Memory does not grow with the image."""

    def __init__(self, path: Path | str, *, partial: bool = False) -> None:
        self.path = Path(path)
        try:
            self._file: BinaryIO = self.path.open("rb")
        except OSError as error:
            raise ManifestError(f"The manifest {path} cannot be opened: {error.strerror}.") from error
        try:
            self.identity, self.start, self.seed = _read_header(self._file, self.path)
            self.outcome, self.end = _read_footer(self._file, self.path, self.start)
            if self.outcome is None and not partial:
                raise ManifestError(f"The manifest {path} has no end: the run that wrote it did not finish.")
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, *_unused: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __len__(self) -> int:
        """Number of records (of a partial manifest: of whole ones)."""
        return (self.end - self.start) // RECORD_SIZE

    @property
    def done(self) -> Outcome:
        """The outcome of a complete manifest."""
        if self.outcome is None:
            raise ManifestError(f"The manifest {self.path} has no end: the run that wrote it did not finish.")
        return self.outcome

    def records(self, first: int = 0) -> Iterator[tuple[int, bytes]]:
        """(index, SHA-256) of every written block from index `first` on, ascending.

        Of a complete manifest a damaged record raises; of a partial one the records before it are given.
        """
        limit, last = block_count(self.identity.volume_gib), -1
        at = self.start + self._position(first) * RECORD_SIZE if first else self.start
        while at < self.end:
            self._file.seek(at)
            data = self._file.read(min(_CHUNK * RECORD_SIZE, self.end - at))
            data = data[: len(data) - len(data) % RECORD_SIZE]
            if not data:
                return
            for place in range(0, len(data), RECORD_SIZE):
                index, digest, crc = RECORD.unpack_from(data, place)
                if zlib.crc32(data[place : place + 36], self.seed) != crc or not last < index < limit:
                    if self.outcome is None:
                        return
                    raise ManifestError(f"The manifest {self.path} is damaged at byte {at + place}.")
                yield index, digest
                last = index
            at += len(data)

    def find(self, index: int) -> bytes | None:
        """The SHA-256 of one block; None if it was never written (it reads as zeros)."""
        place = self._position(index)
        if place >= len(self):
            return None
        found, digest = self._record(place)
        return digest if found == index else None

    def check(self) -> Outcome:
        """Read everything once: raise unless records, their digest, their count and the linear digest agree."""
        outcome, linear, count = self.done, LinearDigest(), 0
        whole = hashlib.sha256()
        for index, digest in self.records():
            linear.add(digest)
            body = BODY.pack(index, digest)
            whole.update(body + CRC.pack(zlib.crc32(body, self.seed)))
            count += 1
        if (count, linear.hex(), whole.digest()) != (outcome.blocks, outcome.linear_sha256, self.records_digest()):
            raise ManifestError(f"The manifest {self.path} contradicts itself: its records are not what its end says.")
        return outcome

    def records_digest(self) -> bytes:
        """The SHA-256 of all record bytes, as the footer states it."""
        self._file.seek(self.end)
        digest: bytes = FOOT.unpack(self._file.read(FOOT.size))[1]
        return digest

    def copy_records(self, file: BinaryIO) -> None:
        """Write header and records, as they are, to another file."""
        self._file.seek(0)
        left = self.end
        while left:
            left -= file.write(self._file.read(min(left, 1 << 20)))

    def _record(self, place: int) -> tuple[int, bytes]:
        self._file.seek(self.start + place * RECORD_SIZE)
        data = self._file.read(RECORD_SIZE)
        if len(data) < RECORD_SIZE or zlib.crc32(data[:36], self.seed) != CRC.unpack_from(data, 36)[0]:
            raise ManifestError(f"The manifest {self.path} is damaged at record {place}.")
        index, digest, _check = RECORD.unpack(data)
        return index, digest

    def _position(self, index: int) -> int:
        """The number of records below `index`."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self._record(middle)[0] < index:
                low = middle + 1
            else:
                high = middle
        return low


def _read_header(file: BinaryIO, path: Path) -> tuple[Identity, int, int]:
    head = file.read(HEAD.size)
    if len(head) < HEAD.size or not head.startswith(MAGIC):
        raise ManifestError(f"{path} is not a manifest of an EBS image.")
    _magic, version, _flags, length = HEAD.unpack(head)
    if version != VERSION:
        raise ManifestError(f"The manifest {path} has format version {version}; this tool reads version {VERSION}.")
    text = file.read(min(length, _LONGEST_JSON))
    seed = zlib.crc32(head + text)
    if file.read(4) != CRC.pack(seed):
        raise ManifestError(f"The manifest {path} is damaged in its header.")
    return _load(Identity, text, path), HEAD.size + length + 4, seed


def _read_footer(file: BinaryIO, path: Path, start: int) -> tuple[Outcome | None, int]:
    """The outcome (None: not complete) and where the records end."""
    size = file.seek(0, os.SEEK_END)
    if size >= start + FOOT.size + TRAILER.size:
        file.seek(size - TRAILER.size)
        place, crc, magic = TRAILER.unpack(file.read(TRAILER.size))
        length = size - TRAILER.size - place
        if magic == END_MAGIC and start <= place and FOOT.size <= length <= _LONGEST_JSON:
            file.seek(place)
            foot = file.read(length)
            if zlib.crc32(foot) == crc and (place - start) % RECORD_SIZE == 0:
                return _load(Outcome, foot[FOOT.size :], path), place
    return None, size - (size - start) % RECORD_SIZE


def _load(kind: Any, text: bytes, path: Path) -> Any:
    """A dataclass from JSON; fields of a later version that this one does not know are left out."""
    try:
        data = json.loads(text)
        return kind(**{entry.name: data[entry.name] for entry in fields(kind) if entry.name in data})
    except (ValueError, TypeError) as error:
        raise ManifestError(f"The manifest {path} is damaged: {error}.") from error
