# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Service Quotas, as far as they are true here: the vCPUs of running On-Demand instances, which RunInstances obeys."""

from __future__ import annotations

from typing import Any

from . import moto_app as moto_app  # first: it sets what moto reads while it is imported

# isort: split
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.servicequotas.exceptions import NoSuchResource
from moto.servicequotas.models import ServiceQuotasBackend

STANDARD = "L-1216C47A"  # Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances
VCPUS = 64.0  # a test may set another number
NAME = "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances"
STANDARD_FAMILIES = "acdhimrtz"


def vcpus(instance_type: str) -> int:
    """The vCPUs of an instance type, 0 where it is unknown."""
    found: dict[str, Any] = INSTANCE_TYPES.get(instance_type) or {}
    return int((found.get("VCpuInfo") or {}).get("DefaultVCpus") or 0)


def get_service_quota(self: Any, service_code: str, quota_code: str) -> dict[str, Any]:
    """GetServiceQuota; the lab has one quota."""
    if (service_code, quota_code) != ("ec2", STANDARD):
        raise NoSuchResource
    return {
        "ServiceCode": "ec2", "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)", "QuotaCode": STANDARD,
        "QuotaName": NAME, "Value": VCPUS, "Unit": "None", "Adjustable": True, "GlobalQuota": False,
    }


def check(backend: Any, instance_type: str, count: int) -> None:
    """Refuse a launch beyond the quota, as RunInstances does."""
    if instance_type[:1] not in STANDARD_FAMILIES:
        return
    used = sum(vcpus(item.instance_type) for item in backend.all_instances()
               if item.state in ("pending", "running") and item.instance_type[:1] in STANDARD_FAMILIES)
    if used + count * vcpus(instance_type) > VCPUS:
        raise EC2ClientError(
            "VcpuLimitExceeded", f"You have requested more vCPU capacity than your current vCPU limit of {VCPUS:g} "
            "allows for the instance bucket that the specified instance type belongs to. Please visit "
            "http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit.")


def install() -> None:
    """Take the place of moto's quotas, which are those of VPC alone."""
    ServiceQuotasBackend.get_service_quota = get_service_quota  # type: ignore[method-assign]
