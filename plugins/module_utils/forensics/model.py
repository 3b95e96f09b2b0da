# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the analysis of one disk reads and writes: evidence facts, findings, artifact files.

Artifact files appear under their own names only when they are complete: they are written as `.partial-…`, synced and
renamed, so that an uploader which looks at any moment takes finished files only.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO

from .lvm import Logical

SEVERITIES = ("info", "low", "medium", "high", "critical")
PARTIAL = ".partial-"
EXCERPT_LIMIT = 400


class EvidenceError(Exception):
    """The description of the evidence cannot be used; the message says what is wrong with it."""


@dataclass(frozen=True)
class Partition:
    """One partition (number 0: a file system on the whole disk), as the module evidence_volume found it."""

    number: int
    device: str
    type: str
    kind: str
    size_bytes: int
    mounted: bool
    mount_point: str | None
    journal_dirty: bool | None
    reason: str | None
    logical: Logical | None = None  # the logical volume inside the partition that this is

    @property
    def is_file_system(self) -> bool:
        return self.kind == "filesystem"

    @property
    def key(self) -> int | str:
        """What it is called outside of artifacts: never by a name from the evidence."""
        return self.number if self.logical is None else f"{self.number}.lv{self.logical.index}"

    def open(self) -> BinaryIO:
        """Its content."""
        if self.logical is not None:
            return self.logical.open()
        return open(self.device, "rb")  # noqa: PTH123, SIM115 - a block device, closed by the caller


@dataclass(frozen=True)
class Evidence:
    """One evidence volume, or the second one of a snapshot on which the journals of `journal_of` were applied."""

    volume_id: str
    snapshot_id: str
    size_bytes: int
    partitions: tuple[Partition, ...]
    journal_of: str = ""
    sha256: str = ""  # of all its bytes, where it was filled block by block

    def stem(self, partition: Partition) -> str:
        """What the names of a partition's artifacts begin with: `vol-…p1`, `vol-…p1.vg-lv` for a logical volume, and
        `vol-…p1.journal` beside it."""
        if self.journal_of:
            return f"{self.journal_of}p{partition.number}.journal"
        label = f".{partition.logical.label}" if partition.logical else ""
        return f"{self.volume_id}p{partition.number}{label}"

    def label(self, partition: Partition, *, alone: bool) -> str:
        """What a partition is called in logs and lists, never by a name from the evidence: without its volume where all
        is of one snapshot."""
        label = f"p{partition.key}{'.journal' if self.journal_of else ''}"
        return label if alone else f"{self.journal_of or self.volume_id}{label}"


@dataclass(frozen=True)
class Host:
    """All that is attached to an analysis host: evidence first, then what shows its journals."""

    volumes: tuple[Evidence, ...]
    sets: tuple[dict[str, Any], ...] = ()

    @property
    def evidence(self) -> list[Evidence]:
        return [volume for volume in self.volumes if not volume.journal_of]

    def label(self, volume: Evidence, partition: Partition) -> str:
        return volume.label(partition, alone=len(self.evidence) == 1)

    def pairs(self) -> list[tuple[Evidence, Partition]]:
        """Every partition with its volume."""
        return [(volume, partition) for volume in self.volumes for partition in volume.partitions]


def load_evidence(path: Path) -> Host:
    """Read the facts that the role `evidence` left. A volume id must look like one: files are named after it."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        volumes = tuple(_volume(entry) for entry in data["volumes"])
        found = tuple(dict(entry) for entry in data.get("sets") or [])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvidenceError(f"{path} does not describe evidence volumes: {error!r}; "
                            "pass the file that the evidence step wrote") from error
    for name in (name for volume in volumes for name in (volume.volume_id, volume.journal_of)):
        if name and not re.fullmatch(r"vol-[0-9a-f]{8,17}", name):
            raise EvidenceError(f"{path}: volume_id must be a volume id such as vol-0123456789abcdef0")
    host = Host(volumes, found)
    if not host.evidence or not all(volume.volume_id for volume in volumes):
        raise EvidenceError(f"{path}: there must be an evidence volume, and each volume_id must be a volume id")
    return host


def _volume(data: dict[str, Any]) -> Evidence:
    partitions = tuple(
        Partition(
            number=int(entry["number"]), device=str(entry.get("device") or ""), type=str(entry.get("type") or ""),
            kind=str(entry.get("kind") or "unknown"), size_bytes=int(entry.get("size_bytes") or 0),
            mounted=bool(entry.get("mounted")), mount_point=entry.get("mount_point") or None,
            journal_dirty=entry.get("journal_dirty"), reason=entry.get("reason") or None)
        for entry in data["partitions"])
    return Evidence(str(data["volume_id"]), str(data.get("snapshot_id") or ""), int(data.get("size_bytes") or 0),
                    partitions, str(data.get("journal_of") or ""), _sha256(data.get("image")))


def _sha256(image: Any) -> str:
    digest = str((image or {}).get("sha256", ""))
    return digest if re.fullmatch(r"[0-9a-f]{64}", digest) else ""


def clean(text: str | bytes, limit: int = EXCERPT_LIMIT) -> str:
    """Text from evidence, safe to print and to store: control and undecodable characters escaped, cut at `limit`."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    if len(text) <= limit and text.isascii() and text.isprintable() and "\\" not in text:
        return text
    out: list[str] = []
    length = 0
    for char in text:
        code = ord(char)
        if 0xDC80 <= code <= 0xDCFF:
            char = f"\\x{code - 0xDC00:02x}"
        elif char == "\\":
            char = "\\\\"
        elif code < 0x20 or 0x7F <= code < 0xA0 or code in _INVISIBLE or 0xD800 <= code <= 0xDFFF:
            char = f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
        if length + len(char) > limit:
            out.append("…")
            break
        out.append(char)
        length += len(char)
    return "".join(out)


