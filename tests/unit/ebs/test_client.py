# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The transport: signatures, TLS, proxies, strange answers, budgets, and runs through storms of faults."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.ebs import errors
from ansible_collections.dfir.aws.plugins.module_utils.ebs.client import EbsClient
from ansible_collections.dfir.aws.plugins.module_utils.ebs.connection import Connection, Timeouts
from ansible_collections.dfir.aws.plugins.module_utils.ebs.endpoints import address, endpoint
from ansible_collections.dfir.aws.plugins.module_utils.ebs.identity import caller, describe_snapshot
from ansible_collections.dfir.aws.plugins.module_utils.ebs.listing import Listing
from ansible_collections.dfir.aws.plugins.module_utils.ebs.rate import RateBudget, RetryPolicy
from ansible_collections.dfir.aws.plugins.module_utils.ebs.sigv4 import Credentials, session_credentials

from lab import http_tls
from tests.unit.ebs.engine_kit import BLOCKS, SharedKit, engine, expect_image, image
from tests.unit.ebs.storm import KINDS, storm
from tests.unit.lab.ebs_kit import KEY, REGION, SECRET, listen

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@contextmanager
def server(*answers: bytes) -> Iterator[str]:
    """Something that says these bytes to whoever asks, one after the other, and closes: no real server errs so."""
    sock = listen()

    def serve() -> None:
        try:
            for answer in answers:
                connection, _ = sock.accept()
                connection.recv(65_536)
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(1)
                connection.close()
        except OSError:
            return

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    sock.close()


def receive(answer: bytes, room: int = 4096) -> bytes:
    with server(answer) as url:
        connection = Connection(endpoint(url), None, Timeouts(2, 1, 5))
        buffer = memoryview(bytearray(room))
        connection.send(b"GET / HTTP/1.1\r\n\r\n")
        try:
            found = connection.receive(buffer)
        finally:
            connection.close()
        return bytes(buffer[found.start : found.start + found.length])


def test_a_body_by_length_or_in_chunks() -> None:
    assert receive(GOOD) == b"hi"
    assert (
        receive(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1;x=y\r\ni\r\n0\r\nTrailer: t\r\n\r\n")
        == b"hi"
    )


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 1\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\nhi\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhiXX0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\nhi",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000,
    ],
)
def test_p02_a_doubtful_answer_is_not_believed(answer: bytes) -> None:
    with pytest.raises(errors.ConnectionLost):
        receive(answer, 100_000)


