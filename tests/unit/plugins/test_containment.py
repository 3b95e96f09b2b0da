# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containing and releasing instances on the lab's AWS, under exactly the policies of docs/iam."""

from __future__ import annotations

import functools
import importlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dfir.aws.plugins.module_utils.containment import base, identity, plan, tell
from ansible_collections.dfir.aws.plugins.module_utils.containment import run as containment
from ansible_collections.dfir.aws.plugins.module_utils.containment.base import Hands
from ansible_collections.dfir.aws.plugins.module_utils.containment.record import Shelf

from lab.aws.account import DEBIAN_IDS
from lab.config import ACCOUNT
from lab.contracts import CLOSED, CUT
from lab.seed import document
from tests.containment_kit import BUCKET, POLICIES, Died, account, asked, launch, record, settings, subnet, user
from tests.unit.lab.aws_kit import REGION, Kit, code, eventually

NOBODY = "i-0123456789abcdef0"
Run = Callable[..., dict[str, Any]]
pytestmark = pytest.mark.slow  # a whole account


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    kit = account(tmp_path_factory.mktemp("lab"))
    yield kit
    kit.close()


@pytest.fixture(scope="module")
def keys(kit: Kit) -> tuple[str, str]:
    """Somebody with the policies of docs/iam and nothing else."""
    return user(kit)


@pytest.fixture(scope="module")
def hands(kit: Kit, keys: tuple[str, str]) -> Callable[[str], Any]:
    """Their clients, each made once."""
    return functools.cache(lambda service: kit.client(service, REGION, keys))


@pytest.fixture
def run(hands: Callable[[str], Any]) -> Run:
    """What the module does with one instance, and what is said of it."""

    def call(instance: str, state: str = "contained", check: bool = False, **more: Any) -> dict[str, Any]:
        release = state == "released"
        own, shelf = Hands(hands, check=check, account=ACCOUNT), Shelf(hands("s3"), BUCKET, instance)
        try:
            told = (containment.release if release else containment.contain)(shelf, own, instance, asked(**more))
        except base.ContainmentError as error:
            return {"problem": str(error), "record": {}}
        return {**told, "lines": "\n".join(tell.result([told], release=release, check=check)["lines"])}

    return call


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containment, "PAUSE", 0.0)


def test_p59_an_instance_is_contained_and_every_setting_comes_back(kit: Kit, run: Run) -> None:
    ec2, hosts = kit.client("ec2"), kit.hosts
    assert hosts is not None
    name = launch(kit)
    nic = ec2.create_network_interface(SubnetId=ec2.describe_subnets()["Subnets"][0]["SubnetId"])["NetworkInterface"]
    ec2.attach_network_interface(NetworkInterfaceId=nic["NetworkInterfaceId"], InstanceId=name, DeviceIndex=1)
    before = settings(kit, name)
    assert len(before["groups"]) == 2 and before["profile"]

    planned = run(name, check=True)
    assert planned["changed"] and not planned["done"] and settings(kit, name) == before
    assert "would be done: the isolation group of vpc-" in planned["lines"]
    assert "connections that live on: out: tcp to 0.0.0.0/0" in planned["lines"]

    done = run(name)
    assert done["state"] == "contained" and not done["problem"], done["lines"]
    now = settings(kit, name)
    assert set(now["volumes"].values()) == {False} and now["shutdown"] == "stop"
    assert now["stop"] is True and now["termination"] is True and now["profile"] == []
    [isolating] = {tuple(groups) for groups in now["groups"].values()}
    assert now["shown"] == list(isolating) and now["acl"] == before["acl"]
    group = ec2.describe_security_groups(GroupIds=list(isolating))["SecurityGroups"][0]
    assert group["IpPermissions"] == [] and group["IpPermissionsEgress"] == []
    assert hosts.rules[name] == (CLOSED,), "the host behind it is cut off"
    assert code(ec2.terminate_instances, InstanceIds=[name]) == "OperationNotPermitted"
    assert code(ec2.stop_instances, InstanceIds=[name]) == "OperationNotPermitted"
    assert run(name)["changed"] is False and settings(kit, name) == now
    assert run(name, check=True)["planned"] == []

    checked = run(name, state="released", check=True)
    assert checked["changed"] and settings(kit, name) == now and record(kit, name)["state"] == "contained"
    back = run(name, state="released")
    assert back["state"] == "released" and back["lost"] == [] and settings(kit, name) == before, back["lines"]
    assert CLOSED not in hosts.rules[name]
    assert run(name, state="released")["changed"] is False and settings(kit, name) == before
    statements = [item["Key"] for item in kit.client("s3").list_objects_v2(
        Bucket=BUCKET, Prefix=f"INC-1/{name}/containment/")["Contents"]]
    assert sorted(key.split("/")[-1].split("-")[0] for key in statements) == ["contained", "released"]
    assert run(name, incident="INC-2")["record"]["number"] == 2
    assert settings(kit, name)["groups"] == now["groups"]


