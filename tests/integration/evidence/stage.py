# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module evidence_volume on real disks and prints what happened as JSON.

Started by the test in a mount namespace of its own (`unshare -m`): it gets a /dev of its own there, in which loop
devices carry the names that Nitro disks have on EC2. Needs root.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[3]
VOLUME = "vol-0123456789abcdef0"
MISSING = "vol-0fedcba9876543210"
WHOLE = "vol-0aaaaaaaaaaaaaaa1"
BLANK = "vol-0aaaaaaaaaaaaaaa2"
DOS = "vol-0aaaaaaaaaaaaaaa3"
MIB = 1 << 20
PARTITIONS = [  # size in MiB, type for sfdisk, what is put there
    (1, "21686148-6449-6E6F-744E-656564454649", ""), (48, "L", "ext4"), (320, "L", "xfs"), (8, "L", "ext2"),
    (32, "L", "ext3"), (120, "L", "btrfs"), (16, "L", "ntfs"), (8, "S", "swap"), (4, "L", "luks"), (4, "L", "lvm"),
    (4, "L", ""), (8, "U", "vfat"), (4, "L", "bitlocker"),
]


def sh(*command: str, text: str | None = None) -> str:
    return subprocess.run(command, check=True, input=text, capture_output=True, text=True).stdout


def sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def live_copy(work: Path, image: Path, fs_type: str) -> None:
    """Replace `image` by what a snapshot sees while it is mounted, with changes that only the journal holds."""
    live, point = work / "live.img", work / "live"
    image.rename(live)
    point.mkdir()
    loop = sh("losetup", "--find", "--show", str(live)).strip()
    sh("blockdev", "--setrw", loop)  # what somebody set read-only stays so for the next user of the device
    sh("mount", "-t", fs_type, loop, str(point))
    try:
        for number in range(20):
            (point / f"file{number}").write_text(str(number))
        with (point / "late").open("w") as handle:
            handle.write("x")
            handle.flush()
            os.fsync(handle.fileno())
        sh("cp", "--sparse=always", str(live), str(image))
    finally:
        sh("umount", str(point))
        sh("losetup", "--detach", loop)
    point.rmdir()
    live.unlink()


def make(work: Path, size: int, content: str, *, dirty: bool) -> Path:
    image = work / f"{content or 'empty'}.img"
    with image.open("wb") as handle:
        handle.truncate(size * MIB)
    if content in ("ext2", "ext3", "ext4"):
        sh("mke2fs", "-q", "-t", content, "-F", str(image))
    elif content == "xfs":
        sh("mkfs.xfs", "-q", "-f", str(image))
    elif content == "btrfs":
        sh("mkfs.btrfs", "-q", "-f", str(image))
    elif content == "ntfs":
        sh("mkntfs", "-q", "-F", "-Q", str(image))
    elif content == "vfat":
        sh("mkfs.vfat", str(image))
    elif content == "swap":
        sh("mkswap", str(image))
    else:
        signatures = {"luks": (0, b"LUKS\xba\xbe\x00\x01"), "bitlocker": (0, bitlocker()), "lvm": (512, lvm())}
        with image.open("r+b") as handle:
            offset, data = signatures.get(content, (0, b""))
            handle.seek(offset)
            handle.write(data)
    if dirty and content in ("ext3", "ext4", "xfs", "btrfs"):
        live_copy(work, image, content)
    elif dirty and content == "ntfs":
        sh("ntfsfix", str(image))  # marks the volume dirty, as every snapshot of a running Windows is
    return image


def lvm() -> bytes:
    """An LVM label as pvcreate writes it, with the checksum that blkid looks at."""
    data = ((32).to_bytes(4, "little") + b"LVM2 001" + b"A" * 32).ljust(512 - 20, b"\0")
    crc = zlib.crc32(data, 0xF597A6CF ^ 0xFFFFFFFF) ^ 0xFFFFFFFF  # LVM starts from its own value and inverts nothing
    return b"LABELONE" + (1).to_bytes(8, "little") + crc.to_bytes(4, "little") + data


