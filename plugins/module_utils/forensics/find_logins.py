# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logins: password guessing and what came of it, binary login records, signs that somebody tampered with them."""

from __future__ import annotations

import ipaddress
import re
import struct
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import IO

from .journal import JournalEntry, JournalError, JournalFile
from .logfiles import Budget, LogLine, logs, syslog_lines, zone_of
from .model import Finding
from .scene import WINDOW, Account, Scene
from .suspicion import reasons, worst
from .times import iso
from .tree import Entry

GUESSERS = 100  # addresses that failed, each with a finding of its own
MANY_FAILURES = 10  # people mistype a password a few times, machines dozens of times
COMMON_LINES = 5  # this many messages in both logs show that both were kept, by clocks that agree
_FAILED = re.compile(r"sshd(?:-session)?\[\d+\]: "
                     r"(?:Failed (?:password|publickey|keyboard-interactive/pam) for (?:invalid user )?(\S*) from (\S+)"
                     r"|Invalid user (\S*) from (\S+))")
_ACCEPTED = re.compile(r"sshd(?:-session)?\[\d+\]: Accepted (\S+) for (\S+) from (\S+)")
_SUDO = re.compile(r"sudo(?:\[\d+\])?: +(\S+) : .*?COMMAND=(.*)")
_TELLING = re.compile(r"new user|new group|add '|password changed|changed password|UID=0\b|to group")
_ADDED = re.compile(r"(useradd|usermod|groupadd|gpasswd|passwd|chage)\[\d+\]: (.*)")

# What may be of use in the journal, before it is known who said it.
_WORTH_KEEPING = re.compile(r"^(?:Failed|Accepted|Invalid user) |COMMAND=|" + _TELLING.pattern)
_SSHD = re.compile(r"sshd(?:-session)?")
JOURNAL_LINES = 300_000
QUICK_TEXT, QUICK_JOURNAL = 16 << 20, 32 << 20  # bytes that are read in a hurry: the newest
JOURNAL_LIMIT = 4 << 30  # all files together; journald keeps no more by default

RECORD = struct.Struct("<hxxi32s4s32s256shhiii16s20x")  # struct utmp of glibc on amd64, arm64 too
USER_PROCESS = 7
LASTLOG = struct.Struct("<i32s256s")


@dataclass
class Success:
    """A login that came after failures from the same address."""

    line: LogLine
    user: str
    address: str
    method: str
    failures: int


def find(scene: Scene) -> Iterator[Finding]:
    """Everything that log files and login records tell about logins."""
    lines: list[LogLine] = []
    yield from _text_logs(scene, lines)
    yield from _journal(scene, lines)
    lines.sort(key=lambda line: line.when)
    guessers: set[str] = set()
    yield from _guessing(scene, lines, guessers)
    yield from _sudo(scene, lines)
    yield from _changes(scene, lines)
    yield from _records(scene, guessers)
    yield from _lastlog(scene, guessers)
    yield from _emptied(scene)


def _text_logs(scene: Scene, lines: list[LogLine]) -> Iterator[Finding]:
    """Put what the text logs hold into `lines`, the oldest log first; a finding where there is too much of it."""
    zone, budget = zone_of(scene.tree), Budget(size=QUICK_TEXT) if scene.quick else Budget()
    found, unread = [], []
    for entry in reversed(logs(scene.tree, "auth.log", "secure")):  # what counts most is read first
        if not budget.spent:
            found.append(list(syslog_lines(scene.tree, entry, zone, _is_relevant, budget)))
        if budget.spent:
            unread.append(entry)
    for part in reversed(found):
        lines += part
    if unread:
        why = "the newest were" if scene.quick else "unpacked they hold more than can be sensible"
        yield scene.finding(unread[0], "log_unread", "log_unreadable", "info" if scene.quick else "low",
                            f"{len(unread)} logs, this one and older ones, were not read or not to their end: {why}")


