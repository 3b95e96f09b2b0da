# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A look into a snapshot as a user asks for it: the playbook, against the lab with its policies."""

from __future__ import annotations

import json
import subprocess
import uuid
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml
from ansible_collections.dfir.aws.plugins.module_utils.triage import rules
from ansible_collections.dfir.aws.plugins.module_utils.triage.look import Triage, Wish
from ansible_collections.dfir.aws.plugins.module_utils.triage.sources import ImageSource

from lab import audit
from lab.config import ACCOUNT, LabConfig
from lab.evidence.image import ensure_image
from lab.evidence.rootfs import ensure_rootfs
from lab.mail.reader import list_mails
from tests.alone import alone
from tests.kit import CHECKOUT, run

BUCKET, HOME = f"dfir-artifacts-{ACCOUNT}", "eu-west-1"
VALID = yaml.safe_load((CHECKOUT / "examples" / "triage_snapshot.yml").read_text())
YARA = CHECKOUT / "roles/toolbox/files/image/rules/yara"
ALARM = ("high", "critical")


def ask(folder: Path, *options: str, operator: dict[str, Any] | None = None, **fields: Any) -> CompletedProcess[str]:
    """Ask for a triage; `operator` is laid over the lab's inventory."""
    (folder / "request.json").write_text(json.dumps({**VALID, **fields}))
    settings = {"dfir_aws_reports_dest": str(folder / "reports"), **(operator or {})}
    (folder / "operator.yml").write_text(json.dumps({"all": {"hosts": {"localhost": settings}}}))
    return run("ansible-playbook", "-i", "inventories/lab", "-i", str(folder / "operator.yml"),
               "playbooks/triage_snapshot.yml", "-e", f"@{folder}/request.json", *options)


@pytest.fixture
def incident() -> str:
    """One that nobody has used before."""
    return f"INC-{uuid.uuid4().hex[:8].upper()}"


def kept(lab: LabConfig, incident: str) -> dict[str, bytes]:
    """What the bucket holds of it, by the rest of the key."""
    s3 = audit.client(lab, "s3", HOME)
    found = s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{incident}/").get("Contents", [])
    return {item["Key"]: s3.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read() for item in found}


def test_what_the_intruder_left_is_on_the_screen_in_the_bucket_and_in_the_mail(
        lab: LabConfig, tmp_path: Path, incident: str) -> None:
    checked = ask(tmp_path, "--check", incident=incident)
    assert checked.returncode == 0 and kept(lab, incident) == {}, checked.stdout
    before = audit.account(lab)
    done = ask(tmp_path, incident=incident)
    assert done.returncode == 0, done.stdout
    new = {thing.kind for thing in audit.account(lab) - before}
    assert new == {"object"}, "something was launched, attached or copied"
    there = kept(lab, incident)
    folders = {key.rpartition("/")[0] for key in there}
    assert len(folders) == 1 and folders.pop().startswith(f"{incident}/{VALID['aws_snapshot_id']}/triage/")
    files = {key.rpartition("/")[2]: content for key, content in there.items()}
    assert set(files) == {"triage.json", "report.html", "timeline.csv.gz", "timeline.bodyfile.gz"}
    data = json.loads(files["triage.json"])
    assert data["not_read"] == [] and data["source"]["blocks_read"] < 500
    found: dict[tuple[str, str], set[str]] = {}
    alarms = set()
    for item in data["findings"]:
        found.setdefault((item["partition"], item["path"]), set()).add(item["kind"])
        if item["severity"] in ALARM:
            alarms.add((item["partition"], item["path"]))
    key = json.loads(ensure_image(lab.cache).answer_key.read_text())["artifacts"]
    planted = [entry for entry in key if entry["must_be_in"] == "findings" and not entry["benign"]]
    assert len(planted) > 10
    for entry in planted:
        kinds = found.get((f"p{entry['partition']}", entry["path"]), set())
        said = f"{entry['note']}: {entry['path']} was found as {kinds or 'nothing'}"
        assert kinds & set(entry["kinds"] or kinds), said
    for entry in key:
        if entry["benign"]:
            assert (f"p{entry['partition']}", entry["path"]) not in alarms, entry
    assert b"Content-Security-Policy" in files["report.html"] and len(files["report.html"]) < 5 << 20
    flat = " ".join(done.stdout.split())
    assert "shop-web-01" in flat and f"s3://{BUCKET}/{incident}/" in flat and "report.html" in flat
    here = tmp_path / "reports" / incident / VALID["aws_snapshot_id"] / "triage"
    assert {path.name: path.read_bytes() for path in here.iterdir()} == files and f"{here}/report.html" in flat
    [mail] = [mail for mail in list_mails(lab.mails) if incident in mail.subject]
    assert "critical" in mail.subject and "shop-web-01" in mail.text and "report.html" in mail.text


