# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook that sets an account up, as an administrator runs it: said, done, done again, checked, removed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit import CHECKOUT
from tests.setup_kit import ACCOUNT, BUCKET, Account
from tests.unit.lab.aws_kit import REGION, Kit


class Site:
    """An empty account, and an inventory for it."""

    def __init__(self, account: Account, folder: Path) -> None:
        self.account, self.folder = account, folder
        self.settings: dict[str, Any] = {
            "ansible_connection": "local", "ansible_python_interpreter": sys.executable,
            "dfir_aws_environment": {"AWS_EC2_METADATA_DISABLED": "true"},
            "dfir_aws_setup_module_defaults": self.credentials(*account.keys),
            "dfir_aws_artifact_bucket": BUCKET, "dfir_aws_artifact_bucket_region": REGION,
            "dfir_aws_subnet_filters": {"tag:Name": "dfir-analysis"}, "dfir_aws_setup_bucket_tls": False,
            "dfir_aws_setup_principals": [account.caller], "dfir_aws_setup_scp_file": str(folder / "scp.json"),
            "dfir_aws_setup_scp_exceptions": ["arn:aws:iam::*:role/backup-*"],
            "dfir_aws_volume_kms_key_id": "alias/dfir-evidence",
            "dfir_aws_permissions_boundary_arn": f"arn:aws:iam::{ACCOUNT}:policy/dfir/dfir-analysis-host-boundary"}

    def credentials(self, access: str, secret: str, token: str = "") -> dict[str, str]:
        return {"endpoint_url": self.account.kit.endpoint, "access_key": access, "secret_key": secret,
                **({"session_token": token} if token else {})}

    def run(self, playbook: str = "prepare_account", *options: str, **extra: Any) -> str:
        """What a run says; `fails` expects that it fails."""
        fails = extra.pop("fails", False)
        (self.folder / "hosts.json").write_text(json.dumps({"all": {"hosts": {"localhost": self.settings}}}))
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ANSIBLE_"))}
        done = subprocess.run(
            [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(self.folder / "hosts.json"),
             f"playbooks/{playbook}.yml", "-e", json.dumps(extra), *options], cwd=CHECKOUT, text=True, timeout=300,
            env={**clean, "ANSIBLE_NOCOLOR": "1"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, check=False)
        assert (done.returncode != 0) is fails, done.stdout
        return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    kit = Kit(tmp_path_factory.mktemp("lab"))
    yield Site(Account(kit), tmp_path_factory.mktemp("site"))
    kit.close()


def test_an_account_is_prepared_stays_so_fits_what_is_checked_and_is_cleared(site: Site) -> None:
    kit = site.account.kit
    checked = site.run("prepare_account", "--check")
    assert "create   role dfir-controller" in checked and "costs    2.00 USD a month" in checked, checked
    assert kit.client("s3").list_buckets()["Buckets"] == [] and not (site.folder / "scp.json").exists()
    done = site.run()
    assert "may not assume them: dfir-imaging-host" in " ".join(done.split()), done
    policy = json.loads((site.folder / "scp.json").read_text())["Statement"][0]
    assert "arn:aws:iam::*:role/backup-*" in policy["Condition"]["ArnNotLike"]["aws:PrincipalArn"]
    again = site.run()
    assert "changed=0" in again, again

    # The role that was made finds what was made: the check of the account runs as it.
    role = kit.client("sts", keys=site.account.keys).assume_role(
        RoleArn=f"arn:aws:iam::{ACCOUNT}:role/dfir-controller", RoleSessionName="check")["Credentials"]
    site.settings["dfir_aws_module_defaults"] = site.credentials(
        role["AccessKeyId"], role["SecretAccessKey"], role["SessionToken"])
    told = " ".join(site.run("check_account", fails=True).split())  # no mail server, no controller's key
    for topic in ("KMS key alias/dfir-evidence", "bucket policy artifacts are written once", "boundary arn:aws:iam",
                  "rights ec2:CreateSecurityGroup", "egress"):
        assert f"ok {topic}" in told, (topic, told)

    removed = site.run("prepare_account", account_setup_state="absent")
    assert "remove   bucket" in removed and "stay     key alias/dfir-evidence" in removed, removed
    assert kit.client("iam").list_roles()["Roles"] == [] and kit.client("s3").list_buckets()["Buckets"] == []


def test_it_says_in_a_sentence_what_is_missing_and_makes_nothing(site: Site) -> None:
    site.settings["dfir_aws_setup_principals"] = []
    told = site.run(fails=True)
    assert "Nobody may assume the role dfir-controller" in told
    assert site.account.kit.client("s3").list_buckets()["Buckets"] == []
