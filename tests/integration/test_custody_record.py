# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What playbooks record by themselves, with the controller's policy: a look, an image that is killed, the closing."""

from __future__ import annotations

import json
import re
import subprocess
import time
import uuid
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import yaml

from lab import audit, seed
from lab.config import ACCOUNT, LabConfig
from lab.mail.reader import list_mails
from tests.kit import CHECKOUT, run, tool_environment

BUCKET, HOME = f"dfir-artifacts-{ACCOUNT}", "eu-west-1"
VALID = yaml.safe_load((CHECKOUT / "examples" / "triage_snapshot.yml").read_text())
SNAPSHOT = VALID["aws_snapshot_id"]


def command(folder: Path, playbook: str, *options: str, operator: dict[str, Any] | None = None,
            **fields: Any) -> list[str]:
    """`operator` is laid over the lab's inventory."""
    name = uuid.uuid4().hex[:8]
    (folder / f"{name}.json").write_text(json.dumps(fields))
    (folder / f"{name}.yml").write_text(json.dumps({"all": {"hosts": {"localhost": operator or {}}}}))
    return ["ansible-playbook", "-i", "inventories/lab", "-i", str(folder / f"{name}.yml"), f"playbooks/{playbook}.yml",
            "-e", f"@{folder}/{name}.json", *options]


def play(folder: Path, playbook: str, *options: str, **fields: Any) -> CompletedProcess[str]:
    return run(*command(folder, playbook, *options, **fields))


def flat(done: CompletedProcess[str]) -> str:
    return " ".join(done.stdout.split())


def ledger(lab: LabConfig, incident: str) -> list[dict[str, Any]]:
    """The entries, in their order."""
    s3 = audit.client(lab, "s3", HOME)
    found = s3.list_objects_v2(Bucket=BUCKET, Prefix=f"custody/{incident}/entries/").get("Contents", [])
    return [json.loads(s3.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read()) for item in found]


def said(entries: list[dict[str, Any]]) -> list[tuple[str, str, str, str]]:
    """Of each entry that is about no artifact: the work, the phase, the action and how it went."""
    return [(entry["event"].partition("/")[0] + entry["event"].partition("/again")[2], entry["phase"], entry["action"],
             entry["result"]) for entry in entries if entry["action"] != "artifact"]


