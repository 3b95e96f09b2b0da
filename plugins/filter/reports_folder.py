# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where copies of reports stay on the controller."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

NAME = "dfir-reports"


def reports_folder(parts: Sequence[str], chosen: str | None = None, on_platform: bool = False) -> str:
    """The folder for a report; empty where nobody has chosen one and none would last.

    On the automation platform a folder goes with its job. Elsewhere it is below the one where the playbook was started,
    where that may be written.
    """
    if chosen is None:
        here = os.environ.get("PWD") or str(Path.cwd())
        chosen = "" if on_platform or not os.access(here, os.W_OK) else f"{here}/{NAME}"
    return str(Path(chosen).expanduser().joinpath(*parts)) if chosen else ""


class FilterModule:
    """One filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Its name."""
        return {"reports_folder": reports_folder}
