# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine's mount table: what lies below a folder, and what a host's namespace must not hold on to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

TABLE = Path("/proc/self/mountinfo")
KERNEL = [Path(name) for name in ("/proc", "/sys", "/dev")]
RUN = Path("/run")
# What a container's start reads and writes of the machine, besides what it is given.
MACHINE = [Path(name) for name in ("/bin", "/etc", "/lib", "/lib64", "/sbin", "/tmp", "/usr", "/var/lib", "/var/tmp")]  # noqa: S108


def table(source: Path = TABLE) -> list[tuple[Path, str]]:
    """Mount points and their file systems' types, in the kernel's order."""
    found = []
    for line in source.read_text().splitlines():
        words = line.split()
        point = words[4].encode().decode("unicode_escape").encode("latin-1").decode("utf-8", "surrogateescape")
        found.append((Path(point), words[words.index("-") + 1]))
    return found


def below(folder: Path, source: Path = TABLE) -> list[Path]:
    """Mount points below a folder, the innermost first."""
    return _innermost_first(point for point, _ in table(source) if point.is_relative_to(folder))


def foreign(needed: Iterable[Path], source: Path = TABLE) -> list[Path]:
    """Mounts that a host has no use for, the innermost first: all that leads neither to what is needed nor to the
    kernel's own file systems.

    A host starts in a copy of the machine's mount table. Whatever stays in the copy is kept alive by the host: a disk
    that somebody has unmounted meanwhile, another lab's network namespace.
    """
    wanted = [*needed, *MACHINE]
    found = []
    for point, kind in table(source):
        inside_kernel = any(point.is_relative_to(top) for top in KERNEL)
        runtime = point.is_relative_to(RUN) and kind != "nsfs"
        if not inside_kernel and not runtime and not any(path.is_relative_to(point) for path in wanted):
            found.append(point)
    return _innermost_first(found)


def _innermost_first(points: Iterable[Path]) -> list[Path]:
    return sorted(points, key=lambda point: len(point.parts), reverse=True)
