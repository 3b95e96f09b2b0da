# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands rebuild, pack and unpack, as a person types them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.ebs import age, cli

from tests.unit.ebs.engine_kit import BLOCKS, SharedKit, engine, expect_image, image
from tests.unit.ebs.test_pack import Keys, names
from tests.unit.ebs.test_rebuild import folder_of
from tests.unit.lab.ebs_kit import KEY, REGION, SECRET

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """Run a command: its exit code, and what it said on standard output and standard error."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def command(*arguments: object) -> tuple[int, str, str]:
        code = cli.main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    yield command
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_pack_and_unpack(run: Any, tmp_path: Path) -> None:
    source, keys = tmp_path / "i.raw", Keys(tmp_path / "keys")
    source.write_bytes(b"evidence" * 10_000)
    code, said, _ = run("pack", source, "-r", keys.recipient)
    assert code == 0 and f"packed          {source}.zst.age" in said
    assert run("pack", source, "-r", keys.recipient)[2] == "It was packed already.\n"
    code, said, _ = run("unpack", f"{source}.zst.age", tmp_path / "back", "-i", keys.file)
    assert code == 0 and (tmp_path / "back").read_bytes() == source.read_bytes()
    packed = Path(f"{source}.zst.age")
    packed.write_bytes(packed.read_bytes()[:-1])
    code, _, said = run("unpack", packed, tmp_path / "other", "-i", keys.file)
    assert code == 1 and "altered or cut off" in said and not (tmp_path / "other").exists()
    assert run("pack", source)[0] == 2
    assert run("pack", source, "--passphrase-env", "NOT_SET")[0] == 2


def test_rebuild_from_blocks_and_from_a_bucket(
    run: Any, kit: SharedKit, bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = kit.snapshot(BLOCKS)
    for name, value in (("ENDPOINT_URL", kit.endpoint), ("ACCESS_KEY_ID", KEY), ("SECRET_ACCESS_KEY", SECRET)):
        monkeypatch.setenv(f"AWS_{name}", value)
    blocks = folder_of(tmp_path / "blocks", BLOCKS)
    code, said, noted = run("rebuild", blocks, tmp_path / "a.raw", "--hash", "sha256")
    assert code == 0 and "image SHA-256" in said and "missing is unknown" in noted
    expect_image(tmp_path / "a.raw", BLOCKS)
    from ansible_collections.dfir.aws.plugins.module_utils.ebs.s3 import SegmentSink
    from ansible_collections.dfir.aws.plugins.module_utils.ebs.segments import image_prefix

    prefix = image_prefix("INC-1", snapshot)
    image(engine(kit), snapshot, tmp_path / "made", sinks=[SegmentSink(*bucket, prefix, span=8)])
    place = f"s3://{bucket[1]}/{prefix}"
    assert run("rebuild", place, tmp_path / "b.raw", "--region", "eu-west-1")[0] == 0
    expect_image(tmp_path / "b.raw", BLOCKS)
    assert run("rebuild", place, tmp_path / "c.raw")[0] == 2
    if shutil.which("ewfacquirestream"):
        code, said, _ = run("rebuild", tmp_path / "b.raw", tmp_path / "b", "--e01")
        assert code == 0 and "media SHA-256" in said and (tmp_path / "b.E01").exists()


def test_blocks_are_held_against_what_aws_lists(
    run: Any, kit: SharedKit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", kit.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    snapshot = kit.snapshot(BLOCKS)
    folder = folder_of(tmp_path / "blocks", {index: data for index, data in BLOCKS.items() if index != 64})
    for path in folder.iterdir():
        number, _, rest = path.name.split("_", 2)
        path.rename(folder / f"{number}_{snapshot}_{rest}")
    code, _, said = run("rebuild", folder, tmp_path / "a.raw", "--against-aws", "--region", REGION)
    assert code == 1 and "1 blocks are missing: 64" in said and "Blocks that failed: 64" in said
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_packing_that_is_ended_by_a_signal_leaves_no_packed_file(tmp_path: Path, number: signal.Signals) -> None:
    source = tmp_path / "i.raw"
    with source.open("wb") as file:
        file.write(os.urandom(1 << 20))
        file.truncate(200 << 30)
    program = ("import sys; from ansible_collections.dfir.aws.plugins.module_utils.ebs.cli import main; "
               "sys.exit(main(sys.argv[1:]))")  # fmt: skip
    command = [sys.executable, "-c", program, "pack", str(source), "-r", Keys(tmp_path / "keys").recipient]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / "collections")}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as child:
        until = time.monotonic() + 30
        while not Path(f"{source}.zst.age.partial").exists() and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.5)
        child.send_signal(number)
        assert child.wait(30) == (-9 if number == signal.SIGKILL else 130)
    left = names(tmp_path)
    assert left == (["i.raw", "i.raw.zst.age.partial"] if number == signal.SIGKILL else ["i.raw"])


def test_a_signal_that_a_library_puts_into_other_words_is_still_a_cancellation(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen as exit code 1: the signal came between pyrage and our writer, whose `try` had not begun."""
    source, keys = tmp_path / "i.raw", Keys(tmp_path / "keys")
    source.write_bytes(b"evidence" * 10_000)
    real = age._Writer.write

    def write(writer: age._Writer, data: bytes) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return real(writer, data)

    monkeypatch.setattr(age._Writer, "write", write)
    code, _, said = run("pack", source, "-r", keys.recipient)
    assert code == 130 and "was cancelled" in said
    assert names(tmp_path) == ["i.raw"]
