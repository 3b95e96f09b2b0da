# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command line of the toolbox image: `dfir-forensics validate`, `analyze`, `upload` and what else `--help` lists."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from .console import tell

OF_THEIR_OWN = {
    "upload": "upload finished artifacts",
    "pull": "get the artifacts of the case onto the host",
    "stage": "put a note or a sample into the analyst's folder",
    "extend": "prolong a session",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit code."""
    if argv is None:
        # As the first process of a container Python would ignore a request to end. Its children end with it.
        signal.signal(signal.SIGTERM, lambda *_unused: os._exit(128 + signal.SIGTERM))
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] and arguments[0] in OF_THEIR_OWN:
        # Their options are their own; imported late, because some of them talk to AWS.
        return int(import_module(f".{arguments[0]}", __package__).main(arguments[1:]) or 0)
    parser = argparse.ArgumentParser(prog="dfir-forensics", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("validate", help="run every tool on a known sample and print JSON")
    commands.add_parser("versions", help="print the versions of all tools as JSON")
    commands.add_parser("rules", help="print as JSON which files with rules or signatures cannot be used")
    commands.add_parser("inspect", help="print as JSON what is in the image: rules, packages, what its scanner finds")
    for name, what in OF_THEIR_OWN.items():
        commands.add_parser(name, help=f"{what} (see `dfir-forensics {name} --help`)")
    analyze = commands.add_parser("analyze", help="analyze the mounted evidence and write artifacts")
    analyze.add_argument("--evidence", type=Path, default=Path("/etc/dfir/evidence.json"))
    analyze.add_argument("--out", type=Path, default=Path("/results"), help="where finished artifacts appear")
    analyze.add_argument("--work", type=Path, default=Path("/work"), help="scratch space")
    analyze.add_argument("--preset", default="auto", help="plaso's parser preset (default: %(default)s, which takes "
                         "win7 for NTFS and linux for everything else)")
    analyze.add_argument("--scope", choices=("filtered", "full"), default="filtered",
                         help="what plaso reads: the paths that matter most, or everything")
    analyze.add_argument("--extra-rules", type=Path, help="a folder with further YARA rules (*.yar)")
    analyze.add_argument("--steps", help="comma-separated steps to run (default: all)")
    analyze.add_argument("--step-timeout", type=float, default=0, metavar="SECONDS",
                         help="give a step up after this time (default: scaled to the partition)")
    options = parser.parse_args(arguments)
    if options.command == "validate":
        from .validate import validate

        report = validate()
        tell(json.dumps(report, indent=1))
        return 0 if report["ok"] else 1
    if options.command == "versions":
        from .validate import versions

        tell(json.dumps(versions(), indent=1))
        return 0
    if options.command in ("rules", "inspect"):
        return _look(options.command)
    from .analyze import main as run_analysis

    return run_analysis(options)


def _look(command: str) -> int:
    """What is asked before an image is published: 0 when nothing speaks against it."""
    from typing import Any

    from .inspection import inspect, refused_rules
    from .tools import ToolError

    try:
        told: dict[str, Any] = {"refused": refused_rules()} if command == "rules" else inspect()
    except ToolError as error:
        tell(f"error: {error}", error=True)
        return 1
    tell(json.dumps(told, indent=1))
    return 1 if told["refused"] or (told.get("own_scan") or {}).get("hits") else 0


if __name__ == "__main__":
    raise SystemExit(main())
