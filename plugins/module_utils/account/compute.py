# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where hosts run: vCPU quota, machine image, subnets and the ways out of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from .. import machine_image
from .findings import MANUAL, MISSING, OK, UNKNOWN, Asks, ClientError, Finding, code_of

# Quotas of running On-Demand instances, in vCPUs, by the first letters of a family (Service Quotas, service ec2).
QUOTAS = (
    (re.compile(r"(?:[acdhimrtz])\d"), "L-1216C47A"),
    (re.compile(r"(?:im|is|mac)\d"), "L-1216C47A"),
    (re.compile(r"f\d"), "L-74FC7D96"),
    (re.compile(r"(?:g|gr|vt)\d"), "L-DB2E81BA"),
    (re.compile(r"p\d"), "L-417A185B"),
    (re.compile(r"x\d"), "L-7295265B"),
)


def quota_code(instance_type: str) -> str:
    """The quota that an instance type counts against; empty where it is not known here."""
    return next((code for pattern, code in QUOTAS if pattern.match(instance_type)), "")


def image(asks: Asks, region: str) -> Iterator[Finding]:
    """The image that hosts boot, by the very look-up of the role that launches them."""
    wanted = {name: asks.settings[name] for name in ("image_id", "parameter", "owner", "name")}
    instance_type = str(asks.settings["instance_type"])
    ec2 = asks.client("ec2", region)
    try:
        image_id = machine_image.image_id_of(wanted, lambda: asks.client("ssm", region))
        found = machine_image.find_image(ec2, wanted, image_id)
        kinds = machine_image.type_facts(machine_image.described_type(ec2, instance_type))["architectures"]
        machine_image.check_image(found, instance_type, kinds)
    except machine_image.Refused as refusal:
        yield Finding(
            "image",
            MISSING,
            str(refusal),
            f"dfir_aws_ami_parameter or dfir_aws_ami_id ({MANUAL}#machine-image)",
            region,
        )
    else:
        yield Finding("image", OK, f"{found['ImageId']} {found.get('Name', '')}".strip(), "", region)


def quota(asks: Asks, region: str) -> Iterator[Finding]:
    """Whether one more host fits the account's vCPU quota, now."""
    instance_type = str(asks.settings["instance_type"])
    code = quota_code(instance_type)
    if not code:
        yield Finding("vCPU quota", UNKNOWN, f"the quota of {instance_type} is not known here", "", region)
        return
    ec2 = asks.client("ec2", region)
    try:
        needed = machine_image.type_facts(machine_image.described_type(ec2, instance_type))["vcpus"]
    except machine_image.Refused as refusal:
        yield Finding("vCPU quota", UNKNOWN, str(refusal), "", region)
        return
    quotas = asks.client("service-quotas", region)
    try:
        value = quotas.get_service_quota(ServiceCode="ec2", QuotaCode=code)["Quota"]["Value"]
    except ClientError as error:
        if code_of(error) != "NoSuchResourceException":
            raise
        value = quotas.get_aws_default_service_quota(ServiceCode="ec2", QuotaCode=code)["Quota"]["Value"]
    used = _in_use(ec2, code)
    said = f"{value:g} vCPUs, {used} in use, {needed} for one {instance_type}"
    if value - used >= needed:
        yield Finding("vCPU quota", OK, said, "", region)
    else:
        yield Finding(
            "vCPU quota",
            MISSING,
            said,
            "aws service-quotas request-service-quota-increase --region "
            f"{region} --service-code ec2 --quota-code {code} --desired-value {used + max(32, needed)}",
            region,
        )


