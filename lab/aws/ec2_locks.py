# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps a snapshot from being deleted: locks, and images that were registered with it. moto knows neither.

AWS documents no error code for the deletion of a locked snapshot; `SnapshotLocked` here is this project's guess.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from . import moto_app  # noqa: F401  first: it sets what moto reads while it is imported
from .account import ForeignImage
from .ec2_filters import chosen, page
from .ec2_snapshots import delete_snapshot as delete
from .ec2_snapshots import get_snapshot

# isort: split
from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.amis import AmiBackend
from moto.ec2.models.elastic_block_store import EBSBackend
from moto.ec2.responses.amis import AmisResponse
from moto.ec2.responses.elastic_block_store import ElasticBlockStore
from moto.ec2.utils import random_ami_id

_register_image = AmisResponse.register_image
_describe_images = AmiBackend.describe_images
BY_SNAPSHOT = "block-device-mapping.snapshot-id"


class Lock:
    """A lock of a snapshot. Compliance cannot be taken off once its time to think it over has passed."""

    def __init__(self, mode: str, until: datetime, cool_off_hours: int) -> None:
        self.mode, self.until = mode, until
        self.created = datetime.now(timezone.utc)
        self.cool_off_hours = cool_off_hours
        self.cool_off = self.created + timedelta(hours=cool_off_hours)

    @property
    def state(self) -> str:
        now = datetime.now(timezone.utc)
        if now >= self.until:
            return "expired"
        if self.mode == "compliance" and now < self.cool_off:
            return "compliance-cooloff"
        return self.mode

    @property
    def days(self) -> int:
        return round((self.until - self.created) / timedelta(days=1))

    def answer(self, snapshot_id: str) -> dict[str, Any]:
        """As the API spells it."""
        found = {"SnapshotId": snapshot_id, "LockState": self.state, "LockDuration": self.days,
                 "LockCreatedOn": self.created, "LockDurationStartTime": self.created, "LockExpiresOn": self.until}
        if self.mode == "compliance" and self.cool_off_hours:
            found |= {"CoolOffPeriod": self.cool_off_hours, "CoolOffPeriodExpiresOn": self.cool_off}
        return found


def lock_of(snapshot: Any) -> Lock | None:
    """The lock of a snapshot, an expired one included."""
    return getattr(snapshot, "lab_lock", None)


def why_kept(backend: Any, snapshot: Any) -> EC2ClientError | None:
    """Why a snapshot cannot be deleted, as AWS says it."""
    lock = lock_of(snapshot)
    if lock and lock.state != "expired":
        return EC2ClientError("SnapshotLocked", f"The snapshot {snapshot.id} is locked in {lock.state} mode until "
                                                f"{lock.until:%Y-%m-%dT%H:%M:%SZ} and cannot be deleted.")
    for image in backend.amis.values():
        if any((device.get("Ebs") or {}).get("SnapshotId") == snapshot.id for device in image.block_device_mappings):
            return EC2ClientError("InvalidSnapshot.InUse",
                                  f"The snapshot {snapshot.id} is currently in use by {image.id}")
    return None


def delete_snapshot(self: Any, snapshot_id: str) -> Any:
    """DeleteSnapshot: refused while a lock holds it or an image uses it."""
    snapshot = get_snapshot(self, snapshot_id)
    kept = why_kept(self, snapshot) if snapshot.owner_id == self.account_id else None
    if kept:
        raise kept
    return delete(self, snapshot_id)


def _mine(self: Any, name: str) -> Any:
    snapshot = get_snapshot(self.ec2_backend, name)
    if snapshot.owner_id != self.ec2_backend.account_id:
        raise EC2ClientError("AuthFailure", f"You do not own the snapshot {name}.")
    return snapshot


def lock_snapshot(self: Any) -> ActionResult:
    """LockSnapshot, for a number of days or until a moment."""
    self.error_on_dryrun()
    snapshot = _mine(self, self._get_param("SnapshotId"))
    mode, days, until = self._get_param("LockMode"), self._get_int_param("LockDuration"), \
        self._get_param("ExpirationDate")
    if mode not in ("governance", "compliance") or (days is None) == (until is None):
        raise EC2ClientError("InvalidParameterCombination", "A lock needs LockMode, and either LockDuration or "
                                                            "ExpirationDate.")
    now = datetime.now(timezone.utc)
    if until is None:
        end = now + timedelta(days=int(days or 0))
    else:
        given = until if isinstance(until, datetime) else datetime.fromisoformat(str(until).replace("Z", "+00:00"))
        end = given if given.tzinfo else given.replace(tzinfo=timezone.utc)
    known = lock_of(snapshot)
    if known and known.state == "compliance" and end < known.until:
        raise EC2ClientError("InvalidParameterValue", "A lock in compliance mode can only be extended.")
    snapshot.lab_lock = Lock(mode, end, int(self._get_int_param("CoolOffPeriod") or 0))
    return ActionResult(snapshot.lab_lock.answer(snapshot.id))


