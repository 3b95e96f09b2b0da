# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The account after all tests of the flow, those that run beside each other included: one set difference."""

from __future__ import annotations

from lab import audit
from lab.config import LabConfig
from tests.integration.flow.flow_kit import BUCKET, Futures, Site, client
from tests.secret_words import shown


def test_nothing_is_left_but_records_ledgers_artifacts_and_kept_copies(
        lab: LabConfig, site: Site, before: set[audit.Thing], flows: Futures) -> None:
    for running in flows.values():
        running.exception()  # its own test tells
    after = audit.account(lab)
    records = {request.record["request"]["record_key"] for request in site.requests if request.record}
    incidents = tuple(f"{folder}{request.incident}/" for request in site.requests
                      for folder in ("", "requests/folders/", "custody/"))
    left = [thing for thing in after - before if not (
        (thing.kind == "object" and thing.id.split("/", 3)[-1] in records | site.planted)
        or (thing.kind == "object" and thing.id.split("/", 3)[-1].startswith(incidents))
        or (thing.kind == "snapshot" and thing.id in site.sources)
        or (thing.kind == "snapshot" and "dfir:source-snapshot" in thing.tags and "dfir:request" not in thing.tags))]
    assert left == []
    assert before - after == set()


def test_no_artifact_holds_a_secret(lab: LabConfig, site: Site, flows: Futures) -> None:
    for running in flows.values():
        running.exception()
    s3 = client(lab, "s3")
    looked = 0
    for request in site.requests:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{request.incident}/"):
            for item in page.get("Contents", []):
                if item["Size"] < 32 << 20:
                    body = s3.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read()
                    assert shown(lab, body.decode("latin-1")) == [], item["Key"]
                    looked += 1
    assert looked or not any(request.mails for request in site.requests)
