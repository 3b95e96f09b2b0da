# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of hosts that need neither root nor a host."""

from __future__ import annotations

from pathlib import Path

from lab.config import LabConfig
from lab.contracts import Rule
from lab.hosts.backend import without_port
from lab.hosts.devices import by_id_name, loops_below
from lab.hosts.mounts import below, foreign
from lab.hosts.teardown import leftovers

ANY = "0.0.0.0/0"


def test_p19_volume_is_named_by_its_id_without_the_dash() -> None:
    assert by_id_name("vol-0fedcba9876543210") == "nvme-Amazon_Elastic_Block_Store_vol0fedcba9876543210"


def test_closing_a_port_leaves_the_rest_of_a_rule() -> None:
    assert without_port(Rule("tcp", 22, 22, ANY), 22) == []
    assert without_port(Rule("tcp", 1, 100, ANY), 22) == [Rule("tcp", 1, 21, ANY), Rule("tcp", 23, 100, ANY)]
    assert without_port(Rule("tcp", 80, 443, ANY), 22) == [Rule("tcp", 80, 443, ANY)]
    assert without_port(Rule("udp", 22, 22, ANY), 22) == [Rule("udp", 22, 22, ANY)]
    everything = without_port(Rule("-1", -1, -1, ANY), 22)
    assert not any(rule.protocol in ("-1", "tcp") and rule.from_port <= 22 <= rule.to_port for rule in everything)
    assert {rule.protocol for rule in everything} == {"tcp", "udp", "icmp"}


def test_mounts_below_a_folder_come_innermost_first(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    line = "36 35 98:0 / {} rw,noatime master:1 - ext4 /dev/root rw\n"
    points = ["/", "/lab", "/lab/a", r"/lab/a/with\040space", "/laboratory"]
    table.write_text("".join(line.format(point) for point in points))
    assert below(Path("/lab"), table) == [Path("/lab/a/with space"), Path("/lab/a"), Path("/lab")]


def test_a_lab_that_never_was_left_nothing(tmp_path: Path) -> None:
    assert leftovers(LabConfig(state=tmp_path / "never", cache=tmp_path)) == []
    assert loops_below(tmp_path) == []


def test_a_host_keeps_no_mounts_but_those_it_needs(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    rows = {"/": "ext4", "/proc": "proc", "/sys/fs/cgroup": "cgroup2", "/dev/shm": "tmpfs", "/run": "tmpfs",
            "/run/lock": "tmpfs", "/run/netns": "tmpfs", "/run/netns/own": "nsfs", "/run/netns/other": "nsfs",
            "/var": "xfs", "/var/cache": "xfs", "/usr": "ext4", "/mnt/disk": "ext4", "/mnt/disk/deep": "xfs",
            "/srv/lab/hosts/other": "overlay", "/home": "ext4"}
    table.write_text("".join(f"36 35 98:0 / {point} rw shared:1 - {kind} x rw\n" for point, kind in rows.items()))
    needed = [Path("/var/cache/dfir-aws/image"), Path("/srv/lab/hosts/i-1"), Path("/run/netns/own")]
    assert {str(point) for point in foreign(needed, table)} == {
        "/run/netns/other", "/mnt/disk", "/mnt/disk/deep", "/srv/lab/hosts/other", "/home"}
    assert foreign(needed, table)[0] in (Path("/mnt/disk/deep"), Path("/srv/lab/hosts/other"))  # innermost first
