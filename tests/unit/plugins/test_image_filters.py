# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role image decides."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.dfir.aws.plugins.filter import image
from ansible_collections.dfir.aws.plugins.filter.image_report import image_report
from ansible_collections.dfir.aws.plugins.plugin_utils.report.render import render

BUDGET: dict[str, Any] = {
    "snapshot_id": "snap-0123456789abcdef0", "exact": True, "blocks": 2_000_000, "cost_usd": 6.0,
    "volume_bytes": 2048 << 30, "bytes_to_fetch": 2_000_000 * 524_288, "fetch_seconds": 3600.0,
    "hole_hash_seconds": 7200.0,
}  # fmt: skip


@pytest.mark.parametrize(("limits", "own", "said"), [
    ({}, {}, ""),
    ({"max_cost_usd": 6}, {}, ""),
    ({"max_cost_usd": "5.5"}, {}, "6.0000 USD, more than the limit of 5.5 USD (dfir_aws_image_max_cost_usd)"),
    ({"max_cost_usd": 10}, {"max_cost_usd": 1}, "the limit of 1 USD (max_cost_usd)"),
    ({"max_cost_usd": 1}, {"max_cost_usd": 10}, "the limit of 1 USD (dfir_aws_image_max_cost_usd)"),
    ({"max_hours": 0.5}, {}, "1.00 hours, more than the limit of 0.5 hours (dfir_aws_image_max_hours)"),
    ({}, {"max_hours": 1.0}, ""),
    ({"hashes": ["sha256"]}, {"max_hours": 2}, "3.00 hours, more than the limit of 2 hours (max_hours)"),
    ({"recipients": ["age1x"]}, {}, ""),
])  # fmt: skip
def test_what_is_above_the_lower_limit_is_refused(limits: dict[str, Any], own: dict[str, Any], said: str) -> None:
    request = {"max_cost_usd": None, "max_hours": None, **own}
    found = image.image_refusal(BUDGET, request, **limits)
    assert said in found and bool(found) == bool(said)
    if "limit" in found:
        assert "nothing was created" in found


def test_what_may_be_too_large_to_be_packed_in_a_bucket_is_refused_first() -> None:
    large = BUDGET | {"blocks": 3_000_000}
    said = image.image_refusal(large, {}, recipients=["age1x"])
    assert "cannot be packed in the bucket, nothing was created" in said and "1227 GiB" in said
    assert image.image_refusal(large, {}, recipients=["age1x"], dest="/evidence/i.raw") == ""
    assert image.image_refusal(large, {}) == ""


def test_a_limit_that_is_no_number_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="dfir_aws_image_max_hours must be a number"):
        image.image_refusal(BUDGET, {}, max_hours="soon")


def test_a_record_belongs_to_the_run_that_made_the_image() -> None:
    target = "s3://bucket/INC-1/snap-1/image/"
    made = {"image": {"session": {"started": "2026-11-21T10:00:00Z"}, "sinks": [{"target": target}]}}
    assert image.image_record(made) == f"{target}verification-20261121T100000Z.json"
    assert image.image_record(made, "/i.raw") == "/i.raw.verification-20261121T100000Z.json"
    made["image"]["session"] = {}
    assert image.image_record(made) == ""


def claim(snapshot: str, state: str, **more: Any) -> dict[str, Any]:
    made = {"size": 1, "blocks": 2, "places": [f"s3://b/INC-1/{snapshot}/image/"], "linear_sha256": "aa", "sha256": "",
            "budget": {"cost_usd": 0.5, "get_calls": 10}}
    return {"snapshot_id": snapshot, "state": state, "holder": "imaging-1@x:1", "failures": [],
            "image": made if state == "done" else None, **more}


def test_images_are_complete_only_when_every_claim_is_done() -> None:
    done = image.images_summary([claim("snap-1", "done"), claim("snap-2", "done", holder="imaging-2@y:1")])
    assert done["complete"] and done["reason"] == "" and done["cost_usd"] == 1.0 and done["get_calls"] == 20
    assert [(made["snapshot_id"], made["host"]) for made in done["done"]] == [("snap-1", "imaging-1"),
                                                                            ("snap-2", "imaging-2")]
    failures = [{"holder": "imaging-3@z", "reason": "no such snapshot."}]
    rest = [claim("snap-3", "open", failures=failures), claim("snap-4", "held"), claim("snap-5", "open", holder=None)]
    some = image.images_summary([claim("snap-1", "done"), *rest], ["imaging-9: Connect: it is gone."])
    assert not some["complete"] and some["reason"] == (
        "3 of 4 images are not made. snap-3: imaging-3 could not make it: no such snapshot. snap-4: held by imaging-1, "
        "which works on it or has died. snap-5: nobody has begun with it. imaging-9: Connect: it is gone.")
    assert some["lines"][0] == "snap-1: made on imaging-1"


