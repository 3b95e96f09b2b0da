# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ended by hand: a host at work takes its results along; one that nobody reaches is terminated, and that is said."""

from __future__ import annotations

import subprocess

import pytest

from tests.integration.flow.flow_kit import Request, Site, deny_ssh, flat, instances, together
from tests.integration.flow.host_kit import artifacts
from tests.integration.flow.ledger_kit import history, ledger
from tests.kit import run


def close(request: Request, *more: str) -> subprocess.CompletedProcess[str]:
    return run("ansible-playbook", "-i", "inventories/lab", "playbooks/close_request.yml", "-e", "analyst_uid=alice",
               "-e", f"request_id={request.id}", *more)


@pytest.mark.cell("results", "the request is closed by hand")
@pytest.mark.host
@together(minutes=3)
def test_a_host_at_work_takes_its_results_along(site: Site) -> None:
    origin = site.source()
    request = site.request(aws_snapshot_id=origin)
    ready = request.run()
    assert ready.code == 0, ready.text[-3000:]
    begun = ["run-1 begun", f"copy/{origin} begun", f"mount/{origin} begun", "host begun", f"copy/{origin} ok",
             "host ok", "access begun", "tools begun", "analysis begun", f"mount/{origin} ok", "access ok", "tools ok",
             "run-1 ok"]
    assert history(request) == begun
    [access] = [entry for entry in ledger(request) if entry["action"] == "access" and entry["phase"] == "outcome"]
    assert access["details"]["analyst"] == "alice" and access["details"]["key"].startswith("SHA256:")
    assert f"ends with entry {len(begun) - 1}, signed" in flat(request.mails[-1].text)
    checked = close(request, "--check")
    assert checked.returncode == 0 and "is told to end its work" in flat(checked.stdout), checked.stdout
    assert request.record["state"] == "open" and "complete.json" not in artifacts(request)

    closed = close(request)
    assert closed.returncode == 0, closed.stdout[-4000:]
    assert {"complete.json", "sha256sums.txt"} <= artifacts(request).keys() and request.exists() == set()
    [host] = instances(site.lab, request.id)
    assert host["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"  # it ended itself, after its upload
    record = request.record
    assert (record["state"], record["outcome"], record["lease"]) == ("finished", "ended", None)
    [step] = [step for step in record["steps"] if step["name"] == "close_by_hand"]
    assert step["details"]["host_told"] is True and step["details"]["analyst"] == "alice"
    assert [mail.subject.split()[1] for mail in request.mails] == ["ready:", "ended:"]
    # Its custody: what was left open is ended, and each artifact is what its entry says (or the ledger would not fit).
    entries = ledger(request)
    assert history(request) == [*begun, "run-2 begun", "ended-by-hand/2 ok", "analysis ok", "end ok", "run-2 ok"]
    recorded = {entry["object"]["id"].rpartition("/")[2] for entry in entries if entry["action"] == "artifact"}
    assert recorded == {"complete.json", "sha256sums.txt"}
    head = f"{len(entries) - 1}:{entries[-1]['before']}"
    assert head in flat(request.mails[-1].text), "the entry before the last, since the run ends after its mail"


@pytest.mark.cell("results", "it is closed by hand and nobody reaches the host")
@pytest.mark.host
@together(minutes=3)
def test_a_host_that_nobody_reaches_is_terminated_and_what_is_missing_is_said(site: Site) -> None:
    request = site.request(aws_snapshot_id=site.source())
    ready = request.run()
    assert ready.code == 0, ready.text[-3000:]
    [host] = instances(site.lab, request.id)
    deny_ssh(site.lab, host)
    closed = close(request)
    assert closed.returncode != 0 and "Traceback" not in closed.stdout
    assert "The completion marker (complete.json) never came" in flat(closed.stdout), closed.stdout[-3000:]
    assert request.exists() == set() and request.record["outcome"] == "incomplete"
    [host] = instances(site.lab, request.id)
    assert host["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert "INCOMPLETE" in request.mails[-1].text
