# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's inventory finds the lab wherever it is read from: a rulebook's playbooks run with a copy of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
@pytest.mark.parametrize("copied", [False, True])
def test_the_way_to_hosts_leads_to_the_lab_from_a_copy_too(copied: bool, tmp_path: Path) -> None:
    inventory = CHECKOUT / "inventories/lab"
    if copied:
        inventory = Path(shutil.copytree(inventory, tmp_path / "inventory"))
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "DFIR_"))}
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible"), "-i", str(inventory), "localhost", "-m", "ansible.builtin.debug",
         "-a", "msg={{ dfir_lab_state }}|{{ dfir_aws_analyst_ssh_options[-1] }}"], cwd=tmp_path, check=False, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120,
        env={**clean, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"})
    assert done.returncode == 0, done.stdout
    said = " ".join(done.stdout.split())
    assert f"{CHECKOUT}/.lab|" in said and f"-I {CHECKOUT}/lab/network/relay_client.py {CHECKOUT}/.lab/relay" in said
