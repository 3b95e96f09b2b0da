# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""evidence_volume on real block devices, file systems and mounts. Needs root; skipped without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="loop devices and mounts need root")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    work = tmp_path_factory.mktemp("stage")
    answer = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", sys.executable, str(Path(__file__).with_name("stage.py")),
         str(work)], capture_output=True, text=True, check=False, timeout=300)
    assert answer.returncode == 0, answer.stderr
    return dict(json.loads(answer.stdout))


def parts(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {part["name"]: part for part in result["volume"]["partitions"]}


def test_p16_p20_evidence_keeps_its_hash(run: dict[str, Any]) -> None:
    assert run["after"] == run["before"]
    assert run["write"]["rc"] != 0
    assert "not permitted" in run["write"]["err"]


def test_p19_found_by_volume_id_whatever_its_number(run: dict[str, Any]) -> None:
    volume = run["first"]["volume"]
    assert volume["device"] == "/dev/nvme7n1"
    assert volume["by_id"].endswith("nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0")
    assert parts(run["first"])["p2"]["by_id"].endswith("vol0123456789abcdef0-part2")
    assert run["missing"]["failed"]
    assert run["missing"]["device_missing"]
    assert "did not appear" in run["missing"]["msg"]


def test_p20_disk_and_every_partition_are_write_protected(run: dict[str, Any]) -> None:
    assert len(run["read_only"]) == 14
    assert all(run["read_only"].values())
    assert run["first"]["volume"]["read_only"] is True


@pytest.mark.parametrize(("name", "fs_type", "options", "dirty"), [
    ("p2", "ext4", "ro,noload", True), ("p3", "xfs", "ro,norecovery,nouuid", True), ("p4", "ext2", "ro", False),
    ("p5", "ext3", "ro,noload", False), ("p6", "btrfs", "ro,rescue=nologreplay,subvolid=5", True),
    ("p7", "ntfs", "ro", True),
])
def test_p20_mounted_with_the_options_of_its_file_system(
        run: dict[str, Any], name: str, fs_type: str, options: str, dirty: bool) -> None:
    part = parts(run["first"])[name]
    assert (part["type"], part["mounted"], part["journal_dirty"]) == (fs_type, True, dirty), part["reason"]
    assert part["options"] == options + ",nosuid,nodev,noexec"
    line = next(line for line in run["mountinfo"].splitlines() if f" {part['mount_point']} " in line)
    flags = set(line.split(" ")[5].split(","))
    assert {"ro", "nosuid", "nodev", "noexec"} <= flags
    superblock = line.rsplit(" ", 1)[1].split(",")
    assert "ro" in superblock


def test_p22_p23_p24_everything_else_is_reported_and_left_alone(run: dict[str, Any]) -> None:
    found = parts(run["first"])
    assert {name: part["kind"] for name, part in found.items()} == {
        "p1": "bios_boot", "p2": "filesystem", "p3": "filesystem", "p4": "filesystem", "p5": "filesystem",
        "p6": "filesystem", "p7": "filesystem", "p8": "swap", "p9": "luks", "p10": "lvm", "p11": "unknown",
        "p12": "filesystem", "p13": "bitlocker"}
    for name in ("p1", "p8", "p9", "p10", "p11", "p13"):
        assert not found[name]["mounted"]
        assert found[name]["reason"]
    assert found["p12"]["mounted"] or "no driver" in found["p12"]["reason"]
    assert [part["start_bytes"] for part in found.values()][:3] == [1 << 20, 2 << 20, 50 << 20]


def test_p23_no_table_no_partition_and_a_dos_table(run: dict[str, Any]) -> None:
    whole = run["whole"]["volume"]
    assert (whole["table"], len(whole["partitions"])) == ("none", 1)
    assert whole["partitions"][0]["number"] == 0
    assert whole["partitions"][0]["mounted"]
    assert run["blank"]["volume"]["partitions"] == []
    assert not run["blank"].get("failed")
    dos = run["dos"]["volume"]
    assert dos["table"] == "dos"
    assert "extended" in parts(run["dos"])["p2"]["reason"]


def test_p21_evidence_mounted_by_somebody_else_is_refused(run: dict[str, Any]) -> None:
    assert run["elsewhere"]["failed"]
    assert "already mounted on" in run["elsewhere"]["msg"]


def test_second_run_changes_nothing(run: dict[str, Any]) -> None:
    assert (run["first"]["changed"], run["second"]["changed"]) == (True, False)
    assert run["second"]["volume"] == run["first"]["volume"]
    assert run["check_again"]["changed"] is False


def test_check_mode_tells_the_truth_and_touches_nothing(run: dict[str, Any]) -> None:
    assert run["check"]["changed"] is True
    assert run["check"]["volume"]["partitions"] == []
    assert not run["after_check"]["base"]
    assert not any(run["after_check"]["read_only"].values())
    assert run["check_unmount"]["changed"] is True
    assert run["still"]


def test_unmount_leaves_nothing(run: dict[str, Any]) -> None:
    assert (run["unmount"]["changed"], run["unmount_again"]["changed"]) == (True, False)
    assert "vol-0123456789abcdef0" not in run["left"]
    assert run["unmount"]["volume"]["read_only"] is True


def test_mount_points_belong_to_root(run: dict[str, Any]) -> None:
    assert run["modes"] == ["0o755", "0o755", "0o755"]


def test_p43_hostile_volume_ids_are_refused(run: dict[str, Any]) -> None:
    for answer in run["hostile"]:
        assert answer["failed"]
        assert "volume_id" in answer["msg"]
