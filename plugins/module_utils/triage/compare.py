# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of a disk between two moments: which files came, went and changed, and what of that is suspicious.

First all folders of both are read, then the content of what may have changed is compared, then both are looked into as
a triage does: what it finds in the newer one and not in the older one is new. Last, what ranks highest is read and
hashed. Where the budget of blocks ends, the rest is listed as not read, and nothing is concluded from half a list.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timezone

from ..forensics.model import SEVERITIES, Finding
from ..forensics.packages import Packages
from ..forensics.times import utc_now
from .compare_blocks import Way
from .compare_content import Contents, Side
from .compare_entries import OTHER, UNKNOWN, Change, match
from .compare_read import Reading
from .compare_weigh import Context, weigh
from .look import Opened, Triage, Wish, open_trees
from .sources import Source


class Comparison:
    """One comparison; `base` is the older of the two. `since`: when that was made, in nanoseconds; None: not known."""

    def __init__(self, base: Source, new: Source, way: Way, wish: Wish, since: int | None = None) -> None:
        self.base, self.new, self.way, self.wish, self.since = base, new, way, wish, since
        self.changes: list[tuple[str, Change]] = []  # with the partition's name, the most suspicious first
        self.fresh: list[tuple[str, Finding]] = []  # findings that the older one does not have
        self.gone: list[tuple[str, Finding]] = []
        self.kept = 0
        self.warnings: list[str] = []
        self.not_read: list[str] = []
        self.entries = self.moved_along = 0
        self.before, self.after = Triage(base, wish), Triage(new, wish)
        self.started, self._clock = utc_now(), time.monotonic()

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return round(time.monotonic() - self._clock, 1)

    def run(self) -> Comparison:
        """All of it."""
        opened = open_trees(self.base), open_trees(self.new)
        sides = list(self._sides(*opened))
        for name, old, new in sides:
            self._part(name, old, new)
        self._look(opened)
        for name, old, new in sides:
            self._weigh(name, old, new)
        self.changes.sort(key=lambda item: (-SEVERITIES.index(item[1].severity), item[0], item[1].path))
        for name, old, new in sides:
            reading = Reading(old, new)
            self.wish.tell(f"{name}: reading what ranks highest")
            reading.take([change for part, change in self.changes if part == name])
            if reading.left:
                self.not_read.append(f"{name}: the content of {reading.left:,} changed files: {reading.why}")
        self.changes.sort(key=lambda item: (-SEVERITIES.index(item[1].severity), item[0], item[1].path))
        return self

    def _sides(self, old: Opened, new: Opened) -> Iterator[tuple[str, Side, Side]]:
        """The file systems that both have, and a word on all others."""
        for source, opened in ((self.base, old), (self.new, new)):
            self.not_read += [f"{source.name}: {text}" for text in opened[3]]
        before = {part.name: (part, tree) for part, tree in old[0]}
        after = {part.name: (part, tree) for part, tree in new[0]}
        for name in sorted({*before, *after}):
            if name not in before or name not in after:
                source = self.new if name in after else self.base
                self.warnings.append(f"{name}: only {source.name} has this file system, so there is nothing to compare "
                                     "it with.")
                continue
            (was, old_tree), (now, new_tree) = before[name], after[name]
            if was.type != now.type:
                self.warnings.append(f"{name}: it was {was.type} and is {now.type}: it was made anew.")
            yield name, Side(self.base, was, old_tree, old[1]), Side(self.new, now, new_tree, new[1])
        if self.base.size != self.new.size:
            self.warnings.append(f"The disk had {self.base.size:,} bytes and has {self.new.size:,}.")

    def _part(self, name: str, old: Side, new: Side) -> None:
        """What changed on one file system."""
        self.wish.tell(f"{name}: reading all folders of both")
        for side in (old, new):
            if not side.source.spent:
                side.tree.remember()
                side.source.check()
        found = match(old.tree.all_entries(), new.tree.all_entries())
        for side in (old, new):
            side.source.check()
            if side.source.spent:
                self.not_read.append(f"{name}: what changed: the budget of blocks was spent before all folders of "
                                     f"{side.source.name} were read")
                return
        self.entries += found.entries
        self.moved_along += found.moved_along
        if found.broken:
            self.not_read.append(f"{name}: {found.broken:,} entries that are in one of the two and cannot be read in "
                                 "the other")
        contents = Contents(old, new, self.way.marks)
        if not contents.followed:
            self.warnings.append(f"{name}: it is not known which blocks belong to which file and differ. A file whose "
                                 "size, times and inode are as they were is taken for unchanged.")
        self.wish.tell(f"{name}: comparing the content of what may have changed")
        for change in found.changes:
            _decide(change, contents)
        undecided = Counter(change.reasons[0] for change in found.changes if change.kind == "undecided")
        for now in contents.suspects(found.alike):
            change = Change("undecided", now.path, now, now)
            _decide(change, contents)
            if change.content == UNKNOWN:  # all else says that it did not change
                undecided[contents.why] += 1
            elif change.content == OTHER:
                found.changes.append(change)
        self.changes += [(name, change) for change in found.changes]
        self.not_read += [f"{name}: whether {number:,} files hold the same: {why}" for why, number in undecided.items()]

    def _look(self, opened: tuple[Opened, Opened]) -> None:
        """What a triage finds in both."""
        for one, trees in ((self.after, opened[1]), (self.before, opened[0])):
            self.wish.tell(f"looking into {one.source.name}")
            one.run(trees)
            self.warnings += [f"{one.source.name}: {text}" for text in one.warnings]
            self.not_read += [text if text.startswith(one.source.name) else f"{one.source.name}: {text}"
                              for text in one.not_read if f"{one.source.name}: {text}" not in self.not_read]
        if self.before.not_read:
            self.warnings.append(f"{self.base.name} was not read whole: what is called new may be older.")
        known = Counter(_mark(name, finding) for name, finding in self.before.findings)
        still: Counter[tuple[str, ...]] = Counter()
        for name, finding in self.after.findings:
            mark = _mark(name, finding)
            still[mark] += 1
            if still[mark] > known[mark]:
                self.fresh.append((name, finding))
            else:
                self.kept += 1
        for name, finding in self.before.findings:
            mark = _mark(name, finding)
            still[mark] -= 1
            if still[mark] < 0:
                self.gone.append((name, finding))

    def _weigh(self, name: str, old: Side, new: Side) -> None:
        before, after = _packages(old), _packages(new)
        both = before is not None and after is not None
        context = Context(before if both else None, after if both else None, self.since,
                          live=bool(new.part.journal_dirty))
        for part, change in self.changes:
            if part == name:
                weigh(change, context)


def _packages(side: Side) -> Packages | None:
    """What the package manager knows; None where it could not be read whole."""
    if side.source.spent:
        return None
    found = Packages(side.tree)
    side.source.check()
    return None if side.source.spent else found


def _decide(change: Change, contents: Contents) -> None:
    """Whether a file that is in both holds the same."""
    was, now = change.old, change.new
    if was is None or now is None or change.kind not in ("undecided", "renamed") or not change.is_file:
        return
    change.content = contents.compare(was, now)
    if change.content == UNKNOWN:
        change.reasons.append(contents.why)
    if change.kind == "undecided" and change.content != UNKNOWN:
        change.kind = "changed" if change.content == OTHER else "metadata"


def _mark(name: str, finding: Finding) -> tuple[str, ...]:
    """What makes two findings of different moments one: not its words, which may count and tell times."""
    return name, finding.rule, finding.path, finding.excerpt


def moment_of(text: str) -> int | None:
    """Nanoseconds of a time as AWS gives it; None where it is none."""
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    if found.tzinfo is None:
        found = found.replace(tzinfo=timezone.utc)
    return int(found.timestamp()) * 10**9
