# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows from a request: times, tags, texts."""

from __future__ import annotations

import shlex
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.dfir.aws.plugins.filter import analyst_access, request

FOLDER = Path(request.__file__).parent
REQUEST: dict[str, Any] = {
    "request_id": "0123456789abcdef", "mode": "automatic", "time_limit_hours": None, "attempt": 1,
    "artifact_bucket": "b", "artifact_prefix": "INC-1/snap-1/", "tags": {"dfir:request": "0123456789abcdef"},
    "analyst": {"email": "alice@example.org"},
}


@pytest.mark.parametrize("name", [*request.FilterModule().filters(), *analyst_access.FilterModule().filters()])
def test_every_filter_has_its_documentation(name: str) -> None:
    document = yaml.safe_load((FOLDER / f"{name}.yml").read_text(encoding="utf-8"))
    assert document["DOCUMENTATION"]["name"] == name and document["EXAMPLES"] and document["RETURN"]


@pytest.mark.parametrize(
    ("mode", "asked", "gib", "hours"),
    [
        ("automatic", None, 8, 3),
        ("automatic", None, 100, 6),
        ("automatic", None, 16384, 72),
        ("manual", None, 8, 9),
        ("manual", 2, 8, 2),
        ("automatic", 0.5, 4096, 0.5),
    ],
)
def test_the_time_limit_fits_the_volume_unless_asked_for(mode: str, asked: Any, gib: int, hours: float) -> None:
    assert request.time_limit_hours({**REQUEST, "mode": mode, "time_limit_hours": asked}, gib) == hours


@pytest.mark.parametrize(
    ("mode", "asked", "own", "operator", "hours", "longest"),
    [
        ("manual", 4, None, "", 4, 4),  # without a bound of the request there is nothing to prolong
        ("manual", 4, None, 72, 4, 4),
        ("manual", 4, 12, 72, 4, 12),
        ("manual", 4, 100, 72, 4, 72),  # the lower one counts
        ("manual", 4, 12, "8", 4, 8),
        ("manual", None, 5, "", 5, 5),  # nine hours would fit the volume
        ("manual", 8, 4, "", 4, 4),
        ("automatic", None, 2, "", 2, 2),
        ("automatic", 2, 12, "", 2, 2),
        ("automatic", 8, None, 6, 6, 6),
    ],
)
def test_no_host_lives_longer_than_request_and_operator_allow(mode: str, asked: Any, own: Any, operator: Any,
                                                              hours: float, longest: float) -> None:
    fields = {**REQUEST, "mode": mode, "time_limit_hours": asked, "max_hours": own}
    assert request.time_limit_hours(fields, 8, operator) == hours
    assert request.longest_hours(fields, hours, operator) == longest


@pytest.mark.parametrize("wrong", ["many", -1, 0, True, "nan", "inf"])
def test_an_operators_bound_that_is_none_is_one_sentence(wrong: Any) -> None:
    with pytest.raises(AnsibleFilterError, match="dfir_aws_max_hours must be a number of hours"):
        request.time_limit_hours({**REQUEST, "mode": "manual", "time_limit_hours": 4}, 8, wrong)


