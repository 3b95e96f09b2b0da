# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m lab status`: what the account holds, as a table."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from typing import Any

from lab.cli_client import NotRunning, ask
from lab.config import LabConfig


def status(settings: LabConfig, options: argparse.Namespace) -> int:
    """Print what there is. Exit code 3 when no lab runs, as service managers have it."""
    try:
        data = ask(settings, "status")
    except NotRunning as error:
        print(json.dumps({"running": False}) if options.json else f"lab: {error}")
        return 3
    if options.json:
        print(json.dumps({"running": True, **data}, indent=1))
        return 0
    print(f"lab: up at {settings.endpoint}" + ("" if data["hosts"] else " (without hosts)"))
    for kind in ("instances", "volumes", "snapshots"):
        for row in data[kind]:
            row["name"] = row["tags"].get("Name", "")
    table("instances", ("id", "region", "state", "type", "address", "name", "reason"), data["instances"])
    table("volumes", ("id", "region", "state", "gib", "attached", "name"), data["volumes"])
    table("snapshots", ("id", "region", "state", "progress", "gib", "name", "description", "message"),
          data["snapshots"])
    for mail in data["mails"]:
        mail["file"] = mail["file"].rsplit("/", 1)[-1].partition("-")[0] + "-*"  # its number is enough for a shell
    table(f"mails in {settings.mails}", ("file", "subject"), data["mails"])
    table("faults", ("name", "times", "match", "args", "taken"), data["faults"])
    slow = [f"{name}={value:g} s" for name, value in data["delays"].items() if value]
    print("delays: " + (", ".join(slow) or "none"))
    print("all of it, tags as well: python -m lab status --json")
    return 0


def table(title: str, columns: tuple[str, ...], rows: Iterable[dict[str, Any]]) -> None:
    """A title and aligned columns; columns that are empty everywhere are left out."""
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    if not cells:
        print(f"{title}: none")
        return
    kept = [i for i in range(len(columns)) if any(line[i] for line in cells)]
    lines = [[columns[i] for i in kept], *[[line[i] for i in kept] for line in cells]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(kept))]
    print(f"{title}:")
    for line in lines:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return " ".join(f"{name}={item}" for name, item in sorted(value.items()))
    return str(value)
