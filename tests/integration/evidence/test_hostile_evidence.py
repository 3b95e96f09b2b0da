# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hostile evidence: nothing of it is executed, nothing leaves the mount, and what is reported can be read.

Needs root.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile_stage import CANARY, DISK, IN_FOLDER, MANY, SECRET, payloads
from mail_kit import mails, unfit
from stage import CHECKOUT

NEEDED = ("fls", "yara", "clamscan", "mke2fs", "mkfs.xfs")
pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="loop devices and mounts need root"),
              pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason=f"needs {', '.join(NEEDED)}")]
STEMS = {"ext4": f"{DISK}p1", "xfs": f"{DISK}p2"}
MANY_STEM = f"{DISK}p3"
SUFFIXES = ("bodyfile", "clamav.json", "deleted.json", "deleted.tar.gz", "findings.json", "system.json", "timeline.csv",
            "yara.json")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    pytest.importorskip("dissect.xfs", reason="dissect is not installed")
    work = tmp_path_factory.mktemp("hostile")
    answer = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", sys.executable,
         str(Path(__file__).with_name("hostile_stage.py")), str(work)],
        capture_output=True, text=True, check=False, timeout=600,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "collections")})
    assert answer.returncode == 0, answer.stderr[-8000:]
    return {"work": work, "said": answer.stderr, **json.loads(answer.stdout)}


def out(run: dict[str, Any]) -> Path:
    return Path(run["work"]) / "out"


def artifact(run: dict[str, Any], name: str, suffix: str) -> Any:
    return json.loads((out(run) / f"{STEMS[name]}.{suffix}.json").read_text(encoding="utf-8"))


def strings(data: Any) -> Iterator[str]:
    """All texts in a JSON document, as whoever reads it sees them."""
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict):
        yield from (text for key, value in data.items() for text in (key, *strings(value)))
    elif isinstance(data, list):
        yield from (text for value in data for text in strings(value))


def test_p16_evidence_keeps_its_hash_and_every_step_is_done(run: dict[str, Any]) -> None:
    assert run["before"] == run["after"]
    assert run["complete"] == {"out": True, "out-many": True}, run["said"]


def test_nothing_is_executed(run: dict[str, Any]) -> None:
    """Names, contents and programs that would leave a file behind, had a shell or a template seen them."""
    work = Path(run["work"])
    assert not (work / CANARY).exists()
    assert run["cwd"] == []
    noted = [json.loads(line) for line in (work / "noted.jsonl").read_text().splitlines()]
    programs = {Path(words[0]).name for kind, words in noted if kind == "run"}
    assert {"fls", "yara", "clamscan"} <= programs <= {
        "fls", "icat", "yara", "clamscan", *("ewfverify", "debugfs", "xfs_db", "log2timeline"), *("umount", "losetup")}
    for kind, words in noted:
        # No name of the evidence is ever an argument, not even a quoted one.
        assert kind != "run" or all(not unfit(word) and "7777" not in word and CANARY not in word for word in words)


def test_nothing_but_regular_files_is_opened_and_no_link_leads_to_the_host(run: dict[str, Any]) -> None:
    work = Path(run["work"])
    noted = [json.loads(line) for line in (work / "noted.jsonl").read_text().splitlines()]
    assert [path for kind, path in noted if kind == "open"] == []
    for path in out(run).iterdir():
        assert SECRET.encode() not in path.read_bytes(), path.name
    links = {item["path"]: item["kind"] for item in artifact(run, "ext4", "findings")}
    assert links["/var/log/secure"] == "log_tampering", "a device where a log should be is said"


def test_nothing_is_written_outside_of_the_results(run: dict[str, Any]) -> None:
    names = sorted([*(f"{stem}.{suffix}" for stem in STEMS.values() for suffix in SUFFIXES), "analysis.log",
                    "report.json", "sha256sums.txt", "summary.json"])
    assert sorted(path.name for path in out(run).iterdir()) == names
    assert all(path.is_file() and not path.is_symlink() for path in out(run).iterdir())
    assert run["left"] == ["analysis.log", "outcome.json"]
    sums = (out(run) / "sha256sums.txt").read_text().splitlines()
    assert sorted(line.split("  ", 1)[1] for line in sums) == [name for name in names if name != "sha256sums.txt"]
    assert sorted(path.name for path in Path(run["work"]).iterdir()) == sorted([
        "cwd", "ext4.img", "fill", "host", "many.img", "mnt", "noted.jsonl", "out", "out-many", "scratch", "share",
        "xfs.img"])


