# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode and the plan at the real door: the playbook itself, against the lab."""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml

from lab import audit
from lab.config import ACCOUNT, LabConfig
from lab.mail.reader import list_mails
from tests.kit import CHECKOUT, run

BUCKET, HOME = f"dfir-artifacts-{ACCOUNT}", "eu-west-1"
VALID = yaml.safe_load((CHECKOUT / "examples" / "analyze_request.yml").read_text())
OPERATOR = {"all": {"hosts": {"localhost": {"dfir_aws_max_cost_usd": 0.05}}}}


def ask(folder: Path, *options: str, operator: dict[str, Any] | None = None, **fields: Any) -> CompletedProcess[str]:
    """Send a request in as a user would; `operator` is an inventory that is laid over the lab's."""
    (folder / "request.json").write_text(json.dumps({**VALID, **fields}))
    (folder / "operator.yml").write_text(json.dumps(operator or {}))
    inventories = ["-i", "inventories/lab", *(["-i", str(folder / "operator.yml")] if operator else [])]
    return run("ansible-playbook", *inventories, "playbooks/analyze_request.yml", "-e", f"@{folder}/request.json",
               *options)


def flat(text: str) -> str:
    return " ".join(text.replace("''", "'").split())


@pytest.fixture
def incident() -> str:
    """One that nobody has used before."""
    return f"INC-{uuid.uuid4().hex[:8].upper()}"


def record_of(lab: LabConfig, request_id: str) -> dict[str, Any]:
    body = audit.client(lab, "s3", HOME).get_object(Bucket=BUCKET, Key=f"requests/{request_id}.json")["Body"].read()
    return dict(json.loads(body))


def test_check_mode_prints_the_plan_and_nothing_is_created_or_called_changed(lab: LabConfig, tmp_path: Path,
                                                                            incident: str) -> None:
    before, mails = audit.account(lab), len(list_mails(lab.mails))
    done = ask(tmp_path, "--check", incident=incident)
    assert done.returncode == 0, done.stdout
    assert "changed: [" not in done.stdout and "changed=0" in done.stdout and "rescued=0" in done.stdout
    said = flat(done.stdout)
    for words in ("Copy 0.2 GiB from us-east-1 to eu-west-1", "Host m6i.large (2 vCPU, 8 GiB) in eu-west-1",
                  "Time at most 3 h", "Volumes 44 GiB gp3 (root 8, scratch 32, evidence 2, journals up to 2)",
                  "Cost at most, in USD", "taxes and discounts", "cannot be predicted"):
        assert words in said, (words, done.stdout)
    for later in ("Note the plan", "Copy | Start", "Launch", "Reach", "Settle the request"):
        assert f"TASK [{later}" not in done.stdout and f": {later}" not in done.stdout
    assert audit.account(lab) == before and len(list_mails(lab.mails)) == mails


def test_what_costs_too_much_is_refused_recorded_and_may_come_again(lab: LabConfig, tmp_path: Path,
                                                                   incident: str) -> None:
    before = audit.account(lab)
    sentence = "more than the limit of 0.10 USD (max_cost_usd): ask for fewer hours"
    checked = ask(tmp_path, "--check", incident=incident, max_cost_usd=0.1)
    assert checked.returncode != 0 and sentence in flat(checked.stdout)
    assert "changed: [" not in checked.stdout and audit.account(lab) == before
    # The operator's limit is the lower one.
    refused = ask(tmp_path, operator=OPERATOR, incident=incident, max_cost_usd=0.1)
    assert refused.returncode != 0 and "Traceback" not in refused.stdout
    assert "more than the limit of 0.05 USD (dfir_aws_max_cost_usd)" in flat(refused.stdout)
    new = {thing for thing in audit.account(lab) - before
           if "/requests/folders/" not in thing.id and f"/custody/{incident}/" not in thing.id}
    assert {thing.kind for thing in new} == {"object"} and len({thing.id for thing in new}) == 1, new
    request_id = re.search(r"requests/([0-9a-f]{16})", next(iter(new)).id)
    assert request_id
    record = record_of(lab, request_id[1])
    step = record["steps"][-1]
    assert record["state"] == "open" and record["lease"] is None
    assert (step["name"], step["outcome"]) == ("plan", "failed") and "0.05 USD" in step["details"]["reason"]
    mail = list_mails(lab.mails)[-1]
    assert incident in mail.subject and "FAILED at plan" in mail.subject and "nothing left" in mail.subject
    again = ask(tmp_path, "--check", incident=incident, max_cost_usd=5)
    assert again.returncode == 0 and "Limit 5.00 USD (max_cost_usd)" in flat(again.stdout)


@pytest.mark.parametrize("known_by", ["record", "tag"])
def test_a_request_that_runs_is_not_priced_again(lab: LabConfig, tmp_path: Path, incident: str, known_by: str) -> None:
    """By its record, or, where the run that launched was killed before it could write, by what AWS shows."""
    refused = ask(tmp_path, incident=incident, max_cost_usd=0.1)
    request_id = re.search(r"Request ([0-9a-f]{16}) failed at the step plan", flat(refused.stdout))
    assert request_id, refused.stdout
    record = record_of(lab, request_id[1])
    if known_by == "record":
        record["steps"] += [{"name": "analysis_host", "outcome": "ok", "details": {"instance_id": "i-1"}}]
        s3 = audit.client(lab, "s3", HOME)
        etag = s3.head_object(Bucket=BUCKET, Key=f"requests/{request_id[1]}.json")["ETag"]
        s3.put_object(Bucket=BUCKET, Key=f"requests/{request_id[1]}.json", Body=json.dumps(record).encode(),
                      IfMatch=etag)
    else:
        ec2 = audit.client(lab, "ec2", HOME)
        image = ec2.describe_images(Filters=[{"Name": "name", "Values": ["debian-12-*"]}])["Images"][0]["ImageId"]
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "dfir:request", "Value": request_id[1]}]}]
        made = ec2.run_instances(ImageId=image, InstanceType="m6i.large", MinCount=1, MaxCount=1,
                                 TagSpecifications=tags)["Instances"][0]["InstanceId"]
        ec2.terminate_instances(InstanceIds=[made])
    done = ask(tmp_path, "--check", incident=incident, max_cost_usd=0.1)
    assert done.returncode == 0, done.stdout
    assert "has a host already" in flat(done.stdout) and "more than the limit" not in flat(done.stdout)
