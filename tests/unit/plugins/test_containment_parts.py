# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containment where the lab cannot go: Spot, instance store, other owners, lifecycles; and who may ask for it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible_collections.dfir.aws.plugins.action import operator_request
from ansible_collections.dfir.aws.plugins.module_utils import operator_fields, registry
from ansible_collections.dfir.aws.plugins.module_utils.containment import (
    base,
    identity,
    instance,
    membership,
    network,
    plan,
    tell,
    tracked,
)
from botocore.exceptions import ClientError

ROOT = Path(__file__).resolve().parents[3]
NAME, ENI, VPC, SUBNET, ACCOUNT = "i-0123456789abcdef0", "eni-1", "vpc-1", "subnet-1", "123456789012"
CALLER = registry.Caller("cli", "c", f"arn:aws:iam::{ACCOUNT}:user/c", ACCOUNT)
GRANT = {"incidents": ["INC-*"], "accounts": [ACCOUNT], "regions": ["eu-west-1"], "modes": ["contain"]}
ENTRY = {"uid": "alice", "email": "a@example.org", "callers": [CALLER.arn], "awx_users": ["alice", "robot"],
         "cidrs": ["198.51.100.1/32"], "public_key": {"source": "ssm"}, "grants": [GRANT]}
VALID = {"analyst_uid": "alice", "incident": "INC-1", "aws_instance_region": "eu-west-1", "aws_instance_id": NAME,
         "confirm_instance_id": NAME}
EVERY = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
NOW = datetime(2026, 11, 28, 21, 0, 5, tzinfo=timezone.utc)


class Aws:
    """Answers by service and call; what is no look is written down."""

    def __init__(self, **answers: Any) -> None:
        self.answers, self.called = answers, []  # type: ignore[var-annotated]

    def __call__(self, _service: str) -> Aws:
        return self

    def __getattr__(self, name: str) -> Any:
        def call(**arguments: Any) -> Any:
            if not name.startswith(("describe", "get", "list")):
                self.called.append((name, arguments))
            answer = self.answers.get(name, {})
            if isinstance(answer, Exception):
                raise answer
            return answer(**arguments) if callable(answer) else answer
        return call

    def get_paginator(self, name: str) -> Any:
        return SimpleNamespace(paginate=lambda **arguments: [getattr(self, name)(**arguments)])


def hands(aws: Aws, check: bool = False) -> base.Hands:
    return base.Hands(aws, check=check, account=ACCOUNT, now=lambda: NOW, pause=lambda _seconds: None)


def described(**more: Any) -> dict[str, Any]:
    return {"InstanceId": NAME, "State": {"Name": "running"}, **more}


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "x")


def attributes(**values: Any) -> Any:
    return lambda Attribute, **_more: {key: {"Value": values.get(key)} for key in (
        "DisableApiStop", "DisableApiTermination", "InstanceInitiatedShutdownBehavior")}


@pytest.mark.parametrize(("step", "about", "words"), [
    (instance.StopProtection(), {"InstanceLifecycle": "spot"}, "Spot instance no stop protection"),
    (instance.TerminationProtection(), {"InstanceLifecycle": "spot"}, "Spot instance no termination protection"),
    (instance.StopProtection(), {"RootDeviceType": "instance-store"}, "cannot be stopped"),
    (instance.Shutdown(), {"RootDeviceType": "instance-store"}, "cannot be stopped"),
    (instance.Shutdown(), {}, ""),
    (instance.TerminationProtection(), {"RootDeviceType": "instance-store"}, ""),
])
def test_p59_what_an_instance_cannot_have_is_said_and_not_tried(step: base.Step, about: dict[str, Any],
                                                                words: str) -> None:
    aws = Aws(describe_instance_attribute=attributes(
        DisableApiStop=False, DisableApiTermination=False, InstanceInitiatedShutdownBehavior="terminate"))
    [item] = step.look(hands(aws), described(**about), base.Wishes())
    assert item["does"] and (words in item["impossible"] if words else not item["impossible"])


