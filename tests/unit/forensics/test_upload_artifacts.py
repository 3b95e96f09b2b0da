# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The uploader against an S3 that runs in this process (moto on loopback)."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import urllib.request
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import boto3
import pytest
from ansible_collections.dfir.aws.plugins.module_utils.forensics import s3_put, upload
from ansible_collections.dfir.aws.plugins.module_utils.forensics.s3_put import UploadError
from ansible_collections.dfir.aws.plugins.module_utils.forensics.upload import Folders, State, Uploader, object_name
from ansible_collections.dfir.aws.plugins.module_utils.forensics.watchdog import Request
from botocore.config import Config

from tests.plain_aws import plain_aws

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=timezone.utc)
BUCKET, PREFIX = "dfir-artifacts", "INC-1/snap-0123456789abcdef0/"
MIB = 1 << 20


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with plain_aws() as running:
        yield running.url


@pytest.fixture
def s3(endpoint: str) -> Any:
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="x",
                          aws_secret_access_key="x",
                          config=Config(retries={"total_max_attempts": 2}, connect_timeout=2, read_timeout=5))
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST")).read()
    client.create_bucket(Bucket=BUCKET)
    client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    return client


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(*(tmp_path / name for name in ("results", "analyst", "work", "own")))
    for folder in (made.results, made.analyst, made.work, made.own):
        folder.mkdir()
    return made


class Host:
    """One analysis host's side: write files, run passes, read what was said."""

    def __init__(self, s3: Any, folders: Folders, mode: str = "automatic") -> None:
        self.s3, self.folders, self.mode, self.lines = s3, folders, mode, list[str]()

    def upload(self, now: datetime = NOW, **limits: int) -> int:
        request = Request("0123456789abcdef", self.mode, BUCKET, PREFIX, "us-east-1", None, NOW + timedelta(hours=2))
        return Uploader(self.s3, request, self.folders, self.lines.append, **limits).run(now)

    def push(self, *names: str) -> int:
        request = Request("0123456789abcdef", self.mode, BUCKET, PREFIX, "us-east-1", None, NOW + timedelta(hours=2))
        return Uploader(self.s3, request, self.folders, self.lines.append).push(names)

    def write(self, name: str, data: bytes) -> None:
        (self.folders.results / name).write_bytes(data)

    def note(self, name: str, data: bytes, age: float = 60) -> Path:
        path = self.folders.analyst / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (NOW.timestamp() - age,) * 2)
        return path

    def end(self, words: str = "success exited 0", outcome: dict[str, Any] | None = None) -> None:
        (self.folders.own / "ended").write_text(words)
        if outcome is not None:
            (self.folders.work / "outcome.json").write_text(json.dumps(outcome))

    def keys(self) -> list[str]:
        listed = self.s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return sorted(item["Key"].removeprefix(PREFIX) for item in listed)

    def get(self, name: str) -> bytes:
        return bytes(self.s3.get_object(Bucket=BUCKET, Key=PREFIX + name)["Body"].read())

    def marker(self) -> dict[str, Any]:
        return dict(json.loads(self.get("complete.json")))

    def versions(self, name: str) -> int:
        listed = self.s3.list_object_versions(Bucket=BUCKET, Prefix=PREFIX + name).get("Versions", [])
        return len([item for item in listed if item["Key"] == PREFIX + name])


@pytest.fixture
def host(s3: Any, folders: Folders) -> Host:
    return Host(s3, folders)


COMPLETE = {"outcome": "complete", "missing": [], "counts": {"findings": 7}}


def test_finished_files_go_once_and_unfinished_ones_wait(host: Host) -> None:
    host.write("vol-1p1.bodyfile", b"a")
    host.write(".partial-vol-1p1.plaso", b"half")
    (host.folders.results / ".partial-sums").mkdir()
    (host.folders.results / ".partial-sums" / "x").write_bytes(b"y")
    (host.folders.results / "link").symlink_to("/etc/shadow")
    assert host.upload() == 0
    assert host.keys() == ["vol-1p1.bodyfile"]
    assert host.upload() == 0
    assert host.versions("vol-1p1.bodyfile") == 1
    assert "SHA-256 verified" in host.lines[0]


