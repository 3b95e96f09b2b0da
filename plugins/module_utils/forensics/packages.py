# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the evidence's own package manager knows: which file belongs to a package, and what it should look like."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property

from .rpm_database import RpmError, rpm_packages
from .tree import Entry, Tree

ALGORITHMS = {32: "md5", 40: "sha1", 64: "sha256", 96: "sha384", 128: "sha512"}
INFO = "/var/lib/dpkg/info"
LATER = 3600 * 10**9  # nanoseconds: an installation of many packages takes a while
SAMPLE = 500  # files that are looked at to see whether a whole system was copied
_USR_MERGED = (b"/bin/", b"/sbin/", b"/lib/", b"/lib32/", b"/lib64/", b"/libx32/")


class Packages:
    """The lists of dpkg and rpm, from the evidence. An intruder can change them: only a mismatch tells something.

    `problem` says why a database that is there could not be read.
    """

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.digests: dict[bytes, str] = {}
        self.problem = ""
        self.conffiles: set[bytes] = set()
        self.owned: set[bytes] = set()
        self.diverted: set[bytes] = set()
        self.brought: dict[bytes, int] = {}  # by file, when its package was written down, in nanoseconds
        self.rpm_count = 0  # packages of rpm that are installed
        self.merged = tuple(prefix for prefix in _USR_MERGED
                            if (tree.resolve(prefix[:-1]) or b"").startswith(b"/usr/"))
        for entry in tree.entries(INFO):
            if entry.name.endswith(b".list"):
                names = [self.normal(line) for line in (tree.read(entry.path) or b"").split(b"\n") if line]
                self.owned.update(names)
                self.brought.update(dict.fromkeys(names, entry.info.st_ctime_ns))
            elif entry.name.endswith(b".md5sums"):
                for line in (tree.read(entry.path) or b"").split(b"\n"):
                    digest, _unused, name = line.partition(b"  ")
                    if name and len(digest) == 32:
                        self.digests[self.normal(b"/" + name.lstrip(b"/"))] = digest.decode("ascii", "replace")
            elif entry.name.endswith(b".conffiles"):
                self.conffiles.update(self.normal(line.split(b" ")[-1])
                                      for line in (tree.read(entry.path) or b"").split(b"\n") if line)
        lines = (tree.read("/var/lib/dpkg/diversions") or b"").split(b"\n")
        for original, moved in zip(lines[0::3], lines[1::3], strict=False):
            self.diverted.update((self.normal(original), self.normal(moved)))
            if self.normal(original) in self.owned:
                self.owned.add(self.normal(moved))
        self._rpm()
        self.owned.update(self.conffiles)

    def _rpm(self) -> None:
        """Take rpm's list in, whole or not at all: half a list would call the other half foreign."""
        try:
            packages = list(rpm_packages(self.tree))
        except (RpmError, OSError) as error:
            self.problem = f"the rpm database could not be read: {error}"
            return
        # Keys, too, are kept as packages, which have no files.
        self.rpm_count = sum(bool(package.files) for package in packages)
        for package in packages:
            for file in package.files:
                path = self.normal(file.path)
                self.owned.add(path)
                if package.installed:
                    self.brought[path] = max(self.brought.get(path, 0), package.installed * 10**9)
                if file.configuration:
                    self.conffiles.add(path)
                if len(file.digest) in ALGORITHMS:
                    self.digests[path] = file.digest

    def forget(self, problem: str) -> None:
        """Know nothing, and say why."""
        self.problem, self.rpm_count = problem, 0
        for known in (self.digests, self.conffiles, self.owned, self.diverted, self.brought):
            known.clear()

    @property
    def known(self) -> bool:
        """Whether there is a package database at all: without one, `not owned` means nothing."""
        return len(self.owned) > 50

    def normal(self, path: bytes) -> bytes:
        """A path as it is after /bin, /lib, … became links into /usr."""
        return b"/usr" + path if path.startswith(self.merged) and self.merged else path

    def owns(self, path: bytes) -> bool:
        """Whether a package brought this file."""
        return self.normal(path) in self.owned

    def foreign(self, path: bytes) -> bool:
        """Whether there is a package database and this file is in none of its lists."""
        return self.known and not self.owns(path)

    def came_later(self, entry: Entry) -> bool:
        """Whether a file's inode was changed after its package was written down: who alters a file changes it."""
        brought = self.brought.get(self.normal(entry.path))
        return brought is not None and entry.info.st_ctime_ns > max(brought, self._copied) + LATER

    @cached_property
    def _copied(self) -> int:
        """When a system of rpm as a whole was copied onto this disk, in nanoseconds; 0 where it was not. The moment of
        installation stands in the database, which goes along unchanged, while every inode is new. Of dpkg the moment
        is that of an inode, which is as new as the others."""
        if not self.rpm_count:
            return 0
        paths = sorted(self.brought)
        entries = [(path, self.tree.lookup(path, follow_last=False)) for path in paths[::len(paths) // SAMPLE + 1]]
        there = [(entry.info.st_ctime_ns, self.brought[path]) for path, entry in entries if entry is not None]
        late = sorted(changed for changed, brought in there if changed > brought + LATER)
        # An intruder alters a few files, not a good part of all. The last of those that came late may be his.
        return late[len(late) * 95 // 100] if len(late) * 5 > len(there) else 0

    def altered(self, path: bytes) -> bool | None:
        """Whether a package's file has another content than the package brought; None when that cannot be said."""
        normal = self.normal(path)
        expected = self.digests.get(normal)
        if expected is None or normal in self.conffiles or normal in self.diverted:
            return None
        stream = self.tree.open(path)
        if stream is None:
            return None
        digest = hashlib.new(ALGORITHMS[len(expected)], usedforsecurity=False)
        with stream:
            try:
                while chunk := stream.read(1 << 20):
                    digest.update(chunk)
            except OSError:
                return None
        return digest.hexdigest() != expected

    def verifiable(self) -> Iterator[bytes]:
        """Files of packages whose content is known."""
        yield from self.digests
