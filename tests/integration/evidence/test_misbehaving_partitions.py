# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence partitions that misbehave: mounted properly or reported precisely, unchanged, and the run goes on.

What a dirty journal, LVM and other file systems do is in the tests beside this one. Needs root.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mail_kit import mails, unfit
from misbehaving_stage import DISK, PARTITIONS, WHOLE
from stage import CHECKOUT

NEEDED = ("fls", "yara", "clamscan", "btrfs", "mkntfs", "mkfs.btrfs", "mkfs.xfs", "mkswap", "sfdisk")
pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="loop devices and mounts need root"),
              pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason=f"needs {', '.join(NEEDED)}")]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    pytest.importorskip("dissect.xfs", reason="dissect is not installed")
    work = tmp_path_factory.mktemp("misbehaving")
    answer = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", sys.executable,
         str(Path(__file__).with_name("misbehaving_stage.py")), str(work)],
        capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "collections")})
    assert answer.returncode == 0, answer.stderr[-8000:]
    return dict(json.loads(answer.stdout))


def parts(run: dict[str, Any], name: str = "disk") -> dict[str, dict[str, Any]]:
    """The partitions of a volume by what was put there."""
    assert not run["mounted"][name].get("failed"), run["mounted"][name]
    contents = dict(enumerate((content for _size, content in PARTITIONS), 1))
    return {contents[part["number"]] if part["number"] else name: part
            for part in run["mounted"][name]["volume"]["partitions"]}


def steps(run: dict[str, Any], content: str) -> dict[str, tuple[str, str]]:
    number = [name for _size, name in PARTITIONS].index(content) + 1
    [found] = [part for part in run["summary"]["partitions"]
               if part["volume_id"] == DISK and part["number"] == number]
    return {name: (step["state"], step.get("code", "")) for name, step in found["steps"].items()}


def artifact(run: dict[str, Any], content: str, kind: str) -> Any:
    number = [name for _size, name in PARTITIONS].index(content) + 1
    text = (Path(run["out"]) / f"{DISK}p{number}.{kind}").read_text(encoding="utf-8")
    return json.loads(text) if kind.endswith("json") else text


def paths(run: dict[str, Any], content: str) -> set[str]:
    return {line.split("|")[1] for line in artifact(run, content, "bodyfile").splitlines()}


def test_p16_every_volume_keeps_its_hash(run: dict[str, Any]) -> None:
    assert run["after"] == run["before"]
    assert len(run["before"]) == 6
    assert all(run["read_only"].values()) and len(run["read_only"]) == 6 + len(PARTITIONS)


def test_p23_every_one_of_thirteen_partitions_is_named_for_what_it_is(run: dict[str, Any]) -> None:
    found = {name: (part["kind"], part["mounted"]) for name, part in parts(run).items()}
    assert found == {
        "ext4": ("filesystem", True), "xfs": ("filesystem", True), "ntfs": ("filesystem", True),
        "btrfs": ("filesystem", True), "gone": ("unknown", False), "broken": ("filesystem", False),
        "swap": ("swap", False), "luks": ("luks", False), "lvm": ("lvm", False), "bitlocker": ("bitlocker", False),
        "zeros": ("unknown", False), "noise": ("unknown", False), "last": ("filesystem", True)}
    assert run["again"]["changed"] is False
    assert run["again"]["volume"] == run["mounted"]["disk"]["volume"]


@pytest.mark.cell("evidence", "XFS with the UUID of the host's own root")
def test_p20_xfs_is_mounted_beside_a_host_whose_root_has_the_same_uuid(run: dict[str, Any]) -> None:
    assert any(" - xfs " in line and line.split(" ")[4].endswith("/host-root") and " rw" in line
               for line in run["mountinfo"].splitlines())
    assert parts(run)["xfs"]["mounted"]
    assert "/opt/hit.exe" in paths(run, "xfs")


