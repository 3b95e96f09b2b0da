# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""EBS direct, driven by a real boto3 client over loopback."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from ebs_kit import KEY, READER, READER_SECRET, REGION, Kit, block, checksum, get, linear, pages, put, tokens

from lab.contracts import BLOCK_SIZE

ZEROS = bytes(BLOCK_SIZE)


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    kit = Kit(tmp_path / "ebs")
    yield kit
    kit.close()


def refused(code: str, reason: str | None = None) -> Any:
    """A context in which boto3 must raise this error, with this Reason."""
    return _Refused(code, reason)


class _Refused:
    def __init__(self, code: str, reason: str | None) -> None:
        self.code, self.reason = code, reason
        self.message = ""

    def __enter__(self) -> _Refused:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        assert isinstance(error, ClientError), f"expected {self.code}, got {error!r}"
        assert error.response["Error"]["Code"] == self.code, error
        assert error.response.get("Reason") == self.reason, error.response
        self.message = error.response["Error"]["Message"]
        return True


def test_upload_then_read_back(kit: Kit) -> None:
    blocks = {0: block("a"), 7: ZEROS, 2047: block("z")}
    snapshot = kit.upload(blocks, Description="disk", Tags=[{"Key": "k", "Value": "v"}])
    client = kit.client()
    listing = client.list_snapshot_blocks(SnapshotId=snapshot)
    assert (listing["VolumeSize"], listing["BlockSize"]) == (1, 524_288)
    assert "NextToken" not in listing
    assert len(listing["ResponseMetadata"]["RequestId"]) == 36
    assert 6.9 * 86_400 < listing["ExpiryTime"].timestamp() - time.time() <= 7 * 86_400
    assert [entry["BlockIndex"] for entry in listing["Blocks"]] == [0, 7, 2047], (
        "a zero block that was written is listed"
    )
    for entry in listing["Blocks"]:
        assert re.fullmatch(r"[A-Za-z0-9+/=]{1,256}", entry["BlockToken"])
        answer = client.get_snapshot_block(SnapshotId=snapshot, **entry)
        data = answer["BlockData"].read()
        assert data == blocks[entry["BlockIndex"]]
        assert (answer["DataLength"], answer["Checksum"], answer["ChecksumAlgorithm"]) == (
            524_288,
            checksum(data),
            "SHA256",
        )
    assert kit.catalog.snapshots[REGION, snapshot]["tags"] == {"k": "v"}


def test_client_token_names_the_snapshot_and_conflicts(kit: Kit) -> None:
    client = kit.client()
    first = client.start_snapshot(VolumeSize=1, ClientToken="dfir-lab-evidence-1")
    assert re.fullmatch(r"snap-0[0-9a-f]{16}", first["SnapshotId"])
    assert (first["Status"], first["OwnerId"], first["BlockSize"]) == ("pending", "123456789012", 524_288)
    again = client.start_snapshot(VolumeSize=1, ClientToken="dfir-lab-evidence-1")
    assert again["SnapshotId"] == first["SnapshotId"] and again["StartTime"] == first["StartTime"]
    with refused("ConflictException"):
        client.start_snapshot(VolumeSize=2, ClientToken="dfir-lab-evidence-1")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"VolumeSize": 65_537}, "INVALID_VOLUME_SIZE"),
        ({"VolumeSize": 1, "KmsKeyArn": "arn:aws:kms:us-east-1:123456789012:key/k"}, "INVALID_PARAMETER_VALUE"),
        ({"VolumeSize": 1, "Encrypted": True, "KmsKeyArn": "alias/nothing"}, "INVALID_CUSTOMER_KEY"),
        ({"VolumeSize": 1, "Timeout": 4321}, "INVALID_PARAMETER_VALUE"),
        ({"VolumeSize": 1, "Tags": [{"Key": "aws:x", "Value": ""}]}, "INVALID_TAG"),
        ({"VolumeSize": 1, "Tags": [{"Key": "x", "Value": "1"}, {"Key": "x", "Value": "2"}]}, "INVALID_TAG"),
    ],
)
def test_start_refuses_what_is_not_allowed(kit: Kit, fields: dict[str, Any], reason: str) -> None:
    with refused("ValidationException", reason):
        kit.client().start_snapshot(**fields)
    assert kit.catalog.snapshots == {}


