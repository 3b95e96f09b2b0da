# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The AWS-side modules against an AWS that answers over HTTP."""

from __future__ import annotations

import functools
import importlib
import json
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import botocore.exceptions
import pytest
from ansible.module_utils.testing import patch_module_args

from tests.plain_aws import PlainAws, plain_aws

REGION = "eu-west-1"
REQUEST = "0123456789abcdef"
TAGS = {"dfir:request": REQUEST, "dfir:expires": "2026-12-01T00:00:00Z", "Name": f"dfir-{REQUEST}"}
KEYS = {"access_key": "test", "secret_key": "test", "region": REGION}
ED25519 = ("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIJ0Zb8cLDeuEZkWBBBlHq0hNjtG7zS4kf6kV0WJQ1F7u")
# One session for all tests: reading the services' models takes longer than the calls.
SESSION = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION)
Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def moto() -> Iterator[PlainAws]:
    """An AWS of these tests' own."""
    with plain_aws() as running:
        yield running


@pytest.fixture(scope="module")
def endpoint(moto: PlainAws) -> str:
    """Where it answers."""
    return moto.url


@pytest.fixture
def aws(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """boto3 clients of a fresh account."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)

    @functools.lru_cache
    def client(service: str, region: str = REGION) -> Any:
        return SESSION.client(service, region_name=region, endpoint_url=endpoint)

    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST")).read()
    yield client


@pytest.fixture
def run(endpoint: str, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a module in this process, as Ansible would, and return what it prints."""

    def call(module_name: str, /, check: bool = False, **arguments: Any) -> dict[str, Any]:
        module = importlib.import_module(f"ansible_collections.dfir.aws.plugins.modules.{module_name}")
        capsys.readouterr()
        given = {**KEYS, "endpoint_url": endpoint, "_ansible_check_mode": check, **arguments}
        with patch_module_args(given), pytest.raises(SystemExit):
            module.main()
        return json.loads(capsys.readouterr().out)

    return call


@pytest.fixture
def snapshot(aws: Callable[..., Any]) -> str:
    ec2 = aws("ec2")
    volume = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=8)["VolumeId"]
    return ec2.create_snapshot(VolumeId=volume)["SnapshotId"]


@pytest.fixture
def instance(aws: Callable[..., Any]) -> str:
    ec2 = aws("ec2")
    image = ec2.register_image(Name="debian-12-amd64-1", RootDeviceName="/dev/xvda", Architecture="x86_64")["ImageId"]
    subnet = ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": [f"{REGION}a"]}])["Subnets"][0]
    answer = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, SubnetId=subnet["SubnetId"], TagSpecifications=[
        {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in TAGS.items()]}])
    return answer["Instances"][0]["InstanceId"]