def test_marker_comes_last_and_says_how_it_ended(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    real = upload.put
    monkeypatch.setattr(upload, "put", lambda *args, **kw: (order.append(args[2].removeprefix(PREFIX)),
                                                            real(*args, **kw))[1])
    host.write("summary.json", b"{}")
    host.write("vol-1p1.plaso", b"p" * 1000)
    sums = hashlib.sha256(b"p" * 1000).hexdigest().encode() + b"  vol-1p1.plaso\n"
    host.write("sha256sums.txt", sums)
    host.end(outcome=COMPLETE)
    assert host.upload() == 0
    assert order == ["vol-1p1.plaso", "summary.json", "sha256sums.txt", "complete.json"]
    assert host.marker() == {
        "request_id": "0123456789abcdef", "mode": "automatic", "outcome": "complete", "missing": [],
        "counts": {"findings": 7, "uploaded_files": 3, "uploaded_bytes": 1002 + len(sums)},
        "sha256sums_sha256": hashlib.sha256(sums).hexdigest(), "finished_at": "2026-11-20T12:00:00Z"}
    assert host.keys() == ["complete.json", "sha256sums.txt", "summary.json", "vol-1p1.plaso"]
    assert host.upload() == 0
    assert len(order) == 4


def test_artifacts_of_several_snapshots_go_to_their_folders_and_one_list_has_all(s3: Any, folders: Folders) -> None:
    """What is about all of them stays together; names in the list are relative to the incident's folder."""
    host = Host(s3, folders)
    request = Request("0123456789abcdef", "automatic", BUCKET, "INC-1/set-0/", "us-east-1", None,
                      NOW + timedelta(hours=2),
                      folders={"vol-1": "INC-1/snap-a/", "vol-2": "INC-1/snap-b/run-0/"})
    for name in ("vol-1p1.plaso", "vol-1p1.journal.plaso", "vol-2p14.plaso", "summary.json"):
        host.write(name, name.encode())
    host.write("sha256sums.txt", b"the analysis' own, which knows no folders\n")
    host.note("note.txt", b"x")
    host.end(outcome=COMPLETE)
    assert Uploader(s3, request, folders, host.lines.append).run(NOW) == 0
    keys = sorted(item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET)["Contents"])
    assert keys == ["INC-1/set-0/analyst/note.txt", "INC-1/set-0/analyst/sha256sums.txt", "INC-1/set-0/complete.json",
                    "INC-1/set-0/sha256sums.txt", "INC-1/set-0/summary.json", "INC-1/snap-a/vol-1p1.journal.plaso",
                    "INC-1/snap-a/vol-1p1.plaso", "INC-1/snap-b/run-0/vol-2p14.plaso"]
    listed = s3.get_object(Bucket=BUCKET, Key="INC-1/set-0/sha256sums.txt")["Body"].read().decode()
    assert dict(reversed(line.split("  ")) for line in listed.splitlines()) == {
        name: hashlib.sha256(name.rpartition("/")[2].encode()).hexdigest() for name in (
            "set-0/summary.json", "snap-a/vol-1p1.journal.plaso", "snap-a/vol-1p1.plaso",
            "snap-b/run-0/vol-2p14.plaso")}
    marker = json.loads(s3.get_object(Bucket=BUCKET, Key="INC-1/set-0/complete.json")["Body"].read())
    assert marker["outcome"] == "complete" and marker["missing"] == []
    assert marker["sha256sums_sha256"] == hashlib.sha256(listed.encode()).hexdigest()


def test_p26_no_marker_while_a_file_is_missing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.write("vol-1p1.plaso", b"p")
    host.end(outcome=COMPLETE)
    refuse(host, "SlowDown", 503, times=99)
    assert host.upload() == 75
    assert host.keys() == []
    assert not (host.folders.own / "complete").exists()
    host.s3.meta.events.unregister("before-send.s3.PutObject", unique_id="refuse")
    assert host.upload() == 0
    assert host.keys() == ["complete.json", "sha256sums.txt", "vol-1p1.plaso"]


def refuse(host: Host, code: str, status: int, times: int) -> None:
    """Answer the next PutObject calls with an AWS error instead of sending them."""
    from botocore.awsrequest import AWSResponse

    left = [times]

    class Raw:
        def stream(self, **_: Any) -> Iterator[bytes]:
            yield f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()

    def answer(request: Any, **_: Any) -> Any:
        if left[0] == 0:
            return None
        left[0] -= 1
        return AWSResponse(request.url, status, {}, Raw())

    host.s3.meta.events.register("before-send.s3.PutObject", answer, unique_id="refuse")


