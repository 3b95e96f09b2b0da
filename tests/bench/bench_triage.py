# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a look into a snapshot costs: `python tests/bench/bench_triage.py [--only PART ...] [--quick]`.

The lab's EBS direct answers every request after 20 ms, on a core of its own; who looks has the last core. Parts: demo,
the lab's evidence grown to a volume of 64 GiB; server, a system with 80,000 entries and 300 MB of logs and journals.
Each is looked into three times, and the median counts. Exits 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "collections"), str(HERE), str(HERE.parent / "unit" / "lab")]

from measures import keep, measure, show

LATENCY = 0.02
ROUNDS = 3
PARTS = ("demo", "server")
BLOCK_SIZE = 524_288
GIB = 1 << 30
TARGETS = {"system_blocks": 60, "system_seconds": 3, "demo_blocks": 500, "demo_seconds": 15, "server_blocks": 3000,
           "server_seconds": 20}
START = 1_788_000_000


def copy_sparse(source: Path, target: Path, at: int = 0, start: int = 0, length: int | None = None) -> None:
    """Copy what is written of a file into another one."""
    with source.open("rb") as one, target.open("r+b") as other:
        end = start + length if length is not None else source.stat().st_size
        place = start
        while place < end:
            try:
                place = os.lseek(one.fileno(), place, os.SEEK_DATA)
            except OSError:
                return
            hole = min(os.lseek(one.fileno(), place, os.SEEK_HOLE), end)
            while place < hole:
                data = os.pread(one.fileno(), min(1 << 20, hole - place), place)
                os.pwrite(other.fileno(), data, at + place - start)
                place += len(data)


def empty(path: Path, size: int) -> Path:
    """A file of nothing but a hole."""
    with path.open("wb") as file:
        file.truncate(size)
    return path


def partitions(image: Path) -> list[tuple[int, int]]:
    """Begin and size of each partition, by the numbers of the table."""
    said = json.loads(subprocess.run(["sfdisk", "--json", image], capture_output=True, check=True).stdout)
    return [(int(entry["start"]) * 512, int(entry["size"]) * 512) for entry in said["partitiontable"]["partitions"]]


def disk_of(folder: Path, root: Path, gib: int, others: list[Path]) -> Path:
    """A disk whose first partition holds a file system that fills nearly all of it."""
    image = empty(folder / "disk.img", gib * GIB)
    place = 4
    words = ["label: gpt"]
    for one in (root, *others):
        mib = -(-one.stat().st_size >> 20)
        words.append(f"start={place}MiB, size={mib}MiB")
        place += mib
    subprocess.run(["sfdisk", "-q", image], input="\n".join(words).encode(), check=True, capture_output=True)
    place = 4 << 20
    for one in (root, *others):
        copy_sparse(one, image, place)
        place += -(-one.stat().st_size >> 20) << 20
    return image


def grown_demo(folder: Path) -> Path:
    """The lab's evidence with its root file system grown, on a disk of 64 GiB."""
    from lab.config import load
    from lab.evidence.image import ensure_image

    demo = ensure_image(load().cache).path
    (start, size), *rest = partitions(demo)
    root = empty(folder / "root.img", size)
    copy_sparse(demo, root, 0, start, size)
    os.truncate(root, 61 * GIB)
    subprocess.run(["e2fsck", "-f", "-y", root], check=False, capture_output=True)
    subprocess.run(["resize2fs", root], check=True, capture_output=True)
    data = empty(folder / "data.img", rest[0][1])
    copy_sparse(demo, data, 0, rest[0][0], rest[0][1])
    return disk_of(folder, root, 64, [data])


