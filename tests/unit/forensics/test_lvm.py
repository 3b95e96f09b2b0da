# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logical volumes, read without device-mapper: what lvm itself wrote, stripes, mirrors, gaps, forged metadata (p22)."""

from __future__ import annotations

import base64
import json
import random
import re
import zlib
from pathlib import Path

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.forensics import logical, lvm, plaso_run
from ansible_collections.dfir.aws.plugins.module_utils.forensics.model import Evidence, Partition
from ansible_collections.dfir.aws.plugins.module_utils.forensics.steps import StepError

from lab.evidence.lvm import MIB, Segment, Volume, VolumeGroup
from lab.evidence.run import sparse_file

pytest.importorskip("dissect.volume", reason="dissect is not installed")

EXTENT = 4 * MIB
REAL = Path(__file__).with_name("data") / "lvm-2.03.16.json"


def disk(folder: Path, name: str, mib: int) -> Path:
    sparse_file(folder / name, mib * MIB)
    return folder / name


def noise(path: Path, size: int, seed: int = 1) -> bytes:
    data = random.Random(seed).randbytes(size)
    path.write_bytes(data)
    return data


def volumes(*devices: Path) -> dict[str, lvm.Logical]:
    groups, problems = lvm.read_groups([str(device) for device in devices])
    assert not problems, problems
    return {one.name: one for group in groups for one in lvm.logical_volumes(group)}


def content(one: lvm.Logical) -> bytes:
    with one.open() as stream:
        return stream.read()


def test_p22_what_lvm_itself_wrote_is_understood(tmp_path: Path) -> None:
    """Two physical volumes as pvcreate, vgcreate, lvcreate and lvextend of Debian 12 leave them."""
    paths = []
    for name, text in json.loads(REAL.read_text(encoding="utf-8")).items():
        path = disk(tmp_path, name, 200)
        with path.open("r+b") as stream:
            stream.write(zlib.decompress(base64.b64decode(text)))
            for extent in range(49):  # so that each extent tells where it lies
                stream.seek(MIB + extent * EXTENT)
                stream.write(f"{name} {extent}".encode())
        paths.append(path)
    found = volumes(*paths)
    assert [(one.name, one.label, one.size, one.problem) for one in found.values()] == [
        ("root", "web--vg-root", 25 * EXTENT, ""), ("data", "web--vg-data", 10 * EXTENT, "")]
    with found["root"].open() as stream:
        first = stream.read(16).strip(b"\0")
        stream.seek(15 * EXTENT)
        assert (first, stream.read(16).strip(b"\0")) == (b"pv0 0", b"pv1 5")
    with found["data"].open() as stream:
        stream.seek(64 * 1024)  # the second stripe
        assert stream.read(16).strip(b"\0") == b"pv1 0"
    alone = volumes(paths[0])
    assert {one.problem for one in alone.values()} == {"missing_pv"}
    assert "pv1 is not on this disk" in alone["root"].detail


def test_pieces_in_any_order_and_stripes_are_put_together(tmp_path: Path) -> None:
    first, second = disk(tmp_path, "a", 64), disk(tmp_path, "b", 64)
    scattered, striped = (noise(tmp_path / name, 3 * EXTENT - 5, seed) for seed, name in enumerate(("one", "two")))
    group = VolumeGroup("vg", [first, second], [
        Volume("scattered", [Segment(1, [(1, 4)]), Segment(1, [(0, 9)]), Segment(1, [(1, 0)])], tmp_path / "one"),
        Volume("striped", [Segment(2, [(0, 0), (1, 6)], 128), Segment(2, [(0, 2), (1, 8)], 128)], tmp_path / "two")])
    group.write()
    found = volumes(first, second)
    assert content(found["scattered"])[:len(scattered)] == scattered
    assert content(found["striped"])[:len(striped)] == striped
    assert found["scattered"].contiguous is None
    with found["striped"].open() as stream:  # not only from the beginning
        chance = random.Random(3)
        for _ in range(50):
            place, count = chance.randrange(len(striped)), chance.randrange(200_000)
            stream.seek(place)
            assert stream.read(count)[:len(striped) - place] == striped[place:place + count]


def test_metadata_that_reaches_the_end_of_its_ring_goes_on_at_the_beginning(tmp_path: Path) -> None:
    path = disk(tmp_path, "a", 32)
    data = noise(tmp_path / "one", EXTENT)
    VolumeGroup("vg", [path], [Volume("one", [Segment(1, [(0, 3)])], tmp_path / "one")],
                ring_offset=MIB - 4096 - 512 - 700).write()
    one = volumes(path)["one"]
    assert content(one) == data
    assert one.contiguous == (str(path), MIB + 3 * EXTENT)


