# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a system is, who could get into it, and what starts by itself: facts and tables of a report."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .about_access import Table, tables
from .about_autostart import autostart
from .about_system import first_facts, more_facts
from .scene import Scene


def about(scene: Scene) -> dict[str, Any]:
    """`facts` (label and value) and `tables` of the system in a tree; nothing where there is none."""
    facts = list(first_facts(scene.tree))
    found: list[Table] = []
    if scene.accounts:
        facts += more_facts(scene.tree, scene.accounts, scene.packages)
        found = [*tables(scene), autostart(scene)]
    return {"facts": [{"label": label, "value": value} for label, value in facts if value],
            "tables": [one for one in found if one["rows"]]}


def add_tables(known: list[Table], more: Iterable[Table], name: str) -> None:
    """Add tables that have rows; those of a second system get the name of where it lies."""
    more = [table for table in more if table["rows"]]
    several = any(table["id"] == one["id"] for table in more for one in known)
    for table in more:
        if several:
            table["id"] += f"-{name.replace('.', '-')}"
            table["title"] += f" ({name})"
        known.append(table)
