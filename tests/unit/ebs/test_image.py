# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images from the lab's EBS direct: whole, resumed, incremental, refused."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.ebs import errors
from ansible_collections.dfir.aws.plugins.module_utils.ebs.base import BaseImage
from ansible_collections.dfir.aws.plugins.module_utils.ebs.blocks import BLOCK_SIZE, GIB
from ansible_collections.dfir.aws.plugins.module_utils.ebs.identity import SnapshotFacts
from ansible_collections.dfir.aws.plugins.module_utils.ebs.journal import Journal
from ansible_collections.dfir.aws.plugins.module_utils.ebs.listing import Listing
from ansible_collections.dfir.aws.plugins.module_utils.ebs.manifest import Manifest
from ansible_collections.dfir.aws.plugins.module_utils.ebs.sinks import RawFile

from tests.unit.ebs.engine_kit import BLOCKS, MANY, SharedKit, engine, expect_image, image, stop_after
from tests.unit.lab.ebs_kit import READER, READER_SECRET, Kit, block

pytestmark = pytest.mark.slow

GET = {"action": "GetSnapshotBlock"}


def linear(blocks: dict[int, bytes]) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(blocks[index]).digest() for index in sorted(blocks))).hexdigest()


def whole(path: Path, kind: str = "sha256") -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def test_an_image_is_the_volume_and_its_manifest_says_so(kit: SharedKit, tmp_path: Path) -> None:
    snapshot = kit.snapshot(BLOCKS)
    path = tmp_path / "i.raw"
    seen: list[Any] = []
    result = image(engine(kit), snapshot, path, hashes=("sha256", "md5"), case="INC-1", tell=seen.append)
    expect_image(path, BLOCKS)
    assert path.stat().st_blocks * 512 < 16 << 20, "it is sparse"
    with Manifest(result.manifest) as manifest:
        outcome = manifest.check()
        assert dict(manifest.records()) == {index: hashlib.sha256(data).digest() for index, data in BLOCKS.items()}
        assert manifest.identity.case == "INC-1" and manifest.identity.volume_gib == 1
    assert (outcome.image_sha256, outcome.image_md5) == (whole(path), whole(path, "md5"))
    assert outcome.linear_sha256 == linear(BLOCKS) and outcome.image_size == GIB
    assert result.session["fetched"] == len(BLOCKS) and result.changed
    assert seen and seen[-1].blocks == len(BLOCKS) and seen[-1].phase == "finishing"
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["i.raw", "i.raw.manifest"]


def test_a_finished_image_is_not_made_again(kit: SharedKit, tmp_path: Path) -> None:
    snapshot, other = kit.snapshot(BLOCKS), kit.snapshot({1: BLOCKS[1]})
    image(engine(kit), snapshot, tmp_path / "i")
    before = (tmp_path / "i").stat().st_mtime_ns
    assert image(engine(kit), snapshot, tmp_path / "i").changed is False
    assert (tmp_path / "i").stat().st_mtime_ns == before
    with pytest.raises(errors.BadInput, match="choose another name"):
        image(engine(kit), other, tmp_path / "i")
    with pytest.raises(errors.BadInput, match="without the md5"):
        image(engine(kit), snapshot, tmp_path / "i", hashes=("md5",))


def test_p01_listing_ends_on_a_null_next_token_only(tmp_path: Path) -> None:
    service = Kit(tmp_path / "store", short_pages=0.4, empty_pages=0.4, page_seed=7)
    try:
        snapshot = service.upload(MANY, ClientToken="pages")  # its id decides, with the seed, how they come
        client = engine(service)
        listing = Listing(client, snapshot, page_size=100)
        assert [index for index, _ in listing.stream()] == sorted(MANY)
        assert listing.pages > 3
        listing.close()
    finally:
        service.close()


