# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every entry of real file systems, with times to the nanosecond: as the kernel shows it, and as `fls` lists it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.forensics.dissect_tree import DissectTree
from ansible_collections.dfir.aws.plugins.module_utils.forensics.entries import entries
from ansible_collections.dfir.aws.plugins.module_utils.forensics.entry_walk import FileEntry
from ansible_collections.dfir.aws.plugins.module_utils.forensics.tree import _birth_ns

NEEDED = ("fls", "mke2fs", "debugfs", "mkfs.xfs", "mkfs.btrfs", "btrfs", "mkfs.ntfs", "ntfs-3g")
pytest.importorskip("dissect.ntfs", reason="dissect is not installed")
pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="loop devices and mounts need root"),
              pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason=f"needs {', '.join(NEEDED)}")]

NS = 10**9
OLD, FAR = -315_619_200 * NS + 123_456_789, 7_258_118_400 * NS + 987_654_321  # 1960 and 2200
CROWD = 3000
MAKE: dict[str, tuple[str, list[str], int]] = {  # kind, command, MiB
    "ext2": ("ext2", ["mke2fs", "-q", "-F", "-t", "ext2", "-I", "128"], 64),
    "ext2 of 1 KiB blocks": ("ext2", ["mke2fs", "-q", "-F", "-t", "ext2", "-b", "1024"], 64),
    "ext3": ("ext3", ["mke2fs", "-q", "-F", "-t", "ext3", "-I", "128", "-b", "1024"], 64),
    "ext4": ("ext4", ["mke2fs", "-q", "-F", "-t", "ext4"], 64),
    "ext4 with inline data": ("ext4", ["mke2fs", "-q", "-F", "-t", "ext4", "-O", "inline_data"], 64),
    "ext4 of 32 bits, 1 KiB": ("ext4", ["mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-O", "^64bit"], 64),
    "ext4 with meta groups": ("ext4", ["mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-g", "1024", "-O",
                                       "meta_bg,^resize_inode,^flex_bg"], 64),
    "ext4 with large folders": ("ext4", ["mke2fs", "-q", "-F", "-t", "ext4", "-O", "large_dir,^metadata_csum"], 64),
    "xfs": ("xfs", ["mkfs.xfs", "-q", "-f"], 320),
    "xfs with 64 KiB folder blocks": ("xfs", ["mkfs.xfs", "-q", "-f", "-n", "size=65536"], 320),
    "xfs of 1 KiB blocks": ("xfs", ["mkfs.xfs", "-q", "-f", "-b", "size=1024"], 320),
    "xfs before bigtime": ("xfs", ["mkfs.xfs", "-q", "-f", "-m", "bigtime=0,inobtcount=0"], 320),
    "xfs of version 4": ("xfs", ["mkfs.xfs", "-q", "-f", "-m", "crc=0"], 320),
    "btrfs": ("btrfs", ["mkfs.btrfs", "-q", "-f"], 128),
}


@contextmanager
def mounted(image: Path, *options: str, kind: str = "") -> Iterator[Path]:
    """An image, mounted."""
    point = image.with_name("mount")
    point.mkdir(exist_ok=True)
    command = ["ntfs-3g", *options, image, point] if kind == "ntfs" else ["mount", "-o", ",".join(("loop", *options)),
                                                                          image, point]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this kernel cannot mount it: {done.stderr.strip().splitlines()[0]}")
    try:
        yield point
        if kind != "ntfs":  # all is written then, even where another namespace has the mount as well
            subprocess.run(["mount", "-o", "remount,ro", point], check=True, capture_output=True)
    finally:
        subprocess.run(["umount", point], check=True)


