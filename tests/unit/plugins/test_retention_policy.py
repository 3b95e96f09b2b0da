# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Classes of incidents: what is refused in one sentence, which class counts, and the S3 rules that are made of them."""

from __future__ import annotations

import json
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.dfir.aws.plugins.filter import retention as filters
from ansible_collections.dfir.aws.plugins.module_utils import operator_fields, registry
from ansible_collections.dfir.aws.plugins.module_utils.retention_find import savings
from ansible_collections.dfir.aws.plugins.module_utils.retention_lifecycle import LifecycleError, compare, wanted
from ansible_collections.dfir.aws.plugins.module_utils.retention_policy import PolicyError, checked, covers, of_incident

from tests.retention_kit import CLASSES, NOW

ROOT = Path(filters.__file__).resolve().parents[2]
GOOD: dict[str, Any] = {"name": "all", "incidents": ["*"], "keep_days": 30}
DEFAULTS = yaml.safe_load((ROOT / "roles/retention/defaults/main.yml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("change", "words"), [
    ({"name": ""}, "needs a name"), ({"name": "All"}, "needs a name"), ({"name": 3}, "needs a name"),
    ({"name": "a\n"}, "needs a name"), ({"incidents": []}, "needs incidents"), ({"incidents": "*"}, "needs incidents"),
    ({"incidents": ["a/b"]}, "needs incidents"), ({"incidents": ["INC-*\n"]}, "needs incidents"),
    ({"keep_days": -1}, "keep_days that is no number"), ({"keep_days": "30"}, "keep_days that is no number"),
    ({"keep_days": True}, "keep_days that is no number"), ({"keep_days": float("nan")}, "keep_days that is no number"),
    ({"keep_days": None}, "keep_days that is no number"),
    ({"keep_last": 1.5}, "keep_last that is no whole number"), ({"keep_last": True}, "keep_last that is no whole"),
    ({"keep_until": "31.12.2027"}, "keep_until that is neither"), ({"keep_until": "2027-02-30"}, "keep_until that is"),
    ({"legal_hold": "yes"}, "neither true nor false"), ({"legal_hold": True}, "says keep_days as well"),
    ({"keep_day": 3}, "has a field keep_day that no class has: take it for keep_days"),
    ({"{{ x }}": 3}, "has a field that no class has: there are name"),
    ({"artifacts": {}}, "are no dictionary"), ({"artifacts": {"expire": 3}}, "artifacts.expire that no class has"),
    ({"artifacts": {"archive_class": "GLACIER"}}, "without expire_days"),
    ({"artifacts": {"archive_days": 3, "archive_class": "ICE"}}, "none of STANDARD_IA"),
    ({"artifacts": {"archive_days": 3, "archive_class": "STANDARD_IA"}}, "before 30 days"),
    ({"artifacts": {"archive_days": 9, "expire_days": 9}}, "expire before it archives"),
    ({"artifacts": {"expire_days": -1}}, "artifacts.expire_days that is no whole number")])
def test_p43_a_class_that_is_none_is_one_sentence(change: dict[str, Any], words: str) -> None:
    with pytest.raises(PolicyError) as error:
        checked([{**GOOD, **change}])
    said = str(error.value)
    assert words in said and said.startswith("The retention class ") and said.endswith(".")
    assert "\n" not in said and "{{" not in said and said.count(". ") == 0


@pytest.mark.parametrize(("raw", "words"), [
    ([], "must be a list"), ({}, "must be a list"), ("all", "must be a list"), (None, "must be a list"),
    ([3], "class 1 .* is not a dictionary"), ([GOOD, GOOD], "class 'all' .* is there twice"),
    ([GOOD, {**GOOD, "name": "late"}], "class 'late' .* can never be reached: the class 'all' before it"),
    ([{"name": "a", "incidents": ["*"]}], "says nothing of how long"),
    ([{"name": "a", "incidents": ["*"], "legal_hold": False}], "only says that there is no legal_hold")])
def test_a_list_that_is_none_is_one_sentence(raw: Any, words: str) -> None:
    with pytest.raises(PolicyError, match=words):
        checked(raw)


def test_the_first_class_that_covers_a_name_counts() -> None:
    policies = checked([{**GOOD, "name": "one", "incidents": ["INC-1?", "X"]}, {**GOOD, "name": "all"}])
    assert [of_incident(policies, name).name for name in ("INC-12", "X", "INC-1", "INC-123", "x")] == [
        "one", "one", "all", "all", "all"]
    assert of_incident(policies[:1], "INC-2") is None
    assert covers("a.c", "a.c") and not covers("a.c", "abc") and not covers("INC-?", "INC-12")


@pytest.mark.parametrize(("until", "end"), [
    ("2027-01-31", "2027-02-01T00:00:00Z"), (date(2027, 1, 31), "2027-02-01T00:00:00Z"),
    ("2027-01-31T12:00:00Z", "2027-01-31T12:00:00Z")])
def test_a_day_counts_to_its_end(until: Any, end: str) -> None:
    [policy] = checked([{**GOOD, "keep_until": until}])
    assert policy.keep_until == datetime.strptime(end, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)


