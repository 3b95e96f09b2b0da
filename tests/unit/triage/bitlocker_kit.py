# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A BitLocker volume as Windows 7 and later lay one out, made here because nothing but Windows makes them. cryptsetup,
which knows the format by itself, is asked whether it gets the same volume key out of it.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from uuid import UUID

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import XTS

SECTOR, MOVED = 512, 16  # bytes; sectors from the beginning that lie elsewhere
GUID = UUID("4967d63b-2e29-4ad8-8399-f6a339e3d001").bytes_le
VOLUME, PROTECTOR = bytes(range(16)), bytes(range(16, 32))
STARTUP_KEY, RECOVERY_PASSWORD, PASSPHRASE = 0x0200, 0x0800, 0x2000
XTS_128, CCM_256, STRETCH, EXTERNAL = 0x8004, 0x2000, 0x1000, 0x2002
MOMENT = 133_000_000_000_000_000
MASTER = hashlib.sha256(b"the volume's master key").digest()
STARTUP = hashlib.sha256(b"the key on a stick").digest()
FULL = hashlib.sha256(b"the key of its sectors").digest()
INFORMATION = 64 << 10  # bytes of each of the three places that keep the keys


def _datum(role: int, type_: int, data: bytes) -> bytes:
    return struct.pack("<HHHH", 8 + len(data), role, type_, 1) + data


def _boxed(role: int, kind: int, key: bytes, inner: bytes, counter: int) -> bytes:
    nonce = struct.pack("<QI", MOMENT, counter)
    sealed = AESCCM(key).encrypt(nonce, _datum(0, 1, struct.pack("<HH", kind, 0) + inner), None)
    return _datum(role, 5, nonce + sealed[-16:] + sealed[:-16])


def _stretched(password: bytes, salt: bytes) -> bytes:
    state = bytes(32)
    for number in range(1 << 20):
        state = hashlib.sha256(state + password + salt + number.to_bytes(8, "little")).digest()
    return state


def _hash(key: str, how: int) -> bytes:
    if how == RECOVERY_PASSWORD:
        return hashlib.sha256(b"".join(struct.pack("<H", int(part) // 11) for part in key.split("-"))).digest()
    return hashlib.sha256(hashlib.sha256(key.encode("utf-16-le")).digest()).digest()


def _protector(number: int, key: str, how: int) -> bytes:
    head = _protector_name(number) + struct.pack("<QHH", MOMENT, 0, how)
    if how == STARTUP_KEY:
        return _datum(2, 8, head + _boxed(0, CCM_256, STARTUP, MASTER, number))
    salt = bytes([number]) * 16
    stretch = _datum(0, 3, struct.pack("<HH", STRETCH, 0) + salt)
    return _datum(2, 8, head + stretch + _boxed(0, CCM_256, _stretched(_hash(key, how), salt), MASTER, number))


def _protector_name(number: int) -> bytes:
    return bytes([number]) + PROTECTOR[1:]


def startup_file(number: int) -> bytes:
    """The .bek to the protector of this number, from 1."""
    key = _datum(0, 1, struct.pack("<HH", EXTERNAL, 0) + STARTUP)
    data = _datum(6, 9, _protector_name(number) + struct.pack("<Q", MOMENT) + key)
    size = 48 + len(data)
    return struct.pack("<IIII16sIHHQ", size, 1, 48, size, _protector_name(number), 1, 0, 0, MOMENT) + data


def bitlocker(content: bytes, keys: dict[str, int]) -> bytes:
    """A volume with this content, opened by each of these keys (and how each protects it). Its last quarter must be
    free: there the keys lie, and the first sectors of the content."""
    free = len(content) // 4 * 3 // (1 << 20) << 20
    moved, places = free, [free + (number << 20) for number in (1, 2, 3)]
    if any(content[moved:places[-1] + INFORMATION]):
        raise ValueError("the last quarter of the content is not free")
    data = b"".join(_protector(number, key, how) for number, (key, how) in enumerate(keys.items(), 1))
    data += _boxed(3, XTS_128, MASTER, FULL, 77)
    data += _datum(0xF, 0xF, struct.pack("<QQ", moved, MOVED * SECTOR))
    size = 48 + len(data)
    dataset = struct.pack("<IIII16sIHHQ", size, 1, 48, size, VOLUME, 99, XTS_128, 0, MOMENT) + data
    whole = -(-(64 + size) // 16) * 16
    head = struct.pack("<8sHHHHQII3QQ", b"-FVE-FS-", whole // 16, 2, 4, 4, len(content), 0, MOVED, *places, moved)
    block = (head + dataset).ljust(whole, b"\0")
    proof = _boxed(0, CCM_256, MASTER, hashlib.sha256(block).digest(), 78)
    block += struct.pack("<HHI", 8 + len(proof), 2, zlib.crc32(block)) + proof
    image = bytearray(_ciphered(content, 0))
    image[moved:moved + MOVED * SECTOR] = _ciphered(content[:MOVED * SECTOR], moved // SECTOR)
    for place in places:
        image[place:place + INFORMATION] = block.ljust(INFORMATION, b"\0")
    boot = bytearray(SECTOR)
    boot[:14] = b"\xeb\x58\x90-FVE-FS-" + struct.pack("<HB", SECTOR, 8)
    boot[160:200] = GUID + struct.pack("<3Q", *places)
    boot[510:] = b"\x55\xaa"
    image[:SECTOR] = boot
    return bytes(image)


def _ciphered(content: bytes, first: int) -> bytes:
    out = bytearray()
    for place in range(0, len(content), SECTOR):
        tweak = (first + place // SECTOR).to_bytes(16, "little")
        out += Cipher(AES(FULL), XTS(tweak)).encryptor().update(content[place:place + SECTOR])
    return bytes(out)
