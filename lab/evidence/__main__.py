# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m lab.evidence build` makes the evidence disk; `… compare` holds results against its answer key; `… pair`
brings two disks of one instance into the lab; `… digest` says what a volume of the lab holds now."""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from pathlib import Path

from lab import config
from lab.content.cache import BuildError as ContentError
from lab.evidence import answer_key, compare
from lab.evidence.image import ensure_image
from lab.evidence.run import BuildError, copy_into, sparse_file


def _say(text: str) -> None:
    print(text, flush=True)


def _build(arguments: argparse.Namespace) -> int:
    image = ensure_image(config.load().cache, dirty_journal=arguments.dirty_journal, say=_say)
    path, key = image.path, image.answer_key
    if arguments.out:
        path = arguments.out
        key = path.with_suffix(path.suffix + ".answer_key.json")
        shutil.copyfile(image.answer_key, key)
        sparse_file(path, image.path.stat().st_size)
        copy_into(image.path, path, 0)
    print(f"image       {path} ({image.gib} GiB)\nanswer key  {key}\nsha256      {image.sha256}")
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    entries = answer_key.load(arguments.answer_key)
    report = compare.compare(entries, compare.load_results(arguments.results))
    print(report.table())
    return 0 if report.good else 1


def _pair(arguments: argparse.Namespace) -> int:
    from lab.evidence import pair
    from lab.seed import client

    print(json.dumps(pair.upload(client(config.load(), "ebs", arguments.region))))
    return 0


def _digest(arguments: argparse.Namespace) -> int:
    with (config.load().state / "blocks" / arguments.region / "volumes" / f"{arguments.volume}.raw").open("rb") as disk:
        print(hashlib.file_digest(disk, "sha256").hexdigest())
    return 0


def main(argv: list[str] | None = None) -> int:
    """Entry point; answers the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lab.evidence", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    builder = commands.add_parser("build", help="build the evidence disk, or find it in the cache")
    builder.add_argument("--out", type=Path, help="copy the disk to this file, the answer key beside it")
    builder.add_argument("--dirty-journal", action="store_true", help="leave the ext4 journal in need of recovery")
    builder.set_defaults(run=_build)
    comparer = commands.add_parser("compare", help="compare results with an answer key; 1 when something is wrong")
    comparer.add_argument("--answer-key", type=Path, required=True)
    comparer.add_argument("--results", type=Path, required=True, help="folder with <volume>p<N>.* files")
    comparer.set_defaults(run=_compare)
    pairs = commands.add_parser("pair", help="bring two disks of one instance into the running lab; their snapshots")
    pairs.add_argument("--region", default="eu-west-1")
    pairs.set_defaults(run=_pair)
    digests = commands.add_parser("digest", help="the SHA-256 of a volume of the running lab, as it is now")
    digests.add_argument("volume")
    digests.add_argument("--region", default="eu-west-1")
    digests.set_defaults(run=_digest)
    arguments = parser.parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except (BuildError, ContentError, compare.ResultsError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
