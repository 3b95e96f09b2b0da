# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Acquiring in several accounts: lists of instances, grants by account, roles and what is said when they are closed."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.filter import acquisition
from ansible_collections.dfir.aws.plugins.module_utils import assumed_role, operator_fields, registry
from ansible_collections.dfir.aws.plugins.module_utils.acquisition import labels, plan, targets
from botocore.exceptions import ClientError

IAM = Path(__file__).resolve().parents[3] / "docs" / "iam"
HOME, OTHER, THIRD = "123456789012", "210987654321", "321098765432"
ONE, TWO, THREE = (f"i-{letter * 17}" for letter in "abc")
VALID = {"analyst_uid": "alice", "incident": "INC-1", "aws_instance_region": "eu-west-1"}
CALLER = registry.Caller("cli", "c", f"arn:aws:iam::{HOME}:user/c", HOME)
GRANT = {"incidents": ["INC-*"], "accounts": [HOME], "regions": ["eu-west-1"], "modes": ["acquire"]}
ENTRY = {"uid": "alice", "email": "a@example.org", "callers": [CALLER.arn], "cidrs": ["198.51.100.1/32"],
         "public_key": {"source": "ssm"}, "grants": [GRANT]}
MEMBERS = {OTHER: {"role": "forensics/dfir-acquisition", "external_id": "word-4711"}}
NOW = datetime(2026, 11, 28, 21, 0, 5, tzinfo=timezone.utc)
LIST = f"# the shop\n{OTHER} = {TWO}, {ONE}  # two\r\n\n{HOME}={THREE}"


def checked(files: bool = False, **fields: Any) -> dict[str, Any]:
    values, problems = operator_fields.checked("acquire", {**VALID, **fields}, files=files)
    assert not problems, problems
    return values


def problem(files: bool = False, **fields: Any) -> str:
    _values, problems = operator_fields.checked("acquire", {**VALID, **fields}, files=files)
    assert len(problems) == 1, problems
    return str(problems[0].sentence)


def spec(**fields: Any) -> dict[str, Any]:
    return labels.build(checked(**fields), {"uid": "alice"}, CALLER, bucket="b", now=NOW, members=MEMBERS)


def test_a_list_is_the_same_as_text_as_lines_and_as_a_file(tmp_path: Path) -> None:
    wanted = {HOME: [THREE], OTHER: [ONE, TWO]}
    (tmp_path / "list").write_text(LIST)
    assert checked(aws_instance_list=LIST)["listed"] == wanted
    assert checked(aws_instance_list=LIST.split("\n"))["listed"] == wanted
    assert checked(files=True, aws_instance_list_file=str(tmp_path / "list"))["listed"] == wanted
    # Where files are nobody's own the field is not even looked at.
    assert "give one of them" in problem(aws_instance_list_file=str(tmp_path / "list"))


@pytest.mark.parametrize(("text", "says"), [
    (f"\n{OTHER}", "line 2: 'account=instance,instance' is expected"),
    (f"{OTHER}={ONE}\n12345={ONE}", "line 2: what stands before '=' is no AWS account"),
    (f"{OTHER}={ONE}\n\n{OTHER}={TWO}", f"line 3: the account {OTHER} stands in line 1 already"),
    (f"{OTHER}={ONE},i-1", "line 1: instance 2 is no instance id"),
    (f"{OTHER}=", "line 1: instance 1 is no instance id"),
    (f"{OTHER}={ONE},{ONE}", "line 1: an instance is named twice"),
    ("# nothing\n", "names no instance"),
    ("\n".join(f"{number:012}={ONE}" for number in range(51)), "names 51 instances in 51 accounts"),
    (f"{OTHER}={{{{ lookup('pipe', 'id') }}}}", "holds a template"),
    (f"{OTHER}={ONE}\x07", "control character"),
    ("x" * 70_000, "is too long"),
])
def test_what_is_wrong_with_a_list_is_said_with_its_line(text: str, says: str, tmp_path: Path) -> None:
    assert says in problem(aws_instance_list=text)
    if "template" not in says and "too long" not in says and "control" not in says:
        (tmp_path / "shop.list").write_text(text)
        told = problem(files=True, aws_instance_list_file=str(tmp_path / "shop.list"))
        assert says in told and f"{tmp_path}/shop.list" in told


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    missing = problem(files=True, aws_instance_list_file=f"{tmp_path}/none")
    assert f"{tmp_path}/none cannot be read: No such file" in missing
    (tmp_path / "odd").write_bytes(f"{OTHER}={ONE}\n# ü".encode())
    assert "odd, line 2: there are characters outside ASCII" in problem(
        files=True, aws_instance_list_file=f"{tmp_path}/odd")
    (tmp_path / "long").write_bytes(b"#" * 65_537)
    assert "has 65537 bytes" in problem(files=True, aws_instance_list_file=f"{tmp_path}/long")


