# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that make a host and its volumes, against an AWS that answers over HTTP."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import botocore.exceptions
import pytest

from tests.plain_aws import PlainAws
from tests.unit.plugins.modules.aws_module_kit import ED25519, REGION, TAGS, Run

pytestmark = pytest.mark.slow


class TestConsole:
    def block(self, *lines: str) -> str:
        return "\r\n".join(["boot", "-----BEGIN SSH HOST KEY KEYS-----", *lines, "-----END SSH HOST KEY KEYS-----", ""])

    def test_keys_and_fingerprints_of_the_first_block(self) -> None:
        from ansible_collections.dfir.aws.plugins.module_utils.console_keys import host_keys

        other = ED25519[1][:-3] + "AAA"
        text = self.block(f"{ED25519[0]} {ED25519[1]} root@host") + self.block(f"ssh-ed25519 {other} root@evil")
        keys = host_keys(text)
        assert [(key.type, key.key) for key in keys] == [ED25519]
        assert keys[0].fingerprint.startswith("SHA256:") and len(keys[0].fingerprint) == 50

    def test_fingerprint_is_what_ssh_keygen_says(self, tmp_path: Any) -> None:
        import shutil
        import subprocess

        from ansible_collections.dfir.aws.plugins.module_utils.console_keys import HostKey

        if not shutil.which("ssh-keygen"):
            pytest.skip("ssh-keygen is not installed")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
        said = subprocess.run(["ssh-keygen", "-l", "-f", str(tmp_path / "key")], check=True, capture_output=True,
                              text=True)
        kind, key = (tmp_path / "key.pub").read_text().split()[:2]
        assert HostKey(kind, key).fingerprint == said.stdout.split()[1]

    def test_an_unfinished_or_garbled_block_gives_nothing(self) -> None:
        from ansible_collections.dfir.aws.plugins.module_utils.console_keys import host_keys

        whole = self.block(f"{ED25519[0]} {ED25519[1]}")
        assert host_keys(whole.split("-----END")[0]) == []
        assert host_keys(self.block(f"ssh-rsa {ED25519[1]}")) == []
        assert host_keys("") == []

    def test_waits_while_the_host_boots(self, run: Run, instance: str) -> None:
        result = run("aws_wait", kind="console", id=instance, slice=0.1, interval=0.05)
        assert not result["reached"] and result["state"] == "booting"


class TestAttachment:
    @pytest.fixture
    def volume(self, aws: Callable[..., Any]) -> str:
        return aws("ec2").create_volume(AvailabilityZone=f"{REGION}a", Size=1)["VolumeId"]

    def test_p25_attached_volume_is_deleted_with_the_host(self, run: Run, aws: Any, volume: str, instance: str) -> None:
        result = run("ec2_volume_attachment", volume_id=volume, instance_id=instance)
        assert result["changed"] and result["device_name"] == "/dev/sdf"
        assert result["attachment_state"] in ("attached", "in-use")

    def test_check_mode_attaches_nothing(self, run: Run, aws: Any, volume: str, instance: str) -> None:
        result = run("ec2_volume_attachment", check=True, volume_id=volume, instance_id=instance)
        assert result["changed"] and result["delete_on_termination"]
        assert aws("ec2").describe_volumes(VolumeIds=[volume])["Volumes"][0]["State"] == "available"

    def test_another_zone_is_refused(self, run: Run, aws: Any, instance: str) -> None:
        volume = aws("ec2").create_volume(AvailabilityZone=f"{REGION}b", Size=1)["VolumeId"]
        result = run("ec2_volume_attachment", volume_id=volume, instance_id=instance)
        assert result["failed"] and "in the instance's zone" in result["msg"] and not result["changed"]

    def test_attached_elsewhere_is_refused(self, run: Run, aws: Any, volume: str, instance: str) -> None:
        run("ec2_volume_attachment", volume_id=volume, instance_id=instance)
        result = run("ec2_volume_attachment", volume_id=volume, instance_id="i-00000000000000001")
        assert result["failed"] and instance in result["msg"] and "detach" in result["msg"]

    def test_a_terminated_host_is_refused(self, run: Run, aws: Any, volume: str, instance: str) -> None:
        aws("ec2").terminate_instances(InstanceIds=[instance])
        result = run("ec2_volume_attachment", volume_id=volume, instance_id=instance)
        assert result["failed"] and "is terminated" in result["msg"]

    def test_detach(self, run: Run, aws: Any, volume: str, instance: str) -> None:
        run("ec2_volume_attachment", volume_id=volume, instance_id=instance)
        result = run("ec2_volume_attachment", volume_id=volume, state="absent")
        assert result["changed"] and result["settled"]
        assert not run("ec2_volume_attachment", volume_id=volume, state="absent")["changed"]