@pytest.mark.parametrize(
    "fault", ["corrupt", "truncate", "reset", "error_5xx", "throttle_snapshot", "throttle_account"]
)
def test_p02_p07_what_fails_once_is_asked_again(kit: SharedKit, tmp_path: Path, fault: str) -> None:
    snapshot = kit.snapshot(BLOCKS)
    before = kit.faults.taken(f"ebs.{fault}")
    kit.faults.arm(f"ebs.{fault}", times=3, after=2, match=GET)
    client = engine(kit)
    result = image(client, snapshot, tmp_path / "i", connections=3)
    expect_image(tmp_path / "i", BLOCKS)
    counted = {
        "truncate": "connection_lost",
        "reset": "connection_lost",
        "error_5xx": "server_error",
        "throttle_snapshot": "throttled_snapshot",
        "throttle_account": "throttled_account",
    }.get(fault, fault)
    assert kit.faults.taken(f"ebs.{fault}") - before == 3 == result.session["counts"][counted]


def test_p02_a_block_that_stays_wrong_fails_the_run_and_is_named(kit: SharedKit, tmp_path: Path) -> None:
    snapshot = kit.snapshot(BLOCKS)
    kit.faults.arm("ebs.corrupt", times=None, match=GET | {"block": 64})
    kit.faults.arm("ebs.corrupt", times=None, match=GET | {"block": 127})
    with pytest.raises(errors.Exhausted, match="does not have the SHA-256") as seen:
        image(engine(kit), snapshot, tmp_path / "i", connections=8)
    assert list(seen.value.failed_blocks) == [64, 127]
    assert isinstance(seen.value.__cause__, errors.CorruptBlock)
    assert not (tmp_path / "i").exists() and not (tmp_path / "i.manifest").exists()


def test_p02_a_block_of_zeros_is_verified_and_recorded_too(kit: SharedKit, tmp_path: Path) -> None:
    blocks = {3: bytes(BLOCK_SIZE), 4: BLOCKS[5]}
    snapshot = kit.snapshot(blocks)
    kit.faults.arm("ebs.corrupt", times=2, match=GET | {"block": 3})
    result = image(engine(kit), snapshot, tmp_path / "i")
    expect_image(tmp_path / "i", blocks)
    assert result.outcome.blocks == 2 and result.session["counts"]["corrupt"] == 2


def test_p03_a_journal_holds_no_tokens(kit: SharedKit, tmp_path: Path) -> None:
    snapshot = kit.snapshot(MANY)
    with pytest.raises(errors.Cancelled):
        image(engine(kit, stop=stop_after(200)), snapshot, tmp_path / "i")
    data = Journal.partial_path(tmp_path / "i.manifest").read_bytes()
    listing = Listing(engine(kit), snapshot)
    token = next(listing.stream())[1] or ""
    listing.close()
    assert token[:12].encode() not in data and len(data) < 1500 + 40 * len(MANY)


@pytest.mark.parametrize("action", ["GetSnapshotBlock", "ListSnapshotBlocks"])
def test_p03_expired_tokens_mean_listing_again(kit: SharedKit, tmp_path: Path, action: str) -> None:
    snapshot = kit.snapshot(MANY)
    kit.faults.arm("ebs.expired_token", times=6, after=1 if action.startswith("List") else 30, match={"action": action})
    client = engine(kit)
    listing = Listing(client, snapshot, page_size=100)
    if action.startswith("List"):
        kit.faults.clear()
        kit.faults.arm("ebs.expired_token", times=2, match={"action": action})
        assert [index for index, _ in listing.stream()] == sorted(MANY)
        assert client.counts["token_expired"] == 2
    else:
        image(client, snapshot, tmp_path / "i", connections=4)
        expect_image(tmp_path / "i", MANY)
        assert client.counts["token_expired"] == 6
    listing.close()


def test_p04_p11_what_ends_in_the_middle_has_no_final_name_and_goes_on_later(kit: SharedKit, tmp_path: Path) -> None:
    snapshot = kit.snapshot(MANY)
    key = ("us-east-1", snapshot)

    def delete(progress: Any) -> None:
        kit.catalog.snapshots[key]["state"] = "error"

    facts = kit.catalog.snapshots[key]
    client = engine(kit, rate=150.0)
    with pytest.raises(errors.NotImageable, match="state error"):
        image(client, snapshot, tmp_path / "i", tell=delete)
    assert not (tmp_path / "i").exists() and (tmp_path / "i.partial").exists()
    facts["state"] = "completed"
    result = image(engine(kit), snapshot, tmp_path / "i")
    expect_image(tmp_path / "i", MANY)
    assert result.session["kept"] > 50 and result.session["kept"] + result.session["fetched"] == len(MANY)


