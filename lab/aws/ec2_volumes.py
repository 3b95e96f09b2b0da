# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes as AWS has them: states that take time, and attachments that become block devices of real hosts."""

from __future__ import annotations

import contextlib
import re
from typing import Any

from . import moto_app, needs
from .ec2_snapshots import default_key, get_snapshot, product_codes_answer
from .world import current

# isort: split
from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.block_device import BlockDeviceType
from moto.ec2.models.elastic_block_store import EBSBackend, Volume, VolumeAttachment
from moto.ec2.responses.elastic_block_store import ElasticBlockStore
from moto.ec2.utils import random_volume_id

DEVICE = re.compile(r"/dev/(sd[a-z]([1-9]|1[0-5])?|xvd[a-d]?[a-z]|nvme\d+n1)")
LIMITS = {"gp2": (1, 16384), "gp3": (1, 16384), "io1": (4, 16384), "io2": (4, 65536), "st1": (125, 16384),
          "sc1": (125, 16384), "standard": (1, 1024)}


class LabVolume(Volume):
    """A volume with a state of its own, until something is attached."""

    lab_state = "creating"
    lab_root = False  # the disk that a host boots from: a folder here, not a file of blocks
    product_codes: list[str] = []
    volume_initialization_rate: int | None = None  # MiB a second: kept and described, no more

    @property
    def status(self) -> str:
        return "in-use" if self.attachment else self.lab_state

    state = status


def create_volume(self: Any, size: Any, zone_name: str, snapshot_id: str | None = None, encrypted: bool = False,
                  kms_key_id: str | None = None, volume_type: str | None = None, iops: int | None = None,
                  throughput: int | None = None, multi_attach_enabled: bool | None = None, *, root: bool = False,
                  rate: int | None = None, kms_refusal: str | None = None) -> LabVolume:
    """CreateVolume; `root` makes one that only stands for a host's own disk."""
    volume_type = volume_type or "gp2"
    if volume_type not in LIMITS:
        raise EC2ClientError("InvalidParameterValue", f"Value ({volume_type}) for parameter volumeType is invalid.")
    zone = self.get_zone_by_name(zone_name)
    if zone is None:
        raise EC2ClientError("InvalidZone.NotFound", f"The zone '{zone_name}' does not exist.")
    source = get_snapshot(self, snapshot_id) if snapshot_id else None
    if source is not None and source.status != "completed":
        raise EC2ClientError("IncorrectState", f"Snapshot is in invalid state - {source.status}")
    if source is not None and source.storage_tier == "archive":
        raise EC2ClientError("InvalidParameterCombination", f"The snapshot {snapshot_id} is archived; restore it.")
    if size is None and source is None:
        raise EC2ClientError("MissingParameter", "The request must contain the parameter size/snapshot")
    size = int(size if size is not None else source.volume_size)  # type: ignore[union-attr]
    if source is not None and size < source.volume_size:
        raise EC2ClientError("InvalidParameterValue", "The size of a volume cannot be smaller than the snapshot: "
                                                      f"{size} GiB is less than {source.volume_size} GiB.")
    least, most = LIMITS[volume_type]
    if not least <= size <= most:
        raise EC2ClientError("InvalidParameterValue", f"Volume of {size}GiB is out of range ({least}..{most}) "
                                                      f"for {volume_type}.")
    if kms_key_id and not encrypted and not (source is not None and source.encrypted):
        raise EC2ClientError("InvalidParameterDependency", "The parameter KmsKeyId requires the parameter Encrypted "
                                                           "to be set.")
    if throughput and volume_type != "gp3":
        raise EC2ClientError("InvalidParameterCombination", f"The parameter throughput is not supported for "
                                                            f"{volume_type} volumes.")
    if iops and volume_type not in ("gp3", "io1", "io2"):
        raise EC2ClientError("InvalidParameterCombination", f"The parameter iops is not supported for {volume_type} "
                                                            "volumes.")
    if rate is not None and (source is None or not 100 <= rate <= 300):
        raise EC2ClientError("InvalidParameterValue", "VolumeInitializationRate is 100 to 300 MiB/s, for volumes "
                                                      "that are created from snapshots.")
    encrypted = bool(encrypted or (source is not None and source.encrypted))
    key = None
    vanishes = False
    if encrypted:
        key = needs.key_arn(self.region_name, kms_key_id) if kms_key_id else \
            (source.kms_key_id if source is not None and source.kms_key_id and source.owner_id == self.account_id
             else default_key(self))
        # Without rights on the key AWS answers with an id and takes the volume away again (pitfall 36).
        vanishes = key is None or bool(kms_refusal)
    defaults = {"gp3": (3000, 125), "gp2": (max(100, min(3 * size, 16000)), None)}.get(volume_type, (None, None))
    volume = LabVolume(  # type: ignore[abstract]
        self, random_volume_id(), size, zone, snapshot_id or "", encrypted, key, volume_type,
        int(iops) if iops else defaults[0], int(throughput) if throughput else defaults[1], bool(multi_attach_enabled))
    volume.lab_root = root
    volume.volume_initialization_rate = rate
    volume.product_codes = list(getattr(source, "product_codes", []) or [])
    self.volumes[volume.id] = volume
    if not root and not vanishes:
        current().store.create_volume(self.region_name, volume.id, size, snapshot_id or None)

    def ready() -> None:
        if vanishes:
            self.volumes.pop(volume.id, None)
            self.tags.pop(volume.id, None)
        else:
            volume.lab_state = "available"

    current().after(max(current().delays.volume, 0.2) if vanishes else current().delays.volume, ready)
    return volume


