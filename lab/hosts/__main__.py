# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m lab.hosts selftest`: prove, as root and without AWS, that hosts work on this machine."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from lab import config
from lab.hosts.bench import INSTANCE, Bench, make_disk
from lab.hosts.devices import by_id_name

VOLUME = "vol-0fedcba9876543210"


def main() -> int:
    """Run the self-test; 0 when everything held."""
    parser = argparse.ArgumentParser(prog="python -m lab.hosts", description=__doc__)
    parser.add_argument("what", choices=["selftest"])
    parser.parse_args()
    if os.geteuid() != 0:
        print("error: hosts need root; run this as root or with sudo", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="lab-selftest-") as name:
        return selftest(Path(name))


def selftest(state: Path) -> int:
    """Boot, log in, attach, mount, power off; every step prints what it saw."""
    start = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - start:6.2f} s  {text}", flush=True)

    with Bench(state, config.load().cache) as bench:
        say("network, metadata service and relays are up")
        start = time.monotonic()
        bench.boot()
        bench.wait_for_ssh()
        say(f"logged in: {bench.run('uname -sr; id -un').split()}")
        bench.run("cloud-init status --wait; test -f /run/first-boot-command-ran")
        say(f"user data: {bench.run('cat /etc/dfir/from-user-data').strip()!r}")
        disk = state / "volume.img"
        make_disk(disk)
        bench.hosts.attach(INSTANCE, VOLUME, "/dev/sdf", disk)
        by_id = f"/dev/disk/by-id/{by_id_name(VOLUME)}"
        bench.run(f"blockdev --setro {by_id} {by_id}-part1; mkdir /mnt/p1; mount -o ro,noload {by_id}-part1 /mnt/p1")
        say(f"volume attached and mounted: {bench.run('cat /mnt/p1/hello.txt').strip()!r}")
        if "BEGIN SSH HOST KEY KEYS" not in bench.hosts.console(INSTANCE):
            say("FAILED: no SSH host keys on the console")
            return 1
        say("the console shows the SSH host keys")
        bench.ssh("sudo systemctl poweroff")
        if not bench.ended.wait(30) or bench.exits != [(INSTANCE, "poweroff")]:
            say(f"FAILED: power-off from inside was not told: {bench.exits}")
            return 1
        say("powered off from inside")
    say("selftest: ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
