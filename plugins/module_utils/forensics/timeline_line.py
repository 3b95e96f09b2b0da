# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One line of a bodyfile, as every reader of a file system makes it."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence


class Line:
    """One line of a bodyfile. Times are seconds; 0 stands for none, as in the format."""

    __slots__ = ("atime", "crtime", "ctime", "gid", "inode", "mode", "mtime", "path", "raw", "size", "uid")

    def __init__(self, path: str, inode: str, mode: str, uid: int, gid: int, size: int, atime: int, mtime: int,
                 ctime: int, crtime: int, raw: bytes = b"") -> None:
        self.path, self.inode, self.mode, self.uid, self.gid, self.size = path, inode, mode, uid, gid, size
        self.raw = raw  # the path as it is on the disk
        self.atime, self.mtime, self.ctime, self.crtime = atime, mtime, ctime, crtime

    def text(self) -> str:
        """As it stands in the file. The separator in a name would shift all columns."""
        path = self.path.replace("|", "\\x7c")
        return (f"0|{path}|{self.inode}|{self.mode}|{self.uid}|{self.gid}|{self.size}|{self.atime}|{self.mtime}|"
                f"{self.ctime}|{self.crtime}\n")

    def rows(self) -> Iterator[tuple[int, str]]:
        """Each distinct time with the flags (modified, accessed, changed, born) that it stands for."""
        return marked([moment or None for moment in (self.mtime, self.atime, self.ctime, self.crtime)])


def marked(times: Sequence[int | None]) -> Iterator[tuple[int, str]]:
    """Each distinct time of four (modified, accessed, changed, born) with the flags that it stands for."""
    modified, accessed, changed, born = times
    seen: list[int] = []
    for moment in times:
        if moment is not None and moment not in seen:
            seen.append(moment)
            yield moment, (("m" if modified == moment else ".") + ("a" if accessed == moment else ".")
                           + ("c" if changed == moment else ".") + ("b" if born == moment else "."))


def mode_string(mode: int) -> str:
    """A mode as bodyfiles have it: type by directory entry and by inode, then the permissions (`r/rrwxr-xr-x`)."""
    text = stat.filemode(mode)
    kind = {"-": "r", "?": "-"}.get(text[0], text[0])
    return f"{kind}/{kind}{text[1:]}"
