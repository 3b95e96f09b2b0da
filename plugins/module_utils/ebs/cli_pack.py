# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`dfir_ebs pack`."""

from __future__ import annotations

import argparse
import getpass
import os
from pathlib import Path

from .compression import SUFFIXES
from .console import Bar, note, say, size
from .errors import BadInput
from .pack import pack, wanted_sha256

HELP = "Compress and encrypt an image (age: for recipients, or with a passphrase)."


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("image", type=Path, help="file or block device")
    parser.add_argument("--output", type=Path, help="(default: <image>.zst.age)")
    parser.add_argument(
        "-r", "--recipient", action="append", default=[], help="age1... or a public SSH key; repeatable"
    )
    passphrase_arguments(parser)
    parser.add_argument("--compression", choices=tuple(SUFFIXES), default="zstd", help="(default: %(default)s)")
    parser.add_argument("--level", type=int, help="of the compression")
    parser.add_argument("--manifest", type=Path, help="manifest of the image: it must have the SHA-256 stated there")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def passphrase_arguments(parser: argparse.ArgumentParser) -> None:
    """Where a passphrase comes from: never from the command line, which everybody on the machine can read."""
    parser.add_argument("--passphrase", action="store_true", help="ask for a passphrase")
    parser.add_argument("--passphrase-env", metavar="NAME", help="take it from this environment variable")


def passphrase_of(options: argparse.Namespace, *, again: bool) -> str | None:
    """The passphrase; None if none was asked for. `again`: ask twice."""
    if options.passphrase_env:
        value = os.environ.get(options.passphrase_env, "")
        if not value:
            raise BadInput(f"The environment variable {options.passphrase_env} holds no passphrase.")
        return value
    if not options.passphrase:
        return None
    value = getpass.getpass("Passphrase: ")
    if again and getpass.getpass("Once more: ") != value:
        raise BadInput("These were two passphrases.")
    return value


def run(options: argparse.Namespace) -> int:
    """Pack."""
    expected = wanted_sha256(options.manifest)
    passphrase = passphrase_of(options, again=True)
    shown = Bar(options.quiet)
    try:
        result = pack(
            options.image,
            options.output,
            recipients=options.recipient,
            passphrase=passphrase,
            compression=options.compression,
            level=options.level,
            expect_sha256=expected,
            tell=shown,
        )
    finally:
        shown.end()
    record = result.record
    if not result.changed:
        note("It was packed already.")
    say(f"packed          {result.path} ({size(record.packed_size)})")
    if record.identity_file:
        say(f"identity        {result.path.with_name(record.identity_file)} (needed with the passphrase: keep it)")
    say(f"SHA-256         {record.packed_sha256}")
    say(f"image SHA-256   {record.plain_sha256} ({size(record.plain_size)})")
    return 0
