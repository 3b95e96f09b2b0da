# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""evidence_volume without devices: how disks are found, what tools' answers mean, which options a mount gets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.dfir.aws.plugins.module_utils import evidence_mount
from ansible_collections.dfir.aws.plugins.module_utils.evidence_disk import (
    Disk,
    DiskFinder,
    EvidenceError,
    Examiner,
    Partition,
    Tools,
    classify,
    parse_export,
    parse_table,
)
from ansible_collections.dfir.aws.plugins.module_utils.evidence_mount import Mounter, mount_options, parse_mountinfo

VOLUME = "vol-0123456789abcdef0"
LINK = "nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0"


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    """A /dev in which the evidence is nvme2n1, behind the host's own root and another volume."""
    folder = tmp_path / "dev"
    (folder / "disk/by-id").mkdir(parents=True)
    for name in ("nvme0n1", "nvme0n1p1", "nvme1n1", "nvme2n1", "nvme2n1p1", "nvme2n1p14", "nvme2n1p15"):
        (folder / name).touch()
    return folder


def link(dev: Path) -> None:
    (dev / "disk/by-id" / LINK).symlink_to("../../nvme2n1")
    for number in (1, 14, 15):
        (dev / "disk/by-id" / f"{LINK}-part{number}").symlink_to(f"../../nvme2n1p{number}")
    (dev / "disk/by-id" / (LINK + "_1")).symlink_to("../../nvme2n1")  # udev also names the NVMe namespace


def test_p19_by_id_link(dev: Path, tmp_path: Path) -> None:
    link(dev)
    finder = DiskFinder(dev, tmp_path)
    disk = finder.wait(VOLUME, 0)
    assert disk.device == str(dev / "nvme2n1")
    assert list(finder.partition_links(disk)) == [1, 14, 15]


def test_p19_nvme_serial_where_udev_made_no_links(dev: Path, tmp_path: Path) -> None:
    for name, serial in (("nvme0n1", "vol0000000000000000f"), ("nvme2n1", "vol0123456789abcdef0")):
        folder = tmp_path / "block" / name / "device"
        folder.mkdir(parents=True)
        (folder / "serial").write_text(serial + "   \n")
    finder = DiskFinder(dev, tmp_path / "block")
    disk = finder.wait(VOLUME, 0)
    assert disk.device == str(dev / "nvme2n1")
    assert finder.partition_links(disk) == {number: str(dev / f"nvme2n1p{number}") for number in (1, 14, 15)}


def test_p19_never_another_disk(dev: Path, tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match=r"did not appear.*check that it is attached") as caught:
        DiskFinder(dev, tmp_path).wait(VOLUME, 0)
    assert caught.value.device_missing


def test_p19_xen_names_are_explained(tmp_path: Path) -> None:
    (tmp_path / "xvdf").touch()
    with pytest.raises(EvidenceError, match="choose a Nitro instance type"):
        DiskFinder(tmp_path, tmp_path).wait(VOLUME, 0)


class FakeTools:
    """Answers like util-linux, and remembers in which order it was asked."""

    def __init__(self, answers: dict[str, tuple[int, str, str]], *, stubborn: bool = False) -> None:
        self.answers, self.stubborn = answers, stubborn
        self.protected: set[str] = set()
        self.calls: list[list[str]] = []

    def __call__(self, command: list[str]) -> tuple[int, str, str]:
        self.calls.append(command)
        device = command[-1]
        if command[:2] == ["blockdev", "--getro"]:
            return 0, f"{int(device in self.protected and not self.stubborn)}\n", ""
        if command[:2] == ["blockdev", "--setro"]:
            self.protected.add(device)
            return 0, "", ""
        if command[:2] == ["blockdev", "--getsize64"]:
            return 0, "1048576\n", ""
        return self.answers.get(f"{command[0]} {Path(device).name}", (2, "", ""))


