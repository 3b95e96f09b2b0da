# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A finished image as E01, the format that court tools expect: made by libewf's own programs, read back by them.

It is a step of its own: `ewfacquirestream` cannot go on where it stopped, and it writes the time into its header, so
that two files of the same image differ. What identifies an E01 is the hash of the media inside. libewf stores the MD5
and only prints the SHA-256: that is kept in the manifest of the image (`derived.e01`), with each file's own.

`ewfacquirestream` takes an early end of its input for the end of the media, and calls that a success. What was sent and
what libewf says it got are therefore compared, and so is what `ewfverify` reads back.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .blocks import image_size
from .errors import BadInput, Cancelled, Mismatch, Missing, SinkError
from .files import flush_to_disk, lock, publish
from .journal import add_derived
from .manifest import Manifest, utc_now
from .progress import Progress
from .rebuild import copy_image, require_whole
from .sources import ImageSource
from .wholehash import WholeHash

# Larger blocks defeat the compression of empty ones, better compression costs many times the time.
_SETTINGS = ("-f", "encase6", "-c", "empty-block", "-b", "64", "-d", "sha256")
_SMALLEST_FILE = 1 << 20
_ZEROS = bytes(1 << 20)
_HASH = re.compile(r"^(MD5|SHA256) hash (calculated over data|stored in file):\s+(\S+)$", re.MULTILINE)
_VERSION = re.compile(r"^ewfacquirestream (\S+)", re.MULTILINE)

Tell = Callable[[Progress], None]
Stop = Callable[[], bool]


@dataclass(frozen=True)
class CaseFacts:
    """What the header of an E01 says. No line breaks."""

    case: str = ""
    evidence: str = ""
    examiner: str = ""
    description: str = ""
    notes: str = ""


@dataclass
class E01Result:
    """`files`: name, size and sha256 of each file, in order. `changed` is False where they were there already."""

    first: Path
    files: list[dict[str, Any]]
    media_size: int
    media_sha256: str
    media_md5: str
    tool: str
    changed: bool

    def to_json(self) -> dict[str, Any]:
        """What the manifest keeps."""
        return {name: value for name, value in asdict(self).items() if name not in ("first", "changed")}


def make_e01(
    source: ImageSource,
    manifest_path: Path | str,
    target: Path | str,
    *,
    facts: CaseFacts | None = None,
    file_bytes: int = 0,
    stop: Stop | None = None,
    tell: Tell | None = None,
) -> E01Result:
    """Make `<target>.E01` (and .E02, ... of `file_bytes` each; default libewf's 1.4 GiB) of a finished image.

    Every block is held against the manifest while it is read; the result is read back before it gets its name.
    """
    base = Path(target)
    base = base.with_suffix("") if base.suffix.upper() == ".E01" else base
    first = base.with_name(f"{base.name}.E01")
    acquire, verify = _program("ewfacquirestream"), _program("ewfverify")
    header = facts or CaseFacts()
    if any(not value.isprintable() for value in asdict(header).values()):
        raise BadInput("What the header of an E01 says must be printable, without line breaks.")
    if file_bytes and file_bytes < _SMALLEST_FILE:
        raise BadInput(f"The files of an E01 have {_SMALLEST_FILE} bytes at least.")
    with Manifest(manifest_path) as manifest:
        outcome, size = manifest.check(), image_size(manifest.identity.volume_gib)
        if first.exists():
            return _there_already(first, outcome.derived.get("e01"), stop)
        whole = WholeHash(["sha256"])
        with _work_folder(first) as work:
            command = [acquire, *_SETTINGS, "-B", str(size), "-t", str(work / base.name)]
            if file_bytes:
                command += ["-S", str(file_bytes)]
            texts = (header.case or manifest.identity.case, header.evidence or manifest.identity.snapshot_id,
                     header.examiner, header.description, header.notes)  # fmt: skip
            for option, text in zip(("-C", "-E", "-e", "-D", "-N"), texts, strict=True):
                command += [option, text or "-"]
            with _Child(command, work / "acquire.log") as child:
                feed = _Feed(child)
                record = copy_image(source, manifest, feed.block, whole, stop=stop, tell=tell, phase="converting")
                require_whole(record, outcome, whole)
                feed.zeros(size)
                said = child.end(stop)
            media = whole.hex("sha256")
            _compare(_hashes(said), media, outcome.image_md5, "ewfacquirestream got")
            names = sorted((path for path in work.iterdir() if path.suffix != ".log"), key=_order)
            with _Child([verify, "-d", "sha256", "-f", "raw", str(work / first.name)], work / "verify.log") as child:
                read_back = _hashes(child.end(stop))
            _compare(read_back, media, outcome.image_md5, "ewfverify read")
            files = [_file_facts(path, stop) for path in names]
            version = _VERSION.search(said)
            md5 = read_back["MD5", "stored in file"]
            result = E01Result(first, files, size, media, md5, f"libewf {version[1] if version else ''}".strip(), True)
            for path in reversed(names):  # the first file last: without it nothing opens the others
                publish(path, first.with_name(path.name))
    add_derived(manifest_path, "e01", result.to_json() | {"made": utc_now()})
    return result