def _journal(scene: Scene, lines: list[LogLine]) -> Iterator[Finding]:
    """Add what the journal alone holds to `lines`; findings about the journal itself."""
    text: dict[str, set[int]] = defaultdict(set)
    for line in lines:
        text[line.message].add(int(line.when.timestamp()))
    covered = (min(line.when for line in lines), max(line.when for line in lines)) if lines else None
    both, missing = 0, []
    for item in _journal_lines(scene):
        if isinstance(item, Finding):
            yield item
        elif (seconds := text.get(item.message)) and not seconds.isdisjoint(_around(item.when)):
            both += 1  # said by the text log, too: counted once
        else:
            missing.append(item)
            if len(missing) >= JOURNAL_LINES:
                yield scene.finding(item.entry, "journal_unread", "log_unreadable", "low",
                                    f"{JOURNAL_LINES} messages about logins were read; older ones were not")
                break
    gaps = [line for line in missing if covered and covered[0] < line.when < covered[1]]
    if gaps and both >= COMMON_LINES:
        yield scene.finding(lines[0].entry, "text_log_gaps", "log_tampering", "medium",
                            f"{len(gaps)} messages about logins are in the journal, but not in the text log of the "
                            f"same time, the first at {_at(gaps[0])}", gaps[0].raw)
    lines += missing


def _around(when: datetime) -> range:
    """The seconds in which another log may have the same message."""
    return range(int(when.timestamp()) - 2, int(when.timestamp()) + 3)


def _journal_lines(scene: Scene) -> Iterator[LogLine | Finding]:
    """Messages of interest in all files of the journal, each as syslog would write it."""
    files = [entry for _unused, entries in scene.tree.walk("/var/log/journal") for entry in entries
             if entry.is_file and re.search(rb"\.journal~?$", entry.name)]
    left = QUICK_JOURNAL if scene.quick else JOURNAL_LIMIT
    for entry in sorted(files, key=lambda entry: -entry.info.st_mtime_ns):
        stream = scene.tree.open(entry.path)
        left -= entry.info.st_size
        if stream is None or left < 0:
            yield scene.finding(entry, "journal_unread", "log_unreadable", "info",
                                "this file of the journal was not read" + (": there is too much of it" * (left < 0)))
            continue
        with stream:
            yield from _journal_file(scene, entry, stream)


def _journal_file(scene: Scene, entry: Entry, stream: IO[bytes]) -> Iterator[LogLine | Finding]:
    forged: list[tuple[LogLine, JournalEntry] | None] = []  # the first, and how many
    try:
        file = JournalFile(stream, _WORTH_KEEPING.search)
        for item in file:
            message = f"{item.identifier}[{item.pid}]: {item.message}"
            line = LogLine(item.when, message, entry, f"{item.when:%Y-%m-%dT%H:%M:%S.%fZ} {message}")
            if not _is_relevant(message):
                continue
            if _SSHD.fullmatch(item.identifier) and item.uid:
                # Anybody may write into the journal under any name, but not with another's user id.
                forged.append((line, item) if not forged else None)
            else:
                yield line
    except (JournalError, OSError) as error:
        yield scene.finding(entry, "journal_unread", "log_unreadable", "low",
                            f"this file of the journal could not be read: {error}")
        return
    if forged and forged[0]:
        line, item = forged[0]
        yield scene.finding(entry, "forged_message", "log_tampering", "medium",
                            f"{len(forged)} messages about logins were sent under the name of the SSH server, which "
                            f"runs as root, by other users: the first at {_at(line)} by {item.comm or 'a program'} "
                            f"with user id {item.uid}", line.raw)
    if file.damaged or file.given_up:
        yield scene.finding(entry, "journal_damaged", "log_unreadable", "low",
                            f"{file.damaged} places in this file of the journal are damaged and were skipped"
                            f"{'; ' + file.given_up if file.given_up else ''}")


def _is_relevant(message: str) -> bool:
    return bool(_FAILED.search(message) or _ACCEPTED.search(message) or _SUDO.search(message) or _ADDED.search(message))


def _at(line: LogLine) -> str:
    mark = f" ({line.inferred} inferred)" if line.inferred else ""
    return f"{line.when:%Y-%m-%d %H:%M:%S} UTC{mark}"


