# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Timeline entries of XFS and btrfs, and of ext in a logical volume, as lines of a bodyfile: their times in seconds."""

from __future__ import annotations

from collections.abc import Iterator

from .entries import FileEntry, entries
from .entry_walk import MAX_DEPTH
from .model import Partition, clean_path
from .timeline_line import Line, mode_string

__all__ = ["MAX_DEPTH", "dissect_lines", "line_of"]
UNREADABLE = "-/----------"  # the mode of a name whose inode cannot be read


def dissect_lines(partition: Partition) -> Iterator[Line]:
    """Every allocated entry of the file system."""
    with partition.open() as device:
        for entry in entries(partition.type, device):
            if entry.problem != "folder":  # its entry stands there besides
                yield line_of(entry)


def line_of(entry: FileEntry, prefix: bytes = b"") -> Line:
    """An entry as a line; `prefix` stands before its path."""
    mode = UNREADABLE if entry.problem else mode_string(entry.mode)
    return Line(clean_path(prefix + entry.path), str(entry.inode), mode, entry.uid, entry.gid, entry.size,
                _seconds(entry.atime), _seconds(entry.mtime), _seconds(entry.ctime), _seconds(entry.btime))


def _seconds(nanoseconds: int | None) -> int:
    return nanoseconds // 10**9 if nanoseconds else 0
