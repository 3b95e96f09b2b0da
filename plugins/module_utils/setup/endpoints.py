# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways from the analysis subnets to AWS that need no internet: a gateway for S3, interfaces for other services."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from .steps import (
    CREATE,
    KEEP,
    REMOVE,
    STAY,
    TAG,
    TAG_VALUE,
    ClientError,
    SetupError,
    Site,
    Step,
    code_of,
    managed,
    our_tags,
    tags_of,
)

PART, GROUP, GATEWAYS = "endpoints", "dfir-endpoints", ("s3",)
SERVICES = ("s3", "ebs", "ec2", "kms", "sts", "logs", "ssm", "ssmmessages", "ec2messages")
HOURS = 730  # of a month, as AWS counts them
HOURLY, PRICED = 0.01, "0.01 a GB"
ALIVE = [{"Name": "vpc-endpoint-state", "Values": ["pending", "pendingAcceptance", "available"]}]


def _filters(**values: str | Sequence[str]) -> list[dict[str, Any]]:
    return [{"Name": name.replace("_", "-"), "Values": [value] if isinstance(value, str) else list(value)}
            for name, value in values.items()]


def _subnets(ec2: Any, ids: Sequence[str], filters: Mapping[str, Any], region: str) -> list[dict[str, Any]]:
    asked = {"SubnetIds": list(ids)} if ids else {"Filters": [
        {"Name": name, "Values": value if isinstance(value, list) else [value]} for name, value in filters.items()]}
    found: list[dict[str, Any]] = ec2.describe_subnets(**asked)["Subnets"]
    networks = sorted({subnet["VpcId"] for subnet in found})
    if len(networks) != 1:
        raise SetupError(f"The analysis subnets in {region} lie in {len(networks)} networks "
                         f"({', '.join(networks) or 'none'}), and must lie in one: dfir_aws_analysis_subnet_ids or "
                         "dfir_aws_subnet_filters.")
    return found


def _tables(ec2: Any, network: str, subnets: Sequence[Mapping[str, Any]]) -> list[str]:
    """The route tables that these subnets follow: their own, or the main one of the network."""
    tables = ec2.describe_route_tables(Filters=_filters(vpc_id=network))["RouteTables"]
    own = {link["SubnetId"]: table["RouteTableId"] for table in tables for link in table["Associations"]
           if link.get("SubnetId")}
    main = next((table["RouteTableId"] for table in tables for link in table["Associations"] if link.get("Main")), None)
    found = {own.get(subnet["SubnetId"], main) for subnet in subnets}
    return sorted(table for table in found if table)


def present(site: Site, region: str, services: Sequence[str], ids: Sequence[str],
            filters: Mapping[str, Any]) -> Iterator[Step]:
    """The endpoints as they should be, in the network of the analysis subnets of a region."""
    unknown = [service for service in services if service not in SERVICES]
    if unknown:
        raise SetupError(f"There is no endpoint of ours for {unknown[0]}: {', '.join(SERVICES)}.")
    if not services:
        return
    ec2 = site.client("ec2", region)
    subnets = _subnets(ec2, ids, filters, region)
    network = subnets[0]["VpcId"]
    known = {item["ServiceName"].removeprefix(f"com.amazonaws.{region}."): item
             for item in ec2.describe_vpc_endpoints(Filters=[*_filters(vpc_id=network), *ALIVE])["VpcEndpoints"]}
    group: list[str] = []  # made once, by the first interface that needs it
    for service in services:
        if service in GATEWAYS:
            yield _gateway(site, ec2, network, _tables(ec2, network, subnets), service, region, known.get(service))
        else:
            yield _interface(site, ec2, network, subnets, service, region, known.get(service), group)


def _gateway(site: Site, ec2: Any, network: str, tables: Sequence[str], service: str, region: str,
             known: Mapping[str, Any] | None) -> Step:
    thing, name = f"endpoint {service} in {network}", f"com.amazonaws.{region}.{service}"
    if known is None:
        return Step(PART, thing, CREATE, f"gateway, in {', '.join(tables)}", act=lambda: ec2.create_vpc_endpoint(
            VpcId=network, ServiceName=name, VpcEndpointType="Gateway", RouteTableIds=list(tables),
            TagSpecifications=[{"ResourceType": "vpc-endpoint", "Tags": our_tags()}]))
    lacks = [table for table in tables if table not in known.get("RouteTableIds", [])]
    if known.get("VpcEndpointType") != "Gateway":
        return Step(PART, thing, KEEP, f"{known['VpcEndpointId']}, an interface that is there already")
    return _known(site, ec2, thing, known, [f"not in {table}" for table in lacks],
                  lambda: ec2.modify_vpc_endpoint(VpcEndpointId=known["VpcEndpointId"], AddRouteTableIds=lacks))


