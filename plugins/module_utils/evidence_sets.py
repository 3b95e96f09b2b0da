# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does a volume belong to a set (LVM volume group, md RAID, btrfs of several devices), and is the set all there?

Read from the bytes on the disk, never by activation. Only ids and numbers leave this module: names are evidence.
"""

from __future__ import annotations

import re
import struct
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from .evidence_journal import BTRFS_MAGIC, BTRFS_SUPERBLOCK, SECTOR, Reader

# lib/format_text/layout.h and lib/label/label.h of LVM2.
LVM_LABEL, LVM_TYPE, LVM_AREA = b"LABELONE", b"LVM2 001", b" LVM2 x[5A%r0N*>"
LVM_HEADER = 512  # the text of an area goes round behind its header
LVM_TEXT_LIMIT = 1 << 20
LVM_ID = re.compile(r"[A-Za-z0-9]{6}(?:-[A-Za-z0-9]{4}){5}-[A-Za-z0-9]{6}")

# drivers/md and include/uapi/linux/raid/md_p.h of the Linux kernel.
MD_MAGIC = 0xA92B4EFC
MD_MOST = 4096  # devices; the kernel's own bound is lower

MEMBERS_SHOWN = 64


def member_of(fs_type: str, read: Reader, size: int) -> dict[str, Any] | None:
    """What a partition says of the set that it is part of; None when it is part of none, or does not say.

    `set` is the set's id, `own` the partition's own place in it, `wanted` the places that a whole set has (empty where
    only their `count` is known), `serial` tells which of two members knows better.
    """
    find = {"LVM2_member": _lvm, "linux_raid_member": _md, "btrfs": _btrfs}.get(fs_type)
    if find is None:
        return None
    try:
        return find(read, size)
    except (struct.error, IndexError, ValueError, OSError):
        return None  # damaged: nothing is known, and nothing is made up


def sets(volumes: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The sets that partitions of these volumes (as the module evidence_volume returns them) belong to."""
    found: dict[tuple[str, str], list[tuple[str, Mapping[str, Any]]]] = {}
    for volume in volumes:
        for partition in volume.get("partitions") or []:
            member = partition.get("member")
            if member:
                where = f"{volume['volume_id']}{partition['name']}"
                found.setdefault((str(member["kind"]), str(member["set"])), []).append((where, member))
    result = []
    for (kind, name), members in sorted(found.items()):
        newest = max((member for _where, member in members), key=lambda member: int(member["serial"]))
        wanted, own = [str(item) for item in newest["wanted"]], {str(member["own"]) for _where, member in members}
        count = int(newest["count"])
        missing = [item for item in wanted if item not in own]
        lacking = len(missing) if wanted else max(0, count - len(own))
        result.append({"kind": kind, "id": name, "members": count, "present": count - lacking, "lacking": lacking,
                       "missing": missing[:MEMBERS_SHOWN], "where": sorted(where for where, _member in members)})
    return result


def _member(kind: str, name: str, own: str, count: int, wanted: list[str], serial: int) -> dict[str, Any]:
    return {"kind": kind, "set": name, "own": own, "count": count, "wanted": wanted, "serial": serial}


def _lvm(read: Reader, size: int) -> dict[str, Any] | None:
    head = read(0, 4 * SECTOR)
    for at in range(0, len(head), SECTOR):
        if head[at:at + 8] == LVM_LABEL and head[at + 24:at + 32] == LVM_TYPE:
            break
    else:
        return None
    header = at + struct.unpack_from("<I", head, at + 20)[0]
    plain = head[header:header + 32].decode("ascii")
    own = "-".join((plain[:6], *(plain[index:index + 4] for index in range(6, 26, 4)), plain[26:]))
    position = header + 40
    while struct.unpack_from("<Q", head, position)[0]:  # where data lies; the list ends with a zero
        position += 16
    position += 16
    best: dict[str, Any] | None = None
    while True:
        offset, length = struct.unpack_from("<QQ", head, position)
        if not offset or offset >= size:
            return best
        text = _lvm_text(read, offset, length)
        found = _lvm_group(text, own) if text else None
        if found and (best is None or found["serial"] > best["serial"]):
            best = found
        position += 16


