# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checking RSA signatures with the standard library alone.

RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, 8.2.2) and nothing else: with one algorithm there is none to be talked into.
What must be there is built whole and compared whole, never parsed, so nothing can hide in it. Checking handles no
secrets, so it matters to nobody how long it takes. docs/decisions/0026-custody-checked-without-packages.md says why it
is our own.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import NamedTuple

from .errors import BadInput

ALGORITHM = "RSASSA_PKCS1_V1_5_SHA_256"  # as KMS calls it
LEAST_BITS, MOST_BITS = 2048, 8192
_RSA = bytes.fromhex("06092a864886f70d0101010500")  # OBJECT IDENTIFIER rsaEncryption, NULL
_SHA256 = bytes.fromhex("3031300d060960864801650304020105000420")  # DigestInfo of SHA-256 up to the hash
_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----\s+([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----")
_WRONG = ("The public key is none that can be used: give an RSA key of 2048 to 8192 bits as PEM ('BEGIN PUBLIC KEY') "
          "or DER, as `aws kms get-public-key` returns it.")


class PublicKey(NamedTuple):
    """An RSA key, and the SHA-256 of its DER form, by which people compare keys."""

    modulus: int
    exponent: int
    fingerprint: str


def read_key(data: bytes) -> PublicKey:
    """A public key (SubjectPublicKeyInfo) of its PEM or DER form; BadInput when it is none."""
    found = _PEM.search(data)
    try:
        der = base64.b64decode(b"".join(found[1].split()), validate=True) if found else data
        whole = _only(der, 0x30)
        algorithm, rest = _part(whole, 0x30)
        bits = _only(rest, 0x03)
        if algorithm != _RSA or bits[:1] != b"\0":
            raise ValueError
        numbers = _only(bits[1:], 0x30)
        modulus, rest = _part(numbers, 0x02)
        exponent = _only(rest, 0x02)
    except (ValueError, IndexError, binascii.Error) as error:
        raise BadInput(_WRONG) from error
    key = PublicKey(int.from_bytes(modulus, "big"), int.from_bytes(exponent, "big"), hashlib.sha256(der).hexdigest())
    if not LEAST_BITS <= key.modulus.bit_length() <= MOST_BITS or not 3 <= key.exponent < 1 << 32 \
            or not key.exponent & 1 or not key.modulus & 1:
        raise BadInput(_WRONG)
    return key


def is_signed(key: PublicKey, message: bytes, signature: bytes) -> bool:
    """Whether a signature of a message is by this key."""
    length = (key.modulus.bit_length() + 7) // 8
    number = int.from_bytes(signature, "big")
    if len(signature) != length or number >= key.modulus:
        return False
    end = _SHA256 + hashlib.sha256(message).digest()
    wanted = b"\0\x01" + b"\xff" * (length - len(end) - 3) + b"\0" + end
    return pow(number, key.exponent, key.modulus).to_bytes(length, "big") == wanted


def _part(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """The content of the first element of DER, which must have this tag, and what follows it."""
    if data[0] != tag:
        raise ValueError
    length, start = data[1], 2
    if length & 0x80:
        count = length & 0x7F
        if not 1 <= count <= 4:
            raise ValueError
        length, start = int.from_bytes(data[2:2 + count], "big"), 2 + count
    if len(data) < start + length:
        raise ValueError
    return data[start:start + length], data[start + length:]


def _only(data: bytes, tag: int) -> bytes:
    content, rest = _part(data, tag)
    if rest:
        raise ValueError
    return content