def delete_volume(self: Any, volume_id: str) -> Any:
    """DeleteVolume: refused while attached."""
    volume = self.get_volume(volume_id)
    if volume.attachment:
        raise EC2ClientError("VolumeInUse", f"Volume {volume_id} is currently attached to "
                                            f"{volume.attachment.instance.id}")
    del self.volumes[volume_id]
    self.tags.pop(volume_id, None)
    if not volume.lab_root:
        current().store.delete_volume(self.region_name, volume_id)
    return volume


def attach_volume(self: Any, volume_id: str, instance_id: str, device_path: str,
                  delete_on_termination: bool = False, *, launching: bool = False) -> VolumeAttachment:
    """AttachVolume: refused where AWS refuses; then the volume becomes a device of the host."""
    volume, instance = self.get_volume(volume_id), self.get_instance(instance_id)
    if volume.attachment:
        raise EC2ClientError("VolumeInUse", f"{volume_id} is already attached to an instance")
    if not launching:
        if volume.status != "available":
            raise EC2ClientError("IncorrectState", f"Volume '{volume_id}' is '{volume.status}', "
                                                   "it must be 'available'.")
        if instance.state not in ("running", "stopped"):
            raise EC2ClientError("IncorrectState", f"Instance '{instance_id}' is not 'running'.")
    if volume.availability_zone != instance.availability_zone:
        raise EC2ClientError("InvalidVolume.ZoneMismatch", f"The volume '{volume_id}' is not in the same availability "
                                                           f"zone as instance '{instance_id}'")
    if not DEVICE.fullmatch(device_path or ""):
        raise EC2ClientError("InvalidParameterValue", f"Value ({device_path}) for parameter device is invalid. "
                                                      f"{device_path} is not a valid EBS device name.")
    if device_path in instance.block_device_mapping:
        raise EC2ClientError("InvalidParameterValue", f"Invalid value '{device_path}' for unixDevice. Attachment point "
                                                      f"{device_path} is already in use")
    if volume.product_codes and instance.state != "stopped":
        raise EC2ClientError("OperationNotPermitted", f"'{volume_id}' with Marketplace codes may not be attached to "
                                                      "a running instance; stop it first.")
    attachment = VolumeAttachment(  # type: ignore[abstract]
        volume, instance, device_path, "attaching")
    attachment.delete_on_termination = delete_on_termination  # type: ignore[attr-defined]
    attachment.state = "attaching"  # type: ignore[attr-defined]
    volume.attachment = attachment
    instance.block_device_mapping[device_path] = BlockDeviceType(
        volume_id=volume_id, status="attaching", size=volume.size, attach_time=utcnow(),
        delete_on_termination=delete_on_termination)
    if not launching:
        current().after(current().delays.attach, lambda: make_device(attachment))
    return attachment


def make_device(attachment: Any) -> None:
    """Give the host the device, aside, then call the volume attached."""
    volume, instance, world = attachment.volume, attachment.instance, current()
    if volume.attachment is not attachment:
        return
    hosts = world.hosts_of(volume.ec2_backend.account_id)
    if hosts is None or volume.lab_root or instance.state in ("shutting-down", "terminated"):
        _attached(attachment)
        return

    def work() -> None:
        path = world.store.volume_path(volume.ec2_backend.region_name, volume.id)
        hosts.attach(instance.id, volume.id, attachment.device, path)
        with moto_app.MODELS:
            _attached(attachment)

    world.aside(f"attach {volume.id} to {instance.id}", work)


def _attached(attachment: Any) -> None:
    if attachment.volume.attachment is attachment and attachment.status == "attaching":
        attachment.status = attachment.state = "attached"
        block = attachment.instance.block_device_mapping.get(attachment.device)
        if block is not None:
            block.status = "in-use"


def release(attachment: Any) -> None:
    """Forget an attachment in the models."""
    volume, instance = attachment.volume, attachment.instance
    attachment.status = attachment.state = "detached"
    if volume.attachment is attachment:
        volume.attachment = None
    instance.block_device_mapping.pop(attachment.device, None)


