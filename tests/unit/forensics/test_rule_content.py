# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image says of its rules and signatures, and what a mail makes of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from ansible_collections.dfir.aws.plugins.filter.toolbox import rule_ages
from ansible_collections.dfir.aws.plugins.module_utils.forensics import content
from ansible_collections.dfir.aws.plugins.module_utils.plain_facts import numbers_and_words

IMAGE = Path(__file__).resolve().parents[3] / "roles/toolbox/files/image"


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "rules"
    shutil.copytree(IMAGE / "rules", folder)
    monkeypatch.setattr(content, "RULES", folder)
    monkeypatch.setattr(content, "VENDOR_DATABASE", tmp_path / "vendor")
    return folder


def test_an_image_built_by_hand_knows_versions_but_no_ages(rules: Path) -> None:
    said = content.describe()
    assert said["image"] is None and [(one["kind"], one["name"], one["date"]) for one in said["sets"]] == [
        ("yara", "dfir", None), ("clamav", "dfir", None)]
    assert said["sets"][0]["files"] == len(list((rules / "yara").glob("*.yar")))
    before = said["sets"][0]["version"]
    (rules / "yara" / "web_shells.yar").write_text("rule changed { condition: false }\n")
    assert content.describe()["sets"][0]["version"] not in (before, "unknown")


def test_a_teams_sets_have_the_names_versions_and_dates_that_they_were_given(rules: Path, tmp_path: Path) -> None:
    (rules / "yara" / "team-a.yar").write_text("rule a { condition: false }\n")
    (rules / "content.json").write_text(json.dumps({
        "image": "0.1.0-20261127.101500", "built": "2026-11-27T10:15:00Z", "sets": [
            {"kind": "yara", "name": "team", "version": "2026.11", "date": "2026-11-20T00:00:00Z",
             "files": ["team-a.yar"]},
            {"kind": "yara", "name": "gone", "version": "1", "date": None, "files": ["gone.yar"]}]}))
    (tmp_path / "vendor").mkdir()
    header = b"ClamAV-VDB:07 Nov 2026 03-26 -0500:27480:2076000:90:x:y:raynman:1"
    (tmp_path / "vendor/daily.cvd").write_bytes(header.ljust(512))
    (tmp_path / "vendor/odd.cld").write_bytes(b"no header at all")
    said = content.describe()
    assert said["image"] == "0.1.0-20261127.101500"
    sets = {one["name"]: one for one in said["sets"] if one["kind"] == "yara" or one["name"] != "dfir"}
    assert sets["team"] == {"kind": "yara", "name": "team", "version": "2026.11", "date": "2026-11-20T00:00:00Z",
                            "files": 1}
    assert "gone" not in sets and sets["dfir"]["files"] == 3
    assert (sets["daily"]["version"], sets["daily"]["date"]) == ("27480", "2026-11-07T08:26:00Z")
    assert (sets["odd"]["version"], sets["odd"]["date"]) == ("unknown", None)
    assert numbers_and_words(said) == said, "the controller must get all of it through"


def test_old_rules_are_warned_of_and_hostile_words_do_not_get_through() -> None:
    said = {"image": "1.0", "sets": [
        {"kind": "yara", "name": "team", "version": "2026.09", "date": "2026-09-01T00:00:00Z", "files": 3},
        {"kind": "clamav", "name": "daily", "version": "27480", "date": "2026-11-10T00:00:00Z", "files": 1},
        {"kind": "clamav", "name": "dfir", "version": "0a", "date": None, "files": 1},
        {"kind": "yara", "name": "{{ evil }}", "version": "a b", "date": "yesterday", "files": -3},
        {"kind": "other", "name": "x"}, "x"]}
    found = rule_ages(said, 30, "2026-11-27T12:00:00Z")
    assert [(one["kind"], one["name"], one["days"], one["old"]) for one in found["sets"]] == [
        ("YARA", "team", 87, True), ("ClamAV", "daily", 17, False), ("ClamAV", "dfir", None, False),
        ("YARA", "unknown", None, False)]
    assert found["sets"][0]["age"] == "of 2026-09-01, 87 days old" and found["sets"][2]["age"] == "of unknown age"
    assert found["warnings"] == ["YARA team is 87 days old, more than 30: publish a newer image "
                                 "(playbooks/update_toolbox.yml)."]
    assert rule_ages(said, 0, "2026-11-27T12:00:00Z")["warnings"] == []
    for nothing in (None, {}, {"sets": "x"}, []):
        assert rule_ages(nothing)["known"] is False