def test_start_with_parent_and_encrypted_is_refused(kit: Kit) -> None:
    parent = kit.upload({0: block(0)})
    with refused("ValidationException", "INVALID_PARAMETER_VALUE"):
        kit.client().start_snapshot(VolumeSize=1, ParentSnapshotId=parent, Encrypted=True)
    with refused("ResourceNotFoundException", "SNAPSHOT_NOT_FOUND"):
        kit.client().start_snapshot(VolumeSize=1, ParentSnapshotId="snap-00000000000000000")
    big = kit.upload({}, gib=2)
    with refused("ValidationException", "INVALID_VOLUME_SIZE"):
        kit.client().start_snapshot(VolumeSize=1, ParentSnapshotId=big)


def test_put_verifies_length_and_checksum(kit: Kit) -> None:
    client = kit.client()
    snapshot = kit.upload({}, complete=False)
    with refused("ValidationException", "INVALID_PARAMETER_VALUE"):
        put(client, snapshot, 0, block(1), Checksum=checksum(block(2)))
    with refused("ValidationException", "INVALID_PARAMETER_VALUE"):
        put(client, snapshot, 0, block(1)[:-1])
    with refused("ValidationException", "INVALID_PARAMETER_VALUE"):
        put(client, snapshot, 0, block(1)[:512], DataLength=BLOCK_SIZE)
    with refused("ValidationException", "INVALID_BLOCK"):
        put(client, snapshot, 2048, block(1))
    assert kit.store.allocated_blocks(REGION, snapshot) == 0
    answer = put(client, snapshot, 0, block(1))
    assert (answer["Checksum"], answer["ChecksumAlgorithm"]) == (checksum(block(1)), "SHA256")
    put(client, snapshot, 0, block(2))  # a block may be written again
    client.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=1, **linear({0: block(2)}))
    assert get(client, snapshot, 0, tokens(client, snapshot)[0]) == block(2)


def test_complete_verifies_count_and_linear_checksum(kit: Kit) -> None:
    client = kit.client()
    blocks = {5: block(5), 3: block(3)}
    snapshot = kit.upload(blocks, complete=False)
    with refused("ValidationException", "INVALID_PARAMETER_VALUE"):
        client.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=1)
    with refused("ValidationException", "INVALID_PARAMETER_VALUE"):
        client.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=2, **linear({3: block(5), 5: block(3)}))
    with refused("ValidationException", "INVALID_SNAPSHOT_ID"):  # pending: nothing to read yet
        client.list_snapshot_blocks(SnapshotId=snapshot)
    answer = client.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=2, **linear(blocks))
    assert answer["Status"] == "completed"
    with refused("ValidationException", "INVALID_SNAPSHOT_ID"):
        put(client, snapshot, 4, block(4))
    with refused("ValidationException", "INVALID_SNAPSHOT_ID"):
        client.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=2)


def test_p13_child_inherits_and_lists_added_changed_and_removed(kit: Kit) -> None:
    parent = kit.upload({1: block(1), 2: block(2), 3: block(3)})
    child = kit.upload({2: block("new 2"), 9: block(9)}, parent=parent, complete=False)
    kit.store.erase_block(REGION, child, 3)
    client = kit.client()
    # The aggregate covers what this upload wrote, not what the child inherited.
    client.complete_snapshot(SnapshotId=child, ChangedBlocksCount=2, **linear({2: block("new 2"), 9: block(9)}))
    assert get(client, child, 1, tokens(client, child)[1]) == block(1)
    assert sorted(tokens(client, child)) == [1, 2, 9]
    listing = client.list_changed_blocks(FirstSnapshotId=parent, SecondSnapshotId=child)
    found = {e["BlockIndex"]: ("FirstBlockToken" in e, "SecondBlockToken" in e) for e in listing["ChangedBlocks"]}
    assert found == {2: (True, True), 3: (True, False), 9: (False, True)}
    changed = next(e for e in listing["ChangedBlocks"] if e["BlockIndex"] == 2)
    assert get(client, parent, 2, changed["FirstBlockToken"]) == block(2)
    assert get(client, child, 2, changed["SecondBlockToken"]) == block("new 2")
    later = client.list_changed_blocks(FirstSnapshotId=parent, SecondSnapshotId=child, StartingBlockIndex=4)
    assert [e["BlockIndex"] for e in later["ChangedBlocks"]] == [9]


