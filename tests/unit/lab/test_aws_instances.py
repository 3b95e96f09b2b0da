# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances of the lab: what a host is told, how it ends, and what goes with it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aws_kit import IMAGE, OTHER, REGION, ZONE, Kit, Recorder, allow, code, eventually
from botocore.exceptions import ClientError

from lab.aws import moto_app, quotas
from lab.contracts import Rule

pytestmark = pytest.mark.slow

LAUNCH = {"ImageId": IMAGE, "InstanceType": "t3.medium", "MinCount": 1, "MaxCount": 1}
SCRATCH = {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 3, "VolumeType": "gp3", "Throughput": 200,
                                             "Encrypted": True, "DeleteOnTermination": True}}


@pytest.fixture
def hosts() -> Recorder:
    return Recorder()


@pytest.fixture
def kit(tmp_path: Path, hosts: Recorder) -> Iterator[Kit]:
    kit = Kit(tmp_path, hosts=hosts)
    yield kit
    kit.close()


@pytest.fixture
def ec2(kit: Kit) -> Any:
    return kit.client("ec2")


def volumes(ec2: Any) -> list[str]:
    return [v["VolumeId"] for v in ec2.describe_volumes()["Volumes"]]


def test_an_instance_is_pending_until_its_host_runs(kit: Kit, ec2: Any, hosts: Recorder) -> None:
    kit.delays.instance = 0.3
    launched = ec2.run_instances(**LAUNCH, UserData="#cloud-config\n", TagSpecifications=[
        {"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "x"}]},
        {"ResourceType": "volume", "Tags": [{"Key": "dfir:request", "Value": "r"}]}])["Instances"][0]
    assert launched["State"]["Name"] == "pending"
    running = kit.instance(launched["InstanceId"], "running")
    spec = hosts.specs[launched["InstanceId"]]
    assert (spec.user_data, spec.private_ip, spec.zone) == (b"#cloud-config\n", running["PrivateIpAddress"], ZONE)
    assert spec.private_ip.startswith("172.31.") and spec.image_id == IMAGE
    assert running["Tags"] == [{"Key": "Name", "Value": "x"}]
    disks = ec2.describe_volumes()["Volumes"]
    assert [d["Tags"] for d in disks] == [[{"Key": "dfir:request", "Value": "r"}]]
    assert running["BlockDeviceMappings"][0]["DeviceName"] == "/dev/xvda"


def test_scratch_disks_become_devices_and_the_root_disk_stays_the_hosts(kit: Kit, ec2: Any, hosts: Recorder) -> None:
    instance = kit.launch(BlockDeviceMappings=[SCRATCH])
    names = {b["DeviceName"]: b["Ebs"]["VolumeId"] for b in instance["BlockDeviceMappings"]}
    assert set(names) == {"/dev/xvda", "/dev/sdf"}
    eventually(lambda: names["/dev/sdf"] in hosts.attached)
    assert names["/dev/xvda"] not in hosts.attached
    disk = ec2.describe_volumes(VolumeIds=[names["/dev/sdf"]])["Volumes"][0]
    assert (disk["Size"], disk["Throughput"], disk["Encrypted"], disk["SnapshotId"]) == (3, 200, True, "")
    assert code(ec2.create_snapshot, VolumeId=names["/dev/xvda"]) == "LabNotImplemented"


@pytest.mark.parametrize(("behavior", "state"), [("terminate", "terminated"), ("stop", "stopped")])
def test_p25_power_off_inside_ends_as_the_launch_said(kit: Kit, ec2: Any, hosts: Recorder, behavior: str,
                                                      state: str) -> None:
    instance = kit.launch(InstanceInitiatedShutdownBehavior=behavior)["InstanceId"]
    hosts.end(instance, "poweroff")
    ended = kit.instance(instance, state)
    assert ended["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    assert (volumes(ec2) == []) is (state == "terminated")
    assert (instance in hosts.forgotten) is (state == "terminated")


def test_p25_delete_on_termination_is_honored_also_when_set_later(kit: Kit, ec2: Any, hosts: Recorder) -> None:
    instance = kit.launch(InstanceInitiatedShutdownBehavior="terminate")["InstanceId"]
    kept, gone = (ec2.create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"] for _ in range(2))
    ec2.attach_volume(VolumeId=kept, InstanceId=instance, Device="/dev/sdf")
    ec2.attach_volume(VolumeId=gone, InstanceId=instance, Device="/dev/sdg")
    ec2.modify_instance_attribute(InstanceId=instance, BlockDeviceMappings=[
        {"DeviceName": "/dev/sdg", "Ebs": {"DeleteOnTermination": True}}])
    shown = {v["VolumeId"]: v["Attachments"][0]["DeleteOnTermination"] for v in ec2.describe_volumes(
        VolumeIds=[kept, gone])["Volumes"]}
    assert shown == {kept: False, gone: True}
    assert code(ec2.modify_instance_attribute, InstanceId=instance, BlockDeviceMappings=[
        {"DeviceName": "/dev/sdz", "Ebs": {"DeleteOnTermination": True}}]) == "InvalidInstanceAttributeValue"
    path = kit.store.volume_path(REGION, gone)
    hosts.end(instance, "poweroff")
    kit.instance(instance, "terminated")
    assert volumes(ec2) == [kept] and not path.exists()
    assert ec2.describe_volumes(VolumeIds=[kept])["Volumes"][0]["State"] == "available"


def test_terminating_leaves_no_interface_no_association_no_disk(kit: Kit, ec2: Any) -> None:
    kit.host_role("h", allow("s3:PutObject"))
    instance = kit.launch(IamInstanceProfile={"Name": "h"}, BlockDeviceMappings=[SCRATCH])["InstanceId"]
    answer = ec2.terminate_instances(InstanceIds=[instance])["TerminatingInstances"][0]
    assert answer["CurrentState"]["Name"] == "shutting-down"
    assert kit.instance(instance, "terminated")["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert volumes(ec2) == [] and ec2.describe_network_interfaces()["NetworkInterfaces"] == []
    assert ec2.describe_iam_instance_profile_associations()["IamInstanceProfileAssociations"] == []
    assert kit.aws.metadata.role_credentials(instance, "h") is None
    ec2.terminate_instances(InstanceIds=[instance])  # again is fine, as on AWS


def test_all_instances_of_a_launch_have_its_profile(kit: Kit, ec2: Any) -> None:
    kit.host_role("h", allow("s3:PutObject"))
    launched = ec2.run_instances(**LAUNCH | {"MinCount": 3, "MaxCount": 3},
                                 IamInstanceProfile={"Name": "h"})["Instances"]
    held = ec2.describe_iam_instance_profile_associations()["IamInstanceProfileAssociations"]
    assert {one["InstanceId"] for one in held} == {one["InstanceId"] for one in launched} and len(held) == 3


def test_stop_and_start(kit: Kit, ec2: Any, hosts: Recorder) -> None:
    instance = kit.launch()["InstanceId"]
    assert code(ec2.start_instances, InstanceIds=["i-0123456789abcdef0"]) == "InvalidInstanceID.NotFound"
    ec2.stop_instances(InstanceIds=[instance])
    kit.instance(instance, "stopped")
    assert not hosts.is_running(instance) and len(volumes(ec2)) == 1
    ec2.start_instances(InstanceIds=[instance])
    kit.instance(instance, "running")
    assert hosts.is_running(instance)
    hosts.end(instance, "poweroff")
    assert kit.instance(instance, "stopped")["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"


def test_a_host_that_cannot_start_or_dies_is_an_internal_error(kit: Kit, ec2: Any, hosts: Recorder) -> None:
    hosts.refuses_to_boot = True
    failed = ec2.run_instances(**LAUNCH)["Instances"][0]["InstanceId"]
    assert kit.instance(failed, "terminated")["StateReason"]["Code"] == "Server.InternalError"
    hosts.refuses_to_boot = False
    instance = kit.launch()["InstanceId"]
    hosts.end(instance, "died")
    assert kit.instance(instance, "terminated")["StateReason"]["Code"] == "Server.InternalError"
    assert volumes(ec2) == []


def test_no_capacity_is_a_fault_that_can_be_armed(kit: Kit, ec2: Any) -> None:
    kit.faults.arm("ec2.no_capacity", times=None, match={"zone": ZONE})
    with pytest.raises(ClientError) as caught:
        ec2.run_instances(**LAUNCH)
    assert caught.value.response["Error"]["Code"] == "InsufficientInstanceCapacity"
    # A server error, as EC2 says it: an SDK tries it again by itself.
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    kit.faults.clear("ec2.no_capacity")
    kit.launch()
    assert volumes(ec2) and len(ec2.describe_network_interfaces()["NetworkInterfaces"]) == 1


def test_an_instance_has_the_groups_of_its_first_interface(kit: Kit, ec2: Any) -> None:
    subnet = ec2.describe_subnets()["Subnets"][0]
    group = ec2.create_security_group(GroupName="ours", Description="ours", VpcId=subnet["VpcId"])["GroupId"]
    interface = {"DeviceIndex": 0, "SubnetId": subnet["SubnetId"], "Groups": [group]}
    made = ec2.run_instances(**LAUNCH, NetworkInterfaces=[interface])["Instances"][0]["InstanceId"]
    assert [item["GroupId"] for item in kit.instance(made, "running")["SecurityGroups"]] == [group]


def test_launches_that_aws_refuses_leave_nothing(ec2: Any) -> None:
    assert code(ec2.run_instances, **{**LAUNCH, "ImageId": "ami-0123456789abcdef0"}) == "InvalidAMIID.NotFound"
    assert code(ec2.run_instances, **{**LAUNCH, "InstanceType": "z9.huge"}) == "InvalidParameterValue"
    assert code(ec2.run_instances, **LAUNCH, KeyName="none") == "InvalidKeyPair.NotFound"
    bad = {**SCRATCH, "Ebs": {"SnapshotId": "snap-0123456789abcdef0"}}
    assert code(ec2.run_instances, **LAUNCH, BlockDeviceMappings=[bad]) == "InvalidSnapshot.NotFound"
    assert volumes(ec2) == [] and ec2.describe_network_interfaces()["NetworkInterfaces"] == []
    assert ec2.describe_instances()["Reservations"] == []


def test_p71_a_client_token_launches_once(ec2: Any) -> None:
    first = ec2.run_instances(**LAUNCH, ClientToken="t")["Instances"][0]["InstanceId"]
    assert ec2.run_instances(**LAUNCH, ClientToken="t")["Instances"][0]["InstanceId"] == first
    assert code(ec2.run_instances, **{**LAUNCH, "InstanceType": "t3.large"}, ClientToken="t") == \
        "IdempotentParameterMismatch"
    assert len(ec2.describe_instances()["Reservations"]) == 1


def test_the_console_is_the_hosts_own_also_after_the_end(kit: Kit, ec2: Any, hosts: Recorder) -> None:
    instance = kit.launch()["InstanceId"]
    output = ec2.get_console_output(InstanceId=instance)["Output"]
    assert "BEGIN SSH HOST KEY KEYS" in output and instance in output
    ec2.terminate_instances(InstanceIds=[instance])
    kit.instance(instance, "terminated")
    assert ec2.get_console_output(InstanceId=instance)["Output"] == output


def test_p59_changes_of_a_security_group_reach_the_host(kit: Kit, ec2: Any, hosts: Recorder) -> None:
    group = ec2.create_security_group(GroupName="g", Description="d")["GroupId"]

    def rule(cidr: str) -> list[dict[str, Any]]:
        return [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": cidr}]}]

    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=rule("198.51.100.10/32"))
    instance = kit.launch(SecurityGroupIds=[group])["InstanceId"]
    controller, analyst = (Rule("tcp", 22, 22, f"198.51.100.{n}/32") for n in (10, 20))
    assert hosts.specs[instance].rules == (controller,)
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=rule("198.51.100.20/32"))
    assert hosts.rules[instance] == (controller, analyst)
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=rule("198.51.100.10/32"))
    assert hosts.rules[instance] == (analyst,)
    assert code(ec2.delete_security_group, GroupId=group) == "DependencyViolation"
    default = ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"][0]["GroupId"]
    ec2.modify_instance_attribute(InstanceId=instance, Groups=[default])
    assert analyst not in hosts.rules[instance]
    ec2.delete_security_group(GroupId=group)


def test_metadata_says_what_the_launch_asked_for(kit: Kit, ec2: Any) -> None:
    kit.host_role("h", allow("s3:PutObject"))
    ec2.create_key_pair(KeyName="k", KeyType="ed25519")
    instance = kit.launch(IamInstanceProfile={"Name": "h"}, KeyName="k", UserData="hello",
                          MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 2})
    seen = kit.aws.metadata.instance_by_ip(instance["PrivateIpAddress"])
    assert seen is not None
    assert (seen.instance_id, seen.user_data, seen.tokens_required, seen.hop_limit, seen.role_name) == (
        instance["InstanceId"], b"hello", True, 2, "h")
    assert seen.profile_arn is not None and seen.profile_arn.endswith(":instance-profile/dfir/h")
    assert seen.public_keys["k"].startswith("ssh-ed25519 ")
    assert kit.aws.metadata.instance_by_ip("172.31.255.254") is None
    assert kit.aws.metadata.role_credentials(instance["InstanceId"], "other") is None


def test_addresses_are_given_out_once_over_all_regions(kit: Kit, ec2: Any) -> None:
    here = kit.launch()["PrivateIpAddress"]
    from lab.aws.account import DEBIAN_IDS

    there = kit.client("ec2", OTHER).run_instances(**{**LAUNCH, "ImageId": DEBIAN_IDS[OTHER]})["Instances"][0]
    assert there["PrivateIpAddress"] != here


@pytest.mark.parametrize(("service", "operation", "params"), [
    ("ssm", "send_command", {"DocumentName": "AWS-RunShellScript"}),
    ("ssm", "start_session", {"Target": "i-0123456789abcdef0"}),
    ("ssm", "describe_instance_information", {}),
    ("ec2", "enable_fast_snapshot_restores", {"AvailabilityZones": [ZONE], "SourceSnapshotIds": ["snap-1"]}),
    ("ec2", "modify_volume", {"VolumeId": "vol-1", "Size": 2}),
    ("ec2", "describe_volume_status", {}),
    ("ec2", "create_image", {"InstanceId": "i-0123456789abcdef0", "Name": "name"}),
    ("iam", "simulate_principal_policy", {"PolicySourceArn": "arn:aws:iam::123456789012:user/u",
                                          "ActionNames": ["a:b"]}),
    ("sns", "publish", {"TopicArn": "arn:aws:sns:eu-west-1:123456789012:t", "Message": "m"}),
    ("dynamodb", "list_tables", {}),
    ("efs", "describe_file_systems", {}),
])
def test_p50_what_the_lab_cannot_do_honestly_it_refuses_loudly(kit: Kit, service: str, operation: str,
                                                              params: dict[str, Any]) -> None:
    with pytest.raises(ClientError) as refused:
        getattr(kit.client(service), operation)(**params)
    assert refused.value.response["Error"]["Code"] == "LabNotImplemented"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_images_of_debian_and_amazon_are_found_by_owner_and_by_parameter(kit: Kit, ec2: Any) -> None:
    debian = ec2.describe_images(Owners=["136693071363"], Filters=[{"Name": "name", "Values": ["debian-12-amd64-*"]}])
    assert [i["ImageId"] for i in debian["Images"]] == [IMAGE]
    assert ec2.describe_images(Owners=["self"])["Images"] == []
    ssm = kit.client("ssm")
    assert ssm.get_parameter(Name="/aws/service/debian/release/12/latest/amd64")["Parameter"]["Value"] == IMAGE
    amazon = ec2.describe_images(Owners=["amazon"])["Images"][0]
    assert amazon["Name"].startswith("al2023-") and amazon["ImageOwnerAlias"] == "amazon"
    assert moto_app.ec2(REGION).snapshots == {}


def test_user_data_may_be_binary(kit: Kit, ec2: Any, hosts: Recorder) -> None:
    data = bytes(range(256))
    instance = ec2.run_instances(**LAUNCH, UserData=data)["Instances"][0]["InstanceId"]
    kit.instance(instance, "running")
    assert hosts.specs[instance].user_data == data
    shown = ec2.describe_instance_attribute(InstanceId=instance, Attribute="userData")["UserData"]["Value"]
    assert base64.b64decode(shown) == data


def test_the_vcpu_quota_is_told_and_obeyed(kit: Kit, ec2: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "VCPUS", 4.0)
    asked = kit.client("service-quotas")
    assert asked.get_service_quota(ServiceCode="ec2", QuotaCode=quotas.STANDARD)["Quota"]["Value"] == 4
    assert code(asked.get_service_quota, ServiceCode="ec2", QuotaCode="L-DB2E81BA") == "NoSuchResourceException"
    first = kit.launch()
    kit.launch()
    assert code(ec2.run_instances, **LAUNCH) == "VcpuLimitExceeded"
    ec2.terminate_instances(InstanceIds=[first["InstanceId"]])
    kit.instance(first["InstanceId"], "terminated")
    kit.launch()
