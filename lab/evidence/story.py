# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who, where and when of the incident: names, addresses and moments that the disk's parts share. All times are UTC.

Addresses are from the documentation and benchmark ranges: they belong to nobody.
"""

from __future__ import annotations

import base64
import hashlib

from lab.evidence.tree import at

HOST = "shop-web-01"
MACHINE_ID = hashlib.sha256(b"dfir lab evidence machine").hexdigest()[:32]

INSTALLED = at("2026-03-02 09:12:40")
CONFIGURED = at("2026-03-02 10:31:05")  # the administrators' own files
RELEASED = at("2026-08-24 13:20:11")  # the shop's last release
BOOTED = at("2026-08-30 04:11:09")
LOGS_FROM = at("2026-09-06 00:00:02")  # last rotation
SNAPSHOT = at("2026-09-14 08:05:00")

SCAN_FROM = at("2026-09-12 01:02:11")  # password guessing begins
BREAK_IN = at("2026-09-12 03:41:17")  # a guess is right
ROOT_SHELL = at("2026-09-12 03:42:30")
DROPPER = at("2026-09-12 03:44:02")
MINER = at("2026-09-12 03:46:20")
PERSISTED = at("2026-09-12 03:51:48")
LEFT = at("2026-09-12 04:02:33")
SHELL_UPLOAD = at("2026-09-13 14:20:37")  # a web shell, as a second way in
STAGED = at("2026-09-13 22:15:20")

ATTACKER = "203.0.113.66"  # guesses the password and logs in
ATTACKER_WEB = "203.0.113.129"  # uses the web shell
DROP_SITE = "203.0.113.99"
POOL = "stratum+tcp://pool.hashvault.example:3333"
WALLET = "4" + hashlib.sha256(b"wallet").hexdigest() + hashlib.sha256(b"wallet2").hexdigest()[:30]
OFFICE = "192.0.2.18"  # where the administrators come from
CI_RUNNER = "192.0.2.40"

# Where the intruder put things. Paths below DATA are on the XFS partition, which the server mounts there.
DATA = "/srv"
MINER_PATH = "/usr/lib/systemd/systemd-journal-gc"
MINER_CONFIG = "/usr/lib/systemd/journal-gc.json"
MINER_UNIT = "/etc/systemd/system/systemd-journal-gc.service"
MINER_TIMER = "/etc/systemd/system/systemd-journal-gc.timer"
CRON_ENTRY = "/etc/cron.d/sysstat-gc"
PRELOAD = "/etc/ld.so.preload"
HIDER = "/usr/local/lib/libsysaudit.so"
DROP_FOLDER = "/var/tmp/.ICE-unix"  # noqa: S108 - on the evidence disk
DROPPER_PATH = f"{DROP_FOLDER}/inst.sh"
ARCHIVE_PATH = f"{DROP_FOLDER}/kit.tar.gz"
RUNNING_PATH = f"{DROP_FOLDER}/xmrig"
WEB_SHELL = "/www/shop/public/assets/img/thumb.php"
OLD_WEB_SHELL = "/www/shop/lib/Cache/Session.php"  # made to look as old as the files around it
STAGING = "/backup/.cache"


def public_key(owner: str, comment: str) -> str:
    """An OpenSSH public key line; the same for the same owner, and nobody has its private part."""
    blob = b"".join(len(part).to_bytes(4, "big") + part
                    for part in (b"ssh-ed25519", hashlib.sha256(owner.encode()).digest()))
    return f"ssh-ed25519 {base64.b64encode(blob).decode()} {comment}"


ADMIN_KEY = public_key("admin", "anna@office")
CI_KEY = public_key("ci", "ci-runner@build")
INTRUDER_KEY = public_key("intruder", "root@localhost")
