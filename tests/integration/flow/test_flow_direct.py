# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`evidence_by: direct`: the host fills an empty volume itself, and what is on it is evidence like any other."""

from __future__ import annotations

import hashlib
import json

import pytest

from tests.integration.flow.flow_kit import (
    AWAY,
    Site,
    arm,
    client,
    together,
)
from tests.integration.flow.host_kit import as_root, dirty_ext4, ended
from tests.integration.flow.ledger_kit import history, ledger

GIB = 1 << 30


@pytest.mark.cell("evidence", "the controller is killed while the host fills its volume")
@pytest.mark.host
@together(minutes=4)
def test_p24_a_volume_that_cannot_be_attached_is_filled_hashed_and_looked_at(site: Site) -> None:
    """A Marketplace snapshot with a dirty journal. The run that fills is killed; the next one goes on."""
    content = dirty_ext4(site.folder)
    origin = site.source(content=content)
    arm(site.lab, "ec2.product_code", f"snapshot={origin}", "code=25m3", "times=always")
    request = site.request(aws_snapshot_id=origin, aws_snapshot_region=AWAY, evidence_by="direct")
    first = request.start()
    first.until("Fill | Fetch, verify and write every block")
    first.kill()
    play = request.run()
    assert play.code == 0, play.text[-4000:]
    facts = json.loads(as_root(request, "cat /etc/dfir/evidence.json"))
    whole = hashlib.sha256(content.ljust(GIB, b"\0")).hexdigest()
    assert [(volume["role"], volume["image"]["sha256"]) for volume in facts["volumes"]] == [
        ("evidence", whole), ("journal", whole)]
    evidence, journal = facts["volumes"]
    assert evidence["read_only"] and evidence["partitions"][0]["mounted"] and evidence["partitions"][0]["journal_dirty"]
    assert journal["partitions"][0]["mounted"] and not journal["partitions"][0]["journal_dirty"]
    assert as_root(request, f"sha256sum < {evidence['by_id']}").split()[0] == whole
    assert whole in request.mails[-1].text
    volumes = client(site.lab, "ec2").describe_volumes(VolumeIds=[volume["volume_id"] for volume in facts["volumes"]])
    assert {volume.get("SnapshotId") or "" for volume in volumes["Volumes"]} == {""}
    # The ledger shows what was begun, and that the next run ended it; and the volume's hash.
    mount = [entry for entry in ledger(request) if entry["event"].endswith(f"/mount/{origin}")]
    assert [(entry["phase"], entry["result"], entry["object"]["sha256"]) for entry in mount] == [
        ("intent", "begun", None), ("outcome", "ok", whole)]
    runs = [entry for entry in history(request) if entry.startswith("run-")]
    assert runs == ["run-1 begun", "run-2 begun", "run-2 ok"]
    again = request.run()
    assert again.code == 0 and json.loads(as_root(request, "cat /etc/dfir/evidence.json")) == facts
    ended(request)
