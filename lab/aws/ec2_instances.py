# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances with real hosts behind them: they boot aside, end by themselves, and take along what they should."""

from __future__ import annotations

import base64
import contextlib
import copy
import logging
import threading
from typing import Any

from lab.contracts import HostSpec, Refused

from . import moto_app, quotas
from .ec2_groups import rules_of
from .ec2_volumes import drop_all, make_device
from .world import current

# isort: split
from moto.core.utils import utcnow
from moto.ec2.exceptions import EC2ClientError, InvalidInstanceTypeError
from moto.ec2.models.instances import Instance, InstanceBackend, InstanceState, StateReason
from moto.ec2.models.subnets import Subnet

LOG = logging.getLogger("lab.aws")
CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
API_REASON = ("Client.UserInitiatedShutdown", "User initiated shutdown")
INSIDE_REASON = ("Client.InstanceInitiatedShutdown", "Instance initiated shutdown")
DIED_REASON = ("Server.InternalError", "Internal error on launch")

_run_instances = InstanceBackend.run_instances
_next_ip = Subnet.get_available_subnet_ip


def set_state(instance: Any, name: str) -> None:
    """Change the state; a new object, because answers hold on to the old one."""
    instance._state = InstanceState(name, CODES[name])


def _why(instance: Any, reason: tuple[str, str]) -> None:
    code, text = reason
    when = utcnow().strftime("%Y-%m-%d %H:%M:%S GMT")
    instance._reason = f"User initiated ({when})" if reason is API_REASON else f"{code}: {text}"
    instance.state_reason = StateReason(f"{code}: {text}", code)


def get_available_subnet_ip(self: Any, instance: Any) -> str:
    """One network holds the hosts of all regions, so that an address is given out once."""
    while True:
        address = _next_ip(self, instance)
        if not any(other.private_ip == address and other.state != "terminated"
                   for region in moto_app.ec2_regions() if region != self.ec2_backend.region_name
                   for other in moto_app.ec2(region).all_instances()):
            return address


def run_instances(self: Any, image_id: str, count: int, user_data: Any, security_group_names: list[str],
                  **kwargs: Any) -> Any:
    """RunInstances: pending until the host was started, disks as asked for, the image's root disk included."""
    world = current()
    image = self.amis.get(image_id)
    if image is None:
        raise EC2ClientError("InvalidAMIID.NotFound", f"The image id '[{image_id}]' does not exist")
    zone = _zone(self, kwargs)
    if world.faults.take("ec2.no_capacity", region=self.region_name, zone=zone,
                         instance_type=kwargs.get("instance_type")):
        # One of EC2's server errors, so SDKs try again by themselves.
        raise Refused(
            500, "InsufficientInstanceCapacity",
            f"We currently do not have sufficient {kwargs.get('instance_type')} capacity in the Availability Zone you "
            f"requested ({zone or self.region_name}). Our system will be working on provisioning additional capacity.")
    quotas.check(self, str(kwargs.get("instance_type") or ""), count)
    if kwargs.get("key_name") and kwargs["key_name"] not in self.key_pairs:
        raise EC2ClientError("InvalidKeyPair.NotFound", f"The key pair '{kwargs['key_name']}' does not exist")
    if kwargs.get("client_token") == "ABCDE":  # what moto puts in when there is none  # noqa: S105
        kwargs["client_token"] = ""
    mappings = [m for m in kwargs.pop("block_device_mappings", None) or [] if m.get("NoDevice") is None]
    tags = kwargs.get("tags", {})
    given = {str(nic.get("NetworkInterfaceId")) for nic in kwargs.get("nics") or []}
    keep = any(nic.get("DeleteOnTermination") is False for nic in kwargs.get("nics") or [])
    try:
        reservation = _run_instances(self, image_id, count, user_data, security_group_names,
                                     block_device_mappings=[], **kwargs)
    except InvalidInstanceTypeError:
        raise EC2ClientError("InvalidParameterValue",
                             f"Invalid value '{kwargs.get('instance_type')}' for InstanceType.") from None
    for instance in reservation.instances:
        set_state(instance, "pending")
        instance.__dict__.update(lab_end=None, lab_host=threading.Lock())
        for nic in instance.nics.values():
            # A network interface made for the launch goes with the instance, unless the launch says otherwise.
            nic.delete_on_termination = nic.id not in given and not keep
            nic.add_tags(tags.get("network-interface", {}))
        # Groups may be given for the first network interface instead; they are the instance's, too.
        instance.security_groups = instance.security_groups or list(instance.nics[min(instance.nics)]._group_set)
        try:
            _add_disks(instance, image, mappings, tags.get("volume", {}))
        except Exception:
            _gone(instance)
            del self.reservations[reservation.id]
            raise
        boot(instance)
    return reservation


