# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shape what the role `analysis_host` gives to AWS, and what it hands on."""

from __future__ import annotations

import ipaddress
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible import constants
from ansible.errors import AnsibleFilterError

LARGEST_GP3_GIB = 16384
ALIVE = ("pending", "running")


def scratch_gib(volume_gib: float, factor: float = 1.0, least: int = 30) -> int:
    """Size of the scratch volume: room for the toolbox image, plus as much as the evidence (pitfall 52)."""
    return min(LARGEST_GP3_GIB, least + math.ceil(float(volume_gib) * float(factor)))


def launch_disks(image: Mapping[str, Any], scratch: int, kms_key_id: str = "") -> list[dict[str, Any]]:
    """Root and scratch volume as RunInstances takes them: gp3, encrypted, deleted with the host."""

    def disk(name: str, gib: int) -> dict[str, Any]:
        ebs = {"volume_size": gib, "volume_type": "gp3", "encrypted": True, "delete_on_termination": True}
        return {"device_name": name, "ebs": {**ebs, **({"kms_key_id": kms_key_id} if kms_key_id else {})}}

    return [disk(str(image["root_device_name"]), int(image["root_volume_gib"])), disk("/dev/sdb", int(scratch))]


def ssh_rules(controller_cidrs: Sequence[str], analyst_cidrs: Sequence[str]) -> list[dict[str, Any]]:
    """Ingress rules: port 22 for the controller and for this request's analyst, and for nobody else."""
    named: dict[str, str] = {}
    for cidrs, who in ((analyst_cidrs, "analyst"), (controller_cidrs, "controller")):
        for cidr in cidrs:
            try:
                network = ipaddress.ip_network(cidr, strict=False)
            except ValueError as error:
                raise AnsibleFilterError(f"{cidr!r} is not an address range of the {who}: {error}") from error
            if network.prefixlen == 0:
                raise AnsibleFilterError(f"{cidr} is the whole internet: name the {who}'s own address ranges.")
            named[str(network)] = who
    if not any(who == "controller" for who in named.values()):
        raise AnsibleFilterError("No address range of the controller is given: set dfir_aws_controller_cidrs.")
    return [
        {"proto": "tcp", "from_port": 22, "to_port": 22, "rule_desc": f"SSH from the {who}",
         "cidr_ipv6" if ":" in network else "cidr_ip": network}
        for network, who in sorted(named.items())
    ]


def ssh_way(via: str, instance_id: str, region: str, jump: str = "", endpoint_id: str = "") -> list[str]:
    """Options of ssh that lead to a host: straight, over a jump host, or through an EC2 Instance Connect Endpoint.

    The endpoint's tunnel is opened by the AWS CLI (version 2, `aws ec2-instance-connect open-tunnel`), which ends it
    after an hour at the latest.
    """
    if via == "direct":
        return []
    if via == "proxyjump":
        if not jump:
            raise AnsibleFilterError("The way in is 'proxyjump', but no jump host is named: set dfir_aws_ssh_jump to "
                                     "[user@]host[:port].")
        return ["-J", jump]
    if via == "eice":
        tunnel = ["aws", "ec2-instance-connect", "open-tunnel", "--instance-id", instance_id, "--region", region]
        tunnel += ["--instance-connect-endpoint-id", endpoint_id] if endpoint_id else []
        return ["-o", f"ProxyCommand={shlex.join(tunnel)}"]
    raise AnsibleFilterError(f"There is no way in called {via!r}: dfir_aws_ssh_via is direct, proxyjump or eice.")


def subnets_in_order(found: Sequence[Mapping[str, Any]], wanted: Sequence[str] = ()) -> list[Mapping[str, Any]]:
    """Subnets in the order in which they are tried: as they were named, else by zone."""
    named = {subnet_id: position for position, subnet_id in enumerate(wanted)}
    return sorted(found, key=lambda item: (named.get(str(item["subnet_id"]), len(named)),
                                           str(item["availability_zone"]), str(item["subnet_id"])))


