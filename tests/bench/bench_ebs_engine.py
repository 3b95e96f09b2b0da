# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What imaging costs: `python tests/bench/bench_ebs_engine.py [--only PART ...] [--quick]`.

The engine, a boto3 thread pool, dsnap (a virtual environment of its own) and a C program that only receives, hashes
and writes, side by side: the server on the first core, each client on the last one, medians of three rounds after a
warm-up round. The sink is a sparse raw file, in memory where there is enough; the rate budget is lifted.
Parts: plain, tls, resume, memory, faults. Exits 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "collections"), str(HERE), str(HERE.parent / "unit" / "lab")]

import bench_lab_ebs
from ebs_kit import KEY, REGION, SECRET
from measures import keep, measure, show

BLOCKS = 2048  # one GiB, fully written
CONNECTIONS = 8
ROUNDS = 3
NEEDED = 8 << 30  # bytes: four images, and room for the programs
DSNAP = CHECKOUT / ".venv-dsnap"
PARTS = ("plain", "tls", "resume", "memory", "faults")
TARGETS = {"cpu_of_boto3": 0.5, "cpu_of_boto3_tls": 0.6, "cpu_of_floor": 1.4, "whole_hash_of_cold": 1.2}


class Bench:
    """The server, and clients that run against it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        here, there = multiprocessing.Pipe()
        self._pipe = here
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[0]})  # the server inherits it
        self._server = multiprocessing.get_context("spawn").Process(
            target=bench_lab_ebs.serve, args=(root, BLOCKS, there), daemon=True
        )
        self._server.start()
        self.where = here.recv()
        self.measures: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []
        self.floor = self._compile()

    def close(self) -> None:
        self._pipe.send("end")
        self._server.join(10)
        if self._server.is_alive():
            self._server.terminate()

    def _compile(self) -> Path | None:
        program = self.root / "ebs_floor"
        command = ["cc", "-O2", "-o", str(program), str(HERE / "ebs_floor.c"), "-lssl", "-lcrypto"]
        try:
            subprocess.run(command, check=True)
        except (OSError, subprocess.CalledProcessError):
            print("The floor cannot be compiled: install gcc and libssl-dev.", file=sys.stderr)
            return None
        return program

    def settings(self, kind: str, **more: Any) -> dict[str, Any]:
        scheme = "https" if kind == "tls" else "http"
        return {
            "url": f"{scheme}://127.0.0.1:{self.where[kind][1]}",
            "ca": self.where["ca"],
            "key": KEY,
            "secret": SECRET,
            "region": REGION,
            "snapshot": bench_lab_ebs.SNAPSHOT,
            "output": str(self.root / "image"),
            "connections": CONNECTIONS,
        } | more

    def client(self, name: str, settings: dict[str, Any], python: str = sys.executable) -> dict[str, Any]:
        """One run of a client in its own process."""
        command = [python, str(HERE / "ebs_engine_client.py"), name, json.dumps(settings)]
        cores = sorted(os.sched_getaffinity(os.getppid()))
        done = subprocess.run(
            ["taskset", "-c", str(cores[-1]), *command], capture_output=True, text=True, timeout=1800, check=False
        )
        if done.returncode:
            raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def run_floor(self, kind: str) -> dict[str, Any] | None:
        if self.floor is None:
            return None
        requests = self.root / "requests"
        with requests.open("wb") as file:
            ready = bench_lab_ebs.signed("https" if kind == "tls" else "http", self.where[kind], self.where["tokens"])
            for index, text in zip(self.where["tokens"], ready, strict=True):
                file.write(b"%d %d\n%s" % (index, len(text), text))
        address = self.where[kind]
        ca = self.where["ca"] if kind == "tls" else "-"
        cores = sorted(os.sched_getaffinity(os.getppid()))
        command = ["taskset", "-c", str(cores[-1]), str(self.floor), address[0], str(address[1]), str(requests)]
        output = self.root / "floor.image"
        output.unlink(missing_ok=True)
        done = subprocess.run([*command, str(output), str(CONNECTIONS), ca], capture_output=True, text=True, check=True)
        cpu, wall, blocks = done.stdout.split()
        if int(blocks) != BLOCKS:
            raise SystemExit("the floor did not receive every block")
        return {"cpu": float(cpu), "wall": float(wall)}

    def side_by_side(self, kind: str, contenders: dict[str, Any]) -> dict[str, dict[str, float]]:
        """Medians of every contender, the rounds interleaved."""
        seen: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
        for round_number in range(ROUNDS + 1):
            for name, run in contenders.items():
                found = run()
                if found is not None and round_number:
                    seen[name].append(found)
        medians: dict[str, dict[str, float]] = {}
        for name, found in seen.items():
            if not found:
                continue
            cpu = statistics.median(entry["cpu"] for entry in found) * 1000 / BLOCKS
            wall = statistics.median(entry["wall"] for entry in found)
            medians[name] = {"cpu": cpu, "rate": BLOCKS / wall}
            row = {"kind": kind, "client": name, "cpu_ms_per_block": round(cpu, 3)}
            self.rows.append(row | {"blocks_per_second": round(BLOCKS / wall), "load": round(os.getloadavg()[0], 1)})
            print(f"{kind:6} {name:24} {cpu:8.3f} ms CPU a block {BLOCKS / wall:8.0f} blocks/s", flush=True)
        return medians

    def ratio(
        self, name: str, value: float, unit: str, other: str, base: float, bar: float, *, least: bool = False
    ) -> None:
        """Record value/base against a bar; `least`: the ratio must be at least the bar."""
        share = value / base
        words = f"at {'least' if least else 'most'} {bar:g}x of {other}"
        holds = share >= bar if least else share <= bar
        self.measures.append(measure(name, value, unit, compared_with=other, ratio=share, bar=words, holds=holds))

    def beside(self, name: str, value: float, unit: str, other: str, base: float) -> None:
        """Record what nothing of ours could change: how far a bar can be reached on this machine."""
        words = "none, for comparison"
        self.measures.append(measure(name, value, unit, compared_with=other, ratio=value / base, bar=words, holds=True))

    def limit(self, name: str, value: float, unit: str, bar: float, *, least: bool = False) -> None:
        """Record a value against a bar."""
        words = f"{'at least' if least else 'under'} {bar:g} {unit}"
        self.measures.append(measure(name, value, unit, bar=words, holds=value >= bar if least else value < bar))


def imaging(bench: Bench, kind: str) -> None:
    """CPU a block and rate, side by side."""
    plain = kind == "plain"
    contenders: dict[str, Any] = {
        "floor": lambda: bench.run_floor(kind),
        "engine": lambda: bench.client("engine", bench.settings(kind)),
        "engine sha256": lambda: bench.client("engine", bench.settings(kind, hashes=["sha256"])),
        "boto3 pool": lambda: bench.client("boto3", bench.settings(kind)),
    }
    if plain:
        contenders["hash, cache-cold"] = lambda: bench.client("hash_cold", bench.settings(kind))
        if (python := dsnap_python()) is not None:
            contenders["dsnap"] = lambda: bench.client("dsnap", bench.settings(kind), python)
    found = bench.side_by_side(kind, contenders)
    engine, boto3 = found["engine"], found["boto3 pool"]
    limit = TARGETS["cpu_of_boto3" if plain else "cpu_of_boto3_tls"]
    bench.ratio(f"engine CPU a block, {kind}, to boto3", engine["cpu"], "ms", "boto3 pool", boto3["cpu"], limit)
    if "floor" in found:
        floor = found["floor"]["cpu"]
        bench.ratio(f"engine CPU a block, {kind}, to the floor", engine["cpu"], "ms", "floor", floor, 1.4)
    if plain:
        added, cold = found["engine sha256"]["cpu"] - engine["cpu"], found["hash, cache-cold"]["cpu"]
        bench.ratio(
            "whole-image SHA-256 in the same pass", added, "ms", "hash, cold", cold, TARGETS["whole_hash_of_cold"]
        )
        bench.ratio(
            "engine rate, plain, to boto3", engine["rate"], "blocks/s", "boto3 pool", boto3["rate"], 2, least=True
        )
        if "dsnap" in found:
            rate = found["dsnap"]["rate"]
            bench.ratio("engine rate, plain, to dsnap", engine["rate"], "blocks/s", "dsnap", rate, 3, least=True)
            if "floor" in found:
                bench.beside("the floor's rate, plain, to dsnap", found["floor"]["rate"], "blocks/s", "dsnap", rate)
            same = compare(bench.root / "image", bench.root / f"{bench_lab_ebs.SNAPSHOT}.img")
            bench.measures.append(measure("dsnap makes the same image", same, "yes=1", bar="the same", holds=same))
        bench.limit("engine rate, plain", engine["rate"], "blocks/s", 1000, least=True)
        rate = found["engine sha256"]["rate"]
        bench.limit("engine rate, plain, with the whole-image hash", rate, "blocks/s", 700, least=True)


def compare(one: Path, two: Path) -> bool:
    """Whether two files are the same."""
    return subprocess.run(["cmp", "-s", str(one), str(two)], check=False).returncode == 0


def resume(bench: Bench) -> None:
    """A run that finds everything there already, against hashing what is there."""
    path = bench.root / "image"
    bench.client("engine", bench.settings("plain", hashes=["sha256"]))

    def again() -> dict[str, Any]:
        path.rename(f"{path}.partial")
        manifest = Path(f"{path}.manifest")
        manifest.rename(f"{manifest}.partial")  # its footer is what a run leaves that is killed at the very end
        found = bench.client("engine", bench.settings("plain", hashes=["sha256"], resume=True))
        if found["kept"] != BLOCKS or found["fetched"]:
            raise SystemExit(f"the resume fetched something: {found}")
        return found

    found = bench.side_by_side(
        "resume",
        {
            "hashing what is there": lambda: bench.client("hash_stored", bench.settings("plain", hashes=["sha256"])),
            "engine resumes": again,
        },
    )
    bench.ratio("resume", found["engine resumes"]["cpu"], "ms", "hashing", found["hashing what is there"]["cpu"], 1.3)


def memory(bench: Bench, gib: int) -> None:
    """Peak memory of the engine's process."""
    ordinary = bench.client("engine", bench.settings("plain", connections=16, hashes=["sha256"]))
    bench.limit("peak memory, raw file, 1 GiB image", ordinary["peak_mib"], "MiB", 96)
    secure = bench.client("engine", bench.settings("tls", connections=16, hashes=["sha256"]))
    bench.limit("peak memory, raw file, 1 GiB image, TLS", secure["peak_mib"], "MiB", 96)
    with S3Stub() as s3:
        bucket = bench.client("engine_s3", bench.settings("plain", connections=16, s3=s3.url))
    bench.limit("peak memory, S3 segments, 1 GiB of noise", bucket["peak_mib"], "MiB", 160)
    full = bench.client("largest", bench.settings("plain", gib=gib))
    name = f"peak memory, fully written {gib / 1024:g} TiB, simulated"
    bench.limit(name, full["peak_mib"], "MiB", 128)
    bench.limit("manifest, bytes a block", full["manifest_bytes"] / full["blocks"], "bytes", 40.01)
    print(f"{full['blocks']} pretended blocks: {full['cpu'] * 1e6 / full['blocks']:.1f} us CPU each", flush=True)


