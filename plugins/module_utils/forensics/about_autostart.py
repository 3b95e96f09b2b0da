# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What starts by itself, as one table: jobs, units, boot scripts, profiles, modules, cloud-init, containers.

The findings say what of it looks wrong. The table is for the analyst who knows the machine: everything that no package
brought, and of what packages brought the jobs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from .about_access import Table, table
from .find_scheduled import JOB
from .find_startup import UNIT_FOLDERS
from .model import clean
from .scene import Scene
from .times import iso_ns
from .tree import Entry

ROWS = 2000
OF_THE_HOST = ("/:", "/etc", "/root", "/var/run")  # mounts that give a container the host
COLUMNS = (("kind", "Kind", "text"), ("what", "What", "text"), ("path", "File", "text"), ("package", "Package", "text"),
           ("changed", "File changed (UTC)", "time"))
_COMMAND = re.compile(r"^\s*Exec(?:Start|StartPre|StartPost)\s*=\s*(.+)$", re.MULTILINE)
_TIMES = re.compile(r"^\s*On\w+\s*=\s*(.+)$", re.MULTILINE)
_LOGIN_FILES = (".bashrc", ".bash_profile", ".profile", ".zshrc", ".ssh/rc")


def autostart(scene: Scene) -> Table:
    """The table."""
    rows = []
    for source in (_cron, _units, _scripts, _libraries, _cloud_init, _containers):
        rows += list(source(scene))
    note = f"The first {ROWS:,} of {len(rows):,}." if len(rows) > ROWS else ""
    return table("autostart", "What starts by itself", COLUMNS, rows[:ROWS], note)


def _row(scene: Scene, kind: str, what: str, entry: Entry) -> dict[str, Any]:
    owned = "yes" if scene.packages.owns(entry.path) else "no" if scene.packages.known else "unknown"
    return {"kind": kind, "what": clean(re.sub(r"\s+", " ", what.strip())), "path": clean(entry.path), "package": owned,
            "changed": iso_ns(entry.info.st_ctime_ns)}


def _cron(scene: Scene) -> Iterator[dict[str, Any]]:
    tree = scene.tree
    tables = [entry for entry in (tree.lookup("/etc/crontab"), *tree.entries("/etc/cron.d"),
                                  *tree.entries("/var/spool/cron/crontabs"), *tree.entries("/var/spool/cron")) if entry]
    for entry in tables:
        if entry.is_file:
            for line in (tree.text(entry.path, 1 << 20) or "").splitlines():
                if not line.lstrip().startswith("#") and JOB.fullmatch(line.strip()):
                    yield _row(scene, "cron", line, entry)
    for period in ("hourly", "daily", "weekly", "monthly"):
        for entry in tree.entries(f"/etc/cron.{period}"):
            if entry.is_file and entry.name != b".placeholder":
                yield _row(scene, f"cron.{period}", entry.name.decode("utf-8", "surrogateescape"), entry)
    for folder in ("/var/spool/cron/atjobs", "/var/spool/at"):
        for entry in tree.entries(folder):
            if entry.is_file and not entry.name.startswith(b"."):
                yield _row(scene, "at", "runs once", entry)


def _units(scene: Scene) -> Iterator[dict[str, Any]]:
    seen: set[bytes] = set()
    homes = [f"{home}/.config/systemd/user" for _unused, home in scene.homes()]
    for folder in (*UNIT_FOLDERS, *homes):
        for _unused, entries in scene.tree.walk(folder):
            for entry in entries:
                if (not entry.is_file or entry.path in seen or scene.packages.owns(entry.path)
                        or not entry.name.endswith((b".service", b".timer", b".path", b".socket", b".conf"))):
                    continue
                seen.add(entry.path)
                if not scene.packages.known and not folder.startswith("/etc"):
                    continue  # without a list of packages, all that the distribution brought would be here
                text = (scene.tree.text(entry.path, 1 << 20) or "").replace("\\\n", " ")
                found = _COMMAND.findall(text) or _TIMES.findall(text)
                yield _row(scene, "systemd", "; ".join(found) or entry.name.decode("utf-8", "surrogateescape"), entry)