def _guessing(scene: Scene, lines: list[LogLine], guessers: set[str]) -> Iterator[Finding]:
    failures: dict[str, list[datetime]] = defaultdict(list)
    users: dict[str, Counter[str]] = defaultdict(Counter)
    where: dict[str, LogLine] = {}
    successes: dict[tuple[str, str], Success] = {}
    seen: set[tuple[str, str]] = set()
    for line in lines:
        failed = _FAILED.search(line.message)
        if failed:
            if failed[2]:  # "Invalid user" is followed by "Failed password": counted once
                failures[failed[2]].append(line.when)
                where.setdefault(failed[2], line)
            users[failed[2] or failed[4]][failed[1] or failed[3] or ""] += 1
            continue
        accepted = _ACCEPTED.search(line.message)
        if not accepted:
            continue
        method, user, address = accepted.groups()
        recent = len(failures[address]) - bisect_left(failures[address], line.when - WINDOW)  # lines are in order
        if recent >= MANY_FAILURES and (user, address) not in successes:
            successes[user, address] = Success(line, user, address, method, recent)
        elif (user, address) not in seen and recent < MANY_FAILURES:
            yield scene.finding(line.entry, "first_login", "login", "info",
                                f"first login of {user} from {address} by {method} at {_at(line)}", line.raw)
        seen.add((user, address))
    for success in successes.values():
        guessers.add(success.address)
        # A key is not guessed; that it comes from the same address is still worth a look.
        severity = "critical" if success.user == "root" else "high"
        severity = severity if success.method in ("password", "keyboard-interactive/pam") else "medium"
        if severity != "medium":
            scene.broken_in(success.line.when)
        yield scene.finding(success.line.entry, "guessed_password", "ssh_break_in", severity,
                            f"{success.address} logged in as {success.user} by {success.method} at "
                            f"{_at(success.line)}, after {success.failures} failures within 24 h",
                            success.line.raw)
    many = sorted((address for address, moments in failures.items()
                   if len(moments) >= MANY_FAILURES and address not in guessers),
                  key=lambda one: -len(failures[one]))
    if len(many) > GUESSERS:
        left = many[GUESSERS:]
        yield scene.finding(where[left[0]].entry, "more_guessing", "ssh_brute_force", "low",
                            f"{sum(len(failures[address]) for address in left):,} failed logins from {len(left):,} "
                            "more addresses, none successful", where[left[0]].raw)
    for address in many[:GUESSERS]:
        moments = failures[address]
        tried = ", ".join(name for name, _unused in users[address].most_common(5))
        yield scene.finding(where[address].entry, "password_guessing", "ssh_brute_force", "low",
                            f"{len(moments)} failed logins from {address} between {moments[0]:%Y-%m-%d %H:%M:%S} "
                            f"and {moments[-1]:%Y-%m-%d %H:%M:%S} UTC, none successful (tried {tried})",
                            where[address].raw)


def _sudo(scene: Scene, lines: list[LogLine]) -> Iterator[Finding]:
    for line in lines:
        match = _SUDO.search(line.message)
        if not match:
            continue
        found = reasons(match[2])
        account = scene.account(match[1])
        notes, severity = [reason.text for reason in found], worst("info", *(reason.severity for reason in found))
        if account is not None and account.is_system:
            severity = worst(severity, "medium")
            notes.append(f"{match[1]} is a service account")
        if re.search(r"(?:^|/)(?:ba|da|z|k)?sh(?:\s+-[il])?\s*$|/su\b", match[2]):
            severity = worst(severity, "info")
            notes.append("became root")
        near = scene.break_in_before(line.when)
        if notes and near:
            severity = worst(severity, "medium")
            notes.append("after a break-in")
        if notes and severity != "info":
            yield scene.finding(line.entry, "sudo_command", "login", severity,
                                f"{match[1]} with sudo at {_at(line)}: {', '.join(notes)}", line.raw)


def _changes(scene: Scene, lines: list[LogLine]) -> Iterator[Finding]:
    for line in lines:
        match = _ADDED.search(line.message)
        if match and _TELLING.search(match[2]):
            near = scene.break_in_before(line.when)
            zero = "new user" in match[2] and re.search(r"UID=0\b", match[2])
            yield scene.finding(line.entry, "account_changed", "account", "high" if zero or near else "info",
                                f"accounts were changed at {_at(line)}"
                                f"{', after a break-in' if near else ''}", line.raw)


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class LoginRecord:
    """One record of wtmp or btmp."""

    kind: int
    user: str
    line: str
    host: str
    address: str
    when: int


def login_records(data: bytes) -> Iterator[LoginRecord]:
    """The records of wtmp, btmp or utmp."""
    for offset in range(0, len(data) - RECORD.size + 1, RECORD.size):
        fields = RECORD.unpack_from(data, offset)
        kind, line, user, host, seconds, packed = (fields[index] for index in (0, 2, 4, 5, 9, 11))
        if packed[4:] == bytes(12):
            address = "" if packed[:4] == bytes(4) else str(ipaddress.IPv4Address(packed[:4]))
        else:
            address = str(ipaddress.IPv6Address(packed))
        yield LoginRecord(kind, _text(user), _text(line), _text(host), address, seconds & 0xFFFFFFFF)


