# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`dfir_ebs unpack`."""

from __future__ import annotations

import argparse
from pathlib import Path

from .cli_pack import bucket_arguments, bucket_of, passphrase_arguments, passphrase_of
from .compression import SUFFIXES
from .console import Bar, note, say, size
from .pack import unpack, wanted_sha256

HELP = "Decrypt and decompress an image; what was altered or cut off gives no file."


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("packed", help="file, or s3://bucket/name")
    parser.add_argument("output", type=Path)
    parser.add_argument("-i", "--identity", type=Path, action="append", default=[], help="file with the secret key")
    passphrase_arguments(parser)
    parser.add_argument("--compression", choices=tuple(SUFFIXES), default="", help="(default: by the name)")
    parser.add_argument("--sha256", default="", help="what the image must have")
    parser.add_argument("--manifest", type=Path, help="manifest of the image: it must have the SHA-256 stated there")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    bucket_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Unpack."""
    client = bucket_of(options, options.packed)
    expected = options.sha256 or wanted_sha256(options.manifest)
    shown = Bar(options.quiet)
    try:
        result = unpack(
            options.packed,
            options.output,
            identity_files=options.identity,
            passphrase=passphrase_of(options, again=False),
            compression=options.compression,
            expect_sha256=expected,
            client=client,
            tell=shown,
        )
    finally:
        shown.end()
    if not result.changed:
        note("It was there already.")
    say(f"image           {result.path} ({size(result.size)})")
    say(f"image SHA-256   {result.sha256}")
    return 0
