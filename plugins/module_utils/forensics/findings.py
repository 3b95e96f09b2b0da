# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All findings of one mounted partition: each room of finders runs by itself, then what belongs together is connected.

A file that changed within a day after a break-in weighs more than the same file elsewhere: the finders say what is
unusual, the connection says when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from . import find_accounts, find_files, find_history, find_logins, find_scheduled, find_startup, find_system, find_web
from .about import about
from .model import SEVERITIES, Artifacts, Finding, Partition, clean, clean_path
from .packages import Packages
from .raw_tree import open_tree
from .scene import Scene, load_accounts
from .steps import Say, StepError
from .suspicion import raise_by_one
from .systems import systems
from .tree import Tree

Finder = Callable[[Scene], Iterable[Finding]]


# The rooms, in the order in which they run; logins first, because they tell when.
FINDERS: list[tuple[str, Finder]] = [
    ("logins", find_logins.find), ("accounts", find_accounts.find), ("scheduled", find_scheduled.find),
    ("startup", find_startup.find), ("system", find_system.find), ("histories", find_history.find),
    ("web", find_web.find), ("files", find_files.find)]


def find_all(partition: Partition, artifacts: Artifacts, stem: str, work: Path, say: Say) -> dict[str, Any]:
    """Write `.findings.json`, and `.system.json` with facts and tables of each system; the numbers by severity."""
    tree = open_tree(partition, work)
    tops = systems(tree) if partition.type == "btrfs" else []
    tree.left_out = frozenset(tops)
    found, failed, told = collect(tree, say)
    known = [{"top": "/", **told}]
    for top in tops:
        inside, lost, told = collect(tree.below(top), say)
        for finding in inside:
            finding.path = clean_path(top) + finding.path
        found, failed = ordered([*found, *inside]), failed + lost
        known.append({"top": clean_path(top), **told})
    artifacts.write_json(f"{stem}.findings.json", [finding.as_dict() for finding in found])
    artifacts.write_json(f"{stem}.system.json", {"systems": [one for one in known if one["facts"]]})
    counts: dict[str, Any] = {severity: sum(1 for item in found if item.severity == severity)
                              for severity in SEVERITIES}
    if failed:
        # What was found is kept and uploaded; that something is missing must not be lost.
        raise StepError("finder_failed", f"{len(found)} findings written, but finders failed: {'; '.join(failed)}")
    return counts


def collect(tree: Tree, say: Say) -> tuple[list[Finding], list[str], dict[str, Any]]:
    """All findings in a tree, the worst first; the finders that failed; and what is known of the system in it."""
    scene = Scene(tree, Packages(tree), load_accounts(tree))
    found: list[Finding] = []
    failed: list[str] = []
    for name, finder in FINDERS:
        say(f"looking at {name}")
        try:
            found.extend(finder(scene))
        except Exception as error:  # what breaks one finder must not hide what the others see
            failed.append(f"{name} ({type(error).__name__}: {clean(str(error), 200)})")
    connect(found, scene)
    known: dict[str, Any] = {"facts": [], "tables": []}
    say("looking at the system")
    try:
        known = about(scene)
    except Exception as error:  # as above
        failed.append(f"about the system ({type(error).__name__}: {clean(str(error), 200)})")
    return ordered(found), failed, known


def ordered(found: Iterable[Finding]) -> list[Finding]:
    """Each finding once, the worst first."""
    unique = {finding.as_dict()["id"]: finding for finding in found}
    return sorted(unique.values(), key=rank)


def rank(finding: Finding) -> tuple[int, str, str]:
    """Sorts findings: the worst first."""
    return -SEVERITIES.index(finding.severity), finding.kind, finding.path


TIMELESS = ("ssh_break_in", "login", "ssh_brute_force", "log_tampering", "log_unreadable")


def connect(found: list[Finding], scene: Scene) -> None:
    """Raise findings of at least low severity whose file changed within a day after a break-in."""
    for finding in found:
        if finding.kind in TIMELESS or finding.severity in ("info", "critical"):
            continue
        moment = min(filter(None, map(scene.break_in_before, _changes(finding))), default=None)
        if moment is not None:
            # Never to critical: that is for what is hostile in itself.
            if finding.severity != "high":
                finding.severity = raise_by_one(finding.severity)
            finding.reason += f" (changed within 24 h after the break-in of {moment:%Y-%m-%d %H:%M:%S} UTC)"


def _changes(finding: Finding) -> Iterator[datetime]:
    """When a file was changed or made: the inode's own time above all, which no ordinary tool can set."""
    for key in ("c", "b", "m"):
        text = finding.times.get(key, "")
        if len(text) >= 20 and text[0] != "@":
            try:
                yield datetime.strptime(text[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
            except ValueError:
                continue
