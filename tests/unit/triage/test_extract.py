# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files out of a disk: the very bytes, under names that do no harm, and a word for each that was left."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.ebs.errors import BadInput, EngineError
from ansible_collections.dfir.aws.plugins.module_utils.triage.extract import LIST, Wanted, extract
from ansible_collections.dfir.aws.plugins.module_utils.triage.look import open_trees
from ansible_collections.dfir.aws.plugins.module_utils.triage.sources import ImageSource, SnapshotSource

from tests.unit.ebs.engine_kit import SharedKit, engine
from tests.unit.triage.test_look import blocks_of
from tests.unit.triage.triage_kit import ext4, tree

pytestmark = pytest.mark.slow

BIG = os.urandom(3 << 20)
FILES: dict[str, str | bytes] = {
    "etc/passwd": "root:x:0:0::/root:/bin/sh\n", "home/a/.ssh/id": "key", "home/b/.ssh/config": "host",
    "home/b/.ssh/old/id": "old", "opt/big": BIG, "opt/empty": "", "tmp/a b\n;$(x)": "odd", "tmp/a_b___$_x_": "twin",
}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    root = tree(folder / "root", FILES)
    (root / "opt/link").symlink_to("/etc/passwd")
    (root / "opt/etc").symlink_to("/etc")
    os.mkfifo(root / "opt/pipe")
    return ext4(folder / "root.img", root)


def take(image: Path, folder: Path, *paths: str, **more: Any) -> dict[str, dict[str, Any]]:
    source = ImageSource(image)
    data = extract(source, open_trees(source)[0], Wanted(paths, **more), folder)
    assert data == json.loads((folder / LIST).read_text())
    for row in data["files"]:
        if row["file"]:
            content = (folder / row["file"]).read_bytes()
            assert row["bytes"] == row["size"] == len(content)
            assert row["sha256"] == hashlib.sha256(content).hexdigest()
        else:
            assert row["reason"] and row["sha256"] is None
    assert not [path for path in folder.rglob("*") if path.name.startswith(".partial")]
    return {row["path"]: row for row in data["files"]}


def test_paths_and_patterns(image: Path, tmp_path: Path) -> None:
    found = take(image, tmp_path / "out", "/home/*/.ssh/**", "/opt/b?g", "/opt/etc/passwd", "/etc/absent")
    files = {path: row["file"] for path, row in found.items() if row["file"]}
    assert set(files) == {"/home/a/.ssh/id", "/home/b/.ssh/config", "/home/b/.ssh/old/id", "/opt/big", "/etc/passwd"}
    assert (tmp_path / "out" / files["/opt/big"]).read_bytes() == BIG
    assert files["/home/a/.ssh/id"] == "p0/home/a/_.ssh/id"
    assert found["/home/b/.ssh/old"]["reason"].startswith("a folder")
    assert found["/etc/passwd"]["times"]["m"].endswith("Z") and found["/etc/passwd"]["mode"].startswith("-rw")


def test_inodes(image: Path, tmp_path: Path) -> None:
    [(path, row)] = take(image, tmp_path / "one", "/opt/big").items()
    assert list(take(image, tmp_path / "two", inodes=[row["inode"]])) == [path]


def test_what_is_no_file_or_too_large_is_listed_only(image: Path, tmp_path: Path) -> None:
    found = take(image, tmp_path / "out", "/opt/*", largest=1 << 20)
    assert found["/opt/link"]["reason"].startswith("a link") and found["/opt/pipe"]["reason"].startswith("a pipe")
    assert "limit for one file" in found["/opt/big"]["reason"] and found["/opt/empty"]["bytes"] == 0
    assert found["/opt/empty"]["file"]
    found = take(image, tmp_path / "less", "/etc/passwd", "/opt/big", total=1 << 20)
    assert found["/etc/passwd"]["file"] and "all files" in found["/opt/big"]["reason"]


def test_names_do_no_harm_and_none_replaces_another(image: Path, tmp_path: Path) -> None:
    found = take(image, tmp_path / "out", "/tmp/*")
    names = [row["file"] for row in found.values()]
    assert len(set(names)) == 2 and all(set(name) <= set("p0/tmp_abx.2") for name in names)
    assert {(tmp_path / "out" / name).read_text() for name in names} == {"odd", "twin"}
    assert "/tmp/a b\\x0a;$(x)" in found


@pytest.mark.parametrize(("wish", "said"), [
    ({"paths": ["etc/passwd"]}, "no absolute path"), ({"paths": ["/"]}, "no absolute path"), ({}, "Nothing is asked"),
    ({"paths": ["/absent"]}, "Nothing of what"), ({"paths": ["/etc/*"], "partition": "p7"}, "no partition p7")])
def test_a_wish_that_cannot_be_met_is_one_sentence(
        image: Path, tmp_path: Path, wish: dict[str, Any], said: str) -> None:
    source = ImageSource(image)
    with pytest.raises(BadInput, match=said):
        extract(source, open_trees(source)[0], Wanted(**wish), tmp_path / "out")
    assert not (tmp_path / "out" / LIST).exists()


def test_a_folder_that_holds_something_is_left_alone(image: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    source = ImageSource(image)
    with pytest.raises(BadInput, match="is not empty"):
        extract(source, open_trees(source)[0], Wanted(["/etc/passwd"]), tmp_path)


@pytest.mark.slow
def test_what_fails_or_is_too_much_leaves_no_file_that_looks_whole(
        kit: SharedKit, image: Path, tmp_path: Path) -> None:
    blocks = blocks_of(image)
    snapshot = kit.snapshot(blocks)
    probe = SnapshotSource(engine(kit), snapshot, connections=1)
    trees = open_trees(probe)[0]
    before = set(probe.file.blocks.access.wanted)
    whole = extract(probe, trees, Wanted(["/opt/big"]), tmp_path / "whole")
    used = probe.file.blocks.access.wanted - before
    probe.close()
    assert whole["files"][0]["sha256"] == hashlib.sha256(BIG).hexdigest() and len(used) >= 5
    for number, (fault, limit) in enumerate([(max(used), None), (None, len(before) + 3)]):
        if fault is not None:
            kit.faults.arm("ebs.corrupt", times=None, match={"block": fault})
        source = SnapshotSource(engine(kit), snapshot, connections=1, limit=limit)
        folder = tmp_path / str(number)
        with pytest.raises(EngineError, match="budget" if limit else str(fault)):
            extract(source, open_trees(source)[0], Wanted(["/opt/big"]), folder)
        source.close()
        kit.faults.clear()
        assert not [path for path in folder.rglob("*") if path.is_file()]