def test_changed_blocks_of_unrelated_snapshots_are_refused(kit: Kit) -> None:
    one, two = kit.upload({1: block(1)}), kit.upload({1: block(1)})
    with refused("ValidationException", "UNRELATED_SNAPSHOTS"):
        kit.client().list_changed_blocks(FirstSnapshotId=one, SecondSnapshotId=two)
    with refused("ValidationException", "INVALID_PARAMETER_VALUE"):
        kit.client().list_changed_blocks(SecondSnapshotId=two)


def test_p1_short_and_empty_pages_still_give_every_block(tmp_path: Path) -> None:
    kit = Kit(tmp_path, short_pages=0.4, empty_pages=0.4, page_seed=3)
    try:
        kit.store.create_volume(REGION, "vol-1", 1, None)
        with kit.store.volume_path(REGION, "vol-1").open("r+b") as file:
            for index in range(0, 2048, 2):
                file.seek(index * BLOCK_SIZE)
                file.write(b"x")
        kit.store.snapshot_volume(REGION, "vol-1", "snap-01")
        kit.catalog.add(REGION, "snap-01", 1)
        listing = pages(kit.client().list_snapshot_blocks, SnapshotId="snap-01", MaxResults=100)
        sizes = [len(page["Blocks"]) for page in listing]
        assert [e["BlockIndex"] for p in listing for e in p["Blocks"]] == [*range(0, 2048, 2)]
        assert 0 in sizes[:-1] and any(0 < size < 100 for size in sizes[:-1]) and max(sizes) <= 100
        again = [
            len(p["Blocks"]) for p in pages(kit.client().list_snapshot_blocks, SnapshotId="snap-01", MaxResults=100)
        ]
        assert again == sizes, "the same seed gives the same pages"
        kit.settings.update({"page_seed": 4})
        other = [
            len(p["Blocks"]) for p in pages(kit.client().list_snapshot_blocks, SnapshotId="snap-01", MaxResults=100)
        ]
        assert other != sizes
    finally:
        kit.close()


def test_paging_bounds(kit: Kit) -> None:
    snapshot = kit.upload(dict.fromkeys((4, 5), ZEROS))
    client = kit.client()
    for wrong in (99, 10_001):
        with refused("ValidationException", "INVALID_PARAMETER_VALUE"):
            client.list_snapshot_blocks(SnapshotId=snapshot, MaxResults=wrong)
    listing = client.list_snapshot_blocks(SnapshotId=snapshot, StartingBlockIndex=5)
    assert [e["BlockIndex"] for e in listing["Blocks"]] == [5]
    assert client.list_snapshot_blocks(SnapshotId=snapshot, StartingBlockIndex=6)["Blocks"] == []


def test_tokens_are_bound_checked_and_new_each_time(kit: Kit) -> None:
    snapshot, other = kit.upload({1: block(1), 2: block(2)}), kit.upload({1: block(1)})
    client = kit.client()
    first, second = tokens(client, snapshot), tokens(client, snapshot)
    assert first[1] != second[1], "tokens change with every listing"
    assert get(client, snapshot, 1, first[1]) == get(client, snapshot, 1, second[1]) == block(1)
    forged = ("A" if first[1][0] != "A" else "B") + first[1][1:]
    for token, target, index in [
        (first[1], snapshot, 2),
        (first[1], other, 1),
        (forged, snapshot, 1),
        ("AAAA", snapshot, 1),
    ]:
        with refused("ValidationException", "INVALID_BLOCK_TOKEN"):
            get(client, target, index, token)


