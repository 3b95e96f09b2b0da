# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host goes where there is room: several subnets, tried one after the other, on the lab's AWS in this process."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dfir.aws.plugins.filter.analysis_hosts import subnet_refusal, subnets_in_order

from lab.aws.account import ADMIN
from tests.unit.lab.aws_kit import IMAGE, OTHER, REGION, Kit, Recorder

TAGS = {"dfir:request": "0123456789abcdef", "dfir:expires": "2026-12-01T00:00:00Z"}
Launch = Callable[..., dict[str, Any]]


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    made = Kit(tmp_path, hosts=Recorder())
    yield made
    made.close()


@pytest.fixture
def zones(kit: Kit) -> dict[str, str]:
    """A default subnet of each zone."""
    found = kit.client("ec2").describe_subnets()["Subnets"]
    return {item["AvailabilityZone"]: item["SubnetId"] for item in sorted(found, key=lambda s: s["AvailabilityZone"])}


@pytest.fixture
def launch(kit: Kit, zones: dict[str, str], capsys: pytest.CaptureFixture[str]) -> Launch:
    """The module, as Ansible runs it, with every zone's subnet."""
    kit.host_role("dfir-host")
    profile = kit.client("iam").get_instance_profile(InstanceProfileName="dfir-host")["InstanceProfile"]["Arn"]
    group = kit.client("ec2").describe_security_groups()["SecurityGroups"][0]["GroupId"]
    given = {"access_key": ADMIN[1], "secret_key": ADMIN[2], "region": REGION, "endpoint_url": kit.endpoint,
             "image_id": IMAGE, "instance_type": "m6i.large", "subnet_ids": list(zones.values()),
             "security_group_ids": [group], "instance_profile_arn": profile, "volumes": [],
             "user_data": "#cloud-config\n", "tags": TAGS}

    def call(**changes: Any) -> dict[str, Any]:
        module = importlib.import_module("ansible_collections.dfir.aws.plugins.modules.ec2_analysis_instance")
        capsys.readouterr()
        with patch_module_args({**given, **changes}), pytest.raises(SystemExit):
            module.main()
        return dict(json.loads(capsys.readouterr().out))

    return call


def hosts(kit: Kit) -> list[dict[str, Any]]:
    return [item for group in kit.client("ec2").describe_instances()["Reservations"] for item in group["Instances"]]


def test_the_first_subnet_is_taken_when_it_has_room(kit: Kit, zones: dict[str, str], launch: Launch) -> None:
    told = launch()
    assert told["changed"] and told["tries"] == [] and told["subnet_id"] == zones[f"{REGION}a"]
    assert [item["Placement"]["AvailabilityZone"] for item in hosts(kit)] == [f"{REGION}a"]


def test_the_order_of_the_subnets_holds(zones: dict[str, str], launch: Launch) -> None:
    assert launch(subnet_ids=list(reversed(zones.values())))["subnet_id"] == list(zones.values())[-1]


def test_a_zone_without_capacity_is_passed_over_and_the_host_is_found_again_wherever_it_is(
        kit: Kit, zones: dict[str, str], launch: Launch) -> None:
    kit.faults.arm("ec2.no_capacity", times=None, match={"zone": f"{REGION}a"})
    told = launch()
    assert told["changed"] and told["subnet_id"] == zones[f"{REGION}b"]
    assert told["tries"] == [f"{REGION}a ({zones[f'{REGION}a']}) has no capacity for an instance of type m6i.large now"]
    # The first zone has room again: a second run finds the host where it is, and launches no other.
    kit.faults.clear("ec2.no_capacity")
    again = launch()
    assert again["adopted"] and not again["changed"] and again["instance_id"] == told["instance_id"]
    assert [item["Placement"]["AvailabilityZone"] for item in hosts(kit)] == [f"{REGION}b"]


def test_every_zone_without_capacity_is_one_sentence_and_leaves_nothing(kit: Kit, zones: dict[str, str],
                                                                        launch: Launch) -> None:
    kit.faults.arm("ec2.no_capacity", times=None, match={"region": REGION})
    told = launch()
    assert told["failed"] and not told["try_again"] and len(told["tries"]) == len(zones)
    for zone, subnet in zones.items():
        assert f"{zone} ({subnet}) has no capacity" in told["msg"]
    assert "Try again later, ask for another instance type, or add a subnet in another zone" in told["msg"]
    assert hosts(kit) == []


def test_another_failure_is_not_taken_to_another_zone(kit: Kit, launch: Launch) -> None:
    told = launch(image_id="ami-0123456789abcdef0")
    assert told["failed"] and told["tries"] == [] and "InvalidAMIID.NotFound" in told["msg"]
    assert hosts(kit) == []


def test_p71_each_subnet_has_a_client_token_of_its_own(launch: Launch) -> None:
    module = importlib.import_module("ansible_collections.dfir.aws.plugins.modules.ec2_analysis_instance")
    params = {"tags": TAGS, "adopt_by_tag": "dfir:request", "image_id": IMAGE, "instance_type": "m6i.large",
              "instance_profile_arn": "arn", "security_group_ids": [], "assign_public_ip": False, "volumes": [],
              "user_data": ""}
    tokens = [module.launch(params, subnet)["ClientToken"] for subnet in ("subnet-1", "subnet-2", "subnet-1")]
    assert tokens[0] == tokens[2] != tokens[1] and all(len(token) <= 64 for token in tokens)


def test_no_subnet_at_all_is_refused(kit: Kit, launch: Launch) -> None:
    assert "subnet_ids is empty" in launch(subnet_ids=[])["msg"]
    assert hosts(kit) == []


def subnet(name: str, zone: str = "a", vpc: str = "vpc-1", public: bool = False) -> dict[str, Any]:
    return {"subnet_id": name, "availability_zone": f"{REGION}{zone}", "vpc_id": vpc, "map_public_ip_on_launch": public}


def test_subnets_are_tried_as_named_else_by_zone() -> None:
    found = [subnet("subnet-2", "b"), subnet("subnet-3", "c"), subnet("subnet-1")]
    assert [item["subnet_id"] for item in subnets_in_order(found)] == ["subnet-1", "subnet-2", "subnet-3"]
    assert [item["subnet_id"] for item in subnets_in_order(found, ["subnet-3", "subnet-1", "subnet-2"])] == [
        "subnet-3", "subnet-1", "subnet-2"]


@pytest.mark.parametrize(("found", "wanted", "words"), [
    ([], ["subnet-9"], "0 subnets in eu-west-1 match subnet-9: set dfir_aws_analysis_subnet_ids"),
    ([], [], "0 subnets in eu-west-1 match {'tag:Name': 'x'}"),
    ([subnet("subnet-1")], ["subnet-1", "subnet-9"], "There is no subnet subnet-9 in eu-west-1"),
    ([subnet("subnet-1"), subnet("subnet-2", "b", "vpc-2")], [], "lie in several networks (vpc-1, vpc-2)"),
    ([subnet("subnet-1"), subnet("subnet-2", "b", public=True)], [], "Subnet subnet-2 gives every instance a public")])
def test_subnets_that_no_host_can_go_to(found: list[dict[str, Any]], wanted: list[str], words: str) -> None:
    assert words in subnet_refusal(found, REGION, wanted, {"tag:Name": "x"})


def test_subnets_that_a_host_can_go_to() -> None:
    assert subnet_refusal([subnet("subnet-1"), subnet("subnet-2", "b")], REGION) == ""
    assert subnet_refusal([subnet("subnet-1", public=True)], OTHER, ["subnet-1"], public=True) == ""
