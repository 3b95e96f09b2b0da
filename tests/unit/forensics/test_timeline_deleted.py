# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Timelines and deleted files, on real file systems that are made here without root."""

from __future__ import annotations

import csv
import gzip
import os
import random
import re
import shutil
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.forensics import deleted, timeline, xfs_deleted
from ansible_collections.dfir.aws.plugins.module_utils.forensics.model import Artifacts, Partition
from ansible_collections.dfir.aws.plugins.module_utils.forensics.steps import StepError
from ansible_collections.dfir.aws.plugins.module_utils.forensics.tree import Tree

IMAGE = Path(__file__).resolve().parents[3] / "roles/toolbox/files/image"
needs_tools = pytest.mark.skipif(not all(map(shutil.which, ("fls", "mke2fs", "debugfs"))),
                                 reason="sleuthkit or e2fsprogs is not installed")


def partition(device: Path | str, kind: str, mount: Path | None = None) -> Partition:
    return Partition(1, str(device), kind, "filesystem", 1, mount is not None, str(mount) if mount else None, None,
                     None)


def quiet(text: str) -> None:
    pass


def debugfs(image: Path, *commands: str) -> str:
    return "".join(subprocess.run(["debugfs", "-w", "-R", command, image], check=True, capture_output=True,
                                  text=True).stdout for command in commands)


@pytest.fixture
def ext4(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "dir").mkdir(parents=True)
    (tree / "dir/kept.txt").write_text("kept")
    (tree / "dir/gone.sh").write_text("#!/bin/sh\necho gone\n")
    (tree / "dir/pi|pe\nline").write_text("odd")
    os.utime(tree / "dir/kept.txt", (1_000_000_000, 1_700_000_000))
    image = tmp_path / "ext4.img"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-b", "1024", "-d", tree, image, "8M"], check=True)
    return image


@needs_tools
def test_timeline_of_ext4(ext4: Path, tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path / "out")
    counts = timeline.make_timeline(partition(ext4, "ext4"), artifacts, "v", tmp_path / "w", quiet)
    body = [line.split("|") for line in (artifacts.folder / "v.bodyfile").read_text().splitlines()]
    assert all(len(columns) == 11 for columns in body)
    assert counts["entries"] == len(body)
    kept = next(columns for columns in body if columns[1] == "/dir/kept.txt")
    assert kept[3].startswith("r/rrw") and kept[6] == "4" and kept[7:9] == ["1000000000", "1700000000"]
    with (artifacts.folder / "v.timeline.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == counts["rows"]
    moments = [row["time"] for row in rows]
    assert moments == sorted(moments)
    flags = {row["time"]: row["macb"] for row in rows if row["path"] == "/dir/kept.txt"}
    assert flags["2001-09-09T01:46:40Z"] == ".a.." and flags["2023-11-14T22:13:20Z"] == "m..."


def test_separators_and_line_breaks_in_names_shift_no_column() -> None:
    line = timeline.parse_body_line(b"0|/dir/pi|pe\tx|12|r/rrw-r--r--|0|0|3|1|2|3|4\n")
    assert line is not None and line.path == "/dir/pi|pe\\x09x"
    assert line.text() == "0|/dir/pi\\x7cpe\\x09x|12|r/rrw-r--r--|0|0|3|1|2|3|4\n"
    assert timeline.parse_body_line(b"garbage\n") is None


def test_times_that_the_sleuth_kit_misreads_are_known(tmp_path: Path) -> None:
    for name, moment in (("old", -300_000_000), ("far", 7_258_118_400), ("usual", 1_700_000_000)):
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, (moment, moment))
    found, largest = timeline._look_around(Tree(tmp_path))
    assert largest == 3
    assert {values[1] for values in found.values()} == {-300_000_000, 7_258_118_400}


def test_sorter_with_many_chunks_keeps_order_and_removes_its_files(tmp_path: Path) -> None:
    sorter = timeline.Sorter(tmp_path, chunk=7)
    for number in range(50):
        sorter.add(((number * 37) % 50 - 20, f"/{number},\"x\"", "m...", 1, "r", 0, 0, "1"))
    rows = list(sorter)
    assert [row[0] for row in rows] == sorted(range(-20, 30))
    assert {row[1] for row in rows} == {f"/{number},\"x\"" for number in range(50)}
    assert list(tmp_path.iterdir()) == []


def test_unknown_file_system_is_said(tmp_path: Path) -> None:
    with pytest.raises(StepError) as error:
        timeline.make_timeline(partition("/dev/null", "zfs_member"), Artifacts(tmp_path / "o"), "v", tmp_path / "w",
                               quiet)
    assert error.value.code == "not_supported"
    assert not (tmp_path / "o/v.bodyfile").exists()


def test_p24_timeline_of_xfs_by_dissect(tmp_path: Path) -> None:
    pytest.importorskip("dissect.xfs", reason="dissect is not installed")
    if not shutil.which("mkfs.xfs"):
        pytest.skip("xfsprogs is not installed")
    subprocess.run(["sh", IMAGE / "make-samples.sh", IMAGE / "samples", tmp_path / "samples"], check=True,
                   capture_output=True)
    image = tmp_path / "sample.xfs"
    image.write_bytes(gzip.decompress((tmp_path / "samples/sample.xfs.gz").read_bytes()))
    lines = {line.path: line for line in timeline._lines(partition(image, "xfs"), tmp_path, {})}
    assert set(lines) == {"/", "/etc", "/etc/known.txt"}
    known = lines["/etc/known.txt"]
    assert known.mode == "r/rrw-r--r--" and known.size == (IMAGE / "samples/known.txt").stat().st_size
    assert known.mtime > 1_600_000_000


