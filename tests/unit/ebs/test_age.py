# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Encryption as a stream: no byte is lost without a word, whichever it is and whoever loses it."""

from __future__ import annotations

from collections.abc import Iterator

import pyrage
import pytest
from ansible_collections.dfir.aws.plugins.module_utils.ebs import age, errors

CHUNK = 64 << 10
IDENTITY = pyrage.x25519.Identity.generate()
TO = [IDENTITY.to_public()]


def pieces(size: int) -> Iterator[bytes]:
    yield b"e" * (size // 3)
    yield b"e" * (size - size // 3)


def written(size: int) -> list[bytes]:
    out: list[bytes] = []
    age.encrypt(pieces(size), out.append, TO)
    return out


@pytest.mark.parametrize("size", [0, 1, 10, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK, 5 * CHUNK + 7])
@pytest.mark.parametrize("count", [1, 40])
def test_what_is_written_is_what_age_reads(size: int, count: int) -> None:
    out: list[bytes] = []
    age.encrypt(pieces(size), out.append, TO * count)
    assert pyrage.decrypt(b"".join(out), [IDENTITY]) == b"e" * size


@pytest.mark.parametrize("size", [10, CHUNK + 1, 5 * CHUNK])
def test_a_write_that_fails_ends_the_encryption_with_its_cause(size: int) -> None:
    """The last one, too: the library itself says nothing of it."""
    for last in range(len(written(size))):
        done: list[bytes] = []

        def put(data: bytes, last: int = last, done: list[bytes] = done) -> None:
            if len(done) == last:
                raise errors.SinkError("The disk is full.")
            done.append(data)

        with pytest.raises(errors.SinkError, match=r"^The disk is full\.$"):
            age.encrypt(pieces(size), put, TO)


@pytest.mark.parametrize("size", [10, CHUNK + 1, 5 * CHUNK])
def test_an_interrupt_between_the_library_and_us_is_no_success(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal's exception is raised wherever the interpreter is: also before our `try`."""
    real = age._Writer.write
    for last in range(len(written(size))):
        seen: list[int] = []

        def write(
            writer: age._Writer, data: bytes, last: int = last, seen: list[int] = seen
        ) -> int:  # fmt: skip
            seen.append(len(data))
            if len(seen) == last + 1:
                raise KeyboardInterrupt
            return real(writer, data)

        monkeypatch.setattr(age._Writer, "write", write)
        with pytest.raises(errors.EngineError, match="could not be encrypted"):
            age.encrypt(pieces(size), lambda _data: None, TO)
        monkeypatch.undo()
