# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""E01 by libewf's real programs, accepted by libewf and the Sleuth Kit."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.ebs import errors
from ansible_collections.dfir.aws.plugins.module_utils.ebs.blocks import BLOCK_SIZE, GIB
from ansible_collections.dfir.aws.plugins.module_utils.ebs.e01 import CaseFacts, make_e01
from ansible_collections.dfir.aws.plugins.module_utils.ebs.manifest import Manifest
from ansible_collections.dfir.aws.plugins.module_utils.ebs.s3 import SegmentSink
from ansible_collections.dfir.aws.plugins.module_utils.ebs.segments import image_prefix
from ansible_collections.dfir.aws.plugins.module_utils.ebs.sinks import RawFile
from ansible_collections.dfir.aws.plugins.module_utils.ebs.sources import RawSource, SegmentSource

from tests.unit.ebs.engine_kit import SharedKit, engine, image

pytestmark = pytest.mark.skipif(not shutil.which("ewfacquirestream"), reason="ewf-tools are not installed")


@pytest.fixture(scope="session")
def made(shared_kit: SharedKit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image of a snapshot with an ext4 file system in it, in a file and in a bucket."""
    folder = tmp_path_factory.mktemp("made")
    tree, disk = folder / "tree", folder / "disk"
    tree.mkdir()
    (tree / "evidence.txt").write_text("who was here\n")
    with disk.open("wb") as file:
        file.truncate(GIB)
    mkfs = shutil.which("mkfs.ext4", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") or pytest.skip("no mkfs.ext4")
    subprocess.run([mkfs, "-q", "-F", "-d", str(tree), str(disk)], check=True)
    blocks = {}
    with disk.open("rb") as file:
        for index in range(GIB // BLOCK_SIZE):
            if any(data := file.read(BLOCK_SIZE)):
                blocks[index] = data
    snapshot = shared_kit.snapshot(blocks)
    segments = SegmentSink(shared_kit.s3(), "dfir-images", image_prefix("INC-E01", snapshot))
    image(
        engine(shared_kit),
        snapshot,
        folder / "i.raw",
        sinks=[RawFile(folder / "i.raw"), segments],
        hashes=("sha256", "md5"),
        case="INC-E01",
    )
    return folder


@pytest.fixture
def raw(made: Path, tmp_path: Path) -> Path:
    """A copy of the image and its manifest, for a test to change."""
    for name in ("i.raw", "i.raw.manifest"):
        subprocess.run(["cp", "--sparse=always", str(made / name), str(tmp_path / name)], check=True)
    return tmp_path / "i.raw"


def convert(raw: Path, **more: Any) -> Any:
    source = RawSource(raw)
    try:
        return make_e01(source, f"{raw}.manifest", raw.with_name("i.E01"), **more)
    finally:
        source.close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def tool(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_p54_an_e01_is_made_of_a_finished_image_and_real_tools_accept_it(raw: Path) -> None:
    facts = CaseFacts(examiner="A. Analyst", notes="for the test")
    result = convert(raw, facts=facts, file_bytes=1 << 20)
    folder = raw.parent
    assert result.changed and result.first == folder / "i.E01" and len(result.files) > 1
    assert names(folder) == sorted(["i.raw", "i.raw.manifest", *(entry["name"] for entry in result.files)])
    said = tool("ewfverify", "-d", "sha256", result.first)
    assert "SUCCESS" in said and result.media_sha256 in said
    listing = tool("fls", "-r", result.first)
    assert "evidence.txt" in listing
    inode = next(line.split(":")[0].split()[-1] for line in listing.splitlines() if "evidence.txt" in line)
    assert tool("icat", result.first, inode) == "who was here\n"
    info = tool("ewfinfo", result.first)
    assert "INC-E01" in info and "A. Analyst" in info and "for the test" in info
    with Manifest(f"{raw}.manifest") as manifest:
        outcome = manifest.check()
    # libewf prints the SHA-256 and does not store it: the manifest does.
    assert outcome.derived["e01"]["media_sha256"] == outcome.image_sha256 == result.media_sha256
    assert outcome.derived["e01"]["media_md5"] == outcome.image_md5
    for entry in outcome.derived["e01"]["files"]:
        assert hashlib.sha256((folder / entry["name"]).read_bytes()).hexdigest() == entry["sha256"]
    assert not convert(raw).changed
    (folder / result.files[-1]["name"]).write_bytes(b"other")
    with pytest.raises(errors.BadInput, match="exists already"):
        convert(raw)


def test_segments_become_an_e01_without_a_raw_image(made: Path, shared_kit: SharedKit, tmp_path: Path) -> None:
    manifest = tmp_path / "m"
    shutil.copy(made / "i.raw.manifest", manifest)
    with Manifest(manifest) as found:
        snapshot, wanted = found.identity.snapshot_id, found.done.image_sha256
    store = SegmentSink(shared_kit.s3(), "dfir-images", image_prefix("INC-E01", snapshot))
    source = SegmentSource(store)
    result = make_e01(source, manifest, tmp_path / "from-segments")
    source.close()
    assert result.media_sha256 == wanted and result.media_size == GIB
    assert names(tmp_path) == ["from-segments.E01", "m"]
    assert "evidence.txt" in tool("fls", "-r", result.first)


def test_an_image_that_is_not_what_its_manifest_says_gives_no_e01(raw: Path) -> None:
    with raw.open("r+b") as file:
        file.seek(17)
        file.write(b"!")
    with pytest.raises(errors.Mismatch, match="missing or damaged: 0"):
        convert(raw)
    assert names(raw.parent) == ["i.raw", "i.raw.manifest"]


def test_what_lies_where_nothing_was_written_gives_no_e01(raw: Path) -> None:
    with raw.open("r+b") as file:
        file.seek(GIB - 100)
        file.write(b"!")
    with pytest.raises(errors.Mismatch, match="do not belong to it: 2047"):
        convert(raw)
    assert names(raw.parent) == ["i.raw", "i.raw.manifest"]


def stand_in(folder: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that fails as libewf's own cannot be made to: everything else stays real."""
    programs = folder / "programs"
    programs.mkdir()
    path = programs / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")


@pytest.mark.parametrize(("name", "script", "said"), [
    # The real program behind a cut in its input: it calls that a success.
    ("ewfacquirestream", 'head -c 1000000 | /usr/bin/ewfacquirestream "$@"; code=$?; cat >/dev/null; exit $code',
     "ewfacquirestream got media"),
    ("ewfacquirestream", "head -c 1000 >/dev/null; echo the disk is broken; exit 1", "the disk is broken"),
    ("ewfverify", "echo damaged >&2; exit 1", "damaged"),
    ("ewfverify", 'echo "SHA256 hash calculated over data: 00"', "ewfverify read media"),
])  # fmt: skip
def test_libewf_failing_leaves_nothing(
    raw: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, name: str, script: str,
    said: str
) -> None:  # fmt: skip
    stand_in(tmp_path_factory.mktemp("bin"), name, script, monkeypatch)
    with pytest.raises(errors.EngineError, match=said):
        convert(raw)
    assert names(raw.parent) == ["i.raw", "i.raw.manifest"]


def test_whoever_cancels_finds_nothing_half_done_and_no_program_running(raw: Path) -> None:
    asked = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 5

    with pytest.raises(errors.Cancelled):
        convert(raw, stop=stop)
    assert names(raw.parent) == ["i.raw", "i.raw.manifest"]


def test_a_header_with_line_breaks_is_refused(raw: Path) -> None:
    with pytest.raises(errors.BadInput, match="line breaks"):
        convert(raw, facts=CaseFacts(notes="a\nb"))


def test_without_libewf_the_package_is_named(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(errors.Missing, match="ewf-tools"):
        convert(raw)