def test_what_aws_refuses_a_spot_instance_is_said_and_ends_nothing() -> None:
    aws = Aws(describe_instance_attribute=attributes(InstanceInitiatedShutdownBehavior="terminate"),
              modify_instance_attribute=refused("UnsupportedOperation"))
    step, item = instance.Shutdown(), base.item("a", "terminate", "x", "y")
    step.contain(hands(aws), described(InstanceLifecycle="spot"), item)
    assert "AWS refuses it for this Spot instance" in item["impossible"]
    with pytest.raises(ClientError):
        step.contain(hands(aws), described(), base.item("a", "terminate", "x", "y"))


def member(state: str = "InService", **more: Any) -> dict[str, Any]:
    return {"AutoScalingInstances": [{"AutoScalingGroupName": "web", "LifecycleState": state, **more}]}


def group(members: int, desired: int, most: int = 9) -> dict[str, Any]:
    return {"AutoScalingGroups": [{"Instances": [{}] * members, "DesiredCapacity": desired, "MaxSize": most,
                                   "MinSize": 1}]}


def test_p59_no_capacity_is_taken_from_the_group_and_what_is_in_between_is_refused() -> None:
    step = membership.AutoScaling()
    aws = Aws(describe_auto_scaling_instances=member(), describe_auto_scaling_groups=group(1, 1))
    [item] = step.look(hands(aws), described(), base.Wishes())
    step.contain(hands(aws), described(), item)
    assert aws.called == [("detach_instances", {"InstanceIds": [NAME], "AutoScalingGroupName": "web",
                                                "ShouldDecrementDesiredCapacity": False})]
    aws.answers["describe_auto_scaling_instances"] = member("Terminating:Wait")
    with pytest.raises(base.ContainmentError, match="Terminating:Wait"):
        step.look(hands(aws), described(), base.Wishes())
    aws.answers["describe_auto_scaling_instances"] = member("Detaching")
    assert step.look(hands(aws), described(), base.Wishes()) == []
    with pytest.raises(base.ContainmentError, match="still being detached"):
        step.release(hands(aws), described(), item)


@pytest.mark.parametrize(("groups", "state", "lost", "calls"), [
    ({"AutoScalingGroups": []}, "running", "is not there any more", 0),
    (group(2, 2), "running", "has its 2 instances without it", 0),
    (group(1, 2, most=2), "running", "the maximum is 2", 0),
    (group(1, 2), "stopped", "only a running instance", 0),
    (group(1, 2), "running", "", 3),
])
def test_its_place_in_the_group_comes_back_where_it_is_free(groups: Any, state: str, lost: str, calls: int) -> None:
    aws = Aws(describe_auto_scaling_instances={"AutoScalingInstances": []}, describe_auto_scaling_groups=groups)
    item = base.item("web", {"protected_from_scale_in": True}, "x", "y")
    told = membership.AutoScaling().release(hands(aws), described(State={"Name": state}), item)
    assert lost in told if lost else told == ""
    assert [name for name, _arguments in aws.called] == [
        "attach_instances", "set_desired_capacity", "set_instance_protection"][:calls]


