# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the server's administrators made of the installed packages: users, site, jobs, keys. All of it is benign."""

from __future__ import annotations

from lab.evidence import logins, story
from lab.evidence.logs import Logs
from lab.evidence.tree import Tree, at

EMPTY_FOLDERS = {"/dev": 0o755, "/proc": 0o555, "/run": 0o755, "/sys": 0o555,
                 "/tmp": 0o1777, "/var/tmp": 0o1777,  # noqa: S108 - on the evidence disk
                 "/srv": 0o755, "/lost+found": 0o700, "/var/log": 0o755, "/var/cache": 0o755, "/var/cache/apt": 0o755,
                 "/var/lib/apt/lists": 0o755, "/var/lib/systemd": 0o755, "/mnt": 0o755, "/opt": 0o755}

PROFILE = "umask 022\nalias ll='ls -l'\n"

ADMIN_HISTORY = """\
sudo apt-get update
sudo apt-get upgrade
sudo nginx -t
sudo systemctl reload nginx
df -h
sudo tail -n 50 /var/log/nginx/error.log
sudo journalctl -u shop-worker --since today
curl -I https://shop.example/
"""

SITE = """\
server {
    listen 80 default_server;
    server_name shop.example;
    root /srv/www/shop/public;
    index index.php;
    access_log /var/log/nginx/access.log;
    location ~ \\.php$ { include snippets/fastcgi-php.conf; fastcgi_pass unix:/run/php/php8.2-fpm.sock; }
}
"""

BACKUP_SCRIPT = """\
#!/bin/sh
# Nightly dump of the shop's database; seven days are kept.
set -eu
umask 077
target=/srv/backup/shop_db-$(date +%F).sql.gz
mysqldump --single-transaction shop_db | gzip -9 > "$target"
find /srv/backup -name 'shop_db-*.sql.gz' -mtime +7 -delete
logger -t shop-backup "dump of shop_db written, $(mysql -N -e 'show tables' shop_db | wc -l) tables"
"""

WORKER_UNIT = """\
[Unit]
Description=Shop order worker
After=network-online.target

[Service]
User=deploy
ExecStart=/usr/bin/php /srv/www/shop/bin/worker.php
Restart=on-failure

[Install]
WantedBy=multi-user.target
"""

REPORT_SERVICE = """\
[Unit]
Description=Daily sales report

[Service]
Type=oneshot
User=deploy
ExecStart=/usr/bin/php /srv/www/shop/bin/report.php
"""

REPORT_TIMER = """\
[Unit]
Description=Daily sales report

[Timer]
OnCalendar=*-*-* 05:30:00
Persistent=true

[Install]
WantedBy=timers.target
"""

ROOT_KEYS = ('no-port-forwarding,no-agent-forwarding,no-X11-forwarding,command="echo \'Please login as the user '
             f'\\"admin\\" rather than the user \\"root\\".\';echo;sleep 10;exit 142" {story.ADMIN_KEY}\n')


def furnish(tree: Tree, root_uuid: str, data_uuid: str) -> None:
    """Add everything that was there before the incident, except logs."""
    for path, mode in EMPTY_FOLDERS.items():
        tree.folder(path, mode=mode, b=story.INSTALLED)
    configured = story.CONFIGURED
    tree.file("/etc/hostname", f"{story.HOST}\n", m=configured)
    tree.file("/etc/machine-id", f"{story.MACHINE_ID}\n", m=story.INSTALLED, mode=0o444)
    tree.file("/etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {story.HOST}\n", m=configured)
    tree.file("/etc/resolv.conf", "nameserver 169.254.169.253\n", m=story.BOOTED)
    tree.file("/etc/fstab", f"UUID={root_uuid} / ext4 rw,discard,errors=remount-ro 0 1\n"
                            f"UUID={data_uuid} {story.DATA} xfs defaults,noatime 0 2\n", m=configured)
    tree.file("/etc/ssh/ssh_host_ed25519_key.pub", story.public_key("host", f"root@{story.HOST}") + "\n",
              m=story.INSTALLED)
    _users(tree)
    tree.file("/etc/nginx/sites-available/shop", SITE, m=configured)
    tree.link("/etc/nginx/sites-enabled/shop", "/etc/nginx/sites-available/shop", b=configured)
    tree.file("/usr/local/sbin/shop-backup", BACKUP_SCRIPT, mode=0o755, m=configured)
    tree.file("/etc/cron.d/shop-backup", "# nightly\n15 2 * * * root /usr/local/sbin/shop-backup\n", m=configured)
    tree.folder("/var/spool/cron/crontabs", mode=0o1730, gid=101, b=story.INSTALLED)
    tree.file("/var/spool/cron/crontabs/deploy", "*/10 * * * * php /srv/www/shop/bin/cron.php >/dev/null 2>&1\n",
              m=configured, mode=0o600, uid=1001, gid=101)
    units = "/etc/systemd/system"
    tree.file(f"{units}/shop-worker.service", WORKER_UNIT, m=configured)
    tree.link(f"{units}/multi-user.target.wants/shop-worker.service", f"{units}/shop-worker.service", b=configured)
    tree.file(f"{units}/shop-report.service", REPORT_SERVICE, m=configured)
    tree.file(f"{units}/shop-report.timer", REPORT_TIMER, m=configured)
    tree.link(f"{units}/timers.target.wants/shop-report.timer", f"{units}/shop-report.timer", b=configured)