def test_p05_a_reused_file_keeps_nothing_of_what_it_held(kit: SharedKit, tmp_path: Path) -> None:
    snapshot = kit.snapshot(BLOCKS)
    with pytest.raises(errors.Cancelled):
        image(engine(kit, stop=stop_after(8)), snapshot, tmp_path / "i", connections=1)
    with (tmp_path / "i.partial").open("r+b") as file:  # somebody's stale bytes, before and after what was got
        for index in (3, 400, 2046):
            file.seek(index * BLOCK_SIZE)
            file.write(block("stale"))
    image(engine(kit), snapshot, tmp_path / "i", hashes=("sha256",))
    expect_image(tmp_path / "i", BLOCKS)


def test_p06_a_failure_ends_the_run_promptly_with_its_cause(kit: SharedKit, tmp_path: Path) -> None:
    snapshot = kit.snapshot(MANY)
    kit.authorizer.reader_may = ["ebs:List* *"]
    began = time.monotonic()
    with pytest.raises(errors.Refused, match="ebs:GetSnapshotBlock") as seen:
        image(engine(kit, READER, READER_SECRET), snapshot, tmp_path / "i")
    assert time.monotonic() - began < 5 and seen.value.code == "AccessDeniedException"
    assert len(seen.value.failed_blocks) == 16, "those that were under way"


def test_p07_refusals_are_not_tried_again(kit: SharedKit, tmp_path: Path) -> None:
    snapshot = kit.upload(BLOCKS, Encrypted=True, KmsKeyArn="arn:aws:kms:us-east-1:123456789012:key/abc")
    kit.authorizer.reader_may = ["ebs:* *"]
    kit.authorizer.asked.clear()
    with pytest.raises(errors.Refused, match="kms:Decrypt"):
        image(engine(kit, READER, READER_SECRET), snapshot, tmp_path / "i")
    assert sum(action == "kms:Decrypt" for action, _ in kit.authorizer.asked) == 1
    assert not Journal.partial_path(tmp_path / "i.manifest").exists(), "nothing was created"


def test_p07_a_server_that_says_nothing_is_given_up_on(kit: SharedKit, tmp_path: Path) -> None:
    snapshot = kit.snapshot({1: BLOCKS[1]})
    kit.faults.arm("ebs.stall", times=2, match=GET, args={"seconds": 3, "after_bytes": 1000})
    client = engine(kit)
    client.timeouts = type(client.timeouts)(2, 0.3, 10)
    image(client, snapshot, tmp_path / "i")
    assert client.counts["timed_out"] == 2


def test_p07_retries_are_bounded(kit: SharedKit, tmp_path: Path) -> None:
    snapshot = kit.snapshot(BLOCKS)
    kit.faults.arm("ebs.error_5xx", times=None, match=GET)
    client = engine(kit)
    with pytest.raises(errors.Exhausted, match="InternalServerException"):
        image(client, snapshot, tmp_path / "i", connections=1)
    assert client.counts["server_error"] == client.policy.attempts


def test_p08_one_budget_and_throttling_is_no_error(kit: SharedKit, tmp_path: Path) -> None:
    snapshot = kit.snapshot(MANY)
    kit.settings.snapshot_quota = 150
    client = engine(kit, rate=400.0)
    image(client, snapshot, tmp_path / "i")
    expect_image(tmp_path / "i", MANY)
    assert client.counts["throttled_snapshot"] > 0
    assert (client.rate.rate or 0) < 400


