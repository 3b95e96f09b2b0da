# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The security group of a host: made once with its rules and no others, adopted by its owner and by nobody else."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.filter.analysis_hosts import ssh_rules
from ansible_collections.dfir.aws.plugins.module_utils import group_rules
from ansible_collections.dfir.aws.plugins.modules import ec2_host_security_group
from botocore.exceptions import ClientError

from tests.unit.plugins.modules.aws_module_kit import TAGS, Run

INGRESS = ssh_rules(["10.1.2.0/28"], ["203.0.113.7/32", "2001:db8::/64"])
OPEN = {("tcp", 22, 22, other) for other in ("10.1.2.0/28", "203.0.113.7/32", "2001:db8::/64")}


@pytest.fixture
def wanted(aws: Any) -> dict[str, Any]:
    vpc = aws("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
    return {"name": TAGS["Name"], "description": "Analysis host", "vpc_id": vpc, "tags": TAGS, "ingress": INGRESS}


def group(aws: Any, group_id: str) -> dict[str, Any]:
    found: dict[str, Any] = aws("ec2").describe_security_groups(GroupIds=[group_id])["SecurityGroups"][0]
    return found


def rules(permissions: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
    return {(item["IpProtocol"], item.get("FromPort"), item.get("ToPort"), *other) for item in permissions
            for other in [(each.get("CidrIp") or each.get("CidrIpv6"),)
                          for each in [*item["IpRanges"], *item["Ipv6Ranges"]]]}


def test_made_with_its_tags_and_its_rules_and_everything_out(aws: Any, run: Run, wanted: dict[str, Any]) -> None:
    made = run("ec2_host_security_group", **wanted)
    assert made["changed"] and not made["adopted"]
    found = group(aws, made["group_id"])
    assert rules(found["IpPermissions"]) == OPEN
    assert rules(found["IpPermissionsEgress"]) == {("-1", None, None, "0.0.0.0/0")}
    assert {tag["Key"]: tag["Value"] for tag in found["Tags"]} == TAGS
    described = {each["CidrIp"]: each["Description"] for item in found["IpPermissions"] for each in item["IpRanges"]}
    assert described == {"10.1.2.0/28": "SSH from the controller", "203.0.113.7/32": "SSH from the analyst"}


def test_a_second_run_adopts_it_and_changes_nothing(aws: Any, run: Run, wanted: dict[str, Any]) -> None:
    first = run("ec2_host_security_group", **wanted)
    second = run("ec2_host_security_group", **{**wanted, "tags": {**TAGS, "dfir:expires": "later"}})
    assert second["adopted"] and not second["changed"] and second["group_id"] == first["group_id"]
    assert {tag["Key"]: tag["Value"] for tag in group(aws, first["group_id"])["Tags"]} == TAGS


def test_what_somebody_opened_is_closed_and_what_is_missing_is_opened(aws: Any, run: Run, wanted: dict[str, Any]
                                                                      ) -> None:
    made = run("ec2_host_security_group", **wanted)["group_id"]
    ec2 = aws("ec2")
    own = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "10.1.2.0/28"}]}
    ec2.revoke_security_group_ingress(GroupId=made, IpPermissions=[own])
    ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=[
        {**own, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
        {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "UserIdGroupPairs": [{"GroupId": made}]}])
    told = run("ec2_host_security_group", check=True, **wanted)
    assert told["changed"] and rules(group(aws, made)["IpPermissions"]) != OPEN
    assert run("ec2_host_security_group", **wanted)["changed"]
    found = group(aws, made)["IpPermissions"]
    assert rules(found) == OPEN and not [item for item in found if item["UserIdGroupPairs"]]
    assert not run("ec2_host_security_group", **wanted)["changed"]


def test_what_a_host_may_connect_to(aws: Any, run: Run, wanted: dict[str, Any]) -> None:
    egress = [{"ports": ["443", "8000-8100"], "cidr_ip": "10.0.0.0/8"}, {"proto": "udp", "from_port": 53, "to_port": 53,
                                                                        "cidr_ip": ["10.0.0.2/32"]}]
    made = run("ec2_host_security_group", **wanted, egress=egress)["group_id"]
    assert rules(group(aws, made)["IpPermissionsEgress"]) == {
        ("tcp", 443, 443, "10.0.0.0/8"), ("tcp", 8000, 8100, "10.0.0.0/8"), ("udp", 53, 53, "10.0.0.2/32")}
    assert not run("ec2_host_security_group", **wanted, egress=egress)["changed"]


