# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The evidence disk, built on a handful of files instead of all packages, and read with other tools than built it."""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.evidence import image, malware, story, tree
from lab.evidence.run import BuildError, copy_into, extents, sparse_file

pytestmark = pytest.mark.slow  # whole images

ACCOUNTS = {"etc/passwd": "root:x:0:0:root:/root:/bin/bash\n", "etc/shadow": "root:*:20514:0:99999:7:::\n",
            "etc/group": "root:x:0:\nsudo:x:27:\n", "etc/gshadow": "root:*::\nsudo:*::\n"}


def small_rootfs(path: Path) -> Path:
    with tarfile.open(path, "w") as tar:
        for name in (".", "./etc", "./usr", "./usr/lib", "./usr/lib/systemd", "./root"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode, entry.mtime = tarfile.DIRTYPE, 0o755, 1_650_000_000
            tar.addfile(entry)
        for name, text in {**ACCOUNTS, "usr/lib/systemd/systemd-journald": "\x7fELF", "etc/a name": "spaces\n"}.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size, entry.mode, entry.mtime = len(text), 0o644, 1_650_000_000
            tar.addfile(entry, io.BytesIO(text.encode()))
        hard = tarfile.TarInfo("./etc/second-name")
        hard.type, hard.linkname = tarfile.LNKTYPE, "./etc/a name"
        tar.addfile(hard)
    return path


class Built:
    """One disk, its partitions cut out, and its key."""

    def __init__(self, folder: Path, rootfs: Path) -> None:
        self.disk, self.key_file = folder / "disk.img", folder / "key.json"
        self.sha256 = image.build(self.disk, self.key_file, rootfs)
        self.key: dict[str, Any] = json.loads(self.key_file.read_text())
        self.root, self.data = folder / "root.ext4", folder / "data.xfs"

    def cut(self) -> None:
        for target, start, size in ((self.root, image.ROOT_START, image.ROOT_SIZE),
                                    (self.data, image.DATA_START, image.DATA_SIZE)):
            sparse_file(target, size)
            with self.disk.open("rb") as disk, target.open("r+b") as part:
                for offset, length in extents(self.disk):
                    begin, end = max(offset, start), min(offset + length, start + size)
                    if begin < end:
                        disk.seek(begin)
                        part.seek(begin - start)
                        part.write(disk.read(end - begin))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evidence")


@pytest.fixture(scope="module")
def built(folder: Path) -> Iterator[Built]:
    disk = Built(folder, small_rootfs(folder / "rootfs.tar"))
    disk.cut()
    yield disk
    for path in (disk.disk, disk.root, disk.data):
        path.unlink()


def tool(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False,
                          env={"TZ": "UTC", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    return done.stdout + (done.stderr if done.returncode else "")


def fls(built: Built, *options: str) -> dict[str, int]:
    """Inodes by path."""
    listing = tool("fls", "-rp", *options, built.root)
    found = re.findall(r"^\S+ (?:\* )?(\d+)(?:\(realloc\))?:\t(.*)$", listing, re.MULTILINE)
    return {f"/{path}": int(inode) for inode, path in found}


def stat(built: Built, path: str) -> str:
    return tool("debugfs", "-R", f'stat "{path}"', built.root)


def icat(built: Built, inode: int) -> bytes:
    return subprocess.run(["icat", built.root, str(inode)], capture_output=True, check=True).stdout


def test_two_builds_are_the_same_bytes(built: Built, folder: Path, tmp_path: Path) -> None:
    again = Built(tmp_path, folder / "rootfs.tar")
    assert again.sha256 == built.sha256
    assert again.key == built.key


def test_the_sha256_is_that_of_the_whole_file(tmp_path: Path) -> None:
    sparse = tmp_path / "sparse"
    sparse_file(sparse, 5 * image.MIB + 123)
    with sparse.open("r+b") as file:
        file.seek(2 * image.MIB - 7)
        file.write(b"data" * 5000)
    assert image.sha256_sparse(sparse) == hashlib.sha256(sparse.read_bytes()).hexdigest()


def test_the_partition_table_has_the_numbers_of_a_cloud_image(built: Built) -> None:
    table = json.loads(tool("sfdisk", "--json", built.disk))["partitiontable"]
    assert table["label"] == "gpt"
    assert {int(re.sub(r".*\D", "", part["node"])): part["type"] for part in table["partitions"]} == {
        1: image.LINUX_ROOT_TYPE, 2: image.LINUX_TYPE, 14: image.BIOS_BOOT_TYPE}
    assert built.disk.stat().st_size == image.GIB << 30
    assert built.disk.stat().st_blocks * 512 < 700 * image.MIB


def test_p23_both_file_systems_are_what_blkid_says(built: Built) -> None:
    assert ' TYPE="ext4"' in tool("blkid", "-p", built.root) and image.ROOT_UUID in tool("blkid", "-p", built.root)
    assert ' TYPE="xfs"' in tool("blkid", "-p", built.data) and image.DATA_UUID in tool("blkid", "-p", built.data)


def test_the_xfs_partition_is_sound(built: Built) -> None:
    assert subprocess.run(["xfs_repair", "-n", built.data], capture_output=True, check=False).returncode == 0


def test_the_ext4_partition_is_sound_but_for_the_file_that_is_still_open(built: Built) -> None:
    said = tool("e2fsck", "-fn", built.root)
    assert len(re.findall(r"^Deleted inode \d+ has zero dtime", said, re.MULTILINE)) == 1
    wrong = [line for line in said.splitlines() if "Unattached" in line or "multiply" in line or "checksum" in line]
    assert wrong == []


def test_packages_keep_their_times_and_links(built: Built) -> None:
    shown = stat(built, "/etc/a name")
    assert "Links: 2" in shown
    assert re.search(r" mtime: .*Fri Apr 15 05:20:00 2022", shown)
    assert re.search(r"crtime: .*Mon Mar  2 09:12:4", shown)


def test_the_miner_claims_to_be_old_and_was_born_in_the_incident(built: Built) -> None:
    shown = stat(built, story.MINER_PATH)
    assert re.search(r" mtime: 0x\w+:00000000 -- Fri Apr 15", shown), "touch leaves no fraction of a second"
    assert re.search(r"crtime: 0x\w+:(?!00000000)\w+ -- Sat Sep 12 03:46:20 2026", shown)


def test_the_older_looking_web_shell_has_its_birth_time_on_xfs(built: Built) -> None:
    inodes = tool("xfs_db", "-r", "-c", "blockget -n", "-c", "ncheck", built.data)
    inode = re.search(rf"(\d+) {re.escape(story.OLD_WEB_SHELL[1:])}$", inodes, re.MULTILINE)
    assert inode
    shown = tool("xfs_db", "-r", "-c", f"inode {inode[1]}", "-c", "p", built.data)
    assert "core.mtime.sec = Mon Aug 24 13:20:11 2026" in shown
    assert "core.mtime.nsec = 0" in shown
    assert "v3.crtime.sec = Sun Sep 13 14:35:37 2026" in shown
    assert "(correct)" in shown


def test_deleted_files_keep_names_and_content_where_the_story_says(built: Built) -> None:
    gone = fls(built, "-d")
    assert icat(built, gone[story.DROPPER_PATH]) == malware.DROPPER.encode()
    assert story.ARCHIVE_PATH in gone and icat(built, gone[story.ARCHIVE_PATH]) == b""
    orphans = [path for path in gone if "OrphanFile" in path]
    assert len(orphans) == 1 and b"# wiper" in icat(built, gone[orphans[0]])
    assert "/var/lib/php/sessions/sess_k1" not in gone


def test_the_journal_holds_the_wiped_files_inode_as_it_was(built: Built) -> None:
    inode = fls(built, "-d")[story.ARCHIVE_PATH]
    block = re.search(r"located at block (\d+), offset 0x(\w+)", tool("debugfs", "-R", f"imap <{inode}>", built.root))
    assert block
    dump = tool("debugfs", "-R", f"logdump -O -a -b {block[1]}", built.root)
    assert f"FS block {block[1]} logged" in dump


def test_the_open_file_is_on_the_orphan_list(built: Built) -> None:
    orphan = re.search(r"First orphan inode:\s+(\d+)", tool("dumpe2fs", "-h", built.root))
    assert orphan
    assert icat(built, int(orphan[1])) == malware.miner()[:900_000]


def test_every_entry_of_the_key_is_on_the_disk(built: Built) -> None:
    root = {**fls(built), **fls(built, "-d")}
    data = "\n" + tool("xfs_db", "-r", "-c", "blockget -n", "-c", "ncheck", built.data)
    packaged = ("/etc/cron.d/e2scrub_all", "/etc/cron.d/php", "/etc/cron.daily/logrotate")  # not in the small archive
    for entry in built.key["artifacts"]:
        path = entry["path"]
        if not path or path in packaged:
            continue
        assert path in root if entry["partition"] == 1 else f" {path[1:]}\n" in data, entry


def test_login_records_are_read_by_the_system(built: Built, tmp_path: Path) -> None:
    inodes = fls(built)
    for name in ("wtmp", "btmp"):
        (tmp_path / name).write_bytes(icat(built, inodes[f"/var/log/{name}"]))
    logins = tool("last", "--time-format=iso", "-f", tmp_path / "wtmp")
    assert re.search(rf"deploy\s+pts/1\s+{story.ATTACKER}\s+2026-09-12T03:41:17\+00:00 - 2026-09-12T04:02:33", logins)
    failures = tool("lastb", "-f", tmp_path / "btmp").splitlines()
    assert sum(story.ATTACKER in line for line in failures) > 1000


def test_logs_tell_the_same_story_in_order(built: Built) -> None:
    lines = icat(built, fls(built)["/var/log/auth.log"]).decode().splitlines()
    stamps = [line.split(" ", 1)[0] for line in lines]
    assert stamps == sorted(stamps) and stamps[-1] < "2026-09-14T08:05:00"
    accepted = [line for line in lines if f"Accepted password for deploy from {story.ATTACKER}" in line]
    assert len(accepted) == 1 and accepted[0].startswith("2026-09-12T03:41:17")
    guesses = sum(f"from {story.ATTACKER} " in line and "Failed password" in line for line in lines)
    assert guesses > 1000


def test_the_miner_is_a_real_program_that_does_nothing(tmp_path: Path) -> None:
    program = tmp_path / "miner"
    program.write_bytes(malware.miner())
    program.chmod(0o755)
    done = subprocess.run([program], capture_output=True, check=False, timeout=5)
    assert (done.returncode, done.stdout) == (0, b"")


def test_names_that_a_file_system_cannot_take_are_refused(tmp_path: Path) -> None:
    from lab.evidence import xfs
    spaced = tree.Tree()
    spaced.folder("/", b=story.INSTALLED)
    spaced.file("/a b", "x", m=story.INSTALLED)
    with pytest.raises(BuildError, match="has a space"):
        xfs.make(tmp_path / "x.img", tmp_path, spaced, 320 * image.MIB, image.DATA_UUID, "x")


def test_copying_keeps_holes_and_content(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    sparse_file(source, 8 * image.MIB)
    with source.open("r+b") as file:
        file.seek(3 * image.MIB)
        file.write(b"x" * 70_000)
    sparse_file(target, 16 * image.MIB)
    copy_into(source, target, 8 * image.MIB)
    assert target.read_bytes()[8 * image.MIB:] == source.read_bytes()
    assert target.stat().st_blocks * 512 < image.MIB