def test_p09_the_volume_ends_far_behind_the_last_block(kit: SharedKit, tmp_path: Path) -> None:
    snapshot = kit.upload({0: BLOCKS[0]}, gib=40)
    image(engine(kit), snapshot, tmp_path / "i")
    assert (tmp_path / "i").stat().st_size == 40 * GIB
    assert (tmp_path / "i").stat().st_blocks * 512 < 4 << 20


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"state": "pending"}, "state pending"),
        ({"state": "error"}, "state error"),
        ({"tier": "archive"}, "archived"),
        ({"public": True}, "public"),
    ],
)
def test_p10_a_snapshot_that_cannot_be_read_is_refused_first(
    kit: SharedKit, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    snapshot = kit.snapshot(BLOCKS)
    kit.catalog.snapshots["us-east-1", snapshot] |= change
    with pytest.raises(errors.NotImageable, match=words):
        image(engine(kit), snapshot, tmp_path / "i")
    assert not list(tmp_path.iterdir())


def test_p10_an_unknown_one_too(kit: SharedKit, tmp_path: Path) -> None:
    with pytest.raises(errors.SnapshotGone):
        image(engine(kit), "snap-0123456789abcdef0", tmp_path / "i")
    with pytest.raises(errors.BadInput, match="no snapshot id"):
        image(engine(kit), "snap-0a\n", tmp_path / "i")
    for facts, words in (
        ({"tier": "archive"}, "archive"),
        ({"outpost": "arn:x"}, "Outpost"),
        ({"state": "error"}, "error"),
    ):
        known = SnapshotFacts(**({"snapshot_id": "snap-0a", "state": "completed", "volume_gib": 1} | facts))
        with pytest.raises(errors.NotImageable, match=words):
            known.require_imageable()


def test_p13_removed_block_becomes_zeros(kit: SharedKit, tmp_path: Path) -> None:
    first = kit.snapshot(MANY)
    changed = MANY | {5: block("new"), 900: block("more")}
    del changed[6]
    second = kit.snapshot(changed)
    image(engine(kit), first, tmp_path / "one")
    base = BaseImage(tmp_path / "one", tmp_path / "one.manifest")
    result = image(engine(kit), second, tmp_path / "two", base=base, hashes=("sha256",))
    expect_image(tmp_path / "two", changed)
    assert result.session["fetched"] == 2
    assert result.outcome.linear_sha256 == linear(changed), "as a full image of the second has it"
    direct = image(engine(kit), second, tmp_path / "three", hashes=("sha256",))
    assert direct.outcome.image_sha256 == result.outcome.image_sha256 == whole(tmp_path / "two")


def test_p13_a_base_that_is_not_what_its_manifest_says_gives_no_image(kit: SharedKit, tmp_path: Path) -> None:
    first, second = kit.snapshot(MANY), kit.snapshot(MANY | {5: block("new")})
    image(engine(kit), first, tmp_path / "one")
    with (tmp_path / "one").open("r+b") as file:
        file.seek(100 * BLOCK_SIZE)
        file.write(b"x")
    with pytest.raises(errors.Mismatch, match="Block 100 of the base") as seen:
        image(engine(kit), second, tmp_path / "two", base=BaseImage(tmp_path / "one", tmp_path / "one.manifest"))
    assert seen.value.failed_blocks == (100,) and not (tmp_path / "two").exists()


def test_p53_a_resume_fetches_what_is_missing_and_verifies_what_is_there(kit: SharedKit, tmp_path: Path) -> None:
    snapshot = kit.snapshot(MANY)
    with pytest.raises(errors.Cancelled):
        image(engine(kit, stop=stop_after(200)), snapshot, tmp_path / "i", hashes=("sha256",))
    with Manifest(Journal.partial_path(tmp_path / "i.manifest"), partial=True) as manifest:
        recorded = [index for index, _ in manifest.records()]
    assert len(recorded) > 150
    with (tmp_path / "i.partial").open("r+b") as file:  # a power loss lost two blocks that the journal knows
        for index in recorded[10:12]:
            file.seek(index * BLOCK_SIZE)
            file.write(bytes(BLOCK_SIZE))
    result = image(engine(kit), snapshot, tmp_path / "i", hashes=("sha256",))
    expect_image(tmp_path / "i", MANY)
    assert result.session["fetched"] == len(MANY) - len(recorded) + 2 and result.session["kept"] == len(recorded)
    assert result.outcome.image_sha256 == whole(tmp_path / "i")
    straight = image(engine(kit), snapshot, tmp_path / "j", hashes=("sha256",))
    assert straight.outcome.image_sha256 == result.outcome.image_sha256
    assert straight.outcome.linear_sha256 == result.outcome.linear_sha256


def _imaging(endpoint: str, snapshot: str, path: Path) -> None:
    kit: Any = type("Where", (), {"endpoint": endpoint})
    image(engine(kit, rate=100.0), snapshot, path, hashes=("sha256",))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_goes_on(kit: SharedKit, tmp_path: Path, number: signal.Signals) -> None:
    snapshot = kit.snapshot(MANY)
    path = tmp_path / "i"
    work = multiprocessing.get_context("spawn").Process(target=_imaging, args=(kit.endpoint, snapshot, path))
    work.start()
    partial, until = Journal.partial_path(f"{path}.manifest"), time.monotonic() + 30
    while not partial.exists() or partial.stat().st_size < 3000:
        assert time.monotonic() < until and work.is_alive()
        time.sleep(0.02)
    os.kill(work.pid or 0, number)
    work.join(10)
    assert not path.exists()
    result = image(engine(kit), snapshot, path, hashes=("sha256",))
    expect_image(path, MANY)
    assert result.session["kept"] >= 64 and result.session["fetched"] < len(MANY)
    assert result.outcome.image_sha256 == whole(path)


def test_a_full_disk_is_said_and_the_run_goes_on_later(kit: SharedKit, tmp_path: Path) -> None:
    snapshot = kit.snapshot(MANY)

    class Full(RawFile):
        """A file whose disk is full after a hundred blocks: no file system of that size can be made without root."""

        def write(self, index: int, data: memoryview, digest: bytes) -> None:
            if index == 103:
                os.close(self._fd)
                self._fd = os.open("/dev/full", os.O_WRONLY)
            super().write(index, data, digest)

    with pytest.raises(errors.SinkError, match="no room left"):
        image(engine(kit), snapshot, tmp_path / "i", sinks=[Full(tmp_path / "i")])
    result = image(engine(kit), snapshot, tmp_path / "i")
    expect_image(tmp_path / "i", MANY)
    assert result.session["kept"] == 100


def test_another_snapshots_journal_is_left_alone(kit: SharedKit, tmp_path: Path) -> None:
    one, two = kit.snapshot(MANY), kit.snapshot(BLOCKS)
    with pytest.raises(errors.Cancelled):
        image(engine(kit, stop=stop_after(100)), one, tmp_path / "i")
    before = Journal.partial_path(tmp_path / "i.manifest").read_bytes()
    with pytest.raises(errors.BadInput, match="unfinished run of"):
        image(engine(kit), two, tmp_path / "i")
    assert Journal.partial_path(tmp_path / "i.manifest").read_bytes() == before


def test_several_targets_in_one_pass(kit: SharedKit, tmp_path: Path) -> None:
    snapshot = kit.snapshot(MANY)
    sinks = [RawFile(tmp_path / "a"), RawFile(tmp_path / "b")]
    with pytest.raises(errors.Cancelled):
        image(engine(kit, stop=stop_after(100)), snapshot, tmp_path / "i", sinks=sinks)
    (tmp_path / "b.partial").unlink()
    client = engine(kit)
    result = image(client, snapshot, tmp_path / "i", sinks=[RawFile(tmp_path / "a"), RawFile(tmp_path / "b")])
    expect_image(tmp_path / "a", MANY)
    expect_image(tmp_path / "b", MANY)
    assert result.session["fetched"] + result.session["kept"] == len(MANY) and result.session["kept"] > 50


def test_p03_a_page_token_that_ends_while_a_block_token_is_renewed(tmp_path: Path) -> None:
    service = Kit(tmp_path / "store", empty_pages=0.5, page_seed=3)
    try:
        snapshot = service.upload(BLOCKS)
        client = engine(service)
        listing = Listing(client, snapshot)
        service.faults.arm("ebs.expired_token", times=3, match={"action": "ListSnapshotBlocks"})
        for index in BLOCKS:
            assert listing.token(index, fresh=True)
        assert client.counts["token_expired"] == 3
        listing.close()
    finally:
        service.close()
