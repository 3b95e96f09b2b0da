# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m lab`: the embedded AWS, started, looked at, disturbed and removed."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab import cli_down, cli_status, cli_up
from lab.cli_client import LabError, ask
from lab.config import LabConfig, load
from lab.faults.registry import FaultError, Registry


def _fault(settings: LabConfig, options: argparse.Namespace) -> int:
    if options.clear:
        done = ask(settings, "faults" + (f"?name={options.name}" if options.name else ""), method="DELETE")
        print(f"lab: {done['cleared']} fault(s) cleared")
        return 0
    if not options.name:
        answer = ask(settings, "faults")
        for name, about in sorted(answer["known"].items()):
            known = [f"match: {', '.join(about['match'])}"] if about["match"] else []
            known += [f"args: {', '.join(about['args'])}"] if about["args"] else []
            print(f"  {name:22} {about['what']}" + (f" ({'; '.join(known)})" if known else ""))
        print("armed: " + (", ".join(f"{f['name']} x{f['times'] or 'always'}" for f in answer["armed"]) or "none"))
        return 0
    armed = ask(settings, "faults", Registry.parse_words(options.name, options.settings))
    print(f"lab: armed {armed['name']} (times: {armed['times'] or 'until cleared'})")
    return 0


def _numbers(words: list[str]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise LabError(f"{word!r} is not of the form NAME=SECONDS")
        try:
            out[name] = float(value)
        except ValueError:
            raise LabError(f"{value!r} is not a number of seconds") from None
    return out


def _delays(settings: LabConfig, options: argparse.Namespace) -> int:
    answer = ask(settings, "delays", _numbers(options.settings) if options.settings else None)
    print("lab: delays " + ", ".join(f"{name}={value:g} s" for name, value in answer.items()))
    return 0


def _ebs(settings: LabConfig, options: argparse.Namespace) -> int:
    changes = dict(word.partition("=")[::2] for word in options.settings)
    print(json.dumps(ask(settings, "ebs", changes or None), indent=1))
    return 0


def _publish(settings: LabConfig, options: argparse.Namespace) -> int:
    name, _, tag = options.reference.rpartition(":")
    if not name:
        raise LabError(f"{options.reference!r} is not of the form NAME:TAG")
    done = ask(settings, "images", {"layout": str(options.layout.resolve()), "name": name, "tag": tag})
    print(f"lab: hosts can pull {done['published']}")
    return 0


def _seed(settings: LabConfig, options: argparse.Namespace) -> int:
    from lab import seed

    seed.seed(settings, evidence=not options.no_evidence, say=cli_up.say)
    if options.toolbox_archive:
        seed.toolbox_archive(settings, cli_up.say)
    return 0


def _serve(settings: LabConfig, options: argparse.Namespace) -> int:
    from lab import service

    return service.run(settings, with_hosts=not options.no_hosts)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, function: Callable[[LabConfig, argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(function=function)
        return command

    up = add("up", cli_up.up, "start the lab, or say that it runs")
    up.add_argument("--no-hosts", action="store_true", help="the API alone: no root, nothing behind instances")
    up.add_argument("--no-seed", action="store_true", help="an empty account (its administrator's key works)")
    up.add_argument("--no-evidence", action="store_true", help="seed the account, but no evidence snapshot")
    up.add_argument("--foreground", action="store_true", help="serve in this terminal until interrupted")
    add("down", cli_down.down, "stop the lab and remove everything of it, whatever state it is in")
    status = add("status", cli_status.status, "show instances, volumes, snapshots, mails and faults")
    status.add_argument("--json", action="store_true", help="the same as data")
    seed = add("seed", _seed, "fill the account: users, policies, bucket, keys, evidence (can be repeated)")
    seed.add_argument("--no-evidence", action="store_true", help="all but the evidence snapshot")
    seed.add_argument("--toolbox-archive", action="store_true", help="and the toolbox image as archive in the bucket")
    fault = add("fault", _fault, "arm a fault (NAME times=2 key=value …), clear faults, or list what there is")
    fault.add_argument("--clear", action="store_true", help="disarm NAME, or everything")
    fault.add_argument("name", nargs="?", help="the fault")
    fault.add_argument("settings", nargs="*", help="times=N|always, after=N, what to match, arguments")
    delays = add("delays", _delays, "show or set how many seconds pending states take (copy=3 volume=1 …)")
    delays.add_argument("settings", nargs="*", metavar="NAME=SECONDS")
    ebs = add("ebs", _ebs, "show or set what EBS direct does (snapshot_quota=1000 short_pages=0 …)")
    ebs.add_argument("settings", nargs="*", metavar="NAME=VALUE")
    publish = add("publish", _publish, "offer a container image (an OCI layout folder) to the lab's hosts")
    publish.add_argument("layout", type=Path)
    publish.add_argument("reference", metavar="NAME:TAG")
    serve = add("_serve", _serve, argparse.SUPPRESS)
    serve.add_argument("state", help=argparse.SUPPRESS)
    serve.add_argument("--no-hosts", action="store_true")
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command; errors are one sentence."""
    options = parser().parse_args(argv)
    try:
        return int(options.function(load(), options))
    except (LabError, FaultError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
