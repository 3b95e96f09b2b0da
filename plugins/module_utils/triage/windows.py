# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What starts by itself on a Windows system, and what of it looks wrong: Run keys, services, scheduled tasks, what
Winlogon starts, startup folders.

Tasks are taken apart with regular expressions, not an XML parser: hostile XML makes parsers work for ever.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..forensics.about_access import Table, table
from ..forensics.about_autostart import COLUMNS, ROWS
from ..forensics.model import Finding, clean
from ..forensics.scene import Scene
from ..forensics.times import iso_ns
from ..forensics.tree import Entry
from .windows_hives import UNVERIFIED, Hive, Windows, changed

TASKS = "/Windows/System32/Tasks"
OWN_TASKS = b"/Windows/System32/Tasks/Microsoft/"  # those that Windows brings
TASK_LIMIT = 1 << 20
RUN = (r"Microsoft\Windows\CurrentVersion\Run", r"Microsoft\Windows\CurrentVersion\RunOnce",
       r"Wow6432Node\Microsoft\Windows\CurrentVersion\Run", r"Wow6432Node\Microsoft\Windows\CurrentVersion\RunOnce",
       r"Microsoft\Windows\CurrentVersion\Policies\Explorer\Run")
WINLOGON = r"Microsoft\Windows NT\CurrentVersion\Winlogon"
USUAL = {"Shell": r"explorer\.exe,?", "Userinit": r"(?:c:\\windows\\system32\\)?userinit\.exe,?"}
STARTUP = "AppData/Roaming/Microsoft/Windows/Start Menu/Programs/Startup"
ALL_STARTUP = "/ProgramData/Microsoft/Windows/Start Menu/Programs/StartUp"
AUTOMATIC = 2  # a service's start: 0 boot, 1 system, 2 by itself
_OF_WINDOWS = re.compile(r'"?(?:\\\?\?\\)?(?:%systemroot%|\\systemroot|c:\\windows)?\\?(?:system32|syswow64)\\', re.I)
_COMMAND = re.compile(r"<Command>(.*?)</Command>", re.S | re.I)
_ARGUMENTS = re.compile(r"<Arguments>(.*?)</Arguments>", re.S | re.I)
_PATTERNS = tuple((severity, reason, re.compile(pattern, re.I)) for severity, reason, pattern in (
    ("high", "runs an encoded command", r"powershell.{0,80}\s[-/]e(?:nc\w*|c)?\s+[A-Za-z0-9+/=]{40}"),
    ("high", "downloads and runs", r"downloadstring|downloadfile|invoke-webrequest|\biwr\b|net\.webclient"
     r"|certutil\S*\s.{0,60}-urlcache|bitsadmin.{0,60}/transfer"),
    ("high", "runs a script from the network", r"mshta(?:\.exe)?\"?\s+\"?(?:https?:|javascript:|vbscript:)"
     r"|regsvr32.{0,40}/i:https?:|rundll32.{0,20}javascript:"),
    ("high", "runs from a share of another machine", r"^\"?\\\\(?!\?\\|\.\\)[^\\]+\\"),
    ("medium", "runs from a folder where anybody may write",
     r"\\(?:users\\public|windows\\temp|appdata\\local\\temp|temp|perflogs|\$recycle\.bin)\\[^\"]*\.\w{2,4}\b"
     r"|\\programdata\\[^\\\"]+\.(?:exe|dll|bat|cmd|ps1|vbs|js)\b")))


@dataclass(frozen=True)
class Start:
    """One thing that starts by itself. `where`: in which file, and of a hive in which key."""

    kind: str
    what: str
    entry: Entry
    where: str = ""
    moment: str = ""
    listed: bool = True  # in the table; of what Windows brings, only what looks wrong is told
    reason: str = ""  # why it is odd whatever it runs

    @property
    def path(self) -> str:
        return clean(self.entry.path) + (f": {clean(self.where)}" if self.where else "")


def starts(windows: Windows) -> Iterator[Start]:
    """Everything that starts by itself."""
    for path in RUN:
        yield from _run(windows.software, path)
    yield from _winlogon(windows.software)
    yield from _services(windows)
    yield from _tasks(windows)
    for home in windows.tree.entries("/Users"):
        if home.is_dir:
            hive = Hive(windows.tree, f"{_text(home.path)}/NTUSER.DAT")
            for path in RUN[:2]:
                yield from _run(hive, rf"Software\{path}")
            yield from _folder(windows, f"{_text(home.path)}/{STARTUP}")
    yield from _folder(windows, ALL_STARTUP)


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def _key(path: str) -> str:
    """A key's path with signs that need no escape."""
    return path.replace("\\", "/")


