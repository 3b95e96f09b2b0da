# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an analysis host is made of: rules, disks, user data, policies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.dfir.aws.plugins.filter.analysis_hosts import (
    analysis_host_result,
    attached_volumes,
    block_statements,
    choose_instance,
    known_hosts,
    launch_disks,
    scratch_gib,
    ssh_rules,
    ssh_way,
)
from jinja2 import Environment, FileSystemLoader, StrictUndefined

CHECKOUT = Path(__file__).resolve().parents[3]
ROLE = CHECKOUT / "roles" / "analysis_host"
IAM = CHECKOUT / "docs" / "iam"


def render(name: str, **values: Any) -> str:
    environment = Environment(loader=FileSystemLoader(ROLE / "templates"), undefined=StrictUndefined, trim_blocks=True,
                              keep_trailing_newline=True, autoescape=False)
    environment.filters["to_json"] = json.dumps
    return environment.get_template(name).render(**values)


FIRST_BOOT = {"files": [{"path": "/etc/x", "content": "one: 'two'\n[three]\n"}], "units": ["x.service"]}


@pytest.fixture(scope="module")
def user_data() -> dict[str, Any]:
    text = render("user_data.yml.j2", analysis_host_user="dfir", analysis_host_hours=3,
                  analysis_host_controller_public_key="ssh-ed25519 AAAA x: #y\n",
                  __analysis_host_deadline="2026-11-21T00:20:11Z", __analysis_host_expires="2026-11-21T06:00:00Z",
                  analysis_host_first_boot=FIRST_BOOT)
    assert text.startswith("#cloud-config\n")
    return yaml.safe_load(text)


def written(user_data: dict[str, Any], path: str) -> str:
    return next(item["content"] for item in user_data["write_files"] if item["path"] == path)


def test_p26_the_dead_mans_switch_has_an_absolute_time_and_a_second_one(user_data: dict[str, Any]) -> None:
    timer = written(user_data, "/etc/systemd/system/dfir-deadman.timer")
    assert "OnCalendar=2026-11-21 00:20:11 UTC\n" in timer and f"OnBootSec={3 * 3600 + 600}\n" in timer
    assert "Persistent=true\n" in timer  # it may pass while the host restarts
    assert ["systemctl", "enable", "--now", "dfir-deadman.timer"] in user_data["runcmd"]


def test_p26_results_are_uploaded_before_power_off_and_power_off_comes_anyway(user_data: dict[str, Any]) -> None:
    service = written(user_data, "/etc/systemd/system/dfir-deadman.service")
    assert "ExecStart=-/usr/bin/timeout 15m /bin/systemctl start dfir-upload.service" in service
    assert "SuccessAction=poweroff" in service and "FailureAction=poweroff-force" in service


def test_only_the_controllers_key_gets_in_and_no_password(user_data: dict[str, Any]) -> None:
    assert [user["name"] for user in user_data["users"]] == ["dfir"]
    assert user_data["users"][0]["ssh_authorized_keys"] == ["ssh-ed25519 AAAA x: #y"]
    assert user_data["users"][0]["lock_passwd"] is True and user_data["ssh_pwauth"] is False
    sshd = written(user_data, "/etc/ssh/sshd_config.d/10-dfir.conf")
    assert "PasswordAuthentication no" in sshd and "PermitRootLogin no" in sshd and "AllowUsers dfir analyst" in sshd


def test_p22_nothing_assembles_what_it_finds_on_the_evidence(user_data: dict[str, Any]) -> None:
    rules = {item["path"] for item in user_data["write_files"]}
    for name in ("69-lvm.rules", "64-md-raid-assembly.rules", "60-multipath.rules"):
        assert f"/etc/udev/rules.d/{name}" in rules
    masked = [word for command in user_data["bootcmd"] for word in command]
    assert "lvm2-monitor.service" in masked and "multipathd.service" in masked


def test_nothing_upgrades_itself(user_data: dict[str, Any]) -> None:
    assert user_data["package_update"] is False and user_data["package_upgrade"] is False
    assert any("apt-daily.timer" in command for command in user_data["bootcmd"])


