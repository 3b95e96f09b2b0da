# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The analysis of NTFS, FAT, btrfs, ext4 and XFS, each with content, hits and deleted files. Needs root."""

from __future__ import annotations

import hashlib
import json
import os
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


@pytest.mark.parametrize("kind", ["ntfs", "vfat", "ext4"])
def test_deleted_content_comes_back(run: dict[str, Any], kind: str) -> None:
    listed = run["kinds"][kind]["deleted"]["files"]
    assert {item["sha256"] for item in listed if item["sha256"]} >= CONTENT
    if kind != "ext4":  # ext4 clears the name's inode number; FAT overwrites the first letter
        assert {item["path"].rsplit("/", 1)[-1][1:] for item in listed} >= {"mall.txt", "ropper.bin"}
    assert not [item for item in listed if "$FILE_NAME" in item["path"]]
