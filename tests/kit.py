# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of the whole share: the checkout, the tests' own lab, and commands run as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
# Never the developer's own lab, which DFIR_LAB_STATE and DFIR_LAB_PORT name; several checkouts can be tested at once.
TEST_LAB = {"DFIR_LAB_STATE": os.environ.get("DFIR_TEST_LAB_STATE", str(CHECKOUT / ".lab-test")),
            "DFIR_LAB_PORT": os.environ.get("DFIR_TEST_LAB_PORT", "4580")}


def tool_environment() -> dict[str, str]:
    """An ordinary shell's environment: the virtual environment first, the tests' lab, and no AWS variable at all."""
    foreign = ("AWS_", "ANSIBLE_", "MOLECULE_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return clean | TEST_LAB | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PY_COLORS": "0",
                               "ANSIBLE_NOCOLOR": "1", "PYTHONUNBUFFERED": "1"}


def run(*command: str, log: Path | None = None, timeout: float = 1500) -> subprocess.CompletedProcess[str]:
    """Run a command of this checkout as a user would; what it prints goes to `log` as well."""
    done = subprocess.run(command, cwd=CHECKOUT, env=tool_environment(), stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, check=False)
    if log:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(done.stdout)
    return done
