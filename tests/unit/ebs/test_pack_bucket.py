# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packing segments within the bucket: a stream, and an object only when everything was right."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyrage
import pytest
import urllib3
import zstandard
from ansible_collections.dfir.aws.plugins.module_utils.ebs import cli, errors, pack, pack_bucket, packed, s3_object
from ansible_collections.dfir.aws.plugins.module_utils.ebs.blocks import BLOCK_SIZE
from ansible_collections.dfir.aws.plugins.module_utils.ebs.s3 import SegmentSink
from ansible_collections.dfir.aws.plugins.module_utils.ebs.segments import image_prefix
from ansible_collections.dfir.aws.plugins.module_utils.ebs.sources import open_segments
from botocore.exceptions import ClientError

from tests.unit.ebs.engine_kit import SharedKit, engine, expect_image, image, stop_after
from tests.unit.ebs.test_pack import Keys
from tests.unit.lab.ebs_kit import KEY, SECRET

pytestmark = pytest.mark.slow

MIB = 1 << 20
SIGNALS = (signal.SIGTERM, signal.SIGINT)
CHECKOUT = Path(__file__).resolve().parents[3]
NOISE = {index: random.Random(index).randbytes(BLOCK_SIZE) for index in (*range(5, 45), 1000, 2047)}
PROGRAM = r"""
import re, sys
from pathlib import Path
from ansible_collections.dfir.aws.plugins.module_utils.ebs.cli import main
code = main(sys.argv[1:])
# ru_maxrss would have the parent's in it.
print("peak", int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
sys.exit(code)
"""


class Stored:
    """An image in the bucket, and what is packed of it."""

    def __init__(self, kit: SharedKit, bucket: Any, folder: Path, blocks: dict[int, bytes], **more: Any) -> None:
        self.s3, self.bucket = bucket
        self.prefix = image_prefix("INC-1", snapshot := kit.snapshot(blocks))
        self.result = image(engine(kit), snapshot, folder / "made", sinks=[SegmentSink(*bucket, self.prefix, span=8)],
                            **more)  # fmt: skip
        self.source = f"s3://{self.bucket}/{self.prefix}"
        self.place = f"{self.source}image.raw.zst.age"
        self.key = f"{self.prefix}image.raw.zst.age"

    def pack(self, **more: Any) -> pack.PackResult:
        client = more.pop("client", self.s3)
        return pack_bucket.pack_segments(open_segments(self.source, self.s3), client, self.place, **more)

    def names(self) -> list[str]:
        """Everything but segments and manifest."""
        found = [entry["Key"] for entry in self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])]
        return [name for name in found if "/segments/" not in name and not name.endswith("/manifest")]

    def uploads(self) -> list[Any]:
        return self.s3.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])

    def body(self) -> bytes:
        data: bytes = self.s3.get_object(Bucket=self.bucket, Key=self.key)["Body"].read()
        return data

    def replace(self, body: bytes) -> None:
        """Another content, everything else as it was."""
        metadata = self.s3.head_object(Bucket=self.bucket, Key=self.key)["Metadata"]
        self.s3.put_object(Bucket=self.bucket, Key=self.key, Body=body, Metadata=metadata)


@pytest.fixture
def stored(kit: SharedKit, bucket: Any, tmp_path: Path) -> Stored:
    return Stored(kit, bucket, tmp_path, NOISE)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys")


def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_bucket, "part_size", lambda _most: 5 * MIB)


