# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The logical volumes of an evidence volume as partitions of the analysis, and the report on what of LVM is there."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .dissect_tree import READABLE
from .lvm import Group, Logical, LvmError, logical_volumes, read_groups
from .model import Evidence, Partition, clean

LVM2 = "LVM2_member"
SIGNATURES = ((0, b"XFSB", "filesystem", "xfs"), (0x10040, b"_BHRfS_M", "filesystem", "btrfs"),
              (4086, b"SWAPSPACE2", "swap", "swap"), (0, b"LUKS\xba\xbe", "luks", "crypto_LUKS"),
              (512, b"LABELONE", "lvm", LVM2), (3, b"NTFS    ", "unknown", "ntfs"), (3, b"-FVE-FS-", "bitlocker", ""))
EXT_MAGIC, HAS_JOURNAL, NEEDS_RECOVERY = 0xEF53, 0x4, 0x4
EXT4_FEATURES = 0x02C0  # extents, 64 bits, flexible groups
HEAD = 0x10048


def with_logical_volumes(evidence: Evidence) -> tuple[Evidence, dict[int, dict[str, Any]]]:
    """The evidence with its logical volumes among the partitions, and a report for each partition that LVM is on."""
    members = {partition.device: partition for partition in evidence.partitions
               if partition.kind == "lvm" and partition.type == LVM2 and partition.device}
    if not members:
        return evidence, {}
    groups, problems = read_groups(list(members))
    found: dict[int, list[Partition]] = {}
    reports: dict[int, dict[str, Any]] = {
        partition.number: {"groups": [], "problems": [clean(text) for text in problems if text.startswith(device)]}
        for device, partition in members.items()}
    lost = [clean(text) for text in problems if not any(text.startswith(device) for device in members)]
    for group in groups:
        own = [device for device in members if device in _devices(group)]
        if not own:
            lost.append(f"the volume group {clean(group.name)} names none of the physical volumes that are there")
            continue
        home = members[own[0]]
        try:
            volumes = [_partition(home, one) for one in logical_volumes(group)]
            report = _report(group, volumes, members)
        except Exception as error:  # whatever forged metadata provokes ends this group only
            lost.append(f"the volume group {clean(group.name)} cannot be understood: {type(error).__name__}")
            continue
        found.setdefault(home.number, []).extend(volumes)
        reports[home.number]["groups"].append(report)
        for device in own[1:]:
            reports[members[device].number]["problems"].append(f"its volume group is reported at p{home.number}")
    if lost:
        reports[min(reports)]["problems"].extend(lost)
    partitions: list[Partition] = []
    for partition in evidence.partitions:
        partitions += [partition, *_labelled(found.get(partition.number, []))]
    return replace(evidence, partitions=tuple(partitions)), reports


def _devices(group: Group) -> set[str]:
    return {group.present[uuid] for uuid, _unused in group.starts.values() if uuid in group.present}


def _labelled(partitions: list[Partition]) -> list[Partition]:
    """Numbered through: several groups can have their home on one disk, and two groups one name."""
    labels: set[str] = set()
    renamed = []
    for number, partition in enumerate(partitions, 1):
        logical = partition.logical
        if logical is None:
            continue
        label = f"{logical.label}.{number}" if logical.label in labels else logical.label
        labels.add(label)
        renamed.append(replace(partition, logical=replace(logical, index=number, label=label)))
    return renamed


def _partition(home: Partition, logical: Logical) -> Partition:
    kind, type_, dirty, why = "unknown", "", None, logical.detail
    if not logical.problem:
        try:
            with logical.open() as stream:
                head = stream.read(HEAD)
            kind, type_, dirty = identify(head)
            if kind == "filesystem" and type_ not in READABLE:
                kind = "unknown"
            why = "" if kind == "filesystem" else f"{type_ or 'no known signature'}: no file system that is read here"
        except LvmError as error:
            why, logical = str(error), replace(logical, problem=error.code)
        except Exception as error:  # a forged place is none that can be read
            why, logical = str(error), replace(logical, problem="unreadable")
    return Partition(home.number, home.device, type_, kind, logical.size, False, None, dirty, clean(why) or None,
                     logical)


def identify(head: bytes) -> tuple[str, str, bool | None]:
    """Kind and type of what begins with these bytes, and whether ext says that its journal waits."""
    if len(head) >= 2048 and struct.unpack_from("<H", head, 1080)[0] == EXT_MAGIC:
        compatible, incompatible = struct.unpack_from("<II", head, 1116)
        if incompatible & EXT4_FEATURES:
            return "filesystem", "ext4", bool(incompatible & NEEDS_RECOVERY)
        journal = bool(compatible & HAS_JOURNAL)
        return "filesystem", "ext3" if journal else "ext2", bool(incompatible & NEEDS_RECOVERY) if journal else False
    for offset, magic, kind, type_ in SIGNATURES:
        if head[offset:offset + len(magic)] == magic:
            return kind, type_, None
    return "unknown", "", None


def _report(group: Group, volumes: list[Partition], members: Mapping[str, Partition]) -> dict[str, Any]:
    """What an analyst should know of a group. Names are evidence: they stay in the artifact."""
    physical = []
    for name, (uuid, _unused) in group.starts.items():
        member = members.get(group.present.get(uuid, ""))
        physical.append({"name": clean(name), "uuid": clean(uuid), "present": member is not None,
                         "partition": member.number if member else None})
    return {
        "name": clean(group.name), "extent_bytes": group.extent, "physical_volumes": physical,
        "missing": [clean(name) for name in group.missing],
        "logical_volumes": [{
            "name": clean(one.logical.name), "label": one.logical.label, "size_bytes": one.size_bytes,
            "segment_types": [clean(kind) for kind in one.logical.kinds], "type": one.type, "kind": one.kind,
            "read": one.is_file_system, "journal_dirty": one.journal_dirty, "problem": one.logical.problem,
            "detail": one.reason or ""} for one in volumes if one.logical],
    }
