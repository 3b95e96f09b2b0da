# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who a snapshot is and who asks: EC2's and STS' words on it, for the manifest and for refusals before any byte moves.

Asked with the engine's own small client: boto3's for EC2 takes more memory than a whole imaging run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree  # noqa: S405 AWS' own answers over verified TLS; no entities are resolved

from .client import EbsClient, check_snapshot_id
from .errors import NotImageable, ProtocolError, SnapshotGone
from .rate import RateBudget

_EC2_VERSION, _STS_VERSION = "2016-11-15", "2011-06-15"
_BUFFER = 1 << 20


@dataclass(frozen=True)
class SnapshotFacts:
    """What DescribeSnapshots says; `full_bytes` is 0 where it says nothing (old snapshots)."""

    snapshot_id: str
    state: str
    volume_gib: int
    volume_id: str = ""
    owner: str = ""
    started: str = ""
    encrypted: bool | None = None
    kms_key: str = ""
    tier: str = "standard"
    outpost: str = ""
    message: str = ""
    full_bytes: int = 0

    def require_imageable(self) -> None:
        """Raise with one sentence where EBS direct cannot read the snapshot in its present state."""
        name = self.snapshot_id
        if self.state != "completed":
            more = f" ({self.message})" if self.message else ""
            wait = ": wait for it to complete" if self.state == "pending" else ""
            raise NotImageable(f"The snapshot {name} is in state {self.state}{more}{wait}.")
        if self.tier != "standard":
            raise NotImageable(f"The snapshot {name} is in tier {self.tier}: restore it first.")
        if self.outpost:
            raise NotImageable(f"The snapshot {name} lies on the Outpost {self.outpost}: copy it to the region first.")


def describe_snapshot(client: EbsClient, snapshot_id: str) -> SnapshotFacts:
    """The facts of one snapshot; `SnapshotGone` where it does not exist in this region or is not shared."""
    query = {"Action": "DescribeSnapshots", "Version": _EC2_VERSION, "SnapshotId.1": check_snapshot_id(snapshot_id)}
    root = _ask(client, "ec2", query)
    item = root.find("snapshotSet/item")
    if item is None:
        raise SnapshotGone(f"There is no snapshot {snapshot_id} in {client.region} that this account may see.")

    def text(name: str) -> str:
        return (item.findtext(name) or "").strip()

    try:
        return SnapshotFacts(
            snapshot_id=text("snapshotId"),
            state=text("status"),
            volume_gib=int(text("volumeSize")),
            volume_id=text("volumeId"),
            owner=text("ownerId"),
            started=text("startTime"),
            encrypted={"true": True, "false": False}.get(text("encrypted")),
            kms_key=text("kmsKeyId"),
            tier=text("storageTier") or "standard",
            outpost=text("outpostArn"),
            message=text("statusMessage"),
            full_bytes=int(text("fullSnapshotSizeInBytes") or 0),
        )
    except ValueError as error:
        raise ProtocolError(f"EC2's description of {snapshot_id} cannot be read: {error}.") from error


def caller(client: EbsClient) -> tuple[str, str]:
    """Account and ARN of whoever asks."""
    root = _ask(client, "sts", {"Action": "GetCallerIdentity", "Version": _STS_VERSION})
    result = root.find("GetCallerIdentityResult")
    if result is None:
        raise ProtocolError("STS does not say who is asking.")
    return result.findtext("Account") or "", result.findtext("Arn") or ""


def _ask(client: EbsClient, name: str, query: Mapping[str, str]) -> ElementTree.Element:
    service = client.other(name)
    connection, buffer = service.connection(), memoryview(bytearray(_BUFFER))
    try:
        answer = service.ask(connection, buffer, "/", query, RateBudget(None))
        root = ElementTree.fromstring(bytes(buffer[answer.start : answer.start + answer.length]))  # noqa: S314 as above
    except ElementTree.ParseError as error:
        raise ProtocolError(f"The answer of {name} is no XML: {error}.") from error
    finally:
        connection.close()
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root
