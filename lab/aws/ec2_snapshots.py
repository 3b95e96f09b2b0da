# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots as AWS has them: copies that take time, fail late, carry blocks and lose tags; filters, pages, owners."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

from lab.config import ACCOUNTS

from . import kms_keys, moto_app, needs
from .ec2_filters import chosen, page, tag_value
from .world import current

# isort: split
from moto.core.responses import ActionResult, EmptyResult
from moto.core.utils import utcnow
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.elastic_block_store import EBSBackend, Snapshot
from moto.ec2.responses.elastic_block_store import ElasticBlockStore
from moto.ec2.utils import random_snapshot_id

NO_VOLUME = "vol-ffffffff"
STEPS = 10  # how many times the progress of something slow moves
BLOCK = 524_288
_describe_attribute = ElasticBlockStore.describe_snapshot_attribute
KMS_REFUSED = "Given key ID is not accessible"


class Origin:
    """Stands in for the volume of a snapshot, which may be gone, or elsewhere."""

    def __init__(self, volume_id: str, size: int) -> None:
        self.id, self.size = volume_id, size


class LabSnapshot(Snapshot):
    """A snapshot with a state of its own."""

    def __init__(self, backend: Any, snapshot_id: str, volume_id: str, size: int, description: str, *, lineage: str,
                 encrypted: bool = False, kms_key_id: str | None = None, owner_id: str | None = None) -> None:
        super().__init__(backend, snapshot_id, Origin(volume_id, size), description, encrypted, kms_key_id, owner_id)
        self.lineage = lineage
        self.status = "pending"
        self.percent = 0
        self.state_message: str | None = None
        self.completion_time: Any = None
        self.lab_codes: list[str] = []

    @property
    def product_codes(self) -> list[str]:
        """Marketplace product codes: its source's, or what a fault gives it."""
        region = self.ec2_backend.region_name
        given = current().faults.take("ec2.product_code", region=region, snapshot=self.id)
        return [*self.lab_codes, *([str(given.args.get("code") or "0labproductcode")] if given else [])]

    @property
    def state(self) -> str:
        return self.status

    @property
    def progress(self) -> str:
        return f"{self.percent}%"

    @property
    def full_snapshot_size_in_bytes(self) -> int | None:
        """Known once it is complete, as on AWS."""
        store = current().store
        region = self.ec2_backend.region_name
        if self.status != "completed" or not store.has_snapshot(region, self.id):
            return None
        return store.allocated_blocks(region, self.id) * BLOCK

    @property
    def public(self) -> bool:
        return "all" in self.create_volume_permission_groups

    def get_tags(self) -> list[dict[str, str]]:
        """Its own: moto goes through the tags of the whole account, for each of the snapshots that it shows."""
        own = self.ec2_backend.tags.get(self.id, {})
        return [{"resource_id": self.id, "resource_type": "snapshot", "key": key, "value": value}
                for key, value in own.items()]

    def complete(self) -> None:
        if self.status == "pending":
            self.status, self.percent, self.completion_time = "completed", 100, utcnow()

    def fail(self, message: str) -> None:
        if self.status == "pending":
            self.status, self.state_message = "error", message

    def visible_to(self, account: str) -> bool:
        return self.owner_id == account or self.public or account in self.create_volume_permission_userids


def not_found(name: str) -> EC2ClientError:
    """As AWS says it, malformed ids apart."""
    if not re.fullmatch(r"snap-([0-9a-f]{8}|[0-9a-f]{17})", name):
        return EC2ClientError("InvalidSnapshotID.Malformed", f"Invalid id: \"{name}\" (expecting \"snap-...\")")
    return EC2ClientError("InvalidSnapshot.NotFound", f"The snapshot '{name}' does not exist.")


def seen_from(backend: Any, snapshot: Any) -> Any:
    """A snapshot as an account sees it: another account's has the tags that the looking account gave it, if any."""
    if snapshot.ec2_backend is backend:
        return snapshot
    view = copy.copy(snapshot)
    view.ec2_backend = backend
    return view


def get_snapshot(self: Any, snapshot_id: str) -> Any:
    """Replaces moto's: the error names the snapshot, and what other accounts share is found."""
    found = self.snapshots.get(snapshot_id) or moto_app.snapshot(self.region_name, snapshot_id)
    if found is None or not found.visible_to(self.account_id):
        raise not_found(snapshot_id)
    return seen_from(self, found)