def _zone(backend: Any, kwargs: dict[str, Any]) -> str:
    """Where an instance goes; a launch that names no subnet gets a default one."""
    nics, wanted = kwargs.get("nics") or [], kwargs.get("placement")
    subnet = kwargs.get("subnet_id") or next((n["SubnetId"] for n in nics if n.get("SubnetId")), None)
    if subnet is None and any(nic.get("NetworkInterfaceId") for nic in nics):
        return wanted or ""
    if subnet is None:
        subnet = kwargs["subnet_id"] = _default_subnet(backend, wanted)
    zone = str(backend.get_subnet(subnet).availability_zone)
    if wanted and zone != wanted:
        raise EC2ClientError("InvalidParameterValue", f"Value ({wanted}) for parameter availabilityZone is invalid. "
                                                      f"The subnet {subnet} is in {zone}.")
    return zone


def _default_subnet(backend: Any, zone: str | None) -> str:
    """Where an instance goes that names no subnet."""
    subnets = sorted((s for zones in backend.subnets.values() for s in zones.values()
                      if str(s.default_for_az).lower() == "true" and zone in (None, "", s.availability_zone)),
                     key=lambda s: s.availability_zone)
    if not subnets:
        raise EC2ClientError("MissingInput", f"No default subnet{f' in {zone}' if zone else ''}; name a subnet.")
    return str(subnets[0].id)


def _add_disks(instance: Any, image: Any, mappings: list[dict[str, Any]], tags: dict[str, str]) -> None:
    backend, root = instance.ec2_backend, image.root_device_name
    if root not in [m["DeviceName"] for m in mappings]:
        mappings = [{"DeviceName": root, "Ebs": {"DeleteOnTermination": True}}, *mappings]
    for mapping in mappings:
        ebs, device = mapping.get("Ebs") or {}, mapping["DeviceName"]
        is_root = device == root
        volume = backend.create_volume(
            size=ebs.get("VolumeSize") or (8 if is_root else None), zone_name=instance.availability_zone,
            snapshot_id=None if is_root else ebs.get("SnapshotId"), encrypted=bool(ebs.get("Encrypted")),
            kms_key_id=ebs.get("KmsKeyId"), volume_type=ebs.get("VolumeType"), iops=ebs.get("Iops"),
            throughput=ebs.get("Throughput"), root=is_root)
        volume.lab_state = "available"
        volume.add_tags(tags)
        # AWS' default for a disk named in the launch is to delete it with the instance.
        backend.attach_volume(volume.id, instance.id, device, ebs.get("DeleteOnTermination", True) is not False,
                              launching=True)


def spec_of(instance: Any) -> HostSpec:
    """What a host is told when it boots."""
    backend = instance.ec2_backend
    pair = backend.key_pairs.get(instance.key_name) if instance.key_name else None
    return HostSpec(
        instance_id=instance.id, region=backend.region_name, zone=instance.availability_zone,
        private_ip=instance.private_ip, image_id=instance.image_id, instance_type=instance.instance_type,
        user_data=user_data_of(instance), rules=rules_of(instance),
        public_keys={pair.key_name: pair.material_public.decode().strip()} if pair is not None else {})


def user_data_of(instance: Any) -> bytes:
    """The user data, decoded."""
    return base64.b64decode(str(instance.user_data)) if instance.user_data else b""


def boot(instance: Any, *, again: bool = False) -> None:
    """Start the host aside; the instance is running once that succeeded. `again`: it was stopped before."""
    world = current()
    hosts = world.hosts_of(instance.ec2_backend.account_id)
    instance.lab_end = None

    def ended(_: str, how: str) -> None:
        with moto_app.MODELS:
            host_ended(instance, how)

    def start(spec: HostSpec) -> None:
        if again:
            hosts.restart(instance.id)  # type: ignore[union-attr]
            hosts.set_rules(instance.id, spec.rules)  # type: ignore[union-attr]
        else:
            hosts.boot(spec, ended)  # type: ignore[union-attr]

    def work() -> None:
        with instance.lab_host:  # who stops it meanwhile waits until it can be stopped
            with moto_app.MODELS:  # the call that launched it has answered by now: profile and tags are there
                if instance.state != "pending":
                    return
                spec = spec_of(instance)
                instance.lab_rules = spec.rules
            if hosts is not None:
                try:
                    start(spec)
                except Exception:
                    LOG.exception("the host of %s could not be started", instance.id)
                    ended(instance.id, "died")
                    return
        if hosts is None and (dies := world.faults.take(
                "ec2.boot_dies", region=spec.region, instance=instance.id, instance_type=spec.instance_type)):
            # With hosts, the host itself dies of this fault.
            world.after(float(dies.args.get("seconds", 0)), lambda: ended(instance.id, "died"))
        world.after(world.delays.instance, lambda: _running(instance))

    world.aside(f"boot {instance.id}", work)


def _running(instance: Any) -> None:
    if instance.state != "pending":
        return
    set_state(instance, "running")
    for volume in list(instance.ec2_backend.volumes.values()):
        attachment = volume.attachment
        if attachment is not None and attachment.instance is instance and attachment.status == "attaching":
            make_device(attachment)


