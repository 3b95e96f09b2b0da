# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small disks for tests, each made in a moment: one file system or signature each, with no partition table."""

from __future__ import annotations

import hashlib
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

from lab.evidence import xfs
from lab.evidence.ext4 import Ext4Writer
from lab.evidence.lvm import checksum
from lab.evidence.run import run, sparse_file
from lab.evidence.tree import SECOND, Tree, at

MIB = 1024 * 1024
UUID = "7e57d15c-0000-4000-8000-00000000000{}"
NOTE = "/note.txt"  # on every file system that can be filled without mounting it
CONTENT = "a small disk for tests\n"
WHEN = at("2026-09-01 12:00:00")


def _tree() -> Tree:
    tree = Tree()
    tree.folder("/", b=WHEN)
    tree.file(NOTE, CONTENT, m=WHEN)
    tree.settle()
    return tree


def ext4(path: Path, *, dirty_journal: bool = False) -> None:
    """ext4 with one file; its journal in need of recovery when asked for."""
    with tempfile.TemporaryDirectory(dir=path.parent) as work:
        Ext4Writer(path, Path(work), WHEN // SECOND).make(_tree(), 64 * MIB, UUID.format(1), "small",
                                                          dirty_journal=dirty_journal)


def ext2(path: Path) -> None:
    """ext2 with one file: no journal at all."""
    sparse_file(path, 32 * MIB)
    with tempfile.TemporaryDirectory(dir=path.parent) as name:
        note = Path(name, NOTE.lstrip("/"))
        note.write_text(CONTENT, encoding="utf-8")
        run(["mke2fs", "-q", "-F", "-t", "ext2", "-U", UUID.format(2), "-d", name, str(path)])


def small_xfs(path: Path) -> None:
    """XFS with one file."""
    with tempfile.TemporaryDirectory(dir=path.parent) as work:
        xfs.make(path, Path(work), _tree(), 320 * MIB, UUID.format(3), "small")


def btrfs(path: Path) -> None:
    """btrfs with one file."""
    sparse_file(path, 128 * MIB)
    with tempfile.TemporaryDirectory(dir=path.parent) as name:
        Path(name, NOTE.lstrip("/")).write_text(CONTENT, encoding="utf-8")
        run(["mkfs.btrfs", "-q", "--uuid", UUID.format(4), "--rootdir", name, str(path)])


def ntfs(path: Path) -> None:
    """NTFS with one file."""
    sparse_file(path, 16 * MIB)
    run(["mkntfs", "--quiet", "--fast", "--force", "--label", "small", str(path)])
    with tempfile.TemporaryDirectory(dir=path.parent) as name:
        note = Path(name, "note")
        note.write_text(CONTENT, encoding="utf-8")
        run(["ntfscp", "--quiet", "--force", str(path), str(note), NOTE.lstrip("/")])


def swap(path: Path) -> None:
    """Swap space."""
    sparse_file(path, 8 * MIB)
    run(["mkswap", "--uuid", UUID.format(5), str(path)])


def luks(path: Path) -> None:
    """A LUKS 2 header, both copies: what can be seen of an encrypted disk."""
    sparse_file(path, 32 * MIB)
    area = 16384  # the smallest that LUKS 2 knows
    metadata = b'{"keyslots":{},"tokens":{},"segments":{},"digests":{},"config":{"json_size":"12288"}}'
    with path.open("r+b") as disk:
        for offset, magic in ((0, b"LUKS\xba\xbe"), (area, b"SKUL\xba\xbe")):
            header = struct.pack(">6sHQQ48s32s64s40s48sQ184s64s", magic, 2, area, 3, b"small", b"sha256",
                                 hashlib.sha512(b"salt").digest(), UUID.format(6).encode(), b"", offset, b"", b"")
            block = bytearray((header.ljust(4096, b"\0") + metadata).ljust(area, b"\0"))
            block[448:480] = hashlib.sha256(block).digest()
            disk.seek(offset)
            disk.write(block)


def lvm(path: Path) -> None:
    """An LVM physical volume that belongs to no group."""
    size = 32 * MIB
    sparse_file(path, size)
    uuid = hashlib.sha256(b"lvm").hexdigest()[:32].encode()
    content = struct.pack("<32sQQQQQQQQ", uuid, size, MIB, 0, 0, 0, 4096, MIB - 4096, 0) + bytes(8)
    label = bytearray(struct.pack("<8sQII8s", b"LABELONE", 1, 0, 32, b"LVM2 001") + content)
    label = label.ljust(512, b"\0")
    struct.pack_into("<I", label, 16, checksum(bytes(label[20:])))
    with path.open("r+b") as disk:
        disk.seek(512)
        disk.write(label)


def zeros(path: Path) -> None:
    """A disk that was never written."""
    sparse_file(path, 8 * MIB)


BUILDERS: dict[str, Callable[[Path], None]] = {
    "ext4": ext4, "ext2": ext2, "xfs": small_xfs, "btrfs": btrfs, "ntfs": ntfs, "swap": swap, "luks": luks, "lvm": lvm,
    "zeros": zeros,
}
