# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sharing on two accounts of the lab, under exactly the policies of docs/iam: what is done, in which order, twice."""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dfir.aws.plugins.module_utils.sharing import apply
from ansible_collections.dfir.aws.plugins.module_utils.sharing.words import OPEN, SEAL, default_key, refusal

from lab import seed_member
from lab.aws.account import ADMIN, CONTROLLER, MEMBER_ADMIN
from lab.config import ACCOUNT, MEMBER
from lab.seed import SHARING_POLICY, document
from tests.unit.lab.aws_kit import OTHER, REGION, SESSION, Kit, Recorder

BLOCK = 524_288
FORENSIC, THEIRS = ADMIN[1:], MEMBER_ADMIN[1:]
ACCESS = [{"account": MEMBER, "role_arn": f"arn:aws:iam::{MEMBER}:role/dfir-acquisition",
           "external_id": seed_member.EXTERNAL_ID, "session_name": "dfir-INC-1-0", "source_identity": "alice"}]
GOVERNANCE = {"mode": "governance", "days": 30, "cool_off_hours": 0}
NO_LOCK = {"mode": "none", "days": 0, "cool_off_hours": 0}
USE = ["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom"]
STEPS = ("reencrypt", "share", "copy", "lock", "verify")
Run = Callable[..., dict[str, Any]]
pytestmark = pytest.mark.slow  # two whole accounts


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    kit = Kit(tmp_path_factory.mktemp("lab"), hosts=Recorder())
    kit.client("iam").put_user_policy(UserName=CONTROLLER[0], PolicyName="sharing",
                                      PolicyDocument=document("sharing-policy.json"))
    iam = kit.client("iam", keys=THEIRS)
    iam.create_role(RoleName="dfir-acquisition",
                    AssumeRolePolicyDocument=seed_member.document("member-acquisition-trust.json"))
    iam.put_role_policy(RoleName="dfir-acquisition", PolicyName="sharing",
                        PolicyDocument=seed_member.document("member-sharing-policy.json"))
    yield kit
    kit.close()


@pytest.fixture(scope="module")
def keys(kit: Kit) -> dict[str, str]:
    """The forensic account's keys of both regions, which let the member account encrypt under them."""
    return {region: key(kit, FORENSIC, SHARING_POLICY, region) for region in (REGION, OTHER)}


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lab shows at once what is there, and a new session need not read botocore's descriptions anew."""
    known = SESSION._session.get_component("data_loader")
    monkeypatch.setattr(apply, "PAUSE", 0.0)
    monkeypatch.setattr("botocore.session.create_loader", lambda folders=None: known)


def key(kit: Kit, whose: tuple[str, str], policy: dict[str, Any] | None, region: str = REGION) -> str:
    more = {"Policy": json.dumps(policy)} if policy else {}
    return str(kit.client("kms", region, whose).create_key(**more)["KeyMetadata"]["Arn"])


def lets_in(*actions: str, **more: Any) -> dict[str, Any]:
    """The policy of a key of the member account that lets the forensic account do something."""
    own = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{MEMBER}:root"}, "Action": "kms:*", "Resource": "*"}
    other = {**own, "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": list(actions), **more}
    return {"Version": "2012-10-17", "Statement": [own, other] if actions else [own]}


def evidence(kit: Kit, whose: tuple[str, str] = THEIRS, content: bytes = b"evidence", **more: Any) -> str:
    """A snapshot with one block; more says under which key."""
    ebs = kit.client("ebs", REGION, whose)
    name = str(ebs.start_snapshot(VolumeSize=1, **more)["SnapshotId"])
    if content:
        data = content.ljust(BLOCK, b"\0")
        ebs.put_snapshot_block(SnapshotId=name, BlockIndex=7, BlockData=data, DataLength=BLOCK,
                               ChecksumAlgorithm="SHA256",
                               Checksum=base64.b64encode(hashlib.sha256(data).digest()).decode())
    ebs.complete_snapshot(SnapshotId=name, ChangedBlocksCount=int(bool(content)))
    return name


def first_block(kit: Kit, whose: tuple[str, str], name: str, region: str = REGION) -> bytes:
    ebs = kit.client("ebs", region, whose)
    page = ebs.list_snapshot_blocks(SnapshotId=name)
    while not page["Blocks"]:
        page = ebs.list_snapshot_blocks(SnapshotId=name, NextToken=page["NextToken"])
    block = page["Blocks"][0]
    got = ebs.get_snapshot_block(SnapshotId=name, BlockIndex=block["BlockIndex"], BlockToken=block["BlockToken"])
    return bytes(got["BlockData"].read())


