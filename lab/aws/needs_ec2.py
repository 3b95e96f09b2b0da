# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an EC2 call needs to be allowed: each resource that it touches or makes, with its tags and attributes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from . import moto_app
from .calls import Call
from .policy import Need

KINDS = {"i": "instance", "vol": "volume", "snap": "snapshot", "sg": "security-group", "subnet": "subnet",
         "vpc": "vpc", "ami": "image", "eni": "network-interface", "rtb": "route-table", "igw": "internet-gateway",
         "key": "key-pair", "vpce": "vpc-endpoint", "sgr": "security-group-rule", "acl": "network-acl",
         "eipalloc": "elastic-ip", "lt": "launch-template"}
NO_ACCOUNT = {"snapshot", "image"}
# What a call makes: its ARN ends in `/*`, and the tags of the request belong to it.
CREATES = {
    "RunInstances": ("instance", "volume", "network-interface"), "CreateVolume": ("volume",),
    "CopySnapshot": ("snapshot",), "CreateSnapshot": ("snapshot",), "CreateSnapshots": ("snapshot",),
    "CreateSecurityGroup": ("security-group",), "CreateKeyPair": ("key-pair",), "ImportKeyPair": ("key-pair",),
    "CreateVpc": ("vpc",), "CreateSubnet": ("subnet",), "CreateNetworkInterface": ("network-interface",),
    "RegisterImage": ("image",), "CopyImage": ("image",), "CreateVpcEndpoint": ("vpc-endpoint",),
    "CreateNetworkAcl": ("network-acl",),
    "CreateRouteTable": ("route-table",), "CreateInternetGateway": ("internet-gateway",),
}
ID = re.compile(r"([a-z]+)-[0-9a-f]{8,32}")


def arn(kind: str, region: str, name: str) -> str:
    """An EC2 ARN; snapshots and images belong to no account in it."""
    return f"arn:aws:ec2:{region}:{'' if kind in NO_ACCOUNT else moto_app.CALL.account}:{kind}/{name}"


