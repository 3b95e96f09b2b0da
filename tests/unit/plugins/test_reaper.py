# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What outlived its time or its request goes, what only looks like it stays: on an AWS that decides by our policies."""

from __future__ import annotations

import functools
import importlib
import io
import json
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dfir.aws.plugins.filter.reaper import outlived, reaper_outcome, reaper_report

from lab import seed
from tests.reaper_kit import AWAY, BUCKET, CASES, FUTURE, HOME, PAST, Account, Case
from tests.unit.lab.aws_kit import IMAGE, Kit, Recorder

pytestmark = pytest.mark.slow  # a whole account each

GRACE, ORPHAN_AGE = 3600, 0
Run = Callable[..., dict[str, Any]]
BY_NAME = {case.name: case for case in CASES}


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    kit = Kit(tmp_path_factory.mktemp("aws"), hosts=Recorder())
    kit.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": HOME})
    yield kit
    kit.close()


@pytest.fixture(scope="module")
def run(kit: Kit) -> Run:
    """Run a module in this process, as the controller that the policy in docs/iam describes.

    Its clients are made once: each module would read the services' descriptions anew, longer than its calls take.
    """
    document = seed.document("controller-policy.json").replace("dfir-artifacts-123456789012", BUCKET)
    statements = json.loads(document.replace(f"arn:aws:ec2:{HOME}:", "arn:aws:ec2:*:"))  # two analysis regions
    keys = kit.user("controller", *statements["Statement"])

    @functools.lru_cache
    def client(service: str, region: str) -> Any:
        return kit.client(service, region, keys)

    def call(module_name: str, /, check: bool = False, region: str = HOME, **arguments: Any) -> dict[str, Any]:
        module = importlib.import_module(f"ansible_collections.dfir.aws.plugins.modules.{module_name}")
        said = io.StringIO()
        given = {"region": region, "_ansible_check_mode": check, **arguments}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module.AwsModule, "client", lambda _self, name, region=region: client(name, region))
            with redirect_stdout(said), patch_module_args(given), pytest.raises(SystemExit):
                module.main()
        return dict(json.loads(said.getvalue()))

    return call


def look(run: Run, *, orphan_age: float = ORPHAN_AGE, regions: tuple[str, ...] = (HOME, AWAY)) -> dict[str, Any]:
    """What the role asks and decides."""
    exists = run("request_resources_info", regions=list(regions), iam_tags=True, partial=True)
    ids = {item["request_id"] for item in exists["resources"] if len(item["request_id"]) == 16
           and item["request_id"].islower()}
    told = run("request_records_info", bucket=BUCKET, state="all", request_ids=sorted(ids))
    return {**outlived(exists, told, GRACE, orphan_age), "unseen": exists["unseen"]}


def remove(run: Run, things: list[dict[str, Any]], *, check: bool = False) -> list[dict[str, Any]]:
    """What the role does with them, one after the other."""
    results = []
    for thing in things:
        region = HOME if thing["region"] == "global" else thing["region"]
        result = run("request_resource", check=check, region=region, type=thing["type"], id=thing["id"],
                     tags=thing["tags"])
        results.append({**result, "item": thing})
    return results


@pytest.fixture(scope="module")
def reaped(kit: Kit, run: Run) -> dict[str, Any]:
    """Everything planted at once; a report, a check, and a removal over all of it."""
    account = Account(functools.partial(kit.client), IMAGE)
    for case in CASES:
        account.plant(case)
    for thing in [thing for things in account.made.values() for thing in things if thing[0] == "instance"]:
        kit.instance(thing[1], "running")
    before = account.everything()
    judged = look(run)
    checked = remove(run, judged["outlived"], check=True)
    untouched = account.everything()
    tried = remove(run, judged["outlived"])
    for result in tried:
        if result["item"]["type"] == "instance":
            kit.instance(result["item"]["id"], "terminated")
    return {"account": account, "before": before, "untouched": untouched, "after": account.everything(),
            "judged": judged, "checked": checked, "outcome": reaper_outcome(judged, judged["unseen"], tried)}


