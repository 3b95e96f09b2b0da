# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find an attached EBS volume by its id, write-protect it, and say what is on it.

Names such as nvme1n1 follow the order in which disks answered and say nothing; the volume id is in the disk's serial
number, and so in its name below /dev/disk/by-id. Nothing here reads a byte of a disk that is not set read-only.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .evidence_journal import device_reader
from .evidence_remains import ZEROS, remains

Runner = Callable[[list[str]], tuple[int, str, str]]
"""Runs a command and answers (exit code, standard output, standard error)."""

BY_ID_PREFIX = "nvme-Amazon_Elastic_Block_Store_"
BIOS_BOOT_GUID = "21686148-6449-6E6F-744E-656564454649"
DOS_EXTENDED = {"5", "f", "85"}
MOUNTABLE = {"ext2", "ext3", "ext4", "xfs", "btrfs", "ntfs", "vfat"}
KINDS = {"LVM1_member": "lvm", "LVM2_member": "lvm", "crypto_LUKS": "luks", "BitLocker": "bitlocker", "swap": "swap",
         "swsuspend": "swap"}
REASONS = {
    "lvm": "an LVM physical volume: it is never activated on the evidence, its logical volumes are read as they are",
    "luks": "encrypted with LUKS: it needs its passphrase",
    "bitlocker": "encrypted with BitLocker: it needs its key",
    "swap": "swap space: it holds no files",
    "raid": "a member of a RAID: it is never assembled on the evidence, and may need the instance's other volumes",
    "bios_boot": "a BIOS boot partition: it holds a boot loader and no files",
}
NO_DEVICE = "the kernel made no device for this partition"
UNKNOWN = "no known signature: empty, or encrypted without a header"


class EvidenceError(Exception):
    """One clear sentence. `device_missing` says that waiting longer may help."""

    def __init__(self, message: str, *, device_missing: bool = False) -> None:
        super().__init__(message)
        self.device_missing = device_missing


@dataclass
class Partition:
    """One partition of the evidence, or (number 0) a file system that takes the whole disk."""

    number: int
    device: str = ""
    by_id: str = ""
    start_bytes: int = 0
    size_bytes: int = 0
    type: str = ""
    kind: str = "unknown"
    uuid: str = ""
    mounted: bool = False
    mount_point: str = ""
    options: str = ""
    journal_dirty: bool | None = None
    reason: str = ""
    member: dict[str, Any] | None = None  # of a set (evidence_sets)

    @property
    def name(self) -> str:
        return f"p{self.number}"

    def facts(self) -> dict[str, Any]:
        """What goes back to the controller: devices, numbers and enumerations, no label and no path of evidence."""
        return {"name": self.name, **self.__dict__}


@dataclass
class Disk:
    """The attached volume and the links by which its partitions are found."""

    volume_id: str
    by_id: str
    device: str
    table: str = "none"
    size_bytes: int = 0
    partitions: list[Partition] = field(default_factory=list)


