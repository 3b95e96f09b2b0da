# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is on a disk: tables, file systems, what is encrypted, what cannot be understood."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.triage.disk import Part, Window, parts, window
from ansible_collections.dfir.aws.plugins.module_utils.triage.sources import ImageSource

from tests.unit.triage.triage_kit import MIB, disk, ext4, stream, tree

pytestmark = pytest.mark.slow


def made(folder: Path, *command: str, mib: int = 16) -> bytes:
    """What a program makes of an empty file, whose name comes last."""
    image = folder / "made.img"
    image.unlink(missing_ok=True)
    with image.open("wb") as file:
        file.truncate(mib * MIB)
    subprocess.run([*command, image], check=True, capture_output=True)
    return image.read_bytes()


def seen(image: Path) -> tuple[list[tuple[str, str, str]], list[str]]:
    source = ImageSource(image)
    found, problems = parts(source.stream, source.size)
    source.check()
    return [(part.name, part.kind, part.type) for part in found], problems


@pytest.mark.parametrize("label", ["gpt", "dos"])
def test_every_partition_is_named_by_its_number_and_told_by_its_content(tmp_path: Path, label: str) -> None:
    root = ext4(tmp_path / "root.img", tree(tmp_path / "root", {"a": "b"})).read_bytes()
    image = disk(tmp_path / "disk.img", [
        root, made(tmp_path, "mkfs.fat", "-F", "16"), made(tmp_path, "mkswap"), bytes(MIB)], label)
    found, problems = seen(image)
    assert found == [("p1", "filesystem", "ext4"), ("p2", "filesystem", "vfat"), ("p3", "swap", "swap"),
                     ("p4", "unknown", "")]
    assert problems == []
    source = ImageSource(image)
    first, *_unused, last = parts(source.stream, source.size)[0]
    assert first.start == MIB and first.size == len(root) and first.read_at(0, first.size + 9) == root
    assert first.journal_dirty is False and "nothing but zeros" in last.reason


@pytest.mark.parametrize(("program", "type_"), [
    (("mkfs.ext2", "-q"), "ext2"), (("mkfs.ext3", "-q"), "ext3"), (("mkfs.fat", "-F", "32"), "vfat"),
    (("mkfs.ntfs", "-q", "-F"), "ntfs")])
def test_a_file_system_without_a_table_is_the_whole_disk(
        tmp_path: Path, program: tuple[str, ...], type_: str) -> None:
    (tmp_path / "disk.img").write_bytes(made(tmp_path, *program, mib=64))
    assert seen(tmp_path / "disk.img") == ([("p0", "filesystem", type_)], [])


@pytest.mark.parametrize(("head", "kind"), [
    (b"LUKS\xba\xbe\0\x02", "luks"), (b"\xeb\x58\x90-FVE-FS-", "bitlocker"),
    (bytes(4096) + struct.pack("<I", 0xA92B4EFC), "raid")])
def test_what_cannot_be_opened_says_what_it_needs(tmp_path: Path, head: bytes, kind: str) -> None:
    image = tmp_path / "disk.img"
    image.write_bytes(head.ljust(4 * MIB, b"\0"))
    source = ImageSource(image)
    [part] = parts(source.stream, source.size)[0]
    assert part.kind == kind and not part.is_file_system and part.reason


def test_an_empty_disk_is_one_part_without_anything(tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_bytes(bytes(4 * MIB))
    found, problems = seen(tmp_path / "disk.img")
    assert found == [("p0", "unknown", "")] and problems == []


def test_a_partition_that_is_cut_or_lies_outside_is_said(tmp_path: Path) -> None:
    image = disk(tmp_path / "disk.img", [bytes(2 * MIB), bytes(4 * MIB)], "dos")
    with image.open("r+b") as file:
        file.truncate(5 * MIB)
    assert seen(image)[1] == ["partition 2 ends behind the disk: it is read as far as it is there"]
    with image.open("r+b") as file:
        file.truncate(3 * MIB)
    found, problems = seen(image)
    assert problems == ["partition 2 lies outside the disk"] and [name for name, *_unused in found] == ["p1"]


def test_windows_over_one_file_do_not_disturb_each_other() -> None:
    data = bytes(range(256))
    shared = stream(data)
    one, two = window(shared, 16, 32), window(shared, 100, 1000)
    assert one.read(4) == data[16:20] and two.read(3) == data[100:103] and one.read(4) == data[20:24]
    assert one.seek(-2, 2) == 30 and one.read() == data[46:48] and one.read(1) == b""
    assert Part("p1", 256, Window(shared, 0, 256)).read_at(300, 5) == b""  # type: ignore[arg-type]
