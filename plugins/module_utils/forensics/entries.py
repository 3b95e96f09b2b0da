# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All entries of a file system in a stream, with times in nanoseconds, fast: its records are taken apart in bulk.

A broken inode or folder ends nothing; `FileEntry.problem` says what of it is missing.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from typing import BinaryIO

from .entries_btrfs import btrfs_entries
from .entries_ext import ExtReader
from .entries_ntfs import ntfs_entries
from .entries_xfs import XfsReader
from .entry_walk import MAX_DEPTH, Broken, FileEntry, legible, walk
from .fat_records import Fat, FatNode
from .file_system import EXT, STREAMED, FileSystem
from .ntfs_records import Table
from .steps import StepError

__all__ = ["STREAMED", "FileEntry", "entries", "entries_of"]


def entries(kind: str, stream: BinaryIO) -> Iterator[FileEntry]:
    """Every allocated entry of a file system of a kind of STREAMED, the top included.

    A generator; StepError at the first entry when there is no such file system.
    """
    if kind in EXT or kind == "xfs":  # these need nothing of dissect
        try:
            reader = XfsReader(stream) if kind == "xfs" else ExtReader(stream)
        except Broken as error:
            raise StepError("unreadable", f"the {kind} file system cannot be read: {error}") from error
        yield from walk(reader)
        return
    try:
        system = FileSystem(kind, stream)
    except StepError:
        raise
    except Exception as error:  # each reader has errors of its own
        raise StepError("unreadable", f"the {kind} file system cannot be read: {error}") from error
    yield from entries_of(system)


def entries_of(system: FileSystem) -> Iterator[FileEntry]:
    """The same of a file system that is open already."""
    if system.reader is not None:
        yield from walk(system.reader, int(system.root.inum))
    elif system.kind == "btrfs":
        yield from btrfs_entries(system.root.btrfs)
    elif system.kind == "ntfs":
        table: Table = system.root.table
        yield from ntfs_entries(table)
    else:
        yield from _fat_entries(system.root.fat)


def _fat_entries(fat: Fat) -> Iterator[FileEntry]:
    """Folders in the order of their clusters would matter on large volumes; those of FAT are small."""
    yield FileEntry(b"/", fat.root.inum, stat.S_IFDIR | 0o777)
    todo: list[tuple[FatNode, bytes, int]] = [(fat.root, b"", 0)]
    seen = {fat.root.cluster}
    while todo:
        folder, path, depth = todo.pop()
        below: list[tuple[FatNode, bytes, int]] = []
        try:
            for name, node in fat.children(folder):
                full = path + b"/" + legible(name)
                yield FileEntry(full, node.inum, node.mode, 0, 0, node.size, node.modified, node.accessed, None,
                                node.born)
                if node.is_folder and node.cluster not in seen and depth < MAX_DEPTH:
                    seen.add(node.cluster)
                    below.append((node, full, depth + 1))
        except Exception:  # a broken folder does not end the list
            yield FileEntry(path or b"/", folder.inum, stat.S_IFDIR, problem="folder")
        todo += reversed(below)
