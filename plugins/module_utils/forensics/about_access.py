# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who could get in: accounts, groups with power, keys, sudo rules, and who did, as tables of a report."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from .find_accounts import KEY, POWERFUL_GROUPS, key_files, logical_lines, passwords, sudoers_files
from .find_logins import USER_PROCESS, LoginRecord, last_logins, login_records
from .logfiles import logs
from .model import clean
from .scene import Scene
from .times import iso, iso_ns

SESSIONS = 500
ADDRESSES = 100
RECORDS = 64 << 20  # bytes of one login record file
# What stands between the first dollar signs of a password hash: crypt(5).
CRYPT = {"1": "MD5", "2": "bcrypt", "5": "SHA-256", "6": "SHA-512", "7": "scrypt", "y": "yescrypt",
         "gy": "gost-yescrypt"}

Table = dict[str, Any]


def table(id_: str, title: str, columns: Sequence[tuple[str, str, str]], rows: list[dict[str, Any]],
          note: str = "") -> Table:
    """A table of a report; `columns`: key, title, and `text`, `number` or `time`."""
    return {"id": id_, "title": title, "note": note, "rows": rows,
            "columns": [{"key": key, "title": name, "type": type_} for key, name, type_ in columns]}


def tables(scene: Scene) -> Iterator[Table]:
    """All tables about access."""
    sessions, failures, note = _sessions(scene)
    yield _accounts(scene, sessions)
    yield _groups(scene)
    yield _keys(scene)
    yield _sudo(scene)
    yield table("sessions", "Sessions", (("user", "User", "text"), ("source", "From", "text"), ("line", "Line", "text"),
                                         ("start", "Began (UTC)", "time")),
                [{"user": clean(one.user), "source": clean(one.address or one.host), "line": clean(one.line),
                  "start": iso(one.when)} for one in sessions[:SESSIONS]], note)
    yield table("failures", "Failed logins by address", (("source", "From", "text"), ("count", "Failures", "number"),
                                                         ("users", "Most tried", "text"),
                                                         ("last", "Last (UTC)", "time")),
                failures)


def _accounts(scene: Scene, sessions: list[LoginRecord]) -> Table:
    shadow = passwords(scene)
    last: dict[str, int] = {}
    for one in sessions:
        last[one.user] = max(last.get(one.user, 0), one.when)
    for _entry, account, when, _host, _line in last_logins(scene):
        last[account.name] = max(last.get(account.name, 0), when)
    rows = [{"name": clean(account.name), "uid": account.uid, "gid": account.gid, "home": clean(account.home),
             "shell": clean(account.shell), "login": "yes" if account.can_log_in else "no",
             "password": password_state(shadow.get(account.name)),
             "last": iso(last[account.name]) if account.name in last else ""} for account in scene.accounts]
    rows.sort(key=lambda row: (row["login"] != "yes", row["uid"]))
    return table("accounts", "Accounts", (
        ("name", "Name", "text"), ("uid", "UID", "number"), ("gid", "GID", "number"), ("login", "Login shell", "text"),
        ("password", "Password", "text"), ("last", "Last login (UTC)", "time"), ("home", "Home", "text"),
        ("shell", "Shell", "text")), rows)


def password_state(field: str | None) -> str:
    """What the second column of shadow says: never the hash."""
    if field is None:
        return "unknown"
    if field == "":
        return "none: empty"
    if field.startswith(("!", "*")):
        return "locked" if "$" in field else "none"
    kind = field.split("$")[1] if field.count("$") >= 2 else ""
    return f"set ({CRYPT.get(kind[:1] if kind[:1] == '2' else kind, 'DES or unknown')})"


def _groups(scene: Scene) -> Table:
    by_gid: dict[int, list[str]] = {}
    for account in scene.accounts:
        by_gid.setdefault(account.gid, []).append(account.name)
    rows = []
    for line in (scene.tree.text("/etc/group") or "").splitlines():
        columns = line.split(":")
        if len(columns) >= 4 and columns[0] in POWERFUL_GROUPS and columns[2].isdigit():
            members = sorted({*filter(None, columns[3].split(",")), *by_gid.get(int(columns[2]), ())})
            if members:
                rows.append({"name": clean(columns[0]), "gid": int(columns[2]), "members": clean(", ".join(members))})
    return table("groups", "Groups with power", (("name", "Group", "text"), ("gid", "GID", "number"),
                                                 ("members", "Members", "text")), rows)


def _keys(scene: Scene) -> Table:
    rows = []
    for name, path, entry in key_files(scene):
        for line in (scene.tree.text(entry.path) or "").splitlines():
            match = KEY.search(line)
            if match and not line.lstrip().startswith("#"):
                rows.append({"account": clean(name or "(home without an account)"), "type": clean(match[1]),
                             "fingerprint": fingerprint(match[2]), "comment": clean(match[3].strip()),
                             "options": clean(line[:match.start(1)].strip()), "path": clean(path),
                             "changed": iso_ns(entry.info.st_ctime_ns)})
    return table("keys", "Authorized SSH keys", (
        ("account", "Account", "text"), ("type", "Type", "text"), ("fingerprint", "Fingerprint", "text"),
        ("comment", "Comment", "text"), ("options", "Options", "text"), ("path", "File", "text"),
        ("changed", "File changed (UTC)", "time")), rows)


def fingerprint(key: str) -> str:
    """As `ssh-keygen -l` shows it; empty for what is no key."""
    try:
        raw = base64.b64decode(key + "=" * (-len(key) % 4), validate=True)
    except (ValueError, binascii.Error):
        return ""
    return "SHA256:" + base64.b64encode(hashlib.sha256(raw).digest()).decode().rstrip("=")


def _sudo(scene: Scene) -> Table:
    rows = [{"path": clean(entry.path), "rule": clean(re.sub(r"\s+", " ", line)),
             "changed": iso_ns(entry.info.st_ctime_ns)}
            for entry in sudoers_files(scene) for line in logical_lines(scene.tree.text(entry.path) or "")
            if not line.startswith(("Defaults", "@", "User_Alias", "Cmnd_Alias", "Host_Alias", "Runas_Alias"))]
    return table("sudoers", "Sudo rules", (("rule", "Rule", "text"), ("path", "File", "text"),
                                           ("changed", "File changed (UTC)", "time")), rows)


def _sessions(scene: Scene) -> tuple[list[LoginRecord], list[dict[str, Any]], str]:
    """Sessions, the newest first; failures by address; what is to be said of them."""
    found = [record for entry in logs(scene.tree, "wtmp")
             for record in login_records(scene.tree.read(entry.path, RECORDS) or b"") if record.kind == USER_PROCESS]
    found.sort(key=lambda record: -record.when)
    count: Counter[str] = Counter()
    users: dict[str, Counter[str]] = {}
    last: dict[str, int] = {}
    for entry in logs(scene.tree, "btmp"):
        for record in login_records(scene.tree.read(entry.path, RECORDS) or b""):
            source = record.address or record.host or "console"
            count[source] += 1
            users.setdefault(source, Counter())[record.user] += 1
            last[source] = max(last.get(source, 0), record.when)
    failures = [{"source": clean(source), "count": number, "last": iso(last[source]), "users": clean(", ".join(
        name for name, _unused in users[source].most_common(5)))} for source, number in count.most_common(ADDRESSES)]
    note = f"The newest {SESSIONS} of {len(found):,}." if len(found) > SESSIONS else ""
    return found, failures, note
