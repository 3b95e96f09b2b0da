# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that die or cannot be reached, runs that are killed in the middle, and what a host's own credentials can do."""

from __future__ import annotations

import base64
import json
import socket
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from lab import audit
from tests.integration.flow.flow_kit import (
    BUCKET,
    HOME,
    Play,
    Request,
    Site,
    arm,
    boto_session,
    check_alert,
    client,
    copies,
    deny_ssh,
    instances,
    remove,
    together,
)
from tests.integration.flow.host_kit import as_root, host
from tests.kit import run
from tests.secret_words import shown

# Read where malware would read it: on the host, from the metadata service.
ASK_METADATA = """
import urllib.request as web
def ask(path, method="GET", **headers):
    request = web.Request("http://169.254.169.254/latest/" + path, method=method, headers=headers)
    return web.urlopen(request, timeout=10).read().decode()
token = {"X-aws-ec2-metadata-token": ask("api/token", "PUT", **{"X-aws-ec2-metadata-token-ttl-seconds": "60"})}
role = "meta-data/iam/security-credentials/"
print(ask(role + ask(role, **token), **token))
"""
EACH_ONCE = {"instance": 1, "volume": 3, "security-group": 1, "instance-profile": 1, "role-policy": 1, "role": 1}


@pytest.mark.cell("snapshot", "the controller is killed while a copy is made")
@pytest.mark.cell("analysis_host", "the controller is killed after RunInstances")
@together(minutes=4)
def test_killed_runs_are_taken_up_and_nothing_is_made_twice(site: Site) -> None:
    """Killed while the copy is made and again when the host has just been launched; then a good end, and a bad one."""
    origin = site.source()
    arm(site.lab, "ec2.copy_slow", f"source_snapshot={origin}", "seconds=20")
    request = site.request(aws_snapshot_id=origin)
    first = request.start()
    first.until("snapshot: snap-")
    somebody_else_holds_it(request, first)
    first.kill()
    assert len(copies(site.lab, origin)) == 1

    second = request.start()
    second.wait(lambda: instances(site.lab, request.id))
    second.kill()

    third = request.run()
    assert third.code == 0, third.text[-4000:]
    assert len(copies(site.lab, origin)) == 1 and len(instances(site.lab, request.id)) == 1
    assert Counter(kind for kind, _id in request.exists()) - Counter({"network-interface": 1}) == EACH_ONCE
    assert [mail.subject.split()[1] for mail in request.mails] == ["ready:"]
    assert request.record["state"] == "open" and request.record["lease"] is None
    assert len(request.record["runs"]) == 3

    every_thing_is_tagged(request)
    every_disk_is_encrypted_and_of_today(request, origin)
    its_credentials_write_once_below_its_prefix_and_no_more(request)
    nobody_but_controller_and_analyst_gets_in(request)
    no_secret_is_on_the_host(request)
    a_connection_that_breaks_is_told_by_settle(request)


def somebody_else_holds_it(request: Request, first: Play) -> None:
    """A second run at the same time goes away, and says who works on it and until when."""
    lease = request.record["lease"]
    second = request.run()
    assert second.code not in (0, None) and "Traceback" not in second.text
    assert second.sentence == (
        f"Request {request.id} is being worked on by process {first.pid} on {socket.gethostname()}, which holds it "
        f"until {lease['expires_at']} (UTC) at least: wait for it, or start again later.")
    assert request.record["lease"]["holder"] == lease["holder"] and first.code is None
    assert request.mails == []


def every_thing_is_tagged(request: Request) -> None:
    """Request, incident and expiry on everything; from the creating call, since no later one may tag."""
    wanted = {"dfir:request": request.id, "dfir:incident": request.incident}
    exists = request.exists()
    made = [thing for thing in audit.account(request.lab) if (thing.kind, thing.id) in exists]
    iam = client(request.lab, "iam")
    for thing in made:
        tags = dict(thing.tags)
        if thing.kind == "role-policy":
            continue  # a part of its role
        if thing.kind == "role":
            tags = {tag["Key"]: tag["Value"] for tag in iam.list_role_tags(RoleName=thing.id)["Tags"]}
        if thing.kind == "instance-profile":
            profile = iam.get_instance_profile(InstanceProfileName=thing.id)["InstanceProfile"]
            tags = {tag["Key"]: tag["Value"] for tag in profile["Tags"]}
        assert wanted.items() <= tags.items() and tags["dfir:expires"].endswith("Z"), thing
    controller = boto3.client(
        "ec2", region_name=HOME, endpoint_url=request.lab.endpoint, aws_access_key_id="AKIADFIRLABCONTROLLER",
        aws_secret_access_key="lab-controller-secret-not-a-secret-0000000")
    for thing in made:
        if thing.kind in ("instance", "volume", "security-group"):
            refused(lambda name=thing.id: controller.create_tags(Resources=[name], Tags=[
                {"Key": "dfir:request", "Value": request.id}]), "UnauthorizedOperation")


