# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a request with two snapshots must leave: `python -m tests.scenarios.several INCIDENT AUDIT`, in the scenario."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from lab import audit
from lab.config import ACCOUNT, load
from lab.evidence import pair
from lab.mail.reader import list_mails

BUCKET = f"dfir-artifacts-{ACCOUNT}"
DIRTY, CLEAN = "snap-0e94c85176f3b12cc", "snap-017bd54b73df2b667"
OF_EACH = {"bodyfile", "timeline.csv", "findings.json", "system.json", "yara.json", "clamav.json", "deleted.json",
           "deleted.tar.gz", "plaso", "activity"}
OF_ALL = {"analysis.log", "complete.json", "report.html", "report.json", "sha256sums.txt", "summary.json"}


def artifacts(incident: str) -> dict[str, bytes]:
    """Every object of a case by its key below the incident's folder."""
    s3 = audit.client(load(), "s3", audit.REGIONS[0])
    found = {}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{incident}/"):
        for item in page.get("Contents", []):
            body = s3.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read()
            found[item["Key"].removeprefix(f"{incident}/")] = body
    return found


def check(incident: str) -> None:
    """Everything that is told of the request, by what it left in the bucket and in the mails."""
    found = artifacts(incident)
    own = next(name.split("/")[0] for name in found if name.startswith("set-"))
    volumes = {name.split("/")[0]: name.split("/")[1].partition("p1.")[0] for name in found if "p1.bodyfile" in name}
    assert set(volumes) == {DIRTY, CLEAN}, volumes
    expected = {f"{CLEAN}/{volumes[CLEAN]}p1.{suffix}" for suffix in OF_EACH}
    expected |= {f"{DIRTY}/{volumes[DIRTY]}p1.{more}{suffix}" for suffix in OF_EACH for more in ("", "journal.")}
    expected |= {f"{DIRTY}/{volumes[DIRTY]}p1.journal.changes.json", f"{CLEAN}/{volumes[CLEAN]}p2.lvm.json"}
    expected |= {f"{own}/{name}" for name in OF_ALL}
    assert set(found) == expected, set(found) ^ expected

    sums = dict(reversed(line.split("  ")) for line in found[f"{own}/sha256sums.txt"].decode().splitlines())
    assert set(sums) == expected - {f"{own}/{name}" for name in ("complete.json", "report.html", "sha256sums.txt")}
    assert all(hashlib.sha256(found[name]).hexdigest() == digest for name, digest in sums.items())
    marker = json.loads(found[f"{own}/complete.json"])
    assert (marker["outcome"], marker["missing"]) == ("complete", []), marker

    stem = f"{DIRTY}/{volumes[DIRTY]}p1"
    changes = json.loads(found[f"{stem}.journal.changes.json"])
    assert [item["path"] for item in changes["new"]] == [pair.SHELL], changes
    assert [item["path"] for item in changes["gone"]] == [pair.DROPPER], changes
    assert pair.SHELL in [item["path"] for item in changes["findings"]], changes["findings"]
    assert pair.SHELL.encode() not in found[f"{stem}.bodyfile"]
    assert pair.SHELL.encode() in found[f"{stem}.journal.bodyfile"]
    summary = json.loads(found[f"{own}/summary.json"])
    [group] = summary["sets"]
    assert (group["kind"], group["id"], group["lacking"], group["missing"]) == ("lvm", pair.GROUP, 1,
                                                                               [pair.VOLUMES[1]])
    mails = [mail for mail in list_mails(load().mails) if incident in mail.subject]
    assert [mail.subject.split("]")[1].split(":")[0].strip() for mail in mails] == ["ready", "complete"], mails
    ready, done = (" ".join(mail.text.split()) for mail in mails)
    name = volumes[DIRTY]
    for text in (ready, done):
        assert f"The journal of {name}p1 was applied on a second, throw-away volume: /journal/{name}/p1" in text
        assert f"LVM volume group {pair.GROUP} is not complete: 1 of 2 physical volumes missing" in text
        assert all(f"s3://{BUCKET}/{incident}/{place}/" in text for place in (own, DIRTY, CLEAN))
    assert f"{name}p1: 1 files new" in done and "1 gone" in done
    assert f"sha256sum -c {own}/sha256sums.txt" in done


def account(incidents: tuple[str, ...], before: Path) -> bool:
    """Nothing may be new but artifacts and records of these cases."""

    def ours(thing: Any) -> bool:
        path = thing.id.split("/", 3)[-1] if thing.kind == "object" else ""
        return path.startswith((*(f"{incident}/" for incident in incidents), "requests/"))

    left = [thing for thing in audit.account(load()) - audit.saved(before) if not ours(thing)]
    for thing in left:
        print(f"left behind: {thing}")
    return not left


if __name__ == "__main__":
    check(sys.argv[1])
    assert account(("INC-2026-0400", "INC-2026-0401"), Path(sys.argv[2]))
    print("several: ok")