def test_segments_become_one_object_that_other_tools_open(
    stored: Stored, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_parts(monkeypatch)
    made = stored.pack(recipients=[keys.recipient])
    assert made.changed and made.path == stored.place
    body, record = stored.body(), made.record
    assert (record.packed_size, record.packed_sha256) == (len(body), hashlib.sha256(body).hexdigest())
    assert len(body) > 20 * MIB, "several parts"
    attempt = stored.s3.head_object(Bucket=stored.bucket, Key=stored.key)["Metadata"]["dfir-attempt"]
    assert stored.names() == [f"{stored.key}.{attempt}.json", stored.key][::-1]
    text = stored.s3.get_object(Bucket=stored.bucket, Key=f"{stored.key}.{attempt}.json")["Body"].read()
    assert json.loads(text) == record.to_json()
    opened = zstandard.ZstdDecompressor().decompressobj().decompress(pyrage.decrypt(body, [keys.identity]))
    assert hashlib.sha256(opened).hexdigest() == record.plain_sha256 and len(opened) == record.plain_size
    del opened
    done = pack.unpack(stored.place, tmp_path / "back", identity_files=[keys.file], client=stored.s3)
    assert done.changed and done.sha256 == record.plain_sha256
    expect_image(tmp_path / "back", NOISE)
    assert packed.verify_packed(packed.packed_at(stored.place, stored.s3)).ok
    assert stored.uploads() == []


def test_what_is_there_is_not_made_again_and_never_replaced(stored: Stored, keys: Keys, tmp_path: Path) -> None:
    first = stored.pack(recipients=[keys.recipient])
    before, body = stored.names(), stored.body()
    again = stored.pack(recipients=[keys.recipient])
    assert not again.changed and again.record == first.record
    for other in ({"recipients": [Keys(tmp_path / "other").recipient]}, {"passphrase": "five words are better than"},
                  {"recipients": [keys.recipient], "compression": "gzip"}):  # fmt: skip
        with pytest.raises(errors.BadInput, match="was not made from this image so"):
            stored.pack(**other)
    assert stored.names() == before and stored.body() == body


def test_a_tampered_object_gives_no_file(stored: Stored, keys: Keys, tmp_path: Path) -> None:
    stored.pack(recipients=[keys.recipient])
    good = stored.body()
    places = [len(good) - 1, random.Random(3).randrange(300, len(good))]
    for damaged in [good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :] for place in places] + [good[:-70_000]]:
        stored.replace(damaged)
        with pytest.raises((errors.Mismatch, errors.SegmentError)):
            pack.unpack(stored.place, tmp_path / "back", identity_files=[keys.file], client=stored.s3)
        assert not list(tmp_path.glob("back*"))
        said = packed.verify_packed(packed.packed_at(stored.place, stored.s3))
        assert not said.ok and "its record says" in said.notes[0]


def nothing_left(stored: Stored) -> None:
    """Nothing has the final name, and no part of it lies around."""
    assert stored.key not in stored.names() and stored.uploads() == []


