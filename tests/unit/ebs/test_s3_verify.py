# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images in a bucket, and reading images back: files, buckets, AWS."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.ebs import errors
from ansible_collections.dfir.aws.plugins.module_utils.ebs.blocks import BLOCK_SIZE
from ansible_collections.dfir.aws.plugins.module_utils.ebs.journal import Journal
from ansible_collections.dfir.aws.plugins.module_utils.ebs.manifest import Manifest
from ansible_collections.dfir.aws.plugins.module_utils.ebs.s3 import SegmentSink
from ansible_collections.dfir.aws.plugins.module_utils.ebs.segments import SegmentReader, image_prefix
from ansible_collections.dfir.aws.plugins.module_utils.ebs.sinks import BlockDevice, RawFile
from ansible_collections.dfir.aws.plugins.module_utils.ebs.verify import (
    verify_against_aws,
    verify_image,
    verify_segments,
)

from tests.unit.ebs.engine_kit import BLOCKS, MANY, SharedKit, engine, expect_image, image, stop_after
from tests.unit.lab.ebs_kit import block

pytestmark = pytest.mark.slow


def sink(bucket: Any, snapshot: str, **more: Any) -> SegmentSink:
    return SegmentSink(bucket[0], bucket[1], image_prefix("INC-1", snapshot), **more)


def objects(bucket: Any) -> dict[str, bytes]:
    s3, name = bucket
    keys = [found["Key"] for found in s3.list_objects_v2(Bucket=name).get("Contents", [])]
    return {key: s3.get_object(Bucket=name, Key=key)["Body"].read() for key in keys}


def stored(bucket: Any) -> dict[int, bytes]:
    return {
        index: data
        for key, body in objects(bucket).items()
        if key.endswith(".seg")
        for index, _, data in SegmentReader(body).blocks()
    }