class _Bucket(BaseHTTPRequestHandler):
    """Takes objects, hashes nothing, keeps nothing: the client's memory is what is measured."""

    protocol_version = "HTTP/1.1"

    def _answer(self, status: int, body: bytes = b"", **fields: str) -> None:
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_HEAD(self) -> None:
        self._answer(404)

    def do_GET(self) -> None:
        self._answer(200, b"<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>")

    def do_PUT(self) -> None:
        if self.headers.get("Expect"):
            self.send_response_only(100)
            self.end_headers()
        left = int(self.headers["Content-Length"])
        while left:
            left -= len(self.rfile.read(min(left, 1 << 20)))
        self._answer(200, x_amz_checksum_sha256=self.headers["x-amz-checksum-sha256"], ETag='"-"')

    def log_message(self, format: str, *args: object) -> None: ...


class S3Stub:
    """A bucket for the memory measurement; moto would keep all of it."""

    def __enter__(self) -> S3Stub:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Bucket)
        Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_unused: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def faults(bench: Bench, count: int) -> None:
    """So many faults in one imaging run: see tests/unit/ebs/storm.py."""
    from tests.unit.ebs.storm import storm

    found = storm(bench.root / "storm", faults=count, blocks=BLOCKS, seed=1)
    print(f"{found.fired} faults fired: {found.verdict}; {dict(found.by_kind)}", flush=True)
    holds = found.fired >= count and found.right
    bench.measures.append(
        measure(f"{count} random faults in one run", found.fired, "faults", bar=found.verdict, holds=holds)
    )


