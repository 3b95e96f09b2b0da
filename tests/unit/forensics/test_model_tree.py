# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.forensics import model, times
from ansible_collections.dfir.aws.plugins.module_utils.forensics.tree import Tree


def evidence_file(tmp_path: Path, *more: dict[str, object], **changes: object) -> Path:
    data = {"volume_id": "vol-0123456789abcdef0", "snapshot_id": "snap-0123456789abcdef0", "size_bytes": 1,
            "partitions": [{"number": 1, "device": "/dev/x", "type": "ext4", "kind": "filesystem", "size_bytes": 5,
                            "mounted": True, "mount_point": "/m", "journal_dirty": None, "reason": None}], **changes}
    path = tmp_path / "evidence.json"
    path.write_text(json.dumps({"volumes": [data, *more]}))
    return path


def test_evidence_names_artifacts_after_volume_and_partition(tmp_path: Path) -> None:
    host = model.load_evidence(evidence_file(tmp_path))
    [(evidence, partition)] = host.pairs()
    assert evidence.stem(partition) == "vol-0123456789abcdef0p1"
    assert host.label(evidence, partition) == "p1"


def test_the_journal_of_a_partition_is_named_after_its_evidence(tmp_path: Path) -> None:
    second = {"volume_id": "vol-0fedcba9876543210", "journal_of": "vol-0123456789abcdef0",
              "partitions": [{"number": 1, "kind": "filesystem"}]}
    host = model.load_evidence(evidence_file(tmp_path, second))
    volume, partition = host.pairs()[1]
    assert volume.stem(partition) == "vol-0123456789abcdef0p1.journal"
    assert host.label(volume, partition) == "p1.journal"
    another = {**second, "volume_id": "vol-0aaaaaaaa", "journal_of": ""}
    several = model.load_evidence(evidence_file(tmp_path, another, second))
    assert [several.label(*pair) for pair in several.pairs()] == [
        "vol-0123456789abcdef0p1", "vol-0aaaaaaaap1", "vol-0123456789abcdef0p1.journal"]


@pytest.mark.parametrize(("image", "known"), [({"sha256": "a" * 64}, "a" * 64), ({"sha256": "<b>"}, ""), (None, "")])
def test_the_hash_of_a_volume_that_was_filled_is_known(tmp_path: Path, image: object, known: str) -> None:
    assert model.load_evidence(evidence_file(tmp_path, image=image)).volumes[0].sha256 == known


@pytest.mark.parametrize("change", [{"journal_of": "../x"}, {"volume_id": ""}, {"journal_of": "vol-0aaaaaaaa"}])
def test_p43_a_second_volume_that_cannot_be_one_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    """The last: then there is no evidence volume at all."""
    with pytest.raises(model.EvidenceError, match="volume"):
        model.load_evidence(evidence_file(tmp_path, **change))


@pytest.mark.parametrize("volume", ["../../etc", "vol-0123456789abcdef0\n", "", "vol-", "vol-XYZ01234"])
def test_p43_volume_id_that_is_no_id_never_names_a_file(tmp_path: Path, volume: str) -> None:
    with pytest.raises(model.EvidenceError, match="volume_id"):
        model.load_evidence(evidence_file(tmp_path, volume_id=volume))


def test_evidence_without_partitions_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "e.json").write_text("{}")
    with pytest.raises(model.EvidenceError, match="does not describe evidence volumes"):
        model.load_evidence(tmp_path / "e.json")


@pytest.mark.parametrize(("text", "shown"), [
    (b"plain", "plain"), (b"a\nb", "a\\x0ab"), (b"\x1b[31mred", "\\x1b[31mred"), (b"\xff\xfe", "\\xff\\xfe"),
    ("right‮left", "right\\u202eleft"), ("tab\t", "tab\\x09"), ("back\\slash", "back\\\\slash"), ("ümlaut", "ümlaut"),
])
def test_text_from_evidence_is_escaped(text: str | bytes, shown: str) -> None:
    assert model.clean(text) == shown


def test_excerpts_are_cut() -> None:
    assert len(model.clean("x" * 10_000)) == model.EXCERPT_LIMIT + 1


def test_p4_artifact_appears_complete_or_not_at_all(tmp_path: Path) -> None:
    artifacts = model.Artifacts(tmp_path / "out")
    with pytest.raises(RuntimeError), artifacts.create("a.json") as stream:
        stream.write(b"half")
        assert not (artifacts.folder / "a.json").exists()
        raise RuntimeError
    assert [path.name for path in artifacts.folder.iterdir()] == []


