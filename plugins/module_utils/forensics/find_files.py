# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are where, or what, they should not be: in one pass over the whole tree."""

from __future__ import annotations

import re
import stat
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from .model import Finding
from .scene import Scene
from .suspicion import miner_marks, reasons, worst
from .times import iso_ns
from .tree import Entry

TEMPORARY = (b"/tmp/", b"/var/tmp/", b"/dev/shm/", b"/run/shm/")  # noqa: S108 - places in evidence
SYSTEM = (b"/usr/bin/", b"/usr/sbin/", b"/bin/", b"/sbin/", b"/usr/lib/", b"/lib/", b"/lib64/", b"/usr/libexec/",
          b"/boot/", b"/etc/")
NO_HIDDEN = (b"/usr/", b"/etc/", b"/var/", b"/lib", b"/bin/", b"/sbin/", b"/dev/", b"/opt/", b"/boot/", b"/tmp/",
             b"/srv/", b"/mnt/", b"/run/")
# Hidden names that packages and package managers make themselves.
USUAL_HIDDEN = re.compile(rb"/\.(?:git|svn|hg|X11-unix|ICE-unix|font-unix|XIM-unix|Test-unix|placeholder|keep|gitkeep|"
                          rb"htaccess|htpasswd|pwd\.lock|updated|java|cache|config|local|npm|build-id|lock|wh\.|bin|"
                          rb"gitignore|gitattributes|gitmodules|editorconfig|github|eslintrc|npmignore|travis|env)")
SHELLS = (b"/bin/bash", b"/bin/sh", b"/bin/dash", b"/usr/bin/bash", b"/usr/bin/dash", b"/usr/bin/zsh")
SENSITIVE = (*SYSTEM, b"/usr/local/", b"/var/www/", b"/srv/", b"/opt/", b"/root/", b"/www/")
SECOND, DAY = 1_000_000_000, 86_400 * 1_000_000_000
_NAME_TRICK = re.compile(rb"^(?:\s+|\.{3,}|\.\s.*|.*\s)$|[\x00-\x1f\x7f]|\xe2\x80[\x8b-\x8f\xaa-\xae]")
_DISGUISE = re.compile(rb"^(?:systemd-|dbus-|kworker|kthreadd|ksoftirqd|\[|sshd|crond?$|udevd|rsyslogd|networkd)")


def find(scene: Scene) -> Iterator[Finding]:
    """One pass over all folders."""
    shells = {scene.digest(entry) for entry in map(scene.tree.lookup, SHELLS) if entry is not None}
    for folder, entries in scene.tree.walk():
        for entry in entries:
            if _NAME_TRICK.search(entry.name):
                yield scene.finding(entry, "deceptive_name", "hidden_file", "medium",
                                    "a name that hides itself: blanks, dots or control characters")
            if entry.is_dir:
                yield from _hidden_folder(scene, entry)
            if not entry.is_file:
                continue
            yield from _special_bits(scene, entry, shells)
            yield from _odd_place(scene, entry)
            yield from _foreign(scene, entry)
        yield from _altered_times(scene, folder, entries)


def _hidden_folder(scene: Scene, entry: Entry) -> Iterator[Finding]:
    if (entry.name.startswith(b".") and entry.path.startswith((b"/usr/", b"/etc/", b"/lib", b"/boot/", b"/dev/"))
            and not USUAL_HIDDEN.search(b"/" + entry.name) and scene.packages.foreign(entry.path)):
        yield scene.finding(entry, "hidden_folder", "hidden_file", "low", "a hidden folder among the system's own")


def _head(scene: Scene, entry: Entry, size: int = 65536) -> bytes:
    return scene.tree.read(entry.path, size) or b""


def _special_bits(scene: Scene, entry: Entry, shells: set[str | None]) -> Iterator[Finding]:
    mode = entry.info.st_mode
    user, group = bool(mode & stat.S_ISUID), bool(mode & stat.S_ISGID and mode & stat.S_IXGRP)
    if not (user or group) or (scene.packages.known and scene.packages.owns(entry.path)):
        return
    digest = scene.digest(entry)
    bit = "set-user-ID" if user else "set-group-ID"
    if user and entry.info.st_uid == 0 and digest in shells:
        severity, why = "critical", "a copy of a shell that makes anybody root"
    elif user and entry.info.st_uid == 0 and (entry.path.startswith(TEMPORARY) or b"/." in entry.path):
        severity, why = "high", "a set-user-ID root program in a place where none belongs"
    elif not scene.packages.known:
        severity, why = "low" if user else "info", f"a {bit} program"
    elif user:
        severity, why = "medium", f"a {bit} program that no package brought"
    else:
        severity, why = "low", f"a {bit} program that no package brought"
    found = scene.finding(entry, "special_bits", "setuid", severity, why)
    found.sha256 = digest
    yield found


