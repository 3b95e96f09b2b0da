# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The network: the isolation group on every interface, and a network ACL that cuts what the group leaves alive.

The isolation group has no rules at all. EC2 gives a new group a rule that lets everything out: it is taken away, and
looked for again, before the group is used. A group of the VPC that somebody has opened is refused. Nothing is ever
opened, not for a moment either, though that would make tracked connections untracked and cut them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .base import TAG, ContainmentError, Hands, Item, Step, Wishes, item, pages, tags_of
from .tracked import surviving

NOTHING_IN_COMMON = "no rules: nothing in, nothing out"


def interfaces_of(hands: Hands, instance_id: str) -> list[dict[str, Any]]:
    """All network interfaces that are attached to an instance."""
    return pages(hands("ec2"), "describe_network_interfaces", "NetworkInterfaces",
                 Filters=[{"Name": "attachment.instance-id", "Values": [instance_id]}])


def _groups(interface: Mapping[str, Any]) -> list[str]:
    return sorted(str(group["GroupId"]) for group in interface.get("Groups") or [])


class Isolation(Step):
    """Nothing in and nothing out, on every interface."""

    name, title = "isolation", "Isolation group on every network interface"

    def look(self, hands: Hands, instance: Mapping[str, Any], wishes: Wishes) -> list[Item]:
        """One item an interface, with the connections that survive."""
        interfaces = interfaces_of(hands, instance["InstanceId"])
        names = sorted({name for interface in interfaces for name in _groups(interface)})
        groups = {group["GroupId"]: group for group in pages(
            hands("ec2"), "describe_security_groups", "SecurityGroups",
            Filters=[{"Name": "group-id", "Values": names}])} if names else {}
        out = []
        for interface in interfaces:
            isolating = _isolation_group(hands, interface["VpcId"])
            if isolating is not None:
                _closed(isolating)
            name, was = str(interface["NetworkInterfaceId"]), _groups(interface)
            done = isolating is not None and was == [isolating["GroupId"]]
            told = item(name, {"groups": was}, "" if done else f"the isolation group alone on {name}, instead of "
                        f"{', '.join(was) or 'no group'}", f"{', '.join(was)} on {name}", vpc=interface["VpcId"],
                        subnet=interface["SubnetId"],
                        surviving=surviving(interface, [groups[one] for one in was if one in groups]))
            if interface.get("RequesterManaged") or interface.get("OwnerId", hands.account) != hands.account:
                told["impossible"] = f"{name} is managed by {interface.get('RequesterId') or 'another account'}"
            out.append(told)
        return out

    def contain(self, hands: Hands, instance: Mapping[str, Any], item: Item) -> None:
        """Put the isolation group on the interface, alone."""
        interface = next((one for one in interfaces_of(hands, instance["InstanceId"])
                          if one["NetworkInterfaceId"] == item["key"]), None)
        if interface is None:
            return  # detached meanwhile: it carries nothing of the instance
        group = isolation_group(hands, item["vpc"])
        if _groups(interface) != [group]:
            hands.do(f"the isolation group alone on {item['key']}", "ec2", "modify_network_interface_attribute",
                     NetworkInterfaceId=item["key"], Groups=[group])
        item["group"] = group

    def release(self, hands: Hands, instance: Mapping[str, Any], item: Item) -> str:
        """The recorded groups, those that are still there."""
        name, was = item["key"], list(item["was"]["groups"])
        interface = next((one for one in interfaces_of(hands, instance["InstanceId"])
                          if one["NetworkInterfaceId"] == name), None)
        if interface is None:
            return f"{name} is not attached to the instance any more"
        if _groups(interface) == was:
            return ""
        isolating = _isolation_group(hands, item["vpc"])
        if isolating is None or _groups(interface) != [isolating["GroupId"]]:
            return (f"the groups of {name}: somebody has given it {', '.join(_groups(interface))} meanwhile, which is "
                    f"left as it is; it had {', '.join(was)}")
        there = {str(group["GroupId"]) for group in pages(
            hands("ec2"), "describe_security_groups", "SecurityGroups",
            Filters=[{"Name": "group-id", "Values": was}])} if was else set()
        back = [one for one in was if one in there]
        if not back:
            return f"the groups of {name}: none of {', '.join(was)} is there any more, it stays isolated"
        hands.do(f"{', '.join(back)} on {name}", "ec2", "modify_network_interface_attribute", NetworkInterfaceId=name,
                 Groups=back)
        lost = [one for one in was if one not in there]
        return f"{', '.join(lost)} on {name}: deleted meanwhile" if lost else ""


