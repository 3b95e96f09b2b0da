# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put a file into the analyst's folder, for the host's command dfir-push: `dfir-forensics stage < FILE`.

Runs in the container without a network, because it reads what may be malware. A note keeps its name; one of a name that
is taken by something else gets a number. A sample becomes a ZIP archive, AES-encrypted with the password that everybody
in the field uses: it can neither be run by accident nor be removed by a virus scanner on its way. Its name is the
sample's SHA-256.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from .console import tell
from .s3_put import digest
from .times import utc_now

try:
    import pyzipper

    HAS_PYZIPPER = True
except ImportError:  # the module can be imported where the image's libraries are not
    HAS_PYZIPPER = False

CHUNK = 1 << 20
PASSWORD = b"infected"
SAMPLES = "samples"
LONGEST = 120


class NotStaged(Exception):
    """Why a file is not taken, in one sentence."""


def plain_name(name: str) -> str:
    """A file name that is safe in any shell, log and listing, as near to the given one as possible."""
    name = name.rsplit("/", 1)[-1]
    safe = "".join(char if (char.isalnum() and char.isascii()) or char in "._+=@,-" else "_" for char in name)
    safe = safe if safe[:1].isalnum() or safe[:1] == "_" else f"_{safe}"
    stem, dot, ending = safe.rpartition(".")
    if len(safe) > LONGEST:
        safe = stem[:LONGEST - len(ending) - 1] + dot + ending if dot and len(ending) < 20 else safe[:LONGEST]
    return safe


def numbered(name: str, number: int) -> str:
    """notes.txt, notes.2.txt, notes.3.txt."""
    if number == 1:
        return name
    stem, dot, ending = name.rpartition(".")
    return f"{stem}.{number}.{ending}" if dot and stem else f"{name}.{number}"


def _copy(source: BinaryIO, write: Any) -> tuple[str, int]:
    running, size = hashlib.sha256(), 0
    while chunk := source.read(CHUNK):
        running.update(chunk)
        size += len(chunk)
        write(chunk)
    return running.hexdigest(), size


def stage_note(folder: Path, name: str, source: BinaryIO) -> str:
    """Keep a note; returns the name under which it is in the folder."""
    name = plain_name(name)
    partial = folder / f".{name}.partial"
    try:
        with partial.open("wb") as handle:
            sha256, _size = _copy(source, handle.write)
        for number in range(1, 1000):
            target = folder / numbered(name, number)
            try:
                os.link(partial, target)  # unlike a rename it replaces nothing
                return target.name
            except FileExistsError:
                if target.is_file() and not target.is_symlink() and digest(target)[0] == sha256:
                    return target.name
        raise NotStaged(f"There are a thousand files called {name} already: give it another name.")
    finally:
        with suppress(OSError):
            partial.unlink()


def stage_sample(folder: Path, name: str, source: BinaryIO) -> dict[str, Any]:
    """Keep a sample as a password-protected archive beside a few facts about it."""
    if not HAS_PYZIPPER:
        raise NotStaged("The image of tools has no pyzipper: samples cannot be packed.")
    samples = folder / SAMPLES
    samples.mkdir(exist_ok=True)
    name = plain_name(name)
    partial = samples / f".{os.getpid()}.partial"
    try:
        with pyzipper.AESZipFile(partial, "w", compression=pyzipper.ZIP_DEFLATED,
                                 encryption=pyzipper.WZ_AES) as archive:
            archive.setpassword(PASSWORD)
            with archive.open(name, "w", force_zip64=True) as member:
                sha256, size = _copy(source, member.write)
        target = samples / f"{sha256}.zip"
        if not target.exists():
            facts = {"name": name, "sha256": sha256, "size": size, "archive": target.name,
                     "password": PASSWORD.decode(), "packed_at": utc_now()}
            (samples / f"{sha256}.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
            partial.rename(target)
        return {"name": name, "sha256": sha256, "size": size, "files": [f"{SAMPLES}/{sha256}.zip",
                                                                        f"{SAMPLES}/{sha256}.json"]}
    finally:
        with suppress(OSError):
            partial.unlink()


def main(argv: Sequence[str] | None = None) -> int:
    """Keep what comes on standard input and print its names, one a line."""
    parser = argparse.ArgumentParser(prog="dfir-forensics stage", description="Put a file into the analyst's folder.")
    parser.add_argument("--folder", type=Path, default=Path("/srv/dfir/analyst"))
    parser.add_argument("--sample", action="store_true", help="as a password-protected archive")
    parser.add_argument("--name", required=True)
    options = parser.parse_args(argv)
    try:
        if options.sample:
            staged = stage_sample(options.folder, options.name, sys.stdin.buffer)
            tell(f"sample {staged['name']}: {staged['size']} bytes, SHA-256 {staged['sha256']}, in an archive with the "
                 f"password {PASSWORD.decode()}", error=True)
            names = staged["files"]
        else:
            names = [stage_note(options.folder, options.name, sys.stdin.buffer)]
    except NotStaged as error:
        tell(str(error), error=True)
        return 1
    except OSError as error:
        tell(f"{plain_name(options.name)} cannot be kept: {error.strerror or error}", error=True)
        return 1
    for name in names:
        tell(name)
    return 0
