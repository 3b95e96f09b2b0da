# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may ask for what, and who stands at the door."""

from __future__ import annotations

import re
from copy import deepcopy
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.dfir.aws.plugins.module_utils import registry, request_door, request_fields, request_spec
from ansible_collections.dfir.aws.plugins.module_utils.registry import Caller, Refused, RegistryError

ROOT = Path(__file__).resolve().parents[3]
ARN = "arn:aws:iam::123456789012:user/dfir-controller"
CLI = Caller("cli", "dfir-controller", ARN, "123456789012")


@pytest.fixture
def values(table: dict[str, Any]) -> dict[str, Any]:
    checked, problems = request_fields.check(table["valid"])
    assert not problems
    return checked


def test_alice_may_what_the_lab_grants_her(analysts: list[Any], values: dict[str, Any]) -> None:
    analyst = registry.decide(analysts, values, CLI)
    assert analyst["uid"] == "alice" and analyst["cidrs"] == ["198.51.100.20/32"]
    assert "grants" not in analyst and "callers" not in analyst


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"incident": "CASE-1"}, "incident"),
        ({"incident": "xINC-1"}, "incident"),
        ({"aws_analysis_region": "eu-central-1"}, "aws_analysis_region"),
        ({"aws_snapshot_region": "eu-central-1"}, "aws_snapshot_region"),
        ({"aws_analysis_region": "cn-north-1"}, "aws_analysis_region"),
        ({"analyst_uid": "bob"}, "incident"),
        ({"analyst_uid": "bob", "incident": "TRAINING-1"}, "forensics_mode"),
        ({"analyst_uid": "mallory"}, "analyst_uid"),
    ],
)
def test_a_missing_right_is_refused_by_name(analysts: list[Any], values: dict[str, Any], changes: dict[str, str],
                                            field: str) -> None:
    with pytest.raises(Refused) as refusal:
        registry.decide(analysts, {**values, **changes}, CLI)
    assert refusal.value.field == field and refusal.value.sentence.startswith(field)


def test_another_account_is_refused(analysts: list[Any], values: dict[str, Any]) -> None:
    with pytest.raises(Refused, match=r"^account: .*999999999999"):
        registry.decide(analysts, values, CLI._replace(account="999999999999"))


def test_a_refusal_says_nothing_about_anybody_else(analysts: list[Any], values: dict[str, Any]) -> None:
    stranger = CLI._replace(arn="arn:aws:iam::123456789012:user/mallory")
    said = []
    for uid in ("alice", "nobody"):
        with pytest.raises(Refused) as refusal:
            registry.decide(analysts, {**values, "analyst_uid": uid}, stranger)
        said.append(refusal.value.sentence.replace(uid, "X"))
    assert said[0] == said[1], "whether somebody is in the registry must not be told"
    with pytest.raises(Refused) as refusal:
        registry.decide(analysts, {**values, "incident": "TRAINING-1"}, CLI)
    assert "bob" not in refusal.value.sentence.lower()


def test_rights_of_two_grants_do_not_add_up(analysts: list[Any], values: dict[str, Any]) -> None:
    split = deepcopy(analysts)
    grant = split[0]["grants"][0]
    split[0]["grants"] = [{**grant, "modes": ["manual"]}, {**grant, "incidents": ["OTHER-*"]}]
    with pytest.raises(Refused, match="forensics_mode"):
        registry.decide(split, values, CLI)


@pytest.mark.parametrize("key", ["incidents", "accounts", "regions", "modes"])
def test_what_a_grant_leaves_out_it_does_not_grant(analysts: list[Any], values: dict[str, Any], key: str) -> None:
    for nothing in ([], None):
        short = deepcopy(analysts)
        short[0]["grants"][0][key] = nothing
        with pytest.raises(Refused):
            registry.decide(short, values, CLI)
    del short[0]["grants"][0][key]
    with pytest.raises(Refused):
        registry.decide(short, values, CLI)