def _interface(site: Site, ec2: Any, network: str, subnets: Sequence[Mapping[str, Any]], service: str, region: str,
               known: Mapping[str, Any] | None, group: list[str]) -> Step:
    thing, name = f"endpoint {service} in {network}", f"com.amazonaws.{region}.{service}"
    monthly = round(HOURLY * HOURS * len(subnets), 2)
    if known is None:
        def create() -> None:
            if not group:
                group.append(_group(ec2, network, sorted(subnet["CidrBlock"] for subnet in subnets)))
            ec2.create_vpc_endpoint(
                VpcId=network, ServiceName=name, VpcEndpointType="Interface", PrivateDnsEnabled=True,
                SubnetIds=[subnet["SubnetId"] for subnet in subnets], SecurityGroupIds=group,
                TagSpecifications=[{"ResourceType": "vpc-endpoint", "Tags": our_tags()}])

        return Step(PART, thing, CREATE, f"interface in {len(subnets)} subnets", monthly, PRICED, create)
    lacks = [subnet["SubnetId"] for subnet in subnets if subnet["SubnetId"] not in known.get("SubnetIds", [])]
    return _known(site, ec2, thing, known, [f"not in {subnet}" for subnet in lacks],
                  lambda: ec2.modify_vpc_endpoint(VpcEndpointId=known["VpcEndpointId"], AddSubnetIds=lacks),
                  monthly)


def _known(site: Site, ec2: Any, thing: str, known: Mapping[str, Any], differs: Sequence[str], change: Any,
           monthly: float = 0.0) -> Step:
    name = known["VpcEndpointId"]
    return managed(site, PART, thing, TAG in tags_of(known.get("Tags")), differs,
                   lambda: ec2.create_tags(Resources=[name], Tags=our_tags()), change, monthly=monthly,
                   priced=PRICED if monthly else "",
                   how=f"aws ec2 create-tags --resources {name} --tags Key={TAG},Value={TAG_VALUE}")


def _group(ec2: Any, network: str, ranges: Sequence[str]) -> str:
    """The security group of the interfaces: TLS from the analysis subnets."""
    known = ec2.describe_security_groups(Filters=_filters(vpc_id=network, group_name=GROUP))["SecurityGroups"]
    group = known[0] if known else {"IpPermissions": [], **ec2.create_security_group(
        GroupName=GROUP, Description="AWS services for analysis hosts", VpcId=network,
        TagSpecifications=[{"ResourceType": "security-group", "Tags": our_tags()}])}
    open_to = {item["CidrIp"] for rule in group["IpPermissions"] for item in rule.get("IpRanges", [])}
    lacks = [text for text in ranges if text not in open_to]
    if lacks:
        ec2.authorize_security_group_ingress(GroupId=group["GroupId"], IpPermissions=[
            {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": text} for text in lacks]}])
    return str(group["GroupId"])


def absent(site: Site, region: str, limit: int, pause: float = 5.0) -> Iterator[Step]:
    """The endpoints of a region that are ours go, then their security group.

    :param limit: seconds to wait until interfaces have let go of the group.
    """
    ec2 = site.client("ec2", region)
    ours = ec2.describe_vpc_endpoints(Filters=[*_filters(tag_key=TAG), *ALIVE])["VpcEndpoints"]
    for endpoint in ours:
        name = endpoint["VpcEndpointId"]
        service = endpoint["ServiceName"].rsplit(".", 1)[-1]
        yield Step(PART, f"endpoint {service} in {endpoint['VpcId']}", REMOVE, name,
                   act=_deletion(ec2, name))
    for group in ec2.describe_security_groups(Filters=_filters(group_name=GROUP))["SecurityGroups"]:
        thing = f"security group {GROUP} in {group['VpcId']}"
        if TAG not in tags_of(group.get("Tags")):
            yield Step(PART, thing, STAY, f"not ours: no tag {TAG}")
        else:
            yield Step(PART, thing, REMOVE, act=_deletion_of_group(ec2, group["GroupId"], limit, pause))


def _deletion(ec2: Any, name: str) -> Callable[[], None]:
    return lambda: _gone(ec2.delete_vpc_endpoints(VpcEndpointIds=[name]))


def _deletion_of_group(ec2: Any, group: str, limit: int, pause: float) -> Callable[[], None]:
    return lambda: _without_users(lambda: ec2.delete_security_group(GroupId=group), limit, pause)


def _gone(answer: Mapping[str, Any]) -> None:
    for item in answer.get("Unsuccessful") or []:
        raise SetupError(f"The endpoint {item.get('ResourceId')} was not deleted: "
                         f"{(item.get('Error') or {}).get('Message', 'AWS does not say why')}.")


def _without_users(delete: Any, limit: int, pause: float) -> None:
    """Delete what interfaces that are going still hold: ask until it works."""
    end = time.monotonic() + limit
    while True:
        try:
            delete()
            return
        except ClientError as error:
            if code_of(error) != "DependencyViolation" or time.monotonic() >= end:
                raise
        time.sleep(pause)