class TestSnapshotVolume:
    def test_created_encrypted_gp3_and_tagged_in_one_call(self, run: Run, aws: Any, snapshot: str) -> None:
        created = run("ec2_snapshot_volume", snapshot_id=snapshot, availability_zone=f"{REGION}a", tags=TAGS)
        assert created["changed"] and not created["adopted"]
        volume = aws("ec2").describe_volumes(VolumeIds=[created["volume_id"]])["Volumes"][0]
        assert volume["Encrypted"] and volume["VolumeType"] == "gp3" and volume["SnapshotId"] == snapshot
        assert {tag["Key"]: tag["Value"] for tag in volume["Tags"]} == TAGS

    def test_a_second_run_adopts_it(self, run: Run, snapshot: str) -> None:
        arguments = {"snapshot_id": snapshot, "availability_zone": f"{REGION}a", "tags": TAGS}
        first = run("ec2_snapshot_volume", **arguments)
        second = run("ec2_snapshot_volume", **arguments)
        assert second["adopted"] and not second["changed"] and second["volume_id"] == first["volume_id"]
        other = run("ec2_snapshot_volume", **{**arguments, "tags": {**TAGS, "dfir:request": "f" * 16}})
        assert other["changed"] and other["volume_id"] != first["volume_id"]

    def test_a_second_volume_for_journals_is_another_one(self, run: Run, aws: Any, snapshot: str) -> None:
        names = ["dfir:request", "dfir:volume-role"]
        arguments = {"snapshot_id": snapshot, "availability_zone": f"{REGION}a", "adopt_by_tags": names}
        made = {role: [run("ec2_snapshot_volume", **arguments, tags={**TAGS, "dfir:volume-role": role})
                       for _time in range(2)] for role in ("evidence", "journal")}
        ids = {role: [result["volume_id"] for result in results] for role, results in made.items()}
        assert ids["evidence"][0] == ids["evidence"][1] != ids["journal"][0] == ids["journal"][1]
        assert [result["adopted"] for result in made["journal"]] == [False, True]
        assert run("ec2_snapshot_volume", **arguments, tags=TAGS)["failed"]

    def test_an_empty_volume_for_a_snapshot_is_made_once_and_known_for_what_it_is(
            self, run: Run, aws: Any, snapshot: str) -> None:
        arguments = {"snapshot_id": snapshot, "availability_zone": f"{REGION}a", "tags": TAGS}
        assert "size_gib" in run("ec2_snapshot_volume", **arguments, blank=True)["msg"]
        made = [run("ec2_snapshot_volume", **arguments, blank=True, size_gib=3) for _time in range(2)]
        assert made[0]["changed"] and not made[1]["changed"] and made[0]["volume_id"] == made[1]["volume_id"]
        assert [result["blank"] for result in made] == [True, True]
        volume = aws("ec2").describe_volumes(VolumeIds=[made[0]["volume_id"]])["Volumes"][0]
        assert volume["Encrypted"] and volume["Size"] == 3 and not volume.get("SnapshotId")
        # A run that asks for the other kind takes what is there: a request has one of them.
        other = run("ec2_snapshot_volume", **arguments)
        assert other["adopted"] and other["volume_id"] == made[0]["volume_id"] and other["blank"]

    def test_p18_a_volume_in_another_zone_does_not_serve(self, run: Run, snapshot: str) -> None:
        first = run("ec2_snapshot_volume", snapshot_id=snapshot, availability_zone=f"{REGION}a", tags=TAGS)
        second = run("ec2_snapshot_volume", snapshot_id=snapshot, availability_zone=f"{REGION}b", tags=TAGS)
        assert second["changed"] and second["volume_id"] != first["volume_id"]

    def test_check_mode_creates_nothing(self, run: Run, aws: Any, snapshot: str) -> None:
        before = len(aws("ec2").describe_volumes()["Volumes"])
        arguments = {"snapshot_id": snapshot, "availability_zone": f"{REGION}a", "tags": TAGS}
        assert run("ec2_snapshot_volume", check=True, **arguments)["changed"]
        assert len(aws("ec2").describe_volumes()["Volumes"]) == before

    def test_tags_that_cannot_be_found_again_are_refused(self, run: Run, snapshot: str, moto: PlainAws) -> None:
        result = run("ec2_snapshot_volume", snapshot_id=snapshot, availability_zone=f"{REGION}a", tags={"Name": "x"})
        assert result["failed"] and "dfir:request" in result["msg"]


