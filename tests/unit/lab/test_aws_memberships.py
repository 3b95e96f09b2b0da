# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Groups and load balancers, as far as the lab means them, and what groups and ACLs let out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.aws.account import DEBIAN_IDS
from lab.contracts import CLOSED, CUT, Rule
from tests.unit.lab.aws_kit import REGION, Kit, Recorder, code, eventually

pytestmark = pytest.mark.slow  # a whole account


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    kit = Kit(tmp_path_factory.mktemp("lab"), hosts=Recorder())
    yield kit
    kit.close()


def test_what_would_be_a_lie_is_refused(kit: Kit) -> None:
    lies = (("elbv2", "create_load_balancer", {"Name": "x"}),
            ("elb", "describe_instance_health", {"LoadBalancerName": "x"}),
            ("autoscaling", "set_instance_health", {"InstanceId": "i-1", "HealthStatus": "Unhealthy"}),
            ("ec2", "create_network_acl_entry", {"NetworkAclId": "acl-1", "RuleNumber": 1, "Protocol": "-1",
                                                 "RuleAction": "allow", "Egress": True}))
    for service, operation, arguments in lies:
        assert code(getattr(kit.client(service), operation), **arguments) == "LabNotImplemented", operation


def test_no_target_is_in_use_and_a_group_launches_and_ends_hosts(kit: Kit) -> None:
    elbv2, scaling, hosts = kit.client("elbv2"), kit.client("autoscaling"), kit.hosts
    assert hosts is not None
    scaling.create_launch_configuration(LaunchConfigurationName="c", ImageId=DEBIAN_IDS[REGION],
                                        InstanceType="t3.small")
    scaling.create_auto_scaling_group(AutoScalingGroupName="g", LaunchConfigurationName="c", MinSize=0, MaxSize=2,
                                      DesiredCapacity=1, AvailabilityZones=[f"{REGION}a"])
    [name] = [one["InstanceId"] for one in scaling.describe_auto_scaling_instances()["AutoScalingInstances"]]
    vpc = kit.instance(name, "running")["VpcId"]
    assert name in hosts.specs
    arn = elbv2.create_target_group(Name="t", Protocol="HTTP", Port=80, VpcId=vpc)["TargetGroups"][0]["TargetGroupArn"]
    elbv2.register_targets(TargetGroupArn=arn, Targets=[{"Id": name, "Port": 80}])
    [health] = elbv2.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
    assert (health["TargetHealth"]["State"], health["TargetHealth"]["Reason"]) == ("unused", "Target.NotInUse")
    scaling.set_desired_capacity(AutoScalingGroupName="g", DesiredCapacity=0)
    eventually(lambda: name in hosts.forgotten)


def test_a_host_hears_what_it_may_send_and_that_it_is_cut(kit: Kit) -> None:
    ec2, hosts = kit.client("ec2"), kit.hosts
    assert hosts is not None
    instance = kit.launch()
    name, subnet = instance["InstanceId"], instance["SubnetId"]
    group = ec2.create_security_group(GroupName="narrow", Description="x", VpcId=instance["VpcId"])["GroupId"]
    [own] = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    ec2.revoke_security_group_egress(GroupId=group, IpPermissions=own["IpPermissionsEgress"])
    ec2.authorize_security_group_egress(GroupId=group, IpPermissions=[
        {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}])
    nic = instance["NetworkInterfaces"][0]["NetworkInterfaceId"]
    ec2.modify_network_interface_attribute(NetworkInterfaceId=nic, Groups=[group])
    assert hosts.rules[name] == (CLOSED, Rule("tcp", 443, 443, "10.0.0.0/8", outward=True))
    [acl] = ec2.describe_network_acls(Filters=[{"Name": "association.subnet-id", "Values": [subnet]}])["NetworkAcls"]
    [association] = [one for one in acl["Associations"] if one["SubnetId"] == subnet]
    bare = ec2.create_network_acl(VpcId=instance["VpcId"])["NetworkAcl"]["NetworkAclId"]
    ec2.replace_network_acl_association(AssociationId=association["NetworkAclAssociationId"], NetworkAclId=bare)
    assert CUT in hosts.rules[name]
