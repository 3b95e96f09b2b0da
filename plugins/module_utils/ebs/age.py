# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Encryption with age (https://age-encryption.org/v1), through the library pyrage.

A stream is encrypted for recipients. A passphrase encrypts no stream (the library takes it for what fits in memory
only): it protects a generated identity, and that encrypts the stream. The protected identity is an ordinary encrypted
identity file: `age --decrypt -i image.identity image.zst.age` asks for the passphrase.

Making and reading one takes some seconds and up to 1 GiB of memory: that is what makes passphrases hard to guess.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .errors import BadInput, EngineError, Mismatch, Missing

_ENCRYPTED = (b"age-encryption.org/", b"-----BEGIN AGE ENCRYPTED FILE-----")
_LARGEST_IDENTITY = 1 << 20
_CHUNK, _NONCE, _TAG = 64 << 10, 16, 16  # of the format


def library() -> Any:
    """The module pyrage."""
    try:
        import pyrage
    except ImportError:
        raise Missing("Encryption needs the Python package pyrage: install it, and run again.") from None
    return pyrage


def recipients(texts: Sequence[str]) -> list[Any]:
    """Recipients: `age1...`, or public SSH keys."""
    pyrage, found = library(), []
    for text in texts:
        kind = pyrage.ssh if text.startswith("ssh-") else pyrage.x25519
        try:
            found.append(kind.Recipient.from_str(text))
        except pyrage.RecipientError as error:
            raise BadInput(f"{text!r} is no recipient: age1... or a public SSH key is what one looks like.") from error
    if not found:
        raise BadInput("Name at least one recipient: nothing is packed unencrypted.")
    return found


def protected_identity(passphrase: str) -> tuple[Any, bytes]:
    """A new identity's recipient, and the identity encrypted with the passphrase (the content of a file)."""
    pyrage = library()
    if len(passphrase) < 8:
        raise BadInput("The passphrase is too short: take eight characters at least, better five words.")
    identity = pyrage.x25519.Identity.generate()
    text = f"{identity}\n".encode()
    return identity.to_public(), pyrage.passphrase.encrypt(text, passphrase, armored=True)


def identity_files(paths: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    """Name and content of identity files."""
    for path in paths:
        try:
            with path.open("rb") as file:
                yield str(path), file.read(_LARGEST_IDENTITY)
        except OSError as error:
            raise BadInput(f"The identity {path} cannot be read: {error.strerror}.") from error


def identities(files: Iterable[tuple[str, bytes]], passphrase: str | None) -> list[Any]:
    """What can decrypt: from identity files of age (encrypted ones need the passphrase), or private SSH keys."""
    pyrage, found = library(), []
    for path, content in files:
        if content.startswith(_ENCRYPTED):
            if passphrase is None:
                raise BadInput(f"The identity {path} is encrypted: give its passphrase.")
            try:
                content = pyrage.passphrase.decrypt(content, passphrase)
            except pyrage.DecryptError as error:
                raise BadInput(f"The passphrase does not open {path}, or that file was altered.") from error
        try:
            if content.lstrip().startswith(b"-----BEGIN"):
                found.append(pyrage.ssh.Identity.from_buffer(content))
                continue
            lines = [line.strip() for line in content.decode().splitlines()]
            found += [pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
        except (pyrage.IdentityError, UnicodeDecodeError) as error:
            raise BadInput(f"{path} holds no identity of age and no private SSH key.") from error
    if not found:
        raise BadInput("Name the identity that the file was encrypted for.")
    return found


class _Side:
    """One end of a stream that the library drives. The library puts its own words around what is raised here: the
    first error is kept as it was."""

    error: BaseException | None = None

    def flush(self) -> None:
        return


class _Reader(_Side):
    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = memoryview(b"")

    def read(self, size: int = -1) -> bytes:
        try:
            while not len(self._left):
                piece = next(self._pieces, None)
                if piece is None:
                    return b""
                self._left = memoryview(piece)
            part = bytes(self._left[:size] if size >= 0 else self._left)
            self._left = self._left[len(part) :]
            return part
        except BaseException as error:
            self.error = self.error or error
            raise


class _Writer(_Side):
    def __init__(self, put: Callable[[bytes], None]) -> None:
        self._put = put

    def write(self, data: bytes) -> int:
        try:
            self._put(data)
        except BaseException as error:
            self.error = self.error or error
            raise
        return len(data)


def encrypt(pieces: Iterator[bytes], put: Callable[[bytes], None], to: Sequence[Any]) -> None:
    """Encrypt a stream; `put` gets the encrypted bytes in order. Raises unless it got every one of them."""
    pyrage, tally = library(), _Tally()

    def put_counted(data: bytes) -> None:
        put(data)
        tally.note(data)

    reader, writer = _Reader(tally.read(pieces)), _Writer(put_counted)
    try:
        pyrage.encrypt_io(reader, writer, list(to))
    except (pyrage.EncryptError, OSError) as error:
        raise _cause(reader, writer) or EngineError(f"It could not be encrypted: {error}.") from error
    # An error of its last write the library keeps to itself (seen with pyrage 1.4.0: a buffer is dropped).
    cause = _cause(reader, writer)
    if cause is not None:
        raise cause
    if not tally.is_whole():
        raise EngineError("It could not be encrypted: the last bytes of the stream were not written.")


class _Tally:
    """What went into an encryption and what came out, held against the format (https://c2sp.org/age): a header whose
    last line is `--- MAC`, a nonce of 16 bytes, and a tag of 16 for each chunk of 64 KiB."""

    def __init__(self) -> None:
        self._plain = self._written = self._header = 0
        self._head = b""

    def read(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._plain += len(piece)
            yield piece

    def note(self, data: bytes) -> None:
        self._written += len(data)
        if not self._header:
            self._head += data
            mac = self._head.find(b"\n--- ")
            self._header = self._head.find(b"\n", mac + 1) + 1 if mac >= 0 else 0

    def is_whole(self) -> bool:
        chunks = max(1, -(-self._plain // _CHUNK))
        return bool(self._header) and self._written == self._header + _NONCE + self._plain + _TAG * chunks


def decrypt(source: Any, put: Callable[[bytes], None], with_: Sequence[Any], name: str) -> None:
    """Decrypt a stream. What `put` gets is authentic so far as it goes; only when this returns was it everything."""
    pyrage = library()
    reader, writer = _Reader(iter(lambda: source.read(1 << 16), b"")), _Writer(put)
    try:
        pyrage.decrypt_io(reader, writer, list(with_))
    except (pyrage.DecryptError, OSError) as error:  # a bad chunk comes as OSError
        cause = _cause(reader, writer)
        if cause is not None:
            raise cause from error
        raise Mismatch(
            f"{name} cannot be decrypted ({error}): it was altered or cut off, or it is for another identity."
        ) from error


def _cause(*sides: _Side) -> BaseException | None:
    return next((side.error for side in sides if side.error is not None), None)