def test_a_refusal_for_good_and_one_that_passes_differ(host: Host) -> None:
    for name in ("a", "b", "c"):
        host.write(name, b"x")
    refuse(host, "AccessDenied", 403, times=99)
    assert host.upload() == 1
    assert len(host.lines) == 1  # the next file would be refused as well
    assert "AccessDenied" in host.lines[0]


def test_throttles_are_retried_within_a_pass(host: Host) -> None:
    host.write("a", b"x")
    refuse(host, "SlowDown", 503, times=1)
    assert host.upload() == 0
    assert host.keys() == ["a"]


def test_a_lost_answer_is_not_taken_for_another_object(host: Host) -> None:
    """The object arrived, the answer did not: the next pass meets 412 and knows the content as its own."""
    host.write("a", b"x")
    refuse(host, "InternalError", 500, times=99)
    assert host.upload() == 75
    host.s3.meta.events.unregister("before-send.s3.PutObject", unique_id="refuse")
    host.s3.put_object(Bucket=BUCKET, Key=PREFIX + "a", Body=b"x")
    assert host.upload() == 0
    assert State.load(host.folders.own / "state.json").files["a"].state == "done"
    assert host.versions("a") == 1


def test_p40_a_foreign_object_is_never_replaced_and_is_reported(host: Host) -> None:
    host.s3.put_object(Bucket=BUCKET, Key=PREFIX + "vol-1p1.plaso", Body=b"somebody else's")
    host.write("vol-1p1.plaso", b"ours")
    host.end(outcome=COMPLETE)
    assert host.upload() == 0
    assert host.get("vol-1p1.plaso") == b"somebody else's"
    assert host.marker()["outcome"] == "incomplete"
    assert host.marker()["missing"] == ["vol-1p1.plaso"]


def test_p40_the_answers_checksum_is_compared(host: Host) -> None:
    host.write("a", b"x")

    def lie(parsed: dict[str, Any], **_: Any) -> None:
        parsed["ChecksumSHA256"] = base64.b64encode(b"\0" * 32).decode()

    host.s3.meta.events.register("after-call.s3.PutObject", lie, unique_id="lie")
    assert host.upload() == 75
    assert "stored SHA-256" in host.lines[0]
    host.s3.meta.events.unregister("after-call.s3.PutObject", unique_id="lie")
    assert host.upload() == 0
    assert host.keys() == ["a", "a.2"]  # the doubtful object stays, a proven one stands beside it


def test_p40_a_store_without_checksums_proves_nothing(host: Host) -> None:
    host.write("a", b"x")
    host.s3.meta.events.register("after-call.s3.PutObject", lambda parsed, **_: parsed.pop("ChecksumSHA256"))
    assert host.upload() == 1
    assert "nothing is proven" in host.lines[0]


def test_p40_multipart_composite_is_recomputed(host: Host) -> None:
    data = os.urandom(11 * MIB + 17)
    host.write("big.plaso", data)
    answer_composite(host, "big.plaso", 5 * MIB)
    assert host.upload(single_limit=6 * MIB, part=5 * MIB) == 0
    assert host.get("big.plaso") == data
    assert host.upload(single_limit=6 * MIB, part=5 * MIB) == 0
    assert host.versions("big.plaso") == 1
    with pytest.raises(UploadError) as caught:
        s3_put.put(host.s3, BUCKET, PREFIX + "big.plaso", host.folders.results / "big.plaso",
                   hashlib.sha256(data).hexdigest(), len(data), single_limit=6 * MIB, part=5 * MIB)
    assert caught.value.kind == "there"
    assert host.s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) == []


def answer_composite(host: Host, name: str, part: int, flaw: bytes = b"") -> None:
    """moto leaves the checksum out of this answer: add what S3 computes from the parts that it stored."""

    def add(parsed: dict[str, Any], **_: Any) -> None:
        if "Error" not in parsed:
            data = host.get(name) + flaw
            digests = b"".join(hashlib.sha256(data[start:start + part]).digest() for start in range(0, len(data), part))
            parsed["ChecksumSHA256"] = f"{base64.b64encode(hashlib.sha256(digests).digest()).decode()}-3"

    host.s3.meta.events.register("after-call.s3.CompleteMultipartUpload", add)


