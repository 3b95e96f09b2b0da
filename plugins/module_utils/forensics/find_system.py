# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deep changes: preloaded libraries, PAM, kernel modules, the SSH server, name resolution, altered package files."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .model import Finding
from .scene import Scene
from .tree import Entry

_ACCOUNT_FILES = ("/usr/bin/", "/usr/sbin/", "/bin/", "/sbin/", "/usr/lib/", "/lib/", "/lib64/", "/usr/libexec/")


def find(scene: Scene) -> Iterator[Finding]:
    """Changes below what administrators usually touch."""
    yield from _preload(scene)
    yield from _pam(scene)
    yield from _modules(scene)
    yield from _sshd(scene)
    yield from _names(scene)
    yield from _altered(scene)
    yield from _without_packages(scene)


def _preload(scene: Scene) -> Iterator[Finding]:
    entry = scene.tree.lookup("/etc/ld.so.preload")
    text = (scene.tree.text("/etc/ld.so.preload") or "").strip() if entry else ""
    for name in re.split(r"[\s:]+", text):
        if not name or name.startswith("#"):
            continue
        target = scene.tree.lookup(name)
        missing = "; it is not there any more" if target is None else ""
        owned = target is not None and scene.packages.owns(target.path)
        yield scene.finding(entry, "ld_so_preload", "ld_preload", "low" if owned else "high",
                            f"{name} is loaded into every program{missing}", text)
        if target is not None and not owned:
            yield scene.finding(target, "preloaded_library", "ld_preload", "high",
                                "a library that is loaded into every program; no package brought it", digest=True)
    for config in [scene.tree.lookup("/etc/ld.so.conf"), *scene.tree.entries("/etc/ld.so.conf.d")]:
        if config is None or not config.is_file:
            continue
        for line in (scene.tree.text(config.path) or "").splitlines():
            if re.match(r"\s*/(?:tmp|var/tmp|dev/shm|home)/|\s*/\S*/\.\w", line):
                yield scene.finding(config, "library_path", "ld_preload", "high",
                                    "libraries are loaded from a place where anybody may write", line)


def _pam(scene: Scene) -> Iterator[Finding]:
    for entry in scene.tree.entries("/etc/pam.d"):
        for raw in (scene.tree.text(entry.path) or "").splitlines() if entry.is_file else ():
            line = raw.strip()
            if line.startswith("#"):
                continue
            if re.match(r"-?auth\s+(?:sufficient|\[[^\]]*success=done[^\]]*\])\s+pam_permit\.so", line):
                yield scene.finding(entry, "pam_permit", "pam", "high", "any password is accepted", line)
            elif re.search(r"\bpam_exec\.so\b", line):
                yield scene.finding(entry, "pam_exec", "pam", "medium",
                                    "a program is started at every login, and may be given the password", line)
            elif match := re.search(r"\s(/\S+\.so)\b", line):
                target = scene.tree.lookup(match[1])
                if target is not None and scene.packages.foreign(target.path):
                    yield scene.finding(entry, "pam_module", "pam", "high",
                                        f"logins go through {match[1]}, which no package brought", line)
    for folder in ("/usr/lib/security", "/lib/security", *(
            f"/usr/lib/{name.decode('utf-8', 'replace')}/security"
            for name in (entry.name for entry in scene.tree.entries("/usr/lib")) if name.endswith(b"-linux-gnu"))):
        for entry in scene.tree.entries(folder):
            if entry.is_file and entry.name.endswith(b".so") and scene.packages.foreign(entry.path):
                yield scene.finding(entry, "pam_module", "pam", "high", "a PAM module that no package brought",
                                    digest=True)


def _modules(scene: Scene) -> Iterator[Finding]:
    for entry in [scene.tree.lookup("/etc/modules"), *scene.tree.entries("/etc/modules-load.d")]:
        if entry is None or not entry.is_file:
            continue
        for raw in (scene.tree.text(entry.path) or "").splitlines():
            line = raw.strip()
            if line and not line.startswith(("#", ";")) and not scene.packages.owns(entry.path):
                yield scene.finding(entry, "module_at_boot", "kernel_module", "info",
                                    f"the module {line.split()[0]} is loaded at boot", line)
    top = "/usr/lib/modules" if scene.tree.lookup("/usr/lib/modules") else "/lib/modules"
    for place, entries in scene.tree.walk(top):
        for entry in entries:
            if not entry.is_file or not re.search(rb"\.ko(\.xz|\.zst|\.gz)?$", entry.name):
                continue
            if scene.packages.foreign(entry.path):
                # DKMS builds modules on the machine itself, into these folders.
                built = b"/updates/" in place + b"/" or b"/extra/" in place + b"/"
                yield scene.finding(entry, "foreign_module", "kernel_module", "low" if built else "high",
                                    "a kernel module that no package brought", digest=True)
    for folder in ("/etc/modprobe.d",):
        for entry in scene.tree.entries(folder):
            for line in (scene.tree.text(entry.path) or "").splitlines() if entry.is_file else ():
                if re.match(r"\s*install\s+\S+\s+.*(?:/tmp/|/dev/shm/|curl|wget|base64)", line):
                    yield scene.finding(entry, "modprobe_install", "kernel_module", "high",
                                        "loading a module starts another program", line)