class DiskFinder:
    """Looks a volume up in /dev/disk/by-id, or by the serial numbers of the NVMe disks where udev made no links."""

    def __init__(self, dev: Path = Path("/dev"), sys_block: Path = Path("/sys/block")) -> None:
        self.dev, self.sys_block = dev, sys_block

    def find(self, volume_id: str) -> Disk | None:
        """The disk of `volume_id`, or None while it is not there."""
        serial = volume_id.replace("-", "", 1)
        link = self.dev / "disk/by-id" / (BY_ID_PREFIX + serial)
        if link.exists():
            return Disk(volume_id, str(link), str(link.resolve()))
        for entry in sorted(self.sys_block.glob("nvme*/device/serial")):
            if entry.read_text(encoding="ascii", errors="replace").strip() == serial:
                device = self.dev / entry.parent.parent.name
                if device.exists():
                    return Disk(volume_id, str(device), str(device))
        return None

    def wait(self, volume_id: str, timeout: float, *, interval: float = 0.5) -> Disk:
        """The disk of `volume_id`, waited for up to `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            disk = self.find(volume_id)
            if disk is not None:
                return disk
            if time.monotonic() >= deadline:
                raise EvidenceError(self._missing(volume_id, timeout), device_missing=True)
            time.sleep(interval)

    def _missing(self, volume_id: str, timeout: float) -> str:
        text = f"volume {volume_id} did not appear under {self.dev}/disk/by-id within {timeout:g} s"
        if not list(self.dev.glob("nvme*")) and list(self.dev.glob("xvd*")):
            return text + ": this instance type names its disks in the Xen style, choose a Nitro instance type"
        return text + ": check that it is attached to this instance"

    def partition_links(self, disk: Disk) -> dict[int, str]:
        """Number of each partition that has a device, and the name to reach it by."""
        base = Path(disk.by_id)
        pattern = re.compile(re.escape(base.name) + (r"-part(\d+)" if base.name.startswith("nvme-") else r"p(\d+)"))
        found = {}
        for entry in base.parent.iterdir():
            match = pattern.fullmatch(entry.name)
            if match and entry.exists():
                found[int(match.group(1))] = str(entry)
        return dict(sorted(found.items()))


class Tools:
    """The commands of util-linux that this module needs, each with its answer checked."""

    def __init__(self, run: Runner) -> None:
        self._run = run

    def is_read_only(self, device: str) -> bool:
        return self._checked(["blockdev", "--getro", device]).strip() == "1"

    def set_read_only(self, device: str) -> None:
        """Write-protect one block device and verify it. A disk's protection does not reach its partitions."""
        self._checked(["blockdev", "--setro", device])
        if not self.is_read_only(device):
            raise EvidenceError(f"{device} stays writable after blockdev --setro: nothing was read from it")

    def set_writable(self, device: str) -> None:
        """For a throw-away volume whose journal is to be applied, never for evidence."""
        self._checked(["blockdev", "--setrw", device])

    def size(self, device: str) -> int:
        return int(self._checked(["blockdev", "--getsize64", device]))

    def probe(self, device: str) -> dict[str, str]:
        """What blkid reads from the device itself (-p: its cache is not asked). Empty when it knows nothing."""
        code, out, err = self._run(["blkid", "-p", "-o", "export", device])
        if code == 0:
            return parse_export(out)
        if code == 2:
            return {}
        if code == 8:
            return {"AMBIVALENT": "1"}
        raise EvidenceError(f"blkid could not read {device}: {one_line(err)}")

    def table(self, device: str) -> list[Partition]:
        """The partitions that the table names, without devices."""
        code, out, err = self._run(["sfdisk", "--json", device])
        if code != 0:
            raise EvidenceError(f"sfdisk could not read the partition table of {device}: {one_line(err)}")
        try:
            return parse_table(out)
        except (ValueError, KeyError, TypeError) as error:  # names in a table can be anything
            raise EvidenceError(f"the partition table of {device} cannot be understood") from error

    def _checked(self, command: list[str]) -> str:
        code, out, err = self._run(command)
        if code != 0:
            raise EvidenceError(f"{' '.join(command)} failed: {one_line(err)}")
        return out


