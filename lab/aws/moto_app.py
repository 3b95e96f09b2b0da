# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts moto in this process, with the settings that the lab depends on. Import this before any other moto module."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Read when moto's modules are imported, hence here and first.
os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"
os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "false"  # 1,300 policies that nothing here needs
os.environ["MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION"] = "true"
os.environ["MOTO_ENABLE_AMI_VALIDATION"] = "true"
os.environ["MOTO_ENABLE_KEYPAIR_VALIDATION"] = ""
os.environ["MOTO_DISABLE_GLOBAL_CORS"] = "true"
os.environ.pop("MOTO_ACCOUNT_ID", None)

import moto.backends as backends
from moto.core.responses import BaseResponse
from moto.iam.access_control import PermissionResult
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import FakeBucket

from lab.config import ACCOUNT, ACCOUNTS

# moto has an eye on bucket policies, too, but a blind one: it reads no Condition, so a conditional deny denies always.
# The gate evaluates them for real, before moto sees the call.
FakeBucket.get_permission = lambda self, action, resource: PermissionResult.NEUTRAL  # type: ignore[method-assign]

PARTITION = "aws"
SERVICES = ("ec2", "s3", "iam", "sts", "kms", "ssm", "secretsmanager", "sns", "servicequotas", "cloudtrail",
            "autoscaling", "elb", "elbv2")
# Where a service signs by another name than botocore's.
MODEL_NAMES = {"servicequotas": "service-quotas"}
# Two services sign by one name, and their version tells which is meant.
LOAD_BALANCING = {"2012-06-01": "elb", "2015-12-01": "elbv2"}

# moto looks for keys of exactly 20 characters; AWS allows 16 to 128, and the lab's fixed ones are not all 20 long.
BaseResponse.access_key_regex = re.compile(r"AWS.*(?P<access_key>(?<![A-Z0-9])[A-Z0-9]{16,128}(?![A-Z0-9]))[:/]")

# One lock over moto's models: moto is not made for several threads. S3 has its own, so that a long upload does not
# hold up EC2. Re-entrant, because hooks call models again.
MODELS = threading.RLock()
OBJECTS = threading.RLock()


class _CallState(threading.local):
    """What the gate found out about the call that this thread serves, for the models."""

    kms_refusal: str | None = None
    account: str = ACCOUNT  # whose call it is; what happens by itself names its account
    source_identity: str = ""  # what AssumeRole hands to the session


CALL = _CallState()


@contextmanager
def acting(account: str) -> Iterator[None]:
    """What follows in this thread is a call of this account."""
    before, CALL.account = CALL.account, account
    try:
        yield
    finally:
        CALL.account = before


def _application(service: Any) -> Any:
    app = create_backend_app(service)
    # What moto does not implement shall reach our gate as an exception, not as a page that says 500.
    app.config["PROPAGATE_EXCEPTIONS"] = True
    return app


def wsgi() -> DomainDispatcherApplication:
    """moto as a WSGI application that dispatches by credential scope."""
    return DomainDispatcherApplication(_application)


# Without an account the models are those of the account whose call this thread serves.


def ec2(region: str, account: str | None = None) -> Any:
    """moto's EC2 of a region."""
    return backends.get_backend("ec2")[account or CALL.account][region]


def iam(account: str | None = None) -> Any:
    """moto's IAM, which is global."""
    return backends.get_backend("iam")[account or CALL.account][PARTITION]


def sts(account: str | None = None) -> Any:
    """moto's STS, which knows the sessions of an account's roles."""
    return backends.get_backend("sts")[account or CALL.account][PARTITION]


def s3(account: str | None = None) -> Any:
    """moto's S3, one for all regions."""
    return backends.get_backend("s3")[account or CALL.account][PARTITION]


def kms(region: str, account: str | None = None) -> Any:
    """moto's KMS of a region."""
    return backends.get_backend("kms")[account or CALL.account][region]


def secrets(region: str) -> Any:
    """moto's Secrets Manager of a region."""
    return backends.get_backend("secretsmanager")[CALL.account][region]


def ssm(region: str) -> Any:
    """moto's Systems Manager of a region."""
    return backends.get_backend("ssm")[CALL.account][region]


def ec2_regions(account: str | None = None) -> list[str]:
    """Regions in which EC2 was used so far (asking for another one would create it)."""
    return list(backends.get_backend("ec2")[account or CALL.account])


def bucket(name: str) -> Any:
    """A bucket by its name, which no two accounts have both; None where there is none."""
    return next((found for account in ACCOUNTS if (found := s3(account).buckets.get(name)) is not None), None)


def snapshot(region: str, name: str) -> Any:
    """A snapshot by its id, whoever owns it and whoever may see it; None where there is none."""
    return next((found for account in ACCOUNTS if region in ec2_regions(account)
                 and (found := ec2(region, account).snapshots.get(name)) is not None), None)


def reset() -> None:
    """Forget everything: a lab starts with an empty account."""
    with MODELS, OBJECTS:
        for service in SERVICES:
            backends.get_backend(MODEL_NAMES.get(service, service)).reset()  # type: ignore[call-overload]
