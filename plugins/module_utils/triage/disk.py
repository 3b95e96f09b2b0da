# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is on a disk: its partitions, the logical volumes in them, and of which type each is.

Names are p1, p2, ... by the partition table (p0: a file system without one), p1.lv2 for logical volumes and p1.open for
what an encrypted one holds, never a name from the evidence.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from ..ebs.errors import Missing
from ..evidence_journal import journal_dirty
from ..evidence_remains import remains
from ..forensics.logical import identify
from ..forensics.lvm import Group, logical_volumes, read_groups
from ..forensics.model import clean

HEAD = 0x10048  # as far as the last signature
MD_MAGIC = b"\xfc\x4e\x2b\xa9"
REASONS = {
    "lvm": "an LVM physical volume: its logical volumes are looked at by themselves",
    "luks": "encrypted with LUKS: it needs its passphrase",
    "bitlocker": "encrypted with BitLocker: it needs its key",
    "swap": "swap space: it holds no files",
    "raid": "a member of a RAID, which is not put together here",
}
ENCRYPTED = ("luks", "bitlocker")


class Locked(Exception):
    """An encrypted partition was not opened; the message says why, and nothing of a key."""


@dataclass
class Part:
    """A partition, a logical volume, or a whole disk without a table. `stream` holds its content."""

    name: str
    size: int
    stream: BinaryIO
    start: int = 0
    kind: str = "unknown"
    type: str = ""
    journal_dirty: bool | None = None
    reason: str = ""
    opened: bool = False  # it is encrypted, and what it holds is a part of its own

    @property
    def is_file_system(self) -> bool:
        return self.kind == "filesystem"

    def read_at(self, offset: int, length: int) -> bytes:
        """Bytes of it; fewer only at its end."""
        if offset >= self.size:
            return b""
        self.stream.seek(offset)
        return self.stream.read(min(length, self.size - offset))

    def facts(self) -> dict[str, Any]:
        """As it stands in a report."""
        return {"name": self.name, "type": self.type, "kind": self.kind, "start_bytes": self.start,
                "size_bytes": self.size, "journal_dirty": self.journal_dirty, "reason": self.reason}


def signature(head: bytes) -> tuple[str, str]:
    """Kind and type of what begins with these bytes; `unknown` and nothing where they say nothing."""
    if head[3:11] == b"EXFAT   ":
        return "filesystem", "exfat"
    if head[510:512] == b"\x55\xaa" and (head[54:59] in (b"FAT12", b"FAT16") or head[82:87] == b"FAT32"):
        return "filesystem", "vfat"
    for place in (0, 4096):  # versions 1.1 and 1.2; of others the superblock lies at the end
        if head[place:place + 4] == MD_MAGIC:
            return "raid", "linux_raid_member"
    kind, type_, _dirty = identify(head)
    return ("filesystem", "ntfs") if type_ == "ntfs" else (kind, type_)


Unlock = Callable[[Part], BinaryIO]  # raises Locked


def look(part: Part) -> Part:
    """Fill in what it is, and for a file system what its journal says."""
    part.kind, part.type = signature(part.read_at(0, HEAD))
    if part.is_file_system:
        part.journal_dirty = journal_dirty(part.type, part.read_at)
    else:
        part.reason = REASONS.get(part.kind) or remains(part.read_at, part.size)
    return part


def parts(stream: BinaryIO, size: int, unlock: Unlock | None = None) -> tuple[list[Part], list[str]]:
    """Everything on a disk in its order, logical volumes behind their partitions; and what could not be understood.
    `unlock` opens what is encrypted, also within a logical volume."""
    found: list[Part] = []
    problems: list[str] = []
    whole = Part("p0", size, window(stream, 0, size))
    if signature(whole.read_at(0, HEAD))[0] == "unknown":
        found, problems = _by_table(stream, size)
    tried: set[str] = set()
    found = list(_with_opened(found or [look(whole)], unlock, tried))
    return list(_with_opened(_with_logical(found, problems), unlock, tried)), problems


