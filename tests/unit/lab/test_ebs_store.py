# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes and snapshots as sparse files."""

from __future__ import annotations

import gc
import hashlib
import os
import threading
from pathlib import Path

import pytest
from ebs_kit import block

from lab.contracts import BLOCK_SIZE
from lab.ebs import sparse, store
from lab.ebs.store import Store

EAST, WEST = "us-east-1", "eu-west-1"


@pytest.fixture
def blocks(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def write(path: Path, index: int, data: bytes, offset: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek(index * BLOCK_SIZE + offset)
        file.write(data)


def used(path: Path) -> int:
    return path.stat().st_blocks * 512


def test_snapshot_of_an_ordinary_volume_has_its_written_blocks(blocks: Store) -> None:
    path = blocks.create_volume(EAST, "vol-1", 64, None)
    assert path.stat().st_size == 64 << 30 and used(path) == 0
    write(path, 0, b"first byte")
    write(path, 5, b"x" * 10, offset=BLOCK_SIZE - 5)  # over the boundary of 5 and 6
    write(path, 64 * 2048 - 1, b"end", offset=BLOCK_SIZE - 3)
    write(path, 9, bytes(BLOCK_SIZE))  # zeros that were written are written
    blocks.snapshot_volume(EAST, "vol-1", "snap-1")
    write(path, 7, b"later")
    snapshot = blocks.open(EAST, "snap-1")
    assert [*snapshot.written()] == [0, 5, 6, 9, 64 * 2048 - 1]
    assert [*snapshot.written(6)] == [6, 9, 64 * 2048 - 1]
    assert blocks.allocated_blocks(EAST, "snap-1") == 5
    assert snapshot.read(0) == b"first byte".ljust(BLOCK_SIZE, b"\0")
    assert used(snapshot.folder / "data") < 4 << 20, "the holes were kept"
    assert snapshot.gib == 64


def test_digests_are_computed_once_and_kept_on_disk(blocks: Store) -> None:
    path = blocks.create_volume(EAST, "vol-1", 1, None)
    write(path, 3, block(3))
    blocks.snapshot_volume(EAST, "vol-1", "snap-1")
    snapshot = blocks.open(EAST, "snap-1")
    assert snapshot.digest(3) == hashlib.sha256(block(3)).digest()
    with (snapshot.folder / "sums").open("rb") as file:
        file.seek(3 * 32)
        assert file.read(32) == hashlib.sha256(block(3)).digest()
    fd = os.open(snapshot.folder / "data", os.O_RDWR)
    os.pwrite(fd, b"!", 3 * BLOCK_SIZE)  # rot: the digest still says what the block was
    os.close(fd)
    assert Store(blocks.root).open(EAST, "snap-1").digest(3) == hashlib.sha256(block(3)).digest()


def test_copy_to_another_region_shares_the_files_and_outlives_its_source(blocks: Store) -> None:
    blocks.create_volume(EAST, "vol-1", 1, None)
    write(blocks.volume_path(EAST, "vol-1"), 1, block(1))
    blocks.snapshot_volume(EAST, "vol-1", "snap-1")
    assert not blocks.has_snapshot(WEST, "snap-2")
    blocks.copy_snapshot(EAST, "snap-1", WEST, "snap-2")
    one, two = blocks.open(EAST, "snap-1"), blocks.open(WEST, "snap-2")
    assert one.same_files(two)
    blocks.delete_snapshot(EAST, "snap-1")
    assert not blocks.has_snapshot(EAST, "snap-1") and blocks.has_snapshot(WEST, "snap-2")
    assert Store(blocks.root).open(WEST, "snap-2").read(1) == block(1)


def test_volume_from_a_snapshot_is_a_sparse_copy_of_its_own(blocks: Store) -> None:
    blocks.start_snapshot(EAST, "snap-1", 1)
    assert blocks.open(EAST, "snap-1").put(100, block(100), hashlib.sha256(block(100)).digest())
    blocks.complete_snapshot(EAST, "snap-1")
    path = blocks.create_volume(EAST, "vol-1", 2, "snap-1")
    assert path.stat().st_size == 2 << 30 and used(path) <= 2 * BLOCK_SIZE
    write(path, 100, b"changed")
    assert blocks.open(EAST, "snap-1").read(100) == block(100)
    with path.open("rb") as file:
        file.seek(100 * BLOCK_SIZE + 7)
        assert file.read(25) == block(100)[7:32]


def test_erased_block_is_gone_from_a_volume_made_of_it(blocks: Store) -> None:
    blocks.start_snapshot(EAST, "snap-1", 1)
    blocks.open(EAST, "snap-1").put(1, block(1), hashlib.sha256(block(1)).digest())
    blocks.complete_snapshot(EAST, "snap-1")
    blocks.start_snapshot(EAST, "snap-2", 1, parent="snap-1")
    blocks.erase_block(EAST, "snap-2", 1)
    blocks.complete_snapshot(EAST, "snap-2")
    assert blocks.allocated_blocks(EAST, "snap-2") == 0
    path = blocks.create_volume(EAST, "vol-1", 1, "snap-2")
    fd = os.open(path, os.O_RDONLY)
    assert [*sparse.extents(fd)] == []
    os.close(fd)
    with pytest.raises(store.WrongState):
        blocks.erase_block(EAST, "snap-2", 1)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda s: s.open(EAST, "snap-none"), store.SnapshotMissing),
        (lambda s: s.delete_snapshot(EAST, "snap-none"), store.SnapshotMissing),
        (lambda s: s.volume_path(EAST, "vol-none"), store.VolumeMissing),
        (lambda s: s.delete_volume(WEST, "vol-1"), store.VolumeMissing),
        (lambda s: s.create_volume(EAST, "vol-1", 1, None), store.AlreadyThere),
        (lambda s: s.create_volume(EAST, "vol-2", 1, "snap-pending"), store.WrongState),
        (lambda s: s.create_volume(EAST, "vol-2", 1, "snap-2g"), store.BadSize),
        (lambda s: s.copy_snapshot(EAST, "snap-pending", WEST, "snap-c"), store.WrongState),
        (lambda s: s.start_snapshot(EAST, "snap-pending", 1), store.AlreadyThere),
        (lambda s: s.start_snapshot(EAST, "snap-child", 1, parent="snap-2g"), store.BadSize),
        (lambda s: s.snapshot_volume(EAST, "vol-none", "snap-x"), store.VolumeMissing),
        (lambda s: s.create_volume(EAST, "../../evil", 1, None), store.StoreError),
        (lambda s: s.open("../up", "snap-1"), store.StoreError),
    ],
)
def test_refusals_leave_nothing_behind(blocks: Store, call: object, error: type[Exception]) -> None:
    blocks.create_volume(EAST, "vol-1", 1, None)
    blocks.start_snapshot(EAST, "snap-pending", 1)
    blocks.start_snapshot(EAST, "snap-2g", 2)
    blocks.complete_snapshot(EAST, "snap-2g")
    before = sorted(blocks.root.rglob("*"))
    with pytest.raises(error):
        call(blocks)  # type: ignore[operator]
    after = [p for p in sorted(blocks.root.rglob("*")) if p.name not in (WEST, "snapshots", "volumes")]
    assert after == [p for p in before if p.name not in (WEST, "snapshots", "volumes")]


