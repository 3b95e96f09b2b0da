# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Timeline entries of XFS and btrfs, and of ext in a logical volume, read by dissect's file-system readers themselves.

Its `target` layer would do the same twenty times slower.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from typing import Any

from .dissect_tree import EXT, FileSystem, lies_elsewhere
from .model import Partition, clean_path
from .steps import StepError
from .timeline_line import Line, mode_string

MAX_DEPTH = 512


def dissect_lines(partition: Partition) -> Iterator[Line]:
    """Every allocated entry of the file system."""
    try:
        from dissect.btrfs import Btrfs
        from dissect.xfs import XFS
    except ImportError as error:
        raise StepError("not_supported", f"dissect is not installed: {error}") from error
    with partition.open() as device:
        if partition.type in EXT:
            yield from _ext(FileSystem(partition.type, device))
        elif partition.type == "xfs":
            yield from _xfs(XFS(device))
        else:
            yield from _btrfs(Btrfs(device))


def _xfs(file_system: Any) -> Iterator[Line]:
    root = file_system.root
    todo: list[tuple[Any, bytes, int]] = [(root, b"", 0)]
    seen = {root.inum}
    yield _xfs_line(root, b"/")
    while todo:
        folder, path, depth = todo.pop()
        for name, node in _children(folder):
            full = path + b"/" + _name(name)
            try:
                line = _xfs_line(node, full)
            except Exception:  # one broken inode does not end the list
                yield _unreadable(full, node)
                continue
            yield line
            if stat.S_ISDIR(node.inode.di_mode) and node.inum not in seen and depth < MAX_DEPTH:
                seen.add(node.inum)
                todo.append((node, full, depth + 1))


def _ext(system: FileSystem) -> Iterator[Line]:
    todo: list[tuple[Any, bytes, int]] = [(system.root, b"", 0)]
    seen = {system.root.inum}
    yield _ext_line(system, system.root, b"/")
    while todo:
        folder, path, depth = todo.pop()
        for name, node in _children(folder):
            full = path + b"/" + _name(name)
            try:
                line = _ext_line(system, node, full)
                is_folder = stat.S_ISDIR(int(node.inode.i_mode))
            except Exception:  # one broken inode does not end the list
                yield _unreadable(full, node)
                continue
            yield line
            if is_folder and node.inum not in seen and depth < MAX_DEPTH:
                seen.add(node.inum)
                todo.append((node, full, depth + 1))


def _ext_line(system: FileSystem, node: Any, path: bytes) -> Line:
    info = system.info(node)
    return Line(clean_path(path), str(info.st_ino), mode_string(info.st_mode), info.st_uid, info.st_gid, info.st_size,
                _seconds(info.st_atime_ns), _seconds(info.st_mtime_ns), _seconds(info.st_ctime_ns),
                _seconds(system.birth_ns(node)))


def _children(folder: Any) -> Iterator[tuple[str | bytes, Any]]:
    """The entries of a folder, without itself and its parent."""
    try:
        listing = dict(folder.listdir())
    except Exception:  # a broken folder does not end the list; it is in it, its entries are not
        listing = {}
    for name, node in listing.items():
        if name not in (".", "..", b".", b".."):
            yield name, node


def _unreadable(path: bytes, node: Any) -> Line:
    """A name whose inode cannot be read: listed, without times."""
    return Line(clean_path(path), str(getattr(node, "inum", 0)), "-/----------", 0, 0, 0, 0, 0, 0, 0)


def _name(name: str | bytes) -> bytes:
    return name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")


def _seconds(nanoseconds: Any) -> int:
    return int(nanoseconds) // 1_000_000_000 if nanoseconds else 0


def _xfs_line(node: Any, path: bytes) -> Line:
    inode = node.inode
    return Line(clean_path(path), str(node.inum), mode_string(int(inode.di_mode)), int(inode.di_uid),
                int(inode.di_gid), int(inode.di_size), _seconds(node.atime_ns), _seconds(node.mtime_ns),
                _seconds(node.ctime_ns), _seconds(getattr(node, "crtime_ns", 0)))


def _btrfs(file_system: Any) -> Iterator[Line]:
    root = file_system.fs_tree.root  # the default subvolume may hide all others
    todo: list[tuple[Any, bytes, int]] = [(root, b"", 0)]
    seen = {(root.subvolume.objectid, root.inum)}
    yield _btrfs_line(root, b"/")
    while todo:
        folder, path, depth = todo.pop()
        for name, node in _children(folder):
            full = path + b"/" + _name(name)
            try:
                line = _btrfs_line(node, full)
            except Exception:  # one broken inode does not end the list
                yield _unreadable(full, node)
                continue
            yield line
            key = (node.subvolume.objectid, node.inum)
            if node.is_dir() and key not in seen and depth < MAX_DEPTH and not _elsewhere(node):
                seen.add(key)
                todo.append((node, full, depth + 1))


def _elsewhere(node: Any) -> bool:
    try:
        return lies_elsewhere(node)
    except Exception:  # a broken tree of roots: what is there is listed, wherever it belongs
        return False


def _btrfs_line(node: Any, path: bytes) -> Line:
    return Line(clean_path(path), str(node.inum), mode_string(int(node.mode)), int(node.uid), int(node.gid),
                int(node.size), _seconds(node.atime_ns), _seconds(node.mtime_ns), _seconds(node.ctime_ns),
                _seconds(getattr(node, "otime_ns", 0)))
