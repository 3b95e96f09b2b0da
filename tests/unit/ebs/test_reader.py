# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A snapshot read as a file: the very bytes of its image, for as few blocks as it takes."""

from __future__ import annotations

import io
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.ebs import errors
from ansible_collections.dfir.aws.plugins.module_utils.ebs.blockmap import FIRST_PAGE, BlockMap
from ansible_collections.dfir.aws.plugins.module_utils.ebs.blocks import BLOCK_SIZE, GIB
from ansible_collections.dfir.aws.plugins.module_utils.ebs.reader import BudgetSpent, SnapshotFile, open_snapshot
from ansible_collections.dfir.aws.plugins.module_utils.ebs.sinks import RawFile

from tests.unit.ebs.engine_kit import BLOCKS, MANY, SharedKit, engine, expect_image, image

pytestmark = pytest.mark.slow

ZEROS = bytes(BLOCK_SIZE)


def disk(kit: SharedKit, blocks: dict[int, bytes], **options: Any) -> SnapshotFile:
    return open_snapshot(engine(kit), kit.snapshot(blocks), **options)


def wanted(blocks: dict[int, bytes], place: int, size: int) -> bytes:
    """What the image holds there."""
    first, last = place // BLOCK_SIZE, (place + size) // BLOCK_SIZE
    whole = b"".join(blocks.get(index, ZEROS) for index in range(first, last + 1))
    return whole[place - first * BLOCK_SIZE :][:size]


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_read_is_what_the_image_holds(kit: SharedKit, seed: int) -> None:
    chance = random.Random(seed)
    with disk(kit, BLOCKS, memory=8 * BLOCK_SIZE, connections=chance.choice([1, 2, 16])) as file:
        assert file.size == GIB == file.seek(0, os.SEEK_END)
        assert file.read(1) == b"" and file.read() == b""
        for _number in range(150):
            near = chance.choice([*BLOCKS, 3, 600, 2046]) * BLOCK_SIZE + chance.choice([0, -1, 1, -700, 4096, 300_000])
            place, size = max(0, near), chance.choice([0, 1, 512, 4096, BLOCK_SIZE, 3 * BLOCK_SIZE + 5])
            file.seek(place)
            found = file.read(size)
            assert found == wanted(BLOCKS, place, min(size, GIB - place)), (place, size)
            assert file.tell() == place + len(found)


def test_it_is_a_file_as_python_knows_it(kit: SharedKit) -> None:
    with disk(kit, BLOCKS) as file:
        assert file.readable() and file.seekable() and not file.writable()
        file.seek(-10, os.SEEK_END)
        assert file.read(100) == BLOCKS[2047][-10:]
        file.seek(BLOCK_SIZE)
        file.seek(-7, os.SEEK_CUR)
        buffered = io.BufferedReader(file, 8192)
        assert buffered.read(14) == BLOCKS[0][-7:] + BLOCKS[1][:7]
        buffered.detach()
        buffer = bytearray(5)
        file.seek(0)
        assert file.readinto(buffer) == 5 and bytes(buffer) == BLOCKS[0][:5]
        with pytest.raises(ValueError, match="cannot be read from -1"):
            file.seek(-1)
    with pytest.raises(ValueError, match="is closed"):
        file.read(1)
    file.close()


def test_absent_blocks_cost_nothing_and_a_block_that_is_kept_is_not_fetched_again(kit: SharedKit) -> None:
    with disk(kit, BLOCKS) as file:
        for _time in range(3):
            for index in (700, 0, 1999, 5, 63):
                file.seek(index * BLOCK_SIZE + 99)
                assert file.read(10) == BLOCKS.get(index, ZEROS)[99:109]
        assert file.blocks.access.fetched == [0, 5, 63]
        assert file.blocks.access.wanted == {0, 5, 63} and not file.blocks.access.ahead


def test_memory_is_bounded(kit: SharedKit) -> None:
    with disk(kit, MANY, memory=4 * BLOCK_SIZE, furthest=0) as file:
        for _time in range(2):
            for index in range(3, 13):
                file.seek(index * BLOCK_SIZE)
                assert file.read(4) == MANY[index][:4]
                assert len(file.blocks._memory) <= 4
        assert file.blocks.access.fetched == [*range(3, 13)] * 2


def test_a_row_is_asked_for_ahead_and_each_of_its_blocks_once(kit: SharedKit) -> None:
    with disk(kit, MANY) as file:
        assert file.read(303 * BLOCK_SIZE) == wanted(MANY, 0, 303 * BLOCK_SIZE)
        access = file.blocks.access
        assert sorted(access.fetched) == sorted(MANY) and access.wanted == set(MANY)
        assert len(access.ahead) > 0.9 * len(MANY) and access.unused == 0


