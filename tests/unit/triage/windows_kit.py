# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk with what a Windows system writes down: hives that hivexsh fills, in NTFS that ntfs-3g's tools fill."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

NONE = 0xFFFFFFFF
Values = Mapping[str, str]  # as hivexsh takes them: string:..., dword:0x..., hex:type:aa,bb


def _cell(data: bytes) -> bytes:
    size = -(-(len(data) + 4) // 8) * 8
    return struct.pack("<i", -size) + data.ljust(size - 4, b"\0")


def empty_hive() -> bytes:
    """A hive with nothing but its root, which hivex needs to begin with: head, one bin, the root and its descriptor."""
    def root(descriptor: int) -> bytes:
        return _cell(struct.pack("<2sHQ15IHH", b"nk", 0x2C, 0, 0, 0, 0, 0, NONE, NONE, 0, NONE, descriptor, NONE,
                                 0, 0, 0, 0, 0, 4, 0) + b"ROOT")

    place = 32 + len(root(0))
    security = struct.pack("<BBHIIII", 1, 0, 0x8000, 0, 0, 0, 0)
    cells = root(place) + _cell(struct.pack("<2sHIIII", b"sk", 0, place, place, 1, len(security)) + security)
    rest = 4096 - 32 - len(cells)
    content = struct.pack("<4sII8xQI", b"hbin", 0, 4096, 0, 0) + cells + struct.pack("<i", rest).ljust(rest, b"\0")
    head = struct.pack("<4sIIQIIIIIII", b"regf", 1, 1, 0, 1, 3, 0, 1, 32, 4096, 1).ljust(508, b"\0")
    total = 0
    for (word,) in struct.iter_unpack("<I", head):
        total ^= word
    return (head + struct.pack("<I", total)).ljust(4096, b"\0") + content


def hive(path: Path, keys: Mapping[str, Values]) -> bytes:
    """A hive with these keys, each with its values."""
    path.write_bytes(empty_hive())
    words, made = [], set()
    for key, values in keys.items():
        words.append("cd \\ ")
        parts = key.split("\\")
        for number, part in enumerate(parts, 1):
            whole = "\\".join(parts[:number]).lower()
            words += [] if whole in made else [f"add {part}"]
            made.add(whole)
            words.append(f"cd {part}")
        words.append(f"setval {len(values)}")
        for name, value in values.items():
            words += [name, value]
    (path.parent / "hivexsh.txt").write_text("\n".join([*words, "commit", ""]))
    subprocess.run(["hivexsh", "-w", "-f", path.parent / "hivexsh.txt", path], check=True, capture_output=True)
    return path.read_bytes()


def raw(type_: int, data: bytes) -> str:
    """A value of any type."""
    return f"hex:{type_}:" + ",".join(f"{byte:02x}" for byte in data)


def ntfs(image: Path, files: Mapping[str, bytes], mib: int = 16) -> Path:
    """A file system of NTFS with these files. ntfscp makes no folders, so it is mounted where it can be."""
    with image.open("wb") as file:
        file.truncate(mib << 20)
    subprocess.run(["mkntfs", "-q", "-F", image], check=True, capture_output=True)
    point = image.parent / "mounted"
    point.mkdir(exist_ok=True)
    subprocess.run(["ntfs-3g", image, point], check=True, capture_output=True)
    try:
        for name, content in files.items():
            (point / name).parent.mkdir(parents=True, exist_ok=True)
            (point / name).write_bytes(content)
    finally:
        subprocess.run(["umount", point], check=True, capture_output=True)
    return image
