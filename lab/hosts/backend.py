# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts behind instances: containers that boot a Debian of their own, on the lab's network."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from lab.config import LabConfig
from lab.content.host_image import ensure_host_image
from lab.contracts import Faults, HostSpec, Rule
from lab.hosts.host import Host
from lab.hosts.processes import HostError, remove_cgroups
from lab.network import Network

DEATH_SECONDS = 1.0
log = logging.getLogger(__name__)


class Hosts:
    """The `HostBackend` of a lab. Needs root, and the base image, which the constructor has built when missing."""

    def __init__(self, config: LabConfig, network: Network, faults: Faults) -> None:
        self._config, self._network, self._faults = config, network, faults
        self._image = ensure_host_image(config.cache)
        self._hosts: dict[str, Host] = {}
        self._rules: dict[str, tuple[Rule, ...]] = {}
        self._ssh_blocked: set[str] = set()
        self._foreign_keys: set[str] = set()
        self._lock = threading.Lock()

    def boot(self, spec: HostSpec, on_exit: Callable[[str, str], None]) -> None:
        """Start a host; see `lab.contracts.HostBackend`."""
        with self._lock:
            if spec.instance_id in self._hosts:
                raise HostError(f"there is a host {spec.instance_id} already")
            host = Host(spec, folder=self._folder(spec.instance_id), image=self._image, network=self._network,
                        cgroup=f"{self._config.netns}/{spec.instance_id}", on_exit=on_exit)
            self._hosts[spec.instance_id] = host
        context = {"instance": spec.instance_id, "region": spec.region, "instance_type": spec.instance_type}
        if self._faults.take("host.ssh_blocked", **context):
            self._ssh_blocked.add(spec.instance_id)
        if self._faults.take("host.foreign_keys", **context):
            self._foreign_keys.add(spec.instance_id)
        self._rules[spec.instance_id] = spec.rules
        try:
            host.start(self._allowed(spec.instance_id))
        except Exception:
            self._drop(spec.instance_id)
            raise
        fault = self._faults.take("ec2.boot_dies", **context)
        if fault:
            timer = threading.Timer(float(fault.args.get("seconds", DEATH_SECONDS)), host.die)
            timer.daemon = True
            timer.start()

    def stop(self, instance_id: str, *, hard: bool = False) -> None:
        """Begin to stop a host; `on_exit` hears `stopped` when it is done. Nothing to do when it does not run."""
        host = self._hosts.get(instance_id)
        if host is not None:
            host.stop(hard=hard)

    def restart(self, instance_id: str) -> None:
        """Boot a stopped host again, or reboot a running one, with the address and the volumes it has."""
        self._host(instance_id).restart(self._allowed(instance_id))

    def forget(self, instance_id: str) -> None:
        """Remove what is left of a host; one that still runs loses its power first."""
        host = self._hosts.get(instance_id)
        if host is not None:
            host.remove()
            self._drop(instance_id)

    def attach(self, instance_id: str, volume_id: str, device: str, backing: Path) -> None:
        """Give a host a volume. The name it was asked for (`device`) shows nowhere inside, as on Nitro."""
        self._host(instance_id).attach(volume_id, backing)

    def detach(self, instance_id: str, volume_id: str) -> None:
        """Take a volume away from a host."""
        self._host(instance_id).detach(volume_id)

    def console(self, instance_id: str) -> str:
        """What a host printed on its console; empty when it never started."""
        try:
            text = self._host(instance_id).console_file.read_bytes().decode(errors="replace")
        except FileNotFoundError:
            return ""
        text = text.replace("\r\n", "\n")
        return with_other_keys(text) if instance_id in self._foreign_keys else text

    def set_rules(self, instance_id: str, rules: Iterable[Rule]) -> None:
        """Replace what a host lets in, at once."""
        if instance_id in self._hosts:
            self._rules[instance_id] = tuple(rules)
            self._network.set_rules(instance_id, self._allowed(instance_id))

    def is_running(self, instance_id: str) -> bool:
        """Does a host's system run?"""
        host = self._hosts.get(instance_id)
        return host is not None and host.running

    def close(self) -> None:
        """Pull the cord of every host and wait until all are gone; their overlays are removed."""
        for host in list(self._hosts.values()):
            host.stop(hard=True)
        for instance_id in list(self._hosts):
            self.forget(instance_id)
        remove_cgroups(self._config.netns)

    def _allowed(self, instance_id: str) -> tuple[Rule, ...]:
        rules = self._rules.get(instance_id, ())
        if instance_id not in self._ssh_blocked:
            return rules
        return tuple(part for rule in rules for part in without_port(rule, 22))

    def _host(self, instance_id: str) -> Host:
        try:
            return self._hosts[instance_id]
        except KeyError:
            raise HostError(f"there is no host {instance_id}") from None

    def _folder(self, instance_id: str) -> Path:
        return self._config.state / "hosts" / instance_id

    def _drop(self, instance_id: str) -> None:
        self._hosts.pop(instance_id, None)
        self._rules.pop(instance_id, None)
        self._ssh_blocked.discard(instance_id)
        self._foreign_keys.discard(instance_id)


def with_other_keys(console: str) -> str:
    """A console with SSH keys of the same kinds that are not the host's."""
    return re.sub(r"((?:ssh-ed25519|ssh-rsa) \S{60})(\S)", lambda key: key[1] + "BC"[key[2] == "B"], console)


def without_port(rule: Rule, port: int) -> list[Rule]:
    """What is left of a rule when one TCP port is closed."""
    if rule.outward:
        return [rule]
    if rule.protocol == "-1":
        return [Rule("icmp", -1, -1, rule.cidr), Rule("udp", 0, 65535, rule.cidr),
                *without_port(Rule("tcp", 0, 65535, rule.cidr), port)]
    if rule.protocol != "tcp" or not rule.from_port <= port <= rule.to_port:
        return [rule]
    parts = [(rule.from_port, port - 1), (port + 1, rule.to_port)]
    return [Rule("tcp", low, high, rule.cidr) for low, high in parts if low <= high]
