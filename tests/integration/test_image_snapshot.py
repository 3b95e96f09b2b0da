# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image of a snapshot as a user asks for it: the playbook, against the lab with its policies."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pyrage
import pytest
import yaml

from lab import audit
from lab.config import ACCOUNT, LabConfig
from lab.evidence.image import ensure_image
from lab.mail.reader import list_mails
from tests.alone import alone
from tests.kit import CHECKOUT, run

BUCKET, HOME = f"dfir-artifacts-{ACCOUNT}", "eu-west-1"
VALID = yaml.safe_load((CHECKOUT / "examples" / "image_snapshot.yml").read_text())


def ask(folder: Path, *options: str, operator: dict[str, Any] | None = None, **fields: Any) -> CompletedProcess[str]:
    """Ask for an image; `operator` is laid over the lab's inventory."""
    (folder / "request.json").write_text(json.dumps({**VALID, **fields}))
    (folder / "operator.yml").write_text(json.dumps({"all": {"hosts": {"localhost": operator or {}}}}))
    return run("ansible-playbook", "-i", "inventories/lab", "-i", str(folder / "operator.yml"),
               "playbooks/image_snapshot.yml", "-e", f"@{folder}/request.json", *options)


@pytest.fixture
def incident() -> Iterator[str]:
    """One that nobody has used before; its manifests in the user's folder go with it."""
    name = f"INC-{uuid.uuid4().hex[:8].upper()}"
    yield name
    for path in Path("~/.dfir-ebs").expanduser().glob(f"*.{name}.*"):
        path.unlink()


def keys(lab: LabConfig, incident: str) -> list[str]:
    found = audit.client(lab, "s3", HOME).list_objects_v2(Bucket=BUCKET, Prefix=f"{incident}/")
    return [entry["Key"] for entry in found.get("Contents", [])]


def test_an_image_goes_to_the_bucket_is_read_back_and_told(lab: LabConfig, tmp_path: Path, incident: str) -> None:
    checked = ask(tmp_path, "--check", incident=incident)
    assert checked.returncode == 0, checked.stdout
    assert keys(lab, incident) == []
    # The policy for imaging is enough; the lab's controller has others besides.
    done = ask(tmp_path, operator={"dfir_aws_image_rate": 60, **alone(lab, "imaging-policy.json")}, incident=incident)
    assert done.returncode == 0, done.stdout
    assert f"{VALID['aws_snapshot_id']}: imaging " in done.stdout
    there = keys(lab, incident)
    folder = f"{incident}/{VALID['aws_snapshot_id']}/image/"
    assert f"{folder}manifest" in there and any("/segments/" in key for key in there)
    assert any("verification-" in key for key in there) and all(key.startswith(folder) for key in there)
    [page] = [key for key in there if key.endswith(".html")]
    stored = audit.client(lab, "s3", HOME).get_object(Bucket=BUCKET, Key=page)["Body"].read().decode()
    data = json.loads(audit.client(lab, "s3", HOME).get_object(
        Bucket=BUCKET, Key=page.replace(".html", ".json"))["Body"].read())
    assert data["kind"] == "image" and data["facts"] and "all as the manifest says" in stored
    assert any(f"s3://{BUCKET}/{page}" in mail.text for mail in list_mails(lab.mails))
    assert any(incident in mail.subject and "made and read back" in mail.subject for mail in list_mails(lab.mails))
    again = ask(tmp_path, incident=incident)
    assert again.returncode == 0 and "changed=0" in again.stdout, again.stdout
    assert keys(lab, incident) == there


def test_what_costs_or_takes_too_much_is_refused_and_nothing_is_made(
        lab: LabConfig, tmp_path: Path, incident: str) -> None:
    for operator, said in (({"dfir_aws_image_max_cost_usd": 0.0001}, "USD (dfir_aws_image_max_cost_usd)"),
                           ({"dfir_aws_image_rate": 1, "dfir_aws_image_max_hours": 0.01}, "dfir_aws_image_max_hours")):
        refused = ask(tmp_path, operator=operator, incident=incident)
        flat = " ".join(refused.stdout.split())
        assert refused.returncode != 0 and said in flat and "nothing was created" in flat, refused.stdout
    assert keys(lab, incident) == []
    assert any(incident in mail.subject and "FAILED" in mail.subject for mail in list_mails(lab.mails))


