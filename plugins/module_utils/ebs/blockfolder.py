# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder of single blocks, each a file named `index_snapshot_sha256_volumesize_blocksize`.

That is how snap4n6 and its kin keep a snapshot: the index is padded with zeros, the SHA-256 is in hexadecimal, the size
of the volume in GiB, that of a block in bytes. Files are opened for reading only, and nothing is created beside them.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .blocks import BLOCK_SIZE, LARGEST_GIB, block_count
from .errors import BadInput

_NAME = re.compile(r"([0-9]{1,20})_(snap-[0-9a-f]{1,59})_([0-9a-fA-F]{64})_([0-9]{1,6})_([0-9]{1,9})")
_NAMED = 20  # names in one message


@dataclass
class _Found:
    """Names that make no sense together; the first of each kind, all counted."""

    foreign: list[str] = field(default_factory=list)
    duplicate: list[str] = field(default_factory=list)


class BlockFolder:
    """The blocks of one snapshot in a folder. 36 bytes of memory a file, 4 a block of the volume.

    `snapshot_id`: which snapshot, where there are several. `ignore_foreign`: leave out what is no block of it, instead
    of refusing; `ignored` has the names.
    """

    def __init__(self, path: Path | str, *, snapshot_id: str = "", ignore_foreign: bool = False) -> None:
        self.path, self.snapshot_id, self.ignored = Path(path), snapshot_id, list[str]()
        self.name = str(path)
        self.volume_gib = 0
        self._digests = bytearray()
        self._widths = bytearray()  # digits of the index in the name; with 128 added: SHA-256 in capitals
        self._slots = memoryview(b"")
        found = self._scan()
        if found.duplicate:
            raise BadInput(f"{path} has more than one file of the same block: {_names(found.duplicate)}.")
        if found.foreign and not ignore_foreign:
            raise BadInput(f"{path} has files that are no blocks of this snapshot: {_names(found.foreign)}.")
        self.ignored = found.foreign
        if not len(self):
            raise BadInput(
                f"{path} has no block of a snapshot: index_snapshot_sha256_volumesize_blocksize is the name."
            )

    def __len__(self) -> int:
        return len(self._widths)

    def _scan(self) -> _Found:
        found = _Found()
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    match = _NAME.fullmatch(entry.name)
                    if match is None or not entry.is_file(follow_symlinks=False) or not self._take(match, found):
                        found.foreign.append(entry.name)
        except OSError as error:
            raise BadInput(f"The folder {self.path} cannot be read: {error.strerror}.") from error
        return found

    def _take(self, match: re.Match[str], found: _Found) -> bool:
        """Whether the name is of the same snapshot as the others."""
        number, snapshot_id, digest, gib, size = match.groups()
        wanted = (self.snapshot_id or snapshot_id, self.volume_gib or int(gib), BLOCK_SIZE)
        if (snapshot_id, int(gib), int(size)) != wanted or not 0 < int(gib) <= LARGEST_GIB:
            return False
        if int(number) >= block_count(int(gib)):
            return False
        if not self.volume_gib:
            self.snapshot_id, self.volume_gib = snapshot_id, int(gib)
            self._slots = memoryview(bytearray(4 * block_count(self.volume_gib))).cast("I")
        if self._slots[int(number)]:
            found.duplicate.append(match[0])
            return True
        self._digests += bytes.fromhex(digest)
        self._widths.append(len(number) + (128 if digest != digest.lower() else 0))
        self._slots[int(number)] = len(self._widths)
        return True

    def records(self) -> Iterator[tuple[int, bytes]]:
        """(index, SHA-256) by the names, ascending."""
        for index, slot in enumerate(self._slots):
            if slot:
                yield index, bytes(self._digests[32 * (slot - 1) : 32 * slot])

    def read(self, index: int, buffer: memoryview) -> bool:
        """Read a block; whether it has the length and the SHA-256 that its name says."""
        slot = self._slots[index] - 1
        digest, width = self._digests[32 * slot : 32 * slot + 32], self._widths[slot]
        text = digest.hex().upper() if width & 128 else digest.hex()
        name = f"{index:0{width & 127}d}_{self.snapshot_id}_{text}_{self.volume_gib}_{BLOCK_SIZE}"
        try:
            fd = _open(self.path / name)
        except OSError as error:
            raise BadInput(f"{self.path / name} cannot be read: {error.strerror}.") from error
        try:
            if os.fstat(fd).st_size != BLOCK_SIZE:
                return False
            data = os.pread(fd, BLOCK_SIZE, 0)
        finally:
            os.close(fd)
        if len(data) != BLOCK_SIZE or hashlib.sha256(data).digest() != digest:
            return False
        buffer[:BLOCK_SIZE] = data
        return True


def _open(path: Path) -> int:
    """For reading, without a trace where the system allows that."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.open(path, flags | getattr(os, "O_NOATIME", 0))
    except PermissionError:  # only the owner may leave the time of access alone
        return os.open(path, flags)


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(sorted(names)[:_NAMED]) + more
