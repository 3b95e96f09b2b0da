# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What listing a file system costs: `python tests/bench/bench_file_systems.py [--quick]`, as root.

File systems are made and filled by the kernel (NTFS by ntfs-3g), then listed from their image, each in a process of
its own: entries a second of CPU time, medians of three. The large one is a volume of 1 TiB with a million files, as a
server has it: folders of 25 files in folders of 400 folders. There it counts which blocks of 512 KiB of the volume
were read (each is a request for a block of a snapshot) and the memory. Exits 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "collections"), str(HERE)]

from measures import keep, measure, show

BLOCK = 512 << 10
ROUNDS = 3
FILES, FEW = 20_000, 2_000
TARGETS = {"ext4": 8000, "xfs": 8000, "ntfs": 8000, "btrfs": 3000, "blocks": 6000, "peak_mib": 512}
MAKE = {"ext4": ["mke2fs", "-q", "-F", "-t", "ext4"], "xfs": ["mkfs.xfs", "-q", "-f"],
        "ntfs": ["mkfs.ntfs", "-q", "-F", "-Q"], "btrfs": ["mkfs.btrfs", "-q", "-f"]}


class Counting(io.RawIOBase):
    """An image that counts what is read of it."""

    def __init__(self, path: str) -> None:
        self._file = Path(path).open("rb", buffering=0)  # noqa: SIM115
        self.blocks: set[int] = set()
        self.reads = self.bytes = self.jumps = self._last = 0

    def seekable(self) -> bool:
        return True

    def seek(self, place: int, whence: int = 0) -> int:
        return self._file.seek(place, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        place = self._file.tell()
        data = self._file.read(size) or b""
        self.reads, self.bytes = self.reads + 1, self.bytes + len(data)
        first, last = place // BLOCK, (place + max(1, len(data)) - 1) // BLOCK
        self.jumps += not 0 <= first - self._last <= 1
        self.blocks.update(range(first, last + 1))
        self._last = last
        return data


def one(kind: str, image: str, output: str) -> dict[str, Any]:
    """List one file system in this process; with a folder as `output`, write its timeline there."""
    from ansible_collections.dfir.aws.plugins.module_utils.forensics.entries import entries
    from ansible_collections.dfir.aws.plugins.module_utils.forensics.model import Artifacts
    from ansible_collections.dfir.aws.plugins.module_utils.forensics.timeline_file import write_timeline

    stream = Counting(image)
    found = entries(kind, cast("BinaryIO", stream))
    wall, cpu = time.monotonic(), time.process_time()
    if output:
        folder = Path(output)
        result = write_timeline((("p1", entry) for entry in found), Artifacts(folder / "out"), folder / "work",
                                newest=5000)
        count, broken = result.entries, result.unreadable
    else:
        count = broken = 0
        for entry in found:
            count += 1
            broken += bool(entry.problem)
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"entries": count, "broken": broken, "cpu": cpu, "wall": wall, "blocks": len(stream.blocks),
            "reads": stream.reads, "mib_read": stream.bytes / (1 << 20), "jumps": stream.jumps, "peak_mib": peak}


