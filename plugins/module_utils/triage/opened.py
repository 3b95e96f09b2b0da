# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Encrypted volumes, opened where a key is given: LUKS 1 and 2, and BitLocker.

Keys come from a file, one a line: a passphrase, a recovery password of BitLocker, or `file:` and the path of a key file
(for BitLocker: a .bek). `p2=` before it says for which partition it is; without, it is tried on all. A key goes nowhere
but into the cipher: into no message, no report, no digest.

dissect.fve reads the headers. It computes XTS, which nearly all volumes use, in Python, some 2 MB a second: that is
left to `cryptography`, which ansible-core needs anyway.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from ..ebs.errors import BadInput, Missing
from .disk import Locked, Part

# What a forged header may ask for at most. cryptsetup's own limits are 4 GiB for Argon2 and 4,000 stripes; PBKDF2 is to
# last 2 s, which is some 10 million rounds.
ROUNDS, MEMORY_KIB, PASSES, STRIPES, KEY_BYTES = 50_000_000, 4 << 20, 1000, 4000, 512
KEY_FILE_LIMIT = 8 << 20  # bytes, as cryptsetup has it
_LINE = re.compile(rb"(?:(p\d+(?:\.[a-z]+\d*)*)=)?(.+)")
_RECOVERY = re.compile(r"\d{6}(-\d{6}){7}")


@dataclass(frozen=True)
class Key:
    """One key. `partition`: which it is for; empty: any."""

    partition: str
    value: bytes = field(repr=False)
    is_file: bool = False

    @property
    def text(self) -> str:
        return self.value.decode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Keys:
    """All keys of a file."""

    keys: tuple[Key, ...]

    def open(self, part: Part) -> BinaryIO:
        """What an encrypted partition holds; Locked when no key fits."""
        fitting = [key for key in self.keys if key.partition in ("", part.name)]
        name, opener = OPENERS[part.kind]
        if not fitting:
            raise Locked(f"encrypted with {name}: not opened, no key was given for it")
        try:
            stream = opener(part, fitting)
        except Locked as error:
            raise Locked(f"encrypted with {name}: not opened, {error}") from None
        except Exception as error:  # a damaged or forged header provokes errors of many kinds; their texts stay here
            raise Locked(f"encrypted with {name}: not opened, its header is damaged or of a kind that is not known "
                         f"({type(error).__name__})") from None
        if stream is None:
            raise Locked(f"encrypted with {name}: not opened, {_none(len(fitting))}")
        return stream


def _none(count: int) -> str:
    return "the key does not fit" if count == 1 else f"none of the {count} keys fits"


def load(path: Path) -> Keys:
    """Keys from a file; BadInput in one sentence, without what is in it."""
    try:
        import argon2  # noqa: F401 - dissect.fve asks for it when a volume needs it
        import dissect.fve  # noqa: F401
    except ImportError as error:
        raise Missing("Opening encrypted volumes needs the Python packages dissect.fve and argon2-cffi: install them "
                      "beside Ansible.") from error
    keys = tuple(_keys(path))
    if not keys:
        raise BadInput(f"{path} holds no key: one a line is wanted.")
    return Keys(keys)


def _keys(path: Path) -> Iterator[Key]:
    for number, line in enumerate(_content(path, path).split(b"\n"), 1):
        match = _LINE.fullmatch(line.removesuffix(b"\r"))
        if match is None:  # an empty line
            continue
        partition, value = (match[1] or b"").decode(), match[2]
        if value.startswith(b"file:"):
            yield Key(partition, _content(Path(value[5:].decode("utf-8", "surrogateescape")), f"{path}, line {number}"),
                      True)
        else:
            yield Key(partition, value)


def _content(path: Path, where: Path | str) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(KEY_FILE_LIMIT + 1)
    except OSError as error:
        raise BadInput(f"{where}: {path} cannot be read ({error.strerror}).") from error
    if len(content) > KEY_FILE_LIMIT:
        raise BadInput(f"{where}: {path} is larger than 8 MiB, and no key.")
    return content