def bitlocker() -> bytes:
    sector = bytearray(512)
    sector[0:11] = b"\xeb\x58\x90-FVE-FS-"
    sector[11:13], sector[13] = (512).to_bytes(2, "little"), 8
    sector[160:176] = bytes.fromhex("3bd67649292ed84a8399f6a339e3d001")
    sector[176:184] = (4096).to_bytes(8, "little")
    sector[510:512] = b"\x55\xaa"
    data = bytes(sector) + bytes(4096 - 512) + b"-FVE-FS-" + (64).to_bytes(2, "little") + (2).to_bytes(2, "little")
    return data + bytes(64)


def build(work: Path) -> Path:
    """One disk with everything on it; ext4, XFS, btrfs and NTFS as a snapshot of a running system has them."""
    disk = work / "disk.img"
    with disk.open("wb") as handle:
        handle.truncate((sum(size for size, _, _ in PARTITIONS) + 4) * MIB)
    sh("sfdisk", "-q", str(disk), text="label: gpt\n" + "".join(f"size={size}MiB, type={kind}\n"
                                                                  for size, kind, _ in PARTITIONS))
    start = 1
    for number, (size, _, content) in enumerate(PARTITIONS, 1):
        image = make(work, size, content, dirty=content in ("ext4", "xfs", "btrfs", "ntfs"))
        sh("dd", f"if={image}", f"of={disk}", "bs=1M", f"seek={start}", "conv=notrunc,sparse", "status=none")
        image.unlink()
        start += size
        assert number < 20
    return disk


class Devices:
    """Loop devices in a /dev of our own, named as on EC2."""

    def __init__(self, work: Path) -> None:
        self.loops: list[str] = []
        self.dev = work / "dev"
        self.dev.mkdir()
        sh("mount", "-t", "tmpfs", "none", str(self.dev))
        for name in ("null", "zero", "urandom", "random", "fuse", "loop-control", "tty"):
            self.node(name, Path("/dev") / name)
        (self.dev / "disk/by-id").mkdir(parents=True)

    def node(self, name: str, like: Path) -> None:
        if like.exists():
            info = like.stat()
            os.mknod(self.dev / name, stat.S_IFMT(info.st_mode) | 0o600, info.st_rdev)

    def attach(self, image: Path, volume_id: str, order: int) -> list[str]:
        """Attach writable, as EBS does; the number in the disk's name follows `order`, not the volume."""
        loop = sh("losetup", "--find", "--show", str(image)).strip()
        self.loops.append(loop)
        subprocess.run(["partx", "-a", loop], capture_output=True, check=False)
        link = f"nvme-Amazon_Elastic_Block_Store_{volume_id.replace('-', '')}"
        made = []
        for entry in sorted(Path("/sys/class/block").glob(Path(loop).name + "*")):
            rest = entry.name[len(Path(loop).name):]
            if rest and not rest.startswith("p"):
                continue
            major, minor = (int(part) for part in (entry / "dev").read_text().strip().split(":"))
            name = f"nvme{order}n1{rest}"
            os.mknod(self.dev / name, stat.S_IFBLK | 0o600, os.makedev(major, minor))
            (self.dev / "disk/by-id" / (link + (f"-part{rest[1:]}" if rest else ""))).symlink_to(f"../../{name}")
            made.append(name)
        return made

    def release(self) -> None:
        subprocess.run(["umount", "/dev"], capture_output=True, check=False)
        for loop in self.loops:
            # What blockdev --setro says stays with a loop device, also for whoever uses it next.
            subprocess.run(["blockdev", "--setrw", loop], capture_output=True, check=False)
            subprocess.run(["partx", "-d", loop], capture_output=True, check=False)
            subprocess.run(["losetup", "-d", loop], capture_output=True, check=False)


