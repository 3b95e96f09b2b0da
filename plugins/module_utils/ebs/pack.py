# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packing an image for storage or transport, and unpacking it: compressed first, then encrypted, as one stream.

The tools of the trade open it without us: `age --decrypt -i KEY image.raw.zst.age | zstd -d > image.raw`.

Nothing appears under its final name before the last byte was checked. That a file could be decrypted says that nobody
changed it since somebody packed it. Who that was it says only where a passphrase was used: anybody can encrypt for a
recipient. Give the SHA-256 that the image should have (its manifest states it) and that question is settled, too.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from . import age
from .blocks import BLOCK_SIZE
from .compression import SUFFIXES, Decompressor, compressed
from .errors import BadInput, Cancelled, Mismatch, SinkError
from .files import flush_to_disk, lock, publish
from .manifest import Manifest, utc_now
from .packed import (
    IDENTITY_SUFFIX,
    PACKED_SUFFIX,
    RECORD_SUFFIX,
    PackedFile,
    PackRecord,
    compression_by_name,
    packed_at,
)
from .progress import Meter, Progress
from .sinks import data_ranges

_CHUNK = 1 << 20
_ZEROS = bytes(_CHUNK)

Tell = Callable[[Progress], None]
Stop = Callable[[], bool]


class Target(Protocol):
    """Where a packed image goes."""

    size: int

    @property
    def sha256(self) -> str: ...
    def write(self, data: bytes) -> None: ...


@dataclass
class PackResult:
    """`changed` is False where the packed file was there already. `path`: a file, or `s3://` of an object."""

    path: Path | str
    record: PackRecord
    changed: bool


@dataclass
class UnpackResult:
    """`changed` is False where the file with that very SHA-256 was there already."""

    path: Path
    size: int
    sha256: str
    changed: bool


def packed_name(source: Path, compression: str) -> Path:
    """The name of a packed file unless another is asked for."""
    return Path(f"{source}{SUFFIXES[compression]}{PACKED_SUFFIX}")


def pack(
    source: Path | str,
    target: Path | str | None = None,
    *,
    recipients: Sequence[str] = (),
    passphrase: str | None = None,
    compression: str = "zstd",
    level: int | None = None,
    expect_sha256: str = "",
    stop: Stop | None = None,
    tell: Tell | None = None,
) -> PackResult:
    """Compress and encrypt a file or a block device. `expect_sha256`: what `source` must turn out to have."""
    source = Path(source)
    if compression not in SUFFIXES:
        raise BadInput(f"There is no compression {compression!r}; there are {', '.join(SUFFIXES)}.")
    if bool(recipients) == bool(passphrase):
        raise BadInput("Name either recipients or a passphrase.")
    target = Path(target) if target else packed_name(source, compression)
    identity_path = Path(f"{target}{IDENTITY_SUFFIX}")
    with _opened(source) as file:
        facts = os.fstat(file.fileno())
        record = PackRecord(str(source.name), facts.st_mtime_ns, compression, recipients=list(recipients))
        record.plain_size = file.seek(0, os.SEEK_END)
        if target.exists():
            return PackResult(target, _packed_before(target, record, expect_sha256), changed=False)
        if passphrase:
            to, protected = age.protected_identity(passphrase)
            keys = [to]
            record.identity_file = identity_path.name
        else:
            keys = age.recipients(recipients)
        with _Partial(target) as out:
            meter = Meter(tell, record.plain_size, 0, lambda: 0)
            meter.phase = "packing"
            chunks = _watched(_chunks(file.fileno(), record.plain_size, source), meter, stop)
            write_stream(chunks, out, keys, record, level)
            now = os.fstat(file.fileno())
            if (now.st_mtime_ns, now.st_size) != (facts.st_mtime_ns, facts.st_size):
                raise Mismatch(f"{source} was changed while it was packed: nothing was kept.")
            expect(str(source), record.plain_sha256, expect_sha256)
            record.finished = utc_now()
            out.flush()
            # The packed file last: with its name everything that belongs to it is there.
            if passphrase:
                _write_whole(identity_path, protected)
            _write_whole(Path(f"{target}{RECORD_SUFFIX}"), record.to_bytes())
            out.publish()
    return PackResult(target, record, changed=True)


def write_stream(
    chunks: Iterator[Any], out: Target, keys: Sequence[Any], record: PackRecord, level: int | None
) -> None:
    """Compress and encrypt what comes, and note the digests of both sides."""
    plain = hashlib.sha256()
    age.encrypt(compressed(chunks, record.compression, level, plain.update), out.write, keys)
    record.plain_sha256, record.packed_sha256, record.packed_size = plain.hexdigest(), out.sha256, out.size


def unpack(
    packed: Path | str,
    target: Path | str,
    *,
    identity_files: Sequence[Path | str] = (),
    passphrase: str | None = None,
    compression: str = "",
    expect_sha256: str = "",
    client: Any = None,
    stop: Stop | None = None,
    tell: Tell | None = None,
) -> UnpackResult:
    """Decrypt and decompress into a file, which is sparse where it is zeros. `compression`: default, by the name.

    With a passphrase the identity is the file beside the packed one, unless others are named. `packed` may lie in a
    bucket (`s3://`); then `client` is boto3's.
    """
    target, there = Path(target), packed_at(packed, client)
    compression = compression or compression_by_name(there.name, SUFFIXES)
    record = there.record()
    expect_sha256 = expect_sha256.lower() or (record.plain_sha256 if record is not None else "")
    if target.exists():
        return _unpacked_before(target, expect_sha256)
    contents = list(age.identity_files(Path(path) for path in identity_files))
    if not contents and passphrase:
        contents = [there.identity()]
    keys = age.identities(contents, passphrase)
    with there.opened() as file, _Partial(target) as out:
        meter = Meter(tell, there.size, 0, lambda: 0)
        meter.phase = "unpacking"
        inner = Decompressor(compression)

        def put(data: bytes) -> None:
            for piece in inner.put(data):
                out.write_sparse(piece)
            _report(meter, stop, file.tell())

        age.decrypt(file, put, keys, there.name)
        inner.end()
        out.end_sparse()
        out.flush()
        expect(there.name, out.sha256, expect_sha256)
        out.publish()
    return UnpackResult(target, out.size, out.sha256, changed=True)