def test_targets_are_found_by_id_and_by_all_addresses_and_what_drains_is_left() -> None:
    where = {"NetworkInterfaces": [{"PrivateIpAddresses": [{"PrivateIpAddress": "10.0.0.5"}, {
        "PrivateIpAddress": "10.0.0.6"}], "Ipv6Addresses": [{"Ipv6Address": "2001:db8::5"}]}]}
    targets = {"a": [(NAME, 80, "healthy"), ("i-other", 80, "healthy")], "b": [
        ("10.0.0.6", 443, "unhealthy"), ("2001:db8::5", 443, "unused"), ("10.0.0.5", 443, "draining")], "c": []}
    aws = Aws(
        describe_target_groups={"TargetGroups": [{"TargetGroupArn": arn, "TargetGroupName": arn, "TargetType": kind}
                                                 for arn, kind in (("a", "instance"), ("b", "ip"), ("c", "lambda"))]},
        describe_target_health=lambda TargetGroupArn: {"TargetHealthDescriptions": [
            {"Target": {"Id": name, "Port": port}, "TargetHealth": {"State": state}}
            for name, port, state in targets[TargetGroupArn]]})
    step = membership.TargetGroups()
    items = step.look(hands(aws), described(**where), base.Wishes())
    assert [item["was"]["target"]["Id"] for item in items] == [NAME, "10.0.0.6", "2001:db8::5"]
    for item in items:
        step.contain(hands(aws), described(**where), item)
    assert [arguments["Targets"][0]["Port"] for _name, arguments in aws.called] == [80, 443, 443]
    assert "does not have this address any more" in step.release(hands(aws), described(), items[1])
    aws.answers["describe_target_health"] = refused("TargetGroupNotFound")
    assert "is not there any more" in step.release(hands(aws), described(**where), items[0])


def interface(**more: Any) -> dict[str, Any]:
    return {"NetworkInterfaceId": ENI, "VpcId": VPC, "SubnetId": SUBNET, "OwnerId": ACCOUNT,
            "Groups": [{"GroupId": "sg-1"}], "Attachment": {"InstanceId": NAME}, **more}


@pytest.mark.parametrize("about", [{"RequesterManaged": True, "RequesterId": "amazon-elb"},
                                   {"OwnerId": "210987654321"}])
def test_an_interface_of_somebody_elses_is_said_and_not_touched(about: dict[str, Any]) -> None:
    aws = Aws(describe_network_interfaces={"NetworkInterfaces": [interface(**about)]},
              describe_security_groups={"SecurityGroups": []})
    [item] = network.Isolation().look(hands(aws), described(), base.Wishes())
    assert "is managed by" in item["impossible"]


def test_p59_the_isolation_group_is_not_used_before_its_rule_is_gone_and_nothing_is_ever_opened() -> None:
    rules: list[Any] = [EVERY]

    def groups(Filters: Any) -> Any:
        made = any(name == "create_security_group" for name, _arguments in aws.called)
        return {"SecurityGroups": [{"GroupId": "sg-9", "IpPermissionsEgress": list(rules)}] if made else []}

    aws = Aws(describe_network_interfaces={"NetworkInterfaces": [interface()]}, describe_security_groups=groups,
              create_security_group={"GroupId": "sg-9"})
    item = base.item(ENI, {"groups": ["sg-1"]}, "x", "y", vpc=VPC)
    with pytest.raises(base.ContainmentError, match="still has rules"):  # EC2 goes on showing it
        network.Isolation().contain(hands(aws), described(), item)
    assert [name for name, _arguments in aws.called] == ["create_security_group", "revoke_security_group_egress"]
    aws.answers["revoke_security_group_egress"] = lambda **_more: rules.clear() or {}
    network.Isolation().contain(hands(aws), described(), item)
    assert aws.called[-1] == ("modify_network_interface_attribute", {"NetworkInterfaceId": ENI, "Groups": ["sg-9"]})
    folder = ROOT / "plugins/module_utils/containment"
    code = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    assert "authorize_security_group" not in code and "create_network_acl_entry" not in code


@pytest.mark.parametrize("rule", [
    {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
    {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "10.0.0.0/8"}]},
    {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "sg-2"}]},
])
def test_an_egress_rule_that_is_not_ec2s_own_is_somebodys(rule: dict[str, Any]) -> None:
    opened = {"SecurityGroups": [{"GroupId": "sg-9", "IpPermissionsEgress": [rule]}]}
    aws = Aws(describe_network_interfaces={"NetworkInterfaces": [interface()]}, describe_security_groups=opened)
    with pytest.raises(base.ContainmentError, match="isolates nothing"):
        network.Isolation().look(hands(aws), described(), base.Wishes())
    assert aws.called == []


