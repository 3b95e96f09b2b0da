# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m lab down`."""

from __future__ import annotations

import argparse
import os

from lab import sweep
from lab.cli_client import LabError
from lab.config import LabConfig
from lab.hosts import teardown


def down(settings: LabConfig, _: argparse.Namespace) -> int:
    """Stop the lab and remove everything of it."""
    left = sweep.leftovers(settings)
    if not left:
        print(f"lab: nothing of {settings.state} is left; nothing to do")
        return 0
    if os.geteuid() != 0 and (teardown.namespaces(settings) or any(
            not os.access(path, os.W_OK) for path in [settings.state] if path.exists())):
        raise LabError("this lab was started as root: run `make lab-down`, or `python -m lab down` as root")
    print(f"lab: stopping {settings.state}", flush=True)
    sweep.sweep(settings)
    left = sweep.leftovers(settings)
    if left:
        raise LabError("could not remove: " + "; ".join(left))
    print("lab: down; no process, namespace, mount or loop device is left")
    return 0
