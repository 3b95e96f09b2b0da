# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real host of the lab, contained by the playbooks: cut off indeed, and back as it was."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from lab import audit
from lab.aws.account import DEBIAN_IDS
from lab.config import ACCOUNT, LabConfig
from lab.mail.reader import list_mails
from tests.kit import run

PORT = 2222
ECHO = """
import socketserver, sys
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(64):
            self.request.sendall(data)
socketserver.ThreadingTCPServer.daemon_threads = True
socketserver.ThreadingTCPServer(("0.0.0.0", int(sys.argv[1])), Echo).serve_forever()
"""
HOME, BUCKET = "eu-west-1", f"dfir-artifacts-{ACCOUNT}"


@pytest.fixture
def subnet(lab: LabConfig) -> Iterator[str]:
    """A subnet that nobody else uses."""
    ec2 = audit.client(lab, "ec2", HOME)
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    made = ec2.create_subnet(VpcId=vpc, CidrBlock="172.31.240.0/24")["Subnet"]["SubnetId"]
    yield made
    ec2.delete_subnet(SubnetId=made)


@pytest.fixture
def host(lab: LabConfig, subnet: str) -> Iterator[dict[str, Any]]:
    """A host that lets everybody in."""
    ec2 = audit.client(lab, "ec2", HOME)
    vpc = ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["VpcId"]
    group = ec2.create_security_group(GroupName=f"open-{uuid.uuid4().hex[:8]}", Description="x", VpcId=vpc)["GroupId"]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[
        {"IpProtocol": "tcp", "FromPort": 22, "ToPort": PORT, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}])
    name = ec2.run_instances(ImageId=DEBIAN_IDS[HOME], InstanceType="t3.small", MinCount=1, MaxCount=1, SubnetId=subnet,
                             SecurityGroupIds=[group], InstanceInitiatedShutdownBehavior="terminate",
                             BlockDeviceMappings=[{"DeviceName": "/dev/sdf", "Ebs": {
                                 "VolumeSize": 1, "DeleteOnTermination": True}}])["Instances"][0][
        "InstanceId"]
    ec2.get_waiter("instance_running").wait(InstanceIds=[name])
    found = described(lab, name)
    volumes = [block["Ebs"]["VolumeId"] for block in found["BlockDeviceMappings"]]
    yield found
    for attribute in ("DisableApiTermination", "DisableApiStop"):
        ec2.modify_instance_attribute(InstanceId=name, **{attribute: {"Value": False}})
    ec2.terminate_instances(InstanceIds=[name])
    ec2.get_waiter("instance_terminated").wait(InstanceIds=[name])
    for volume in ec2.describe_volumes(Filters=[{"Name": "volume-id", "Values": volumes}])["Volumes"]:
        ec2.delete_volume(VolumeId=volume["VolumeId"])
    ec2.delete_security_group(GroupId=group)


def described(lab: LabConfig, name: str) -> dict[str, Any]:
    found: dict[str, Any] = audit.client(lab, "ec2", HOME).describe_instances(
        InstanceIds=[name])["Reservations"][0]["Instances"][0]
    return found


def settings(lab: LabConfig, name: str) -> dict[str, Any]:
    ec2, instance = audit.client(lab, "ec2", HOME), described(lab, name)

    def value(attribute: str, key: str) -> Any:
        return ec2.describe_instance_attribute(InstanceId=name, Attribute=attribute)[key].get("Value")

    return {
        "volumes": {block["Ebs"]["VolumeId"]: block["Ebs"]["DeleteOnTermination"]
                    for block in instance["BlockDeviceMappings"]},
        "shutdown": value("instanceInitiatedShutdownBehavior", "InstanceInitiatedShutdownBehavior"),
        "stop": value("disableApiStop", "DisableApiStop"),
        "termination": value("disableApiTermination", "DisableApiTermination"),
        "groups": sorted(group["GroupId"] for nic in instance["NetworkInterfaces"] for group in nic["Groups"]),
        "acl": ec2.describe_network_acls(Filters=[{"Name": "association.subnet-id", "Values": [
            instance["SubnetId"]]}])["NetworkAcls"][0]["NetworkAclId"],
    }


@pytest.fixture
def echo(lab: LabConfig, host: dict[str, Any]) -> Iterator[None]:
    """Something on the host that answers, for as long as anybody asks."""
    place = f"--net=/run/netns/{lab.netns}-{host['InstanceId']}"
    server = subprocess.Popen(["nsenter", place, "/usr/bin/python3", "-c", ECHO, str(PORT)])
    yield
    server.kill()
    server.wait()


def connected(lab: LabConfig, address: str) -> socket.socket | None:
    """A connection to it from the controller's place; None where nobody lets it in."""
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(5)
    line.connect(str(lab.relay("controller")))
    line.sendall(f"{address} {PORT}\n".encode())
    try:
        return line if line.recv(3) == b"ok\n" else None
    except TimeoutError:
        return None