def blank(path: Path, mebibytes: int, command: list[str]) -> Path:
    with path.open("wb") as stream:
        stream.truncate(mebibytes << 20)
    done = subprocess.run([*command, path], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot be made here: {done.stderr.strip()}")
    return path


def populate(root: Path) -> None:
    """What file systems keep in different places: folders of all sizes, links of all kinds, times of all centuries."""
    (root / "etc/deep/deeper/deepest").mkdir(parents=True)
    (root / "etc/empty").mkdir()
    (root / "etc/short").write_text("short")
    (root / "large").write_bytes(os.urandom(3 << 20))
    with (root / "sparse").open("wb") as stream:
        stream.truncate(5 << 20)
    with (root / "holes").open("wb") as stream:
        for place in (0, 50_000, 1 << 20, 9 << 20):
            stream.seek(place)
            stream.write(b"written at %d" % place)
        with suppress(OSError):  # ext2 and ext3 cannot
            os.posix_fallocate(stream.fileno(), 3 << 20, 2 << 20)
        stream.seek(4 << 20)
        stream.write(b"in the middle of it")
        stream.truncate(70 << 20)
    with (root / "pieces").open("wb") as stream:  # more extents than an inode holds
        for number in range(600):
            stream.seek(number * 16384)
            stream.write(number.to_bytes(4, "big") * 1024)
    (root / "in its inode").write_bytes(os.urandom(120))
    (root / "link").symlink_to("etc/short")
    (root / "long link").symlink_to("etc/" + "x/" * 200 + "end")
    os.link(root / "etc/short", root / "etc/deep/hard")
    os.mkfifo(root / "etc/pipe")
    os.mknod(root / "etc/null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    for name in ("pi|pe\nline", "größe", "名前.txt", "y" * 255):
        (root / "etc/deep" / name).write_text(name)
    Path(os.fsdecode(bytes(root) + b"/etc/deep/\xff\xfe")).write_text("no UTF-8")
    crowd = root / "crowd"
    crowd.mkdir()
    for number in range(CROWD):
        (crowd / f"a name that fills the blocks of a folder {number:05}").touch()
    for number in range(0, CROWD, 3):
        (crowd / f"a name that fills the blocks of a folder {number:05}").unlink()
    for number in range(40):
        (root / f"many/{number % 7}/{number}").mkdir(parents=True)
        (root / f"many/{number % 7}/{number}/file").write_text(str(number))
    (root / "gone").write_text("gone")
    (root / "gone").unlink()
    (root / "suid").write_text("x")
    os.chown(root / "suid", 70_000, 80_000)
    (root / "suid").chmod(0o4755)
    for name, moment in (("old", OLD), ("far", FAR), ("usual", 1_700_000_000 * NS + 5)):
        (root / name).write_text(name)
        os.utime(root / name, ns=(moment - 1, moment))
    os.utime(root / "etc/empty", ns=(OLD, OLD))


def seen_by_the_kernel(root: Path) -> dict[bytes, tuple[Any, ...]]:
    """Path to what `stat` says."""
    found = {}
    top = os.fsencode(root)
    for folder, folders, files in os.walk(top):
        for path in [folder] if folder == top else []:
            found[b"/"] = facts(os.lstat(path), path)
        for name in folders + files:
            path = folder + b"/" + name
            found[path[len(top):]] = facts(os.lstat(path), path)
    return found


def facts(info: os.stat_result, path: bytes) -> tuple[Any, ...]:
    return (info.st_ino, info.st_mode, info.st_uid, info.st_gid, info.st_size, info.st_mtime_ns, info.st_atime_ns,
            info.st_ctime_ns, _birth_ns(path))


def as_facts(entry: FileEntry) -> tuple[Any, ...]:
    return (entry.inode, entry.mode, entry.uid, entry.gid, entry.size, entry.mtime, entry.atime, entry.ctime,
            entry.btime)


def listed(kind: str, image: Path) -> list[FileEntry]:
    with image.open("rb") as stream:
        return list(entries(kind, stream))


def by_path(found: list[FileEntry]) -> dict[bytes, FileEntry]:
    table = {entry.path: entry for entry in found}
    assert len(table) == len(found), "a path is listed twice"
    assert not [entry for entry in found if entry.problem]
    return table


@pytest.mark.parametrize("name", MAKE)
def test_entries_are_what_the_kernel_shows(name: str, tmp_path: Path) -> None:
    kind, command, size = MAKE[name]
    image = blank(tmp_path / "image", size, command)
    with mounted(image) as root:
        populate(root)
    with mounted(image, "ro") as root:
        right = seen_by_the_kernel(root)
        contents = {path: sha256(Path(os.fsdecode(bytes(root) + path)).read_bytes()).digest()
                    for path in right if stat.S_ISREG(right[path][1])}
        links = {path: os.readlink(bytes(root) + path)  # noqa: PTH115 - bytes
                 for path in right if stat.S_ISLNK(right[path][1])}
    found = by_path(listed(kind, image))
    assert set(found) == set(right)
    assert len(found) > CROWD * 2 // 3 + 90
    different = {path: (as_facts(found[path]), right[path]) for path in right if as_facts(found[path]) != right[path]}
    assert not different, list(different.items())[:5]
    if "xfs before" not in name and "version 4" not in name and kind not in ("ext2", "ext3"):
        assert found[b"/old"].mtime == OLD and found[b"/far"].mtime == FAR
    with image.open("rb") as stream:  # the tree says the same, file by file, whether it remembers or not
        for remembers in (False, True):
            tree = DissectTree(kind, stream)
            assert not remembers or tree.remember()
            walked = {entry.path: entry.info for _unused, found in tree.walk() for entry in found}
            assert set(walked) == set(right) - {b"/"} and tree.unreadable == 0
            for path, info in walked.items():
                times = info.st_mtime_ns, info.st_atime_ns, info.st_ctime_ns, tree.birth_ns(path)
                assert (info.st_ino, info.st_mode, info.st_uid, info.st_gid, info.st_size, *times) == right[path]
                if path in contents:
                    assert sha256(tree.read(path, 1 << 30) or b"").digest() == contents[path], path
                assert path not in links or tree._link(path) == links[path]


@pytest.mark.parametrize("name", ["ext4", "xfs"])
def test_what_was_never_written_is_zeros_and_not_what_lay_there_before(name: str, tmp_path: Path) -> None:
    kind, command, size = MAKE[name]
    image = blank(tmp_path / "image", size, command)
    with mounted(image) as root:
        with suppress(OSError), (root / "fill").open("wb", buffering=0) as stream:
            while stream.write(b"\xaa" * (1 << 20)):
                pass
        os.sync()
        (root / "fill").unlink()
    with mounted(image) as root, (root / "allocated").open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, 5 << 20)
        stream.seek(2 << 20)
        stream.write(b"middle")
    with image.open("rb") as raw:
        content = DissectTree(kind, raw).read("/allocated", 1 << 30) or b""
    assert len(content) == 5 << 20 and content.replace(b"middle", b"").strip(b"\0") == b""
    assert content.index(b"middle") == 2 << 20


def fls(kind: str, image: Path) -> dict[str, set[int]]:
    """Path to inode numbers, of what The Sleuth Kit lists as allocated. The folder $OrphanFiles is made up by it."""
    done = subprocess.run(["fls", "-r", "-p", "-u", "-f", {"vfat": "fat", "ntfs": "ntfs"}.get(kind, "ext"), image],
                          check=True, capture_output=True)
    found: dict[str, set[int]] = {}
    for line in done.stdout.decode("utf-8", "surrogateescape").splitlines():
        head, _unused, name = line.partition("\t")
        if not head.startswith("V/V") and not name.startswith("$OrphanFiles/"):
            found.setdefault("/" + name, set()).add(int(head.split()[-1].rstrip(":").split("-")[0]))
    return found


@pytest.mark.parametrize("kind", ["ext2", "ext3", "ext4"])
def test_entries_are_what_fls_lists(kind: str, tmp_path: Path) -> None:
    image = blank(tmp_path / "image", 64, MAKE[kind][1])
    with mounted(image) as root:
        populate(root)
        (root / "etc/deep/pi|pe\nline").unlink()  # fls writes another letter for the line break
        Path(os.fsdecode(bytes(root) + b"/etc/deep/\xff\xfe")).unlink()  # and replaces what is no UTF-8
    found = {entry.path.decode(): {entry.inode} for entry in listed(kind, image) if entry.path != b"/"}
    right = fls(kind, image)
    for path in set(right) - set(found):  # it takes what lies in hashes of large folders for a name now and then
        said = subprocess.run(["debugfs", "-R", f"stat {path}", image], capture_output=True).stderr
        assert path.startswith("/crowd/") and b"File not found" in said, path
        del right[path]
    assert found == right


def windows(root: Path) -> None:
    """What a volume of Windows holds: streams, names of all kinds, and a file whose record is not enough for it."""
    (root / "Windows/System32/config").mkdir(parents=True)
    (root / "Windows/System32/config/SYSTEM").write_bytes(os.urandom(300_000))
    (root / "small.txt").write_text("in its record")
    (root / "Users/Bob O'Neill/größe \U0001f4a9").mkdir(parents=True)
    crowd = root / "crowd"
    crowd.mkdir()
    for number in range(CROWD):
        (crowd / f"a name that fills the blocks of a folder {number:05}").touch()
    for number in range(0, CROWD, 3):
        (crowd / f"a name that fills the blocks of a folder {number:05}").unlink()
    (root / "linked").write_text("by sixty names")
    for number in range(60):
        os.link(root / "linked", root / f"Windows/{'name of many letters ' * 5}{number}")
    Path(f"{root}/small.txt:secret").write_text("alternate")
    Path(f"{root}/small.txt:large").write_bytes(bytes(70_000))
    Path(f"{root}/Users:hidden").write_text("of a folder")
    (root / "Users/All Users").symlink_to("C:\\ProgramData")
    born = ticks(OLD)
    os.setxattr(root / "small.txt", "system.ntfs_times", b"".join(
        moment.to_bytes(8, "little") for moment in (born, ticks(1_700_000_000 * NS), ticks(FAR))))
    os.setxattr(root / "Windows/System32", "system.ntfs_dos_name", b"SYSTEM~1")


def ticks(nanoseconds: int) -> int:
    return nanoseconds // 100 + 116_444_736_000_000_000


@pytest.fixture(scope="module")
def ntfs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[bytes, tuple[Any, ...]]]:
    folder = tmp_path_factory.mktemp("ntfs")
    image = blank(folder / "image", 64, ["mkfs.ntfs", "-q", "-F", "-Q"])
    with mounted(image, "-o", "streams_interface=windows", kind="ntfs") as root:
        windows(root)
    with mounted(image, "-o", "ro,streams_interface=windows,show_sys_files", kind="ntfs") as root:
        return image, seen_by_the_kernel(root)