def file_sha256(path: Path, stop: Stop | None = None) -> str:
    """The SHA-256 of a file, in lower-case hexadecimal."""
    digest = hashlib.sha256()
    with _opened(path) as file:
        for chunk in iter(lambda: file.read(_CHUNK), b""):
            digest.update(chunk)
            if stop is not None and stop():
                raise Cancelled("The run was cancelled.")
    return digest.hexdigest()


class _Partial:
    """The file that is being made: `<name>.partial`, removed unless it was published."""

    def __init__(self, final: Path) -> None:
        self._final, self._path = final, Path(f"{final}.partial")
        self._hash = hashlib.sha256()
        self.size = 0

    def __enter__(self) -> _Partial:
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        except OSError as error:
            raise BadInput(f"{self._path} cannot be written: {error.strerror}.") from error
        self._file = os.fdopen(fd, "r+b", buffering=_CHUNK)
        try:
            lock(cast(BinaryIO, self._file), self._path)
        except BaseException:
            self._file.close()
            raise
        self._file.truncate(0)
        return self

    def __exit__(self, kind: object, error: object, _trace: object) -> None:
        with suppress(OSError):  # what could not be flushed is thrown away
            self._file.close()
        if kind is not None:
            with suppress(OSError):
                self._path.unlink()
        if isinstance(error, OSError):
            raise SinkError(f"{self._path}: {error.strerror or error}.") from error

    @property
    def sha256(self) -> str:
        """Of what was written so far."""
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        """Append."""
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def write_sparse(self, data: bytes) -> None:
        """Append; zeros become a hole."""
        for at in range(0, len(data), _CHUNK):
            part = data[at : at + _CHUNK]
            if part == _ZEROS[: len(part)]:
                self._file.seek(len(part), os.SEEK_CUR)
            else:
                self._file.write(part)
        self._hash.update(data)
        self.size += len(data)

    def end_sparse(self) -> None:
        """A hole at the end counts, too."""
        self._file.flush()
        self._file.truncate(self.size)

    def flush(self) -> None:
        """Return when everything is on the disk: a full one says so here at the latest."""
        flush_to_disk(cast(BinaryIO, self._file))

    def publish(self) -> None:
        """Give the file its final name, durably."""
        publish(self._path, self._final)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from error


def _chunks(fd: int, size: int, path: Path) -> Iterator[bytes]:
    """The content in order; holes are not read."""
    place = 0
    extents: Iterator[tuple[int, int]] = data_ranges(fd, 0, size)
    for start, end in extents:
        yield from _zeros(start - place)
        place = start
        while place < end:
            data = os.pread(fd, min(_CHUNK, end - place), place)
            if not data:
                raise Mismatch(f"{path} ended at byte {place}, before its {size}.")
            place += len(data)
            yield data
    yield from _zeros(size - place)


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        yield _ZEROS if count >= _CHUNK else _ZEROS[:count]
        count -= _CHUNK


def _watched(chunks: Iterator[bytes], meter: Meter, stop: Stop | None) -> Iterator[bytes]:
    place = 0
    for chunk in chunks:
        yield chunk
        place += len(chunk)
        _report(meter, stop, place)


def _report(meter: Meter, stop: Stop | None, place: int) -> None:
    if stop is not None and stop():
        raise Cancelled("The run was cancelled.")
    if meter.is_due():
        meter.tell(place, place // BLOCK_SIZE, 0)


def expect(path: str, found: str, wanted: str) -> None:
    """Raise unless a digest is what it should be."""
    if wanted and found != wanted.lower():
        raise Mismatch(f"The content of {path} has the SHA-256 {found}, not {wanted.lower()}: nothing was kept.")


def _write_whole(path: Path, content: bytes) -> None:
    partial = Path(f"{path}.partial")
    with partial.open("wb") as file:
        file.write(content)
        flush_to_disk(file)
    publish(partial, path)


def _packed_before(target: Path, wish: PackRecord, expect_sha256: str) -> PackRecord:
    there = PackedFile(target)
    record = there.record()
    if record is None or not record.made_as(wish) or there.size != record.packed_size:
        raise BadInput(f"{target} exists already and was not made from this file so: choose another name.")
    expect(str(target), record.plain_sha256, expect_sha256)
    return record


def _unpacked_before(target: Path, wanted: str) -> UnpackResult:
    if not wanted:
        raise BadInput(f"{target} exists already: move it away, or say which SHA-256 it should have.")
    found = file_sha256(target)
    if found != wanted:
        raise BadInput(f"{target} exists already and has another SHA-256 ({found}): choose another name.")
    return UnpackResult(target, target.stat().st_size, found, changed=False)


def wanted_sha256(manifest: Path | str | None) -> str:
    """The SHA-256 of the whole image by its manifest; empty where none is named."""
    if manifest is None:
        return ""
    with Manifest(manifest) as found:
        digest = found.check().image_sha256
    if not digest:
        raise BadInput(f"The manifest {manifest} states no SHA-256 of the whole image (hashes: [sha256] makes one).")
    return digest
