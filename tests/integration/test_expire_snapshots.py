# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook that lets copies go, as a schedule runs it, over 2,000 copies in two regions: told, checked, deleted."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import seed
from lab.aws import moto_app
from lab.faults.registry import Registry
from lab.mail.reader import list_mails
from lab.mail.sink import Sink
from tests.kit import CHECKOUT
from tests.retention_kit import AWAY, CLASSES, HOME, Asked, Copied, plant, put_record
from tests.unit.lab.aws_kit import Kit

BUCKET = "dfir-artifacts-123456789012"
GOES = [f"old {number}" for number in range(12)]
HELD = {"locked": "it is locked (compliance until", "image": "uses it", "shared": "the account 999999999999",
        "hold": "under legal hold (tag dfir:legal-hold)", "class": "its class held is under legal hold",
        "open": "is open and uses it", "unknown": "no record of a request", "backup": "in the hands of AWS Backup",
        "evidence": "so it may be evidence itself"}


class Site:
    """An account with 2,000 copies, an inventory for it, a mail server, and the playbook."""

    def __init__(self, kit: Kit, folder: Path, sink: Sink) -> None:
        self.kit, self.folder, self.mails = kit, folder, folder / "mails"
        self.s3 = kit.client("s3")
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": HOME})
        self.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        keys = kit.user("retention", *json.loads(seed.document("retention-policy.json"))["Statement"])
        self.made = self._plant()
        self.s3.put_bucket_policy(Bucket=BUCKET, Policy=seed.document("artifact-bucket-policy.json"))
        operator = {"uid": "ops", "email": "ops@example.org", "callers": ["arn:aws:iam::*:user/retention"]}
        self.settings = {
            "ansible_connection": "local", "ansible_python_interpreter": sys.executable,
            "dfir_aws_environment": {"AWS_EC2_METADATA_DISABLED": "true"},
            "dfir_aws_module_defaults": {"endpoint_url": kit.endpoint, "access_key": keys[0], "secret_key": keys[1]},
            "dfir_aws_artifact_bucket": BUCKET, "dfir_aws_artifact_bucket_region": HOME,
            "dfir_aws_retention_classes": [*CLASSES[:-1], {**CLASSES[-1], "artifacts": {"expire_days": 400}}],
            "dfir_aws_retention_regions": [HOME, AWAY],
            "dfir_aws_mail": {"host": "127.0.0.1", "port": sink.port, "secure": "never", "recipients": []},
            "dfir_aws_analysts": [{**operator, "rights": ["retention"]}, {**operator, "uid": "alice"}]}
        (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": {"localhost": self.settings}}}))

    def _plant(self) -> dict[str, str]:
        far = {"region": AWAY, "source_region": HOME}
        copies = {name: Copied(name, full_gib=None, gib=4, **(far if number % 3 == 0 else {}))
                  for number, name in enumerate(GOES)}
        asked = {name: Asked(source=name, **(far if number % 3 == 0 else {})) for number, name in enumerate(GOES)}
        copies |= {name: Copied(name) for name in HELD}
        copies["hold"].tags["dfir:legal-hold"] = "2026-11 court order"
        copies["backup"].tags["aws:backup:source-resource"] = "x"
        copies["evidence"].description = "Disk of web-1"
        asked |= {name: Asked(source=name) for name in HELD if name != "unknown"}
        asked["class"].incident, asked["open"].state = "HELD-1", "open"
        asked["open"].incident = "TRAINING-1"
        for number in range(2000 - len(copies)):
            copies[f"young {number}"] = Copied(f"young {number}", expired=-5, **(far if number % 4 == 0 else {}))
        made = {name: plant(name, copy) for name, copy in copies.items()}
        for number in range(30):
            made[f"of others {number}"] = plant(f"of others {number}", Copied(tags={"dfir:source-snapshot": None}))
        for request in asked.values():
            put_record(self.s3, BUCKET, request)
        ec2 = self.kit.client("ec2")
        ec2.lock_snapshot(SnapshotId=made["locked"], LockMode="compliance", LockDuration=5)
        ec2.modify_snapshot_attribute(SnapshotId=made["shared"], Attribute="createVolumePermission",
                                      OperationType="add", UserIds=["999999999999"])
        ec2.register_image(Name="built", BlockDeviceMappings=[
            {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": made["image"]}}])
        return made

    def run(self, *options: str, **fields: Any) -> subprocess.CompletedProcess[str]:
        """As a shell runs it, without any variable of AWS or Ansible."""
        clean = {name: value for name, value in os.environ.items()
                 if not name.startswith(("AWS_", "ANSIBLE_", "JOB_ID"))}
        command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(self.folder / "hosts.json"),
                   "playbooks/expire_snapshots.yml", "-e", json.dumps({"analyst_uid": "ops", **fields}), *options]
        return subprocess.run(command, cwd=CHECKOUT, env={**clean, "ANSIBLE_NOCOLOR": "1"}, text=True, timeout=300,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False)

    def everything(self) -> dict[str, Any]:
        """All snapshots with their tags, all objects, and the bucket's lifecycle rules."""
        found: dict[str, Any] = {}
        for region in (HOME, AWAY):
            model = moto_app.ec2(region)
            found |= {name: dict(model.tags.get(name, {})) for name in model.snapshots}
        for item in self.s3.list_objects_v2(Bucket=BUCKET)["Contents"]:
            found[item["Key"]] = item["ETag"]
        return found

    def rules(self) -> list[str]:
        try:
            rules = self.s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
        except self.s3.exceptions.ClientError:
            return []
        return [rule["ID"] for rule in rules]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    kit = Kit(tmp_path / "lab")
    sink = Sink(tmp_path / "mails", Registry())
    sink.start("127.0.0.1", 0)
    yield Site(kit, tmp_path, sink)
    sink.stop()
    kit.close()


def flat(text: str) -> str:
    return " ".join(text.replace("''", "'").split())


def told(text: str, word: str) -> set[str]:
    """The snapshots of the lines that begin so."""
    return set(re.findall(rf"{word} +(snap-[0-9a-f]+) in ", flat(text)))


def test_p38_copies_go_when_all_agree_and_nothing_else_does(site: Site) -> None:
    made, before = site.made, site.everything()
    goes = {made[name] for name in GOES}
    assert sum(name.startswith("snap-") for name in before) >= 2030
    refused = site.run(analyst_uid="alice", delete_expired=True)
    assert refused.returncode != 0 and "'alice' has no right to retention" in flat(refused.stdout)

    checked = site.run("--check", delete_expired=True, apply_lifecycle=True)
    assert checked.returncode == 0, checked.stdout[-3000:]
    assert told(checked.stdout, "to go") == told(checked.stdout, "a run would delete") == goes
    assert told(checked.stdout, "kept") == {made[name] for name in HELD} - {made["backup"], made["evidence"]}
    for words in (*HELD.values(), "12 to go, 7 kept by something, 1979 within their period, 2 not surely ours",
                  "together 48.0 GiB; saves at most 2.40 USD a month", "4.0 GiB, its whole volume",
                  "no rule yet for INC-1; a run would set it",
                  "in eu-west-1 not checkable; what makes one is aws rbin create-rule"):
        assert words in flat(checked.stdout), (words, checked.stdout[-6000:])
    assert site.everything() == before and site.rules() == [] and list_mails(site.mails) == []

    # One delete fails: the run does all the rest, and then fails.
    stubborn = made[GOES[4]]
    site.kit.faults.arm("ec2.delete_refused", times=None, match={"snapshot": stubborn},
                         args={"code": "OperationNotPermitted", "message": "Not now."})
    done = site.run(delete_expired=True, apply_lifecycle=True)
    after = site.everything()
    assert done.returncode != 0 and f"The snapshot {stubborn} could not be deleted" in flat(done.stdout)
    assert told(done.stdout, "deleted") == goes - {stubborn} and "INC-1; set now" in flat(done.stdout)
    assert "1 could not be deleted or looked at, everything else is done" in flat(done.stdout)
    assert set(before) - set(after) == goes - {stubborn}
    assert all(after[name] == before[name] for name in after if name in before), "nothing else is touched"
    [report] = set(after) - set(before)
    data = json.loads(site.s3.get_object(Bucket=BUCKET, Key=report)["Body"].read())
    assert report.startswith("retention/20") and {row["id"] for row in data["removed"]} == goes - {stubborn}
    assert [row["id"] for row in data["failed"]] == [stubborn] and len(data["kept"]) == 7
    assert site.rules() == ["dfir-retention-INC-1"], "the case with an open request and the held one have none"
    [mail] = list_mails(site.mails)
    assert mail.subject == "[retention] copies of snapshots: 11 deleted, 1 FAILED"
    assert mail.recipients == ("ops@example.org",)
    assert told(mail.text, "deleted") == goes - {stubborn} and report in mail.text

    site.kit.faults.clear()
    again = site.run(delete_expired=True)
    assert again.returncode == 0 and goes.isdisjoint(site.everything()), again.stdout[-3000:]
    last = site.everything()
    nothing = site.run(delete_expired=True, apply_lifecycle=True)
    assert nothing.returncode == 0 and "changed=0" in nothing.stdout, nothing.stdout[-3000:]
    assert site.everything() == last and len(list_mails(site.mails)) == 2