def test_no_more_blocks_are_fetched_than_the_budget_allows(kit: SharedKit) -> None:
    with disk(kit, MANY, limit=20) as file:
        file.seek(3 * BLOCK_SIZE)
        assert file.read(20 * BLOCK_SIZE) == wanted(MANY, 3 * BLOCK_SIZE, 20 * BLOCK_SIZE)
        with pytest.raises(BudgetSpent, match=r"The budget of 20 blocks \(10 MiB\) is spent, snap-.* allow more"):
            file.read(1)
        assert len(file.blocks.access.fetched) == 20
        file.seek(5 * BLOCK_SIZE)
        assert file.read(4) == MANY[5][:4], "what is in memory can still be read"
        file.seek(0)
        assert file.read(4) == bytes(4), "and what was never written"


@pytest.mark.parametrize(("fault", "arguments"), [
    ("ebs.corrupt", {}), ("ebs.truncate", {}), ("ebs.reset", {"after_bytes": 2000}), ("ebs.error_5xx", {}),
    ("ebs.throttle_snapshot", {}), ("ebs.throttle_account", {}), ("ebs.expired_token", {}),
    ("ebs.stall", {"seconds": 3.0, "after_bytes": 100})])  # fmt: skip
def test_what_fails_once_is_asked_for_again(kit: SharedKit, fault: str, arguments: dict[str, Any]) -> None:
    with disk(kit, MANY) as file:
        kit.faults.arm(fault, times=2 if fault == "ebs.stall" else 9, args=arguments)
        assert file.read(60 * BLOCK_SIZE) == wanted(MANY, 0, 60 * BLOCK_SIZE)


def test_what_fails_for_ever_is_an_error_and_never_zeros(kit: SharedKit) -> None:
    with disk(kit, BLOCKS) as file:
        kit.faults.arm("ebs.corrupt", times=None, match={"block": 63})
        file.seek(63 * BLOCK_SIZE)
        with pytest.raises(errors.Exhausted) as failed:
            file.read(10)
        assert failed.value.failed_blocks == (63,)
        assert file.read(0) == b"" and file.tell() == 63 * BLOCK_SIZE
        file.seek(5 * BLOCK_SIZE)
        assert file.read(3) == BLOCKS[5][:3], "the others are as good as before"
        kit.faults.clear()
        file.seek(63 * BLOCK_SIZE)
        assert file.read(10) == BLOCKS[63][:10]


@pytest.mark.parametrize(("short", "empty"), [(0, 0), (0.5, 0), (0, 0.5), (0.4, 0.4)])
def test_pages_may_be_short_or_empty(kit: SharedKit, short: float, empty: float) -> None:
    kit.settings.short_pages, kit.settings.empty_pages = short, empty
    with disk(kit, MANY) as file:
        for index in (250, 3, 302, 303, 2, 100, 2047, 0):
            file.seek(index * BLOCK_SIZE)
            assert file.read(8) == MANY.get(index, ZEROS)[:8]


def test_places_are_asked_for_where_they_are_needed(kit: SharedKit) -> None:
    blocks = BlockMap(engine(kit), kit.snapshot(MANY), pages=2)
    assert blocks.open() == 1 and blocks.asked == 1
    assert blocks.token(2) is None and blocks.token(3) and blocks.token(FIRST_PAGE) and blocks.asked == 1
    assert not blocks.knows(290) and blocks.token(290) and blocks.asked == 2
    assert blocks.knows(302) and blocks.token(302) and blocks.token(2047) is None and blocks.asked == 2
    assert blocks.token(270) and blocks.asked == 3 and not blocks.knows(3), "only two pages are remembered"
    again = blocks.renew(270)
    assert again and blocks.asked == 4