def test_one_way_of_naming_instances_and_no_account_beside_a_list() -> None:
    assert "give one of them" in problem(aws_instance_list=LIST, aws_instance_id=ONE)
    assert "give one of them" in problem()
    assert "a list names the account in each line" in problem(aws_instance_list=LIST, aws_account=OTHER)
    assert checked(aws_account=OTHER, aws_instance_tags="app=web")["aws_account"] == OTHER
    assert "this run's own account" in problem(aws_account=OTHER, aws_instance_id=ONE, contain=ONE)


def test_each_account_needs_its_grant_and_a_way_in() -> None:
    def ask(members: dict[str, Any], *accounts: str) -> str:
        entry = {**ENTRY, "grants": [{**GRANT, "accounts": list(accounts)}]}
        try:
            operator_fields.acquirer([entry], checked(aws_instance_list=LIST), CALLER, members)
        except registry.Refused as refusal:
            return refusal.sentence
        return ""

    assert ask(MEMBERS, HOME, OTHER) == ""
    assert f"no right to the AWS account {OTHER}" in ask(MEMBERS, HOME)
    assert f"no right to the AWS account {HOME}" in ask(MEMBERS, OTHER)
    assert f"no way into the account {OTHER}" in ask({}, HOME, OTHER)
    assert f"no way into the account {OTHER}" in ask({THIRD: {"role": "r"}}, HOME, OTHER)
    assert ask({"*": {"role": "r"}}, HOME, OTHER) == ""
    # Who has no right does not learn which accounts can be entered.
    assert "no right" in ask({}, HOME)


@pytest.mark.parametrize("entry", [{}, {"role": ""}, {"role": "a b"}, {"role": "r", "external_id": "a\nb"}, "r"])
def test_a_wrong_entry_of_the_inventory_is_the_operators_business(entry: Any) -> None:
    with pytest.raises(registry.RegistryError, match=f"dfir_aws_member_accounts .* account {OTHER}"):
        targets.entry_of({OTHER: entry}, OTHER)
    assert targets.entry_of({int(OTHER): {"role": "r"}}, OTHER) == {"role": "r"}  # YAML reads it as a number


def test_a_request_names_roles_and_sessions_and_never_the_external_id() -> None:
    asked = spec(aws_instance_list=LIST)
    home, other = asked["targets"]
    assert home == {"account": HOME, "instance_ids": [THREE], "instance_tags": {}, "role_arn": "", "session_name": "",
                    "source_identity": ""}
    assert other["role_arn"] == f"arn:aws:iam::{OTHER}:role/forensics/dfir-acquisition"
    assert other["session_name"] == f"dfir-INC-1-{asked['request_id']}" and other["source_identity"] == "alice"
    assert "word-4711" not in str(asked)
    [entered] = acquisition.acquisition_access(asked, MEMBERS)
    assert entered["external_id"] == "word-4711" and entered["account"] == OTHER
    role = acquisition.acquisition_role(OTHER, asked, MEMBERS)
    assert role == {key: value for key, value in entered.items() if key != "account"}
    assert acquisition.acquisition_role(HOME, asked, MEMBERS) == {}
    quiet = {OTHER: {**MEMBERS[OTHER], "source_identity": False}}
    kept = labels.build(checked(aws_instance_list=LIST), {"uid": "alice"}, CALLER, bucket="b", now=NOW, members=quiet)
    assert "source_identity" not in acquisition.acquisition_access(kept, quiet)[0]


