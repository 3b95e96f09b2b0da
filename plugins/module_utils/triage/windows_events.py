# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logons from the security log of a Windows system, the newest first.

The log is a ring of chunks of 64 KiB, which dissect.eventlog takes apart. Numbers of events: 4624 somebody logged on,
4625 somebody could not, 1102 the log was cleared (Microsoft's list of security events).
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import IO, Any

from ..ebs.errors import Missing
from ..forensics.about_access import Table, table
from ..forensics.model import Finding, clean
from ..forensics.scene import Scene
from .windows_hives import UNVERIFIED

LOG = "/Windows/System32/winevt/Logs/Security.evtx"
CHUNK, HEAD = 1 << 16, 4096
CHUNKS = 64  # 4 MiB, the newest: some 6,000 events
SESSIONS, ADDRESSES = 500, 200
KINDS = {2: "console", 3: "network", 7: "unlocked", 8: "network, clear text", 10: "remote desktop",
         11: "console, cached"}
NOBODY = ("-", "", "::1", "127.0.0.1")
SUCCESS, FAILURE, CLEARED = 4624, 4625, 1102

Event = Mapping[str, Any]


def chunks(stream: IO[bytes], size: int) -> Iterator[bytes]:
    """The chunks of a log, the newest first. A log in use says late which is the last: those behind it count, too, as
    long as their records go on."""
    head = stream.read(HEAD)
    count = max(0, size - HEAD) // CHUNK
    if not head.startswith(b"ElfFile\0") or len(head) < HEAD or not count:
        return
    last = struct.unpack_from("<Q", head, 16)[0] % count
    number = _number(stream, last)
    for _unused in range(CHUNKS):
        after = _number(stream, (last + 1) % count)
        if after <= number:
            break
        last, number = (last + 1) % count, after
    for back in range(min(count, CHUNKS)):
        stream.seek(HEAD + (last - back) % count * CHUNK)
        data = stream.read(CHUNK)
        if data.startswith(b"ElfChnk\0") and len(data) == CHUNK:
            yield data


def _number(stream: IO[bytes], chunk: int) -> int:
    """The number of a chunk's first record; 0 for an empty one."""
    stream.seek(HEAD + chunk * CHUNK)
    head = stream.read(16)
    return int(struct.unpack_from("<Q", head, 8)[0]) if head.startswith(b"ElfChnk\0") and len(head) == 16 else 0


def events(stream: IO[bytes], size: int) -> Iterator[Event]:
    """Events, the newest first."""
    try:
        from dissect.eventlog.evtx import ElfChnk
    except ImportError as error:
        raise Missing("event logs of Windows need the Python package dissect.eventlog") from error
    for data in chunks(stream, size):
        found: list[Event] = []
        with suppress(Exception):  # a broken chunk: those before the break count
            found.extend(ElfChnk(data).read())
        yield from reversed(found)


def _field(event: Event, name: str) -> str:
    value: Any = event.get(name)
    if hasattr(value, "get"):  # what the log keeps in another place
        value = value.get()
    return "" if value is None else str(value).strip("\0 ")


def _whole_number(event: Event, name: str) -> int:
    text = _field(event, name)
    return int(text) if text.isdigit() else 0


def _moment(event: Event) -> str:
    """When it was, in UTC to the second."""
    return clean(_field(event, "TimeCreated_SystemTime").replace(" ", "T")[:19], 30) + "Z"


def _person(event: Event) -> bool:
    """Not the system itself, a machine, or what draws windows."""
    name = _field(event, "TargetUserName")
    return not (name.endswith("$") or name.upper() in ("SYSTEM", "LOCAL SERVICE", "NETWORK SERVICE", "ANONYMOUS LOGON")
                or name.upper().startswith(("DWM-", "UMFD-")))


class Logons:
    """What the log says of logons."""

    def __init__(self, found: Iterable[Event]) -> None:
        self.sessions: list[dict[str, Any]] = []
        self.cleared: list[tuple[str, str]] = []  # when, by whom
        self._failed: Counter[str] = Counter()
        self._tried: dict[str, Counter[str]] = {}
        self._last: dict[str, str] = {}
        self.oldest, self.count = "", 0
        for event in found:
            self.count += 1
            self.oldest = _moment(event)
            number = _whole_number(event, "EventID")
            if number == SUCCESS:
                self._success(event)
            elif number == FAILURE:
                self._failure(event)
            elif number == CLEARED:
                self.cleared.append((_moment(event), _field(event, "SubjectUserName")))

    def _success(self, event: Event) -> None:
        kind, source = _whole_number(event, "LogonType"), _field(event, "IpAddress")
        if kind in KINDS and _person(event) and (kind not in (3, 8) or source not in NOBODY):
            self.sessions.append({"user": clean(_field(event, "TargetUserName")), "line": KINDS[kind],
                                  "source": clean("" if source in NOBODY else source), "start": _moment(event)})

    def _failure(self, event: Event) -> None:
        source = _field(event, "IpAddress")
        source = "console" if source in NOBODY else source
        self._failed[source] += 1
        self._tried.setdefault(source, Counter())[_field(event, "TargetUserName")] += 1
        self._last[source] = max(self._last.get(source, ""), _moment(event))

    def tables(self) -> Iterator[Table]:
        """Sessions and failures, as of other systems."""
        note = f"{UNVERIFIED} The newest {self.count:,} events of the log, back to {self.oldest}." if self.count else ""
        yield table("sessions", "Sessions", (("user", "User", "text"), ("source", "From", "text"),
                                             ("line", "How", "text"), ("start", "Began (UTC)", "time")),
                    self.sessions[:SESSIONS], note)
        yield table("failures", "Failed logins by address", (
            ("source", "From", "text"), ("count", "Failures", "number"), ("users", "Most tried", "text"),
            ("last", "Last (UTC)", "time")), [
                {"source": clean(source), "count": number, "last": self._last[source], "users": clean(", ".join(
                    name for name, _unused in self._tried[source].most_common(5)))}
                for source, number in self._failed.most_common(ADDRESSES)], note)

    def findings(self, scene: Scene) -> Iterator[Finding]:
        """That the log was cleared."""
        for moment, who in self.cleared:
            yield scene.finding(scene.tree.lookup(LOG), "windows_log_cleared", "log_tampering", "high",
                                f"the security log was cleared at {moment} by {clean(who) or 'somebody'} "
                                "(unverified reader)")


def logons(scene: Scene) -> Logons:
    """Logons of a system; none where it has no security log."""
    entry = scene.tree.lookup(LOG)
    stream = scene.tree.open(LOG) if entry is not None else None
    if entry is None or stream is None:
        return Logons(())
    with stream:
        return Logons(events(stream, entry.info.st_size))