class _Feed:
    """Sends the media, what was never written as zeros."""

    def __init__(self, child: _Child) -> None:
        self._child = child
        self._place = 0

    def block(self, index: int, data: memoryview, _digest: bytes) -> None:
        """Everything up to the block, and the block."""
        self.zeros(index * len(data))
        self._child.write(data)
        self._place += len(data)

    def zeros(self, until: int) -> None:
        """Zeros up to a byte."""
        while self._place < until:
            length = min(len(_ZEROS), until - self._place)
            self._child.write(_ZEROS[:length])
            self._place += length


class _Child:
    """One of libewf's programs. It never outlives this run: what it makes of half its input would look whole."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._name, self._log = Path(command[0]).name, log
        environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
        reading, writing = os.pipe()
        try:
            with log.open("wb") as file:
                self._process = subprocess.Popen(
                    command, stdin=reading, stdout=file, stderr=subprocess.STDOUT, env=environment
                )
        except BaseException:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        self._media = os.fdopen(writing, "wb", buffering=0)

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_unused: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._media.close()

    def write(self, data: memoryview | bytes) -> None:
        """Send a part of the media."""
        try:
            left = memoryview(data)
            while left:
                left = left[self._media.write(left) :]
        except OSError as error:
            self._process.wait()
            raise SinkError(f"{self._name} ended early: {self._words()}") from error

    def end(self, stop: Stop | None) -> str:
        """Close its input and wait; what it said."""
        self._media.close()
        while self._process.poll() is None:
            if stop is not None and stop():
                raise Cancelled("The run was cancelled.")
            time.sleep(0.05)
        if self._process.returncode:
            raise SinkError(f"{self._name} failed: {self._words()}")
        return self._log.read_text(encoding="utf-8", errors="replace")

    def _words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return " ".join(line.strip() for line in lines[-6:])[-600:] or "it said nothing."


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Missing(f"An E01 is made with {name}: install libewf's tools (Debian: ewf-tools), and run again.")
    return found


@contextmanager
def _work_folder(first: Path) -> Iterator[Path]:
    """`<name>.E01.partial/`, one run at a time, gone afterwards."""
    work = Path(f"{first}.partial")
    try:
        work.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(work, os.O_RDONLY)
    except OSError as error:
        raise BadInput(f"{work} cannot be made: {error.strerror}.") from error
    try:
        lock(fd, work)
        try:
            for path in work.iterdir():  # of a run that was killed
                path.unlink()
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise SinkError(f"{error.filename or work}: {error.strerror or error}.") from error
    finally:
        os.close(fd)


def _hashes(text: str) -> dict[tuple[str, str], str]:
    return {(kind, what): value.lower() for kind, what, value in _HASH.findall(text)}


def _compare(said: dict[tuple[str, str], str], media: str, md5: str, who: str) -> None:
    """Raise unless libewf speaks of the same media."""
    found = said.get(("SHA256", "calculated over data"), "nothing")
    if found != media:
        raise Mismatch(f"{who} media with SHA-256 {found}, not {media}.")
    calculated = said.get(("MD5", "calculated over data"), "")
    if not calculated or said.get(("MD5", "stored in file"), calculated) != calculated or md5 not in ("", calculated):
        raise Mismatch(f"{who} media with MD5 {calculated or 'unknown'}, not {md5 or 'what is stored'}.")


def _order(path: Path) -> tuple[int, str]:
    """E01 to E99, then EAA to EZZ, FAA, ..."""
    suffix = path.suffix[1:]
    return (0 if suffix[1:].isdigit() else 1, suffix)


def _file_facts(path: Path, stop: Stop | None) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    with path.open("r+b") as file:
        flush_to_disk(file)
        while data := file.read(1 << 20):
            digest.update(data)
            size += len(data)
            if stop is not None and stop():
                raise Cancelled("The run was cancelled.")
    return {"name": path.name, "size": size, "sha256": digest.hexdigest()}


def _there_already(first: Path, known: Any, stop: Stop | None) -> E01Result:
    try:
        facts = {name: value for name, value in known.items() if name in E01Result.__annotations__}
        result = E01Result(first=first, changed=False, **facts)
        there = [_file_facts(first.with_name(entry["name"]), stop) for entry in result.files]
    except (AttributeError, TypeError, KeyError, OSError):
        there, result = [], None
    if result is None or there != result.files or result.files[0]["name"] != first.name:
        raise BadInput(f"{first} exists already, and the manifest does not know it: choose another name.")
    return result