def test_p59_a_subnet_of_another_account_or_with_others_gets_no_network_acl() -> None:
    aws = Aws(describe_network_interfaces={"NetworkInterfaces": [interface()]},
              describe_subnets={"Subnets": [{"OwnerId": "210987654321"}]})
    with pytest.raises(base.ContainmentError, match="is shared by the account 210987654321"):
        network.NetworkAcl().look(hands(aws), described(), base.Wishes(network_acl=True))
    aws.answers["describe_subnets"] = {"Subnets": [{"OwnerId": ACCOUNT}]}
    aws.answers["describe_network_interfaces"] = {"NetworkInterfaces": [
        interface(), interface(NetworkInterfaceId="eni-nat", Attachment={"InstanceOwnerId": "amazon-aws"})]}
    with pytest.raises(base.ContainmentError, match="eni-nat"):
        network.NetworkAcl().look(hands(aws), described(), base.Wishes(network_acl=True))
    assert network.NetworkAcl().look(hands(aws), described(), base.Wishes()) == []


def rule(protocol: str, low: int | None = None, high: int | None = None, cidr: str = "0.0.0.0/0") -> dict[str, Any]:
    ports = {} if low is None else {"FromPort": low, "ToPort": high}
    return {"IpProtocol": protocol, **ports, "IpRanges": [{"CidrIp": cidr}]}


@pytest.mark.parametrize(("inward", "outward", "living"), [
    ([], [], []),
    ([rule("tcp", 22, 22)], [rule("-1")], ["out: tcp to", "out: udp to", "out: icmp to"]),
    ([rule("tcp", 22, 22, "10.0.0.0/8")], [], ["in: tcp 22 from 10.0.0.0/8"]),
    ([rule("tcp", 22, 22)], [], ["in: tcp 22 from 0.0.0.0/0"]),
    ([rule("tcp", 80, 80), rule("tcp", 0, 65535)], [rule("tcp", 0, 65535)], []),
    ([rule("-1")], [rule("-1")], ["in: icmp from", "out: icmp to"]),
    ([{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "UserIdGroupPairs": [{"GroupId": "sg-2"}]}], [rule("-1")],
     ["in: tcp 22 from sg-2", "out: tcp to", "out: udp to", "out: icmp to"]),
])
def test_p59_connections_live_on_where_their_rule_has_them_tracked(inward: Any, outward: Any, living: Any) -> None:
    told = tracked.surviving({}, [{"IpPermissions": inward, "IpPermissionsEgress": outward}])
    assert len(told) == (len(living) + 1 if living else 0)
    assert all(line.startswith(start) for line, start in zip(told, living, strict=False)), told
    short = tracked.surviving({"ConnectionTrackingConfiguration": {"TcpEstablishedTimeout": 350}}, [
        {"IpPermissions": [rule("icmp")], "IpPermissionsEgress": []}])
    assert "350 s" in short[-1]


def test_p59_the_moment_of_revocation_is_aws_own_and_its_policy_stays_for_twelve_hours() -> None:
    put: dict[str, Any] = {}

    def get(**_more: Any) -> Any:
        if not put:
            raise refused("NoSuchEntity")
        return {"PolicyDocument": identity.json.loads(put["PolicyDocument"])}

    aws = Aws(get_role={"ResponseMetadata": {"HTTPHeaders": {"date": "Sat, 28 Nov 2026 22:00:05 GMT"}}},
              get_role_policy=get, put_role_policy=lambda **arguments: put.update(arguments) or {})
    item = base.item("web", None, "x", "y", policy=identity.policy_name(NAME))
    step = identity.RoleSessions()
    step.contain(hands(aws), described(), item)  # the controller's clock is an hour behind
    assert item["before"] == "2026-11-28T22:00:06Z"
    assert "stays until 2026-11-29T10:00:06Z" in step.release(hands(aws), described(), item)
    later = hands(aws)
    later.now = lambda: NOW.replace(day=30)
    assert step.release(later, described(), item) == "" and aws.called[-1][0] == "delete_role_policy"