def server(folder: Path, entries: int, log_mib: int) -> Path:
    """A system with many files and long logs: half text, half journal."""
    from lab.config import load
    from lab.evidence.rootfs import ensure_rootfs

    root = folder / "root"
    root.mkdir()
    with tarfile.open(ensure_rootfs(load().cache)) as tar:
        tar.extractall(root, filter="tar")
    chance = random.Random(1)
    count = sum(len(folders) + len(files) for _unused, folders, files in os.walk(root))
    number = 0
    while count < entries:
        home = root / "srv/app" / f"module{number % 97}" / f"part{number // 97}"
        home.mkdir(parents=True, exist_ok=True)
        for one in range(40):
            (home / f"file{one}.py").write_text(f"# {number} {one}\n" * chance.randrange(1, 90))
        number += 1
        count += 41
    _logs(root / "var/log", log_mib // 2, chance)
    _journals(root / "var/log/journal/0123", log_mib - log_mib // 2, chance)
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    image = empty(folder / "root.img", max(8 * GIB, size * 3))
    subprocess.run(["mkfs.ext4", "-q", "-d", root, image], check=True, capture_output=True)
    shutil.rmtree(root)
    return disk_of(folder, image, 16, [])


def _logs(folder: Path, mib: int, chance: random.Random) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    moment = START
    for name, share in (("syslog", 0.4), ("syslog.1", 0.3), ("auth.log", 0.15), ("auth.log.1", 0.15)):
        with (folder / name).open("w", encoding="ascii") as file:
            while file.tell() < mib * share * (1 << 20):
                lines = []
                for _unused in range(2000):
                    moment += 1
                    at = time.strftime("%b %d %H:%M:%S", time.gmtime(moment))
                    address = f"198.18.{chance.randrange(4)}.{chance.randrange(256)}"
                    said = (f"sshd[9]: Failed password for root from {address} port 4 ssh2" if name.startswith("auth")
                            else f"app[7]: request {chance.randrange(10**9)} served in time")
                    lines.append(f"{at} web-01 {said}")
                file.write("\n".join(lines) + "\n")


def _journals(folder: Path, mib: int, chance: random.Random) -> None:
    """Files as systemd's own writer makes them."""
    writers = [Path(place) / "systemd-journal-remote" for place in ("/lib/systemd", "/usr/lib/systemd")]
    writer = next(path for path in writers if path.exists())
    folder.mkdir(parents=True)
    number, moment = 0, START * 10**6
    while sum(path.stat().st_size for path in folder.iterdir()) < mib << 20:
        source = folder / "export"
        with source.open("w", encoding="ascii") as file:
            for _unused in range(12_000):
                moment += 1_000_000
                file.write(f"__REALTIME_TIMESTAMP={moment}\n__MONOTONIC_TIMESTAMP={moment - START * 10**6}\n"
                           f"_BOOT_ID={'0' * 31}1\n_HOSTNAME=web-01\n_UID=0\n_PID={chance.randrange(30000)}\n"
                           "_COMM=app\nSYSLOG_IDENTIFIER=app\n"
                           f"MESSAGE=request {chance.randrange(10**12)} was served\n\n")
        target = folder / f"system@{number:04d}.journal"
        subprocess.run([writer, "-o", target, source], check=True, capture_output=True)
        source.unlink()
        number += 1


def serve(root: Path, images: dict[str, Path], pipe: Connection) -> None:
    """The server's process: takes the disks in as snapshots, and answers each request after a while."""
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:1]))
    from ebs_kit import REGION, Kit

    kit = Kit(root / "store", cache_seconds=60.0)
    for number, image in enumerate(images.values()):
        gib = image.stat().st_size // GIB
        volume = kit.store.create_volume(REGION, "vol-bench", gib, None)
        copy_sparse(image, volume)
        name = f"snap-0be0c{number}"
        kit.store.snapshot_volume(REGION, "vol-bench", name)
        kit.store.delete_volume(REGION, "vol-bench")
        kit.catalog.add(REGION, name, gib)
        snapshot = kit.store.open(REGION, name)
        for index in snapshot.written():
            snapshot.digest(index)
    kit.faults.arm("ebs.stall", times=None, args={"seconds": LATENCY, "after_bytes": 0})
    pipe.send(kit.endpoint)
    pipe.recv()
    kit.close()


