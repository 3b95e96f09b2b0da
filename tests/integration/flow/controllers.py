# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controllers of a test's own: what AWS does to one of them it does to nobody else who works at the same moment."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import yaml

from lab.aws.account import CONTROLLER
from lab.config import ACCOUNT, LabConfig
from tests.integration.flow.flow_kit import arm, client
from tests.kit import CHECKOUT

SETTINGS = yaml.safe_load((CHECKOUT / "inventories/lab/group_vars/all.yml").read_text())


@dataclass(frozen=True)
class Controller:
    """An IAM user that requests can be made with."""

    lab: LabConfig
    key: str
    inventory: dict[str, Any]

    def storm(self, *actions: str, times: str = "always") -> None:
        """Have AWS throttle these actions for this user, each so many times."""
        for action in actions:
            service, _colon, name = action.partition(":")
            arm(self.lab, "aws.throttle", f"caller={self.key}", f"service={service}", f"action={name}",
                f"times={times}")


@contextmanager
def controller(lab: LabConfig, *denied: str) -> Iterator[Controller]:
    """A user who may do everything that the lab's controller may, but for some actions; it is gone afterwards."""
    iam, name = client(lab, "iam"), f"dfir-controller-{uuid.uuid4().hex[:8]}"
    iam.create_user(UserName=name)
    policies = {policy: iam.get_user_policy(UserName=CONTROLLER[0], PolicyName=policy)["PolicyDocument"]
                for policy in iam.list_user_policies(UserName=CONTROLLER[0])["PolicyNames"]}
    if denied:
        policies["denied"] = {"Version": "2012-10-17",
                              "Statement": [{"Effect": "Deny", "Action": list(denied), "Resource": "*"}]}
    for policy, document in policies.items():
        iam.put_user_policy(UserName=name, PolicyName=policy, PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    callers = [f"arn:aws:iam::{ACCOUNT}:user/{name}"]
    analysts = [{**entry, "callers": callers} for entry in SETTINGS["dfir_aws_analysts"]]
    keys = {**SETTINGS["dfir_aws_module_defaults"], "access_key": key["AccessKeyId"],
            "secret_key": key["SecretAccessKey"]}
    variables = {"dfir_aws_module_defaults": keys, "dfir_aws_analysts": analysts}
    try:
        yield Controller(lab, key["AccessKeyId"], {"all": {"hosts": {"localhost": variables}}})
    finally:
        iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
        for policy in policies:
            iam.delete_user_policy(UserName=name, PolicyName=policy)
        iam.delete_user(UserName=name)
