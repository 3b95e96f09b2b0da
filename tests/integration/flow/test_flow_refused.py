# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Not authorized: a clear refusal, nothing created, no mail, no record."""

from __future__ import annotations

from typing import Any

import pytest

from lab import audit
from tests.integration.flow.flow_kit import Site, flat, together


def refused(site: Site, sentence: str, **fields: Any) -> None:
    """A request that must go no further than the door."""
    request = site.request(**fields)
    play = request.run()
    assert play.code not in (0, None)
    assert f"Request refused. {sentence}" in play.flat, play.text
    assert "Traceback" not in play.text and "TASK [Start the clock]" not in play.text
    assert request.record == {} and request.mails == []
    assert not [thing for thing in audit.account(site.lab) if thing.tags.get("dfir:incident") == request.incident]


@pytest.mark.cell("request", "an analyst without rights to the incident")
@together()
def test_somebody_without_rights_to_the_incident(site: Site) -> None:
    refused(site, "incident: 'bob' has no right to the incident INC-", analyst_uid="bob")


@pytest.mark.cell("request", "an incident that is not theirs")
@together()
def test_an_incident_that_is_not_theirs(site: Site) -> None:
    refused(site, "incident: 'alice' has no right to the incident TRAINING-1", incident="TRAINING-1")


@pytest.mark.cell("request", "a mode that is not granted")
@together()
def test_a_mode_that_is_not_granted(site: Site) -> None:
    refused(site, "forensics_mode: 'bob' has no right to the mode automatic", analyst_uid="bob",
            incident="TRAINING-2", forensics_mode="automatic")


@pytest.mark.cell("request", "a region that is not granted")
@together()
def test_a_foreign_region(site: Site) -> None:
    refused(site, "aws_analysis_region: 'alice' has no right to the region ap-southeast-2",
            aws_analysis_region="ap-southeast-2")
    refused(site, "aws_snapshot_region: 'alice' has no right to the region us-west-2", aws_snapshot_region="us-west-2")


@pytest.mark.cell("request", "an analyst that nobody knows")
@together()
def test_somebody_unknown_is_told_no_more_than_somebody_else(site: Site) -> None:
    arn = "arn:aws:iam::123456789012:user/dfir-controller"
    refused(site, f"analyst_uid: '{arn}' may not act as the analyst 'mallory'.", analyst_uid="mallory")


@pytest.mark.cell("request", "results of the flow forged as extra variables")
@together()
def test_p63_a_forged_result_opens_no_door(site: Site) -> None:
    """Extra variables outrank facts: whoever could bring `request_result` along would be authorized by it."""
    forged = {"request_id": "0" * 16, "incident": "INC-1", "finished": False, "analyst": {"uid": "bob"}}
    name = "is a name of the project's own and must not come as an extra variable."
    refused(site, f"request_result {name}", analyst_uid="bob", request_result=forged)
    settled = {"failed": False, "closed": True, "terminate": False, "ended": False, "outcome": "complete"}
    refused(site, f"settle_standing {name}", aws_snapshot_id="snap-00000000000000bad", settle_standing=settled)


def test_flat_joins_what_was_folded() -> None:
    assert flat("msg: 'it''s\n        one'") == "msg: 'it's one'"
