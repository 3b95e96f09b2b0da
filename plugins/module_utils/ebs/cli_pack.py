# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`dfir_ebs pack`."""

from __future__ import annotations

import argparse
import getpass
import os
from pathlib import Path
from typing import Any

from .compression import SUFFIXES
from .console import Bar, note, say, size
from .errors import BadInput
from .pack import pack, wanted_sha256
from .pack_bucket import default_place, pack_segments
from .s3 import s3_client
from .sources import open_segments

HELP = "Compress and encrypt an image (age: for recipients, or with a passphrase)."


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("image", help="file, block device, or s3://bucket/<case>/<snapshot>/image/")
    parser.add_argument("--output", help="(default: <image>.zst.age; in a bucket <image>image.raw.zst.age)")
    parser.add_argument(
        "-r", "--recipient", action="append", default=[], help="age1... or a public SSH key; repeatable"
    )
    passphrase_arguments(parser)
    parser.add_argument("--compression", choices=tuple(SUFFIXES), default="zstd", help="(default: %(default)s)")
    parser.add_argument("--level", type=int, help="of the compression")
    parser.add_argument("--manifest", type=Path, help="manifest of the image: it must have the SHA-256 stated there")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    bucket_arguments(parser)


def bucket_arguments(parser: argparse.ArgumentParser) -> None:
    """How a bucket is reached."""
    parser.add_argument("--region", help="region of the bucket, for s3://")
    parser.add_argument("--profile", help="profile of the AWS configuration, for s3://")


def bucket_of(options: argparse.Namespace, *places: str | None) -> Any:
    """boto3's client for S3 where a place lies in a bucket, else None."""
    if not any(place and place.startswith("s3://") for place in places):
        return None
    if not options.region:
        raise BadInput("This needs --region, the bucket's.")
    return s3_client(options.region, profile=options.profile)


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
    client = bucket_of(options, options.image, options.output)
    if client is not None and options.manifest:
        raise BadInput("An image in a bucket has its manifest beside it: leave out --manifest.")
    expected = wanted_sha256(options.manifest)
    passphrase = passphrase_of(options, again=True)
    shown = Bar(options.quiet)
    common: dict[str, Any] = {
        "recipients": options.recipient,
        "passphrase": passphrase,
        "compression": options.compression,
        "level": options.level,
        "tell": shown,
    }
    try:
        if client is None:
            result = pack(options.image, options.output, expect_sha256=expected, **common)
        else:
            place = options.output or default_place(options.image, options.compression)
            result = pack_segments(open_segments(options.image, client), client, place, **common)
    finally:
        shown.end()
    record = result.record
    if not result.changed:
        note("It was packed already.")
    say(f"packed          {result.path} ({size(record.packed_size)})")
    if record.identity_file:
        folder = str(result.path)[: -len(Path(result.path).name)]
        say(f"identity        {folder}{record.identity_file} (needed with the passphrase: keep it)")
    say(f"SHA-256         {record.packed_sha256}")
    say(f"image SHA-256   {record.plain_sha256} ({size(record.plain_size)})")
    return 0