def test_the_first_boot_brings_more_and_does_not_wait_for_it(user_data: dict[str, Any]) -> None:
    assert written(user_data, "/etc/x") == "one: 'two'\n[three]\n"
    assert user_data["runcmd"][-1] == ["systemctl", "start", "--no-block", "x.service"]
    assert user_data["runcmd"].index(["systemctl", "enable", "--now", "dfir-deadman.timer"]) < 2  # before anything else


def test_p42_user_data_holds_no_secret(user_data: dict[str, Any]) -> None:
    assert "PRIVATE" not in json.dumps(user_data) and "secret" not in json.dumps(user_data).lower()


def test_p28_the_hosts_policy_writes_below_its_own_prefix_only() -> None:
    text = render("host_policy.json.j2", analysis_host_partition="aws", analysis_host_artifact_bucket="ARTIFACT_BUCKET",
                  analysis_host_artifact_prefix="ARTIFACT_PREFIX", analysis_host_artifact_folders=[],
                  analysis_host_block_statements=[], analysis_host_extra_policy_statements=[])
    assert json.loads(text) == json.loads((IAM / "analysis-host-policy.json").read_text())
    actions = [action for statement in json.loads(text)["Statement"] for action in statement["Action"]]
    assert sorted(actions) == ["s3:AbortMultipartUpload", "s3:PutObject"]


def test_more_statements_are_possible() -> None:
    more = {"Effect": "Allow", "Action": "kms:GenerateDataKey", "Resource": "arn:k"}
    text = render("host_policy.json.j2", analysis_host_partition="aws", analysis_host_artifact_bucket="b",
                  analysis_host_artifact_prefix="p/", analysis_host_artifact_folders=[],
                  analysis_host_block_statements=[], analysis_host_extra_policy_statements=[more])
    assert json.loads(text)["Statement"][1] == more


def test_p28_of_several_snapshots_only_artifacts_of_volumes_can_be_written_into_each_folder() -> None:
    """The marker of a request for one of them alone must not come from this host."""
    text = render("host_policy.json.j2", analysis_host_partition="aws", analysis_host_artifact_bucket="b",
                  analysis_host_artifact_prefix="INC-1/set-1/", analysis_host_block_statements=[],
                  analysis_host_extra_policy_statements=[],
                  analysis_host_artifact_folders=["INC-1/snap-a/", "INC-1/snap-b/"])
    assert [item["Resource"] for item in json.loads(text)["Statement"]] == [
        "arn:aws:s3:::b/INC-1/set-1/*", "arn:aws:s3:::b/INC-1/snap-a/vol-*", "arn:aws:s3:::b/INC-1/snap-b/vol-*"]
    assert {action for item in json.loads(text)["Statement"] for action in item["Action"]} == {
        "s3:AbortMultipartUpload", "s3:PutObject"}


@pytest.mark.parametrize("path", sorted(IAM.glob("*.json")), ids=lambda path: path.name)
def test_policies_are_json_and_fit_into_their_limits(path: Path) -> None:
    document = json.loads(path.read_text())
    # Limits of AWS, white space not counted: 6,144 a managed policy (the boundary), 10,240 a role's inline policies.
    limit = 6144 if "boundary" in path.name else 10240
    assert len("".join(json.dumps(document).split())) < limit
    statements = document.get("Statement", [document])
    assert len({statement["Sid"] for statement in statements}) == len(statements)


def test_controller_gives_no_role_without_boundary_and_touches_only_what_is_tagged() -> None:
    statements = json.loads((IAM / "controller-policy.json").read_text())["Statement"]

    def of(action: str) -> list[dict[str, Any]]:
        return [item for item in statements
                if action in ([item["Action"]] if isinstance(item["Action"], str) else item["Action"])]

    for action in ("iam:CreateRole", "iam:PutRolePolicy"):
        assert all("iam:PermissionsBoundary" in item["Condition"]["StringEquals"] for item in of(action))
    for action in ("ec2:TerminateInstances", "ec2:DeleteVolume", "ec2:DeleteSecurityGroup", "ec2:AttachVolume"):
        assert all(item["Condition"]["Null"] == {"aws:ResourceTag/dfir:request": "false"} for item in of(action))
    assert all(item["Condition"]["StringEquals"] == {"iam:PassedToService": "ec2.amazonaws.com"}
               for item in of("iam:PassRole"))
    assert not [item for item in statements if "*" in (item["Action"], *item["Action"])]


