# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image is looked at by its own tools before it is published: here, this machine stands in for the image."""

from __future__ import annotations

import json
import shutil
from importlib import metadata
from pathlib import Path

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.forensics import cli, content, inspection

IMAGE = Path(__file__).resolve().parents[3] / "roles/toolbox/files/image"
pytestmark = pytest.mark.skipif(not all(map(shutil.which, ("yarac", "clamscan", "sigtool"))),
                                reason="yara or clamav is not installed")
BROKEN = {
    "yara/team-broken.yar": ("rule broken { condition: nothing_of_that_name }\n", "undefined identifier"),
    "yara/team-cut.yara": ("rule cut {\n", "syntax error"),
    "yara/readme.txt": ("Our rules.\n", "it is no kind of rule that is used"),
    "clamav/team-broken.ndb": ("Team.Broken:0:*:zz\n", "Problem parsing database at line 1"),
    "clamav-vendor/daily.cvd": ("ClamAV-VDB:07 Nov 2026 03-26 -0500:27480:1:90:x:y:z:1", "vendor's signature"),
}


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "rules"
    shutil.copytree(IMAGE / "rules", folder)
    monkeypatch.setattr(content, "RULES", folder)
    monkeypatch.setattr(content, "VENDOR_DATABASE", tmp_path / "vendor")
    return folder


def test_rules_of_ours_and_of_a_team_that_compile_are_taken(rules: Path) -> None:
    (rules / "yara/team-a.yar").write_text("rule team_a { strings: $a = \"team\" condition: $a }\n")
    (rules / "clamav/team-a.ndb").write_text("Team.A:0:*:7465616d2d746573742d6f6e6c79\n")
    assert inspection.refused_rules() == []


def test_two_sets_with_a_rule_of_one_name_do_not_get_along(rules: Path) -> None:
    for name in ("team-a.yar", "team-b.yar"):
        (rules / "yara" / name).write_text("rule same_name { condition: false }\n")
    [refused] = inspection.refused_rules()
    assert refused["file"] == "team-b.yar" and "duplicated identifier" in refused["reason"]


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_each_file_that_cannot_be_used_is_named_with_the_reason(rules: Path, name: str,
                                                                capsys: pytest.CaptureFixture[str]) -> None:
    text, reason = BROKEN[name]
    (rules / name).parent.mkdir(exist_ok=True)
    (rules / name).write_text(text)
    assert cli.main(["rules"]) == 1
    [refused] = json.loads(capsys.readouterr().out)["refused"]
    assert refused["file"] == Path(name).name and reason in refused["reason"], refused
    assert str(rules) not in refused["reason"]


def test_the_bill_of_materials_lists_what_dpkg_and_python_have() -> None:
    bill = inspection.bill_of_materials()
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    purls = {item["purl"] for item in bill["components"]}
    assert len(purls) == len(bill["components"]) == len({item["bom-ref"] for item in bill["components"]})
    assert f"pkg:pypi/boto3@{metadata.version('boto3')}" in purls
    assert any(purl.startswith("pkg:deb/debian/yara@") and "&distro=debian-12" in purl for purl in purls)
    assert all(item["version"] and item["name"] for item in bill["components"])


def test_the_images_own_scanner_finds_what_does_not_belong_there(rules: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "share/dfir/samples").mkdir(parents=True)
    hit = (IMAGE / "samples/hit.txt").read_bytes()
    (root / "share/dfir/samples/hit.txt").write_bytes(hit)
    assert inspection.own_scan((str(root), "/nothing-here")) == {"files": 1, "hits": [], "vendor_database": False}
    (root / "planted").write_bytes(hit)
    found = inspection.own_scan((str(root),))
    assert [item["path"] for item in found["hits"]] == [str(root / "planted")]
    assert "DFIR_Toolbox_Test_Signature" in found["hits"][0]["signature"]