def _users(tree: Tree) -> None:
    configured = story.CONFIGURED
    accounts = {"/etc/passwd": "admin:x:1000:1000:Debian:/home/admin:/bin/bash\n"
                               "deploy:x:1001:1001:Shop releases:/home/deploy:/bin/bash\n",
                "/etc/shadow": "admin:!:20514:0:99999:7:::\n"
                               "deploy:$y$j9T$uGn0Yy2H0cM1r5cQm1h3p/$3JrKz1cV4Ck0q9bqGmE5yC4s0dYwF5d6c2m1n8vQxA4:"
                               "20514:0:99999:7:::\n",
                "/etc/group": "admin:x:1000:\ndeploy:x:1001:\n",
                "/etc/gshadow": "admin:!::\ndeploy:!::\n"}
    for path, lines in accounts.items():
        tree.append(path, lines, m=configured)
    for path in ("/etc/group", "/etc/gshadow"):
        tree.change(path, "".join(line + ("deploy" if line.startswith("sudo:") else "") + "\n"
                                  for line in tree.text(path).splitlines()), m=configured)
    tree.file("/etc/sudoers.d/90-cloud-init-users", "admin ALL=(ALL) NOPASSWD:ALL\n", m=story.INSTALLED, mode=0o440)
    for name, uid in (("admin", 1000), ("deploy", 1001)):
        home = f"/home/{name}"
        tree.folder(home, mode=0o750, uid=uid, gid=uid, b=story.INSTALLED)
        tree.folder(f"{home}/.ssh", mode=0o700, uid=uid, gid=uid, b=configured)
        tree.file(f"{home}/.profile", PROFILE, m=story.INSTALLED, uid=uid, gid=uid)
        tree.file(f"{home}/.bashrc", PROFILE, m=story.INSTALLED, uid=uid, gid=uid)
    tree.file("/home/admin/.ssh/authorized_keys", story.ADMIN_KEY + "\n", m=configured, mode=0o600, uid=1000, gid=1000)
    tree.file("/home/deploy/.ssh/authorized_keys", story.CI_KEY + "\n", m=configured, mode=0o600, uid=1001, gid=1001)
    tree.file("/home/admin/.bash_history", ADMIN_HISTORY, m=at("2026-09-11 08:17:20"), b=configured, mode=0o600,
              uid=1000, gid=1000)
    tree.folder("/root/.ssh", mode=0o700, b=story.INSTALLED)
    tree.file("/root/.ssh/authorized_keys", ROOT_KEYS, m=story.INSTALLED, mode=0o600)


def add_logs(tree: Tree, logs: Logs) -> None:
    """Write the logs, last changed just before the snapshot."""
    last, from_ = story.SNAPSHOT - 7_000_000_000, story.LOGS_FROM
    tree.folder("/var/log/nginx", mode=0o755, uid=33, gid=4, b=story.INSTALLED)
    tree.file("/var/log/auth.log", logs.auth.syslog(), m=last, b=from_, mode=0o640, gid=4)
    tree.file("/var/log/syslog", logs.syslog.syslog(), m=last, b=from_, mode=0o640, gid=4)
    tree.file("/var/log/nginx/access.log", logs.access.plain(), m=last, b=from_, mode=0o640, uid=33, gid=4)
    tree.file("/var/log/nginx/error.log", "", m=from_, mode=0o640, uid=33, gid=4)
    tree.file("/var/log/wtmp", logs.wtmp(), m=at("2026-09-13 22:22:51"), b=story.INSTALLED, mode=0o664, gid=43)
    tree.file("/var/log/btmp", logs.btmp(), m=last, b=at("2026-09-01 00:00:03"), mode=0o660, gid=43)
    tree.file("/var/log/lastlog", logins.lastlog({
        0: (at("2026-09-13 22:04:51"), "pts/0", story.ATTACKER),
        1000: (at("2026-09-11 07:52:12"), "pts/0", story.OFFICE),
        1001: (story.BREAK_IN, "pts/1", story.ATTACKER),
    }), m=at("2026-09-13 22:04:51"), b=story.INSTALLED, mode=0o664, gid=43)
    tree.file("/var/log/dpkg.log", "2026-03-02 09:12:58 startup archives unpack\n", m=story.INSTALLED)
