# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logical volumes of LVM2, read from write-protected physical volumes, without device-mapper and without activation.

Labels and metadata are read here; dissect parses the metadata's text and reads thin pools. Which blocks a volume has
is worked out here, too: dissect takes stripes for pieces in a row, and gives a whole group up for one RAID volume.

What is not read is said with one of a few words: a missing physical volume, a kind that nothing here reads, a
snapshot's store, metadata that contradicts itself. It never keeps the other volumes from being read.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from .lvm_pieces import Files, Nested, Part, ReadAt, Striped, Thin, Zeros, content, runs

SECTOR = 512
LABEL_SECTORS = 4
METADATA_LIMIT = 16 << 20
AREAS_LIMIT = 32
DEPTH_LIMIT = 8
VOLUME_LIMIT = 500
NAME = re.compile(r"[A-Za-z0-9_+.][A-Za-z0-9_+.-]{0,59}")
LEGS = ("mirror", "raid1")
STORES = ("thin-pool", "cache-pool", "vdo-pool")


class LvmError(Exception):
    """A volume cannot be read; `code` is one of a few words, the message may hold names from the evidence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Logical:
    """One logical volume, as the analysis names and opens it."""

    group: str  # its id: names need not be unique
    name: str
    index: int  # among the volumes of its group, from 1: what may leave the host in place of its name
    label: str  # for file names
    size: int
    devices: tuple[str, ...]  # of the physical volumes of its group that are there
    runs: tuple[tuple[str, int, int], ...] = ()  # device, offset, length of its pieces; empty with stripes
    problem: str = ""
    detail: str = ""
    kinds: tuple[str, ...] = ()

    @property
    def contiguous(self) -> tuple[str, int] | None:
        """Device and offset where it lies in one piece."""
        return self.runs[0][:2] if len(self.runs) == 1 else None

    def open(self) -> BinaryIO:
        """Its content."""
        group = next((one for one in read_groups(self.devices)[0] if one.id == self.group), None)
        if group is None:
            raise LvmError("broken", "the volume group is not there any more")
        return group.open(self.name)


@dataclass
class Physical:
    """One physical volume that is there."""

    device: str
    uuid: str
    size: int
    text: str = ""  # the metadata; empty on one that was made without


@dataclass
class Group:
    """A volume group: its newest metadata, and its physical volumes as far as they are there."""

    name: str
    data: dict[str, Any]
    present: dict[str, str]  # uuid without dashes -> device
    extent: int = 0
    starts: dict[str, tuple[str, int]] = field(default_factory=dict)  # name -> uuid, where its first extent begins
    read_at: ReadAt | None = None  # of physical volumes that are no devices

    def __post_init__(self) -> None:
        self.extent = int(self.data["extent_size"]) * SECTOR
        if self.extent <= 0:
            raise LvmError("broken", "the size of an extent is nothing")
        for name, one in self.data.get("physical_volumes", {}).items():
            self.starts[name] = (str(one["id"]).replace("-", ""), int(one["pe_start"]) * SECTOR)

    @property
    def id(self) -> str:
        """The group's own id."""
        return str(self.data["id"])

    @property
    def missing(self) -> list[str]:
        """Physical volumes of the group that are not there."""
        return sorted(name for name, (uuid, _unused) in self.starts.items() if uuid not in self.present)

    def open(self, name: str) -> BinaryIO:
        """A logical volume's content."""
        return content(self.parts(name), self.read_at)

    def parts(self, name: str, depth: int = 0) -> list[Part]:
        """What a logical volume is made of, in its order, without a gap."""
        volumes = self.data.get("logical_volumes", {})
        if name not in volumes or depth > DEPTH_LIMIT:
            raise LvmError("broken", f"{name} is named by another volume and not there, or volumes name each other")
        segments = sorted((value for value in volumes[name].values() if isinstance(value, dict)),
                          key=lambda segment: int(segment["start_extent"]))
        parts: list[Part] = []
        end = 0
        for segment in segments:
            start, size = int(segment["start_extent"]) * self.extent, int(segment["extent_count"]) * self.extent
            if start != end or size <= 0:
                raise LvmError("broken", f"the segments of {name} leave a gap or overlap")
            parts.append(self._part(segment, start, size, depth))
            end = start + size
        if not parts:
            raise LvmError("broken", f"{name} has no segment")
        return parts

    def _part(self, segment: dict[str, Any], start: int, size: int, depth: int) -> Part:
        kind = str(segment["type"]).split("+", 1)[0]
        if kind in ("striped", "linear"):
            names, extents = segment["stripes"][::2], segment["stripes"][1::2]
            places = [self._place(str(name), int(number)) for name, number in zip(names, extents, strict=True)]
            stripe = int(segment.get("stripe_size") or 0) * SECTOR or size
            if not places or (len(places) > 1 and size % len(places)):
                raise LvmError("broken", "the stripes of a segment do not add up")
            return Striped(start, size, tuple(places), stripe)
        if kind in LEGS:
            return Nested(start, size, self._leg(kind, segment, depth))
        if kind == "zero":
            return Zeros(start, size)
        if kind == "thin":
            return Thin(start, size, self._pool(str(segment["thin_pool"]), depth), int(segment["device_id"]))
        raise LvmError("snapshot_store" if kind == "snapshot" else "not_supported",
                       f"nothing here reads segments of the type {kind}")

    def _place(self, name: str, number: int) -> tuple[str, int]:
        if name not in self.starts:
            raise LvmError("broken", f"{name} is no physical volume of the group")
        uuid, start = self.starts[name]
        if uuid not in self.present:
            raise LvmError("missing_pv", f"the physical volume {name} is not on this disk")
        return self.present[uuid], start + number * self.extent

    def _leg(self, kind: str, segment: dict[str, Any], depth: int) -> list[Part]:
        """The first leg of a mirror that is there; whether the legs agree is not looked at."""
        legs = segment["mirrors"][::2] if kind == "mirror" else segment["raids"][1::2]
        problem = LvmError("broken", "a mirror without legs")
        for leg in legs:
            try:
                return self.parts(str(leg), depth + 1)
            except LvmError as error:
                problem = error
        raise problem

    def _pool(self, name: str, depth: int) -> tuple[list[Part], list[Part]]:
        """Metadata and data of a thin pool."""
        volume = self.data["logical_volumes"].get(name, {})
        pool = next((value for value in volume.values() if isinstance(value, dict)), {})
        if pool.get("type") != "thin-pool":
            raise LvmError("broken", f"{name} is no thin pool")
        return self.parts(str(pool["metadata"]), depth + 1), self.parts(str(pool["pool"]), depth + 1)