def _scripts(scene: Scene) -> Iterator[dict[str, Any]]:
    places: list[tuple[str, Entry | None]] = [("boot", scene.tree.lookup("/etc/rc.local")),
                                              ("boot", scene.tree.lookup("/etc/rc.d/rc.local"))]
    for kind, folder in (("boot", "/etc/init.d"), ("login", "/etc/profile.d"), ("login", "/etc/update-motd.d"),
                         ("network", "/etc/network/if-up.d"), ("network", "/etc/dhcp/dhclient-exit-hooks.d"),
                         ("device", "/etc/udev/rules.d"), ("cloud-init", "/var/lib/cloud/scripts/per-boot"),
                         ("cloud-init", "/var/lib/cloud/scripts/per-instance"),
                         ("cloud-init", "/var/lib/cloud/scripts/per-once")):
        places += [(kind, entry) for entry in scene.tree.entries(folder)]
    for kind, entry in places:
        if entry is not None and entry.is_file and not scene.packages.owns(entry.path) and entry.name != b"README":
            yield _row(scene, kind, _first(scene, entry), entry)
    for _unused, home in scene.homes():
        for name in _LOGIN_FILES:
            entry = scene.tree.lookup(f"{home}/{name}")
            skeleton = scene.tree.lookup(f"/etc/skel/{name}")
            if entry is not None and entry.is_file and entry.info.st_size and not (
                    skeleton and scene.tree.read(entry.path, 1 << 20) == scene.tree.read(skeleton.path, 1 << 20)):
                yield _row(scene, "login", _first(scene, entry), entry)


def _first(scene: Scene, entry: Entry) -> str:
    """The first line that does something."""
    for line in (scene.tree.text(entry.path, 65536) or "").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            return line
    return ""


def _libraries(scene: Scene) -> Iterator[dict[str, Any]]:
    for kind, path in (("ld.so.preload", "/etc/ld.so.preload"), ("module", "/etc/modules")):
        entry = scene.tree.lookup(path)
        for line in (scene.tree.text(path, 65536) or "").splitlines() if entry else ():
            if line.strip() and not line.lstrip().startswith("#") and entry:
                yield _row(scene, kind, line, entry)
    for entry in scene.tree.entries("/etc/modules-load.d"):
        if entry.is_file and not scene.packages.owns(entry.path):
            yield _row(scene, "module", _first(scene, entry), entry)


def _cloud_init(scene: Scene) -> Iterator[dict[str, Any]]:
    """What the instance's user data say: they run at the first boot, or at every one."""
    for name in ("user-data.txt", "vendor-data.txt"):
        entry = scene.tree.lookup(f"/var/lib/cloud/instance/{name}")
        if entry is not None and entry.is_file and entry.info.st_size:
            yield _row(scene, "user data", _first(scene, entry), entry)


def _containers(scene: Scene) -> Iterator[dict[str, Any]]:
    """Containers that Docker or podman know, as their own files define them."""
    for folder in scene.tree.entries("/var/lib/docker/containers"):
        entry = scene.tree.lookup(folder.path + b"/config.v2.json")
        host = scene.tree.text(folder.path + b"/hostconfig.json", 1 << 20)
        if entry is not None:
            yield _row(scene, "container", container(scene.tree.text(entry.path, 1 << 20) or "", host or ""), entry)
    for home in ("/etc/containers/systemd", *(f"{home}/.config/containers/systemd" for _unused, home in scene.homes())):
        for entry in scene.tree.entries(home):
            if entry.is_file:
                image = re.search(r"^\s*Image\s*=\s*(.+)$", scene.tree.text(entry.path, 65536) or "", re.MULTILINE)
                yield _row(scene, "container", image[1] if image else "", entry)


def container(config: str, host: str) -> str:
    """Name, image and command of a container of Docker, and whether it starts with the system or owns the host."""
    try:
        data, more = json.loads(config), json.loads(host or "{}")
        inside = data.get("Config") or {}
        words = [str(data.get("Name", "")).lstrip("/"), str(inside.get("Image", "")),
                 " ".join(str(word) for word in [*(inside.get("Entrypoint") or []), *(inside.get("Cmd") or [])])]
        policy = str((more.get("RestartPolicy") or {}).get("Name") or "no")
        words += [f"restart {policy}"] if policy != "no" else []
        words += ["privileged"] if more.get("Privileged") else []
        words += [f"mounts {bind}" for bind in more.get("Binds") or [] if str(bind).startswith(OF_THE_HOST)]
        return ", ".join(word for word in words if word)
    except (ValueError, AttributeError, TypeError):  # whatever somebody has written there
        return "its definition cannot be read"