class TestWait:
    def test_a_completed_snapshot_ends_the_wait_at_once(self, run: Run, snapshot: str) -> None:
        result = run("aws_wait", kind="snapshot", id=snapshot)
        assert result["reached"] and result["state"] == "completed"
        assert result["snapshot"]["VolumeSize"] == 8

    def test_a_pending_snapshot_reports_its_percentage(self, run: Run, snapshot: str, moto: PlainAws) -> None:
        moto.set("snapshots", snapshot, status="pending")
        result = run("aws_wait", kind="snapshot", id=snapshot, slice=0.2, interval=0.05)
        assert not result["reached"] and result["state"] == "pending" and result["percent"] is not None

    def test_p35_late_error_of_a_copy_fails_with_the_message_of_aws(
            self, run: Run, snapshot: str, moto: PlainAws) -> None:
        moto.set("snapshots", snapshot, status="error", state_message="Given key ID is not accessible")
        result = run("aws_wait", kind="snapshot", id=snapshot)
        assert result["failed"] and snapshot in result["msg"] and "state error" in result["msg"]

    def test_a_snapshot_that_was_seen_and_is_gone_fails_at_once(self, run: Run) -> None:
        result = run("aws_wait", kind="snapshot", id="snap-00000000000000001", seen=True)
        assert result["failed"] and "deleted or unshared" in result["msg"]

    def test_a_new_snapshot_may_be_invisible_for_a_while(self, run: Run) -> None:
        result = run("aws_wait", kind="snapshot", id="snap-00000000000000001", slice=0.1, interval=0.05)
        assert not result.get("failed") and result["state"] == "missing"

    def test_p36_a_volume_that_vanished_names_kms(self, run: Run) -> None:
        result = run("aws_wait", kind="volume", id="vol-00000000000000001", seen=True)
        assert result["failed"] and "vanished" in result["msg"] and "kms:CreateGrant" in result["msg"]

    def test_a_running_instance(self, run: Run, instance: str) -> None:
        result = run("aws_wait", kind="instance", id=instance)
        assert result["reached"] and result["instance"]["PrivateIpAddress"]

    def test_an_instance_that_died_fails_with_its_state(self, run: Run, aws: Callable[..., Any], instance: str) -> None:
        aws("ec2").terminate_instances(InstanceIds=[instance])
        result = run("aws_wait", kind="instance", id=instance)
        assert result["failed"] and "terminated instead of running" in result["msg"]
        assert run("aws_wait", kind="instance_terminated", id=instance)["reached"]

    def test_a_host_that_stopped_instead_of_terminating_is_a_failure(self, run: Run, aws: Any, instance: str) -> None:
        aws("ec2").stop_instances(InstanceIds=[instance])
        result = run("aws_wait", kind="instance_terminated", id=instance)
        assert result["failed"] and "shutdown behavior" in result["msg"]

    def test_check_mode_looks_once_and_does_not_wait(self, run: Run, snapshot: str, moto: PlainAws) -> None:
        moto.set("snapshots", snapshot, status="pending")
        result = run("aws_wait", check=True, kind="snapshot", id=snapshot, slice=60)
        assert not result["reached"] and not result["changed"]

    def test_an_id_is_asked_for(self, run: Run) -> None:
        assert "id" in run("aws_wait", kind="snapshot")["msg"]

    def test_a_refusal_ends_the_wait_but_a_throttle_does_not(self, run: Run) -> None:
        from ansible_collections.dfir.aws.plugins.module_utils.waits import is_passing
        from botocore.exceptions import ClientError, EndpointConnectionError

        def error(code: str, status: int = 400) -> ClientError:
            return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "X")

        assert is_passing(error("RequestLimitExceeded", 503)) and is_passing(error("InternalError", 500))
        assert is_passing(error("SlowDown")) and is_passing(EndpointConnectionError(endpoint_url="x"))
        assert not is_passing(error("UnauthorizedOperation", 403)) and not is_passing(error("ExpiredToken"))


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


class TestArtifacts:
    @pytest.fixture
    def bucket(self, aws: Callable[..., Any]) -> Any:
        s3 = aws("s3")
        s3.create_bucket(Bucket="artifacts", CreateBucketConfiguration={"LocationConstraint": REGION})
        return lambda key, body: s3.put_object(Bucket="artifacts", Key=key, Body=body)

    def wait(self, run: Run, **more: Any) -> dict[str, Any]:
        return run("aws_wait", kind="artifacts", bucket="artifacts", prefix="INC-1/snap-1/", slice=0.1, interval=0.05,
                   **more)

    def test_the_marker_ends_the_wait(self, run: Run, bucket: Any) -> None:
        bucket("INC-1/snap-1/vol-1p1.plaso", b"x" * 2048)
        bucket("INC-1/snap-1/summary.json", json.dumps({"findings": {"high": 3}}).encode())
        assert self.wait(run)["reached"] is False
        bucket("INC-1/snap-1/complete.json", json.dumps({"outcome": "complete", "missing": []}).encode())
        result = self.wait(run)
        assert result["reached"] and result["marker"] == {"outcome": "complete", "missing": []}
        assert result["summary"] == {"findings": {"high": 3}}
        assert {item["name"] for item in result["objects"]} == {"vol-1p1.plaso", "summary.json", "complete.json"}

    def test_artifacts_in_the_folders_of_several_snapshots_count(self, run: Run, bucket: Any) -> None:
        for key in ("INC-1/snap-a/vol-1p1.plaso", "INC-1/snap-a/vol-9p1.plaso", "INC-1/snap-a/complete.json",
                    "INC-1/snap-b/vol-2p1.plaso", "INC-1/snap-1/summary.json"):
            bucket(key, b"{}")
        more = ["INC-1/snap-a/vol-1p", "INC-1/snap-b/vol-2p"]
        result = self.wait(run, more_prefixes=more)
        assert not result["reached"], "the marker of a request for one of them is not ours"
        assert {item["name"] for item in result["objects"]} == {"vol-1p1.plaso", "vol-2p1.plaso", "summary.json"}
        bucket("INC-1/snap-1/complete.json", b"{}")
        assert self.wait(run, more_prefixes=more)["reached"]

    def test_another_attempts_marker_is_not_ours(self, run: Run, bucket: Any) -> None:
        bucket("INC-1/snap-1/run-ffff/complete.json", b"{}")
        result = self.wait(run)
        assert not result["reached"] and result["objects"] == []

    def test_only_numbers_and_words_come_back_from_the_host(self, run: Run, bucket: Any) -> None:
        hostile = {"outcome": "complete", "note": "{{ lookup('pipe', 'id') }}", "a b": 1, "n": 2,
                   "list": ["ok", "no\nway", 3], "deep": {"x": "<script>"}}
        bucket("INC-1/snap-1/complete.json", json.dumps(hostile).encode())
        bucket("INC-1/snap-1/{{ evil }}.json", b"{}")
        result = self.wait(run)
        assert result["marker"] == {"outcome": "complete", "note": None, "n": 2, "list": ["ok", 3], "deep": {"x": None}}
        assert "evil" not in json.dumps(result) and "lookup" not in json.dumps(result)

    def test_a_marker_that_is_no_json_is_still_a_marker(self, run: Run, bucket: Any) -> None:
        bucket("INC-1/snap-1/complete.json", b"[" * 100_000)
        result = self.wait(run)
        assert result["reached"] and result["marker"] is None

    def test_a_host_that_ended_without_marker(self, run: Run, bucket: Any, aws: Any, instance: str) -> None:
        bucket("INC-1/snap-1/vol-1p1.plaso", b"x")
        assert not self.wait(run, instance_id=instance)["over"]
        aws("ec2").terminate_instances(InstanceIds=[instance])
        result = self.wait(run, instance_id=instance)
        assert result["over"] and not result["reached"] and result["state"] == "ended"


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