def read_groups(devices: Sequence[str], read_at: ReadAt | None = None) -> tuple[list[Group], list[str]]:
    """The volume groups on these devices, and one sentence for each device that cannot be understood.

    :param read_at: reads them where they are no devices of this machine.
    """
    found: list[Physical] = []
    problems: list[str] = []
    for device in devices:
        try:
            found.append(read_label(device, read_at))
        except Exception as error:  # a forged label provokes errors of many kinds
            problems.append(f"{device}: {error}")
    newest: dict[str, tuple[int, str, dict[str, Any]]] = {}
    for physical in found:
        if not physical.text:
            continue
        try:
            name, data = _parse(physical.text)
            number = int(data.get("seqno", 0))
            if number >= newest.get(str(data["id"]), (-1, "", {}))[0]:
                newest[str(data["id"])] = (number, name, data)
        except Exception as error:  # whatever forged metadata provokes
            problems.append(f"{physical.device}: its metadata cannot be understood ({type(error).__name__}: {error})")
    groups: list[Group] = []
    present = {physical.uuid: physical.device for physical in found}
    for _unused, name, data in newest.values():
        try:
            groups.append(Group(name, data, present, read_at=read_at))
        except Exception as error:  # as above
            problems.append(f"a volume group cannot be understood ({type(error).__name__}: {error})")
    return groups, problems


def _parse(text: str) -> tuple[str, dict[str, Any]]:
    from dissect.volume.lvm.physical import parse_metadata

    root = parse_metadata(text)
    groups = [(name, value) for name, value in root.items() if isinstance(value, dict)]
    if len(groups) != 1:
        raise LvmError("broken", f"{len(groups)} volume groups in the metadata of one")
    return groups[0]