def test_one_of_the_same_name_that_is_not_ours_is_left_alone(aws: Any, run: Run, wanted: dict[str, Any]) -> None:
    made = aws("ec2").create_security_group(GroupName=TAGS["Name"], Description="x", VpcId=wanted["vpc_id"])["GroupId"]
    result = run("ec2_host_security_group", **wanted)
    assert result["failed"] and made in result["msg"] and "another owner" in result["msg"]
    found = group(aws, made)
    assert found["IpPermissions"] == [] and not found.get("Tags")


def test_two_runs_at_the_same_moment_get_one(run: Run, wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    first = run("ec2_host_security_group", **wanted)
    looks = iter([True])
    find = ec2_host_security_group.find
    monkeypatch.setattr(ec2_host_security_group, "find",
                        lambda ec2, params: None if next(looks, False) else find(ec2, params))
    second = run("ec2_host_security_group", **wanted)
    assert second["group_id"] == first["group_id"] and second["adopted"] and not second["changed"]


def test_a_group_that_aws_does_not_show_at_once_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(ec2_host_security_group.time, "sleep", pauses.append)

    def answers(*codes: str) -> Any:
        left = iter(codes)

        def call(**_arguments: Any) -> str:
            code = next(left, "")
            if code:
                raise ClientError({"Error": {"Code": code}}, "AuthorizeSecurityGroupIngress")
            return "there"

        return ec2_host_security_group.known(call, GroupId="sg-1")

    assert answers("InvalidGroup.NotFound", "InvalidGroup.NotFound") == "there" and pauses == [0.5, 1]
    with pytest.raises(ClientError, match="RequestLimitExceeded"):  # tried again by the client, and not once more here
        answers("RequestLimitExceeded")
    with pytest.raises(ClientError, match="NotFound"):
        answers(*["InvalidGroup.NotFound"] * 6)
    assert pauses == [0.5, 1, *ec2_host_security_group.LATE]


def test_check_mode_makes_nothing(aws: Any, run: Run, wanted: dict[str, Any]) -> None:
    before = len(aws("ec2").describe_security_groups()["SecurityGroups"])
    told = run("ec2_host_security_group", check=True, **wanted)
    assert told["changed"] and told["group_id"] == ""
    assert len(aws("ec2").describe_security_groups()["SecurityGroups"]) == before


@pytest.mark.parametrize(("change", "words"), [
    ({"tags": {"Name": "x"}}, "tags lacks dfir:request"),
    ({"egress": [{"ports": ["443"]}]}, "names nobody"),
    ({"egress": [{"cidr_ip": "10.0.0.0/8"}]}, "names no port"),
    ({"egress": [{"ports": ["https"], "cidr_ip": "10.0.0.0/8"}]}, "'https' is no port"),
    ({"egress": [{"ports": ["90-80"], "cidr_ip": "10.0.0.0/8"}]}, "'90-80' is no port"),
    ({"egress": [{"from_port": 1, "to_port": 70000, "cidr_ip": "10.0.0.0/8"}]}, "'1-70000' is no port"),
])
def test_what_makes_no_sense_is_refused_before_anything_is_made(aws: Any, run: Run, wanted: dict[str, Any],
                                                                change: dict[str, Any], words: str) -> None:
    before = len(aws("ec2").describe_security_groups()["SecurityGroups"])
    result = run("ec2_host_security_group", **{**wanted, **change})
    assert result["failed"] and words in result["msg"]
    assert len(aws("ec2").describe_security_groups()["SecurityGroups"]) == before


def test_a_rule_for_all_has_no_ports_and_a_prefix_list_is_a_side() -> None:
    every = group_rules.wanted_rules([{"proto": "all", "ip_prefix": ["pl-1"], "ports": []}])
    assert list(every) == [group_rules.Rule("-1", None, None, "ip_prefix", "pl-1")]
    give, take = group_rules.changes([], every)
    assert give == [{"IpProtocol": "-1", "PrefixListIds": [{"PrefixListId": "pl-1"}]}] and take == []
