# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two accounts: roles assumed with an external id, and what one account may do with the other's buckets, keys and
snapshots."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aws_kit import OTHER, REGION, Kit, Recorder, allow, code, policy

from lab.aws.account import DEBIAN_IDS, MEMBER_ADMIN
from lab.config import ACCOUNT, MEMBER

pytestmark = pytest.mark.slow

ROLE = f"arn:aws:iam::{MEMBER}:role/helper"
EXTERNAL = "word-1"
SESSION = {"RoleArn": ROLE, "RoleSessionName": "dfir-INC-1", "ExternalId": EXTERNAL}
BLOCK = 524_288
EBS_READ = ("ebs:ListSnapshotBlocks", "ebs:GetSnapshotBlock")


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    kit = Kit(tmp_path, hosts=Recorder())
    yield kit
    kit.close()


@pytest.fixture
def member(kit: Kit) -> Callable[..., Any]:
    """Clients of the member account's administrator."""
    return lambda service, region=REGION: kit.client(service, region, MEMBER_ADMIN[1:])


def trust(**changes: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:ExternalId": EXTERNAL}}, **changes}


def role(member: Callable[..., Any], *statements: dict[str, Any], trusts: tuple[dict[str, Any], ...] = (trust(),),
         **more: Any) -> None:
    iam = member("iam")
    iam.create_role(RoleName="helper", AssumeRolePolicyDocument=policy(*trusts), **more)
    iam.put_role_policy(RoleName="helper", PolicyName="p", PolicyDocument=policy(*statements))


def assumed(kit: Kit, keys: tuple[str, ...], **changes: Any) -> tuple[str, str, str]:
    got = kit.client("sts", keys=keys).assume_role(**{**SESSION, **changes})["Credentials"]
    return got["AccessKeyId"], got["SecretAccessKey"], got["SessionToken"]


def caller(kit: Kit, *statements: dict[str, Any]) -> tuple[str, str]:
    return kit.user("controller", allow("sts:*", ROLE), *statements)


def disk(kit: Kit, keys: tuple[str, ...], content: bytes, **more: Any) -> str:
    """A snapshot of one block, uploaded by EBS direct."""
    ebs = kit.client("ebs", keys=keys)
    made = ebs.start_snapshot(VolumeSize=1, **more)
    name, data = made["SnapshotId"], content.ljust(BLOCK, b"\0")
    ebs.put_snapshot_block(SnapshotId=name, BlockIndex=0, BlockData=data, DataLength=BLOCK, ChecksumAlgorithm="SHA256",
                           Checksum=base64.b64encode(hashlib.sha256(data).digest()).decode())
    ebs.complete_snapshot(SnapshotId=name, ChangedBlocksCount=1)
    return str(name)


def first_block(kit: Kit, keys: tuple[str, ...], snapshot: str) -> bytes:
    ebs = kit.client("ebs", keys=keys)
    page = ebs.list_snapshot_blocks(SnapshotId=snapshot)
    while not page["Blocks"]:  # pages may be empty, as on AWS
        page = ebs.list_snapshot_blocks(SnapshotId=snapshot, NextToken=page["NextToken"])
    block = page["Blocks"][0]
    got = ebs.get_snapshot_block(SnapshotId=snapshot, BlockIndex=0, BlockToken=block["BlockToken"])
    return bytes(got["BlockData"].read())


def share(owner: Any, snapshot: str, account: str, operation: str = "add") -> None:
    owner.modify_snapshot_attribute(SnapshotId=snapshot, Attribute="createVolumePermission", OperationType=operation,
                                    UserIds=[account])


def test_a_role_is_assumed_with_its_external_id_and_acts_in_its_account(kit: Kit, member: Callable[..., Any]) -> None:
    role(member, allow("ec2:Describe*"))
    keys = caller(kit, allow("ec2:*"))
    session = assumed(kit, keys)
    assert kit.client("sts", keys=session).get_caller_identity()["Arn"] == \
        f"arn:aws:sts::{MEMBER}:assumed-role/helper/dfir-INC-1"
    ours = kit.client("ec2", keys=keys).create_volume(Size=1, AvailabilityZone=f"{REGION}a")["VolumeId"]
    theirs = member("ec2").create_volume(Size=1, AvailabilityZone=f"{REGION}a")["VolumeId"]
    ec2 = kit.client("ec2", keys=session)
    assert [item["VolumeId"] for item in ec2.describe_volumes()["Volumes"]] == [theirs]
    assert code(lambda: ec2.describe_volumes(VolumeIds=[ours])) == "InvalidVolume.NotFound"
    # The session has the role's rights, not those of who assumed it.
    assert code(lambda: ec2.delete_volume(VolumeId=theirs)) == "UnauthorizedOperation"


@pytest.mark.parametrize("changes", [
    {"ExternalId": "word-2"}, {"ExternalId": "Word-1"}, {"RoleArn": ROLE.replace("helper", "nobody")},
    {"RoleArn": ROLE.replace(MEMBER, "999999999999")}], ids=["other word", "other case", "no role", "no account"])
def test_who_does_not_fit_the_trust_policy_learns_no_reason(
        kit: Kit, member: Callable[..., Any], changes: dict[str, str]) -> None:
    role(member, allow("ec2:*"))
    keys = kit.user("controller", allow("sts:*"))
    told = f"is not authorized to perform: sts:AssumeRole on resource: {changes.get('RoleArn', ROLE)}$"
    with pytest.raises(kit.client("sts").exceptions.ClientError, match=told):
        assumed(kit, keys, **changes)


def test_both_accounts_must_want_it(kit: Kit, member: Callable[..., Any]) -> None:
    role(member, allow("ec2:*"))
    for keys in (kit.user("without"), kit.user("elsewhere", allow("sts:*", ROLE.replace("helper", "other")))):
        assert code(lambda keys=keys: assumed(kit, keys)) == "AccessDenied"
    without = kit.user("word", allow("sts:*"))
    sts = kit.client("sts", keys=without)
    assert code(lambda: sts.assume_role(RoleArn=ROLE, RoleSessionName="dfir-1")) == "AccessDenied"
    member("iam").update_assume_role_policy(RoleName="helper", PolicyDocument=policy(
        trust(Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:user/somebody"})))
    assert code(lambda: assumed(kit, without)) == "AccessDenied"


def test_source_identity_needs_its_own_right_and_is_in_both_histories(kit: Kit, member: Callable[..., Any]) -> None:
    role(member, allow("ec2:Describe*"))
    keys = caller(kit)
    assert code(lambda: assumed(kit, keys, SourceIdentity="alice")) == "AccessDenied"
    member("iam").update_assume_role_policy(RoleName="helper", PolicyDocument=policy(
        trust(), trust(Action="sts:SetSourceIdentity", Condition={"StringEquals": {"sts:SourceIdentity": "alice"}})))
    assert code(lambda: assumed(kit, keys, SourceIdentity="mallory")) == "AccessDenied"
    session = assumed(kit, keys, SourceIdentity="alice")
    kit.client("ec2", keys=session).describe_volumes()
    look = {"LookupAttributes": [{"AttributeKey": "EventName", "AttributeValue": "DescribeVolumes"}]}
    [event] = member("cloudtrail").lookup_events(**look)["Events"]
    told = json.loads(event["CloudTrailEvent"])["userIdentity"]
    assert (told["accountId"], told["sessionContext"]) == (MEMBER, {"sourceIdentity": "alice"})
    assert kit.client("cloudtrail").lookup_events(**look)["Events"] == []
    look["LookupAttributes"][0]["AttributeValue"] = "AssumeRole"
    assert [len([event for event in client.lookup_events(**look)["Events"] if "errorCode" not in event[
        "CloudTrailEvent"]]) for client in (member("cloudtrail"), kit.client("cloudtrail"))] == [1, 1]


def test_sessions_are_as_long_as_the_role_allows_and_an_hour_when_chained(
        kit: Kit, member: Callable[..., Any]) -> None:
    chained = f"arn:aws:iam::{MEMBER}:role/second"
    role(member, allow("sts:AssumeRole", chained), MaxSessionDuration=7200)
    member("iam").create_role(RoleName="second", MaxSessionDuration=7200, AssumeRolePolicyDocument=policy(
        {"Effect": "Allow", "Principal": {"AWS": ROLE}, "Action": "sts:AssumeRole"}))
    keys = caller(kit)
    assert code(lambda: assumed(kit, keys, DurationSeconds=7201)) == "ValidationError"
    session = assumed(kit, keys, DurationSeconds=7200)
    sts = kit.client("sts", keys=session)
    second = {"RoleArn": chained, "RoleSessionName": "two"}
    assert code(lambda: sts.assume_role(**second, DurationSeconds=3601)) == "ValidationError"
    assert sts.assume_role(**second)["AssumedRoleUser"]["Arn"].endswith("/second/two")
    assert code(lambda: sts.assume_role(**second, Tags=[{"Key": "a", "Value": "b"}])) == "LabNotImplemented"


def test_a_bucket_is_open_to_another_account_when_both_say_so(kit: Kit, member: Callable[..., Any]) -> None:
    s3 = kit.client("s3")
    s3.create_bucket(Bucket="ours", CreateBucketConfiguration={"LocationConstraint": REGION})
    role(member, allow("s3:*"))
    session = assumed(kit, caller(kit))
    theirs = kit.client("s3", keys=session)
    assert code(lambda: theirs.put_object(Bucket="ours", Key="in/a", Body=b"1")) == "AccessDenied"
    s3.put_bucket_policy(Bucket="ours", Policy=policy(
        {**allow("s3:PutObject", "arn:aws:s3:::ours/in/*"), "Principal": {"AWS": MEMBER}}))
    theirs.put_object(Bucket="ours", Key="in/a", Body=b"1")
    assert s3.get_object(Bucket="ours", Key="in/a")["Body"].read() == b"1"
    assert code(lambda: theirs.put_object(Bucket="ours", Key="out/a", Body=b"1")) == "AccessDenied"
    member("iam").put_role_policy(RoleName="helper", PolicyName="p", PolicyDocument=policy(allow("s3:GetObject")))
    assert code(lambda: theirs.put_object(Bucket="ours", Key="in/b", Body=b"1")) == "AccessDenied"
    assert theirs.list_buckets and code(lambda: theirs.list_buckets()) == "AccessDenied"


def test_a_snapshot_is_seen_and_read_by_whom_it_is_shared_with(kit: Kit, member: Callable[..., Any]) -> None:
    name = disk(kit, MEMBER_ADMIN[1:], b"theirs", Tags=[{"Key": "secret", "Value": "name"}])
    keys = kit.user("reader", allow(["ec2:*", *EBS_READ]))
    ec2, owner = kit.client("ec2", keys=keys), member("ec2")
    assert owner.describe_snapshots(OwnerIds=["self"])["Snapshots"][0]["OwnerId"] == MEMBER
    assert code(lambda: ec2.describe_snapshots(SnapshotIds=[name])) == "InvalidSnapshot.NotFound"
    assert code(lambda: first_block(kit, keys, name)) == "ResourceNotFoundException"
    share(owner, name, ACCOUNT)
    [seen] = ec2.describe_snapshots(SnapshotIds=[name])["Snapshots"]
    assert seen["OwnerId"] == MEMBER and not seen.get("Tags")  # tags are their account's
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
    assert first_block(kit, keys, name).startswith(b"theirs")
    copy = ec2.copy_snapshot(SourceSnapshotId=name, SourceRegion=REGION)["SnapshotId"]
    assert first_block(kit, keys, copy).startswith(b"theirs")
    for refused in (lambda: ec2.delete_snapshot(SnapshotId=name), lambda: share(ec2, name, "999999999999")):
        assert code(refused) == "AuthFailure"
    share(owner, name, ACCOUNT, "remove")
    assert code(lambda: ec2.describe_snapshots(SnapshotIds=[name])) == "InvalidSnapshot.NotFound"
    assert first_block(kit, keys, copy).startswith(b"theirs")


def test_an_encrypted_snapshot_needs_the_key_of_its_owner_too(kit: Kit, member: Callable[..., Any]) -> None:
    kms, owner = member("kms"), member("ec2")
    key = kms.create_key()["KeyMetadata"]["Arn"]
    name = disk(kit, MEMBER_ADMIN[1:], b"sealed", Encrypted=True, KmsKeyArn=key)
    share(owner, name, ACCOUNT)
    keys = kit.user("reader", allow(["ec2:*", "kms:*", *EBS_READ]))
    ec2 = kit.client("ec2", keys=keys)
    assert code(lambda: first_block(kit, keys, name)) == "AccessDeniedException"
    assert code(lambda: kit.client("kms", keys=keys).describe_key(KeyId=key)) == "AccessDeniedException"

    def state(snapshot: str) -> str:
        return str(ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]["State"])

    own = kit.client("kms").create_key()["KeyMetadata"]["Arn"]
    sealed = ec2.copy_snapshot(SourceSnapshotId=name, SourceRegion=REGION, Encrypted=True, KmsKeyId=own)["SnapshotId"]
    assert state(sealed) == "error"
    use = ["kms:Decrypt", "kms:DescribeKey", "kms:CreateGrant"]
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=policy(
        {**allow("kms:*"), "Principal": {"AWS": f"arn:aws:iam::{MEMBER}:root"}},
        {**allow(use), "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}}))
    assert first_block(kit, keys, name).startswith(b"sealed")
    assert kit.client("kms", keys=keys).describe_key(KeyId=key)["KeyMetadata"]["AWSAccountId"] == MEMBER
    assert code(lambda: kit.client("kms", keys=keys).disable_key(KeyId=key)) == "AccessDeniedException"
    copy = ec2.copy_snapshot(SourceSnapshotId=name, SourceRegion=REGION, Encrypted=True, KmsKeyId=own)["SnapshotId"]
    assert state(copy) == "completed" and first_block(kit, keys, copy).startswith(b"sealed")
    # Who has no right of his own has none, whatever the key's policy gives his account.
    poor = kit.user("poor", allow(list(EBS_READ)))
    assert code(lambda: first_block(kit, poor, name)) == "AccessDeniedException"


def test_what_the_default_key_encrypts_is_never_shared(kit: Kit, member: Callable[..., Any]) -> None:
    name = disk(kit, MEMBER_ADMIN[1:], b"default", Encrypted=True)
    owner, kms = member("ec2"), member("kms")
    assert code(lambda: share(owner, name, ACCOUNT)) == "OperationNotPermitted"
    assert first_block(kit, MEMBER_ADMIN[1:], name).startswith(b"default")
    everybody = policy({**allow("kms:*"), "Principal": "*"})
    assert code(lambda: kms.put_key_policy(KeyId="alias/aws/ebs", PolicyName="default", Policy=everybody)) == \
        "AccessDeniedException"  # its policy is AWS' own
    key = kms.create_key()["KeyMetadata"]["Arn"]
    again = owner.copy_snapshot(SourceSnapshotId=name, SourceRegion=REGION, Encrypted=True, KmsKeyId=key)["SnapshotId"]
    share(owner, again, ACCOUNT)
    # A volume of what others share is encrypted by the own account's key.
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=everybody)
    volume = kit.client("ec2").create_volume(SnapshotId=again, AvailabilityZone=f"{REGION}a")
    assert volume["Encrypted"] and f":{ACCOUNT}:" in volume["KmsKeyId"]


def test_instances_of_the_member_account_have_no_host_and_snapshots_with_bytes(
        kit: Kit, member: Callable[..., Any]) -> None:
    ec2 = member("ec2")
    source = disk(kit, MEMBER_ADMIN[1:], b"member disk")
    mapping = {"DeviceName": "/dev/sdf", "Ebs": {"SnapshotId": source, "VolumeSize": 1}}
    launched = ec2.run_instances(ImageId=DEBIAN_IDS[REGION], InstanceType="t3.small", MinCount=1, MaxCount=1,
                                 BlockDeviceMappings=[mapping])["Instances"][0]["InstanceId"]
    ec2.get_waiter("instance_running").wait(InstanceIds=[launched], WaiterConfig={"Delay": 0, "MaxAttempts": 100})
    assert kit.hosts is not None and not kit.hosts.is_running(launched)
    whole = {"InstanceId": launched, "ExcludeBootVolume": True}
    [made] = ec2.create_snapshots(InstanceSpecification=whole)["Snapshots"]
    assert first_block(kit, MEMBER_ADMIN[1:], made["SnapshotId"]).startswith(b"member disk")
    assert kit.client("ec2").describe_instances()["Reservations"] == []
    assert code(lambda: kit.client("ec2").describe_instances(InstanceIds=[launched])) == "InvalidInstanceID.NotFound"
    ec2.terminate_instances(InstanceIds=[launched])
    assert member("ec2", OTHER).describe_instances()["Reservations"] == []
