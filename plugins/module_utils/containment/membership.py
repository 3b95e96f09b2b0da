# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What would replace, end or feed the instance: its Auto Scaling group and its load balancers.

Detached and not put into standby: a group ends an instance in standby when the group is deleted or its scale-in
wants it, and counts it. The capacity is not decremented, so that a replacement comes and the service goes on; a group
at its minimum lets nothing be detached with a decrement.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .base import ContainmentError, Hands, Item, Step, Wishes, code_of, item, pages

DETACHABLE = ("InService", "Standby")
LEAVING = "Detaching"
LEFT = ("Target.NotRegistered", "Target.DeregistrationInProgress")


class AutoScaling(Step):
    """Out of the Auto Scaling group, which ends what looks sick."""

    name, title = "auto_scaling", "Out of its Auto Scaling group"

    def _member(self, hands: Hands, instance_id: str) -> dict[str, Any] | None:
        found: list[dict[str, Any]] = hands("autoscaling").describe_auto_scaling_instances(
            InstanceIds=[instance_id])["AutoScalingInstances"]
        return found[0] if found else None

    def _group(self, hands: Hands, name: str) -> dict[str, Any] | None:
        found: list[dict[str, Any]] = hands("autoscaling").describe_auto_scaling_groups(
            AutoScalingGroupNames=[name])["AutoScalingGroups"]
        return found[0] if found else None

    def look(self, hands: Hands, instance: Mapping[str, Any], wishes: Wishes) -> list[Item]:
        """None or one."""
        member = self._member(hands, instance["InstanceId"])
        if member is None:
            return []
        name, state = str(member["AutoScalingGroupName"]), str(member["LifecycleState"])
        if state == LEAVING:
            return []
        if state not in DETACHABLE:
            raise ContainmentError(
                f"{instance['InstanceId']} is {state} in the Auto Scaling group {name}, which detaches only what is "
                f"{' or '.join(DETACHABLE)}: wait for it, or complete its lifecycle action, and start again.")
        group = self._group(hands, name) or {}
        was: dict[str, Any] = {
            "group": name, "state": state, "protected_from_scale_in": bool(member.get("ProtectedFromScaleIn")),
            "desired": group.get("DesiredCapacity"), "min": group.get("MinSize"), "max": group.get("MaxSize"),
            "suspended": sorted(one["ProcessName"] for one in group.get("SuspendedProcesses") or [])}
        replaced = ("no replacement, for its process Launch is suspended" if "Launch" in was["suspended"]
                    else "which starts a replacement")
        return [item(name, was, f"detached from the Auto Scaling group {name} without less capacity, {replaced}",
                     f"attached to the Auto Scaling group {name}, unless that has replaced it")]

    def contain(self, hands: Hands, instance: Mapping[str, Any], item: Item) -> None:
        """Detach it, where it is a member."""
        member = self._member(hands, instance["InstanceId"])
        if member is None or member["AutoScalingGroupName"] != item["key"] or member["LifecycleState"] == LEAVING:
            return
        hands.do(f"detached from the Auto Scaling group {item['key']}", "autoscaling", "detach_instances",
                 InstanceIds=[instance["InstanceId"]], AutoScalingGroupName=item["key"],
                 ShouldDecrementDesiredCapacity=False)

    def release(self, hands: Hands, instance: Mapping[str, Any], item: Item) -> str:
        """Attach it where its place is free. Attaching raises the desired capacity by one, which is set back."""
        name, instance_id = item["key"], str(instance["InstanceId"])
        member = self._member(hands, instance_id)
        if member and member["LifecycleState"] == LEAVING:
            raise ContainmentError(f"{instance_id} is still being detached from the Auto Scaling group {name}: wait "
                                   "for that.")
        if member:
            return ""
        group = self._group(hands, name)
        if group is None:
            return f"the Auto Scaling group {name} is not there any more"
        members, desired = len(group.get("Instances") or []), int(group["DesiredCapacity"])
        if members >= desired:
            return (f"its place in the Auto Scaling group {name}: the group has its {desired} instances without it. By "
                    f"hand, and one more: aws autoscaling attach-instances --instance-ids {instance_id} "
                    f"--auto-scaling-group-name {name}")
        if desired + 1 > int(group["MaxSize"]):
            return (f"its place in the Auto Scaling group {name}: attaching needs {desired + 1} for a moment, and the "
                    f"maximum is {group['MaxSize']}. Raise that, and attach it by hand")
        if instance["State"]["Name"] != "running":
            return f"its place in the Auto Scaling group {name}: only a running instance can be attached"
        hands.do(f"attached to the Auto Scaling group {name}", "autoscaling", "attach_instances",
                 InstanceIds=[instance_id], AutoScalingGroupName=name)
        hands.do(f"desired capacity of {name} back to {desired}", "autoscaling", "set_desired_capacity",
                 AutoScalingGroupName=name, DesiredCapacity=desired, HonorCooldown=False)
        if item["was"]["protected_from_scale_in"]:
            hands.do("protected from scale-in", "autoscaling", "set_instance_protection", InstanceIds=[instance_id],
                     AutoScalingGroupName=name, ProtectedFromScaleIn=True)
        return ""


