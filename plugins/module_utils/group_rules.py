# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of a security group: what is wanted held against what is there, one address range at a time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

# How the EC2 API names a rule's other side (IpPermission, EC2 API reference).
SIDES = {"cidr_ip": ("IpRanges", "CidrIp"), "cidr_ipv6": ("Ipv6Ranges", "CidrIpv6"),
         "ip_prefix": ("PrefixListIds", "PrefixListId"), "group": ("UserIdGroupPairs", "GroupId")}


class WrongRule(ValueError):
    """A rule that says nothing that EC2 could take."""


class Rule(NamedTuple):
    """Ports of one protocol, open to one other side; ports are None where the protocol is all."""

    proto: str
    first: int | None
    last: int | None
    kind: str
    other: str


def wanted_rules(given: Iterable[Mapping[str, Any]]) -> dict[Rule, str]:
    """Rules as an operator writes them, and what each is for.

    :raises WrongRule: one that lacks its ports or its other side.
    """
    found: dict[Rule, str] = {}
    for rule in given:
        proto = "-1" if rule["proto"] == "all" else str(rule["proto"])
        others = [(kind, str(other)) for kind in SIDES for other in rule.get(kind) or []]
        if not others:
            raise WrongRule(f"A rule for {rule['proto']} names nobody: give cidr_ip, cidr_ipv6 or ip_prefix.")
        for first, last in _ports(proto, rule):
            for kind, other in others:
                found[Rule(proto, first, last, kind, other)] = str(rule.get("rule_desc") or "")
    return found


def _ports(proto: str, rule: Mapping[str, Any]) -> Iterator[tuple[int | None, int | None]]:
    if proto == "-1":
        yield None, None
        return
    first, last = rule.get("from_port"), rule.get("to_port")
    written = [str(port) for port in rule.get("ports") or []] or ([f"{first}-{last}"] if first is not None else [])
    if not written:
        raise WrongRule(f"A rule for {proto} names no port: give ports, or from_port and to_port.")
    for text in written:
        found = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", text)
        pair = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if not 0 <= pair[0] <= pair[1] <= 65535:
            raise WrongRule(f"{text!r} is no port and no range of ports: write 443 or 8000-8100.")
        yield pair


def existing_rules(permissions: Iterable[Mapping[str, Any]]) -> set[Rule]:
    """Rules as DescribeSecurityGroups tells them."""
    found = set()
    for permission in permissions:
        proto = str(permission["IpProtocol"])
        ports = (None, None) if proto == "-1" else (permission.get("FromPort"), permission.get("ToPort"))
        for kind, (listed, name) in SIDES.items():
            found |= {Rule(proto, *ports, kind, str(item[name])) for item in permission.get(listed) or []}
    return found


def changes(has: Iterable[Mapping[str, Any]], wants: Mapping[Rule, str]) -> tuple[list[Any], list[Any]]:
    """What to authorize and what to revoke, as the EC2 API takes it."""
    there = existing_rules(has)
    missing = [_permission(rule, purpose) for rule, purpose in wants.items() if rule not in there]
    return missing, [_permission(rule) for rule in sorted(there - set(wants), key=str)]


def _permission(rule: Rule, purpose: str = "") -> dict[str, Any]:
    listed, name = SIDES[rule.kind]
    other = {name: rule.other, **({"Description": purpose} if purpose else {})}
    ports = {} if rule.first is None else {"FromPort": rule.first, "ToPort": rule.last}
    return {"IpProtocol": rule.proto, **ports, listed: [other]}
