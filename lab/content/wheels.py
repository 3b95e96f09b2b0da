# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Python packages for the lab's hosts, as wheels: what somebody without internet keeps on a server of their own."""

from __future__ import annotations

import sys
from pathlib import Path

from lab.content import apt
from lab.content.cache import ensure, recipe_key

RECIPE = "1"  # raise it when `build` changes
PYTHON = "3.11"  # of the hosts' Debian
PACKAGES = ["boto3==1.44.5", "zstandard>=0.22,<1", "pyrage>=1.2,<2"]
# Every name that a wheel for this machine's processor may have been given, the newest first.
GLIBC = ("manylinux_2_36", "manylinux_2_34", "manylinux_2_31", "manylinux_2_28", "manylinux_2_17", "manylinux2014")
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


def ensure_wheels(cache: Path) -> Path:
    """A folder of wheels: the packages and all that they need."""
    machine = MACHINES.get(apt.architecture(), "x86_64")

    def build(folder: Path) -> None:
        platforms = [word for name in GLIBC for word in ("--platform", f"{name}_{machine}")]
        apt.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
                 "--only-binary=:all:", "--implementation", "cp", "--python-version", PYTHON, *platforms,
                 "--dest", str(folder), *PACKAGES])

    return ensure(cache, "wheels", recipe_key(RECIPE, PYTHON, machine, *PACKAGES), build)
