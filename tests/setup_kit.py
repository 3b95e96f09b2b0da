# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An empty account of the lab's, and an administrator who has docs/iam/setup-policy.json and nothing else."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule

from tests.kit import CHECKOUT
from tests.unit.lab.aws_kit import OTHER, REGION, Kit

ACCOUNT = "123456789012"
BUCKET, TRAIL_BUCKET = f"dfir-artifacts-{ACCOUNT}", f"dfir-trail-{ACCOUNT}-{REGION}"
IAM = CHECKOUT / "docs" / "iam"
ALL = ["keys", "boundary", "bucket", "roles", "endpoints", "trail"]
ADMINISTRATOR = "setup"
SUBNETS = {"tag:Name": "dfir-analysis"}


def document(name: str) -> Any:
    """A policy of docs/iam for the lab's account."""
    text = (IAM / name).read_text(encoding="utf-8")
    for placeholder, value in (("ACCOUNT_ID", ACCOUNT), ("ARTIFACT_BUCKET", BUCKET), ("ANALYSIS_REGION", REGION)):
        text = text.replace(placeholder, value)
    return json.loads(text)


def default_roles() -> list[dict[str, Any]]:
    """The roles of the role's defaults."""
    defaults = yaml.safe_load((CHECKOUT / "roles/account_setup/defaults/main.yml").read_text(encoding="utf-8"))
    return list(defaults["account_setup_roles"])


class Account:
    """An empty account with two analysis subnets, and the module run by its administrator."""

    def __init__(self, kit: Kit) -> None:
        self.kit = kit
        self._clients: dict[tuple[str, str, tuple[str, ...]], Any] = {}
        iam = kit.client("iam")
        iam.create_user(UserName=ADMINISTRATOR)
        made = iam.create_policy(PolicyName="setup", PolicyDocument=json.dumps(document("setup-policy.json")))["Policy"]
        iam.attach_user_policy(UserName=ADMINISTRATOR, PolicyArn=made["Arn"])
        key = iam.create_access_key(UserName=ADMINISTRATOR)["AccessKey"]
        self.keys = (key["AccessKeyId"], key["SecretAccessKey"])
        self.caller = f"arn:aws:iam::{ACCOUNT}:user/{ADMINISTRATOR}"
        ec2 = kit.client("ec2")
        subnets = ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]
        self.network = subnets[0]["VpcId"]
        self.subnets = [subnet["SubnetId"] for subnet in subnets[:2]]
        ec2.create_tags(Resources=self.subnets, Tags=[{"Key": "Name", "Value": "dfir-analysis"}])

    def client(self, service: str, region: str = REGION, **session: str) -> Any:
        """One for all runs: a new one reads botocore's descriptions again."""
        keys = (session["aws_access_key_id"], session["aws_secret_access_key"], session["aws_session_token"]) \
            if session else self.keys
        if (service, region, keys) not in self._clients:
            self._clients[service, region, keys] = self.kit.client(service, region, keys)
        return self._clients[service, region, keys]

    def run(self, *parts: str, check: bool = False, fails: bool = False, **more: Any) -> dict[str, Any]:
        """Run the module as the administrator; `fails` expects a failure."""
        module = importlib.import_module("ansible_collections.dfir.aws.plugins.modules.account_setup")
        said = io.StringIO()
        given = {"endpoint_url": self.kit.endpoint, "access_key": self.keys[0], "secret_key": self.keys[1],
                 "region": REGION, "regions": [REGION], "policies": str(IAM), "bucket": BUCKET, "bucket_tls": False,
                 "parts": list(parts or ALL), "roles": default_roles(), "principals": [self.caller],
                 "subnet_filters": SUBNETS,
                 "endpoints": ["s3", "ebs"], "_ansible_check_mode": check,
                 "keys": [{"alias": "alias/dfir-evidence", "regions": [REGION, OTHER], "description": "Evidence"},
                          {"alias": "alias/dfir-custody", "usage": "sign", "regions": [REGION]}]}
        with pytest.MonkeyPatch.context() as patch, patch_module_args({**given, **more}), \
                pytest.raises(SystemExit), contextlib.redirect_stdout(said):
            patch.setattr(AwsModule, "client", lambda _self, service, **asked: self.client(service, **asked))
            module.main()
        told: dict[str, Any] = json.loads(said.getvalue())
        assert bool(told.get("failed")) is fails, told
        return told

    def endpoints(self) -> dict[str, dict[str, Any]]:
        """The endpoints of the analysis network, by service."""
        found = self.kit.client("ec2").describe_vpc_endpoints(
            Filters=[{"Name": "vpc-endpoint-state", "Values": ["available"]}])["VpcEndpoints"]
        return {item["ServiceName"].rsplit(".", 1)[-1]: item for item in found}

    def verbs(self, *parts: str, **more: Any) -> dict[str, str]:
        """What the module says it did, by thing."""
        return {step["thing"]: step["verb"] for step in self.run(*parts, **more)["steps"]}


def own_files(folder: Path, **policies: Any) -> dict[str, str]:
    """Policy files of one's own."""
    for name, statements in policies.items():
        (folder / f"{name}.json").write_text(json.dumps({"Version": "2012-10-17", "Statement": statements}))
    return {name: str(folder / f"{name}.json") for name in policies}