def one_line(text: str) -> str:
    """The first line that says something, short enough for a message."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0][:300] if lines else "no message"


def parse_export(text: str) -> dict[str, str]:
    """`blkid -o export`: NAME=value lines."""
    pairs = (line.partition("=")[::2] for line in text.splitlines())
    return {name: value for name, value in pairs if name and value}


def parse_table(text: str) -> list[Partition]:
    """`sfdisk --json`: the partitions with their numbers, in bytes."""
    table = json.loads(text)["partitiontable"]
    sector = int(table.get("sectorsize", 512))
    partitions = []
    for entry in table.get("partitions", []):
        number = re.search(r"(\d+)$", entry["node"][len(table["device"]):])
        if number is None:
            continue
        kind, reason = "unknown", NO_DEVICE
        code = str(entry.get("type", "")).upper()
        if code == BIOS_BOOT_GUID:
            kind, reason = "bios_boot", REASONS["bios_boot"]
        elif code.lower() in DOS_EXTENDED:
            reason = "an extended partition: it only holds other partitions"
        partitions.append(Partition(int(number.group(1)), start_bytes=int(entry["start"]) * sector,
                                    size_bytes=int(entry["size"]) * sector, kind=kind, reason=reason))
    return sorted(partitions, key=lambda partition: partition.number)


def classify(partition: Partition, probe: dict[str, str]) -> None:
    """Fill in what blkid found: type, kind, uuid, and the reason why it will not be mounted."""
    fs_type = probe.get("TYPE", "")
    partition.type = fs_type
    uuid = probe.get("UUID", "")
    partition.uuid = uuid if re.fullmatch(r"[0-9A-Za-z-]{1,64}", uuid) else ""
    if fs_type in KINDS or fs_type.endswith("_raid_member"):
        partition.kind = KINDS.get(fs_type, "raid")
        partition.reason = REASONS[partition.kind]
    elif probe.get("AMBIVALENT"):
        partition.kind, partition.reason = "unknown", "more than one signature: blkid cannot tell what it is"
    elif fs_type in MOUNTABLE:
        partition.kind, partition.reason = "filesystem", ""
    elif probe.get("USAGE") == "filesystem":
        partition.kind = "filesystem"
        partition.reason = f"{fs_type}: no way to mount it without writing is known here"
    elif fs_type:
        partition.kind, partition.reason = "unknown", f"{fs_type}: not a file system that can be mounted here"
    elif partition.kind == "unknown" and (not partition.reason or partition.reason == NO_DEVICE):
        partition.reason = UNKNOWN


class Examiner:
    """Write-protects a disk and everything on it, then identifies it."""

    def __init__(self, finder: DiskFinder, tools: Tools) -> None:
        self.finder, self.tools = finder, tools

    def writable(self, disk: Disk) -> list[str]:
        """The devices of the disk that are not write-protected yet: the disk first, then its partitions."""
        devices = [disk.device, *(str(Path(link).resolve()) for link in self.finder.partition_links(disk).values())]
        return [device for device in devices if not self.tools.is_read_only(device)]

    def protect(self, disk: Disk) -> int:
        """Set the disk and all its partitions read-only; how many needed it."""
        devices = self.writable(disk)
        for device in devices:
            self.tools.set_read_only(device)
        return len(devices)

    def identify(self, disk: Disk, timeout: float) -> int:
        """Read table and signatures into `disk`; how many devices that came late were write-protected on the way."""
        disk.size_bytes = self.tools.size(disk.device)
        whole = self.tools.probe(disk.device)
        late = 0
        if whole.get("PTTYPE"):
            disk.table = whole["PTTYPE"]
            disk.partitions = self._table(disk)
            late = self._devices(disk, timeout)
            for partition in disk.partitions:
                if partition.device:
                    self._classify(partition)
        elif whole.get("TYPE") or whole.get("AMBIVALENT"):
            partition = Partition(0, disk.device, disk.by_id, 0, disk.size_bytes)
            classify(partition, whole)
            disk.partitions = [partition]
        elif (reason := remains(device_reader(disk.device), disk.size_bytes)) != ZEROS:
            disk.partitions = [Partition(0, disk.device, disk.by_id, 0, disk.size_bytes, reason=reason)]
        return late

    def _classify(self, partition: Partition) -> None:
        """What a partition is. One that cannot be read costs the others nothing."""
        try:
            classify(partition, self.tools.probe(partition.device))
        except EvidenceError as error:
            partition.reason = str(error)
        if partition.reason == UNKNOWN:
            partition.reason = remains(device_reader(partition.device), partition.size_bytes)

    def _table(self, disk: Disk) -> list[Partition]:
        """The table's partitions; of a table that only the kernel could read, those that the kernel found."""
        try:
            return self.tools.table(disk.device)
        except EvidenceError:
            return [Partition(number, size_bytes=self.tools.size(link))
                    for number, link in self.finder.partition_links(disk).items()]

    def _devices(self, disk: Disk, timeout: float) -> int:
        """Join table and devices; wait for devices that udev still has to make, and write-protect those."""
        deadline = time.monotonic() + timeout
        while True:
            links = self.finder.partition_links(disk)
            if all(partition.number in links for partition in disk.partitions) or time.monotonic() >= deadline:
                break
            time.sleep(0.5)
        for partition in disk.partitions:
            if partition.number in links:
                partition.by_id = links[partition.number]
                partition.device = str(Path(partition.by_id).resolve())
        return self.protect(disk)
