# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plan finds out ends a request before anything is created: what it costs, and what an operator has set."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.flow.flow_kit import AWAY, Site, check_alert, copies, together


def stopped(site: Site, *words: str, settings: dict[str, Any] | None = None, **fields: Any) -> None:
    """A request that goes no further than its plan."""
    origin = site.source()
    request = site.request(aws_snapshot_id=origin, aws_snapshot_region=AWAY,
                           overlay={"all": {"hosts": {"localhost": settings}}} if settings else None, **fields)
    assert check_alert(request, request.run(), "plan", *words) == []
    assert copies(site.lab, origin) == []


@pytest.mark.cell("plan", "it costs more than it may")
@together()
def test_a_request_that_costs_too_much(site: Site) -> None:
    stopped(site, "more than the limit of 0.01 USD (max_cost_usd): ask for fewer hours", max_cost_usd=0.01)


@pytest.mark.cell("plan", "the operator's rate of initialization is none")
@together()
def test_a_rate_that_aws_does_not_have(site: Site) -> None:
    stopped(site, "dfir_aws_volume_initialization_rate is '50', and must be 100 to 300",
            settings={"dfir_aws_volume_initialization_rate": 50})


@pytest.mark.cell("plan", "a way in without its jump host")
@together()
def test_a_way_in_that_leads_nowhere(site: Site) -> None:
    stopped(site, "no jump host is named: set dfir_aws_ssh_jump to [user@]host[:port]",
            settings={"dfir_aws_ssh_via": "proxyjump", "dfir_aws_ssh_jump": ""})


@pytest.mark.cell("plan", "an image that is not there")
@together()
def test_an_image_that_is_not_there(site: Site) -> None:
    stopped(site, "ami-00000000000000bad", settings={"dfir_aws_ami_id": "ami-00000000000000bad"})
