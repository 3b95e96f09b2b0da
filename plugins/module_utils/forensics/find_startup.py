# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What starts with the system or with a login: systemd units, boot scripts, profiles."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator

from .find_scheduled import judge_command
from .model import Finding
from .scene import Scene
from .suspicion import reasons, worst
from .tree import Entry

UNIT_FOLDERS = ("/etc/systemd/system", "/etc/systemd/user", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system",
                "/lib/systemd/system", "/usr/lib/systemd/user", "/usr/local/lib/systemd/user")
UNIT_KINDS = (b".service", b".timer", b".path", b".socket", b".mount", b".conf")
GENERATORS = ("/etc/systemd/system-generators", "/usr/local/lib/systemd/system-generators",
              "/usr/lib/systemd/system-generators", "/etc/systemd/system-environment-generators")
# Names under which system programs are known; a stranger among them wants to be taken for one.
_DISGUISE = re.compile(r"(?:systemd-|dbus-|kworker|kthread|ksoftirq|\[|sshd|cron|rsyslog|networkd|udev|journal|crond)")
_EXEC = re.compile(r"Exec(?:Start|StartPre|StartPost|Stop|StopPost|Reload|Condition)\s*=\s*[-@:+!]*(.*)")


def find(scene: Scene) -> Iterator[Finding]:
    """Everything that starts by itself and that no package brought, or that looks wrong."""
    yield from _units(scene)
    yield from _generators(scene)
    yield from _boot_scripts(scene)
    yield from _profiles(scene)


def _units(scene: Scene) -> Iterator[Finding]:
    folders = [*UNIT_FOLDERS, *(f"{home}/.config/systemd/user" for _unused, home in scene.homes())]
    seen: set[bytes] = set()
    enabled = _enabled(scene)
    for folder in folders:
        for _unused, entries in scene.tree.walk(folder):
            for entry in entries:
                if entry.is_file and entry.path not in seen and entry.name.endswith(UNIT_KINDS):
                    seen.add(entry.path)
                    yield from _unit(scene, entry, enabled.get(entry.name, ""))


def _unit(scene: Scene, entry: Entry, enabled: str) -> Iterator[Finding]:
    owned = scene.packages.owns(entry.path)
    text = scene.tree.text(entry.path, 1 << 20) or ""
    severity, notes, line = "info", [], ""
    for command in _EXEC.finditer(text.replace("\\\n", " ")):
        # What packages bring may do unusual things; only what is plainly hostile counts there.
        level, why = judge_command(scene, command[1]) if not owned else _plain(command[1])
        if why:
            notes.append(why)
        if not line or worst(level, severity) != severity:
            line = command[0]
        severity = worst(severity, level)
    if owned and severity not in ("high", "critical"):
        return
    if not owned and scene.packages.known:
        name = entry.name.decode("utf-8", "replace")
        drop_in = b".d/" in entry.path
        if not drop_in and _DISGUISE.match(name):
            severity = worst(severity, "medium")
            notes.append(f"is called {name} like a part of the system, and no package brought it")
        elif not drop_in or line:
            severity = worst(severity, "low")
            notes.append("no package brought this unit")
    if severity == "info" and not notes:
        return
    yield scene.finding(entry, "systemd_unit", "systemd_unit", severity,
                        f"{enabled}{'; '.join(dict.fromkeys(notes))}", line or _first(text), digest=True)


def _plain(command: str) -> tuple[str, str]:
    found = [reason for reason in reasons(command) if reason.severity in ("high", "critical")]
    return (worst(*(reason.severity for reason in found)), found[0].text) if found else ("info", "")


def _first(text: str) -> str:
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
    try:
        parser.read_string(text)
    except configparser.Error:
        return text[:200]
    for section in ("Timer", "Path", "Socket", "Service", "Unit"):
        if parser.has_section(section):
            return f"[{section}] " + ", ".join(f"{key}={value}" for key, value in parser.items(section))
    return text[:200]


