# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wtmp, btmp and lastlog as glibc writes them on amd64: 384 bytes a login record, 292 a user."""

from __future__ import annotations

import ipaddress
import struct

from lab.evidence.tree import SECOND

BOOT_TIME, USER_PROCESS, DEAD_PROCESS, LOGIN_PROCESS = 2, 7, 8, 6
RUN_LEVEL = 1


def record(kind: int, moment: int, *, pid: int = 0, line: str = "", ident: str = "", user: str = "",
           host: str = "") -> bytes:
    """One `struct utmp`."""
    seconds, rest = divmod(moment, SECOND)
    try:
        address = ipaddress.ip_address(host).packed.ljust(16, b"\0")
    except ValueError:
        address = bytes(16)
    return struct.pack("<hxxi32s4s32s256shhiii16s20x", kind, pid, line.encode(), ident.encode(), user.encode(),
                       host.encode(), 0, 0, 0, seconds, rest // 1000, address)


def session(user: str, host: str, start: int, end: int | None, *, pid: int, line: str) -> list[tuple[int, bytes]]:
    """A login and, when it ended, its logout: (moment, record)."""
    found = [(start, record(USER_PROCESS, start, pid=pid, line=line, ident=line[-4:], user=user, host=host))]
    if end is not None:
        found.append((end, record(DEAD_PROCESS, end, pid=pid, line=line)))
    return found


def boot(moment: int) -> list[tuple[int, bytes]]:
    """A boot and the run level reached."""
    return [(moment, record(BOOT_TIME, moment, line="~", ident="~~", user="reboot", host="6.1.0-25-cloud-amd64")),
            (moment + 9 * SECOND, record(RUN_LEVEL, moment + 9 * SECOND, pid=53, line="~", ident="~~",
                                         user="runlevel", host="6.1.0-25-cloud-amd64"))]


def lastlog(entries: dict[int, tuple[int, str, str]]) -> bytes:
    """The last login of each user id: (moment, line, host)."""
    size = 292
    data = bytearray(size * (max(entries) + 1))
    for uid, (moment, line, host) in entries.items():
        struct.pack_into("<i32s256s", data, uid * size, moment // SECOND, line.encode(), host.encode())
    return bytes(data)
