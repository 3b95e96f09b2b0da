# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which connections outlive a change of security groups.

AWS has no list of the connections of an instance. It has rules by which a connection is tracked, and a tracked one
goes on under the old rules until it ends or is idle for too long (EC2 User Guide, "Security group connection
tracking"). So what is listed is what each rule has admitted, and whether that survives.

Untracked, and cut at once, is TCP or UDP only where one rule admits it from or to everywhere, on its ports, and a rule
of the other direction admits all ports to or from everywhere. ICMP is always tracked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

EVERYWHERE = {"CidrIp": "0.0.0.0/0", "CidrIpv6": "::/0"}
# Idle seconds of an established TCP connection, where the interface says nothing else.
IDLE = 432_000


def surviving(interface: Mapping[str, Any], groups: Iterable[Mapping[str, Any]]) -> list[str]:
    """What may live on at an interface, a sentence a rule, and in the end for how long. Empty: nothing."""
    groups = list(groups)
    inward = [rule for group in groups for rule in group.get("IpPermissions") or []]
    outward = [rule for group in groups for rule in group.get("IpPermissionsEgress") or []]
    out = []
    for direction, rules, others in (("in", inward, outward), ("out", outward, inward)):
        for rule in rules:
            for version, source in _sources(rule):
                for protocol in _protocols(rule):
                    if not _untracked(protocol, version, source, others):
                        out.append(f"{direction}: {protocol}{_ports(rule)} {'from' if direction == 'in' else 'to'} "
                                   f"{source}")
    told = list(dict.fromkeys(out))
    if told:
        seconds = (interface.get("ConnectionTrackingConfiguration") or {}).get("TcpEstablishedTimeout") or IDLE
        told.append(f"a TCP connection ends after {seconds} s without traffic, and never while there is some")
    return told


def _sources(rule: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    return [*(("CidrIp", str(one["CidrIp"])) for one in rule.get("IpRanges") or []),
            *(("CidrIpv6", str(one["CidrIpv6"])) for one in rule.get("Ipv6Ranges") or []),
            *(("", str(one["PrefixListId"])) for one in rule.get("PrefixListIds") or []),
            *(("", str(one["GroupId"])) for one in rule.get("UserIdGroupPairs") or [])]


def _protocols(rule: Mapping[str, Any]) -> Sequence[str]:
    return ("tcp", "udp", "icmp") if rule["IpProtocol"] == "-1" else (str(rule["IpProtocol"]),)


def _ports(rule: Mapping[str, Any]) -> str:
    if rule["IpProtocol"] not in ("tcp", "udp") or "FromPort" not in rule:
        return ""
    low, high = rule["FromPort"], rule["ToPort"]
    return f" {low}" if low == high else f" {low}-{high}"


def _untracked(protocol: str, version: str, source: str, others: Iterable[Mapping[str, Any]]) -> bool:
    if protocol not in ("tcp", "udp") or EVERYWHERE.get(version) != source:
        return False
    return any(_all_ports(rule, protocol) and (version, source) in _sources(rule) for rule in others)


def _all_ports(rule: Mapping[str, Any], protocol: str) -> bool:
    return rule["IpProtocol"] == "-1" or (rule["IpProtocol"] == protocol and rule.get("FromPort") in (0, -1)
                                          and rule.get("ToPort") in (65535, -1))