def _luks(part: Part, keys: Iterable[Key]) -> BinaryIO | None:
    from dissect.fve.luks.luks import LUKS

    volume = LUKS(part.stream)
    if not all(map(_bounded, volume.keyslots.values())) or not all(
            0 < digest.iterations <= ROUNDS for digest in volume.metadata.digests.values()):
        raise Locked("its header asks for more than any real one does")
    for key in keys:
        try:
            volume.unlock_with_passphrase(key.value)
        except ValueError:  # of no slot
            continue
        stream = volume.open()
        return _hastened(stream, part, stream.offset)
    return None


def _bounded(slot: Any) -> bool:
    kdf = slot.kdf
    cost = (0 < kdf.iterations <= ROUNDS if kdf.type == "pbkdf2"
            else 0 < kdf.memory <= MEMORY_KIB and 0 < kdf.time <= PASSES)
    return bool(cost and 0 < slot.key_size <= KEY_BYTES and 0 < slot.af.stripes <= STRIPES)


def _bitlocker(part: Part, keys: Iterable[Key]) -> BinaryIO | None:
    from dissect.fve.bde import BDE

    part.stream.seek(0)
    volume = BDE(part.stream)
    for key in keys:
        try:
            if key.is_file:
                volume.unlock_with_bek(io.BytesIO(key.value))
            elif _RECOVERY.fullmatch(key.text):
                volume.unlock_with_recovery_password(key.text)
            else:
                volume.unlock_with_passphrase(key.text)
        except Exception:  # noqa: S112 - it has many for a key that does not fit
            continue
        return _hastened(volume.open(), part, 0)
    return None


OPENERS: dict[str, tuple[str, Callable[[Part, Iterable[Key]], BinaryIO | None]]] = {
    "luks": ("LUKS", _luks), "bitlocker": ("BitLocker", _bitlocker)}


def _hastened(stream: Any, part: Part, shift: int) -> BinaryIO:
    """An opened volume as a file; its content begins `shift` bytes into the partition."""
    from dissect.fve.crypto import _pycryptodome as slow
    from dissect.fve.crypto.base import Plain64

    cipher = stream.cipher
    if isinstance(cipher, slow.XtsMode) and isinstance(cipher.iv_mode, Plain64):
        stream.cipher = Xts(bytes(cipher.key), cipher.sector_size, cipher.iv_sector_size)
    return cast(BinaryIO, Opened(stream, part, shift))


class Xts:
    """AES-XTS with the number of each sector as its tweak; called as the ciphers of dissect.fve are."""

    def __init__(self, key: bytes, sector_size: int, unit: int) -> None:
        """`unit`: bytes of what is numbered; of a larger sector the first number counts."""
        from cryptography.hazmat.primitives.ciphers.algorithms import AES

        self._key, self._size, self._step = AES(key), sector_size, sector_size // unit

    def decrypt(self, data: bytes, sector: int = 0, output: bytearray | None = None) -> bytes | None:
        """Plain text of whole sectors, the first of which has this number; into `output`, where there is one."""
        from cryptography.hazmat.primitives.ciphers import Cipher
        from cryptography.hazmat.primitives.ciphers.modes import XTS

        whole = []
        for place in range(0, len(data) - self._size + 1, self._size):
            tweak = (sector + place // self._size * self._step).to_bytes(16, "little")
            whole.append(Cipher(self._key, XTS(tweak)).decryptor().update(bytes(data[place:place + self._size])))
        plain = b"".join(whole)
        if output is None:
            return plain
        output[:len(plain)] = plain
        return None


class Opened(io.RawIOBase):
    """The content of an encrypted volume. Blocks that are asked for early are asked for where they lie."""

    def __init__(self, inner: Any, part: Part, shift: int) -> None:
        self._inner, self._hint, self._shift = inner, getattr(part.stream, "hint", None), shift
        self.size = int(inner.size)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._inner.seek(offset, whence))

    def tell(self) -> int:
        return int(self._inner.tell())

    def read(self, size: int | None = -1) -> bytes:
        return bytes(self._inner.read(-1 if size is None else size))

    def hint(self, ranges: Iterable[tuple[int, int]]) -> None:
        """These will be read: whoever fetches them can begin with it."""
        if self._hint is not None:
            self._hint((self._shift + place, length) for place, length in ranges)

    def close(self) -> None:
        """The file below belongs to somebody else."""
