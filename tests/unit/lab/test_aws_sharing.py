# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What sharing needs of the lab: dry runs of KMS, keys that are off, both forms of a permission, who may give it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aws_kit import OTHER, REGION, ZONE, Kit, Recorder, allow, code, policy

from lab.aws.account import ADMIN, MEMBER_ADMIN
from lab.config import ACCOUNT, MEMBER

pytestmark = pytest.mark.slow
STRANGER = "999999999999"


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    kit = Kit(tmp_path_factory.mktemp("lab"), hosts=Recorder())
    yield kit
    kit.close()


@pytest.fixture
def member(kit: Kit) -> Callable[..., Any]:
    return lambda service, region=REGION: kit.client(service, region, MEMBER_ADMIN[1:])


def lets_in(*actions: str, **more: Any) -> str:
    own = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{MEMBER}:root"}, "Action": "kms:*", "Resource": "*"}
    return policy(own, {**own, "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": list(actions), **more})


def key(kms: Any, text: str) -> str:
    return str(kms.create_key(Policy=text)["KeyMetadata"]["Arn"])


def test_a_dry_run_does_nothing_and_says_what_would_have_been(kit: Kit, member: Callable[..., Any]) -> None:
    theirs = member("kms")
    name = key(theirs, lets_in("kms:Decrypt", "kms:CreateGrant"))
    kms = kit.client("kms", REGION, ADMIN[1:])
    blob = theirs.generate_data_key_without_plaintext(KeyId=name, KeySpec="AES_256")["CiphertextBlob"]
    for call in (lambda: kms.decrypt(KeyId=name, CiphertextBlob=blob, DryRun=True),
                 lambda: kms.create_grant(KeyId=name, GranteePrincipal=f"arn:aws:iam::{ACCOUNT}:root",
                                          Operations=["Decrypt"], DryRun=True)):
        assert code(call) == "DryRunOperationException"
    assert theirs.list_grants(KeyId=name)["Grants"] == []
    nonsense = {"KeyId": name, "CiphertextBlob": b"nonsense"}
    assert code(lambda: kms.decrypt(**nonsense, DryRun=True)) == "InvalidCiphertextException"
    with pytest.raises(kms.exceptions.ClientError, match="no resource-based policy allows the kms:GenerateDataKey"):
        kms.generate_data_key_without_plaintext(KeyId=name, KeySpec="AES_256", DryRun=True)
    theirs.disable_key(KeyId=name.rsplit("/", 1)[-1])
    assert code(lambda: kms.decrypt(KeyId=name, CiphertextBlob=blob, DryRun=True)) == "DisabledException"
    theirs.schedule_key_deletion(KeyId=name.rsplit("/", 1)[-1])
    assert code(lambda: kms.decrypt(KeyId=name, CiphertextBlob=blob)) == "KMSInvalidStateException"


def made(ec2: Any, **more: Any) -> str:
    volume = ec2.create_volume(AvailabilityZone=ZONE, Size=1, **more)["VolumeId"]
    return str(ec2.create_snapshot(VolumeId=volume)["SnapshotId"])


def test_p35_a_key_that_is_off_ends_a_copy_late(kit: Kit, member: Callable[..., Any]) -> None:
    ec2, kms = member("ec2"), member("kms")
    name = key(kms, lets_in("kms:*"))
    snapshot = made(ec2)
    kms.disable_key(KeyId=name.rsplit("/", 1)[-1])
    copy = ec2.copy_snapshot(SourceSnapshotId=snapshot, SourceRegion=REGION, Encrypted=True,
                             KmsKeyId=name)["SnapshotId"]
    [found] = ec2.describe_snapshots(SnapshotIds=[copy])["Snapshots"]
    assert found["State"] == "error" and found["StateMessage"] == "Given key ID is not accessible"


def test_kms_sees_ec2_of_the_region_that_a_key_is_in(kit: Kit, member: Callable[..., Any]) -> None:
    use = ("kms:DescribeKey", "kms:CreateGrant", "kms:Decrypt")
    here = {"Condition": {"StringEquals": {"kms:ViaService": f"ec2.{REGION}.amazonaws.com"}}}
    there = {"Condition": {"StringEquals": {"kms:ViaService": f"ec2.{OTHER}.amazonaws.com"}}}
    states = []
    for condition in (here, there):
        snapshot = made(member("ec2"), Encrypted=True, KmsKeyId=key(member("kms"), lets_in(*use, **condition)))
        member("ec2").modify_snapshot_attribute(SnapshotId=snapshot, Attribute="createVolumePermission",
                                                OperationType="add", UserIds=[ACCOUNT])
        ec2 = kit.client("ec2", OTHER, ADMIN[1:])
        copy = ec2.copy_snapshot(SourceSnapshotId=snapshot, SourceRegion=REGION, Encrypted=True)["SnapshotId"]
        states.append(ec2.describe_snapshots(SnapshotIds=[copy])["Snapshots"][0]["State"])
    assert states == ["completed", "error"]


def permitted(ec2: Any, snapshot: str) -> list[dict[str, str]]:
    answer = ec2.describe_snapshot_attribute(SnapshotId=snapshot, Attribute="createVolumePermission")
    return list(answer["CreateVolumePermissions"])


def test_a_permission_is_given_in_either_form_and_a_policy_can_say_to_whom(kit: Kit) -> None:
    admin = kit.client("ec2", REGION, ADMIN[1:])
    snapshot = made(admin)
    to = {**allow("ec2:ModifySnapshotAttribute"), "Condition": {"StringEquals": {"ec2:Add/userId": MEMBER}}}
    back = {**allow("ec2:ModifySnapshotAttribute"), "Condition": {"StringEquals": {"ec2:Remove/userId": MEMBER}}}
    ec2 = kit.client("ec2", REGION, kit.user("sharer", to, back))
    for user, wanted in ((STRANGER, "UnauthorizedOperation"), (MEMBER, "")):
        forms = ({"Attribute": "createVolumePermission", "OperationType": "add", "UserIds": [user]},
                 {"CreateVolumePermission": {"Add": [{"UserId": user}]}})
        for form in forms:
            if wanted:
                assert code(lambda form=form: ec2.modify_snapshot_attribute(SnapshotId=snapshot, **form)) == wanted
            else:
                ec2.modify_snapshot_attribute(SnapshotId=snapshot, **form)
                assert permitted(admin, snapshot) == [{"UserId": MEMBER}]
                ec2.modify_snapshot_attribute(SnapshotId=snapshot,
                                              CreateVolumePermission={"Remove": [{"UserId": MEMBER}]})
                assert permitted(admin, snapshot) == []
    assert code(lambda: ec2.modify_snapshot_attribute(
        SnapshotId=snapshot, CreateVolumePermission={"Add": [{"Group": "all"}]})) == "UnauthorizedOperation"
    hidden = {"Attribute": "createVolumePermission", "OperationType": "add", "UserIds": [MEMBER, STRANGER]}
    assert code(lambda: ec2.modify_snapshot_attribute(SnapshotId=snapshot, **hidden)) == "UnauthorizedOperation"
