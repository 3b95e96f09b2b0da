# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a lab keeps its things, which names it takes, and how long its AWS pretends to think.

Several labs can live on one machine: everything that is global to a kernel (namespace, interfaces, ports) is derived
from the state folder or given by the environment.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
ACCOUNT = "123456789012"  # where the controller lives: the forensic account
MEMBER = "210987654321"  # an account of the same organization, with instances that can be acquired
ACCOUNTS = (ACCOUNT, MEMBER)

# Addresses inside the lab's own network namespace. The first three are from TEST-NET-2 (RFC 5737): they exist nowhere.
SERVICE_IP = "198.51.100.1"  # AWS endpoint, package source and image registry, as the hosts see them
CONTROLLER_IP = "198.51.100.10"  # where the controller's relay comes from
ANALYST_IP = "198.51.100.20"  # where the analyst's relay comes from
STRANGER_IP = "198.51.100.66"  # somebody whom no security group admits
GATEWAY_IP = "172.31.0.1"  # the VPC router; moto's default VPC is 172.31.0.0/16 in every region
METADATA_IP = "169.254.169.254"
PACKAGES_PORT = 8080  # on SERVICE_IP
REGISTRY_PORT = 5000  # on SERVICE_IP


@dataclass
class Delays:
    """Seconds that pending states take. Zero for tests; `python -m lab delays NAME=SECONDS …` changes them."""

    copy: float = 0.0
    volume: float = 0.0
    attach: float = 0.0
    instance: float = 0.0
    snapshot: float = 0.0


@dataclass(frozen=True)
class LabConfig:
    """One lab. `state` is removed by `lab-down`; `cache` outlives it and holds only what can be built again."""

    state: Path
    cache: Path
    port: int = 4570
    delays: Delays = field(default_factory=Delays)

    @property
    def tls_port(self) -> int:
        return self.port + 1

    @property
    def smtp_port(self) -> int:
        return self.port + 2

    @property
    def tag(self) -> str:
        """Six characters that tell this lab's namespace and interfaces from another lab's."""
        return hashlib.sha256(str(self.state).encode()).hexdigest()[:6]

    @property
    def netns(self) -> str:
        return f"dfirlab-{self.tag}"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def host_endpoint(self) -> str:
        """The AWS endpoint as instances reach it."""
        return f"http://{SERVICE_IP}:{self.port}"

    @property
    def keys(self) -> Path:
        return self.state / "keys"

    @property
    def mails(self) -> Path:
        return self.state / "mails"

    @property
    def pid_file(self) -> Path:
        return self.state / "lab.pid"

    @property
    def log_file(self) -> Path:
        return self.state / "lab.log"

    def relay(self, source: str) -> Path:
        """Unix socket through which `controller`, `analyst` or `stranger` reaches the lab's hosts."""
        return self.state / "relay" / f"{source}.sock"


def load() -> LabConfig:
    """The lab of this checkout, unless DFIR_LAB_STATE, DFIR_LAB_CACHE or DFIR_LAB_PORT name another one."""
    root_cache = Path("/var/cache/dfir-aws")
    user_cache = Path(os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))) / "dfir-aws"
    return LabConfig(
        state=Path(os.environ.get("DFIR_LAB_STATE") or CHECKOUT / ".lab").resolve(),
        cache=Path(os.environ.get("DFIR_LAB_CACHE") or (root_cache if os.geteuid() == 0 else user_cache)).resolve(),
        port=int(os.environ.get("DFIR_LAB_PORT") or 4570),
    )