def test_the_longest_incident_still_makes_a_session_name() -> None:
    asked = labels.build({**checked(aws_instance_list=LIST), "incident": "I" * 64}, {"uid": "a"}, CALLER, bucket="b",
                         now=NOW, members=MEMBERS)
    other = asked["targets"][1]
    assert len(other["session_name"]) == 64 and other["session_name"].endswith(asked["request_id"])
    assert other["source_identity"] == ""  # AWS takes none of one character


def test_who_names_this_account_asks_for_the_same_as_who_names_none() -> None:
    plain = spec(aws_instance_id=ONE)
    assert plain["request_id"] == spec(aws_instance_id=ONE, aws_account=HOME)["request_id"]
    others = {spec(aws_instance_id=ONE, aws_account=OTHER)["request_id"], spec(aws_instance_list=LIST)["request_id"],
              plain["request_id"]}
    assert len(others) == 3


def test_an_account_that_is_closed_is_told_once_and_by_name() -> None:
    asked = spec(aws_instance_list=LIST)
    closed = plan.unreachable({**asked, **asked["targets"][1]}, "The role cannot be assumed.")
    plan_ = acquisition.acquisition_plan(closed, asked, [])
    told = acquisition.acquisition_result(plan_, [], [], [], asked)
    assert told["problem"] == "2 of 2 instances could not be acquired: The role cannot be assumed."
    assert told["failed"] == [ONE, TWO] and told["evidence"] == []
    assert told["lines"][0] == f"{ONE} of {OTHER}: FAILED: The role cannot be assumed."
    by_tags = spec(aws_account=OTHER, aws_instance_tags="app=web")
    [entry] = plan.unreachable({**by_tags, **by_tags["targets"][0]}, "Closed.")
    told = acquisition.acquisition_result(acquisition.acquisition_plan([entry], by_tags, []), [], [], [], by_tags)
    assert told["lines"] == [f"The account {OTHER}: FAILED: Closed."] and told["failed"] == [OTHER]


def test_what_is_handed_on_says_whose_a_snapshot_is() -> None:
    asked = spec(aws_instance_list=LIST)
    volume = {"volume_id": "vol-1", "device": "/dev/sda", "root": True, "size_gib": 8, "captured": True, "why": "",
              "kms_key_id": "key", "product_codes": []}
    snapshot = {"snapshot_id": "snap-1", "account": OTHER, "volume_id": "vol-1", "device": "/dev/sda", "size_gib": 8,
                "state": "completed", "started": "", "name": "", "encrypted": True}
    entry = {"instance_id": ONE, "account": OTHER, "acquisition": "a", "volumes": [volume], "not_captured": [],
             "earlier": 0, "state": "running", "type": "t", "name": "", "zone": "", "problem": ""}
    made = {"instance_id": ONE, "snapshots": [snapshot], "not_captured": [], "problem": ""}
    told = acquisition.acquisition_result(acquisition.acquisition_plan([entry], asked, []), [], [made], [], asked)
    assert told["evidence"] == [{
        "snapshot_id": "snap-1", "account": OTHER, "volume_id": "vol-1", "device": "/dev/sda", "size_gib": 8,
        "encrypted": True, "kms_key_id": "key", "state": "completed", "region": "eu-west-1", "instance_id": ONE,
        "root": True, "own": False}]


def error(code: str, operation: str = "AssumeRole") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, operation)


def test_why_a_role_is_closed_says_where_to_look() -> None:
    told = assumed_role.why_not("arn:r", error("AccessDenied"))
    assert all(word in told for word in ("arn:r", "trust policy", "external id", "sts:AssumeRole"))
    assert "STS is not activated" in assumed_role.why_not("arn:r", error("RegionDisabledException"))
    closed = assumed_role.in_account(OTHER, "ap-east-1", error("AuthFailure", "DescribeInstances"))
    assert OTHER in closed and "ap-east-1" in closed and "enabled" in closed
    assert "enabled" not in assumed_role.in_account(OTHER, "eu-west-1", error("UnauthorizedOperation"))


