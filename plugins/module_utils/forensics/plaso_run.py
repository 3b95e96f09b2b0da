# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""plaso's storage file and log of a partition: `.plaso` and `.activity`."""

from __future__ import annotations

import gzip
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from .model import Artifacts, Partition, clean
from .steps import Say, StepError
from .tools import SHARE, ToolError, environment, script

DEVICE_TYPES = ("ext2", "ext3", "ext4", "xfs", "ntfs", "vfat")
"""File systems that plaso reads from the device; others it reads where they are mounted."""
# What servers write and the preset leaves out.
ALSO = {"linux": "linux,text/apache_access,text/viminfo,text/postgresql",
        "win7": "win7,text/winiis,windefender_history"}
FILTERS = SHARE / "plaso"
PRESETS = ("linux", "win7")
SMALL = 1 << 30


def choose(partition: Partition, preset: str, scope: str) -> tuple[str, Path | None]:
    """plaso's preset and filter file for a partition; no filter means that everything is read.

    `auto` follows the file system: a server with NTFS ran Windows, everything else here is read as Linux. A FAT
    partition holds boot loaders in no place that a filter knows, so a small one is read whole.
    """
    ntfs = partition.type == "ntfs"
    chosen = preset if preset != "auto" else "win7" if ntfs else "linux"
    if scope != "filtered" or (partition.type in ("vfat", "exfat") and partition.size_bytes <= SMALL):
        return chosen, None
    return chosen, FILTERS / ("filter_windows.yaml" if ntfs else "filter_linux.yaml")


def run_plaso(partition: Partition, artifacts: Artifacts, stem: str, work: Path, *, preset: str, scope: str,
              workers: int, say: Say) -> dict[str, Any]:
    """Run log2timeline; the preset that was used, the number of events and of warnings."""
    source = partition.device if partition.type in DEVICE_TYPES else partition.mount_point
    if not source:
        raise StepError("not_mounted", "plaso cannot read this file system from the device, and it is not mounted")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    chosen, paths = choose(partition, preset, scope)
    storage, log = work / "store.plaso", work / "log.gz"
    command = [script("log2timeline"), "--status_view", "none", "--unattended", "--quiet", "--partitions", "all",
               "--volumes", "all", "--vss_stores", "none", "--hashers", "none", "--parsers", ALSO.get(chosen, chosen),
               "--storage_file", str(storage), "--temporary_directory", str(work), "--logfile", str(log)]
    command += ["--single_process"] if workers < 2 else ["--workers", str(workers)]
    if paths is not None and paths.exists():
        command += ["--file_filter", str(paths)]
    started = time.monotonic()
    output = work / "output.txt"
    with output.open("wb") as words:
        process = subprocess.Popen([*command, source], stdout=words, stderr=subprocess.STDOUT, cwd=work,
                                   env={**environment(), "HOME": str(work)}, stdin=subprocess.DEVNULL)
        while process.poll() is None:
            time.sleep(0.5)
            size = storage.stat().st_size if storage.exists() else 0
            say(f"storage {size / 1e6:.1f} MB")
    said = output.read_text(encoding="utf-8", errors="replace")
    _activity(artifacts, f"{stem}.activity", command, source, process.returncode, started, said, log)
    if process.returncode != 0 or not storage.exists():
        last = said.strip().splitlines()
        raise ToolError(f"log2timeline ended with exit code {process.returncode}: "
                        f"{clean(last[-1], 300) if last else 'no message'}")
    counts = {"preset": chosen if chosen in PRESETS else "custom", **count(storage)}
    artifacts.adopt(storage, f"{stem}.plaso")
    shutil.rmtree(work, ignore_errors=True)
    return counts


def _activity(artifacts: Artifacts, name: str, command: list[str], source: str, code: int, started: float, said: str,
              log: Path) -> None:
    """What was run, what it answered, and plaso's own log."""
    head = (f"command: {' '.join([*command, source])}\nexit code: {code}\n"
            f"seconds: {time.monotonic() - started:.1f}\n\n{said}\n")
    with artifacts.create(name) as stream:
        stream.write(head.encode("utf-8", "replace"))
        if log.exists():
            try:
                with gzip.open(log, "rb") as lines:
                    shutil.copyfileobj(lines, stream)
            except (OSError, EOFError):
                stream.write(b"(plaso's log is incomplete)\n")


def count(storage: Path) -> dict[str, Any]:
    """Events, event sources and warnings in a storage file."""
    with closing(sqlite3.connect(f"file:{storage}?mode=ro", uri=True)) as database:
        tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}

        def rows(table: str) -> int:
            # The names are the three below, not data.
            return int(database.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]) if table in tables else 0  # noqa: S608

        return {"events": rows("event"), "sources": rows("event_source"), "warnings": rows("extraction_warning")}