def test_what_a_killed_process_left_is_removed_on_opening(blocks: Store) -> None:
    blocks.create_volume(EAST, "vol-1", 1, None)
    half = blocks.root / EAST / "volumes" / ".partial-vol-2.raw-00"
    half.write_bytes(b"half")
    (blocks.root / EAST / "snapshots" / ".partial-snap-1-00").mkdir(parents=True)
    again = Store(blocks.root)
    assert not half.exists() and [*(again.root / EAST / "snapshots").iterdir()] == []
    assert again.volume_path(EAST, "vol-1").exists()


def test_many_writers_of_one_snapshot(blocks: Store) -> None:
    blocks.start_snapshot(EAST, "snap-1", 1)

    def some(first: int) -> None:
        for index in range(first, 64, 4):
            blocks.open(EAST, "snap-1").put(index, block(index), hashlib.sha256(block(index)).digest())

    threads = [threading.Thread(target=some, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    snapshot = blocks.open(EAST, "snap-1")
    assert snapshot.uploaded()[0] == 64
    blocks.complete_snapshot(EAST, "snap-1")
    assert all(
        snapshot.read(i) == block(i) and snapshot.digest(i) == hashlib.sha256(block(i)).digest() for i in range(64)
    )
    assert not snapshot.put(70, block(1), bytes(32)), "sealed"


def test_p14_a_volume_of_15_tib_costs_no_memory_to_speak_of(blocks: Store) -> None:
    blocks.start_snapshot(EAST, "snap-1", 15_360)
    snapshot = blocks.open(EAST, "snap-1")
    last = 15_360 * 2048 - 1
    snapshot.put(last, block(0), hashlib.sha256(block(0)).digest())
    blocks.complete_snapshot(EAST, "snap-1")
    assert next(snapshot.written()) == last
    assert snapshot.allocated() == 1
    assert sum(used(f) for f in snapshot.folder.iterdir()) < 2 << 20


def test_a_size_that_the_file_system_cannot_have_is_refused(blocks: Store) -> None:
    if blocks.holds(1 << 20):  # a PiB: XFS can
        pytest.skip("this file system has files of any size")
    with pytest.raises(store.BadSize):
        blocks.create_volume(EAST, "vol-1", 1 << 20, None)
    assert [*blocks.root.iterdir()] == []


def test_open_files_do_not_pile_up(blocks: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "OPEN_SNAPSHOTS", 4)
    blocks.create_volume(EAST, "vol-1", 1, None)
    for number in range(12):
        blocks.snapshot_volume(EAST, "vol-1", f"snap-{number}")
        blocks.open(EAST, f"snap-{number}")
    gc.collect()
    images = [str(fd.resolve()) for fd in Path("/proc/self/fd").iterdir()]
    assert sum(str(blocks.root) in image and image.endswith("/data") for image in images) <= 4


def test_secret_stays_and_is_private(blocks: Store) -> None:
    secret = blocks.secret()
    assert len(secret) == 32 and Store(blocks.root).secret() == secret
    assert (blocks.root / "token.key").stat().st_mode & 0o077 == 0
