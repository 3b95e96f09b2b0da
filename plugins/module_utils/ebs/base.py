# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image that is there already, as the base of the next snapshot's: only what changed is fetched.

The base is never written. Its manifest must be whole and of the snapshot that the changes are counted from, and each
block that is taken over must have the SHA-256 that the manifest states: a base that is not what it says gives no image.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from .blocks import BLOCK_SIZE, image_size
from .errors import BadInput, ManifestError, Mismatch
from .fetch import Want
from .manifest import Manifest
from .sinks import read_at


class BaseImage:
    """A finished raw image (or device) and its manifest."""

    def __init__(self, path: Path | str, manifest: Path | str) -> None:
        self.path = Path(path)
        self.manifest = Manifest(manifest)
        self._fd = -1

    @property
    def snapshot_id(self) -> str:
        """The snapshot that this is the image of, by its manifest."""
        return self.manifest.identity.snapshot_id

    def open(self, region: str) -> None:
        """Check the identity: manifest whole and of this region, image as large as it should be."""
        identity = self.manifest.identity
        if identity.region != region:
            raise BadInput(f"The base image is of a snapshot in {identity.region}, not in {region}.")
        self.manifest.check()
        try:
            self._fd = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            size = os.lseek(self._fd, 0, os.SEEK_END)
        except OSError as error:
            raise BadInput(f"The base image {self.path} cannot be read: {error.strerror}.") from error
        wanted = image_size(identity.volume_gib)
        if size < wanted or (size > wanted and self.path.is_file()):
            raise ManifestError(f"The base image {self.path} has {size} bytes; its manifest says {wanted}.")

    def close(self) -> None:
        """Close image and manifest."""
        self.manifest.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def read(self, index: int, digest: bytes, buffer: memoryview) -> None:
        """A block that did not change, verified."""
        block = buffer[:BLOCK_SIZE]
        if not read_at(self._fd, index * BLOCK_SIZE, block, self.path) or hashlib.sha256(block).digest() != digest:
            error = Mismatch(f"Block {index} of the base image {self.path} is not what its manifest says.")
            error.failed_blocks = (index,)
            raise error


def merge(records: Iterator[tuple[int, bytes]], changes: Iterator[tuple[int, str | None]]) -> Iterator[Want]:
    """The second snapshot's written blocks, ascending: those of the base, but what changed; removed ones are left out.

    `records`: (index, SHA-256) of the base; `changes`: (index, token), token None where the block was removed.
    """
    old, change = next(records, None), next(changes, None)
    while old is not None or change is not None:
        if change is None or (old is not None and old[0] < change[0]):
            if old is None:
                raise AssertionError("for the type checker: one of the two is there")
            yield Want(old[0], None, old[1])
            old = next(records, None)
            continue
        if old is not None and old[0] == change[0]:
            old = next(records, None)
        if change[1] is not None:
            yield Want(change[0], change[1])
        change = next(changes, None)