def test_port_22_is_open_to_controller_and_analyst_and_to_nobody_else() -> None:
    rules = ssh_rules(["10.1.2.3/28"], ["203.0.113.7", "2001:db8::/64"])
    assert [(rule.get("cidr_ip") or rule.get("cidr_ipv6"), rule["rule_desc"]) for rule in rules] == [
        ("10.1.2.0/28", "SSH from the controller"), ("2001:db8::/64", "SSH from the analyst"),
        ("203.0.113.7/32", "SSH from the analyst")]
    assert {(rule["proto"], rule["from_port"], rule["to_port"]) for rule in rules} == {("tcp", 22, 22)}


@pytest.mark.parametrize(("controller", "analyst"), [
    (["0.0.0.0/0"], []), (["10.0.0.0/8"], ["::/0"]), ([], ["203.0.113.7/32"]), (["nonsense"], []),
])
def test_ranges_that_open_the_world_or_shut_the_controller_out_are_refused(controller: Any, analyst: Any) -> None:
    with pytest.raises(AnsibleFilterError):
        ssh_rules(controller, analyst)


def test_p25_p30_p52_disks_are_gp3_encrypted_and_go_with_the_host() -> None:
    disks = launch_disks({"root_device_name": "/dev/xvda", "root_volume_gib": 8}, scratch_gib(64), "alias/k")
    assert [disk["device_name"] for disk in disks] == ["/dev/xvda", "/dev/sdb"]
    for disk in disks:
        assert disk["ebs"]["encrypted"] and disk["ebs"]["delete_on_termination"]
        assert disk["ebs"]["volume_type"] == "gp3" and disk["ebs"]["kms_key_id"] == "alias/k"
    assert disks[1]["ebs"]["volume_size"] == 94
    assert scratch_gib(60_000) == 16384 and scratch_gib(0.1) == 31


def instance(name: str, state: str, launched: str = "2026-11-20T10:00:00Z", **tags: str) -> dict[str, Any]:
    return {"instance_id": name, "state": {"name": state}, "launch_time": launched, "tags": tags}


def test_p71_the_oldest_living_host_is_adopted_with_its_own_deadline() -> None:
    answer = choose_instance([instance("i-2", "running", "2026-11-20T11:00:00Z"),
                              instance("i-1", "pending", **{"dfir:expires": "2026-11-20T20:00:00Z"}),
                              instance("i-0", "terminated")])
    assert answer == {"instance_id": "i-1", "ended": [], "expires": "2026-11-20T20:00:00Z",
                      "deadline": "2026-11-20T20:00:00Z"}
    prolonged = {"dfir:expires": "2026-11-20T20:00:00Z", "dfir:deadline": "2026-11-20T12:00:00Z"}
    assert choose_instance([instance("i-1", "running", **prolonged)])["deadline"] == "2026-11-20T12:00:00Z"


def test_a_host_that_has_ended_is_not_replaced() -> None:
    assert choose_instance([instance("i-1", "terminated")])["ended"] == ["i-1"]
    result = analysis_host_result({}, choose_instance([instance("i-1", "terminated")]))
    assert result["ended"] and result["instance_id"] == "i-1" and result["address"] == ""
    assert choose_instance([]) == {"instance_id": "", "ended": [], "expires": "", "deadline": ""}


def test_result_and_known_hosts() -> None:
    described = {"InstanceId": "i-1", "PrivateIpAddress": "10.0.0.5", "Placement": {"AvailabilityZone": "eu-west-1a"},
                 "RootDeviceName": "/dev/xvda", "BlockDeviceMappings": [
                     {"DeviceName": "/dev/xvda", "Ebs": {"VolumeId": "vol-root"}},
                     {"DeviceName": "/dev/sdb", "Ebs": {"VolumeId": "vol-scratch"}}]}
    console = {"host_keys": [{"type": "ssh-ed25519", "key": "AAAA"}], "fingerprints": ["SHA256:x"]}
    result = analysis_host_result(described, {"instance_id": ""}, [{"volume_id": "vol-e"}], console, name="dfir-1",
                                  user="dfir", expires="2026-11-21T00:00:00Z", hours=3, group="sg-1")
    assert result["scratch_volume_id"] == "vol-scratch" and result["volumes"] == [{"volume_id": "vol-e"}]
    assert result["known_hosts"] == ["10.0.0.5 ssh-ed25519 AAAA"] == known_hosts(console["host_keys"], "10.0.0.5")
    assert result["deadline"] == result["expires"] and not result["ended"] and not result["adopted"]
    moved = analysis_host_result(described, {}, expires="2026-11-21T06:00:00Z", deadline="2026-11-21T00:00:00Z")
    assert (moved["deadline"], moved["expires"]) == ("2026-11-21T00:00:00Z", "2026-11-21T06:00:00Z")


