# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Segments: what goes in comes out, and a damaged one is never believed."""

from __future__ import annotations

import hashlib
import os
import sys

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.ebs import segments
from ansible_collections.dfir.aws.plugins.module_utils.ebs.blocks import BLOCK_SIZE
from ansible_collections.dfir.aws.plugins.module_utils.ebs.errors import BadInput, Missing, SegmentError

HEAD = segments.SegmentHead("snap-0a", "us-east-1", 1, segment=2, span=4)
BLOCKS = {8: os.urandom(BLOCK_SIZE), 9: bytes(BLOCK_SIZE), 11: b"text " * (BLOCK_SIZE // 5) + b"!!!"}


def packed() -> bytearray:
    writer = segments.SegmentWriter(HEAD, segments.zstd_codec()[0])
    for index, data in BLOCKS.items():
        writer.add(index, hashlib.sha256(data).digest(), memoryview(data))
    return writer.finish()


def test_what_goes_in_comes_out() -> None:
    data = packed()
    reader = segments.SegmentReader(data)
    assert reader.head == HEAD
    assert {index: block for index, _, block in reader.blocks()} == BLOCKS
    assert [entry.codec for entry in reader.entries] == [segments.RAW, segments.ZEROS, segments.ZSTD]
    assert len(data) < BLOCK_SIZE + 2000, "zeros and text take no room"


def test_no_damage_gives_a_wrong_block() -> None:
    data = packed()
    noticed = 0
    for place in [*range(0, 200), *range(200, len(data) - 500, 5003), *range(len(data) - 500, len(data))]:
        damaged = bytearray(data)
        damaged[place] ^= 0x01
        try:  # a bit of zstd's frame may mean nothing: then the block comes out as it was
            assert {index: block for index, _, block in segments.SegmentReader(damaged).blocks()} == BLOCKS
        except SegmentError:
            noticed += 1
    assert noticed > 750
    for size in (0, 10, 100, len(data) // 2, len(data) - 1):
        with pytest.raises(SegmentError):
            segments.SegmentReader(data[:size])


def test_a_block_belongs_into_its_segment_once_and_in_order() -> None:
    writer = segments.SegmentWriter(HEAD, bytes)
    writer.add(9, bytes(32), BLOCKS[9])
    for index in (9, 8, 7, 12):
        with pytest.raises(SegmentError):
            writer.add(index, bytes(32), BLOCKS[9])


def test_p15_names_are_prefixed_by_case_and_snapshot() -> None:
    assert (
        segments.segment_name(segments.image_prefix("INC-1", "snap-0a"), 7)
        == "INC-1/snap-0a/image/segments/00000007.seg"
    )
    for case in ("", "..", "a/b"):
        with pytest.raises(BadInput):
            segments.image_prefix(case, "snap-0a")


def test_without_zstandard_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setitem(sys.modules, "compression", None)
    with pytest.raises(Missing, match="install the Python package zstandard"):
        segments.zstd_codec()
