# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's network on the real kernel: who reaches what."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import config
from lab.contracts import CLOSED, CUT, Rule
from lab.hosts.bench import ADDRESS, INSTANCE, SSH_FROM_CONTROLLER, OneInstance
from lab.hosts.teardown import leftovers, teardown
from lab.imds import ImdsServer
from lab.network import Network, NetworkError, netns

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes network namespaces")
CLIENT = Path(config.__file__).parent / "network" / "relay_client.py"
FETCH = """
import sys, urllib.request
request = urllib.request.Request("http://169.254.169.254/latest/api/token", method="PUT",
                                 headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"})
print(len(urllib.request.urlopen(request, timeout=float(sys.argv[1])).read()))
"""
CONNECT = """
import socket, sys
socket.create_connection((sys.argv[1], int(sys.argv[2])), 1.5, (sys.argv[3], 0) if len(sys.argv) > 3 else None)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[config.LabConfig]:
    settings = config.LabConfig(state=tmp_path.resolve(), cache=tmp_path)
    yield settings
    teardown(settings)
    assert leftovers(settings) == []


@pytest.fixture
def network(settings: config.LabConfig) -> Iterator[Network]:
    network = Network(settings)
    network.up()
    yield network
    network.close()


class SshPort:
    """Something that listens on port 22 of a host and says to whom it talks."""

    def __init__(self, network: Network, instance_id: str) -> None:
        self._factory = netns.SocketFactory(network.host_namespace(instance_id))
        self._listener = self._factory.listen("0.0.0.0", 22)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                peer, address = self._listener.accept()
            except OSError:
                return
            peer.sendall(f"hello {address[0]}\n".encode())
            peer.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._factory.close()


@pytest.fixture
def host(network: Network) -> Iterator[SshPort]:
    network.add_host(INSTANCE, ADDRESS, (SSH_FROM_CONTROLLER,))
    port = SshPort(network, INSTANCE)
    yield port
    port.close()


def reach(settings: config.LabConfig, person: str, seconds: float = 2.0) -> str:
    """What a person reads from the host's port 22; empty when nothing answers in time."""
    try:
        done = subprocess.run([sys.executable, str(CLIENT), str(settings.relay(person)), ADDRESS, "22"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout.strip()


def inside(network: Network, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python on a host's network."""
    return subprocess.run(["nsenter", f"--net={network.namespace_path(INSTANCE)}", "/usr/bin/python3", "-c", script,
                           *arguments], capture_output=True, text=True, check=False)


def test_groups_admit_whom_they_name_and_change_at_once(
    settings: config.LabConfig, network: Network, host: SshPort
) -> None:
    assert reach(settings, "controller") == f"hello {config.CONTROLLER_IP}"
    assert reach(settings, "analyst") == ""
    assert reach(settings, "stranger") == ""
    network.set_rules(INSTANCE, (SSH_FROM_CONTROLLER, Rule("tcp", 22, 22, f"{config.ANALYST_IP}/32")))
    assert reach(settings, "analyst") == f"hello {config.ANALYST_IP}"
    network.set_rules(INSTANCE, ())
    assert reach(settings, "controller") == ""


def test_other_ports_protocols_and_everything(settings: config.LabConfig, network: Network, host: SshPort) -> None:
    network.set_rules(INSTANCE, (Rule("udp", 22, 22, "0.0.0.0/0"), Rule("tcp", 23, 80, "0.0.0.0/0"),
                                 Rule("icmp", -1, -1, "0.0.0.0/0"), Rule("tcp", 22, 22, "::/0")))
    assert reach(settings, "controller") == ""
    network.set_rules(INSTANCE, (Rule("-1", -1, -1, "0.0.0.0/0"),))
    assert reach(settings, "stranger") == f"hello {config.STRANGER_IP}"


def test_what_a_host_sends_is_limited_and_cut(settings: config.LabConfig, network: Network, host: SshPort) -> None:
    packages = network.listen(config.SERVICE_IP, config.PACKAGES_PORT)
    ask = (config.SERVICE_IP, str(config.PACKAGES_PORT))
    network.set_rules(INSTANCE, (SSH_FROM_CONTROLLER, CLOSED))
    assert reach(settings, "controller") == f"hello {config.CONTROLLER_IP}", "answers belong to what was let in"
    assert inside(network, CONNECT, *ask).returncode != 0
    network.set_rules(INSTANCE, (SSH_FROM_CONTROLLER, CLOSED, Rule(
        "tcp", config.PACKAGES_PORT, config.PACKAGES_PORT, f"{config.SERVICE_IP}/32", outward=True)))
    assert inside(network, CONNECT, *ask).returncode == 0
    network.set_rules(INSTANCE, (Rule("-1", -1, -1, "0.0.0.0/0"), CUT))
    assert reach(settings, "controller") == "" and inside(network, CONNECT, *ask).returncode != 0
    network.set_rules(INSTANCE, (SSH_FROM_CONTROLLER,))
    assert inside(network, CONNECT, *ask).returncode == 0
    packages.close()


def test_host_reaches_the_services_and_nothing_else(network: Network, host: SshPort) -> None:
    packages = network.listen(config.SERVICE_IP, config.PACKAGES_PORT)
    other = network.listen(config.SERVICE_IP, 9999)
    relay_side = network.listen(config.CONTROLLER_IP, 22)
    assert inside(network, CONNECT, config.SERVICE_IP, str(config.PACKAGES_PORT)).returncode == 0
    assert inside(network, CONNECT, config.SERVICE_IP, "9999").returncode != 0
    assert inside(network, CONNECT, config.CONTROLLER_IP, "22").returncode != 0
    assert "unreachable" in inside(network, CONNECT, "192.0.2.1", "80").stderr
    for listener in (packages, other, relay_side):
        listener.close()


def test_host_cannot_speak_under_another_address(network: Network, host: SshPort) -> None:
    """The metadata service would take it for the other instance and hand out that one's credentials."""
    metadata = network.listen(config.METADATA_IP, 80)
    netns.batch(network.host_namespace(INSTANCE), ["address add 172.31.9.9/32 dev ens5"])
    assert inside(network, CONNECT, config.METADATA_IP, "80", ADDRESS).returncode == 0
    assert inside(network, CONNECT, config.METADATA_IP, "80", "172.31.9.9").returncode != 0
    metadata.close()


@pytest.mark.parametrize(("hops", "answered"), [(1, False), (2, True)])
def test_p27_token_does_not_travel_beyond_the_hop_limit(
    settings: config.LabConfig, network: Network, host: SshPort, hops: int, answered: bool
) -> None:
    """A container with a network of its own, behind the host: the answer needs one hop more."""

    class Source(OneInstance):
        def instance_by_ip(self, address: str):  # type: ignore[no-untyped-def]
            found = super().instance_by_ip(address)
            return found and type(found)(**{**found.__dict__, "hop_limit": hops})

    imds = ImdsServer(Source(b""))
    imds.start(network.listen(config.METADATA_IP, 80))
    outer, inner = network.host_namespace(INSTANCE), f"{settings.netns}-container"
    netns.add(inner)
    netns.batch(outer, [f"link add pod type veth peer name eth0 netns {inner}", "address add 10.88.0.1/24 dev pod",
                        "link set pod up"])
    netns.batch(inner, ["address add 10.88.0.2/24 dev eth0", "link set eth0 up", "route add default via 10.88.0.1"])
    netns.write_sysctl(outer, {"ipv4/ip_forward": "1"})
    netns.run(["nsenter", f"--net={netns.FOLDER / outer}", "nft", "-f", "-"],
              "table ip nat { chain post { type nat hook postrouting priority 100; oifname ens5 masquerade; }\n}")
    done = subprocess.run(["nsenter", f"--net={netns.FOLDER / inner}", "/usr/bin/python3", "-c", FETCH, "2"],
                          capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is answered, done.stderr
    assert inside(network, FETCH, "2").returncode == 0  # the host itself always gets one
    imds.close()


def test_an_address_belongs_to_one_host(network: Network, host: SshPort) -> None:
    with pytest.raises(NetworkError, match=ADDRESS):
        network.add_host("i-0000000000000beef", ADDRESS, ())


def test_two_labs_do_not_meet(settings: config.LabConfig, network: Network, tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="exists already"):
        Network(settings).up()
    other = config.LabConfig(state=tmp_path / "other", cache=tmp_path)
    second = Network(other)
    second.up()
    second.add_host(INSTANCE, ADDRESS, ())
    second.close()
    assert leftovers(other) == []
