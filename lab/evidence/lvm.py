# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes LVM2 physical volumes with a volume group on them, as lvm itself does, without lvm and without device-mapper.

A logical volume is a list of segments; its content is a file that is written to the extents the segments name.
"""

from __future__ import annotations

import hashlib
import itertools
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.evidence.run import BuildError

SECTOR = 512
MIB = 1 << 20
AREA, AREA_SIZE = 4096, MIB - 4096  # the metadata area: everything between the label and the first extent
FIRST_EXTENT = MIB
MAGIC = b" LVM2 x[5A%r0N*>"
CRC_START = 0xF597A6CF
LETTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def checksum(data: bytes) -> int:
    """LVM's own start value for the ordinary CRC-32 polynomial, without the final inversion."""
    return zlib.crc32(data, CRC_START ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def identifier(seed: str) -> str:
    """32 letters as LVM's ids are spelled, the same for the same seed."""
    return "".join(LETTERS[byte % len(LETTERS)] for byte in hashlib.sha256(seed.encode()).digest())


def _dashed(text: str) -> str:
    ends = (0, 6, 10, 14, 18, 22, 26, 32)
    return "-".join(text[start:end] for start, end in itertools.pairwise(ends))


@dataclass
class Segment:
    """`extents` extents on the places `(number of the physical volume, first extent)`: several places are stripes.

    `extra` are lines in place of places, for kinds that name other volumes.
    """

    extents: int
    places: Sequence[tuple[int, int]] = ()
    stripe_sectors: int = 0
    kind: str = "striped"
    extra: Sequence[str] = ()


@dataclass
class Volume:
    """A logical volume, with the file that is its content."""

    name: str
    segments: Sequence[Segment]
    content: Path | None = None
    visible: bool = True


@dataclass
class VolumeGroup:
    """A volume group on sparse files, each a physical volume that takes the whole file."""

    name: str
    disks: Sequence[Path]
    volumes: Sequence[Volume] = field(default_factory=list)
    extent: int = 4 * MIB
    ring_offset: int = 0  # where in the ring of metadata the text begins, behind the area's header

    def write(self) -> None:
        """Write labels, metadata, and what the volumes hold."""
        text = self.text().encode() + b"\0"
        for number, disk in enumerate(self.disks):
            with disk.open("r+b") as stream:
                stream.seek(SECTOR)
                stream.write(self._label(number, disk.stat().st_size))
                stream.seek(AREA)
                stream.write(self._area(text))
        for volume in self.volumes:
            if volume.content is not None:
                self._fill(volume, volume.content)

    def _label(self, number: int, size: int) -> bytes:
        areas = struct.pack("<8Q", FIRST_EXTENT, 0, 0, 0, AREA, AREA_SIZE, 0, 0)
        body = identifier(f"{self.name}/pv{number}").encode() + struct.pack("<Q", size) + areas
        rest = (struct.pack("<I8s", 32, b"LVM2 001") + body).ljust(SECTOR - 20, b"\0")
        return struct.pack("<8sQI", b"LABELONE", 1, checksum(rest)) + rest

    def _area(self, text: bytes) -> bytes:
        """The header and the ring behind it; text that reaches the end of the ring goes on at its beginning."""
        at = SECTOR + self.ring_offset
        head = MAGIC + struct.pack("<IQQ", 1, AREA, AREA_SIZE)
        head += struct.pack("<QQII", at, len(text), checksum(text), 0)
        head = head.ljust(SECTOR - 4, b"\0")
        ring = bytearray(AREA_SIZE)
        ring[:SECTOR] = struct.pack("<I", checksum(head)) + head
        first = text[:AREA_SIZE - at]
        ring[at:at + len(first)] = first
        ring[SECTOR:SECTOR + len(text) - len(first)] = text[len(first):]
        return bytes(ring)

    def text(self) -> str:
        """The metadata, as lvm spells it."""
        lines = [f"{self.name} {{", f'id = "{_dashed(identifier(self.name))}"', "seqno = 2", 'format = "lvm2"',
                 'status = ["RESIZEABLE", "READ", "WRITE"]', "flags = []", f"extent_size = {self.extent // SECTOR}",
                 "max_lv = 0", "max_pv = 0", "metadata_copies = 0", "", "physical_volumes {"]
        for number, disk in enumerate(self.disks):
            size = disk.stat().st_size
            lines += ["", f"pv{number} {{", f'id = "{_dashed(identifier(f"{self.name}/pv{number}"))}"',
                      f'device = "/dev/sd{"bcdefgh"[number]}"', "", 'status = ["ALLOCATABLE"]', "flags = []",
                      f"dev_size = {size // SECTOR}", f"pe_start = {FIRST_EXTENT // SECTOR}",
                      f"pe_count = {(size - FIRST_EXTENT) // self.extent}", "}"]
        lines += ["}", "", "logical_volumes {"]
        for volume in self.volumes:
            lines += ["", *self._volume(volume)]
        return "\n".join([*lines, "}", "", "}", "# Generated by the lab", "", 'contents = "Text Format Volume Group"',
                          "version = 1", "", 'description = "lab"', "", 'creation_host = "lab"\t# a comment',
                          "creation_time = 1788000000\t# another one", "", ""])

    def _volume(self, volume: Volume) -> list[str]:
        status = '"READ", "WRITE", "VISIBLE"' if volume.visible else '"READ", "WRITE"'
        lines = [f"{volume.name} {{", f'id = "{_dashed(identifier(f"{self.name}/{volume.name}"))}"',
                 f"status = [{status}]", "flags = []", "creation_time = 1788000000", 'creation_host = "lab"',
                 f"segment_count = {len(volume.segments)}"]
        start = 0
        for number, segment in enumerate(volume.segments, 1):
            lines += ["", f"segment{number} {{", f"start_extent = {start}", f"extent_count = {segment.extents}", "",
                      f'type = "{segment.kind}"']
            if segment.places:
                lines += [f"stripe_count = {len(segment.places)}",
                          *([f"stripe_size = {segment.stripe_sectors}"] if segment.stripe_sectors else []), "",
                          "stripes = [", ",\n".join(f'"pv{disk}", {extent}' for disk, extent in segment.places), "]"]
            lines += [*segment.extra, "}"]
            start += segment.extents
        return [*lines, "}"]

    def _fill(self, volume: Volume, content: Path) -> None:
        room = sum(segment.extents for segment in volume.segments) * self.extent
        if content.stat().st_size > room:
            raise BuildError(f"{content} does not fit into {volume.name}: it has room for {room} bytes")
        with content.open("rb") as source:
            for segment in volume.segments:
                size = segment.extents * self.extent
                step = segment.stripe_sectors * SECTOR or min(size, MIB)
                for row in range(size // step):
                    data = source.read(step)
                    if not data.strip(b"\0"):
                        continue
                    turn, which = divmod(row, len(segment.places))
                    disk, extent = segment.places[which]
                    with self.disks[disk].open("r+b") as target:
                        target.seek(FIRST_EXTENT + extent * self.extent + turn * step)
                        target.write(data)