def _records(scene: Scene, guessers: set[str]) -> Iterator[Finding]:
    failed: Counter[str] = Counter()
    for entry in logs(scene.tree, "btmp"):
        for record in login_records(scene.tree.read(entry.path, 256 << 20) or b""):
            failed[record.address or record.host] += 1
    for entry in logs(scene.tree, "wtmp"):
        data = scene.tree.read(entry.path, 256 << 20) or b""
        yield from _tampered(scene, entry, data)
        seen: set[tuple[str, str]] = set()
        for record in login_records(data):
            source = record.address or record.host
            if record.kind != USER_PROCESS or not source or source == "0.0.0.0" or (record.user, source) in seen:  # noqa: S104
                continue
            seen.add((record.user, source))
            guessed = source in guessers or record.host in guessers
            many = failed[source] >= MANY_FAILURES
            if guessed or many:
                # Without auth.log this is all that tells of a guessed password.
                if not guessed:
                    scene.broken_in(datetime.fromtimestamp(record.when, timezone.utc))
                yield scene.finding(entry, "guesser_logged_in", "ssh_break_in", "high",
                                    f"session of {record.user} from {source} since {iso(record.when)}, an address "
                                    f"with {failed[source] or 'many'} failed logins", f"{record.line} {record.host}")
            else:
                yield scene.finding(entry, "session", "login", "info",
                                    f"first session of {record.user} from {source} since {iso(record.when)}",
                                    f"{record.line} {record.host}")


def _tampered(scene: Scene, entry: Entry, data: bytes) -> Iterator[Finding]:
    """Tools that hide logins leave records of zeros, or files that are no whole number of records."""
    blank = sum(1 for offset in range(0, len(data) - RECORD.size + 1, RECORD.size)
                if not any(data[offset:offset + RECORD.size]))
    if blank:
        yield scene.finding(entry, "blank_records", "log_tampering", "high",
                            f"{blank} login records were overwritten with zeros")
    if len(data) % RECORD.size:
        yield scene.finding(entry, "broken_records", "log_tampering", "low",
                            f"{len(data)} bytes are no whole number of login records")


def last_logins(scene: Scene) -> Iterator[tuple[Entry, Account, int, str, str]]:
    """What lastlog says of each account that it knows: the file, the account, seconds since 1970, host and line."""
    entry = scene.tree.lookup("/var/log/lastlog")
    stream = scene.tree.open(entry.path) if entry is not None and entry.is_file else None
    if entry is None or stream is None:
        return
    with stream:
        for account in scene.accounts:
            # The file is sparse: a record lies at its user id, far out for some.
            if (account.uid + 1) * LASTLOG.size <= entry.info.st_size:
                stream.seek(account.uid * LASTLOG.size)
                data = stream.read(LASTLOG.size)
                if len(data) == LASTLOG.size and (found := LASTLOG.unpack(data))[0]:
                    yield entry, account, found[0] & 0xFFFFFFFF, _text(found[2]), _text(found[1])


def _lastlog(scene: Scene, guessers: set[str]) -> Iterator[Finding]:
    for entry, account, seconds, host, line in last_logins(scene):
        yield scene.finding(entry, "last_login", "login", "medium" if host in guessers else "info",
                            f"last login of {account.name} from {host or 'the console'} at {iso(seconds)}"
                            f"{', an address that guessed a password' if host in guessers else ''}", line)


def _emptied(scene: Scene) -> Iterator[Finding]:
    """Logs that are empty although older ones are not, and logs that lead nowhere."""
    for name in ("auth.log", "secure", "syslog", "messages", "wtmp", "kern.log"):
        raw = scene.tree.lookup(f"/var/log/{name}", follow_last=False)
        if raw is None:
            continue
        if not raw.is_file and not raw.is_dir:
            yield scene.finding(raw, "log_switched_off", "log_tampering", "high", "a log that is no file any more")
        elif raw.is_file and raw.info.st_size == 0:
            older = [entry for entry in logs(scene.tree, name) if entry.path != raw.path and entry.info.st_size]
            if older and raw.info.st_mtime_ns - older[-1].info.st_mtime_ns > 2 * 86_400 * 10**9:
                yield scene.finding(raw, "log_emptied", "log_tampering", "medium",
                                    "empty, although the log before it was in use until days earlier")