def _sshd(scene: Scene) -> Iterator[Finding]:
    for entry in [scene.tree.lookup("/etc/ssh/sshd_config"), *scene.tree.entries("/etc/ssh/sshd_config.d")]:
        if entry is None or not entry.is_file:
            continue
        for raw in (scene.tree.text(entry.path) or "").splitlines():
            key, _unused, value = raw.strip().partition(" ")
            key, value = key.lower(), value.strip()
            if key == "permitrootlogin" and value.lower() == "yes":
                yield scene.finding(entry, "sshd_root_login", "ssh_config", "low",
                                    "root may log in with a password", raw)
            elif key == "permitemptypasswords" and value.lower() == "yes":
                yield scene.finding(entry, "sshd_empty_passwords", "ssh_config", "high",
                                    "empty passwords are accepted", raw)
            elif key == "passwordauthentication" and value.lower() == "yes":
                yield scene.finding(entry, "sshd_passwords", "ssh_config", "info", "passwords are accepted", raw)
            elif key == "authorizedkeyscommand" and value.lower() != "none":
                target = scene.tree.lookup(value.split(" ")[0]) if value else None
                foreign = target is None or scene.packages.foreign(target.path)
                yield scene.finding(entry, "sshd_keys_command", "ssh_config", "medium" if foreign else "info",
                                    "a program says whose keys are accepted", raw)
            elif key == "authorizedkeysfile" and re.search(r"(?:^|\s)/(?!etc/ssh/)", value):
                yield scene.finding(entry, "sshd_keys_file", "ssh_config", "medium",
                                    "keys are accepted from an unusual place", raw)
            elif key == "forcecommand" and re.search(r"/(?:tmp|var/tmp|dev/shm)/", value):
                yield scene.finding(entry, "sshd_force_command", "ssh_config", "high",
                                    "every login starts a program from a temporary folder", raw)


def _names(scene: Scene) -> Iterator[Finding]:
    entry = scene.tree.lookup("/etc/hosts")
    for raw in (scene.tree.text("/etc/hosts") or "").splitlines():
        match = re.match(r"\s*(127\.\S+|0\.0\.0\.0|::1?)\s+(.*)", raw)
        if match and re.search(r"(?:security\.debian|archive\.ubuntu|deb\.debian|clamav|falcon|crowdstrike|aegis|"
                               r"minexmr|supportxmr|pool\.)", match[2]):
            yield scene.finding(entry, "hosts_redirect", "name_resolution", "medium",
                                "updates, defenders or rival pools are led astray", raw)


def _altered(scene: Scene) -> Iterator[Finding]:
    """Programs and libraries whose content is not what their package brought."""
    for path in scene.packages.verifiable():
        if not path.decode("utf-8", "replace").startswith(_ACCOUNT_FILES):
            continue
        entry: Entry | None = scene.tree.lookup(path, follow_last=False)
        if entry is None or not entry.is_file or (scene.quick and not scene.packages.came_later(entry)):
            continue
        program = entry.executable or entry.name.endswith(b".so") or b".so." in entry.name
        if program and scene.packages.altered(entry.path):
            yield scene.finding(entry, "altered_package_file", "altered_package_file", "high",
                                "its content is not what its package brought", digest=True)


def _without_packages(scene: Scene) -> Iterator[Finding]:
    """Without a package database, nobody can say which file belongs to the system: the analyst must know."""
    if scene.accounts and (scene.packages.problem or not scene.packages.known):
        why = scene.packages.problem or "there is no list of packages of dpkg or rpm"
        yield scene.finding(scene.tree.lookup("/etc/passwd"), "packages_unknown", "package_database", "low",
                            f"{why}; which files no package brought, or were altered since, is therefore not told")
