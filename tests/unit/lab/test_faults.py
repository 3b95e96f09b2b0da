# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fault registry, and what each EBS fault does to a client."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, IncompleteReadError, ResponseStreamingError
from ebs_kit import Kit, block, get, tokens

from lab.contracts import BLOCK_SIZE
from lab.faults import POINTS, FaultError, Registry, points


def test_times_match_and_after() -> None:
    faults = Registry()
    faults.arm("ebs.stall", times=2, after=1, match={"snapshot": "snap-0*", "block": 7}, args={"seconds": "0.5"})
    assert faults.take("ebs.stall", snapshot="snap-1a", block=7) is None, "another snapshot"
    assert faults.take("ebs.stall", snapshot="snap-0a", block=8) is None, "another block"
    assert faults.take("ebs.stall", snapshot="snap-0a") is None, "no block at all"
    assert faults.take("ebs.stall", snapshot="snap-0a", block=7) is None, "the first match passes"
    for _ in range(2):
        fault = faults.take("ebs.stall", snapshot="snap-0a", block=7)
        assert fault is not None and fault.args == {"seconds": 0.5}
    assert faults.take("ebs.stall", snapshot="snap-0a", block=7) is None
    assert faults.taken("ebs.stall") == 2 and faults.list() == []


def test_always_until_cleared() -> None:
    faults = Registry()
    faults.arm("smtp.refuse", times=None)
    faults.arm("s3.slow", times=5)
    assert all(faults.take("smtp.refuse") for _ in range(50))
    assert [f["name"] for f in faults.list()] == ["smtp.refuse", "s3.slow"]
    assert faults.clear("smtp.refuse") == 1 and faults.take("smtp.refuse") is None
    assert faults.clear() == 1 and faults.list() == []


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"name": "ebs.explode"}, "ebs.explode"),
        ({"name": "ebs.stall", "times": 0}, "times"),
        ({"name": "ebs.stall", "times": "many"}, "times"),
        ({"name": "ebs.stall", "match": {"bucket": "x"}}, "bucket"),
        ({"name": "ebs.stall", "args": {"minutes": 1}}, "minutes"),
        ({"name": "ebs.stall", "args": {"seconds": "long"}}, "seconds"),
        ({"name": "ebs.stall", "args": {"seconds": -1}}, "negative"),
        ({"name": "ebs.stall", "match": ["x"]}, "match"),
        ({"name": "ebs.stall", "when": "now"}, "when"),
        ({}, "name"),
        ([], "name"),
        ("ebs.stall", "name"),
    ],
)
def test_refused_with_one_sentence(data: Any, words: str) -> None:
    faults = Registry()
    with pytest.raises(FaultError, match=re.escape(words)) as seen:
        faults.arm_json(data)
    assert "\n" not in str(seen.value) and str(seen.value).endswith(".")
    assert faults.list() == []


def test_asking_at_an_unknown_point_is_an_error() -> None:
    with pytest.raises(FaultError):
        Registry().take("ebs.explode")


def test_command_line_words() -> None:
    data = Registry.parse_words("ebs.stall", ["times=3", "snapshot=snap-0*", "seconds=2", "after=1"])
    faults = Registry()
    armed = faults.arm_json(json.loads(json.dumps(data)))
    assert (armed["times"], armed["after"], armed["match"], armed["args"]) == (
        3,
        1,
        {"snapshot": "snap-0*"},
        {"seconds": 2.0},
    )
    assert faults.arm_json(Registry.parse_words("smtp.refuse", ["times=always"]))["times"] is None
    for words in (["nonsense"], ["bucket=x"]):
        with pytest.raises(FaultError):
            Registry.parse_words("ebs.stall", words)


def test_the_documented_table_is_the_table() -> None:
    documented = re.findall(r"^\| ([a-z0-9]+\.[a-z0-9_]+) \|", points.__doc__ or "", re.M)
    assert documented == list(POINTS) == list(Registry.describe())


def test_a_count_is_exact_under_threads() -> None:
    faults = Registry()
    faults.arm("ebs.reset", times=100)
    hits: list[object] = []

    def ask() -> None:
        hits.extend(f for f in (faults.take("ebs.reset") for _ in range(100)) if f)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(hits) == 100


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    kit = Kit(tmp_path / "ebs")
    yield kit
    kit.close()


