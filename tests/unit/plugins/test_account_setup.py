# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Setting an account up, and taking that back, by somebody who has docs/iam/setup-policy.json alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.setup.documents import Documents, service_control_policy, trust
from ansible_collections.dfir.aws.plugins.module_utils.setup.steps import SetupError, same

from lab.aws.policy import Need, PolicySet, decide
from lab.aws.usage import names
from tests.setup_kit import ACCOUNT, ADMINISTRATOR, BUCKET, IAM, TRAIL_BUCKET, Account, document, own_files
from tests.unit.lab.aws_kit import OTHER, REGION, Kit, Recorder, allow, code, policy

slow = pytest.mark.slow
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/dfir/dfir-analysis-host-boundary"
TRAIL = "dfir-ebs-direct"


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """One account for the story of the tests below, which goes on from one to the next."""
    kit = Kit(tmp_path_factory.mktemp("lab"), hosts=Recorder())
    yield Account(kit)
    kit.close()


@slow
def test_check_mode_says_what_a_run_does_and_does_nothing(account: Account) -> None:
    kit = account.kit
    planned = account.run(check=True)
    assert planned["changed"] and {step["verb"] for step in planned["steps"]} == {"create"}
    assert kit.client("s3").list_buckets()["Buckets"] == [] and kit.client("iam").list_roles()["Roles"] == []
    # an interface in two zones at 7.30 each, three keys at 1.00
    assert planned["monthly"] == 17.6


@slow
def test_nothing_is_done_while_one_step_is_refused_and_what_is_not_ours_is_taken_over_when_asked(
        account: Account) -> None:
    s3, iam = account.kit.client("s3"), account.kit.client("iam")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": [{"Key": "team", "Value": "ir"}]})
    iam.create_role(RoleName="dfir-toolbox", AssumeRolePolicyDocument=policy())
    told = account.run("bucket", "roles", fails=True)
    assert f"bucket {BUCKET} differs (not versioned" in told["msg"] and "aws iam tag-role" in told["msg"]
    assert told["msg"].startswith("Nothing was done") and not told["changed"]
    assert [role["RoleName"] for role in iam.list_roles()["Roles"]] == ["dfir-toolbox"]
    done = account.run("bucket", adopt=True)
    assert done["lines"][0].startswith("change ") and "taken over" in done["lines"][0]
    assert {tag["Key"]: tag["Value"] for tag in s3.get_bucket_tagging(Bucket=BUCKET)["TagSet"]} == {
        "team": "ir", "dfir:setup": "dfir.aws"}
    assert code(s3.put_object, Bucket=BUCKET, Key="INC-1/a", Body=b"") == "AccessDenied", "written once"
    assert same(s3.get_bucket_policy(Bucket=BUCKET)["Policy"], document("artifact-bucket-policy.json"))


@slow
def test_a_run_that_was_interrupted_is_gone_on_with(account: Account) -> None:
    account.kit.client("kms", OTHER).create_key(Tags=[
        {"TagKey": "dfir:setup", "TagValue": "dfir.aws"}, {"TagKey": "dfir:alias", "TagValue": "alias/dfir-evidence"}])
    account.kit.faults.arm("aws.throttle", times=None, match={"service": "iam", "action": "CreateRole"})
    told = account.run("keys", "roles", "boundary", fails=True, adopt=True)
    assert "Cannot create role dfir-controller" in told["msg"] and "done before: key alias/dfir-evidence" in told["msg"]
    account.kit.faults.clear()
    assert len(account.kit.client("kms", OTHER).list_keys()["Keys"]) == 1, "the key without an alias got it"


@slow
def test_everything_is_made_roles_are_asked_until_they_work_and_a_second_run_changes_nothing(account: Account) -> None:
    account.kit.faults.arm("iam.not_yet", times=2, match={"role": "dfir-controller"})
    done = account.run(adopt=True)
    assert sorted(done["ready"]) == [f"dfir-{name}" for name in (
        "acquisition", "controller", "custody", "imaging", "retention", "toolbox")]
    assert done["unasked"] == ["dfir-imaging-host"]
    again = account.run()
    assert not again["changed"] and {step["verb"] for step in again["steps"]} == {"keep"}, again["lines"]
    assert not account.run(check=True)["changed"] and again["monthly"] == 17.6


@slow
def test_roles_that_never_work_are_a_failure_that_names_them(account: Account) -> None:
    account.kit.client("iam").update_role(RoleName="dfir-custody", MaxSessionDuration=3600)
    account.kit.faults.arm("iam.not_yet", times=None, match={"role": "dfir-custody"})
    told = account.run("roles", fails=True, ready_seconds=1)
    account.kit.faults.clear()
    assert "After 1 s AWS does not let these roles work yet: dfir-custody" in told["msg"]


