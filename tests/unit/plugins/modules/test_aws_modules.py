# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that wait, list, and read and write artifacts and records, against an AWS that answers over HTTP."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from tests.plain_aws import PlainAws
from tests.unit.plugins.modules.aws_module_kit import REGION, REQUEST, SESSION, TAGS, Run


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
