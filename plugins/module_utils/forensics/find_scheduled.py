# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scheduled jobs: cron, anacron, at, and what their commands start."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .model import Finding
from .scene import Scene
from .suspicion import miner_marks, reasons, worst
from .tree import Entry

JOB = re.compile(r"(@\w+|(?:[\d*,/A-Za-z-]+\s+){5})(.*)")
_PATH = re.compile(r"(?<![\w:/])(/[\w.@%+~-]+(?:/[\w.@%+~-]+)+)")
PERIODIC = ("hourly", "daily", "weekly", "monthly", "yearly")
SYSTEM_FOLDERS = (b"/usr/bin/", b"/usr/sbin/", b"/bin/", b"/sbin/", b"/usr/lib/", b"/lib/", b"/usr/libexec/",
                  b"/etc/", b"/usr/share/")


def find(scene: Scene) -> Iterator[Finding]:
    """Every scheduled job that no package brought, and those of packages that look wrong."""
    for entry in [scene.tree.lookup("/etc/crontab"), *scene.tree.entries("/etc/cron.d")]:
        if entry is not None and entry.is_file and entry.name != b".placeholder":
            yield from _table(scene, entry, None)
    for folder in ("/var/spool/cron/crontabs", "/var/spool/cron"):
        for entry in scene.tree.entries(folder):
            if entry.is_file:
                yield from _table(scene, entry, entry.name.decode("utf-8", "replace"))
    for period in PERIODIC:
        for entry in scene.tree.entries(f"/etc/cron.{period}"):
            if entry.name != b".placeholder":
                yield from _script(scene, entry, f"runs {period}")
    for folder in ("/var/spool/cron/atjobs", "/var/spool/at"):
        for entry in scene.tree.entries(folder):
            if entry.is_file and not entry.name.startswith(b"."):
                yield from _script(scene, entry, "runs once, by at")


def _table(scene: Scene, entry: Entry, owner: str | None) -> Iterator[Finding]:
    """A crontab: `owner` is None where the lines name one."""
    owned = scene.packages.owns(entry.path)
    for raw in (scene.tree.text(entry.path) or "").splitlines():
        line = raw.strip()
        match = JOB.fullmatch(line)
        if not line or line.startswith("#") or not match:
            if re.match(r"(?:LD_PRELOAD|BASH_ENV|ENV)\s*=", line):
                yield scene.finding(entry, "cron_environment", "cron", "high",
                                    "a job table that sets a variable which loads code into every job", line)
            continue
        who, command = owner, match[2].strip()
        if who is None:
            who, _unused, command = command.partition(" ") if " " in command else command.partition("\t")
        severity, why = judge_command(scene, command)
        if owned and severity in ("info", "low"):
            continue
        if severity == "info":
            severity = "low" if scene.packages.known and not _administrator(scene, who, owner) else "info"
        every = match[1].strip()
        yield scene.finding(entry, "cron_job", "cron", severity,
                            f"job of {who} ({every}){': ' + why if why else ''}"
                            f"{'' if owned else '; no package brought this file'}", line)


def _administrator(scene: Scene, who: str, owner: str | None) -> bool:
    """A person's own crontab is usual; jobs of services and of root are rarer."""
    account = scene.account(who)
    return owner is not None and account is not None and account.uid >= 1000


def judge_command(scene: Scene, command: str) -> tuple[str, str]:
    """Severity of a command and the reasons in words: its own text, and the programs that it starts."""
    found = [(reason.severity, reason.text) for reason in reasons(command)]
    for path in dict.fromkeys(_PATH.findall(command)):
        found += judge_target(scene, path)
    if not found:
        return "info", ""
    return worst(*(severity for severity, _unused in found)), ", ".join(dict.fromkeys(text for _unused, text in found))


def judge_target(scene: Scene, path: str) -> list[tuple[str, str]]:
    """What is to be said of a program that something starts."""
    entry = scene.tree.lookup(path)
    if entry is None or not entry.is_file:
        return []
    found: list[tuple[str, str]] = []
    hidden = any(part.startswith(b".") for part in entry.path.split(b"/"))
    if hidden:
        found.append(("medium", f"starts {path}, which lies in a hidden place"))
    if not scene.packages.foreign(entry.path):
        return found
    data = scene.tree.read(entry.path, 8 << 20) or b""
    marks = miner_marks(data)
    if data[:4] == b"\x7fELF":
        if len(marks) >= 3:
            found.append(("critical", f"starts {path}, a program with the words of a miner ({', '.join(marks[:5])})"))
        elif entry.path.startswith(SYSTEM_FOLDERS):
            found.append(("medium", f"starts {path}, a program in a system folder that no package brought"))
    elif entry.executable or data[:2] == b"#!":
        for reason in reasons(data[:65536].decode("utf-8", "replace")):
            if reason.severity in ("high", "critical"):
                found.append((reason.severity, f"starts {path}, which {reason.text}"))
    return found


def _script(scene: Scene, entry: Entry, when: str) -> Iterator[Finding]:
    real = scene.tree.lookup(entry.path)
    if real is None or not real.is_file:
        return
    owned = scene.packages.owns(entry.path) or scene.packages.owns(real.path)
    data = scene.tree.read(real.path, 1 << 20) or b""
    if data[:4] == b"\x7fELF":
        severity, why = ("low" if owned else "high"), "a program where scripts are usual"
        line = ""
    else:
        text = data.decode("utf-8", "surrogateescape")
        if when.startswith("runs once"):  # at saves the whole environment first
            text = text.rsplit("}\n", 1)[-1]
        severity, why, line = "info", "", ""
        for candidate in text.splitlines():
            if candidate.lstrip().startswith("#"):
                continue
            level, words = judge_command(scene, candidate) if not owned else _text_only(candidate)
            if worst(level, severity) != severity:
                severity, why, line = level, words, candidate
    if owned and severity not in ("high", "critical"):
        return
    if not owned and severity == "info":
        severity = "low" if scene.packages.known else "info"
    yield scene.finding(entry, "cron_script", "cron", severity,
                        f"{when}{': ' + why if why else ''}{'' if owned else '; no package brought this file'}",
                        line.strip(), digest=True)


def _text_only(line: str) -> tuple[str, str]:
    found = reasons(line)
    return (worst(*(reason.severity for reason in found)), found[0].text) if found else ("info", "")
