# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""plaso's storage file and log of a partition: `.plaso` and `.activity`."""

from __future__ import annotations

import gzip
import os
import shutil
import sqlite3
import subprocess
import time
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .lvm import Logical
from .model import Artifacts, Partition, clean, clean_path
from .steps import Say, StepError
from .systems import in_use
from .tools import SHARE, ToolError, environment, script
from .tree import Tree

DEVICE_TYPES = ("ext2", "ext3", "ext4", "xfs", "ntfs", "vfat")
"""File systems that plaso reads from the device; others it reads where they are mounted."""
# What servers write and the preset leaves out.
ALSO = {"linux": "linux,text/apache_access,text/viminfo,text/postgresql",
        "win7": "win7,text/winiis,windefender_history"}
FILTERS = SHARE / "plaso"
LOST_WORKER = b"Unable to create worker process"
PRESETS = ("linux", "win7")
SMALL = 1 << 30
SECTOR = 512
MAP_CHECK = 1 << 17
VMDK = """# Disk DescriptorFile
version=1
CID=fffffffe
parentCID=ffffffff
createType="twoGbMaxExtentFlat"

# Extent description
{extents}

# The Disk Data Base
#DDB

ddb.adapterType = "ide"
"""


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


def source_of(partition: Partition) -> str | None:
    """What plaso is to read. The filters name paths from the top of a system, which on btrfs is a subvolume."""
    if partition.type in DEVICE_TYPES or not partition.mount_point:
        return partition.device if partition.type in DEVICE_TYPES else None
    tree = Tree(Path(partition.mount_point))
    return os.fsdecode(tree.host_path(in_use(tree)))


def run_plaso(partition: Partition, artifacts: Artifacts, stem: str, work: Path, *, preset: str, scope: str,
              workers: int, say: Say) -> dict[str, Any]:
    """Run log2timeline; the preset that was used, the number of events and of warnings."""
    source = source_of(partition)
    if partition.logical:
        source = str(map_volume(partition.logical, work / "volume"))
    if not source:
        raise StepError("not_mounted", "plaso cannot read this file system from the device, and it is not mounted")
    chosen, paths = choose(partition, preset, scope)
    options = ["--parsers", ALSO.get(chosen, chosen)]
    if paths is not None and paths.exists():
        options += ["--file_filter", str(paths)]
    tries = [_extract(source, options, work / "first", workers, say)]
    if not tries[0].sound:
        # On a busy host plaso gives workers up that are slow to start, goes on without them and ends with 0: nothing is
        # read then, and nothing says so but its log. A single process has no workers to lose.
        say("once more, in a single process")
        tries.append(_extract(source, options, work / "second", 1, say))
    _activity(artifacts, f"{stem}.activity", tries)
    last = tries[-1]
    if not last.sound:
        words = last.said.strip().splitlines()
        raise ToolError(f"log2timeline ended with exit code {last.code}: "
                        f"{clean(words[-1], 300) if words else 'no message'}")
    counts = {"preset": chosen if chosen in PRESETS else "custom", **count(last.storage)}
    artifacts.adopt(last.storage, f"{stem}.plaso")
    shutil.rmtree(work, ignore_errors=True)
    return counts


def map_volume(logical: Logical, folder: Path) -> Path:
    """A text file that plaso takes for a disk image: it names the pieces of a logical volume on the devices.

    plaso's own library for LVM cannot read a group in which one volume has two pieces on the same disk, as after every
    extension. A VMware disk description of flat extents says the same as device-mapper's table would. libvmdk takes
    the offsets for bytes, while the format counts sectors: which one it is here is tried.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    names: dict[str, str] = {}
    for device, _unused, _unused in logical.runs:
        if device not in names:
            names[device] = f"pv{len(names)}"  # never a name from the evidence
            (folder / names[device]).symlink_to(device)
    with logical.open() as stream:
        head = stream.read(MAP_CHECK)
    path = folder / "volume.vmdk"
    for unit in (1, SECTOR):
        path.write_text(VMDK.format(extents="\n".join(
            f'RW {length // SECTOR} FLAT "{names[device]}" {place // unit}' for device, place, length in logical.runs)))
        if _head(path) == head:
            return path
    raise StepError("not_supported", "the library that maps logical volumes for plaso reads something else")


def _head(path: Path) -> bytes:
    try:
        import pyvmdk
    except ImportError as error:
        raise StepError("not_supported", f"libvmdk is not installed: {error}") from error
    handle = pyvmdk.handle()
    handle.open(str(path))
    try:
        handle.open_extent_data_files()
        return bytes(handle.read(MAP_CHECK))
    except OSError:
        return b""
    finally:
        handle.close()


@dataclass
class _Try:
    """One run of log2timeline."""

    command: list[str]
    storage: Path
    log: Path
    code: int
    seconds: float
    said: str

    @property
    def sound(self) -> bool:
        """Whether it ended well and kept its workers."""
        return self.code == 0 and self.storage.exists() and not any(LOST_WORKER in line for line in self.lines())

    def lines(self) -> Iterator[bytes]:
        """plaso's own log."""
        try:
            with gzip.open(self.log, "rb") as stream:
                yield from stream
        except FileNotFoundError:
            return
        except (OSError, EOFError, zlib.error):
            yield b"(plaso's log is incomplete)\n"


def _extract(source: str, options: list[str], work: Path, workers: int, say: Say) -> _Try:
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    storage, log, output = work / "store.plaso", work / "log.gz", work / "output.txt"
    command = [script("log2timeline"), "--status_view", "none", "--unattended", "--quiet", "--partitions", "all",
               "--volumes", "all", "--vss_stores", "none", "--hashers", "none", *options, "--storage_file",
               str(storage), "--temporary_directory", str(work), "--logfile", str(log)]
    command += [*(["--single_process"] if workers < 2 else ["--workers", str(workers)]), source]
    started = time.monotonic()
    with output.open("wb") as words:
        process = subprocess.Popen(command, stdout=words, stderr=subprocess.STDOUT, cwd=work,
                                   env={**environment(), "HOME": str(work)}, stdin=subprocess.DEVNULL)
        while process.poll() is None:
            time.sleep(0.5)
            size = storage.stat().st_size if storage.exists() else 0
            say(f"storage {size / 1e6:.1f} MB")
    return _Try(command, storage, log, process.returncode, time.monotonic() - started,
                output.read_text(encoding="utf-8", errors="replace"))


def _activity(artifacts: Artifacts, name: str, tries: list[_Try]) -> None:
    """What was run, what it answered, and plaso's own log."""
    with artifacts.create(name) as stream:
        for one in tries:
            head = (f"command: {' '.join(map(clean_path, one.command))}\nexit code: {one.code}\n"
                    f"seconds: {one.seconds:.1f}\n\n{one.said}\n")
            stream.write(head.encode("utf-8", "replace"))
            stream.writelines(one.lines())


def count(storage: Path) -> dict[str, Any]:
    """Events, event sources and warnings in a storage file."""
    with closing(sqlite3.connect(f"file:{storage}?mode=ro", uri=True)) as database:
        tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}

        def rows(table: str) -> int:
            # The names are the three below, not data.
            return int(database.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]) if table in tables else 0  # noqa: S608

        return {"events": rows("event"), "sources": rows("event_source"), "warnings": rows("extraction_warning")}
