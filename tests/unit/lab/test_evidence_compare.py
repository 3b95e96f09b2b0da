# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The comparer must find what is there, miss what is not, and count false alarms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab.evidence import __main__ as cli
from lab.evidence import answer_key, compare
from lab.evidence.answer_key import AnswerKey, Entry

VOLUME = "vol-0123456789abcdef0"
DROPPER = b"#!/bin/sh\n"


@pytest.fixture
def key() -> AnswerKey:
    key = AnswerKey()
    key.planted("cron", 1, "/etc/cron.d/evil", "findings", kinds=["cron"])
    key.planted("deleted_file", 1, "/var/tmp/inst.sh", "deleted", content=DROPPER)
    key.planted("deleted_file", 1, "", "deleted", content=b"nameless")
    key.planted("miner_binary", 1, "/usr/bin/miner", "timeline")
    key.planted("web_shell", 2, "/www/shell.php", "yara")
    key.planted("miner_binary", 1, "/usr/bin/miner", "clamav")
    key.planted("deleted_file", 1, "/var/tmp/open", "deleted", required=False)
    key.benign("cron", 1, "/etc/cron.d/backup")
    return key


def sha256(data: bytes) -> str:
    import hashlib
    return hashlib.sha256(data).hexdigest()


def good_results() -> dict[str, Any]:
    """Everything that the key above asks for."""
    return {
        "p1.findings.json": [{"kind": "cron", "severity": "high", "path": "/etc/cron.d/evil"},
                             {"kind": "cron", "severity": "low", "path": "/etc/cron.d/backup"},
                             {"kind": "account", "severity": "critical", "path": "/etc/passwd"}],
        "p1.deleted.json": {"supported": True, "files": [
            {"path": "/var/tmp/inst.sh", "sha256": sha256(DROPPER), "content": "recovered"},
            {"path": "/$OrphanFiles/OrphanFile-77", "sha256": sha256(b"nameless"), "content": "recovered"}]},
        "p1.bodyfile": "0|/usr/bin/miner|12|r/rrwxr-xr-x|0|0|5|1|1|1|1\n",
        "p1.clamav.json": {"hits": [{"signature": "Miner", "path": "/usr/bin/miner"}]},
        "p1.yara.json": {"hits": []},
        "p2.yara.json": {"hits": [{"rule": "php_eval", "severity": "high", "path": "www/shell.php"}]},
    }


def write(folder: Path, results: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in results.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / f"{VOLUME}{name}").write_text(text)
    (folder / "summary.json").write_text("{}")
    return folder


def status(report: compare.Report) -> dict[tuple[str, str], str]:
    return {(row.entry.path, row.where): row.status for row in report.rows}


def test_complete_results_are_good(key: AnswerKey, tmp_path: Path) -> None:
    report = compare.compare(key.entries, compare.load_results(write(tmp_path / "r", good_results())))
    assert report.good, report.table()
    assert report.count("found") == 6 and report.count("optional") == 1 and report.count("quiet") == 1
    assert report.others == ("p1:/etc/passwd   account (critical)",)


@pytest.mark.parametrize("name, lost, where", [
    ("p1.findings.json", "/etc/cron.d/evil", "findings"), ("p1.deleted.json", "/var/tmp/inst.sh", "deleted"),
    ("p1.deleted.json", "", "deleted"), ("p1.bodyfile", "/usr/bin/miner", "timeline"),
    ("p1.clamav.json", "/usr/bin/miner", "clamav"), ("p2.yara.json", "/www/shell.php", "yara"),
])
def test_what_an_artifact_does_not_show_is_missed(key: AnswerKey, tmp_path: Path, name: str, lost: str,
                                                  where: str) -> None:
    results = good_results()
    results[name] = "" if name.endswith("bodyfile") else []
    report = compare.compare(key.entries, compare.load_results(write(tmp_path / "r", results)))
    assert not report.good
    assert status(report)[lost, where] == "missed"


