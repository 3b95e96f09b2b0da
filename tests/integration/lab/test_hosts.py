# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real hosts: booted, reached, given volumes, stopped and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import config
from lab.contracts import HostSpec
from lab.hosts.bench import INSTANCE, SSH_FROM_CONTROLLER, Bench, ListedFaults, make_disk
from lab.hosts.devices import by_id_name, loops_below
from lab.hosts.processes import members
from lab.hosts.teardown import leftovers, teardown

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: boots hosts")
VOLUME = "vol-0fedcba9876543210"
BY_ID = f"/dev/disk/by-id/{by_id_name(VOLUME)}"
SECOND = "i-00000000000000002"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path, config.load().cache) as bench:
        yield bench
    assert leftovers(bench.config) == []


@pytest.fixture
def disk(bench: Bench) -> Path:
    path = bench.config.state / "volume.img"
    make_disk(path)
    return path


def console_has(bench: Bench, text: str, seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while text not in bench.hosts.console(INSTANCE):
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def test_first_boot_is_as_on_aws(bench: Bench) -> None:
    bench.boot()
    assert bench.hosts.is_running(INSTANCE)
    bench.wait_for_ssh()
    bench.run("cloud-init status --wait")
    assert bench.run("cat /etc/dfir/from-user-data") == "written at first boot"
    assert bench.run("ls /run/first-boot-command-ran; cloud-id").split() == ["/run/first-boot-command-ran", "aws"]
    assert bench.run("hostname").strip() == "ip-172-31-5-6"
    # The console shows the very keys that the host's sshd has.
    assert console_has(bench, "-----END SSH HOST KEY KEYS-----")
    console = bench.hosts.console(INSTANCE)
    keys = console.split("-----BEGIN SSH HOST KEY KEYS-----")[1].split("-----END")[0]
    assert bench.run("cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub").strip() in keys
    fingerprint = bench.run("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").split()[1]
    assert fingerprint in console.split("-----BEGIN SSH HOST KEY FINGERPRINTS-----")[1]
    # Timers with a calendar and hardened services are what the product is built on.
    bench.run('systemd-run -q --on-calendar="$(date -u -d "+2 seconds" "+%F %T UTC")" '
              "--timer-property=AccuracySec=100ms touch /run/on-time; sleep 4; test -e /run/on-time")
    bench.run("! systemd-run -q --wait -p ProtectSystem=strict -p PrivateTmp=yes -p NoNewPrivileges=yes touch /etc/x")


def test_p19_p20_volume_comes_and_goes_and_can_be_made_read_only(bench: Bench, disk: Path) -> None:
    before = disk.read_bytes()
    bench.boot()
    bench.hosts.attach(INSTANCE, VOLUME, "/dev/sdf", disk)  # while it boots
    bench.wait_for_ssh()
    assert bench.run(f"blkid -o value -s TYPE {BY_ID}-part1").strip() == "ext4"
    assert bench.run(f"blockdev --getro {BY_ID} {BY_ID}-part1").split() == ["0", "0"]  # writable, as EBS volumes are
    bench.run(f"blockdev --setro {BY_ID} {BY_ID}-part1")
    bench.run(f"! dd if=/dev/zero of={BY_ID}-part1 bs=4096 count=1 conv=fsync 2>/dev/null")
    bench.run(f"mkdir /mnt/p1; mount -o ro,noload,nosuid,nodev,noexec {BY_ID}-part1 /mnt/p1")
    assert bench.run("cat /mnt/p1/hello.txt") == "hello from the volume\n"
    bench.run("umount /mnt/p1")
    bench.hosts.detach(INSTANCE, VOLUME)
    assert bench.run("ls /dev/disk/by-id /dev | grep -c -e nvme || true").strip() == "0"
    assert loops_below(bench.config.state) == []
    assert disk.read_bytes() == before
    # The same volume again, and what was set read-only is not for ever.
    bench.hosts.attach(INSTANCE, VOLUME, "/dev/sdf", disk)
    bench.run(f"mount {BY_ID}-part1 /mnt/p1; echo written > /mnt/p1/new; umount /mnt/p1")
    assert disk.read_bytes() != before


def test_power_off_from_inside_is_told_once_and_frees_everything(bench: Bench, disk: Path) -> None:
    bench.boot()
    bench.wait_for_ssh()
    bench.hosts.attach(INSTANCE, VOLUME, "/dev/sdf", disk)
    bench.run(f"mkdir /mnt/p1; mount {BY_ID}-part1 /mnt/p1")
    bench.ssh("sudo systemctl poweroff")
    assert bench.ended.wait(30)
    time.sleep(0.5)
    assert bench.exits == [(INSTANCE, "poweroff")]
    assert not bench.hosts.is_running(INSTANCE)
    assert loops_below(bench.config.state) == []
    assert "Power" in bench.hosts.console(INSTANCE)  # still there to be read
    bench.hosts.forget(INSTANCE)
    assert not (bench.config.state / "hosts" / INSTANCE).exists()


def test_stop_and_start_keep_disk_address_and_volumes(bench: Bench, disk: Path) -> None:
    bench.boot()
    bench.wait_for_ssh()
    bench.hosts.attach(INSTANCE, VOLUME, "/dev/sdf", disk)
    bench.run("echo kept > /root/kept")
    # A timer like the dead man's, whose time passes while the host is down.
    bench.run('printf "[Service]\\nExecStart=/bin/touch /root/was-late\\n" > /etc/systemd/system/late.service; '
              'printf "[Timer]\\nOnCalendar=%s\\nPersistent=true\\n[Install]\\nWantedBy=timers.target\\n" '
              '"$(date -u -d "+4 seconds" "+%F %T UTC")" > /etc/systemd/system/late.timer; '
              "systemctl daemon-reload; systemctl enable --now late.timer")
    bench.hosts.stop(INSTANCE)
    assert bench.ended.wait(30)
    assert bench.exits == [(INSTANCE, "stopped")]
    time.sleep(4)
    bench.ended.clear()
    bench.hosts.restart(INSTANCE)
    bench.wait_for_ssh()
    assert bench.run("cat /root/kept") == "kept\n"
    bench.run("until [ -e /root/was-late ]; do sleep 0.2; done")
    bench.run(f"test -b {BY_ID}-part1")
    # A reboot of a running host is no end of it. Mounts and write protection are the kernel's, and gone with it.
    bench.run(f"mkdir /mnt/p1; blockdev --setro {BY_ID} {BY_ID}-part1; mount -o ro {BY_ID}-part1 /mnt/p1")
    bench.hosts.restart(INSTANCE)
    end = time.monotonic() + 30
    while bench.hosts.console(INSTANCE).count("Reached target reboot.target") < 1 and time.monotonic() < end:
        time.sleep(0.1)
    bench.wait_for_ssh()
    bench.run(f"test -b {BY_ID}-part1; ! mountpoint -q /mnt/p1")
    assert bench.run(f"blockdev --getro {BY_ID} {BY_ID}-part1").split() == ["0", "0"]
    assert not bench.ended.is_set()
    bench.hosts.stop(INSTANCE, hard=True)
    assert bench.ended.wait(10)
    assert bench.exits[-1] == (INSTANCE, "stopped")


def test_host_that_dies_while_booting(tmp_path: Path) -> None:
    with Bench(tmp_path, config.load().cache, ListedFaults({"ec2.boot_dies": {"seconds": 0.2}})) as bench:
        bench.boot()
        assert bench.ended.wait(15)
        assert bench.exits == [(INSTANCE, "died")]


def test_blocked_ssh_stays_blocked_when_groups_change(tmp_path: Path) -> None:
    with Bench(tmp_path, config.load().cache, ListedFaults({"host.ssh_blocked": {}})) as bench:
        bench.boot()
        assert console_has(bench, "END SSH HOST KEY KEYS")
        bench.hosts.set_rules(INSTANCE, (SSH_FROM_CONTROLLER,))
        with pytest.raises(subprocess.TimeoutExpired):
            bench.ssh("true", seconds=3)


def test_hosts_do_not_share_fate(bench: Bench) -> None:
    """Two systemds side by side: units of one name on both, and the end of one host is not the other's."""
    bench.boot()
    exits: list[tuple[str, str]] = []
    bench.hosts.boot(HostSpec(SECOND, "eu-west-1", "eu-west-1a", "172.31.5.7", "ami-1", "m6i.large"),
                     lambda instance_id, how: exits.append((instance_id, how)))
    bench.wait_for_ssh()
    bench.run("systemd-run -q --unit=same sleep 100; systemctl is-active same")
    bench.hosts.forget(SECOND)
    assert exits == [(SECOND, "stopped")]
    assert bench.run("systemctl is-active same").strip() == "active"


def test_a_host_holds_on_to_no_disk_of_the_machine(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What was mounted when the host booted can be unmounted for good while it runs."""
    place = tmp_path_factory.mktemp("somebodys")
    subprocess.run(["mount", "-t", "tmpfs", "none", str(place)], check=True)
    try:
        bench.boot()
        bench.wait_for_ssh()
        holders = [entry for entry in Path("/proc").glob("[0-9]*/mountinfo") if str(place) in read_or_empty(entry)]
        pids = {int(entry.parent.name) for entry in holders}
        assert pids & set(members(f"{bench.config.netns}/{INSTANCE}")) == set()
        assert os.getpid() in pids  # the machine itself still has it
    finally:
        subprocess.run(["umount", str(place)], check=True)


def read_or_empty(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the process ended meanwhile
        return ""


def test_lab_that_was_killed_is_taken_down(tmp_path: Path) -> None:
    """Its process gets SIGKILL with a host running and a volume mounted; nothing may be left."""
    script = f"""
import time
from pathlib import Path
from lab.hosts.bench import *
bench = Bench(Path({str(tmp_path)!r}), Path({str(config.load().cache)!r}))
bench.__enter__()
bench.boot()
bench.wait_for_ssh()
disk = bench.config.state / "volume.img"
make_disk(disk)
bench.hosts.attach(INSTANCE, {VOLUME!r}, "/dev/sdf", disk)
bench.run("mount {BY_ID}-part1 /mnt")
print("ready", flush=True)
time.sleep(60)
"""
    victim = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=config.CHECKOUT)
    assert victim.stdout is not None
    assert victim.stdout.readline() == "ready\n"
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    settings = config.LabConfig(state=tmp_path.resolve(), cache=tmp_path)
    assert any(line.startswith("process") for line in leftovers(settings))
    assert any(line.startswith("loop device") for line in leftovers(settings))
    teardown(settings)
    assert leftovers(settings) == []
    teardown(settings)