def test_p3_tokens_expire(tmp_path: Path) -> None:
    kit = Kit(tmp_path, short_pages=0.9, block_token_seconds=0.3, list_token_seconds=0.3)
    try:
        snapshot = kit.upload(dict.fromkeys(range(5), ZEROS))
        client = kit.client()
        page = next(p for p in pages(client.list_snapshot_blocks, SnapshotId=snapshot) if p["Blocks"])
        following = None
        for seed in range(200):
            kit.settings.update({"page_seed": seed})
            following = client.list_snapshot_blocks(SnapshotId=snapshot, MaxResults=100).get("NextToken")
            if following:
                break
        time.sleep(0.35)
        with refused("ValidationException", "INVALID_BLOCK_TOKEN"):
            get(client, snapshot, page["Blocks"][0]["BlockIndex"], page["Blocks"][0]["BlockToken"])
        assert following
        with refused("ValidationException", "INVALID_PAGE_TOKEN"):
            client.list_snapshot_blocks(SnapshotId=snapshot, NextToken=following)
    finally:
        kit.close()


def test_page_token_of_another_listing_is_refused(tmp_path: Path) -> None:
    kit = Kit(tmp_path, empty_pages=0.9)
    try:
        one, two = kit.upload({1: block(1)}), kit.upload({1: block(1)})
        client = kit.client()
        kit.settings.update({"empty_pages": 0.9, "page_seed": 2})
        token = next(
            t
            for s in range(100)
            if not kit.settings.update({"page_seed": s})
            and (t := client.list_snapshot_blocks(SnapshotId=one).get("NextToken"))
        )
        with refused("ValidationException", "INVALID_PAGE_TOKEN"):
            client.list_snapshot_blocks(SnapshotId=two, NextToken=token)
    finally:
        kit.close()


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ({"state": "pending"}, "pending"),
        ({"state": "error"}, "error"),
        ({"public": True}, "public"),
        ({"tier": "archive"}, "archived"),
    ],
)
def test_p10_unreadable_states_are_refused(kit: Kit, facts: dict[str, Any], word: str) -> None:
    snapshot = kit.upload({1: block(1)})
    token = tokens(kit.client(), snapshot)[1]
    kit.catalog.snapshots[REGION, snapshot].update(facts)
    with refused("ValidationException", "INVALID_SNAPSHOT_ID") as seen:
        kit.client().list_snapshot_blocks(SnapshotId=snapshot)
    assert word in seen.message
    with refused("ValidationException", "INVALID_SNAPSHOT_ID"):
        get(kit.client(), snapshot, 1, token)


def test_p10_wrong_region_and_unknown_ids(kit: Kit) -> None:
    snapshot = kit.upload({1: block(1)})
    with refused("ResourceNotFoundException", "SNAPSHOT_NOT_FOUND"):
        kit.client(region="eu-west-1").list_snapshot_blocks(SnapshotId=snapshot)
    with refused("ValidationException", "INVALID_SNAPSHOT_ID"):
        kit.client().list_snapshot_blocks(SnapshotId="snap-XYZ")


def test_p11_deletion_while_reading(kit: Kit) -> None:
    snapshot = kit.upload({1: block(1)})
    client = kit.client()
    token = tokens(client, snapshot)[1]
    body = client.get_snapshot_block(SnapshotId=snapshot, BlockIndex=1, BlockToken=token)["BlockData"]
    kit.store.delete_snapshot(REGION, snapshot)
    del kit.catalog.snapshots[REGION, snapshot]
    assert body.read() == block(1), "what is on its way still arrives"
    with refused("ResourceNotFoundException", "SNAPSHOT_NOT_FOUND"):
        get(client, snapshot, 1, token)