def test_what_cannot_be_read_is_named_and_hides_nothing_else(tmp_path: Path) -> None:
    path = disk(tmp_path, "a", 64)
    data = noise(tmp_path / "one", EXTENT)
    leg = ["device_count = 2", "region_size = 1024", 'raids = [', '"m_rmeta_0", "m_rimage_0"', "]"]
    VolumeGroup("vg", [path], [
        Volume("good", [Segment(1, [(0, 0)])], tmp_path / "one"),
        Volume("m", [Segment(1, kind="raid1", extra=leg)]),
        Volume("m_rimage_0", [Segment(1, [(0, 1)])], tmp_path / "one", visible=False),
        Volume("five", [Segment(1, kind="raid5_ls", extra=['raids = ["x", "y"]'])]),
        Volume("cow", [Segment(1, [(0, 2)])]),
        Volume("snapshot0", [Segment(1, kind="snapshot", extra=[
            'chunk_size = 8', 'origin = "good"', 'cow_store = "cow"'])], visible=False),
        Volume("pool", [Segment(1, kind="thin-pool", extra=['metadata = "x"', 'pool = "y"'])]),
        Volume("thin", [Segment(1, kind="thin", extra=['thin_pool = "gone"', "device_id = 1"])]),
        Volume("round", [Segment(1, kind="mirror", extra=['mirrors = ["round", 0]'])]),
        Volume("elsewhere", [Segment(1, [(7, 0)])])]).write()
    found = volumes(path)
    assert {name: one.problem for name, one in found.items()} == {
        "good": "", "m": "", "five": "not_supported", "cow": "snapshot_store", "pool": "pool", "thin": "broken",
        "round": "broken", "elsewhere": "broken"}
    assert content(found["good"]) == content(found["m"]) == data
    assert "raid5_ls" in found["five"].detail


def test_p43_names_from_evidence_reach_file_names_only_when_they_are_well_formed(tmp_path: Path) -> None:
    path = disk(tmp_path, "a", 64)
    names = ("a-b", "c", "../../etc/x", ".", "x" * 200, "sp ace", "lv3")
    VolumeGroup("v/g", [path], [Volume(name, [Segment(1, [(0, number)])]) for number, name in enumerate(names)]).write()
    labels = [one.label for one in volumes(path).values()]
    assert labels[:2] == ["vg-a--b", "vg-c"] and len(set(labels)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_+.-]{1,140}", label) and "/" not in label for label in labels)


def test_forged_and_broken_metadata_is_reported_and_raises_nothing(tmp_path: Path) -> None:
    path = disk(tmp_path, "a", 32)
    VolumeGroup("vg", [path], [Volume("one", [Segment(1, [(0, 3)])])]).write()
    good = path.read_bytes()[:16384]
    chance = random.Random(11)
    for _ in range(300):
        head = bytearray(good)
        for _ in range(chance.choice((1, 3, 30))):
            head[chance.choice((chance.randrange(512, 1024), chance.randrange(4096, 6500)))] = chance.randrange(256)
        with path.open("r+b") as stream:
            stream.write(head)
        evidence = Evidence("vol-0123456789abcdef0", "", 1, (member(path),))
        made, reports = logical.with_logical_volumes(evidence)
        assert made.partitions[0] == evidence.partitions[0] and 0 in reports
        json.dumps(reports)


def member(path: Path, number: int = 0) -> Partition:
    return Partition(number, str(path), "LVM2_member", "lvm", path.stat().st_size, False, None, None, None)


@pytest.mark.parametrize(("unit", "usable"), [(1, True), (512, True), (4096, False)])
def test_the_map_for_plaso_names_every_piece_and_is_held_against_the_volume(
        unit: int, usable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """libvmdk reads offsets as bytes, the format means sectors, and a later one may do as the format says."""
    first, second = disk(tmp_path, "a", 32), disk(tmp_path, "b", 32)
    data = noise(tmp_path / "one", 2 * EXTENT)
    VolumeGroup("vg", [first, second], [
        Volume("one", [Segment(1, [(1, 2)]), Segment(1, [(0, 3)])], tmp_path / "one")]).write()

    def read(path: Path) -> bytes:
        found = b""
        for size, name, place in re.findall(r'^RW (\d+) FLAT "(\w+)" (\d+)$', path.read_text(), re.MULTILINE):
            with (path.parent / name).open("rb") as stream:
                stream.seek(int(place) * unit)
                found += stream.read(int(size) * 512)
        whole.append(found)
        return found[:plaso_run.MAP_CHECK]

    whole: list[bytes] = []
    monkeypatch.setattr(plaso_run, "_head", read)
    one = volumes(first, second)["one"]
    if not usable:
        with pytest.raises(StepError, match="reads something else"):
            plaso_run.map_volume(one, tmp_path / "map")
        return
    made = plaso_run.map_volume(one, tmp_path / "map")
    assert whole[-1] == data
    assert {path.name for path in made.parent.iterdir()} == {"volume.vmdk", "pv0", "pv1"}
