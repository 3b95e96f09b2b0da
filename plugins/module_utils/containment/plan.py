# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps in their order, and what is said of an instance without being touched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .base import Hands, Item, Step, Wishes, tags_of
from .identity import InstanceProfile, RoleSessions
from .instance import Shutdown, StopProtection, TerminationProtection, Volumes, spot
from .membership import AutoScaling, ClassicLoadBalancers, TargetGroups
from .network import Isolation, NetworkAcl

# First what keeps evidence, then what would replace or end the instance, and only then the network: a health check
# that fails must not end it. Released in reverse.
STEPS: tuple[Step, ...] = (Volumes(), Shutdown(), StopProtection(), TerminationProtection(), AutoScaling(),
                           ClassicLoadBalancers(), TargetGroups(), Isolation(), NetworkAcl(), InstanceProfile(),
                           RoleSessions())
MANAGERS = {
    "aws:autoscaling:groupName": "Auto Scaling", "aws:ec2:fleet-id": "an EC2 Fleet",
    "aws:ec2spot:fleet-request-id": "a Spot Fleet", "aws:cloudformation:stack-name": "CloudFormation",
    "eks:cluster-name": "EKS", "aws:eks:cluster-name": "EKS", "aws:ecs:clusterName": "ECS",
    "elasticbeanstalk:environment-name": "Elastic Beanstalk", "aws:elasticmapreduce:job-flow-id": "EMR",
}


def look(hands: Hands, instance: Mapping[str, Any], wishes: Wishes) -> list[dict[str, Any]]:
    """Every step with its items, before anything is changed."""
    return [{"name": step.name, "items": step.look(hands, instance, wishes)} for step in STEPS]


def merged(steps: list[dict[str, Any]], seen: list[dict[str, Any]]) -> bool:
    """Add items that appeared since, an interface or a volume. What was recorded first is what it was."""
    known = {step["name"]: step for step in steps}
    changed = False
    for step in seen:
        mine: list[Item] = known[step["name"]]["items"]
        fresh = [one for one in step["items"] if one["key"] not in {item["key"] for item in mine}]
        mine += fresh
        changed = changed or bool(fresh)
    return changed


def untouched(hands: Hands, instance: Mapping[str, Any], wishes: Wishes) -> list[str]:
    """What containment leaves as it is, and somebody should know."""
    tags, out = tags_of(instance), []
    addresses = hands("ec2").describe_addresses(
        Filters=[{"Name": "instance-id", "Values": [instance["InstanceId"]]}])["Addresses"]
    out += [f"Elastic IP {one.get('PublicIp')} stays associated" for one in addresses]
    if instance.get("PublicIpAddress") and not addresses:
        out.append(f"public address {instance['PublicIpAddress']} stays as long as it is not stopped")
    if spot(instance):
        out.append("Spot: AWS can interrupt it at any moment, and nothing prevents that; a persistent Spot request "
                   "starts another one")
    out += [f"{name} ({tags[tag]}) knows nothing of this and may replace, repair or end it"
            for tag, name in MANAGERS.items() if tag in tags]
    if any(tag.startswith("kubernetes.io/cluster/") for tag in tags):
        out.append("a Kubernetes node: its pods are moved when the cluster misses it")
    out.append("SSM: the agent loses its network; a session that is open goes on while its connection is tracked")
    out.append("metadata service, DNS and time of Amazon are reached past security groups and network ACLs")
    out.append("a shutdown from inside still ends what is in memory")
    if not wishes.network_acl:
        out.append("tracked connections live on (network_acl cuts them, in a subnet that is otherwise empty)")
    if not wishes.revoke_sessions:
        out.append("credentials that the metadata service has given out stay valid, for some hours (revoke_sessions)")
    return out