def every_disk_is_encrypted_and_of_today(request: Request, origin: str) -> None:
    """p30: gp3 and nothing else; copy and volumes under the key that the inventory names."""
    kms, ec2 = client(request.lab, "kms"), client(request.lab, "ec2")
    key = kms.describe_key(KeyId="alias/dfir-evidence")["KeyMetadata"]["Arn"]
    volumes = ec2.describe_volumes(VolumeIds=[id for kind, id in request.exists() if kind == "volume"])["Volumes"]
    assert {(volume["VolumeType"], volume["Encrypted"], volume["KmsKeyId"]) for volume in volumes} == {
        ("gp3", True, key)}
    assert len(volumes) == EACH_ONCE["volume"]
    [copy] = copies(request.lab, origin)
    assert copy["Encrypted"] and copy["KmsKeyId"] == key


def refused(call: Callable[[], Any], *codes: str) -> None:
    """AWS must refuse this, with one of these codes."""
    try:
        call()
    except ClientError as error:
        assert error.response["Error"]["Code"] in codes, error
    else:
        raise AssertionError("AWS allowed what it must refuse")


def its_credentials_write_once_below_its_prefix_and_no_more(request: Request) -> None:
    """What malware on the host could do with the host's own credentials (pitfalls 28 and 40)."""
    told = run(sys.executable, "-m", "lab.analyst", request.incident, "--", f"python3 -c '{ASK_METADATA}'")
    assert told.returncode == 0, told.stdout
    make = boto_session(request.lab, json.loads(told.stdout[told.stdout.index("{"):]))
    s3, admin = make("s3"), client(request.lab, "s3")
    prefix = request.record["request"]["artifact_prefix"]
    own, theirs = f"{prefix}note.txt", f"INC-OTHERS/{prefix.split('/', 1)[1]}note.txt"
    once = {"Bucket": BUCKET, "IfNoneMatch": "*"}

    foreign = request.record["request"]["record_key"]
    s3.put_object(**once, Key=own, Body=b"first")
    refused(lambda: s3.put_object(**once, Key=own, Body=b"second"), "PreconditionFailed")
    refused(lambda: s3.put_object(Bucket=BUCKET, Key=own, Body=b"second"), "AccessDenied")
    refused(lambda: s3.put_object(Bucket=BUCKET, Key=f"{prefix}other.txt", Body=b"no condition"), "AccessDenied")
    etag = admin.head_object(Bucket=BUCKET, Key=own)["ETag"]
    refused(lambda: s3.put_object(Bucket=BUCKET, Key=own, Body=b"second", IfMatch=etag), "AccessDenied")
    for key in (theirs, "note.txt", request.record["request"]["record_key"], "requests/0123456789abcdef.json",
                "toolbox/image.tar", prefix.rstrip("/") + "-neighbour/note.txt"):
        refused(lambda key=key: s3.put_object(**once, Key=key, Body=b"x"), "AccessDenied")

    parts = s3.create_multipart_upload(Bucket=BUCKET, Key=f"{prefix}large.bin")
    upload = {"Bucket": BUCKET, "Key": parts["Key"], "UploadId": parts["UploadId"]}
    part = s3.upload_part(**upload, PartNumber=1, Body=b"part")["ETag"]
    done = {"MultipartUpload": {"Parts": [{"ETag": part, "PartNumber": 1}]}}
    refused(lambda: s3.complete_multipart_upload(**upload, **done), "AccessDenied")
    s3.complete_multipart_upload(**upload, **done, IfNoneMatch="*")

    for call in (
        lambda: s3.get_object(Bucket=BUCKET, Key=own),
        lambda: s3.list_objects_v2(Bucket=BUCKET),
        lambda: s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix),
        lambda: s3.list_object_versions(Bucket=BUCKET, Prefix=prefix),
        lambda: s3.delete_object(Bucket=BUCKET, Key=own),
        lambda: s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": own}]})["Errors"][0]["none"],
        lambda: s3.copy_object(**once, Key=f"{prefix}copy.txt", CopySource={"Bucket": BUCKET, "Key": own}),
        # Another case's, and what is nobody's case: CopyObject needs the right to read its source.
        lambda: s3.copy_object(**once, Key=f"{prefix}copy.txt", CopySource={"Bucket": BUCKET, "Key": foreign}),
        lambda: s3.put_object_tagging(Bucket=BUCKET, Key=own, Tagging={"TagSet": []}),
        lambda: s3.get_bucket_policy(Bucket=BUCKET),
        lambda: s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"}),
        lambda: make("iam").list_roles(),
        lambda: make("secretsmanager").get_secret_value(SecretId="dfir/controller-ssh-key"),
        lambda: make("ssm").get_parameter(Name="/dfir/analysts/alice/public_key"),
        lambda: make("ec2").describe_instances(),
        lambda: make("ec2").terminate_instances(InstanceIds=[instances(request.lab, request.id)[0]["InstanceId"]]),
    ):
        with suppress(KeyError):  # DeleteObjects answers 200 and refuses each key by itself
            refused(call, "AccessDenied", "AccessDeniedException", "UnauthorizedOperation")
    versions = admin.list_object_versions(Bucket=BUCKET, Prefix=prefix)
    assert "DeleteMarkers" not in versions
    assert sorted(item["Key"] for item in versions["Versions"]) == sorted([own, parts["Key"]])
    assert admin.get_object(Bucket=BUCKET, Key=own)["Body"].read() == b"first"


