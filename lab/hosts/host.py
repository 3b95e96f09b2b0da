# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One host: a container that boots, ends, boots again, and the volumes it has."""

from __future__ import annotations

import logging
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lab.contracts import HostSpec, Rule
from lab.hosts import devices, processes
from lab.hosts.processes import HostError
from lab.network import Network

STOP_SECONDS = 20.0  # then the power cord is pulled
LEADER_SECONDS = 15.0
UDEV_SECONDS = 0.5  # between two looks at what partitions there are
REBOOT_STATUS = 133  # what nspawn ends with when the host wants to start again
log = logging.getLogger(__name__)


@dataclass
class Volume:
    """An attached volume: its file, its place, and its loop device while the host runs."""

    backing: Path
    node: str
    loop: str | None = None
    shown: dict[int, tuple[int, int]] = field(default_factory=dict)  # device numbers of its nodes, by partition


class Host:
    """A host of the lab. `on_exit` hears once for each start how it ended."""

    def __init__(
        self, spec: HostSpec, *, folder: Path, image: Path, cgroup: str, network: Network,
        on_exit: Callable[[str, str], None],
    ) -> None:
        self.spec = spec
        self._folder, self._image, self._cgroup, self._network, self._on_exit = folder, image, cgroup, network, on_exit
        self._lock = threading.RLock()
        self._volumes: dict[str, Volume] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: threading.Thread | None = None
        self._stopping = self._killed = False

    @property
    def console_file(self) -> Path:
        """What the host printed on its console, over all its starts."""
        return self._folder / "console.log"

    def start(self, rules: tuple[Rule, ...]) -> None:
        """Boot. Raises when it runs already or cannot be started at all."""
        with self._lock:
            if self.running:
                raise HostError(f"{self.spec.instance_id} runs already")
            self._folder.mkdir(parents=True, exist_ok=True)
            self._stopping = self._killed = False
            self._network.add_host(self.spec.instance_id, self.spec.private_ip, rules)
            try:
                for volume in self._volumes.values():
                    volume.loop = devices.open_loop(volume.backing)
                self._spawn()
            except (HostError, OSError):
                self._release()
                raise
            self._watcher = threading.Thread(target=self._watch, name=f"host-{self.spec.instance_id}", daemon=True)
            self._watcher.start()

    @property
    def running(self) -> bool:
        """Is there a process, or the end of one still to be told?"""
        return self._process is not None

    def stop(self, *, hard: bool) -> None:
        """Begin to stop: cleanly, or by pulling the cord. Returns at once; `on_exit` tells when it is done."""
        with self._lock:
            if self._process is None:
                return
            self._stopping = True
            if hard:
                self._kill()
                return
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)  # nspawn asks the host's system to power off
            timer = threading.Timer(STOP_SECONDS, self._kill_process, args=(self._process,))
            timer.daemon = True
            timer.start()

    def die(self) -> None:
        """Pull the cord without having been asked: the fault of a host that dies."""
        with self._lock:
            self._killed = True
            self._kill()

    def wait(self, seconds: float) -> bool:
        """Wait until a running host has ended and that has been told."""
        watcher = self._watcher
        if watcher is not None and watcher is not threading.current_thread():
            watcher.join(seconds)
        return not self.running

    def restart(self, rules: tuple[Rule, ...]) -> None:
        """Boot it again: after a stop, or (still running) as a reboot that keeps address and volumes."""
        with self._lock:
            process = self._process
        if process is None:
            self.start(rules)
            return
        pid = self._leader(process)
        processes.run(["nsenter", "--target", str(pid), "--all", "systemctl", "--no-block", "reboot"])

    def attach(self, volume_id: str, backing: Path) -> None:
        """Add a volume; on a running host its device nodes are there when this returns."""
        with self._lock:
            if volume_id in self._volumes:
                raise HostError(f"{volume_id} is attached to {self.spec.instance_id} already")
            volume = Volume(backing, self._free_node())
            process = self._process
            if process is not None:
                volume.loop = devices.open_loop(backing)
                try:
                    self._show(self._root(process), volume_id, volume)
                except (HostError, OSError):
                    devices.close_loop(volume.loop)
                    raise
            self._volumes[volume_id] = volume

    def detach(self, volume_id: str) -> None:
        """Take a volume away, also one that is still mounted (its device then lives until it is unmounted)."""
        with self._lock:
            volume = self._volumes.pop(volume_id, None)
            if volume is None:
                raise HostError(f"{volume_id} is not attached to {self.spec.instance_id}")
            if self._process is not None:
                with suppress(HostError, OSError):  # it is just ending
                    devices.hide(self._root(self._process), volume.node, volume_id)
            if volume.loop is not None:
                devices.close_loop(volume.loop)

    def remove(self) -> None:
        """Delete what is left of a host that has ended."""
        if self.running:
            self.stop(hard=True)
            self.wait(30)
        processes.remove_cgroups(self._cgroup)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _spawn(self) -> None:
        self._process = processes.start(
            name=self.spec.instance_id, hostname=f"ip-{self.spec.private_ip.replace('.', '-')}", image=self._image,
            folder=self._folder, namespace=self._network.namespace_path(self.spec.instance_id),
            console=self.console_file, cgroup=self._cgroup)

    def _watch(self) -> None:
        while True:
            process = self._process
            assert process is not None  # noqa: S101 (only this thread sets it to None)
            self._show_volumes(process)
            status = self._end_of(process)
            if status != REBOOT_STATUS or self._stopping:
                break
            with self._lock:
                processes.kill_members(self._cgroup)
                for volume in self._volumes.values():
                    if volume.loop is not None:
                        devices.unprotect(volume.loop)
                self._spawn()
        with self._lock:
            self._release()
            how = "died" if self._killed else "stopped" if self._stopping else "poweroff" if status == 0 else "died"
        log.info("%s ended: %s (status %s)", self.spec.instance_id, how, status)
        self._on_exit(self.spec.instance_id, how)

    def _end_of(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for the end; meanwhile do what udev does: make the nodes of partitions that came into being."""
        while True:
            try:
                return process.wait(UDEV_SECONDS)
            except subprocess.TimeoutExpired:
                with self._lock:
                    for volume_id, volume in self._volumes.items():
                        with suppress(HostError, OSError):  # it is just ending, or a partition has just gone
                            if volume.loop is not None and devices.numbers(volume.loop) != volume.shown:
                                self._show(self._root(process), volume_id, volume)

    def _show(self, root: Path, volume_id: str, volume: Volume) -> None:
        if volume.loop is not None:
            volume.shown = devices.numbers(volume.loop)
            devices.show(root, volume.node, volume_id, volume.loop)

    def _show_volumes(self, process: subprocess.Popen[bytes]) -> None:
        """After a start: the nodes of volumes that were attached before."""
        if not self._volumes:
            return
        try:
            root = self._root(process)
            with self._lock:
                for volume_id, volume in self._volumes.items():
                    self._show(root, volume_id, volume)
        except (HostError, OSError) as error:
            log.warning("%s: volumes were not shown: %s", self.spec.instance_id, error)

    def _release(self) -> None:
        """Give back everything that a running host holds in the kernel."""
        try:
            processes.kill_members(self._cgroup)
        except HostError as error:
            log.error("%s", error)
        for volume in self._volumes.values():
            if volume.loop is not None:
                devices.close_loop(volume.loop)
                volume.loop = None
        self._network.remove_host(self.spec.instance_id)
        processes.remove_cgroups(self._cgroup)
        processes.forget_machine(self.spec.instance_id)
        self._process = None

    def _kill(self) -> None:
        if self._process is not None:
            self._kill_process(self._process)

    def _kill_process(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            with suppress(HostError):
                processes.kill_members(self._cgroup)
            with suppress(ProcessLookupError):
                process.kill()

    def _leader(self, process: subprocess.Popen[bytes]) -> int:
        pid = processes.wait_for(lambda: processes.leader(process.pid), LEADER_SECONDS)
        if pid is None:
            raise HostError(f"{self.spec.instance_id} did not start its system; see {self.console_file}")
        return pid

    def _root(self, process: subprocess.Popen[bytes]) -> Path:
        return Path(f"/proc/{self._leader(process)}/root")

    def _free_node(self) -> str:
        used = {volume.node for volume in self._volumes.values()}
        return next(name for name in (f"nvme{index}n1" for index in range(1, 64)) if name not in used)
