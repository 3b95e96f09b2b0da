# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The custody form, and who may have a case checked and closed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.filter.custody import custody_form
from ansible_collections.dfir.aws.plugins.module_utils import operator_fields
from ansible_collections.dfir.aws.plugins.module_utils.custody import verify
from ansible_collections.dfir.aws.plugins.module_utils.registry import Caller, Refused
from ansible_collections.dfir.aws.plugins.plugin_utils.report.render import render

from tests.unit.custody.custody_kit import INCIDENT, Case, key, told

CLI = Caller("cli", "dfir-controller", "arn:aws:iam::123456789012:user/dfir-controller", "123456789012")


def checked(case: Case) -> dict[str, Any]:
    """As the module custody_check_info answers."""
    verdict = verify.verify(case.store, INCIDENT, key().read())
    return {"verdict": verify.as_data(verdict), "entries": verdict.entries, "artifacts": verdict.artifacts,
            "key_sha256": key().read().fingerprint}


def form(case: Case) -> tuple[dict[str, Any], dict[str, str], dict[str, Any]]:
    data = custody_form(checked(case), "s3://bucket")
    return data, {fact["label"]: fact["value"] for fact in data["facts"]}, {
        table["id"]: table["rows"] for table in data["tables"]}


def test_the_form_shows_what_was_checked(tmp_path: Path) -> None:
    case = Case(tmp_path / "case").fill()
    case.ledger.append(told(7, action="hand_over", details={"to": "Bob", "from": "Alice"}, object={
        "kind": "image", "id": "<b>usb</b>", "sha256": "0" * 64, "place": "safe"}))
    case.close()
    data, facts, tables = form(case)
    assert facts["Checked"] == "everything fits" and facts["Case"] == "closed" and data["warnings"] == []
    assert facts["Head (note it elsewhere)"].startswith("8:") and facts["Signed up to"].startswith("entry 8, ")
    assert facts["Artifacts"].startswith("2 read") and [row["key"] for row in tables["artifacts"]] == [
        f"{INCIDENT}/snap-1/a2.txt", f"{INCIDENT}/snap-1/a4.txt"]
    assert [row["number"] for row in tables["entries"]] == list(range(1, 9))
    assert [(row["number"], row["details"]) for row in tables["handed"]] == [(7, "from: Alice, to: Bob")]
    page = render(data)
    assert "&lt;b&gt;usb&lt;/b&gt;" in page and "<b>usb" not in page
    assert page == render(custody_form(checked(case), "s3://bucket")), "the same ledger, the same form"


def test_the_form_says_first_what_does_not_fit(tmp_path: Path) -> None:
    case = Case(tmp_path / "case").fill()
    case.change(2, result="failed")
    data, facts, tables = form(case)
    assert facts["Checked"] == "something does NOT fit" and facts["Artifacts"] == "not read"
    assert data["warnings"][0].startswith("Entry 3 does not carry the hash of the entry before it")
    assert "entries/000000003.json" in data["warnings"][0] and tables["artifacts"] == []
    render(data)


class TestWhoMay:
    def test_whoever_has_a_grant_for_the_incident(self, analysts: list[Any]) -> None:
        operator_fields.allow_case(analysts, "alice", CLI, "INC-2026-0042")

    @pytest.mark.parametrize(("incident", "caller"), [
        ("TRAINING-1", CLI), ("INC-2026-0042", CLI._replace(account="999999999999"))])
    def test_nobody_without_one(self, analysts: list[Any], incident: str, caller: Caller) -> None:
        with pytest.raises(Refused, match=f"There is no case of the incident {incident} that 'alice' has a right to"):
            operator_fields.allow_case(analysts, "alice", caller, incident)

    def test_nobody_as_somebody_else(self, analysts: list[Any]) -> None:
        with pytest.raises(Refused, match="may not act as the analyst 'alice'"):
            operator_fields.allow_case(analysts, "alice", CLI._replace(arn="arn:aws:iam::123456789012:user/x"), "INC-1")

    def test_a_noted_head_is_checked_at_the_door(self) -> None:
        good = {"analyst_uid": "alice", "incident": "INC-1", "noted_head": "12:" + "a" * 64}
        assert operator_fields.checked("verify_case", good)[1] == []
        for wrong in ("12", "0:" + "a" * 64, "{{ 1 }}:" + "a" * 64):
            [problem] = operator_fields.checked("verify_case", {**good, "noted_head": wrong})[1]
            assert problem.field == "noted_head"

    def test_the_ledgers_folder_is_no_incident(self) -> None:
        [problem] = operator_fields.checked("close_case", {"analyst_uid": "alice", "incident": "custody"})[1]
        assert problem.field == "incident"