def _isolation_group(hands: Hands, vpc: str) -> dict[str, Any] | None:
    found = pages(hands("ec2"), "describe_security_groups", "SecurityGroups",
                  Filters=[{"Name": "vpc-id", "Values": [vpc]}, {"Name": f"tag:{TAG}", "Values": [vpc]}])
    # Two runs at the same moment cannot make two: a name is given once a VPC.
    return next((group for group in sorted(found, key=lambda one: str(one["GroupId"]))), None)


def isolation_group(hands: Hands, vpc: str) -> str:
    """The id of the VPC's isolation group, made where there is none and proven to be closed. In check mode a word."""
    group = _isolation_group(hands, vpc)
    if group is None:
        made = hands.do(
            f"the isolation group of {vpc}", "ec2", "create_security_group", VpcId=vpc,
            GroupName=f"dfir-isolation-{vpc}",
            Description="dfir.aws: isolates contained instances. It must never have a rule.",
            TagSpecifications=[{"ResourceType": "security-group", "Tags": [
                {"Key": TAG, "Value": vpc}, {"Key": "Name", "Value": f"dfir-isolation-{vpc}"}]}])
        if hands.check:
            return "the isolation group"
        group = _described(hands, str(made["GroupId"]))
    _closed(group)
    if group.get("IpPermissionsEgress"):  # EC2's own, of a new group or of a run that died just after making it
        hands.do(f"no rules of {group['GroupId']}", "ec2", "revoke_security_group_egress", GroupId=group["GroupId"],
                 IpPermissions=group["IpPermissionsEgress"])
        if not hands.check:
            _proven(hands, str(group["GroupId"]))
    return str(group["GroupId"])


def _described(hands: Hands, name: str) -> dict[str, Any]:
    # A group that was just made may not be seen for a moment.
    for _look in range(10):
        found = pages(hands("ec2"), "describe_security_groups", "SecurityGroups",
                      Filters=[{"Name": "group-id", "Values": [name]}])
        if found:
            return found[0]
        hands.pause(1)
    raise ContainmentError(f"The isolation group {name} was made and is not seen: start again.")


def _proven(hands: Hands, name: str) -> None:
    for _look in range(10):
        group = _described(hands, name)
        if not group.get("IpPermissions") and not group.get("IpPermissionsEgress"):
            return
        hands.pause(1)
    raise ContainmentError(f"The isolation group {name} still has rules after they were revoked, so it was not used: "
                           "look at it, and start again.")


def _closed(group: Mapping[str, Any]) -> None:
    """Refuse a group that somebody has opened. EC2's own rule of a new group is no opening by somebody."""
    own = all(rule.get("IpProtocol") == "-1" and not rule.get("UserIdGroupPairs") and not rule.get("PrefixListIds")
              and [one["CidrIp"] for one in rule.get("IpRanges") or []] in ([], ["0.0.0.0/0"])
              and [one["CidrIpv6"] for one in rule.get("Ipv6Ranges") or []] in ([], ["::/0"])
              for rule in group.get("IpPermissionsEgress") or [])
    if group.get("IpPermissions") or not own:
        raise ContainmentError(f"The isolation group {group['GroupId']} of {group.get('VpcId', 'the VPC')} has rules, "
                               "so it isolates nothing: remove them (look who has added them), and start again.")


