# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removing all that a lab holds in the kernel, whatever state it was left in: also after its process was killed."""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

from lab.config import LabConfig
from lab.hosts import devices, processes
from lab.hosts.processes import HostError
from lab.network import netns

KILL_SECONDS = 10.0


def teardown(config: LabConfig) -> None:
    """End every host, free every loop device, mount, control group and namespace of this lab; fine when there is none.

    The lab's own process is not touched: end it first. Raises HostError when something does not go away.
    """
    host_folder = config.state / "hosts"
    instance_ids = [entry.name for entry in host_folder.iterdir()] if host_folder.is_dir() else []
    processes.kill_members(config.netns)
    namespaces = _namespaces(config)
    for name in namespaces:
        _kill_inside(name)
    for mount in mounts_below(config.state):
        processes.run(["umount", "--lazy", str(mount)])
    for loop in devices.loops_below(config.state):
        devices.close_loop(loop)
    for name in namespaces:
        netns.delete(name)
    for instance_id in instance_ids:
        processes.forget_machine(instance_id)
    processes.remove_cgroups(config.netns)
    for folder in (host_folder, config.state / "relay"):
        shutil.rmtree(folder, ignore_errors=True)
    left = leftovers(config)
    if left:
        raise HostError("these do not go away: " + ", ".join(left))


def leftovers(config: LabConfig) -> list[str]:
    """What of this lab is still in the kernel: processes, namespaces, mounts, loop devices, control groups."""
    return [
        *(f"process {pid}" for pid in processes.members(config.netns)),
        *(f"network namespace {name}" for name in _namespaces(config)),
        *(f"mount {mount}" for mount in mounts_below(config.state)),
        *(f"loop device {loop}" for loop in devices.loops_below(config.state)),
        *(f"control group {folder}" for folder in processes.cgroup_folders(config.netns) if folder.is_dir()),
    ]


def mounts_below(folder: Path, table: Path = Path("/proc/self/mountinfo")) -> list[Path]:
    """Mount points below a folder, the innermost first."""
    points = [Path(line.split()[4].encode().decode("unicode_escape")) for line in table.read_text().splitlines()]
    return sorted((point for point in points if point.is_relative_to(folder)), key=lambda point: len(point.parts),
                  reverse=True)


def _namespaces(config: LabConfig) -> list[str]:
    """This lab's network namespaces: its hosts' first, its own last."""
    names = [path.name for path in netns.FOLDER.glob(f"{config.netns}*")] if netns.FOLDER.is_dir() else []
    return sorted((name for name in names if name == config.netns or name.startswith(f"{config.netns}-")), reverse=True)


def _kill_inside(name: str) -> None:
    end = time.monotonic() + KILL_SECONDS
    while pids := [pid for pid in netns.processes_in(name) if pid != os.getpid()]:
        if time.monotonic() > end:
            raise HostError(f"processes in the network namespace {name} do not end: {pids}")
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