@pytest.mark.parametrize("name", BY_NAME)
def test_what_becomes_of(name: str, reaped: dict[str, Any]) -> None:
    case: Case = BY_NAME[name]
    made = set(reaped["account"].made[name])
    assert made and made <= set(reaped["before"])
    if case.fate == "goes":
        assert not made & set(reaped["after"])
    else:
        assert made <= set(reaped["after"])
    failed = {thing["request_id"] for thing in reaped["outcome"]["failed"]}
    assert (case.request_id in failed) == (case.fate == "fails"), reaped["outcome"]["failed"]


def test_nothing_else_changed_in_the_account(reaped: dict[str, Any]) -> None:
    """Bystanders, the tags of what stays, policies, attachments: as they were before."""
    goes = {thing for name, made in reaped["account"].made.items() if BY_NAME[name].fate == "goes" for thing in made}
    gone = set(reaped["before"]) - set(reaped["after"])
    roots = {thing for thing in gone if thing[0] == "volume"} - goes  # of hosts that ended
    assert gone - roots == goes and len(roots) <= 2
    assert set(reaped["after"]) <= set(reaped["before"])
    role = next(made for name, made in reaped["account"].made.items() if name.startswith("a role that somebody"))[0]
    changed = {key for key in reaped["after"] if reaped["after"][key] != reaped["before"][key]}
    assert changed <= {role}  # its inline policy went before AWS said no; the foreign one stays
    assert "theirs" in reaped["after"][role]


def test_check_mode_changes_nothing_and_tells_what_a_run_removes(reaped: dict[str, Any]) -> None:
    assert reaped["untouched"] == reaped["before"]
    would = {(result["item"]["type"], result["item"]["id"]) for result in reaped["checked"] if result["changed"]}
    did = {(thing["type"], thing["id"]) for thing in reaped["outcome"]["removed"]}
    failed = {(thing["type"], thing["id"]) for thing in reaped["outcome"]["failed"]}
    vanished = {(thing["type"], thing["id"]) for thing in reaped["outcome"]["vanished"]}
    assert would == did | failed | vanished  # a volume goes with its host


def test_every_decision_has_a_reason(reaped: dict[str, Any]) -> None:
    lines = reaper_report(reaped["judged"])
    assert len(lines) == sum(len(reaped["judged"][key]) for key in ("outlived", "kept", "foreign"))
    assert any("not surely ours, left alone: role" in line and "its path is not /dfir/" in line for line in lines)
    assert any("it carries no tag dfir:expires" in line for line in lines)
    assert any("its request ended as 'complete'" in line for line in lines)


def test_a_second_run_finds_only_what_failed(run: Run, reaped: dict[str, Any]) -> None:
    again = {thing["id"] for thing in look(run)["outlived"] if "/" not in thing["id"]}
    assert again == {thing["id"] for thing in reaped["outcome"]["failed"]}


@pytest.fixture
def planted(kit: Kit, request: pytest.FixtureRequest) -> Account:
    """An account with one more thing, whose name is the test's."""
    account = Account(functools.partial(kit.client), IMAGE)
    account.plant(Case(request.node.name, "goes"))
    return account


def only(judged: dict[str, Any], account: Account) -> list[dict[str, Any]]:
    wanted = {identifier for things in account.made.values() for _kind, identifier in things}
    return [thing for thing in judged["outlived"] if thing["id"] in wanted]


def test_what_disappears_meanwhile_is_no_failure(kit: Kit, run: Run, planted: Account) -> None:
    [volume] = only(look(run), planted)
    kit.client("ec2").delete_volume(VolumeId=volume["id"])
    [result] = remove(run, [volume])
    assert result["gone"] and not result["changed"] and not result.get("failed")
    assert reaper_outcome({"outlived": [], "kept": [], "foreign": []}, [], [result])["failed"] == []


