# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removes whatever a lab left on this machine, whatever state it was in: processes, namespaces, mounts, loop devices.

Works from what the kernel knows, not from what the lab remembered, so that a lab that was killed goes as well.
Touches only what carries this lab's own name or lies below its state folder.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from lab.config import LabConfig

SECONDS = 20.0


def service_pids(settings: LabConfig) -> list[int]:
    """Processes that serve this lab: found by their command line, so that a stale pid file harms nobody."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if b"lab" in words and b"_serve" in words and str(settings.state).encode() in words:
                found.append(int(entry.name))
    return found


def end(pids: Iterable[int], *, first: int = signal.SIGTERM, seconds: float = SECONDS) -> None:
    """Ask processes to end, then make them."""
    pids = list(pids)
    for number, patience in ((first, seconds), (signal.SIGKILL, 5.0)):
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        until = time.monotonic() + patience
        while pids and time.monotonic() < until:
            pids = [pid for pid in pids if alive(pid)]
            if pids:
                time.sleep(0.05)
        if not pids:
            return


def alive(pid: int) -> bool:
    """Does a process run (one that ended and waits for its parent does not count)?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (OSError, IndexError):
        return False


def namespaces(settings: LabConfig) -> list[str]:
    """This lab's network namespaces: its own and one for each host."""
    folder = Path("/run/netns")
    name = re.compile(rf"{re.escape(settings.netns)}(-.+)?")
    return sorted(entry.name for entry in folder.iterdir() if name.fullmatch(entry.name)) if folder.is_dir() else []


def mounts(settings: LabConfig) -> list[str]:
    """Mount points below the state folder, deepest first."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        if point == str(settings.state) or point.startswith(f"{settings.state}/"):
            found.append(point)
    return sorted(found, key=len, reverse=True)


def loops(settings: LabConfig) -> list[str]:
    """Loop devices over files below the state folder, also over deleted ones."""
    found = []
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):
            if backing.read_text().startswith(f"{settings.state}/"):
                found.append(f"/dev/{backing.parent.parent.name}")
    return found


def leftovers(settings: LabConfig) -> list[str]:
    """All that is left of this lab, as one line each; empty when it is clean."""
    found = [f"process {pid}" for pid in [*service_pids(settings), *_members(settings)]]
    found += [f"network namespace {name}" for name in namespaces(settings)]
    found += [f"mount {point}" for point in mounts(settings)]
    found += [f"loop device {name}" for name in loops(settings)]
    found += [f"folder {settings.state}"] if settings.state.exists() else []
    return found


def _members(settings: LabConfig) -> list[int]:
    if os.geteuid() != 0:
        return []
    from lab.hosts.processes import members
    from lab.network.netns import processes_in

    found = set(members(settings.netns))
    for name in namespaces(settings):
        found.update(processes_in(name))
    return sorted(found - {os.getpid()})


def _run(*command: str) -> None:
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def sweep(settings: LabConfig) -> None:
    """Remove it all. Safe to repeat, and when nothing is there."""
    end(service_pids(settings))
    if os.geteuid() == 0:
        from lab.hosts.processes import remove_cgroups

        end(_members(settings), first=signal.SIGKILL, seconds=10.0)
        for point in mounts(settings):
            _run("umount", "-l", point)
        for name in loops(settings):
            _run("partx", "-d", name)
            _run("losetup", "-d", name)
        for name in namespaces(settings):
            _run("ip", "netns", "delete", name)
        remove_cgroups(settings.netns)
    if not mounts(settings):  # never remove through a mount that did not go
        shutil.rmtree(settings.state, ignore_errors=True)
