# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules over the block engine, against the lab's AWS in this process."""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyrage
import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dfir.aws.plugins.module_utils.ebs.blocks import BLOCK_SIZE, GIB

from lab.aws.account import ADMIN
from tests.unit.lab.aws_kit import REGION, Kit, Recorder, allow, eventually
from tests.unit.lab.ebs_kit import block, linear, put

pytestmark = pytest.mark.slow

BLOCKS = {index: block(index) for index in (0, 1, 63, 64, 500, 2047)}
BUCKET = "dfir-images"
CASE = "INC-2026-0042"
Run = Callable[..., dict[str, Any]]


def upload(kit: Kit, blocks: Mapping[int, bytes], **start: Any) -> str:
    """A completed snapshot with these blocks."""
    client = kit.client("ebs")
    snapshot = client.start_snapshot(VolumeSize=1, **start)["SnapshotId"]
    for index, data in blocks.items():
        put(client, snapshot, index, data)
    client.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=len(blocks), **linear(blocks))
    ec2 = kit.client("ec2")
    eventually(lambda: ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]["State"] == "completed")
    return str(snapshot)


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    kit = Kit(tmp_path_factory.mktemp("aws"), hosts=Recorder())
    kit.delays.snapshot = 0
    place = {"LocationConstraint": REGION}
    kit.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration=place)
    yield kit
    kit.close()


@pytest.fixture(scope="module")
def snapshot(kit: Kit) -> str:
    return upload(kit, BLOCKS)


