# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab without AWS: network, metadata and one host, for the self-test and for tests of the rooms around hosts."""

from __future__ import annotations

import shlex
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from lab import config
from lab.contracts import Credentials, Fault, HostSpec, InstanceMetadata, Rule
from lab.hosts import Hosts
from lab.hosts.teardown import teardown
from lab.imds import ImdsServer
from lab.network import Network

INSTANCE = "i-0123456789abcdef0"
ADDRESS = "172.31.5.6"
SSH_FROM_CONTROLLER = Rule("tcp", 22, 22, f"{config.CONTROLLER_IP}/32")


@dataclass
class ListedFaults:
    """Faults given beforehand, each taken once."""

    armed: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def take(self, name: str, **context: Any) -> Fault | None:
        """As `lab.contracts.Faults`."""
        args = self.armed.pop(name, None)
        return None if args is None else Fault(name, args)


@dataclass
class OneInstance:
    """Metadata of the one instance there is."""

    user_data: bytes
    public_keys: Mapping[str, str] = field(default_factory=dict)

    def instance_by_ip(self, address: str) -> InstanceMetadata | None:
        """As `lab.contracts.MetadataSource`."""
        if address != ADDRESS:
            return None
        return InstanceMetadata(
            instance_id=INSTANCE, account=config.ACCOUNT, region="eu-west-1", zone="eu-west-1a", image_id="ami-1",
            instance_type="m6i.large", private_ip=ADDRESS, mac="0a:00:00:00:00:01",
            hostname="ip-172-31-5-6.eu-west-1.compute.internal", security_groups=("default",),
            user_data=self.user_data, public_keys=self.public_keys, profile_arn=None, profile_id=None, role_name=None)

    def role_credentials(self, instance_id: str, role_name: str) -> Credentials | None:
        """As `lab.contracts.MetadataSource`: this instance has no profile."""
        return None


class Bench:
    """A lab with one host, as a context: everything is gone when it ends."""

    def __init__(self, state: Path, cache: Path, faults: ListedFaults | None = None) -> None:
        self.config = config.LabConfig(state=state.resolve(), cache=cache)
        self.network = Network(self.config)
        self.faults = faults or ListedFaults()
        self.exits: list[tuple[str, str]] = []
        self.ended = threading.Event()
        self.key = state / "key"

    def __enter__(self) -> Bench:
        self.config.state.mkdir(parents=True, exist_ok=True)
        self.hosts = Hosts(self.config, self.network, self.faults)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)], check=True)
        public_key = Path(f"{self.key}.pub").read_text(encoding="utf-8").strip()
        self.source = OneInstance(user_data(public_key).encode())
        self.imds = ImdsServer(self.source)
        self.network.up()
        self.imds.start(self.network.listen(config.METADATA_IP, 80))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hosts.close()
        self.imds.close()
        self.network.close()
        teardown(self.config)

    def boot(self, rules: tuple[Rule, ...] = (SSH_FROM_CONTROLLER,)) -> None:
        """Start the host with a user `dfir` who has the bench's key."""
        self.ended.clear()
        self.hosts.boot(HostSpec(INSTANCE, "eu-west-1", "eu-west-1a", ADDRESS, "ami-1", "m6i.large",
                                 self.source.user_data, {}, rules), self._on_exit)

    def ssh(self, command: str, *, person: str = "controller", seconds: int = 30) -> subprocess.CompletedProcess[str]:
        """Run a shell command on the host through a relay."""
        client = Path(__file__).parent.parent / "network" / "relay_client.py"
        proxy = f"python3 {client} {self.config.relay(person)} %h %p"
        return subprocess.run(
            ["ssh", "-i", str(self.key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
             "-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-o", f"ProxyCommand={proxy}", f"dfir@{ADDRESS}", command],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=seconds)

    def run(self, command: str) -> str:
        """Run a shell command as root on the host; its output, or an error with what it said."""
        done = self.ssh(f"sudo sh -euc {shlex.quote(command)}")
        if done.returncode != 0:
            raise AssertionError(f"{command!r} on the host: exit code {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def wait_for_ssh(self, seconds: float = 30.0) -> float:
        """How many seconds it took until a login succeeded."""
        start = time.monotonic()
        while self.ssh("true").returncode != 0:
            if time.monotonic() - start > seconds:
                raise AssertionError(f"no login in {seconds} s; the console says:\n{self.hosts.console(INSTANCE)}")
            time.sleep(0.1)
        return time.monotonic() - start

    def _on_exit(self, instance_id: str, how: str) -> None:
        self.exits.append((instance_id, how))
        self.ended.set()


def user_data(public_key: str) -> str:
    """A cloud-config like the product's: a user with a key, a file, a command."""
    return f"""#cloud-config
users:
  - name: dfir
    shell: /bin/bash
    sudo: "ALL=(ALL) NOPASSWD:ALL"
    ssh_authorized_keys: ["{public_key}"]
write_files:
  - path: /etc/dfir/from-user-data
    content: written at first boot
runcmd:
  - [touch, /run/first-boot-command-ran]
"""


def make_disk(path: Path) -> None:
    """A disk with a partition table and an ext4 file system that holds one file; nothing is mounted for it."""
    tree = path.with_suffix(".tree")
    tree.mkdir()
    (tree / "hello.txt").write_text("hello from the volume\n", encoding="utf-8")
    part = path.with_suffix(".part")
    commands = [
        ["truncate", "-s", "30M", str(part)],
        ["mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(part)],
        ["truncate", "-s", "64M", str(path)],
        ["sfdisk", "-q", str(path)],
        ["dd", f"if={part}", f"of={path}", "bs=1M", "seek=1", "conv=notrunc,sparse", "status=none"],
    ]
    for command in commands:
        subprocess.run(command, check=True, text=True,
                       input="label: gpt\nstart=1MiB, size=30MiB\n" if command[0] == "sfdisk" else "")
    part.unlink()