class TestImage:
    @pytest.fixture
    def image(self, aws: Callable[..., Any], moto: PlainAws) -> Callable[..., str]:
        def make(name: str, architecture: str = "x86_64") -> str:
            identifier = aws("ec2").register_image(
                Name=name, Architecture=architecture, RootDeviceName="/dev/xvda",
                BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 8}}])["ImageId"]
            moto.set("amis", identifier, architecture=architecture)  # which moto forgets
            return identifier
        return make

    def test_by_parameter(self, run: Run, aws: Any, image: Any) -> None:
        identifier = image("debian-12-amd64-1")
        aws("ssm").put_parameter(Name="/images/debian", Value=identifier, Type="String")
        result = run("analysis_image_info", parameter="/images/debian", instance_type="m6i.large")
        assert "image" in result, result
        assert result["image"]["image_id"] == identifier and result["image"]["root_device_name"].startswith("/dev/")

    @pytest.mark.parametrize("name", ["al2023-ami-2023.1-x86_64", "amzn2-ami-hvm-2.0-x86_64-gp2"])
    def test_p51_amazon_linux_is_refused_with_the_reason(self, run: Run, image: Any, name: str) -> None:
        result = run("analysis_image_info", image_id=image(name), instance_type="m6i.large")
        assert result["failed"] and "Amazon Linux" in result["msg"] and "podman" in result["msg"]

    def test_another_architecture_is_refused(self, run: Run, image: Any) -> None:
        result = run("analysis_image_info", image_id=image("debian-12-arm64-1", "arm64"), instance_type="m6i.large")
        assert result["failed"] and "arm64" in result["msg"] and "m6i.large" in result["msg"]

    def test_an_unknown_parameter_image_or_type_is_one_sentence(self, run: Run, image: Any) -> None:
        assert "/none" in run("analysis_image_info", parameter="/none", instance_type="m6i.large")["msg"]
        assert "ami-1" in run("analysis_image_info", image_id="ami-1", instance_type="m6i.large")["msg"]
        assert "z9.huge" in run("analysis_image_info", image_id=image("debian-1"), instance_type="z9.huge")["msg"]

    def test_a_name_alone_is_anybodys_image(self, run: Run) -> None:
        assert "name alone" in run("analysis_image_info", name="debian-*", instance_type="m6i.large")["msg"]


