# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the rest of the lab asks the AWS side: snapshots for EBS direct, instances and credentials for metadata."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from lab.config import ACCOUNT
from lab.contracts import Credentials, InstanceMetadata, Refused

from . import moto_app, needs
from .ec2_groups import groups_of
from .ec2_instances import user_data_of
from .ec2_snapshots import NO_VOLUME, LabSnapshot, default_key
from .world import World

# isort: split
from moto.ec2.utils import random_snapshot_id

RENEW = timedelta(minutes=5)  # AWS has new credentials ready this long before the old ones end


def snapshot_id(client_token: str) -> str:
    """The id that StartSnapshot gives for a client token; fixed, so that evidence keeps its name."""
    return f"snap-0{hashlib.sha256(client_token.encode()).hexdigest()[:16]}"


class Catalog:
    """Implements `contracts.SnapshotCatalog`."""

    def describe(self, region: str, snapshot_id: str) -> Mapping[str, Any] | None:
        snapshot = moto_app.snapshot(region, snapshot_id)  # who may see it is the authorizer's to say
        if snapshot is None:
            return None
        return {
            "state": snapshot.status, "gib": snapshot.volume_size, "owner": snapshot.owner_id,
            "public": snapshot.public, "tier": snapshot.storage_tier, "encrypted": bool(snapshot.encrypted),
            "kms_key": snapshot.kms_key_id, "volume_id": snapshot.volume_id, "lineage": snapshot.lineage,
            "description": snapshot.description,
        }

    def start(self, region: str, gib: int, *, parent: str | None, description: str, tags: Mapping[str, str],
              encrypted: bool, kms_key: str | None, client_token: str | None, account: str = ACCOUNT) -> str:
        with moto_app.acting(account), moto_app.MODELS:
            backend = moto_app.ec2(region)
            name = snapshot_id(client_token) if client_token else random_snapshot_id()
            if name in backend.snapshots:
                return name
            lineage = name
            if parent is not None:
                before = moto_app.snapshot(region, parent)
                if before is None:
                    raise Refused(404, "ResourceNotFoundException", f"The parent snapshot {parent} does not exist.")
                lineage, encrypted = before.lineage, bool(before.encrypted)
                kms_key = before.kms_key_id
            key = None
            if encrypted or kms_key:
                key = needs.key_arn(region, kms_key) if kms_key else default_key(backend)
                if key is None:
                    raise Refused(400, "ValidationException", f"The KMS key {kms_key} does not exist in {region}.")
            snapshot = LabSnapshot(backend, name, NO_VOLUME, gib, description, lineage=lineage,
                                   encrypted=key is not None, kms_key_id=key)
            backend.snapshots[name] = snapshot
            snapshot.add_tags(dict(tags))
            return name

    def complete(self, region: str, snapshot_id: str) -> None:
        with moto_app.MODELS:
            moto_app.snapshot(region, snapshot_id).complete()


def _live(address: str) -> Any:
    for region in moto_app.ec2_regions():
        for instance in moto_app.ec2(region).all_instances():
            if instance.private_ip == address and instance.state in ("pending", "running", "stopping",
                                                                     "shutting-down"):
                return instance
    return None


def _instance(instance_id: str) -> Any:
    for region in moto_app.ec2_regions():
        found = moto_app.ec2(region).get_instance_by_id(instance_id)
        if found is not None:
            return found
    return None


class Metadata:
    """Implements `contracts.MetadataSource`. Reads without the models' lock: a host asks while it boots."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._issued: dict[tuple[str, str], tuple[datetime, Credentials]] = {}

    def instance_by_ip(self, address: str) -> InstanceMetadata | None:
        instance = _live(address)
        if instance is None:
            return None
        backend = instance.ec2_backend
        profile = self._profile(instance)
        role = next(iter(profile.roles), None) if profile is not None else None
        pair = backend.key_pairs.get(instance.key_name) if instance.key_name else None
        options = instance.metadata_options
        return InstanceMetadata(
            instance_id=instance.id, account=ACCOUNT, region=backend.region_name, zone=instance.availability_zone,
            image_id=instance.image_id, instance_type=instance.instance_type, private_ip=instance.private_ip,
            mac=instance.nics[0].mac_address, hostname=instance.private_dns_name,
            security_groups=tuple(g.name for g in groups_of(instance)), user_data=user_data_of(instance),
            public_keys={pair.key_name: pair.material_public.decode().strip()} if pair is not None else {},
            profile_arn=profile.arn if profile is not None else None,
            profile_id=profile.id if profile is not None else None,
            role_name=role.name if role is not None else None,
            tokens_required=options.http_tokens == "required", enabled=options.http_endpoint != "disabled",
            hop_limit=int(options.http_put_response_hop_limit or 1))

    @staticmethod
    def _profile(instance: Any) -> Any:
        association = instance.ec2_backend.iam_instance_profile_associations.get(instance.id)
        if association is None:
            return None
        arn = association.iam_instance_profile.arn
        # Looked up anew: a profile that was deleted gives no credentials.
        return next((p for p in moto_app.iam().get_instance_profiles() if p.arn == arn), None)

    def role_credentials(self, instance_id: str, role_name: str) -> Credentials | None:
        """Real temporary credentials of the role, renewed before they end."""
        instance = _instance(instance_id)
        profile = self._profile(instance) if instance is not None else None
        role = next((r for r in profile.roles if r.name == role_name), None) if profile is not None else None
        if role is None:
            return None
        now = datetime.now(timezone.utc)
        known = self._issued.get((instance_id, role.arn))
        margin = min(RENEW, timedelta(seconds=self._world.credential_seconds / 4))
        if known is not None and known[0] - margin > now:
            return known[1]
        seconds = self._world.credential_seconds
        with moto_app.MODELS:
            session = moto_app.sts().assume_role(
                region_name=instance.ec2_backend.region_name, role_session_name=instance_id, role_arn=role.arn,
                policy="", duration=seconds, external_id="")
        session.lab_instance_arn = \
            f"arn:aws:ec2:{instance.ec2_backend.region_name}:{ACCOUNT}:instance/{instance_id}"
        session.lab_issued = now
        end = now + timedelta(seconds=seconds)
        credentials = Credentials(session.access_key_id, session.secret_access_key, session.session_token,
                                  now.strftime("%Y-%m-%dT%H:%M:%SZ"), end.strftime("%Y-%m-%dT%H:%M:%SZ"))
        self._issued[(instance_id, role.arn)] = (end, credentials)
        return credentials
