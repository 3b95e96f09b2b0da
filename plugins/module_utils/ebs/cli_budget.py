# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`dfir_ebs budget`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from . import cli
from .budget import snapshot_budget
from .console import duration, say, size

HELP = "Say what imaging a snapshot would cost and how long it would take."


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("snapshot", help="snap-...")
    parser.add_argument("--exact", action="store_true", help="count the blocks by listing them, instead of estimating")
    parser.add_argument("--since", metavar="SNAPSHOT", help="count what changed since this older snapshot only")
    parser.add_argument("--prices", type=Path, help="JSON file: get_per_1000, list_per_1000 in dollars")
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    cli.connection_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Print the budget."""
    client, prices = cli.make_client(options), cli.read_prices(options.prices)
    budget = snapshot_budget(
        client, options.snapshot, first=options.since, exact=options.exact, prices=prices, rate=options.rate
    )
    if options.json:
        say(json.dumps(budget.to_json(), indent=1))
        return 0
    about = "" if budget.exact else "about "
    say(f"{budget.snapshot_id}: {size(budget.volume_bytes)} volume, {about}{budget.blocks} blocks to fetch")
    say(f"download        {about}{size(budget.bytes_to_fetch)}")
    say(f"API calls       {about}{budget.get_calls} GetSnapshotBlock, {budget.list_calls} List")
    say(f"cost            {about}${budget.cost_usd:.4f}")
    say(f"duration        {about}{duration(budget.fetch_seconds)} at {options.rate:g} blocks a second")
    say(f"hashing holes   {about}{duration(budget.hole_hash_seconds)} for a digest of the whole image")
    return 0
