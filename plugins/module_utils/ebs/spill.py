# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks that memory has no room for, in a file that has no name and is gone with the process."""

from __future__ import annotations

import tempfile
from typing import IO

from .blocks import BLOCK_SIZE

LARGEST = 2048  # blocks, one GiB


class Spill:
    """A courtesy: where the disk takes no more, blocks are fetched again instead."""

    def __init__(self, largest: int = LARGEST) -> None:
        self._largest, self._slots = largest, dict[int, int]()
        self._file: IO[bytes] | None = None
        self._broken = largest < 1

    def __contains__(self, index: int) -> bool:
        return index in self._slots

    def write(self, index: int, data: bytes) -> None:
        """Keep a block, if there is room."""
        if self._broken or index in self._slots or len(self._slots) >= self._largest:
            return
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed with this
            slot = len(self._slots)
            self._file.seek(slot * BLOCK_SIZE)
            if self._file.write(data) != BLOCK_SIZE:
                self._broken = True  # a full disk takes a part first
                return
        except OSError:
            self._broken = True
            return
        self._slots[index] = slot

    def read(self, index: int) -> bytes | None:
        """A block that was kept, or None."""
        slot = self._slots.get(index)
        if slot is None or self._file is None:
            return None
        try:
            self._file.seek(slot * BLOCK_SIZE)
            data = self._file.read(BLOCK_SIZE)
        except OSError:
            data = b""
        if len(data) != BLOCK_SIZE:
            del self._slots[index]
            return None
        return data

    def close(self) -> None:
        """Give the room back."""
        self._slots.clear()
        if self._file is not None:
            self._file.close()
