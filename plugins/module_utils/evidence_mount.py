# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mount evidence so that not one byte of it changes, each file system with the options that this takes."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .evidence_disk import MOUNTABLE, Disk, EvidenceError, Partition, Runner, Tools, one_line

ALWAYS = "nosuid,nodev,noexec"
OPTIONS = {
    "ext2": "ro",  # has no journal, and its driver refuses noload
    "ext3": "ro,noload",
    "ext4": "ro,noload",
    "xfs": "ro,norecovery,nouuid",  # nouuid: a copy of a mounted file system has the same UUID
    "btrfs": "ro,rescue=nologreplay,subvolid=5",  # the top of all subvolumes: the default one may hide the others
    "ntfs": "ro",
    "vfat": "ro",
}
# How a journal is applied, on a throw-away volume: still without a single write by whoever looks at the tree.
REPLAY = {"ext3": "ro", "ext4": "ro", "xfs": "ro,nouuid", "btrfs": "ro", "ntfs": "ro"}


@dataclass(frozen=True)
class Mount:
    """One line of /proc/self/mountinfo."""

    point: str
    source: str
    fs_type: str
    options: tuple[str, ...]
    number: str  # major:minor


def parse_mountinfo(text: str) -> list[Mount]:
    """The mounts of this mount namespace, in the order in which they were made."""
    mounts = []
    for line in text.splitlines():
        left, _unused, right = line.partition(" - ")
        fields, rest = left.split(" "), right.split(" ")
        if len(fields) < 6 or len(rest) < 2:
            continue
        mounts.append(Mount(_unescape(fields[4]), _unescape(rest[1]), rest[0], tuple(fields[5].split(",")), fields[2]))
    return mounts


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), text)


def mount_options(fs_type: str) -> str:
    """The options for evidence of that type, as given to mount -o."""
    return f"{OPTIONS[fs_type]},{ALWAYS}"


def driver(fs_type: str, filesystems: str) -> str:
    """The type that mount is told: for NTFS the program in user space if it is there, else the kernel's driver."""
    if fs_type != "ntfs" or shutil.which("mount.ntfs-3g"):
        return "ntfs-3g" if fs_type == "ntfs" else fs_type
    return "ntfs3" if re.search(r"\bntfs3\b", filesystems) else "ntfs-3g"


