# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the finders of one partition share: its files, accounts and packages, and how a finding about a file is made."""

from __future__ import annotations

import hashlib
from bisect import bisect_left, insort
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from .model import Finding, clean, clean_path
from .packages import Packages
from .times import iso_ns
from .tree import Entry, Tree

DIGEST_LIMIT = 256 << 20
WINDOW = timedelta(hours=24)  # what happens that soon after a break-in belongs to it


@dataclass
class Account:
    """One line of passwd."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str

    @property
    def can_log_in(self) -> bool:
        return self.shell.rsplit("/", 1)[-1] not in ("nologin", "false", "sync", "shutdown", "halt", "")

    @property
    def is_system(self) -> bool:
        return 0 < self.uid < 1000 or self.uid == 65534


@dataclass
class Scene:
    """What all finders share."""

    tree: Tree
    packages: Packages
    accounts: list[Account] = field(default_factory=list)
    quick: bool = False  # files' contents are only compared where something says that they changed
    break_ins: list[datetime] = field(default_factory=list)  # in order: who forges a log can forge very many
    _by_name: dict[str, Account] = field(default_factory=dict, repr=False)

    def homes(self) -> list[tuple[str, str]]:
        """`(account, home folder)`, also of homes that no account has any more."""
        found = {account.home.rstrip("/") or "/": account.name for account in self.accounts
                 if account.home not in ("/", "/nonexistent", "")}
        found.setdefault("/root", "root")
        for entry in self.tree.entries("/home"):
            if entry.is_dir:
                found.setdefault(entry.path.decode("utf-8", "surrogateescape"), "")
        return sorted(((name, home) for home, name in found.items()), key=lambda pair: pair[1])

    def account(self, name: str) -> Account | None:
        """The account of that name."""
        if not self._by_name:
            self._by_name.update((account.name, account) for account in reversed(self.accounts))
        return self._by_name.get(name)

    def broken_in(self, when: datetime) -> None:
        """Remember a break-in."""
        insort(self.break_ins, when)

    def break_in_before(self, when: datetime) -> datetime | None:
        """The first break-in within a day before a moment."""
        if when.year < 2:  # a forged time: there is no day before
            return None
        place = bisect_left(self.break_ins, when - WINDOW)
        return self.break_ins[place] if place < len(self.break_ins) and self.break_ins[place] <= when else None

    def finding(self, entry: Entry | None, rule: str, kind: str, severity: str, reason: str, excerpt: str = "", *,
                path: str | bytes | None = None, digest: bool = False) -> Finding:
        """A finding about a file, with its inode, times and (on demand) SHA-256."""
        shown = path if path is not None else (entry.path if entry else "")
        found = Finding(rule, kind, severity, clean_path(shown), clean(reason, 600), excerpt)
        if entry is not None:
            info = entry.info
            found.inode = info.st_ino
            found.times = {key: value for key, value in (
                ("m", iso_ns(info.st_mtime_ns)), ("a", iso_ns(info.st_atime_ns)), ("c", iso_ns(info.st_ctime_ns)),
                ("b", iso_ns(self.tree.birth_ns(entry.path)))) if value}
            if digest and entry.is_file:
                found.sha256 = self.digest(entry)
        return found

    def digest(self, entry: Entry) -> str | None:
        """SHA-256 of a file that is not too large."""
        if entry.info.st_size > DIGEST_LIMIT:
            return None
        stream = self.tree.open(entry.path)
        if stream is None:
            return None
        value = hashlib.sha256()
        with stream:
            while chunk := stream.read(1 << 20):
                value.update(chunk)
        return value.hexdigest()


def load_accounts(tree: Tree) -> list[Account]:
    """The accounts in passwd; broken lines are left out."""
    accounts = []
    for line in (tree.text("/etc/passwd") or "").splitlines():
        columns = line.split(":")
        if len(columns) >= 7 and columns[2].isdigit() and columns[3].isdigit():
            accounts.append(Account(columns[0], int(columns[2]), int(columns[3]), columns[5], columns[6]))
    return accounts
