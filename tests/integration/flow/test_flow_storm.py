# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Throttle storms: one that passes costs time and nothing else; one that does not is told, with what exists."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.integration.flow.controllers import controller
from tests.integration.flow.flow_kit import AWAY, SILENCE, Site, check_alert, remove, together
from tests.integration.flow.host_kit import on_host
from tests.integration.flow.test_flow_denied import AROUND, HOST, Denied

# What AWS answers, by service (the EC2, IAM and SSM API references).
SAYS = {"ec2": "RequestLimitExceeded", "iam": "Throttling", "ssm": "ThrottlingException"}
TABLE = [
    Denied("ec2:DescribeImages", "plan"),
    Denied("ssm:GetParameter", "plan"),
    Denied("ec2:CopySnapshot", "snapshot"),
    Denied("ec2:DescribeSubnets", "analysis_host"),
    Denied("ec2:CreateSecurityGroup", "analysis_host"),
    Denied("ec2:AuthorizeSecurityGroupIngress", "analysis_host", frozenset({"security-group"})),
    Denied("iam:CreateRole", "analysis_host", frozenset({"security-group"})),
    Denied("ec2:RunInstances", "analysis_host", frozenset(AROUND)),
    Denied("ec2:CreateVolume", "analysis_host", frozenset(HOST)),
    Denied("ec2:AttachVolume", "analysis_host", frozenset(HOST)),
]
# Asked by modules of amazon.aws, which try again for minutes and say nothing meanwhile.
PATIENT = ("ec2:DescribeSubnets", "iam:CreateRole")
PASSING = {
    "plan": ["ssm:GetParameter", "ec2:DescribeImages", "ec2:DescribeInstanceTypes", "ec2:DescribeSnapshots"],
    "snapshot": ["ec2:CopySnapshot"],
    "analysis_host": ["ec2:DescribeInstances", "ec2:DescribeSubnets", "ec2:CreateSecurityGroup",
                      "ec2:AuthorizeSecurityGroupIngress", "ec2:DescribeSecurityGroups", "iam:CreateRole",
                      "iam:PutRolePolicy", "iam:CreateInstanceProfile", "ec2:RunInstances", "ec2:CreateVolume",
                      "ec2:DescribeVolumes", "ec2:AttachVolume", "ec2:GetConsoleOutput"],
    "clean_up": ["ec2:DeleteSecurityGroup", "iam:DeleteRole", "iam:DeleteInstanceProfile", "iam:DeleteRolePolicy"],
}


def stormed(denied: Denied) -> Callable[[Site], None]:
    """The test of an action that is throttled for ever."""

    def test(site: Site) -> None:
        with controller(site.lab) as caller:
            request = site.request(aws_snapshot_id=site.source(), aws_snapshot_region=AWAY, overlay=caller.inventory)
            caller.storm(denied.action)
            play = request.start(silence=900 if denied.action in PATIENT else SILENCE).end()
            things = check_alert(request, play, denied.step, SAYS[denied.action.partition(":")[0]])
            assert {thing.kind for thing in things} == denied.leaves, things
            remove(request, things)

    test.__doc__ = f"{denied.action} is throttled for ever."
    return test


for _denied in TABLE:
    _name = f"test_{_denied.action.replace(':', '_').lower()}_is_throttled_for_ever"
    _test = pytest.mark.cell(_denied.step, f"throttle storm on {_denied.action}")(
        together(minutes=5 if _denied.action in PATIENT else 1)(stormed(_denied)))
    if "instance" in _denied.leaves:
        _test = pytest.mark.host(_test)
    if _denied.action in PATIENT:
        _test = pytest.mark.more(_test)
    _test.__name__ = _name
    globals()[_name] = _test


@pytest.mark.cell("plan", "a throttle storm that passes")
@pytest.mark.cell("snapshot", "a throttle storm that passes")
@pytest.mark.cell("analysis_host", "a throttle storm that passes")
@pytest.mark.cell("clean_up", "a throttle storm that passes")
@pytest.mark.host
@together(minutes=3)
def test_a_throttle_storm_that_passes_costs_time_and_nothing_else(site: Site) -> None:
    """Each action is throttled three times, as AWS does when others of the account are busy."""
    with controller(site.lab) as caller:
        request = site.request(aws_snapshot_id=site.source(), aws_snapshot_region=AWAY, overlay=caller.inventory,
                               wait_for_results=True, time_limit_hours=1)
        caller.storm(*(action for actions in PASSING.values() for action in actions), times="3")
        play = request.start()
        play.wait(lambda: request.mails)
        assert [mail.subject.split()[1] for mail in request.mails] == ["ready:"], play.text[-3000:]
        on_host(request, "dfir-end")
        assert play.end().code == 0, play.text[-3000:]
        assert request.exists() == set() and request.record["outcome"] == "ended"
        assert [mail.subject.split()[1] for mail in request.mails] == ["ready:", "ended:"]
