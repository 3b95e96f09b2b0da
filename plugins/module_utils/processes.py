# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tells a process from all others: its number, when it started, and where that number has its meaning.

Standard library only. `OSError` where the system does not say it.
"""

from __future__ import annotations

from pathlib import Path


def machine() -> dict[str, str]:
    """This machine since it was booted, and this container of it."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return {"boot": boot, "namespace": str(Path("/proc/self/ns/pid").readlink())}


def started(pid: int) -> str:
    """When a process was started, in the kernel's ticks; empty if it is gone or dead."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    # The command's name, in parentheses, may hold blanks: the third field is the first behind it, the 22nd the 20th.
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]
