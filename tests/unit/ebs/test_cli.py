# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The budget, and the command line as a laptop without Ansible has it."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyrage
import pytest
import yaml
from ansible_collections.dfir.aws.plugins.module_utils.ebs import budget, errors, version

from tests.unit.ebs.engine_kit import BLOCKS, MANY, SharedKit, engine, expect_image
from tests.unit.lab.ebs_kit import KEY, SECRET

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]


def test_a_budget_is_blocks_calls_money_and_time() -> None:
    made = budget.make_budget("snap-0a", 64, 25_000, exact=True, pages=4, rate=1000.0, hash_rate=1e9)
    assert made.get_calls == 25_000 and made.list_calls == 4 and made.bytes_to_fetch == 25_000 * 524_288
    assert made.cost_usd == pytest.approx(25 * 0.003 + 0.004 * 0.0006, abs=1e-6)
    assert made.fetch_seconds == 25.0
    assert made.hole_hash_seconds == pytest.approx(((64 << 30) - 25_000 * 524_288) / 1e9, abs=0.1)
    dearer = budget.make_budget("snap-0a", 64, 25_000, exact=False, prices={"get_per_1000": 0.3})
    assert dearer.cost_usd == pytest.approx(7.5, abs=0.01) and dearer.list_calls == 3


@pytest.mark.parametrize("prices", [{"get": 1}, {"get_per_1000": -1}, {"get_per_1000": "1"}, {"get_per_1000": True}])
def test_a_wrong_price_is_refused(prices: dict[str, Any]) -> None:
    with pytest.raises(errors.BadInput):
        budget.make_budget("snap-0a", 1, 1, exact=True, prices=prices)


def test_blocks_are_counted_exactly_and_between_two_snapshots(kit: SharedKit) -> None:
    changed = dict(MANY)
    del changed[10]
    changed[7] = BLOCKS[0]
    one, two = kit.snapshot(MANY), kit.snapshot(changed)
    assert budget.count_blocks(engine(kit), one)[:3] == (1, len(MANY), 0)
    assert budget.count_blocks(engine(kit), two, first=one)[:3] == (1, 1, 1)


def test_the_version_is_the_collections() -> None:
    assert version.__version__ == yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]


@pytest.fixture
def dfir_ebs(kit: SharedKit, tmp_path: Path) -> Any:
    """`python -m dfir_ebs` from a folder that has nothing else: no Ansible, no collection."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "dfir_ebs").symlink_to(ROOT / "plugins/module_utils/ebs")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {
        "PYTHONPATH": str(tmp_path / "lib"),
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_ENDPOINT_URL": kit.endpoint,
    }

    def run(
        *arguments: str, code: int = 0, without: str = "", module: str = "dfir_ebs"
    ) -> subprocess.CompletedProcess[str]:
        program = ["-m", module]
        if without:  # as if the package were not installed
            lines = [
                "import sys",
                f"sys.modules[{without!r}] = None",
                "from dfir_ebs.cli import main",
                "sys.exit(main())",
            ]
            program = ["-c", "; ".join(lines)]
        command = [sys.executable, *program, *arguments]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


def test_budget_image_and_verify(kit: SharedKit, dfir_ebs: Any, tmp_path: Path) -> None:
    snapshot = kit.snapshot(BLOCKS)
    where = ("--region", "us-east-1")
    found = json.loads(dfir_ebs("budget", snapshot, "--exact", "--json", *where).stdout)
    assert found["blocks"] == len(BLOCKS) and found["exact"] is True
    assert "cost" in dfir_ebs("budget", snapshot, "--exact", *where).stdout
    done = dfir_ebs("image", snapshot, "i.raw", "--hash", "sha256", *where, without="zstandard")
    expect_image(tmp_path / "i.raw", BLOCKS)
    assert "linear SHA-256" in done.stdout and "image SHA-256" in done.stdout
    assert "there already" in dfir_ebs("image", snapshot, "i.raw", *where).stderr
    assert "as the manifest says" in dfir_ebs("verify", "i.raw", "--record", "r.json", without="ansible").stdout
    assert json.loads((tmp_path / "r.json").read_text())["ok"] is True
    dfir_ebs("verify", "i.raw", "--against-aws", *where)
    with (tmp_path / "i.raw").open("r+b") as file:
        file.write(b"x")
    assert "1 blocks differ" in dfir_ebs("verify", "i.raw", code=1).stderr


def test_a_bar_is_drawn_where_somebody_watches(kit: SharedKit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = kit.snapshot(BLOCKS)
    for name, value in (("ENDPOINT_URL", kit.endpoint), ("ACCESS_KEY_ID", KEY), ("SECRET_ACCESS_KEY", SECRET)):
        monkeypatch.setenv(f"AWS_{name}", value)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "ebs", "image", snapshot, str(tmp_path / "i.raw"), "--region", "us-east-1",
               "--rate", "5"]  # fmt: skip
    where = ROOT / "plugins/module_utils"
    with subprocess.Popen(command, cwd=where, stdout=subprocess.DEVNULL, stderr=theirs) as child:
        os.close(theirs)
        said = b""
        with suppress(OSError):  # how a terminal ends
            while more := os.read(ours, 4096):
                said += more
        assert child.wait(60) == 0
    os.close(ours)
    bars = re.findall(r"\r\[(#*)(\.*)\] imaging +(\d+)%, (\d+) blocks, [\d.]+ [KM]iB/s", said.decode())
    assert bars and all(len(done) + len(left) == 28 for done, left, *_ in bars)
    assert any(0 < int(share) < 100 for *_, share, _blocks in bars)


# What macOS or an old kernel lacks.
LESS = """
import os, sys
for name in ("preadv", "posix_fadvise", "SEEK_DATA", "SEEK_HOLE", "sched_getaffinity", "copy_file_range"):
    if hasattr(os, name):
        delattr(os, name)
