# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A tool that is good when the host is made ready, and is not any more when the work is done."""

from __future__ import annotations

import json
import sys

import pytest

from lab.aws.rooms import snapshot_id
from lab.seed import EVIDENCE
from tests.integration.flow.flow_kit import BUCKET, HOME, Site, client, deny_ssh, flat, instances, together
from tests.kit import run

# What malware that got out of its container could do: the scanners' sample no longer holds what they must find.
SAMPLE = "/srv/dfir/containers/overlay/*/diff/opt/dfir/share/dfir/samples/hit.txt"
BREAK = f"sudo sh -c 'for file in {SAMPLE}; do echo > $file; done'"


@pytest.mark.cell("results", "a tool breaks during the work")
@pytest.mark.cell("results", "SSH drops while the analysis runs")
@pytest.mark.host
@together(minutes=7)
def test_a_tool_that_breaks_during_the_work_takes_its_results_back(site: Site) -> None:
    request = site.request(aws_snapshot_id=snapshot_id(EVIDENCE[HOME]), aws_snapshot_region=HOME,
                           forensics_mode="automatic", wait_for_results=True)
    play = request.start()
    play.wait(lambda: request.mails)
    assert play.code is None and request.mails[0].subject.split()[1] == "ready:", play.text[-3000:]
    told = run(sys.executable, "-m", "lab.analyst", request.incident, "--", BREAK)
    assert told.returncode == 0, told.stdout
    # The bucket is asked, not the host: from here on nobody could log in to it.
    [host] = instances(site.lab, request.id)
    deny_ssh(site.lab, host)
    play.end()

    assert play.code not in (0, None) and "Traceback" not in play.text
    assert play.sentence.startswith(f"Request {request.id} failed at the step results: ")
    assert ("After the work clamav, yara failed on a known sample, although good before it: .clamav.json, .yara.json "
            "must not be relied on.") in play.sentence
    ready, mail = request.mails
    assert "RETRACTED: clamav, yara failed after the work" in mail.subject
    for words in ("do not rely on these results", ".yara.json of every partition", "raise 'attempt'", "incomplete"):
        assert words in flat(mail.text) or words in mail.text.lower(), mail.text
    # Everything else that was found is there, and the host has gone as it does after any analysis.
    s3, prefix = client(site.lab, "s3"), request.record["request"]["artifact_prefix"]
    marker, summary = (json.loads(s3.get_object(Bucket=BUCKET, Key=prefix + name)["Body"].read())
                       for name in ("complete.json", "summary.json"))
    assert marker["outcome"] == "incomplete" and marker["missing"] == []
    assert marker["validation"] == {"ran": True, "failed": ["clamav", "yara"]}
    assert summary["validation"]["failed"] == ["clamav", "yara"] and summary["totals"]["findings"] > 0
    assert {(one["kind"], one["name"]) for one in summary["content"]["sets"]} >= {("yara", "dfir"), ("clamav", "dfir")}
    assert "RULES AND SIGNATURES" in ready.text
    record = request.record
    assert record["state"] == "finished" and record["outcome"] == "incomplete" and record["lease"] is None
    [results] = [step for step in record["steps"] if step["name"] == "results" and step["outcome"] == "ok"]
    assert results["details"]["retracted"]["tools"] == ["clamav", "yara"]
    assert request.exists() == set()
