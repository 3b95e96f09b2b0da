# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A controller whose policy lacks one right: each call to AWS is refused in turn, and nothing that exists goes unnamed.

Each test has an IAM user of its own with the policies of docs/iam and a statement that denies one action, so that they
run beside each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.integration.flow.controllers import controller
from tests.integration.flow.flow_kit import AWAY, Site, check_alert, flat, remove, together
from tests.kit import CHECKOUT

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


def refused(denied: Denied) -> Callable[[Site], None]:
    """The test of one action."""

    def test(site: Site) -> None:
        with controller(site.lab, denied.action) as caller:
            request = site.request(aws_snapshot_id=site.source(), aws_snapshot_region=AWAY, overlay=caller.inventory)
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
    _marks = [pytest.mark.cell(_denied.step, f"AWS refuses {_denied.action}")]
    if "instance" in _denied.leaves:
        _marks.append(pytest.mark.host)
    _test = together(minutes=1)(refused(_denied))
    for _mark in _marks:
        _test = _mark(_test)
    _test.__name__ = _name
    globals()[_name] = _test
