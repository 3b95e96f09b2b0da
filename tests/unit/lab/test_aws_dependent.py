# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rights that a call takes besides its own: handing over roles, tags while creating, grants on keys, names of keys; and
the account of which statement allowed what."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aws_kit import IMAGE, REGION, Kit, Recorder, allow, code, eventually, policy

from lab.aws.usage import Usage, read

pytestmark = pytest.mark.slow
TAGS = [{"Key": "dfir:request", "Value": "r"}]
TRUST = policy({"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"})
Made = Callable[..., Any]


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    kit = Kit(tmp_path_factory.mktemp("lab"), hosts=Recorder())
    kit.host_role("handed")
    kit.client("iam").create_role(RoleName="waiting", Path="/dfir/", AssumeRolePolicyDocument=TRUST)
    kit.client("iam").create_instance_profile(InstanceProfileName="empty", Path="/dfir/")
    yield kit
    kit.close()


def volume(client: Made) -> Any:
    return client("ec2").create_volume(AvailabilityZone=f"{REGION}a", Size=1, TagSpecifications=[
        {"ResourceType": "volume", "Tags": TAGS}])


def launch(client: Made) -> Any:
    return client("ec2").run_instances(ImageId=IMAGE, InstanceType="t3.medium", MinCount=1, MaxCount=1,
                                       IamInstanceProfile={"Name": "handed"})


def endpoint(client: Made) -> Any:
    ec2 = client("ec2")
    return ec2.create_vpc_endpoint(VpcId=ec2.describe_vpcs()["Vpcs"][0]["VpcId"], VpcEndpointType="Interface",
                                   ServiceName=f"com.amazonaws.{REGION}.ebs", PrivateDnsEnabled=True)


def trail(client: Made) -> Any:
    return client("cloudtrail").create_trail(Name="dfir-t", S3BucketName="logs", TagsList=TAGS)


def alias(client: Made) -> Any:
    key = client("kms").create_key(Tags=[{"TagKey": "a", "TagValue": "b"}])["KeyMetadata"]["KeyId"]
    return client("kms").create_alias(AliasName=f"alias/of-{key}", TargetKeyId=key)


CASES: list[tuple[str, Any, Made]] = [
    ("ec2:CreateTags", "ec2:CreateVolume", volume),
    ("iam:PassRole", "ec2:RunInstances", launch),
    ("iam:PassRole", "iam:*Profile", lambda client: client("iam").add_role_to_instance_profile(
        InstanceProfileName="empty", RoleName="waiting")),
    ("iam:TagRole", "iam:CreateRole", lambda client: client("iam").create_role(
        RoleName="tagged", AssumeRolePolicyDocument=TRUST, Tags=TAGS)),
    ("iam:TagInstanceProfile", "iam:CreateInstanceProfile", lambda client: client("iam").create_instance_profile(
        InstanceProfileName="tagged", Tags=TAGS)),
    ("iam:TagPolicy", "iam:CreatePolicy", lambda client: client("iam").create_policy(
        PolicyName="tagged", PolicyDocument=policy(allow("s3:GetObject")), Tags=TAGS)),
    ("kms:TagResource", ["kms:CreateKey", "kms:CreateAlias"], alias),
    ("kms:CreateAlias", ["kms:CreateKey", "kms:TagResource"], alias),
    ("route53:AssociateVPCWithHostedZone", ["ec2:CreateVpcEndpoint", "ec2:DescribeVpcs"], endpoint),
    ("cloudtrail:AddTags", "cloudtrail:CreateTrail", trail),
]


@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{case[0]}-{case[1]}" for case in CASES])
def test_a_call_needs_its_second_right(kit: Kit, number: int) -> None:
    second, own, call = CASES[number]
    one, both = kit.user(f"one-{number}", allow(own)), kit.user(f"both-{number}", allow(own), allow(second))
    denied = code(call, client=lambda service: kit.client(service, keys=one))
    assert denied in ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")
    if call is trail:  # and CloudTrail asks for a bucket that it may write to
        kit.client("s3").create_bucket(Bucket="logs", CreateBucketConfiguration={"LocationConstraint": REGION})
        refused = code(call, client=lambda service: kit.client(service, keys=both))
        assert refused == "InsufficientS3BucketPolicyException"
        return
    assert call(lambda service: kit.client(service, keys=both))