def test_p60_the_roles_own_classes_and_prices_are_sound_and_a_saving_is_at_most_the_price() -> None:
    assert checked(DEFAULTS["retention_default_classes"]) and checked(CLASSES)
    priced = savings([{"gib": 10.0, "region": "eu-west-1"}], DEFAULTS["retention_default_prices"])
    assert priced["usd_at_most"] == 0.5 and priced["stand_in"] == ["eu-west-1"]
    assert savings([{"gib": 10.0, "region": "eu-west-1"}], [])["usd_at_most"] is None
    assert savings([], [])["usd_at_most"] == 0


class TestLifecycle:
    CLASSES = checked([
        {"name": "held", "incidents": ["HELD-*"], "legal_hold": True},
        {"name": "dated", "incidents": ["DATED-*"], "keep_until": "2030-01-01",
         "artifacts": {"expire_days": 10, "archive_days": 5}},
        {"name": "plain", "incidents": ["PLAIN-*"], "keep_days": 1},
        {"name": "all", "incidents": ["*"], "keep_days": 30,
         "artifacts": {"archive_days": 90, "archive_class": "DEEP_ARCHIVE", "expire_days": 730}}])
    FOREIGN = {"ID": "theirs", "Filter": {"Prefix": ""}, "Status": "Enabled",
               "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}}

    def rules(self, *incidents: tuple[str, bool]) -> list[dict[str, Any]]:
        return wanted(self.CLASSES, [{"incident": name, "open": is_open} for name, is_open in incidents], NOW, 30)

    def test_closed_cases_have_rules_and_others_have_none(self) -> None:
        made = self.rules(("INC-2", False), ("INC-1", False), ("INC-3", True), ("HELD-1", False), ("PLAIN-1", False))
        assert [rule["ID"] for rule in made] == ["dfir-retention-INC-1", "dfir-retention-INC-2"]
        assert made[0] == {
            "ID": "dfir-retention-INC-1", "Filter": {"Prefix": "INC-1/"}, "Status": "Enabled",
            "Transitions": [{"Days": 90, "StorageClass": "DEEP_ARCHIVE"}], "Expiration": {"Days": 730},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 30}}

    def test_a_date_holds_the_expiry_back(self) -> None:
        [rule] = self.rules(("DATED-1", False))
        assert "Expiration" not in rule and "NoncurrentVersionExpiration" not in rule and rule["Transitions"]

    def test_the_example_file_is_what_its_classes_make(self) -> None:
        classes = checked(yaml.safe_load((ROOT / "roles/retention/files/classes-example.yml").read_text()))
        made = wanted(classes, [{"incident": name, "open": name == "INC-2026-0043"} for name in (
            "INC-2026-0042", "INC-2026-0043", "LEGAL-2026-7", "TRAINING-9")], NOW, 30)
        assert json.loads((ROOT / "roles/retention/files/lifecycle-example.json").read_text()) == {"Rules": made}

    def test_others_rules_stay_and_ours_are_held_against_the_classes(self) -> None:
        one, two = self.rules(("INC-1", False), ("INC-2", False))
        stale = {**one, "ID": "dfir-retention-HELD-1"}
        found = compare([self.FOREIGN, {**one, "Status": "Disabled"}, stale], [one, two])
        assert (found.missing, found.changed, found.surplus) == (["INC-2"], ["INC-1"], ["HELD-1"])
        assert found.rules == [self.FOREIGN, one, two]
        assert not any(compare(found.rules, [one, two])[:3])

    def test_more_rules_than_s3_takes_are_refused(self) -> None:
        many = self.rules(*((f"INC-{number}", False) for number in range(1000)))
        with pytest.raises(LifecycleError, match="1001 lifecycle rules, and S3 takes 1000"):
            compare([self.FOREIGN], many)


class TestDoor:
    ARN = "arn:aws:sts::123456789012:assumed-role/dfir-retention/cron"
    CALLER = registry.Caller("cli", "cron", ARN, "123456789012")
    ENTRY = {"uid": "ops", "email": "ops@example.org", "callers": ["arn:aws:sts::*:assumed-role/dfir-retention/*"],
             "rights": ["retention"]}

    def test_who_has_the_right_is_let_in_without_a_key_or_an_address(self) -> None:
        assert registry.entitled([self.ENTRY], "ops", self.CALLER, "retention") == {
            "uid": "ops", "name": "ops", "email": "ops@example.org", "timezone": "UTC"}

    @pytest.mark.parametrize("change", [{"rights": []}, {"rights": None}, {"rights": ["retention2"]},
                                        {"rights": True}, {"rights": {"retention": True}}, {"callers": []},
                                        {"uid": "else"}])
    def test_nobody_else_is(self, change: dict[str, Any]) -> None:
        with pytest.raises(registry.Refused, match=r"^analyst_uid: "):
            registry.entitled([{**self.ENTRY, **change}], "ops", self.CALLER, "retention")

    def test_on_a_schedule_the_service_principal_needs_the_right_as_well(self) -> None:
        robot = registry.Caller("awx", "svc-retention", self.ARN, "123456789012")
        with pytest.raises(registry.Refused):
            registry.entitled([self.ENTRY], "ops", robot, "retention")
        entry = {**self.ENTRY, "awx_users": ["svc-retention"]}
        assert registry.entitled([entry], "ops", robot, "retention")["uid"] == "ops"

    def test_nothing_is_deleted_unless_it_is_asked_for(self) -> None:
        values, problems = operator_fields.checked("expire", {"analyst_uid": "ops"})
        assert not problems and (values["delete_expired"], values["apply_lifecycle"]) == (False, False)
        values, problems = operator_fields.checked("expire", {"analyst_uid": "ops", "delete_expired": "true"})
        assert not problems and values["delete_expired"] is True
        for wrong in ("maybe", 2, ["true"], "{{ true }}"):
            assert operator_fields.checked("expire", {"analyst_uid": "ops", "delete_expired": wrong})[1]