class ClassicLoadBalancers(Step):
    """Out of Classic Load Balancers."""

    name, title = "classic_load_balancers", "Out of Classic Load Balancers"

    def _with(self, hands: Hands, instance_id: str) -> list[str]:
        return [str(one["LoadBalancerName"]) for one in pages(
            hands("elb"), "describe_load_balancers", "LoadBalancerDescriptions")
            if any(member["InstanceId"] == instance_id for member in one.get("Instances") or [])]

    def look(self, hands: Hands, instance: Mapping[str, Any], wishes: Wishes) -> list[Item]:
        """One item a load balancer."""
        return [item(name, {"load_balancer": name}, f"deregistered from the load balancer {name}",
                     f"registered with the load balancer {name}")
                for name in self._with(hands, instance["InstanceId"])]

    def contain(self, hands: Hands, instance: Mapping[str, Any], item: Item) -> None:
        """Deregister it, where it is registered."""
        if self._member(hands, instance, item):
            hands.do(item["does"], "elb", "deregister_instances_from_load_balancer", LoadBalancerName=item["key"],
                     Instances=[{"InstanceId": instance["InstanceId"]}])

    def release(self, hands: Hands, instance: Mapping[str, Any], item: Item) -> str:
        """Register it again."""
        member = self._member(hands, instance, item)
        if member is None:
            return f"the load balancer {item['key']} is not there any more"
        if not member:
            hands.do(item["undone"], "elb", "register_instances_with_load_balancer", LoadBalancerName=item["key"],
                     Instances=[{"InstanceId": instance["InstanceId"]}])
        return ""

    def _member(self, hands: Hands, instance: Mapping[str, Any], item: Item) -> bool | None:
        try:
            [one] = hands("elb").describe_load_balancers(LoadBalancerNames=[item["key"]])["LoadBalancerDescriptions"]
        except Exception as error:
            if code_of(error) not in ("LoadBalancerNotFound", "AccessPointNotFound"):
                raise
            return None
        return any(member["InstanceId"] == instance["InstanceId"] for member in one.get("Instances") or [])


class TargetGroups(Step):
    """Out of target groups, by its id and by all its addresses, with the port of each."""

    name, title = "target_groups", "Out of target groups"

    def look(self, hands: Hands, instance: Mapping[str, Any], wishes: Wishes) -> list[Item]:
        """One item a target."""
        names, client = {str(instance["InstanceId"]), *addresses(instance)}, hands("elbv2")
        out = []
        for group in pages(client, "describe_target_groups", "TargetGroups"):
            if group.get("TargetType") not in ("instance", "ip"):
                continue
            for health in client.describe_target_health(TargetGroupArn=group["TargetGroupArn"])[
                    "TargetHealthDescriptions"]:
                target, state = health["Target"], (health.get("TargetHealth") or {}).get("State")
                if target["Id"] not in names or state == "draining":
                    continue
                kept = {name: target[name] for name in ("Id", "Port", "AvailabilityZone") if name in target}
                said = f"{target['Id']}:{target.get('Port', '-')} {{}} the target group {group['TargetGroupName']}"
                out.append(item(f"{group['TargetGroupArn']} {target['Id']} {target.get('Port', '')}",
                                {"target_group": group["TargetGroupArn"], "target": kept},
                                said.format("deregistered from"), said.format("registered with")))
        return out

    def contain(self, hands: Hands, instance: Mapping[str, Any], item: Item) -> None:
        """Deregister it, where it is registered. What drains is on its way."""
        if self._registered(hands, item):
            hands.do(item["does"], "elbv2", "deregister_targets", TargetGroupArn=item["was"]["target_group"],
                     Targets=[item["was"]["target"]])

    def release(self, hands: Hands, instance: Mapping[str, Any], item: Item) -> str:
        """Register it again."""
        registered = self._registered(hands, item)
        if registered is None:
            return f"the target group {item['was']['target_group']} is not there any more"
        target = item["was"]["target"]["Id"]
        if not target.startswith("i-") and target not in addresses(instance):
            return f"the target {target}: the instance does not have this address any more"
        if not registered:
            hands.do(item["undone"], "elbv2", "register_targets", TargetGroupArn=item["was"]["target_group"],
                     Targets=[item["was"]["target"]])
        return ""

    def _registered(self, hands: Hands, item: Item) -> bool | None:
        wanted = item["was"]["target"]
        try:
            seen = hands("elbv2").describe_target_health(TargetGroupArn=item["was"]["target_group"])
        except Exception as error:
            if code_of(error) not in ("TargetGroupNotFound", "TargetGroupNotFoundException"):
                raise
            return None
        return any(one["Target"]["Id"] == wanted["Id"] and one["Target"].get("Port") == wanted.get("Port")
                   and (one.get("TargetHealth") or {}).get("State") != "draining"
                   and (one.get("TargetHealth") or {}).get("Reason") not in LEFT
                   for one in seen["TargetHealthDescriptions"])


def addresses(instance: Mapping[str, Any]) -> set[str]:
    """All private addresses of all its interfaces."""
    out = set()
    for interface in instance.get("NetworkInterfaces") or []:
        out |= {str(one["PrivateIpAddress"]) for one in interface.get("PrivateIpAddresses") or []}
        out |= {str(one["Ipv6Address"]) for one in interface.get("Ipv6Addresses") or []}
    return out