@pytest.fixture
def snapshot(kit: Kit) -> str:
    return kit.upload({i: block(i) for i in range(3)})


@pytest.mark.parametrize(
    ("name", "args", "code", "status"),
    [
        ("ebs.throttle_account", {}, "ThrottlingException", 400),
        ("ebs.throttle_snapshot", {}, "RequestThrottledException", 400),
        ("ebs.error_5xx", {}, "InternalServerException", 500),
        ("ebs.error_5xx", {"status": 503}, "ServiceUnavailable", 503),
        ("ebs.expired_token", {}, "ValidationException", 400),
    ],
)
def test_p7_error_answers(kit: Kit, snapshot: str, name: str, args: dict[str, Any], code: str, status: int) -> None:
    client = kit.client()
    found = tokens(client, snapshot)
    kit.faults.arm(name, match={"action": "GetSnapshotBlock", "block": 1}, args=args)
    assert get(client, snapshot, 0, found[0]) == block(0)
    with pytest.raises(ClientError) as seen:
        get(client, snapshot, 1, found[1])
    assert seen.value.response["Error"]["Code"] == code
    assert seen.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert get(client, snapshot, 1, found[1]) == block(1), "once means once"


def test_p2_corrupted_block_does_not_match_its_checksum(kit: Kit, snapshot: str) -> None:
    client = kit.client()
    token = tokens(client, snapshot)[1]
    kit.faults.arm("ebs.corrupt", args={"offset": 1000})
    answer = client.get_snapshot_block(SnapshotId=snapshot, BlockIndex=1, BlockToken=token)
    data = answer["BlockData"].read()
    good = block(1)
    assert data[1000] != good[1000] and data[:1000] == good[:1000] and data[1001:] == good[1001:]
    assert base64.b64decode(answer["Checksum"]) == hashlib.sha256(block(1)).digest()
    assert get(client, snapshot, 1, token) == block(1)


def test_p2_truncated_body(kit: Kit, snapshot: str) -> None:
    client = kit.client()
    token = tokens(client, snapshot)[1]
    kit.faults.arm("ebs.truncate", args={"bytes": 100_000})
    answer = client.get_snapshot_block(SnapshotId=snapshot, BlockIndex=1, BlockToken=token)
    assert answer["DataLength"] == BLOCK_SIZE
    with pytest.raises((IncompleteReadError, ResponseStreamingError)):
        answer["BlockData"].read()
    assert get(client, snapshot, 1, token) == block(1)


def test_connection_reset(kit: Kit, snapshot: str) -> None:
    client = kit.client()
    token = tokens(client, snapshot)[1]
    kit.faults.arm("ebs.reset")
    with pytest.raises(ConnectionClosedError):
        get(client, snapshot, 1, token)
    kit.faults.arm("ebs.reset", args={"after_bytes": 1000})
    with pytest.raises((ConnectionClosedError, ResponseStreamingError, IncompleteReadError)):
        get(client, snapshot, 1, token)
    assert get(client, snapshot, 1, token) == block(1)


@pytest.mark.parametrize("after", [0, 5000])
def test_stall(kit: Kit, snapshot: str, after: int) -> None:
    client = kit.client()
    token = tokens(client, snapshot)[1]
    kit.faults.arm("ebs.stall", args={"seconds": 0.3, "after_bytes": after})
    began = time.monotonic()
    answer = client.get_snapshot_block(SnapshotId=snapshot, BlockIndex=1, BlockToken=token)
    head = time.monotonic() - began
    assert answer["BlockData"].read() == block(1)
    assert time.monotonic() - began >= 0.3
    assert (head >= 0.3) == (after == 0), "the header comes before the stall only when bytes go out first"


def test_an_unauthorized_request_uses_no_fault_up(kit: Kit, snapshot: str) -> None:
    kit.faults.arm("ebs.error_5xx")
    connection = http.client.HTTPConnection(*kit.address)
    connection.request("GET", f"/snapshots/{snapshot}/blocks")
    answer = connection.getresponse()
    assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (403, "MissingAuthenticationTokenException")
    connection.close()
    assert len(kit.faults.list()) == 1