@pytest.fixture
def run(kit: Kit, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a module in this process, as Ansible would, and return what it prints."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "")  # the module may set them: they are put back afterwards
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    keys = {"access_key": ADMIN[1], "secret_key": ADMIN[2], "region": REGION, "endpoint_url": kit.endpoint}

    def call(name: str, /, check: bool = False, local: bool = False, **arguments: Any) -> dict[str, Any]:
        module = importlib.import_module(f"ansible_collections.dfir.aws.plugins.modules.{name}")
        capsys.readouterr()
        given = {**({} if local else keys), "_ansible_check_mode": check, **arguments}
        with patch_module_args(given), pytest.raises(SystemExit):
            module.main()
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return call


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def test_the_budget_is_estimated_or_counted(run: Run, kit: Kit, snapshot: str) -> None:
    found = run("ebs_snapshot_budget_info", snapshot_id=snapshot)
    budget = found["budget"]
    assert not found["changed"] and not budget["exact"] and budget["blocks"] == len(BLOCKS)
    counted = run("ebs_snapshot_budget_info", snapshot_id=snapshot, exact=True, rate=3, check=True)["budget"]
    assert counted["exact"] and counted["blocks"] == len(BLOCKS) and counted["fetch_seconds"] == 2.0
    assert counted["bytes_to_fetch"] == len(BLOCKS) * BLOCK_SIZE and counted["volume_bytes"] == GIB
    dear = run("ebs_snapshot_budget_info", snapshot_id=snapshot, prices={"get_per_1000": 1000})["budget"]
    assert dear["cost_usd"] == pytest.approx(len(BLOCKS), abs=0.01)
    newer = upload(kit, {1: block("changed")}, ParentSnapshotId=snapshot)
    since = run("ebs_snapshot_budget_info", snapshot_id=newer, since=snapshot)["budget"]
    assert since["exact"] and since["blocks"] == 1


@pytest.mark.parametrize(("more", "said"), [
    ({"snapshot_id": "snap-1\n"}, "is no snapshot id"), ({"snapshot_id": "snap-0123456789abcdef0"}, "snap-0123456789"),
    ({"prices": {"x": 1}}, "no price 'x'"), ({"rate": 0}, "more than zero"),
    ({"validate_certs": False}, "always verified"),
])  # fmt: skip
def test_a_budget_that_makes_no_sense_is_refused(run: Run, snapshot: str, more: dict[str, Any], said: str) -> None:
    found = run("ebs_snapshot_budget_info", **({"snapshot_id": snapshot} | more))
    assert found["failed"] and said in found["msg"]


def test_an_image_is_made_once_read_back_and_turned_into_an_e01(run: Run, snapshot: str, tmp_path: Path) -> None:
    dest = tmp_path / "i.raw"
    wish = {"snapshot_id": snapshot, "dest": str(dest), "case": CASE, "hashes": ["sha256"]}
    assert run("ebs_snapshot_image", check=True, **wish)["changed"] and names(tmp_path) == []
    made = run("ebs_snapshot_image", **wish)
    assert made["changed"] and made["image"]["sha256"] == sha256(dest) and made["image"]["blocks"] == len(BLOCKS)
    again = run("ebs_snapshot_image", **wish)
    assert not again["changed"] and again["image"]["sha256"] == made["image"]["sha256"]
    assert not run("ebs_snapshot_image", check=True, **wish)["changed"]
    assert names(tmp_path) == ["i.raw", "i.raw.manifest"]

    record = tmp_path / "record.json"
    assert run("ebs_image_verify", src=str(dest), record=str(record), local=True, check=True)["changed"]
    assert not record.exists()
    checked = run("ebs_image_verify", src=str(dest), record=str(record), against_aws=True, sample=3)
    assert checked["changed"] and checked["verification"]["ok"] and checked["aws_verification"]["ok"]
    assert json.loads(record.read_text())["ok"]

    if shutil.which("ewfacquirestream"):
        wish = {"src": str(dest), "dest": str(tmp_path / "i.E01"), "format": "e01", "examiner": "A. Analyst"}
        assert run("ebs_image_rebuild", check=True, local=True, **wish)["changed"]
        assert not (tmp_path / "i.E01").exists()
        converted = run("ebs_image_rebuild", local=True, **wish)
        assert converted["changed"] and converted["image"]["sha256"] == made["image"]["sha256"]
        assert not run("ebs_image_rebuild", local=True, **wish)["changed"]

    with dest.open("r+b") as file:
        file.seek(64 * BLOCK_SIZE)
        file.write(b"!")
    spoiled = run("ebs_image_verify", src=str(dest), local=True)
    assert spoiled["failed"] and spoiled["verification"]["different_blocks"] == [64]


def test_an_image_in_a_bucket_needs_no_disk_and_is_rebuilt_from_there(
    run: Run, kit: Kit, snapshot: str, tmp_path: Path
) -> None:
    wish = {"snapshot_id": snapshot, "bucket": BUCKET, "case": CASE}
    made = run("ebs_snapshot_image", **wish)
    place = f"s3://{BUCKET}/{CASE}/{snapshot}/image/"
    assert made["changed"] and made["image"]["sinks"][0]["target"] == place
    other = run("ebs_snapshot_image", **(wish | {"case": "INC-2"}))
    assert other["changed"], "the same snapshot in another case is another image"
    shutil.rmtree(tmp_path / "home")  # an execution environment is thrown away
    (tmp_path / "home").mkdir()
    assert not run("ebs_snapshot_image", **wish)["changed"]
    assert run("ebs_image_verify", src=place)["verification"]["ok"]
    dest = tmp_path / "i.raw"
    again = {"src": place, "dest": str(dest)}
    assert run("ebs_image_rebuild", check=True, **again)["changed"] and not dest.exists()
    rebuilt = run("ebs_image_rebuild", **again)
    assert rebuilt["changed"] and rebuilt["missing_checked"]
    assert not run("ebs_image_rebuild", **again)["changed"]
    with dest.open("rb") as file:
        for index, data in BLOCKS.items():
            file.seek(index * BLOCK_SIZE)
            assert file.read(BLOCK_SIZE) == data
    kit.client("s3").delete_object(Bucket=BUCKET, Key=f"{CASE}/{snapshot}/image/segments/00000001.seg")
    failed = run("ebs_image_verify", src=place)
    assert failed["failed"] and failed["verification"]["different_blocks"] == [64]
    failed = run("ebs_image_rebuild", src=place, dest=str(tmp_path / "other.raw"))
    assert failed["failed"] and failed["failed_blocks"] == [64] and not (tmp_path / "other.raw").exists()


def test_the_next_snapshot_is_made_of_its_base(run: Run, kit: Kit, snapshot: str, tmp_path: Path) -> None:
    changed = {1: block("changed"), 2: block(2)}
    newer = upload(kit, changed, ParentSnapshotId=snapshot)
    base, dest = tmp_path / "base.raw", tmp_path / "i.raw"
    run("ebs_snapshot_image", snapshot_id=snapshot, dest=str(base))
    made = run("ebs_snapshot_image", snapshot_id=newer, dest=str(dest), base=str(base))
    assert made["image"]["session"]["fetched"] == 2 and made["image"]["blocks"] == len(BLOCKS) + 1
    found = run("ebs_snapshot_diff_info", first_snapshot_id=snapshot, second_snapshot_id=newer)
    assert not found["changed"] and found["difference"]["changed_bytes"] == 2 * BLOCK_SIZE
    assert found["difference"]["ranges"] == [{"kind": "changed", "start": BLOCK_SIZE, "length": 2 * BLOCK_SIZE}]


def test_single_blocks_are_held_against_what_aws_lists(run: Run, snapshot: str, tmp_path: Path) -> None:
    folder = tmp_path / "blocks"
    folder.mkdir()
    for index, data in BLOCKS.items():
        name = f"{index:010d}_{snapshot}_{hashlib.sha256(data).hexdigest()}_1_{BLOCK_SIZE}"
        (folder / name).write_bytes(data)
    wish = {"src": str(folder), "against_aws": True}
    made = run("ebs_image_rebuild", dest=str(tmp_path / "i.raw"), **wish)
    assert made["changed"] and made["missing_checked"]
    assert not run("ebs_image_rebuild", dest=str(tmp_path / "j.raw"), src=str(folder), local=True)["missing_checked"]
    next(folder.glob("0000000500_*")).unlink()
    failed = run("ebs_image_rebuild", dest=str(tmp_path / "k.raw"), **wish)
    assert failed["failed"] and failed["failed_blocks"] == [500] and "missing: 500" in failed["msg"]


def test_an_image_is_packed_and_unpacked(run: Run, tmp_path: Path) -> None:
    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "key").write_text(f"{identity}\n")
    source, back = tmp_path / "i.raw", tmp_path / "back.raw"
    source.write_bytes(b"evidence" * 10_000)
    wish = {"src": str(source), "recipients": [str(identity.to_public())]}
    assert run("ebs_image_pack", check=True, local=True, **wish)["changed"] and names(tmp_path) == ["i.raw", "key"]
    made = run("ebs_image_pack", local=True, **wish)
    assert made["changed"] and made["packed"]["plain_sha256"] == sha256(source)
    assert not run("ebs_image_pack", local=True, **wish)["changed"]
    wish = {"src": made["packed"]["path"], "dest": str(back), "identity_files": [str(tmp_path / "key")]}
    assert run("ebs_image_unpack", check=True, local=True, **wish)["changed"] and not back.exists()
    unpacked = run("ebs_image_unpack", local=True, **wish)
    assert unpacked["changed"] and unpacked["image"]["sha256"] == sha256(source) == sha256(back)
    assert not run("ebs_image_unpack", local=True, **wish)["changed"]
    packed = Path(made["packed"]["path"])
    packed.write_bytes(packed.read_bytes()[:-1])
    failed = run("ebs_image_unpack", local=True, **(wish | {"dest": str(tmp_path / "other")}))
    assert failed["failed"] and "altered or cut off" in failed["msg"] and not (tmp_path / "other").exists()
    wish = {"src": str(source), "local": True}
    assert "either recipients or a passphrase" in run("ebs_image_pack", dest=str(tmp_path / "x"), **wish)["msg"]