def unlock_snapshot(self: Any) -> ActionResult:
    """UnlockSnapshot: governance, or compliance in its cooling-off period."""
    self.error_on_dryrun()
    snapshot = _mine(self, self._get_param("SnapshotId"))
    lock = lock_of(snapshot)
    if lock is None:
        raise EC2ClientError("InvalidParameterValue", f"The snapshot {snapshot.id} is not locked.")
    if lock.state == "compliance":
        raise EC2ClientError("SnapshotLocked", f"The snapshot {snapshot.id} is locked in compliance mode.")
    snapshot.lab_lock = None
    return ActionResult({"SnapshotId": snapshot.id})


def describe_locked_snapshots(self: Any) -> ActionResult:
    """DescribeLockedSnapshots: the account's own, in pages."""
    ids, owner = self._get_param("SnapshotIds", []), self.ec2_backend.account_id
    found = [_mine(self, name) for name in ids] if ids else \
        [item for item in self.ec2_backend.snapshots.values() if item.owner_id == owner]

    def value(snapshot: Any, name: str) -> Any:
        if name != "lock-state":
            raise KeyError(name)
        return lock_of(snapshot).state  # type: ignore[union-attr]

    locked = chosen([item for item in found if lock_of(item)], self._filters_from_querystring(), value)
    shown, following = page(locked, self._get_int_param("MaxResults"), self._get_param("NextToken"))
    return ActionResult({"Snapshots": [{"OwnerId": owner, **lock_of(item).answer(item.id)}  # type: ignore[union-attr]
                                       for item in shown], "NextToken": following})


class RegisteredImage(ForeignImage):
    """An image of this account over snapshots that are there. Nothing boots from it."""

    def __init__(self, backend: Any, mappings: list[dict[str, Any]], **details: Any) -> None:
        self._mappings = mappings
        super().__init__(backend, random_ami_id(), **details)

    @property
    def block_device_mappings(self) -> list[dict[str, Any]]:
        return self._mappings


def register_image(self: Any) -> ActionResult:
    """RegisterImage over snapshots, which moto drops."""
    mappings = [dict(item) for item in self._get_param("BlockDeviceMappings", []) or []]
    if not any((item.get("Ebs") or {}).get("SnapshotId") for item in mappings):
        return _register_image(self)
    self.error_on_dryrun()
    for item in mappings:
        if (item.get("Ebs") or {}).get("SnapshotId"):
            get_snapshot(self.ec2_backend, item["Ebs"]["SnapshotId"])
    image = RegisteredImage(
        self.ec2_backend, mappings, name=self._get_param("Name"), description=self._get_param("Description", ""),
        owner_id=self.ec2_backend.account_id, architecture=self._get_param("Architecture"), virtualization_type="hvm",
        root_device_type="ebs", root_device_name=self._get_param("RootDeviceName") or "/dev/sda1",
        region_name=self.ec2_backend.region_name)
    self.ec2_backend.amis[image.id] = image
    return ActionResult({"ImageId": image.id})


def describe_images(self: Any, filters: dict[str, Any] | None = None, **more: Any) -> list[Any]:
    """Images, also by the snapshots that they use; moto wants several values of a filter to fit all at once."""
    wanted = (filters := dict(filters or {})).pop(BY_SNAPSHOT, None)
    found = _describe_images(self, filters=filters, **more)
    return found if wanted is None else [
        image for image in found
        if any((device.get("Ebs") or {}).get("SnapshotId") in wanted for device in image.block_device_mappings)]


def install() -> None:
    """Put these in the place of moto's."""
    EBSBackend.delete_snapshot = delete_snapshot  # type: ignore[method-assign]
    for function in (lock_snapshot, unlock_snapshot, describe_locked_snapshots):
        setattr(ElasticBlockStore, function.__name__, function)
    AmisResponse.register_image = register_image  # type: ignore[method-assign]
    AmiBackend.describe_images = describe_images  # type: ignore[assignment,method-assign]