def _enabled(scene: Scene) -> dict[bytes, str]:
    """Which units a link in a `.wants` folder starts at boot."""
    found: dict[bytes, str] = {}
    for folder in scene.tree.entries("/etc/systemd/system"):
        if folder.is_dir and folder.name.endswith((b".wants", b".requires")):
            for link in scene.tree.entries(folder.path):
                found.setdefault(link.name, f"enabled in {folder.name.decode('utf-8', 'replace')}; ")
    return found


def _generators(scene: Scene) -> Iterator[Finding]:
    for folder in GENERATORS:
        for entry in scene.tree.entries(folder):
            if entry.is_file and scene.packages.foreign(entry.path):
                yield scene.finding(entry, "systemd_generator", "systemd_unit", "medium",
                                    "a program that systemd runs at every start, and no package brought it",
                                    digest=True)


def _boot_scripts(scene: Scene) -> Iterator[Finding]:
    places: list[tuple[Entry | None, str]] = [(scene.tree.lookup("/etc/rc.local"), "runs at boot"),
                                              (scene.tree.lookup("/etc/rc.d/rc.local"), "runs at boot")]
    for folder, when in (("/etc/init.d", "is a boot script"), ("/etc/update-motd.d", "runs at every login"),
                         ("/etc/network/if-up.d", "runs when the network comes up"),
                         ("/etc/networkd-dispatcher/routable.d", "runs when the network comes up"),
                         ("/etc/dhcp/dhclient-exit-hooks.d", "runs with every DHCP lease"),
                         ("/etc/apt/apt.conf.d", "is read whenever packages are installed"),
                         ("/etc/udev/rules.d", "is read for every device"),
                         ("/etc/xdg/autostart", "starts with every desktop"),
                         ("/etc/X11/Xsession.d", "starts with every desktop")):
        places += [(entry, when) for entry in scene.tree.entries(folder)]
    for _unused, home in scene.homes():
        places += [(entry, "starts with a desktop") for entry in scene.tree.entries(f"{home}/.config/autostart")]
    for entry, when in places:
        if entry is not None and entry.is_file:
            yield from _text_file(scene, entry, "boot_script", when)


def _profiles(scene: Scene) -> Iterator[Finding]:
    files = ["/etc/profile", "/etc/bash.bashrc", "/etc/bashrc", "/etc/zsh/zshrc", "/etc/environment"]
    files += [f"{home}/{name}" for _unused, home in scene.homes()
              for name in (".bashrc", ".bash_profile", ".bash_login", ".profile", ".zshrc", ".zprofile",
                           ".bash_aliases", ".bash_logout", ".config/fish/config.fish", ".ssh/rc", ".pam_environment")]
    entries = [entry for entry in map(scene.tree.lookup, files) if entry is not None]
    entries += scene.tree.entries("/etc/profile.d")
    for entry in entries:
        if entry.is_file:
            yield from _text_file(scene, entry, "profile", "runs at every login", quiet=True)


def _text_file(scene: Scene, entry: Entry, rule: str, when: str, *, quiet: bool = False) -> Iterator[Finding]:
    """A finding for a start-up file with suspicious lines, and (unless quiet) for one that no package brought."""
    owned = scene.packages.owns(entry.path)
    severity, why, line = "info", "", ""
    for raw in (scene.tree.text(entry.path, 1 << 20) or "").splitlines():
        candidate = raw.strip()
        if not candidate or candidate.startswith(("#", "//")):
            continue
        level, words = _plain(candidate) if owned else judge_command(scene, candidate)
        if re.match(r"(?:export\s+)?LD_PRELOAD=\S", candidate):
            level, words = worst(level, "medium"), "preloads a library into every program"
        if worst(level, severity) != severity:
            severity, why, line = level, words, candidate
    if severity in ("info", "low") and (owned or quiet or not scene.packages.known):
        return
    yield scene.finding(entry, rule, "startup_script", worst(severity, "info" if owned else "low"),
                        f"{when}{': ' + why if why else ''}{'' if owned else '; no package brought this file'}",
                        line, digest=True)
