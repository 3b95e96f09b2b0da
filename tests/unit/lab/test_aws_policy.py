# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's policy engine alone: what IAM would decide."""

from __future__ import annotations

from typing import Any

import pytest

from lab.aws.conditions import CannotEvaluate, arn_matches, conditions_hold, matches
from lab.aws.policy import Need, PolicySet, decide, parse

KEY = "arn:aws:s3:::bucket/INC-1/x"


@pytest.mark.parametrize(("operator", "wanted", "given", "expected"), [
    ("StringEquals", "a", ["a"], True),
    ("StringEquals", ["b", "a"], ["a"], True),
    ("StringEquals", "A", ["a"], False),
    ("StringEqualsIgnoreCase", "A", ["a"], True),
    ("StringNotEquals", "a", ["a"], False),
    ("StringNotEquals", "a", None, True),
    ("StringEquals", "a", None, False),
    ("StringEqualsIfExists", "a", None, True),
    ("StringLike", "i-*", ["i-123"], True),
    ("StringLike", "i-[0-9]", ["i-1"], False),  # brackets mean themselves
    ("StringNotLike", "i-*", ["x"], True),
    ("Null", "true", None, True),
    ("Null", "true", ["x"], False),
    ("Null", "false", ["x"], True),
    ("Null", False, None, False),
    ("ForAllValues:StringEquals", ["a", "b"], ["a"], True),
    ("ForAllValues:StringEquals", ["a", "b"], ["a", "c"], False),
    ("ForAllValues:StringEquals", ["a"], None, True),  # the empty set: why a Null condition belongs beside it
    ("ForAnyValue:StringEquals", ["a"], ["c", "a"], True),
    ("ForAnyValue:StringEquals", ["a"], None, False),
])
def test_p56_string_conditions_are_evaluated(operator: str, wanted: Any, given: Any, expected: bool) -> None:
    context = {} if given is None else {"aws:tagkeys": given}
    assert conditions_hold({operator: {"aws:TagKeys": wanted}}, context) is expected


@pytest.mark.parametrize(("operator", "key", "wanted", "given", "expected"), [
    ("NumericLessThanEquals", "s3:max-keys", "10", "10", True),
    ("NumericGreaterThan", "s3:max-keys", 10, "10", False),
    ("NumericEquals", "s3:max-keys", 10, "not a number", False),
    ("DateLessThan", "aws:CurrentTime", "2030-01-01T00:00:00Z", "2026-01-01T00:00:00+00:00", True),
    ("DateGreaterThan", "aws:CurrentTime", "2030-01-01T00:00:00Z", "2026-01-01T00:00:00+00:00", False),
    ("Bool", "aws:SecureTransport", "false", "false", True),
    ("Bool", "aws:SecureTransport", True, "false", False),
    ("IpAddress", "aws:SourceIp", "198.51.100.0/24", "198.51.100.7", True),
    ("NotIpAddress", "aws:SourceIp", ["198.51.100.0/24"], "198.51.100.7", False),
    ("ArnLike", "aws:PrincipalArn", "arn:aws:iam::*:role/dfir/*", "arn:aws:iam::123456789012:role/dfir/a/b", True),
    ("ArnNotEquals", "aws:PrincipalArn", "arn:aws:iam::1:role/x", "arn:aws:iam::1:role/x", False),
])
def test_p56_typed_conditions_are_evaluated(operator: str, key: str, wanted: Any, given: str, expected: bool) -> None:
    assert conditions_hold({operator: {key: wanted}}, {key.lower(): [given]}) is expected


def test_an_arns_wildcard_does_not_swallow_the_next_part() -> None:
    assert arn_matches("arn:aws:ec2:*:1:instance/*", "arn:aws:ec2:eu-west-1:1:instance/i-1")
    assert not arn_matches("arn:aws:ec2:*:instance/*", "arn:aws:ec2:eu-west-1:1:instance/i-1")
    assert matches("a?c", "abc") and not matches("a?c", "ac")