def _odd_place(scene: Scene, entry: Entry) -> Iterator[Finding]:
    temporary = entry.path.startswith(TEMPORARY)
    parts = entry.path.split(b"/")
    hidden = (entry.path.startswith(NO_HIDDEN) and any(part.startswith(b".") for part in parts[1:])
              and not (USUAL_HIDDEN.search(entry.path) and not temporary))
    in_dev = entry.path.startswith(b"/dev/") and not entry.path.startswith(b"/dev/shm/")
    if not (temporary or hidden or in_dev) or entry.info.st_size == 0 or scene.packages.owns(entry.path):
        return
    head = _head(scene, entry)
    elf, script = head[:4] == b"\x7fELF", head[:2] == b"#!"
    if not (elf or script or in_dev):
        return
    marks = miner_marks(_head(scene, entry, 8 << 20)) if elf else []
    where = "a temporary folder" if temporary else "the device folder" if in_dev else "a hidden place"
    what = "a program" if elf else "a script" if script else "a file"
    severity, notes = "low", [f"{what} in {where}"]
    if elf:
        severity = "medium"
    if len(marks) >= 3:
        severity = "critical"
        notes.append(f"with the words of a miner ({', '.join(marks[:5])})")
    if script:
        why = reasons(head.decode("utf-8", "replace"))
        severity = worst(severity, *(reason.severity for reason in why))
        notes += [reason.text for reason in why]
    if temporary and b"/." in entry.path:
        severity = worst(severity, "high" if elf else "medium")
        notes.append("under a hidden name")
    kind = "miner_binary" if len(marks) >= 3 else "odd_executable"
    yield scene.finding(entry, "odd_place", kind, severity, "; ".join(dict.fromkeys(notes)),
                        head[:200].decode("utf-8", "surrogateescape") if script else "", digest=True)


def _foreign(scene: Scene, entry: Entry) -> Iterator[Finding]:
    """Programs in system folders that no package brought, and miners anywhere."""
    system = entry.path.startswith(SYSTEM) and scene.packages.foreign(entry.path)
    program = entry.executable or entry.name.endswith(b".so") or b".so." in entry.name
    if not (program or system) or entry.info.st_size < 16 or entry.path.startswith(TEMPORARY):
        return
    if scene.packages.known and scene.packages.owns(entry.path):
        return
    head = _head(scene, entry, 4096)
    elf, script = head[:4] == b"\x7fELF", head[:2] == b"#!"
    if not elf:
        if program and script and system and not entry.path.startswith(b"/etc/"):
            why = [reason for reason in reasons(_head(scene, entry).decode("utf-8", "replace"))
                   if reason.severity in ("high", "critical")]
            severity = worst("low", *(reason.severity for reason in why))
            yield scene.finding(entry, "foreign_script", "unowned_file", severity, "; ".join(
                ["a script in a system folder that no package brought", *(reason.text for reason in why)]), digest=True)
        elif re.search(rb'"(?:donate-level|algo|pools)"\s*:', head) and re.search(rb"stratum|pool|\"algo\"", head):
            yield scene.finding(entry, "miner_configuration", "miner_config", "high", "the settings of a miner",
                                head[:300].decode("utf-8", "surrogateescape"), digest=True)
        return
    marks = miner_marks(_head(scene, entry, 8 << 20))
    if len(marks) >= 3:
        yield scene.finding(entry, "miner_words", "miner_binary", "critical",
                            f"a program with the words of a miner ({', '.join(marks[:6])})", digest=True)
    elif system:
        disguised = bool(_DISGUISE.search(entry.name))
        shared = b".so" in entry.name
        severity = "high" if disguised else "low" if shared else "medium"
        yield scene.finding(entry, "foreign_program", "unowned_file", severity,
                            f"a {'library' if shared else 'program'} in a system folder that no package brought"
                            f"{', under a name like one of the system' if disguised else ''}", digest=True)


def _altered_times(scene: Scene, folder: bytes, entries: list[Entry]) -> Iterator[Finding]:
    """Modification times that contradict the times which no ordinary tool can set."""
    prefix = folder.rstrip(b"/") + b"/"
    data_only = scene.tree.lookup("/etc/passwd") is None
    if not (data_only or prefix.startswith(SENSITIVE)):
        return
    files = [entry for entry in entries if entry.is_file]
    # Folders of many thousands of files are looked through once, and not once for each file.
    twins: dict[int, list[Entry]] = {}  # by the time of modification, those whose inodes changed first and last
    for entry in files:
        if scene.packages.known and scene.packages.owns(entry.path):
            alike = [*twins.get(entry.info.st_mtime_ns, []), entry]
            alike.sort(key=lambda other: other.info.st_ctime_ns)
            twins[entry.info.st_mtime_ns] = [alike[0], alike[-1]]
    changes = sorted(entry.info.st_ctime_ns for entry in files)
    for entry in files:
        if scene.packages.known and scene.packages.owns(entry.path):
            continue
        modified, changed = entry.info.st_mtime_ns, entry.info.st_ctime_ns
        reason, severity = "", "low"
        twin = next((other for other in twins.get(modified, []) if abs(other.info.st_ctime_ns - changed) > DAY), None)
        if modified > changed + DAY:
            reason, severity = "modified after its inode was last changed: the time was set into the future", "medium"
        elif twin is not None:
            reason = f"modified in the same nanosecond as {twin.name.decode('utf-8', 'replace')}, but brought later"
            severity = "high"
        elif changed - modified > 30 * DAY and modified % SECOND == 0 and changed % SECOND != 0:
            birth = scene.tree.birth_ns(entry.path)
            if birth is not None and birth - modified > 30 * DAY and not _came_along(entry, changes):
                reason = "modified, to the full second, long before it came to this disk, and it came alone"
                severity = "medium" if _runs(scene, entry) else "low"
        if reason:
            yield scene.finding(entry, "altered_times", "timestomp", severity,
                                f"{reason} (modified {iso_ns(modified)}, inode changed {iso_ns(changed)})", digest=True)


def _came_along(entry: Entry, changes: list[int]) -> bool:
    """Whether other files came within two minutes: unpacked archives keep old times of full seconds, too."""
    first, last = entry.info.st_ctime_ns - 120 * SECOND, entry.info.st_ctime_ns + 120 * SECOND
    return bisect_left(changes, last) - bisect_right(changes, first) > 2


def _runs(scene: Scene, entry: Entry) -> bool:
    head = _head(scene, entry, 256)
    return entry.executable or head[:4] == b"\x7fELF" or head[:2] == b"#!" or b"<?php" in head
