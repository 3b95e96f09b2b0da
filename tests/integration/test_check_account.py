# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The check of an account as an operator runs it: the playbook itself, against the lab. It changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from lab import audit
from lab.config import LabConfig
from lab.mail.reader import list_mails
from tests.kit import run


def check(folder: Path, **operator: Any) -> CompletedProcess[str]:
    """Run it with the lab's inventory, and settings that are laid over it."""
    (folder / "operator.yml").write_text(json.dumps({"all": {"hosts": {"localhost": operator}}}))
    return run("ansible-playbook", "-i", "inventories/lab", "-i", str(folder / "operator.yml"),
               "playbooks/check_account.yml")


def flat(text: str) -> str:
    return " ".join(text.replace("''", "'").split())


def test_the_lab_lacks_nothing_and_is_as_it_was(lab: LabConfig, tmp_path: Path) -> None:
    before, mails = audit.account(lab), len(list_mails(lab.mails))
    done = check(tmp_path)
    assert done.returncode == 0, done.stdout
    assert "changed=0" in done.stdout and "- missing " not in done.stdout
    said = flat(done.stdout)
    for words in ("ok caller arn:aws:iam::123456789012:user/dfir-controller", "ok vCPU quota 64 vCPUs", "ok image ami-",
                  "ok subnet subnet-", "reaches S3 through vpce-", "ok KMS key alias/dfir-evidence",
                  "ok bucket it keeps versions", "ok bucket policy artifacts are written once",
                  "ok boundary arn:aws:iam::", "ok mail 127.0.0.1", "ok rights ec2:CreateVolume",
                  "not checkable toolbox image", "not checkable rights RunInstances"):
        assert words in said, (words, done.stdout)
    assert audit.account(lab) == before and len(list_mails(lab.mails)) == mails


@pytest.mark.parametrize(("setting", "value", "topic"), [
    ("dfir_aws_artifact_bucket", "dfir-artifacts-of-nobody", "bucket"),
    ("dfir_aws_subnet_filters", {"tag:Name": "nothing"}, "subnet"),
    ("dfir_aws_mail", {"host": "127.0.0.1", "port": 1, "secure": "never"}, "mail"),
    ("dfir_aws_volume_kms_key_id", "alias/nothing", "KMS key")])
def test_what_is_missing_is_said_with_what_to_do(lab: LabConfig, tmp_path: Path, setting: str, value: Any,
                                                 topic: str) -> None:
    before = audit.account(lab)
    done = check(tmp_path, **{setting: value})
    said = flat(done.stdout)
    assert done.returncode != 0 and "Traceback" not in done.stdout
    assert f"- missing {topic} " in said and "-> do " in said, done.stdout
    assert "The account lacks what requests need (" in said and topic in said.partition("lacks what requests need")[2]
    assert audit.account(lab) == before