class TestAnalysisInstance:
    @pytest.fixture
    def wanted(self, aws: Any) -> dict[str, Any]:
        ec2, iam = aws("ec2"), aws("iam")
        subnet = ec2.describe_subnets()["Subnets"][0]
        group = ec2.create_security_group(GroupName="dfir", Description="dfir", VpcId=subnet["VpcId"])["GroupId"]
        profile = iam.create_instance_profile(InstanceProfileName="dfir-host", Path="/dfir/")["InstanceProfile"]["Arn"]
        image = ec2.register_image(Name="debian", RootDeviceName="/dev/xvda")["ImageId"]
        disk = {"device_name": "/dev/sdb", "ebs": {"volume_size": 30, "volume_type": "gp3", "encrypted": True,
                                                   "delete_on_termination": True}}
        return {"image_id": image, "instance_type": "m6i.large", "subnet_ids": [subnet["SubnetId"]],
                "security_group_ids": [group], "instance_profile_arn": profile, "volumes": [disk],
                "user_data": "#cloud-config\n", "tags": TAGS}

    def test_p25_p27_launched_once_and_what_makes_it_an_analysis_host(self, run: Run, aws: Any,
                                                                      wanted: dict[str, Any]) -> None:
        first, second = run("ec2_analysis_instance", **wanted), run("ec2_analysis_instance", **wanted)
        assert first["changed"] and not first["adopted"]
        assert second["adopted"] and not second["changed"] and second["instance_id"] == first["instance_id"]
        [instance] = [item for group in aws("ec2").describe_instances()["Reservations"] for item in group["Instances"]]
        assert instance["MetadataOptions"]["HttpTokens"] == "required"
        assert instance["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
        assert {tag["Key"]: tag["Value"] for tag in instance["Tags"]} == TAGS
        behavior = aws("ec2").describe_instance_attribute(InstanceId=first["instance_id"],
                                                          Attribute="instanceInitiatedShutdownBehavior")
        assert behavior["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"
        other = run("ec2_analysis_instance", **{**wanted, "tags": {**TAGS, "dfir:request": "f" * 16}})
        assert other["changed"] and other["instance_id"] != first["instance_id"]

    def test_p71_the_call_itself_is_idempotent(self, wanted: dict[str, Any]) -> None:
        module = importlib.import_module("ansible_collections.dfir.aws.plugins.modules.ec2_analysis_instance")
        params = {**wanted, "adopt_by_tag": "dfir:request", "assign_public_ip": False}
        subnet = params["subnet_ids"][0]
        call = module.launch(params, subnet)
        assert call["ClientToken"] == module.launch(params, subnet)["ClientToken"]
        other = {**params, "tags": {"dfir:request": "f" * 16}}
        assert call["ClientToken"] != module.launch(other, subnet)["ClientToken"]
        # The interface says no to a public address, whatever the subnet says.
        assert call["NetworkInterfaces"][0]["AssociatePublicIpAddress"] is False
        assert call["BlockDeviceMappings"] == [{"DeviceName": "/dev/sdb", "Ebs": {
            "VolumeSize": 30, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}}]

    def test_check_mode_launches_nothing(self, run: Run, aws: Any, wanted: dict[str, Any]) -> None:
        assert run("ec2_analysis_instance", check=True, **wanted)["changed"]
        assert aws("ec2").describe_instances()["Reservations"] == []

    def test_a_profile_that_ec2_does_not_see_yet_is_tried_again(self) -> None:
        module = importlib.import_module("ansible_collections.dfir.aws.plugins.modules.ec2_analysis_instance")
        params = {"instance_type": "m6i.large"}

        def explained(code: str, message: str) -> tuple[str, bool]:
            error = botocore.exceptions.ClientError({"Error": {"Code": code, "Message": message}}, "RunInstances")
            return module.explain(error, params, [])

        assert explained("InvalidParameterValue", "Value (dfir-1) for parameter iamInstanceProfile.name is invalid. "
                         "Invalid IAM Instance Profile name")[1]
        words, again = explained("InsufficientInstanceCapacity", "We currently do not have sufficient capacity")
        assert not again and "m6i.large" in words and "another zone" in words
        assert not explained("UnauthorizedOperation", "You are not authorized to perform this operation.")[1]
        assert not explained("IdempotentParameterMismatch", "Arguments on this idempotent request are inconsistent")[1]