SFDISK = json.dumps({"partitiontable": {
    "label": "gpt", "device": "/dev/nvme2n1", "unit": "sectors", "sectorsize": 512, "partitions": [
        {"node": "/dev/nvme2n1p1", "start": 262144, "size": 16513024, "type": "0FC63DAF-8483-4772-8E79-3D69D8477DE4"},
        {"node": "/dev/nvme2n1p14", "start": 2048, "size": 6144, "type": "21686148-6449-6E6F-744E-656564454649"},
        {"node": "/dev/nvme2n1p15", "start": 8192, "size": 253952, "type": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"},
        {"node": "/dev/nvme2n1p16", "start": 999999, "size": 8, "type": "0FC63DAF-8483-4772-8E79-3D69D8477DE4"}]}})
DEBIAN = {
    "blkid nvme2n1": (0, "DEVNAME=/dev/nvme2n1\nPTUUID=8cbd\nPTTYPE=gpt\n", ""), "sfdisk nvme2n1": (0, SFDISK, ""),
    "blkid nvme2n1p1": (0, "UUID=11e9fd04-7fa1-4ef5-a1d7-b7a3c7a3e8ee\nBLOCK_SIZE=4096\nTYPE=ext4\nUSAGE=filesystem\n",
                        ""),
    "blkid nvme2n1p15": (0, "UUID=6D4E-2E2C\nTYPE=vfat\nUSAGE=filesystem\nLABEL=EVIL; rm -rf\n", ""),
}


def test_p20_nothing_is_read_before_everything_is_read_only(dev: Path, tmp_path: Path) -> None:
    link(dev)
    tools = FakeTools(DEBIAN)
    finder = DiskFinder(dev, tmp_path)
    examiner, disk = Examiner(finder, Tools(tools)), finder.wait(VOLUME, 0)
    assert examiner.protect(disk) == 4
    examiner.identify(disk, 0)
    first_read = next(index for index, call in enumerate(tools.calls) if call[0] in ("blkid", "sfdisk"))
    protected = {call[-1] for call in tools.calls[:first_read] if call[1] == "--setro"}
    assert protected == {str(dev / name) for name in ("nvme2n1", "nvme2n1p1", "nvme2n1p14", "nvme2n1p15")}
    assert examiner.protect(disk) == 0


def test_p20_a_disk_that_stays_writable_is_an_error(dev: Path, tmp_path: Path) -> None:
    link(dev)
    tools = FakeTools(DEBIAN, stubborn=True)
    finder = DiskFinder(dev, tmp_path)
    with pytest.raises(EvidenceError, match="stays writable"):
        Examiner(finder, Tools(tools)).protect(finder.wait(VOLUME, 0))
    assert not [call for call in tools.calls if call[0] in ("blkid", "sfdisk", "mount")]


def test_p23_every_partition_of_the_table_is_accounted_for(dev: Path, tmp_path: Path) -> None:
    link(dev)
    finder = DiskFinder(dev, tmp_path)
    disk = finder.wait(VOLUME, 0)
    Examiner(finder, Tools(FakeTools(DEBIAN))).identify(disk, 0)
    assert [(part.name, part.kind, part.type) for part in disk.partitions] == [
        ("p1", "filesystem", "ext4"), ("p14", "bios_boot", ""), ("p15", "filesystem", "vfat"), ("p16", "unknown", "")]
    assert disk.partitions[0].start_bytes == 262144 * 512
    assert "no device" in disk.partitions[3].reason
    assert "EVIL" not in json.dumps([part.facts() for part in disk.partitions])


def test_p23_a_table_that_sfdisk_cannot_read_leaves_the_kernels_partitions(dev: Path, tmp_path: Path) -> None:
    link(dev)
    finder = DiskFinder(dev, tmp_path)
    disk = finder.wait(VOLUME, 0)
    Examiner(finder, Tools(FakeTools({**DEBIAN, "sfdisk nvme2n1": (1, "", "corrupt")}))).identify(disk, 0)
    assert [part.number for part in disk.partitions] == [1, 14, 15]


@pytest.mark.parametrize(("probe", "kind", "word"), [
    ({"TYPE": "LVM2_member"}, "lvm", "never activated"), ({"TYPE": "crypto_LUKS"}, "luks", "passphrase"),
    ({"TYPE": "BitLocker"}, "bitlocker", "key"), ({"TYPE": "swap"}, "swap", "no files"),
    ({"TYPE": "linux_raid_member"}, "raid", "never assembled"), ({"TYPE": "isw_raid_member"}, "raid", "assembled"),
    ({"TYPE": "f2fs", "USAGE": "filesystem"}, "filesystem", "no way to mount"),
    ({"TYPE": "zfs_member", "USAGE": "filesystem"}, "filesystem", "no way to mount"),
    ({"AMBIVALENT": "1"}, "unknown", "more than one signature"), ({}, "unknown", "no known signature"),
])
def test_p22_p24_what_is_not_mounted_says_why(probe: dict[str, str], kind: str, word: str) -> None:
    part = Partition(3, "/dev/x", "/dev/x")
    classify(part, probe)
    assert part.kind == kind
    assert word in part.reason
    assert not Mounter(FakeTools({}), Path("/evidence"), VOLUME).wanted(part) or part.type in evidence_mount.OPTIONS


def test_p24_uuid_of_evidence_is_hexadecimal_or_absent() -> None:
    part = Partition(1)
    classify(part, {"TYPE": "ext4", "UUID": "{{ lookup('pipe', 'id') }}"})
    assert part.uuid == ""


@pytest.mark.parametrize(("fs_type", "options"), [
    ("ext2", "ro"), ("ext3", "ro,noload"), ("ext4", "ro,noload"), ("xfs", "ro,norecovery,nouuid"),
    ("btrfs", "ro,rescue=nologreplay,subvolid=5"), ("ntfs", "ro"), ("vfat", "ro")])
def test_p16_p20_options(fs_type: str, options: str) -> None:
    assert mount_options(fs_type) == options + ",nosuid,nodev,noexec"


MOUNTINFO = ("22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p1 rw\n"
             "90 22 259:9 / /evidence/vol-0123456789abcdef0/p1 ro,nosuid - ext4 {source} ro\n"
             "91 22 259:8 / /mnt/with\\040space rw - xfs /dev/nvme9n1 rw\n")


def mounter(text: str) -> Mounter:
    return Mounter(FakeTools({}), Path("/evidence"), VOLUME, mountinfo=lambda: text, filesystems=lambda: "\text4\n")


def test_mountinfo() -> None:
    mounts = parse_mountinfo(MOUNTINFO)
    assert [mount.point for mount in mounts] == ["/", "/evidence/vol-0123456789abcdef0/p1", "/mnt/with space"]
    assert mounts[0].number == "259:1"


def test_p21_a_host_that_booted_from_the_evidence_is_refused() -> None:
    disk = Disk(VOLUME, "/dev/disk/by-id/x", "/dev/nvme0n1",
                partitions=[Partition(1, "/dev/nvme0n1p1", "/dev/nvme0n1p1", type="ext4")])
    with pytest.raises(EvidenceError, match="already mounted on /:"):
        mounter(MOUNTINFO).refuse_foreign_mounts(disk)


def test_p20_a_writable_or_foreign_mount_in_its_place_is_refused() -> None:
    part = Partition(1, "/dev/nvme2n1p1", type="ext4", kind="filesystem")
    assert mounter(MOUNTINFO.format(source="/dev/nvme2n1p1")).is_mounted(part)
    with pytest.raises(EvidenceError, match="is taken by /dev/nvme5n1"):
        mounter(MOUNTINFO.format(source="/dev/nvme5n1")).is_mounted(part)
    with pytest.raises(EvidenceError, match="mounted for writing"):
        mounter(MOUNTINFO.format(source="/dev/nvme2n1p1").replace("ro,nosuid", "rw")).is_mounted(part)


def test_a_file_system_without_a_driver_is_reported() -> None:
    part = Partition(1, "/dev/x", type="xfs", kind="filesystem")
    assert not mounter("").readable(part)
    assert "no driver for xfs" in part.reason


def test_ntfs_goes_through_user_space_where_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence_mount.shutil, "which", lambda name: f"/sbin/{name}")
    assert evidence_mount.driver("ntfs", "\tntfs3\n") == "ntfs-3g"
    monkeypatch.setattr(evidence_mount.shutil, "which", lambda name: None)
    assert evidence_mount.driver("ntfs", "\tntfs3\n") == "ntfs3"


def test_parsers() -> None:
    assert parse_export("DEVNAME=/dev/x\nLABEL=a=b\n\nTYPE=ext4\n") == {"DEVNAME": "/dev/x", "LABEL": "a=b",
                                                                       "TYPE": "ext4"}
    dos = parse_table(json.dumps({"partitiontable": {"label": "dos", "device": "/dev/loop3", "partitions": [
        {"node": "/dev/loop3p5", "start": 4096, "size": 8, "type": "83"},
        {"node": "/dev/loop3p1", "start": 2048, "size": 100, "type": "5"}]}}))
    assert [(part.number, part.start_bytes) for part in dos] == [(1, 2048 * 512), (5, 4096 * 512)]
    assert "extended" in dos[0].reason
