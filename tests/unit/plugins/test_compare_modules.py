# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module that compares two disks, and what its role hands on."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dfir.aws.plugins.filter.compare import compare_prefix, compare_result
from ansible_collections.dfir.aws.plugins.module_utils.ebs.identity import SnapshotFacts
from ansible_collections.dfir.aws.plugins.module_utils.triage.compare import moment_of
from ansible_collections.dfir.aws.plugins.modules import ebs_snapshot_compare

from tests.unit.triage.compare_kit import NOW, copy_of, edit, touch
from tests.unit.triage.triage_kit import SYSTEM, ext4, tree

KEYS = {"aws_access_key": "AKIAIOSFODNN7EXAMPLE", "aws_secret_key": "x" * 40}  # those of AWS's own examples
OLD, NEW = "snap-0123456789abcdef0", "snap-0fedcba9876543210"


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("disks")
    base = ext4(folder / "base.img", tree(folder / "root", SYSTEM))
    new = copy_of(base, folder / "new.img")
    edit(new, "rm /etc/timezone", *touch("/etc/crontab", mtime="@1500000000", ctime=NOW))
    return base, new


def call(capsys: pytest.CaptureFixture[str], **options: Any) -> dict[str, Any]:
    with patch_module_args({"region": "eu-west-1", **options}), pytest.raises(SystemExit):
        ebs_snapshot_compare.main()
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return said


def test_a_comparison_is_made_once(
        disks: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    wish = {"base_image": str(disks[0]), "image": str(disks[1]), "dest": str(out), "incident": "INC-1"}
    assert call(capsys, **wish, _ansible_check_mode=True)["changed"] and not out.exists()
    made = call(capsys, **wish)
    found = made["comparison"]
    assert made["changed"] and found["kinds"]["removed"] == 1 and found["kinds"]["metadata"] == 1
    assert found["way"]["name"] == "file systems" and found["counts"]["medium"] == 1
    assert [file["name"] for file in made["files"]] == ["compare.json", "changes.csv.gz"]
    rows = list(csv.DictReader(gzip.decompress((out / "changes.csv.gz").read_bytes()).decode().splitlines()))
    assert [(row["rank"], row["kind"], row["path"]) for row in rows] == [
        ("1", "only metadata", "/etc/crontab"), ("2", "removed", "/etc/timezone")]
    assert rows[0]["modified"] == "2017-07-14T02:40:00Z" and rows[0]["modified"] < rows[0]["modified_before"]
    before = {path: path.read_bytes() for path in out.iterdir()}
    again = call(capsys, **wish)
    assert not again["changed"] and again["comparison"] == found and again["files"] == made["files"]
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    (out / "changes.csv.gz").write_bytes(b"altered")
    assert call(capsys, **wish)["changed"], "what is not whole is made again"


@pytest.mark.parametrize(("options", "said"), [
    ({"limit_blocks": -1}, "must not be negative"), ({"timeline_rows": -1}, "must not be negative"),
    ({"rules": ["/nonexistent.yml"]}, "cannot be read"), ({"image": "/nonexistent"}, "cannot be opened"),
    ({"base_image": "/nonexistent"}, "cannot be opened"), ({"manifests": ["/nonexistent"]}, "cannot be read")])
def test_what_makes_no_sense_is_refused_and_nothing_is_written(
        disks: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict[str, Any],
        said: str) -> None:
    wish = {"base_image": str(disks[0]), "image": str(disks[1]), "dest": str(tmp_path / "out"), **options}
    failed = call(capsys, **wish)
    assert failed["failed"] and said in failed["msg"] and not (tmp_path / "out").exists()


def test_one_disk_is_nothing_to_compare(
        disks: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed = call(capsys, base_image=str(disks[0]), image=str(disks[0]), dest=str(tmp_path / "out"))
    assert "nothing to compare" in failed["msg"]
    failed = call(capsys, base_snapshot_id=OLD, snapshot_id=OLD, dest=str(tmp_path / "out"), **KEYS)
    assert "nothing to compare" in failed["msg"]


@pytest.mark.parametrize(("given", "state", "said"), [
    ((OLD, NEW), "completed", (OLD, NEW)), ((NEW, OLD), "completed", (OLD, NEW)),
    ((OLD, NEW), "pending", "state pending"), ((OLD, NEW), "error", "state error")])
def test_the_one_that_was_started_first_is_the_older_one_and_both_must_be_readable(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], given: tuple[str, str],
        state: str, said: Any) -> None:
    from ansible_collections.dfir.aws.plugins.module_utils import triage_source

    started = {OLD: "2026-11-24T03:00:00.000Z", NEW: "2026-11-28T03:00:00.000Z"}
    opened = []

    class Opened(Exception):
        pass

    def describe(_client: Any, name: str) -> SnapshotFacts:
        return SnapshotFacts(name, state if name == NEW else "completed", 8, started=started[name])

    def open_it(_given: Any, _client: Any, name: str, _cache: Any) -> Any:
        opened.append(name)
        if len(opened) == 2:
            raise Opened
        return type("Source", (), {"close": lambda self: None})()

    monkeypatch.setattr(triage_source, "describe_snapshot", describe)
    monkeypatch.setattr(triage_source, "_snapshot", open_it)
    options = {"region": "eu-west-1", "base_snapshot_id": given[0], "snapshot_id": given[1],
               "dest": str(tmp_path / "out"), **KEYS}
    if isinstance(said, tuple):
        with patch_module_args(options), pytest.raises(Opened):
            ebs_snapshot_compare.main()
        assert tuple(opened) == said
    else:
        failed = call(capsys, **options)
        assert failed["failed"] and said in failed["msg"] and opened == []


def test_times_of_aws_are_moments() -> None:
    assert moment_of("2026-11-24T03:00:00.000Z") == moment_of("2026-11-24T03:00:00+00:00") == 1795489200 * 10**9
    assert moment_of("") is None and moment_of("yesterday") is None


def test_what_the_role_hands_on() -> None:
    found = {"made": "2026-11-28T12:00:00Z", "source": {"name": NEW, "blocks_read": 9}, "base": {"name": OLD},
             "kinds": {"added": 2}, "counts": {"high": 1}, "way": {"name": "changed blocks"}}
    done = {"changed": True, "comparison": found, "files": [{"path": "/x/compare.json", "sha256": "a", "bytes": 3}]}
    told = {"path": "/x/report.html", "sha256": "b", "bytes": 5, "short": "Comparison: a and b  \nline\n"}
    assert compare_prefix({"incident": "INC-1"}, found) == f"INC-1/{NEW}/compare/20261128T120000Z/"
    result = compare_result(done, told, {"incident": "INC-1"}, "bucket", "")
    assert result["lines"] == ["Comparison: a and b", "line"] and (result["base"], result["newer"]) == (OLD, NEW)
    assert result["screen"][-1] == f"Report: s3://bucket/INC-1/{NEW}/compare/20261128T120000Z/report.html"
    assert [file["name"] for file in result["files"]] == ["compare.json", "report.html"]
