# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole disk that is a physical volume: what is analyzed, what is named instead, and what a summary may say (p22)."""

from __future__ import annotations

import json
import shutil
import zlib
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.forensics import analyze, logical
from ansible_collections.dfir.aws.plugins.module_utils.forensics.model import Artifacts, Evidence, Host, Partition

from lab.evidence import disks
from lab.evidence.lvm import MIB, Segment, Volume, VolumeGroup
from lab.evidence.run import sparse_file

NEEDED = ("fls", "mke2fs", "debugfs", "mkfs.xfs", "xfs_db", "mkswap")
pytestmark = pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason=f"needs {', '.join(NEEDED)}")
pytest.importorskip("dissect.volume", reason="dissect is not installed")


def disk(folder: Path, name: str, mib: int) -> Path:
    sparse_file(folder / name, mib * MIB)
    return folder / name


def member(path: Path, number: int = 0) -> Partition:
    return Partition(number, str(path), "LVM2_member", "lvm", path.stat().st_size, False, None, None, None)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole disk that is a physical volume: ext4 in one piece, ext2 in two, XFS in two, swap."""
    folder = tmp_path_factory.mktemp("lvm")
    disks.ext4(folder / "ext4", dirty_journal=True)
    disks.ext2(folder / "ext2")
    disks.small_xfs(folder / "xfs")
    disks.swap(folder / "swap")
    path = disk(folder, "disk", 480)
    VolumeGroup("web", [path], [
        Volume("root", [Segment(16, [(0, 0)])], folder / "ext4"),
        Volume("old", [Segment(4, [(0, 20)]), Segment(4, [(0, 16)])], folder / "ext2"),
        Volume("srv-data", [Segment(40, [(0, 60)]), Segment(36, [(0, 24)]), Segment(4, [(0, 100)])], folder / "xfs"),
        Volume("swap", [Segment(2, [(0, 104)])], folder / "swap"),
        Volume("five", [Segment(1, kind="raid5_ls", extra=['raids = ["x", "y"]'])])]).write()
    return path


def test_a_disk_of_logical_volumes_is_analyzed(server: Path, tmp_path: Path) -> None:
    before = zlib.crc32(server.read_bytes())
    evidence = Evidence("vol-0123456789abcdef0", "snap-0", 1, (member(server),))
    (tmp_path / "work").mkdir()
    settings = analyze.Settings(Host((evidence,)), Artifacts(tmp_path / "out"), tmp_path / "work",
                                steps=("findings", "timeline", "deleted"))
    assert analyze.analyze(settings), (tmp_path / "out" / "analysis.log").read_text()
    out = {path.name: path for path in (tmp_path / "out").iterdir()}
    for name in ("web-root", "web-old", "web-srv--data"):
        stem = f"vol-0123456789abcdef0p0.{name}"
        body = out[f"{stem}.bodyfile"].read_text(encoding="utf-8").splitlines()
        [line] = [line for line in body if line.split("|")[1] == disks.NOTE]
        assert line.split("|")[6] == str(len(disks.CONTENT))
        for suffix in ("timeline.csv", "findings.json", "deleted.json", "deleted.tar.gz"):
            assert f"{stem}.{suffix}" in out
            assert f"{stem}.{suffix}\n" in out["sha256sums.txt"].read_text(encoding="utf-8")
    assert "several pieces" in json.loads(out["vol-0123456789abcdef0p0.web-old.deleted.json"].read_text())["limits"]
    [group] = json.loads(out["vol-0123456789abcdef0p0.lvm.json"].read_text())["groups"]
    told: dict[str, Any] = {one["name"]: one for one in group["logical_volumes"]}
    assert [(one["type"], one["read"]) for one in told.values()] == [
        ("ext4", True), ("ext2", True), ("xfs", True), ("swap", False), ("", False)]
    assert told["root"]["journal_dirty"] is True and told["five"]["problem"] == "not_supported"
    summary = json.loads(out["summary.json"].read_text())
    assert "web" not in json.dumps(summary["partitions"]) and "root" not in json.dumps(summary["partitions"])
    steps = {one.get("logical_volume", 0): one["steps"] for one in summary["partitions"]}
    assert steps[4]["all"]["code"] == "swap" and steps[5]["all"]["code"] == "not_supported"
    assert steps[1]["timeline"]["state"] == steps[3]["findings"]["state"] == "done"
    assert zlib.crc32(server.read_bytes()) == before


def test_p22_plaso_gets_volumes_of_pieces_in_a_row_and_a_member_of_a_group_is_said_once(server: Path,
                                                                                       tmp_path: Path) -> None:
    made, _reports = logical.with_logical_volumes(Evidence("vol-0123456789abcdef0", "", 1, (member(server),)))
    assert analyze.steps_of(made, made.partitions[0], "p0")[1][0].code == "lvm"
    assert [len(one.logical.runs) for one in made.partitions if one.logical and one.is_file_system] == [1, 2, 3]
    assert all(analyze.steps_of(made, one, "p")[0] == analyze.STEP_ORDER
               for one in made.partitions if one.is_file_system)
    first, second = disk(tmp_path, "a", 64), disk(tmp_path, "b", 64)
    disks.ext2(tmp_path / "ext2")
    VolumeGroup("two", [first, second], [
        Volume("striped", [Segment(8, [(0, 0), (1, 0)], 128)], tmp_path / "ext2")]).write()
    made, reports = logical.with_logical_volumes(
        Evidence("vol-0123456789abcdef0", "", 1, (member(first, 1), member(second, 2))))
    assert [one.key for one in made.partitions] == [1, "1.lv1", 2]
    steps, said = analyze.steps_of(made, made.partitions[1], "p1")
    assert "timeline" in steps and "plaso" not in steps and said[0].code == "not_supported"
    assert reports[2]["problems"] == ["its volume group is reported at p1"]
