# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts, groups, sudo rules and SSH keys."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .model import Finding
from .scene import Scene
from .tree import Entry

POWERFUL_GROUPS = ("sudo", "wheel", "admin", "root", "docker", "lxd", "disk", "shadow", "adm")
KEY = re.compile(r"(?:^|\s)((?:ssh-|ecdsa-|sk-)[\w@.-]+)\s+([A-Za-z0-9+/=]{20,})\s*(.*)$")


def find(scene: Scene) -> Iterator[Finding]:
    """Everything about who may log in and who may become root."""
    yield from _accounts(scene)
    yield from _groups(scene)
    yield from _sudoers(scene)
    yield from _keys(scene)


def passwords(scene: Scene) -> dict[str, str]:
    """The second column of shadow, by account."""
    rows = (line.split(":") for line in (scene.tree.text("/etc/shadow") or "").splitlines())
    return {row[0]: row[1] for row in rows if len(row) > 1}


def _names(text: str | None) -> set[str]:
    return {line.split(":", 1)[0] for line in (text or "").splitlines() if ":" in line}


def _accounts(scene: Scene) -> Iterator[Finding]:
    passwd, shadow = scene.tree.lookup("/etc/passwd"), scene.tree.lookup("/etc/shadow")
    hashes = passwords(scene)
    before = _names(scene.tree.text("/etc/passwd-"))
    for account in scene.accounts:
        excerpt = f"{account.name}:{account.uid}:{account.gid}:{account.home}:{account.shell}"
        password = hashes.get(account.name)
        if account.uid == 0 and account.name != "root":
            yield scene.finding(passwd, "uid0_duplicate", "account", "high",
                                f"account {account.name} has user id 0: it is another root", excerpt)
        elif account.is_system and account.can_log_in and password and password[0] == "$":
            yield scene.finding(passwd, "system_account_login", "account", "medium",
                                f"system account {account.name} has a password and the shell {account.shell}", excerpt)
        if password == "" and account.can_log_in:
            yield scene.finding(shadow, "empty_password", "account", "high",
                                f"account {account.name} has no password and may log in", excerpt)
        if before and account.name not in before:
            yield scene.finding(passwd, "latest_account", "account", "low",
                                f"account {account.name} came with the last change of passwd", excerpt)


def _groups(scene: Scene) -> Iterator[Finding]:
    entry = scene.tree.lookup("/etc/group")
    for line in (scene.tree.text("/etc/group") or "").splitlines():
        columns = line.split(":")
        if len(columns) < 4 or columns[0] not in POWERFUL_GROUPS:
            continue
        for member in {*filter(None, columns[3].split(","))}:
            account = scene.account(member)
            system = account is not None and account.is_system
            # Some service accounts belong to adm to read logs; sudo and docker are another matter.
            severe = system and columns[0] in ("sudo", "wheel", "admin", "root", "docker", "lxd", "disk")
            yield scene.finding(entry, "powerful_group", "account", "high" if severe else "info",
                                f"{'system ' if system else ''}account {member} is in the group {columns[0]}", line)


def _sudoers(scene: Scene) -> Iterator[Finding]:
    for entry in sudoers_files(scene):
        for line in logical_lines(scene.tree.text(entry.path) or ""):
            match = re.match(r"(%?[\w.#@+-]+|ALL)\s+[\w,!%.()-]+\s*=\s*(.*)", line)
            if not match or line.startswith(("Defaults", "User_Alias", "Cmnd_Alias", "Host_Alias", "Runas_Alias", "@")):
                continue
            who, what = match[1], match[2]
            free = bool(re.search(r"NOPASSWD\s*:\s*(?:\w+\s*:\s*)*ALL\b", what))
            everything = bool(re.search(r"(?:^|[\s:)])ALL\s*$", what))
            account = scene.account(who)
            if who == "ALL" and free:
                severity, why = "high", "everybody may do everything as root without a password"
            elif account is not None and account.is_system and everything:
                severity, why = "high", f"system account {who} may do everything as root"
            elif free:
                cloud = entry.name.startswith(b"90-cloud-init")
                severity = "info" if cloud else "low"
                why = f"{who} may do everything as root without a password"
            elif re.search(r"/(?:tmp|var/tmp|dev/shm|home)/", what):
                severity, why = "medium", f"{who} may run as root what others can replace"
            else:
                continue
            yield scene.finding(entry, "sudo_rule", "sudoers", severity, why, line)


def sudoers_files(scene: Scene) -> list[Entry]:
    """Every file with rules for sudo."""
    files = [scene.tree.lookup("/etc/sudoers"), *scene.tree.entries("/etc/sudoers.d")]
    return [entry for entry in files if entry is not None and entry.is_file and entry.name != b"README"]


def logical_lines(text: str) -> Iterator[str]:
    for line in text.replace("\\\n", " ").splitlines():
        line = line.split("#", 1)[0].strip() if not re.match(r"#\d", line) else line.strip()
        if line:
            yield line


def _keys(scene: Scene) -> Iterator[Finding]:
    for name, path, entry in key_files(scene):
        yield from _keys_in(scene, entry, name, path)


def key_files(scene: Scene) -> Iterator[tuple[str, str, Entry]]:
    """Files with keys that are let in: whose, the path at which the SSH server looks, and the file."""
    for name, home in scene.homes():
        for file in ("authorized_keys", "authorized_keys2"):
            entry = scene.tree.lookup(f"{home}/.ssh/{file}")
            if entry is not None and entry.is_file:
                yield name, f"{home}/.ssh/{file}", entry
    for entry in scene.tree.entries("/etc/ssh/authorized_keys.d"):
        if entry.is_file:
            yield entry.name.decode("utf-8", "replace"), entry.path.decode("utf-8", "surrogateescape"), entry


def _keys_in(scene: Scene, entry: Entry, name: str, path: str) -> Iterator[Finding]:
    account = scene.account(name)
    for line in (scene.tree.text(entry.path) or "").splitlines():
        match = KEY.search(line)
        if not match or line.lstrip().startswith("#"):
            continue
        options = line[: match.start(1)].strip()
        who = name or "a home without an account"
        comment = match[3].strip() or "without a comment"
        if re.search(r'command="(?:echo|/bin/echo|/usr/bin/echo)\b.*(?:Please login|exit 1|sleep)', options):
            severity, why = "info", f"key of {who} that only prints a notice"
        elif account is not None and (account.is_system or not account.can_log_in):
            severity, why = "high", f"{who} is a service account, and somebody can log in to it with a key"
        elif path.endswith("/authorized_keys2"):
            severity, why = "medium", f"key of {who} in a file that hardly anybody uses"
        elif (account is not None and account.uid == 0) or name == "root":
            severity, why = "medium", "somebody can log in as root with this key"
        else:
            severity, why = "low", f"somebody can log in as {who} with this key"
        yield scene.finding(entry, "authorized_key", "authorized_key", severity, f"{why} ({comment})", line, path=path)
