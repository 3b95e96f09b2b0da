# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing a manifest: the journal of a run, which becomes the manifest when the image is complete (see manifest.py)."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, cast

from .blocks import LARGEST_GIB, block_count
from .errors import BadInput, ManifestError
from .files import flush_to_disk, lock, publish
from .manifest import (
    BODY,
    CRC,
    END_INDEX,
    END_MAGIC,
    FOOT,
    HEAD,
    MAGIC,
    RECORD_SIZE,
    TRAILER,
    VERSION,
    Identity,
    LinearDigest,
    Manifest,
    Outcome,
    utc_now,
)

FLUSH_RECORDS = 64  # records a killed run may lose; their blocks are fetched again


class Journal:
    """A manifest that is being written, under `<final name>.partial`. One process at a time (locked)."""

    def __init__(self, path: Path, file: BinaryIO, identity: Identity, seed: int) -> None:
        self.path, self.identity = path, identity  # the final name
        self._file, self._seed = file, seed
        self._records = hashlib.sha256()
        self._linear = LinearDigest()
        self._count, self._last = 0, -1
        self._waiting: list[tuple[int, bytes]] = []
        self._limit = block_count(identity.volume_gib)

    @staticmethod
    def partial_path(path: Path | str) -> Path:
        """Where the journal of the manifest `path` lies."""
        return Path(f"{path}.partial")

    @classmethod
    def begin(cls, path: Path | str, identity: Identity) -> Journal:
        """A new, empty journal. What an earlier run left under its name is replaced."""
        if not 0 < identity.volume_gib <= LARGEST_GIB:
            raise BadInput(f"A volume of {identity.volume_gib} GiB does not exist.")
        partial = cls.partial_path(path)
        text = json.dumps(asdict(identity)).encode()
        head = HEAD.pack(MAGIC, VERSION, 0, len(text)) + text
        seed = zlib.crc32(head)
        file = _open(partial, "ab")
        try:
            file.truncate(0)
            file.write(head + CRC.pack(seed))
            file.flush()
        except BaseException:
            file.close()
            raise
        return cls(Path(path), file, identity, seed)

    @classmethod
    def resume(cls, path: Path | str) -> tuple[Journal, Iterator[tuple[int, bytes]]]:
        """The journal that an earlier run left, and its records.

        The records must be read to their end before anything is appended: then the file is cut behind the last whole
        one, and the journal goes on there.
        """
        partial = cls.partial_path(path)
        file = _open(partial, "r+b")
        try:
            reader = Manifest(partial, partial=True)
        except BaseException:
            file.close()
            raise
        journal = cls(Path(path), file, reader.identity, reader.seed)
        return journal, journal._replay(reader)

    def _replay(self, reader: Manifest) -> Iterator[tuple[int, bytes]]:
        with reader:
            # A run that was killed between the footer and the final name left a footer: it is written anew.
            reader.outcome = None
            row: list[tuple[int, bytes]] = []
            for index, digest in reader.records():
                self._expect(index, digest)
                row.append((index, digest))
                if len(row) >= FLUSH_RECORDS:
                    self._pack(row)
                yield index, digest
            self._pack(row)
            self._file.seek(reader.start + self._count * RECORD_SIZE)
            self._file.truncate()

    @property
    def count(self) -> int:
        """Records so far."""
        return self._count

    @property
    def last(self) -> int:
        """Index of the last record; -1 before the first."""
        return self._last

    @property
    def linear(self) -> str:
        """The linear digest so far, in hexadecimal."""
        self._write()
        return self._linear.hex()

    def _expect(self, index: int, digest: bytes) -> None:
        if not self._last < index < self._limit or len(digest) != 32:
            raise ManifestError(f"Block {index} cannot follow block {self._last} of {self._limit} in a manifest.")
        self._last = index
        self._count += 1

    def _pack(self, row: list[tuple[int, bytes]]) -> bytearray:
        """A row of records as bytes, added to the digests; then the row is empty.

        In rows, since after a block the processor's caches hold its data and nothing of this code: a record by itself
        costs several times as much.
        """
        packed, seed = bytearray(), self._seed
        for index, digest in row:
            body = BODY.pack(index, digest)
            packed += body
            packed += CRC.pack(zlib.crc32(body, seed))
        self._records.update(packed)
        self._linear.add(b"".join([digest for _index, digest in row]))
        row.clear()
        return packed

    def _write(self) -> None:
        if self._waiting:
            self._file.write(self._pack(self._waiting))
        self._file.flush()

    def append(self, index: int, digest: bytes) -> None:
        """Record a block that every sink has taken. Indexes ascend strictly."""
        self._expect(index, digest)
        self._waiting.append((index, digest))
        if len(self._waiting) >= FLUSH_RECORDS:
            self._write()

    def sync(self) -> None:
        """Flush the journal to the disk."""
        self._write()
        flush_to_disk(self._file)

    def finish(self, outcome: Outcome) -> Path:
        """Complete the manifest and give it its final name. Sets `blocks`, `linear_sha256` and `finished`."""
        outcome.blocks, outcome.linear_sha256 = self._count, self.linear
        outcome.finished = outcome.finished or utc_now()
        _write_footer(self._file, self._records.digest(), outcome)
        flush_to_disk(self._file)
        publish(self.partial_path(self.path), self.path)
        self._file.close()
        return self.path

    def discard(self) -> None:
        """Remove a journal that nothing was recorded in."""
        self.partial_path(self.path).unlink(missing_ok=True)
        self._file.close()

    def close(self) -> None:
        """Leave the journal as it is, for a later resume."""
        try:
            if not self._file.closed:
                self._write()
        finally:
            self._file.close()


def add_derived(path: Path | str, name: str, facts: Any) -> None:
    """Note in a complete manifest what was made from its image (`derived[name] = facts`): a new file replaces it."""
    with Manifest(path) as manifest:
        outcome = manifest.check()
        outcome.derived[name] = facts
        partial = Path(f"{path}.new")
        with partial.open("wb") as file:
            manifest.copy_records(file)
            _write_footer(file, manifest.records_digest(), outcome)
            flush_to_disk(file)
    publish(partial, Path(path))


def _open(partial: Path, mode: str) -> BinaryIO:
    try:
        file = partial.open(mode)
    except OSError as error:
        raise ManifestError(f"The journal {partial} cannot be opened: {error.strerror}.") from error
    try:
        lock(cast(BinaryIO, file), partial)
    except BaseException:
        file.close()
        raise
    return cast(BinaryIO, file)


def _write_footer(file: BinaryIO, records_digest: bytes, outcome: Outcome) -> None:
    place = file.tell()
    text = json.dumps(asdict(outcome)).encode()
    foot = FOOT.pack(END_INDEX, records_digest, len(text)) + text
    file.write(foot + TRAILER.pack(place, zlib.crc32(foot), END_MAGIC))