def visible_snapshots(backend: Any) -> list[Any]:
    """The account's own snapshots of a region, and those that others share with it or with everybody."""
    out = list(backend.snapshots.values())
    for account in ACCOUNTS:
        if account != backend.account_id and backend.region_name in moto_app.ec2_regions(account):
            out += [seen_from(backend, other) for other
                    in moto_app.ec2(backend.region_name, account).snapshots.values()]
    return [snapshot for snapshot in out if snapshot.visible_to(backend.account_id)]


def default_key(backend: Any) -> str:
    """The ARN of an account's `alias/aws/ebs` key in a region, or of what it has set in its place."""
    if not backend.default_kms_key_id:
        backend._create_default_encryption_key()
        arn = str(backend.default_kms_key_id)
        key = moto_app.kms(backend.region_name, backend.account_id).keys[arn.rsplit("/", 1)[-1]]
        key.policy = json.dumps(kms_keys.managed_policy(backend.account_id, backend.region_name))
        key.key_manager = "AWS"
    return str(backend.default_kms_key_id)


def progress_in_steps(snapshot: LabSnapshot, seconds: float, end: Any) -> None:
    """Let a pending snapshot move on, and `end` it."""
    if seconds <= 0:
        current().after(0, end)
        return

    def step(number: int) -> None:
        if snapshot.status != "pending" or snapshot.id not in snapshot.ec2_backend.snapshots:
            return
        if number >= STEPS:
            end()
            return
        snapshot.percent = number * 100 // STEPS
        current().after(seconds / STEPS, lambda: step(number + 1))

    current().after(seconds / STEPS, lambda: step(1))


def copy_snapshot(self: Any, source_snapshot_id: str, source_region: str, description: str | None,
                  kms_key_id: str | None, encrypted: bool = False, kms_refusal: str | None = None) -> LabSnapshot:
    """CopySnapshot: a new id at once, blocks and failures later."""
    region = self.region_name
    source = get_snapshot(moto_app.ec2(source_region, self.account_id), source_snapshot_id)
    if source.status != "completed":
        raise EC2ClientError("IncorrectState", f"The snapshot {source_snapshot_id} is in state '{source.status}'; "
                                               "only a completed snapshot can be copied.")
    if source.storage_tier == "archive":
        raise EC2ClientError("InvalidSnapshot.Archived", f"The snapshot {source_snapshot_id} is archived.")
    if kms_key_id and not encrypted and not source.encrypted:
        raise EC2ClientError("InvalidParameterDependency", "The parameter KmsKeyId requires the parameter Encrypted "
                                                           "to be set.")
    encrypted = bool(encrypted or source.encrypted)
    refusal = None
    key: str | None = None
    if encrypted:
        key = needs.key_arn(region, kms_key_id) if kms_key_id else default_key(self)
        # AWS looks at the key only after it has answered: the copy then ends in state error (pitfall 35).
        if key is None or kms_refusal:
            refusal = KMS_REFUSED
            key = key or kms_key_id
    snapshot = LabSnapshot(
        self, random_snapshot_id(), NO_VOLUME, source.volume_size,
        description or f"[Copied {source_snapshot_id} from {source_region}]",
        lineage=f"{source.lineage}>{region}:{key or ''}", encrypted=encrypted, kms_key_id=key)
    snapshot.lab_codes = source.product_codes
    self.snapshots[snapshot.id] = snapshot
    _run_copy(snapshot, source_region, source_snapshot_id, refusal)
    return snapshot


def _run_copy(snapshot: LabSnapshot, source_region: str, source_id: str, refusal: str | None) -> None:
    world, region = current(), snapshot.ec2_backend.region_name
    where = {"region": region, "snapshot": snapshot.id, "source_region": source_region, "source_snapshot": source_id}
    slow = world.faults.take("ec2.copy_slow", **where)
    fails = world.faults.take("ec2.copy_fails", **where)
    kms = world.faults.take("ec2.kms_late_refusal", **where)
    seconds = float(slow.args.get("seconds", 60)) if slow else world.delays.copy
    if kms:
        refusal = str(kms.args.get("message") or KMS_REFUSED)
    elif fails:
        refusal = str(fails.args.get("message") or "Failed to copy snapshot: an internal error occurred")
    if refusal is None:
        # Taken now: what happens to the source while the copy is pending does not change the copy.
        world.store.copy_snapshot(source_region, source_id, region, snapshot.id)
    message = refusal

    def end() -> None:
        if message is None:
            snapshot.complete()
        else:
            snapshot.fail(message)

    progress_in_steps(snapshot, seconds, end)


