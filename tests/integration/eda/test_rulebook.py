# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events for real: the rulebook's process, signed POSTs over TLS, the playbooks, the lab, the mails.

One listener for all, since a restart is a part of the story: what came before is told first, then the restart, then
what is sent once more. Needs .venv-eda (lab/setup.sh eda) and Java.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import yaml

from lab.config import LabConfig
from tests.hostile_events import bodies, guardduty
from tests.integration.eda.listener import SECRET, TOKEN, Listener, Site, until
from tests.kit import CHECKOUT

EXAMPLE = yaml.safe_load((CHECKOUT / "examples" / "triage_snapshot.yml").read_text())
REQUEST = {name: EXAMPLE[name] for name in ("analyst_uid", "aws_snapshot_id", "aws_snapshot_region",
                                            "aws_analysis_region")}
SNAPSHOT, REGION = EXAMPLE["aws_snapshot_id"], EXAMPLE["aws_snapshot_region"]


def now(minutes: float = 0) -> str:
    return (datetime.now(timezone.utc) + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture(scope="module")
def site(lab: LabConfig, tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(lab, tmp_path_factory.mktemp("eda"))


@pytest.fixture(scope="module")
def marker(site: Site) -> Path:
    """What a template would make if anything rendered it."""
    return site.folder / "rendered"


@pytest.fixture(scope="module")
def incident() -> str:
    return f"INC-{uuid.uuid4().hex[:8].upper()}"


@pytest.fixture(scope="module")
def event_ids() -> dict[str, str]:
    return {name: str(uuid.uuid4()) for name in ("snapshot", "instance", "old")}


@pytest.fixture(scope="module")
def listener(site: Site, incident: str, event_ids: dict[str, str]) -> Iterator[Listener]:
    """Up, with everything sent that takes long: what it leads to is looked at by the tests."""
    with site.listening() as listener:
        assert listener.documented_curl(incident) == 0
        assert listener.request({**REQUEST, "incident": incident, "analyst_uid": "bob"}) == 200
        # Without the quotes of the rulebook this text would arrive as a number.
        assert listener.request({**REQUEST, "incident": "2026"}) == 200
        for name, finding in (
                ("snapshot", guardduty(snapshot=SNAPSHOT, region=REGION, time=now(), event_id=event_ids["snapshot"])),
                ("instance", guardduty("i-0123456789abcdef0", time=now(), event_id=event_ids["instance"])),
                ("old", guardduty(snapshot=SNAPSHOT, region=REGION, time=now(-61), event_id=event_ids["old"]))):
            assert listener.finding(finding) == 200, name
        until(listener.playbooks, "a playbook")  # or `settle` would see none, ever
        yield listener


def test_p57_only_what_is_authenticated_is_received(listener: Listener) -> None:
    body = json.dumps({**REQUEST, "incident": "INC-1"}).encode()
    assert listener.post(listener.requests, body, {"X-DFIR-Signature-256": "sha256=" + "0" * 64}) == 401
    assert listener.post(listener.requests, body, {}) == 400
    assert listener.post(listener.requests, body, {"Authorization": f"Bearer {TOKEN}"}) == 400
    assert listener.post(listener.findings, body, {"Authorization": f"Bearer {SECRET}"}) == 401
    assert listener.post(listener.findings, body, {}) == 401
    assert listener.request({"incident": "x" * (2 << 20)}) == 413
    assert listener.finding({"x": "x" * (2 << 20)}) == 413
    with pytest.raises(OSError, match=r"reset|disconnect|closed|BadStatus|status"):
        listener.in_the_clear(body)


def test_a_request_is_let_in_under_the_id_that_its_sender_computes(listener: Listener, site: Site, incident: str
                                                                    ) -> None:
    request_id = site.documented_id({**REQUEST, "incident": incident, "max_cost_usd": 0.01})
    record = site.eventually(f"requests/{request_id}.json", lambda record: record["steps"] and not record["lease"])
    assert record["request"]["analyst"]["uid"] == "alice" and record["request"]["max_cost_usd"] == 0.01
    assert record["steps"][-1]["outcome"] == "failed", "it costs more than that: told as on every door"
    assert site.mail(f"[{incident}] FAILED at plan")


def test_a_request_that_is_refused_says_so_under_that_id_and_by_mail(listener: Listener, site: Site, incident: str
                                                                      ) -> None:
    for changes, said in (({"incident": incident, "analyst_uid": "bob"}, f"no right to the incident {incident}"),
                          ({"incident": "2026"}, "no right to the incident 2026")):
        request_id = site.documented_id({**REQUEST, **changes})
        told = site.eventually(f"requests/events/{request_id}.json")
        assert told["outcome"] == "refused" and said in told["reason"]
        assert said in " ".join(site.mail(f"REFUSED: a request that came as an event, {request_id}").split())
        assert not site.there(f"requests/{request_id}.json"), "a right that is given later makes the same request good"


def test_a_finding_starts_a_triage_or_says_why_not(listener: Listener, site: Site, event_ids: dict[str, str]) -> None:
    done = site.event(event_ids["snapshot"], SNAPSHOT, REGION, "done")
    incident = done["details"]["places"][0].split("/")[3]
    assert incident.startswith("EVENT-") and done["details"]["snapshot_id"] == SNAPSHOT
    assert any(key.endswith("/report.html") for key in site.keys(f"{incident}/{SNAPSHOT}/triage/"))
    assert "shop-web-01" in site.mail(f"[{incident}] triage of {SNAPSHOT}")
    none = site.event(event_ids["instance"], "i-0123456789abcdef0", REGION, "failed")
    assert "no instance i-0123456789abcdef0" in none["reason"]
    old = site.event(event_ids["old"], SNAPSHOT, REGION, "refused")
    assert "none is answered after 60 minutes" in old["reason"] and old["slot"] is None


def test_p69_p43_a_thousand_hostile_bodies_and_it_still_listens(listener: Listener, site: Site, marker: Path) -> None:
    template = "{{ lookup('ansible.builtin.pipe', 'touch " + str(marker) + "') }}"
    sent = 0
    with listener.connection(listener.requests) as by_people, listener.connection(listener.findings) as by_aws:
        good = {**REQUEST, "incident": "INC-1"}
        for number, body in enumerate(bodies(1000, random.Random(11), good, template)):
            raw = json.dumps(body).encode()
            is_json = number % 250 != 249
            if not is_json:
                raw = [b'{"incident": ', b"\xff\xfe", b"[" * 200_000, b"9" * 5000][number // 250]
            answer = listener.hostile(by_aws if number % 5 == 4 else by_people, raw, template)
            assert answer == 200 if is_json else answer in (400, 500), raw[:200]
            sent += 1
    assert sent == 1000 and listener.is_up()
    listener.wait_for("Tell of what was refused")
    listener.settle()
    assert not marker.exists(), "a template of an event was rendered"
    assert "aws_snapshot_id" in site.mail("REFUSED: a request that came as an event")
    assert not any("lookup(" in mail.text + mail.subject for mail in site.mails())


def test_what_was_answered_is_not_answered_again_after_a_restart(listener: Listener, site: Site,
                                                                 event_ids: dict[str, str]) -> None:
    before = site.event(event_ids["snapshot"], SNAPSHOT, REGION, "done")
    mails, objects = len(site.mails()), site.keys("EVENT-")
    listener.restart()
    again = guardduty(snapshot=SNAPSHOT, region=REGION, time=now(), event_id=event_ids["snapshot"])
    assert listener.finding(again) == 200
    listener.wait_for(f"This event was answered at {before['ended_at']}: done")
    listener.settle()
    assert site.event(event_ids["snapshot"], SNAPSHOT, REGION, "done") == before
    assert (len(site.mails()), site.keys("EVENT-")) == (mails, objects)