def nobody_but_controller_and_analyst_gets_in(request: Request) -> None:
    """Port 22 for two addresses, and a key: the analyst's user has no password, and neither has anybody else."""
    [group] = host(request)["SecurityGroups"]
    [rule] = client(request.lab, "ec2").describe_security_groups(GroupIds=[group["GroupId"]])["SecurityGroups"][0][
        "IpPermissions"]
    assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"], rule["UserIdGroupPairs"]) == ("tcp", 22, 22, [])
    assert {item["CidrIp"] for item in rule["IpRanges"]} == {"198.51.100.10/32", "198.51.100.20/32"}
    assert "0.0.0.0/0" not in json.dumps(rule) and rule.get("Ipv6Ranges", []) == []
    shadow = dict(line.split(":")[:2] for line in as_root(request, "cat /etc/shadow").splitlines())
    assert "analyst" in shadow and {name for name, hashed in shadow.items() if hashed[:1] not in ("!", "*")} == set()
    assert "passwordauthentication no" in as_root(request, "sshd -T 2>/dev/null | tr A-Z a-z")


def no_secret_is_on_the_host(request: Request) -> None:
    """Nothing of the controller's in processes, user data, tags or logs, and no credential at all in user data."""
    ec2, instance = client(request.lab, "ec2"), host(request)
    user_data = base64.b64decode(ec2.describe_instance_attribute(
        InstanceId=instance["InstanceId"], Attribute="userData")["UserData"]["Value"]).decode()
    assert user_data.startswith("#cloud-config") and "PRIVATE KEY" not in user_data and "AKIA" not in user_data
    exists = request.exists()
    tags = [dict(thing.tags) for thing in audit.account(request.lab) if (thing.kind, thing.id) in exists]
    seen = as_root(request, "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'; "
                            "cat /var/lib/cloud/instance/user-data.txt; journalctl --no-pager")
    assert "dfir" in seen
    assert shown(request.lab, user_data + json.dumps(tags) + seen + json.dumps(request.record)) == []


def a_connection_that_breaks_is_told_by_settle(request: Request) -> None:
    """p61: an unreachable host triggers neither rescue nor always, and the alert comes nevertheless."""
    host = instances(request.lab, request.id)[0]
    play = request.start()
    play.until("TASK [Get the tools and prove that they work]")
    deny_ssh(request.lab, host)
    things = check_alert(request, play.end(), "toolbox",
                         f"The connection to {host['InstanceId']} at {host['PrivateIpAddress']} failed or broke")
    assert "UNREACHABLE!" in play.text
    remove(request, things)
    # Once more: its host is gone, which is told, and the request is over.
    again = request.run()
    assert again.code not in (0, None) and "raise 'attempt'" in again.sentence
    assert request.record["state"] == "finished" and request.record["outcome"] == "incomplete"


