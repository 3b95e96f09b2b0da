# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The analysis of two disks of one instance, one of them with a dirty journal. Needs root."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.evidence import pair
from tests.kit import CHECKOUT

NEEDED = ("fls", "yara", "clamscan", "debugfs", "sfdisk")
FIRST, SECOND = "vol-0123456789abcdef0", "vol-0fedcba9876543210"
pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="loop devices and mounts need root"),
              pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason=f"needs {', '.join(NEEDED)}")]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    work = tmp_path_factory.mktemp("pair")
    answer = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", sys.executable,
         str(Path(__file__).with_name("pair_stage.py")), str(work)],
        capture_output=True, text=True, check=False, timeout=300, cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": f"{CHECKOUT / 'collections'}:{CHECKOUT}"})
    assert answer.returncode == 0, answer.stderr
    return dict(json.loads(answer.stdout))


def test_p16_both_disks_keep_their_hashes(run: dict[str, Any]) -> None:
    for name in ("disk-1.img", "disk-2.img"):
        assert run["before"][name] == run["after"][name]
    assert run["before"]["throw-away.img"] != run["after"]["throw-away.img"]


def test_only_the_dirty_one_gets_a_second_volume(run: dict[str, Any]) -> None:
    assert run["wanted"] == {"journal_of": FIRST, "snapshot_id": "snap-1", "partitions": [1], "volume_gib": 1}


def test_everything_is_analyzed_and_named_after_the_evidence(run: dict[str, Any]) -> None:
    assert run["complete"] and run["outcome"]["outcome"] == "complete" and run["outcome"]["missing"] == []
    suffixes = ("bodyfile", "clamav.json", "deleted.json", "deleted.tar.gz", "findings.json", "system.json",
                "timeline.csv", "yara.json")
    stems = (f"{FIRST}p1", f"{FIRST}p1.journal", f"{SECOND}p1")
    assert run["files"] == sorted([*(f"{stem}.{suffix}" for stem in stems for suffix in suffixes),
                                   f"{FIRST}p1.journal.changes.json", f"{SECOND}p2.lvm.json", "analysis.log",
                                   "report.json", "sha256sums.txt", "summary.json"])


def test_what_only_the_journal_knows(run: dict[str, Any]) -> None:
    changes = run["changes"]
    assert [item["path"] for item in changes["new"]] == [pair.SHELL]
    assert [item["path"] for item in changes["gone"]] == [pair.DROPPER]
    assert {item["path"] for item in changes["findings"]} >= {pair.SHELL}
    assert pair.SHELL not in run["yara"][f"{FIRST}p1"]


def test_p22_the_group_that_lacks_a_volume_is_in_the_summary_and_in_words(run: dict[str, Any]) -> None:
    [group] = run["summary"]["sets"]
    assert (group["kind"], group["id"], group["members"], group["lacking"]) == ("lvm", pair.GROUP, 2, 1)
    assert group["missing"] == [pair.VOLUMES[1]] and group["where"] == [f"{SECOND}p2"]
    assert pair.VOLUMES[1] in run["words"]["lacking"][0]
