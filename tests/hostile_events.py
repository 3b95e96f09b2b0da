# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events of every kind that should not get through, and two that should."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

TEMPLATE = "{{ lookup('ansible.builtin.pipe', 'touch /nonexistent/marker') }}"
HOSTILE: list[Any] = [
    TEMPLATE, "{% for x in range(9) %}{{ x }}{% endfor %}", "{{ 7 * 7 }}", "", "\x00", "snap-0123456789abcdef0\n",
    "../../etc/passwd", "$(id)", "`id`", "x" * 100_000, "\u202eevil", "\ud800", "😀", -1, 0, 1e308, True, None,
    10**40, [], {}, [[]], [TEMPLATE], {TEMPLATE: TEMPLATE}, "__import__('os').system('id')", "'+'", "' or '1'='1",
    "!!python/object/apply:os.system [id]", "!unsafe x", "%(x)s", "${jndi:ldap://x}",
]
KEYS = [TEMPLATE, "__class__", "meta", "payload", "hosts", "", "a" * 5000, "\n", "ansible_host", "awx_user_name", "id",
        "source", "detail", "time"]


def bodies(count: int, chance: random.Random, valid: dict[str, Any], template: str = TEMPLATE) -> Iterator[Any]:
    """Bodies that no door may let in, the same for the same seed: a field spoiled, deep nesting, no object at all.

    :param valid: a good request.
    :param template: stands in for every TEMPLATE.
    """
    for number in range(count):
        value = _swapped(chance.choice(HOSTILE), template)
        kind = number % 5
        if kind == 0:
            yield value
        elif kind == 1:
            yield {**valid, "incident": _bad(value), _swapped(chance.choice(KEYS), template): value}
        elif kind == 2:
            yield {**valid, chance.choice(("analyst_uid", "aws_snapshot_id")): _bad(value)}
        elif kind == 3:
            yield _deep(value, chance.randrange(1, 90))
        else:
            yield {"source": chance.choice(["aws.guardduty", "aws.securityhub", value]), "id": _bad(value),
                   "detail": chance.choice([value, {"resource": value}, {"findings": [value] * 3},
                                            {"resource": {"instanceDetails": {"instanceId": _bad(value)}}}])}


def _bad(value: Any) -> Any:
    """Never a good value by accident."""
    return value if not isinstance(value, str) or len(value) != 1 else "?"


def _deep(value: Any, levels: int) -> Any:
    for level in range(levels):
        value = [value] if level % 2 else {"detail": value, "incident": "{{ x }}"}
    return value


def _swapped(value: Any, template: str) -> Any:
    if isinstance(value, str):
        return template if value == TEMPLATE else value
    if isinstance(value, list):
        return [_swapped(item, template) for item in value]
    if isinstance(value, dict):
        return {_swapped(key, template): _swapped(item, template) for key, item in value.items()}
    return value


def guardduty(instance: str = "", *, snapshot: str = "", region: str = "us-east-1", time: str = "2026-01-31T12:00:00Z",
              event_id: str = "6f1cba5f-7b1c-4a0d-9d6e-0123456789ab") -> dict[str, Any]:
    """A finding of GuardDuty as EventBridge delivers it, shortened."""
    resource: dict[str, Any] = {"resourceType": "Instance"}
    if instance:
        resource["instanceDetails"] = {"instanceId": instance, "instanceType": "m6i.large", "tags": [{"key": TEMPLATE}]}
    if snapshot:
        resource["ebsSnapshotDetails"] = {"snapshotArn": f"arn:aws:ec2:{region}::snapshot/{snapshot}"}
    return {
        "version": "0", "id": event_id, "detail-type": "GuardDuty Finding", "source": "aws.guardduty",
        "account": "123456789012", "time": time, "region": region, "resources": [],
        "detail": {"schemaVersion": "2.0", "accountId": "123456789012", "region": region, "partition": "aws",
                   "id": "16afba5c5c43e07c9e3e5e2e544e95df", "type": "CryptoCurrency:EC2/BitcoinTool.B!DNS",
                   "resource": resource, "severity": 8, "title": TEMPLATE, "description": TEMPLATE},
    }


def security_hub(*arns: str) -> dict[str, Any]:
    """A finding of Security Hub as EventBridge delivers it, shortened."""
    return {
        "version": "0", "id": "8e5622f9-d81c-4d81-612a-9319e7ee2506", "source": "aws.securityhub",
        "detail-type": "Security Hub Findings - Imported", "account": "210987654321", "time": "2026-01-31T12:00:00Z",
        "region": "eu-west-1", "resources": [],
        "detail": {"findings": [{"AwsAccountId": "210987654321", "Id": "x", "Title": TEMPLATE,
                                 "Types": ["TTPs/Command and Control/CryptoCurrency:EC2-BitcoinTool.B!DNS"],
                                 "Resources": [{"Type": "AwsEc2Instance", "Id": arn} for arn in arns]}]},
    }