@pytest.mark.cell("evidence", "journals that wait: ext4 cut off, a Windows that sleeps")
def test_p20_a_journal_that_waits_is_said_of_ext4_and_of_a_windows_that_sleeps(run: dict[str, Any]) -> None:
    """The volume of Windows is clean by its own flag: only hiberfil.sys tells."""
    found = parts(run)
    assert found["ext4"]["journal_dirty"] is True and found["ntfs"]["journal_dirty"] is True
    assert found["last"]["journal_dirty"] is False
    text = mails(run["facts"], run["summary"], run["outcome"], "")["ready"]
    assert "the journal of vol-0123456789abcdef0p1 was" in " ".join(text.split())
    assert "the journal of vol-0123456789abcdef0p3 was" in " ".join(text.split())


@pytest.mark.cell("evidence", "an unreadable file system: its superblock is damaged")
def test_a_damaged_superblock_is_not_taken_for_an_empty_or_encrypted_partition(run: dict[str, Any]) -> None:
    for part in (parts(run)["gone"], parts(run, "damaged")["damaged"]):
        assert part["kind"] == "unknown" and not part["mounted"]
        assert "superblock" in part["reason"] and "ext" in part["reason"], part["reason"]
        assert "8389632" in part["reason"], "where the first of its copies lies"
    assert parts(run)["broken"]["reason"].startswith("mount refused it: ")


def test_zeros_and_noise_are_told_apart(run: dict[str, Any]) -> None:
    assert "zeros" in parts(run)["zeros"]["reason"] and "encrypted" not in parts(run)["zeros"]["reason"]
    for part in (parts(run)["noise"], parts(run, "noise")["noise"]):
        assert "encrypted" in part["reason"] and "zeros" not in part["reason"]


@pytest.mark.cell("evidence", "no partition table")
def test_p23_disks_without_a_table(run: dict[str, Any]) -> None:
    assert {name: run["mounted"][name]["volume"]["table"] for name in WHOLE} == dict.fromkeys(WHOLE, "none")
    assert parts(run, "ext4")["ext4"]["mounted"]
    assert (parts(run, "swap")["swap"]["kind"], parts(run, "swap")["swap"]["mounted"]) == ("swap", False)
    assert parts(run, "zeros") == {}


@pytest.mark.parametrize("content", ["ext4", "xfs", "ntfs", "btrfs", "last"])
def test_the_run_goes_on_and_everything_that_can_be_read_is_analyzed(run: dict[str, Any], content: str) -> None:
    assert {state for state, _code in steps(run, content).values()} == {"done"}
    if content != "ext4":
        assert [hit["path"] for hit in artifact(run, content, "yara.json")["hits"]]


@pytest.mark.cell("evidence", "partitions that nobody can read")
def test_what_cannot_be_read_is_missing_by_name_and_nothing_else_is(run: dict[str, Any]) -> None:
    assert {name: steps(run, name) for name in ("gone", "swap", "luks", "lvm", "bitlocker", "zeros", "noise")} == {
        name: {"all": ("skipped", code)} for name, code in (
            ("gone", "unknown"), ("swap", "swap"), ("luks", "luks"), ("lvm", "lvm"), ("bitlocker", "bitlocker"),
            ("zeros", "unknown"), ("noise", "unknown"))}
    assert not run["complete"]
    assert set(run["outcome"]["missing"]) == {f"{DISK}p6.{name}" for name in (
        "findings", "timeline", "yara", "clamav", "deleted")}


BTRFS = {"/@/opt/hit.exe", "/@/nested/hit.exe", "/home/user/hit.exe", "/before/opt/hit.exe"}


def test_every_subvolume_of_btrfs_is_seen_whatever_the_default_is(run: dict[str, Any]) -> None:
    assert "subvolid=5" in parts(run)["btrfs"]["options"]
    assert {"@/nested/deep.txt", "home/user/hit.exe", "before/opt/hit.exe"} <= set(run["btrfs"])
    found = paths(run, "btrfs")
    assert found >= {*BTRFS, "/@/nested/deep.txt", "/@/opt/after.txt"}
    assert "/before/opt/after.txt" not in found
    # A snapshot has an empty folder where a subvolume was.
    assert "/before/nested" in found and not [path for path in found if path.startswith("/before/nested/")]


