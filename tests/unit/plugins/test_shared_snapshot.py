# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A look at a snapshot, whoever owns it. The stub refuses every call that is not listed: AWS tells who may use a
snapshot to its owner alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from ansible_collections.dfir.aws.plugins.filter.snapshots import snapshot_refusal
from ansible_collections.dfir.aws.plugins.modules.ec2_shared_snapshot_info import copies, look
from botocore.exceptions import ClientError
from botocore.stub import Stubber

SNAPSHOT = "snap-0123456789abcdef0"
SHARED = {"SnapshotId": SNAPSHOT, "State": "completed", "OwnerId": "210987654321", "VolumeSize": 8,
          "Tags": [{"Key": "Name", "Value": "web-1"}, {"Key": "dfir:X", "Value": "y"}]}
BY_ID = {"SnapshotIds": [SNAPSHOT]}
CODES = {"SnapshotId": SNAPSHOT, "Attribute": "productCodes"}
PUBLIC = {**BY_ID, "RestorableByUserIds": ["all"]}


@pytest.fixture
def aws() -> Iterator[tuple[Any, Stubber]]:
    ec2 = boto3.client("ec2", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(ec2) as stub:
        yield ec2, stub
        stub.assert_no_pending_responses()


@pytest.mark.parametrize("public", [True, False])
def test_one_that_another_account_shares(aws: tuple[Any, Stubber], public: bool) -> None:
    ec2, stub = aws
    stub.add_response("describe_snapshots", {"Snapshots": [SHARED]}, BY_ID)
    stub.add_response("describe_snapshots", {"Snapshots": [SHARED] if public else []}, PUBLIC)
    stub.add_client_error("describe_snapshot_attribute", "AuthFailure", expected_params=CODES)
    found = look(ec2, SNAPSHOT)
    assert found[0]["product_codes"] is None, "not known, which is not the same as none"
    assert [(item["snapshot_id"], item["owner_id"], item["volume_size"]) for item in found] == [
        (SNAPSHOT, "210987654321", 8)]
    assert found[0]["tags"] == {"Name": "web-1", "dfir:X": "y"} and found[0]["public"] is public
    assert ("is public" in snapshot_refusal(found, SNAPSHOT, "eu-west-1")) is public


def test_p24_one_of_ours_with_a_product_code(aws: tuple[Any, Stubber]) -> None:
    ec2, stub = aws
    stub.add_response("describe_snapshots", {"Snapshots": [SHARED]}, BY_ID)
    stub.add_response("describe_snapshots", {"Snapshots": []}, PUBLIC)
    codes = [{"ProductCodeId": "25m3", "ProductCodeType": "marketplace"}]
    stub.add_response("describe_snapshot_attribute", {"SnapshotId": SNAPSHOT, "ProductCodes": codes}, CODES)
    found = look(ec2, SNAPSHOT)
    assert found[0]["product_codes"] == ["25m3"]
    said = snapshot_refusal(found, SNAPSHOT, "eu-west-1")
    assert said.startswith(f"Snapshot {SNAPSHOT} carries the AWS Marketplace product code 25m3: ")
    assert "playbooks/image_snapshot.yml" in said and "evidence_by=direct" in said
    assert snapshot_refusal(found, SNAPSHOT, "eu-west-1", attached=False) == ""


@pytest.mark.parametrize("code", ["InvalidSnapshot.NotFound", "InvalidSnapshotID.Malformed"])
def test_one_that_is_not_there(aws: tuple[Any, Stubber], code: str) -> None:
    ec2, stub = aws
    stub.add_client_error("describe_snapshots", code)
    assert look(ec2, SNAPSHOT) == []


def test_one_that_must_not_be_looked_at_is_no_absent_one(aws: tuple[Any, Stubber]) -> None:
    ec2, stub = aws
    stub.add_client_error("describe_snapshots", "UnauthorizedOperation")
    with pytest.raises(ClientError):
        look(ec2, SNAPSHOT)


def test_copies_are_ours_and_carry_the_tags_of_their_source(aws: tuple[Any, Stubber]) -> None:
    ec2, stub = aws
    asked = {"OwnerIds": ["123456789012"], "Filters": [
        {"Name": "tag:dfir:source-snapshot", "Values": [SNAPSHOT]},
        {"Name": "tag:dfir:source-region", "Values": ["us-east-1"]}]}
    one, two = ({**SHARED, "SnapshotId": f"snap-{number}"} for number in (1, 2))
    stub.add_response("describe_snapshots", {"Snapshots": [one], "NextToken": "more"}, asked)
    stub.add_response("describe_snapshots", {"Snapshots": [two]}, {**asked, "NextToken": "more"})
    found = copies(ec2, SNAPSHOT, "us-east-1", "123456789012")
    assert [(item["snapshot_id"], item["tags"]["dfir:X"]) for item in found] == [("snap-1", "y"), ("snap-2", "y")]
