# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The analysis of NTFS, FAT, btrfs, ext4 and XFS, each with content, hits and deleted files. Needs root."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kinds_stage import CHECKOUT, GONE

NEEDED = ("fls", "yara", "clamscan", "mcopy", "mkntfs", "mkfs.btrfs", "mkfs.xfs")
pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="loop devices and mounts need root"),
              pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason=f"needs {', '.join(NEEDED)}")]
KINDS = ("ntfs", "vfat", "btrfs", "ext4", "xfs")
CONTENT = {hashlib.sha256(data).hexdigest() for data in GONE.values()}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    pytest.importorskip("dissect.xfs", reason="dissect is not installed")
    work = tmp_path_factory.mktemp("kinds")
    answer = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", sys.executable,
         str(Path(__file__).with_name("kinds_stage.py")), str(work)],
        capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "collections")})
    assert answer.returncode == 0, answer.stderr
    return dict(json.loads(answer.stdout))


def test_every_step_of_every_kind_is_done(run: dict[str, Any]) -> None:
    assert run["complete"]
    assert run["sums"]


@pytest.mark.parametrize("kind", KINDS)
def test_p16_evidence_keeps_its_hash(run: dict[str, Any], kind: str) -> None:
    assert run["kinds"][kind]["before"] == run["kinds"][kind]["after"]


@pytest.mark.parametrize("kind", KINDS)
def test_hits_and_names_of_every_kind(run: dict[str, Any], kind: str) -> None:
    found = run["kinds"][kind]
    path = {"ntfs": "/Users/Bob O'Neill/hit.exe", "vfat": "/EFI/BOOT/BOOTX64.EFI"}.get(kind, "/opt/hit.exe")
    assert path in found["timeline"]
    for scanner in ("yara", "clamav"):
        (hit,) = [item for item in found[scanner]["hits"] if item["path"] == path]
        assert len(hit["sha256"]) == 64 and hit["times"]["m"].startswith("20")
    shells = [item["path"] for item in found["findings"] if item["kind"] == "web_shell"]
    assert shells == ({"ntfs": ["/inetpub/wwwroot/uploads/a.aspx"], "vfat": []}.get(
        kind, ["/var/www/html/uploads/a.php"]))


def test_p20_a_dirty_and_hibernated_windows_volume_is_mounted_and_said(run: dict[str, Any]) -> None:
    assert run["kinds"]["ntfs"]["mounted"]
    assert run["kinds"]["ntfs"]["dirty"] is True
    assert run["kinds"]["ntfs"]["preset"] == "win7"
    assert {run["kinds"][kind]["preset"] for kind in KINDS if kind != "ntfs"} == {"linux"}


def test_a_partition_without_a_driver_is_read_from_the_device(run: dict[str, Any]) -> None:
    assert not run["kinds"]["vfat"]["mounted"]
    assert run["kinds"]["vfat"]["yara"]["files"] == 1


@pytest.mark.parametrize("kind", ["ntfs", "vfat", "ext4", "xfs"])
def test_deleted_content_comes_back(run: dict[str, Any], kind: str) -> None:
    listed = run["kinds"][kind]["deleted"]["files"]
    assert {item["sha256"] for item in listed if item["sha256"]} >= CONTENT
    if kind != "ext4":  # ext4 clears the name's inode number; FAT overwrites the first letter
        assert {item["path"].rsplit("/", 1)[-1][1:] for item in listed} >= {"mall.txt", "ropper.bin"}
    assert not [item for item in listed if "$FILE_NAME" in item["path"]]


def test_deleted_files_of_xfs_have_times_and_say_what_they_are(run: dict[str, Any]) -> None:
    """XFS keeps neither length nor mode: the content is that of whole blocks."""
    report = run["kinds"]["xfs"]["deleted"]
    by_name = {item["path"]: item for item in report["files"]}
    assert by_name["/gone/dropper.bin"]["size"] == len(GONE["dropper.bin"])
    assert {by_name[f"/gone/{name}"]["content"] for name in GONE} == {"blocks"}
    assert set(by_name["/gone/small.txt"]["times"]) == {"m", "a", "c", "b"}
    assert "whole blocks" in report["limits"] and report["unreadable"] == 0


FILL = """set -e
loop=$(losetup --find --show "$1"); trap 'losetup --detach "$loop"' EXIT
blockdev --setrw "$loop"; mount "$loop" "$2"
left=$(df --output=avail -B1 "$2" | tail -1)
fallocate -l "$left" "$2/all" || fallocate -l $((left - 4194304)) "$2/all"
umount "$2"
"""


def test_blocks_that_belong_to_another_file_now_are_not_taken_for_the_deleted_one(run: dict[str, Any],
                                                                                 tmp_path: Path) -> None:
    from ansible_collections.dfir.aws.plugins.module_utils.forensics import deleted
    from ansible_collections.dfir.aws.plugins.module_utils.forensics.model import Artifacts, Partition

    image, point = tmp_path / "xfs.img", tmp_path / "point"
    point.mkdir()
    subprocess.run(["cp", "--sparse=always", run["kinds"]["xfs"]["image"], image], check=True)
    subprocess.run(["unshare", "--mount", "sh", "-c", FILL, "sh", image, point], check=True)
    partition = Partition(1, str(image), "xfs", "filesystem", 1, False, None, None, None)
    counts = deleted.recover_deleted(partition, Artifacts(tmp_path / "out"), "v", lambda text: None)
    assert counts["deleted"] >= 2 and counts["recovered"] == 0
    listed = json.loads((tmp_path / "out/v.deleted.json").read_text())["files"]
    assert "reallocated" in {item["content"] for item in listed}


def test_btrfs_says_why_nothing_is_listed(run: dict[str, Any]) -> None:
    report = run["kinds"]["btrfs"]["deleted"]
    assert report["supported"] is False and report["files"] == [] and "snapshots" in report["limits"]


def test_a_damaged_xfs_breaks_nothing(run: dict[str, Any], tmp_path: Path) -> None:
    from ansible_collections.dfir.aws.plugins.module_utils.forensics import deleted
    from ansible_collections.dfir.aws.plugins.module_utils.forensics.model import Artifacts, Partition

    original, image = Path(run["kinds"]["xfs"]["image"]), tmp_path / "xfs.img"
    with original.open("rb") as stream:
        used = [offset for offset in range(4096, original.stat().st_size, 4096)
                if stream.seek(offset) and any(stream.read(4096))]
    chance = random.Random(5)
    for number in range(12):
        subprocess.run(["cp", "--sparse=always", original, image], check=True)
        with image.open("r+b") as target:
            for _ in range(300):
                target.seek(chance.choice(used) + chance.randrange(4096))
                target.write(chance.randbytes(chance.choice((1, 4, 8))))
        partition = Partition(1, str(image), "xfs", "filesystem", 1, False, None, None, None)
        counts = deleted.recover_deleted(partition, Artifacts(tmp_path / str(number)), "v", lambda text: None)
        assert counts["supported"]