class NetworkAcl(Step):
    """Opt-in: a network ACL without rules on the subnet, which cuts tracked connections, too."""

    name, title, bound = "network_acl", "Network ACL that cuts connections", False

    def look(self, hands: Hands, instance: Mapping[str, Any], wishes: Wishes) -> list[Item]:
        """One item a subnet. A subnet that anybody else uses is refused."""
        if not wishes.network_acl:
            return []
        interfaces = interfaces_of(hands, instance["InstanceId"])
        out = []
        for subnet in sorted({str(one["SubnetId"]) for one in interfaces}):
            self._alone(hands, subnet, instance["InstanceId"])
            acl, _association = _association_of(hands, subnet)
            isolating = TAG in tags_of(acl)
            out.append(item(subnet, {"acl": acl["NetworkAclId"]}, "" if isolating else
                            f"a network ACL without rules on {subnet}, instead of {acl['NetworkAclId']}",
                            f"{acl['NetworkAclId']} on {subnet}", vpc=acl["VpcId"]))
        return out

    def contain(self, hands: Hands, instance: Mapping[str, Any], item: Item) -> None:
        """Associate the ACL. Who else is in the subnet is looked for again just before."""
        acl, association = _association_of(hands, item["key"])
        if acl["NetworkAclId"] == item.get("acl") or TAG in tags_of(acl):
            _without_rules(acl)
            item["acl"] = acl["NetworkAclId"]
            return
        wanted = _isolation_acl(hands, item["vpc"])
        self._alone(hands, item["key"], instance["InstanceId"])
        hands.do(f"a network ACL without rules on {item['key']}", "ec2", "replace_network_acl_association",
                 AssociationId=association, NetworkAclId=wanted)
        item["acl"] = wanted

    def release(self, hands: Hands, instance: Mapping[str, Any], item: Item) -> str:
        """The ACL that the subnet had."""
        subnet, was = item["key"], item["was"]["acl"]
        if not pages(hands("ec2"), "describe_subnets", "Subnets", Filters=[{"Name": "subnet-id", "Values": [subnet]}]):
            return f"the network ACL of {subnet}: the subnet is not there any more"
        acl, association = _association_of(hands, subnet)
        if acl["NetworkAclId"] == was:
            return ""
        if TAG not in tags_of(acl):
            return (f"the network ACL of {subnet}: somebody has given it {acl['NetworkAclId']} meanwhile, which is "
                    f"left as it is; it had {was}")
        there = pages(hands("ec2"), "describe_network_acls", "NetworkAcls",
                      Filters=[{"Name": "network-acl-id", "Values": [was]}])
        if not there:
            return f"the network ACL of {subnet}: {was} is not there any more, the subnet stays cut off"
        hands.do(f"{was} on {subnet}", "ec2", "replace_network_acl_association", AssociationId=association,
                 NetworkAclId=was)
        return ""

    def _alone(self, hands: Hands, subnet: str, instance_id: str) -> None:
        [about] = pages(hands("ec2"), "describe_subnets", "Subnets",
                        Filters=[{"Name": "subnet-id", "Values": [subnet]}])
        if about.get("OwnerId", hands.account) != hands.account:
            raise ContainmentError(f"The subnet {subnet} is shared by the account {about['OwnerId']}: who else is in "
                                   "it is not seen from here. Leave network_acl out, or ask that account.")
        others = [str(one["NetworkInterfaceId"]) for one in pages(
            hands("ec2"), "describe_network_interfaces", "NetworkInterfaces",
            Filters=[{"Name": "subnet-id", "Values": [subnet]}])
            if (one.get("Attachment") or {}).get("InstanceId") != instance_id]
        if others:
            shown = ", ".join(sorted(others)[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
            raise ContainmentError(f"The subnet {subnet} has other network interfaces ({shown}), which a network ACL "
                                   "would cut off, too: leave network_acl out. Tracked connections then end by "
                                   "themselves, or when the instance is stopped.")


def _association_of(hands: Hands, subnet: str) -> tuple[dict[str, Any], str]:
    [acl] = pages(hands("ec2"), "describe_network_acls", "NetworkAcls",
                  Filters=[{"Name": "association.subnet-id", "Values": [subnet]}])
    return acl, next(str(one["NetworkAclAssociationId"]) for one in acl["Associations"] if one["SubnetId"] == subnet)


def _isolation_acl(hands: Hands, vpc: str) -> str:
    found = pages(hands("ec2"), "describe_network_acls", "NetworkAcls",
                  Filters=[{"Name": "vpc-id", "Values": [vpc]}, {"Name": f"tag:{TAG}", "Values": [vpc]}])
    if found:
        acl = min(found, key=lambda one: str(one["NetworkAclId"]))
    else:
        made = hands.do(f"the network ACL of {vpc} without rules", "ec2", "create_network_acl", VpcId=vpc,
                        TagSpecifications=[{"ResourceType": "network-acl", "Tags": [
                            {"Key": TAG, "Value": vpc}, {"Key": "Name", "Value": f"dfir-isolation-{vpc}"}]}])
        if hands.check:
            return "the network ACL without rules"
        acl = made["NetworkAcl"]
    _without_rules(acl)
    return str(acl["NetworkAclId"])


def _without_rules(acl: Mapping[str, Any]) -> None:
    if any(entry.get("RuleAction") != "deny" for entry in acl.get("Entries") or []):
        raise ContainmentError(f"The network ACL {acl['NetworkAclId']} has rules that allow, so it cuts nothing: "
                               "remove them (look who has added them), and start again.")
