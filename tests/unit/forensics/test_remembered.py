# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a tree remembers of a file system is what it sees folder by folder, to the nanosecond."""

from __future__ import annotations

import itertools
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.forensics.dissect_tree import DissectTree
from ansible_collections.dfir.aws.plugins.module_utils.forensics.tree import Entry

pytestmark = pytest.mark.slow

KINDS = {
    "ext2": ["mkfs.ext2", "-b", "1024"], "ext3": ["mkfs.ext3", "-b", "4096"], "ext4": ["mkfs.ext4", "-b", "1024"],
    "small inodes": ["mkfs.ext4", "-b", "4096", "-I", "128"], "inline": ["mkfs.ext4", "-O", "inline_data"],
    "old descriptors": ["mkfs.ext4", "-O", "^64bit"], "scattered": ["mkfs.ext4", "-O", "meta_bg,^resize_inode"],
    "large inodes": ["mkfs.ext4", "-I", "512"], "untyped": ["mkfs.ext4", "-O", "^filetype"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files and folders of every sort."""
    top = tmp_path_factory.mktemp("tree")
    (top / "many").mkdir()
    for number in range(1500):
        (top / "many" / f"file-{number}-{'x' * (number % 90)}").touch()
    deep = top
    for number in range(40):
        deep = deep / f"d{number}"
        deep.mkdir()
        (deep / "leaf").write_text("leaf")
    (top / "big").write_bytes(os.urandom(300_000))
    os.link(top / "big", top / "twin")
    (top / "link").symlink_to("big")
    (top / "long").symlink_to("/" + "y" * 200)
    os.mkfifo(top / "pipe")
    (top / "name\nwith \xff".encode("latin-1").decode("utf-8", "surrogateescape")).write_text("odd")
    os.utime(top / "big", ns=(1_700_000_000_123_456_789, 1_600_000_000_987_654_321))
    return top


def made(kind: str, folder: Path, image: Path, *words: str) -> Path:
    with image.open("wb") as file:
        file.truncate(64 << 20)
    program, *options = KINDS[kind]
    subprocess.run([program, "-q", *options, "-d", folder, image], check=True, capture_output=True)
    if words:
        script = image.with_suffix(".debugfs")
        script.write_text("\n".join(words) + "\n")
        subprocess.run(["debugfs", "-w", "-f", script, image], check=True, capture_output=True)
    return image


def row(entry: Entry, born: int | None) -> tuple[Any, ...]:
    info = entry.info
    return (entry.path, info.st_ino, info.st_mode, info.st_nlink, info.st_uid, info.st_gid, info.st_size,
            info.st_atime_ns, info.st_mtime_ns, info.st_ctime_ns, born)


def both(image: Path, type_: str) -> tuple[list[Any], list[Any], DissectTree]:
    """What the fast way and the general one say, in one order."""
    with image.open("rb") as one, image.open("rb") as other:
        fast, slow = DissectTree(type_, one), DissectTree(type_, other)
        assert fast.remember()
        quick = sorted(row(entry, fast.birth_ns(entry.path)) for _folder, entries in fast.walk() for entry in entries)
        general = sorted(row(entry, slow.birth_ns(entry.path)) for _folder, entries in slow.walk() for entry in entries)
        assert fast.unreadable == slow.unreadable == 0
        listed = {one.path: one for one in DissectTree(type_, one).all_entries()}
        del listed[b"/"]
        assert {path: entry.btime for path, entry in listed.items()} == {one[0]: one[-1] for one in quick}
        return quick, general, fast


def all_rows(tree: DissectTree) -> list[Any]:
    return [(place, [row(entry, tree.birth_ns(entry.path)) for entry in found]) for place, found in tree.walk()]


@pytest.mark.parametrize("kind", KINDS)
def test_every_entry_is_as_the_general_way_sees_it(kind: str, folder: Path, tmp_path: Path) -> None:
    image = made(kind, folder, tmp_path / "image")
    quick, general, _tree = both(image, kind if kind in ("ext2", "ext3") else "ext4")
    assert quick == general and len(quick) > 1580
    names = {path for path, *_unused in quick}
    assert b"/lost+found" in names and b"/d0/d1/d2/leaf" in names and b"/many/file-1499-" + b"x" * 59 in names


def test_times_before_1970_and_after_2038(folder: Path, tmp_path: Path) -> None:
    image = made("ext4", folder, tmp_path / "image", "sif big mtime 19600102030405", "sif big ctime 22000102030405",
                 "sif big crtime 20401231235959")
    quick, general, _tree = both(image, "ext4")
    assert quick == general
    [found] = [entry for entry in quick if entry[0] == b"/big"]
    said = subprocess.run(["debugfs", "-R", "stat big", image], capture_output=True, text=True, check=True,
                          env={**os.environ, "TZ": "UTC"}).stdout
    for letter, moment in (("m", found[8]), ("c", found[9]), ("cr", found[10])):
        line = next(line for line in said.splitlines() if line.strip().startswith(f"{letter}time:"))
        seconds, _colon, extra = line.split("time: ")[1].split(" ")[0].partition(":")
        low = int(seconds, 16)
        low -= (low & 0x80000000) << 1
        assert moment // 10**9 == low + ((int(extra, 16) & 3) << 32), line


def test_content_that_lies_in_inodes_is_whole(tmp_path: Path) -> None:
    top = tmp_path / "tree"
    top.mkdir()
    for size in (0, 1, 59, 60, 61, 100, 130, 5000):
        (top / f"size-{size}").write_bytes(os.urandom(size))
    (top / "short").symlink_to("size-61")
    (top / "longer").symlink_to("./" * 40 + "size-100")
    image = made("inline", top, tmp_path / "image")
    with image.open("rb") as stream:
        tree = DissectTree("ext4", stream)
        for path in top.glob("size-*"):
            assert tree.read(f"/{path.name}") == path.read_bytes(), path.name
        assert tree.read("/short") == (top / "size-61").read_bytes()
        assert tree.read("/longer") == (top / "size-100").read_bytes()


def test_what_was_remembered_is_walked_again_without_reading(folder: Path, tmp_path: Path) -> None:
    image = made("ext4", folder, tmp_path / "image")
    with image.open("rb") as stream:
        tree = DissectTree("ext4", stream)
        before = all_rows(tree)
        assert tree.remember()
        reads = 0

        class Counting:
            def __getattr__(self, name: str) -> Any:
                return getattr(stream, name)

            def read(self, size: int = -1) -> bytes:
                nonlocal reads
                reads += 1
                return stream.read(size)

        tree.system.stream = tree.system.root.extfs.fh = tree.system.reader.pieces.stream = Counting()
        assert all_rows(tree) == before and reads == 0
        assert tree.lookup("/absent") is None and tree.lookup("/many/../link").path == b"/big"  # type: ignore[union-attr]
        assert tree.read("/d0/leaf") == b"leaf" and reads > 0
        assert tree.resolve("/link", follow_last=False) == b"/link"


def test_a_tree_that_is_too_large_is_not_remembered(folder: Path, tmp_path: Path) -> None:
    image = made("ext4", folder, tmp_path / "image")
    with image.open("rb") as stream:
        tree = DissectTree("ext4", stream)
        assert not tree.remember(100)
        assert tree.lookup("/d0/leaf") is not None and len(tree.entries("/many")) == 1500


def test_a_broken_folder_and_a_loop_cost_nothing_but_themselves(folder: Path, tmp_path: Path) -> None:
    image = made("ext4", folder, tmp_path / "image", "ln d0 d0/d1/loop")
    said = subprocess.run(["debugfs", "-R", "blocks many", image], capture_output=True, text=True, check=True).stdout
    block = int(said.split()[3])
    with image.open("r+b") as file:
        file.seek(block * 1024)
        file.write(b"\xff" * 1024)
    with image.open("rb") as stream:
        tree = DissectTree("ext4", stream)
        assert tree.remember()
        found = {entry.path: entry for _folder, rows in tree.walk() for entry in rows}
    assert tree.unreadable == 1
    assert b"/d0/d1/loop" in found and b"/d0/d1/loop/leaf" not in found and b"/d0/d1/d2/leaf" in found
    assert 1300 < sum(path.startswith(b"/many/") for path in found) < 1500


@pytest.mark.parametrize("remembered", [True, False])
def test_a_folder_that_holds_itself_is_walked_once(folder: Path, tmp_path: Path, remembered: bool) -> None:
    image = made("ext4", folder, tmp_path / "image", "ln d0 d0/d1/loop")
    with image.open("rb") as stream:
        tree = DissectTree("ext4", stream)
        assert not remembered or tree.remember()
        places = [place for place, _entries in itertools.islice(tree.walk(), 500)]
    assert len(places) < 60 and b"/d0/d1/d2" in places
