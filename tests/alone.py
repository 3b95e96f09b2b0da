# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody in a running lab who has one policy of docs/iam and nothing else: the lab's controller has several."""

from __future__ import annotations

import uuid
from typing import Any

import yaml

from lab import audit, seed
from lab.config import ACCOUNT, LabConfig
from tests.kit import CHECKOUT

SETTINGS = yaml.safe_load((CHECKOUT / "inventories/lab/group_vars/all.yml").read_text(encoding="utf-8"))


def alone(lab: LabConfig, policy: str) -> dict[str, Any]:
    """Settings to lay over the lab's inventory, with which a playbook runs as a user with this policy file alone."""
    iam, name = audit.client(lab, "iam", "us-east-1"), f"alone-{uuid.uuid4().hex[:8]}"
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=seed.document(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {
        "dfir_aws_module_defaults": {**SETTINGS["dfir_aws_module_defaults"], "access_key": key["AccessKeyId"],
                                     "secret_key": key["SecretAccessKey"]},
        "dfir_aws_analysts": [{**entry, "callers": [f"arn:aws:iam::{ACCOUNT}:user/{name}"]}
                              for entry in SETTINGS["dfir_aws_analysts"]]}