@pytest.mark.parametrize("name", ["ext4", "xfs"])
def test_every_text_can_be_read_line_by_line(run: dict[str, Any], name: str) -> None:
    for suffix in SUFFIXES:
        path = out(run) / f"{STEMS[name]}.{suffix}"
        if suffix.endswith("json"):
            assert {bad for text in strings(json.loads(path.read_text())) for bad in unfit(text.replace("\n", "\x0b"))
                    } == set(), suffix
        elif suffix != "deleted.tar.gz":
            assert unfit(path.read_text(encoding="utf-8")) == [], suffix
    body = (out(run) / f"{STEMS[name]}.bodyfile").read_text(encoding="utf-8").split("\n")
    assert body.pop() == ""
    assert {line.count("|") for line in body} == {10}
    assert all(line.startswith("0|/") for line in body)
    with (out(run) / f"{STEMS[name]}.timeline.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
        assert stream.seek(0) == 0 and len(stream.read().split("\n")) == len(rows) + 1
    assert {len(row) for row in rows} == {8} and all(row[7].startswith("/") for row in rows[1:])
    for text in ((out(run) / "analysis.log").read_text(encoding="utf-8"), run["said"]):
        assert unfit(text) == [] and "{{" not in text


@pytest.mark.parametrize("name", ["ext4", "xfs"])
def test_every_odd_name_is_in_every_report(run: dict[str, Any], name: str) -> None:
    wanted = len(payloads(Path(run["work"])))
    everywhere = wanted + 1 + IN_FOLDER  # in the folder of names: a folder, too, and what is in it
    body = (out(run) / f"{STEMS[name]}.bodyfile").read_text(encoding="utf-8").splitlines()
    assert len([line for line in body if re.match(r"0\|/names/[^|]", line)]) == everywhere
    for scanner in ("yara", "clamav"):
        paths = {hit["path"] for hit in artifact(run, name, scanner)["hits"] if hit["path"].startswith("/names/")}
        assert len(paths) == wanted + IN_FOLDER, scanner
        assert artifact(run, name, scanner)["skipped"] == 0
    kinds: dict[str, set[str]] = {}
    for item in artifact(run, name, "findings"):
        kinds.setdefault(item["kind"], set()).add(item["path"])
    assert len({path for path in kinds["cron"] if path.startswith("/etc/cron.d/")}) == wanted
    assert len(kinds["web_shell"]) == len(kinds["shell_history"] - {"/root/.bash_history"}) == wanted
    assert len(kinds["authorized_key"]) == wanted
    deleted = artifact(run, name, "deleted")["files"]
    assert len([item for item in deleted if item["member"]]) >= wanted


@pytest.mark.parametrize("name", ["ext4", "xfs"])
def test_the_archive_of_deleted_files_unpacks_below_its_folder(run: dict[str, Any], name: str) -> None:
    with tarfile.open(out(run) / f"{STEMS[name]}.deleted.tar.gz") as archive:
        members = archive.getmembers()
    assert members and all(member.isfile() and member.mode == 0o400 for member in members)
    for member in members:
        assert re.fullmatch(r"(?:files|orphans)(?:/[A-Za-z0-9._@%+=,-]+)+", member.name), member.name
        assert ".." not in member.name.split("/")


def test_programs_that_change_their_user_are_found_and_not_run(run: dict[str, Any]) -> None:
    found = {item["path"] for item in artifact(run, "ext4", "findings") if item["kind"] == "setuid"}
    assert found == {"/opt/rootsh", "/opt/run-me"}


def test_bombs_cost_neither_memory_nor_results(run: dict[str, Any]) -> None:
    """The logs unpack to more than a gigabyte, in lines whose objects would take ten times that."""
    assert run["peak_mib"] < 700
    found = artifact(run, "ext4", "findings")
    assert "ssh_break_in" in {item["kind"] for item in found}, "the latest log is read although bombs lie beside it"
    assert [item["path"] for item in found if item["rule"] == "log_unread"]
    assert artifact(run, "ext4", "yara")["files"] > 0


def test_a_folder_of_200000_files_is_in_the_timeline_with_each_of_them(run: dict[str, Any]) -> None:
    folder = Path(run["work"]) / "out-many"
    with (folder / f"{MANY_STEM}.bodyfile").open(encoding="utf-8") as stream:
        names = [line.split("|", 2)[1] for line in stream]
    assert sum(1 for name in names if re.fullmatch(r"/srv/uploads/\d{6}\.(?:php|dat)", name)) == MANY
    assert sorted({name for name in names if not re.fullmatch(r"/srv/uploads/\d.*", name)}) == [
        "/", "/etc", "/etc/passwd", "/lost+found", "/srv", "/srv/uploads", "/srv/uploads/hit.exe"]
    [part] = json.loads((folder / "summary.json").read_text())["partitions"]
    assert part["steps"]["timeline"]["entries"] == len(names) == len(set(names))
    assert part["steps"]["timeline"]["without_deleted"] == 1, "what is left out is said"
    for scanner in ("yara", "clamav"):
        hits = json.loads((folder / f"{MANY_STEM}.{scanner}.json").read_text())["hits"]
        assert [hit["path"] for hit in hits][-1] == "/srv/uploads/hit.exe"
    found = json.loads((folder / f"{MANY_STEM}.findings.json").read_text())
    assert "/srv/uploads/000000.php" in {item["path"] for item in found if item["kind"] == "web_shell"}


def test_mails_and_the_summary_say_numbers_and_no_names(run: dict[str, Any]) -> None:
    summary = json.loads((out(run) / "summary.json").read_text())
    assert all(re.fullmatch(r"[\w.:+ /()~-]*", text) for text in strings(summary)), "words of our own only"
    odd = "\x1b]0;owned\x07\r\nBcc: x@example.org\n{{ 7777*7 }}\u202e"
    hostile = {"volumes": [{"volume_id": DISK, "snapshot_id": "snap-0", "role": "evidence", "journal_of": "",
                            "size_bytes": 1, "partitions": [{
                                "number": 1, "name": "p1", "type": "", "kind": "unknown", "size_bytes": 1,
                                "mounted": False, "mount_point": "", "journal_dirty": None, "reason": odd}]}],
               "sets": []}
    marker = {"outcome": "incomplete", "missing": [odd], "counts": {odd: 1, "findings": 3}}
    summary["kinds"][odd] = 5
    for kind, text in mails(hostile, summary, marker, odd).items():
        assert unfit(text) == [], kind
        assert "Bcc: x@example.org" not in text.split("\n"), kind
        assert "54439" not in text, "what a name says is never computed"
        assert max(map(len, text.split("\n"))) < 200, kind