def test_a_policy_of_that_name_which_no_record_knows_is_nobodys_to_overwrite() -> None:
    aws = Aws(describe_iam_instance_profile_associations={"IamInstanceProfileAssociations": [
        {"State": "associated", "IamInstanceProfile": {"Arn": "a/web"}}]},
        get_instance_profile={"InstanceProfile": {"Roles": [{"RoleName": "web"}]}},
        get_role_policy={"PolicyDocument": {"Statement": [{"Effect": "Allow"}]}})
    with pytest.raises(base.ContainmentError, match="look at it"):
        identity.RoleSessions().look(hands(aws), described(), base.Wishes(revoke_sessions=True))
    assert identity.RoleSessions().look(hands(aws), described(), base.Wishes()) == []


def test_what_is_not_touched_is_said() -> None:
    aws = Aws(describe_addresses={"Addresses": [{"PublicIp": "203.0.113.9"}]})
    told = "\n".join(plan.untouched(hands(aws), described(InstanceLifecycle="spot", Tags=[
        {"Key": "aws:cloudformation:stack-name", "Value": "shop\x1b[31m"},
        {"Key": "kubernetes.io/cluster/x", "Value": "owned"}]), base.Wishes()))
    for words in ("203.0.113.9", "Spot: AWS can interrupt", "CloudFormation (shop", "Kubernetes", "SSM",
                  "network_acl cuts"):
        assert words in told
    assert "\x1b" not in tell.plain(told)


def test_the_order_is_what_keeps_evidence_then_who_would_end_it_then_the_network() -> None:
    assert [step.name for step in plan.STEPS] == [
        "volumes", "shutdown", "stop_protection", "termination_protection", "auto_scaling", "classic_load_balancers",
        "target_groups", "isolation", "network_acl", "instance_profile", "role_sessions"]


@pytest.mark.parametrize("wish", ["contain", "release"])
@pytest.mark.parametrize(("fields", "sentence"), [
    ({"confirm_instance_id": "i-0123456789abcdef1"}, "type the id of the instance that is meant, twice"),
    ({"confirm_instance_id": ""}, "must be the instance id again"),
    ({"aws_instance_id": f"{NAME},i-0123456789abcdef1"}, "must be one instance id"),
    ({"aws_instance_id": f"{NAME}\n"}, "must be one instance id"),
])
def test_p43_one_instance_is_meant_and_typed_twice(wish: str, fields: dict[str, Any], sentence: str) -> None:
    _values, problems = operator_fields.checked(wish, {**VALID, **fields})
    assert any(sentence in problem.sentence for problem in problems)