def _ids(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name not in ("TagSpecifications", "Tags", "Filters", "UserData", "Description", "ClientToken"):
                yield from _ids(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _ids(inner)
    elif isinstance(value, str) and ID.fullmatch(value):
        yield value


def tags_of(region: str, name: str) -> dict[str, str]:
    """Tags of an existing resource."""
    return dict(moto_app.ec2(region).tags.get(name, {}))


def _tag_keys(prefix: str, tags: dict[str, str]) -> dict[str, list[str]]:
    return {f"{prefix}/{key.lower()}": [value] for key, value in tags.items()}


def requested_tags(call: Call) -> dict[str, dict[str, str]]:
    """Tags in the request, per resource type."""
    found: dict[str, dict[str, str]] = {}
    for spec in call.params.get("TagSpecifications") or []:
        tags = found.setdefault(spec.get("ResourceType", ""), {})
        tags.update({t["Key"]: t.get("Value", "") for t in spec.get("Tags") or []})
    return found


def _existing(call: Call, name: str, region: str) -> Need:
    kind = KINDS[name.split("-", 1)[0]]
    tags = tags_of(region, name)
    ctx = {**_tag_keys("aws:resourcetag", tags), **_tag_keys("ec2:resourcetag", tags), "ec2:region": [region]}
    model = moto_app.ec2(region)
    snapshot = moto_app.snapshot(region, name) if kind == "snapshot" else None
    if snapshot is not None:
        ctx |= {"ec2:owner": [str(snapshot.owner_id)], "ec2:encrypted": [str(bool(snapshot.encrypted)).lower()]}
    elif kind == "image" and name in model.amis:
        ctx |= {"ec2:owner": [str(model.amis[name].owner_id)], "ec2:imageid": [name]}
    elif kind == "volume" and name in model.volumes:
        ctx |= {"ec2:encrypted": [str(bool(model.volumes[name].encrypted)).lower()]}
    return Need(f"ec2:{call.operation}", arn(kind, region, name), ctx)


def permissions(call: Call, change: str) -> dict[str, list[str]]:
    """Users and groups of ModifySnapshotAttribute, in either of its two forms. `change`: Add or Remove."""
    listed = (call.params.get("CreateVolumePermission") or {}).get(change) or []
    plain = call.params if str(call.params.get("OperationType", "")).lower() == change.lower() else {}
    found = {"userid": [*(plain.get("UserIds") or []), *[item["UserId"] for item in listed if item.get("UserId")]],
             "group": [*(plain.get("GroupNames") or []), *[item["Group"] for item in listed if item.get("Group")]]}
    return {f"ec2:{change.lower()}/{kind}": names for kind, names in found.items() if names}


def _volume(ebs: dict[str, Any], region: str) -> dict[str, list[str]]:
    snapshot = moto_app.snapshot(region, ebs.get("SnapshotId") or "")
    encrypted = bool(ebs.get("Encrypted")) or bool(snapshot is not None and snapshot.encrypted)
    out = {"ec2:encrypted": [str(encrypted).lower()],
           "ec2:volumetype": [str(ebs.get("VolumeType") or "gp2")]}
    size = ebs.get("VolumeSize") or ebs.get("Size") or (snapshot.volume_size if snapshot is not None else None)
    if size:
        out["ec2:volumesize"] = [str(size)]
    if ebs.get("SnapshotId"):
        out["ec2:parentsnapshot"] = [arn("snapshot", region, ebs["SnapshotId"])]
    return out


def profile_arn(spec: dict[str, Any]) -> str | None:
    """The ARN of the instance profile that a request names by ARN or name."""
    if spec.get("Arn"):
        return str(spec["Arn"])
    for profile in moto_app.iam().get_instance_profiles():
        if profile.name == spec.get("Name"):
            return str(profile.arn)
    return None


def passed_roles(arn_of_profile: str | None) -> list[Need]:
    """Handing an instance profile to EC2 hands over its role."""
    for profile in moto_app.iam().get_instance_profiles():
        if profile.arn == arn_of_profile:
            return [Need("iam:PassRole", role.arn, {"iam:passedtoservice": ["ec2.amazonaws.com"]})
                    for role in profile.roles]
    return []


def _created(call: Call, kind: str, tags: dict[str, str]) -> Need:
    params, ctx = call.params, {**_tag_keys("aws:requesttag", tags), "ec2:region": [call.region]}
    if tags:
        ctx["aws:tagkeys"] = list(tags)
    if kind == "instance":
        options = params.get("MetadataOptions") or {}
        ctx |= {"ec2:instancetype": [str(params.get("InstanceType") or "m1.small")],
                "ec2:metadatahttptokens": [str(options.get("HttpTokens") or "optional")],
                "ec2:metadatahttpendpoint": [str(options.get("HttpEndpoint") or "enabled")],
                "ec2:metadatahttpputresponsehoplimit": [str(options.get("HttpPutResponseHopLimit") or 1)]}
        if params.get("ImageId"):
            ctx["ec2:imageid"] = [str(params["ImageId"])]
        profile = profile_arn(params.get("IamInstanceProfile") or {})
        if profile:
            ctx["ec2:instanceprofile"] = [profile]
    elif kind == "volume" and call.operation == "CreateVolume":
        ctx |= _volume(params, call.region)
    return Need(f"ec2:{call.operation}", arn(kind, call.region, "*"), ctx)


def _disks(call: Call, tags: dict[str, str]) -> Iterator[Need]:
    """RunInstances is asked once for each disk, the root disk of the image included."""
    mappings = {m.get("DeviceName"): m.get("Ebs") or {} for m in call.params.get("BlockDeviceMappings") or []
                if m.get("NoDevice") is None}
    image = moto_app.ec2(call.region).amis.get(call.params.get("ImageId") or "")
    root = image.root_device_name if image is not None else "/dev/sda1"
    mappings.setdefault(root, {})
    for ebs in mappings.values():
        base = _created(call, "volume", tags)
        yield Need(base.action, base.resource, {**base.context, **_volume(ebs, call.region)})


def needs(call: Call, base: dict[str, list[str]]) -> list[Need]:
    """All that must be allowed for this call."""
    operation, region = call.operation, call.region
    if operation.startswith("Describe"):
        return [Need(f"ec2:{operation}", "*", {**base, "ec2:region": [region]})]
    out: list[Need] = []
    if operation in ("CreateTags", "DeleteTags"):
        tags = {t["Key"]: t.get("Value", "") for t in call.params.get("Tags") or []}
        request = {**_tag_keys("aws:requesttag", tags), "aws:tagkeys": list(tags)}
        for name in call.params.get("Resources") or []:
            if ID.fullmatch(name) and name.split("-", 1)[0] in KINDS:
                need = _existing(call, name, region)
                out.append(Need(need.action, need.resource, {**request, **need.context}))
    else:
        created = CREATES.get(operation, ())
        tags_for = requested_tags(call)
        for kind in created:
            if operation == "RunInstances" and kind == "volume":
                out += _disks(call, tags_for.get("volume", {}))
            else:
                out.append(_created(call, kind, tags_for.get(kind, {})))
        for name in dict.fromkeys(_ids(call.params)):
            if name.split("-", 1)[0] in KINDS:
                source = operation in ("CopySnapshot", "CopyImage")
                out.append(_existing(call, name, call.params.get("SourceRegion", region) if source else region))
        association = call.params.get("AssociationId") or ""
        if operation.endswith("IamInstanceProfile") and association:  # such a call is about the instance
            out += [_existing(call, one.instance.id, region) for one in
                    moto_app.ec2(region).iam_instance_profile_associations.values()
                    if one.association_id == association]
        if operation == "ModifySnapshotAttribute":
            out = [Need(need.action, need.resource, {**need.context, **permissions(call, "Add"),
                                                     **permissions(call, "Remove")}) for need in out]
        if operation == "CreateSecurityGroup" and not call.params.get("VpcId"):
            out.append(Need("ec2:CreateSecurityGroup", arn("vpc", region, moto_app.ec2(region).default_vpc.id), {}))
        if operation == "RunInstances":
            out += _run_instances_defaults(call, out)
        for kind, tags in tags_for.items():
            if tags:  # tagging while creating needs the right to tag as well
                out.append(Need("ec2:CreateTags", arn(kind, region, "*"), {
                    "ec2:createaction": [operation], "ec2:region": [region], "aws:tagkeys": list(tags),
                    **_tag_keys("aws:requesttag", tags)}))
        if operation == "CreateVpcEndpoint" and str(call.params.get("PrivateDnsEnabled")).lower() == "true":
            out.append(Need("route53:AssociateVPCWithHostedZone", "*", {}))
        if call.params.get("IamInstanceProfile"):
            out += passed_roles(profile_arn(call.params["IamInstanceProfile"]))
    out = out or [Need(f"ec2:{operation}", "*", {"ec2:region": [region]})]
    return [Need(need.action, need.resource, {**base, **need.context}) for need in out]


def _run_instances_defaults(call: Call, known: list[Need]) -> Iterator[Need]:
    """Where the request names no security group or subnet, the defaults are used, and must be allowed too."""
    kinds = {need.resource.split(":", 5)[-1].split("/")[0] for need in known}
    model = moto_app.ec2(call.region)
    if "security-group" not in kinds:
        default = next((g for groups in model.groups.values() for g in groups.values() if g.name == "default"), None)
        if default is not None:
            yield _existing(call, default.id, call.region)
    if "subnet" not in kinds:
        subnet = next((s for s in model.get_default_subnets().values()), None)
        if subnet is not None:
            yield _existing(call, subnet.id, call.region)