@pytest.mark.parametrize(
    ("pattern", "value", "covered"),
    [
        ("INC-*", "INC-1", True),
        ("INC-*", "xINC-1", False),
        ("INC-?", "INC-12", False),
        ("INC-[12]", "INC-1", False),
        ("INC.1", "INCx1", False),
        ("inc-*", "INC-1", False),
        ("INC-1", "INC-1\n", False),
        ("arn:aws:sts::1:assumed-role/dfir/*", "arn:aws:sts::1:assumed-role/dfir/alice", True),
    ],
)
def test_patterns_cover_the_whole_value(pattern: str, value: str, covered: bool) -> None:
    assert registry.matches(pattern, value) is covered


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"cidrs": ["0.0.0.0/0"]}, "to the world"),
        ({"cidrs": []}, "no cidrs"),
        ({"cidrs": ["198.51.100.20/24"]}, "cidr that is none"),
        ({"email": "a@b\nBcc: c@d"}, "email"),
        ({"public_key": None}, "public_key"),
    ],
)
def test_a_broken_entry_is_told_to_the_operator(analysts: list[Any], values: dict[str, Any], changes: dict[str, Any],
                                                sentence: str) -> None:
    broken = [{**analysts[0], **changes}]
    with pytest.raises(RegistryError, match=sentence):
        registry.decide(broken, values, CLI)


def test_a_uid_that_stands_there_twice_is_refused(analysts: list[Any], values: dict[str, Any]) -> None:
    with pytest.raises(RegistryError, match="2 times"):
        registry.decide([analysts[0], analysts[0]], values, CLI)