def test_an_acquisition_contains_by_id_only_and_only_what_it_acquires() -> None:
    asked = {key: value for key, value in VALID.items() if key != "confirm_instance_id"}
    other = operator_fields.checked("acquire", {**asked, "contain": "i-0123456789abcdef1"})[1]
    assert "not among aws_instance_id" in other[0].sentence
    by_tag = operator_fields.checked("acquire", {**asked, "aws_instance_id": "", "aws_instance_tags": "a=b",
                                                 "contain": NAME})[1]
    assert by_tag
    values, problems = operator_fields.checked("acquire", {**asked, "contain": NAME})
    assert not problems and operator_fields.needs_a_person("acquire", values)
    assert not operator_fields.needs_a_person("acquire", {**values, "contain": None})


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the door answers to a wish with these extra variables."""
    def call(wish: str, extra: Mapping[str, Any], grants: Any = None, **fields: Any) -> dict[str, Any]:
        monkeypatch.setattr(operator_request, "load_extra_vars", lambda _loader: {**VALID, **fields, **extra})
        monkeypatch.setattr(operator_request.ActionModule, "_caller", lambda self, user, region, task_vars: (
            CALLER._replace(kind="awx", name=user) if user else CALLER))
        monkeypatch.setenv("JOB_ID", "7")
        monkeypatch.setenv("AWX_PRIVATE_DATA_DIR", "/x")
        action = object.__new__(operator_request.ActionModule)
        entry = {**ENTRY, "grants": grants or [GRANT]}
        action._task = SimpleNamespace(action="x", args={  # type: ignore[assignment]
            "wish": wish, "bucket": "b", "bucket_region": "eu-west-1", "analysts": [entry],
            "service_principal": "robot", "trust_workflow_user": True})
        action._loader = None
        return action._admit({**VALID, **fields, **extra})
    return call


ACQUIRE = [{**GRANT, "modes": ["acquire", "contain"]}]
JOB = {"awx_job_id": 7, "awx_job_launch_type": "manual", "awx_user_name": "alice"}


@pytest.mark.parametrize("wish", ["contain", "release", "acquire"])
@pytest.mark.parametrize("extra", [
    {"awx_job_id": 7, "awx_job_launch_type": "scheduled"},
    {"awx_job_id": 7, "awx_job_launch_type": "webhook"},
    {"awx_job_id": 7, "awx_job_launch_type": "workflow", "awx_schedule_id": 1, "awx_user_name": "alice"},
    {**JOB, "awx_user_name": "robot"},
    {**JOB, "ansible_eda": {"event": {}}},
    {"ansible_eda": {"event": {}}},
])
def test_p44_no_event_schedule_or_service_contains_or_releases(door: Any, wish: str, extra: dict[str, Any]) -> None:
    more = {"contain": NAME} if wish == "acquire" else {}
    with pytest.raises(registry.Refused) as error:
        door(wish, extra, grants=ACQUIRE, **more)
    assert "person" in error.value.sentence


def test_a_person_with_the_right_contains_and_one_without_does_not(door: Any) -> None:
    spec = door("contain", JOB, network_acl="true")["request_spec"]
    assert spec["instance_ids"] == [NAME] and spec["network_acl"] is True and spec["revoke_sessions"] is False
    assert spec["caller"]["name"] == "alice"
    assert door("release", {})["request_spec"]["request_id"] != spec["request_id"]
    with pytest.raises(registry.Refused, match="the mode contain"):
        door("contain", JOB, grants=[{**GRANT, "modes": ["automatic", "acquire"]}])
    with pytest.raises(registry.Refused, match="the mode contain"):
        door("acquire", JOB, grants=[{**GRANT, "modes": ["acquire"]}], contain=NAME)
    # Without containing, an acquisition may be a schedule's.
    assert door("acquire", {"awx_job_id": 7, "awx_job_launch_type": "scheduled"}, grants=ACQUIRE)["request_spec"]


def test_neither_schedules_nor_rulebooks_nor_workflows_name_containment() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (
        ROOT / "aap/schedules.yml", ROOT / "aap/workflows.yml", ROOT / "aap/eda.yml",
        *(ROOT / "extensions/eda/rulebooks").glob("*.yml"), *(ROOT / "playbooks").glob("*event*.yml"),
        ROOT / "playbooks/answer_request.yml", *(ROOT / "roles/event").rglob("*.yml"))]
    assert len(texts) > 8
    assert not any(word in text for text in texts for word in ("contain_instance", "release_instance",
                                                               "dfir.aws.containment", "ec2_containment"))
    data = yaml.safe_load((ROOT / "aap/job_templates.yml").read_text(encoding="utf-8"))
    for template in data["controller_templates"]:
        if template["name"] in ("dfir contain_instance", "dfir release_instance"):
            assert "webhook_service" not in template and not template["ask_variables_on_launch"]