def answers(line: socket.socket) -> bool:
    """Whether what is said on a connection comes back."""
    line.sendall(b"hello")
    try:
        return line.recv(5) == b"hello"
    except TimeoutError:
        return False


def play(folder: Path, playbook: str, *options: str, **fields: Any) -> CompletedProcess[str]:
    (folder / "request.json").write_text(json.dumps({"analyst_uid": "alice", "aws_instance_region": HOME, **fields}))
    return run("ansible-playbook", "-i", "inventories/lab", f"playbooks/{playbook}.yml", "-e",
               f"@{folder}/request.json", *options)


def test_p59_a_host_is_cut_off_and_comes_back_as_it_was(
        lab: LabConfig, tmp_path: Path, host: dict[str, Any], echo: None) -> None:
    name, address, incident = host["InstanceId"], host["PrivateIpAddress"], f"INC-{uuid.uuid4().hex[:8].upper()}"
    fields = {"incident": incident, "aws_instance_id": name, "confirm_instance_id": name}
    until = time.monotonic() + 60
    while not (line := connected(lab, address)):
        assert time.monotonic() < until, "nothing answers"
    before, things = settings(lab, name), audit.account(lab)
    assert answers(line)

    checked = play(tmp_path, "contain_instance", "--check", **fields)
    assert checked.returncode == 0 and "changed=0" in checked.stdout, checked.stdout
    assert "would be done: the isolation group of vpc-" in checked.stdout and audit.account(lab) == things
    assert settings(lab, name) == before
    done = play(tmp_path, "contain_instance", **fields)
    assert done.returncode == 0 and f"{name}: is contained" in done.stdout, done.stdout
    assert connected(lab, address) is None, "nobody gets in"
    assert answers(line), "a tracked connection outlives a change of groups"
    now = settings(lab, name)
    assert now["termination"] is True and now["stop"] is True and set(now["volumes"].values()) == {False}

    cut = play(tmp_path, "contain_instance", network_acl=True, **fields)
    assert cut.returncode == 0 and not answers(line), "a network ACL without rules cuts it"
    again = play(tmp_path, "contain_instance", network_acl=True, **fields)
    assert again.returncode == 0 and "changed=0" in again.stdout, again.stdout

    back = play(tmp_path, "release_instance", **fields)
    assert back.returncode == 0 and "DOES NOT COME BACK" not in back.stdout, back.stdout
    assert settings(lab, name) == before
    assert (line := connected(lab, address)) and answers(line)
    twice = play(tmp_path, "release_instance", **fields)
    assert twice.returncode == 0 and "changed=0" in twice.stdout and settings(lab, name) == before, twice.stdout
    new = audit.account(lab) - things
    assert {thing.kind for thing in new} <= {"object", "security-group"}, "the isolation group stays for the next"
    assert all("dfir:isolation" in thing.tags for thing in new if thing.kind == "security-group")


def test_an_acquisition_contains_what_is_named_twice_after_its_evidence_is_kept(
        lab: LabConfig, tmp_path: Path, host: dict[str, Any]) -> None:
    ec2, name, incident = audit.client(lab, "ec2", HOME), host["InstanceId"], f"INC-{uuid.uuid4().hex[:8].upper()}"
    fields = {"incident": incident, "aws_instance_id": name}
    done = play(tmp_path, "acquire_instance", contain=name, cloudtrail_days=0, exclude_root=True,
                **fields)
    assert done.returncode == 0 and f"{name}: is contained" in done.stdout, done.stdout
    keys = [item["Key"] for item in audit.client(lab, "s3", HOME).list_objects_v2(
        Bucket=BUCKET, Prefix=f"{incident}/{name}/")["Contents"]]
    assert f"{incident}/{name}/metadata/index.json" in keys and any("/containment/contained-" in key for key in keys)
    groups = json.loads(audit.client(lab, "s3", HOME).get_object(
        Bucket=BUCKET, Key=f"{incident}/{name}/metadata/instance.json")["Body"].read())
    assert host["SecurityGroups"][0]["GroupId"] in json.dumps(groups), "metadata is of before"
    assert settings(lab, name)["termination"] is True
    [mail] = [mail for mail in list_mails(lab.mails) if incident in mail.subject]
    assert f"{name}: is contained" in mail.text and "No instance was stopped, restarted or changed" not in mail.text

    for attribute in ("DisableApiTermination", "DisableApiStop"):
        ec2.modify_instance_attribute(InstanceId=name, **{attribute: {"Value": False}})
    ec2.terminate_instances(InstanceIds=[name])
    ec2.get_waiter("instance_terminated").wait(InstanceIds=[name])
    back = play(tmp_path, "release_instance", confirm_instance_id=name, **fields)
    flat = " ".join(back.stdout.split())
    assert back.returncode == 0 and f"DOES NOT COME BACK: Termination protection: off: {name} is terminated" in flat
    for snapshot in ec2.describe_snapshots(OwnerIds=["self"], Filters=[
            {"Name": "tag:dfir:incident", "Values": [incident]}])["Snapshots"]:
        ec2.delete_snapshot(SnapshotId=snapshot["SnapshotId"])
