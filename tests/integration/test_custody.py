# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A case from its first entry to its closing, as operators work with it: tasks, playbooks and the stand-alone file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import uuid
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from lab import audit
from lab.config import ACCOUNT, LabConfig
from tests.kit import CHECKOUT, run, tool_environment

BUCKET, HOME, ALIAS = f"dfir-artifacts-{ACCOUNT}", "eu-west-1", "alias/dfir-custody"
RECORD = """
- hosts: localhost
  gather_facts: false
  environment: "{{ dfir_aws_environment }}"
  module_defaults:
    group/dfir.aws.aws: "{{ dfir_aws_custody_module_defaults }}"
  tasks:
    - dfir.aws.custody_record:
        bucket: "{{ dfir_aws_artifact_bucket }}"
        region: "{{ dfir_aws_artifact_bucket_region }}"
        incident: "{{ case }}"
        event: "writer-{{ writer }}/{{ item.0 }}"
        phase: "{{ item.1 }}"
        action: tool_run
        object: {kind: snapshot, id: snap-0123456789abcdef0, place: us-east-1}
        details: {number: "{{ item.0 | int }}"}
      loop: "{{ range(3) | product(['intent', 'outcome']) | list }}"
"""


def play(name: str, *options: str, **fields: Any) -> CompletedProcess[str]:
    return run("ansible-playbook", "-i", "inventories/lab", name, *options, "-e", json.dumps(fields))


def text(done: CompletedProcess[str]) -> str:
    return " ".join(done.stdout.split())


def objects(lab: LabConfig, incident: str) -> dict[str, bytes]:
    """Ledger and artifacts, by their keys."""
    s3 = audit.client(lab, "s3", HOME)
    keys = [item["Key"] for prefix in (f"{incident}/", f"custody/{incident}/")
            for item in s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])]
    return {key: s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}


def test_a_case_is_recorded_by_several_closed_checked_and_found_out(lab: LabConfig, tmp_path: Path) -> None:
    incident = f"INC-{uuid.uuid4().hex[:8].upper()}"
    asked = {"analyst_uid": "alice", "incident": incident}
    s3 = audit.client(lab, "s3", HOME)
    artifact = f"{incident}/snap-0123456789abcdef0/report.html"
    s3.put_object(Bucket=BUCKET, Key=artifact, Body=b"what was found", IfNoneMatch="*")

    # Several runs record at once; the same task again records nothing.
    (tmp_path / "record.yml").write_text(RECORD)
    command = ["ansible-playbook", "-i", "inventories/lab", str(tmp_path / "record.yml"), "-e"]
    writers = [subprocess.Popen([*command, json.dumps({"case": incident, "writer": writer})], cwd=CHECKOUT,
                                env=tool_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
               for writer in range(2)]
    for writer in writers:
        said, _none = writer.communicate(timeout=300)
        assert writer.returncode == 0, said
    assert len([key for key in objects(lab, incident) if "/entries/" in key]) == 12
    again = play(str(tmp_path / "record.yml"), case=incident, writer=1)
    assert again.returncode == 0 and "changed=0" in again.stdout, again.stdout

    # Nothing is signed yet, and that is no "valid".
    unsigned = play("playbooks/verify_case.yml", **asked)
    assert unsigned.returncode != 0 and "Entries 1 to 12 are not covered by a signature" in text(unsigned)

    # Who has no right to the incident learns nothing; a check writes nothing; closing twice is closing once.
    refused = play("playbooks/close_case.yml", **asked | {"incident": "TRAINING-1"})
    assert refused.returncode != 0 and "There is no case of the incident TRAINING-1" in text(refused)
    before = objects(lab, incident)
    check = play("playbooks/close_case.yml", "--check", **asked)
    assert check.returncode == 0 and objects(lab, incident) == before, check.stdout
    closed = play("playbooks/close_case.yml", **asked)
    assert closed.returncode == 0 and f"{incident}: VALID" in closed.stdout, closed.stdout
    sealed = objects(lab, incident)
    twice = play("playbooks/close_case.yml", **asked)
    assert twice.returncode == 0 and "changed=0" in twice.stdout and objects(lab, incident) == sealed, twice.stdout
    forms = [content for key, content in sealed.items() if "/forms/" in key and key.endswith(".html")]
    assert len(forms) == 1 and b"Custody form of" in forms[0] and b"NIST SP 800-86" in forms[0]
    late = play(str(tmp_path / "record.yml"), case=incident, writer=9)
    assert late.returncode != 0 and "was closed by entry 13" in text(late)

    # From the bucket, with the head that somebody noted.
    noted = re.search(r"Head: (13:[0-9a-f]{64})", text(closed))
    assert noted, closed.stdout
    good = play("playbooks/verify_case.yml", **asked, noted_head=noted[1])
    assert good.returncode == 0 and "the case is closed" in text(good), good.stdout

    # From a folder, by the stand-alone file with a Python that has nothing else; then tampered with.
    case = tmp_path / "case"
    for key, content in sealed.items():
        (case / key).parent.mkdir(parents=True, exist_ok=True)
        (case / key).write_bytes(content)
    (tmp_path / "key.der").write_bytes(audit.client(lab, "kms", HOME).get_public_key(KeyId=ALIAS)["PublicKey"])
    built = run("make", "custody-verify")
    assert built.returncode == 0, built.stdout

    def offline() -> CompletedProcess[str]:
        file = CHECKOUT / "dist/custody-verify.pyz"
        return subprocess.run([sys.executable, "-I", "-S", str(file), str(case), "--key", str(tmp_path / "key.der")],
                              capture_output=True, text=True, env={})

    assert offline().returncode == 0, offline().stdout + offline().stderr
    (case / artifact).write_bytes(b"what was not found")
    assert offline().returncode == 1 and "report.html has not the content" in offline().stdout
    (case / artifact).write_bytes(sealed[artifact])
    entry = case / f"custody/{incident}/entries/000000004.json"
    entry.write_bytes(entry.read_bytes().replace(b"snap-0123456789abcdef0", b"snap-0123456789abcdef1"))
    assert offline().returncode == 1
    assert "Entry 5 does not carry the hash of the entry before it" in offline().stdout

    # And in the bucket: one more artifact after the closing.
    s3.put_object(Bucket=BUCKET, Key=f"{incident}/snap-0123456789abcdef0/planted", Body=b"x", IfNoneMatch="*")
    found = play("playbooks/verify_case.yml", **asked)
    assert found.returncode != 0 and "planted was not there when the case was closed" in text(found)
