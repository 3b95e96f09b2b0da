# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the end of the work is recognized, and what the marker says of it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.forensics.watchdog import (
    Ending,
    Request,
    RequestError,
    ending,
    load_request,
    marker,
)

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=timezone.utc)
FULL = {"outcome": "complete", "missing": [], "counts": {"findings": 3}}
PART = {"outcome": "incomplete", "missing": ["p2.plaso"], "counts": {"findings": 3}}
SETTINGS = {"request_id": "0123456789abcdef", "mode": "automatic", "artifact_bucket": "b", "artifact_prefix": "i/s/",
            "artifact_bucket_region": "eu-west-1", "endpoint_url": "", "deadline": "2026-11-20T13:00:00Z"}


def request(mode: str) -> Request:
    return Request("0123456789abcdef", mode, "b", "i/s/", "eu-west-1", None, NOW + timedelta(hours=1))


@pytest.mark.parametrize(("mode", "words", "outcome", "expected", "missing"), [
    ("automatic", None, None, None, []),
    ("automatic", None, FULL, None, []),  # the unit still runs: it has the last word
    ("automatic", "success exited 0", FULL, "complete", []),
    ("automatic", "exit-code exited 3", PART, "incomplete", ["p2.plaso"]),
    ("automatic", "exit-code exited 125", None, "incomplete", ["analysis"]),
    ("automatic", "exit-code exited 1", FULL, "incomplete", []),
    ("automatic", "signal killed KILL", None, "incomplete", ["analysis"]),
    ("automatic", "exit-code exited 124", None, "timeout", ["analysis"]),
    ("automatic", "exit-code exited 124", PART, "timeout", ["p2.plaso"]),
    ("automatic", "success killed TERM", None, "ended", ["analysis"]),
    ("automatic", "success exited 143", None, "ended", ["analysis"]),
    ("automatic", "success exited 143", FULL, "complete", []),
    ("automatic", "", None, "incomplete", ["analysis"]),
    ("manual", None, None, None, []),
    ("manual", "success exited 0", None, "timeout", []),
    ("manual", "success killed TERM", None, "ended", []),
    ("manual", "oom-kill killed KILL", None, "incomplete", []),
    ("manual", "unknown", None, "incomplete", []),
])
def test_ending(tmp_path: Path, mode: str, words: str | None, outcome: dict[str, Any] | None, expected: str | None,
                missing: list[str]) -> None:
    if words is not None:
        (tmp_path / "ended").write_text(words)
    if outcome is not None:
        (tmp_path / "outcome.json").write_text(json.dumps(outcome))
    end = ending(request(mode), tmp_path / "ended", tmp_path / "outcome.json", NOW)
    if expected is None:
        assert end is None
    else:
        assert end is not None
        assert (end.outcome, end.missing) == (expected, missing)


def test_p26_the_deadline_is_an_end(tmp_path: Path) -> None:
    for mode in ("automatic", "manual"):
        end = ending(request(mode), tmp_path / "ended", tmp_path / "outcome.json", NOW + timedelta(hours=1))
        assert end is not None
        assert end.outcome == "timeout"


@pytest.mark.parametrize("text", ["", "[]", '{"outcome": 1, "missing": 5}', '{"outcome": "splendid"}'])
def test_a_strange_account_is_never_complete(tmp_path: Path, text: str) -> None:
    (tmp_path / "ended").write_text("success exited 0")
    (tmp_path / "outcome.json").write_text(text)
    end = ending(request("automatic"), tmp_path / "ended", tmp_path / "outcome.json", NOW)
    assert end is not None
    assert end.outcome == "incomplete"


def test_marker_with_something_missing_is_incomplete() -> None:
    made = marker(request("automatic"), Ending("complete", [], {"findings": 1}), sums_sha256="ab", uploaded=2, size=9,
                  missing=["vol-1p1.plaso"], now=NOW)
    assert (made["outcome"], made["missing"]) == ("incomplete", ["vol-1p1.plaso"])
    assert made["counts"] == {"findings": 1, "uploaded_files": 2, "uploaded_bytes": 9}


@pytest.mark.parametrize("change", [{"artifact_prefix": "i/s"}, {"artifact_bucket": ""}, {"deadline": "soon"},
                                    {"artifact_folders": {"vol-1": "other/s/"}}, {"artifact_folders": {"vol-1": "i/x"}},
                                    {"artifact_folders": ["i/s/"]},
                                    {"request_id": None, "mode": None, "artifact_bucket_region": None}])
def test_settings_that_cannot_be_used_say_so(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "request.json"
    path.write_text(json.dumps({name: value for name, value in {**SETTINGS, **change}.items() if value is not None}))
    with pytest.raises(RequestError, match=r"request\.json"):
        load_request(path)


def test_settings(tmp_path: Path) -> None:
    path = tmp_path / "request.json"
    path.write_text(json.dumps(SETTINGS))
    loaded = load_request(path)
    assert loaded.endpoint_url is None
    assert loaded.deadline == NOW + timedelta(hours=1)


def test_a_tool_that_failed_after_the_work_stands_in_the_marker(tmp_path: Path) -> None:
    proven = {"ran": True, "failed": ["yara"], "seconds": 3.1}
    (tmp_path / "ended").write_text("exit-code exited 3")
    (tmp_path / "outcome.json").write_text(json.dumps(PART | {"missing": [], "validation": proven}))
    end = ending(request("automatic"), tmp_path / "ended", tmp_path / "outcome.json", NOW)
    assert end is not None
    made = marker(request("automatic"), end, sums_sha256="0", uploaded=1, size=1, missing=[], now=NOW)
    assert made["outcome"] == "incomplete" and made["validation"] == {"ran": True, "failed": ["yara"]}
    end.outcome = "complete"
    assert marker(request("automatic"), end, sums_sha256="0", uploaded=1, size=1, missing=[],
                  now=NOW)["outcome"] == "incomplete"
    # A session has nothing to prove: its marker says nothing of it.
    assert "validation" not in marker(request("manual"), Ending("ended"), sums_sha256="0", uploaded=1, size=1,
                                      missing=[], now=NOW)