def test_tokens_that_are_about_to_end_are_not_used(kit: SharedKit, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = BlockMap(engine(kit), kit.snapshot(BLOCKS))
    blocks.open()
    assert blocks.knows(5)
    later = time.time() + 7 * 86_400 - 30
    monkeypatch.setattr(time, "time", lambda: later)
    assert not blocks.knows(5)


def test_what_the_cache_holds_is_not_fetched_again(kit: SharedKit, tmp_path: Path) -> None:
    for fetched in ([0, 5, 64], []):
        with disk(kit, BLOCKS, image=tmp_path / "disk.raw") as file:
            for index in (0, 5, 64, 700):
                file.seek(index * BLOCK_SIZE + 7)
                assert file.read(9) == BLOCKS.get(index, ZEROS)[7:16]
            assert file.blocks.access.fetched == fetched
    assert file.blocks.access.cached == 3
    index = tmp_path / "disk.raw.partial.blocks"
    index.write_bytes(index.read_bytes()[:-5])
    with (tmp_path / "disk.raw.partial").open("r+b") as raw:
        raw.seek(5 * BLOCK_SIZE + 1)
        raw.write(b"tampered")
    with disk(kit, BLOCKS, image=tmp_path / "disk.raw") as file:
        for number in (0, 5, 64):
            file.seek(number * BLOCK_SIZE)
            assert file.read(20) == BLOCKS[number][:20]
        assert file.blocks.access.fetched == [5, 64], "one was altered, of the other the end of its record was lost"


def test_a_cache_serves_one_reader_and_one_snapshot(kit: SharedKit, tmp_path: Path) -> None:
    with disk(kit, BLOCKS, image=tmp_path / "disk.raw") as file:
        file.read(1)
        with pytest.raises(errors.BadInput, match="Another run is working on"):
            disk(kit, BLOCKS, image=tmp_path / "disk.raw")
        with pytest.raises(errors.BadInput, match="Another run is working on"):
            image(engine(kit), kit.snapshot(BLOCKS), tmp_path / "disk.raw")
    with pytest.raises(errors.BadInput, match="is of another snapshot"):
        disk(kit, MANY, image=tmp_path / "disk.raw")
    with pytest.raises(errors.BadInput, match="is of another snapshot"):
        image(engine(kit), kit.snapshot(MANY), tmp_path / "disk.raw")
    (tmp_path / "other.raw.partial").write_bytes(b"an image that was begun")
    with pytest.raises(errors.BadInput, match="belongs to an unfinished image"):
        disk(kit, BLOCKS, image=tmp_path / "other.raw")
    assert (tmp_path / "other.raw.partial").read_bytes() == b"an image that was begun"


def test_an_image_of_the_whole_goes_on_with_what_was_looked_at(kit: SharedKit, tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    looked = (290, 7, 100, 101, 102)
    with disk(kit, MANY, image=path, furthest=0) as file:
        for index in looked:
            file.seek(index * BLOCK_SIZE)
            file.read(1)
    with Path(f"{path}.partial").open("r+b") as raw:  # and one of them was altered since
        raw.seek(101 * BLOCK_SIZE)
        raw.write(b"?")
    made = image(engine(kit), kit.snapshot(MANY), path, hashes=["sha256"])
    assert made.session["fetched"] == len(MANY) - len(looked) + 1 and made.session["kept"] == len(looked)
    expect_image(path, MANY)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["disk.raw", "disk.raw.manifest"]
    with pytest.raises(errors.BadInput, match="is finished already"):
        disk(kit, MANY, image=path)


def test_an_image_that_was_killed_goes_on_with_both(kit: SharedKit, tmp_path: Path) -> None:
    path, asked = tmp_path / "disk.raw", [0]
    with disk(kit, MANY, image=path, furthest=0) as file:
        for index in (290, 10):
            file.seek(index * BLOCK_SIZE)
            file.read(1)

    def stop() -> bool:
        asked[0] += 1
        return asked[0] > 120

    with pytest.raises(errors.Cancelled):
        image(engine(kit, stop=stop), kit.snapshot(MANY), path)
    made = image(engine(kit), kit.snapshot(MANY), path, sinks=[RawFile(path)])
    assert made.session["kept"] > 10 and made.session["fetched"] + made.session["kept"] == len(MANY)
    expect_image(path, MANY)


def test_what_was_said_in_vain_leaves_room_to_read_ahead(kit: SharedKit) -> None:
    """Each block that was asked for early holds a connection until it is read, and those never are."""
    with disk(kit, MANY, memory=64 * BLOCK_SIZE, connections=8) as file:
        file.hint((number * BLOCK_SIZE, 1) for number in range(50, 58))
        for number in range(3, 15):
            file.seek(number * BLOCK_SIZE)
            assert file.read(BLOCK_SIZE) == MANY[number]
            time.sleep(0.02)  # what a reader does with it; answers arrive meanwhile
        # The next ones are under way or here: more than the one connection that alternates.
        assert sum(number in file.blocks.access.ahead for number in range(15, 23)) >= 3
        for number in (16, 52, 15, 57, 50, 51):  # nothing is lost by being early
            file.seek(number * BLOCK_SIZE)
            assert file.read(BLOCK_SIZE) == MANY[number]
        assert len(file.blocks.access.fetched) == len(set(file.blocks.access.fetched))


def test_blocks_that_nobody_wants_do_not_push_out_those_that_somebody_does(kit: SharedKit) -> None:
    with disk(kit, MANY, memory=16 * BLOCK_SIZE, connections=8) as file:
        assert file.read(4 * BLOCK_SIZE) == wanted(MANY, 0, 4 * BLOCK_SIZE)
        file.hint((number * BLOCK_SIZE, 1) for number in range(20, 60))
        for _unused in range(40):
            time.sleep(0.005)
            file.seek(0)
            assert file.read(4 * BLOCK_SIZE) == wanted(MANY, 0, 4 * BLOCK_SIZE)
        assert len(file.blocks._early) <= 4 and len(file.blocks.access.fetched) <= 4 + 7 + 8 + 4
