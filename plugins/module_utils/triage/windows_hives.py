# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry of a Windows system: which system it is, and who has an account.

dissect.regf reads hives cell by cell, out of the evidence. What lies in the logs beside a hive and was not merged yet
is not seen. Where the values lie and what they mean is Microsoft's documentation of Windows, and for SAM, which is not
documented, what the regripper and samparse projects found.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from datetime import datetime
from functools import cached_property
from itertools import islice
from typing import Any

from ..ebs.errors import Missing
from ..forensics.about_access import Table, table
from ..forensics.model import clean
from ..forensics.times import iso_ns
from ..forensics.tree import Entry, Tree

CONFIG = "/Windows/System32/config"
VERSION = r"Microsoft\Windows NT\CurrentVersion"
KEYS = 5000  # of one key; a forged hive may go in circles
SHORT = 200
FILETIME_EPOCH = 11644473600 * 10**9  # nanoseconds from 1601 to 1970
DISABLED, NO_PASSWORD = 0x0001, 0x0004  # flags of an account
ELEVEN = 22000  # the first build of Windows 11, which calls itself 10
UNVERIFIED = "Unverified: no public sample tests how this is read."

Fact = tuple[str, str]


class Hive:
    """A file of the registry. What is not there, or broken, is None or nothing."""

    def __init__(self, tree: Tree, path: str) -> None:
        try:
            from dissect.regf.regf import RegistryHive
        except ImportError as error:
            raise Missing("the registry of Windows needs the Python package dissect.regf") from error
        self.path = path
        self.entry: Entry | None = tree.lookup(path)
        self._hive: Any = None
        stream = tree.open(path) if self.entry is not None else None
        try:
            self._hive = RegistryHive(stream) if stream is not None else None
        except Exception:  # a broken hive; so below
            self._hive = None

    @property
    def readable(self) -> bool:
        return self._hive is not None

    def key(self, path: str) -> Any:
        """A key; None where there is none."""
        try:
            return self._hive.open(path) if self._hive is not None else None
        except Exception:
            return None

    def value(self, path: str, name: str) -> Any:
        """A value as it is kept: text, number, list, bytes; None where there is none."""
        try:
            return self.key(path).value(name).value
        except Exception:
            return None

    def text(self, path: str, name: str) -> str:
        """A value as text of one line, clean."""
        value = self.value(path, name)
        return clean(value.strip("\0 "), SHORT) if isinstance(value, str) else str(value) if isinstance(
            value, int) else ""

    def subkeys(self, path: str) -> list[Any]:
        """The keys below a key, as far as they can be read."""
        return list(_whole(lambda: self.key(path).subkeys()))

    def values(self, path: str) -> list[tuple[str, Any]]:
        """Names and values of a key."""
        found = []
        for one in _whole(lambda: self.key(path).values()):
            try:
                found.append((str(one.name), one.value))
            except Exception:  # noqa: PERF203, S112 - one broken value does not hide the others
                continue
        return found


def _whole(made: Any) -> Iterator[Any]:
    try:
        yield from islice(made(), KEYS)
    except Exception:  # those before what is broken count
        return


def changed(key: Any) -> str:
    """When a key was last written, in UTC."""
    try:
        moment = key.timestamp
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(moment, datetime) and moment.year > 1601 else ""
    except Exception:
        return ""


def filetime(number: int) -> str:
    """A time of Windows, 100 ns since 1601, in UTC; empty for none."""
    return iso_ns(number * 100 - FILETIME_EPOCH) if 0 < number < 0x7FFFFFFFFFFFFFFF else ""