def test_several_snapshots_at_once_are_refused_for_an_image(lab: LabConfig, tmp_path: Path, incident: str) -> None:
    refused = ask(tmp_path, incident=incident, aws_snapshot_id=[VALID["aws_snapshot_id"], "snap-12345678"])
    assert refused.returncode != 0 and "an image is made of one" in " ".join(refused.stdout.split()), refused.stdout
    assert keys(lab, incident) == []


def test_an_image_in_a_file_is_packed_for_its_recipients(lab: LabConfig, tmp_path: Path, incident: str) -> None:
    identity = pyrage.x25519.Identity.generate()
    recipients = [str(identity.to_public())]
    operator = {"dfir_aws_image_dest": str(tmp_path / "i.raw"), "dfir_aws_image_recipients": recipients}
    done = ask(tmp_path, operator=operator, incident=incident)
    assert done.returncode == 0, done.stdout
    record = json.loads((tmp_path / "i.raw.zst.age.json").read_text())
    assert record["plain_size"] == (tmp_path / "i.raw").stat().st_size and (tmp_path / "i.raw.zst.age").exists()
    assert keys(lab, incident) == []
    [page] = tmp_path.glob("i.raw.report-*.html")
    assert record["packed_sha256"] in page.read_text() and page.with_suffix(".json").exists()
    assert record["plain_sha256"] == ensure_image(lab.cache).sha256, "what the builder of the evidence says"


def test_an_image_in_the_bucket_is_packed_there_and_opens_from_there(
        lab: LabConfig, tmp_path: Path, incident: str) -> None:
    """With the imaging policy alone, under the bucket's own: no disk, written once, read back."""
    identity = pyrage.x25519.Identity.generate()
    operator = {"dfir_aws_image_recipients": [str(identity.to_public())]}
    done = ask(tmp_path, operator=operator, incident=incident)
    assert done.returncode == 0, done.stdout
    assert "packing " in done.stdout
    key = f"{incident}/{VALID['aws_snapshot_id']}/image/image.raw.zst.age"
    there = keys(lab, incident)
    assert key in there and any(name.startswith(f"{key}.") and name.endswith(".json") for name in there)
    assert f"{key}.verification.json" in there
    told = [mail.text for mail in list_mails(lab.mails) if incident in mail.subject and "read back" in mail.subject]
    assert told and f"s3://{BUCKET}/{key}" in told[-1]
    again = ask(tmp_path, operator=operator, incident=incident)
    assert again.returncode == 0 and "changed=0" in again.stdout, again.stdout
    assert keys(lab, incident) == there
    (tmp_path / "key.txt").write_text(f"{identity}\n")
    (tmp_path / "unpack.yml").write_text(json.dumps([{
        "hosts": "localhost", "gather_facts": False, "environment": "{{ dfir_aws_environment | default({}) }}",
        "module_defaults": {"group/dfir.aws.aws": "{{ dfir_aws_module_defaults | default({}) }}"},
        "tasks": [{"dfir.aws.ebs_image_unpack": {
            "src": f"s3://{BUCKET}/{key}", "dest": str(tmp_path / "back.raw"), "region": HOME,
            "identity_files": [str(tmp_path / "key.txt")]}}]}]))
    opened = run("ansible-playbook", "-i", "inventories/lab", str(tmp_path / "unpack.yml"))
    assert opened.returncode == 0, opened.stdout
    record = next(name for name in there if name.startswith(f"{key}.") and "verification" not in name)
    said = json.loads(audit.client(lab, "s3", HOME).get_object(Bucket=BUCKET, Key=record)["Body"].read())
    with (tmp_path / "back.raw").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == said["plain_sha256"]
