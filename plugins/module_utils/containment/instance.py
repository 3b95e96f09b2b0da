# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of the instance itself, so that evidence survives its end: volumes, shutdown behavior, protections.

Termination protection stops neither Auto Scaling nor a shutdown from inside, hence the other two; and a Spot instance
has none at all (EC2 User Guide, "Change instance termination protection" and "Enable stop protection").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .base import Hands, Item, Step, Wishes, code_of, item

SPOT = "AWS gives a Spot instance no {}: it can be interrupted or ended at any moment"
STORE = "an instance with its root on instance store cannot be stopped: its disk would be lost"

REFUSED = ("UnsupportedOperation", "OperationNotPermitted", "InvalidParameterCombination", "IncorrectInstanceState")


def spot(instance: Mapping[str, Any]) -> bool:
    """Whether it is a Spot instance."""
    return instance.get("InstanceLifecycle") == "spot"


def _volumes(instance: Mapping[str, Any]) -> dict[str, tuple[str, bool]]:
    """Device and DeleteOnTermination by volume."""
    return {str(block["Ebs"]["VolumeId"]): (str(block["DeviceName"]), bool(block["Ebs"].get("DeleteOnTermination")))
            for block in instance.get("BlockDeviceMappings") or [] if block.get("Ebs")}


class Volumes(Step):
    """DeleteOnTermination off."""

    name, title = "volumes", "Volumes outlive the instance"

    def look(self, hands: Hands, instance: Mapping[str, Any], wishes: Wishes) -> list[Item]:
        """One item a volume."""
        return [item(volume, {"device": device, "delete_on_termination": deleted},
                     f"DeleteOnTermination of {volume} ({device}) off" if deleted else "",
                     f"DeleteOnTermination of {volume} ({device}) on")
                for volume, (device, deleted) in _volumes(instance).items()]

    def contain(self, hands: Hands, instance: Mapping[str, Any], item: Item) -> None:
        """Off, where it is on."""
        device, deleted = _volumes(instance).get(item["key"], ("", False))
        if deleted:
            _delete(hands, instance, device, item["key"], False)

    def release(self, hands: Hands, instance: Mapping[str, Any], item: Item) -> str:
        """On, where it was on and the volume is still there."""
        if not item["was"]["delete_on_termination"]:
            return ""
        if item["key"] not in _volumes(instance):
            return f"{item['key']} is not attached any more"
        device, deleted = _volumes(instance)[item["key"]]
        if not deleted:
            _delete(hands, instance, device, item["key"], True)
        return ""


def _delete(hands: Hands, instance: Mapping[str, Any], device: str, volume: str, value: bool) -> None:
    hands.do(f"DeleteOnTermination of {volume} ({device}) {'on' if value else 'off'}", "ec2",
             "modify_instance_attribute", InstanceId=instance["InstanceId"],
             BlockDeviceMappings=[{"DeviceName": device, "Ebs": {"VolumeId": volume, "DeleteOnTermination": value}}])


class Attribute(Step):
    """One attribute of the instance that has a value of its own."""

    attribute = key = ""
    wanted: Any = True

    def _value(self, hands: Hands, instance: Mapping[str, Any]) -> Any:
        answer = hands("ec2").describe_instance_attribute(InstanceId=instance["InstanceId"], Attribute=self.attribute)
        return (answer.get(self.key) or {}).get("Value")

    def _impossible(self, instance: Mapping[str, Any]) -> str:
        raise NotImplementedError

    def look(self, hands: Hands, instance: Mapping[str, Any], wishes: Wishes) -> list[Item]:
        """One item."""
        was = self._value(hands, instance)
        told = item(self.attribute, was, self._said(self.wanted) if was != self.wanted else "", self._said(was))
        return [{**told, "impossible": self._impossible(instance) if told["does"] else ""}]

    def contain(self, hands: Hands, instance: Mapping[str, Any], item: Item) -> None:
        """Set it, where it is not."""
        if self._value(hands, instance) != self.wanted:
            self._set(hands, instance, self.wanted)

    def release(self, hands: Hands, instance: Mapping[str, Any], item: Item) -> str:
        """Set it back, where it differs from what it was."""
        if item["was"] is not None and self._value(hands, instance) != item["was"]:
            self._set(hands, instance, item["was"])
        return ""

    def _set(self, hands: Hands, instance: Mapping[str, Any], value: Any) -> None:
        hands.do(self._said(value), "ec2", "modify_instance_attribute", InstanceId=instance["InstanceId"],
                 **{self.key: {"Value": value}})

    def _said(self, value: Any) -> str:
        return f"{self.title}: {('on' if value else 'off') if isinstance(value, bool) else value}"


class Shutdown(Attribute):
    """A shutdown from inside stops it, and terminates nothing."""

    name, title = "shutdown", "Shutdown from inside"
    attribute, key, wanted = "instanceInitiatedShutdownBehavior", "InstanceInitiatedShutdownBehavior", "stop"

    def _impossible(self, instance: Mapping[str, Any]) -> str:
        return STORE if instance.get("RootDeviceType") == "instance-store" else ""

    def contain(self, hands: Hands, instance: Mapping[str, Any], item: Item) -> None:
        """Set it. Where AWS refuses that for a Spot instance, that is said and ends nothing."""
        try:
            super().contain(hands, instance, item)
        except Exception as error:
            if not spot(instance) or code_of(error) not in REFUSED:
                raise
            item["impossible"] = f"AWS refuses it for this Spot instance: {error}"


class StopProtection(Attribute):
    """Nobody stops it by the API: what is in memory stays."""

    name, title = "stop_protection", "Stop protection"
    attribute, key = "disableApiStop", "DisableApiStop"

    def _impossible(self, instance: Mapping[str, Any]) -> str:
        if instance.get("RootDeviceType") == "instance-store":
            return STORE
        return SPOT.format("stop protection") if spot(instance) else ""


class TerminationProtection(Attribute):
    """Nobody terminates it by the API."""

    name, title = "termination_protection", "Termination protection"
    attribute, key = "disableApiTermination", "DisableApiTermination"

    def _impossible(self, instance: Mapping[str, Any]) -> str:
        return SPOT.format("termination protection") if spot(instance) else ""
