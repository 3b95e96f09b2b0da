# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests and journals: what is written is read, what is damaged is noticed, what was cut goes on."""

from __future__ import annotations

import hashlib
import tracemalloc
from pathlib import Path

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.ebs.errors import BadInput, ManifestError
from ansible_collections.dfir.aws.plugins.module_utils.ebs.journal import Journal, add_derived
from ansible_collections.dfir.aws.plugins.module_utils.ebs.manifest import RECORD_SIZE, Identity, Manifest, Outcome

IDENTITY = Identity("snap-0a", "us-east-1", 1, volume_id="vol-0b", account_id="123456789012", case="INC-1")
RECORDS = [(index, hashlib.sha256(bytes([index % 256])).digest()) for index in (0, 1, 5, 7, 2000, 2047)]


def written(path: Path, records: list[tuple[int, bytes]] = RECORDS) -> Path:
    journal = Journal.begin(path, IDENTITY)
    for index, digest in records:
        journal.append(index, digest)
    return journal.finish(Outcome(image_size=1 << 30, sessions=[{"retries": {"corrupt": 2}}]))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    with Manifest(written(tmp_path / "m")) as manifest:
        assert manifest.identity == IDENTITY
        assert list(manifest.records()) == RECORDS and len(manifest) == len(RECORDS)
        outcome = manifest.check()
        assert outcome.linear_sha256 == hashlib.sha256(b"".join(digest for _, digest in RECORDS)).hexdigest()
        assert outcome.blocks == 6 and outcome.sessions == [{"retries": {"corrupt": 2}}]
        assert outcome.finished.endswith("Z")
        assert manifest.find(7) == RECORDS[3][1] and manifest.find(6) is None and manifest.find(2048) is None
        assert list(manifest.records(6)) == RECORDS[3:]
    assert not Journal.partial_path(tmp_path / "m").exists()


def test_p04_a_manifest_has_its_name_only_when_it_is_complete(tmp_path: Path) -> None:
    journal = Journal.begin(tmp_path / "m", IDENTITY)
    journal.append(3, bytes(32))
    journal.close()
    assert not (tmp_path / "m").exists()
    with pytest.raises(ManifestError, match="did not finish"):
        Manifest(Journal.partial_path(tmp_path / "m"))


@pytest.mark.parametrize("cut", [0, 1, 39, 41])
def test_a_journal_that_was_cut_goes_on_behind_its_last_whole_record(tmp_path: Path, cut: int) -> None:
    journal = Journal.begin(tmp_path / "m", IDENTITY)
    for index, digest in RECORDS[:4]:
        journal.append(index, digest)
    journal.close()
    partial = Journal.partial_path(tmp_path / "m")
    size = partial.stat().st_size
    with partial.open("r+b") as file:
        file.truncate(size - cut)
    journal, records = Journal.resume(tmp_path / "m")
    kept = 4 - -(-cut // RECORD_SIZE)
    assert list(records) == RECORDS[:kept] and journal.count == kept and journal.last == RECORDS[kept - 1][0]
    for index, digest in RECORDS[kept:]:
        journal.append(index, digest)
    again = journal.finish(Outcome(image_size=1 << 30, sessions=[{"retries": {"corrupt": 2}}], finished="then"))
    journal = Journal.begin(tmp_path / "n", journal.identity)
    for index, digest in RECORDS:
        journal.append(index, digest)
    whole = journal.finish(Outcome(image_size=1 << 30, sessions=[{"retries": {"corrupt": 2}}], finished="then"))
    assert again.read_bytes() == whole.read_bytes()


def test_a_run_killed_between_footer_and_name_goes_on(tmp_path: Path) -> None:
    final = written(tmp_path / "m")
    final.rename(Journal.partial_path(final))
    journal, records = Journal.resume(final)
    assert list(records) == RECORDS
    journal.finish(Outcome())
    with Manifest(final) as manifest:
        manifest.check()


def test_zeros_after_a_power_loss_end_the_journal(tmp_path: Path) -> None:
    journal = Journal.begin(tmp_path / "m", IDENTITY)
    journal.append(*RECORDS[0])
    journal.close()
    with Journal.partial_path(tmp_path / "m").open("ab") as file:
        file.write(bytes(RECORD_SIZE * 3))
    assert list(Journal.resume(tmp_path / "m")[1]) == RECORDS[:1]


def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path / "m")
    data = path.read_bytes()
    for place in range(0, len(data), 3):
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(ManifestError), Manifest(path) as manifest:
            manifest.check()


def test_indexes_ascend_and_lie_within_the_volume(tmp_path: Path) -> None:
    journal = Journal.begin(tmp_path / "m", IDENTITY)
    journal.append(5, bytes(32))
    for index in (5, 4, 2048):
        with pytest.raises(ManifestError):
            journal.append(index, bytes(32))
    journal.close()
    with pytest.raises(BadInput):
        Journal.begin(tmp_path / "n", Identity("snap-0a", "us-east-1", 0))


def test_one_run_at_a_time(tmp_path: Path) -> None:
    journal = Journal.begin(tmp_path / "m", IDENTITY)
    journal.append(1, bytes(32))
    for second in (lambda: Journal.begin(tmp_path / "m", IDENTITY), lambda: Journal.resume(tmp_path / "m")):
        with pytest.raises(BadInput, match="Another run"):
            second()
    journal.close()
    journal, records = Journal.resume(tmp_path / "m")
    assert list(records) == [(1, bytes(32))]


def test_p14_forty_bytes_a_block_and_memory_does_not_grow(tmp_path: Path) -> None:
    identity = Identity("snap-0a", "us-east-1", 64)
    sizes = []
    for count in (0, 100_000):
        journal = Journal.begin(tmp_path / "m", identity)
        for index in range(count):
            journal.append(index, bytes(32))
        sizes.append(journal.finish(Outcome(finished="then")).stat().st_size)
    assert sizes[1] - sizes[0] <= 40 * 100_000 + 40
    tracemalloc.start()
    with Manifest(tmp_path / "m") as manifest:
        assert sum(1 for _ in manifest.records()) == 100_000
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_what_is_made_later_is_noted(tmp_path: Path) -> None:
    path = written(tmp_path / "m")
    add_derived(path, "e01", {"sha256": "ab"})
    with Manifest(path) as manifest:
        assert manifest.check().derived == {"e01": {"sha256": "ab"}}
        assert list(manifest.records()) == RECORDS
