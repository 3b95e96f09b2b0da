# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packed images where they lie, in a file or in a bucket: the stream, its record, and the identity it may need.

Beside a file lie `<name>.json` and `<name>.identity`. Beside an object lie `<name>.<attempt>.json` and
`<name>.<attempt>.identity`; its metadata names the attempt. Objects are written once, and a run that is killed before
the last step may leave such a pair, which then belongs to nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from .blocks import BLOCK_SIZE
from .errors import BadInput, Cancelled
from .manifest import utc_now
from .progress import Meter, Progress
from .s3_object import ObjectReader, read_small
from .verify import Verification
from .version import __version__

RECORD_SUFFIX, IDENTITY_SUFFIX, PACKED_SUFFIX = ".json", ".identity", ".age"
_CHUNK = 1 << 20

Tell = Callable[[Progress], None]
Stop = Callable[[], bool]


@dataclass
class PackRecord:
    """What lies beside a packed image. Bytes and lower-case SHA-256; no secret."""

    source: str
    source_mtime_ns: int
    compression: str
    plain_size: int = 0
    plain_sha256: str = ""
    packed_size: int = 0
    packed_sha256: str = ""
    recipients: list[str] = field(default_factory=list)  # empty: protected by a passphrase
    identity_file: str = ""
    snapshot_id: str = ""  # of an image with a manifest
    linear_sha256: str = ""
    started: str = field(default_factory=utc_now)
    finished: str = ""
    tool_version: str = __version__

    def to_json(self) -> dict[str, Any]:
        """All of it as data."""
        return asdict(self)

    def to_bytes(self) -> bytes:
        """As it is stored."""
        return json.dumps(self.to_json(), indent=1).encode() + b"\n"

    def made_as(self, wish: PackRecord) -> bool:
        """Whether it says of its packed image what a wish asks for."""
        mine, other = self.to_json(), wish.to_json()
        names = ("source", "source_mtime_ns", "compression", "plain_size", "recipients", "snapshot_id", "linear_sha256")
        return all(mine[name] == other[name] for name in names)


def load_record(data: bytes | None, place: str) -> PackRecord | None:
    """A record as it is stored."""
    if data is None:
        return None
    try:
        return PackRecord(**json.loads(data))
    except (ValueError, TypeError) as error:
        raise BadInput(f"The record {place} cannot be read: {error}.") from error


class Readable(Protocol):
    """A stream that knows where it is."""

    def read(self, size: int = -1, /) -> bytes: ...
    def tell(self) -> int: ...


class Packed(Protocol):
    """A packed image."""

    name: str
    size: int

    def opened(self) -> AbstractContextManager[Readable]:
        """The stream."""

    def record(self) -> PackRecord | None:
        """What lies beside it; None where nothing does."""

    def identity(self) -> tuple[str, bytes]:
        """Name and content of the identity beside it."""


class PackedFile:
    """In a file."""

    def __init__(self, path: Path | str) -> None:
        self.name, self._path = str(path), Path(path)
        try:
            with self._path.open("rb") as file:
                self.size = file.seek(0, os.SEEK_END)
        except OSError as error:
            raise BadInput(f"{path} cannot be read: {error.strerror}.") from error

    def opened(self) -> AbstractContextManager[Readable]:
        return self._path.open("rb")

    def _beside(self, suffix: str) -> bytes | None:
        path = Path(f"{self.name}{suffix}")
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BadInput(f"{path} cannot be read: {error.strerror}.") from error

    def record(self) -> PackRecord | None:
        return load_record(self._beside(RECORD_SUFFIX), f"{self.name}{RECORD_SUFFIX}")

    def identity(self) -> tuple[str, bytes]:
        name = f"{self.name}{IDENTITY_SUFFIX}"
        return name, _there(self._beside(IDENTITY_SUFFIX), name)


class PackedObject:
    """In a bucket."""

    def __init__(self, client: Any, place: str) -> None:
        self._client, self.name = client, place
        facts = ObjectReader(client, place)
        self.size, self._attempt = facts.size, facts.attempt

    def opened(self) -> AbstractContextManager[Readable]:
        return ObjectReader(self._client, self.name)

    def record(self) -> PackRecord | None:
        name = beside(self.name, self._attempt, RECORD_SUFFIX)
        return load_record(read_small(self._client, name), name) if self._attempt else None

    def identity(self) -> tuple[str, bytes]:
        name = beside(self.name, self._attempt, IDENTITY_SUFFIX)
        return name, _there(read_small(self._client, name) if self._attempt else None, name)


def beside(place: str, attempt: str, suffix: str) -> str:
    """The name of what belongs to an object."""
    return f"{place}.{attempt}{suffix}"


def _there(data: bytes | None, name: str) -> bytes:
    if data is None:
        raise BadInput(f"The identity {name} is not there: name the one that the image was encrypted for.")
    return data


def packed_at(place: Path | str, client: Any = None) -> Packed:
    """A packed image by its name; `client`: boto3's, for s3://."""
    return PackedObject(client, str(place)) if str(place).startswith("s3://") else PackedFile(place)


def compression_by_name(name: str, suffixes: dict[str, str]) -> str:
    """How a packed image of this name is compressed."""
    name = PurePosixPath(name).name.removesuffix(PACKED_SUFFIX)
    found = [kind for kind, suffix in suffixes.items() if suffix and name.endswith(suffix)]
    return found[0] if found else "none"


def verify_packed(packed: Packed, *, stop: Stop | None = None, tell: Tell | None = None) -> Verification:
    """Read a packed image back and hold it against its record; takes no key, and says nothing of who packed it."""
    record = packed.record()
    if record is None:
        raise BadInput(f"{packed.name} has no record beside it: nothing says what it should be.")
    found = Verification(packed.name, record.snapshot_id, record.linear_sha256)
    meter = Meter(tell, packed.size, 0, lambda: 0)
    meter.phase = "verifying"
    digest, size = hashlib.sha256(), 0
    with packed.opened() as stream:
        while data := stream.read(_CHUNK):
            digest.update(data)
            size += len(data)
            if stop is not None and stop():
                raise Cancelled("The verification was cancelled.")
            if meter.is_due():
                meter.tell(size, size // BLOCK_SIZE, 0)
    found.packed_sha256 = digest.hexdigest()
    if (size, found.packed_sha256) != (record.packed_size, record.packed_sha256):
        found.notes.append(
            f"It has {size} bytes with the SHA-256 {found.packed_sha256}, its record says {record.packed_size} bytes "
            f"with {record.packed_sha256}."
        )
    return found.end()
