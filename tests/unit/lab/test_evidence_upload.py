# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk goes in by the EBS direct API of the lab's own service, and comes out as it was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from ebs_kit import Kit, block, get, tokens

from lab.contracts import BLOCK_SIZE
from lab.evidence.run import sparse_file
from lab.evidence.upload import UploadError, upload, written_blocks

TOKEN = "dfir-lab-evidence-1"


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    running = Kit(tmp_path / "store")
    yield running
    running.close()


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """One GiB with data at its beginning, across a block's border, and at its very end."""
    path = tmp_path / "disk.img"
    sparse_file(path, 1 << 30)
    with path.open("r+b") as file:
        file.write(block("first"))
        file.seek(7 * BLOCK_SIZE - 100)
        file.write(b"border" * 40)
        file.seek(100 * BLOCK_SIZE)
        file.write(bytes(4096))  # written, but zero: not to be sent
        file.seek((1 << 30) - 5)
        file.write(b"last!")
    return path


def test_p9_every_written_block_arrives_and_nothing_else(kit: Kit, disk: Path) -> None:
    client = kit.client()
    snapshot = upload(disk, client, client_token=TOKEN, workers=3)
    assert snapshot == "snap-0" + hashlib.sha256(TOKEN.encode()).hexdigest()[:16]
    found = tokens(client, snapshot)
    assert sorted(found) == [0, 6, 7, (1 << 30) // BLOCK_SIZE - 1]
    with disk.open("rb") as file:
        for index, token in found.items():
            file.seek(index * BLOCK_SIZE)
            assert get(client, snapshot, index, token) == file.read(BLOCK_SIZE)


def test_the_same_token_gives_the_same_snapshot_and_sends_nothing_again(kit: Kit, disk: Path) -> None:
    client = kit.client()
    first = upload(disk, client, client_token=TOKEN)
    client.put_snapshot_block = None  # would fail if it were called
    assert upload(disk, client, client_token=TOKEN) == first


def test_an_interrupted_upload_is_completed_by_the_next_one(kit: Kit, disk: Path) -> None:
    client = kit.client()
    kit.faults.arm("ebs.error_5xx", times=1, match={"action": "PutSnapshotBlock"})
    with pytest.raises(ClientError):
        upload(disk, client, client_token=TOKEN, workers=1)
    snapshot = upload(disk, client, client_token=TOKEN)
    assert len(tokens(client, snapshot)) == 4


def test_a_size_that_no_volume_has_is_refused(kit: Kit, tmp_path: Path) -> None:
    odd = tmp_path / "odd.img"
    sparse_file(odd, (1 << 30) + 512)
    with pytest.raises(UploadError, match="whole number of GiB"):
        upload(odd, kit.client(), client_token=TOKEN)


def test_blocks_are_named_once_even_with_several_extents_in_them(tmp_path: Path) -> None:
    path = tmp_path / "extents"
    sparse_file(path, 4 * BLOCK_SIZE)
    with path.open("r+b") as file:
        for offset in (0, 65536, BLOCK_SIZE + 8192, 3 * BLOCK_SIZE - 4096):
            file.seek(offset)
            file.write(b"x")
    assert list(written_blocks(path)) == [0, 1, 2]
