# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The timeline of several partitions as files, and what a report shows of it."""

from __future__ import annotations

import csv
import gzip
import random
from pathlib import Path

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.forensics import timeline_file
from ansible_collections.dfir.aws.plugins.module_utils.forensics.entry_walk import FileEntry
from ansible_collections.dfir.aws.plugins.module_utils.forensics.model import Artifacts
from ansible_collections.dfir.aws.plugins.module_utils.forensics.timeline_file import Timeline, write_timeline

NS = 10**9
T = 1_700_000_000 * NS
FILE = 0o100644


def entry(path: bytes, *times: int | None, **more: int | str) -> FileEntry:
    return FileEntry(path, 7, FILE, 1, 2, 3, *times, **more)  # type: ignore[arg-type]


def write(found: list[tuple[str, FileEntry]], folder: Path, **options: object) -> tuple[Timeline, list[str], list[str]]:
    artifacts = Artifacts(folder / "out")
    result = write_timeline(iter(found), artifacts, folder / "work", **options)  # type: ignore[arg-type]
    assert list((folder / "work").iterdir()) == [] and set(artifacts.digests()) == {
        "timeline.bodyfile.gz", "timeline.csv.gz"}
    body, table = (gzip.decompress((folder / "out" / name).read_bytes()).decode().splitlines()
                   for name in ("timeline.bodyfile.gz", "timeline.csv.gz"))
    assert table.pop(0) == "time,macb,partition,path,size,mode,uid,gid,inode"
    return result, body, table


def test_columns_precision_and_order(tmp_path: Path) -> None:
    found = [("p1", entry(b"/b", T + 5, T, T + 5, None)), ("p2", entry(b"/a\n|,\"", -3 * NS + 1, None, None, T - 1)),
             ("p1", entry(b"/far", 7_258_118_400 * NS, None, None, None))]
    result, body, table = write(found, tmp_path, several=True)
    assert body == ["0|/p1/b|7|r/rrw-r--r--|1|2|3|1700000000|1700000000|1700000000|0",
                    '0|/p2/a\\x0a\\x7c,"|7|r/rrw-r--r--|1|2|3|0|-3|0|1699999999',
                    "0|/p1/far|7|r/rrw-r--r--|1|2|3|0|7258118400|0|0"]
    assert table == ['1969-12-31T23:59:57.000000001Z,m...,p2,"/a\\x0a|,""",3,r/rrw-r--r--,1,2,7',
                     '2023-11-14T22:13:19.999999999Z,...b,p2,"/a\\x0a|,""",3,r/rrw-r--r--,1,2,7',
                     "2023-11-14T22:13:20.000000000Z,.a..,p1,/b,3,r/rrw-r--r--,1,2,7",
                     "2023-11-14T22:13:20.000000005Z,m.c.,p1,/b,3,r/rrw-r--r--,1,2,7",
                     "2200-01-01T00:00:00.000000000Z,m...,p1,/far,3,r/rrw-r--r--,1,2,7"]
    assert (result.entries, result.rows, result.unreadable, result.newest) == (3, 5, 0, [])


def test_the_epoch_is_a_time_like_any_other(tmp_path: Path) -> None:
    _result, _body, table = write([("p1", entry(b"/a", 0, None, None, None))], tmp_path)
    assert table == ["1970-01-01T00:00:00.000000000Z,m...,p1,/a,3,r/rrw-r--r--,1,2,7"]


def test_local_times_do_not_claim_to_be_utc(tmp_path: Path) -> None:
    found = [("p1", entry(b"/a", T, None, None, None)), ("p2", entry(b"/a", T, None, None, None))]
    result, _body, table = write(found, tmp_path, local=["p1"])
    assert [row.split(",")[0] for row in table] == ["2023-11-14T22:13:20.000000000", "2023-11-14T22:13:20.000000000Z"]
    assert result.local == ["p1"]


