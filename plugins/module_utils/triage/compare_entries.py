# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The entries of one file system at two moments, brought together by path; renamed ones by their inode.

Nothing is read here but entries. Whether the content of a file is another one, `Contents` can tell.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ..forensics.entry_walk import FileEntry
from ..forensics.tree import SUBVOLUME

KINDS = ("added", "removed", "changed", "renamed", "metadata", "undecided")
SAME, OTHER, UNKNOWN = "same", "other", "unknown"
_PERMISSIONS = ("mode", "uid", "gid")


@dataclass
class Change:
    """One path that is not what it was. `content`: whether it holds the same, as far as that was asked.

    `severity` and `reasons` are what somebody thinks of it.
    """

    kind: str
    path: bytes
    old: FileEntry | None = None
    new: FileEntry | None = None
    content: str = ""
    what: list[str] = field(default_factory=list)
    severity: str = "info"
    reasons: list[str] = field(default_factory=list)
    excerpt: str = ""
    sha256: str | None = None
    old_sha256: str | None = None

    @property
    def entry(self) -> FileEntry:
        """What it is now, or was last."""
        found = self.new or self.old
        if found is None:
            raise ValueError("a change is of something")
        return found

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.entry.mode)


@dataclass
class Matched:
    """What became of all entries. `alike`: files of which nothing but perhaps the content, and the access time,
    differs, as they are now."""

    changes: list[Change] = field(default_factory=list)
    alike: list[FileEntry] = field(default_factory=list)
    entries: int = 0
    broken: int = 0  # paths of which nothing is concluded, because one of the two could not be read
    moved_along: int = 0  # in folders that were renamed


def match(before: Iterable[FileEntry], after: Iterable[FileEntry]) -> Matched:
    """Bring them together. Changes of regular files that are in both are of kind `undecided` until their content is."""
    found = Matched()
    was_lost, now_lost = _Lost(), _Lost()
    old = {entry.path: entry for entry in before if not was_lost.takes(entry)}
    added: dict[bytes, FileEntry] = {}
    folders: list[tuple[FileEntry, FileEntry]] = []
    names: dict[tuple[int, int], list[bytes]] = {}  # of files with several
    replaced = set()  # folders in which something lies that is new under its name
    for now in after:
        if now_lost.takes(now):
            continue
        found.entries += 1
        was = old.pop(now.path, None)  # what is matched is let go: there may be millions
        if now.links > 1 and not now.is_folder:
            names.setdefault((now.subvolume, now.inode), []).append(now.path)
        if was is None:
            added[now.path] = now
            continue
        if was.inode != now.inode or was.subvolume != now.subvolume:
            replaced.add(_folder(now.path))
        if now.is_folder and was.is_folder:
            if was.mtime != now.mtime or was.mode != now.mode or was.uid != now.uid or was.gid != now.gid:
                folders.append((was, now))
            continue
        change = _of_pair(now.path, was, now)
        if change is not None:
            found.changes.append(change)
        elif stat.S_ISREG(now.mode):
            found.alike.append(now)
    removed = old
    # Where a list of names, or an inode, could not be read, something may be there all the same.
    for one, lost in ((removed, now_lost), (added, was_lost)):
        for path in [path for path in one if path in lost.inodes or _below(path, lost.folders)]:
            del one[path]
            found.broken += 1
    _take(found, removed, added, _renamed(removed, added))
    touched = replaced | {_folder(path) for change in found.changes if change.kind in ("added", "removed", "renamed")
                          for path in _paths(change)}
    found.changes += [change for was, now in folders
                      if (change := _of_folder(now.path, was, now, now.path in touched)) is not None]
    _name_links(found, names)
    return found


class _Lost:
    """What could not be read: paths whose inode, and folders whose names."""

    def __init__(self) -> None:
        self.inodes: set[bytes] = set()
        self.folders: set[bytes] = set()

    def takes(self, entry: FileEntry) -> bool:
        """Whether an entry only tells that something could not be read."""
        if entry.problem:
            (self.inodes if entry.problem == "inode" else self.folders).add(entry.path)
        return bool(entry.problem)


def _below(path: bytes, folders: set[bytes]) -> bool:
    if not folders:
        return False
    while path != b"/":
        path = _folder(path)
        if path in folders:
            return True
    return False


def _folder(path: bytes) -> bytes:
    return path.rpartition(b"/")[0] or b"/"


def _paths(change: Change) -> Iterator[bytes]:
    for entry in (change.old, change.new):
        if entry is not None:
            yield entry.path


