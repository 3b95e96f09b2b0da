# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Notes and samples on their way into the analyst's folder, and the end of a session that is moved."""

from __future__ import annotations

import hashlib
import io
import json
import os
import urllib.request
import zipfile
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import boto3
import pytest
import pyzipper
from ansible_collections.dfir.aws.plugins.module_utils.forensics import extend, stage
from ansible_collections.dfir.aws.plugins.module_utils.forensics.extend import NotExtended
from ansible_collections.dfir.aws.plugins.module_utils.forensics.watchdog import Request, load_request

from tests.plain_aws import plain_aws

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=timezone.utc)
BUCKET, PREFIX = "dfir-artifacts", "INC-1/snap-0123456789abcdef0/"
MINER = b"\x7fELF" + os.urandom(3 << 20)


def feed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_a_note_keeps_its_name_and_never_takes_the_place_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                                    capsys: pytest.CaptureFixture[str]) -> None:
    names = []
    for data in (b"one", b"two", b"one", b"three"):
        feed(monkeypatch, data)
        assert stage.main(["--folder", str(tmp_path), "--name", "case notes.txt"]) == 0
        names.append(capsys.readouterr().out)
    assert names == ["case_notes.txt\n", "case_notes.2.txt\n", "case_notes.txt\n", "case_notes.3.txt\n"]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "case_notes.txt": b"one", "case_notes.2.txt": b"two", "case_notes.3.txt": b"three"}


def test_a_sample_travels_as_an_encrypted_archive_named_by_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                                    capsys: pytest.CaptureFixture[str]) -> None:
    digest = hashlib.sha256(MINER).hexdigest()
    for _time in range(2):
        feed(monkeypatch, MINER)
        assert stage.main(["--folder", str(tmp_path), "--sample", "--name", "kworker"]) == 0
        said = capsys.readouterr()
        assert said.out.splitlines() == [f"samples/{digest}.zip", f"samples/{digest}.json"]
        assert digest in said.err and "infected" in said.err
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == [f"{digest}.json", f"{digest}.zip"]
    archive = tmp_path / "samples" / f"{digest}.zip"
    assert MINER[:64] not in archive.read_bytes()
    [member] = zipfile.ZipFile(archive).infolist()
    assert member.filename == "kworker" and member.flag_bits & 1 and member.compress_type == 99  # 99: AES
    with pyzipper.AESZipFile(archive) as opened:
        with pytest.raises(RuntimeError):
            opened.read("kworker")
        opened.setpassword(b"infected")
        assert opened.read("kworker") == MINER
    facts = json.loads((tmp_path / "samples" / f"{digest}.json").read_text())
    assert (facts["name"], facts["sha256"], facts["size"]) == ("kworker", digest, len(MINER))


@pytest.mark.parametrize(("given", "safe"), [
    ("a\nb; rm -rf $HOME", "a_b__rm_-rf__HOME"), ("-rf", "_-rf"), (".hidden", "_.hidden"), ("..", "_.."),
    ("../../etc/passwd", "passwd"), ("\x1b[2J", "__2J"), ("{{ lookup }}", "___lookup___"), ("ünïcode", "_n_code"),
    ("x" * 300 + ".txt", "x" * 116 + ".txt"), ("", "_")])
def test_p43_names_become_harmless(given: str, safe: str) -> None:
    assert stage.plain_name(given) == safe


def test_a_full_disk_is_told_and_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    class Full(io.BytesIO):
        def read(self, *_: Any) -> bytes:
            raise OSError(28, "No space left on device")

    for kind in ([], ["--sample"]):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(Full()))
        assert stage.main(["--folder", str(tmp_path), *kind, "--name", "x"]) == 1
        assert capsys.readouterr().err == "x cannot be kept: No space left on device\n"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with plain_aws() as running:
        yield running.url


@pytest.fixture
def s3(endpoint: str) -> Any:
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="x",
                          aws_secret_access_key="x")
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST")).read()
    client.create_bucket(Bucket=BUCKET)
    return client


def request(hours: float = 4, latest: float | None = 10) -> Request:
    return Request("0123456789abcdef", "manual", BUCKET, PREFIX, "us-east-1", None, NOW + timedelta(hours=hours),
                   None if latest is None else NOW + timedelta(hours=latest))


