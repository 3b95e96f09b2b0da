# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies really enforced: signatures, conditions, boundaries, bucket policies, and the holes that moto has."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aws_kit import REGION, Kit, allow, code, deny, policy
from botocore.exceptions import ClientError

from lab.config import ACCOUNT

pytestmark = pytest.mark.slow

BUCKET = f"dfir-artifacts-{ACCOUNT}"
IAM_FILES = Path(__file__).resolve().parents[3] / "docs" / "iam"
HOSTS_OWN = f"arn:aws:s3:::{BUCKET}/INC-1/*"


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    kit = Kit(tmp_path)
    yield kit
    kit.close()


@pytest.fixture
def s3(kit: Kit) -> Any:
    s3 = kit.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    return s3


def status_of(url: str, *, method: str = "GET", data: bytes | None = None) -> int:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, method=method, data=data)) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.fixture
def host(kit: Kit, s3: Any) -> Any:
    """S3 as the host of one case may use it, through its own instance's credentials."""
    kit.host_role("h", allow("s3:PutObject", HOSTS_OWN))
    instance = kit.launch(IamInstanceProfile={"Name": "h"})
    return kit.client("s3", keys=kit.session(instance, "h"))


def test_wrong_secret_and_unknown_key_are_refused(kit: Kit) -> None:
    key, _ = kit.user("u", allow("*"))
    assert code(kit.client("ec2", keys=(key, "wrong")).describe_volumes) == "SignatureDoesNotMatch"
    assert code(kit.client("ec2", keys=("AKIAUNKNOWN000000000", "x")).describe_volumes) == "AuthFailure"
    assert code(kit.client("sts", keys=("AKIAUNKNOWN000000000", "x")).get_caller_identity) == "InvalidClientTokenId"


def test_a_user_without_policies_may_only_ask_who_it_is(kit: Kit) -> None:
    keys = kit.user("nobody")
    assert kit.client("sts", keys=keys).get_caller_identity()["Arn"].endswith("user/nobody")
    assert code(kit.client("ec2", keys=keys).describe_instances) == "UnauthorizedOperation"
    assert code(kit.client("iam", keys=keys).list_roles) == "AccessDenied"
    assert code(kit.client("ssm", keys=keys).get_parameter, Name="/x") == "AccessDeniedException"
    assert code(kit.client("s3", keys=keys).list_buckets) == "AccessDenied"


def test_the_message_names_caller_action_and_resource(kit: Kit) -> None:
    keys = kit.user("nobody")
    with pytest.raises(ClientError, match=r"user/nobody is not authorized to perform: ec2:DeleteVolume on resource: "
                                          r"arn:aws:ec2:eu-west-1:\d+:volume/vol-0123"):
        kit.client("ec2", keys=keys).delete_volume(VolumeId="vol-01230000000000000")


def test_p28_a_host_writes_below_its_own_case_and_nothing_else(host: Any, s3: Any) -> None:
    host.put_object(Bucket=BUCKET, Key="INC-1/a", Body=b"x")
    s3.put_object(Bucket=BUCKET, Key="INC-2/secret", Body=b"other case")
    for call, params in (
        (host.put_object, {"Key": "INC-2/a", "Body": b"x"}), (host.get_object, {"Key": "INC-1/a"}),
        (host.delete_object, {"Key": "INC-1/a"}),
        (host.put_object_tagging, {"Key": "INC-1/a", "Tagging": {"TagSet": []}}),
        (host.list_objects_v2, {}), (host.get_object, {"Key": "INC-2/secret"}),
        (host.get_object_attributes, {"Key": "INC-1/a", "ObjectAttributes": ["ETag"]}),
    ):
        assert code(call, Bucket=BUCKET, **params) == "AccessDenied"
    assert code(host.delete_objects, Bucket=BUCKET, Delete={"Objects": [{"Key": "INC-1/a"}]}) == "AccessDenied"
    with pytest.raises(ClientError) as head:
        host.head_object(Bucket=BUCKET, Key="INC-1/a")
    assert head.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_p28_a_copy_needs_to_read_its_source(host: Any, s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="INC-2/secret", Body=b"other case")
    source = {"Bucket": BUCKET, "Key": "INC-2/secret"}
    assert code(host.copy_object, Bucket=BUCKET, Key="INC-1/stolen", CopySource=source) == "AccessDenied"
    upload = host.create_multipart_upload(Bucket=BUCKET, Key="INC-1/stolen")["UploadId"]
    assert code(host.upload_part_copy, Bucket=BUCKET, Key="INC-1/stolen", UploadId=upload, PartNumber=1,
                CopySource=source) == "AccessDenied"