def test_volumes_are_known_with_their_snapshots_and_the_last_word_about_their_attachment() -> None:
    created = [{"volume_id": "vol-a", "size_gib": 8, "blank": True,
                "item": {"id": "snap-copy", "source_id": "snap-a"}},
               {"volume_id": "vol-b", "item": {"snapshot_id": "snap-b", "journal_of": "vol-x"}},
               {"volume_id": "", "item": {"id": "snap-c"}}]
    attached = [{"volume_id": "vol-a", "device_name": "/dev/sdf", "delete_on_termination": True},
                {"volume_id": "vol-b", "device_name": "", "delete_on_termination": False},
                {"volume_id": "vol-b", "device_name": "/dev/sdg", "delete_on_termination": True}]
    assert attached_volumes(created, attached) == [
        {"volume_id": "vol-a", "device_name": "/dev/sdf", "delete_on_termination": True, "snapshot_id": "snap-copy",
         "source_id": "snap-a", "volume_gib": 8, "blank": True},
        {"volume_id": "vol-b", "device_name": "/dev/sdg", "delete_on_termination": True, "snapshot_id": "snap-b",
         "source_id": "", "volume_gib": 0, "blank": False}]
    assert attached_volumes(created[2:], []) == [], "check mode makes none"


def test_a_host_reads_blocks_of_its_own_snapshots_and_opens_them_with_their_keys_alone() -> None:
    plain = {"id": "snap-a", "region": "eu-west-1", "encrypted": False, "kms_key_id": ""}
    key = "arn:aws-cn:kms:eu-west-1:123456789012:key/k"
    [read] = block_statements([plain], "aws-cn")
    assert read["Resource"] == ["arn:aws-cn:ec2:eu-west-1::snapshot/snap-a"]
    assert read["Action"] == ["ebs:GetSnapshotBlock", "ebs:ListSnapshotBlocks"]
    both = [plain, {**plain, "id": "snap-b", "encrypted": True, "kms_key_id": key}]
    assert [statement["Resource"] for statement in block_statements(both, "aws-cn")] == [
        [f"arn:aws-cn:ec2:eu-west-1::snapshot/snap-{letter}" for letter in "ab"], [key]]


@pytest.mark.parametrize(("given", "hours"), [("3", 3), (3, 3), ("0.5", 0.5), (0.5, 0.5)])
def test_hours_are_a_number_also_where_ansible_makes_text_of_them(given: Any, hours: float) -> None:
    found = analysis_host_result({"InstanceId": "i-1"}, {"instance_id": ""}, hours=given)["hours"]
    assert found == hours and type(found) is type(hours)


def test_ways_in() -> None:
    assert ssh_way("direct", "i-1", "eu-west-1") == []
    assert ssh_way("proxyjump", "i-1", "eu-west-1", jump="ops@bastion:2222") == ["-J", "ops@bastion:2222"]
    assert ssh_way("eice", "i-1", "eu-west-1", endpoint_id="eice-1") == [
        "-o", "ProxyCommand=aws ec2-instance-connect open-tunnel --instance-id i-1 --region eu-west-1 "
              "--instance-connect-endpoint-id eice-1"]


@pytest.mark.parametrize(("via", "words"), [("proxyjump", "set dfir_aws_ssh_jump"),
                                            ("ssm", "direct, proxyjump or eice")])
def test_a_way_that_leads_nowhere_is_named(via: str, words: str) -> None:
    with pytest.raises(AnsibleFilterError, match=words):
        ssh_way(via, "i-1", "eu-west-1")
