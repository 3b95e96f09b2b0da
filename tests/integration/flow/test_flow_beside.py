# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several requests at the same moment, for one snapshot of one case: one copy, and two of everything else."""

from __future__ import annotations

import json

import pytest

from tests.integration.flow.flow_kit import AWAY, Site, copies, together
from tests.integration.flow.host_kit import artifacts, as_root, host


@pytest.mark.cell("results", "an analysis and a session of one snapshot at the same moment")
@pytest.mark.host
@together(minutes=3)
def test_an_analysis_and_a_session_of_the_same_snapshot_do_not_disturb_each_other(site: Site) -> None:
    """Neither ends the other, and each has a completion marker of its own."""
    origin = site.source()
    session = site.request(aws_snapshot_id=origin, aws_snapshot_region=AWAY, wait_for_results=True, time_limit_hours=1)
    analysis = site.request(aws_snapshot_id=origin, aws_snapshot_region=AWAY, wait_for_results=True,
                            incident=session.incident, forensics_mode="automatic")
    plays = {request.fields["forensics_mode"]: request.start() for request in (session, analysis)}
    assert plays["automatic"].end().code == 0, plays["automatic"].text[-4000:]
    assert analysis.exists() == set()
    plays["manual"].wait(lambda: [mail for mail in session.mails if host(session)["InstanceId"] in mail.text])
    assert plays["manual"].code is None and host(session)["State"]["Name"] == "running", plays["manual"].text[-3000:]
    as_root(session, "echo still here > /srv/dfir/analyst/note.txt; dfir-end")
    assert plays["manual"].end().code == 0, plays["manual"].text[-4000:]
    assert session.exists() == set() and len(copies(site.lab, origin)) == 1
    prefixes = {request.record["request"]["artifact_prefix"] for request in (session, analysis)}
    common = f"{session.incident}/{origin}/"
    assert common in prefixes and len(prefixes) == 2 and all(prefix.startswith(common) for prefix in prefixes)
    outcomes = [json.loads(artifacts(request)["complete.json"])["outcome"] for request in (session, analysis)]
    assert outcomes == ["ended", "complete"]
    assert artifacts(session)["analyst/note.txt"] == b"still here\n"
