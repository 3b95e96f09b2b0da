# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file tree in memory, with owners, modes and all four times: what the disk builder renders into file systems."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath

SECOND = 1_000_000_000


def at(text: str) -> int:
    """`2026-09-12 03:41:17` (UTC) as nanoseconds since the epoch."""
    moment = datetime.fromisoformat(text).replace(tzinfo=timezone.utc)
    return int(moment.timestamp()) * SECOND


def iso(moment: int) -> str:
    """Nanoseconds since the epoch as `2026-09-12T03:41:17Z`."""
    return datetime.fromtimestamp(moment // SECOND, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def jitter(name: str, below: int = SECOND) -> int:
    """A number that looks random and is always the same for the same name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % below


@dataclass(frozen=True)
class Times:
    """Modified, accessed, changed, born: nanoseconds since the epoch."""

    m: int
    a: int
    c: int
    b: int


@dataclass
class Node:
    """One file, folder or link. `late` files are written after the deletions, into the gaps that those left."""

    path: str
    kind: str  # file, folder, link, hard
    mode: int
    uid: int
    gid: int
    times: Times
    data: bytes = b""
    target: str = ""  # of a link, or the first name of a hard link
    late: bool = False
    packaged: bool = False  # came with the installation

    @property
    def parent(self) -> str:
        return str(PurePosixPath(self.path).parent)

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name


@dataclass(frozen=True)
class Deletion:
    """A file that goes again. How much of it stays:

    `kept`: name and inode stay readable; `nameless`: the inode stays, a late file takes the name's place;
    `wiped`: the name stays, the inode's size and block list are cleared, as the kernel does it;
    `open`: unlinked while a process still has it open: nothing is freed, the inode is on the orphan list.
    """

    path: str
    when: int
    how: str


@dataclass
class Tree:
    """Files by absolute path, parents before children."""

    nodes: dict[str, Node] = field(default_factory=dict)
    deletions: list[Deletion] = field(default_factory=list)

    def __iter__(self) -> Iterator[Node]:
        return iter(sorted(self.nodes.values(), key=lambda node: PurePosixPath(node.path).parts))

    def folder(self, path: str, *, mode: int = 0o755, uid: int = 0, gid: int = 0, b: int) -> None:
        """Add a folder, or set the owner, mode and birth of one that is there."""
        if path != "/":
            self._parents(path, b, uid, gid)
        when = b + jitter(path)
        self.nodes[path] = Node(path, "folder", mode, uid, gid, Times(when, when, when, when))

    def file(self, path: str, data: bytes | str, *, m: int, mode: int = 0o644, uid: int = 0, gid: int = 0,
             b: int | None = None, a: int | None = None, c: int | None = None, stomped: bool = False,
             late: bool = False) -> None:
        """Add a file. Born when modified, changed when modified, unless told otherwise.

        Times that a kernel took have fractions of a second; a modification time set by `touch -d` (`stomped`) has none.
        """
        self._parents(path, m if b is None else b, uid, gid)
        fraction = jitter(path)
        born = (m if b is None else b) + fraction
        modified = m if stomped else m + fraction
        changed = max(born, modified) if c is None else c + fraction
        accessed = max(born, modified) if a is None else a + jitter(path + "a")
        content = data.encode() if isinstance(data, str) else data
        self.nodes[path] = Node(path, "file", mode, uid, gid, Times(modified, accessed, changed, born), content,
                                late=late)

    def link(self, path: str, target: str, *, b: int, uid: int = 0, gid: int = 0) -> None:
        """Add a symbolic link."""
        self._parents(path, b, uid, gid)
        when = b + jitter(path)
        self.nodes[path] = Node(path, "link", 0o777, uid, gid, Times(when, when, when, when), target=target)

    def change(self, path: str, data: bytes | str, *, m: int, replaced: bool = False) -> None:
        """New content for a file that is there; its birth stays, unless a new file `replaced` it by renaming."""
        old = self.nodes[path]
        born = m if replaced else old.times.b // SECOND * SECOND
        self.file(path, data, m=m, mode=old.mode, uid=old.uid, gid=old.gid, b=born)

    def append(self, path: str, text: str, *, m: int, replaced: bool = False) -> None:
        """More lines for a text file that is there."""
        self.change(path, self.text(path) + text, m=m, replaced=replaced)

    def text(self, path: str) -> str:
        """The content of a text file."""
        return self.nodes[path].data.decode()

    def delete(self, path: str, when: int, how: str = "kept") -> None:
        """The file is written, and then goes again."""
        self.deletions.append(Deletion(path, when + jitter(path), how))

    def settle(self) -> None:
        """Give folders the times that their last change left. Packages bring their folders' times along."""
        gone = {deletion.path: deletion.when for deletion in self.deletions}
        latest: dict[str, int] = {}
        for node in self.nodes.values():
            event = max(0 if node.packaged else node.times.b, gone.get(node.path, 0))
            latest[node.parent] = max(latest.get(node.parent, 0), event)
        for node in self.nodes.values():
            if node.kind == "folder" and latest.get(node.path, 0) > node.times.m:
                when = max(node.times.b, latest[node.path])
                node.times = Times(when, max(when, node.times.a), when, node.times.b)

    def add_tar(self, archive: Path, installed: int) -> None:
        """A root file system's files, installed one after the other from `installed` on.

        Nothing in it is younger than that: files that the installation wrote get its time.
        """
        with tarfile.open(archive) as tar:
            for number, member in enumerate(tar):
                path = "/" + member.name.removeprefix("./").strip("/") if member.name != "." else "/"
                born = installed + number * SECOND // 50
                changed = born + jitter(path) // 50
                modified = min(int(member.mtime) * SECOND, changed)
                times = Times(modified, changed, changed, changed)
                node = Node(path, "file", member.mode & 0o7777, member.uid, member.gid, times, packaged=True)
                if member.isdir():
                    node.kind = "folder"
                elif member.issym():
                    node.kind, node.target = "link", member.linkname
                elif member.islnk():
                    node.kind, node.target = "hard", "/" + member.linkname.removeprefix("./")
                elif member.isfile():
                    stream = tar.extractfile(member)
                    node.data = stream.read() if stream else b""
                else:
                    continue
                self.nodes[path] = node

    def _parents(self, path: str, born: int, uid: int, gid: int) -> None:
        parent = str(PurePosixPath(path).parent)
        if parent not in self.nodes and parent != "/":
            self.folder(parent, b=born, uid=uid, gid=gid)
