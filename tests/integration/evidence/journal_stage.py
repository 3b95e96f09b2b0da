# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mounts evidence whose journals are dirty, and a second volume of the same snapshot with its journals applied.

Started by the test in a mount namespace of its own. Needs root.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from stage import Devices, make, module, read_only, sh, sha256

EVIDENCE, SECOND, BROKEN = "vol-0123456789abcdef0", "vol-0fedcba9876543210", "vol-0aaaaaaaaaaaaaaa1"
PARTITIONS = [(48, "ext4"), (32, "ext3"), (320, "xfs"), (120, "btrfs"), (16, "ntfs"), (8, "ext2")]
MIB = 1 << 20


def build(work: Path) -> Path:
    """One disk with a partition of each kind, as the snapshot of a running system has them."""
    disk = work / "disk.img"
    with disk.open("wb") as handle:
        handle.truncate((sum(size for size, _kind in PARTITIONS) + 4) * MIB)
    sh("sfdisk", "-q", str(disk), text="label: gpt\n" + "".join(f"size={size}MiB\n" for size, _kind in PARTITIONS))
    start = 1
    for size, kind in PARTITIONS:
        image = make(work, size, kind, dirty=True)
        sh("dd", f"if={image}", f"of={disk}", "bs=1M", f"seek={start}", "conv=notrunc,sparse", "status=none")
        image.unlink()
        start += size
    return disk


def trees(base: Path) -> dict[str, list[str]]:
    """What can be seen in each mounted partition."""
    return {point.name: sorted(entry.name for entry in point.iterdir())
            for point in sorted((base / EVIDENCE).iterdir())}


def play(work: Path) -> dict[str, Any]:
    disk, base, journal = build(work), work / "evidence", work / "journal"
    second, broken = work / "second.img", work / "broken.img"
    sh("cp", "--sparse=always", str(disk), str(second))
    sh("cp", "--sparse=always", str(disk), str(broken))
    with broken.open("r+b") as handle:  # the journal of ext4, which begins with its own superblock
        data = handle.read(49 * MIB)
        where = data.index(b"\xc0\x3b\x39\x98", MIB)
        handle.seek(where)
        handle.write(bytes(4096))
    result: dict[str, Any] = {"before": {path.name: sha256(path) for path in (disk, second)}}
    devices = Devices(work)
    wanted = {"role": "journal", "journal_of": EVIDENCE, "partitions": [1, 2, 3, 4, 5]}
    try:
        names = devices.attach(disk, EVIDENCE, 1)
        extra = devices.attach(second, SECOND, 2)
        devices.attach(broken, BROKEN, 3)
        sh("mount", "--bind", str(devices.dev), "/dev")
        result["evidence"] = module(base, EVIDENCE, snapshot_id="snap-0123456789abcdef0")
        result["refused"] = {
            "evidence": module(journal, EVIDENCE, role="journal", journal_of=SECOND, partitions=[1]),
            "itself": module(journal, EVIDENCE, role="journal", journal_of=EVIDENCE, partitions=[1]),
            "of nothing": module(journal, SECOND, role="journal", partitions=[1]),
            "evidence of something": module(base, SECOND, journal_of=EVIDENCE),
            "hostile": module(journal, SECOND, role="journal", journal_of="../../etc", partitions=[1])}
        result["check"] = module(journal, SECOND, check=True, **wanted)
        result["after_check"] = sha256(second)
        result["journal"] = module(journal, SECOND, **wanted)
        result["again"] = module(journal, SECOND, **wanted)
        result["trees"] = {"evidence": trees(base), "journal": trees(journal)}
        result["read_only"] = read_only([*names, *extra])
        result["mountinfo"] = Path("/proc/self/mountinfo").read_text()
        sh("umount", str(journal / EVIDENCE / "p1"))
        result["remounted"] = module(journal, SECOND, **wanted)
        for point in reversed([line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()
                               if f" {journal}/" in line]):
            sh("umount", point)
        result["broken"] = module(work / "journal2", BROKEN, **{**wanted, "partitions": [1]})
    finally:
        for point in (base, journal, work / "journal2"):
            for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
                if f" {point}/" in line:
                    sh("umount", line.split(" ")[4])
        devices.release()
    result["after"] = {path.name: sha256(path) for path in (disk, second)}
    return result


if __name__ == "__main__":
    print(json.dumps(play(Path(sys.argv[1]))))
