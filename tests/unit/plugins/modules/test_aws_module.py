# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients of modules try again when an account is busy, whatever else is asked of them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dfir.aws.plugins.module_utils.aws_module import ATTEMPTS, AwsModule

from tests.unit.plugins.modules.aws_module_kit import KEYS


def attempts(config: Any = None, **arguments: Any) -> tuple[int, str, Any]:
    """How often a module's client asks, in which mode, and how it signs."""
    with patch_module_args({**KEYS, **arguments}):
        module = AwsModule(argument_spec={})
        client = module.client("s3", **({} if config is None else {"config": config}))
    retries = client.meta.config.retries
    return retries["total_max_attempts"], retries["mode"], client.meta.config.signature_version


def test_a_client_asks_seven_times() -> None:
    assert attempts()[:2] == (ATTEMPTS, "standard") and ATTEMPTS == 7


def test_a_module_may_want_something_else_too() -> None:
    assert attempts({"signature_version": "s3v4"}) == (ATTEMPTS, "standard", "s3v4")
    assert attempts({"retries": {"mode": "standard", "total_max_attempts": 3}})[0] == 3


def test_an_operators_settings_outrank_it() -> None:
    assert attempts(aws_config={"retries": {"mode": "adaptive", "total_max_attempts": 2}})[:2] == (2, "adaptive")


def test_a_throttled_call_is_asked_again(moto: Any, aws: Any,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    """Four refusals in a row, as on an account that many use; botocore by itself gives up after the third."""
    refused = iter(range(4))

    def busy(**_more: Any) -> Any:
        from botocore.awsrequest import AWSResponse

        body = b"<Response><Errors><Error><Code>RequestLimitExceeded</Code></Error></Errors></Response>"
        if next(refused, None) is None:
            return None
        answer = AWSResponse("https://ec2/", 503, {}, None)
        answer._content = body
        return answer

    monkeypatch.setattr("botocore.retries.standard.time.sleep", lambda _seconds: None, raising=False)
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _seconds: None)
    with patch_module_args({**KEYS, "endpoint_url": moto.url}):
        client = AwsModule(argument_spec={}).client("ec2")
    client.meta.events.register("before-send.ec2.DescribeVpcs", busy)
    answer = client.describe_vpcs()
    assert answer["ResponseMetadata"]["RetryAttempts"] == 4 and len(answer["Vpcs"]) == 1