def test_the_record_says_what_was_and_how_it_is_undone_before_the_first_change(
        kit: Kit, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    name, seen = launch(kit), []

    def look(self: Any, said: str, service: str, operation: str, **arguments: Any) -> dict[str, Any]:
        if self.check:
            self.done.append(said)
            return {}
        seen.append((operation, record(kit, name)))
        raise Died

    monkeypatch.setattr(base.Hands, "do", look)
    before = settings(kit, name)
    with pytest.raises(Died):
        run(name)
    [(operation, written)] = seen
    assert operation == "modify_instance_attribute" and settings(kit, name) == before
    assert [step["name"] for step in written["steps"]] == [step.name for step in plan.STEPS]
    assert written["steps"][0]["state"] == "intended" and written["state"] == "containing"
    items = {(step["name"], one["key"]): one for step in written["steps"] for one in step["items"]}
    assert all(one["undone"] for one in items.values())
    assert items[("shutdown", "instanceInitiatedShutdownBehavior")]["was"] == "terminate"
    assert {one["was"]["delete_on_termination"] for (step, _key), one in items.items() if step == "volumes"} \
        == {True, False}


@pytest.mark.parametrize("end", ["contained", "released"])
def test_a_run_killed_at_any_call_is_gone_on_with_and_released(
        kit: Kit, run: Run, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    name, real, died = launch(kit, SubnetId=subnet(kit, 1 if end == "contained" else 2)), base.Hands.do, 0
    before = settings(kit, name)

    def do(self: Any, said: str, service: str, operation: str, **arguments: Any) -> dict[str, Any]:
        answer = real(self, said, service, operation, **arguments)
        if not self.check:
            raise Died  # after the change, before anybody writes it down
        return answer

    monkeypatch.setattr(base.Hands, "do", do)
    while died < (20 if end == "contained" else 7):
        try:
            done = run(name, network_acl=True)
        except Died:
            died += 1
            continue
        break
    monkeypatch.setattr(base.Hands, "do", real)
    if end == "contained":
        assert done["state"] == "contained" and died == 9 and settings(kit, name) != before
    released = run(name, state="released")
    assert released["state"] == "released" and settings(kit, name) == before, released["lines"]


def test_two_runs_at_once_and_the_slower_stops_before_its_next_step(
        kit: Kit, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    name, real, other = launch(kit), base.Hands.do, []
    s3 = kit.client("s3")

    def do(self: Any, said: str, service: str, operation: str, **arguments: Any) -> dict[str, Any]:
        if not self.check and not other:
            other.append(operation)
            key = f"requests/containment/{name}.json"
            got = s3.get_object(Bucket=BUCKET, Key=key)
            s3.put_object(Bucket=BUCKET, Key=key, Body=got["Body"].read() + b"\n", IfMatch=got["ETag"])
        return real(self, said, service, operation, **arguments)

    monkeypatch.setattr(base.Hands, "do", do)
    told = run(name)
    assert "Another run works on" in told["problem"] and "before its next step" in told["problem"]
    assert settings(kit, name)["stop"] is False
    monkeypatch.setattr(base.Hands, "do", real)
    assert run(name)["state"] == "contained" and run(name, state="released")["state"] == "released"


def test_p59_the_network_acl_is_opt_in_and_only_for_an_otherwise_empty_subnet(kit: Kit, run: Run) -> None:
    ec2, hosts, place = kit.client("ec2"), kit.hosts, subnet(kit, 3)
    assert hosts is not None
    name = launch(kit, SubnetId=place)
    neighbor = ec2.create_network_interface(SubnetId=place)["NetworkInterface"]["NetworkInterfaceId"]
    before = settings(kit, name)
    refused = run(name, network_acl=True)
    assert neighbor in refused["problem"] and "leave network_acl out" in refused["problem"]
    assert settings(kit, name) == before and not refused["record"], "refused before the first change"
    ec2.delete_network_interface(NetworkInterfaceId=neighbor)
    done = run(name, network_acl=True)
    assert done["state"] == "contained", done["lines"]
    assert CUT in hosts.rules[name] and settings(kit, name)["acl"] != before["acl"]
    assert run(name, state="released")["lost"] == [] and settings(kit, name) == before
    assert CUT not in hosts.rules[name]


def test_an_isolation_group_that_somebody_opened_isolates_nobody(kit: Kit, run: Run) -> None:
    ec2, name = kit.client("ec2"), launch(kit)
    assert run(name)["state"] == "contained"
    [group] = settings(kit, name)["shown"]
    opened = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[opened])
    other = launch(kit)
    before = settings(kit, other)
    refused = run(other)
    assert f"The isolation group {group}" in refused["problem"] and settings(kit, other) == before
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[opened])
    assert run(other)["state"] == "contained"
    for one in (name, other):
        run(one, state="released")


def test_p59_sessions_are_revoked_only_when_asked_and_the_policy_stays_until_they_have_expired(
        kit: Kit, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    instance = kit.launch(IamInstanceProfile={"Name": "web"})
    name = instance["InstanceId"]
    other = launch(kit)
    stolen = kit.session(instance, "web")
    assert kit.client("ec2", REGION, stolen).describe_volumes()
    plain = run(name)
    assert plain["state"] == "contained" and "credentials that the metadata service has given out stay valid" \
        in plain["lines"]
    assert kit.client("ec2", REGION, stolen).describe_volumes()["Volumes"], "taking the profile off revokes nothing"
    assert kit.aws.metadata.role_credentials(name, "web") is None

    done = run(name, revoke_sessions=True)
    assert done["state"] == "contained", done["lines"]
    assert f"role web: instance {other} (running)" in done["lines"]
    assert "may be assumed by ec2.amazonaws.com" in done["lines"]
    assert code(kit.client("ec2", REGION, stolen).describe_volumes) == "UnauthorizedOperation"
    back = run(name, state="released")
    assert back["state"] == "released" and "would be valid again" in back["lost"][0]
    assert code(kit.client("ec2", REGION, stolen).describe_volumes) == "UnauthorizedOperation"
    assert run(name, state="released")["changed"] is False
    monkeypatch.setattr(identity, "LONGEST", identity.timedelta(seconds=-1))
    ended = run(name, state="released")
    assert ended["changed"] and ended["lost"] == []
    assert kit.client("iam").list_role_policies(RoleName="web")["PolicyNames"] == ["p"]


def test_a_policy_that_still_waits_is_not_forgotten_by_the_next_containment(
        kit: Kit, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    name = launch(kit)
    run(name, revoke_sessions=True)
    run(name, state="released")
    assert run(name)["state"] == "contained"
    policy = f"dfir-containment-{name}"
    assert policy in kit.client("iam").list_role_policies(RoleName="web")["PolicyNames"]
    monkeypatch.setattr(identity, "LONGEST", identity.timedelta(seconds=-1))
    assert run(name, state="released")["lost"] == []
    assert policy not in kit.client("iam").list_role_policies(RoleName="web")["PolicyNames"]


def test_p59_out_of_its_auto_scaling_group_which_replaces_it_and_out_of_load_balancers(kit: Kit, run: Run) -> None:
    scaling, elb, elbv2, ec2 = (kit.client(name) for name in ("autoscaling", "elb", "elbv2", "ec2"))
    scaling.create_launch_configuration(LaunchConfigurationName="c", ImageId=DEBIAN_IDS[REGION],
                                        InstanceType="t3.small")
    scaling.create_auto_scaling_group(AutoScalingGroupName="web", LaunchConfigurationName="c", MinSize=1, MaxSize=3,
                                      DesiredCapacity=1, AvailabilityZones=[f"{REGION}a"])

    def members() -> list[str]:
        [group] = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=["web"])["AutoScalingGroups"]
        return [one["InstanceId"] for one in group["Instances"]]

    [name] = members()
    instance = kit.instance(name, "running")
    elb.create_load_balancer(LoadBalancerName="old", AvailabilityZones=[f"{REGION}a"], Listeners=[
        {"Protocol": "HTTP", "LoadBalancerPort": 80, "InstancePort": 80}])
    elb.register_instances_with_load_balancer(LoadBalancerName="old", Instances=[{"InstanceId": name}])
    groups = [elbv2.create_target_group(Name=kind, Protocol="HTTP", Port=80, VpcId=instance["VpcId"], TargetType=kind)[
        "TargetGroups"][0]["TargetGroupArn"] for kind in ("instance", "ip")]
    for arn, target in zip(groups, (name, instance["PrivateIpAddress"]), strict=True):
        elbv2.register_targets(TargetGroupArn=arn, Targets=[{"Id": target, "Port": 8080}])

    def targets() -> list[tuple[str, int]]:
        return [(one["Target"]["Id"], one["Target"]["Port"]) for arn in groups
                for one in elbv2.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
                if one["TargetHealth"]["Reason"] != "Target.NotRegistered"]

    before = targets()
    done = run(name, incident="INC-ASG")
    assert done["state"] == "contained", done["lines"]
    eventually(lambda: len(members()) == 1)
    assert name not in members() and targets() == []
    assert elb.describe_load_balancers()["LoadBalancerDescriptions"][0]["Instances"] == []
    assert kit.instance(name, "running"), "the group has not ended it"
    back = run(name, state="released", incident="INC-ASG")
    assert "its place in the Auto Scaling group web: the group has its 1 instances without it" in back["lost"][0]
    assert targets() == before and name not in members()
    assert elb.describe_load_balancers()["LoadBalancerDescriptions"][0]["Instances"] == [{"InstanceId": name}]
    # Where the group could not replace it, its place is free.
    scaling.suspend_processes(AutoScalingGroupName="web", ScalingProcesses=["Launch"])
    [second] = members()
    kit.instance(second, "running")
    assert "no replacement" in run(second, incident="INC-ASG")["lines"]
    assert members() == []
    assert run(second, state="released", incident="INC-ASG")["lost"] == [] and members() == [second]
    [group] = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=["web"])["AutoScalingGroups"]
    assert group["DesiredCapacity"] == 1
    ec2.terminate_instances(InstanceIds=[name])
    scaling.delete_auto_scaling_group(AutoScalingGroupName="web", ForceDelete=True)


def test_p59_what_ends_an_instance_all_the_same_leaves_its_volumes_and_the_release_says_what_is_lost(
        kit: Kit, run: Run) -> None:
    ec2, hosts = kit.client("ec2"), kit.hosts
    assert hosts is not None
    name = launch(kit, SubnetId=subnet(kit, 4))
    volumes = list(settings(kit, name)["volumes"])
    acl = settings(kit, name)["acl"]
    run(name, network_acl=True)
    hosts.end(name, "poweroff")  # from inside: protections do not hold that, the shutdown behavior does
    kit.instance(name, "stopped")
    for attribute in ("DisableApiTermination", "DisableApiStop"):
        ec2.modify_instance_attribute(InstanceId=name, **{attribute: {"Value": False}})
    where = base.found(ec2, name) or {}
    ec2.terminate_instances(InstanceIds=[name])
    eventually(lambda: (base.found(ec2, name) or {})["State"]["Name"] == "terminated")
    assert len(ec2.describe_volumes(VolumeIds=volumes)["Volumes"]) == 3, "evidence outlived it"
    checked = run(name, state="released", check=True)
    back = run(name, state="released")
    assert back["state"] == "released" and checked["lost"] == back["lost"]
    assert any("is terminated" in line for line in back["lost"]) and len(back["lost"]) >= 5
    seen = ec2.describe_network_acls(Filters=[{"Name": "association.subnet-id", "Values": [where["SubnetId"]]}])
    assert seen["NetworkAcls"][0]["NetworkAclId"] == acl, "what is not the instance's own comes back"
    assert run(name, state="released")["changed"] is False
    assert "terminated" in run(name)["problem"]


def test_what_somebody_changed_meanwhile_is_left_and_told(kit: Kit, run: Run) -> None:
    ec2, name = kit.client("ec2"), launch(kit)
    run(name)
    theirs = ec2.create_security_group(GroupName="theirs", Description="x")["GroupId"]
    [nic] = settings(kit, name)["groups"]
    ec2.modify_network_interface_attribute(NetworkInterfaceId=nic, Groups=[theirs])
    back = run(name, state="released")
    assert f"somebody has given it {theirs} meanwhile" in back["lost"][0] and settings(kit, name)["shown"] == [theirs]
    run(name)
    ec2.modify_network_interface_attribute(NetworkInterfaceId=nic, Groups=[theirs])
    again = run(name)
    assert again["changed"] and again["state"] == "contained" and settings(kit, name)["shown"] != [theirs]
    run(name, state="released")
    assert settings(kit, name)["shown"] == [theirs]


def test_one_that_is_not_there_or_another_incidents_is_refused(kit: Kit, run: Run) -> None:
    assert "it is gone" in run(NOBODY)["problem"]
    assert "There is no containment of" in run(NOBODY, state="released")["problem"]
    name = launch(kit)
    run(name)
    assert "contained for another incident" in run(name, incident="INC-9")["problem"]
    assert "There is no containment" in run(name, state="released", incident="INC-9")["problem"]
    run(name, state="released")


def test_the_module_goes_through_instances_and_one_that_fails_ends_no_other(
        kit: Kit, keys: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module("ansible_collections.dfir.aws.plugins.modules.ec2_containment")
    name = launch(kit)

    def call(state: str, **more: Any) -> dict[str, Any]:
        capsys.readouterr()
        with patch_module_args({"endpoint_url": kit.endpoint, "access_key": keys[0], "secret_key": keys[1],
                                "region": REGION, "state": state, "request": asked(), "instance_ids": [NOBODY, name],
                                "bucket": BUCKET, "bucket_region": REGION, **more}), pytest.raises(SystemExit):
            module.main()
        told: dict[str, Any] = json.loads(capsys.readouterr().out)
        return told

    before = settings(kit, name)
    checked = call("contained", _ansible_check_mode=True)
    assert checked["changed"] and settings(kit, name) == before
    done = call("contained")
    assert done["changed"] and done["result"]["failed"] == [NOBODY] and not done.get("failed")
    assert done["result"]["problem"].startswith("1 of 2 instances could not be contained")
    assert settings(kit, name)["termination"] is True and done["result"]["statements"]
    assert call("released")["result"]["failed"] == [NOBODY] and settings(kit, name) == before


def test_every_action_of_the_policies_is_used_and_none_opens_anything(kit: Kit, run: Run) -> None:
    """The last of the file: what the tests above called."""
    used = {f"{event['eventSource'].split('.')[0]}:{event['eventName']}" for _region, told in kit.world.trail._events
            if (event := json.loads(told["CloudTrailEvent"]))["userIdentity"]["userName"] == "container"}
    allowed = {action for name in POLICIES for statement in json.loads(document(name))["Statement"]
               for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])}
    wanted = {action for action in allowed if not action.startswith("s3:")}
    # Rights that need no call of their own, and one that AWS needs for protected members only.
    assert wanted - used == {"ec2:CreateTags", "iam:PassRole", "autoscaling:SetInstanceProtection"}
    assert used <= wanted
    assert not {action for action in wanted if action.partition(":")[2].startswith(("Authorize", "Terminate", "Stop"))}
