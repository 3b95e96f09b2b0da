# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The small disks are what other tools take them for."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pytest

from lab.evidence import disks

TYPES = {"ext4": "ext4", "ext2": "ext2", "xfs": "xfs", "btrfs": "btrfs", "ntfs": "ntfs", "swap": "swap",
         "luks": "crypto_LUKS", "lvm": "LVM2_member", "zeros": ""}


def blkid(path: Path) -> str:
    found = re.search(r'\bTYPE="([^"]*)"', subprocess.run(["blkid", "-p", path], capture_output=True, text=True,
                                                        check=False).stdout)
    return found[1] if found else ""


def test_every_builder_has_an_expected_type() -> None:
    assert set(disks.BUILDERS) == set(TYPES)


@pytest.mark.parametrize("name", sorted(TYPES))
def test_p23_blkid_recognizes_it(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    disks.BUILDERS[name](path)
    assert blkid(path) == TYPES[name]
    assert path.stat().st_blocks * 512 < 80 * disks.MIB, "the file is not sparse"  # an XFS log is 64 MiB


@pytest.mark.parametrize("name", ["ext2", "ext4", "ntfs"])
def test_the_note_can_be_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    disks.BUILDERS[name](path)
    listing = subprocess.run(["fls", "-p", path], capture_output=True, text=True, check=True).stdout
    inode = re.search(r"(\d+)\S*:\tnote\.txt$", listing, re.MULTILINE)
    assert inode, listing
    assert subprocess.run(["icat", path, inode[1]], capture_output=True, check=True).stdout == disks.CONTENT.encode()


def test_p20_a_dirty_journal_needs_recovery_and_is_the_same_every_time(tmp_path: Path) -> None:
    paths = [tmp_path / "one", tmp_path / "two"]
    for path in paths:
        disks.ext4(path, dirty_journal=True)
        shown = subprocess.run(["dumpe2fs", "-h", path], capture_output=True, text=True, check=True).stdout
        assert "needs_recovery" in shown
        time.sleep(0.01)  # commit blocks carry a time
    assert paths[0].read_bytes() == paths[1].read_bytes()
