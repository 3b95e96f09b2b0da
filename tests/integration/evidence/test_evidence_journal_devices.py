# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Journals applied on a second volume, on real block devices and file systems. Needs root; skipped without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="loop devices and mounts need root")
LATE = {f"file{number}" for number in range(20)}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    work = tmp_path_factory.mktemp("journal")
    answer = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", sys.executable,
         str(Path(__file__).with_name("journal_stage.py")), str(work)],
        capture_output=True, text=True, check=False, timeout=300)
    assert answer.returncode == 0, answer.stderr
    return dict(json.loads(answer.stdout))


def parts(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {part["name"]: part for part in result["volume"]["partitions"]}


def test_p16_p20_evidence_keeps_its_hash_and_the_second_volume_does_not(run: dict[str, Any]) -> None:
    assert run["after"]["disk.img"] == run["before"]["disk.img"]
    assert run["after"]["second.img"] != run["before"]["second.img"], "no journal was applied"


@pytest.mark.parametrize("name", ["p1", "p2", "p3"])
def test_p20_what_only_the_journal_knows_is_seen_there_and_not_in_the_evidence(run: dict[str, Any], name: str) -> None:
    assert parts(run["evidence"])[name]["journal_dirty"] is True
    assert not LATE & set(run["trees"]["evidence"][name])
    assert set(run["trees"]["journal"][name]) >= LATE | {"late"}
    found = parts(run["journal"])[name]
    assert found["mounted"] and found["journal_dirty"] is False and found["reason"] == ""
    assert found["mount_point"].endswith(f"/journal/vol-0123456789abcdef0/{name}")


def test_p20_btrfs_shows_its_log_or_says_why_not(run: dict[str, Any]) -> None:
    """Before Linux 6.7 a kernel mounts no second copy of a btrfs beside the first."""
    found = parts(run["journal"])["p4"]
    assert "late" not in run["trees"]["evidence"]["p4"]
    if found["mounted"]:
        assert "late" in run["trees"]["journal"]["p4"]
    else:
        assert found["reason"].startswith(("its journal could not be applied: ", "mount refused it: "))


def test_ntfs_is_applied_by_a_driver_that_can_and_by_no_other(run: dict[str, Any]) -> None:
    """ntfs-3g would empty the log instead."""
    found = parts(run["journal"])["p5"]
    assert found["mounted"] or "ntfs3" in found["reason"] or "could not be applied" in found["reason"]


def test_p20_both_volumes_are_write_protected_and_mounted_read_only(run: dict[str, Any]) -> None:
    assert len(run["read_only"]) == 14 and all(run["read_only"].values())
    assert run["journal"]["volume"]["read_only"] is True
    points = [line for line in run["mountinfo"].splitlines() if "/journal/" in line.split(" ")[4]]
    assert len(points) >= 3
    for line in points:
        assert {"ro", "nosuid", "nodev", "noexec"} <= set(line.split(" ")[5].split(","))


def test_only_the_partitions_that_were_asked_for_are_there(run: dict[str, Any]) -> None:
    assert list(parts(run["journal"])) == ["p1", "p2", "p3", "p4", "p5"]
    assert (run["journal"]["volume"]["role"], run["journal"]["volume"]["journal_of"]) == (
        "journal", "vol-0123456789abcdef0")


def test_once_more_changes_nothing_and_a_lost_mount_comes_back_as_it_was(run: dict[str, Any]) -> None:
    assert (run["journal"]["changed"], run["again"]["changed"]) == (True, False)
    assert run["again"]["volume"] == run["journal"]["volume"]
    assert run["remounted"]["changed"] is True
    assert parts(run["remounted"])["p1"] == parts(run["journal"])["p1"]


def test_check_mode_applies_nothing(run: dict[str, Any]) -> None:
    assert run["check"]["changed"] is True
    assert run["after_check"] == run["before"]["second.img"]


def test_p16_evidence_is_never_taken_for_the_throw_away_volume(run: dict[str, Any]) -> None:
    refused = run["refused"]
    assert all(answer["failed"] for answer in refused.values()), refused
    assert "already mounted on" in refused["evidence"]["msg"]
    assert "no EBS volume id" in refused["hostile"]["msg"]


def test_a_journal_that_cannot_be_applied_is_said_and_breaks_nothing(run: dict[str, Any]) -> None:
    assert not run["broken"].get("failed"), run["broken"]
    [found] = run["broken"]["volume"]["partitions"]
    assert not found["mounted"] and found["reason"].startswith("its journal could not be applied: ")
    assert run["broken"]["volume"]["read_only"] is True