@slow
def test_what_has_been_changed_by_hand_is_found_and_set_right(account: Account) -> None:
    kit, s3 = account.kit, account.kit.client("s3")
    iam, kms, trail = kit.client("iam"), kit.client("kms"), kit.client("cloudtrail")
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"})
    s3.delete_public_access_block(Bucket=BUCKET)
    s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": [
        {"ID": "dfir-retention-x", "Status": "Enabled", "Filter": {"Prefix": "X/"}, "Expiration": {"Days": 400}}]})
    iam.put_role_policy(RoleName="dfir-imaging", PolicyName="dfir-more", PolicyDocument=policy(allow("*")))
    iam.delete_role_policy(RoleName="dfir-controller", PolicyName="dfir-controller")
    iam.update_assume_role_policy(RoleName="dfir-toolbox", PolicyDocument=policy(
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}}))
    iam.remove_role_from_instance_profile(InstanceProfileName="dfir-imaging-host", RoleName="dfir-imaging-host")
    for _ in range(4):  # as many versions as there may be
        iam.create_policy_version(PolicyArn=BOUNDARY, PolicyDocument=policy(allow("*")), SetAsDefault=True)
    evidence = kms.describe_key(KeyId="alias/dfir-evidence")["KeyMetadata"]["KeyId"]
    kms.disable_key_rotation(KeyId=evidence)
    kms.put_key_policy(KeyId=evidence, PolicyName="default", Policy=policy(
        {**allow("kms:*"), "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}}))
    trail.stop_logging(Name=TRAIL)
    trail.remove_tags(ResourceId=trail.get_trail(Name=TRAIL)["Trail"]["TrailARN"], TagsList=[{"Key": "dfir:setup"}])
    trail.update_trail(Name=TRAIL, IsMultiRegionTrail=False)
    trail.put_event_selectors(TrailName=TRAIL, AdvancedEventSelectors=[
        {"Name": "Management", "FieldSelectors": [{"Field": "eventCategory", "Equals": ["Management"]}]}])
    s3.delete_bucket_policy(Bucket=TRAIL_BUCKET)
    ec2, endpoints = kit.client("ec2"), account.endpoints()
    for service, lacks in (("s3", {"RemoveRouteTableIds": endpoints["s3"]["RouteTableIds"]}),
                           ("ebs", {"RemoveSubnetIds": account.subnets[:1]})):
        ec2.modify_vpc_endpoint(VpcEndpointId=endpoints[service]["VpcEndpointId"], **lacks)
    ec2.delete_tags(Resources=[endpoints["s3"]["VpcEndpointId"]], Tags=[{"Key": "dfir:setup"}])
    table = endpoints["s3"]["RouteTableIds"][0]
    assert f"(not in {table}) and carries no tag dfir:setup" in account.run("endpoints", fails=True)["msg"]
    found = {step["thing"]: step["detail"] for step in account.run(check=True, adopt=True)["steps"]
             if step["verb"] == "change"}
    assert found == {
        f"key alias/dfir-evidence in {REGION}": "its policy, no rotation",
        "boundary /dfir/dfir-analysis-host-boundary": "another text",
        f"bucket {BUCKET}": "not versioned, open to the public, no rule that ends uploads",
        "role dfir-controller": "policy dfir-controller", "role dfir-imaging": "surplus policy dfir-more",
        "role dfir-toolbox": "who may assume it", "role dfir-imaging-host": "no instance profile",
        f"endpoint s3 in {account.network}": f"taken over, not in {table}",
        f"endpoint ebs in {account.network}": f"not in {account.subnets[0]}",
        f"bucket {TRAIL_BUCKET}": "its policy", f"trail {TRAIL}": "taken over, other events, other settings, off"}
    account.run(adopt=True)
    assert not account.run()["changed"]
    rules = s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
    assert {rule["ID"] for rule in rules} == {"dfir-retention-x", "abort-uploads"}, "rules of others stay"
    assert trail.get_trail_status(Name=TRAIL)["IsLogging"]


@slow
def test_policies_of_ones_own_slot_in_and_what_is_too_long_is_refused(account: Account, tmp_path: Path) -> None:
    files = own_files(tmp_path, member=[{"Sid": "Assume", **allow("sts:AssumeRole")}],
                      long=[{"Sid": f"S{number}", **allow("s3:GetObject", f"arn:aws:s3:::{number:0200}")}
                            for number in range(45)])
    role = {"name": "dfir-member", "policies": [files["member"]], "principals": [account.caller]}
    account.run("roles", roles=[role], ready_seconds=0)
    assert account.kit.client("iam").list_role_policies(RoleName="dfir-member")["PolicyNames"] == ["dfir-member"]
    told = account.run("roles", fails=True, roles=[{**role, "policies": [files["long"]]}])
    assert "a role's inline policies may have 10240" in told["msg"]
    nobody = account.run("roles", fails=True, principals=[], roles=[{**role, "principals": []}])
    assert "Nobody may assume" in nobody["msg"]
    assert "below a path" in account.run("roles", fails=True, roles=[{**role, "name": "/dfir/x"}])["msg"]
    assert "cannot be read" in account.run("roles", fails=True, roles=[{**role, "policies": ["none.json"]}])["msg"]
    assert "There is no endpoint" in account.run("endpoints", fails=True, endpoints=["rds"])["msg"]
    assert account.verbs("roles", state="absent", roles=[role]) == {"role dfir-member": "remove"}


@slow
def test_removal_takes_what_is_ours_and_says_what_stays(account: Account) -> None:
    kit = account.kit
    kit.client("s3").put_object(Bucket=BUCKET, Key="INC-1/a", Body=b"1", IfNoneMatch="*")
    theirs = kit.client("ec2").create_vpc_endpoint(
        VpcId=kit.client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"], ServiceName=f"com.amazonaws.{REGION}.sts",
        VpcEndpointType="Interface")["VpcEndpoint"]["VpcEndpointId"]
    kit.host_role("dfir-0123456789abcdef", boundary=BOUNDARY)
    kit.client("iam").attach_role_policy(RoleName="dfir-toolbox", PolicyArn=BOUNDARY)
    planned = account.run(check=True, state="absent")
    done = account.run(state="absent")
    assert done["steps"] == planned["steps"]
    stays = {step["thing"]: step["detail"] for step in done["steps"] if step["verb"] == "stay"}
    assert stays[f"bucket {BUCKET}"] == "holds objects, or older versions of them"
    assert "roles of hosts lie inside it: dfir-0123456789abcdef" in stays["boundary /dfir/dfir-analysis-host-boundary"]
    assert sum(thing.startswith("key ") for thing in stays) == 3 and len(stays) == 5
    left = [item["VpcEndpointId"] for item in kit.client("ec2").describe_vpc_endpoints()["VpcEndpoints"]
            if item["State"] == "available"]
    assert left == [theirs] and [role["RoleName"] for role in kit.client("iam").list_roles()["Roles"]] == [
        "dfir-0123456789abcdef"]
    again = account.run(state="absent")
    assert not again["changed"] and kit.client("cloudtrail").list_trails()["Trails"] == []


@slow
def test_keys_go_only_when_asked_and_after_their_time(account: Account) -> None:
    kms = account.kit.client("kms")
    account.run("keys", state="absent", delete_keys=True, pending_days=7)
    key = kms.describe_key(KeyId="alias/dfir-evidence")["KeyMetadata"]
    assert key["KeyState"] == "PendingDeletion" and not account.run("keys", state="absent", delete_keys=True)["changed"]
    told = account.run("keys", fails=True)
    assert "in state PendingDeletion" in told["msg"]


@slow
def test_what_is_not_ours_is_never_removed(account: Account) -> None:
    iam = account.kit.client("iam")
    iam.create_role(RoleName="dfir-retention", AssumeRolePolicyDocument=policy())
    account.kit.client("s3").delete_bucket_tagging(Bucket=BUCKET)
    told = {step["thing"]: step for step in account.run("bucket", "roles", state="absent")["steps"]}
    iam.remove_role_from_instance_profile(InstanceProfileName="dfir-0123456789abcdef", RoleName="dfir-0123456789abcdef")
    iam.delete_role(RoleName="dfir-0123456789abcdef")
    iam.untag_policy(PolicyArn=BOUNDARY, TagKeys=["dfir:setup"])
    assert account.verbs("boundary", state="absent") == {"boundary /dfir/dfir-analysis-host-boundary": "stay"}
    assert account.verbs("boundary", adopt=True) == {"boundary /dfir/dfir-analysis-host-boundary": "change"}
    assert account.verbs("boundary", state="absent") == {"boundary /dfir/dfir-analysis-host-boundary": "remove"}
    assert told["role dfir-retention"]["detail"] == told[f"bucket {BUCKET}"]["detail"] == "not ours: no tag dfir:setup"


@slow
def test_object_lock_and_a_key_of_ones_own_are_set_when_the_bucket_is_made(account: Account) -> None:
    more = {"bucket_lock_days": 30, "bucket_kms_key": "alias/dfir-evidence"}
    told = account.run("bucket", fails=True, bucket="dfir-locked", **more)  # a name outside the policy
    assert "bucket dfir-locked is another account's" in told["msg"]
    more["bucket"] = f"dfir-trail-{ACCOUNT}-2"
    account.run("bucket", **more)
    again = account.run("bucket", **more)
    assert not again["changed"], again["lines"]
    s3 = account.kit.client("s3")
    lock = s3.get_object_lock_configuration(Bucket=more["bucket"])["ObjectLockConfiguration"]
    assert {**lock["Rule"]["DefaultRetention"], "Years": 0} == {"Mode": "GOVERNANCE", "Days": 30, "Years": 0}
    assert account.verbs("bucket", bucket_lock_days=60, bucket=more["bucket"]) == {f"bucket {more['bucket']}": "change"}


@slow
def test_every_action_of_the_policy_is_used_and_none_is_missing(account: Account) -> None:
    """Stands last: the tests above are what uses it."""
    whole = document("setup-policy.json")
    sids = names(whole)
    given = {(statement["Sid"], action) for statement in whole["Statement"] for action in (
        [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])}
    ours = {use for use in account.kit.world.usage.uses if use.caller.endswith(f"user/{ADMINISTRATOR}")}
    used = {(use.sid, use.action) for use in ours if use.policy == sids and use.allowed}
    assert given - used == set()
    refused = {(use.action, use.resource) for use in ours if not use.allowed}
    assert refused == {("s3:ListBucket", "arn:aws:s3:::dfir-locked")}, "a bucket outside the policy, on purpose"


def documents(*regions: str) -> Documents:
    return Documents(IAM, "aws", ACCOUNT, BUCKET, regions or (REGION,))


def test_the_organizations_policy_denies_all_but_those_who_image_and_the_exceptions() -> None:
    text: Any = service_control_policy(documents(), "ebs-scp.json", ["arn:aws:iam::*:role/backup-*"])

    def may(role: str) -> bool:
        arn = f"arn:aws:iam::{role if ':' in role else f'{ACCOUNT}:{role}'}"
        return decide(Need("ebs:GetSnapshotBlock", "arn:aws:ec2:eu-west-1::snapshot/snap-1",
                           {"aws:principalarn": [arn]}),
                      PolicySet(({"Statement": [allow("*"), *text["Statement"]]},)), principals=[arn],
                      account=ACCOUNT).allowed

    assert may("role/dfir-imaging") and may("role/dfir/dfir-0123456789abcdef") and may("999999999999:role/backup-x")
    assert not may("role/dfir-controller") and not may("user/alice") and not may("999999999999:role/dfir-imaging")
    for wrong in ("*", "backup", f"arn:aws:iam::{ACCOUNT}:root"):
        with pytest.raises(SetupError, match="no exception"):
            service_control_policy(documents(), "ebs-scp.json", [wrong])
    with pytest.raises(SetupError, match="may have 5120"):
        service_control_policy(documents(), "ebs-scp.json", [f"arn:aws:iam::*:role/{'x' * 60}{n}" for n in range(60)])


def test_several_regions_make_lists_of_what_names_one() -> None:
    one, two = documents().read("controller-policy.json"), documents(REGION, OTHER).read("controller-policy.json")
    launch = {name: next(item for item in text["Statement"] if item["Sid"] == "LaunchTagged") for name, text in
              (("one", one), ("two", two))}
    assert launch["one"]["Resource"] == f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/*"
    assert launch["two"]["Resource"] == [f"arn:aws:ec2:{region}:{ACCOUNT}:instance/*" for region in (REGION, OTHER)]
    copy = next(item for item in two["Statement"] if item["Sid"] == "CopyIntoTheAnalysisRegionTagged")
    assert copy["Condition"]["StringEquals"]["aws:RequestedRegion"] == [REGION, OTHER]
    assert "arn:aws:" not in json.dumps(Documents(IAM, "aws-cn", ACCOUNT, BUCKET, [REGION]).read("imaging-policy.json"))


@pytest.mark.parametrize("wrong", ["*", "alice", "arn:aws:iam::123456789012:user/*"])
def test_nobody_is_let_in_by_a_wildcard(wrong: str) -> None:
    with pytest.raises(SetupError, match="may not assume a role"):
        trust([wrong], {}, "")


def test_documents_are_the_same_however_aws_gives_them_back() -> None:
    one = {"Statement": [{"Action": ["a", "b"], "Resource": "*", "Condition": {"Bool": {"x": True}}}]}
    assert same(one, {"Statement": {"Action": ["b", "a"], "Resource": ["*"], "Condition": {"Bool": {"x": "true"}}}})
    assert not same(one, {"Statement": [{"Action": ["a"], "Resource": "*", "Condition": {"Bool": {"x": "true"}}}]})