def create_snapshot(self: Any, volume_id: str, description: str | None, owner_id: str | None = None,
                    from_ami: str | None = None) -> LabSnapshot:
    """CreateSnapshot of an ordinary volume: its blocks as they are now."""
    volume = self.get_volume(volume_id)
    if getattr(volume, "lab_root", False):
        raise EC2ClientError("LabNotImplemented", f"{volume_id} is the root disk of a lab host, which is a folder and "
                                                  "has no blocks; snapshot a data volume instead.")
    snapshot = LabSnapshot(self, random_snapshot_id(), volume_id, volume.size, description or "",
                           lineage=volume_id, encrypted=bool(volume.encrypted), kms_key_id=volume.kms_key_id)
    snapshot.lab_codes = list(volume.product_codes)
    current().store.snapshot_volume(self.region_name, volume_id, snapshot.id)
    self.snapshots[snapshot.id] = snapshot
    progress_in_steps(snapshot, current().delays.snapshot, snapshot.complete)
    return snapshot


def delete_snapshot(self: Any, snapshot_id: str) -> Any:
    """DeleteSnapshot: blocks go too. What keeps it, `ec2_locks` asks before."""
    snapshot = get_snapshot(self, snapshot_id)
    if snapshot.owner_id != self.account_id:
        raise EC2ClientError("AuthFailure", f"You do not own the snapshot {snapshot_id}.")
    refused = current().faults.take("ec2.delete_refused", region=self.region_name, snapshot=snapshot_id)
    if refused:
        raise EC2ClientError(str(refused.args.get("code") or "InternalError"),
                             str(refused.args.get("message") or "An internal error has occurred"))
    del self.snapshots[snapshot_id]
    self.tags.pop(snapshot_id, None)
    if current().store.has_snapshot(self.region_name, snapshot_id):
        current().store.delete_snapshot(self.region_name, snapshot_id)
    return snapshot


def _value(snapshot: Any, name: str) -> Any:
    values = {
        "description": snapshot.description, "encrypted": str(bool(snapshot.encrypted)).lower(),
        "owner-alias": None, "owner-id": snapshot.owner_id, "progress": snapshot.progress,
        "snapshot-id": snapshot.id, "start-time": snapshot.start_time.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "status": snapshot.status, "storage-tier": snapshot.storage_tier, "volume-id": snapshot.volume_id,
        "volume-size": snapshot.volume_size,
    }
    if name in values:
        return values[name]
    return tag_value(snapshot.ec2_backend.tags.get(snapshot.id, {}), name)


def describe_snapshots(self: Any) -> ActionResult:
    """DescribeSnapshots with ids, owners, who may restore, filters and pages."""
    backend = self.ec2_backend
    ids = self._get_param("SnapshotIds", [])
    owners = [backend.account_id if o == "self" else o for o in self._get_param("OwnerIds", [])]
    restorable = [backend.account_id if o == "self" else o for o in self._get_param("RestorableByUserIds", [])]
    limit, token = self._get_int_param("MaxResults"), self._get_param("NextToken")
    if ids and (limit is not None or token):
        raise EC2ClientError("InvalidParameterCombination",
                             "The parameter snapshotSet cannot be used with the parameter maxResults")
    found = [get_snapshot(backend, name) for name in ids] if ids else \
        visible_snapshots(backend)
    if owners:
        found = [s for s in found if s.owner_id in owners]
    if restorable:
        found = [s for s in found if any((r == "all" and s.public) or (r != "all" and s.visible_to(r))
                                         for r in restorable)]
    found = chosen(found, self._filters_from_querystring(), _value)
    found, following = page(found, limit, token)
    return ActionResult({"Snapshots": found, "NextToken": following})


