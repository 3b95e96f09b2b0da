# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look into a disk without a mount and without root: which system, who could get in, what starts by itself, what looks
wrong, and when everything changed.

What counts most is read first, and every part is kept that was read whole: where the budget of blocks ends, or a reader
breaks, the rest is listed as not read. A finding is only believed when everything that it rests on could be read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ..ebs.version import __version__
from ..forensics.about import add_tables
from ..forensics.about_access import tables
from ..forensics.about_autostart import autostart
from ..forensics.about_system import first_facts, more_facts
from ..forensics.dissect_tree import DissectTree
from ..forensics.findings import FINDERS, Finder, connect, rank
from ..forensics.model import SEVERITIES, Finding, clean, clean_path
from ..forensics.packages import Packages
from ..forensics.scene import Scene, load_accounts
from ..forensics.steps import StepError
from ..forensics.systems import in_use
from ..forensics.times import utc_now
from .disk import Part, parts
from .rules import Rules
from .sources import Source

SCHEMA = 1
Tell = Callable[[str], None]


@dataclass
class Wish:
    """What is asked for. `rules`: beside those that are built in."""

    incident: str = ""
    rules: Rules = field(default_factory=Rules)
    tell: Tell = lambda _text: None


Opened = tuple[list[tuple[Part, DissectTree]], list[Part], list[str], list[str]]


def open_trees(source: Source) -> Opened:
    """The file systems of a source, everything that is on it, what of that is odd, and what could not be opened."""
    found, problems = parts(source.stream, source.size)
    trees: list[tuple[Part, DissectTree]] = []
    unread = []
    for part in found:
        if part.is_file_system:
            try:
                trees.append((part, DissectTree(part.type, part.stream)))
            except StepError as error:
                unread.append(f"{part.name}: {clean(str(error), 300)}")
    source.check()
    return trees, found, problems, unread


