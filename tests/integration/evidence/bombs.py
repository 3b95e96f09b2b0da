# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small files that become huge: archives in archives, and logs that unpack to gigabytes."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import zipfile
import zlib
from pathlib import Path

MIB = 1 << 20
LINE = b"Jan  1 00:00:00 h x\n"  # as short as a line with a date can be: the most lines a byte


def nested(levels: int, width: int) -> bytes:
    """Archives of archives: 16 MiB of zeros times `width` to the power of `levels`."""
    data = bytes(16 * MIB)
    for level in range(levels + 1):
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(1 if level == 0 else width):
                archive.writestr(f"{level}-{number}", data)
        data = target.getvalue()
    return data


def plant(root: Path) -> None:
    """Where a scanner unpacks archives, and where the finders unpack logs."""
    (root / "opt/bomb.zip").write_bytes(nested(5, 16))  # 16 TiB
    logs = root / "var/log"
    # Members of gzip one after another are one file: each of these has 300 MiB.
    lines = gzip.compress(LINE * (MIB // len(LINE)))
    guess = b"Jan  1 00:00:00 h sshd[1]: Failed password for a from 192.0.2.7 port 1\n"
    guesses = gzip.compress(guess * (MIB // len(guess)))
    zeros = gzip.compress(bytes(MIB))
    for number, member in enumerate((lines, lines, guesses, zeros), 2):
        (logs / f"auth.log.{number}.gz").write_bytes(member * 300)
    (logs / "auth.log.9.xz").write_bytes(greedy(LINE * 100))
    for path in logs.glob("auth.log.*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))  # older than the log that is in use


def greedy(data: bytes) -> bytes:
    """An archive whose header asks whoever unpacks it for 4 GiB of memory."""
    packed = bytearray(lzma.compress(data, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]))
    end = 12 + (packed[12] + 1) * 4  # of the block's header, which its checksum closes
    packed[16] = 40  # the code for a dictionary of 4 GiB
    packed[end - 4:end] = zlib.crc32(packed[12:end - 4]).to_bytes(4, "little")
    return bytes(packed)