def product_codes_answer(codes: list[str]) -> list[dict[str, str]]:
    """Product codes as the API spells them."""
    return [{"ProductCodeId": code, "ProductCodeType": "marketplace"} for code in codes]


def describe_snapshot_attribute(self: Any) -> ActionResult:
    """DescribeSnapshotAttribute: one attribute, and to the owner alone."""
    snapshot = get_snapshot(self.ec2_backend, self._get_param("SnapshotId"))
    if snapshot.owner_id != self.ec2_backend.account_id:
        raise EC2ClientError("AuthFailure", f"Not authorized for resource: {snapshot.id}")
    if self._get_param("Attribute") == "productCodes":
        return ActionResult({"SnapshotId": snapshot.id, "ProductCodes": product_codes_answer(snapshot.product_codes)})
    return _describe_attribute(self)


def modify_snapshot_attribute(self: Any) -> ActionResult:
    """ModifySnapshotAttribute: sharing, by the owner alone, and never what AWS' own key encrypts."""
    backend = self.ec2_backend
    snapshot = get_snapshot(backend, self._get_param("SnapshotId"))
    if snapshot.owner_id != backend.account_id:
        raise EC2ClientError("AuthFailure", f"Not authorized for resource: {snapshot.id}")
    self.error_on_dryrun()
    for change, apply in (("Add", backend.add_create_volume_permission),
                          ("Remove", backend.remove_create_volume_permission)):
        users, groups = _permissions(self, change)
        if change == "Add" and (users or groups):
            _shareable(self, snapshot, groups)
        apply(snapshot.id, user_ids=users, groups=groups)
    return EmptyResult()


def _permissions(self: Any, change: str) -> tuple[list[str], list[str]]:
    """Users and groups, in either form of the call; moto knows one, and does nothing on the other."""
    plain = str(self._get_param("OperationType") or "").lower() == change.lower()
    listed = (self._get_param("CreateVolumePermission", {}) or {}).get(change) or []
    users = list(self._get_param("UserIds", []) or []) if plain else []
    groups = list(self._get_param("GroupNames", []) or []) if plain else []
    return ([*users, *[item["UserId"] for item in listed if item.get("UserId")]],
            [*groups, *[item["Group"] for item in listed if item.get("Group")]])


def _shareable(self: Any, snapshot: Any, groups: list[str]) -> None:
    if not snapshot.encrypted:
        return
    if groups:
        raise EC2ClientError("OperationNotPermitted", "Encrypted snapshots cannot be shared publicly")
    region, account = self.ec2_backend.region_name, self.ec2_backend.account_id
    key = moto_app.kms(region, account).keys.get(str(snapshot.kms_key_id).rsplit("/", 1)[-1])
    if key is not None and kms_keys.managed(key):
        raise EC2ClientError("OperationNotPermitted", "Encrypted snapshots with EBS default key cannot be shared")


def copy_snapshot_response(self: Any) -> ActionResult:
    """CopySnapshot, with the parameters that moto drops."""
    self.error_on_dryrun()
    encrypted = bool(self._get_bool_param("Encrypted", False))
    tags = self._parse_tag_specification("snapshot").get("snapshot", {})
    snapshot = self.ec2_backend.copy_snapshot(
        source_snapshot_id=self._get_param("SourceSnapshotId"), source_region=self._get_param("SourceRegion"),
        description=self._get_param("Description"), kms_key_id=self._get_param("KmsKeyId"), encrypted=encrypted,
        kms_refusal=moto_app.CALL.kms_refusal)
    snapshot.add_tags(tags)
    return ActionResult({"SnapshotId": snapshot.id, "Tags": snapshot.tag_set})


def install() -> None:
    """Put these in the place of moto's."""
    for function in (copy_snapshot, create_snapshot, delete_snapshot, get_snapshot):
        setattr(EBSBackend, function.__name__, function)
    ElasticBlockStore.describe_snapshots = describe_snapshots  # type: ignore[method-assign]
    ElasticBlockStore.copy_snapshot = copy_snapshot_response  # type: ignore[method-assign]
    ElasticBlockStore.describe_snapshot_attribute = describe_snapshot_attribute  # type: ignore[method-assign]
    ElasticBlockStore.modify_snapshot_attribute = modify_snapshot_attribute  # type: ignore[method-assign]