def test_who_may_not_list_does_not_learn_what_is_missing(kit: Kit, s3: Any) -> None:
    reader = kit.client("s3", keys=kit.user("reader", allow("s3:GetObject", f"arn:aws:s3:::{BUCKET}/*")))
    assert code(reader.get_object, Bucket=BUCKET, Key="missing") == "AccessDenied"
    lister = kit.client("s3", keys=kit.user("lister", allow(["s3:GetObject", "s3:ListBucket"])))
    assert code(lister.get_object, Bucket=BUCKET, Key="missing") == "NoSuchKey"


def test_anonymous_and_presigned_requests(kit: Kit, s3: Any, host: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="INC-1/a b", Body=b"x")
    plain = f"{kit.endpoint}/{BUCKET}/INC-1/a%20b"
    assert status_of(plain) == 403
    assert status_of(f"{kit.endpoint}/{BUCKET}/INC-1/new", method="PUT", data=b"x") == 403
    where = {"Bucket": BUCKET, "Key": "INC-1/a b"}
    good = s3.generate_presigned_url("get_object", Params=where, ExpiresIn=60)
    assert status_of(good) == 200
    assert status_of(good.replace("INC-1", "INC-3")) == 403  # another key: the signature does not fit
    assert status_of(good[:-1] + ("0" if good[-1] != "0" else "1")) == 403
    assert status_of(host.generate_presigned_url("get_object", Params=where, ExpiresIn=60)) == 403
    put = host.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": "INC-1/p"}, ExpiresIn=60)
    assert status_of(put, method="PUT", data=b"x") == 200
    short = s3.generate_presigned_url("get_object", Params=where, ExpiresIn=1)
    time.sleep(2.1)
    assert status_of(short) == 403


def test_a_bucket_policy_can_admit_everybody_to_one_prefix(kit: Kit, s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="public/a", Body=b"x")
    s3.put_bucket_policy(Bucket=BUCKET, Policy=policy(
        {**allow("s3:GetObject", f"arn:aws:s3:::{BUCKET}/public/*"), "Principal": "*"}))
    assert status_of(f"{kit.endpoint}/{BUCKET}/public/a") == 200
    assert status_of(f"{kit.endpoint}/{BUCKET}/private/a") == 403


def test_expired_session_credentials_are_refused(kit: Kit, s3: Any) -> None:
    kit.world.credential_seconds = 1
    kit.host_role("short", allow("s3:*"))
    instance = kit.launch(IamInstanceProfile={"Name": "short"})
    keys = kit.session(instance, "short")
    client = kit.client("s3", keys=keys)
    client.put_object(Bucket=BUCKET, Key="a", Body=b"x")
    time.sleep(1.1)
    assert code(client.put_object, Bucket=BUCKET, Key="a", Body=b"x") == "ExpiredToken"
    assert code(kit.client("ec2", keys=keys).describe_volumes) == "RequestExpired"
    assert kit.session(instance, "short") != keys  # the metadata service has new ones


def test_a_session_needs_its_token_and_its_role(kit: Kit, s3: Any) -> None:
    kit.host_role("r", allow("s3:*"))
    instance = kit.launch(IamInstanceProfile={"Name": "r"})
    access, secret, token = kit.session(instance, "r")
    assert code(kit.client("s3", keys=(access, secret)).list_buckets) == "InvalidAccessKeyId"
    assert code(kit.client("s3", keys=(access, secret, token + "x")).list_buckets) == "InvalidAccessKeyId"
    kit.client("s3", keys=(access, secret, token)).list_buckets()
    iam = kit.client("iam")
    iam.delete_role_policy(RoleName="r", PolicyName="p")
    assert code(kit.client("s3", keys=(access, secret, token)).list_buckets) == "AccessDenied"


def test_a_permissions_boundary_limits_a_role(kit: Kit, s3: Any) -> None:
    boundary = kit.client("iam").create_policy(
        PolicyName="b", Path="/dfir/", PolicyDocument=policy(allow("s3:PutObject", HOSTS_OWN)))["Policy"]["Arn"]
    kit.host_role("wide", allow("*"), boundary=boundary)
    client = kit.client("s3", keys=kit.session(kit.launch(IamInstanceProfile={"Name": "wide"}), "wide"))
    client.put_object(Bucket=BUCKET, Key="INC-1/a", Body=b"x")
    assert code(client.get_object, Bucket=BUCKET, Key="INC-1/a") == "AccessDenied"
    assert code(client.put_object, Bucket=BUCKET, Key="INC-2/a", Body=b"x") == "AccessDenied"