def test_hosts_that_remember_a_problem_are_named() -> None:
    facts = {"b": {"p": {"task": "T", "message": "M."}}, "a": {}, "c": {"p": {"task": "U", "message": "N."}}}
    assert image.host_problems(facts, "p") == ["b: T: M.", "c: U: N."]


@pytest.mark.parametrize(("given", "words"), [
    (("",), ""),
    (("/srv/my wheels",), "--no-index --find-links '/srv/my wheels'"),
    (("", "https://pypi.example.org/simple"), "--index-url https://pypi.example.org/simple"),
    (("http://h/w/", "https://ignored", ["h"]), "--no-index --find-links http://h/w/ --trusted-host h"),
])  # fmt: skip
def test_pip_is_told_one_source(given: tuple[Any, ...], words: str) -> None:
    assert image.pip_source(*given) == words


SESSIONS = [{"started": "2026-11-21T10:00:00Z", "finished": "2026-11-21T10:05:00Z", "fetched": 3, "kept": 0, "pages": 1,
             "counts": {"requests": 5, "throttled": 2}},
            {"started": "2026-11-21T11:00:00Z", "finished": "2026-11-21T11:01:00Z", "fetched": 1, "kept": 3, "pages": 1,
             "counts": {"requests": 1}}]


def made(**more: Any) -> dict[str, Any]:
    """What the modules of the role return."""
    return {"changed": True, "manifest": "/m", "image": {
        "snapshot_id": "snap-1", "size": 1 << 30, "blocks": 4, "linear_sha256": "1" * 64, "sha256": "", "md5": "",
        "sinks": [{"target": "s3://bucket/INC-1/snap-1/image/"}], "session": SESSIONS[-1], "sessions": SESSIONS,
        **more}}


VERIFIED = {"verification": {"ok": True, "blocks": 4, "finished": "2026-11-21T11:02:00Z", "notes": []}}
PACKED = {"packed": {"path": "s3://bucket/INC-1/snap-1/image/image.raw.zst.age", "packed_sha256": "f" * 64,
                     "recipients": ["age1x", "age1y"]}}


@pytest.mark.parametrize(("dest", "here", "packed", "said"), [
    ("", True, {}, "s3://bucket/INC-1/snap-1/image/report-20261121T110000Z"),
    ("", False, PACKED, "s3://bucket/INC-1/snap-1/image/report-20261121T110000Z-ffffffff"),
    ("/i.raw", True, {}, "/i.raw.report-20261121T110000Z"),
    ("/i.raw", False, {}, ""),
])  # fmt: skip
def test_a_report_lies_beside_its_image(dest: str, here: bool, packed: dict[str, Any], said: str) -> None:
    assert image.image_result(made(), BUDGET, VERIFIED, packed, dest, here)["report"] == said
    again = made(session={})  # it was there
    assert image.image_result(again, BUDGET, VERIFIED, packed, dest, here)["report"] == said


def test_a_report_on_an_image_tells_what_was_made_and_read_back() -> None:
    snapshots = [{"id": "snap-0", "region": "x"}, {"id": "snap-1", "region": "eu-west-1"}]
    request = {"incident": "INC-1", "snapshots": snapshots}
    data = image_report(image.image_result(made(), BUDGET, VERIFIED, PACKED), request)
    page = render(data)
    for text in ("eu-west-1", "4 blocks, all as the manifest says", "2 recipients", "f" * 64, "2 throttled",
                 "No SHA-256 of the whole image", "about 6.00 USD", "1 GiB", "Disk image"):
        assert text in page, text
    assert "Nothing was found" not in page and 'id="timeline' not in page and "Leon Sorokin" not in page
    assert data["source"]["blocks_read"] == 4 and [row["requests"] for row in data["tables"][0]["rows"]] == [5, 1]
    bad = {"verification": {**VERIFIED["verification"], "ok": False, "notes": ["block 7 differs"]}}
    data = image_report(image.image_result(made(sha256="a" * 64), BUDGET, bad, {}), request)
    assert data["warnings"] == ["block 7 differs"] and data["hashes"][0]["sha256"] == "a" * 64
    assert "NOT as the manifest says" in render(data)
