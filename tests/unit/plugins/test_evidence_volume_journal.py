# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Dirty journals, read from file systems that were really made, and from bytes changed as a running server would."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.evidence_journal import device_reader, journal_dirty


def make(path: Path, size: int, *command: str) -> Path:
    program = shutil.which(command[0], path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        pytest.skip(f"{command[0]} is not installed")
    with path.open("wb") as handle:
        handle.truncate(size << 20)
    subprocess.run([program, *command[1:], str(path)], check=True, capture_output=True)
    return path


def patch(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as handle:
        handle.seek(offset)
        handle.write(data)


def dirty(fs_type: str, path: Path) -> bool | None:
    return journal_dirty(fs_type, device_reader(str(path)))


@pytest.mark.parametrize("fs_type", ["ext3", "ext4"])
def test_p20_ext_needs_recovery(tmp_path: Path, fs_type: str) -> None:
    disk = make(tmp_path / "disk", 16, "mke2fs", "-q", "-F", "-t", fs_type)
    assert dirty(fs_type, disk) is False
    incompat = struct.unpack("<I", disk.read_bytes()[1024 + 0x60:1024 + 0x64])[0]
    patch(disk, 1024 + 0x60, struct.pack("<I", incompat | 0x4))
    assert dirty(fs_type, disk) is True


def test_p20_ext2_has_no_journal(tmp_path: Path) -> None:
    assert dirty("ext2", make(tmp_path / "disk", 4, "mke2fs", "-q", "-F", "-t", "ext2")) is False


def test_p20_btrfs_log_tree(tmp_path: Path) -> None:
    disk = make(tmp_path / "disk", 120, "mkfs.btrfs", "-q", "-f")
    assert dirty("btrfs", disk) is False
    patch(disk, 65536 + 0x60, struct.pack("<Q", 30_000_000))
    assert dirty("btrfs", disk) is True


def test_p20_ntfs_dirty_flag_and_open_log(tmp_path: Path) -> None:
    disk = make(tmp_path / "disk", 8, "mkntfs", "-q", "-F", "-Q", "-s", "512", "-c", "4096")
    assert dirty("ntfs", disk) is False
    boot = disk.read_bytes()[:512]
    table = struct.unpack_from("<Q", boot, 48)[0] * 4096
    record = disk.read_bytes()[table + 3 * 1024:table + 4 * 1024]
    offset = struct.unpack_from("<H", record, 20)[0]
    while struct.unpack_from("<I", record, offset)[0] != 0x70:
        offset += struct.unpack_from("<I", record, offset + 4)[0]
    flags = table + 3 * 1024 + offset + struct.unpack_from("<H", record, offset + 20)[0] + 10
    patch(disk, flags, b"\x01\x00")
    assert dirty("ntfs", disk) is True
    patch(disk, flags, b"\x00\x00")
    log = restart_page(in_use=0, flags=0)
    where = disk.read_bytes().find(b"\xff" * 4096)
    assert where % 4096 == 0
    patch(disk, where, log)
    assert dirty("ntfs", disk) is True
    patch(disk, where, restart_page(in_use=0xFFFF, flags=0))
    assert dirty("ntfs", disk) is False
    patch(disk, where, restart_page(in_use=0, flags=2))
    assert dirty("ntfs", disk) is False


def restart_page(in_use: int, flags: int) -> bytes:
    """A restart page of $LogFile: which clients are signed on, and whether the volume was put down cleanly."""
    page = bytearray(4096)
    page[0:8] = b"RSTR" + struct.pack("<HH", 0x1E, 9)
    struct.pack_into("<H", page, 24, 0x30)
    struct.pack_into("<QHHHH", page, 0x30, 7, 1, 0xFFFF, in_use, flags)
    return bytes(page)


def xfs_log(disk: Path) -> tuple[int, int]:
    head = device_reader(str(disk))(0, 512)
    start = struct.unpack_from(">Q", head, 48)[0]
    group, block = start >> head[124], start & ((1 << head[124]) - 1)
    blocks_per_group, log_blocks = struct.unpack_from(">I", head, 84)[0], struct.unpack_from(">I", head, 96)[0]
    return (group * blocks_per_group + block) << head[120], (log_blocks << head[120]) // 512


def write_record(disk: Path, number: int, round_: int, *, unmount: bool) -> int:
    """Append a record of one operation to the log as the kernel does; the next free sector is returned."""
    start, _ = xfs_log(disk)
    header = struct.pack(">IIIIQQIII", 0xFEEDBABE, round_, 2, 512, 0, 0, 0, 0, 1).ljust(320, b"\0")
    header += struct.pack(">I", 32768)
    patch(disk, start + number * 512, header.ljust(512, b"\0"))
    operation = struct.pack(">III", round_, 0, 0)[:4] + struct.pack(">IBBH", 8, 0xAA, 0x20 if unmount else 0x01, 0)
    operation = struct.pack(">I", round_) + operation[4:]
    patch(disk, start + (number + 1) * 512, operation.ljust(512, b"\0"))
    return number + 2


def test_p20_xfs_log_ends_with_an_unmount_or_not(tmp_path: Path) -> None:
    disk = make(tmp_path / "disk", 320, "mkfs.xfs", "-q", "-f")
    assert dirty("xfs", disk) is False
    free = write_record(disk, 2, 1, unmount=False)
    assert dirty("xfs", disk) is True
    write_record(disk, free, 1, unmount=True)
    assert dirty("xfs", disk) is False


def test_p20_xfs_log_that_went_round(tmp_path: Path) -> None:
    disk = make(tmp_path / "disk", 320, "mkfs.xfs", "-q", "-f")
    start, sectors = xfs_log(disk)
    patch(disk, start, struct.pack(">I", 4).ljust(512, b"\0") * sectors)
    assert dirty("xfs", disk) is True  # no record at all where the newest must be
    free = write_record(disk, 0, 5, unmount=True)
    assert dirty("xfs", disk) is False
    write_record(disk, free, 5, unmount=False)
    assert dirty("xfs", disk) is True


def test_p20_damage_is_unknown_and_never_clean(tmp_path: Path) -> None:
    junk = tmp_path / "junk"
    junk.write_bytes(b"\x5a" * 200_000)
    short = tmp_path / "short"
    short.write_bytes(b"\x5a" * 100)
    for fs_type in ("ext4", "xfs", "btrfs", "ntfs"):
        assert dirty(fs_type, junk) is None
        assert dirty(fs_type, short) is None
    assert dirty("vfat", junk) is False
    assert dirty("f2fs", junk) is None