@pytest.mark.parametrize("scanner", ["yara", "clamav"])
def test_scanners_enter_subvolumes_whose_inodes_have_the_same_numbers(run: dict[str, Any], scanner: str) -> None:
    hits = artifact(run, "btrfs", f"{scanner}.json")["hits"]
    assert {hit["path"] for hit in hits if hit["path"].endswith("hit.exe")} == BTRFS


def test_a_subvolume_that_is_a_system_is_looked_at_as_one(run: dict[str, Any]) -> None:
    found = {(item["kind"], item["path"]) for item in artifact(run, "btrfs", "findings.json")}
    for system in ("/@", "/before"):
        assert ("cron", f"{system}/etc/cron.d/sys") in found, found
        assert ("web_shell", f"{system}/var/www/html/uploads/a.php") in found
    assert len([path for kind, path in found if kind == "web_shell"]) == 2
    # plaso's filters name paths from the top of a system: of the one that was in use, not of its snapshot.
    assert run["plaso"]["btrfs"].endswith("/p4/@") and run["plaso"]["xfs"].startswith("/dev/")


def test_subvolumes_in_a_logical_volume_are_seen_as_they_are_in_a_mount(run: dict[str, Any], tmp_path: Path) -> None:
    """There dissect reads the file system. The folder in the snapshot that is none must not lead back."""
    from ansible_collections.dfir.aws.plugins.module_utils.forensics.dissect_tree import DissectTree
    from ansible_collections.dfir.aws.plugins.module_utils.forensics.model import Partition
    from ansible_collections.dfir.aws.plugins.module_utils.forensics.systems import in_use, systems

    image = str(Path(run["out"]).with_name("btrfs-alone.img"))
    tree = DissectTree.of(Partition(1, image, "btrfs", "filesystem", 1, False, None, None, None), tmp_path / "copies")
    files = [entry for _unused, entries in tree.walk() for entry in entries if entry.is_file]
    assert sorted(entry.path.decode().lstrip("/") for entry in files) == run["btrfs"]
    assert len({(entry.info.st_dev, entry.info.st_ino) for entry in files}) == len(files)
    assert systems(tree) == [b"/@", b"/before"] and in_use(tree) == b"/@"
    below = tree.below(b"/@")
    assert (below.read("/etc/passwd") or b"").startswith(b"root:") and tree.read("/etc/passwd") is None
    assert below.read("/nested/deep.txt") == b"in a subvolume of a subvolume"


def test_the_last_mail_says_what_nobody_could_look_into(run: dict[str, Any]) -> None:
    """A disk of swap alone has no findings: a mail that says "0 findings" must say why."""
    text = mails(run["facts"], run["summary"], run["outcome"], "")["done"]
    assert text.count("NOT LOOKED INTO") == 1
    told = text.partition("NOT LOOKED INTO\n")[2].partition("\n\n")[0].replace("\n  ", "\n")
    for start, word in ((f"{DISK}p5: ", "superblock"), (f"{DISK}p7: ", "swap"), (f"{DISK}p8: ", "LUKS"),
                        (f"{DISK}p10: ", "BitLocker"), (f"{DISK}p11: ", "zeros"), (f"{DISK}p12: ", "encrypted"),
                        (f"{WHOLE['swap']}p0: ", "swap"), (f"{WHOLE['zeros']}: ", "no partition")):
        assert word in told.partition(start)[2].partition("\nvol-")[0], (start, told)
    assert f"{DISK}p1:" not in told and f"{DISK}p9:" not in told


def test_names_in_the_table_and_labels_forge_nothing(run: dict[str, Any]) -> None:
    """The last partition's label says on a line of its own that it is swap, the first one's name in the table too."""
    assert parts(run)["last"]["type"] == parts(run)["ext4"]["type"] == "ext4"
    facts = json.dumps(run["facts"], ensure_ascii=False)
    assert unfit(facts) == [] and "owned" not in facts and "7*6" not in facts
    reason = "; ".join(part["reason"] for part in parts(run).values() if part["reason"])
    for kind, text in mails(run["facts"], run["summary"], run["outcome"], reason).items():
        assert unfit(text) == [], kind
        assert max(len(line) for line in text.splitlines()) < 200, kind