def test_sums_are_those_of_the_files(tmp_path: Path) -> None:
    artifacts = model.Artifacts(tmp_path / "out")
    with artifacts.create("b.bin") as stream:
        stream.write(b"b" * 3_000_000)
    artifacts.write_json("a.json", {"x": 1})
    artifacts.write_sums()
    artifacts.forget_sums()
    lines = (artifacts.folder / "sha256sums.txt").read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == ["a.json", "b.bin"]
    for line in lines:
        digest, name = line.split("  ")
        assert hashlib.sha256((artifacts.folder / name).read_bytes()).hexdigest() == digest
    assert sorted(path.name for path in artifacts.folder.iterdir()) == ["a.json", "b.bin", "sha256sums.txt"]


def test_finding_ids_are_stable_and_distinct() -> None:
    one = model.Finding("r", "cron", "low", "/a", "why", "line")
    same = model.Finding("r", "cron", "high", "/a", "why", "line")
    other = model.Finding("r", "cron", "low", "/a", "why", "another line")
    assert one.as_dict()["id"] == same.as_dict()["id"] != other.as_dict()["id"]
    assert set(one.as_dict()) == {"id", "rule", "kind", "severity", "path", "inode", "times", "sha256", "reason",
                                  "excerpt"}
    with pytest.raises(ValueError, match="severity"):
        model.Finding("r", "k", "severe", "/", "")


@pytest.mark.parametrize(("seconds", "text"), [
    (0, "1970-01-01T00:00:00Z"), (-1, "1969-12-31T23:59:59Z"), (-2_000_000_000, "1906-08-16T20:26:40Z"),
    (4_294_967_296, "2106-02-07T06:28:16Z"), (15_032_385_535, "2446-05-10T22:38:55Z"), (10**15, f"@{10**15}"),
])
def test_times_far_from_now(seconds: int, text: str) -> None:
    assert times.iso(seconds) == text


def test_fractions_are_kept_also_before_1970() -> None:
    assert times.iso_ns(1_500_000_000) == "1970-01-01T00:00:01.5Z"
    assert times.iso_ns(-500_000_000) == "1969-12-31T23:59:59.5Z"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("outside")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").write_text("inside")
    return root


@pytest.mark.parametrize("target", ["../../secret", "/../secret", "../../../../../../etc/../secret"])
def test_links_never_lead_out_of_the_evidence(root: Path, target: str) -> None:
    (root / "etc/link").symlink_to(target)
    assert Tree(root).read("/etc/link") is None


def test_absolute_links_lead_into_the_evidence(root: Path) -> None:
    (root / "etc/link").symlink_to("/etc/passwd")
    (root / "alias").symlink_to("/etc")
    tree = Tree(root)
    assert tree.read("/etc/link") == b"inside"
    assert tree.read("/alias/link") == b"inside"
    assert tree.resolve("/alias/../etc/./passwd") == b"/etc/passwd"


def test_loops_pipes_and_folders_are_no_files(root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    os.mkfifo(root / "pipe")
    tree = Tree(root)
    assert tree.read("/a") is None
    assert tree.read("/pipe") is None
    assert tree.read("/etc") is None


def test_walk_follows_no_link_and_keeps_odd_names(root: Path) -> None:
    (root / "up").symlink_to("..")
    Path(os.fsdecode(os.fsencode(root) + b"/etc/\xff\nx")).write_text("")
    paths = [entry.path for _, entries in Tree(root).walk() for entry in entries]
    assert paths == [b"/etc", b"/up", b"/etc/passwd", b"/etc/\xff\nx"]


@pytest.mark.parametrize("data", [
    {"a": 1, "b": [], "c": {}, "d": [{"x": None, "ü\n": "ü\u2028"}, {"y": [1, 2.5, True]}], "e": ["", "f"]},
    [], {}, [[]], "text",
    {"timeline": {"rows": [[1, "m...", "/a"], [None, "", "/b"]], "entries": 2}},
])
def test_json_artifacts_say_what_was_given(tmp_path: Path, data: object) -> None:
    model.Artifacts(tmp_path).write_json("a.json", data)
    written = (tmp_path / "a.json").read_text("ascii")
    assert json.loads(written) == data
    if not isinstance(data, dict) or "timeline" not in data:
        assert data == [[]] or written == json.dumps(data, indent=1) + "\n"


def test_the_rows_of_a_timeline_stand_in_one_line(tmp_path: Path) -> None:
    model.Artifacts(tmp_path).write_json("a.json", {"entries": 2, "rows": [[1, "a"], [2, "b"]]})
    assert (tmp_path / "a.json").read_text("ascii") == '{\n "entries": 2,\n "rows": [[1, "a"], [2, "b"]]\n}\n'
