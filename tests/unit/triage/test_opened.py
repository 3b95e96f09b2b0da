# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Encrypted volumes: opened with the right key, told without it, and no key anywhere afterwards (pitfall 24).

The headers of LUKS are cryptsetup's. Nothing but Windows makes a BitLocker volume: one is made here, and cryptsetup,
which has a reader of its own, agrees to it.
"""

from __future__ import annotations

import builtins
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.ebs.errors import BadInput, Missing
from ansible_collections.dfir.aws.plugins.module_utils.ebs.reader import BudgetSpent
from ansible_collections.dfir.aws.plugins.module_utils.triage import opened
from ansible_collections.dfir.aws.plugins.module_utils.triage.disk import Locked, Part, parts, window
from ansible_collections.dfir.aws.plugins.module_utils.triage.look import Triage, open_trees
from ansible_collections.dfir.aws.plugins.module_utils.triage.sources import ImageSource

from lab.evidence.lvm import Segment, Volume, VolumeGroup
from lab.evidence.run import sparse_file
from tests.unit.triage.bitlocker_kit import (
    FULL,
    PASSPHRASE,
    RECOVERY_PASSWORD,
    STARTUP_KEY,
    bitlocker,
    startup_file,
)
from tests.unit.triage.luks_kit import luks
from tests.unit.triage.triage_kit import MIB, SYSTEM, disk, ext4, stream, tree, triage

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not shutil.which("cryptsetup"), reason="cryptsetup-bin makes LUKS")]
SECRET = "correct horse=battery #staple "


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("root")
    return ext4(folder / "root.img", tree(folder / "root", SYSTEM))


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A disk whose second partition is encrypted, in sectors of 4 KiB as cryptsetup chooses them on most disks."""
    folder = tmp_path_factory.mktemp("locked")
    boot = ext4(folder / "boot.img", tree(folder / "boot", {"grub/grub.cfg": "x"})).read_bytes()
    return disk(folder / "disk.img", [boot, luks(folder, root.read_bytes(), SECRET.encode(), sector=4096)])


def keys(folder: Path, *lines: str) -> opened.Keys:
    (folder / "keys").write_text("".join(f"{line}\n" for line in lines))
    return opened.load(folder / "keys")


def found(one: Triage) -> list[tuple[str, str, str]]:
    return [(item["rule"], item["path"], item["excerpt"]) for item in one.report()["findings"]]


def test_what_is_behind_luks_is_looked_at_as_if_it_were_open(locked: Path, root: Path, tmp_path: Path) -> None:
    one = triage(locked, keys=keys(tmp_path, "p1=of another", "", "wrong", f"p2={SECRET}"))
    report = one.report()
    assert [(part["name"], part["type"]) for part in report["partitions"]] == [
        ("p1", "ext4"), ("p2", "crypto_LUKS"), ("p2.open", "ext4")]
    assert report["warnings"] == [] and report["not_read"] == []
    assert {fact["partition"] for fact in report["facts"]} == {"p2.open"}
    assert found(one) == found(triage(root)), "the same as in the clear"
    for words in ("horse", "staple", "of another", "wrong"):
        assert words not in json.dumps(report) and words not in repr(one.wish)


@pytest.mark.parametrize(("kind", "options"), [
    ("luks1", ()), ("luks2", ()),
    ("luks2", ("--pbkdf", "argon2id", "--pbkdf-memory", "1024", "--pbkdf-force-iterations", "4")),
    ("luks1", ("--cipher", "aes-cbc-essiv:sha256", "--key-size", "256"))])
def test_every_kind_of_luks_that_cryptsetup_makes(tmp_path: Path, kind: str, options: tuple[str, ...]) -> None:
    content = bytes(range(256)) * 300 + b"END".ljust(512)
    (tmp_path / "a.key").write_bytes(b"\0\1binary\n\xff")
    image = luks(tmp_path, content, b"\0\1binary\n\xff", *options, kind=kind)
    part = Part("p1", len(image), window(stream(image), 0, len(image)), kind="luks")
    plain = keys(tmp_path, f"file:{tmp_path}/a.key").open(part)
    assert plain.read() == content
    for place, length in ((512, 512), (700, 4000), (76_000, 900), (len(content) - 3, 99)):
        plain.seek(place)
        assert plain.read(length) == content[place:place + length]


