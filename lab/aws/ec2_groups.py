# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Security groups that hosts obey, and that cannot be deleted while in use."""

from __future__ import annotations

import logging
from typing import Any

from lab.contracts import CLOSED, CUT, Rule

from . import moto_app
from .world import current

# isort: split
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.elastic_network_interfaces import NetworkInterface, NetworkInterfaceBackend
from moto.ec2.models.security_groups import SecurityGroupBackend

LOG = logging.getLogger("lab.aws")
_delete = SecurityGroupBackend.delete_security_group
_modify_interface = NetworkInterfaceBackend.modify_network_interface_attribute


def groups_of(instance: Any) -> list[Any]:
    """The security groups of an instance, those of its network interfaces included."""
    found = {g.id: g for g in instance.security_groups}
    for nic in instance.nics.values():
        found.update({g.id: g for g in nic._group_set})
    return list(found.values())


def rules_of(instance: Any) -> tuple[Rule, ...]:
    """What the groups admit and let out, with members of a group in place of the group, and whether all is cut."""
    rules, outward = _permissions(instance, "ingress_rules"), _permissions(instance, "egress_rules", outward=True)
    if not any(rule.protocol == "-1" and rule.cidr == "0.0.0.0/0" for rule in outward):
        rules |= {CLOSED, *outward}
    if _is_cut(instance):
        rules.add(CUT)
    return tuple(sorted(rules, key=lambda r: (r.outward, r.protocol, r.from_port, r.to_port, r.cidr)))


def _is_cut(instance: Any) -> bool:
    """Whether the network ACL of its subnet has no rule that allows, as a new one has none."""
    acls = [acl for acl in instance.ec2_backend.network_acls.values()
            if any(one.subnet_id == instance.subnet_id for one in acl._associations.values())]
    return any(all(entry.rule_action != "allow" for entry in acl.network_acl_entries) for acl in acls)


def _permissions(instance: Any, kind: str, *, outward: bool = False) -> set[Rule]:
    backend, rules = instance.ec2_backend, set()
    for group in groups_of(instance):
        current_group = backend.get_security_group_from_id(group.id)
        for rule in (getattr(current_group, kind) if current_group is not None else []):
            cidrs = [rule.cidr_ipv4] if rule.cidr_ipv4 else []
            member_of = (rule.source_group or {}).get("GroupId")
            if member_of:
                cidrs += [f"{other.private_ip}/32" for other in backend.all_instances()
                          if other.state != "terminated" and member_of in [g.id for g in groups_of(other)]]
            every = rule.ip_protocol == "-1"
            for cidr in cidrs:
                rules.add(Rule(rule.ip_protocol, -1 if every else int(rule.from_port),
                               -1 if every else int(rule.to_port), cidr, outward))
    return rules


def refresh(region: str) -> None:
    """Tell every host whose admission changed."""
    hosts = current().hosts_of(moto_app.CALL.account)
    for instance in moto_app.ec2(region).all_instances():
        if instance.state not in ("pending", "running"):
            continue
        rules = rules_of(instance)
        if hosts is not None and getattr(instance, "lab_rules", None) not in (None, rules):
            try:
                hosts.set_rules(instance.id, rules)
            except Exception:
                LOG.exception("the rules of %s could not be changed", instance.id)
                continue
        instance.lab_rules = rules


def delete_security_group(self: Any, name: str | None = None, group_id: str | None = None) -> None:
    """DeleteSecurityGroup: refused while an interface or another group's rule uses it."""
    group = self.get_security_group_by_name_or_id(name or group_id, None) if (name or group_id) else None
    if group is not None:
        if group.name == "default":
            raise EC2ClientError("CannotDelete", f"the specified group: \"{group.id}\" name: \"default\" cannot be "
                                                 "deleted by a user")
        used = any(group.id in [g.id for g in nic._group_set] for nic in self.enis.values())
        used = used or any(group.id in [g.id for g in groups_of(i)] for i in self.all_instances()
                           if i.state != "terminated")
        used = used or any((rule.source_group or {}).get("GroupId") == group.id
                           for groups in self.groups.values() for other in groups.values() if other.id != group.id
                           for rule in [*other.ingress_rules, *other.egress_rules])
        if used:
            raise EC2ClientError("DependencyViolation", f"resource {group.id} has a dependent object")
        self.tags.pop(group.id, None)
    _delete(self, name, group_id)


def modify_network_interface_attribute(self: Any, eni_id: str, group_ids: list[str], *more: Any, **named: Any) -> None:
    """ModifyNetworkInterfaceAttribute. The groups of an instance are those of its first interface."""
    for name in group_ids:
        if self.get_security_group_from_id(name) is None:
            raise EC2ClientError("InvalidGroup.NotFound", f"The security group '{name}' does not exist")
    _modify_interface(self, eni_id, group_ids, *more, **named)
    eni = self.get_network_interface(eni_id)
    if group_ids and eni.instance is not None and eni.device_index == 0:
        eni.instance.security_groups = list(eni._group_set)


def group_set(self: Any) -> list[Any]:
    """The groups of this interface; moto adds those of the instance's others."""
    return list(self._group_set)


def install() -> None:
    """Put these in the place of moto's."""
    SecurityGroupBackend.delete_security_group = delete_security_group  # type: ignore[method-assign]
    NetworkInterfaceBackend.modify_network_interface_attribute = (  # type: ignore[method-assign]
        modify_network_interface_attribute)
    NetworkInterface.group_set = property(group_set)  # type: ignore[assignment]
