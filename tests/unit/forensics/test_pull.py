# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Artifacts of the case on their way to the host, from a server that breaks connections and lets addresses expire."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.forensics import pull

RENEW = "ansible-playbook playbooks/renew_artifact_urls.yml"
BIG = os.urandom(3 << 20)


class Store:
    """Objects behind addresses, as S3 serves them: ranges, a status for what is refused, connections that break."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.breaks: list[int] = []  # after how many bytes the next connections break
        self.refusal: tuple[int, str] | None = None
        self.ranges = True
        store = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                store.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, call: BaseHTTPRequestHandler) -> None:
        path, span = call.path.partition("?")[0].lstrip("/"), call.headers.get("Range", "")
        self.asked.append((path, span))
        if self.refusal or path not in self.objects:
            status, body = self.refusal or (404, "<Code>NoSuchKey</Code>")
            call.send_response(status)
            call.send_header("Content-Length", str(len(body)))
            call.end_headers()
            call.wfile.write(body.encode())
            return
        data, start = self.objects[path], 0
        if span and self.ranges:
            start = int(span.removeprefix("bytes=").rstrip("-"))
            call.send_response(206)
            call.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            call.send_response(200)
        call.send_header("Content-Length", str(len(data) - start))
        call.end_headers()
        end = min(len(data), start + self.breaks.pop(0)) if self.breaks else len(data)
        call.wfile.write(data[start:end])

    def url(self, key: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{key}?X-Amz-Signature=0"


class Host:
    """The host's side of it."""

    def __init__(self, store: Store, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.store, self.folder, self._capsys = store, folder, capsys
        self.case = folder / "case"
        self.case.mkdir()

    def offer(self, *, expires_at: str = "2099-01-01T00:00:00Z", left_out: int = 0, **more: Any) -> None:
        """What the controller leaves on the host."""
        objects = [{"key": key, "size": len(data), "url": self.store.url(key)}
                   for key, data in self.store.objects.items()]
        (self.folder / "artifacts.json").write_text(json.dumps({
            "incident": "INC-1", "expires_at": expires_at, "renew": RENEW, "left_out": left_out, "objects": objects,
            **more}))

    def pull(self, *arguments: str) -> int:
        return pull.main([*arguments, "--offer", str(self.folder / "artifacts.json"), "--folder", str(self.case)])

    @property
    def said(self) -> str:
        captured = self._capsys.readouterr()
        return captured.out + captured.err

    def files(self) -> dict[str, bytes]:
        return {str(path.relative_to(self.case)): path.read_bytes()
                for path in sorted(self.case.rglob("*")) if path.is_file()}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(pull.time, "sleep", lambda _seconds: None)
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    made = Store()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def host(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Host:
    return Host(store, tmp_path, capsys)


def sums(objects: dict[str, bytes]) -> bytes:
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in objects.items()).encode()


def a_case(store: Store) -> None:
    """A finished analysis of one snapshot, and an analyst's notes beside it."""
    made = {"vol-1p1.plaso": BIG, "vol-1p1.timeline.csv": b"a,b\n"}
    listed = sums(made)
    marker = json.dumps({"sha256sums_sha256": hashlib.sha256(listed).hexdigest()}).encode()
    notes = {"analyst/note.txt": b"it was the web shell\n"}
    for name, data in {**made, "sha256sums.txt": listed, "complete.json": marker, **notes,
                       "analyst/sha256sums.txt": sums(notes)}.items():
        store.objects[f"INC-1/snap-1/{name}"] = data


def test_everything_of_the_case_is_got_and_held_against_its_hashes(host: Host, store: Store) -> None:
    a_case(store)
    host.offer()
    assert host.pull() == 0
    said = host.said
    assert host.files() == {key.removeprefix("INC-1/"): data for key, data in store.objects.items()}
    assert "snap-1/vol-1p1.plaso: 3145728 bytes (1 of 3), SHA-256 verified" in said
    assert "snap-1/analyst/note.txt: 21 bytes (3 of 3), SHA-256 verified" in said
    assert "6 of 6 artifacts of INC-1 are in" in said
    asked = len(store.asked)
    assert host.pull() == 0 and len(store.asked) == asked  # what is there is not asked for again


def test_some_are_chosen_by_name_and_shown_before(host: Host, store: Store) -> None:
    a_case(store)
    host.offer()
    assert host.pull("*.timeline.csv") == 0
    assert host.said.count("SHA-256 verified") == 1
    assert "snap-1/vol-1p1.plaso" not in host.files() and "snap-1/vol-1p1.timeline.csv" in host.files()
    assert host.pull("--list", "vol-1p1.*") == 0
    lines = host.said.splitlines()
    assert lines == ["        3145728  to come  snap-1/vol-1p1.plaso",
                     "              4  here     snap-1/vol-1p1.timeline.csv"]
    assert host.pull("nothing.*") == 1 and "dfir-pull --list" in host.said


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_connection_is_gone_on_with(host: Host, store: Store, ranges: bool) -> None:
    a_case(store)
    store.ranges = ranges
    host.offer()
    assert host.pull("complete.json", "sha256sums.txt") == 0
    store.breaks = [10_000, 1, 1 << 20]
    assert host.pull("vol-1p1.plaso") == 0
    assert host.files()["snap-1/vol-1p1.plaso"] == BIG
    spans = [span for path, span in store.asked if path.endswith(".plaso") and span]
    assert spans == (["bytes=10000-", "bytes=10001-", "bytes=1058577-"] if ranges else
                     ["bytes=10000-", "bytes=1-", "bytes=1048576-"])
    assert "snap-1/vol-1p1.plaso: 3145728 bytes (1 of 1), SHA-256 verified" in host.said


def test_a_later_run_goes_on_where_an_earlier_one_stopped(host: Host, store: Store) -> None:
    a_case(store)
    host.offer()
    assert host.pull("complete.json") == 0
    store.breaks = [1000] * 50
    assert host.pull("vol-1p1.plaso") == 1
    assert "once more goes on behind" in host.said and "snap-1/vol-1p1.plaso" not in host.files()
    store.breaks = []
    assert host.pull("vol-1p1.plaso") == 0
    assert "gone on with behind 5000 bytes" in host.said and host.files()["snap-1/vol-1p1.plaso"] == BIG


@pytest.mark.parametrize(("change", "words"), [
    (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "its SHA-256 is"),
    (lambda data: data + b"more", "more of it than"),
    (lambda data: data[:-5], "the connection broke"),
])
def test_p04_what_is_not_whole_gets_no_name(host: Host, store: Store, change: Callable[[bytes], bytes],
                                            words: str) -> None:
    a_case(store)
    host.offer()
    key = "INC-1/snap-1/vol-1p1.plaso"
    store.objects[key] = change(store.objects[key])
    assert host.pull() == 1
    assert words in host.said and "snap-1/vol-1p1.plaso" not in host.files()
    store.objects[key] = BIG
    assert host.pull() == 0 and host.files()["snap-1/vol-1p1.plaso"] == BIG


def test_without_a_list_the_size_is_all_that_can_be_verified(host: Host, store: Store) -> None:
    store.objects["INC-1/snap-1/vol-1p1.bodyfile"] = b"0|x"
    host.offer()
    assert host.pull() == 0 and "size verified (no list has its hash)" in host.said


def test_a_list_that_its_marker_does_not_know_is_not_believed(host: Host, store: Store) -> None:
    a_case(store)
    store.objects["INC-1/snap-1/sha256sums.txt"] = sums({"vol-1p1.plaso": b"something else"})
    host.offer()
    assert host.pull() == 0
    said = host.said
    assert "WARNING: snap-1/sha256sums.txt is not the list that snap-1/complete.json names" in said
    assert "snap-1/vol-1p1.plaso: 3145728 bytes (1 of 3), size verified" in said


def test_expired_addresses_are_one_sentence_that_says_how_to_renew_them(host: Host, store: Store) -> None:
    a_case(store)
    host.offer(expires_at="2026-01-31T12:00:00Z")
    assert host.pull() == 1
    assert host.said == ("The addresses of the case's artifacts have expired at 2026-01-31 12:00 UTC. On the "
                         f"controller, this renews them: {RENEW}\n")
    assert store.asked == []
    host.offer()  # temporary credentials may end earlier than the list says
    store.refusal = (403, "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>")
    assert host.pull() == 1
    assert host.said.endswith(f"have expired. On the controller, this renews them: {RENEW}\n")
    assert len(store.asked) == 1


def test_a_policy_that_does_not_allow_it_is_told_apart(host: Host, store: Store) -> None:
    a_case(store)
    host.offer()
    store.refusal = (403, "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")
    assert host.pull() == 1
    said = host.said
    assert "LendArtifactsOfACase" in said and RENEW in said and "expired" not in said


@pytest.mark.parametrize("key", [
    "INC-1/../../etc/cron.d/x", "INC-1//etc/passwd", "INC-1/snap-1/./x", "INC-1/a\nb", "INC-1/\x1b[2J", "INC-10/x",
    "INC-1/" + "x" * 300, "INC-1/snap-1/.part-0123", "/etc/passwd", "INC-1/a\\b"])
def test_p43_a_key_leads_nowhere_but_below_the_folder(host: Host, store: Store, key: str) -> None:
    store.objects["INC-1/snap-1/good"] = b"good"
    store.objects[key] = b"bad"
    host.offer()
    assert host.pull() == 0
    said = host.said
    assert host.files() == {"snap-1/good": b"good"}
    assert "its name is no path of ours" in said and "\x1b" not in said and "\nb" not in said


def test_a_disk_without_room_is_told_before_anything_is_fetched(host: Host, store: Store,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    a_case(store)
    host.offer()
    monkeypatch.setattr(pull, "ROOM", 1 << 60)
    assert host.pull() == 1
    assert "not enough room" in host.said and store.asked == []


@pytest.mark.parametrize(("write", "words"), [
    (None, "No artifacts are offered"), ("{", "cannot be used"), ('{"incident": "x"}', "cannot be used")])
def test_a_host_without_a_usable_offer(host: Host, write: str | None, words: str) -> None:
    if write is not None:
        (host.folder / "artifacts.json").write_text(write)
    assert host.pull() == 1
    assert words in host.said


def test_what_is_not_offered_is_told(host: Host, store: Store) -> None:
    a_case(store)
    host.offer(left_out=3)
    assert host.pull() == 0
    assert "3 more objects of INC-1 are not offered" in host.said
