# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people typed: shell histories, with the times that some of them keep."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator

from .model import SEVERITIES, Finding
from .scene import Scene
from .suspicion import reasons, worst
from .times import iso
from .tree import Entry

HISTORIES = (".bash_history", ".zsh_history", ".ash_history", ".sh_history", ".history", ".mysql_history",
             ".psql_history", ".python_history", ".rediscli_history", ".local/share/fish/fish_history")
LINE_LIMIT = 200_000


def find(scene: Scene) -> Iterator[Finding]:
    """Suspicious lines, each a finding; and histories that were switched off."""
    for name, home in scene.homes():
        for file in HISTORIES:
            raw = scene.tree.lookup(f"{home}/{file}", follow_last=False)
            if raw is None:
                continue
            if stat.S_ISLNK(raw.info.st_mode):
                yield scene.finding(raw, "history_switched_off", "shell_history", "medium",
                                    f"the history of {name or home} is a link to somewhere else")
            elif raw.is_file:
                yield from _lines(scene, raw, name or home)


def _lines(scene: Scene, entry: Entry, name: str) -> Iterator[Finding]:
    text = scene.tree.text(entry.path) or ""
    when = ""
    for number, raw in enumerate(text.splitlines()):
        if number > LINE_LIMIT:
            break
        stamp = re.fullmatch(r"#(\d{9,10})", raw)
        if stamp:
            when = iso(int(stamp[1]))
            continue
        zsh = re.match(r": (\d{9,10}):\d+;(.*)", raw)
        if zsh:
            when, raw = iso(int(zsh[1])), zsh[2]
        found = reasons(raw)
        if found:
            severity = worst(*(reason.severity for reason in found))
            # A history tells that something was typed, not that it worked.
            severity = min(severity, "high", key=SEVERITIES.index)
            words = ", ".join(dict.fromkeys(reason.text for reason in found))
            yield scene.finding(entry, "history_line", "shell_history", severity,
                                f"{name} typed{f' at {when}' if when else ''}: {words}", raw)
        when = ""