def host_ended(instance: Any, how: str) -> None:
    """A host is gone: by a call, by itself, or by accident."""
    if instance.state == "terminated" or current().closed:
        return
    wanted = instance.lab_end
    if wanted is not None:
        state, reason = wanted
    elif how == "poweroff":
        state = "terminated" if instance.instance_initiated_shutdown_behavior == "terminate" else "stopped"
        reason = INSIDE_REASON
    else:
        state, reason = "terminated", DIED_REASON
    finish(instance, reason, state)


def finish(instance: Any, reason: tuple[str, str], state: str = "terminated") -> None:
    """Bring an instance to its end state; what is left of its host is removed aside."""
    if instance.state == "terminated":
        return
    world = current()
    hosts = world.hosts_of(instance.ec2_backend.account_id)
    instance.lab_end = (state, reason)
    _why(instance, reason)
    for nic in list(instance.nics.values()):
        nic.stop()
    if state == "stopped":
        set_state(instance, "stopped")
        return
    set_state(instance, "shutting-down")
    if hosts is None:
        _gone(instance)
        return

    def work() -> None:
        with contextlib.suppress(Exception):  # AWS keeps the last console output for a while
            instance.lab_console = hosts.console(instance.id)
        try:
            hosts.forget(instance.id)
        except Exception:
            LOG.exception("what is left of the host of %s could not be removed", instance.id)
        with moto_app.MODELS:
            _gone(instance)

    world.aside(f"remove {instance.id}", work)


def _gone(instance: Any) -> None:
    """What goes with an instance: disks, network interfaces, address, profile association."""
    if instance.state == "terminated":
        return
    backend = instance.ec2_backend
    drop_all(instance)
    for nic in list(instance.nics.values()):
        if nic.delete_on_termination:
            with contextlib.suppress(EC2ClientError):
                nic.delete()
            backend.tags.pop(nic.id, None)
        else:
            nic.status, nic.instance, nic.attachment_id = "available", None, None
    for address in list(instance._private_ips):
        backend.get_subnet(instance.subnet_id).del_subnet_ip(address)
    association = backend.iam_instance_profile_associations.get(instance.id)
    if association is not None:
        backend.disassociate_iam_instance_profile(association_id=association.association_id)
    set_state(instance, "terminated")


def _end(instance: Any, state: str, passing: str) -> InstanceState:
    previous = copy.copy(instance._state)
    if instance.state in ("terminated", passing) or (state == "stopped" and instance.state == "stopped"):
        return previous
    world = current()
    was_off = instance.state == "stopped"
    instance.lab_end = (state, API_REASON)
    set_state(instance, passing)
    _why(instance, API_REASON)
    hosts = world.hosts_of(instance.ec2_backend.account_id)
    if hosts is None or was_off:
        world.after(world.delays.instance, lambda: finish(instance, API_REASON, state))
        return previous

    def work() -> None:
        with instance.lab_host:
            if hosts.is_running(instance.id):
                hosts.stop(instance.id, hard=state == "terminated")  # its end is told through on_exit
                return
        with moto_app.MODELS:  # it never came up, or has just ended: nothing more is told
            if instance.state == passing:
                finish(instance, API_REASON, state)

    world.aside(f"stop {instance.id}", work)
    return previous


def terminate(self: Any) -> InstanceState:
    """TerminateInstances of one."""
    return _end(self, "terminated", "shutting-down")


def stop(self: Any) -> InstanceState:
    """StopInstances of one."""
    if self.state not in ("running", "stopping", "stopped"):
        raise EC2ClientError("IncorrectInstanceState", f"The instance '{self.id}' is not in a state from which it can "
                                                       "be stopped.")
    return _end(self, "stopped", "stopping")


def start(self: Any) -> InstanceState:
    """StartInstances of one."""
    previous = copy.copy(self._state)
    if self.state == "running":
        return previous
    if self.state != "stopped":
        raise EC2ClientError("IncorrectInstanceState", f"The instance '{self.id}' is not in a state from which it can "
                                                       "be started.")
    set_state(self, "pending")
    self._reason, self.state_reason = "", StateReason()
    boot(self, again=True)
    return previous


def reboot(self: Any) -> None:
    """RebootInstances of one."""
    if self.state != "running":
        raise EC2ClientError("IncorrectInstanceState", f"The instance '{self.id}' is not running.")
    hosts = current().hosts_of(self.ec2_backend.account_id)
    if hosts is not None:
        current().aside(f"reboot {self.id}", lambda: hosts.restart(self.id))


def install() -> None:
    """Put these in the place of moto's."""
    InstanceBackend.run_instances = run_instances  # type: ignore[method-assign]
    Subnet.get_available_subnet_ip = get_available_subnet_ip  # type: ignore[method-assign]
    for function in (terminate, stop, start, reboot):
        setattr(Instance, function.__name__, function)
