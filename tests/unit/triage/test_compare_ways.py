# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The three ways in which it is found out what differs, and what each of them costs, against the lab's EBS direct."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.ebs.blocks import BLOCK_SIZE
from ansible_collections.dfir.aws.plugins.module_utils.ebs.client import EbsClient
from ansible_collections.dfir.aws.plugins.module_utils.ebs.errors import BadInput, EngineError
from ansible_collections.dfir.aws.plugins.module_utils.triage.compare import Comparison
from ansible_collections.dfir.aws.plugins.module_utils.triage.compare_blocks import (
    DIGESTS,
    ENTRIES,
    LISTED,
    Marks,
    SharedSource,
    Way,
    find_way,
)
from ansible_collections.dfir.aws.plugins.module_utils.triage.look import Wish
from ansible_collections.dfir.aws.plugins.module_utils.triage.sources import ImageSource, SnapshotSource

from tests.unit.ebs.engine_kit import SharedKit, engine, image
from tests.unit.lab.ebs_kit import REGION
from tests.unit.triage.compare_kit import NOW, copy_of, edit, kinds, overwrite, touch
from tests.unit.triage.triage_kit import SYSTEM, ext4, tree

FILES: dict[str, str | bytes] = {**SYSTEM, "opt/tool": b"tool-one" * 600, "opt/gone": "gone",
                                 "opt/large": os.urandom(6 << 20)}
