# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removes whatever a lab left on this machine, whatever state it was in: its process, what that held in the kernel
(`lab.hosts.teardown`), and its folder."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from lab.config import LabConfig
from lab.hosts import HostError, mounts, teardown

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


def leftovers(settings: LabConfig) -> list[str]:
    """All that is left of this lab, as one line each; empty when it is clean."""
    found = [f"process {pid}" for pid in service_pids(settings)] + teardown.leftovers(settings)
    return found + ([f"folder {settings.state}"] if settings.state.exists() else [])


def sweep(settings: LabConfig) -> None:
    """Remove it all. Safe to repeat, and when nothing is there."""
    end(service_pids(settings))
    if os.geteuid() == 0:
        with suppress(HostError):  # what is still there is reported by `leftovers`
            teardown.teardown(settings)
    if not mounts.below(settings.state):  # never remove through a mount that did not go
        shutil.rmtree(settings.state, ignore_errors=True)
