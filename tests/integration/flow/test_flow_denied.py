# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A controller whose policy lacks one right: each call to AWS is refused in turn, and nothing that exists goes unnamed.

Each test has an IAM user of its own with the policies of docs/iam and a statement that denies one action, so that they
run beside each other.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from lab.aws.account import CONTROLLER
from lab.config import ACCOUNT, LabConfig
from tests.integration.flow.flow_kit import AWAY, Site, check_alert, client, flat, remove, together
from tests.kit import CHECKOUT

SETTINGS = yaml.safe_load((CHECKOUT / "inventories/lab/group_vars/all.yml").read_text())
AROUND = {"role", "role-policy", "instance-profile", "role-in-profile", "security-group"}
HOST = AROUND | {"instance", "volume"}


@dataclass(frozen=True)
class Denied:
    """One action that is denied: the step that fails for it, and the kinds of what exists then."""

    action: str
    step: str
    leaves: frozenset[str] = frozenset()


TABLE = [
    Denied("ec2:DescribeImages", "plan"),
    Denied("ec2:DescribeInstanceTypes", "plan"),
    Denied("ssm:GetParameter", "plan"),
    Denied("ec2:CopySnapshot", "snapshot"),
    Denied("ec2:DescribeSubnets", "analysis_host"),
    Denied("iam:CreateRole", "analysis_host", frozenset({"security-group"})),
    Denied("iam:PutRolePolicy", "analysis_host", frozenset({"security-group", "role"})),
    Denied("iam:CreateInstanceProfile", "analysis_host", frozenset({"security-group", "role", "role-policy"})),
    Denied("iam:AddRoleToInstanceProfile", "analysis_host",
           frozenset({"security-group", "role", "role-policy", "instance-profile"})),
    Denied("ec2:CreateSecurityGroup", "analysis_host", frozenset()),
    Denied("ec2:AuthorizeSecurityGroupIngress", "analysis_host", frozenset({"security-group"})),
    Denied("iam:PassRole", "analysis_host", frozenset(AROUND - {"role-in-profile"})),
    Denied("ec2:RunInstances", "analysis_host", frozenset(AROUND)),
    Denied("ec2:CreateVolume", "analysis_host", frozenset(HOST)),
    Denied("ec2:AttachVolume", "analysis_host", frozenset(HOST)),
    Denied("ec2:GetConsoleOutput", "analysis_host", frozenset(HOST)),
    Denied("ec2:ModifyInstanceAttribute", "analysis_host", frozenset(HOST)),
]


@contextmanager
def caller(lab: LabConfig, action: str) -> Iterator[dict[str, Any]]:
    """An inventory whose controller may do everything that the lab's may, but for one action."""
    iam, name = client(lab, "iam"), f"dfir-controller-{uuid.uuid4().hex[:8]}"
    iam.create_user(UserName=name)
    policies = {policy: iam.get_user_policy(UserName=CONTROLLER[0], PolicyName=policy)["PolicyDocument"]
                for policy in iam.list_user_policies(UserName=CONTROLLER[0])["PolicyNames"]}
    policies["denied"] = {"Version": "2012-10-17",
                          "Statement": [{"Effect": "Deny", "Action": action, "Resource": "*"}]}
    for policy, document in policies.items():
        iam.put_user_policy(UserName=name, PolicyName=policy, PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    callers = [f"arn:aws:iam::{ACCOUNT}:user/{name}"]
    analysts = [{**entry, "callers": callers} for entry in SETTINGS["dfir_aws_analysts"]]
    keys = {**SETTINGS["dfir_aws_module_defaults"], "access_key": key["AccessKeyId"],
            "secret_key": key["SecretAccessKey"]}
    try:
        yield {"all": {"hosts": {"localhost": {"dfir_aws_module_defaults": keys, "dfir_aws_analysts": analysts}}}}
    finally:
        iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
        for policy in policies:
            iam.delete_user_policy(UserName=name, PolicyName=policy)
        iam.delete_user(UserName=name)


def refused(denied: Denied) -> Callable[[Site], None]:
    """The test of one action."""

    def test(site: Site) -> None:
        with caller(site.lab, denied.action) as inventory:
            request = site.request(aws_snapshot_id=site.source(), aws_snapshot_region=AWAY, overlay=inventory)
            play = request.run()
            things = check_alert(request, play, denied.step)
            assert denied.action in play.sentence and "not authorized" in play.sentence, play.sentence
            assert {thing.kind for thing in things} == denied.leaves, things
            remove(request, things)

    test.__doc__ = f"{denied.action} is denied."
    return test


def test_every_right_that_a_request_uses_is_one_that_the_policy_gives() -> None:
    given = flat((CHECKOUT / "docs/iam/controller-policy.json").read_text())
    assert [denied.action for denied in TABLE if f'"{denied.action}"' not in given] == []


for _denied in TABLE:
    _name = f"test_{_denied.action.replace(':', '_').lower()}_is_denied"
    _marks = [pytest.mark.cell(_denied.step, f"AWS refuses {_denied.action}"), pytest.mark.more]
    _test = together(minutes=1)(refused(_denied))
    for _mark in _marks:
        _test = _mark(_test)
    _test.__name__ = _name
    globals()[_name] = _test