def test_expiry_counts_from_its_start_or_from_now() -> None:
    assert request.expires(REQUEST, 1.5, "2026-01-31T23:00:00Z") == "2026-02-01T00:30:00Z"
    before = datetime.now(timezone.utc)
    moment = datetime.strptime(request.expires(REQUEST, 2), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    assert 7198 <= (moment - before).total_seconds() <= 7210
    with pytest.raises(AnsibleFilterError):
        request.expires(REQUEST, 1, "tomorrow")


def test_tags_of_a_request_and_of_a_copy() -> None:
    assert request.request_tags(REQUEST, "2026-01-31T12:00:00Z") == {
        "dfir:request": "0123456789abcdef", "dfir:expires": "2026-01-31T12:00:00Z"}
    assert request.request_tags(REQUEST, "2026-01-31T12:00:00Z", "2026-01-31T10:00:00Z")["dfir:deadline"] == (
        "2026-01-31T10:00:00Z")
    assert "dfir:deadline" not in request.request_tags(REQUEST, "2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z")
    tags = request.snapshot_copy_tags({"id": "snap-1", "region": "us-east-1"}, "2026-01-31T12:00:00Z", "alias/k")
    assert tags == {"Name": "dfir-copy-snap-1", "dfir:source-snapshot": "snap-1", "dfir:source-region": "us-east-1",
                    "dfir:expires": "2026-01-31T12:00:00Z", "dfir:kms-key": "alias/k"}
    assert "dfir:request" not in tags, "a copy belongs to its source"
    with pytest.raises(AnsibleFilterError):
        request.request_tags(REQUEST, "soon")


@pytest.mark.parametrize(
    ("zone", "text"),
    [
        ("UTC", "2026-01-31 23:30 UTC"),
        ("Europe/Berlin", "2026-01-31 23:30 UTC (Sun 00:30 in Europe/Berlin)"),
        ("America/New_York", "2026-01-31 23:30 UTC (18:30 in America/New_York)"),
        ("Nowhere/Land", "2026-01-31 23:30 UTC"),
        ("../../etc/passwd", "2026-01-31 23:30 UTC"),
    ],
)
def test_times_for_people(zone: str, text: str) -> None:
    assert request.local_time("2026-01-31T23:30:00Z", zone) == text


def test_p43_nothing_adds_a_mail_header() -> None:
    assert request.one_line("ready\r\nBcc: x@example.org\x00\u2028y") == "ready Bcc: x@example.org y"
    assert len(request.one_line("x" * 500, 50)) == 50
    hostile = {"analyst": {"email": "alice@example.org"}}
    others = ["team@example.org", "a@b\nBcc: c@d", "x <y@z>", "a@b,c@d", "team@example.org"]
    assert request.mail_recipients(hostile, others) == ["alice@example.org", "team@example.org"]


def test_a_command_in_a_mail_is_the_same_command_when_pasted() -> None:
    words = ["ssh", "-o", "ProxyCommand=relay.py /a b/x.sock %h %p", *["--option=$(id)"] * 8, "analyst@10.0.0.5"]
    text = request.shell_command(words, 4)
    assert shlex.split(text.replace("\\\n", "")) == words
    assert all(len(line) <= 76 and line.startswith("    ") for line in text.splitlines())
    assert request.shell_command("sudo systemctl stop x") == "  sudo systemctl stop x"


def test_paragraphs_are_folded() -> None:
    text = request.mail_text("word " * 40 + "\nmore", 4)
    assert all(len(line) <= 76 and line.startswith("    ") for line in text.splitlines())


@pytest.mark.parametrize(("number", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (8 * 2**30, "8 GiB"),
                                              (16 * 2**40, "16 TiB"), (None, "0 B")])
def test_sizes(number: Any, text: str) -> None:
    assert request.size(number) == text


@pytest.mark.parametrize(
    ("marker", "state"),
    [(None, "incomplete"), ({}, "incomplete"), ([], "incomplete"), ({"outcome": "complete"}, "complete"),
     ({"outcome": "incomplete"}, "incomplete"), ({"outcome": "ended"}, "ended"), ({"outcome": "timeout"}, "timeout"),
     ({"outcome": "complete\nBcc: x"}, "incomplete"), ({"outcome": ["complete"]}, "incomplete")],
)
def test_only_the_marker_makes_an_analysis_complete(marker: Any, state: str) -> None:
    assert request.marker_state(marker) == state


def test_a_request_that_was_never_heard_of_again_expired() -> None:
    assert request.marker_state({}, expired=True) == "expired"
    assert request.marker_state({"outcome": "complete"}, expired=True) == "complete"


def test_p28_what_the_host_wrote_is_reduced_to_numbers_and_known_names() -> None:
    short = request.findings_in_short({
        "totals": {"findings": 9, "findings_low": 6, "findings_critical": 3, "yara_hits": 2, "findings_high": "8"},
        "kinds": {"cron": 2, "web_shell": 7, "a\nb": 1, "<b>": 1, "big": 10**15, "negative": -1, "text": "x"},
    })
    assert short["severities"] == [{"name": "critical", "count": 3}, {"name": "low", "count": 6}]
    assert short["kinds"] == [{"name": "web_shell", "count": 7}, {"name": "cron", "count": 2}]
    assert short["total"] == 9 and short["totals"] == {"yara_hits": 2} and short["known"]
    for nothing in (None, {}, [], {"totals": "many"}):
        assert request.findings_in_short(nothing) == {"known": False, "total": 0, "severities": [], "kinds": [],
                                                      "totals": {}}


def test_a_finished_request_says_where_its_artifacts_are() -> None:
    opened = {"finished": True, "adopted": True, "outcome": "complete"}
    result = request.request_result(REQUEST, opened, "me", "eu-west-1")
    assert result["finished"] and result["adopted"]
    assert "s3://b/INC-1/snap-1/" in result["finished_message"] and "'attempt' to 2" in result["finished_message"]
    running = request.request_result(REQUEST, {"finished": False, "adopted": False, "outcome": None}, "me", "eu-west-1")
    assert running["finished_message"] == "" and not running["finished"]
    assert running["record"] == {"bucket": "b", "region": "eu-west-1", "request_id": "0123456789abcdef", "holder": "me"}