class Triage:
    """One look into one source; `report` grows while it runs, and is whole at any time."""

    def __init__(self, source: Source, wish: Wish) -> None:
        self.source, self.wish = source, wish
        self.findings: list[tuple[str, Finding]] = []  # with the partition's name
        self.facts: list[dict[str, str]] = []
        self.tables: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self.not_read: list[str] = []
        self.parts: list[Part] = []
        self.trees: list[tuple[Part, DissectTree]] = []
        self._started, self._clock = utc_now(), time.monotonic()

    def run(self, opened: Opened | None = None) -> Triage:
        """Everything but the timeline, which needs `trees`. `opened`: what `open_trees` said of the source already."""
        self.trees, self.parts, problems, unread = opened or open_trees(self.source)
        self.warnings += problems
        self.not_read += unread
        for part in self.parts:
            self._warn(part)
        systems = [(part, tree, top) for part, tree in self.trees if (top := self._top(tree)) is not None]
        for part, tree, top in systems:  # all of these before anything that takes long
            self._first(part, tree, top)
        for part, tree, top in systems:
            self._whole(part, tree, top)
        for part, tree in self.trees:
            if not any(tree is one for _part, one, _top in systems):
                self._whole(part, tree, b"/")
        return self

    def _warn(self, part: Part) -> None:
        if part.journal_dirty:
            self.warnings.append(f"{part.name}: the journal holds changes that were not applied. What happened last "
                                 "before the snapshot may be missing here, or look older than it is.")
        elif part.is_file_system and part.journal_dirty is None:
            self.warnings.append(f"{part.name}: what its journal holds cannot be told.")
        if part.kind in ("luks", "bitlocker", "raid"):
            self.warnings.append(f"{part.name}: {part.reason}.")

    @staticmethod
    def _top(tree: DissectTree) -> bytes | None:
        """Where the system in use begins; None where there is none."""
        if tree.lookup("/etc/passwd") is not None:
            return b"/"
        top = in_use(tree)
        return None if top == b"/" else top

    def _first(self, part: Part, tree: DissectTree, top: bytes) -> None:
        inside = tree if top == b"/" else tree.below(top)
        self._add_facts(part, list(first_facts(inside)))
        self.source.check()
        known = next((fact["value"] for fact in self.facts if fact["label"] == "System"), "an unknown system")
        self.wish.tell(f"{part.name} holds {known}")

    def _add_facts(self, part: Part, facts: Sequence[tuple[str, str]]) -> None:
        self.facts += [{"label": label, "value": value, "partition": part.name} for label, value in facts if value]

    def _whole(self, part: Part, tree: DissectTree, top: bytes) -> None:
        """Tables and findings of one file system, or of the system in it."""
        inside = tree if top == b"/" else tree.below(top)
        scene = self._scene(part, inside)
        if scene is None:
            return
        if scene.accounts:
            self._part_of(part, "facts", lambda: self._add_facts(
                part, list(more_facts(inside, scene.accounts, scene.packages))))
            self._part_of(part, "accounts and logins", lambda: add_tables(self.tables, tables(scene), part.name))
            self._part_of(part, "what starts by itself", lambda: add_tables(self.tables, [autostart(scene)], part.name))
        self.wish.tell(f"{part.name}: reading all folders")
        self._part_of(part, "all folders", inside.remember)
        found: list[Finding] = []
        for name, finder in [*FINDERS, ("rules", self.wish.rules.find)]:
            self.wish.tell(f"{part.name}: looking at {name}")
            self._part_of(part, name, partial(self._take, finder, scene, found))
        connect(found, scene)
        prefix = "" if top == b"/" else clean_path(top)
        for finding in found:
            finding.path = prefix + finding.path
            self.findings.append((part.name, finding))
        if inside.unreadable:
            self.not_read.append(f"{part.name}: {inside.unreadable:,} entries that cannot be read")

    def _take(self, finder: Finder, scene: Scene, found: list[Finding]) -> None:
        for finding in finder(scene):
            if self.source.failed is not None:  # what this one rests on was not read
                return
            found.append(finding)

    def _scene(self, part: Part, tree: DissectTree) -> Scene | None:
        if self.source.spent:
            self.not_read.append(f"{part.name}: nothing of it, the budget was spent before")
            return None
        self.wish.tell(f"{part.name}: reading accounts and packages")
        packages = Packages(tree)
        scene = Scene(tree, packages, load_accounts(tree), quick=True)
        self.source.check()
        if self.source.spent:  # half a list would call the other half foreign
            packages.forget("the budget of blocks was spent while the list of packages was read")
        return scene

    def _part_of(self, part: Part, name: str, work: Callable[[], object]) -> None:
        """Do a piece of the work. What fails, or is cut short, is said and takes nothing else along."""
        if self.source.spent:
            self.not_read.append(f"{part.name}: {name}: the budget of blocks was spent before")
            return
        try:
            work()
        except Exception as error:  # whatever a hostile file system provokes
            self.source.check()
            if not self.source.spent:
                self.not_read.append(f"{part.name}: {name}: {type(error).__name__}: {clean(str(error), 200)}")
        self.source.check()
        if self.source.spent:
            self.not_read.append(f"{part.name}: {name}: in part, the budget of blocks was spent")

    def report(self, timeline: dict[str, Any] | None = None) -> dict[str, Any]:
        """The data of a report (docs/report.md says what each key holds)."""
        unique = {finding.as_dict()["id"]: (name, finding) for name, finding in self.findings}
        rows = sorted(unique.values(), key=lambda pair: rank(pair[1]))
        return {
            "schema": SCHEMA, "kind": "triage", "title": self.source.name, "incident": self.wish.incident,
            "made": utc_now(), "tool": {"name": "dfir.aws", "version": __version__, "parts": versions()},
            "source": {"kind": self.source.kind, "name": self.source.name, "size_bytes": self.source.size,
                       "started": self._started, "seconds": round(time.monotonic() - self._clock, 1),
                       **self.source.cost()},
            "facts": self.facts, "warnings": self.warnings, "not_read": self.not_read,
            "partitions": [part.facts() for part in self.parts],
            "counts": {severity: sum(1 for _name, one in rows if one.severity == severity) for severity in SEVERITIES},
            "findings": [{**finding.as_dict(), "partition": name} for name, finding in rows],
            "tables": self.tables, "timeline": timeline or {},
        }


def versions() -> dict[str, str]:
    """Which versions of what read the file systems."""
    from importlib import metadata

    found = {}
    for name in ("dissect.volume", "dissect.extfs", "dissect.xfs", "dissect.btrfs", "dissect.ntfs", "dissect.fat",
                 "dissect.evidence"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
