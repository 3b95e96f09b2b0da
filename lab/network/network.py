# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's own network: one namespace with the services, and one for each host, joined by a cable each.

Every host keeps its instance's private address and sees the services routed through its VPC's gateway. There is no
way out to the machine's own network.
"""

from __future__ import annotations

import hashlib
import ipaddress
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from lab import config
from lab.contracts import Rule
from lab.network import firewall, netns
from lab.network.netns import NetworkError, SocketFactory
from lab.network.relay import Relay

HOST_INTERFACE = "ens5"  # as on a Nitro instance
RELAY_SOURCES = {"controller": config.CONTROLLER_IP, "analyst": config.ANALYST_IP, "stranger": config.STRANGER_IP}


class Network:
    """Brings the network up, admits hosts, opens the services' sockets. Safe to call from several threads."""

    def __init__(self, settings: config.LabConfig) -> None:
        self._config = settings
        self._name = settings.netns
        self._lock = threading.Lock()
        self._addresses: dict[str, str] = {}  # instance id -> private address
        self._sockets: SocketFactory | None = None
        self._relays: list[Relay] = []

    def up(self) -> None:
        """Make the namespace, its addresses and firewall, and the relays. Fails when it is there already."""
        if netns.exists(self._name):
            raise NetworkError(f"the network namespace {self._name} exists already; run `python -m lab down` first")
        netns.add(self._name)
        own = [config.GATEWAY_IP, config.SERVICE_IP, config.METADATA_IP, *RELAY_SOURCES.values()]
        netns.batch(self._name, ["link set lo up", *(f"address add {address}/32 dev lo" for address in own)])
        netns.write_sysctl(self._name, {"ipv4/ip_forward": "1", "ipv6/conf/all/disable_ipv6": "1",
                                        "ipv6/conf/default/disable_ipv6": "1"})
        ports = [self._config.port, config.PACKAGES_PORT, config.REGISTRY_PORT]
        self._nft(firewall.base(ports))
        self._sockets = SocketFactory(self._name)
        for person, source in RELAY_SOURCES.items():
            relay = Relay(self._config.relay(person), source, self._sockets.open)
            relay.start()
            self._relays.append(relay)

    def listen(self, address: str, port: int) -> socket.socket:
        """A listening TCP socket inside the lab, on one of its own addresses."""
        return self._factory().listen(address, port)

    def open_socket(self) -> socket.socket:
        """A new TCP socket inside the lab."""
        return self._factory().open()

    def host_namespace(self, instance_id: str) -> str:
        """The name of a host's own network namespace."""
        return f"{self._name}-{instance_id}"

    def namespace_path(self, instance_id: str) -> Path:
        """The file by which a host's namespace is entered."""
        return netns.FOLDER / self.host_namespace(instance_id)

    def add_host(self, instance_id: str, address: str, rules: Iterable[Rule]) -> None:
        """Lay a cable for a host, whose own end carries the instance's private address."""
        ipaddress.IPv4Address(address)
        cable, name = cable_name(instance_id), self.host_namespace(instance_id)
        with self._lock:
            if address in self._addresses.values():
                raise NetworkError(f"{address} belongs to another running host of the lab; give {instance_id} its own")
            self._addresses[instance_id] = address
        try:
            netns.add(name)
            netns.batch(self._name, [
                f"link add {cable} type veth peer name {HOST_INTERFACE} netns {name}",
                f"link set {cable} up", f"route add {address}/32 dev {cable}"])
            netns.batch(name, [
                "link set lo up", f"address add {address}/32 dev {HOST_INTERFACE}", f"link set {HOST_INTERFACE} up",
                f"route add {config.GATEWAY_IP} dev {HOST_INTERFACE}",
                f"route add default via {config.GATEWAY_IP} dev {HOST_INTERFACE}"])
            self._nft(firewall.add_host(cable, address, rules))
        except NetworkError:
            self.remove_host(instance_id)
            raise

    def set_rules(self, instance_id: str, rules: Iterable[Rule]) -> None:
        """Replace what a running host lets in."""
        if instance_id in self._addresses:
            self._nft(firewall.set_rules(cable_name(instance_id), rules))

    def remove_host(self, instance_id: str) -> None:
        """Take a host off the network; fine when it never was on it."""
        with self._lock:
            address = self._addresses.get(instance_id)
        if address is None:
            return
        with suppress(NetworkError):  # it may have failed before its rules were there
            self._nft(firewall.remove_host(cable_name(instance_id), address))
        # The cable goes now, not when the kernel gets to the namespace's end: a restarted host lays it again.
        with suppress(NetworkError):
            netns.batch(self._name, [f"link delete {cable_name(instance_id)}"])
        netns.delete(self.host_namespace(instance_id))
        with self._lock:
            self._addresses.pop(instance_id, None)

    def close(self) -> None:
        """Stop the relays and the socket thread, take every host off, and remove the namespace."""
        for relay in self._relays:
            relay.close()
        self._relays.clear()
        for instance_id in list(self._addresses):
            self.remove_host(instance_id)
        if self._sockets is not None:
            self._sockets.close()
            self._sockets = None
        netns.delete(self._name)

    def _factory(self) -> SocketFactory:
        if self._sockets is None:
            raise NetworkError("the lab's network is not up; call up() first")
        return self._sockets

    def _nft(self, script: str) -> None:
        with self._lock:
            netns.run(["nsenter", f"--net={netns.FOLDER / self._name}", "nft", "-f", "-"], script)


def cable_name(instance_id: str) -> str:
    """The lab's end of a host's cable; interface names have 15 characters at most."""
    return "c" + hashlib.sha256(instance_id.encode()).hexdigest()[:12]
