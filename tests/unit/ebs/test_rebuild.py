# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images from segments and from single blocks."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.ebs import errors
from ansible_collections.dfir.aws.plugins.module_utils.ebs.blockfolder import BlockFolder
from ansible_collections.dfir.aws.plugins.module_utils.ebs.blocks import BLOCK_SIZE, GIB
from ansible_collections.dfir.aws.plugins.module_utils.ebs.journal import Journal
from ansible_collections.dfir.aws.plugins.module_utils.ebs.manifest import Identity, Manifest
from ansible_collections.dfir.aws.plugins.module_utils.ebs.rebuild import rebuild_folder, rebuild_segments
from ansible_collections.dfir.aws.plugins.module_utils.ebs.s3 import SegmentSink
from ansible_collections.dfir.aws.plugins.module_utils.ebs.segments import image_prefix
from ansible_collections.dfir.aws.plugins.module_utils.ebs.sinks import RawFile
from ansible_collections.dfir.aws.plugins.module_utils.ebs.sources import SegmentFolder
from ansible_collections.dfir.aws.plugins.module_utils.ebs.verify import verify_image, verify_segments

from tests.unit.ebs.engine_kit import BLOCKS, SharedKit, engine, expect_image, image
from tests.unit.lab.ebs_kit import block

pytestmark = pytest.mark.slow

SNAPSHOT = "snap-0123456789abcdef0"
ZEROS = bytes(BLOCK_SIZE)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_of(path: Path, blocks: Mapping[int, bytes], *, gib: int = 1, width: int = 10) -> Path:
    """Single blocks, as snap4n6 names them."""
    path.mkdir()
    for index, data in blocks.items():
        digest = hashlib.sha256(data).hexdigest()
        (path / f"{index:0{width}d}_{SNAPSHOT}_{digest}_{gib}_{BLOCK_SIZE}").write_bytes(data)
    return path


def rebuilt(path: Path, target: Path, *, folder: dict[str, Any] | None = None, **more: Any) -> Any:
    source = BlockFolder(path, **(folder or {}))
    return rebuild_folder(source, RawFile(target), Path(f"{target}.manifest"), **more)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