class TestReport:
    ROW: dict[str, Any] = {
        "id": "snap-1", "region": "eu-west-1", "source": "snap-2", "source_region": "us-east-1", "incidents": ["INC-1"],
        "requests": ["r"], "classes": ["all"], "expires": "2026-01-01T00:00:00Z", "started": "2026-01-01T00:00:00Z",
        "volume_gib": 8, "gib": 2.0, "size_known": True, "code": "expired", "reason": "it is over", "tags": {"a": "b"}}
    FOUND: dict[str, Any] = {
        "expiring": [ROW, {**ROW, "id": "snap-3"}], "kept": [{**ROW, "id": "snap-4", "reason": "it is locked"}],
        "foreign": [], "within": [{"region": "eu-west-1", "class": "all", "code": "expires", "number": 4}],
        "gib": 4.0, "saving": savings([ROW, ROW], DEFAULTS["retention_default_prices"]), "recycle_bin": [],
        "unseen": [], "unreadable": [], "looked": ["eu-west-1"], "looked_at": "2026-11-28T12:00:00Z"}

    def test_a_run_that_only_tells_has_removed_nothing(self) -> None:
        outcome = filters.retention_outcome(self.FOUND, [])
        assert outcome["to_tell"] and not outcome["removed"] and not outcome["failed"]
        assert filters.retention_subject(outcome) == "[retention] copies of snapshots: 2 to go"
        assert "copies    2 to go, 1 kept by something, 4 within their period, 0 not surely ours; in eu-west-1" in \
            outcome["lines"]
        assert any("saves at most 0.20 USD a month" in line and "of us-east-1 for want of" in line
                   for line in outcome["lines"])
        assert "tags" not in outcome["report"]["expiring"][0]

    def test_what_came_of_each_is_told(self) -> None:
        rows = self.FOUND["expiring"]
        outcome = filters.retention_outcome(self.FOUND, [
            {"item": rows[0], "gone": False, "changed": True, "left": ""},
            {"item": rows[1], "failed": True, "msg": "The snapshot snap-3 could not\nbe deleted"}])
        assert [row["id"] for row in outcome["removed"]] == ["snap-1"]
        assert outcome["failed"][0]["reason"] == "The snapshot snap-3 could not be deleted"
        assert filters.retention_subject(outcome) == "[retention] copies of snapshots: 1 deleted, 1 FAILED"
        left = filters.retention_outcome(self.FOUND, [{"item": rows[0], "gone": False, "changed": False, "left": "why"},
                                                      {"item": rows[1], "gone": True, "changed": False, "left": ""}])
        assert [row["reason"] for row in left["left"]] == ["why"] and [row["id"] for row in left["vanished"]] == [
            "snap-3"] and not left["failed"] and not left["removed"]

    def test_the_same_again_has_the_same_name_and_nothing_to_do_is_not_told(self) -> None:
        first, later = (filters.retention_outcome({**self.FOUND, "looked_at": f"2026-11-28T{hour}:00:00Z"}, [])
                        for hour in (12, 13))
        assert first["key"] == later["key"] and first["report"] == later["report"]
        assert not filters.retention_outcome({**self.FOUND, "expiring": []}, [])["to_tell"]

    @pytest.mark.parametrize("blind", [{"unseen": [{"place": "us-east-1", "reason": "denied"}]},
                                       {"unreadable": ["requests/x.json"]}])
    def test_what_could_not_be_looked_at_is_a_failure(self, blind: dict[str, Any]) -> None:
        outcome = filters.retention_outcome({**self.FOUND, "expiring": [], **blind}, [])
        assert outcome["to_tell"] and len(outcome["failed"]) == 1

    @pytest.mark.parametrize("name", filters.FilterModule().filters())
    def test_every_filter_has_its_documentation(self, name: str) -> None:
        document = yaml.safe_load((ROOT / f"plugins/filter/{name}.yml").read_text(encoding="utf-8"))
        assert document["DOCUMENTATION"]["name"] == name and document["EXAMPLES"] and document["RETURN"]