def subnet_refusal(found: Sequence[Mapping[str, Any]], region: str, wanted: Sequence[str] = (),
                   filters: Mapping[str, Any] | None = None, public: bool = False) -> str:
    """Why no host can be launched into these subnets, in one sentence; empty when one can."""
    use = "set dfir_aws_analysis_subnet_ids to those to use."
    here = {str(item["subnet_id"]) for item in found}
    missing = [subnet_id for subnet_id in wanted if subnet_id not in here]
    if not found:
        return f"0 subnets in {region} match {', '.join(wanted) or dict(filters or {})}: {use}"
    if missing:
        return f"There is no subnet {missing[0]} in {region}: {use}"
    networks = sorted({str(item["vpc_id"]) for item in found})
    if len(networks) > 1:
        return (f"The subnets {', '.join(sorted(here))} lie in several networks ({', '.join(networks)}), and a "
                f"security group holds in one only: {use}")
    # The launch says no, too. A subnet that gives out public addresses is open to the internet, no place for a host.
    opened = [str(item["subnet_id"]) for item in subnets_in_order(found, wanted) if item["map_public_ip_on_launch"]]
    if opened and not public:
        return (f"Subnet {opened[0]} gives every instance a public address: use another one, or switch that off (aws "
                "ec2 modify-subnet-attribute --no-map-public-ip-on-launch).")
    return ""