class Sts:
    """Opens sessions that end in so many seconds."""

    def __init__(self, *seconds: int) -> None:
        self.seconds, self.asked = list(seconds), []

    def assume_role(self, **asked: Any) -> dict[str, Any]:
        self.asked.append(asked)
        if not self.seconds:
            raise error("AccessDenied")
        end = datetime.now(timezone.utc) + timedelta(seconds=self.seconds.pop(0))
        return {"Credentials": {"AccessKeyId": f"AK{len(self.asked)}", "SecretAccessKey": "s", "SessionToken": "t",
                                "Expiration": end}}


ROLE = {"role_arn": "arn:aws:iam::1:role/r", "external_id": "word", "session_name": "dfir-1", "source_identity": None}


def made(entrance: assumed_role.Entrance, service: str = "ec2") -> Any:
    return entrance.client(service, region="eu-west-1", endpoint="http://127.0.0.1:1", verify=None, config=None)


def test_a_session_is_shared_and_renewed_before_it_ends() -> None:
    sts = Sts(3600)
    entrance = assumed_role.Entrance(ROLE, lambda: sts)
    clients = [made(entrance), made(entrance, "cloudtrail")]
    assert sts.asked == [{"RoleArn": ROLE["role_arn"], "RoleSessionName": "dfir-1", "DurationSeconds": 3600,
                          "ExternalId": "word"}]
    assert {client._request_signer._credentials.access_key for client in clients} == {"AK1"} and len(sts.asked) == 1
    ends = Sts(60, 3600)
    client = made(assumed_role.Entrance(ROLE, lambda: ends))
    assert client._request_signer._credentials.access_key == "AK2" and len(ends.asked) == 2


def test_a_role_that_is_refused_is_no_traceback() -> None:
    with pytest.raises(assumed_role.CannotEnter, match="cannot be assumed"):
        made(assumed_role.Entrance(ROLE, Sts))


def test_the_role_of_a_member_account_may_what_the_controller_may_but_for_the_bucket() -> None:
    def statements(name: str) -> list[dict[str, Any]]:
        text = (IAM / name).read_text(encoding="utf-8").replace("MEMBER_ID", "ACCOUNT_ID")
        return list(json.loads(text)["Statement"])

    own = [one for one in statements("acquisition-policy.json") if one["Sid"] != "SignCustodyLedgers"]
    assert statements("member-acquisition-policy.json") == [one for one in own if "s3:" not in str(one["Action"])]


def looked(*evidence: dict[str, Any], afterwards: str = "triage", **hosts: dict[str, Any]) -> dict[str, Any]:
    result = {"lines": ["first"], "problem": "", "evidence": list(evidence)}
    return acquisition.acquisition_followed(result, {"afterwards": afterwards}, {
        name.replace("_", "-"): variables for name, variables in hosts.items()})


def test_each_look_into_a_snapshot_has_a_line_and_a_failure_is_a_problem() -> None:
    ours, theirs = {"snapshot_id": "snap-1", "account": HOME, "own": True}, {
        "snapshot_id": "snap-2", "account": OTHER, "own": False}
    seen = {"triage_result": {"counts": {"high": 2, "low": 0}, "places": ["s3://b/x/"]}}
    assert looked(ours, theirs, afterwards="none")["lines"] == ["first"]
    told = looked(ours, theirs, snap_1=seen)
    assert told["lines"][1] == "snap-1: looked into: 2 high; s3://b/x/" and told["problem"] == ""
    assert "snap-2: NOT looked into: it belongs to the account" in told["lines"][2]
    failed = looked(ours, snap_1={"acquire_instance_problem": {"message": "no rights\non it"}})
    assert failed["problem"] == failed["lines"][1] == "snap-1 could not be looked into: no rights on it"
    assert "it was not completed" in looked(ours)["problem"]
    assert acquisition.acquisition_followed({}, {"afterwards": "triage"}, {}) == {}
