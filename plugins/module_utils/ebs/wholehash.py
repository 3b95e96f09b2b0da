# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The digest of a whole image, computed in the same pass: written blocks in order, holes as zeros."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

from .blocks import BLOCK_SIZE
from .errors import BadInput

KINDS = ("sha256", "md5")
_ZEROS = bytes(1 << 20)
_STEP = 256 << 20  # bytes of zeros between two questions whether to stop


class WholeHash:
    """Digests of an image that is given in order. `kinds` may be empty: then nothing is computed."""

    def __init__(self, kinds: Iterable[str]) -> None:
        self._hashes: dict[str, Any] = {}
        for kind in kinds:
            if kind not in KINDS:
                raise BadInput(f"There is no digest {kind!r} of a whole image; there are {' and '.join(KINDS)}.")
            # MD5 identifies here, it protects nothing: E01 and older tools state it.
            self._hashes[kind] = hashlib.sha256() if kind == "sha256" else hashlib.md5(usedforsecurity=False)
        self._updates = [running.update for running in self._hashes.values()]
        self.position = 0  # bytes so far

    def block(self, index: int, data: memoryview, pause: Callable[[], None]) -> None:
        """The next written block; everything between the last one and this one is zeros."""
        if not self._updates:
            return
        place = index * BLOCK_SIZE
        if place != self.position:
            self.zeros(place, pause)
        for update in self._updates:
            update(data)
        self.position = place + BLOCK_SIZE

    def zeros(self, until: int, pause: Callable[[], None]) -> None:
        """Zeros up to byte `until`. `pause` is called now and then: it may raise."""
        if not self._updates:
            return
        step = 0
        while self.position < until:
            length = min(len(_ZEROS), until - self.position)
            for update in self._updates:
                update(_ZEROS if length == len(_ZEROS) else _ZEROS[:length])
            self.position += length
            step += length
            if step >= _STEP:
                step = 0
                pause()

    def hex(self, kind: str) -> str:
        """A digest in hexadecimal; empty if it was not asked for."""
        return self._hashes[kind].hexdigest() if kind in self._hashes else ""