def test_entries_of_ntfs_are_what_fls_lists(ntfs: tuple[Path, dict[bytes, tuple[Any, ...]]]) -> None:
    image, _right = ntfs
    found = listed("ntfs", image)
    mine: dict[str, set[int]] = {}
    for entry in found:
        if entry.path != b"/":
            mine.setdefault(entry.path.decode(), set()).add(entry.inode)
    # It lists streams, so a file without an unnamed one is missing there.
    only_named = {"/$Secure", "/$Extend/$ObjId", "/$Extend/$Quota", "/$Extend/$Reparse"}
    right = fls("ntfs", image)
    assert right.pop("/Users/.:hidden") == mine["/Users:hidden"]  # it lists a folder's streams in the folder again
    assert {path: number for path, number in mine.items() if path not in only_named} == right
    assert only_named <= set(mine)
    by = by_path(found)
    assert by[b"/small.txt:secret"].stream == b"secret" and by[b"/small.txt:secret"].size == 9
    assert by[b"/small.txt:large"].size == 70_000 and by[b"/Users:hidden"].size == 11
    assert len([entry for entry in found if entry.inode == by[b"/linked"].inode]) == 61


def test_times_of_ntfs_are_those_of_standard_information(ntfs: tuple[Path, dict[bytes, tuple[Any, ...]]]) -> None:
    image, right = ntfs
    found = by_path(listed("ntfs", image))
    assert {path for path, entry in found.items() if not entry.stream} == set(right) | {b"/$MFT"}
    for path, (inode, mode, _uid, _gid, size, mtime, atime, ctime, _birth) in right.items():
        entry = found[path]
        assert (entry.inode, entry.mtime, entry.atime, entry.ctime) == (inode, mtime, atime, ctime), path
        if stat.S_ISREG(mode):
            assert entry.size == size, path
    table = found[b"/$MFT"]  # made without times here
    assert (table.mtime, table.atime, table.ctime, table.btime) == (None,) * 4
    small = found[b"/small.txt"]
    assert (small.btime, small.mtime, small.atime) == (OLD // 100 * 100, 1_700_000_000 * NS, FAR // 100 * 100)
    assert small.ctime not in (small.btime, small.mtime, small.atime, None) and small.ctime == right[b"/small.txt"][7]


@pytest.mark.parametrize("remembers", [False, True])
def test_the_tree_of_ntfs(ntfs: tuple[Path, dict[bytes, tuple[Any, ...]]], remembers: bool) -> None:
    image, right = ntfs
    with image.open("rb") as stream:
        tree = DissectTree("ntfs", stream)
        assert not remembers or tree.remember()
        walked = {entry.path: entry.info for _unused, found in tree.walk() for entry in found}
        assert set(walked) >= set(right) - {b"/"} and not [path for path in walked if b":" in path]
        assert tree.unreadable == 0 and not tree.local_times
        for path, info in walked.items():
            if path in right and path != b"/$MFT":
                assert (info.st_ino, info.st_mtime_ns, info.st_atime_ns, info.st_ctime_ns) == (
                    right[path][0], *right[path][5:8])
        assert tree.birth_ns(b"/small.txt") == OLD // 100 * 100
        assert tree.read("/SMALL.TXT") == b"in its record"
        assert tree.resolve("/windows/SYSTEM32/Config/system") == b"/Windows/System32/config/SYSTEM"
        assert tree.resolve("/users/bob o'neill/GRÖSSE \U0001f4a9") is None  # ß is no SS to Windows
        assert tree.resolve("/users/bob o'neill/GRÖßE \U0001f4a9") is not None
        assert len(tree.read("/windows/system32/config/system") or b"") == 300_000


def test_subvolumes_and_snapshots_are_listed_as_in_a_mount(tmp_path: Path) -> None:
    image = blank(tmp_path / "image", 128, MAKE["btrfs"][1])
    with mounted(image) as root:
        for command in (("create", "@"), ("create", "@/inner"), ("create", "home")):
            subprocess.run(["btrfs", "-q", "subvolume", command[0], root / command[1]], check=True)
        (root / "@/inner/deep.txt").write_text("deep")
        (root / "@/etc").mkdir()
        (root / "@/etc/passwd").write_text("root")
        os.utime(root / "@/etc/passwd", ns=(OLD, FAR))
        subprocess.run(["btrfs", "-q", "subvolume", "snapshot", "-r", root / "@", root / "before"], check=True)
        (root / "@/etc/after").write_text("after")
        subprocess.run(["btrfs", "-q", "subvolume", "set-default", root / "@"], check=True)
    with mounted(image, "ro", "subvolid=5") as root:
        right = seen_by_the_kernel(root)
    made_up = b"/before/inner"  # the kernel makes an empty folder where a subvolume was, with times of now
    found = by_path(listed("btrfs", image))
    assert set(found) == set(right) and b"/@/inner/deep.txt" in found
    assert found[made_up].inode == right[made_up][0] == 2 and found[made_up].mtime is None
    for path in set(right) - {made_up}:
        assert as_facts(found[path]) == right[path], path
    assert len({entry.subvolume for entry in found.values()}) == 5
