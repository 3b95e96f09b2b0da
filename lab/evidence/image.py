# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the evidence disk and keeps it in the cache: the disk of a Debian web server on which somebody mines."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.content.cache import ensure, recipe_key
from lab.evidence import data, incident, logs, server, story, xfs
from lab.evidence.answer_key import AnswerKey
from lab.evidence.ext4 import Ext4Writer
from lab.evidence.rootfs import ensure_rootfs
from lab.evidence.run import copy_into, extents, run, sparse_file
from lab.evidence.tree import SECOND, Tree

GIB = 2
MIB = 1024 * 1024
SECTOR = 512
MOST_FILES = 15_000
DISK_UUID = "6f1d2c1e-8a54-4f0c-9b1a-2f3f1c9d7a10"
ROOT_UUID = "b3b1a0de-6f0e-4c52-8a5e-0f5f4c7a9d01"
DATA_UUID = "4d0c6a7b-13f2-4a8e-9c3d-7be2a1f08e02"
BIOS_BOOT_TYPE = "21686148-6449-6E6F-744E-656564454649"
LINUX_TYPE = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
LINUX_ROOT_TYPE = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"

# The numbers of Debian's cloud images: the root is 1, the BIOS boot partition is 14 and lies before it.
ROOT_START, ROOT_SIZE = 4 * MIB, 1200 * MIB
DATA_START, DATA_SIZE = 1204 * MIB, 840 * MIB
BOOT_START, BOOT_SIZE = 1 * MIB, 3 * MIB

Say = Callable[[str], None]


@dataclass(frozen=True)
class EvidenceImage:
    """A disk in the cache."""

    path: Path
    answer_key: Path
    gib: int
    sha256: str


def ensure_image(cache: Path, *, dirty_journal: bool = False, say: Say | None = None) -> EvidenceImage:
    """The evidence disk; built when the cache has none of this recipe. Needs root (the packages are installed)."""
    rootfs = ensure_rootfs(cache)
    source = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))
                      if path.name not in ("compare.py", "upload.py", "disks.py", "__main__.py"))
    key = recipe_key(source, rootfs.parent.name, str(dirty_journal))

    def fill(folder: Path) -> None:
        digest = build(folder / "disk.img", folder / "answer_key.json", rootfs, dirty_journal=dirty_journal, say=say)
        (folder / "sha256").write_text(digest + "\n")

    folder = ensure(cache, "evidence-dirty" if dirty_journal else "evidence", key, fill)
    return EvidenceImage(folder / "disk.img", folder / "answer_key.json", GIB, (folder / "sha256").read_text().strip())


def build(image: Path, answer_key: Path, rootfs: Path, *, dirty_journal: bool = False, say: Say | None = None) -> str:
    """Write the disk and its answer key; returns the disk's SHA-256. Two builds give the same bytes."""
    steps = _Steps(say)
    key = AnswerKey()
    with tempfile.TemporaryDirectory(prefix=".evidence-", dir=image.parent) as name:
        work = Path(name)
        steps.say("reading the packages' files")
        root = Tree()
        root.add_tar(rootfs, story.INSTALLED)
        steps.say("adding the server's own files and the incident")
        server.furnish(root, ROOT_UUID, DATA_UUID)
        server.add_logs(root, logs.make())
        data_tree = data.make()
        incident.strike(root, data_tree, key)
        root.settle()
        data_tree.settle()
        files = len(root.nodes) + len(data_tree.nodes)
        if files > MOST_FILES:
            raise ValueError(f"the evidence disk would have {files} files; keep it at {MOST_FILES} or fewer")
        steps.say(f"writing the root partition (ext4, {len(root.nodes)} entries)")
        Ext4Writer(work / "root.img", work, story.SNAPSHOT // SECOND).make(root, ROOT_SIZE, ROOT_UUID, "root",
                                                                          dirty_journal=dirty_journal)
        steps.say(f"writing the data partition (XFS, {len(data_tree.nodes)} entries)")
        xfs.make(work / "data.img", work, data_tree, DATA_SIZE, DATA_UUID, "data")
        steps.say("joining the partitions")
        _assemble(image, work)
    digest = sha256_sparse(image)
    answer_key.write_text(key.dump({"gib": GIB, "sha256": digest, "files": files, "dirty_journal": dirty_journal,
                                    "root_partition": incident.ROOT, "data_partition": incident.DATA}))
    steps.say(f"done: SHA-256 {digest}")
    return digest


def _assemble(image: Path, work: Path) -> None:
    sparse_file(image, GIB * 1024 * MIB)
    table = f"label: gpt\nlabel-id: {DISK_UUID}\nunit: sectors\n"
    for number, start, size, kind in ((1, ROOT_START, ROOT_SIZE, LINUX_ROOT_TYPE),
                                      (2, DATA_START, DATA_SIZE, LINUX_TYPE),
                                      (14, BOOT_START, BOOT_SIZE, BIOS_BOOT_TYPE)):
        table += (f"{image}{'p' if image.name[-1].isdigit() else ''}{number} : start={start // SECTOR}, "
                  f"size={size // SECTOR}, type={kind}, uuid={DISK_UUID[:-2]}{number:02d}\n")
    run(["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", str(image)], text_input=table)
    copy_into(work / "root.img", image, ROOT_START)
    copy_into(work / "data.img", image, DATA_START)
    with image.open("r+b") as disk:  # where grub keeps its core image
        disk.seek(BOOT_START)
        disk.write(b"\x52\xbf\xf4\x81GRUB core image\0" + hashlib.sha512(b"core").digest() * 700)


def sha256_sparse(image: Path) -> str:
    """SHA-256 of a whole file; holes are hashed without being read."""
    digest, zeros, position = hashlib.sha256(), bytes(MIB), 0

    def skip_to(offset: int) -> None:
        nonlocal position
        while position < offset:
            step = min(len(zeros), offset - position)
            digest.update(memoryview(zeros)[:step])
            position += step

    with image.open("rb") as disk:
        for start, length in extents(image):
            skip_to(start)
            disk.seek(start)
            while position < start + length:
                chunk = disk.read(min(MIB, start + length - position))
                digest.update(chunk)
                position += len(chunk)
    skip_to(image.stat().st_size)
    return digest.hexdigest()


class _Steps:
    """Says what is being done, and how long it took so far."""

    def __init__(self, say: Say | None) -> None:
        self._say, self._start = say, time.monotonic()

    def say(self, text: str) -> None:
        if self._say:
            self._say(f"evidence {time.monotonic() - self._start:5.1f} s  {text}")
