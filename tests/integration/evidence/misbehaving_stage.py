# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks whose partitions misbehave, through the module, the filters and the whole analysis, printed as JSON.

As on a host: the module mounts, the filters make the facts, the analysis reads them. All steps but plaso run, with this
machine's tools. Started by the test in a mount namespace of its own. Needs root.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kinds_stage import HIT, IMAGE, linux, windows
from stage import Devices, make, module, read_only, sh, sha256

MIB = 1 << 20
DISK = "vol-0123456789abcdef0"
# Volumes without a partition table: what their first and only partition is.
WHOLE = {"ext4": "vol-0aaaaaaaaaaaaaaa1", "swap": "vol-0aaaaaaaaaaaaaaa2", "zeros": "vol-0aaaaaaaaaaaaaaa3",
         "damaged": "vol-0aaaaaaaaaaaaaaa4", "noise": "vol-0aaaaaaaaaaaaaaa5"}
# Size in MiB and what is put there; the number of a partition is its place.
PARTITIONS = [(48, "ext4"), (320, "xfs"), (32, "ntfs"), (160, "btrfs"), (16, "gone"), (16, "broken"), (8, "swap"),
              (4, "luks"), (4, "lvm"), (4, "bitlocker"), (4, "zeros"), (4, "noise"), (24, "last")]
STEPS = ("findings", "timeline", "yara", "clamav", "deleted")
HOSTILE = "\n\x1b[31mTYPE=swap"  # as a label, which has room for 16 bytes
NAMES = {"ext4": 'x",\n\x1b]0;owned\x07TYPE=swap', "xfs": "{{ 7*6 }}$(id)", "last": "\ud800'\"\\"}


def fill(image: Path, kind: str, content: Callable[[Path], None]) -> None:
    """Put content into a file system, as somebody who works with it."""
    point = image.parent / "fill"
    point.mkdir(exist_ok=True)
    loop = sh("losetup", "--find", "--show", str(image)).strip()
    try:
        sh("blockdev", "--setrw", loop)
        sh("mount", "-t", "ntfs-3g" if kind == "ntfs" else kind, loop, str(point))
        content(point)
        sh("umount", str(point))
    finally:
        sh("losetup", "--detach", loop)


def subvolumes(root: Path) -> None:
    """A server as installers lay it out, with a snapshot of the first look, and a default that hides all others."""
    for name in ("@", "@/nested", "home"):
        sh("btrfs", "-q", "subvolume", "create", str(root / name))
    linux(root / "@")
    (root / "@/nested/deep.txt").write_text("in a subvolume of a subvolume")
    shutil.copyfile(HIT, root / "@/nested/hit.exe")
    (root / "home/user/.ssh").mkdir(parents=True)
    shutil.copyfile(HIT, root / "home/user/hit.exe")
    (root / "@/home").mkdir()
    sh("btrfs", "-q", "subvolume", "snapshot", "-r", str(root / "@"), str(root / "before"))
    (root / "@/opt/after.txt").write_text("since the snapshot")
    sh("btrfs", "-q", "subvolume", "set-default", str(root / "@"))


def superblock_gone(image: Path) -> None:
    """The first superblock of ext4 is overwritten; its copies are there."""
    with image.open("r+b") as handle:
        handle.write(bytes(4096))


def superblock_broken(image: Path) -> None:
    """blkid still takes it for ext4, no kernel does: a block size of 2**50."""
    with image.open("r+b") as handle:
        handle.seek(1024 + 24)
        handle.write(struct.pack("<I", 40))


def noise(size: int) -> bytes:
    data = bytearray(random.Random(4).randbytes(size))
    data[510:512] = b"\0\0"  # never a boot sector by chance
    return bytes(data)


def partition_image(work: Path, size: int, content: str) -> Path:
    kind = {"last": "ext4", "zeros": "", "noise": ""}.get(content, content)
    if content in ("gone", "broken"):
        image = work / f"{content}.img"
        with image.open("wb") as handle:
            handle.truncate(size * MIB)
        # Without checksums blkid believes a superblock; with blocks of 1 KiB even a small one has copies.
        sh("mke2fs", "-q", "-t", "ext4", "-b", "1024", "-O", "^metadata_csum", "-F", str(image))
    else:
        image = make(work, size, kind, dirty=content == "ext4")
    if content == "xfs":
        fill(image, "xfs", linux)
        sh("cp", "--sparse=always", str(image), str(work / "host-root.img"))  # the host was made from the same image
    elif content == "ntfs":
        fill(image, "ntfs", windows)  # put to sleep: nothing but hiberfil.sys says so
    elif content == "btrfs":
        fill(image, "btrfs", subvolumes)
        sh("cp", "--sparse=always", str(image), str(work / "btrfs-alone.img"))
    elif content == "last":
        fill(image, "ext4", linux)
        sh("e2label", str(image), HOSTILE)
    elif content == "gone":
        superblock_gone(image)
    elif content == "broken":
        superblock_broken(image)
    elif content == "noise":
        image.write_bytes(noise(size * MIB))
    return image


