# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instance calls whose parameters moto drops or fakes: disks, console, attributes, client tokens."""

from __future__ import annotations

from datetime import timezone
from typing import Any

from . import moto_app  # noqa: F401  first: it sets what moto reads while it is imported
from .ec2_volumes import idempotent
from .world import current

# isort: split
from moto.core.responses import ActionResult, EmptyResult
from moto.core.types import Base64EncodedString
from moto.core.utils import utcnow
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.responses._base_response import EC2BaseResponse
from moto.ec2.responses.general import General
from moto.ec2.responses.instances import InstanceResponse

_run_instances = InstanceResponse.run_instances
_modify = InstanceResponse.modify_instance_attribute
CONSOLE_BYTES = 65_536


def run_instances(self: Any) -> ActionResult:
    """RunInstances, once per client token."""
    return ActionResult(idempotent(self, lambda: _with_profiles(self, _run_instances(self).result)))


def _with_profiles(self: Any, reservation: Any) -> Any:
    """All instances of a launch have its profile; moto gives it to the first."""
    profile = {"iam_instance_profile_name": self._get_param("IamInstanceProfile.Name"),
               "iam_instance_profile_arn": self._get_param("IamInstanceProfile.Arn")}
    for instance in reservation.instances[1:] if any(profile.values()) else ():
        self.ec2_backend.associate_iam_instance_profile(instance_id=instance.id, **profile)
    return reservation


def block_device_mapping(self: Any) -> list[dict[str, Any]]:
    """The disks as the request names them (moto's template drops throughput)."""
    mappings = self._get_param("BlockDeviceMappings", [])
    for mapping in mappings:
        if mapping.get("VirtualName"):
            raise EC2ClientError("LabNotImplemented", "The lab's hosts have no instance store disks.")
        if "NoDevice" not in mapping and not mapping.get("Ebs"):
            raise EC2ClientError("MissingParameter", "The request must contain the parameter ebs")
    return [dict(m) for m in mappings]


def get_console_output(self: Any) -> ActionResult:
    """What the host printed while it booted, SSH fingerprints included."""
    instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
    hosts = current().hosts_of(self.ec2_backend.account_id)
    text = getattr(instance, "lab_console", None)
    if text is None:
        try:
            text = hosts.console(instance.id) if hosts is not None and instance.state != "terminated" else ""
        except Exception:  # not booted yet: an empty console, as on AWS
            text = ""
    data = text.encode("utf-8", "replace")[-CONSOLE_BYTES:].decode("utf-8", "ignore")
    return ActionResult({"InstanceId": instance.id, "Timestamp": utcnow().replace(tzinfo=timezone.utc),
                         "Output": Base64EncodedString.from_raw_string(data)})


def modify_instance_attribute(self: Any) -> ActionResult:
    """ModifyInstanceAttribute, with the shutdown behavior and with errors for devices that are not there."""
    instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
    behavior = self._get_param("InstanceInitiatedShutdownBehavior.Value")
    if self._get_param("Attribute") == "instanceInitiatedShutdownBehavior":
        behavior = self._get_param("Value")
    if behavior is not None:
        if behavior not in ("stop", "terminate"):
            raise EC2ClientError("InvalidParameterValue", f"Value ({behavior}) for parameter "
                                                          "instanceInitiatedShutdownBehavior is invalid.")
        self.error_on_dryrun()
        instance.instance_initiated_shutdown_behavior = behavior
        return EmptyResult()
    for mapping in self._get_param("BlockDeviceMappings", []) or []:
        name = mapping.get("DeviceName")
        if name not in instance.block_device_mapping:
            raise EC2ClientError("InvalidInstanceAttributeValue", f"No device is currently mapped at {name}")
    result = _modify(self)
    for device, block in instance.block_device_mapping.items():
        volume = self.ec2_backend.volumes.get(block.volume_id)
        if volume is not None and volume.attachment is not None and volume.attachment.device == device:
            volume.attachment.delete_on_termination = block.delete_on_termination in (True, "true")
    groups = self._get_param("Groups", [])
    if groups:
        members = [self.ec2_backend.get_security_group_from_id(g) for g in groups]
        instance.nics[0]._group_set = [m for m in members if m is not None]
    return result


def install() -> None:
    """Put these in the place of moto's."""
    InstanceResponse.run_instances = run_instances  # type: ignore[method-assign]
    InstanceResponse.modify_instance_attribute = modify_instance_attribute  # type: ignore[method-assign]
    InstanceResponse._parse_block_device_mapping = block_device_mapping  # type: ignore[method-assign]
    General.get_console_output = get_console_output  # type: ignore[method-assign]
    # moto writes these whatever the model says.
    for key in ("CreateVolumeResponse.State", "RunInstances.Reservation.Instances.Instance.State"):
        EC2BaseResponse.RESPONSE_KEY_PATH_TO_TRANSFORMER.pop(key, None)