def test_a_look_and_an_image_are_in_the_ledger_and_a_closed_case_takes_no_more(lab: LabConfig, tmp_path: Path) -> None:
    incident = f"INC-{uuid.uuid4().hex[:8].upper()}"
    asked = {**VALID, "incident": incident}
    case = {"analyst_uid": "alice", "incident": incident}
    check = play(tmp_path, "triage_snapshot", "--check", **asked)
    assert check.returncode == 0 and ledger(lab, incident) == [], check.stdout

    # Without a key none is kept, which is said.
    none = play(tmp_path, "triage_snapshot", operator={"dfir_aws_custody_key": ""}, **asked)
    assert none.returncode == 0 and f"Custody: no ledger of {incident} is kept." in flat(none), none.stdout
    assert ledger(lab, incident) == []

    # A look: who, what, what it left. The head is on the screen and in the mail.
    looked = play(tmp_path, "triage_snapshot", **asked)
    assert looked.returncode == 0, looked.stdout
    entries = ledger(lab, incident)
    assert said(entries) == [("triage", "intent", "tool_run", "begun"), ("triage", "outcome", "tool_run", "ok")]
    assert entries[0]["actor"]["name"] == "dfir-controller" and entries[0]["actor"]["arn"].startswith("arn:aws:iam::")
    assert (entries[0]["object"]["id"], entries[0]["object"]["place"]) == (SNAPSHOT, "us-east-1")
    files = {entry["object"]["id"].rpartition("/")[2]: entry["object"]["sha256"] for entry in entries
             if entry["action"] == "artifact"}
    assert set(files) == {"triage.json", "report.html", "timeline.csv.gz", "timeline.bodyfile.gz"}
    [head] = set(re.findall(rf"{len(entries)}:[0-9a-f]{{64}}", flat(looked)))
    mails = [" ".join(mail.text.split()) for mail in list_mails(lab.mails) if incident in mail.subject]
    [mail] = [mail for mail in mails if head in mail]
    assert f"ends with entry {len(entries)}, signed" in mail

    # Killed between intent and outcome: the ledger shows the intent, the next run goes on, and all of it fits.
    image = command(tmp_path, "image_snapshot", operator={"dfir_aws_image_rate": 30}, **asked)
    with subprocess.Popen(image, cwd=CHECKOUT, env=tool_environment(), stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as killed:
        end = time.monotonic() + 120
        while not any(entry["action"] == "image" for entry in ledger(lab, incident)):
            assert time.monotonic() < end and killed.poll() is None
            time.sleep(0.2)
        killed.kill()
    assert said(ledger(lab, incident))[2:] == [("image", "intent", "image", "begun")]
    made = play(tmp_path, "image_snapshot", **asked)
    assert made.returncode == 0, made.stdout
    once = ledger(lab, incident)
    assert said(once)[2:] == [("image", "intent", "image", "begun"), ("image", "outcome", "image", "ok")]
    assert once[-1]["object"]["id"].startswith(f"s3://{BUCKET}/{incident}/") and once[-1]["details"]["linear_sha256"]
    again = play(tmp_path, "image_snapshot", **asked)
    assert again.returncode == 0 and "changed=0" in again.stdout and ledger(lab, incident) == once, again.stdout
    good = play(tmp_path, "verify_case", noted_head=head, **case)
    assert good.returncode == 0 and f"{incident}: VALID" in good.stdout, good.stdout

    # A failure is an outcome, too.
    lost = play(tmp_path, "triage_snapshot", **asked | {"aws_snapshot_id": "snap-0123456789abcdef0"})
    assert lost.returncode != 0
    assert said(ledger(lab, incident))[4:] == [
        ("triage", "intent", "tool_run", "begun"), ("triage", "outcome", "tool_run", "failed")]
    assert "snap-0123456789abcdef0" in ledger(lab, incident)[-1]["details"]["reason"]

    # A ledger that cannot be written stops nothing, is told, and ends the job as a failure.
    torn = play(tmp_path, "triage_snapshot", operator={"dfir_aws_custody_key": "alias/none"}, **asked)
    told = f"CUSTODY IS NOT COMPLETE, the ledger of {incident} lacks entries or its signature"
    assert torn.returncode != 0 and told in flat(torn) and "Report: s3://" in flat(torn), torn.stdout
    assert any(told in " ".join(mail.text.split()) for mail in list_mails(lab.mails) if incident in mail.subject)

    # Closed: nothing new is begun, in one sentence; what was tampered with is found.
    closed = play(tmp_path, "close_case", **case)
    assert closed.returncode == 0, closed.stdout
    sealed = ledger(lab, incident)
    for playbook in ("triage_snapshot", "analyze_request"):
        refused = play(tmp_path, playbook, **asked)
        assert refused.returncode != 0 and f"The case {incident} was closed by entry {len(sealed)}" in flat(refused)
        assert "New work needs another incident." in flat(refused)
    assert ledger(lab, incident) == sealed
    s3 = audit.client(lab, "s3", HOME)
    assert not [item for item in s3.list_objects_v2(Bucket=BUCKET, Prefix="requests/").get("Contents", [])
                if incident.encode() in s3.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read()]
    key = next(entry["object"]["id"] for entry in sealed if entry["object"]["id"].endswith("/report.html"))
    s3.delete_bucket_policy(Bucket=BUCKET)  # under it nobody can
    try:
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"nothing was found")
    finally:
        s3.put_bucket_policy(Bucket=BUCKET, Policy=seed.document("artifact-bucket-policy.json"))
    found = play(tmp_path, "verify_case", **case)
    assert found.returncode != 0 and "report.html has not the content" in flat(found), found.stdout