def _run(hive: Hive, path: str) -> Iterator[Start]:
    if hive.entry is not None:
        moment = changed(hive.key(path))
        for name, value in hive.values(path):
            if isinstance(value, str) and value.strip("\0 "):
                yield Start("run key", value.strip("\0 "), hive.entry, _key(rf"{path}\{name}"), moment)


def _winlogon(hive: Hive) -> Iterator[Start]:
    for name, usual in USUAL.items():
        value = hive.value(WINLOGON, name)
        if isinstance(value, str) and value.strip("\0 ") and hive.entry is not None:
            odd = re.fullmatch(usual, value.strip("\0 "), re.I) is None
            yield Start("logon", value.strip("\0 "), hive.entry, _key(rf"{WINLOGON}\{name}"),
                        changed(hive.key(WINLOGON)), odd, f"{name} of Winlogon is not what Windows has" if odd else "")


def _services(windows: Windows) -> Iterator[Start]:
    hive = windows.system
    for key in hive.subkeys(rf"{windows.control}\Services"):
        path = rf"{windows.control}\Services\{key.name}"
        start = hive.value(path, "Start")
        library = hive.value(rf"{path}\Parameters", "ServiceDll")
        for value in (hive.value(path, "ImagePath"), library):
            if isinstance(value, str) and value.strip("\0 ") and hive.entry is not None and isinstance(start, int):
                what = value.strip("\0 ")
                yield Start("service", what, hive.entry, _key(path), changed(key),
                            start <= AUTOMATIC and not _OF_WINDOWS.match(what))


def _tasks(windows: Windows) -> Iterator[Start]:
    for _folder_path, entries in windows.tree.walk(TASKS):
        for entry in entries:
            if entry.is_file:
                what = task(windows.tree.read(entry.path, TASK_LIMIT) or b"")
                if what:
                    yield Start("task", what, entry, moment=iso_ns(entry.info.st_mtime_ns),
                                listed=not entry.path.lower().startswith(OWN_TASKS.lower()))


def task(data: bytes) -> str:
    """What a scheduled task runs: its commands with their arguments."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or data[1:2] == b"\0":
        text = data.decode("utf-16" if data[:1] in (b"\xff", b"\xfe") else "utf-16-le", "replace")
    else:
        text = data.decode("utf-8", "surrogateescape")
    found = []
    for part in re.split(r"<Exec\b", text, flags=re.I)[1:50]:
        command, arguments = _COMMAND.search(part), _ARGUMENTS.search(part)
        if command:
            found.append(" ".join(filter(None, (command[1].strip(), arguments[1].strip() if arguments else ""))))
    return html.unescape("; ".join(found))


def _folder(windows: Windows, path: str) -> Iterator[Start]:
    for entry in windows.tree.entries(path):
        if entry.is_file and entry.name.lower() != b"desktop.ini":
            yield Start("startup folder", _text(entry.name), entry, moment=iso_ns(entry.info.st_mtime_ns))


def autostart(found: list[Start]) -> Table:
    """The table."""
    rows: list[dict[str, Any]] = [
        {"kind": one.kind, "what": clean(re.sub(r"\s+", " ", one.what)), "path": one.path, "package": "unknown",
         "changed": one.moment} for one in found if one.listed or why(one)]
    note = f"The first {ROWS:,} of {len(rows):,}. " if len(rows) > ROWS else ""
    return table("autostart", "What starts by itself", COLUMNS, rows[:ROWS], note + UNVERIFIED)


def why(one: Start) -> tuple[str, str] | None:
    """Severity and reason of what looks wrong; None where nothing does."""
    for severity, reason, pattern in _PATTERNS:
        if pattern.search(one.what):
            return severity, reason
    return ("medium", one.reason) if one.reason else None


def findings(scene: Scene, found: list[Start]) -> Iterator[Finding]:
    """A finding for each thing that looks wrong. Of what stands in a hive, the time is that of its key."""
    for one in found:
        if odd := why(one):
            severity, reason = odd
            said = reason if reason == one.reason else f"the {one.kind} {reason}"
            made = scene.finding(one.entry, f"windows_{one.kind.replace(' ', '_')}", "windows_start", severity,
                                 f"{said} (unverified reader)", one.what, path=one.path)
            if one.where:
                made.times = {"m": one.moment} if one.moment else {}
            yield made