def test_a_folder_keeps_it_and_a_second_run_changes_nothing(lab: LabConfig, tmp_path: Path, incident: str) -> None:
    operator = {"dfir_aws_triage_dest": str(tmp_path / "out"), "dfir_aws_artifact_bucket": "",
                "dfir_aws_triage_yara_rules": [str(YARA / "web_shells.yar"), str(YARA / "linux_malware.yar")]}
    done = ask(tmp_path, operator=operator, incident=incident)
    assert done.returncode == 0, done.stdout
    data = json.loads((tmp_path / "out" / "triage.json").read_text())
    matched = [item for item in data["findings"] if item["kind"] == "yara"]
    assert matched and all(item["path"] and item["reason"] for item in matched)
    assert f"Report: {tmp_path}/out/report.html" in done.stdout
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    again = ask(tmp_path, operator=operator, incident=incident)
    assert again.returncode == 0 and "changed=0" in again.stdout, again.stdout
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_a_clean_image_of_the_same_system_raises_no_alarm(lab: LabConfig, tmp_path: Path) -> None:
    """The system that the evidence was made of, before anybody broke in."""
    root, image = tmp_path / "root", tmp_path / "clean.img"
    root.mkdir()
    subprocess.run(["tar", "--extract", "--file", ensure_rootfs(lab.cache), "--directory", root, "--numeric-owner"],
                   check=True)
    with image.open("wb") as file:
        file.truncate(2 << 30)
    subprocess.run(["mkfs.ext4", "-q", "-d", root, image], check=True)
    own = rules.load(sorted((CHECKOUT / "roles/triage/files").glob("*.yml")))
    one = Triage(ImageSource(image), Wish(rules=own)).run()
    report = one.report()
    assert any("Debian" in fact["value"] for fact in report["facts"]) and report["not_read"] == []
    assert [item for item in report["findings"] if item["severity"] in ALARM] == []


def test_what_cannot_be_looked_into_is_refused_and_told(lab: LabConfig, tmp_path: Path, incident: str) -> None:
    several = ask(tmp_path, incident=incident, aws_snapshot_id=[VALID["aws_snapshot_id"], "snap-12345678"])
    assert several.returncode != 0 and "one is looked into at a time" in " ".join(several.stdout.split())
    absent = ask(tmp_path, incident=incident, aws_snapshot_id="snap-0123456789abcdef0")
    assert absent.returncode != 0 and "snap-0123456789abcdef0" in absent.stdout
    assert any(incident in mail.subject and "FAILED" in mail.subject for mail in list_mails(lab.mails))
    broken = tmp_path / "bad.yml"
    broken.write_text("- id: Not This\n")
    bad = ask(tmp_path, incident=incident, operator={"dfir_aws_triage_rules": [str(broken)]})
    assert bad.returncode != 0 and "bad.yml" in bad.stdout and kept(lab, incident) == {}


def test_a_limit_that_is_too_low_says_what_was_not_read(lab: LabConfig, tmp_path: Path, incident: str) -> None:
    done = ask(tmp_path, operator={"dfir_aws_triage_limit_blocks": 60}, incident=incident)
    assert done.returncode == 0, done.stdout
    data = next(json.loads(content) for key, content in kept(lab, incident).items() if key.endswith("/triage.json"))
    assert data["source"]["blocks_read"] <= 60 and any("budget" in line for line in data["not_read"])
    assert "Not read: " in done.stdout


def test_the_imaging_policy_is_enough_for_it(lab: LabConfig, tmp_path: Path, incident: str) -> None:
    done = ask(tmp_path, operator=alone(lab, "imaging-policy.json"), incident=incident)
    assert done.returncode == 0, done.stdout
    assert any(key.endswith("/triage.json") for key in kept(lab, incident))