class Mounter:
    """Mounts the partitions of one volume below `base`/<name>/p<number>, and takes them away again."""

    def __init__(self, run: Runner, base: Path, name: str, *,
                 mountinfo: Callable[[], str] = lambda: Path("/proc/self/mountinfo").read_text(encoding="utf-8"),
                 filesystems: Callable[[], str] = lambda: Path("/proc/filesystems").read_text(encoding="utf-8"),
                 ) -> None:
        self._run, self.home = run, base / name
        self._mountinfo, self._filesystems = mountinfo, filesystems

    def mounts(self) -> list[Mount]:
        return parse_mountinfo(self._mountinfo())

    def point(self, partition: Partition) -> str:
        return str(self.home / partition.name)

    def refuse_foreign_mounts(self, disk: Disk) -> None:
        """Evidence that something else has mounted may already be changed: a host that booted from it, for instance."""
        devices = {disk.device, *(part.device for part in disk.partitions if part.device)}
        numbers = {number for number in map(_number, devices) if number}
        for mount in self.mounts():
            mine = mount.point == str(self.home) or mount.point.startswith(f"{self.home}/")
            if not mine and (mount.source in devices or mount.number in numbers):
                raise EvidenceError(f"{mount.source} of {disk.volume_id} is already mounted on {mount.point}: evidence "
                                    "is mounted by this module alone, unmount it and use a fresh volume")

    def is_mounted(self, partition: Partition) -> bool:
        """Is it mounted where it belongs, from its own device and read-only? Anything in between is refused."""
        point = self.point(partition)
        found = [mount for mount in self.mounts() if mount.point == point]
        if not found:
            return False
        if os.path.realpath(found[-1].source) != os.path.realpath(partition.device):
            raise EvidenceError(f"{point} is taken by {found[-1].source}: unmount it first")
        if "ro" not in found[-1].options:
            raise EvidenceError(f"{point} is mounted for writing: unmount it and use a fresh volume")
        return True

    def wanted(self, partition: Partition) -> bool:
        return partition.kind == "filesystem" and partition.type in MOUNTABLE and bool(partition.device)

    def readable(self, partition: Partition) -> bool:
        """Does this host have a driver for the partition's file system, loaded or as a module? Notes it if not."""
        name = driver(partition.type, self._filesystems())
        name = "fuse" if name == "ntfs-3g" else name
        if re.search(rf"\b{name}\b", self._filesystems()):
            return True
        if shutil.which("modprobe") and self._run(["modprobe", "--dry-run", "--quiet", f"fs-{name}"])[0] == 0:
            return True
        partition.reason = f"this host's kernel has no driver for {name}"
        return False

    def mount(self, partition: Partition) -> bool:
        """Mount one partition and note it there; a file system that will not mount is reported, not fatal."""
        point, options = self.point(partition), mount_options(partition.type)
        changed = not self.is_mounted(partition)
        if changed:
            self._make(Path(point))
            command = ["mount", "-t", driver(partition.type, self._filesystems()), "-o", options, partition.device,
                       point]
            code, _unused, err = self._run(command)
            if code != 0:
                Path(point).rmdir()  # an empty folder would look like an empty file system
                partition.reason = f"mount refused it: {one_line(err)}"
                return False
        partition.mounted, partition.mount_point, partition.options = True, point, options
        if partition.type == "ntfs" and _hibernated(Path(point)):
            partition.journal_dirty = True
        return changed

    def _make(self, point: Path) -> None:
        for folder in (self.home.parent, self.home, point):
            if not folder.is_dir():
                folder.mkdir(mode=0o755, parents=True)

    def apply(self, disk: Disk, partition: Partition, tools: Tools) -> bool:
        """Apply the journal of a partition of a throw-away volume; False, and the reason there, where it cannot be.

        The kernel does it in one mount. The disk is writable for as long as that takes and write-protected afterwards:
        what is looked at changes no more.
        """
        fs_type = partition.type
        if fs_type == "ntfs" and not re.search(r"\bntfs3\b", self._filesystems()) and (
                not shutil.which("modprobe") or self._run(["modprobe", "--quiet", "ntfs3"])[0] != 0):
            partition.reason = "its journal was not applied: only the driver ntfs3 can, and this kernel has none"
            return False
        point = self.home / f".{partition.name}"
        self._make(point)
        devices = list(dict.fromkeys((disk.device, partition.device)))
        try:
            for device in devices:
                tools.set_writable(device)
            code, _unused, err = self._run(["mount", "-t", "ntfs3" if fs_type == "ntfs" else fs_type, "-o",
                                            f"{REPLAY[fs_type]},{ALWAYS}", partition.device, str(point)])
            if code == 0:
                code, _unused, err = self._run(["umount", str(point)])
                if code != 0:
                    raise EvidenceError(f"{point} could not be unmounted: {one_line(err)}")
        finally:
            for device in reversed(devices):
                tools.set_read_only(device)
        point.rmdir()
        if code != 0:
            partition.reason = f"its journal could not be applied: {one_line(err)}"
        return code == 0

    def left(self) -> list[str]:
        """Mount points of this volume, the last made first."""
        return [mount.point for mount in reversed(self.mounts()) if mount.point.startswith(f"{self.home}/")]

    def present(self) -> bool:
        """Is there anything to take away?"""
        return bool(self.left()) or self.home.is_dir()

    def unmount_all(self) -> bool:
        """Unmount everything below the volume's folder and remove the folder; the disk stays write-protected."""
        changed = False
        for point in self.left():
            code, _unused, err = self._run(["umount", point])
            if code != 0:
                raise EvidenceError(f"{point} could not be unmounted: {one_line(err)}")
            changed = True
        if self.home.is_dir():
            for folder in [*self.home.iterdir(), self.home]:
                folder.rmdir()
            changed = True
        return changed


def _number(device: str) -> str:
    """major:minor of a block device, empty when there is none."""
    try:
        number = Path(device).stat().st_rdev
    except OSError:
        return ""
    return f"{os.major(number)}:{os.minor(number)}" if number else ""


def _hibernated(point: Path) -> bool:
    """Windows put to sleep leaves its changes in hiberfil.sys, which then begins with this word."""
    try:
        with (point / "hiberfil.sys").open("rb") as handle:
            return handle.read(4).lower() == b"hibr"
    except OSError:
        return False