def test_every_operator_and_key_of_a_block_must_hold() -> None:
    block = {"StringEquals": {"aws:RequestedRegion": "eu-west-1"}, "Null": {"aws:RequestTag/dfir:request": "false"}}
    here = {"aws:requestedregion": ["eu-west-1"]}
    assert not conditions_hold(block, here)
    assert conditions_hold(block, {**here, "aws:requesttag/dfir:request": ["r"]})


@pytest.mark.parametrize("block", [
    {"StringEquals": {"aws:PrincipalOrgID": "o-1"}},
    {"StringSortOfEquals": {"aws:username": "a"}},
    {"ForSomeValues:StringEquals": {"aws:username": "a"}},
    {"StringEquals": {"aws:username": "${aws:FederatedProvider}"}},
])
def test_what_cannot_be_evaluated_is_said_and_not_guessed(block: dict[str, Any]) -> None:
    with pytest.raises(CannotEvaluate):
        conditions_hold(block, {"aws:username": ["a"]})


def test_an_unknown_policy_element_is_said() -> None:
    with pytest.raises(CannotEvaluate, match="Actoin"):
        decide(Need("s3:GetObject", KEY, {}), PolicySet((parse({"Statement": [{"Effect": "Allow", "Actoin": "*"}]}),)),
               principals=["me"], account="1")


def doc(*statements: dict[str, Any]) -> Any:
    return parse({"Statement": list(statements)})


ALLOW = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
DENY = {"Effect": "Deny", "Action": "s3:GetObject", "Resource": "*"}
ME = "arn:aws:iam::1:user/me"
ROLE, SESSION = "arn:aws:iam::1:role/r", "arn:aws:sts::1:assumed-role/r/s"


def may(policies: PolicySet, resource: list[Any] | None = None, principals: tuple[str, ...] = (ME,),
        action: str = "s3:GetObject") -> bool:
    return decide(Need(action, KEY, {}), policies, principals=principals, account="1",
                  resource_policies=resource or []).allowed


def test_nothing_is_allowed_by_default() -> None:
    assert not may(PolicySet())


def test_a_deny_wins_wherever_it_stands() -> None:
    assert may(PolicySet((doc(ALLOW),)))
    assert not may(PolicySet((doc(ALLOW), doc(DENY))))
    assert not may(PolicySet((doc(ALLOW),)), [doc({**DENY, "Principal": "*"})])
    assert not may(PolicySet((doc(ALLOW),), boundary=doc(ALLOW, DENY)))


def test_a_boundary_allows_nothing_and_limits_everything() -> None:
    assert not may(PolicySet((), boundary=doc(ALLOW)))
    assert not may(PolicySet((doc(ALLOW),), boundary=doc({**ALLOW, "Action": "ec2:*"})))
    assert may(PolicySet((doc(ALLOW),), boundary=doc(ALLOW)))


def test_a_resource_policy_that_names_a_role_stays_within_the_roles_boundary() -> None:
    limited = PolicySet((), boundary=doc({**ALLOW, "Action": "s3:PutObject"}))
    grant = [doc({**ALLOW, "Principal": {"AWS": ROLE}})]
    assert may(PolicySet(), grant, (SESSION, ROLE))
    assert not may(limited, grant, (SESSION, ROLE))
    assert may(limited, [doc({**ALLOW, "Principal": {"AWS": SESSION}})], (SESSION, ROLE))


def test_not_resource_and_not_action() -> None:
    everything_else = {"Effect": "Allow", "NotAction": "s3:GetObject", "NotResource": "arn:aws:s3:::bucket/INC-2/*"}
    assert not may(PolicySet((doc(everything_else),)))
    assert may(PolicySet((doc(everything_else),)), action="s3:PutObject")


def test_actions_match_without_regard_to_case_resources_with() -> None:
    assert may(PolicySet((doc({**ALLOW, "Action": "S3:getobject"}),)))
    assert not may(PolicySet((doc({**ALLOW, "Resource": "arn:aws:s3:::bucket/inc-1/*"}),)))