class TestResources:
    def test_lists_what_the_request_made(self, run: Run, aws: Any, instance: str, snapshot: str) -> None:
        ec2, iam = aws("ec2"), aws("iam")
        arguments = {"snapshot_id": snapshot, "availability_zone": f"{REGION}a", "tags": TAGS}
        volume = run("ec2_snapshot_volume", **arguments)["volume_id"]
        group = ec2.create_security_group(GroupName="dfir", Description="x", TagSpecifications=[
            {"ResourceType": "security-group", "Tags": [{"Key": "dfir:request", "Value": REQUEST}]}])["GroupId"]
        other = ec2.create_security_group(GroupName="other", Description="x", TagSpecifications=[
            {"ResourceType": "security-group", "Tags": [{"Key": "dfir:request", "Value": "f" * 16}]}])["GroupId"]
        name = f"dfir-{REQUEST}"
        iam.create_role(RoleName=name, Path="/dfir/", AssumeRolePolicyDocument="{}")
        iam.put_role_policy(RoleName=name, PolicyName="artifacts", PolicyDocument=json.dumps(
            {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:PutObject", "Resource": "*"}]}))
        iam.create_role(RoleName=f"dfir-{'f' * 16}", Path="/dfir/", AssumeRolePolicyDocument="{}")
        iam.create_instance_profile(InstanceProfileName=name, Path="/dfir/")
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)

        result = run("request_resources_info", request_id=REQUEST)
        found = {item["id"]: item for item in result["resources"]}
        assert {instance, volume, group, name, f"{name}/{name}", f"{name}/artifacts"} == set(found)
        assert not result["changed"]
        assert [item["type"] for item in result["resources"]] == [
            "instance", "volume", "security-group", "role-in-profile", "instance-profile", "role-policy", "role"]
        assert f"--instance-ids {instance}" in found[instance]["remove_command"]
        assert result["remove_commands"][-1] == f"aws iam delete-role --role-name {name}"
        # One command each: mails fold and quote them word by word.
        assert not any(sign in command for command in result["remove_commands"] for sign in ("&", ";", "|"))
        everybodys = {item["id"] for item in run("request_resources_info")["resources"]}
        assert everybodys >= {instance, volume, group, other, name, f"dfir-{'f' * 16}"}

    def test_a_terminated_host_and_a_kept_copy_are_not_listed(self, run: Run, aws: Any, instance: str,
                                                              snapshot: str) -> None:
        aws("ec2").create_tags(Resources=[snapshot], Tags=[{"Key": "dfir:source-snapshot", "Value": "snap-1"}])
        aws("ec2").terminate_instances(InstanceIds=[instance])
        assert run("request_resources_info", request_id=REQUEST)["count"] == 0


def test_an_address_of_an_object_is_good_for_a_reader_without_credentials(aws: Callable[[str], Any], run: Run) -> None:
    aws("s3").create_bucket(Bucket="artifacts", CreateBucketConfiguration={"LocationConstraint": REGION})
    aws("s3").put_object(Bucket="artifacts", Key="toolbox/tools.tar", Body=b"tools")
    (found,) = run("artifact_urls_info", bucket="artifacts", keys=["toolbox/tools.tar"])["urls"]
    assert (found["key"], found["size"]) == ("toolbox/tools.tar", 5)
    assert urllib.request.urlopen(found["url"]).read() == b"tools"
    (elsewhere,) = run("artifact_urls_info", bucket="artifacts", keys=["toolbox/tools.tar"],
                       reader_endpoint_url="http://198.51.100.1:4570")["urls"]
    assert elsewhere["url"].startswith("http://198.51.100.1:4570/artifacts/toolbox/tools.tar?")


def test_an_address_on_aws_itself_names_the_region_that_it_is_signed_for() -> None:
    from ansible_collections.dfir.aws.plugins.modules.artifact_urls_info import SIGNING, signed
    from botocore.config import Config

    for region, host in (("eu-west-1", "artifacts.s3.eu-west-1.amazonaws.com"),
                         ("us-east-1", "artifacts.s3.amazonaws.com")):
        address = signed(SESSION.client("s3", region_name=region, config=Config(**SIGNING)), "artifacts", "a/b", 60)
        assert urllib.parse.urlparse(address).hostname == host
        assert f"{region}%2Fs3%2Faws4_request" in address and "X-Amz-Expires=60" in address


@pytest.mark.parametrize(("options", "words"), [
    ({"keys": ["toolbox/none.tar"]}, "s3://artifacts/toolbox/none.tar is not there"),
    ({"keys": ["toolbox/none.tar"], "expires_in": 604801}, "1 to 604800 seconds"),
])
def test_no_address_for_what_is_not_there(aws: Callable[[str], Any], run: Run, options: dict[str, Any],
                                          words: str) -> None:
    aws("s3").create_bucket(Bucket="artifacts", CreateBucketConfiguration={"LocationConstraint": REGION})
    result = run("artifact_urls_info", bucket="artifacts", **options)
    assert result["failed"] and words in result["msg"]


def test_records_are_listed_and_what_is_none_is_named(aws: Callable[[str], Any], run: Run) -> None:
    aws("s3").create_bucket(Bucket="artifacts", CreateBucketConfiguration={"LocationConstraint": REGION})

    def put(key: str, content: Any) -> None:
        aws("s3").put_object(Bucket="artifacts", Key=key, Body=json.dumps(content).encode())

    for number, state in ((2, "open"), (1, "open"), (3, "finished")):
        identity = f"{number:016x}"
        put(f"requests/{identity}.json", {"format": 1, "request_id": identity, "state": state, "request": {"a": 1},
                                          "created_at": f"2026-01-0{number}T00:00:00Z"})
    put("requests/0000000000000009.json", {"format": 1, "request_id": "0000000000000008", "request": {}})
    put("requests/notes.txt", "no record")
    put("INC-1/snap-1/complete.json", {})

    def numbers(**options: Any) -> list[int]:
        return [int(record["request_id"], 16) for record in run("request_records_info", bucket="artifacts", **options)[
            "records"]]

    assert numbers() == [1, 2] and numbers(state="finished") == [3] and numbers(state="all") == [1, 2, 3]
    assert numbers(within_days=0) == []
    assert run("request_records_info", bucket="artifacts")["unreadable"] == [
        "requests/0000000000000009.json", "requests/notes.txt"]


def test_a_check_keeps_no_record_and_changes_nothing(run: Run, aws: Callable[..., Any]) -> None:
    aws("s3").create_bucket(Bucket="records", CreateBucketConfiguration={"LocationConstraint": REGION})
    spec = {"request_id": REQUEST, "caller": {"name": "me"}, "instance_type": "m6i.large", "time_limit_hours": None}
    given = {"bucket": "records", "request_id": REQUEST, "holder": "me"}
    for arguments in ({"state": "opened", "spec": spec}, {"state": "step", "step": "plan"}, {"state": "released"},
                      {"state": "finished", "outcome": "failed"}):
        told = run("request_record", check=True, **given, **arguments)
        assert told["changed"] is False and not told.get("failed"), told
    assert run("request_record", check=True, **given, state="opened", spec=spec)["record"]["state"] == "open"
    assert "Contents" not in aws("s3").list_objects_v2(Bucket="records")
    assert run("request_record", **given, state="opened", spec=spec)["changed"] is True


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