def test_identity_that_disappears_meanwhile_is_no_failure(kit: Kit, run: Run) -> None:
    account, iam = Account(functools.partial(kit.client), IMAGE), kit.client("iam")
    case = Case("identity that disappears", "goes", makes=("identity",))
    account.plant(case)
    things = [thing for thing in look(run)["outlived"] if thing["request_id"] == case.request_id]
    assert [thing["type"] for thing in things] == ["role-in-profile", "instance-profile", "role-policy", "role"]
    name = f"dfir-{case.request_id}"
    iam.remove_role_from_instance_profile(InstanceProfileName=name, RoleName=name)
    iam.delete_instance_profile(InstanceProfileName=name)
    iam.delete_role_policy(RoleName=name, PolicyName="artifacts")
    iam.delete_role(RoleName=name)
    assert all(result["gone"] and not result["changed"] for result in remove(run, things))


@pytest.mark.parametrize("changed", [{"dfir:expires": FUTURE}, {"hold": "legal"}, {"dfir:incident": "INC-2"}])
def test_a_tag_that_changed_after_the_look_keeps_a_thing(kit: Kit, run: Run, planted: Account,
                                                         changed: dict[str, str]) -> None:
    [volume] = only(look(run), planted)
    kit.client("ec2").create_tags(Resources=[volume["id"]], Tags=[
        {"Key": key, "Value": value} for key, value in changed.items()])
    [result] = remove(run, [volume])
    assert result["failed"] and "its tags changed meanwhile" in result["msg"] and next(iter(changed)) in result["msg"]
    assert ("volume", volume["id"]) in planted.everything()


def test_a_tag_that_was_taken_off_after_the_look_keeps_a_thing(kit: Kit, run: Run, planted: Account) -> None:
    [volume] = only(look(run), planted)
    kit.client("ec2").delete_tags(Resources=[volume["id"]], Tags=[{"Key": "dfir:request"}])
    [result] = remove(run, [volume])
    assert result["failed"] and "left alone: it carries no tag dfir:request" in result["msg"]


def test_something_young_without_a_record_may_belong_to_a_request_elsewhere(kit: Kit, run: Run) -> None:
    account = Account(functools.partial(kit.client), IMAGE)
    account.plant(Case("young", "stays", expires=FUTURE, record="absent"))
    assert only(look(run, orphan_age=3600), account) == []
    assert len(only(look(run, orphan_age=0), account)) == 1


def test_identity_stays_while_its_region_was_not_looked_at(kit: Kit, run: Run) -> None:
    account = Account(functools.partial(kit.client), IMAGE)
    case = Case("blind", "stays", makes=("identity",), expires=PAST, record="finished", region=AWAY)
    account.plant(case)
    judged = look(run, regions=(HOME,))
    assert not [thing for thing in judged["outlived"] if thing["request_id"] == case.request_id]
    reasons = {thing["reason"] for thing in judged["kept"] if thing["request_id"] == case.request_id}
    assert reasons == {f"its host might live where nobody could look: {AWAY}"}


def test_a_region_that_cannot_be_asked_is_a_failure_in_the_end_and_the_others_are_looked_at(kit: Kit, run: Run,
                                                                                           planted: Account) -> None:
    kit.faults.arm("aws.throttle", times=None,
                   match={"service": "ec2", "region": AWAY, "action": "DescribeInstances"})
    try:
        judged = look(run)
    finally:
        kit.faults.clear()
    assert [item["place"] for item in judged["unseen"]] == [AWAY]
    assert len(only(judged, planted)) == 1
    [failed] = reaper_outcome(judged, judged["unseen"], [])["failed"]
    assert failed["type"] == "region" and failed["id"] == AWAY and "limit" in failed["reason"].lower()