def test_p40_multipart_that_was_put_together_wrongly_is_noticed(host: Host) -> None:
    host.write("big.plaso", os.urandom(11 * MIB + 17))
    answer_composite(host, "big.plaso", 5 * MIB, flaw=b"x")
    assert host.upload(single_limit=6 * MIB, part=5 * MIB) == 75
    assert "stored SHA-256" in host.lines[0]


def test_p40_multipart_of_a_file_that_changes_is_given_up(host: Host) -> None:
    host.write("big", b"x" * (6 * MIB))
    with pytest.raises(UploadError) as caught:
        s3_put.put(host.s3, BUCKET, PREFIX + "big", host.folders.results / "big", "0" * 64, 6 * MIB,
                   single_limit=MIB, part=5 * MIB)
    assert caught.value.kind == "changed"
    assert host.keys() == []
    assert host.s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) == []


@pytest.mark.parametrize(("size", "part"), [
    (1, 64 * MIB), (64 * MIB * 10_000, 64 * MIB), (64 * MIB * 10_000 + 1, 65 * MIB), (5 << 40, 525 * MIB)])
def test_p40_never_more_than_ten_thousand_parts(size: int, part: int) -> None:
    assert s3_put.part_size(size) == part
    assert -(-size // part) <= 10_000


def test_a_file_that_changes_while_it_is_sent_is_sent_again(host: Host) -> None:
    host.write("a", b"x")
    refuse(host, "BadDigest", 400, times=1)  # what S3 says when content and checksum differ
    assert host.upload() == 75
    assert "changed while it was uploaded" in host.lines[0]
    assert host.upload() == 0
    assert host.keys() == ["a"]


def test_the_analysts_files_wait_for_quiet_and_later_versions_get_a_number(s3: Any, folders: Folders) -> None:
    host = Host(s3, folders, mode="manual")
    host.note("case/notes.txt", b"one")
    host.note("busy.txt", b"...", age=1)
    assert host.upload() == 0
    assert host.keys() == ["analyst/case/notes.txt"]
    host.note("case/notes.txt", b"two", age=30)
    assert host.upload() == 0
    assert host.get("analyst/case/notes.txt") == b"one"
    assert host.get("analyst/case/notes.txt.2") == b"two"
    host.note("case/notes.txt", b"two", age=20)  # touched only
    assert host.upload() == 0
    host.end("success killed TERM")
    assert host.upload() == 0
    assert host.keys() == ["analyst/busy.txt", "analyst/case/notes.txt", "analyst/case/notes.txt.2",
                           "analyst/sha256sums.txt", "complete.json", "sha256sums.txt"]
    assert host.marker()["outcome"] == "ended"
    assert b"  analyst/case/notes.txt.2\n" in host.get("analyst/sha256sums.txt")


def test_the_deadline_takes_along_what_is_there(host: Host) -> None:
    host.write("a", b"x")
    host.write("b", b"y")
    assert host.upload(NOW + timedelta(hours=1, minutes=59)) == 0
    assert host.keys() == ["a", "b"]
    assert host.upload(NOW + timedelta(hours=2)) == 0
    assert host.marker()["outcome"] == "timeout"
    assert host.marker()["missing"] == ["analysis"]
    listed = host.get("sha256sums.txt").decode()
    assert listed == "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in (("a", b"x"),
                                                                                              ("b", b"y")))


def test_p43_names_become_harmless_keys() -> None:
    assert object_name("vol-1p1.deleted.tar.gz") == "vol-1p1.deleted.tar.gz"
    assert object_name("a\nb/\x1b[2Jc\udcff?") == "a%0Ab/%1B%5B2Jc%FF%3F"
    assert object_name("x", 3) == "x.3"


def test_p43_a_hostile_name_does_not_break_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    upload._say("uploaded \x1b[2J\nforged line \u202e")
    assert capsys.readouterr().out == "uploaded ?[2J?forged line ?\n"


def test_a_torn_state_file_is_no_end(folders: Folders) -> None:
    (folders.own / "state.json").write_text('{"files": {"a": {"ke')
    assert State.load(folders.own / "state.json").files == {}