def _with_opened(found: list[Part], unlock: Unlock | None, tried: set[str]) -> Iterator[Part]:
    """Each part, and behind an encrypted one what it holds; of one that stays closed, why. To try a key takes seconds,
    so each part is `tried` once."""
    for part in found:
        yield part
        if unlock is None or part.kind not in ENCRYPTED or part.name in tried:
            continue
        tried.add(part.name)
        try:
            inner = unlock(part)
        except Locked as error:
            part.reason = str(error)
            continue
        part.opened, part.reason = True, "encrypted, and opened with a key that was given"
        yield look(Part(f"{part.name}.open", int(getattr(inner, "size", 0)), inner))


def _by_table(stream: BinaryIO, size: int) -> tuple[list[Part], list[str]]:
    try:
        from dissect.volume.disk import Disk
    except ImportError as error:
        raise Missing("Looking into a disk needs the Python package dissect.volume: install it.") from error
    stream.seek(0)
    try:
        entries = list(Disk(stream).partitions)
    except Exception:  # no table, or a forged one: what its own errors say helps nobody
        return [], []
    found, problems = [], []
    for entry in entries:
        start, length = int(entry.offset), _size(entry)
        if length <= 0 or start < 0 or start >= size:
            problems.append(f"partition {int(entry.number)} lies outside the disk")
            continue
        if start + length > size:
            problems.append(f"partition {int(entry.number)} ends behind the disk: it is read as far as it is there")
            length = size - start
        found.append(look(Part(f"p{int(entry.number)}", length, window(stream, start, length), start)))
    return found, problems


def _size(entry: Any) -> int:
    """Bytes of a partition. GPT names the last sector and not the one behind it, which dissect takes it for."""
    raw = entry.raw
    if hasattr(raw, "last_lba"):
        return (int(raw.last_lba) - int(raw.first_lba) + 1) * int(entry.disk.sector_size)
    return int(entry.size)


def _with_logical(found: list[Part], problems: list[str]) -> list[Part]:
    members = {part.name: part for part in found if part.kind == "lvm"}
    if not members:
        return found

    def read(device: str, place: int, length: int) -> bytes:
        return members[device].read_at(place, length)

    groups, lost = read_groups(list(members), read)
    problems += [clean(text) for text in lost]
    homes: dict[str, list[Part]] = {}
    for group in groups:
        own = [name for name in members if name in group.present.values()]
        if not own:
            problems.append(f"the volume group {clean(group.name)} names none of the physical volumes that are there")
            continue
        inside = homes.setdefault(own[0], [])
        inside += _of_group(group, own[0], len(inside))
    return [one for part in found for one in (part, *homes.get(part.name, ()))]


def _of_group(group: Group, home: str, before: int) -> Iterator[Part]:
    for number, logical in enumerate(logical_volumes(group), before + 1):
        name = f"{home}.lv{number}"
        if logical.problem:
            yield Part(name, logical.size, window(None, 0, 0), kind="unknown", reason=clean(logical.detail))
            continue
        try:
            stream = group.open(logical.name)
            yield look(Part(name, logical.size, stream))
        except Exception as error:  # whatever forged metadata provokes ends this volume only
            yield Part(name, logical.size, window(None, 0, 0), kind="unknown", reason=clean(str(error)))


class Window(io.RawIOBase):
    """A range of a file as a file. Several windows share one file, so each says where it reads."""

    def __init__(self, inner: BinaryIO | None, start: int, size: int) -> None:
        self._inner, self._start, self.size, self._place = inner, start, size, 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self._place = max(0, offset + (0, self._place, self.size)[whence])
        return self._place

    def tell(self) -> int:
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self.size - self._place)
        if size is None or size < 0 or size > left:
            size = left
        if not size or self._inner is None:
            return b""
        self._inner.seek(self._start + self._place)
        data = self._inner.read(size)
        self._place += len(data)
        return data

    def hint(self, ranges: Iterable[tuple[int, int]]) -> None:
        """These will be read: whoever fetches them can begin with it."""
        tell = getattr(self._inner, "hint", None)
        if tell is not None:
            tell((self._start + place, length) for place, length in ranges)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        """The file belongs to somebody else."""


def window(inner: BinaryIO | None, start: int, size: int) -> BinaryIO:
    """A range of a file; without a file, nothing can be read of it."""
    return cast(BinaryIO, Window(inner, start, size))
