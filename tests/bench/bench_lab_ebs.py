# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many GetSnapshotBlock a second the lab serves: `python tests/bench/bench_lab_ebs.py [--seconds 3]`.

The server runs in one process on a core of its own, a client that does nothing but receive in another on the last
core. Every request carries a valid signature of its own, which the server verifies; signing happens before the clock
starts. Prints a table and writes tests/output/bench_lab_ebs.json. Exits 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import selectors
import shutil
import socket
import ssl
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent.parent), str(HERE.parent / "unit" / "lab")]

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from ebs_kit import KEY, REGION, SECRET, Kit, client_context, listen, tokens

from lab import http_tls
from lab.contracts import BLOCK_SIZE

TARGETS = {"plain": 2500, "tls": 1500}
CONNECTIONS = (1, 4, 8, 16)
SNAPSHOT = "snap-0be0c4"


def serve(root: Path, blocks: int, pipe: Connection) -> None:
    """The server's process: makes the snapshot, tells where it listens, and reports its CPU time when asked."""
    if cores := sorted(os.sched_getaffinity(0))[:-1]:
        os.sched_setaffinity(0, cores[:1])  # a core each: this one is the server's, the last one the client's
    kit = Kit(root / "store", cache_seconds=1.0)
    gib = -(-blocks // 2048)
    path = kit.store.create_volume(REGION, "vol-bench", gib, None)
    with path.open("r+b") as file:
        for _ in range(blocks):
            file.write(os.urandom(BLOCK_SIZE))
    kit.store.snapshot_volume(REGION, "vol-bench", SNAPSHOT)
    kit.store.delete_volume(REGION, "vol-bench")
    kit.catalog.add(REGION, SNAPSHOT, gib)
    snapshot = kit.store.open(REGION, SNAPSHOT)
    for index in snapshot.written():
        snapshot.digest(index)  # the first reading computes digests: not what is measured here
    files = http_tls.ensure(root / "tls", ["127.0.0.1"])
    kit.front.tls_context = files.context()
    secure = listen()
    kit.front.serve(secure, tls=True)
    pipe.send(
        {
            "plain": kit.address,
            "tls": secure.getsockname(),
            "ca": str(files.ca),
            "tokens": tokens(kit.client(), SNAPSHOT),
        }
    )
    while pipe.recv() == "cpu":
        usage = resource.getrusage(resource.RUSAGE_SELF)
        pipe.send(usage.ru_utime + usage.ru_stime)
    kit.close()


def signed(scheme: str, address: tuple[str, int], block_tokens: dict[int, str]) -> list[bytes]:
    """One ready request a block."""
    signer = SigV4Auth(Credentials(KEY, SECRET), "ebs", REGION)
    requests = []
    for index, token in block_tokens.items():
        url = f"{scheme}://{address[0]}:{address[1]}/snapshots/{SNAPSHOT}/blocks/{index}"
        request = AWSRequest("GET", url, params={"blockToken": token})
        signer.add_auth(request)
        prepared = request.prepare()
        target = prepared.url.split(f":{address[1]}", 1)[1]
        fields = "".join(f"{name}: {value}\r\n" for name, value in prepared.headers.items())
        requests.append(f"GET {target} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\n{fields}\r\n".encode())
    return requests


class Conversation:
    """One connection that asks for block after block."""

    def __init__(self, sock: Any, requests: list[bytes], first: int) -> None:
        self.sock, self.requests, self.at, self.done = sock, requests, first, 0
        self.buffer = memoryview(bytearray(BLOCK_SIZE + 4096))
        self.got, self.whole = 0, 0
        sock.setblocking(False)

    def ask(self) -> None:
        """Send the next request (it fits into the socket's buffer)."""
        self.got = self.whole = 0
        self.sock.send(self.requests[self.at % len(self.requests)])
        self.at += 1

    def receive(self) -> None:
        """Take what has come; a block that is complete is counted, and the next one asked for."""
        while True:
            try:
                more = self.sock.recv_into(self.buffer[self.got :])
            except (BlockingIOError, ssl.SSLWantReadError):
                return
            if not more:
                raise SystemExit("the server closed a connection")
            self.got += more
            if not self.whole:
                start = bytes(self.buffer[: min(self.got, 2048)])
                if b"\r\n\r\n" not in start or not start.startswith(b"HTTP/1.1 200"):
                    raise SystemExit(f"unexpected answer: {start!r}")
                self.whole = start.find(b"\r\n\r\n") + 4 + BLOCK_SIZE
            if self.got >= self.whole:
                self.done += 1
                self.ask()
                return


def measure(kind: str, where: dict[str, Any], requests: list[bytes], connections: int, seconds: float) -> float:
    """Blocks a second over so many connections. One thread serves them all: it never waits for Python's lock."""
    context = client_context(Path(where["ca"])) if kind == "tls" else None
    talks = []
    for number in range(connections):
        sock = socket.create_connection(where[kind])
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        secure = context.wrap_socket(sock, server_hostname="127.0.0.1") if context else sock
        talks.append(Conversation(secure, requests, number * 37))
    with selectors.DefaultSelector() as selector:
        for talk in talks:
            selector.register(talk.sock, selectors.EVENT_READ, talk)
        began = time.monotonic()
        for talk in talks:
            talk.ask()
        while time.monotonic() < began + seconds:
            for key, _ in selector.select(1.0):
                key.data.receive()
        took = time.monotonic() - began
    for talk in talks:
        talk.sock.close()
    return sum(talk.done for talk in talks) / took


def main() -> int:
    parser = argparse.ArgumentParser(description="Measures the lab's EBS direct.")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--blocks", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=1, help="how often each case runs; the best round counts")
    arguments = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="bench-ebs-"))
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(root, arguments.blocks, there))
    server.start()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])
    rows: list[dict[str, Any]] = []
    try:
        where = here.recv()
        print(f"{'kind':6} {'conns':>5} {'blocks/s':>9} {'MiB/s':>7} {'server CPU ms/block':>20} {'load':>6}")
        for kind in ("plain", "tls"):
            requests = signed("https" if kind == "tls" else "http", where[kind], where["tokens"])
            for connections in CONNECTIONS:
                best: dict[str, Any] = {}
                for _ in range(arguments.rounds):
                    here.send("cpu")
                    before = here.recv()
                    rate = measure(kind, where, requests, connections, arguments.seconds)
                    here.send("cpu")
                    cpu = here.recv() - before
                    row = {
                        "kind": kind,
                        "connections": connections,
                        "blocks_per_second": round(rate),
                        "mib_per_second": round(rate / 2),
                        "load": round(os.getloadavg()[0], 1),
                        "server_cpu_ms_per_block": round(cpu * 1000 / (rate * arguments.seconds), 3),
                    }
                    if not best or rate > best["blocks_per_second"]:
                        best = row
                rows.append(best)
                print(
                    f"{kind:6} {connections:5} {best['blocks_per_second']:9} {best['mib_per_second']:7} "
                    f"{best['server_cpu_ms_per_block']:20.3f} {best['load']:6}",
                    flush=True,
                )
        here.send("end")
        server.join(10)
    finally:
        if server.is_alive():
            server.terminate()
        shutil.rmtree(root, ignore_errors=True)
    output = HERE.parent / "output" / "bench_lab_ebs.json"
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps({"targets": TARGETS, "cores": os.cpu_count(), "rows": rows}, indent=2) + "\n")
    missed = [r for r in rows if r["connections"] >= 4 and r["blocks_per_second"] < TARGETS[r["kind"]]]
    print(f"targets: {TARGETS} at 4 to 16 connections, a core each side: {'missed' if missed else 'met'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