def test_a_role_outside_the_boundary_cannot_be_made(kit: Kit) -> None:
    arn = f"arn:aws:iam::{ACCOUNT}:policy/dfir/b"
    keys = kit.user("maker", allow("iam:CreateRole", f"arn:aws:iam::{ACCOUNT}:role/dfir/*",
                                   StringEquals={"iam:PermissionsBoundary": arn}))
    iam = kit.client("iam", keys=keys)
    kit.client("iam").create_policy(PolicyName="b", Path="/dfir/", PolicyDocument=policy(allow("s3:PutObject")))
    role: dict[str, Any] = {"RoleName": "x", "AssumeRolePolicyDocument": policy(allow("sts:AssumeRole"))}
    role["AssumeRolePolicyDocument"] = policy({"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"},
                                               "Action": "sts:AssumeRole"})
    assert code(iam.create_role, Path="/dfir/", **role) == "AccessDenied"
    assert code(iam.create_role, Path="/", PermissionsBoundary=arn, **role) == "AccessDenied"
    iam.create_role(Path="/dfir/", PermissionsBoundary=arn, **role)


def test_passing_a_role_is_asked_for(kit: Kit) -> None:
    kit.host_role("admin-like", allow("*"))
    keys = kit.user("launcher", allow("ec2:*"))
    ec2 = kit.client("ec2", keys=keys)
    params = {"ImageId": "ami-0dfa12de0b1a00001", "InstanceType": "t3.medium", "MinCount": 1, "MaxCount": 1}
    ec2.run_instances(**params)
    assert code(ec2.run_instances, IamInstanceProfile={"Name": "admin-like"}, **params) == "UnauthorizedOperation"


def test_tagging_in_the_creating_call_needs_the_right_to_tag(kit: Kit) -> None:
    tags = [{"ResourceType": "volume", "Tags": [{"Key": "dfir:request", "Value": "r"}]}]
    plain = kit.client("ec2", keys=kit.user("plain", allow("ec2:CreateVolume")))
    params = {"AvailabilityZone": f"{REGION}a", "Size": 1}
    assert code(plain.create_volume, TagSpecifications=tags, **params) == "UnauthorizedOperation"
    tagger = kit.client("ec2", keys=kit.user(
        "tagger", allow("ec2:CreateVolume", "*", Null={"aws:RequestTag/dfir:request": "false"}),
        allow("ec2:CreateTags", "*", StringEquals={"ec2:CreateAction": "CreateVolume"})))
    assert code(tagger.create_volume, **params) == "UnauthorizedOperation"
    volume = tagger.create_volume(TagSpecifications=tags, **params)["VolumeId"]
    assert code(tagger.create_tags, Resources=[volume], Tags=[{"Key": "a", "Value": "b"}]) == "UnauthorizedOperation"


def test_p46_only_what_carries_the_tag_can_be_deleted(kit: Kit) -> None:
    admin = kit.client("ec2")
    tagged = {"aws:ResourceTag/dfir:request": "false"}
    ec2 = kit.client("ec2", keys=kit.user("c", allow("ec2:DeleteVolume", "*", Null=tagged)))
    other = admin.create_volume(AvailabilityZone=f"{REGION}a", Size=1)["VolumeId"]
    ours = admin.create_volume(AvailabilityZone=f"{REGION}a", Size=1, TagSpecifications=[
        {"ResourceType": "volume", "Tags": [{"Key": "dfir:request", "Value": "r"}]}])["VolumeId"]
    assert code(ec2.delete_volume, VolumeId=other) == "UnauthorizedOperation"
    ec2.delete_volume(VolumeId=ours)


def test_p56_a_condition_that_cannot_be_evaluated_is_refused_loudly(kit: Kit) -> None:
    keys = kit.user("odd", allow("ec2:*", "*", StringEquals={"aws:PrincipalOrgID": "o-1"}))
    with pytest.raises(ClientError, match="aws:PrincipalOrgID is unknown to the lab") as refused:
        kit.client("ec2", keys=keys).describe_volumes()
    assert refused.value.response["Error"]["Code"] == "LabNotImplemented"


def test_a_users_deny_beats_a_groups_allow_and_policy_versions_count(kit: Kit) -> None:
    iam = kit.client("iam")
    keys = kit.user("m", deny("ec2:DescribeVolumes"))
    arn = iam.create_policy(PolicyName="v", PolicyDocument=policy(allow("s3:*")))["Policy"]["Arn"]
    iam.create_group(GroupName="g")
    iam.attach_group_policy(GroupName="g", PolicyArn=arn)
    iam.add_user_to_group(GroupName="g", UserName="m")
    ec2 = kit.client("ec2", keys=keys)
    assert code(ec2.describe_instances) == "UnauthorizedOperation"
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=policy(allow("ec2:*")), SetAsDefault=True)
    ec2.describe_instances()
    assert code(ec2.describe_volumes) == "UnauthorizedOperation"


