# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Security groups as nftables rules.

They stand on the lab's side of each host's cable, where root on the host cannot change them, as on AWS. The same table
keeps a host from speaking under another one's address, because the metadata service knows callers by it.
"""

from __future__ import annotations

from collections.abc import Iterable

from lab import config
from lab.contracts import CLOSED, CUT, Rule

TABLE = "inet lab"


def base(service_ports: Iterable[int]) -> str:
    """The rules of a lab without hosts. `service_ports` are the ports of SERVICE_IP that hosts may use."""
    ports = ", ".join(str(port) for port in sorted(service_ports))
    return f"""
table {TABLE} {{
  set cables {{ type ifname . ipv4_addr; }}
  map groups {{ type ipv4_addr : verdict; }}
  map leaving {{ type ipv4_addr : verdict; }}
  map cuts {{ type ipv4_addr : verdict; }}
  chain sources {{
    type filter hook prerouting priority -10; policy drop;
    iifname "lo" accept
    iifname . ip saddr @cables accept
  }}
  chain services {{
    type filter hook input priority 0; policy drop;
    iifname "lo" accept
    ip daddr {config.METADATA_IP} tcp dport 80 accept
    ip saddr vmap @cuts
    ct state established,related accept
    ip saddr vmap @leaving
    ip daddr {config.SERVICE_IP} tcp dport {{ {ports} }} accept
    ip daddr {config.GATEWAY_IP} icmp type echo-request accept
  }}
  chain to_hosts {{
    ct state established,related accept
    ip daddr vmap @groups
    drop
  }}
  chain between_hosts {{
    type filter hook forward priority 0; policy drop;
    ip saddr vmap @cuts
    ip daddr vmap @cuts
    ct state established,related accept
    ip saddr vmap @leaving
    jump to_hosts
  }}
  chain from_outside {{
    type filter hook output priority 0; policy accept;
    oifname "lo" accept
    ip saddr {config.METADATA_IP} accept
    ip daddr vmap @cuts
    jump to_hosts
  }}
}}
"""


def add_host(cable: str, address: str, rules: Iterable[Rule]) -> str:
    """Admit a host: its cable, its address, its security groups' rules."""
    return (f"add chain {TABLE} {cable}\nadd chain {TABLE} {cable}out\nadd chain {TABLE} {cable}cut\n"
            f"{set_rules(cable, rules)}"
            f"add element {TABLE} cables {{ \"{cable}\" . {address} }}\n"
            f"add element {TABLE} leaving {{ {address} : jump {cable}out }}\n"
            f"add element {TABLE} cuts {{ {address} : jump {cable}cut }}\n"
            f"add element {TABLE} groups {{ {address} : jump {cable} }}\n")


def set_rules(cable: str, rules: Iterable[Rule]) -> str:
    """Replace a host's rules in one step; established connections live on, as on AWS, unless all is cut."""
    rules = list(rules)
    inward, outward = ([rule for rule in rules if rule.outward is way] for way in (False, True))
    lines = [f"flush chain {TABLE} {cable}{end}" for end in ("", "out", "cut")]
    # The lab's network has no IPv6, so rules for it admit nobody.
    lines += [f"add rule {TABLE} {cable} {_match(rule)} accept" for rule in inward if ":" not in rule.cidr]
    lines.append(f"add rule {TABLE} {cable} drop")
    if CLOSED in outward:
        lines += [f"add rule {TABLE} {cable}out {_match(rule)} return" for rule in outward
                  if rule not in (CLOSED, CUT) and ":" not in rule.cidr]
        lines.append(f"add rule {TABLE} {cable}out drop")
    if CUT in outward:
        lines.append(f"add rule {TABLE} {cable}cut drop")
    return "".join(line + "\n" for line in lines)


def remove_host(cable: str, address: str) -> str:
    """Forget a host."""
    return (f"delete element {TABLE} groups {{ {address} }}\n"
            f"delete element {TABLE} leaving {{ {address} }}\n"
            f"delete element {TABLE} cuts {{ {address} }}\n"
            f"delete element {TABLE} cables {{ \"{cable}\" . {address} }}\n"
            f"delete chain {TABLE} {cable}\n"
            f"delete chain {TABLE} {cable}out\n"
            f"delete chain {TABLE} {cable}cut\n")


def _match(rule: Rule) -> str:
    end = "daddr" if rule.outward else "saddr"
    source = f"ip {end} {rule.cidr}" if rule.cidr != "0.0.0.0/0" else "meta nfproto ipv4"
    if rule.protocol == "-1":
        return source
    if rule.protocol == "icmp":
        return f"{source} ip protocol icmp"
    return f"{source} {rule.protocol} dport {rule.from_port}-{rule.to_port}"
