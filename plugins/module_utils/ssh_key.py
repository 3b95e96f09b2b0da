# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is this one OpenSSH public key, and a strong one?

The base64 part is taken apart as OpenSSH does it: a line that merely looks like a key, or that brings options such as
`command=` along, must not get into an authorized_keys file.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from typing import NamedTuple

LEAST_RSA_BITS = 2048
LONGEST = 16_384  # an RSA key of 16384 bits has about 2,800 characters
_CURVES = {"nistp256": 32, "nistp384": 48, "nistp521": 66}


class KeyRefused(ValueError):
    """One sentence that says what is wrong with the key. It never quotes the key: it could be a private one."""


class PublicKey(NamedTuple):
    """A checked key. `line` is what belongs into authorized_keys, without options."""

    type: str
    bits: int
    fingerprint: str
    line: str


def parse(text: str, comment: str = "") -> PublicKey:
    """Check one public key.

    :param comment: takes the place of the key's own comment, which nobody checked.
    """
    if not isinstance(text, str) or not text.strip():
        raise KeyRefused("The public key is empty.")
    if "PRIVATE KEY" in text:
        raise KeyRefused("This is a private key: store the public one (the .pub file), and replace the private one.")
    line = text.strip(" \t\r\n")
    if len(line) > LONGEST or not line.isascii() or not line.isprintable():
        raise KeyRefused("The public key must be one single line of printable ASCII.")
    kind, _blank, rest = line.partition(" ")
    if kind not in _READERS:
        raise KeyRefused("The public key must start with its type, without options before it; types allowed are "
                         f"{', '.join(_READERS)}.")
    encoded = rest.strip().split(" ", 1)[0]
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise KeyRefused("The public key's base64 part is damaged.") from None
    if base64.b64encode(blob).decode() != encoded:
        raise KeyRefused("The public key's base64 part is damaged.")
    reader = _Reader(blob)
    if reader.string() != kind.encode():
        raise KeyRefused("The public key's type and its base64 part disagree.")
    bits = _READERS[kind](reader)
    reader.end()
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    name = re.sub(r"[^A-Za-z0-9@._:-]", "", comment)[:100]
    return PublicKey(kind, bits, f"SHA256:{digest}", " ".join(part for part in (kind, encoded, name) if part))


class _Reader:
    """SSH's wire format: strings with a length of four bytes before them."""

    def __init__(self, blob: bytes) -> None:
        self._blob, self._at = blob, 0

    def string(self) -> bytes:
        length = int.from_bytes(self._blob[self._at:self._at + 4], "big")
        start = self._at + 4
        if start > len(self._blob) or start + length > len(self._blob):
            raise KeyRefused("The public key is cut off.")
        self._at = start + length
        return self._blob[start:self._at]

    def number(self) -> int:
        raw = self.string()
        if not raw or raw[0] & 0x80 or (len(raw) > 1 and raw[0] == 0 and not raw[1] & 0x80):
            raise KeyRefused("The public key holds a number that is not well formed.")
        return int.from_bytes(raw, "big")

    def end(self) -> None:
        if self._at != len(self._blob):
            raise KeyRefused("The public key has more in its base64 part than belongs there.")


def _ed25519(reader: _Reader) -> int:
    if len(reader.string()) != 32:
        raise KeyRefused("The public key is not a well-formed Ed25519 key.")
    return 256


def _ecdsa(curve: str) -> Callable[[_Reader], int]:
    size = _CURVES[curve]

    def read(reader: _Reader) -> int:
        name, point = reader.string(), reader.string()
        if name != curve.encode() or len(point) != 1 + 2 * size or point[0] != 4:
            raise KeyRefused(f"The public key is not a well-formed ECDSA key on {curve}.")
        return int(curve[5:])

    return read


def _rsa(reader: _Reader) -> int:
    exponent, modulus = reader.number(), reader.number()
    if exponent < 3 or exponent % 2 == 0 or modulus % 2 == 0:
        raise KeyRefused("The public key is not a well-formed RSA key.")
    if modulus.bit_length() < LEAST_RSA_BITS:
        raise KeyRefused(f"The public key is RSA with {modulus.bit_length()} bits: it needs {LEAST_RSA_BITS}.")
    return modulus.bit_length()


def _security_key(inner: Callable[[_Reader], int]) -> Callable[[_Reader], int]:
    def read(reader: _Reader) -> int:
        bits = inner(reader)
        if not reader.string().startswith(b"ssh:"):
            raise KeyRefused("The public key of a security key must be made for SSH (application 'ssh:').")
        return bits

    return read


_READERS: dict[str, Callable[[_Reader], int]] = {
    "ssh-ed25519": _ed25519,
    "ecdsa-sha2-nistp256": _ecdsa("nistp256"),
    "ecdsa-sha2-nistp384": _ecdsa("nistp384"),
    "ecdsa-sha2-nistp521": _ecdsa("nistp521"),
    "ssh-rsa": _rsa,
    "sk-ssh-ed25519@openssh.com": _security_key(_ed25519),
    "sk-ecdsa-sha2-nistp256@openssh.com": _security_key(_ecdsa("nistp256")),
}