def test_p07_a_silent_server_times_out() -> None:
    sock = listen()
    connection = Connection(endpoint(f"http://127.0.0.1:{sock.getsockname()[1]}"), None, Timeouts(2, 0.1, 5))
    connection.send(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(errors.TimedOut):
        connection.receive(memoryview(bytearray(100)))
    sock.close()


def test_credentials_refresh_during_a_run(kit: SharedKit, tmp_path: Path) -> None:
    snapshot, asked = kit.snapshot(BLOCKS), []

    def credentials() -> Credentials:
        asked.append(time.monotonic())
        return Credentials(KEY, SECRET)

    client = EbsClient(REGION, credentials, endpoint_url=kit.endpoint, rate=RateBudget(5.0))
    image(client, snapshot, tmp_path / "i")
    assert len(asked) >= 3, "about once a second"


def test_wrong_credentials_are_refused_at_once(kit: SharedKit, tmp_path: Path) -> None:
    client = engine(kit, KEY, "wrong")
    with pytest.raises(errors.Refused, match="signature"):
        image(client, kit.snapshot(BLOCKS), tmp_path / "i")
    assert client.counts["requests"] == 1


def test_no_credentials_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(errors.CredentialsError, match="No AWS credentials"):
        session_credentials()


def test_a_wrong_clock_is_corrected(kit: SharedKit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    snapshot = kit.snapshot(BLOCKS)
    client = engine(kit)
    client.service._signer.skew = -3600.0  # as if this machine's clock were an hour late
    image(client, snapshot, tmp_path / "i")
    assert client.counts["clock_skewed"] >= 1 and abs(client.service._signer.skew) < 10


def test_tls_is_verified(kit: SharedKit, tmp_path: Path) -> None:
    files = http_tls.ensure(tmp_path / "tls", ["127.0.0.1"])
    kit.front.tls_context = files.context()
    sock = listen()
    kit.front.serve(sock, tls=True)
    url, snapshot = f"https://127.0.0.1:{sock.getsockname()[1]}", kit.snapshot(BLOCKS)
    image(engine(kit, endpoint_url=url, ca_bundle=str(files.ca)), snapshot, tmp_path / "i")
    expect_image(tmp_path / "i", BLOCKS)
    with pytest.raises(errors.CertificateError, match="AWS_CA_BUNDLE"):
        image(engine(kit, endpoint_url=url), snapshot, tmp_path / "j")


@contextmanager
def proxy(target: tuple[str, int], heads: list[bytes]) -> Iterator[str]:
    """A proxy that passes everything on to `target`, and keeps the heads that it was sent."""
    sock = listen()

    def pump(one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65_536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def serve() -> None:
        while True:
            try:
                client, _ = sock.accept()
            except OSError:
                return
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(4096)
            heads.append(head)
            there = socket.create_connection(target)
            if head.startswith(b"CONNECT"):
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                method, url, rest = head.split(b" ", 2)
                there.sendall(b" ".join((method, b"/" + url.split(b"/", 3)[3], rest)))
            for pair in ((client, there), (there, client)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield f"127.0.0.1:{sock.getsockname()[1]}"
    sock.close()


def test_a_proxy_of_the_environment_is_used(kit: SharedKit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = http_tls.ensure(tmp_path / "tls", ["127.0.0.1"])
    kit.front.tls_context = files.context()
    sock = listen()
    kit.front.serve(sock, tls=True)
    heads: list[bytes] = []
    with proxy(sock.getsockname(), heads) as where:
        monkeypatch.setenv("https_proxy", f"http://user:p%40ss@{where}")
        monkeypatch.setenv("no_proxy", "")
        url = f"https://127.0.0.1:{sock.getsockname()[1]}"
        image(
            engine(kit, endpoint_url=url, ca_bundle=str(files.ca)), kit.snapshot(BLOCKS), tmp_path / "i", connections=2
        )
    expect_image(tmp_path / "i", BLOCKS)
    assert heads[0].startswith(b"CONNECT 127.0.0.1:") and b"Proxy-Authorization: Basic dXNlcjpwQHNz" in heads[0]
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert endpoint(url).proxy is None


def test_a_plain_request_through_a_proxy(kit: SharedKit, monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[bytes] = []
    with proxy(kit.address, heads) as where:
        monkeypatch.setenv("http_proxy", f"http://{where}")
        monkeypatch.setenv("no_proxy", "")
        listing = Listing(engine(kit), kit.snapshot(BLOCKS))
        assert listing.open() == 1
        listing.close()
    assert heads[0].startswith(f"GET {kit.endpoint}/snapshots/".encode())


@pytest.mark.parametrize(
    ("region", "fips", "expected"),
    [
        ("eu-west-1", False, "https://ebs.eu-west-1.amazonaws.com"),
        ("us-east-1", True, "https://ebs-fips.us-east-1.amazonaws.com"),
        ("cn-north-1", False, "https://ebs.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", False, "https://ebs.us-gov-west-1.amazonaws.com"),
        ("us-iso-east-1", False, "https://ebs.us-iso-east-1.c2s.ic.gov"),
    ],
)
def test_addresses(region: str, fips: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    assert address("ebs", region, fips=fips) == expected
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://x:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_EBS", "http://y:2")
    assert address("ebs", region) == "http://y:2" and address("ec2", region) == "http://x:1"


@pytest.mark.parametrize("url", ["ftp://x", "https://", "https://x/path", "http://x:99999", "http://u:p@x", "x"])
def test_a_bad_address_is_refused(url: str) -> None:
    with pytest.raises(errors.BadInput):
        endpoint(url)


@pytest.mark.parametrize(
    ("region", "good"), [("us-east-1", True), ("us-gov-west-1", True), ("us-east-1\n", False), ("../x", False)]
)
def test_regions(region: str, good: bool) -> None:
    def make() -> EbsClient:
        return EbsClient(region, lambda: Credentials("a", "b"), endpoint_url="http://127.0.0.1:1")

    if good:
        make()
    else:
        with pytest.raises(errors.BadInput):
            make()


def test_ec2_and_sts_say_who_it_is(kit: SharedKit, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3

    monkeypatch.setenv("AWS_ENDPOINT_URL", kit.endpoint)
    ec2 = boto3.client("ec2", region_name=REGION, aws_access_key_id=KEY, aws_secret_access_key=SECRET)
    volume = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=3)["VolumeId"]
    snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    client = engine(kit)
    facts = describe_snapshot(client, snapshot)
    assert (facts.snapshot_id, facts.volume_id, facts.volume_gib, facts.state) == (snapshot, volume, 3, "completed")
    assert facts.owner == "123456789012" and facts.encrypted is False and facts.started
    facts.require_imageable()
    account, arn = caller(client)
    assert account == "123456789012" and arn.startswith("arn:aws:")
    with pytest.raises(errors.SnapshotGone):
        describe_snapshot(client, "snap-0123456789abcdef0")


def drain(budget: RateBudget, seconds: float) -> int:
    """How many requests a budget lets out in that time."""
    sent, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        wait = budget.take()
        sent += not wait
        time.sleep(min(wait, 0.005))
    return sent


def test_p08_the_budget_bounds_all_that_share_it() -> None:
    budget = RateBudget(200.0)
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(drain(budget, 0.5))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 20 < sum(counts) <= 200 * 0.5 + 200 * 0.04 + 10


def test_p08_throttles_lower_the_rate_once_a_crowd_and_it_rises_again() -> None:
    budget = RateBudget(1000.0, pause=0.0)
    budget.take()
    sent = time.monotonic()
    for _ in range(16):
        budget.throttled(sent)
    assert budget.rate == 750.0
    time.sleep(0.2)
    budget.take()
    assert 750.0 < (budget.rate or 0) < 1000.0


def test_p07_waits_double_and_have_an_end() -> None:
    policy = RetryPolicy(base=0.1, longest=2.0)
    assert policy.delay(1, throttled=False) == 0.0, "a first failure is tried again at once"
    assert 0.2 <= policy.delay(2, throttled=False) <= 0.4
    assert 1.0 <= policy.delay(50, throttled=True) <= 2.0


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_storm_of_faults_never_gives_a_wrong_image(tmp_path: Path, seed: int) -> None:
    weather = storm(tmp_path, faults=150, blocks=60, seed=seed)
    assert weather.right and weather.verdict == "the image is identical", weather
    assert weather.fired == 150 and len(weather.by_kind) >= len(KINDS) - 1


def test_a_storm_that_is_too_much_fails_with_its_cause(tmp_path: Path) -> None:
    weather = storm(tmp_path, faults=10_000, blocks=60, seed=3, attempts=4)
    assert weather.right and "the run failed: " in weather.verdict and "the last cause" in weather.verdict, weather
