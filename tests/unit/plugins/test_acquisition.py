# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Acquiring instances on the lab's AWS, under exactly the policy of docs/iam: plan, metadata, snapshots, twice."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dfir.aws.plugins.module_utils.acquisition import keep, labels, snapshots, trail

from lab.config import ACCOUNT
from lab.seed import document
from tests.unit.lab.aws_kit import OTHER, REGION, Kit, Recorder, allow

BUCKET = f"dfir-artifacts-{ACCOUNT}"
DISKS = [{"DeviceName": f"/dev/sd{letter}", "Ebs": {"VolumeSize": 1}} for letter in "fg"]
NOBODY = "i-0123456789abcdef0"
KEY = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0Zb8cLDeuEZkWBBBlHq0hNjtG7zS4kf6kV0WJQ1F7u"
SECRET = "password=hunter2"
Run = Callable[..., dict[str, Any]]
pytestmark = pytest.mark.slow  # a whole account


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    kit = Kit(tmp_path_factory.mktemp("lab"), hosts=Recorder())
    kit.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    yield kit
    kit.close()


@pytest.fixture(scope="module")
def instance(kit: Kit) -> dict[str, Any]:
    """One with a role that works, user data and two data volumes."""
    kit.client("ec2").import_key_pair(KeyName="ops", PublicKeyMaterial=KEY)
    kit.host_role("web", allow("ec2:DescribeVolumes"))
    made = kit.client("iam").create_policy(PolicyName="more", PolicyDocument=document("imaging-policy.json"))["Policy"]
    kit.client("iam").attach_role_policy(RoleName="web", PolicyArn=made["Arn"])
    launched = kit.launch(BlockDeviceMappings=DISKS, UserData=SECRET, IamInstanceProfile={"Name": "web"}, KeyName="ops",
                          TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "shop"},
                                                                                   {"Key": "app", "Value": "web"}]}])
    kit.client("ec2", OTHER, kit.session(launched, "web")).describe_volumes()
    return launched


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lab has no rate of look-ups, and one region more shows what seventeen would."""
    real = trail.enabled_regions
    monkeypatch.setattr(trail, "SECONDS_BETWEEN_CALLS", 0.0)
    monkeypatch.setattr(trail, "enabled_regions", lambda answers: real(answers)[:1])


@pytest.fixture
def run(kit: Kit, capsys: pytest.CaptureFixture[str]) -> Run:
    """A module as Ansible runs it, by a user who has the policy of docs/iam and nothing else."""
    names = kit.client("iam").list_users()["Users"]
    number = len(names)
    keys = kit.user(f"acquirer-{number}", *json.loads(document("acquisition-policy.json"))["Statement"])

    def call(name: str, fails: bool = False, **arguments: Any) -> dict[str, Any]:
        module = importlib.import_module(f"ansible_collections.dfir.aws.plugins.modules.ec2_acquisition_{name}")
        capsys.readouterr()
        given = {"endpoint_url": kit.endpoint, "access_key": keys[0], "secret_key": keys[1], "region": REGION}
        with patch_module_args({**given, **arguments}), pytest.raises(SystemExit):
            module.main()
        told: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert bool(told.get("failed")) is fails, told
        return told

    return call


def asked(*instances: str, incident: str = "INC-1", **more: Any) -> dict[str, Any]:
    return {"request_id": "0" * 16, "incident": incident, "attempt": 1, "account": ACCOUNT, "region": REGION,
            "instance_ids": list(instances), "instance_tags": {}, "exclude_volumes": [], "exclude_root": True,
            "label": "web shop", "cloudtrail_days": 7, "artifact_bucket": BUCKET, "caller": {"name": "alice"},
            "analyst": {"uid": "alice"}, **more}


def kept(run: Run, request: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    ready = [item for item in found["instances"] if not item["problem"]]
    return run("metadata", request=request, instances=ready, bucket=BUCKET, bucket_region=REGION,
               trail_regions=[OTHER])


def test_the_plan_names_what_is_captured_what_is_not_and_who_does_not_exist(
        kit: Kit, instance: dict[str, Any], run: Run) -> None:
    request = asked(instance["InstanceId"], NOBODY)
    volume = instance["BlockDeviceMappings"][2]["Ebs"]["VolumeId"]
    told = run("info", request={**request, "exclude_volumes": [volume]})["instances"]
    nobody, ours = sorted(told, key=lambda item: not item["problem"])
    assert nobody["instance_id"] == NOBODY and "There is no instance" in nobody["problem"]
    assert [item["captured"] for item in ours["volumes"]] == [True, False, False]
    assert [item["why"] for item in ours["not_captured"]] == [
        "left out as asked (exclude_volumes)", "left out as asked (exclude_root)"]
    wrong = run("info", fails=True, request={**request, "exclude_volumes": ["vol-0123456789abcdef0"]})
    assert "none of these instances has" in wrong["msg"]
    by_tags = run("info", request=asked(instance_tags={"app": "web", "Name": "shop"}))["instances"]
    assert [item["instance_id"] for item in by_tags] == [instance["InstanceId"]]
    assert run("info", request=asked(instance_tags={"app": "other"}))["instances"] == []
    [whole] = run("info", request=asked(instance["InstanceId"], exclude_root=False))["instances"]
    assert [item["root"] for item in whole["volumes"] if item["captured"]].count(True) == 1 == len(whole["volumes"]) - 2


def test_p58_metadata_is_kept_once_with_hashes_and_what_cannot_be_had_with_its_error(
        kit: Kit, instance: dict[str, Any], run: Run) -> None:
    request = asked(instance["InstanceId"], incident="INC-58")
    found = run("info", request=request)
    first = kept(run, request, found)
    [told] = first["instances"]
    assert first["changed"] and told["problem"] == "" and told["prefix"] == f"INC-58/{instance['InstanceId']}/metadata/"
    s3 = kit.client("s3")
    files = {item["name"]: s3.get_object(Bucket=BUCKET, Key=told["prefix"] + item["name"])["Body"].read()
             for item in told["files"]}
    for item in told["files"]:
        assert hashlib.sha256(files[item["name"]]).hexdigest() == item["sha256"]
    data = {name.removesuffix(".json"): json.loads(content) for name, content in files.items()}
    answers = {name: section.get("answers", {}) for name, section in data.items()}
    # Only what the lab has no way to know may be missing; nothing was denied by the policy.
    assert {(error["section"], error["code"]) for error in told["not_had"]} == {
        ("screenshot", "LabNotImplemented"), ("ssm_inventory", "LabNotImplemented")}
    assert "SSH HOST KEY" in answers["console"]["latest"]["Output"]
    assert answers["attributes"]["userData"]["UserData"]["Value"]
    assert len(answers["volumes"]["describe_volumes"]["Volumes"]) == 3
    assert answers["flow_logs"]["describe_flow_logs"]["FlowLogs"] == []
    assert answers["key_pair"]["describe_key_pairs"]["KeyPairs"][0]["KeyName"] == "ops"
    assert answers["network"]["describe_route_tables"]["RouteTables"]
    assert any(name.startswith("document of arn:") for name in answers["profile"])
    history = answers["cloudtrail"]
    told_range = history["range"]
    assert told_range["regions"] == [REGION, OTHER] and any("90 days" in line for line in told_range["blind"])
    seen = {(one["region"], one["attribute"], event["EventName"]) for one in history["look_ups"]
            for event in one["events"]}
    assert (REGION, "ResourceName", "RunInstances") in seen and (OTHER, "Username", "DescribeVolumes") in seen
    assert SECRET not in json.dumps(first) and "cGFzc3dvcmQ9" not in json.dumps(first)
    again = kept(run, request, found)
    assert not again["changed"] and again["instances"][0]["files"] == told["files"]


def test_metadata_that_was_begun_is_taken_up_and_never_written_over(
        kit: Kit, instance: dict[str, Any], run: Run) -> None:
    request = asked(instance["InstanceId"], incident="INC-HALF")
    prefix = f"INC-HALF/{instance['InstanceId']}/metadata/"
    half = json.dumps({"section": "status", "answers": {"kept": "before"}, "errors": []}).encode()
    kit.client("s3").put_object(Bucket=BUCKET, Key=f"{prefix}status.json", Body=half)
    [told] = kept(run, request, run("info", request=request))["instances"]
    now = {item["name"]: item["sha256"] for item in told["files"]}
    assert now["status.json"] == hashlib.sha256(half).hexdigest() and keep.INDEX in now


def test_metadata_that_cannot_be_kept_is_the_problem_of_each_instance_and_no_crash(
        instance: dict[str, Any], run: Run) -> None:
    request = asked(instance["InstanceId"], incident="INC-6")
    ready = run("info", request=request)["instances"]
    gone = {**ready[0], "instance_id": NOBODY}
    told = run("metadata", request=request, instances=[*ready, gone], bucket="dfir-other", bucket_region=REGION)
    assert not told["changed"] and len(told["instances"]) == 2
    assert "could not be kept, so that nothing else was done" in told["instances"][0]["problem"]
    assert "is not there any more" in told["instances"][1]["problem"]


def test_all_volumes_in_one_call_with_names_by_device_and_a_second_run_takes_no_more(
        kit: Kit, instance: dict[str, Any], run: Run) -> None:
    request, ec2 = asked(instance["InstanceId"], incident="INC-2"), kit.client("ec2")
    found = run("info", request=request)
    first = run("snapshots", request=request, instances=found["instances"])
    [told] = first["instances"]
    assert first["changed"] and told["problem"] == "" and len(told["snapshots"]) == 2
    for snapshot in told["snapshots"]:
        seen = ec2.describe_snapshots(SnapshotIds=[snapshot["snapshot_id"]])["Snapshots"][0]
        tags = {tag["Key"]: tag["Value"] for tag in seen["Tags"]}
        when = seen["StartTime"].strftime("%Y-%m-%d %H:%M:%S UTC")
        assert tags["Name"] == f"Forensics INC-2 {instance['InstanceId']} {snapshot['device']} {when} web shop"
        assert tags["dfir:source-volume"] == seen["VolumeId"] and tags["dfir:device"] == snapshot["device"]
        assert tags["dfir:source-instance"] == instance["InstanceId"] and tags["dfir:incident"] == "INC-2"
        assert "dfir:request" not in tags and "dfir:expires" not in tags  # the reaper takes what carries these
        assert seen["Description"].startswith(f"Forensics: {instance['InstanceId']} acquired 20")
    again = run("snapshots", request=request, instances=found["instances"])
    assert not again["changed"] and again["instances"] == [{**told, "changed": False}]
    assert run("info", request=request)["instances"][0]["earlier"] == 2
    other = run("snapshots", request={**request, "attempt": 2},
                instances=run("info", request={**request, "attempt": 2})["instances"])
    assert not {one["snapshot_id"] for one in other["instances"][0]["snapshots"]} & {
        one["snapshot_id"] for one in told["snapshots"]}


def test_a_run_that_died_between_call_and_names_is_taken_up(kit: Kit, instance: dict[str, Any], run: Run) -> None:
    request, ec2 = asked(instance["InstanceId"], incident="INC-3"), kit.client("ec2")
    [entry] = run("info", request=request)["instances"]
    options = {**request, "acquisition": entry["acquisition"], "analyst": "alice"}
    ec2.create_snapshots(**snapshots.request(entry, options, datetime.now(timezone.utc)))
    told = run("snapshots", request=request, instances=[entry])
    assert told["changed"] and [one["device"] for one in told["instances"][0]["snapshots"]]
    mine = ec2.describe_snapshots(Filters=[{"Name": f"tag:{labels.ACQUISITION}", "Values": [entry["acquisition"]]}])
    assert len(mine["Snapshots"]) == 2 and all("/dev/sd" in tag["Value"] for one in mine["Snapshots"]
                                               for tag in one["Tags"] if tag["Key"] == "Name")


def test_one_that_is_refused_fails_alone(kit: Kit, instance: dict[str, Any], run: Run) -> None:
    request = asked(instance["InstanceId"], incident="INC-4")
    [entry] = run("info", request=request)["instances"]
    gone = {**entry, "instance_id": NOBODY, "acquisition": "f" * 16}
    told = run("snapshots", request=request, instances=[gone, entry])["instances"]
    assert "InvalidInstanceID.NotFound" in told[0]["problem"] and told[1]["problem"] == ""
    assert len(told[1]["snapshots"]) == 2


def test_every_action_of_the_policy_is_used(kit: Kit, instance: dict[str, Any], run: Run) -> None:
    request = asked(instance["InstanceId"], incident="INC-5")
    found = run("info", request=request)
    ready = found["instances"]
    run("metadata", request=request, instances=ready, bucket=BUCKET, bucket_region=REGION, trail_regions=[])
    run("snapshots", request=request, instances=ready)
    used = {f"{event['eventSource'].split('.')[0]}:{event['eventName']}" for _region, told in kit.world.trail._events
            if (event := json.loads(told["CloudTrailEvent"]))["userIdentity"]["userName"].startswith("acquirer-")}
    # What the playbook records in the ledger, tests/unit/custody holds against the policies.
    allowed = {action for statement in json.loads(document("acquisition-policy.json"))["Statement"]
               if statement["Sid"] != "SignCustodyLedgers"
               for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])}
    assert {action for action in allowed if not action.startswith("s3:")} == used
    # A screen that sleeps is left asleep: waking it presses a key.
    woken = [json.loads(told["CloudTrailEvent"])["requestParameters"].get("WakeUp")
             for _region, told in kit.world.trail._events if told["EventName"] == "GetConsoleScreenshot"]
    assert woken and not any(woken)
