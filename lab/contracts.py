# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab's rooms promise each other. Rooms import this file and never one another; `service.py` joins them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

BLOCK_SIZE = 524_288


@dataclass(frozen=True)
class Rule:
    """One permission of a security group: protocol `tcp`, `udp`, `icmp` or `-1`, ports inclusive.

    A host may send everything, as EC2 has it for a new group, unless `CLOSED` is among its rules: then only what the
    outward ones say. With `CUT` nothing passes, established connections neither.
    """

    protocol: str
    from_port: int
    to_port: int
    cidr: str
    outward: bool = False


CLOSED = Rule("closed", -1, -1, "0.0.0.0/0", outward=True)
CUT = Rule("cut", -1, -1, "0.0.0.0/0", outward=True)


@dataclass(frozen=True)
class HostSpec:
    """All that a host is told when it boots."""

    instance_id: str
    region: str
    zone: str
    private_ip: str
    image_id: str
    instance_type: str
    user_data: bytes = b""
    public_keys: Mapping[str, str] = field(default_factory=dict)  # key pair name -> OpenSSH public key
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True)
class Credentials:
    """Temporary credentials as the metadata service hands them out. Times are ISO 8601 UTC."""

    access_key: str
    secret_key: str
    token: str
    last_updated: str
    expiration: str


@dataclass(frozen=True)
class InstanceMetadata:
    """What the metadata service may say of one instance."""

    instance_id: str
    account: str
    region: str
    zone: str
    image_id: str
    instance_type: str
    private_ip: str
    mac: str
    hostname: str
    security_groups: tuple[str, ...]
    user_data: bytes
    public_keys: Mapping[str, str]
    profile_arn: str | None
    profile_id: str | None
    role_name: str | None
    tokens_required: bool = True
    enabled: bool = True
    hop_limit: int = 1


class MetadataSource(Protocol):
    """Answered by the AWS side, asked by the metadata service."""

    def instance_by_ip(self, address: str) -> InstanceMetadata | None: ...

    def role_credentials(self, instance_id: str, role_name: str) -> Credentials | None: ...


class HostBackend(Protocol):
    """Real hosts behind instances. Calls return quickly or raise; what happens later is told through `on_exit`."""

    def boot(self, spec: HostSpec, on_exit: Callable[[str, str], None]) -> None:
        """Start a host. `on_exit(instance_id, how)` is called once when it ended: `poweroff` (from inside), `stopped`
        (by `stop`) or `died`. Raises when the host cannot be started at all."""
        ...

    def stop(self, instance_id: str, *, hard: bool = False) -> None: ...

    def restart(self, instance_id: str) -> None: ...

    def forget(self, instance_id: str) -> None:
        """Remove what is left of a terminated host (overlay, console file)."""
        ...

    def attach(self, instance_id: str, volume_id: str, device: str, backing: Path) -> None:
        """Make `backing` a block device of the host, under the NVMe by-id names, partitions included."""
        ...

    def detach(self, instance_id: str, volume_id: str) -> None: ...

    def console(self, instance_id: str) -> str: ...

    def set_rules(self, instance_id: str, rules: Iterable[Rule]) -> None: ...

    def is_running(self, instance_id: str) -> bool: ...


class BlockStore(Protocol):
    """Snapshots and volumes as sparse files, per region. Methods raise `StoreError` subclasses of `lab.ebs.store`."""

    def create_volume(self, region: str, volume_id: str, gib: int, snapshot_id: str | None) -> Path: ...

    def volume_path(self, region: str, volume_id: str) -> Path: ...

    def delete_volume(self, region: str, volume_id: str) -> None: ...

    def snapshot_volume(self, region: str, volume_id: str, snapshot_id: str) -> None: ...

    def copy_snapshot(self, source_region: str, source_id: str, region: str, snapshot_id: str) -> None: ...

    def delete_snapshot(self, region: str, snapshot_id: str) -> None: ...

    def has_snapshot(self, region: str, snapshot_id: str) -> bool: ...

    def allocated_blocks(self, region: str, snapshot_id: str) -> int:
        """How many blocks were written: what AWS calls the full snapshot size, in blocks."""
        ...


class SnapshotCatalog(Protocol):
    """Answered by the AWS side (moto's models), asked by EBS direct: who may see which snapshot, in which state."""

    def describe(self, region: str, snapshot_id: str) -> Mapping[str, Any] | None:
        """`{state, gib, owner, public, tier, encrypted, volume_id, lineage}`, or None where there is none.

        `kms_key` (an ARN) may be there for an encrypted one: readers then need `kms:Decrypt` on it. Snapshots of one
        non-empty `lineage` can be compared by ListChangedBlocks.
        """
        ...

    def start(self, region: str, gib: int, *, parent: str | None, description: str, tags: Mapping[str, str],
              encrypted: bool, kms_key: str | None, client_token: str | None, account: str) -> str:
        """Make a pending snapshot of an account and return its id (the same id for the same `client_token`)."""
        ...

    def complete(self, region: str, snapshot_id: str) -> None: ...


class Authorizer(Protocol):
    """Answered by the AWS side: is this signed request allowed? Raises `Refused` with the AWS error code.

    EBS direct verifies the signature itself, for every request, with the key that `secret_key` names; what `check`
    decided for an access key, action and resource is believed for a second.
    """

    def secret_key(self, access_key: str, session_token: str | None) -> str:
        """The secret of an access key (refused: unknown, inactive, expired, or the wrong session token)."""
        ...

    def account(self, access_key: str, session_token: str | None) -> str:
        """The account of an access key; refused as `secret_key` refuses."""
        ...

    def check(self, *, method: str, path: str, query: str, headers: Mapping[str, str], action: str, resource: str,
              region: str) -> None: ...


class Refused(Exception):
    """An AWS error answer: HTTP status, code as AWS spells it, one clear sentence."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True)
class Fault:
    """One armed fault, as `lab.faults` describes it. `args` are the fault's own settings."""

    name: str
    args: Mapping[str, Any] = field(default_factory=dict)


class Faults(Protocol):
    """The one switch. A room asks at each of its fault points; None means: behave."""

    def take(self, name: str, **context: Any) -> Fault | None:
        """The armed fault of that name whose conditions match `context`, its count lowered by one; else None."""
        ...