def keys(s3: Any) -> list[str]:
    return [item["Key"].removeprefix(PREFIX) for item in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


def test_each_extension_counts_from_the_end_that_held_and_leaves_a_marker(s3: Any, tmp_path: Path) -> None:
    assert extend.prolonged(request(), tmp_path) == NOW + timedelta(hours=4)
    assert extend.extend(s3, request(), tmp_path, 2, NOW) == NOW + timedelta(hours=6)
    assert extend.extend(s3, request(), tmp_path, 1.5, NOW) == NOW + timedelta(hours=7.5)
    assert keys(s3) == ["extended-until-20261120T180000Z.json", "extended-until-20261120T193000Z.json"]
    assert extend.prolonged(request(), tmp_path) == NOW + timedelta(hours=7.5)


@pytest.mark.parametrize(("latest", "hours", "now", "words"), [
    (10, 6.1, NOW, "ask for 6 hours or less"),
    (None, 1, NOW, "names no more hours (max_hours)"),
    (4, 1, NOW, "already the latest"),
    (10, 1, NOW + timedelta(hours=4), "It is too late"),
])
def test_more_than_the_request_allows_is_refused_by_the_host_itself(
        s3: Any, tmp_path: Path, latest: float | None, hours: float, now: datetime, words: str) -> None:
    with pytest.raises(NotExtended, match=words.replace("(", r"\(").replace(")", r"\)")):
        extend.extend(s3, request(latest=latest), tmp_path, hours, now)
    assert keys(s3) == [] and extend.prolonged(request(latest=latest), tmp_path) == NOW + timedelta(hours=4)


def test_a_session_that_has_ended_is_not_prolonged(s3: Any, tmp_path: Path) -> None:
    (tmp_path / "ended").write_text("success killed TERM")
    with pytest.raises(NotExtended, match="has ended"):
        extend.extend(s3, request(), tmp_path, 1, NOW)
    assert keys(s3) == []


def test_without_a_marker_in_the_bucket_nothing_is_prolonged(s3: Any, tmp_path: Path) -> None:
    s3.delete_bucket(Bucket=BUCKET)
    with pytest.raises(NotExtended, match="cannot be told"):
        extend.extend(s3, request(), tmp_path, 1, NOW)
    assert extend.prolonged(request(), tmp_path) == NOW + timedelta(hours=4)
    s3.create_bucket(Bucket=BUCKET)
    assert extend.extend(s3, request(), tmp_path, 1, NOW) == NOW + timedelta(hours=5)


def test_a_marker_whose_answer_got_lost_is_taken_for_what_it_is(s3: Any, tmp_path: Path) -> None:
    s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}extended-until-20261120T170000Z.json", Body=b"{}")
    assert extend.extend(s3, request(), tmp_path, 1, NOW) == NOW + timedelta(hours=5)


@pytest.mark.parametrize("text", ["", "{", '{"until": 5}', '{"until": "soon"}', '{"until": "2099-01-01T00:00:00Z"}'])
def test_what_the_host_remembers_is_never_more_than_the_request_allows(tmp_path: Path, text: str) -> None:
    (tmp_path / "extended.json").write_text(text)
    end = extend.prolonged(request(), tmp_path)
    assert end == NOW + timedelta(hours=10 if "2099" in text else 4)
    assert extend.prolonged(request(latest=None), tmp_path) == NOW + timedelta(hours=4)


def test_the_command_prints_the_new_end_or_one_sentence(endpoint: str, s3: Any, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch,
                                                        capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    path = tmp_path / "request.json"
    path.write_text(json.dumps({
        "request_id": "0123456789abcdef", "mode": "manual", "artifact_bucket": BUCKET, "artifact_prefix": PREFIX,
        "artifact_bucket_region": "us-east-1", "endpoint_url": endpoint, "deadline": "2098-01-01T00:00:00Z",
        "latest": "2098-01-01T05:00:00Z"}))
    where = ["--request", str(path), "--own", str(tmp_path)]
    assert extend.main(["2", *where]) == 0
    assert capsys.readouterr().out == "2098-01-01T02:00:00Z\n"
    assert extend.prolonged(load_request(path), tmp_path) == datetime(2098, 1, 1, 2, tzinfo=timezone.utc)
    assert extend.main(["4", *where]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and "ask for 3 hours or less" in said.err
    for wrong in ("0", "-1", "nan", "1000", "two"):
        with pytest.raises(SystemExit):
            extend.main([wrong, *where])
