# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Encrypted volumes without device mapper: cryptsetup makes the header and hands out the volume key. What lies behind
the header is encrypted here, by OpenSSL, as the kernel does for aes-xts-plain64 and aes-cbc-essiv.
"""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB, XTS

QUICK = ("--pbkdf-force-iterations", "1000")
OFFSET = {"luks1": 2 << 20, "luks2": 16 << 20}


def luks(folder: Path, content: bytes, key: bytes, *options: str, kind: str = "luks2", sector: int = 512) -> bytes:
    """A LUKS volume with this content."""
    image, keys, volume_key = folder / "luks.img", folder / "luks.key", folder / "volume.key"
    for old in (image, volume_key):
        old.unlink(missing_ok=True)
    keys.write_bytes(key)
    with image.open("wb") as file:
        file.truncate(OFFSET[kind] + len(content))
    how = options if "--pbkdf" in options else (*options, *QUICK)
    if kind == "luks2":
        how = (*how, *(() if "--pbkdf" in options else ("--pbkdf", "pbkdf2")), "--sector-size", str(sector))
    subprocess.run(["cryptsetup", "luksFormat", "--batch-mode", "--type", kind, "--offset", str(OFFSET[kind] // 512),
                    *how, image, keys], check=True, capture_output=True)
    subprocess.run(["cryptsetup", "luksDump", "--batch-mode", "--dump-volume-key", "--volume-key-file", volume_key,
                    "--key-file", keys, image], check=True, capture_output=True)
    made = _cbc if "aes-cbc-essiv:sha256" in how else _xts
    with image.open("r+b") as file:
        file.seek(OFFSET[kind])
        file.write(made(volume_key.read_bytes(), content, sector))
    return image.read_bytes()


def _xts(key: bytes, content: bytes, sector: int) -> bytes:
    """The tweak is the number of the sector, counted in 512 bytes whatever its size."""
    out = bytearray()
    for place in range(0, len(content), sector):
        mode = XTS((place // 512).to_bytes(16, "little"))
        out += Cipher(AES(key), mode).encryptor().update(content[place:place + sector])
    return bytes(out)


def _cbc(key: bytes, content: bytes, sector: int) -> bytes:
    """The initial vector is the sector's number, encrypted with the hash of the key."""
    salt = Cipher(AES(hashlib.sha256(key).digest()), ECB())  # noqa: S305 - that is how ESSIV is defined
    out = bytearray()
    for place in range(0, len(content), sector):
        vector = salt.encryptor().update((place // 512).to_bytes(16, "little"))
        out += Cipher(AES(key), CBC(vector)).encryptor().update(content[place:place + sector])
    return bytes(out)
