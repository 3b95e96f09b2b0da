# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a ledger lies: names and bytes, each written once.

Names are the same in a bucket and in a folder that it was copied to:

    custody/<incident>/entries/000000001.json      entries
    custody/<incident>/signatures/000000001.json   signatures of heads, each by the number of the entry it signs
    custody/<incident>/lists/<sha256>.json         lists of artifacts, of which the closing entry names one
    <incident>/...                                 artifacts
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from .errors import BadInput, StoreError

ROOT = "custody/"
PIECE = 1 << 20
NUMBERED = re.compile(r"([0-9]{9})\.json")


class Store(Protocol):
    """What a ledger needs of its place."""

    aws_time: str | None  # what AWS said that the time is, when it last answered; None where nothing was asked

    def names(self, prefix: str, after: str = "") -> list[str]:
        """Names that begin so, in their order, those after `after`."""

    def read(self, name: str) -> bytes | None:
        """The bytes of a name; None where there are none."""

    def read_all(self, names: Iterable[str]) -> Iterator[bytes | None]:
        """The bytes of several names, in this order."""

    def put_once(self, name: str, body: bytes) -> bool:
        """Write a name that is not there; False when it is."""

    def measure(self, name: str) -> tuple[int, str] | None:
        """Size and SHA-256 of what may be large; None where there is nothing."""

    def place(self, name: str) -> str:
        """Where a name lies, for people."""


def folder(incident: str, kind: str) -> str:
    """The prefix of a ledger's entries, signatures or lists."""
    return f"{ROOT}{incident}/{kind}/"


def numbered(incident: str, kind: str, number: int) -> str:
    """The name of an entry or signature."""
    return f"{folder(incident, kind)}{number:09d}.json"


def number_of(name: str) -> int:
    """The number that a name says; 0 when it says none."""
    found = NUMBERED.fullmatch(name.rpartition("/")[2])
    return int(found[1]) if found else 0


class FolderStore:
    """A ledger in a folder: a copy of the bucket, or a case that has no bucket."""

    aws_time: str | None = None

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise BadInput(f"{root} is no folder: name the folder that holds '{ROOT}'.")
        self._root = root

    def names(self, prefix: str, after: str = "") -> list[str]:
        """Regular files only. Links are not followed: what they lead to is not in the case."""
        start = self._root / prefix.rpartition("/")[0]
        found = []
        try:
            for path, _folders, files in os.walk(start, onerror=_raise):
                for file in files:
                    whole = Path(path, file)
                    name = whole.relative_to(self._root).as_posix()
                    if name.startswith(prefix) and name > after and whole.is_file() and not whole.is_symlink():
                        found.append(name)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"{start} cannot be read: {error.strerror}.") from error
        return sorted(found)

    def read(self, name: str) -> bytes | None:
        """See Store."""
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self.place(name)} cannot be read: {error.strerror}.") from error

    def read_all(self, names: Iterable[str]) -> Iterator[bytes | None]:
        """See Store."""
        return map(self.read, names)

    def put_once(self, name: str, body: bytes) -> bool:
        """See Store. A link is made to the whole file, so nobody reads half of one, and one of two writers wins."""
        path = self._root / name
        temporary = ""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=".new-", dir=self._root)
            with os.fdopen(handle, "wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {error.strerror}.") from error
        finally:
            if temporary:
                with suppress(OSError):
                    Path(temporary).unlink()
        return True

    def measure(self, name: str) -> tuple[int, str] | None:
        """See Store."""
        path = self._root / name
        if path.is_symlink() or not path.is_file():
            return None
        try:
            with path.open("rb") as file:
                return hashed(iter(lambda: file.read(PIECE), b""))
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}.") from error

    def place(self, name: str) -> str:
        """See Store."""
        return str(self._root / name)


def hashed(pieces: Iterable[bytes]) -> tuple[int, str]:
    """Length and SHA-256 of pieces."""
    size, sha256 = 0, hashlib.sha256()
    for piece in pieces:
        size += len(piece)
        sha256.update(piece)
    return size, sha256.hexdigest()


def _raise(error: OSError) -> None:
    raise error