@pytest.mark.cell("analysis_host", "the first zone has no capacity")
@pytest.mark.cell("connection", "port 22 is unreachable")
@pytest.mark.host
@together(minutes=1)
def test_p18_a_host_goes_to_a_zone_with_capacity_and_its_evidence_with_it_and_one_that_cannot_be_reached_is_told(
        site: Site) -> None:
    origin = site.source()
    arm(site.lab, "ec2.no_capacity", "instance_type=r5.large", "zone=eu-west-1a", "times=always")
    arm(site.lab, "host.ssh_blocked", "instance_type=r5.large")
    patience = {"analysis_host": {"vars": {"analysis_host_reach_timeout": 12}}}
    rate = {"dfir_aws_volume_initialization_rate": 200}
    request = site.request(aws_snapshot_id=origin, aws_ec2_instance_type="r5.large",
                           overlay={"all": {"children": patience, "vars": rate}})
    play = request.run()
    [host] = instances(site.lab, request.id)
    assert "eu-west-1a (subnet-" in play.flat and "r5.large now; the next zone is tried." in play.flat
    assert host["Placement"]["AvailabilityZone"] == "eu-west-1b"
    volumes = client(site.lab, "ec2").describe_volumes(Filters=[{"Name": "tag:dfir:request", "Values": [request.id]}])
    assert [volume["AvailabilityZone"] for volume in volumes["Volumes"]] == ["eu-west-1b"] * 3
    # Root and scratch come from no evidence: at the operator's rate only what does is loaded.
    assert [volume.get("VolumeInitializationRate") for volume in sorted(
        volumes["Volumes"], key=lambda item: str(item["SnapshotId"]))] == [None, None, 200]
    things = check_alert(request, play, "connection", f"Host {host['InstanceId']} at {host['PrivateIpAddress']} cannot",
                         "Check that port 22 of", "dfir_aws_controller_cidrs")
    assert Counter(thing.kind for thing in things if thing.kind != "role-in-profile") == EACH_ONCE
    remove(request, things)


@pytest.mark.cell("connection", "the host has another SSH key than its console shows")
@pytest.mark.host
@together(minutes=1)
def test_a_host_with_another_ssh_key_than_on_its_console_is_not_logged_in_to(site: Site) -> None:
    origin = site.source()
    arm(site.lab, "host.foreign_keys", "instance_type=c5.2xlarge")
    request = site.request(aws_snapshot_id=origin, aws_ec2_instance_type="c5.2xlarge")
    play = request.run()
    [host] = instances(site.lab, request.id)
    things = check_alert(request, play, "connection", f"Host {host['InstanceId']} at {host['PrivateIpAddress']} shows "
                         "another SSH key than its console", f"Do not log in to {host['PrivateIpAddress']}.")
    assert play.text.count("FAILED - RETRYING") == 0 and "dfir_aws_controller_cidrs" not in play.sentence
    remove(request, things)


@pytest.mark.cell("analysis_host", "the instance dies while it boots")
@pytest.mark.host
@together(minutes=1)
def test_a_host_that_dies_while_it_boots(site: Site) -> None:
    origin = site.source()
    arm(site.lab, "ec2.boot_dies", "instance_type=c5.xlarge", "seconds=0")
    request = site.request(aws_snapshot_id=origin, aws_ec2_instance_type="c5.xlarge")
    things = check_alert(request, request.run(), "analysis_host", "instead of running", "raise 'attempt'")
    assert "instance" not in {thing.kind for thing in things}
    # What the alert advises: the same request removes what is left, and says that it needs another attempt.
    again = request.run()
    assert again.code not in (0, None) and "raise 'attempt'" in again.sentence
    assert "INCOMPLETE" in request.mails[-1].text and request.exists() == set()
    assert len(instances(site.lab, request.id)) == 1 and request.record["outcome"] == "incomplete"


@pytest.mark.cell("toolbox", "the image of tools is missing")
@pytest.mark.host
@together(minutes=2)
def test_a_host_without_tools_is_of_no_use_and_ends(site: Site) -> None:
    """The third of three failures: the alert is raised, the host is ended, and nothing of it is left to remove."""
    wrong = {"toolbox_tmp_size": "none-at-all"}
    request = site.request(aws_snapshot_id=site.source(),
                           overlay={"all": {"children": {"analysis_host": {"vars": wrong}}}})
    things = check_alert(request, request.run(), "toolbox", "does not run on this host",
                         "The host has been ended", "raise 'attempt'")
    assert things == []
    [host] = instances(site.lab, request.id)
    assert host["State"]["Name"] == "terminated" and host["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert [mail.subject.split()[1] for mail in request.mails] == ["FAILED"]
    assert request.record["state"] == "finished" and request.record["outcome"] == "failed"
