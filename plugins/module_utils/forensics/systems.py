# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Systems that do not begin at the top of their file system: on btrfs, a system is a subvolume, and so is each
snapshot of it (`/@`, `/root`, `/@/.snapshots/7/snapshot`)."""

from __future__ import annotations

from .tree import Tree

DEPTH = 4  # how deep the top of a system may lie
COUNT = 64  # so many are looked at by themselves


def systems(tree: Tree) -> list[bytes]:
    """The tops of systems below the top of the tree; none where the system begins there, or is no Linux."""
    if tree.lookup("/etc/passwd") is not None:
        return []
    found: list[bytes] = []
    level = [b"/"]
    for _unused in range(DEPTH):
        folders = {entry.path for folder in level for entry in tree.entries(folder) if entry.is_dir}
        inside = {path for path in folders if tree.lookup(path + b"/etc/passwd") is not None}
        found += inside
        level = sorted(folders - inside)
    return sorted(found)[:COUNT]


def in_use(tree: Tree) -> bytes:
    """The top of the system that was changed last: the others are snapshots of it. The tree's own where it has none."""
    def changed(top: bytes) -> int:
        entry = tree.lookup(top + b"/etc")
        return entry.info.st_ctime_ns if entry else 0

    return max(systems(tree), key=changed, default=b"/")