def build(work: Path) -> Path:
    """The disk with the table, and partition names that only an attacker gives."""
    disk = work / "disk.img"
    with disk.open("wb") as handle:
        handle.truncate((sum(size for size, _ in PARTITIONS) + 4) * MIB)
    sh("sfdisk", "-q", str(disk), text="label: gpt\n" + "".join(f"size={size}MiB\n" for size, _ in PARTITIONS))
    start = 1
    for size, content in PARTITIONS:
        image = partition_image(work, size, content)
        sh("dd", f"if={image}", f"of={disk}", "bs=1M", f"seek={start}", "conv=notrunc,sparse", "status=none")
        image.unlink()
        start += size
    names(disk)
    return disk


def names(disk: Path) -> None:
    """Write the names into both copies of the table; sfdisk would not take these."""
    with disk.open("r+b") as handle:
        for header_at in (512, disk.stat().st_size - 512):
            handle.seek(header_at)
            header = bytearray(handle.read(92))
            entries_at = struct.unpack_from("<Q", header, 72)[0] * 512
            count, size = struct.unpack_from("<II", header, 80)
            handle.seek(entries_at)
            entries = bytearray(handle.read(count * size))
            for number, (_size, content) in enumerate(PARTITIONS):
                name = NAMES.get(content, "").encode("utf-16-le", "surrogatepass")[:72]
                entries[number * size + 56:number * size + 56 + len(name)] = name
            struct.pack_into("<I", header, 88, zlib.crc32(entries))
            struct.pack_into("<I", header, 16, 0)
            struct.pack_into("<I", header, 16, zlib.crc32(header))
            handle.seek(entries_at)
            handle.write(entries)
            handle.seek(header_at)
            handle.write(header)


def whole_disks(work: Path) -> dict[str, Path]:
    images = {}
    for name in WHOLE:
        if name in ("ext4", "swap"):
            image = make(work, 16, name, dirty=False)
            if name == "ext4":
                fill(image, "ext4", linux)
        elif name == "damaged":
            image = partition_image(work, 16, "gone")
        else:
            image = partition_image(work, 4, name)
        images[name] = image.rename(work / f"whole-{name}.img")
    return images


def play(work: Path) -> dict[str, Any]:
    from ansible_collections.dfir.aws.plugins.filter import evidence
    from ansible_collections.dfir.aws.plugins.module_utils.forensics import analyze, plaso_run, scan
    from ansible_collections.dfir.aws.plugins.module_utils.forensics.model import Artifacts, load_evidence

    share = work / "share"
    shutil.copytree(IMAGE / "rules", share / "rules")
    scan.SHARE = share
    disk, whole, base = build(work), whole_disks(work), work / "evidence"
    images = {"disk": disk, **whole}
    result: dict[str, Any] = {"before": {name: sha256(path) for name, path in images.items()}}
    devices = Devices(work)
    host_root, host_loop = work / "host-root", ""
    try:
        attached = devices.attach(disk, DISK, 1)
        for order, name in enumerate(WHOLE, 2):
            attached += devices.attach(whole[name], WHOLE[name], order)
        host_root.mkdir()
        host_loop = sh("losetup", "--find", "--show", str(work / "host-root.img")).strip()
        sh("blockdev", "--setrw", host_loop)
        sh("mount", "-t", "xfs", host_loop, str(host_root))
        sh("mount", "--bind", str(devices.dev), "/dev")
        mounted = [module(base, volume, snapshot_id=f"snap-{number}")
                   for number, volume in enumerate((DISK, *WHOLE.values()), 1)]
        result["mounted"] = dict(zip(("disk", *WHOLE), mounted, strict=True))
        result["again"] = module(base, DISK, snapshot_id="snap-1")
        result["read_only"] = read_only(attached)
        result["mountinfo"] = Path("/proc/self/mountinfo").read_text()
        result["btrfs"] = sorted(str(path.relative_to(base / DISK / "p4"))
                                 for path in (base / DISK / "p4").rglob("*") if path.is_file())
        facts = evidence.evidence_facts(mounted)
        (work / "evidence.json").write_text(json.dumps(facts))
        (work / "scratch").mkdir()
        host = load_evidence(work / "evidence.json")
        result["plaso"] = {partition.type: plaso_run.source_of(partition) for partition in host.evidence[0].partitions
                           if partition.mounted}
        result["complete"] = analyze.analyze(analyze.Settings(host, Artifacts(work / "out"), work / "scratch",
                                                              steps=STEPS))
    finally:
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            if f" {base}/" in line or line.split(" ")[4] == str(host_root):
                sh("umount", line.split(" ")[4])
        devices.release()
        if host_loop:
            sh("losetup", "--detach", host_loop)
    result["after"] = {name: sha256(path) for name, path in images.items()}
    out = work / "out"
    result["facts"], result["out"] = facts, str(out)
    result["outcome"] = json.loads((work / "scratch/outcome.json").read_text())
    result["summary"] = json.loads((out / "summary.json").read_text())
    return result


if __name__ == "__main__":
    real, sys.stdout = sys.stdout, sys.stderr  # progress is not part of the answer
    os.chdir(sys.argv[1])
    real.write(json.dumps(play(Path(sys.argv[1]))))
