# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images as new snapshots of the lab's EBS direct, and what changed between two snapshots."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.ebs import errors, upload
from ansible_collections.dfir.aws.plugins.module_utils.ebs.blocks import BLOCK_SIZE, GIB
from ansible_collections.dfir.aws.plugins.module_utils.ebs.diff import difference
from ansible_collections.dfir.aws.plugins.module_utils.ebs.journal import Journal
from ansible_collections.dfir.aws.plugins.module_utils.ebs.manifest import Manifest
from ansible_collections.dfir.aws.plugins.module_utils.ebs.verify import verify_against_aws, verify_image

from tests.unit.ebs.engine_kit import BLOCKS, SharedKit, engine, expect_image, image
from tests.unit.lab.ebs_kit import REGION, Kit, block, put

pytestmark = pytest.mark.slow

PUT = {"action": "PutSnapshotBlock"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "_POLL", 0.05)


def write(path: Path, blocks: Mapping[int, bytes], size: int = GIB) -> Path:
    with path.open("wb") as file:
        for index, data in blocks.items():
            file.seek(index * BLOCK_SIZE)
            file.write(data)
        file.truncate(size)
    return path


def state_of(kit: Kit) -> Callable[[str], tuple[str, str]]:
    return lambda snapshot: ((kit.catalog.describe(REGION, snapshot) or {}).get("state", ""), "")


def uploaded(kit: Kit, path: Path, *, stop: Any = None, tell: Any = None, **more: Any) -> upload.UploadResult:
    request = upload.UploadRequest(path, REGION, **more)
    return upload.Upload(kit.client(), request, state_of(kit), stop=stop, tell=tell).run()


def test_a_snapshot_has_the_image_and_its_manifest_holds_against_aws(kit: SharedKit, tmp_path: Path) -> None:
    path = write(tmp_path / "i.raw", {**BLOCKS, 700: bytes(BLOCK_SIZE)})
    result = uploaded(kit, path, description="restored", tags={"dfir:incident": "INC-1"}, case="INC-1")
    facts = kit.catalog.snapshots[REGION, result.snapshot_id]
    assert facts["state"] == "completed" and facts["tags"] == {"dfir:incident": "INC-1"}
    assert result.put == len(BLOCKS), "zeros are skipped"
    image(engine(kit), result.snapshot_id, tmp_path / "back")
    expect_image(tmp_path / "back", BLOCKS)
    with Manifest(result.manifest) as manifest:
        assert manifest.check().blocks == len(BLOCKS) and manifest.identity.snapshot_id == result.snapshot_id
    assert verify_against_aws(engine(kit), result.manifest).ok and verify_image(path, result.manifest).ok
    again = uploaded(kit, path, description="restored")
    assert not again.changed and again.snapshot_id == result.snapshot_id and again.put == 0
    path.open("r+b").write(b"changed")
    with pytest.raises(errors.BadInput, match="has changed since"):
        uploaded(kit, path)


