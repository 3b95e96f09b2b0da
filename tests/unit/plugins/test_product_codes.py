# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Marketplace product codes (p24): seen on a snapshot of ours, on a volume of a foreign one, on the lab's AWS here."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dfir.aws.plugins.filter.snapshots import choose_snapshot, snapshot_find_result
from ansible_collections.dfir.aws.plugins.module_utils import plan

from lab.aws import moto_app
from lab.aws.account import ADMIN
from lab.config import ACCOUNT
from tests.unit.lab.aws_kit import REGION, ZONE, Kit, Recorder, code, eventually

Module = Callable[..., dict[str, Any]]
FOUND = {"how": "itself", "id": "snap-1", "volume_gib": 8, "full_bytes": None, "source_id": "snap-1",
         "source_region": REGION}
REQUEST = {"request_id": "0" * 16, "analysis_region": REGION, "mode": "automatic"}
HOST = plan.Host("m6i.large", 2, 8192, 8, 38, 4, 4)


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    made = Kit(tmp_path, hosts=Recorder())
    yield made
    made.close()


@pytest.fixture
def module(kit: Kit, capsys: pytest.CaptureFixture[str]) -> Module:
    """A module, as Ansible runs it."""

    def call(name: str, **arguments: Any) -> dict[str, Any]:
        found = importlib.import_module(f"ansible_collections.dfir.aws.plugins.modules.{name}")
        capsys.readouterr()
        given = {"access_key": ADMIN[1], "secret_key": ADMIN[2], "region": REGION, "endpoint_url": kit.endpoint}
        with patch_module_args({**given, **arguments}), pytest.raises(SystemExit):
            found.main()
        return dict(json.loads(capsys.readouterr().out))

    return call


@pytest.fixture
def snapshot(kit: Kit) -> str:
    ec2 = kit.client("ec2")
    volume = ec2.create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"]
    made = str(ec2.create_snapshot(VolumeId=volume)["SnapshotId"])
    eventually(lambda: ec2.describe_snapshots(SnapshotIds=[made])["Snapshots"][0]["State"] == "completed")
    return made


def foreign(snapshot: str) -> None:
    """Somebody else's, shared with us."""
    model = moto_app.ec2(REGION).snapshots[snapshot]
    model.owner_id = "210987654321"
    model.create_volume_permission_userids.add(ACCOUNT)


def test_p24_the_codes_of_ours_are_known_before_anything_is_made(kit: Kit, module: Module, snapshot: str) -> None:
    assert module("ec2_shared_snapshot_info", snapshot_id=snapshot)["snapshots"][0]["product_codes"] == []
    kit.faults.arm("ec2.product_code", times=None, match={"snapshot": snapshot}, args={"code": "25m3"})
    assert module("ec2_shared_snapshot_info", snapshot_id=snapshot)["snapshots"][0]["product_codes"] == ["25m3"]


def test_p24_the_codes_of_a_foreign_one_are_not_known_and_the_plan_says_so(kit: Kit, module: Module,
                                                                           snapshot: str) -> None:
    foreign(snapshot)
    assert code(kit.client("ec2").describe_snapshot_attribute, SnapshotId=snapshot,
                Attribute="productCodes") == "AuthFailure"
    found = module("ec2_shared_snapshot_info", snapshot_id=snapshot)["snapshots"]
    assert found[0]["product_codes"] is None
    result = snapshot_find_result(choose_snapshot(found, [], snapshot, REGION), [], snapshot, REGION)
    assert result["codes_known"] is False
    for known in (True, False):
        snapshots = {"snapshots": [{**FOUND, "codes_known": known}], "volume_gib": FOUND["volume_gib"]}
        made = plan.make(REQUEST, snapshots, HOST, [], keep_hours=1, setup_minutes=1,
                         minutes_per_gib=1, operator_max_usd=None)
        assert ("product codes" in " ".join(plan.table(made))) is not known


def test_p24_the_volume_of_a_foreign_one_tells_before_it_is_attached(kit: Kit, module: Module, snapshot: str) -> None:
    kit.faults.arm("ec2.product_code", times=None, match={"snapshot": snapshot}, args={"code": "25m3"})
    foreign(snapshot)
    ec2, host = kit.client("ec2"), kit.launch()
    volume = ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=snapshot)["VolumeId"]
    eventually(lambda: ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]["State"] == "available")
    told = module("ec2_volume_attachment", volume_id=volume, instance_id=host["InstanceId"])
    assert told["failed"] and not told["changed"]
    assert told["msg"].startswith(f"Volume {volume} carries the AWS Marketplace product code 25m3: ")
    assert ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]["State"] == "available"
    assert kit.hosts is not None and volume not in kit.hosts.attached


def test_a_copy_carries_the_codes_of_its_source(kit: Kit, module: Module, snapshot: str) -> None:
    kit.faults.arm("ec2.product_code", times=None, match={"snapshot": snapshot})
    copy = kit.client("ec2").copy_snapshot(SourceSnapshotId=snapshot, SourceRegion=REGION)["SnapshotId"]
    assert module("ec2_shared_snapshot_info", snapshot_id=copy)["snapshots"][0]["product_codes"] == ["0labproductcode"]