def test_an_image_becomes_a_snapshot_once(run: Run, kit: Kit, tmp_path: Path) -> None:
    source = tmp_path / "i.raw"
    with source.open("wb") as file:
        for index, data in BLOCKS.items():
            file.seek(index * BLOCK_SIZE)
            file.write(data)
    wish = {"src": str(source), "description": "restored", "tags": {"dfir:incident": CASE}}
    assert run("ebs_snapshot_upload", check=True, **wish)["changed"] and names(tmp_path) == ["i.raw"]
    made = run("ebs_snapshot_upload", **wish)
    assert made["changed"] and made["blocks"] == made["blocks_sent"] == len(BLOCKS), made
    facts = kit.client("ec2").describe_snapshots(SnapshotIds=[made["snapshot_id"]])["Snapshots"][0]
    assert facts["State"] == "completed" and facts["Tags"] == [{"Key": "dfir:incident", "Value": CASE}]
    again = run("ebs_snapshot_upload", **wish)
    assert not again["changed"] and again["snapshot_id"] == made["snapshot_id"]
    run("ebs_snapshot_image", snapshot_id=made["snapshot_id"], dest=str(tmp_path / "back.raw"))
    assert sha256(tmp_path / "back.raw") == sha256(source)


def test_p10_what_cannot_be_imaged_is_refused_before_anything_is_created(
    run: Run, kit: Kit, snapshot: str, tmp_path: Path
) -> None:
    pending = kit.client("ebs").start_snapshot(VolumeSize=1)["SnapshotId"]
    for check in (True, False):
        found = run("ebs_snapshot_image", snapshot_id=pending, dest=str(tmp_path / "i.raw"), check=check)
        assert found["failed"] and "is in state pending" in found["msg"]
    assert "needs case" in run("ebs_snapshot_image", snapshot_id=snapshot, bucket=BUCKET)["msg"]
    assert names(tmp_path) == []


def test_p07_whoever_may_not_read_blocks_is_told_so(run: Run, kit: Kit, snapshot: str, tmp_path: Path) -> None:
    access, secret = kit.user("looks-only", allow(["ec2:DescribeSnapshots", "sts:GetCallerIdentity"]))
    found = run("ebs_snapshot_image", snapshot_id=snapshot, dest=str(tmp_path / "i"), access_key=access,
                secret_key=secret)  # fmt: skip
    assert found["failed"] and "AccessDenied" in found["msg"] and "ebs:ListSnapshotBlocks" in found["msg"]
    assert names(tmp_path) == []
