# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The relay and its client, end to end on the loopback interface."""

from __future__ import annotations

import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.contracts import Rule
from lab.network import firewall, network
from lab.network.relay import Relay, parse_target

CLIENT = Path(__file__).parents[3] / "lab" / "network" / "relay_client.py"


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "relay" / "controller.sock"
    served = Relay(path, "127.0.0.2", socket.socket)
    served.start()
    yield path
    served.close()
    assert not path.exists()


def use(path: Path, port: int | str, data: bytes = b"", host: str = "127.0.0.1") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, str(CLIENT), str(path), host, str(port)], input=data, capture_output=True,
                          check=False, timeout=20)


def test_bytes_flow_both_ways_from_the_relays_own_address(relay: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    seen: list[str] = []

    def answer() -> None:
        peer, address = listener.accept()
        seen.append(address[0])
        received = b""
        while data := peer.recv(65536):  # until the client's end of input has come through
            received += data
        peer.sendall(received[::-1])
        peer.close()

    threading.Thread(target=answer, daemon=True).start()
    data = bytes(range(256)) * 2000
    done = use(relay, listener.getsockname()[1], data)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == data[::-1]
    assert seen == ["127.0.0.2"]


def test_everybody_may_use_the_socket(relay: Path) -> None:
    assert stat.S_IMODE(relay.stat().st_mode) == 0o666


def test_closed_port_is_told(relay: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        done = use(relay, port)
    assert done.returncode == 1
    assert f"127.0.0.1 port {port}: Connection refused" in done.stderr.decode()


def test_no_lab_is_told(tmp_path: Path) -> None:
    done = use(tmp_path / "none.sock", 22)
    assert done.returncode == 1
    assert "is the lab up?" in done.stderr.decode()


@pytest.mark.parametrize("line", ["localhost 22", "172.31.0.5 0", "172.31.0.5 65536", "172.31.0.5 ssh", "172.31.0.5",
                                  "", "172.31.0.5 22 23", "::1 22"])
def test_bad_targets_are_refused(line: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        parse_target(line)


def test_good_target() -> None:
    assert parse_target("172.31.0.5 22\n") == ("172.31.0.5", 22)


def test_cable_names_fit_into_an_interface_name_and_differ() -> None:
    names = {network.cable_name(f"i-{number:017x}") for number in range(200)}
    assert len(names) == 200
    assert all(len(name) <= 15 for name in names)


def test_rules_end_with_a_refusal_and_leave_ipv6_out() -> None:
    script = firewall.set_rules("c1", [Rule("tcp", 22, 22, "::/0"), Rule("tcp", 22, 22, "198.51.100.10/32")])
    lines = script.splitlines()
    assert lines[0].startswith("flush chain")
    assert lines[-1].endswith(" drop")
    assert len([line for line in lines if line.endswith(" accept")]) == 1