@pytest.fixture(scope="session")
def finished(shared_kit: SharedKit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished image in segments of four blocks, copied from the bucket to a folder."""
    snapshot, folder = shared_kit.snapshot(BLOCKS), tmp_path_factory.mktemp("finished")
    s3, bucket, prefix = shared_kit.s3(), "dfir-images", image_prefix("INC-REBUILD", snapshot)
    sink = SegmentSink(s3, bucket, prefix, span=4)
    image(engine(shared_kit), snapshot, folder / "made", sinks=[sink], hashes=("sha256",))
    for found in s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]:
        path = folder / "copy" / found["Key"][len(prefix) :]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(s3.get_object(Bucket=bucket, Key=found["Key"])["Body"].read())
    return folder / "copy"


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy that may be harmed."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


@pytest.mark.parametrize("where", ["bucket", "folder"])
def test_segments_become_the_image_that_they_were_made_from(
    kit: SharedKit, bucket: Any, copy: Path, tmp_path: Path, where: str
) -> None:
    prefix = image_prefix("INC-1", kit.snapshot(BLOCKS))
    for path in copy.rglob("*"):
        if path.is_file():
            bucket[0].put_object(Bucket=bucket[1], Key=f"{prefix}{path.relative_to(copy)}", Body=path.read_bytes())

    def store() -> Any:
        return SegmentSink(*bucket, prefix, span=4) if where == "bucket" else SegmentFolder(copy, span=4)

    target = tmp_path / "i.raw"
    result = rebuild_segments(store(), RawFile(target), Path(f"{target}.manifest"))
    expect_image(target, BLOCKS)
    assert result.changed and result.missing_checked and result.outcome.image_sha256 == sha256(target)
    assert result.manifest.read_bytes() == (copy / "manifest").read_bytes(), "it is the manifest of the run that imaged"
    assert names(tmp_path) == ["i.raw", "i.raw.manifest"]
    again = rebuild_segments(store(), RawFile(target), Path(f"{target}.manifest"))
    assert not again.changed


def test_p17_what_was_rebuilt_is_read_back_by_a_step_of_its_own(copy: Path, tmp_path: Path) -> None:
    target = tmp_path / "i.raw"
    result = rebuild_segments(SegmentFolder(copy, span=4), RawFile(target), Path(f"{target}.manifest"))
    assert verify_image(target, result.manifest).ok
    with target.open("r+b") as file:
        file.seek(5 * BLOCK_SIZE + 7)
        file.write(b"!")
    record = verify_image(target, result.manifest)
    assert not record.ok and record.different_blocks == [5]
    assert verify_segments(SegmentFolder(copy, span=4), result.manifest).ok


@pytest.mark.parametrize(("harm", "named"), [
    ("missing", (5,)), ("flipped", (5,)), ("cut", (5,)), ("other snapshot", (5,)),
])  # fmt: skip
def test_p04_segments_that_are_not_whole_give_no_image(
    copy: Path, tmp_path: Path, harm: str, named: tuple[int, ...]
) -> None:
    segment = copy / "segments" / "00000001.seg"  # blocks 4 to 7: it has block 5 alone
    data = bytearray(segment.read_bytes())
    if harm == "missing":
        segment.unlink()
    elif harm == "flipped":
        data[len(data) // 3] ^= 1
        segment.write_bytes(data)
    elif harm == "cut":
        segment.write_bytes(data[:-5])
    else:
        place = data.index(b"snap-0")
        data[place + 7] ^= 1
        segment.write_bytes(data)
    target = tmp_path / "i.raw"
    with pytest.raises(errors.EngineError) as caught:
        rebuild_segments(SegmentFolder(copy, span=4), RawFile(target), Path(f"{target}.manifest"))
    assert set(named) <= set(caught.value.failed_blocks) and "5" in str(caught.value)
    assert names(tmp_path) == []


def test_a_segment_that_does_not_belong_to_it_is_named(copy: Path, tmp_path: Path) -> None:
    with Manifest(copy / "manifest") as manifest:
        identity = manifest.identity
    from ansible_collections.dfir.aws.plugins.module_utils.ebs.segments import SegmentHead, SegmentWriter, zstd_codec

    writer = SegmentWriter(
        SegmentHead(identity.snapshot_id, identity.region, identity.volume_gib, 300, 4), zstd_codec()[0]
    )
    writer.add(1201, hashlib.sha256(block(1)).digest(), block(1))
    (copy / "segments" / "00000300.seg").write_bytes(writer.finish())
    target = tmp_path / "i.raw"
    with pytest.raises(errors.Mismatch, match="1201"):
        rebuild_segments(SegmentFolder(copy, span=4), RawFile(target), Path(f"{target}.manifest"))
    assert names(tmp_path) == []


def test_a_damaged_manifest_gives_no_image(copy: Path, tmp_path: Path) -> None:
    manifest = copy / "manifest"
    data = bytearray(manifest.read_bytes())
    data[-200] ^= 1
    manifest.write_bytes(data)
    target = tmp_path / "i.raw"
    with pytest.raises(errors.ManifestError):
        rebuild_segments(SegmentFolder(copy, span=4), RawFile(target), Path(f"{target}.manifest"))
    manifest.unlink()
    with pytest.raises(errors.BadInput, match="not there"):
        rebuild_segments(SegmentFolder(copy, span=4), RawFile(target), Path(f"{target}.manifest"))
    assert names(tmp_path) == []


@pytest.mark.parametrize("width", [1, 10])
def test_single_blocks_become_the_image_and_a_manifest(tmp_path: Path, width: int) -> None:
    blocks = {**BLOCKS, 700: ZEROS}
    target = tmp_path / "i.raw"
    result = rebuilt(
        folder_of(tmp_path / "blocks", blocks, width=width), target, hashes=("sha256",), region="eu-west-1"
    )
    expect_image(target, blocks)
    with Manifest(result.manifest) as manifest:
        assert manifest.check().image_sha256 == sha256(target) == result.outcome.image_sha256
        assert [index for index, _ in manifest.records()] == sorted(blocks)
        assert manifest.identity.snapshot_id == SNAPSHOT and manifest.identity.region == "eu-west-1"
    assert result.changed and not result.missing_checked
    assert verify_image(target, result.manifest).ok
    assert not rebuilt(tmp_path / "blocks", target).changed


@pytest.mark.parametrize("count", [1, 2, 3, 63, 64, 65])
def test_p12_the_last_block_is_never_lost(tmp_path: Path, count: int) -> None:
    blocks = {index: block(index) for index in range(count)} | {2047: block("last")}
    target = tmp_path / "i.raw"
    rebuilt(folder_of(tmp_path / "blocks", blocks), target)
    expect_image(target, blocks)


def test_p05_a_file_that_was_there_leaves_nothing_in_the_image(tmp_path: Path) -> None:
    target = tmp_path / "i.raw"
    Path(f"{target}.partial").write_bytes(b"stale" * BLOCK_SIZE)
    rebuilt(folder_of(tmp_path / "blocks", {3: block(3)}), target)
    expect_image(target, {3: block(3)})


def mark(folder: Path) -> list[Any]:
    """Everything about a folder that writing would change; times of access, too."""
    facts = [folder, *sorted(folder.iterdir())]
    return [(path.name, (s := path.stat()).st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_mode) for path in facts] + [
        path.stat().st_atime_ns for path in facts[1:]
    ]


@pytest.mark.parametrize("maker", [["mkfs.ext4", "-q", "-F"], ["mkfs.xfs", "-q", "-f"], ["mkfs.btrfs", "-q", "-f"]])
def test_p16_whichever_file_system_is_inside_nothing_is_written_to_blocks_or_image(
    tmp_path: Path, maker: list[str]
) -> None:
    program = shutil.which(maker[0], path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None:
        pytest.skip(f"{maker[0]} is not installed")
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(GIB)
    subprocess.run([program, *maker[1:], str(disk)], check=True, capture_output=True)
    blocks: dict[int, bytes] = {}
    with disk.open("rb") as file:
        for index in range(GIB // BLOCK_SIZE):
            data = file.read(BLOCK_SIZE)
            if data != ZEROS:
                blocks[index] = data
    folder = folder_of(tmp_path / "blocks", blocks)
    before = mark(folder)
    result = rebuilt(folder, tmp_path / "i.raw", hashes=("sha256",))
    assert result.outcome.image_sha256 == sha256(disk) == sha256(tmp_path / "i.raw")
    assert mark(folder) == before


def test_a_block_that_is_not_what_its_name_says_is_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "blocks", BLOCKS)
    for index in (2, 63):
        path = next(folder.glob(f"{index:010d}_*"))
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    path = next(folder.glob(f"{500:010d}_*"))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(errors.Mismatch) as caught:
        rebuilt(folder, tmp_path / "i.raw")
    assert caught.value.failed_blocks == (2, 63, 500) and "2, 63, 500" in str(caught.value)
    assert names(tmp_path) == []


@pytest.mark.parametrize(("name", "said"), [
    ("notes.txt", "notes.txt"),
    (f"0000000001_snap-0ffffffffffffffff_{'0' * 64}_1_{BLOCK_SIZE}", "snap-0ffffffffffffffff"),
    (f"0000000001_{SNAPSHOT}_{'0' * 64}_2_{BLOCK_SIZE}", "_2_"),
    (f"0000000001_{SNAPSHOT}_{'0' * 64}_1_4096", "_4096"),
    (f"0000002048_{SNAPSHOT}_{'0' * 64}_1_{BLOCK_SIZE}", "0000002048"),
    (f"0000000001_{SNAPSHOT}_{'0' * 63}_1_{BLOCK_SIZE}", "0" * 63),
    (f"0000000001_{SNAPSHOT}_{'0' * 64}_1_{BLOCK_SIZE}\n", "0000000001"),
])  # fmt: skip
def test_a_foreign_file_is_named_and_can_be_left_out(tmp_path: Path, name: str, said: str) -> None:
    blocks = {0: block(0), 7: block(7)}
    folder = folder_of(tmp_path / "blocks", blocks)
    (folder / name).write_bytes(b"x")
    with pytest.raises(errors.BadInput, match="no blocks of this snapshot") as caught:
        rebuilt(folder, tmp_path / "i.raw", folder={"snapshot_id": SNAPSHOT})
    # Without the id the first name that is read decides what is foreign: either way it is refused.
    assert said in str(caught.value)
    assert names(tmp_path) == []
    if "_2_" in name:
        return  # nothing says which size is the right one
    result = rebuilt(folder, tmp_path / "i.raw", folder={"snapshot_id": SNAPSHOT, "ignore_foreign": True})
    expect_image(tmp_path / "i.raw", blocks)
    assert result.ignored == [name]


def test_a_block_that_is_there_twice_is_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "blocks", {0: block(0), 7: block(7)})
    digest = hashlib.sha256(block("other")).hexdigest()
    (folder / f"7_{SNAPSHOT}_{digest}_1_{BLOCK_SIZE}").write_bytes(block("other"))
    with pytest.raises(errors.BadInput, match=r"more than one file of the same block: .*7_snap"):
        rebuilt(folder, tmp_path / "i.raw")
    assert names(tmp_path) == []


def test_missing_blocks_are_named_where_something_says_what_there_should_be(kit: SharedKit, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "blocks", {index: data for index, data in BLOCKS.items() if index != 64})
    with pytest.raises(errors.Mismatch, match="1 blocks are missing: 64") as caught:
        rebuilt(folder, tmp_path / "i.raw", expected=sorted(BLOCKS))
    assert caught.value.failed_blocks == (64,)
    with pytest.raises(errors.Mismatch, match="1 blocks are not of this snapshot: 5"):
        rebuilt(folder, tmp_path / "i.raw", expected=sorted(set(BLOCKS) - {64, 5}))
    journal = Journal.begin(tmp_path / "other", Identity(SNAPSHOT, "eu-west-1", 1))
    for index in sorted(set(BLOCKS) - {64}):
        journal.append(index, hashlib.sha256(BLOCKS[index] if index != 5 else b"").digest())
    from ansible_collections.dfir.aws.plugins.module_utils.ebs.manifest import Outcome

    with Manifest(journal.finish(Outcome())) as manifest, pytest.raises(errors.Mismatch, match="another content: 5"):
        rebuilt(folder, tmp_path / "i.raw", expected=manifest)
    (tmp_path / "other").unlink()
    assert names(tmp_path) == []
    assert rebuilt(folder, tmp_path / "i.raw", expected=sorted(set(BLOCKS) - {64})).missing_checked


def test_an_unfinished_imaging_run_is_not_replaced(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "blocks", {0: block(0)})
    journal = Journal.begin(tmp_path / "i.raw.manifest", Identity(SNAPSHOT, "eu-west-1", 1, tool="dfir.aws ebs"))
    journal.close()
    with pytest.raises(errors.BadInput, match="unfinished run"):
        rebuilt(folder, tmp_path / "i.raw")
    assert Journal.partial_path(tmp_path / "i.raw.manifest").exists()


def test_what_is_there_is_never_replaced(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "blocks", {0: block(0)})
    (tmp_path / "i.raw").write_bytes(b"mine")
    with pytest.raises(errors.BadInput, match="exists already"):
        rebuilt(folder, tmp_path / "i.raw")
    assert (tmp_path / "i.raw").read_bytes() == b"mine" and names(tmp_path) == ["i.raw"]


@pytest.mark.parametrize("make", ["absent", "empty"])
def test_a_folder_without_blocks_is_refused(tmp_path: Path, make: str) -> None:
    folder = tmp_path / "blocks"
    if make == "empty":
        folder.mkdir()
    with pytest.raises(errors.BadInput):
        BlockFolder(folder)


def test_whoever_cancels_finds_nothing_half_done(copy: Path, tmp_path: Path) -> None:
    target = tmp_path / "i.raw"
    with pytest.raises(errors.Cancelled):
        rebuild_segments(SegmentFolder(copy, span=4), RawFile(target), Path(f"{target}.manifest"), stop=lambda: True)
    with pytest.raises(errors.Cancelled):
        rebuilt(folder_of(tmp_path / "blocks", BLOCKS), target, stop=lambda: True)
    assert names(tmp_path) == []