class Windows:
    """A Windows system in a tree."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree

    @staticmethod
    def there(tree: Tree) -> bool:
        """Whether a tree holds one."""
        return tree.lookup(f"{CONFIG}/SOFTWARE") is not None

    @cached_property
    def software(self) -> Hive:
        return Hive(self.tree, f"{CONFIG}/SOFTWARE")

    @cached_property
    def system(self) -> Hive:
        return Hive(self.tree, f"{CONFIG}/SYSTEM")

    @cached_property
    def sam(self) -> Hive:
        return Hive(self.tree, f"{CONFIG}/SAM")

    @cached_property
    def control(self) -> str:
        """The set of settings that was in use."""
        number = self.system.value("Select", "Current")
        return f"ControlSet{number:03d}" if isinstance(number, int) and 0 < number < 1000 else "ControlSet001"

    @property
    def broken(self) -> list[str]:
        """Hives that are there and cannot be read."""
        return [f"the hive {hive.path} is damaged" for hive in (self.software, self.system, self.sam)
                if hive.entry is not None and not hive.readable]

    def first_facts(self) -> Iterator[Fact]:
        """What is known after a few blocks."""
        yield "System", self._name()
        yield "Host name", (self.system.text(rf"{self.control}\Services\Tcpip\Parameters", "Hostname")
                            or self.system.text(rf"{self.control}\Control\ComputerName\ComputerName", "ComputerName"))
        yield "Machine id", self.software.text(r"Microsoft\Cryptography", "MachineGuid")
        zone = rf"{self.control}\Control\TimeZoneInformation"
        yield "Time zone", self.system.text(zone, "TimeZoneKeyName") or self.system.text(zone, "StandardName")

    def _name(self) -> str:
        name = self.software.text(VERSION, "ProductName")
        release = self.software.text(VERSION, "DisplayVersion") or self.software.text(VERSION, "ReleaseId")
        build = self.software.text(VERSION, "CurrentBuild")
        if build.isdigit() and int(build) >= ELEVEN and name.startswith("Windows 10"):
            name = name.replace("Windows 10", "Windows 11", 1)
        patch = self.software.text(VERSION, "UBR")
        number = f"build {build}{'.' + patch if patch else ''}" if build else ""
        return " ".join(filter(None, (name, release, f"({number})" if number else "")))

    def more_facts(self) -> Iterator[Fact]:
        """What takes a few more."""
        installed = self.software.value(VERSION, "InstallDate")
        yield "Installed", iso_ns(installed * 10**9) if isinstance(installed, int) and installed else ""
        moment = self.system.value(rf"{self.control}\Control\Windows", "ShutdownTime")
        yield "Last shutdown", filetime(int.from_bytes(moment[:8], "little")) if isinstance(moment, bytes) else ""
        yield "Network", ", ".join(self._addresses())
        found = self.accounts()
        if found:
            yield "Accounts", f"{len(found)}, of which {sum(row['login'] == 'yes' for row in found)} are enabled"
        programs = self.software.subkeys(r"Microsoft\Windows\CurrentVersion\Uninstall")
        yield "Programs", f"{len(programs):,}" if programs else ""

    def _addresses(self) -> list[str]:
        found: dict[str, None] = {}
        for card in self.system.subkeys(rf"{self.control}\Services\Tcpip\Parameters\Interfaces"):
            path = rf"{self.control}\Services\Tcpip\Parameters\Interfaces\{card.name}"
            for name in ("DhcpIPAddress", "IPAddress"):
                value = self.system.value(path, name)
                for text in value if isinstance(value, list) else [value]:
                    if isinstance(text, str) and re.fullmatch(r"\d+(?:\.\d+){3}", text) and not text.startswith(
                            ("0.", "127.")):
                        found.setdefault(text)
        return list(found)[:12]

    def accounts(self) -> list[dict[str, Any]]:
        """The accounts of the machine itself, those of a domain are elsewhere."""
        home = r"SAM\Domains\Account\Users"
        names = {one.name: self._number(one.name) for one in self.sam.subkeys(rf"{home}\Names")}
        power = self._administrators()
        rows = []
        for name, number in names.items():
            data = self.sam.value(rf"{home}\{number:08X}", "F")
            if number and isinstance(data, bytes) and len(data) >= 68:
                last, _unused, password = struct.unpack_from("<QQQ", data, 8)
                flags, = struct.unpack_from("<H", data, 56)
                logins, = struct.unpack_from("<H", data, 66)
                rows.append({"name": clean(name, SHORT), "rid": number,
                             "login": "no" if flags & DISABLED else "yes",
                             "admin": "yes" if number in power else "no",
                             "password": "not required" if flags & NO_PASSWORD else filetime(password),
                             "logins": logins, "last": filetime(last)})
        rows.sort(key=lambda row: (row["login"] != "yes", row["rid"]))
        return rows

    def _number(self, name: str) -> int:
        """The account's number: it stands where other values have their type."""
        try:
            return int(self.sam.key(rf"SAM\Domains\Account\Users\Names\{name}").value("(Default)").type)
        except Exception:
            return 0

    def _administrators(self) -> set[int]:
        """Numbers of the accounts in the group of administrators: the last part of each member's SID."""
        data = self.sam.value(r"SAM\Domains\Builtin\Aliases\00000220", "C")
        if not isinstance(data, bytes) or len(data) < 0x34:
            return set()
        place, count = struct.unpack_from("<I", data, 0x28)[0] + 0x34, struct.unpack_from("<I", data, 0x30)[0]
        found = set()
        for _unused in range(min(count, KEYS)):
            if place + 8 > len(data):
                break
            parts = data[place + 1]
            if place + 8 + 4 * parts > len(data):
                break
            numbers = struct.unpack_from(f"<{parts}I", data, place + 8)
            if numbers[:1] == (21,):  # of a machine or a domain
                found.add(numbers[-1])
            place += 8 + 4 * parts
        return found

    def table(self) -> Table:
        """The accounts as a table."""
        return table("accounts", "Accounts of the machine", (
            ("name", "Name", "text"), ("rid", "RID", "number"), ("login", "Enabled", "text"),
            ("admin", "Administrator", "text"), ("password", "Password set (UTC)", "text"),
            ("logins", "Logins", "number"), ("last", "Last login (UTC)", "time")), self.accounts(), UNVERIFIED)