def read_label(device: str, read_at: ReadAt | None = None) -> Physical:
    """The label, and the newest text in the first metadata area that holds one."""
    files = Files(read_at)
    try:
        for sector in range(LABEL_SECTORS):
            head = files.read(device, sector * SECTOR, SECTOR)
            if head[:8] == b"LABELONE" and head[24:32] == b"LVM2 001":
                break
        else:
            raise LvmError("broken", "there is no label of a physical volume")
        at = struct.unpack_from("<I", head, 20)[0]
        body = head[at:]
        physical = Physical(device, body[:32].decode("ascii", "replace"), struct.unpack_from("<Q", body, 32)[0])
        _unused, behind = _areas(body, 40)  # where the extents lie, which the metadata says, too
        for offset, size in _areas(body, behind)[0]:
            text = _text(files, device, offset, size)
            if text:
                physical.text = text
                break
        return physical
    finally:
        files.close()


def _areas(body: bytes, at: int) -> tuple[list[tuple[int, int]], int]:
    """Offsets and sizes up to the pair of zeros, and where what follows begins."""
    found = []
    for _unused in range(AREAS_LIMIT):
        offset, size = struct.unpack_from("<QQ", body, at)
        at += 16
        if not offset and not size:
            break
        found.append((offset, size))
    return found, at


def _text(files: Files, device: str, area: int, area_size: int) -> str:
    """The metadata of an area. It is a ring behind the header: text that reaches the end goes on at the beginning."""
    head = files.read(device, area, SECTOR)
    if len(head) < SECTOR or head[4:20] != b" LVM2 x[5A%r0N*>":
        return ""
    start, size = struct.unpack_from("<QQ", head, 24)
    offset, length = struct.unpack_from("<QQ", head, 40)
    if not length or length > METADATA_LIMIT or offset >= size or length > size or size > area_size:
        return ""
    data = files.read(device, start + offset, min(length, size - offset))
    if len(data) < length:
        data += files.read(device, start + SECTOR, length - len(data))
    return data.decode("utf-8", "replace").rstrip("\0")


def logical_volumes(group: Group) -> list[Logical]:
    """The volumes of a group that a server would have seen, each with the reason where it cannot be read."""
    devices = tuple(sorted({group.present[uuid] for uuid, _unused in group.starts.values() if uuid in group.present}))
    volumes = group.data.get("logical_volumes") or {}
    stores = set(_stores(volumes))
    labels: set[str] = set()
    found: list[Logical] = []
    for name, volume in volumes.items():
        if "VISIBLE" not in (volume.get("status") or []) or len(found) >= VOLUME_LIMIT:
            continue
        segments = [value for value in volume.values() if isinstance(value, dict)]
        kinds = tuple(sorted({str(segment.get("type")) for segment in segments}))
        index = len(found) + 1
        label = f"{_safe(group.name, 'vg')}-{_safe(name, f'lv{index}')}"
        label = f"{label}.{index}" if label in labels else label
        labels.add(label)
        parts: list[Part] = []
        problem = detail = ""
        if name in stores:
            problem, detail = "snapshot_store", "the store of a snapshot: changed blocks, and no file system"
        elif set(kinds) & set(STORES):
            problem, detail = "pool", "a pool: its volumes are listed by themselves"
        else:
            try:
                parts = group.parts(name)
            except LvmError as error:
                problem, detail = error.code, str(error)
            except Exception as error:  # forged metadata
                problem, detail = "broken", f"{type(error).__name__}: {error}"
        size = parts[-1].start + parts[-1].size if parts else 0
        found.append(Logical(group.id, name, index, label, size, devices, runs(parts), problem, detail, kinds))
    return found


def _stores(volumes: dict[str, Any]) -> Iterator[str]:
    for volume in volumes.values():
        for segment in volume.values():
            if isinstance(segment, dict) and segment.get("type") == "snapshot":
                yield str(segment.get("cow_store") or segment.get("merging_store") or "")


def _safe(name: str, otherwise: str) -> str:
    """A name for a file name: spelled as /dev/mapper spells it, and replaced where LVM itself would not allow it."""
    return name.replace("-", "--") if NAME.fullmatch(name) and name.strip(".") else otherwise
