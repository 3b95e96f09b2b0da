# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-alone file: built as `make custody-verify` does, run by a Python that is given nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.custody.custody_kit import INCIDENT, Case, key, told

pytestmark = pytest.mark.slow  # processes of their own

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by the Makefile's own target, in a folder that holds nothing but what it needs."""
    home = tmp_path_factory.mktemp("build")
    shutil.copy(ROOT / "Makefile", home)
    shutil.copytree(ROOT / "plugins/module_utils/custody", home / "plugins/module_utils/custody")
    subprocess.run(["make", "custody-verify"], cwd=home, check=True, capture_output=True)
    return home / "dist/custody-verify.pyz"


@pytest.fixture
def case(tmp_path: Path) -> Case:
    (tmp_path / "key.pem").write_bytes(key().pem())
    (tmp_path / "key.der").write_bytes(key().public_key())
    (tmp_path / "two.pem").write_bytes(key("two").pem())
    return Case(tmp_path / "case").fill()


def checked(file: Path, case: Case, *more: str, public: str = "key.pem") -> subprocess.CompletedProcess[str]:
    # -I and -S: neither Ansible nor boto3 nor cryptography can be found.
    return subprocess.run([sys.executable, "-I", "-S", str(file), str(case.root), "--key",
                           str(case.root.parent / public), *more], capture_output=True, text=True, env={})


def test_it_says_what_it_found_by_its_exit_code(file: Path, case: Case) -> None:
    case.close()
    good = checked(file, case, public="key.der")
    assert good.returncode == 0, good.stderr
    assert good.stdout.startswith(f"{INCIDENT}: VALID\n7 entries fit, signed up to entry 7 (")
    assert "2 artifacts have the content that the ledger names." in good.stdout
    assert f"Key: SHA-256 {key().read().fingerprint}" in good.stdout
    (case.root / INCIDENT / "snap-1/a2.txt").write_bytes(b"swapped")
    alone = checked(file, case, "--ledger-only")
    assert alone.returncode == 0 and "No artifact was read" in alone.stdout
    bad = checked(file, case, "--json")
    said: dict[str, Any] = json.loads(bad.stdout)
    assert (bad.returncode, said["state"], said["place"]) == (1, "invalid", str(case.root / INCIDENT / "snap-1/a2.txt"))
    assert checked(file, case, public="two.pem").returncode == 1


def test_an_unsigned_tail_has_a_code_of_its_own(file: Path, case: Case) -> None:
    case.ledger.append(told(7))
    unsigned = checked(file, case)
    assert unsigned.returncode == 3 and unsigned.stdout.startswith(f"{INCIDENT}: NOT WHOLLY SIGNED\n")


@pytest.mark.parametrize(("more", "sentence"), [
    (["--incident", "INC-none"], "There is no ledger of INC-none"),
    (["--head", "x"], "The noted head must be"),
    (["--key", "/nonexistent"], "The public key /nonexistent cannot be read: No such file or directory."),
])
def test_what_cannot_be_checked_is_said_in_a_sentence(file: Path, case: Case, more: list[str], sentence: str) -> None:
    said = checked(file, case, *more)
    assert said.returncode == 2 and sentence in said.stderr and "Traceback" not in said.stderr


def test_a_bucket_needs_boto3_and_it_says_so(file: Path, case: Case) -> None:
    said = subprocess.run([sys.executable, "-I", "-S", str(file), "s3://bucket", "--key",
                           str(case.root.parent / "key.pem")], capture_output=True, text=True, env={})
    assert said.returncode == 2 and "boto3 is not installed" in said.stderr


def test_openssl_agrees(case: Case) -> None:
    """Nobody needs to believe our own check of signatures: the page docs/custody.md shows this command."""
    import base64

    from ansible_collections.dfir.aws.plugins.module_utils.custody.canonical import canonical, parsed

    made = parsed(case.signature(6).read_bytes())
    home = case.root.parent
    (home / "statement").write_bytes(canonical(made["statement"]))
    (home / "signature").write_bytes(base64.b64decode(made["signature"]))
    said = subprocess.run(["openssl", "dgst", "-sha256", "-verify", str(home / "key.pem"), "-signature",
                           str(home / "signature"), str(home / "statement")], capture_output=True, text=True)
    assert said.stdout == "Verified OK\n"
