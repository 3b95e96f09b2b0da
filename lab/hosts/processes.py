# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting, finding and ending the container that a host is."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lab.hosts import mounts

CGROUP_ROOT = Path("/sys/fs/cgroup")


class HostError(Exception):
    """A host could not do what was asked; the message says what."""


def run(command: list[str]) -> str:
    """Run a command; its output, or a HostError with what it said."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HostError(f"`{shlex.join(command)}` failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def cgroup_folders(name: str) -> list[Path]:
    """Where a host's processes are kept together: systemd inside must not see another host's groups as its own."""
    roots = [CGROUP_ROOT] if (CGROUP_ROOT / "cgroup.procs").exists() else [
        root for root in (CGROUP_ROOT / "unified", CGROUP_ROOT / "systemd") if root.is_dir()]
    return [root / name for root in roots]


def make_cgroups(name: str) -> None:
    """Make a host's control groups."""
    for folder in cgroup_folders(name):
        folder.mkdir(parents=True, exist_ok=True)


def remove_cgroups(name: str) -> None:
    """Remove a host's (or a whole lab's) control groups; they must hold no process any more."""
    for top in cgroup_folders(name):
        if not top.is_dir():
            continue
        for folder in sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True):
            with suppress(OSError):
                folder.rmdir()
        with suppress(OSError):
            top.rmdir()


def members(name: str) -> list[int]:
    """All processes in a control group and those below it."""
    found: set[int] = set()
    for top in cgroup_folders(name):
        for file in top.rglob("cgroup.procs"):
            with suppress(OSError):
                found.update(int(line) for line in file.read_text().split())
    return sorted(found)


def kill_members(name: str, seconds: float = 10.0) -> None:
    """End every process in a control group, whoever started it; returns when none is left."""
    end = time.monotonic() + seconds
    while pids := members(name):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > end:
            raise HostError(f"processes of {name} do not end: {pids}")
        time.sleep(0.05)


def forget_machine(name: str) -> None:
    """Remove the folder that nspawn leaves behind for a machine that has ended."""
    with suppress(OSError):
        (Path("/run/systemd/nspawn/propagate") / name).rmdir()


def start(
    *, name: str, hostname: str, image: Path, folder: Path, namespace: Path, console: Path, cgroup: str
) -> subprocess.Popen[bytes]:
    """Boot a container on an overlay of `image`. Its mounts live in a namespace of their own and end with it, and that
    namespace keeps no mount of the machine's but those that it needs."""
    for part in ("upper", "work", "root", "containers"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    make_cgroups(cgroup)
    nspawn = [
        "systemd-nspawn", "--quiet", f"--directory={folder / 'root'}", "--boot", "--register=no", "--keep-unit",
        f"--machine={name}", f"--hostname={hostname}", f"--network-namespace-path={namespace}", "--console=read-only",
        "--link-journal=no", "--resolv-conf=off", "--timezone=off", "--bind=/dev/fuse",
        # The root is an overlay, and an overlay can't lie on an overlay: container engines need a real file system.
        f"--bind={folder / 'containers'}:/var/lib/containers",
        # What container engines inside want: to set up the network namespaces of their own, and some system calls.
        "--capability=CAP_NET_ADMIN", "--system-call-filter=add_key keyctl bpf",
    ]
    enter = [f"echo $$ > {shlex.quote(str(group / 'cgroup.procs'))}" for group in cgroup_folders(cgroup)]
    overlay = f"lowerdir={image},upperdir={folder / 'upper'},workdir={folder / 'work'}"
    drop = [f"umount --lazy {shlex.quote(str(point))} 2>/dev/null || true"
            for point in mounts.foreign([image, folder, namespace])]
    script = "\n".join(["set -e", *enter, *drop, f"mount -t overlay -o {shlex.quote(overlay)} overlay "
                        f"{shlex.quote(str(folder / 'root'))}", f"exec {shlex.join(nspawn)}"])
    with console.open("ab") as output:
        return subprocess.Popen(
            ["nsenter", f"--net={namespace}", "unshare", "--mount", "--propagation", "private", "sh", "-c", script],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
                 "SYSTEMD_LOG_LEVEL": "warning"})


def leader(nspawn_pid: int) -> int | None:
    """The process that is number 1 inside, once it runs the host's own system; None before and after."""
    with suppress(OSError):
        children = Path(f"/proc/{nspawn_pid}/task/{nspawn_pid}/children").read_text().split()
        for child in map(int, children):
            status = Path(f"/proc/{child}/status").read_text()
            inner = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1]
            if inner == "1" and Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                return child
    return None


def wait_for(question: Callable[[], int | None], seconds: float) -> int | None:
    """Ask again until there is an answer or the time is over."""
    end = time.monotonic() + seconds
    while (answer := question()) is None and time.monotonic() < end:
        time.sleep(0.05)
    return answer