def _in_use(ec2: Any, code: str) -> int:
    """The vCPUs of On-Demand instances that run now and count against a quota (Spot has its own), by type."""
    pages = ec2.get_paginator("describe_instances").paginate(
        Filters=[{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    )
    running = Counter(
        str(instance["InstanceType"])
        for page in pages
        for reservation in page["Reservations"]
        for instance in reservation["Instances"]
        if quota_code(str(instance["InstanceType"])) == code and not instance.get("InstanceLifecycle")
    )
    vcpus = {kind: machine_image.type_facts(machine_image.described_type(ec2, kind))["vcpus"] for kind in running}
    return sum(number * int(vcpus[kind]) for kind, number in running.items())


def subnets(asks: Asks, region: str) -> list[dict[str, Any]]:
    """The subnets that the settings mean."""
    chosen = list(asks.settings["subnet_ids"] or [])
    filters = {"subnet-id": chosen} if chosen else dict(asks.settings["subnet_filters"] or {})
    if not filters:
        return []
    listed = [
        {"Name": str(name), "Values": [str(item) for item in (value if isinstance(value, list) else [value])]}
        for name, value in filters.items()
    ]
    return list(asks.client("ec2", region).describe_subnets(Filters=listed)["Subnets"])


def network(asks: Asks, region: str) -> Iterator[Finding]:
    """Every subnet: that it gives out no public addresses, has addresses, and leads to S3 and to packages."""
    found = subnets(asks, region)
    if not found:
        yield Finding(
            "subnet",
            MISSING,
            "none is meant by dfir_aws_analysis_subnet_ids or dfir_aws_subnet_filters",
            f"aws ec2 create-tags --region {region} --resources $SUBNET --tags Key=Name,Value=dfir-analysis "
            f"({MANUAL}#network)",
            region,
        )
    here = {str(subnet["SubnetId"]) for subnet in found}
    for name in asks.settings["subnet_ids"] or []:
        if found and name not in here:
            yield Finding("subnet", MISSING, f"{name} is not there", "correct dfir_aws_analysis_subnet_ids", region)
    networks = sorted({str(subnet["VpcId"]) for subnet in found})
    if len(networks) > 1:
        yield Finding(
            "subnet",
            MISSING,
            f"they lie in several networks ({', '.join(networks)}), and a security group holds in one only",
            "name those of one in dfir_aws_analysis_subnet_ids",
            region,
        )
    for subnet in found:
        name = str(subnet["SubnetId"])
        if subnet.get("MapPublicIpOnLaunch"):
            yield Finding(
                "subnet",
                MISSING,
                f"{name} gives every instance a public address",
                f"aws ec2 modify-subnet-attribute --region {region} --subnet-id {name} --no-map-public-ip-on-launch",
                region,
            )
        elif not subnet.get("AvailableIpAddressCount", 1):
            yield Finding("subnet", MISSING, f"{name} has no free address", "use a larger subnet", region)
        else:
            yield Finding("subnet", OK, f"{name} in {subnet['AvailabilityZone']}", "", region)
        yield from _egress(asks, region, subnet)


def _egress(asks: Asks, region: str, subnet: Mapping[str, Any]) -> Iterator[Finding]:
    ec2, name, vpc = asks.client("ec2", region), str(subnet["SubnetId"]), str(subnet["VpcId"])
    tables = ec2.describe_route_tables(Filters=[{"Name": "association.subnet-id", "Values": [name]}])["RouteTables"]
    if not tables:  # a subnet without a table of its own has its network's main one
        tables = ec2.describe_route_tables(
            Filters=[{"Name": "vpc-id", "Values": [vpc]}, {"Name": "association.main", "Values": ["true"]}]
        )["RouteTables"]
    table = tables[0] if tables else {"RouteTableId": "", "Routes": []}
    out = _way_out(table)
    endpoints = ec2.describe_vpc_endpoints(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["VpcEndpoints"]
    to_s3 = [
        item
        for item in endpoints
        if str(item["ServiceName"]).endswith(f".{region}.s3")
        and str(item.get("State", "available")).lower() == "available"
        and (str(item.get("VpcEndpointType")) == "Interface" or table["RouteTableId"] in item.get("RouteTableIds", []))
    ]
    if to_s3:
        yield Finding("egress", OK, f"{name} reaches S3 through {to_s3[0]['VpcEndpointId']}", "", region)
    elif out.startswith("nat-"):
        yield Finding("egress", OK, f"{name} reaches S3 through {out}, which costs by the GB", "", region)
    elif out and not out.startswith("igw-"):
        yield Finding(
            "egress", UNKNOWN, f"{name} leads to {out}; what lies behind it is not seen from here", "", region
        )
    else:
        why = "an internet gateway serves no host without a public address" if out else "there is no way to it"
        yield Finding(
            "egress",
            MISSING,
            f"{name} does not reach S3, {why}",
            f"aws ec2 create-vpc-endpoint --region {region} "
            f"--vpc-id {vpc} --service-name com.amazonaws.{region}.s3 --route-table-ids "
            f"{table['RouteTableId'] or '$ROUTE_TABLE'}",
            region,
        )
    if out.startswith("nat-"):
        yield Finding("egress", OK, f"{name} reaches packages and registries through {out}", "", region)
    elif asks.settings["apt_source"] or (out and not out.startswith("igw-")):
        yield Finding(
            "egress", UNKNOWN, f"whether {name} reaches package mirror and registry shows on a host", "", region
        )
    else:
        yield Finding(
            "egress",
            MISSING,
            f"{name} does not reach Debian's mirrors",
            f"a mirror in dfir_aws_toolbox_apt_source, or a NAT gateway ({MANUAL}#packages)",
            region,
        )


def _way_out(table: Mapping[str, Any]) -> str:
    """What the default route leads to; empty where there is none that works."""
    for route in table.get("Routes") or []:
        if route.get("DestinationCidrBlock") == "0.0.0.0/0" and route.get("State", "active") == "active":
            return str(
                next(
                    (
                        route[key]
                        for key in (
                            "NatGatewayId",
                            "TransitGatewayId",
                            "NetworkInterfaceId",
                            "VpcPeeringConnectionId",
                            "LocalGatewayId",
                            "InstanceId",
                            "GatewayId",
                        )
                        if route.get(key)
                    ),
                    "",
                )
            )
    return ""