def module(base: Path, volume_id: str, *, check: bool = False, **options: Any) -> dict[str, Any]:
    arguments = {"volume_id": volume_id, "base": str(base), "timeout": 1, "_ansible_check_mode": check, **options}
    answer = subprocess.run(
        [sys.executable, "-m", "ansible_collections.dfir.aws.plugins.modules.evidence_volume"],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}), capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "collections")}, cwd=CHECKOUT)
    try:
        return dict(json.loads(answer.stdout))
    except ValueError:
        return {"failed": True, "msg": answer.stdout + answer.stderr}


def read_only(names: list[str]) -> dict[str, bool]:
    return {name: sh("blockdev", "--getro", f"/dev/{name}").strip() == "1" for name in names}


def play(work: Path) -> dict[str, Any]:
    disk, base = build(work), work / "evidence"
    whole = make(work, 320, "xfs", dirty=False).rename(work / "whole.img")
    blank = make(work, 4, "", dirty=False).rename(work / "blank.img")
    dos = work / "dos.img"
    with dos.open("wb") as handle:
        handle.truncate(32 * MIB)
    sh("sfdisk", "-q", str(dos), text="label: dos\nsize=8MiB,type=83\nsize=16MiB,type=5\nsize=4MiB,type=83\n")
    result: dict[str, Any] = {"before": {path.name: sha256(path) for path in (disk, whole, blank)}}
    devices = Devices(work)
    try:
        names = devices.attach(disk, VOLUME, 7)  # not nvme1n1: the order says nothing
        devices.attach(whole, WHOLE, 1)
        devices.attach(blank, BLANK, 2)
        devices.attach(dos, DOS, 3)
        sh("mount", "--bind", str(devices.dev), "/dev")
        result["check"] = module(base, VOLUME, check=True)
        result["after_check"] = {"base": base.exists(), "read_only": read_only(names)}
        result["first"] = module(base, VOLUME, snapshot_id="snap-0123456789abcdef0")
        result["read_only"] = read_only(names)
        result["listing"] = {point.name: sorted(entry.name for entry in point.iterdir())[:5]
                             for point in sorted((base / VOLUME).iterdir())}
        result["modes"] = [oct(path.stat().st_mode & 0o7777) for path in (base, base / VOLUME, base / VOLUME / "p2")]
        result["mountinfo"] = Path("/proc/self/mountinfo").read_text()
        result["second"] = module(base, VOLUME, snapshot_id="snap-0123456789abcdef0")
        result["check_again"] = module(base, VOLUME, check=True)
        write = subprocess.run(["dd", "if=/dev/zero", "of=/dev/nvme7n1p11", "bs=512", "count=1", "conv=fsync"],
                               capture_output=True, text=True, check=False)
        result["write"] = {"rc": write.returncode, "err": write.stderr}
        result["whole"], result["blank"] = module(base, WHOLE), module(base, BLANK)
        result["dos"] = module(base, DOS)
        result["missing"] = module(base, MISSING)
        result["hostile"] = [module(base, name) for name in ("vol-0123456789abcdef0\n", "../../etc", "vol-xyz", "")]
        result["check_unmount"] = module(base, VOLUME, check=True, state="unmounted")
        result["still"] = (base / VOLUME / "p2").is_dir()
        result["unmount"] = module(base, VOLUME, state="unmounted")
        result["unmount_again"] = module(base, VOLUME, state="unmounted")
        result["left"] = [entry.name for entry in base.iterdir()]
        elsewhere = work / "elsewhere"
        elsewhere.mkdir()
        sh("mount", "-o", "ro,noload", "/dev/nvme7n1p2", str(elsewhere))
        result["elsewhere"] = module(base, VOLUME)
        sh("umount", str(elsewhere))
    finally:
        for volume_id in (VOLUME, WHOLE, DOS):
            module(base, volume_id, state="unmounted")
        devices.release()
    result["after"] = {path.name: sha256(path) for path in (disk, whole, blank)}
    return result


if __name__ == "__main__":
    print(json.dumps(play(Path(sys.argv[1]))))