def test_a_finding_of_another_kind_or_of_no_weight_does_not_count(key: AnswerKey, tmp_path: Path) -> None:
    for number, change in enumerate(({"kind": "account"}, {"severity": "info"}, {"path": "/etc/cron.d/evil2"})):
        results = good_results()
        results["p1.findings.json"][0] |= change
        report = compare.compare(key.entries, compare.load_results(write(tmp_path / str(number), results)))
        assert status(report)["/etc/cron.d/evil", "findings"] == "missed"


def test_recovered_content_must_be_the_planted_content(key: AnswerKey, tmp_path: Path) -> None:
    results = good_results()
    results["p1.deleted.json"]["files"][0]["sha256"] = sha256(b"something else")
    report = compare.compare(key.entries, compare.load_results(write(tmp_path / "r", results)))
    assert status(report)["/var/tmp/inst.sh", "deleted"] == "missed"


def test_an_alarm_about_a_benign_file_is_a_false_alarm(key: AnswerKey, tmp_path: Path) -> None:
    for number, (name, hit) in enumerate((
        ("p1.findings.json", {"kind": "cron", "severity": "high", "path": "/etc/cron.d/backup"}),
        ("p1.yara.json", {"rule": "any", "severity": "critical", "path": "/etc/cron.d/backup"}),
        ("p1.clamav.json", {"signature": "any", "path": "/etc/cron.d/backup"}),
    )):
        results = good_results()
        listed = results[name] if isinstance(results[name], list) else results[name]["hits"]
        listed.append(hit)
        report = compare.compare(key.entries, compare.load_results(write(tmp_path / str(number), results)))
        assert report.count("false alarm") == 1 and not report.good


@pytest.mark.parametrize("path", ["/etc/x", "etc/x", "/etc/x (deleted)", "/etc/x (deleted-realloc)", "/etc/x -> /y",
                                  "/evidence/vol-0123456789abcdef0/p1/etc/x"])
def test_tools_write_paths_in_several_ways(path: str) -> None:
    assert compare._plain(path) == "/etc/x"


@pytest.mark.parametrize("prepare, message", [
    (lambda folder: folder.rmdir(), "is no folder"),
    (lambda folder: None, "holds no artifacts"),
    (lambda folder: (folder / f"{VOLUME}p1.yara.json").write_text("{"), "is not JSON"),
    (lambda folder: (folder / f"{VOLUME}p1.yara.json").write_text('{"hits": 3}'), "no list of entries"),
    (lambda folder: [(folder / f"vol-{n}p1.bodyfile").write_text("") for n in (1, 2)], "several volumes"),
])
def test_results_that_cannot_be_used_are_refused(tmp_path: Path, prepare: Any, message: str) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    prepare(folder)
    with pytest.raises(compare.ResultsError, match=message):
        compare.load_results(folder)


def test_the_command_prints_the_table_and_tells_by_its_exit_code(key: AnswerKey, tmp_path: Path,
                                                                 capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "key.json"
    file.write_text(key.dump({"gib": 2}))
    assert answer_key.load(file) == key.entries
    good = write(tmp_path / "good", good_results())
    assert cli.main(["compare", "--answer-key", str(file), "--results", str(good)]) == 0
    assert "6 found, 0 missed" in capsys.readouterr().out
    (good / f"{VOLUME}p2.yara.json").unlink()
    assert cli.main(["compare", "--answer-key", str(file), "--results", str(good)]) == 1
    assert "1 missed" in capsys.readouterr().out
    assert cli.main(["compare", "--answer-key", str(file), "--results", str(tmp_path / "none")]) == 2
    assert "is no folder" in capsys.readouterr().err


def test_an_entry_needs_a_place(key: AnswerKey) -> None:
    with pytest.raises(ValueError, match="no place for results"):
        key.planted("cron", 1, "/x", "nowhere")
    assert all(isinstance(entry, Entry) for entry in key.entries)