def client(kind: str, image: Path, output: Path | None = None) -> dict[str, Any]:
    """The same in a process of its own, on the last core."""
    command = [sys.executable, __file__, "--one", kind, str(image), str(output or "")]
    cores = sorted(os.sched_getaffinity(0))
    done = subprocess.run(["taskset", "-c", str(cores[-1]), *command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"listing {kind} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if found["broken"]:
        raise SystemExit(f"{found['broken']} entries of {kind} were not read")
    return found


@contextmanager
def mounted(kind: str, image: Path) -> Iterator[Path]:
    point = image.with_name("mount")
    point.mkdir(exist_ok=True)
    options = "loop,noinit_itable" if kind == "ext4" else "loop"
    command = ["ntfs-3g", image, point] if kind == "ntfs" else ["mount", "-o", options, image, point]
    subprocess.run(command, check=True, capture_output=True)
    try:
        yield point
        if kind != "ntfs":  # all is written then, even where another namespace has the mount as well
            subprocess.run(["mount", "-o", "remount,ro", point], check=True, capture_output=True)
    finally:
        subprocess.run(["umount", point], check=True)


def fill(root: Path, files: int) -> int:
    """Empty files, 25 to a folder, 400 folders to a folder; how many entries that makes, the top included."""
    made = 1
    for number in range(-(-files // 25)):
        if number % 400 == 0:
            above = f"{root}/folder{number // 400:03}"
            Path(above).mkdir()
            made += 1
        folder = f"{above}/part{number % 400:03}"
        Path(folder).mkdir()
        for file in range(number * 25, min(files, number * 25 + 25)):
            os.close(os.open(f"{folder}/a file of data {file:07}.dat", os.O_CREAT | os.O_WRONLY, 0o644))
            made += 1
        made += 1
    return made


def make(kind: str, image: Path, size: int, files: int) -> int:
    """A filled file system of `size` bytes in a sparse file."""
    with image.open("wb") as stream:
        stream.truncate(size)
    subprocess.run([*MAKE[kind], image], check=True, capture_output=True)
    with mounted(kind, image) as root:
        return fill(root, files)


def table(rows: list[dict[str, Any]], name: str, found: dict[str, Any]) -> None:
    rate = found["entries"] / found["cpu"]
    row = {"name": name, "entries": found["entries"], "entries_per_second": round(rate)}
    rows.append(row | {key: round(found[key], 1) for key in ("wall", "blocks", "reads", "mib_read", "jumps",
                                                             "peak_mib")} | {"load": round(os.getloadavg()[0], 1)})
    print(f"{name:40} {found['entries']:>9} entries {rate:>9.0f}/s of CPU {found['blocks']:>6} blocks of 512 KiB "
          f"{found['peak_mib']:>6.0f} MiB", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measures how fast file systems are listed.")
    parser.add_argument("--quick", action="store_true", help="small file systems")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(*arguments.one)))
        return 0
    if os.geteuid() != 0:
        raise SystemExit("It mounts file systems to fill them, so it needs root.")
    rows: list[dict[str, Any]] = []
    measures: list[dict[str, Any]] = []

    def bar(name: str, value: float, unit: str, limit: float, *, least: bool = False) -> None:
        words = f"at {'least' if least else 'most'} {limit:g} {unit}"
        measures.append(measure(name, value, unit, bar=words, holds=value >= limit if least else value <= limit))

    folder = Path(tempfile.mkdtemp(prefix="bench-file-systems-"))
    try:
        for kind in MAKE:
            image = folder / kind  # not one name for all: a loop device may stay a moment longer than its mount
            made = make(kind, image, 1 << 30, FEW if arguments.quick else FILES)
            runs = sorted((client(kind, image) for _unused in range(ROUNDS)), key=lambda run: float(run["cpu"]))
            if runs[0]["entries"] < made:
                raise SystemExit(f"{kind}: {runs[0]['entries']} entries of {made}")
            table(rows, kind, runs[ROUNDS // 2])
            rate = statistics.median(run["entries"] / run["cpu"] for run in runs)
            bar(f"listing {kind}", rate, "entries/s", TARGETS[kind], least=True)
        size, files = (64 << 30, 50_000) if arguments.quick else (1 << 40, 1_000_000)
        image = folder / "large"
        made = make("ext4", image, size, files)
        name = f"ext4, {size >> 30} GiB, {files:,} files"
        found = client("ext4", image)
        if found["entries"] != made + 1:  # lost+found
            raise SystemExit(f"{found['entries']} entries of {made + 1}")
        table(rows, name, found)
        bar(f"{name}: blocks read", found["blocks"], "blocks", TARGETS["blocks"])
        bar(f"{name}: peak memory, listing", found["peak_mib"], "MiB", TARGETS["peak_mib"])
        written = client("ext4", image, folder / "timeline")
        table(rows, f"{name}, written", written)
        bar(f"{name}: peak memory, timeline", written["peak_mib"], "MiB", TARGETS["peak_mib"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print()
    show(measures)
    keep(measures)
    output = HERE.parent / "output" / "bench_file_systems.json"
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps({"targets": TARGETS, "cores": os.cpu_count(), "rows": rows, "measures": measures},
                                 indent=2) + "\n")
    return 0 if all(entry["holds"] for entry in measures) else 1


if __name__ == "__main__":
    sys.exit(main())
