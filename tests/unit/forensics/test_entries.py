# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries of file systems that need no mount to be made: FAT, empty ones, damaged ones. The others are in the
integration tests, beside what the kernel says of them."""

from __future__ import annotations

import io
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.forensics.dissect_tree import STREAMED, DissectTree
from ansible_collections.dfir.aws.plugins.module_utils.forensics.entries import entries
from ansible_collections.dfir.aws.plugins.module_utils.forensics.entry_spool import Folders
from ansible_collections.dfir.aws.plugins.module_utils.forensics.entry_walk import FileEntry, legible
from ansible_collections.dfir.aws.plugins.module_utils.forensics.fat_records import moment
from ansible_collections.dfir.aws.plugins.module_utils.forensics.steps import StepError

pytest.importorskip("dissect.ntfs", reason="dissect is not installed")
NS = 10**9
NEEDED = ("mke2fs", "debugfs", "mkfs.xfs", "mkfs.btrfs", "mkfs.ntfs", "ntfscp", "mkfs.vfat", "mcopy", "fls")
pytestmark = [pytest.mark.slow,
              pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason=f"needs {', '.join(NEEDED)}")]
EMPTY = {"ext2": (["mke2fs", "-q", "-F", "-t", "ext2"], 4), "ext3": (["mke2fs", "-q", "-F", "-t", "ext3"], 8),
         "ext4": (["mke2fs", "-q", "-F", "-t", "ext4"], 8), "xfs": (["mkfs.xfs", "-q", "-f"], 320),
         "btrfs": (["mkfs.btrfs", "-q", "-f"], 128), "ntfs": (["mkfs.ntfs", "-q", "-F", "-Q"], 8),
         "vfat": (["mkfs.vfat", "-F", "16", "-n", "LABEL"], 16)}
HOLDS = {"xfs": {"/"}, "btrfs": {"/"}, "vfat": {"/"}}


def run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)


def blank(path: Path, mebibytes: int, *command: str | Path) -> Path:
    with path.open("wb") as stream:
        stream.truncate(mebibytes << 20)
    run(*command, path)
    return path


def listed(kind: str, image: Path) -> dict[str, FileEntry]:
    with image.open("rb") as stream:
        found = [entry for entry in entries(kind, stream) if entry.problem != "folder"]
    table = {entry.path.decode("utf-8", "backslashreplace"): entry for entry in found}
    assert len(table) == len(found)
    return table


def broken_folders(kind: str, image: Path) -> list[str]:
    with image.open("rb") as stream:
        return [entry.path.decode() for entry in entries(kind, stream) if entry.problem == "folder"]


@pytest.mark.parametrize("kind", EMPTY)
def test_empty_file_systems(kind: str, tmp_path: Path) -> None:
    command, size = EMPTY[kind]
    found = listed(kind, blank(tmp_path / "image", size, *command))
    if kind == "ntfs":
        assert {"/", "/$MFT", "/$Extend", "/$Secure:$SDS"} < set(found)
        assert all(path == "/" or path.startswith("/$") for path in found)
    else:
        assert set(found) == HOLDS.get(kind, {"/", "/lost+found"})
    assert found["/"].is_folder and not [entry for entry in found.values() if entry.problem]


@pytest.mark.parametrize("kind", [*STREAMED, "zfs", ""])
def test_no_file_system_is_said(kind: str) -> None:
    with pytest.raises(StepError) as error:
        list(entries(kind, io.BytesIO(bytes(1 << 20))))
    assert error.value.code == ("unreadable" if kind in STREAMED else "not_supported")
    with pytest.raises(StepError):
        DissectTree(kind, io.BytesIO(bytes(1 << 20)))


@pytest.mark.parametrize(("bits", "size"), [(12, 4), (16, 32), (32, 64)])
def test_fat_is_as_fls_lists_it_and_its_times_are_local(bits: int, size: int, tmp_path: Path) -> None:
    image = blank(tmp_path / "image", size, "mkfs.vfat", "-F", str(bits), "-n", "LABEL")
    (tmp_path / "a").write_text("hello\n")
    long = tmp_path / "a long name, größe.text"
    long.write_bytes(random.Random(1).randbytes(50_000))
    run("mmd", "-i", image, "::/EFI", "::/EFI/BOOT", "::/empty")
    for name in (f"name{number}.txt" for number in range(120)):
        (tmp_path / name).write_text(name)
        run("mcopy", "-i", image, tmp_path / name, "::/EFI/BOOT")
    for number in range(0, 120, 2):  # so that the next file goes into the gaps
        run("mdel", "-i", image, f"::/EFI/BOOT/name{number}.txt")
    run("mcopy", "-m", "-i", image, tmp_path / "a", long, "::/EFI")
    found = listed("vfat", image)
    lines = subprocess.run(["fls", "-r", "-p", "-u", "-f", "fat", image], check=True, capture_output=True,
                           text=True).stdout.splitlines()
    right = {"/" + line.partition("\t")[2]: int(line.partition("\t")[0].split()[-1].rstrip(":")) for line in lines}
    # What it makes up, and the name of the volume.
    right = {path: number for path, number in right.items() if not re.match(r"/(\$|LABEL +\()", path)}
    assert {path: entry.inode for path, entry in found.items() if path != "/"} == right and len(right) == 65
    with image.open("rb") as stream:
        tree = DissectTree("vfat", stream, tmp_path / "copies")
        assert tree.local_times and tree.copies
        assert tree.read("/efi/A LONG name, GRÖßE.text") == long.read_bytes()
        assert Path(tree.host_path(b"/EFI/a").decode()).read_text() == "hello\n"
        info = tree.lookup("/EFI/a").info  # type: ignore[union-attr]
    entry = found["/EFI/a"]
    assert entry.ctime is None and info.st_ctime_ns == info.st_mtime_ns == entry.mtime
    assert entry.mtime % (2 * NS) == 0 and entry.atime % (86_400 * NS) == 0  # type: ignore[operator]


def test_times_of_fat() -> None:
    assert moment(0, 0) is None
    assert moment((2026 - 1980) << 9 | 9 << 5 | 12, 3 << 11 | 41 << 5 | 17 // 2) == 1_789_184_476 * NS
    assert moment(0xFFFF, 0xFFFF) is not None and moment(1, 0) is not None


@pytest.fixture
def ext4(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    for folder in ("one", "two/three", "four"):
        (tree / folder).mkdir(parents=True)
        for number in range(60):
            (tree / folder / f"file with a long name {number}").write_text(str(number))
    return blank(tmp_path / "image", 16, "mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-d", tree)


def debugfs(image: Path, command: str) -> str:
    return subprocess.run(["debugfs", "-w", "-R", command, image], check=True, capture_output=True, text=True).stdout


def test_a_broken_folder_or_inode_of_ext_ends_nothing(ext4: Path) -> None:
    before = listed("ext4", ext4)
    blocks = [int(block) for block in debugfs(ext4, "blocks /one").split()]
    assert len(blocks) > 1
    with ext4.open("r+b") as stream:
        stream.seek(blocks[1] * 1024)
        stream.write(b"\xff" * 1024)
    debugfs(ext4, 'clri "/two/three/file with a long name 7"')
    after = listed("ext4", ext4)
    lost = set(before) - set(after)
    assert broken_folders("ext4", ext4) == ["/one"]
    assert lost and all(path.startswith("/one/") for path in lost) and "/one/file with a long name 0" in after
    assert [path for path, entry in after.items() if entry.problem] == ["/two/three/file with a long name 7"]
    with ext4.open("rb") as stream:
        tree = DissectTree("ext4", stream)
        assert {entry.path.decode() for _unused, found in tree.walk() for entry in found} == set(after) - {
            "/", "/two/three/file with a long name 7"}
        assert tree.unreadable == 2


def test_folders_that_hold_each_other_and_forged_numbers(ext4: Path) -> None:
    before = set(listed("ext4", ext4))
    debugfs(ext4, "link /two /two/three/circle")
    with ext4.open("r+b") as stream:
        place = int(debugfs(ext4, "blocks /four").split()[0]) * 1024
        stream.seek(place)
        block = stream.read(1024)
        stream.seek(place + block.index(b"file with a long name 3") - 8)
        stream.write((4_000_000).to_bytes(4, "little"))
    after = listed("ext4", ext4)
    assert set(after) == before | {"/two/three/circle"}
    (forged,) = (entry for entry in after.values() if entry.problem)
    assert forged.path.startswith(b"/four/file") and forged.inode == 4_000_000
    assert after["/two/three/circle"].inode == after["/two"].inode


def test_xfs_of_version_4_and_a_broken_inode(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("content")
    files = [f"file{number} ---644 1 2 {tmp_path / 'source'}" for number in range(90)]
    lines = ["/dev/null", "0 0", "d--755 0 0", *files, "sub d--700 3 4",
             f"inner ---600 5 6 {tmp_path / 'source'}", "$", "link l--777 0 0 sub/inner", "$"]
    (tmp_path / "proto").write_text("\n".join(lines) + "\n")
    for number, options in enumerate((["-m", "crc=0"], ["-m", "crc=0", "-n", "size=16384"], ["-n", "ftype=1"])):
        image = blank(tmp_path / f"image{number}", 320, "mkfs.xfs", "-q", "-f", *options, "-p", tmp_path / "proto")
        found = listed("xfs", image)
        assert set(found) == {"/", "/link", "/sub", "/sub/inner", *(f"/file{number}" for number in range(90))}
        assert found["/sub/inner"].size == 7 and (found["/sub/inner"].uid, found["/sub/inner"].gid) == (5, 6)
        assert found["/sub"].mode == 0o040700 and (found["/sub"].mtime or 0) > 1_700_000_000 * NS
    data = image.read_bytes()
    place = data.index(b"IN\x81\xa4", data.index(b"file89"))
    with image.open("r+b") as stream:
        stream.seek(place)
        stream.write(b"XX")
    found = listed("xfs", image)
    assert len(found) == 94 and [path[:5] for path, entry in found.items() if entry.problem] == ["/file"]


def test_a_broken_record_of_ntfs_ends_nothing(tmp_path: Path) -> None:
    image = blank(tmp_path / "image", 8, "mkfs.ntfs", "-q", "-F", "-Q")
    for number in range(20):
        (tmp_path / "source").write_text(str(number))
        run("ntfscp", image, tmp_path / "source", f"file{number}.txt")
    before = listed("ntfs", image)
    data = image.read_bytes()
    place = max(match.start() for match in re.finditer(b"FILE0\\0", data) if "file7.txt".encode(
        "utf-16-le") in data[match.start():match.start() + 1024])
    with image.open("r+b") as stream:
        stream.seek(place)
        stream.write(b"BAAD")
    after = listed("ntfs", image)
    assert set(before) - set(after) == {"/file7.txt"}
    (bad,) = (entry for entry in after.values() if entry.problem)
    assert bad.inode == before["/file7.txt"].inode and bad.path.startswith(b"/$OrphanFiles/")


def test_a_broken_leaf_of_btrfs_ends_nothing(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for folder in range(12):
        (tree / f"d{folder}").mkdir(parents=True)
        for number in range(40):
            (tree / f"d{folder}/file with a long name {number}").write_text(str(number))
    image = tmp_path / "image"
    with image.open("wb") as stream:
        stream.truncate(128 << 20)
    run("mkfs.btrfs", "-q", "-r", tree, image)
    before = listed("btrfs", image)
    assert len(before) == 12 * 41 + 1
    data = image.read_bytes()
    leaves = [match.start() for match in re.finditer(b"file with a long name 20", data)]
    with image.open("r+b") as stream:
        for place in {place & ~0x3FFF for place in leaves if b"/" not in data[place - 1:place]}:
            if data[place + 88:place + 96] == (5).to_bytes(8, "little") and place != min(leaves) & ~0x3FFF:
                stream.seek(place)
                stream.write(bytes(16384))
    with image.open("rb") as stream:
        found = list(entries("btrfs", stream))
    kinds = {entry.problem for entry in found}
    assert "folder" in kinds and 1 < len([entry for entry in found if not entry.problem]) < len(before)


def test_names_that_no_name_may_have_are_shown() -> None:
    assert legible(b"a/../b\0c") == b"a\\x2f..\\x2fb\\x00c"


def test_folders_in_circles_have_no_path() -> None:
    folders = Folders(5)
    folders.known = {6: (5, b"six"), 7: (6, b"seven"), 8: (9, b"eight"), 9: (8, b"nine"), 10: (99, b"ten")}
    assert [folders.place(number) for number in (5, 7, 6, 8, 9, 10)] == [
        b"", b"/six/seven", b"/six", b"/$OrphanFiles", b"/$OrphanFiles", b"/$OrphanFiles"]