EXPECTED = {"/opt/tool": "changed", "/opt/gone": "removed"}


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same disk at two moments, with most of it unchanged."""
    folder = tmp_path_factory.mktemp("disks")
    base = ext4(folder / "base.img", tree(folder / "root", FILES))
    new = copy_of(base, folder / "new.img")
    overwrite(new, b"tool-one" * 600, b"tool-two" * 600)
    edit(new, "rm /opt/gone", *touch("/opt/tool", mtime=NOW, ctime=NOW))
    return base, new


def blocks_of(path: Path) -> dict[int, bytes]:
    data = path.read_bytes()
    cut = {place // BLOCK_SIZE: data[place:place + BLOCK_SIZE].ljust(BLOCK_SIZE, b"\0")
           for place in range(0, len(data), BLOCK_SIZE)}
    return {index: block for index, block in cut.items() if any(block)}


@pytest.fixture
def snapshots(kit: SharedKit, disks: tuple[Path, Path]) -> tuple[EbsClient, str, str]:
    """Both as snapshots of one lineage."""
    base, new = (kit.snapshot(blocks_of(path)) for path in disks)
    return engine(kit), base, new


@pytest.fixture
def pair(snapshots: tuple[EbsClient, str, str]) -> Iterator[tuple[EbsClient, SnapshotSource, SnapshotSource]]:
    """Both opened."""
    client, base, new = snapshots
    opened = SnapshotSource(client, base), SnapshotSource(client, new)
    yield client, *opened
    for source in opened:
        source.close()


def run(base: Any, new: Any, way: Way) -> Comparison:
    return Comparison(base if way.marks is None else SharedSource(base, new, way.marks), new, way, Wish()).run()


@pytest.mark.slow
class TestWays:
    """The lab's EBS direct in between."""

    def test_aws_lists_what_differs_and_little_of_the_older_one_is_fetched(
            self, pair: tuple[EbsClient, SnapshotSource, SnapshotSource], disks: tuple[Path, Path]) -> None:
        client, base, new = pair
        way = find_way(base, new, client, [])
        one = run(base, new, way)
        assert way.name == LISTED and way.marks is not None and kinds(one) == EXPECTED
        differ = len(way.marks)
        assert 0 < differ < len(blocks_of(disks[0])) // 2
        assert set(base.file.blocks.access.fetched) <= {index for index in blocks_of(disks[0]) if index in way.marks}
        assert len(new.file.blocks.access.fetched) < len(blocks_of(disks[1])), "a large unchanged file was read"

    def test_without_a_lineage_manifests_tell_and_without_those_the_entries(
            self, kit: SharedKit, pair: tuple[EbsClient, SnapshotSource, SnapshotSource], tmp_path: Path) -> None:
        client, base, new = pair
        kit.catalog.snapshots[REGION, base.name]["lineage"] = "another"
        by_entries = find_way(base, new, client, [])
        assert by_entries.name == ENTRIES and "does not list" in by_entries.reason and "manifest" in by_entries.reason
        assert kinds(run(base, new, by_entries)) == EXPECTED
        for name in (base.name, new.name):
            image(client, name, tmp_path / name)
        manifests = [tmp_path / f"{name}.manifest" for name in (new.name, base.name)]
        way = find_way(base, new, client, manifests)
        assert way.name == DIGESTS and "digests were compared" in way.reason and "does not list" in way.reason
        assert kinds(run(base, new, way)) == EXPECTED
        other = find_way(ImageSource(tmp_path / base.name), ImageSource(tmp_path / new.name), None, [])
        assert other.name == DIGESTS, "those beside raw images are found"
        assert find_way(base, new, client, manifests[:1]).name == ENTRIES, "one is not enough"

    def test_a_manifest_of_something_else_is_refused(
            self, pair: tuple[EbsClient, SnapshotSource, SnapshotSource], tmp_path: Path) -> None:
        client, base, new = pair
        image(client, new.name, tmp_path / "new")
        (tmp_path / "new.manifest").rename(tmp_path / "elsewhere.manifest")
        with pytest.raises(BadInput, match="a manifest of neither"):
            find_way(base, ImageSource(tmp_path / "new"), client, [tmp_path / "elsewhere.manifest"])

    def test_a_budget_that_ends_is_said_and_nothing_is_made_up(
            self, kit: SharedKit, snapshots: tuple[EbsClient, str, str]) -> None:
        client, older, newer = snapshots
        cut = whole = 0
        for limit in range(1, 14):
            try:
                base, new = (SnapshotSource(client, name, limit=limit, connections=1) for name in (older, newer))
                one = run(base, new, find_way(base, new, client, []))
            except EngineError as error:
                assert "budget" in str(error)
                continue
            told = kinds(one)
            assert set(told) <= set(EXPECTED), f"with {limit} blocks something was made up"
            assert all(told[path] in (EXPECTED[path], "undecided") for path in told)
            if told != EXPECTED or one.not_read:
                cut += 1
                assert any("budget" in line for line in one.not_read)
            else:
                whole += 1
            assert base.cost()["blocks_read"] <= limit and new.cost()["blocks_read"] <= limit
        assert cut and whole, (cut, whole)

    def test_a_block_that_cannot_be_had_ends_it_with_its_cause(
            self, kit: SharedKit, pair: tuple[EbsClient, SnapshotSource, SnapshotSource]) -> None:
        client, base, new = pair
        way = find_way(base, new, client, [])
        assert way.marks is not None
        kit.faults.arm("ebs.corrupt", times=None, match={"block": 0})
        with pytest.raises(EngineError):
            run(base, new, way)


def test_what_only_the_larger_one_has_counts_as_different() -> None:
    marks = Marks(4, [1, 9])
    assert len(marks) == 1 and [index in marks for index in range(6)] == [False, True, False, False, True, True]
    assert marks.touch(BLOCK_SIZE, 1) and not marks.touch(0, BLOCK_SIZE) and marks.touch(0, BLOCK_SIZE + 1)
    assert not marks.touch(2 * BLOCK_SIZE, 2 * BLOCK_SIZE) and marks.touch(4 * BLOCK_SIZE, 1)
    assert not marks.touch(BLOCK_SIZE, 0)
    assert list(marks.pieces(BLOCK_SIZE - 10, 20)) == [(BLOCK_SIZE, 10)]
    assert list(marks.pieces(0, 2 * BLOCK_SIZE + 5)) == [(BLOCK_SIZE, BLOCK_SIZE)]


def test_two_images_without_manifests_are_compared_by_their_entries(disks: tuple[Path, Path]) -> None:
    base, new = map(ImageSource, disks)
    way = find_way(base, new, None, [])
    assert way.name == ENTRIES and "not both are snapshots" in way.reason and json.dumps(way.reason)
    assert kinds(run(base, new, way)) == EXPECTED