def _identity(entry: FileEntry) -> tuple[object, ...]:
    """What tells one inode from a later one of the same number: when it was born, else (and where that is kept in whole
    seconds only) what it holds and since when."""
    exact = entry.btime is not None and entry.btime % 10**9
    told: tuple[object, ...] = (entry.btime,) if exact else (entry.btime, entry.mtime, entry.size)
    return entry.subvolume, entry.inode, stat.S_IFMT(entry.mode), entry.stream, *told


def _renamed(removed: dict[bytes, FileEntry], added: dict[bytes, FileEntry]) -> dict[bytes, bytes]:
    """New paths with the old ones, of what both have in one inode."""
    gone: dict[tuple[object, ...], list[bytes]] = {}
    for path, entry in removed.items():
        if entry.inode:
            gone.setdefault(_identity(entry), []).append(path)
    moved = {}
    for path, entry in added.items():
        left = gone.get(_identity(entry))
        if left:
            alike = next((one for one in left if one.rpartition(b"/")[2] == path.rpartition(b"/")[2]), left[0])
            left.remove(alike)
            moved[path] = alike
    return moved


def _take(found: Matched, removed: dict[bytes, FileEntry], added: dict[bytes, FileEntry],
          moved: dict[bytes, bytes]) -> None:
    """Changes of what only one of the two has. What moved along with its folder is counted, not listed."""
    for path, was_at in moved.items():
        was, now = removed.pop(was_at), added.pop(path)
        what = _differences(was, now)
        along = moved.get(_folder(path)) == _folder(was_at) and path.rpartition(b"/")[2] == was_at.rpartition(b"/")[2]
        if along and not what and was.mtime == now.mtime:
            found.moved_along += 1
            if stat.S_ISREG(now.mode):
                found.alike.append(now)
            continue
        found.changes.append(Change("renamed", path, was, now, what=what))
    found.changes += [Change("added", path, new=entry) for path, entry in added.items()]
    found.changes += [Change("removed", path, old=entry) for path, entry in removed.items()]


def _differences(was: FileEntry, now: FileEntry) -> list[str]:
    """What the inode says that differs, times left out."""
    what = []
    if stat.S_IFMT(was.mode) != stat.S_IFMT(now.mode):
        what.append("another type")
    if was.size != now.size and not now.is_folder:
        what.append(f"size {was.size} to {now.size}")
    if stat.S_IMODE(was.mode) != stat.S_IMODE(now.mode):
        what.append(f"mode {stat.S_IMODE(was.mode):04o} to {stat.S_IMODE(now.mode):04o}")
    what += [f"{name} {getattr(was, name)} to {getattr(now, name)}" for name in ("uid", "gid")
             if getattr(was, name) != getattr(now, name)]
    if was.links != now.links and not now.is_folder:
        what.append(f"names {was.links} to {now.links}")
    return what


def _of_pair(path: bytes, was: FileEntry, now: FileEntry) -> Change | None:
    """What differs of something that is no folder in both. None: nothing that its entry tells.

    Access times are left out: that a file was read is in the timeline.
    """
    what = _differences(was, now)
    if was.inode != now.inode or was.subvolume != now.subvolume:
        what.append(f"inode {was.inode} to {now.inode}")
    elif was.btime != now.btime:
        what.append("another file in the same inode")
    times = [name for name in ("mtime", "ctime") if getattr(was, name) != getattr(now, name)]
    if not what and not times:
        return None
    change = Change("undecided", path, was, now, what=what)
    if stat.S_IFMT(was.mode) != stat.S_IFMT(now.mode):
        change.kind = "changed"
    elif not stat.S_ISREG(now.mode):  # a link or a device is not written, but made anew
        anew = was.size != now.size or was.mtime != now.mtime or was.btime != now.btime or was.inode != now.inode
        change.kind = "changed" if anew else "metadata"
    return change


def _of_folder(path: bytes, was: FileEntry, now: FileEntry, touched: bool) -> Change | None:
    """A folder counts by itself where more than its list of names differs, or where its names do not tell why."""
    what = _differences(was, now)
    if any(getattr(was, name) != getattr(now, name) for name in _PERMISSIONS):
        return Change("metadata", path, was, now, what=what)
    if was.mtime != now.mtime and not touched and now.inode != SUBVOLUME:
        return Change("metadata", path, was, now, what=["its list of names was written, and it holds the same names"])
    return None


def _name_links(found: Matched, names: dict[tuple[int, int], list[bytes]]) -> None:
    """Say of an added name that it is another one of a file."""
    for change in found.changes:
        if change.kind == "added" and change.new is not None:
            known = names.get((change.new.subvolume, change.new.inode), ())
            other = next((path for path in known if path != change.path), None)
            if other is not None:
                change.what.append(f"another name of {other.decode('utf-8', 'surrogateescape')}")