def test_timeline_of_btrfs_by_dissect(tmp_path: Path) -> None:
    pytest.importorskip("dissect.btrfs", reason="dissect is not installed")
    if not shutil.which("mkfs.btrfs"):
        pytest.skip("btrfs-progs is not installed")
    (tmp_path / "tree/etc").mkdir(parents=True)
    (tmp_path / "tree/etc/file").write_text("12345")
    image = tmp_path / "btrfs.img"
    with image.open("wb") as stream:
        stream.truncate(128 << 20)
    subprocess.run(["mkfs.btrfs", "-q", "-r", tmp_path / "tree", image], check=True, capture_output=True)
    lines = {line.path: line for line in timeline._lines(partition(image, "btrfs"), tmp_path, {})}
    assert lines["/etc/file"].size == 5 and lines["/etc"].mode.startswith("d/d")


@needs_tools
def test_deleted_file_comes_back_with_its_name(ext4: Path, tmp_path: Path) -> None:
    debugfs(ext4, "rm /dir/gone.sh")
    artifacts = Artifacts(tmp_path / "out")
    counts = deleted.recover_deleted(partition(ext4, "ext4"), artifacts, "v", quiet)
    assert counts["recovered"] == 1
    with tarfile.open(artifacts.folder / "v.deleted.tar.gz") as archive:
        (member,) = archive.getmembers()
        stream = archive.extractfile(member)
        assert stream is not None and stream.read() == b"#!/bin/sh\necho gone\n"
        assert re.fullmatch(r"files/dir/gone\.sh\.\d+", member.name)


@needs_tools
def test_content_comes_back_from_the_journal_when_the_inode_was_cleared(ext4: Path, tmp_path: Path) -> None:
    """What the kernel does on deletion: size and block list are cleared; only the journal still has them."""
    shown = debugfs(ext4, "stat /dir/gone.sh")
    inode = re.search(r"Inode: (\d+)", shown)
    assert inode is not None
    where = re.search(r"located at block (\d+)", debugfs(ext4, f"imap <{inode[1]}>"))
    assert where is not None
    block = tmp_path / "block"
    with ext4.open("rb") as image:
        image.seek(int(where[1]) * 1024)
        block.write_bytes(image.read(1024))
    script = tmp_path / "script"
    script.write_text(f"jo\njw -b {where[1]} {block}\njc\n")
    subprocess.run(["debugfs", "-w", "-f", script, ext4], check=True, capture_output=True)
    debugfs(ext4, "rm /dir/gone.sh", f"sif <{inode[1]}> size 0", f"sif <{inode[1]}> block[0] 0xf30a",
            f"sif <{inode[1]}> block[1] 4", *(f"sif <{inode[1]}> block[{index}] 0" for index in range(2, 15)))
    artifacts = Artifacts(tmp_path / "out")
    deleted.recover_deleted(partition(ext4, "ext4"), artifacts, "v", quiet)
    with tarfile.open(artifacts.folder / "v.deleted.tar.gz") as archive:
        contents = [stream.read() for member in archive if (stream := archive.extractfile(member)) is not None]
    assert b"#!/bin/sh\necho gone\n" in contents
    assert '"content": "journal"' in (artifacts.folder / "v.deleted.json").read_text()


def test_deleted_is_honest_about_what_it_cannot_read(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)
    counts = deleted.recover_deleted(partition("/dev/null", "btrfs"), artifacts, "v", quiet)
    assert counts["supported"] is False
    assert '"supported": false' in (tmp_path / "v.deleted.json").read_text()
    with tarfile.open(tmp_path / "v.deleted.tar.gz") as archive:
        assert archive.getnames() == []


@pytest.mark.parametrize("path", ["/../../etc/cron.d/x", "/a/../../b", "//x", "/a\nb/c", "/a b;rm -rf/x",
                                  "/" + "y" * 3000])
def test_archive_members_stay_below_their_folder(path: str) -> None:
    name = deleted.member_name(path, 7, True)
    assert re.fullmatch(r"files(/[A-Za-z0-9._@%+=,-]+)*(\.7)?", name) and "/../" not in f"/{name}/" and len(name) < 1000


def entry(number: int, name: bytes, place: int) -> bytes:
    size = (8 + 1 + len(name) + 1 + 2 + 7) & ~7
    data = struct.pack(">QB", number, len(name)) + name + b"\1"
    return data.ljust(size - 2, b"\0") + struct.pack(">H", place)


def test_names_of_removed_folder_entries_of_xfs() -> None:
    """Of a stretch of removed entries the first loses half its number, the last its tag; all keep their names."""
    block = bytearray(b"XDD3" + bytes(60))
    for number, name in ((1 << 33 | 7, b"kept"), (1 << 33 | 8, b"first"), (9, b"second name"), (10, b"last")):
        block += entry(number, name, len(block))
    start, end = 64 + 16, len(block)
    struct.pack_into(">HH", block, start, 0xFFFF, end - start)
    struct.pack_into(">H", block, end - 2, start)
    block += struct.pack(">HH", 0xFFFF, 4096 - end) + bytes(4096 - end - 4)
    assert list(xfs_deleted.removed(bytes(block), has_type=True)) == [(8, "first"), (9, "second name"), (10, "last")]


@pytest.mark.parametrize("magic", [b"XDB3", b"XD2B", b"XDD3", b"XD2D", b"none"])
def test_any_block_of_a_folder_ends_in_no_error(magic: bytes) -> None:
    chance = random.Random(3)
    for _ in range(300):
        block = bytearray(magic + chance.randbytes(1020))
        for _ in range(20):
            struct.pack_into(">HH", block, chance.randrange(0, 1016, 8), 0xFFFF, chance.randrange(0, 512, 8))
        list(xfs_deleted.removed(bytes(block), has_type=True))
