# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Auto Scaling groups, load balancers and target groups, as far as the lab can mean them.

A group really launches hosts and really ends them. It has no health checks and no policies: nothing changes its
capacity but calls. Load balancers and target groups are lists of members: nothing is balanced, so no target is ever in
use, and none is healthy.
"""

from __future__ import annotations

from typing import Any

from lab.contracts import Refused

from . import moto_app  # noqa: F401  first: it sets what moto reads while it is imported
from .calls import Call

# isort: split
from moto.autoscaling.models import FakeAutoScalingGroup
from moto.elbv2.models import FakeTargetGroup

AUTOSCALING = {
    "AttachInstances", "CreateAutoScalingGroup", "CreateLaunchConfiguration", "DeleteAutoScalingGroup",
    "DeleteLaunchConfiguration", "DescribeAutoScalingGroups", "DescribeAutoScalingInstances",
    "DescribeLaunchConfigurations", "DetachInstances", "ResumeProcesses", "SetDesiredCapacity", "SetInstanceProtection",
    "SuspendProcesses", "TerminateInstanceInAutoScalingGroup", "UpdateAutoScalingGroup",
}
ELB = {"CreateLoadBalancer", "DeleteLoadBalancer", "DeregisterInstancesFromLoadBalancer", "DescribeLoadBalancers",
       "RegisterInstancesWithLoadBalancer"}
ELBV2 = {"CreateTargetGroup", "DeleteTargetGroup", "DeregisterTargets", "DescribeTargetGroups", "DescribeTargetHealth",
         "RegisterTargets"}
KNOWN = {"autoscaling": (AUTOSCALING, "its groups have no health checks and no policies"),
         "elb": (ELB, "nothing is balanced, a load balancer is a list of its members"),
         "elbv2": (ELBV2, "nothing is balanced, a target group is a list of its members")}

_replace = FakeAutoScalingGroup.replace_autoscaling_group_instances
_health = FakeTargetGroup.health_for


def check(call: Call) -> None:
    """Refuse loudly what would be a lie."""
    known, why = KNOWN.get(call.service, (set(), ""))
    if why and call.operation not in known:
        raise Refused(400, "LabNotImplemented", f"The lab does not do {call.service}:{call.operation} ({why}).")


def replace_autoscaling_group_instances(self: Any, count_needed: int, propagated_tags: Any) -> None:
    """A group whose process Launch is suspended launches nothing."""
    if not any(process["ProcessName"] == "Launch" for process in self.suspended_processes):
        _replace(self, count_needed, propagated_tags)


def health_for(self: Any, target: Any, ec2_backend: Any) -> Any:
    """No target is in use; moto calls all of them healthy."""
    health = _health(self, target, ec2_backend)
    if health.status == "healthy":
        health.status, health.reason = "unused", "Target.NotInUse"
    return health


def install() -> None:
    """Put these in the place of moto's."""
    FakeAutoScalingGroup.replace_autoscaling_group_instances = (  # type: ignore[method-assign]
        replace_autoscaling_group_instances)
    FakeTargetGroup.health_for = health_for  # type: ignore[method-assign]