@pytest.fixture
def run(kit: Kit, capsys: pytest.CaptureFixture[str]) -> Run:
    """A module as Ansible runs it, by the controller, who has the policy of docs/iam and nothing else."""

    def call(name: str, **arguments: Any) -> dict[str, Any]:
        module = importlib.import_module(f"ansible_collections.dfir.aws.plugins.modules.{name}")
        capsys.readouterr()
        given = {"endpoint_url": kit.endpoint, "access_key": CONTROLLER[1], "secret_key": CONTROLLER[2],
                 "region": REGION, "access": ACCESS}
        with patch_module_args({**given, **arguments}), pytest.raises(SystemExit):
            module.main()
        told: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert not told.get("failed"), told
        return told

    return call


def look(run: Run, *names: str, account: str = MEMBER, region: str = REGION, how: str = "copy",
         keys: dict[str, str] | None = None, lock: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    found = run("ec2_sharing_info", target={"account": ACCOUNT, "region": region, "how": how}, keys=keys or {},
                lock=lock or NO_LOCK,
                snapshots=[{"snapshot_id": name, "account": account, "region": REGION} for name in names])
    return list(found["snapshots"])


def do(run: Run, entries: list[dict[str, Any]], incident: str = "INC-1", **more: Any,
       ) -> tuple[list[dict[str, Any]], bool]:
    """All steps; what came of the snapshots, and whether anything was changed."""
    told: dict[str, Any] = {"snapshots": entries}
    changed = False
    for step in STEPS:
        told = run("ec2_snapshot_share", step=step, snapshots=told["snapshots"], incident=incident, analyst="alice",
                   **more)
        changed = changed or told["changed"]
    return list(told["shared"]), changed


def snapshots(kit: Kit, whose: tuple[str, str], region: str = REGION) -> set[str]:
    found = kit.client("ec2", region, whose).describe_snapshots(OwnerIds=["self"])["Snapshots"]
    return {item["SnapshotId"] for item in found}


def permitted(kit: Kit, name: str) -> list[dict[str, str]]:
    return list(kit.client("ec2", REGION, THEIRS).describe_snapshot_attribute(
        SnapshotId=name, Attribute="createVolumePermission")["CreateVolumePermissions"])


def test_p34_p37_a_default_key_snapshot_is_encrypted_anew_shared_copied_locked_read_and_only_once(
        kit: Kit, keys: dict[str, str], run: Run) -> None:
    name = evidence(kit, Encrypted=True)
    [entry] = look(run, name, region=OTHER, keys=keys, lock=GOVERNANCE)
    assert entry["steps"] == list(STEPS) and entry["problem"] == "" and "alias/aws/ebs" in entry["why"][0]
    [done], changed = do(run, [entry])
    assert changed and (done["state"], done["verified"], done["problem"]) == ("copied", True, ""), done
    assert (done["account"], done["region"], done["kms_key_id"]) == (ACCOUNT, OTHER, keys[OTHER])
    assert "has read block 7" in done["words"] and "user/dfir-controller" in done["words"]
    assert first_block(kit, FORENSIC, done["snapshot_id"], OTHER).startswith(b"evidence")
    ours = kit.client("ec2", OTHER)
    [copy] = ours.describe_snapshots(SnapshotIds=[done["snapshot_id"]])["Snapshots"]
    tags = {tag["Key"]: tag["Value"] for tag in copy["Tags"]}
    assert copy["OwnerId"] == ACCOUNT and tags["dfir:source-snapshot"] == name
    assert (tags["dfir:source-region"], tags["dfir:source-account"], tags["dfir:incident"]) == (REGION, MEMBER, "INC-1")
    assert "dfir:request" not in tags and "dfir:expires" not in tags
    [lock] = ours.describe_locked_snapshots(SnapshotIds=[done["snapshot_id"]])["Snapshots"]
    assert (lock["LockState"], lock["LockDuration"]) == ("governance", 30)
    with pytest.raises(ours.exceptions.ClientError, match="locked"):
        ours.delete_snapshot(SnapshotId=done["snapshot_id"])
    # The copy in between stays where it is, under our key, and nobody is let in any more.
    between = kit.client("ec2", REGION, THEIRS).describe_snapshots(SnapshotIds=[done["intermediate"]])["Snapshots"][0]
    assert (between["OwnerId"], between["KmsKeyId"]) == (MEMBER, keys[REGION])
    assert permitted(kit, done["intermediate"]) == permitted(kit, name) == []

    before = snapshots(kit, THEIRS), snapshots(kit, FORENSIC, OTHER)
    [again] = look(run, name, region=OTHER, keys=keys, lock=GOVERNANCE)
    assert again["steps"] == ["verify"] and "taken up" in again["why"][0]
    [same], changed = do(run, [again])
    assert not changed and same["snapshot_id"] == done["snapshot_id"] and same["verified"]
    assert (snapshots(kit, THEIRS), snapshots(kit, FORENSIC, OTHER)) == before


def test_p34_without_a_key_a_default_key_snapshot_is_recognized_and_nothing_is_called(kit: Kit, run: Run) -> None:
    name = evidence(kit, Encrypted=True)
    before = snapshots(kit, THEIRS), snapshots(kit, FORENSIC)
    [entry] = look(run, name)
    assert entry["problem"] == default_key(name, REGION) and entry["calls"] == []
    [done], changed = do(run, [entry])
    assert (done["state"], done["verified"], changed) == ("failed", False, False)
    assert done["words"] == entry["problem"] and (snapshots(kit, THEIRS), snapshots(kit, FORENSIC)) == before


def test_a_customer_key_that_lets_us_in_needs_no_copy_in_between(kit: Kit, keys: dict[str, str], run: Run) -> None:
    name = evidence(kit, KmsKeyArn=key(kit, THEIRS, lets_in(*USE)), Encrypted=True)
    [entry] = look(run, name, keys=keys, how="share")
    assert entry["steps"] == ["share", "verify"]
    verdicts = {check["action"]: check["verdict"] for check in entry["checks"] if check["purpose"] == OPEN}
    assert verdicts["kms:Decrypt"] == verdicts["kms:DescribeKey"] == "ok"
    [done], _changed = do(run, [entry])
    assert (done["state"], done["snapshot_id"], done["account"], done["verified"]) == ("shared", name, MEMBER, True)
    assert permitted(kit, name) == [{"UserId": ACCOUNT}]
    assert first_block(kit, FORENSIC, name).startswith(b"evidence")
    [again] = look(run, name, keys=keys, how="share")
    assert again["steps"] == ["verify"] and not do(run, [again])[1]


def test_a_customer_key_that_refuses_us_is_left_behind(kit: Kit, keys: dict[str, str], run: Run) -> None:
    closed = key(kit, THEIRS, lets_in())
    name = evidence(kit, KmsKeyArn=closed, Encrypted=True)
    [entry] = look(run, name, keys=keys)
    assert entry["steps"] == ["reencrypt", "share", "copy", "verify"] and closed in entry["why"][0]
    [done], _changed = do(run, [entry])
    assert done["verified"] and done["kms_key_id"] == keys[REGION], done


@pytest.mark.parametrize("how", ["copy", "share"])
def test_p35_what_kms_refuses_is_told_in_the_same_words_before_and_after(kit: Kit, run: Run, how: str) -> None:
    seen = {}
    elsewhere = {"Condition": {"StringEquals": {"kms:ViaService": f"ec2.{OTHER}.amazonaws.com"}}}
    for kind, policy in (("before", lets_in("kms:DescribeKey")), ("after", lets_in(*USE, **elsewhere))):
        arn = key(kit, THEIRS, policy)
        name = evidence(kit, KmsKeyArn=arn, Encrypted=True)
        ours = snapshots(kit, FORENSIC)
        [entry] = look(run, name, how=how)
        verdicts = {check["verdict"] for check in entry["checks"] if check["action"] == "kms:Decrypt"}
        assert verdicts == {"refused" if kind == "before" else "not checkable"}
        [done], changed = do(run, [entry])
        assert (done["state"], done["verified"], changed) == ("failed", False, kind == "after")
        assert done["problem"].startswith(refusal(OPEN, arn, ACCOUNT)), done["problem"]
        assert snapshots(kit, FORENSIC) == ours  # the carcass is removed
        seen[kind] = done["problem"][:len(refusal(OPEN, arn, ACCOUNT))].replace(arn, "the key")
    assert seen["before"] == seen["after"]


def test_p35_a_key_that_refuses_the_owner_is_told_in_the_same_words(kit: Kit, run: Run) -> None:
    seen = {}
    policy = {"Version": "2012-10-17", "Statement": SHARING_POLICY["Statement"][:1]}
    tied = {**SHARING_POLICY["Statement"][1], "Action": USE,
            "Condition": {"StringEquals": {"kms:ViaService": f"ec2.{OTHER}.amazonaws.com"}}}
    for kind, statements in (("before", []), ("after", [tied])):
        arn = key(kit, FORENSIC, {**policy, "Statement": [*policy["Statement"], *statements]})
        name = evidence(kit, Encrypted=True)
        theirs = snapshots(kit, THEIRS)
        [done], _changed = do(run, look(run, name, keys={REGION: arn}))
        assert done["problem"].startswith(refusal(SEAL, arn, MEMBER)), done["problem"]
        assert snapshots(kit, THEIRS) == theirs
        seen[kind] = done["problem"][:len(refusal(SEAL, arn, MEMBER))].replace(arn, "the key")
    assert seen["before"] == seen["after"]


def test_a_key_that_is_off_is_told_before_anything_is_made(kit: Kit, run: Run) -> None:
    arn = key(kit, THEIRS, lets_in(*USE))
    name = evidence(kit, KmsKeyArn=arn, Encrypted=True)
    kit.client("kms", REGION, THEIRS).disable_key(KeyId=arn.rsplit("/", 1)[-1])
    [entry] = look(run, name)
    assert f"The key {arn} is Disabled" in entry["problem"] and entry["steps"] == []


def test_several_snapshots_go_side_by_side_and_one_that_fails_stops_no_other(kit: Kit, keys: dict[str, str],
                                                                             run: Run) -> None:
    plain, empty, closed = evidence(kit), evidence(kit, content=b""), evidence(kit, Encrypted=True)
    nobody = "snap-0123456789abcdef0"
    told, _changed = do(run, look(run, plain, closed, nobody, empty, lock=GOVERNANCE))
    assert [item["state"] for item in told] == ["copied", "failed", "failed", "copied"]
    assert "There is no snapshot" in told[2]["problem"] and "none was ever written" in told[3]["words"]
    assert all(item["verified"] and item["lock"] == "governance" for item in (told[0], told[3]))
    assert permitted(kit, plain) == []


def test_an_account_without_a_role_is_refused_in_one_sentence(kit: Kit, run: Run) -> None:
    [entry] = look(run, "snap-0123456789abcdef0", account="999999999999")
    assert "There is no way into the account 999999999999" in entry["problem"]


def test_snapshots_of_our_own_account_are_locked_where_they_are_or_copied_to_the_region(
        kit: Kit, keys: dict[str, str], run: Run) -> None:
    name = evidence(kit, FORENSIC, Encrypted=True)
    [done], _changed = do(run, look(run, name, account=ACCOUNT, lock=GOVERNANCE))
    assert (done["state"], done["snapshot_id"], done["lock"]) == ("in place", name, "governance")
    [away], _changed = do(run, look(run, name, account=ACCOUNT, region=OTHER, keys=keys))
    assert (away["state"], away["region"], away["kms_key_id"]) == ("copied", OTHER, keys[OTHER]) and away["verified"]


def test_p37_compliance_is_set_with_the_typed_confirmation_alone_and_can_be_taken_off_in_its_cooling_off(
        kit: Kit, run: Run) -> None:
    lock = {"mode": "compliance", "days": 1, "cool_off_hours": 24}
    name = evidence(kit, FORENSIC)
    [refused], _changed = do(run, look(run, name, account=ACCOUNT, lock=lock), confirmation="INC-2")
    assert "typed once more" in refused["problem"] and refused["lock"] == "none"
    [done], _changed = do(run, look(run, name, account=ACCOUNT, lock=lock), confirmation="INC-1")
    assert done["lock"] == "compliance-cooloff" and done["problem"] == ""
    assert look(run, name, account=ACCOUNT, lock=lock)[0]["steps"] == ["verify"]
    kit.client("ec2").unlock_snapshot(SnapshotId=name)


def test_p71_an_older_copy_of_another_run_is_taken_and_our_own_one_removed(
        kit: Kit, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    name = evidence(kit)
    entries = look(run, name)
    [first], _changed = do(run, entries)
    real, blind = apply.good, iter([True])
    # The other run's copy appears between our look and our call.
    monkeypatch.setattr(apply, "good", lambda *given: {} if next(blind, False) else real(*given))
    before = snapshots(kit, FORENSIC)
    [second], _changed = do(run, entries)
    assert second["snapshot_id"] == first["snapshot_id"] and snapshots(kit, FORENSIC) == before
