# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which system it is: what a responder asks first, read from a handful of small files."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from .find_logins import login_records
from .logfiles import logs
from .model import clean
from .packages import Packages
from .scene import Account
from .times import iso, iso_ns
from .tree import Tree

SHORT = 200
BOOT_TIME = 2  # kind of a record in wtmp
_ADDRESS = re.compile(r"(?<![\d.])((?:\d{1,3}\.){3}\d{1,3})(?:/(\d{1,2}))?(?![\d.])")

Fact = tuple[str, str]


def first_facts(tree: Tree) -> Iterator[Fact]:
    """What is known after a few blocks: system, host, instance."""
    yield "System", operating_system(tree)
    yield "Host name", _line(tree, "/etc/hostname")
    yield "Instance", instance_id(tree)
    yield "Machine id", _line(tree, "/etc/machine-id")
    yield "Time zone", time_zone(tree)


def more_facts(tree: Tree, accounts: list[Account], packages: Packages) -> Iterator[Fact]:
    """What takes a few more."""
    yield "Kernels", ", ".join(kernels(tree))
    yield "Last boot", last_boot(tree)
    yield "Last activity", last_activity(tree)
    yield "Network", ", ".join(network(tree))
    yield "Accounts", f"{len(accounts)}, of which {sum(account.can_log_in for account in accounts)} have a login shell"
    count = installed(tree)
    yield "Packages", f"{count:,}" if count else ("known to rpm" if packages.known else "no list of dpkg or rpm")


def operating_system(tree: Tree) -> str:
    """The name that the system gives itself; empty for a disk of data."""
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        values = _assignments(tree.text(path, 65536) or "")
        if values.get("PRETTY_NAME") or values.get("NAME"):
            return clean(values.get("PRETTY_NAME") or f"{values['NAME']} {values.get('VERSION', '')}".strip(), SHORT)
    for path in ("/etc/redhat-release", "/etc/system-release", "/etc/alpine-release"):
        if text := _line(tree, path):
            return text
    version = _line(tree, "/etc/debian_version")
    return f"Debian {version}" if version else ""


def _assignments(text: str) -> dict[str, str]:
    found = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and re.fullmatch(r"[A-Z_]+", name):
            try:
                found[name] = "".join(shlex.split(value))
            except ValueError:  # an open quote
                found[name] = value.strip("'\"")
    return found


def _line(tree: Tree, path: str) -> str:
    """A file's first line that is no comment."""
    for line in (tree.text(path, 65536) or "").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            return clean(line.strip(), SHORT)
    return ""


def instance_id(tree: Tree) -> str:
    """The EC2 instance that cloud-init last ran on."""
    for path in ("/var/lib/cloud/data/instance-id", "/run/cloud-init/.instance-id"):
        if text := _line(tree, path):
            return text
    target = tree.resolve("/var/lib/cloud/instance")
    name = (target or b"").rsplit(b"/", 1)[-1]
    return clean(name, SHORT) if name.startswith(b"i-") else ""


def time_zone(tree: Tree) -> str:
    """The zone's name: of the link that /etc/localtime is, or what /etc/timezone says."""
    target = tree.resolve("/etc/localtime") or b""
    if b"/zoneinfo/" in target:
        return clean(target.split(b"/zoneinfo/", 1)[1], SHORT)
    return _line(tree, "/etc/timezone")


def kernels(tree: Tree) -> list[str]:
    """Kernels that are installed, the one that was changed last first."""
    found = [(entry.info.st_mtime_ns, clean(entry.name.partition(b"-")[2], SHORT)) for entry in tree.entries("/boot")
             if re.match(rb"(?:vmlinuz|vmlinux|kernel)-\d", entry.name)]
    if not found:  # /boot is a partition of its own
        found = [(entry.info.st_mtime_ns, clean(entry.name, SHORT)) for entry in tree.entries("/usr/lib/modules")
                 if entry.is_dir]
    return [name for _moment, name in sorted(found, reverse=True)][:8]


def last_boot(tree: Tree) -> str:
    """When it was started last, as wtmp says."""
    for entry in reversed(logs(tree, "wtmp")):
        moments = [record.when for record in login_records(tree.read(entry.path, 64 << 20) or b"")
                   if record.kind == BOOT_TIME]
        if moments:
            return iso(max(moments))
    return ""


def last_activity(tree: Tree) -> str:
    """When something was last written below /var/log: about when the snapshot was taken."""
    newest = max((entry for entry in tree.entries("/var/log") if entry.is_file),
                 key=lambda entry: entry.info.st_mtime_ns, default=None)
    return f"{iso_ns(newest.info.st_mtime_ns)} ({clean(newest.path, SHORT)})" if newest else ""


def network(tree: Tree) -> list[str]:
    """Addresses that the system was given, as far as files tell."""
    found: dict[str, None] = {}
    for folder in ("/etc/netplan", "/etc/network/interfaces.d", "/etc/sysconfig/network-scripts",
                   "/etc/systemd/network", "/var/lib/dhcp", "/var/lib/dhclient", "/run/systemd/netif/leases",
                   "/etc/NetworkManager/system-connections", "/var/lib/NetworkManager"):
        for entry in tree.entries(folder):
            if entry.is_file and not entry.name.startswith((b"ifup", b"ifdown", b"network-functions")):
                _addresses(tree.text(entry.path, 65536) or "", found)
    _addresses(tree.text("/etc/network/interfaces", 65536) or "", found)
    for line in (tree.text("/etc/hosts", 65536) or "").splitlines():
        if not line.lstrip().startswith("#"):
            _addresses(line, found)
    return list(found)[:12]


def _addresses(text: str, found: dict[str, None]) -> None:
    for address, length in _ADDRESS.findall(text):
        numbers = [int(part) for part in address.split(".")]
        if max(numbers) < 256 and numbers[0] not in (0, 127, 224, 255) and numbers[3] != 255:
            found.setdefault(f"{address}/{length}" if length else address)


def installed(tree: Tree) -> int:
    """Packages that dpkg counts as installed; 0 where there is no dpkg."""
    text = tree.read("/var/lib/dpkg/status", 64 << 20) or b""
    return text.count(b"\nStatus: install ok installed")