def test_what_cannot_be_read_is_counted_and_named(tmp_path: Path) -> None:
    found = [("p1", FileEntry(b"/broken", 9, problem="inode")), ("p1", FileEntry(b"/", 2, 0o040755, problem="folder")),
             ("p1", FileEntry(b"/", 2, 0o040755, mtime=T))]
    result, body, table = write(found, tmp_path)
    assert [line.split("|")[1:4] for line in body] == [["/broken", "9", "-/----------"], ["/", "2", "d/drwxr-xr-x"]]
    assert len(table) == 1 and (result.entries, result.unreadable) == (2, 2)


def test_the_report_gets_chosen_paths_first_then_the_newest_in_order(tmp_path: Path) -> None:
    found = [("p1", entry(b"/file%d" % number, T + number, T + number, None, None)) for number in range(100)]
    found.append(("p2", entry(b"/file3", T + 500, None, None, None)))
    random.Random(1).shuffle(found)
    result, _body, _table = write(found, tmp_path, newest=4, chosen={("p1", "/file3"), ("p1", "/none")})
    assert result.newest == [[T + 3, "ma..", "/file3", 3, "p1", 1, "r/rrw-r--r--"],
                             [T + 98, "ma..", "/file98", 3, "p1", 1, "r/rrw-r--r--"],
                             [T + 99, "ma..", "/file99", 3, "p1", 1, "r/rrw-r--r--"],
                             [T + 500, "m...", "/file3", 3, "p2", 1, "r/rrw-r--r--"]]


def test_rows_of_one_path_and_time_are_one_row(tmp_path: Path) -> None:
    found = [("p1", entry(b"/a", T, None, None, None)), ("p1", entry(b"/a", None, T, None, T + 1))]
    result, _body, table = write(found, tmp_path, newest=9)
    assert [row.split(",")[1] for row in table] == ["ma..", "...b"] and result.rows == 2
    assert [row[1] for row in result.newest] == ["ma..", "...b"]


def test_many_rows_need_little_memory_and_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [("p1", entry(b"/%d" % (number * 7919 % 3000), T + number * 7919 % 3000, T, None, None))
             for number in range(3000)]
    write(found, tmp_path / "one")
    monkeypatch.setattr(timeline_file, "CHUNK_ROWS", 17)  # more files than are merged at once
    result, _body, table = write(found, tmp_path / "two")
    assert result.rows == len(list(csv.reader(table))) == 5999
    assert [row.split(",")[0] for row in table] == sorted(row.split(",")[0] for row in table)
    for name in ("timeline.bodyfile.gz", "timeline.csv.gz"):
        assert (tmp_path / "one/out" / name).read_bytes() == (tmp_path / "two/out" / name).read_bytes()


@pytest.mark.parametrize(("times", "expected"), [
    ((5, 5, 5, 5), [(5, "macb")]), ((5, 5, 5, 3), [(5, "mac."), (3, "...b")]), ((5, 5, 5, None), [(5, "mac.")]),
    ((5, 4, 5, 4), [(5, "m.c."), (4, ".a.b")]), ((None, 4, None, 3), [(4, ".a.."), (3, "...b")]),
    ((None, None, None, None), []), ((0, 0, 0, 0), [(0, "macb")]),
    ((1, 2, 3, 1), [(1, "m..b"), (2, ".a.."), (3, "..c.")]),
])
def test_each_time_comes_once_with_its_flags(times: tuple[int | None, ...], expected: list[tuple[int, str]]) -> None:
    assert list(timeline_file.moments(entry(b"/a", *times))) == expected


def test_of_more_chosen_rows_than_there_is_room_the_newest_stay(tmp_path: Path) -> None:
    found = [("p1", entry(b"/c", T + number, T - number, None, None)) for number in range(1, 4)]
    result, _body, _table = write(found, tmp_path, newest=2, chosen={("p1", "/c")})
    assert [row[0] for row in result.newest] == [T + 2, T + 3]
