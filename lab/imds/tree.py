# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the metadata service knows of an instance, as the tree of folders and leaves that its paths show."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timezone

from lab.contracts import Credentials, InstanceMetadata

VERSIONS = ("1.0", "2007-01-19", "2009-04-04", "2014-11-05", "2016-09-02", "2018-09-24", "2019-10-01", "2021-03-23",
            "2021-07-15", "2024-04-11", "latest")

Leaf = str | bytes | Callable[[], str | None]
Tree = Mapping[str, "Leaf | Tree"]


def metadata_tree(
    instance: InstanceMetadata, credentials: Callable[[str], Credentials | None], boot_time: datetime
) -> dict[str, Leaf | Tree]:
    """Everything below a version: `meta-data`, `dynamic`, `user-data`. Leaves may be computed when asked for."""
    tree: dict[str, Leaf | Tree] = {
        "meta-data": _meta_data(instance, credentials, boot_time),
        "dynamic": {"instance-identity": {"document": _identity_document(instance, boot_time)}},
    }
    if instance.user_data:
        tree["user-data"] = instance.user_data
    return tree


def find(tree: Tree, path: str) -> bytes | None:
    """The answer for a path below a version: a leaf's text, a folder's listing, or None where there is nothing."""
    node: Leaf | Tree | None = tree
    for part in [part for part in path.split("/") if part]:
        if not isinstance(node, Mapping):
            return None
        # A public key is listed as `0=name` and asked for as `0`.
        node = node.get(part) or next((child for name, child in node.items() if name.startswith(f"{part}=")), None)
    if callable(node):
        node = node()
    if isinstance(node, Mapping):
        return "\n".join(_listed(name, child) for name, child in node.items()).encode()
    return node.encode() if isinstance(node, str) else node


def _listed(name: str, child: Leaf | Tree) -> str:
    return f"{name}/" if isinstance(child, Mapping) and "=" not in name else name


def _meta_data(
    instance: InstanceMetadata, credentials: Callable[[str], Credentials | None], boot_time: datetime
) -> dict[str, Leaf | Tree]:
    groups = "\n".join(instance.security_groups)
    partition = "amazonaws.com.cn" if instance.region.startswith("cn-") else "amazonaws.com"
    tree: dict[str, Leaf | Tree] = {
        "ami-id": instance.image_id,
        "ami-launch-index": "0",
        "ami-manifest-path": "(unknown)",
        "block-device-mapping": {"ami": "/dev/xvda", "root": "/dev/xvda"},
        "hostname": instance.hostname,
        "instance-action": "none",
        "instance-id": instance.instance_id,
        "instance-life-cycle": "on-demand",
        "instance-type": instance.instance_type,
        "local-hostname": instance.hostname,
        "local-ipv4": instance.private_ip,
        "mac": instance.mac,
        "network": {"interfaces": {"macs": {instance.mac: {
            "device-number": "0", "local-hostname": instance.hostname, "local-ipv4s": instance.private_ip,
            "mac": instance.mac, "owner-id": instance.account, "security-groups": groups,
        }}}},
        "placement": {"availability-zone": instance.zone, "region": instance.region},
        "profile": "default-hvm",
        "security-groups": groups,
        "services": {"domain": partition, "partition": instance_partition(instance)},
    }
    if instance.public_keys:
        tree["public-keys"] = {f"{index}={name}": {"openssh-key": key.strip() + "\n"}
                               for index, (name, key) in enumerate(sorted(instance.public_keys.items()))}
    if instance.profile_arn:
        tree["iam"] = _iam(instance, credentials, boot_time)
    return tree


def instance_partition(instance: InstanceMetadata) -> str:
    """The ARN partition that an instance lives in, read off its profile where it has one."""
    return instance.profile_arn.split(":")[1] if instance.profile_arn else "aws"


def _iam(
    instance: InstanceMetadata, credentials: Callable[[str], Credentials | None], boot_time: datetime
) -> dict[str, Leaf | Tree]:
    info = json.dumps({"Code": "Success", "LastUpdated": _stamp(boot_time), "InstanceProfileArn": instance.profile_arn,
                       "InstanceProfileId": instance.profile_id}, indent=2)
    tree: dict[str, Leaf | Tree] = {"info": info}
    role = instance.role_name
    if role:
        def current() -> str | None:
            found = credentials(role)
            return None if found is None else json.dumps({
                "Code": "Success", "LastUpdated": found.last_updated, "Type": "AWS-HMAC",
                "AccessKeyId": found.access_key, "SecretAccessKey": found.secret_key, "Token": found.token,
                "Expiration": found.expiration}, indent=2)

        tree["security-credentials"] = {role: current}
    return tree


def _identity_document(instance: InstanceMetadata, boot_time: datetime) -> str:
    return json.dumps({
        "accountId": instance.account, "architecture": "x86_64", "availabilityZone": instance.zone,
        "billingProducts": None, "devpayProductCodes": None, "marketplaceProductCodes": None,
        "imageId": instance.image_id, "instanceId": instance.instance_id, "instanceType": instance.instance_type,
        "kernelId": None, "pendingTime": _stamp(boot_time), "privateIp": instance.private_ip, "ramdiskId": None,
        "region": instance.region, "version": "2017-09-30"}, indent=2)


def _stamp(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
