# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules that look into snapshots: what they return, that a second run changes nothing, what they refuse."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dfir.aws.plugins.modules import ebs_snapshot_extract, ebs_snapshot_triage

from tests.unit.triage.triage_kit import SYSTEM, disk, ext4, tree


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("image")
    root = ext4(folder / "root.img", tree(folder / "root", SYSTEM))
    return disk(folder / "disk.img", [root.read_bytes()])


def call(module: Any, capsys: pytest.CaptureFixture[str], **options: Any) -> dict[str, Any]:
    with patch_module_args({"region": "eu-west-1", **options}), pytest.raises(SystemExit):
        module.main()
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return said


def lines(path: Path) -> list[str]:
    return gzip.decompress(path.read_bytes()).decode().splitlines()


def test_a_triage_is_made_once(image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wish = {"image": str(image), "dest": str(tmp_path / "out"), "incident": "INC-1"}
    assert call(ebs_snapshot_triage, capsys, **wish, _ansible_check_mode=True)["changed"]
    assert not (tmp_path / "out").exists()
    made = call(ebs_snapshot_triage, capsys, **wish)
    assert made["changed"] and made["triage"]["counts"]["high"] > 0
    assert {"label": "Host name", "value": "web-01", "partition": "p1"} in made["triage"]["facts"]
    names = [file["name"] for file in made["files"]]
    assert names == ["triage.json", "timeline.bodyfile.gz", "timeline.csv.gz"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    again = call(ebs_snapshot_triage, capsys, **wish)
    assert not again["changed"] and again["triage"] == made["triage"] and again["files"] == made["files"]
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    (tmp_path / "out" / "timeline.csv.gz").write_bytes(b"altered")
    assert call(ebs_snapshot_triage, capsys, **wish)["changed"], "what is not whole is made again"


def test_the_timeline_has_every_time_of_every_entry_in_order(
        image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(ebs_snapshot_triage, capsys, image=str(image), dest=str(tmp_path), timeline_rows=7)
    rows = [line.split(",") for line in lines(tmp_path / "timeline.csv.gz")]
    assert rows[0] == ["time", "macb", "partition", "path", "size", "mode", "uid", "gid", "inode"]
    moments = [row[0] for row in rows[1:]]
    assert moments == sorted(moments) and all(row[2] == "p1" for row in rows[1:])
    bodies = lines(tmp_path / "timeline.bodyfile.gz")
    assert len(bodies) > len(SYSTEM) and all(line.startswith("0|/") and line.count("|") == 10 for line in bodies)
    assert {row[3] for row in rows[1:]} == {line.split("|")[1] for line in bodies}
    inline = json.loads((tmp_path / "triage.json").read_text())["timeline"]
    assert inline["entries"] == len(rows) - 1 and len(inline["rows"]) == 7 and inline["names"] == len(bodies)
    assert inline["rows"] == sorted(inline["rows"], key=lambda row: row[0])


@pytest.mark.parametrize(("options", "said"), [
    ({"limit_blocks": -1}, "must not be negative"), ({"timeline_rows": -1}, "must not be negative"),
    ({"rules": ["/nonexistent.yml"]}, "cannot be read"), ({"image": "/nonexistent"}, "cannot be opened")])
def test_what_makes_no_sense_is_refused_and_nothing_is_written(
        image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict[str, Any], said: str) -> None:
    failed = call(ebs_snapshot_triage, capsys, **{"image": str(image), "dest": str(tmp_path / "out"), **options})
    assert failed["failed"] and said in failed["msg"] and not (tmp_path / "out").exists()


def test_files_are_taken_out_once(image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wish = {"image": str(image), "dest": str(tmp_path / "out"), "paths": ["/etc/cron.d/*", "/etc/absent"]}
    assert call(ebs_snapshot_extract, capsys, **wish, _ansible_check_mode=True)["changed"]
    assert not (tmp_path / "out").exists()
    made = call(ebs_snapshot_extract, capsys, **wish)
    [file] = made["files"]
    assert made["changed"] and file["path"] == "/etc/cron.d/gc" and made["left_out"] == 0
    assert (tmp_path / "out" / file["file"]).read_text() == SYSTEM["etc/cron.d/gc"]
    again = call(ebs_snapshot_extract, capsys, **wish)
    assert not again["changed"] and again["files"] == made["files"]
    other = call(ebs_snapshot_extract, capsys, **{**wish, "paths": ["/etc/passwd"]})
    assert other["failed"] and "is not empty" in other["msg"]
    (tmp_path / "out" / file["file"]).unlink()
    gone = call(ebs_snapshot_extract, capsys, **wish)
    assert gone["failed"] and "is not empty" in gone["msg"]