@pytest.mark.parametrize("size", [1, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 3 * BLOCK_SIZE + 5])
def test_p12_the_last_part_of_a_file_is_never_lost(kit: SharedKit, tmp_path: Path, size: int) -> None:
    path = tmp_path / "i.raw"
    path.write_bytes(b"\xa5" * size)
    result = uploaded(kit, path)
    image(engine(kit), result.snapshot_id, tmp_path / "back")
    data = path.read_bytes().ljust(-(-size // BLOCK_SIZE) * BLOCK_SIZE, b"\0")
    expect_image(tmp_path / "back", {at // BLOCK_SIZE: data[at:][:BLOCK_SIZE] for at in range(0, size, BLOCK_SIZE)})


def test_an_image_of_nothing_but_zeros_is_a_snapshot_too(kit: SharedKit, tmp_path: Path) -> None:
    result = uploaded(kit, write(tmp_path / "i.raw", {}))
    assert result.put == 0 and kit.catalog.snapshots[REGION, result.snapshot_id]["state"] == "completed"


def test_p06_the_first_failure_ends_it_with_its_cause_and_the_next_run_goes_on(kit: SharedKit, tmp_path: Path) -> None:
    blocks = {index: block(index) for index in range(60)}
    path = write(tmp_path / "i.raw", blocks)
    kit.faults.arm("ebs.error_5xx", match={**PUT, "block": "40"}, times=None)
    with pytest.raises(errors.Exhausted) as caught:
        uploaded(kit, path, uploads=4)
    assert 40 in caught.value.failed_blocks
    pending = [key for key, facts in kit.catalog.snapshots.items() if facts["state"] == "pending"]
    kit.faults.clear()
    result = uploaded(kit, path, uploads=4)
    assert result.put <= 60 - 36, "what was confirmed is not sent again"
    assert pending == [(REGION, result.snapshot_id)], "it is the snapshot that the first run began"
    image(engine(kit), result.snapshot_id, tmp_path / "back")
    expect_image(tmp_path / "back", blocks)


def _die_in_the_middle(kit: Kit, path: Path) -> None:
    asked = []

    def stop() -> bool:
        asked.append(1)
        if len(asked) > 200:
            os._exit(9)
        return False

    uploaded(kit, path, stop=stop)
    os._exit(0)


def test_a_run_that_was_killed_goes_on_with_the_same_snapshot(kit: SharedKit, tmp_path: Path) -> None:
    blocks = {index: block(index) for index in range(300)}
    path = write(tmp_path / "i.raw", blocks)
    child = multiprocessing.get_context("fork").Process(target=_die_in_the_middle, args=(kit, path))
    child.start()
    child.join(60)
    assert child.exitcode == 9
    with Manifest(Journal.partial_path(f"{path}.upload"), partial=True) as journal:
        begun, done = journal.identity.snapshot_id, len(journal)
    assert 60 < done < 200
    result = uploaded(kit, path)
    assert result.snapshot_id == begun and result.put == 300 - done
    assert verify_against_aws(engine(kit), result.manifest).ok


def test_a_start_whose_answer_was_lost_gives_the_same_snapshot(kit: SharedKit, tmp_path: Path) -> None:
    path = write(tmp_path / "i.raw", BLOCKS)
    with pytest.raises(errors.Cancelled):
        uploaded(kit, path, stop=lambda: True)
    partial = Journal.partial_path(f"{path}.upload")
    with Manifest(partial, partial=True) as journal:
        begun = journal.identity.snapshot_id
    partial.unlink()
    assert uploaded(kit, path).snapshot_id == begun
    Path(f"{path}.upload").unlink()
    assert uploaded(kit, path, token="another").snapshot_id != begun


def test_a_run_that_died_after_completing_finds_the_snapshot_done(kit: SharedKit, tmp_path: Path) -> None:
    path = write(tmp_path / "i.raw", BLOCKS)
    asked = []

    def dies(snapshot: str) -> tuple[str, str]:
        asked.append(snapshot)
        raise errors.Cancelled("killed")

    with pytest.raises(errors.Cancelled):
        upload.Upload(kit.client(), upload.UploadRequest(path, REGION), dies).run()
    assert kit.catalog.snapshots[REGION, asked[0]]["state"] == "completed"
    result = uploaded(kit, path)
    assert result.snapshot_id == asked[0] and result.put == 0


def test_an_image_that_changed_meanwhile_is_refused(kit: SharedKit, tmp_path: Path) -> None:
    blocks = {index: block(index) for index in range(40)}
    path = write(tmp_path / "i.raw", blocks)
    kit.faults.arm("ebs.error_5xx", match={**PUT, "block": "30"}, times=None)
    with pytest.raises(errors.Exhausted):
        uploaded(kit, path, uploads=2)
    kit.faults.clear()
    with path.open("r+b") as file:
        file.write(b"changed")
    with pytest.raises(errors.Mismatch, match="from block 0 on"):
        uploaded(kit, path)


def test_aws_does_not_complete_what_is_not_what_was_sent(kit: SharedKit, tmp_path: Path) -> None:
    """Somebody wrote another block into the pending snapshot: the aggregate checksum tells."""
    path = write(tmp_path / "i.raw", {3: block(3)})

    def tell(progress: Any) -> None:
        if progress.phase == "completing":
            pending = [key[1] for key, facts in kit.catalog.snapshots.items() if facts["state"] == "pending"]
            put(kit.client(), pending[-1], 3, block("other"))

    with pytest.raises(errors.Refused, match="aggregate checksum"):
        uploaded(kit, path, tell=tell)
    assert not Path(f"{path}.upload").exists()


def test_p07_a_refusal_is_not_tried_again(kit: SharedKit, tmp_path: Path) -> None:
    from tests.unit.lab.ebs_kit import READER, READER_SECRET

    kit.authorizer.reader_may = ["ebs:StartSnapshot *"]
    request = upload.UploadRequest(write(tmp_path / "i.raw", BLOCKS), REGION)
    with pytest.raises(errors.Refused, match="AccessDenied"):
        upload.Upload(kit.client(READER, READER_SECRET, retries=5), request, state_of(kit)).run()


@pytest.mark.parametrize(("more", "said"), [({"kms_key": "arn:aws:kms:x"}, "encrypted"), ({"rate": 0}, "more than")])
def test_a_wrong_wish_is_refused_before_anything_is_created(
    kit: SharedKit, tmp_path: Path, more: dict[str, Any], said: str
) -> None:
    before = set(kit.catalog.snapshots)
    with pytest.raises(errors.BadInput, match=said):
        uploaded(kit, write(tmp_path / "i.raw", {}), **more)
    (tmp_path / "empty").touch()
    with pytest.raises(errors.BadInput, match="is empty"):
        uploaded(kit, tmp_path / "empty")
    with pytest.raises(errors.BadInput, match="cannot be read"):
        uploaded(kit, tmp_path / "absent")
    assert set(kit.catalog.snapshots) == before


def test_p13_what_changed_between_two_snapshots_comes_as_ranges(kit: SharedKit) -> None:
    old = kit.snapshot({index: block(index) for index in (1, 2, 3, 10, 11, 40)})
    new = kit.snapshot({index: block(index) for index in (1, 2, 3)} | {10: block("new"), 12: block(12), 2047: block(0)})
    found = difference(engine(kit), old, new)
    ranges = [(part.kind, part.start // BLOCK_SIZE, part.length // BLOCK_SIZE) for part in found.ranges]
    assert ranges == [("changed", 10, 1), ("removed", 11, 1), ("changed", 12, 1), ("removed", 40, 1),
                      ("changed", 2047, 1)]  # fmt: skip
    assert (found.changed_blocks, found.removed_blocks, found.changed_bytes) == (3, 2, 3 * BLOCK_SIZE)
    short = difference(engine(kit), old, new, most_ranges=2)
    assert short.truncated and len(short.ranges) == 2 and short.range_count == 5 and short.changed_blocks == 3
    back = difference(engine(kit), new, kit.snapshot({5: block(5), 6: block(6), 7: block(7)}))
    assert ("changed", 5 * BLOCK_SIZE, 3 * BLOCK_SIZE) in [(p.kind, p.start, p.length) for p in back.ranges]
    with pytest.raises(errors.BadInput, match="these are one"):
        difference(engine(kit), old, old)