# Characters that hide or reorder what a reader sees.
_INVISIBLE = {0x061C, 0x200B, 0x200C, 0x200D, 0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F),
              *range(0x2060, 0x2065), *range(0x2066, 0x206A), 0xFEFF}


def _legible_json(data: Any, margin: str = "\n") -> str:
    """JSON as `indent=1` writes it, but for lists of lists: a timeline's rows are many, and go as one line."""
    deeper = margin + " "
    if isinstance(data, dict) and data:
        return ("{" + ",".join(f"{deeper}{json.dumps(str(key))}: {_legible_json(value, deeper)}"
                               for key, value in data.items()) + margin + "}")
    if isinstance(data, list) and data and not isinstance(data[0], list):
        return "[" + ",".join(deeper + _legible_json(value, deeper) for value in data) + margin + "]"
    return json.dumps(data)


def clean_path(path: str | bytes) -> str:
    """A path from evidence in a form that survives CSV, JSON and terminals, never cut."""
    return clean(path, limit=1 << 20)


@dataclass
class Finding:
    """One thing that an analyst should look at."""

    rule: str
    kind: str
    severity: str
    path: str
    reason: str
    excerpt: str = ""
    inode: int | None = None
    times: dict[str, str] = field(default_factory=dict)
    sha256: str | None = None
    id: str = ""

    def __post_init__(self) -> None:
        if self.severity not in SEVERITIES:
            raise ValueError(f"severity {self.severity!r} is none of {', '.join(SEVERITIES)}")
        self.excerpt = clean(self.excerpt)

    def as_dict(self) -> dict[str, Any]:
        """As it stands in `….findings.json`; the id is the same whenever the same thing is found again."""
        data = asdict(self)
        seed = "\0".join((self.rule, self.path, self.reason, self.excerpt))
        data["id"] = self.id or hashlib.sha256(seed.encode("utf-8", "replace")).hexdigest()[:16]
        keys = ("id", "rule", "kind", "severity", "path", "inode", "times", "sha256", "reason", "excerpt")
        return {key: data[key] for key in keys}


class _Hashing(io.RawIOBase):
    """Writes to a file and digests what goes by."""

    def __init__(self, target: IO[bytes]) -> None:
        self._target = target
        self.digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return self._target.write(data)


class Artifacts:
    """The results folder: writes artifacts so that they appear complete or not at all, and knows their SHA-256."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def create(self, name: str) -> Iterator[IO[bytes]]:
        """A binary file that becomes `name` when the block ends without an error, and vanishes otherwise."""
        partial = self.folder / f"{PARTIAL}{name}"
        try:
            with partial.open("wb", buffering=0) as raw:
                hashing = _Hashing(raw)
                with io.BufferedWriter(hashing, 1 << 20) as stream:
                    yield stream
                    stream.flush()
                    os.fsync(raw.fileno())
            self._record(name, hashing.digest.hexdigest())
            partial.rename(self.folder / name)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def write_json(self, name: str, data: Any) -> None:
        """Write a JSON artifact."""
        with self.create(name) as stream:
            stream.write(_legible_json(data).encode() + b"\n")

    def adopt(self, source: Path, name: str) -> None:
        """Take a file that a tool wrote elsewhere in as the artifact `name`; hashed while it is copied."""
        with self.create(name) as stream, source.open("rb") as origin:
            while chunk := origin.read(1 << 20):
                stream.write(chunk)

    def _record(self, name: str, digest: str) -> None:
        """Remember a digest beside the file: steps run in processes of their own, the list is made at the end."""
        sums = self.folder / f"{PARTIAL}sums"
        sums.mkdir(exist_ok=True)
        (sums / name).write_text(digest, encoding="ascii")

    def digests(self) -> dict[str, str]:
        """SHA-256 of every artifact written so far, by name."""
        sums = self.folder / f"{PARTIAL}sums"
        if not sums.is_dir():
            return {}
        return {entry.name: entry.read_text(encoding="ascii") for entry in sorted(sums.iterdir())
                if (self.folder / entry.name).is_file()}

    def write_sums(self) -> None:
        """Write `sha256sums.txt`, as `sha256sum --check` reads it."""
        lines = "".join(f"{digest}  {name}\n" for name, digest in self.digests().items() if name != "sha256sums.txt")
        with self.create("sha256sums.txt") as stream:
            stream.write(lines.encode())

    def sweep(self) -> None:
        """Remove what steps that were killed have left unfinished."""
        for path in self.folder.glob(f"{PARTIAL}*"):
            if path.is_file():
                path.unlink()

    def forget_sums(self) -> None:
        """Remove the side files once the list is written."""
        sums = self.folder / f"{PARTIAL}sums"
        if sums.is_dir():
            for entry in sums.iterdir():
                entry.unlink()
            sums.rmdir()