def look(endpoint: str, snapshot: str) -> dict[str, Any]:
    """One look, in this process: when the system was known, and what all of it took."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    from ansible_collections.dfir.aws.plugins.module_utils.ebs.client import EbsClient
    from ansible_collections.dfir.aws.plugins.module_utils.ebs.rate import RateBudget
    from ansible_collections.dfir.aws.plugins.module_utils.ebs.sigv4 import Credentials
    from ansible_collections.dfir.aws.plugins.module_utils.triage import keep as kept
    from ansible_collections.dfir.aws.plugins.module_utils.triage.look import Triage, Wish
    from ansible_collections.dfir.aws.plugins.module_utils.triage.sources import SnapshotSource
    from ansible_collections.dfir.aws.plugins.module_utils.triage.timeline import write_timeline
    from ebs_kit import KEY, REGION, SECRET

    clock = time.monotonic()
    client = EbsClient(REGION, lambda: Credentials(KEY, SECRET), rate=RateBudget(980), endpoint_url=endpoint)
    source = SnapshotSource(client, snapshot)
    known: list[tuple[float, int]] = []

    def tell(text: str) -> None:
        if "holds" in text and not known:
            known.append((time.monotonic() - clock, source.cost()["blocks_read"]))

    one = Triage(source, Wish(tell=tell)).run()
    with tempfile.TemporaryDirectory() as folder:
        rows, names = write_timeline(one, Path(folder), 100_000)
        data = kept.keep(Path(folder), one.report(rows), "bench", names)
        from ansible_collections.dfir.aws.plugins.plugin_utils.report.render import render

        html = len(render(data))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {"system_seconds": known[0][0], "system_blocks": known[0][1], "seconds": time.monotonic() - clock,
            "blocks": source.cost()["blocks_read"], "used": source.cost()["blocks_used"], "names": rows["names"],
            "findings": len(data["findings"]), "not_read": len(data["not_read"]), "html_mib": html / (1 << 20),
            "cpu": usage.ru_utime + usage.ru_stime, "peak_mib": usage.ru_maxrss / 1024}


def rounds(endpoint: str, snapshot: str, name: str) -> dict[str, Any]:
    """Medians of several looks, each by a process of its own."""
    seen = []
    for _unused in range(ROUNDS):
        done = subprocess.run([sys.executable, __file__, "--look", endpoint, snapshot], capture_output=True, text=True,
                              timeout=600, check=False)
        if done.returncode:
            raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
        seen.append(json.loads(done.stdout.splitlines()[-1]))
    found = {key: statistics.median(one[key] for one in seen) for key in seen[0]}
    print(f"{name}: system after {found['system_seconds']:.2f} s and {found['system_blocks']:.0f} blocks; all after "
          f"{found['seconds']:.1f} s, {found['blocks']:.0f} blocks ({found['used']:.0f} used), {found['names']:.0f} "
          f"entries, {found['findings']:.0f} findings, CPU {found['cpu']:.1f} s, {found['peak_mib']:.0f} MiB",
          flush=True)
    return {"name": name, **{key: round(value, 3) for key, value in found.items()},
            "entries_per_second": round(found["names"] / found["seconds"])}


def under(name: str, value: float, unit: str, bar: float) -> dict[str, Any]:
    """A measure that may be at most so much."""
    return measure(name, value, unit, bar=f"at most {bar:g} {unit}", holds=value <= bar)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measures a look into snapshots.")
    parser.add_argument("--only", action="append", choices=PARTS)
    parser.add_argument("--quick", action="store_true", help="a smaller server")
    parser.add_argument("--look", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.look:
        print(json.dumps(look(*arguments.look)))
        return 0
    wanted = arguments.only or list(PARTS)
    root = Path(tempfile.mkdtemp(prefix="bench-triage-"))
    images: dict[str, Path] = {}
    for name in wanted:
        folder = root / name
        folder.mkdir()
        images[name] = grown_demo(folder) if name == "demo" else server(
            folder, *((8_000, 30) if arguments.quick else (80_000, 300)))
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(root, images, there), daemon=True)
    process.start()
    rows, measures = [], []
    try:
        endpoint = here.recv()
        for number, name in enumerate(images):
            row = rounds(endpoint, f"snap-0be0c{number}", name)
            rows.append(row)
            if name == "demo":
                measures += [under("64 GiB: blocks until the system is known", row["system_blocks"], "blocks", 60),
                             under("64 GiB: time until the system is known", row["system_seconds"], "s", 3)]
            blocks, seconds = TARGETS[f"{name}_blocks"], TARGETS[f"{name}_seconds"]
            measures += [under(f"{name}: blocks of a whole triage", row["blocks"], "blocks", blocks),
                         under(f"{name}: time of a whole triage with its report", row["seconds"], "s", seconds)]
        here.send("end")
    finally:
        process.join(10)
        if process.is_alive():
            process.terminate()
        shutil.rmtree(root, ignore_errors=True)
    print(f"\nEvery request is answered after {LATENCY * 1000:.0f} ms.")
    show(measures)
    keep(measures)
    output = HERE.parent / "output" / "bench_triage.json"
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps({"targets": TARGETS, "rows": rows, "measures": measures}, indent=2) + "\n")
    return 0 if all(entry["holds"] for entry in measures) else 1


if __name__ == "__main__":
    sys.exit(main())