def test_assuming_a_role_needs_both_sides(kit: Kit) -> None:
    iam = kit.client("iam")
    keys = kit.user("asker", allow("sts:AssumeRole"))
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/asker"}}
    arn = iam.create_role(RoleName="open", AssumeRolePolicyDocument=policy(trust))["Role"]["Arn"]
    closed = iam.create_role(RoleName="closed", AssumeRolePolicyDocument=policy(
        {**trust, "Principal": {"Service": "ec2.amazonaws.com"}}))["Role"]["Arn"]
    sts = kit.client("sts", keys=keys)
    assert code(sts.assume_role, RoleArn=closed, RoleSessionName="session") == "AccessDenied"
    iam.put_role_policy(RoleName="open", PolicyName="p", PolicyDocument=policy(allow("ec2:DescribeVolumes")))
    given = sts.assume_role(RoleArn=arn, RoleSessionName="session")["Credentials"]
    ec2 = kit.client("ec2", keys=(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"]))
    ec2.describe_volumes()
    assert code(ec2.describe_instances) == "UnauthorizedOperation"


def replaced(name: str) -> str:
    text = (IAM_FILES / name).read_text()
    for placeholder, value in (("ACCOUNT_ID", ACCOUNT), ("ARTIFACT_BUCKET", BUCKET), ("ANALYSIS_REGION", REGION)):
        text = text.replace(placeholder, value)
    return text


@pytest.fixture
def guarded(kit: Kit, s3: Any) -> Any:
    """S3 for a user that may do anything, under the bucket policy that this repository publishes."""
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(json.loads(replaced("artifact-bucket-policy.json"))))
    return kit.client("s3", keys=kit.user("writer", allow("s3:*")))


def test_p40_artifacts_are_write_once_under_the_published_bucket_policy(guarded: Any) -> None:
    assert code(guarded.put_object, Bucket=BUCKET, Key="INC-1/a", Body=b"1") == "AccessDenied"
    guarded.put_object(Bucket=BUCKET, Key="INC-1/a", Body=b"1", IfNoneMatch="*")
    assert code(guarded.put_object, Bucket=BUCKET, Key="INC-1/a", Body=b"2", IfNoneMatch="*") == "PreconditionFailed"
    assert code(guarded.delete_object, Bucket=BUCKET, Key="INC-1/a") == "AccessDenied"


def test_p40_multipart_uploads_pass_the_write_once_policy_and_end_only_once(guarded: Any) -> None:
    def upload(key: str, **end: Any) -> None:
        number = guarded.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
        part = guarded.upload_part(Bucket=BUCKET, Key=key, UploadId=number, PartNumber=1, Body=b"p")
        guarded.complete_multipart_upload(Bucket=BUCKET, Key=key, UploadId=number, MultipartUpload={
            "Parts": [{"ETag": part["ETag"], "PartNumber": 1}]}, **end)

    assert code(upload, key="INC-1/m") == "AccessDenied"
    upload("INC-1/m", IfNoneMatch="*")
    assert code(upload, key="INC-1/m", IfNoneMatch="*") == "PreconditionFailed"


def test_records_change_by_compare_and_swap_only(guarded: Any) -> None:
    key = "requests/0123.json"
    etag = guarded.put_object(Bucket=BUCKET, Key=key, Body=b"1", IfNoneMatch="*")["ETag"]
    assert code(guarded.put_object, Bucket=BUCKET, Key=key, Body=b"2") == "AccessDenied"
    changed = guarded.put_object(Bucket=BUCKET, Key=key, Body=b"2", IfMatch=etag)["ETag"]
    assert code(guarded.put_object, Bucket=BUCKET, Key=key, Body=b"3", IfMatch=etag) == "PreconditionFailed"
    assert guarded.get_object(Bucket=BUCKET, Key=key, IfMatch=changed)["Body"].read() == b"2"


def test_the_published_controller_policy_allows_its_own_work_and_no_more(kit: Kit) -> None:
    iam = kit.client("iam")
    iam.put_user_policy(UserName="dfir-controller", PolicyName="p",
                        PolicyDocument=json.dumps(json.loads(replaced("controller-policy.json"))))
    from lab.aws.account import CONTROLLER

    ec2 = kit.client("ec2", keys=CONTROLLER[1:])
    ec2.describe_snapshots(OwnerIds=["self"])
    tags = [{"Key": "dfir:request", "Value": "r"}, {"Key": "dfir:expires", "Value": "2026-01-01T00:00:00Z"}]
    group = ec2.create_security_group(GroupName="dfir-x", Description="d", TagSpecifications=[
        {"ResourceType": "security-group", "Tags": tags}])["GroupId"]
    ec2.delete_security_group(GroupId=group)
    assert code(ec2.create_security_group, GroupName="x", Description="d") == "UnauthorizedOperation"
    launch = {"ImageId": "ami-0dfa12de0b1a00001", "InstanceType": "t3.medium", "MinCount": 1, "MaxCount": 1}
    assert code(ec2.run_instances, **launch) == "UnauthorizedOperation"
    assert code(kit.client("iam", keys=CONTROLLER[1:]).create_user, UserName="x") == "AccessDenied"