def test_main_speaks_of_its_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    request = tmp_path / "request.json"
    assert upload.main(["--request", str(request), "--own", str(tmp_path)]) == 1
    assert "does not describe a request" in capsys.readouterr().out


def test_main_uploads(endpoint: str, s3: Any, folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                      capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    request = {"request_id": "0123456789abcdef", "mode": "automatic", "artifact_bucket": BUCKET,
               "artifact_prefix": PREFIX, "artifact_bucket_region": "us-east-1", "endpoint_url": endpoint,
               "deadline": "2099-01-01T00:00:00Z"}
    (tmp_path / "request.json").write_text(json.dumps(request))
    (folders.results / "a").write_bytes(b"x")
    arguments = ["--request", str(tmp_path / "request.json"), "--results", str(folders.results),
                 "--analyst", str(folders.analyst), "--work", str(folders.work), "--own", str(folders.own)]
    assert upload.main(arguments) == 0, capsys.readouterr().out
    assert s3.get_object(Bucket=BUCKET, Key=PREFIX + "a")["Body"].read() == b"x"
    flag = tmp_path / "deadline"
    assert upload.main([*arguments, "--deadline-flag", str(flag)]) == 0
    assert not (folders.own / "complete").exists()
    flag.touch()  # the dead man's switch does not trust the clock
    assert upload.main([*arguments, "--deadline-flag", str(flag)]) == 0
    marker = json.loads(s3.get_object(Bucket=BUCKET, Key=PREFIX + "complete.json")["Body"].read())
    assert marker["outcome"] == "timeout"


@pytest.fixture
def session(s3: Any, folders: Folders) -> Host:
    return Host(s3, folders, mode="manual")


def test_a_later_version_meets_a_file_that_has_its_name_and_neither_is_lost(session: Host) -> None:
    session.note("note.txt", b"one")
    session.note("note.txt.2", b"the analyst's own")
    assert session.upload() == 0
    session.note("note.txt", b"two", age=30)
    session.s3.put_object(Bucket=BUCKET, Key=PREFIX + "analyst/note.txt.3", Body=b"of a run that is forgotten")
    assert session.upload() == 0
    assert [session.get(f"analyst/note.txt{end}") for end in ("", ".2", ".3", ".4")] == [
        b"one", b"the analyst's own", b"of a run that is forgotten", b"two"]


def test_an_uploader_that_forgot_everything_saves_the_analysts_files_again(session: Host) -> None:
    session.note("note.txt", b"one")
    assert session.upload() == 0
    (session.folders.own / "state.json").unlink()
    session.note("note.txt", b"two", age=30)
    assert session.upload() == 0
    assert session.get("analyst/note.txt") == b"one" and session.get("analyst/note.txt.2") == b"two"


def test_a_file_that_grows_is_sent_as_far_as_it_was(session: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    path = session.note("session.log", b"first line\n")
    real = upload.put

    def grow(*arguments: Any, **more: Any) -> None:
        if path.name in arguments[2]:
            with path.open("ab") as handle:
                handle.write(b"and another\n")
        real(*arguments, **more)

    monkeypatch.setattr(upload, "put", grow)
    assert session.upload() == 0
    assert session.get("analyst/session.log") == b"first line\n"
    monkeypatch.setattr(upload, "put", real)
    session.end("success killed TERM")
    assert session.upload() == 0
    assert session.get("analyst/session.log.2") == b"first line\nand another\n"


def test_a_file_that_is_never_quiet_is_saved_after_a_while(session: Host) -> None:
    path = session.note("capture.log", b"0")
    for minute in range(12):
        now = NOW + timedelta(minutes=minute)
        path.write_bytes(b"0" * (minute + 1))
        os.utime(path, (now.timestamp() - 1,) * 2)
        assert session.upload(now) == 0
        assert ("analyst/capture.log" in set(session.keys())) is (minute >= 10)
    assert session.get("analyst/capture.log") == b"0" * 11


def test_a_push_does_not_wait_for_quiet_and_sends_nothing_else(session: Host) -> None:
    session.note("busy.txt", b"half", age=1)
    session.note("case/done.txt", b"whole", age=1)
    assert session.push("case/done.txt") == 0
    assert session.keys() == ["analyst/case/done.txt"]
    assert session.lines[-1] == f"saved: s3://{BUCKET}/{PREFIX}analyst/case/done.txt"
    assert session.push("case/done.txt") == 0 and session.versions("analyst/case/done.txt") == 1
    session.note("case/done.txt", b"whole again", age=1)
    assert session.push("case/done.txt") == 0
    assert session.lines[-1].endswith("analyst/case/done.txt.2")


@pytest.mark.parametrize("name", ["none.txt", ".hidden", "link", "../results/vol-1p1.plaso"])
def test_p43_a_push_takes_files_of_the_analysts_folder_only(session: Host, name: str) -> None:
    session.write("vol-1p1.plaso", b"x")
    session.note(".hidden", b"x")
    (session.folders.analyst / "link").symlink_to("/etc/shadow")
    assert session.push(name) == 1
    assert "is no file in the analyst's folder" in session.lines[-1] and session.keys() == []


def test_a_push_after_the_end_is_refused(session: Host) -> None:
    session.end("success killed TERM")
    assert session.upload() == 0
    session.note("late.txt", b"x")
    assert session.push("late.txt") == 1
    assert "nothing can be added" in session.lines[-1]


def test_p26_what_could_not_be_saved_by_the_deadline_is_told_in_numbers(session: Host,
                                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what was not even tried any more, after three refusals."""
    for number in range(6):
        session.note(f"note-{number}.txt", b"x")
    session.write("vol-1p1.plaso", b"x")
    real = upload.put

    def refuse_notes(client: Any, bucket: str, key: str, *rest: Any, **more: Any) -> None:
        if "note-" in key and not key.endswith("note-0.txt"):
            raise UploadError("temporary", f"{key}: S3 refused it")
        real(client, bucket, key, *rest, **more)

    monkeypatch.setattr(upload, "put", refuse_notes)
    session.end("success killed TERM")
    assert session.upload() == 75
    assert "complete.json" not in set(session.keys())
    assert session.upload(NOW + timedelta(hours=2)) == 0
    marker = session.marker()
    assert marker["outcome"] == "incomplete" and marker["missing"] == ["analyst_files"]
    assert (marker["counts"]["analyst_saved"], marker["counts"]["analyst_unsaved"]) == (1, 5)
    assert "note-1" not in json.dumps(marker)


def test_p26_results_that_were_not_tried_any_more_are_named(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c", "d", "e"):
        host.write(name, b"x")
    real = upload.put

    def refuse_some(client: Any, bucket: str, key: str, *rest: Any, **more: Any) -> None:
        if key.removeprefix(PREFIX) in "bcde":
            raise UploadError("temporary", f"{key}: S3 refused it")
        real(client, bucket, key, *rest, **more)

    monkeypatch.setattr(upload, "put", refuse_some)
    assert host.upload(NOW + timedelta(hours=2)) == 0
    assert host.marker()["missing"] == ["analysis", "b", "c", "d", "e"]


def test_p52_a_full_disk_costs_the_memory_and_no_file(session: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    session.note("one.txt", b"1")
    session.note("two.txt", b"2")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ansible_collections.dfir.aws.plugins.module_utils.forensics.upload_state.write_json", full)
    assert session.upload() == 75
    assert session.keys() == ["analyst/one.txt", "analyst/two.txt"]
    monkeypatch.undo()
    session.end("success killed TERM")
    assert session.upload() == 0
    assert session.marker()["outcome"] == "ended" and session.marker()["missing"] == []
    assert session.get("analyst/one.txt") == b"1"


def test_a_file_that_vanishes_or_shrinks_stops_nothing(session: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    gone, short = session.note("a-gone.txt", b"x"), session.note("b-short.txt", b"x" * 100_000)
    session.note("c.txt", b"stays")
    real = upload.digest

    def vanish(path: Path) -> tuple[str, int]:
        if path == gone:
            path.unlink()
        found = real(path)
        if path == short:
            path.write_bytes(b"y")
        return found

    monkeypatch.setattr(upload, "digest", vanish)
    assert session.upload() == 75
    assert session.keys() == ["analyst/c.txt"]
    monkeypatch.setattr(upload, "digest", real)
    session.end("success killed TERM")
    assert session.upload() == 0
    assert session.get("analyst/b-short.txt.2") == b"y"