def dsnap_python() -> str | None:
    """dsnap needs an older urllib3 than we do: a virtual environment of its own."""
    python = DSNAP / "bin" / "python"
    if not python.exists():
        try:
            subprocess.run([sys.executable, "-m", "venv", str(DSNAP)], check=True)
            install = [str(python), "-m", "pip", "-q", "install", "dsnap==1.0.1", "boto3==1.44.5"]
            subprocess.run(install, check=True)
        except subprocess.CalledProcessError:
            shutil.rmtree(DSNAP, ignore_errors=True)
            print("dsnap cannot be installed here: not compared.", file=sys.stderr)
            return None
    return str(python)


def scratch() -> str | None:
    """Memory where there is plenty, so that the disk's own pace is left out; else the temporary folder."""
    memory = Path("/dev/shm")
    try:
        facts = os.statvfs(memory)
        available = int(Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()[0]) << 10
    except (OSError, IndexError):
        return None
    return str(memory) if min(available, facts.f_bavail * facts.f_frsize) > NEEDED else None


def main() -> int:
    parser = argparse.ArgumentParser(description="Measures the block engine.")
    parser.add_argument("--only", action="append", choices=PARTS, help="this part (repeat for several)")
    parser.add_argument("--quick", action="store_true", help="a small simulated volume and few faults")
    arguments = parser.parse_args()
    parts = arguments.only or list(PARTS)
    root = Path(tempfile.mkdtemp(prefix="bench-engine-", dir=scratch()))
    bench = Bench(root)
    try:
        for kind in ("plain", "tls"):
            if kind in parts:
                imaging(bench, kind)
        if "resume" in parts:
            resume(bench)
        if "memory" in parts:
            memory(bench, 256 if arguments.quick else 16_384)
        if "faults" in parts:
            faults(bench, 500 if arguments.quick else 10_000)
    finally:
        bench.close()
        shutil.rmtree(root, ignore_errors=True)
    print(f"\nThe sink is a sparse raw file in {root.parent}.")
    show(bench.measures)
    keep(bench.measures)
    output = HERE.parent / "output" / "bench_ebs_engine.json"
    output.parent.mkdir(exist_ok=True)
    result = {"targets": TARGETS, "cores": os.cpu_count(), "rows": bench.rows, "measures": bench.measures}
    output.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if all(entry["holds"] for entry in bench.measures) else 1


if __name__ == "__main__":
    sys.exit(main())