@pytest.mark.parametrize(("lines", "said"), [
    (("wrong",), "not opened, the key does not fit"), (("wrong", SECRET[:-1]), "not opened, none of the 2 keys fits"),
    ((f"p1={SECRET}",), "not opened, no key was given for it")])
def test_a_key_that_does_not_fit_is_said_and_the_rest_goes_on(
        locked: Path, tmp_path: Path, lines: tuple[str, ...], said: str) -> None:
    one = triage(locked, keys=keys(tmp_path, *lines))
    assert one.warnings == [f"p2: encrypted with LUKS: {said}."]
    assert [part.name for part, _tree in one.trees] == ["p1"] and not one.not_read


def test_whether_a_key_fits_is_not_said_where_the_budget_ended_before(
        locked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = ImageSource(locked)

    def spent(_self: object, _part: Part) -> None:
        source._counted.failed = BudgetSpent("no more")
        raise Locked("encrypted with LUKS: not opened, the key does not fit")

    monkeypatch.setattr(opened.Keys, "open", spent)
    found_parts = open_trees(source, keys=keys(tmp_path, SECRET))[1]
    assert found_parts[1].reason == "encrypted: not opened, its header could not be read"


def test_logical_volumes_behind_luks_and_luks_in_a_logical_volume(tmp_path: Path) -> None:
    boot = ext4(tmp_path / "boot.img", tree(tmp_path / "boot", {"etc/hostname": "inner\n"}), mib=2)
    (tmp_path / "inner.img").write_bytes(luks(tmp_path, boot.read_bytes(), b"second", kind="luks1"))
    root = ext4(tmp_path / "root.img", tree(tmp_path / "root", SYSTEM))
    sparse_file(tmp_path / "pv", 32 * MIB)
    VolumeGroup("vg", [tmp_path / "pv"], [
        Volume("root", [Segment(4, [(0, 0)])], root), Volume("data", [Segment(1, [(0, 5)])], tmp_path / "inner.img"),
    ]).write()
    image = disk(tmp_path / "disk.img", [luks(tmp_path, (tmp_path / "pv").read_bytes(), b"first", kind="luks1")])
    one = triage(image, keys=keys(tmp_path, "p1=first", "p1.open.lv2=second"))
    assert [(part.name, part.kind) for part in one.parts] == [
        ("p1", "luks"), ("p1.open", "lvm"), ("p1.open.lv1", "filesystem"), ("p1.open.lv2", "luks"),
        ("p1.open.lv2.open", "filesystem")]
    assert one.warnings == [] and [tree.text("/etc/hostname") for _part, tree in one.trees] == ["web-01\n", "inner\n"]


def test_a_forged_header_does_not_keep_the_machine_busy(tmp_path: Path) -> None:
    image = bytearray(luks(tmp_path, bytes(4096), b"key", kind="luks1"))
    image[208 + 4:208 + 8] = b"\xff" * 4  # rounds of the first slot: it would take an hour
    part = Part("p1", len(image), window(stream(bytes(image)), 0, len(image)), kind="luks")
    with pytest.raises(Locked, match="more than any real one does"):
        keys(tmp_path, "key").open(part)


def test_a_damaged_header_is_one_sentence(tmp_path: Path) -> None:
    for kind in ("luks", "bitlocker"):
        part = Part("p1", MIB, window(stream(bytes(MIB)), 0, MIB), kind=kind)
        with pytest.raises(Locked, match="its header is damaged or of a kind that is not known"):
            keys(tmp_path, "key").open(part)


def test_blocks_are_asked_for_where_they_lie(tmp_path: Path) -> None:
    asked: list[tuple[int, int]] = []
    image = luks(tmp_path, bytes(8192), b"key", kind="luks1")
    part = Part("p1", len(image), window(stream(image), 0, len(image)), kind="luks")
    part.stream.hint = lambda ranges: asked.extend(ranges)  # type: ignore[attr-defined]
    keys(tmp_path, "key").open(part).hint([(4096, 512)])  # type: ignore[attr-defined]
    assert asked == [((2 << 20) + 4096, 512)]


RECOVERY = "-".join(f"{11 * number:06d}" for number in (1, 2, 300, 4000, 65535, 6, 7, 8))


@pytest.fixture(scope="module")
def windows_volume(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """NTFS with a file, and the same behind BitLocker."""
    folder = tmp_path_factory.mktemp("bitlocker")
    with (folder / "plain.img").open("wb") as file:
        file.truncate(24 * MIB)
    subprocess.run(["mkntfs", "-q", "-F", folder / "plain.img"], check=True, capture_output=True)
    (folder / "note").write_text("found")
    subprocess.run(["ntfscp", "-f", folder / "plain.img", folder / "note", "note.txt"], check=True, capture_output=True)
    plain = (folder / "plain.img").read_bytes()
    return plain, bitlocker(plain, {RECOVERY: RECOVERY_PASSWORD, "pässword": PASSPHRASE, "": STARTUP_KEY})


@pytest.mark.parametrize("line", [RECOVERY, "p1=pässword", "file:{}/a.bek"])
def test_bitlocker_is_opened_with_each_kind_of_key(
        tmp_path: Path, windows_volume: tuple[bytes, bytes], line: str) -> None:
    plain, locked = windows_volume
    (tmp_path / "a.bek").write_bytes(startup_file(3))
    one = triage(disk(tmp_path / "disk.img", [locked]), keys=keys(tmp_path, line.format(tmp_path)))
    assert [(part.name, part.kind) for part in one.parts] == [("p1", "bitlocker"), ("p1.open", "filesystem")]
    [(_part, tree)] = one.trees
    assert tree.text("/note.txt") == "found" and not any("BitLocker" in text for text in one.warnings)
    stream = one.parts[1].stream
    for place in (0, 512, 8191, 8192, 1 << 20, 17 << 20):
        stream.seek(place)
        assert stream.read(5000) == plain[place:place + 5000]


def test_a_wrong_key_to_bitlocker_is_said(tmp_path: Path, windows_volume: tuple[bytes, bytes]) -> None:
    image = disk(tmp_path / "disk.img", [windows_volume[1]])
    (tmp_path / "a.bek").write_bytes(startup_file(2))
    one = triage(image, keys=keys(tmp_path, RECOVERY.replace("000011", "000022"), f"file:{tmp_path}/a.bek"))
    assert one.warnings == ["p1: encrypted with BitLocker: not opened, none of the 2 keys fits."] and one.trees == []


def test_cryptsetup_gets_the_same_key_out_of_that_volume(
        tmp_path: Path, windows_volume: tuple[bytes, bytes]) -> None:
    (tmp_path / "locked.img").write_bytes(windows_volume[1])
    (tmp_path / "key").write_text(RECOVERY)
    said = subprocess.run(["cryptsetup", "bitlkDump", "--dump-volume-key", "--batch-mode", "--key-file",
                           tmp_path / "key", tmp_path / "locked.img"], check=True, capture_output=True, text=True)
    assert FULL.hex() in "".join(said.stdout.split("MK dump:")[1].split())


def test_files_of_keys_that_cannot_be_used_are_one_sentence_without_a_key(tmp_path: Path) -> None:
    for lines, said in (((), "holds no key"), ((f"file:{tmp_path}/absent",), "line 1: .*absent cannot be read")):
        with pytest.raises(BadInput, match=said):
            keys(tmp_path, *lines)
    with pytest.raises(BadInput, match="cannot be read"):
        opened.load(tmp_path / "nothing")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(9 * MIB)
    with pytest.raises(BadInput, match="larger than 8 MiB"):
        opened.load(tmp_path / "large")


def test_without_the_packages_it_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any, **more: Any) -> Any:
        if name == "argon2":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(Missing, match=r"dissect\.fve and argon2-cffi"):
        keys(tmp_path, "key")


def test_each_volume_is_tried_once(locked: Path) -> None:
    tried = []

    def unlock(part: Part) -> Any:
        tried.append(part.name)
        raise Locked("closed")

    source = ImageSource(locked)
    assert parts(source.stream, source.size, unlock)[0][1].reason == "closed" and tried == ["p2"]


def test_without_keys_it_is_reported_as_before(locked: Path) -> None:
    source = ImageSource(locked)
    found_parts, problems = parts(source.stream, source.size)
    assert [(part.name, part.kind, part.reason) for part in found_parts][1:] == [
        ("p2", "luks", "encrypted with LUKS: it needs its passphrase")] and problems == []