def _lvm_text(read: Reader, area: int, length: int) -> str:
    """The newest description of the volume group in one metadata area."""
    header = read(area, LVM_HEADER)
    if header[4:20] != LVM_AREA:
        return ""
    offset, size = struct.unpack_from("<QQ", header, 40)
    if not offset or not 0 < size <= LVM_TEXT_LIMIT or not LVM_HEADER <= offset < length:
        return ""
    first = min(size, length - offset)
    data = read(area + offset, first)
    if first < size:
        data += read(area + LVM_HEADER, size - first)
    return data.rstrip(b"\0").decode("utf-8", "replace")


def _lvm_group(text: str, own: str) -> dict[str, Any] | None:
    """Ids out of the description: `id` and `seqno` of the group, and the `id` of each of its physical volumes."""
    path: list[str] = []
    group, serial, volumes = "", 0, []
    for line in text.splitlines():
        words = line.split("#")[0].strip()
        if words.endswith("{"):
            path.append(words[:-1].strip())
        elif words == "}":
            if path:
                path.pop()
        elif words.startswith("id = ") and len(path) in (1, 3):
            value = words[5:].strip().strip('"')
            if not LVM_ID.fullmatch(value):
                raise ValueError("an id of LVM is malformed")
            if len(path) == 1:
                group = value
            elif path[1] == "physical_volumes":
                volumes.append(value)
        elif words.startswith("seqno = ") and len(path) == 1:
            serial = int(words[8:])
    if not group or not volumes or not LVM_ID.fullmatch(own):
        return None
    return _member("lvm", group, own, len(volumes), volumes, serial)


def _md(read: Reader, size: int) -> dict[str, Any] | None:
    for offset in (4096, 0, ((size // SECTOR - 16) & ~7) * SECTOR):  # versions 1.2, 1.1 and 1.0
        block = read(offset, 4096) if offset >= 0 else b""
        if len(block) >= 256 and struct.unpack_from("<II", block, 0) == (MD_MAGIC, 1):
            return _md_new(block)
    block = read((size & ~0xFFFF) - 0x10000, 4096) if size >= 0x20000 else b""
    if len(block) == 4096 and struct.unpack_from("<II", block, 0) == (MD_MAGIC, 0):
        return _md_old(block)
    return None


def _md_new(block: bytes) -> dict[str, Any] | None:
    disks = struct.unpack_from("<I", block, 92)[0]
    number, events, most = (struct.unpack_from(code, block, at)[0]
                            for code, at in (("<I", 160), ("<Q", 200), ("<I", 220)))
    if not 0 < disks <= MD_MOST or number >= most:
        return None
    role = struct.unpack_from("<H", block, 256 + 2 * number)[0]
    own = str(role) if role < disks else f"spare-{number}"
    name = str(uuid.UUID(bytes=block[16:32]))
    return _member("raid", name, own, disks, [str(index) for index in range(disks)], events)


def _md_old(block: bytes) -> dict[str, Any] | None:
    words = struct.unpack_from("<1024I", block, 0)
    disks = words[10]
    if not 0 < disks <= MD_MOST:
        return None
    name = ":".join(f"{word:08x}" for word in (words[5], *words[13:16]))
    own = str(words[995]) if words[995] < disks else f"spare-{words[992]}"
    events = words[39] | words[40] << 32  # little-endian machines write the low half first
    return _member("raid", name, own, disks, [str(index) for index in range(disks)], events)


def _btrfs(read: Reader, size: int) -> dict[str, Any] | None:
    block = read(BTRFS_SUPERBLOCK, 4096)
    if block[0x40:0x48] != BTRFS_MAGIC:
        return None
    count, own, generation = (struct.unpack_from("<Q", block, at)[0] for at in (0x88, 0xC9, 0x48))
    if count < 2:
        return None
    return _member("btrfs", str(uuid.UUID(bytes=block[0x20:0x30])), str(own), count, [], generation)