def test_sources_are_a_table(tmp_path: Any, analysts: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "analysts.yml"
    path.write_text("analysts: [{uid: carol}]", encoding="utf-8")
    assert registry.load("file", {"file": str(path)}) == [{"uid": "carol"}]
    assert registry.load("inventory", {"analysts": analysts}) == analysts
    monkeypatch.setitem(registry.LOADERS, "ldap", lambda settings: [{"uid": "dave"}])
    assert registry.load("ldap", {}) == [{"uid": "dave"}]
    for source, settings in (("nowhere", {}), ("file", {"file": ""}), ("file", {"file": str(tmp_path / "none")})):
        with pytest.raises(RegistryError):
            registry.load(source, settings)
    path.write_text("a: [", encoding="utf-8")
    with pytest.raises(RegistryError, match="not YAML"):
        registry.load("file", {"file": str(path)})


def job(**more: Any) -> dict[str, Any]:
    return {"awx_job_id": 7, "awx_job_launch_type": "manual", "awx_user_name": "alice", **more}


def test_p44_on_the_platform_its_user_decides_and_not_the_claim(analysts: list[Any], values: dict[str, Any]) -> None:
    assert request_door.platform_user(job()) == "alice"
    assert registry.decide(analysts, values, CLI._replace(kind="awx", name="alice"))["uid"] == "alice"
    for name in ("bob", "Alice", "alic?", "*", "dfir-controller"):
        with pytest.raises(Refused, match="analyst_uid"):
            registry.decide(analysts, values, CLI._replace(kind="awx", name=name))


@pytest.mark.parametrize("launch", ["scheduled", "webhook", "callback", "dependency", ""])
def test_p44_a_supplied_user_of_a_job_without_a_person_is_refused(launch: str) -> None:
    with pytest.raises(Refused, match="awx_user_name came along"):
        request_door.platform_user(job(awx_job_launch_type=launch), service_principal="svc-dfir")
    with pytest.raises(Refused, match="tower_user_id came along"):
        request_door.platform_user({"awx_job_launch_type": launch, "tower_user_id": 1}, service_principal="svc-dfir")


def test_p44_a_job_without_a_person_runs_as_the_service_principal_or_not_at_all() -> None:
    scheduled = {"awx_job_id": 7, "awx_job_launch_type": "scheduled"}
    assert request_door.platform_user(scheduled, service_principal="svc-dfir") == "svc-dfir"
    with pytest.raises(Refused, match="dfir_aws_service_principal"):
        request_door.platform_user(scheduled)


def test_p44_a_workflow_names_a_person_only_when_the_operator_vouches_for_it() -> None:
    inside = job(awx_job_launch_type="workflow")
    assert request_door.platform_user(inside, service_principal="svc-dfir") == "svc-dfir"
    assert request_door.platform_user(inside, trust_workflow_user=True) == "alice"
    planned = {**inside, "awx_parent_job_schedule_id": 3}
    with pytest.raises(Refused):
        request_door.platform_user(planned, trust_workflow_user=True)


def test_p44_a_job_is_one_only_with_the_platforms_environment() -> None:
    environ = {"JOB_ID": "7", "AWX_PRIVATE_DATA_DIR": "/runner"}
    assert request_door.on_platform(job(), environ)
    assert not request_door.on_platform(job(), {})
    assert not request_door.on_platform(job(awx_job_id=8), environ)
    assert not request_door.on_platform({}, environ)
    assert request_door.refused_names(job(), on_platform=True) == []
    assert [problem.field for problem in request_door.refused_names(job(), on_platform=False)] == sorted(job())


@pytest.mark.parametrize("role", ["request", "snapshot", "analysis_host", "evidence", "toolbox", "analyst_access",
                                  "forensics", "notify", "settle", "analyze_request"])
def test_p63_results_and_inputs_of_every_role_are_refused(role: str) -> None:
    for name in (role, f"{role}_result", f"{role}_anything", f"__{role}_internal"):
        assert [problem.field for problem in request_door.refused_names({name: 1}, on_platform=True)] == [name]


def names_in(tree: Any) -> set[str]:
    """Variables that a task list or a play gives a value: set_fact, vars, register, add_host."""
    if isinstance(tree, list):
        return {name for item in tree for name in names_in(item)}
    if not isinstance(tree, dict):
        return set()
    found = {name for value in tree.values() for name in names_in(value)}
    for key in ("ansible.builtin.set_fact", "vars", "ansible.builtin.add_host", "analysis_host_variables"):
        found |= set(tree.get(key) or {}) if isinstance(tree.get(key), dict) else set()
    return found | ({tree["register"]} if "register" in tree else set()) - {"name", "groups", "cacheable"}


def test_p63_whatever_roles_and_playbooks_set_is_refused() -> None:
    files = [*ROOT.glob("playbooks/*.yml"), *ROOT.glob("roles/*/tasks/*.yml")]
    assert len(files) > 20
    names = {name for file in files for name in names_in(yaml.safe_load(file.read_text(encoding="utf-8")))}
    for folder in ROOT.glob("roles/*/defaults/main.yml"):
        names |= {folder.parents[1].name, *(yaml.safe_load(folder.read_text(encoding="utf-8")) or {})}
    assert {"settle_standing", "analyst_key", "analyze_request_problem", "__snapshot_choices"} <= names
    refused = {problem.field for problem in request_door.refused_names(dict.fromkeys(names), on_platform=True)}
    assert names - refused - set(request_fields.NAMES) - {"name", "groups"} == set()


def test_p63_other_peoples_names_and_all_fields_may_come() -> None:
    names = {**dict.fromkeys(request_fields.NAMES, 1), "my_ticket": 1, "snapshots": 1, "molecule_file": 1}
    assert request_door.refused_names(names, on_platform=False) == []


def test_a_name_that_is_none_is_not_printed() -> None:
    problems = request_door.refused_names({"dfir_x\nfatal: [localhost]": 1}, on_platform=False)
    assert problems[0].field == "an extra variable" and "\n" not in problems[0].sentence


NOW = datetime(2026, 1, 31, 12, 0, tzinfo=timezone.utc)


def spec(values: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return request_spec.build({**values, **changes}, {"uid": "alice"}, CLI, bucket="b", now=NOW)


def test_the_identity_is_the_same_on_every_door(values: dict[str, Any], table: dict[str, Any]) -> None:
    survey = {**table["valid"], "attempt": "1", "time_limit_hours": "", "wait_for_results": "true"}
    other_door, problems = request_fields.check(survey)
    assert not problems
    first = spec(values)
    # sha256sum of the canonical JSON, written by hand
    assert first["request_id"] == spec(other_door)["request_id"] == "41dc7ff3ddb011ed"
    same = {"time_limit_hours": 3, "wait_for_results": False, "aws_ec2_instance_type": "m6i.xlarge"}
    assert spec(values, **same)["request_id"] == first["request_id"]
    for change in ({"attempt": 2}, {"incident": "INC-1"}, {"forensics_mode": "manual"},
                   {"aws_snapshot_region": "eu-west-1"}, {"aws_analysis_region": "us-east-1"}):
        assert spec(values, **change)["request_id"] != first["request_id"]
    assert request_spec.identity("1", "alice", values) != request_spec.identity("2", "alice", values)


def test_several_snapshots_are_one_request_whatever_their_order(values: dict[str, Any], table: dict[str, Any]) -> None:
    ids = ["snap-0ad934c9551c5f65a", "snap-12345678"]
    doors = [request_fields.check({**table["valid"], "aws_snapshot_id": raw})[0]
             for raw in (ids, ids[::-1], ",".join(ids), "\n".join(ids[::-1]))]
    first, *others = [spec(door) for door in doors]
    assert all(other["request_id"] == first["request_id"] for other in others)
    assert first["request_id"] not in [spec({**values, "aws_snapshot_id": [name]})["request_id"] for name in ids]
    own = f"INC-2026-0042/set-{first['request_id']}/"
    assert first["artifact_prefix"] == own and [item["id"] for item in first["snapshots"]] == ids
    assert [item["artifact_prefix"] for item in first["snapshots"]] == [f"INC-2026-0042/{name}/" for name in ids]
    again = spec(doors[0], attempt=2)
    assert all(item["artifact_prefix"].endswith(f"/run-{again['request_id']}/") for item in again["snapshots"])
    assert again["artifact_prefix"] != own


def test_a_list_of_one_snapshot_is_that_snapshot(values: dict[str, Any], table: dict[str, Any]) -> None:
    listed = request_fields.check({**table["valid"], "aws_snapshot_id": [table["valid"]["aws_snapshot_id"]]})[0]
    assert spec(listed) == spec(values)


def test_how_journals_are_looked_at_is_no_other_request(values: dict[str, Any]) -> None:
    assert spec(values, journal="both")["request_id"] == spec(values)["request_id"]
    assert spec(values, journal="both")["journal"] == "both"


def test_a_later_attempt_has_a_folder_of_its_own(values: dict[str, Any]) -> None:
    first, second = spec(values), spec(values, attempt=2)
    assert first["artifact_prefix"] == "INC-2026-0042/snap-0ad934c9551c5f65a/"
    assert second["artifact_prefix"] == f"INC-2026-0042/snap-0ad934c9551c5f65a/run-{second['request_id']}/"
    assert first["record_key"] == f"requests/{first['request_id']}.json"
    assert first["tags"] == {"Name": f"dfir-{first['request_id']}", "dfir:incident": "INC-2026-0042",
                             "dfir:request": first["request_id"], "dfir:analyst": "alice"}
    assert first["requested_at"] == "2026-01-31T12:00:00Z" and first["partition"] == "aws"


def test_p63_no_raw_name_is_read_behind_the_door() -> None:
    """Extra vars outrank every other variable: a role that had an input of that name would get it unchecked."""
    raw = re.compile(r"\b(" + "|".join(request_fields.NAMES) + r")\b(?!\s*\()")
    found = []
    for path in (path for folder in ("playbooks", "roles") for kind in ("*.yml", "*.j2")
                 for path in (ROOT / folder).rglob(kind)):
        if "roles/request/" in path.as_posix() or "/files/" in path.as_posix():
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            # A variable, not a key of a structure (`request.incident`), a comment or a word of a sentence.
            for name in raw.findall(" ".join(re.findall(r"{{.*?}}|when:.*|that:.*", line))):
                if not re.search(rf"[.'\"]{name}\b", line):
                    found.append(f"{path.relative_to(ROOT)}: {line.strip()}")
    assert found == []