sys.modules["fcntl"] = None
from dfir_ebs.cli import main
sys.exit(main())
"""


def test_it_works_without_calls_that_only_linux_has(kit: SharedKit, dfir_ebs: Any, tmp_path: Path) -> None:
    (tmp_path / "lib" / "less.py").write_text(LESS)
    snapshot, where, identity = kit.snapshot(BLOCKS), ("--region", "us-east-1"), pyrage.x25519.Identity.generate()
    (tmp_path / "key").write_text(str(identity))
    dfir_ebs("image", snapshot, "i.raw", *where, module="less")
    expect_image(tmp_path / "i.raw", BLOCKS)
    assert "as the manifest says" in dfir_ebs("verify", "i.raw", module="less").stdout
    dfir_ebs("pack", "i.raw", "-r", str(identity.to_public()), module="less")
    dfir_ebs("unpack", "i.raw.zst.age", "back.raw", "-i", "key", module="less")
    expect_image(tmp_path / "back.raw", BLOCKS)
    for name in ("i.raw", "i.raw.manifest"):  # as a run leaves it that is killed at the very end
        (tmp_path / name).rename(tmp_path / f"{name}.partial")
    with (tmp_path / "i.raw.partial").open("r+b") as file:
        file.write(b"x")
    dfir_ebs("image", snapshot, "i.raw", *where, module="less")
    expect_image(tmp_path / "i.raw", BLOCKS)


def test_wrong_calls_end_in_one_sentence(kit: SharedKit, dfir_ebs: Any) -> None:
    snapshot, where = kit.snapshot(BLOCKS), ("--region", "us-east-1")
    assert "no snapshot id" in dfir_ebs("image", "snap-xyz", "i", *where, code=2).stderr
    assert "--case" in dfir_ebs("image", snapshot, "s3://bucket", *where, code=2).stderr
    assert "no AWS region" in dfir_ebs("budget", snapshot, "--region", "moon", code=2).stderr
    assert "does not exist" in dfir_ebs("budget", "snap-0123", "--exact", *where, code=1).stderr
    sentence = dfir_ebs("image", snapshot, "s3://bucket", "--case", "C", *where, code=1, without="zstandard").stderr
    assert "install the Python package zstandard" in sentence