def test_signature_and_permission(kit: Kit) -> None:
    snapshot = kit.upload({1: block(1)})
    with refused("InvalidSignatureException"):
        kit.client(KEY, "wrong").list_snapshot_blocks(SnapshotId=snapshot)
    with refused("UnrecognizedClientException"):
        kit.client("AKIANOBODY").list_snapshot_blocks(SnapshotId=snapshot)
    reader = kit.client(READER, READER_SECRET)
    with refused("AccessDeniedException", "UNAUTHORIZED_ACCOUNT"):
        reader.list_snapshot_blocks(SnapshotId=snapshot)
    kit.authorizer.reader_may = [f"ebs:ListSnapshotBlocks arn:aws:ec2:us-east-1::snapshot/{snapshot}"]
    token = tokens(reader, snapshot)[1]
    with refused("AccessDeniedException", "UNAUTHORIZED_ACCOUNT"):
        get(reader, snapshot, 1, token)


def test_encrypted_needs_the_right_to_decrypt(kit: Kit) -> None:
    arn = "arn:aws:kms:us-east-1:123456789012:key/one"
    snapshot = kit.upload({1: block(1)}, Encrypted=True, KmsKeyArn=arn)
    reader = kit.client(READER, READER_SECRET)
    kit.authorizer.reader_may = ["ebs:* *"]
    with refused("AccessDeniedException", "DEPENDENCY_ACCESS_DENIED"):
        reader.list_snapshot_blocks(SnapshotId=snapshot)
    kit.authorizer.reader_may = ["ebs:* *", f"kms:Decrypt {arn}"]
    assert get(reader, snapshot, 1, tokens(reader, snapshot)[1]) == block(1)


def test_a_decision_is_believed_for_a_moment_and_the_signature_never(tmp_path: Path) -> None:
    kit = Kit(tmp_path, cache_seconds=60)
    try:
        snapshot = kit.upload({i: block(i) for i in range(4)})
        client = kit.client()
        kit.authorizer.asked.clear()
        for index, token in tokens(client, snapshot).items():
            assert get(client, snapshot, index, token) == block(index)
        assert [a for a, _ in kit.authorizer.asked] == ["ebs:ListSnapshotBlocks", "ebs:GetSnapshotBlock"]
        with refused("InvalidSignatureException"):
            kit.client(KEY, "wrong").list_snapshot_blocks(SnapshotId=snapshot)
    finally:
        kit.close()


def test_p7_both_quotas(kit: Kit) -> None:
    snapshot, other = kit.upload({1: block(1)}), kit.upload({1: block(1)})
    client = kit.client()
    token, other_token = tokens(client, snapshot)[1], tokens(client, other)[1]
    kit.settings.update({"snapshot_quota": 0.5})
    get(client, snapshot, 1, token)
    with refused("RequestThrottledException", "RESOURCE_LEVEL_THROTTLE"):
        get(client, snapshot, 1, token)
    get(client, other, 1, other_token)
    kit.settings.update({"snapshot_quota": None, "account_quota": 0.5})
    get(client, snapshot, 1, token)
    with refused("ThrottlingException"):
        get(client, other, 1, other_token)
    kit.settings.update({"account_quota": "off", "list_quota": 0.5})
    tokens(client, snapshot)
    with refused("ThrottlingException"):
        tokens(client, other)


def test_write_after_the_timeout_is_refused(kit: Kit) -> None:
    snapshot = kit.upload({}, complete=False, Timeout=10)
    kit.store.open(REGION, snapshot).last_write -= 601
    with refused("ValidationException", "WRITE_REQUEST_TIMEOUT"):
        put(kit.client(), snapshot, 0, block(0))


def test_everything_survives_a_restart(tmp_path: Path) -> None:
    kit = Kit(tmp_path)
    done = kit.upload({1: block(1)}, ClientToken="t")
    token = tokens(kit.client(), done)[1]
    half = kit.upload({2: block(2)}, complete=False)
    kit.close()
    again = Kit(tmp_path)
    try:
        again.catalog.snapshots = kit.catalog.snapshots
        client = again.client()
        assert get(client, done, 1, token) == block(1)
        assert client.start_snapshot(VolumeSize=1, ClientToken="t")["SnapshotId"] == done
        put(client, half, 3, block(3))
        client.complete_snapshot(SnapshotId=half, ChangedBlocksCount=2, **linear({2: block(2), 3: block(3)}))
        assert sorted(tokens(client, half)) == [2, 3]
    finally:
        again.close()