def test_a_copy_under_a_key_needs_a_grant_on_it_and_is_refused_late(kit: Kit) -> None:
    key = kit.client("kms").create_key()["KeyMetadata"]["KeyId"]
    source = kit.client("ec2").create_snapshot(VolumeId=volume(kit.client)["VolumeId"])["SnapshotId"]
    through_ec2 = {"StringLike": {"kms:ViaService": "ec2.*.amazonaws.com"}}
    own = [allow(["ec2:CopySnapshot", "ec2:CreateTags"]),
           allow(["kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext"], **through_ec2)]
    ends = {}
    for name, statements in {"no grant": own, "grant": [*own, allow("kms:CreateGrant", **through_ec2, Bool={
            "kms:GrantIsForAWSResource": "true"})]}.items():
        ec2 = kit.client("ec2", keys=kit.user(name.replace(" ", "-"), *statements))
        copy = ec2.copy_snapshot(SourceRegion=REGION, SourceSnapshotId=source, Encrypted=True,
                                 KmsKeyId=key)["SnapshotId"]
        ends[name] = eventually(lambda copy=copy: next(  # type: ignore[misc]
            item["State"] for item in kit.client("ec2").describe_snapshots(OwnerIds=["self"])["Snapshots"]
            if item["SnapshotId"] == copy and item["State"] != "pending"))
    assert ends == {"no grant": "error", "grant": "completed"}


def test_a_policy_that_cannot_be_evaluated_is_refused_and_not_guessed(kit: Kit) -> None:
    keys = kit.user("strange", allow("ec2:DescribeVolumes", StringEquals={"aws:PrincipalOrgID": "o-1"}))
    assert code(kit.client("ec2", keys=keys).describe_volumes) == "LabNotImplemented"


def test_a_trail_says_that_it_delivers_nothing(kit: Kit) -> None:
    s3, cloudtrail = kit.client("s3"), kit.client("cloudtrail")
    s3.create_bucket(Bucket="kept", CreateBucketConfiguration={"LocationConstraint": REGION})
    writes = {"Effect": "Allow", "Principal": {"Service": "cloudtrail.amazonaws.com"}}
    s3.put_bucket_policy(Bucket="kept", Policy=policy(
        {**writes, "Action": "s3:GetBucketAcl", "Resource": "arn:aws:s3:::kept"},
        {**writes, "Action": "s3:PutObject", "Resource": "arn:aws:s3:::kept/*"}))
    cloudtrail.create_trail(Name="dfir-kept", S3BucketName="kept")
    cloudtrail.start_logging(Name="dfir-kept")
    status = cloudtrail.get_trail_status(Name="dfir-kept")
    assert status["IsLogging"] and "deliver nothing" in status["LatestDeliveryError"]
    assert code(cloudtrail.create_event_data_store, Name="lake") == "LabNotImplemented"


def test_the_account_of_uses_names_statements_and_survives_its_lab(kit: Kit, tmp_path: Path,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFIR_LAB_USAGE", str(tmp_path / "usage"))
    monkeypatch.setattr(kit.world, "usage", Usage.of_environment())
    ec2 = kit.client("ec2", keys=kit.user("counted", {"Sid": "Look", **allow("ec2:Describe*")}))
    ec2.describe_volumes()
    assert code(ec2.delete_volume, VolumeId="vol-01230000000000000") == "UnauthorizedOperation"
    uses = {use for use in read(tmp_path / "usage") if use.caller.endswith("user/counted")}
    assert uses == {use for use in kit.world.usage.uses if use.caller.endswith("user/counted")}
    assert {(use.action, use.allowed, use.sid, use.policy, use.kind) for use in uses} == {
        ("ec2:DescribeVolumes", True, "Look", ("Look",), "identity"), ("ec2:DeleteVolume", False, "", (), "")}