def choose_instance(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What to do about instances that carry the request's tag: adopt a living one, mind one that has ended."""
    alive = sorted((item for item in found if item["state"]["name"] in ALIVE),
                   key=lambda item: (str(item.get("launch_time")), item["instance_id"]))
    ended = sorted(str(item["instance_id"]) for item in found if item["state"]["name"] not in ALIVE)
    if not alive:
        return {"instance_id": "", "ended": ended, "expires": "", "deadline": ""}
    ended = []
    tags = alive[0].get("tags") or {}
    expires = str(tags.get("dfir:expires", ""))
    return {"instance_id": str(alive[0]["instance_id"]), "ended": ended, "expires": expires,
            "deadline": str(tags.get("dfir:deadline", expires))}


def known_hosts(host_keys: Sequence[Mapping[str, str]], address: str) -> list[str]:
    """Lines of a known_hosts file, from the keys on an instance's console."""
    return [f"{address} {key['type']} {key['key']}" for key in host_keys]


def known_hosts_file(instance_id: str) -> str:
    """Where this run of Ansible keeps a host's SSH keys: in the folder of its own that it removes when it ends."""
    return f"{constants.DEFAULT_LOCAL_TMP}/{instance_id}.known_hosts"


def scratch_volume_id(instance: Mapping[str, Any]) -> str:
    """The volume that was launched with the instance besides its root."""
    root = instance.get("RootDeviceName")
    others = [item["Ebs"]["VolumeId"] for item in instance.get("BlockDeviceMappings") or []
              if item["DeviceName"] == "/dev/sdb" and item["DeviceName"] != root]
    return str(others[0]) if others else ""


def _number(value: Any) -> float | int:
    """A number as it was: ansible-core 2.16 makes text of what a template returns."""
    number = float(value)
    return int(number) if number.is_integer() else number


def analysis_host_outline(looked: Mapping[str, Any], hours: float, scratch: int, longest_hours: float | None = None,
                          ) -> dict[str, Any]:
    """What a host would be, before it is launched. `looked` is what `analysis_image_info` returned."""
    image, instance_type = looked["image"], looked["instance_type"]
    return {
        "image_id": str(image["image_id"]), "root_gib": int(image["root_volume_gib"]), "scratch_gib": int(scratch),
        "instance_type": str(instance_type["name"]), "vcpus": int(instance_type["vcpus"]),
        "memory_mib": int(instance_type["memory_mib"]), "hours": _number(hours),
        "longest_hours": _number(hours if longest_hours is None else longest_hours),
    }


def attached_volumes(created: Sequence[Mapping[str, Any]], attached: Sequence[Mapping[str, Any]],
                     ) -> list[dict[str, Any]]:
    """The volumes of a host, each with what it was made from and how it is attached.

    :param created: the results of M(dfir.aws.ec2_snapshot_volume) in a loop over snapshots.
    :param attached: the results of M(dfir.aws.ec2_volume_attachment) in loops over volumes; what is said later counts.
    """
    states = {str(item["volume_id"]): item for item in attached if item.get("volume_id")}
    volumes = []
    for result in created:
        source, state = result["item"], states.get(str(result["volume_id"]))
        if state is not None:
            volumes.append({
                "volume_id": str(result["volume_id"]), "device_name": str(state.get("device_name", "")),
                "delete_on_termination": bool(state.get("delete_on_termination")),
                "snapshot_id": str(source.get("id") or source.get("snapshot_id")),
                "source_id": str(source.get("source_id", "")),
                "volume_gib": int(result.get("size_gib") or 0), "blank": bool(result.get("blank"))})
    return volumes


def block_statements(snapshots: Sequence[Mapping[str, Any]], partition: str) -> list[dict[str, Any]]:
    """Statements of a policy that lets a host read the blocks of these snapshots, and of no others.

    :param snapshots: of the C(snapshot_result).
    """
    arns = [f"arn:{partition}:ec2:{item['region']}::snapshot/{item['id']}" for item in snapshots]
    keys = sorted({str(item["kms_key_id"]) for item in snapshots if item.get("encrypted") and item.get("kms_key_id")})
    read = {"Sid": "ReadBlocksOfTheEvidence", "Effect": "Allow",
            "Action": ["ebs:GetSnapshotBlock", "ebs:ListSnapshotBlocks"], "Resource": arns}
    opened = {"Sid": "OpenBlocksOfTheEvidence", "Effect": "Allow", "Action": "kms:Decrypt", "Resource": keys}
    return [read, *([opened] if keys else [])]


def analysis_host_result(instance: Mapping[str, Any], choice: Mapping[str, Any],
                         volumes: Sequence[Mapping[str, Any]] = (), console: Mapping[str, Any] | None = None, *,
                         name: str = "", user: str = "", expires: str = "", deadline: str = "", hours: float = 0,
                         group: str = "", public: bool = False) -> dict[str, Any]:
    """What role `analysis_host` hands on. `instance` is as DescribeInstances spells it, `choice` says what was found.

    It ends itself at `deadline`; an analyst may move that, up to `expires`.

    A host that has ended already is handed on as `ended`, with nothing but its id.
    """
    ended = list(choice.get("ended") or []) if not instance else []
    console = console or {}
    private, outer = str(instance.get("PrivateIpAddress", "")), str(instance.get("PublicIpAddress") or "")
    address = outer if public and outer else private
    return {
        "instance_id": str(instance.get("InstanceId") or (ended[0] if ended else "")), "ended": bool(ended),
        "adopted": bool(choice.get("instance_id")), "private_ip": private, "public_ip": outer, "address": address,
        "availability_zone": str((instance.get("Placement") or {}).get("AvailabilityZone", "")),
        "image_id": str(instance.get("ImageId", "")), "instance_type": str(instance.get("InstanceType", "")),
        "security_group_id": group, "role_name": name, "profile_name": name,
        "volumes": [dict(volume) for volume in volumes],
        "scratch_volume_id": scratch_volume_id(instance),
        "host_fingerprints": list(console.get("fingerprints") or []),
        "known_hosts": known_hosts(console.get("host_keys") or [], address),
        "user": user, "expires": expires, "deadline": deadline or expires, "hours": _number(hours),
    }


class FilterModule:
    """Filters of the role `analysis_host`."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "scratch_gib": scratch_gib,
            "launch_disks": launch_disks,
            "ssh_rules": ssh_rules,
            "ssh_way": ssh_way,
            "subnets_in_order": subnets_in_order,
            "subnet_refusal": subnet_refusal,
            "choose_instance": choose_instance,
            "known_hosts": known_hosts,
            "known_hosts_file": known_hosts_file,
            "attached_volumes": attached_volumes,
            "block_statements": block_statements,
            "analysis_host_outline": analysis_host_outline,
            "analysis_host_result": analysis_host_result,
        }