def test_a_damaged_segment_is_never_packed(stored: Stored, keys: Keys) -> None:
    name = f"{stored.prefix}segments/00000003.seg"
    body = bytearray(stored.s3.get_object(Bucket=stored.bucket, Key=name)["Body"].read())
    body[len(body) // 2] ^= 1
    stored.s3.put_object(Bucket=stored.bucket, Key=name, Body=bytes(body))
    with pytest.raises(errors.Mismatch, match="nothing was kept") as caught:
        stored.pack(recipients=[keys.recipient])
    assert caught.value.failed_blocks and set(caught.value.failed_blocks) <= set(range(24, 32))
    nothing_left(stored)
    stored.s3.delete_object(Bucket=stored.bucket, Key=name)
    with pytest.raises(errors.Mismatch):
        stored.pack(recipients=[keys.recipient])
    nothing_left(stored)


def test_an_image_that_has_not_the_digest_of_its_manifest_is_not_packed(
    kit: SharedKit, bucket: Any, tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = Stored(kit, bucket, tmp_path, NOISE, hashes=("sha256",))
    real = pack_bucket._image

    def without_its_end(*given: Any) -> Any:
        pieces = list(real(*given))
        yield from pieces[:-1]

    with monkeypatch.context() as patch:
        patch.setattr(pack_bucket, "_image", without_its_end)
        with pytest.raises(errors.Mismatch, match="nothing was kept"):
            stored.pack(recipients=[keys.recipient])
    nothing_left(stored)
    made = stored.pack(recipients=[keys.recipient])
    assert made.record.plain_sha256 == stored.result.outcome.image_sha256


def test_whoever_cancels_finds_nothing_and_the_next_run_makes_it(
    stored: Stored, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_parts(monkeypatch)
    for after in (1, 300):
        with pytest.raises(errors.Cancelled):
            stored.pack(recipients=[keys.recipient], stop=stop_after(after))
        nothing_left(stored)
        assert stored.names() == []
    assert stored.pack(recipients=[keys.recipient]).changed


@pytest.mark.parametrize("after", [0, 2, 4])
def test_a_bucket_that_refuses_is_said_and_nothing_is_left(
    stored: Stored, kit: SharedKit, keys: Keys, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    small_parts(monkeypatch)
    kit.faults.arm("s3.put_refused", times=None, after=after, match={"method": "PUT"})
    with pytest.raises(errors.SinkError, match="AccessDenied"):
        stored.pack(recipients=[keys.recipient])
    kit.faults.clear()
    nothing_left(stored)
    assert stored.pack(recipients=[keys.recipient]).changed


class Client:
    """boto3's client, with one call made another one."""

    def __init__(self, real: Any, **instead: Callable[..., Any]) -> None:
        self._real, self._instead = real, instead

    def __getattr__(self, name: str) -> Any:
        return self._instead.get(name) or getattr(self._real, name)


def test_a_lost_answer_to_the_last_call_is_no_failure(stored: Stored, keys: Keys) -> None:
    def twice(**fields: Any) -> Any:
        stored.s3.complete_multipart_upload(**fields)
        return stored.s3.complete_multipart_upload(**fields)  # as boto3 does when the first answer got lost

    assert stored.pack(recipients=[keys.recipient], client=Client(stored.s3, complete_multipart_upload=twice)).changed
    assert packed.verify_packed(packed.packed_at(stored.place, stored.s3)).ok


def test_of_two_runs_at_the_same_time_one_wins_and_the_other_says_so(stored: Stored, keys: Keys) -> None:
    def later(**fields: Any) -> Any:
        stored.pack(recipients=[keys.recipient])
        return stored.s3.complete_multipart_upload(**fields)

    with pytest.raises(errors.BadInput, match="Another run has just finished"):
        stored.pack(recipients=[keys.recipient], client=Client(stored.s3, complete_multipart_upload=later))
    assert stored.uploads() == [] and packed.verify_packed(packed.packed_at(stored.place, stored.s3)).ok


def test_reading_goes_on_where_a_connection_broke(stored: Stored, keys: Keys, tmp_path: Path) -> None:
    stored.pack(recipients=[keys.recipient])
    ranges = []

    class Breaks:
        def __init__(self, body: Any) -> None:
            self._body, self._left = body, 3

        def read(self, size: int) -> bytes:
            self._left -= 1
            if self._left < 0:
                raise OSError("the connection was reset")
            return bytes(self._body.read(size))

        def close(self) -> None:
            self._body.close()

    def breaking(**fields: Any) -> Any:
        answer = stored.s3.get_object(**fields)
        if "Range" in fields:
            ranges.append(fields["Range"])
            answer["Body"] = Breaks(answer["Body"])
        return answer

    client = Client(stored.s3, get_object=breaking)
    found = pack.unpack(stored.place, tmp_path / "back", identity_files=[keys.file], client=client)
    expect_image(tmp_path / "back", NOISE)
    assert found.changed and len(ranges) > 50 and len(set(ranges)) == len(ranges)

    def gone(**fields: Any) -> Any:
        if "Range" in fields:
            raise ClientError({"Error": {"Code": "PreconditionFailed"}}, "GetObject")
        return stored.s3.get_object(**fields)

    with pytest.raises(errors.Mismatch, match="replaced or removed"):
        pack.unpack(stored.place, tmp_path / "other", identity_files=[keys.file],
                    client=Client(stored.s3, get_object=gone))  # fmt: skip
    assert not (tmp_path / "other").exists()


def test_a_passphrase_protects_an_identity_that_lies_beside_it(stored: Stored, tmp_path: Path) -> None:
    words = "five words are better than"
    made = stored.pack(passphrase=words)
    assert len(stored.names()) == 3 and f"{stored.prefix}{made.record.identity_file}" in stored.names()
    assert not stored.pack(passphrase=words).changed
    pack.unpack(stored.place, tmp_path / "back", passphrase=words, client=stored.s3)
    expect_image(tmp_path / "back", NOISE)
    with pytest.raises(errors.BadInput, match="passphrase does not open"):
        pack.unpack(stored.place, tmp_path / "other", passphrase="another one", client=stored.s3)


def test_what_s3_cannot_take_is_refused_first() -> None:
    assert s3_object.part_size(1 << 20) == 8 * MIB
    for most in (70 << 30, 200 << 30, 1200 << 30):
        assert s3_object.part_size(most) * 9_900 >= most
    assert s3_object.part_size(1200 << 30) <= s3_object.LARGEST_PART
    with pytest.raises(errors.BadInput, match="it can have 1227 GiB"):
        s3_object.part_size(1300 << 30)
    for place in ("bucket/key", "s3://bucket", "s3://bucket/", "s3://bucket/folder/", "s3:///key"):
        with pytest.raises(errors.BadInput, match="is what an object is called"):
            s3_object.split_place(place)


@pytest.fixture
def typed(kit: SharedKit, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """A command as it is typed."""
    for name, value in (("ENDPOINT_URL", kit.endpoint), ("ACCESS_KEY_ID", KEY), ("SECRET_ACCESS_KEY", SECRET)):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT / "collections"))
    return lambda *words: [sys.executable, "-c", PROGRAM, *map(str, words), "--region", "eu-west-1"]


def test_a_killed_run_leaves_nothing_under_the_final_name_and_the_next_one_makes_it(
    stored: Stored, kit: SharedKit, keys: Keys, tmp_path: Path, typed: Callable[..., list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    command = typed("pack", stored.source, "-r", keys.recipient)
    kit.faults.arm("s3.slow", times=None, match={"method": "PUT"}, args={"seconds": 3})
    for number in (signal.SIGKILL, signal.SIGTERM):
        with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            until = time.monotonic() + 180
            while len(stored.uploads()) == (number == signal.SIGTERM) and time.monotonic() < until:
                time.sleep(0.01)
            child.send_signal(number)
            assert child.wait(60) == (-9 if number == signal.SIGKILL else 130)
        assert stored.names() == []
    assert len(stored.uploads()) == 1, "of the killed one, invisible; the bucket's lifecycle rule removes it"
    kit.faults.clear()
    arguments = command[3:]
    assert cli.main(arguments) == 0
    assert cli.main(["verify", stored.place, "--region", "eu-west-1"]) == 0
    assert cli.main(["unpack", stored.place, str(tmp_path / "b"), "-i", str(keys.file), "--region", "eu-west-1"]) == 0
    said = capsys.readouterr().out
    assert f"packed          {stored.place}" in said and "as the record says" in said
    expect_image(tmp_path / "b", NOISE)
    assert cli.main([*arguments[:-2]]) == 2, "without a region"


def test_a_signal_within_a_request_to_s3_ends_the_run_too(
    stored: Stored, keys: Keys, typed: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """boto3 takes an exception within a request for the network's, and would ask again."""
    real, handlers = urllib3.HTTPConnectionPool.urlopen, [signal.getsignal(number) for number in SIGNALS]
    sent: list[str] = []

    def urlopen(pool: Any, method: str, url: str, *more: Any, **fields: Any) -> Any:
        # Once, and when there is something to clean: a second signal ends the clean-up after the first, as it should.
        if "/segments/" in url and not sent and stored.uploads():
            sent.append(url)
            os.kill(os.getpid(), signal.SIGTERM)
        return real(pool, method, url, *more, **fields)

    monkeypatch.setattr(urllib3.HTTPConnectionPool, "urlopen", urlopen)
    try:
        assert cli.main(typed("pack", stored.source, "-r", keys.recipient)[3:]) == 130
    finally:
        for number, handler in zip(SIGNALS, handlers, strict=True):
            signal.signal(number, handler)
    assert sent
    nothing_left(stored)


def test_memory_does_not_grow_with_the_image(
    kit: SharedKit, bucket: Any, tmp_path: Path, keys: Keys, typed: Callable[..., list[str]]
) -> None:
    peaks = []
    for count in (40, 240):
        blocks = {index: os.urandom(BLOCK_SIZE) for index in range(count)}
        (folder := tmp_path / f"{count}").mkdir()
        stored = Stored(kit, bucket, folder, blocks)
        said = subprocess.run(typed("pack", stored.source, "-r", keys.recipient), capture_output=True, text=True,
                              check=True).stdout  # fmt: skip
        peaks.append(int(re.findall(r"peak (\d+)", said)[0]))
    assert peaks[1] < 160 and peaks[1] - peaks[0] < 32
