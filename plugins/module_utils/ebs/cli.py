# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: `python -m dfir_ebs budget|image|verify|...`. Needs Python and boto3, no Ansible.

A command is a module `cli_<name>` with `HELP`, `arguments(parser)` and `run(options) -> int`. Exit codes: 0 done, 1 the
work failed (or a verification found a difference), 2 the call was wrong, 130 cancelled.
"""

from __future__ import annotations

import argparse
import importlib
import json
import signal
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from .client import EbsClient
from .console import note
from .endpoints import address
from .errors import BadInput, Cancelled, EngineError
from .rate import DEFAULT_RATE, RateBudget
from .sigv4 import session_credentials
from .version import __version__

COMMANDS = ("budget", "image", "verify", "rebuild", "pack", "unpack")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(prog="dfir_ebs", description="Images EBS snapshots block by block.")
    parser.add_argument("--version", action="version", version=f"dfir_ebs {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = _module(name)
        if module is not None:
            command = commands.add_parser(name, help=module.HELP, description=module.HELP)
            module.arguments(command)
            command.set_defaults(run=module.run)
    options = parser.parse_args(arguments)
    signals: list[int] = []

    def cancel(number: int, _frame: Any) -> None:
        signals.append(number)
        # No `Cancelled`: boto3 takes every exception within a request for the network's, and asks again.
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, cancel)
    try:
        return int(options.run(options))
    except (Exception, KeyboardInterrupt) as error:
        # A library that calls us back may put an error of its own in an interrupt's place.
        if signals or isinstance(error, (Cancelled, KeyboardInterrupt)):
            note("\nThe run was cancelled. What was got is kept: the same command goes on.")
            return 130
        if not isinstance(error, EngineError):
            raise
        return _failed(error)


def _failed(error: EngineError) -> int:
    if isinstance(error, BadInput):
        note(f"dfir_ebs: {error}")
        return 2
    note(f"\ndfir_ebs: {error}")
    if error.failed_blocks:
        named = ", ".join(map(str, error.failed_blocks[:20]))
        note(f"Blocks that failed: {named}{' ...' if len(error.failed_blocks) > 20 else ''}")
    return 1


def _module(name: str) -> ModuleType | None:
    full = f"{__package__}.cli_{name}"
    try:
        return importlib.import_module(full)
    except ModuleNotFoundError as error:
        if error.name != full:
            raise
        return None


def connection_arguments(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Options of every command that talks to AWS."""
    group = parser.add_argument_group("AWS")
    group.add_argument("--region", required=required, help="region of the snapshot")
    group.add_argument("--profile", help="profile of the AWS configuration (default: as boto3 finds credentials)")
    group.add_argument("--endpoint-url", help="address of EBS direct, for instance of a VPC endpoint")
    group.add_argument("--fips", action="store_true", help="use the FIPS endpoint")
    group.add_argument("--ca-bundle", help="file with the certificates to trust (default: AWS_CA_BUNDLE, the system's)")
    group.add_argument(
        "--rate",
        type=float,
        default=DEFAULT_RATE,
        help="blocks a second at most (default: %(default)g, just under the quota of one snapshot)",
    )


def make_client(options: argparse.Namespace) -> EbsClient:
    """A client from the options of `connection_arguments`."""
    if options.rate <= 0:
        raise BadInput("--rate must be more than zero.")
    return EbsClient(
        options.region,
        session_credentials(options.profile),
        endpoint_url=options.endpoint_url or address("ebs", options.region, fips=options.fips),
        fips=options.fips,
        ca_bundle=options.ca_bundle,
        rate=RateBudget(options.rate),
    )


def read_prices(path: Path | None) -> dict[str, float] | None:
    """A price table from a JSON file."""
    if path is None:
        return None
    try:
        prices = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"The prices in {path} cannot be read: {error}.") from error
    if not isinstance(prices, dict):
        raise BadInput(f"{path} must hold a JSON object of prices.")
    return prices
