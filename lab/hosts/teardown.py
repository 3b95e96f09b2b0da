# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removing all that a lab holds in the kernel, whatever state it was left in: also after its process was killed.

Works from what the kernel knows, not from what the lab remembered. Touches only what carries this lab's own name or
lies below its state folder.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import suppress

from lab.config import LabConfig
from lab.hosts import devices, mounts, processes
from lab.hosts.processes import HostError
from lab.network import netns

KILL_SECONDS = 10.0



def teardown(config: LabConfig) -> None:
    """End every host, free every loop device, mount, control group and namespace of this lab; fine when there is none.

    The lab's own process is not touched: end it first. Raises HostError when something does not go away; what else
    there is goes all the same.
    """
    host_folder = config.state / "hosts"
    instance_ids = [entry.name for entry in host_folder.iterdir()] if host_folder.is_dir() else []
    _kill(config)
    for mount in mounts.below(config.state):
        with suppress(HostError):
            processes.run(["umount", "--lazy", str(mount)])
    for loop in devices.loops_below(config.state):
        devices.close_loop(loop)
    for name in namespaces(config):
        with suppress(netns.NetworkError):
            netns.delete(name)
    for instance_id in instance_ids:
        processes.forget_machine(instance_id)
    processes.remove_cgroups(config.netns)
    if not mounts.below(config.state):  # never remove through a mount that did not go
        for folder in (host_folder, config.state / "relay"):
            shutil.rmtree(folder, ignore_errors=True)
    left = leftovers(config)
    if left:
        raise HostError("these do not go away: " + ", ".join(left))


def leftovers(config: LabConfig) -> list[str]:
    """What of this lab is still in the kernel: processes, namespaces, mounts, loop devices, control groups."""
    return [
        *(f"process {pid}" for pid in members(config)),
        *(f"network namespace {name}" for name in namespaces(config)),
        *(f"mount {mount}" for mount in mounts.below(config.state)),
        *(f"loop device {loop}" for loop in devices.loops_below(config.state)),
        *(f"control group {folder}" for folder in processes.cgroup_folders(config.netns) if folder.is_dir()),
    ]


def members(config: LabConfig) -> list[int]:
    """The processes of this lab's hosts and whatever else runs in its network namespaces (root sees them all)."""
    found = set(processes.members(config.netns))
    for name in namespaces(config):
        found.update(netns.processes_in(name))
    return sorted(found - {os.getpid()})


def namespaces(config: LabConfig) -> list[str]:
    """This lab's network namespaces: its hosts' first, its own last."""
    names = [path.name for path in netns.FOLDER.glob(f"{config.netns}*")] if netns.FOLDER.is_dir() else []
    return sorted((name for name in names if name == config.netns or name.startswith(f"{config.netns}-")), reverse=True)


def _kill(config: LabConfig) -> None:
    end = time.monotonic() + KILL_SECONDS
    while (pids := members(config)) and time.monotonic() < end:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