def detach_volume(self: Any, volume_id: str, instance_id: str | None = None,
                  device_path: str | None = None) -> VolumeAttachment:
    """DetachVolume; instance and device may be left out."""
    volume = self.get_volume(volume_id)
    attachment = volume.attachment
    if attachment is None:
        raise EC2ClientError("IncorrectState", f"Volume '{volume_id}' is in the 'available' state.")
    if instance_id:
        self.get_instance(instance_id)
    if (instance_id and attachment.instance.id != instance_id) or (device_path and attachment.device != device_path):
        raise EC2ClientError("InvalidAttachment.NotFound", f"The volume '{volume_id}' is not attached to instance "
                                                           f"'{instance_id}' as device '{device_path}'.")
    instance = attachment.instance
    if volume.lab_root and instance.state in ("pending", "running"):
        raise EC2ClientError("OperationNotPermitted", f"Unable to detach root volume '{volume_id}' from instance "
                                                      f"'{instance.id}'")
    attachment.status = attachment.state = "detaching"
    instance.block_device_mapping[attachment.device].status = "detaching"
    world = current()
    hosts = world.hosts_of(self.account_id)
    if hosts is None or volume.lab_root or instance.state in ("pending", "shutting-down", "terminated"):
        world.after(world.delays.attach, lambda: release(attachment))
        return attachment

    def work() -> None:
        hosts.detach(instance.id, volume.id)
        with moto_app.MODELS:
            release(attachment)

    world.after(world.delays.attach, lambda: world.aside(f"detach {volume.id}", work))
    return attachment


def drop_all(instance: Any) -> None:
    """What happens to an instance's volumes when it is terminated: detached, and deleted where that was asked for."""
    backend = instance.ec2_backend
    for _, block in list(instance.block_device_mapping.items()):
        volume = backend.volumes.get(block.volume_id)
        if volume is None:
            continue
        if volume.attachment is not None:
            release(volume.attachment)
        if block.delete_on_termination in (True, "true"):
            with contextlib.suppress(EC2ClientError):
                backend.delete_volume(volume.id)
    instance.block_device_mapping.clear()


def _token(self: Any, made: Any) -> Any:
    """Same ClientToken, same answer: AWS' idempotence for calls that create."""
    token = self._get_param("ClientToken")
    known = self.ec2_backend.__dict__.setdefault("lab_tokens", {})
    params = repr(sorted((k, v) for k, v in self.data.items() if k not in ("Signature", "X-Amz-Date")))
    key = (self._get_action(), token)
    if token and key in known:
        before, result = known[key]
        if before != params:
            raise EC2ClientError("IdempotentParameterMismatch",
                                 "The request uses the same client token as a previous, but non-identical request.")
        return result
    result = made()
    if token:
        known[key] = (params, result)
    return result


idempotent = _token


def create_volume_response(self: Any) -> ActionResult:
    """CreateVolume with its client token, its tags in the same call, and its state as it is."""
    self.error_on_dryrun()
    tags = self._parse_tag_specification("volume").get("volume", {})

    def made() -> Any:
        volume = self.ec2_backend.create_volume(
            size=self._get_param("Size"), zone_name=self._get_param("AvailabilityZone"),
            snapshot_id=self._get_param("SnapshotId"), encrypted=bool(self._get_bool_param("Encrypted", False)),
            kms_key_id=self._get_param("KmsKeyId"), volume_type=self._get_param("VolumeType"),
            iops=self._get_param("Iops"), throughput=self._get_param("Throughput"),
            multi_attach_enabled=self._get_param("MultiAttachEnabled"),
            rate=self._get_param("VolumeInitializationRate"), kms_refusal=moto_app.CALL.kms_refusal)
        volume.add_tags(tags)
        return volume

    return ActionResult(idempotent(self, made))


def describe_volume_attribute(self: Any) -> ActionResult:
    """DescribeVolumeAttribute, of which moto has nothing."""
    volume = self.ec2_backend.get_volume(self._get_param("VolumeId"))
    wanted = self._get_param("Attribute")
    if wanted != "productCodes":
        raise EC2ClientError("LabNotImplemented", f"The lab keeps no attribute {wanted} of volumes.")
    return ActionResult({"VolumeId": volume.id, "ProductCodes": product_codes_answer(volume.product_codes)})


def get_volume(self: Any, volume_id: str) -> Any:
    """Replaces moto's, whose error is the same but for malformed ids."""
    volume = self.volumes.get(volume_id)
    if volume is None:
        if not re.fullmatch(r"vol-([0-9a-f]{8}|[0-9a-f]{17})", volume_id or ""):
            raise EC2ClientError("InvalidParameterValue", f"Value ({volume_id}) for parameter volumeId is invalid. "
                                                          "Expected: 'vol-...'.")
        raise EC2ClientError("InvalidVolume.NotFound", f"The volume '{volume_id}' does not exist.")
    return volume


def install() -> None:
    """Put these in the place of moto's."""
    for function in (create_volume, delete_volume, attach_volume, detach_volume, get_volume):
        setattr(EBSBackend, function.__name__, function)
    ElasticBlockStore.create_volume = create_volume_response  # type: ignore[method-assign]
    ElasticBlockStore.describe_volume_attribute = describe_volume_attribute  # type: ignore[method-assign,assignment]