def test_segments_hold_every_block_and_the_manifest_comes_last(kit: SharedKit, bucket: Any, tmp_path: Path) -> None:
    snapshot = kit.snapshot(BLOCKS)
    result = image(engine(kit), snapshot, tmp_path / "i", sinks=[sink(bucket, snapshot)], hashes=("sha256",))
    assert stored(bucket) == BLOCKS
    found = objects(bucket)
    prefix = f"INC-1/{snapshot}/image/"
    assert all(key.startswith(prefix) for key in found)
    assert found[f"{prefix}manifest"] == result.manifest.read_bytes()
    numbers = [int(key[-12:-4]) for key in found if key.endswith(".seg")]
    assert sorted(numbers) == sorted({index // 64 for index in BLOCKS})
    assert result.outcome.sinks[0]["segments_written"] == len(numbers)


@pytest.mark.parametrize("count", [1, 3, 4, 5, 7, 8, 9])
def test_p12_the_last_segment_is_never_lost(kit: SharedKit, bucket: Any, tmp_path: Path, count: int) -> None:
    blocks = {index: block(index) for index in range(count)}
    snapshot = kit.snapshot(blocks)
    image(engine(kit), snapshot, tmp_path / "i", sinks=[sink(bucket, snapshot, span=4)])
    assert stored(bucket) == blocks


def test_a_run_without_any_disk_left_goes_on_from_the_bucket(kit: SharedKit, bucket: Any, tmp_path: Path) -> None:
    snapshot = kit.snapshot(MANY)
    first = sink(bucket, snapshot, span=8)
    with pytest.raises(errors.Cancelled):
        image(engine(kit, stop=stop_after(150)), snapshot, tmp_path / "i", sinks=[first])
    first._pool.shutdown(wait=True)  # uploads under way end after the run has
    Journal.partial_path(tmp_path / "i.manifest").unlink()
    there = stored(bucket)
    assert 50 < len(there) < 200
    result = image(engine(kit), snapshot, tmp_path / "i", sinks=[sink(bucket, snapshot, span=8)], hashes=("sha256",))
    assert stored(bucket) == MANY
    assert result.session["kept"] == len(there) and result.session["fetched"] == len(MANY) - len(there)
    straight = image(engine(kit), snapshot, tmp_path / "j", hashes=("sha256",))
    assert straight.outcome.image_sha256 == result.outcome.image_sha256


def test_a_file_and_a_bucket_in_one_pass_and_again_after_a_stop(kit: SharedKit, bucket: Any, tmp_path: Path) -> None:
    snapshot = kit.snapshot(MANY)

    def both() -> list[Any]:
        return [RawFile(tmp_path / "i"), sink(bucket, snapshot, span=8)]

    with pytest.raises(errors.Cancelled):
        image(engine(kit, stop=stop_after(150)), snapshot, tmp_path / "i", sinks=both())
    s3, name = bucket
    lost = sorted(objects(bucket))[2]
    s3.delete_object(Bucket=name, Key=lost)
    result = image(engine(kit), snapshot, tmp_path / "i", sinks=both())
    assert stored(bucket) == MANY
    expect_image(tmp_path / "i", MANY)
    assert result.session["fetched"] + result.session["kept"] == len(MANY), "the lost segment came from the file"


def test_what_is_there_is_not_replaced(kit: SharedKit, bucket: Any, tmp_path: Path) -> None:
    one, two = kit.snapshot(BLOCKS), kit.snapshot(MANY)
    image(engine(kit), one, tmp_path / "i", sinks=[sink(bucket, one)])
    before = objects(bucket)
    with pytest.raises(errors.BadInput, match="finished image"):
        image(engine(kit), one, tmp_path / "again", sinks=[sink(bucket, one)])
    bucket[0].delete_object(Bucket=bucket[1], Key=f"INC-1/{one}/image/manifest")
    with pytest.raises(errors.SinkError, match="something else"):
        image(engine(kit), two, tmp_path / "two", sinks=[sink(bucket, one)])
    after = objects(bucket)
    assert all(before[key] == after[key] for key in after) and len(after) == len(before) - 1


def test_a_bucket_that_refuses_ends_the_run_with_its_words(kit: SharedKit, bucket: Any, tmp_path: Path) -> None:
    snapshot = kit.snapshot(MANY)
    kit.faults.arm("s3.put_refused", times=None, after=1)
    with pytest.raises(errors.SinkError, match="AccessDenied"):
        image(engine(kit), snapshot, tmp_path / "i", sinks=[sink(bucket, snapshot, span=8)])
    assert not (tmp_path / "i.manifest").exists()


def test_p17_reading_back_is_a_step_of_its_own_with_its_own_record(kit: SharedKit, tmp_path: Path) -> None:
    snapshot = kit.snapshot(BLOCKS)
    path = tmp_path / "i"
    result = image(engine(kit), snapshot, path, hashes=("sha256", "md5"))
    record = verify_image(path, result.manifest)
    assert record.ok and record.blocks == len(BLOCKS)
    assert record.image_sha256 == result.outcome.image_sha256 and record.image_md5 == result.outcome.image_md5
    record.write(tmp_path / "record.json")
    assert json.loads((tmp_path / "record.json").read_text())["ok"] is True
    with path.open("r+b") as file:
        file.seek(64 * BLOCK_SIZE + 7)
        file.write(b"x")
        file.seek(700 * BLOCK_SIZE + 9)
        file.write(b"x")
    record = verify_image(path, result.manifest)
    assert not record.ok and record.different_blocks == [64] and record.unexpected_blocks == [700]
    assert any("sha256" in text for text in record.notes)
    with path.open("r+b") as file:
        file.truncate(5 * BLOCK_SIZE)
    assert "instead of" in verify_image(path, result.manifest).notes[0]


def test_p17_segments_are_read_back(kit: SharedKit, bucket: Any, tmp_path: Path) -> None:
    snapshot = kit.snapshot(BLOCKS)
    result = image(engine(kit), snapshot, tmp_path / "i", sinks=[sink(bucket, snapshot, span=4)])

    def again() -> Any:
        return verify_segments(sink(bucket, snapshot, span=4), result.manifest)

    assert again().ok and again().blocks == len(BLOCKS)
    s3, name = bucket
    found = objects(bucket)
    first, second = sorted(found)[1:3]
    damaged = bytearray(found[first])
    damaged[len(damaged) // 2] ^= 1
    s3.put_object(Bucket=name, Key=first, Body=bytes(damaged))
    s3.delete_object(Bucket=name, Key=second)
    record = again()
    assert not record.ok and record.different >= 2


def test_a_manifest_is_held_against_aws(kit: SharedKit, tmp_path: Path) -> None:
    snapshot, other = kit.snapshot(MANY), kit.snapshot(BLOCKS)
    result = image(engine(kit), snapshot, tmp_path / "i")
    client = engine(kit)
    record = verify_against_aws(client, result.manifest)
    assert record.ok and record.blocks == len(MANY)
    sampled = verify_against_aws(engine(kit), result.manifest, sample=30)
    assert sampled.ok and 5 < sampled.blocks < 90
    journal = Journal.begin(tmp_path / "wrong", type(result.identity)(other, "us-east-1", 1))
    with Manifest(result.manifest) as manifest:
        for index, digest in manifest.records():
            journal.append(index, digest)
        journal.finish(manifest.done)
    record = verify_against_aws(engine(kit), tmp_path / "wrong")
    assert record.different == len(set(MANY) - set(BLOCKS)) and record.unexpected == len(set(BLOCKS) - set(MANY))


@pytest.mark.skipif(os.geteuid() != 0, reason="loop devices need root")
def test_p05_a_device_keeps_nothing_of_what_it_held(kit: SharedKit, tmp_path: Path) -> None:
    snapshot = kit.snapshot(BLOCKS)
    backing = tmp_path / "disk"
    with backing.open("wb") as file:
        file.truncate(1 << 30)
        for index in (3, 63, 400, 2046):
            file.seek(index * BLOCK_SIZE)
            file.write(block("stale"))
    device = subprocess.run(["losetup", "-f", "--show", str(backing)], capture_output=True, text=True, check=True)
    path = Path(device.stdout.strip())
    try:
        result = image(engine(kit), snapshot, tmp_path / "i", sinks=[BlockDevice(path)], hashes=("sha256",))
        record = verify_image(path, result.manifest)
        assert record.ok and record.image_sha256 == result.outcome.image_sha256
    finally:
        subprocess.run(["losetup", "-d", str(path)], check=True)
    expect_image(backing, BLOCKS)
    with pytest.raises(errors.BadInput, match="no block device"):
        image(engine(kit), snapshot, tmp_path / "k", sinks=[BlockDevice(backing)])
