# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes of a host: loop devices on the volumes' own files, shown inside under Amazon's NVMe names.

The loop device is writable, as an EBS volume is: that evidence is not written is the duty of whoever looks at it.
"""

from __future__ import annotations

import os
import stat
import subprocess
from contextlib import suppress
from pathlib import Path

from lab.hosts.processes import HostError, run

SYS_BLOCK = Path("/sys/block")
BY_ID_PREFIX = "nvme-Amazon_Elastic_Block_Store_"


def by_id_name(volume_id: str) -> str:
    """The name below /dev/disk/by-id: the NVMe serial number is the volume id without its dash."""
    return BY_ID_PREFIX + volume_id.replace("-", "")


def open_loop(backing: Path) -> str:
    """Set up a loop device with partitions on a file; its name, like `loop3`."""
    device = run(["losetup", "--find", "--show", "--partscan", str(backing)]).strip()
    name = Path(device).name
    # What a host sets read-only stays so on this loop device, also for the volume that gets it next.
    run(["blockdev", "--setrw", device])
    # Not every kernel reads partition tables by itself; a disk may also have none, which is no error here.
    subprocess.run(["partx", "--add", device], capture_output=True, check=False)
    return name


def unprotect(name: str) -> None:
    """Make a loop device and its partitions writable, as a restart of the kernel that protected them does."""
    for node in [name, *(path.name for path in (SYS_BLOCK / name).glob(f"{name}p*"))]:
        run(["blockdev", "--setrw", f"/dev/{node}"])


def close_loop(name: str) -> None:
    """Release a loop device and its partitions; fine when it is gone. One still in use goes with its last user."""
    if not (SYS_BLOCK / name / "loop").is_dir():
        return
    # Handed back as it was found: whoever gets this loop device next may not know that the flag outlives its file.
    subprocess.run(["blockdev", "--setrw", f"/dev/{name}"], capture_output=True, check=False)
    subprocess.run(["partx", "--delete", f"/dev/{name}"], capture_output=True, check=False)
    with suppress(HostError):  # gone meanwhile
        run(["losetup", "--detach", f"/dev/{name}"])


def loops_below(folder: Path) -> list[str]:
    """Loop devices whose files lie below a folder, deleted files included."""
    found = []
    for entry in SYS_BLOCK.glob("loop*/loop/backing_file"):
        with suppress(OSError):
            if Path(entry.read_text().strip().removesuffix(" (deleted)")).is_relative_to(folder):
                found.append(entry.parent.parent.name)
    return found


def numbers(name: str) -> dict[int, tuple[int, int]]:
    """Device numbers of a loop device (key 0) and of its partitions (by partition number)."""
    base = SYS_BLOCK / name
    found = {0: _device_number(base)}
    for partition in base.glob(f"{name}p*"):
        found[int((partition / "partition").read_text())] = _device_number(partition)
    return found


def _device_number(folder: Path) -> tuple[int, int]:
    major, minor = (folder / "dev").read_text().split(":")
    return int(major), int(minor)


def show(root: Path, node: str, volume_id: str, loop: str) -> None:
    """Make the nodes and links of a volume in a host's /dev. `root` leads into the host, `node` is like `nvme1n1`."""
    links = root / "dev/disk/by-id"
    links.mkdir(parents=True, exist_ok=True)
    for number, (major, minor) in sorted(numbers(loop).items(), reverse=True):  # the disk last: then all is there
        name = f"{node}p{number}" if number else node
        link = by_id_name(volume_id) + (f"-part{number}" if number else "")
        path = root / "dev" / name
        if _shown(path, os.makedev(major, minor)) and (links / link).is_symlink():
            continue
        with suppress(FileNotFoundError):
            path.unlink()
        os.mknod(path, stat.S_IFBLK | 0o660, os.makedev(major, minor))
        with suppress(FileNotFoundError):
            (links / link).unlink()
        (links / link).symlink_to(f"../../{name}")


def _shown(path: Path, number: int) -> bool:
    try:
        return path.lstat().st_rdev == number
    except OSError:
        return False


def hide(root: Path, node: str, volume_id: str) -> None:
    """Remove the nodes and links of a volume from a host's /dev."""
    for link in (root / "dev/disk/by-id").glob(f"{by_id_name(volume_id)}*"):
        with suppress(OSError):
            link.unlink()
    for path in (root / "dev").glob(f"{node}*"):
        if path.name == node or path.name.startswith(f"{node}p"):
            with suppress(OSError):
                path.unlink()
