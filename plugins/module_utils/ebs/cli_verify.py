# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`dfir_ebs verify`."""

from __future__ import annotations

import argparse
from pathlib import Path
from urllib.parse import urlsplit

from . import cli
from .console import Bar, note, say
from .errors import BadInput
from .manifest import SUFFIX
from .packed import PACKED_SUFFIX, packed_at, verify_packed
from .s3 import SegmentSink, s3_client
from .verify import Verification, verify_against_aws, verify_image, verify_segments

HELP = "Read an image back and hold it against its manifest; on demand hold the manifest against AWS, too."


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument(
        "image", help="file, block device, s3://bucket/<case>/<snapshot>/image/, or a packed one (.age), here or there"
    )
    parser.add_argument("--manifest", type=Path, help="(default: beside the image)")
    parser.add_argument("--record", type=Path, help="keep the record of this verification as JSON")
    parser.add_argument(
        "--against-aws", action="store_true", help="ask AWS for the blocks again (costs as imaging did)"
    )
    parser.add_argument("--sample", type=int, metavar="BLOCKS", help="with --against-aws: so many blocks, at random")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    cli.connection_arguments(parser, required=False)


def run(options: argparse.Namespace) -> int:
    """Verify and say what differs."""
    manifest, packed = options.manifest, options.image.endswith(PACKED_SUFFIX)
    if packed and (manifest or options.against_aws):
        raise BadInput("A packed image is held against the record beside it: leave out --manifest and --against-aws.")
    if not packed and manifest is None and options.image.startswith("s3://"):
        raise BadInput("Name the manifest of an image in a bucket with --manifest.")
    manifest = manifest or Path(f"{options.image}{SUFFIX}")
    if (options.against_aws or options.image.startswith("s3://")) and not options.region:
        raise BadInput("This needs --region.")
    progress = Bar(options.quiet)
    try:
        records = [_stored(options, manifest, progress)]
        if options.against_aws:
            client = cli.make_client(options)
            records.append(verify_against_aws(client, manifest, sample=options.sample, tell=progress))
    finally:
        progress.end()
    for number, record in enumerate(records):
        if options.record:
            record.write(options.record if not number else Path(f"{options.record}.aws"))
        _tell(record)
    return 0 if all(record.ok for record in records) else 1


def _stored(options: argparse.Namespace, manifest: Path, progress: Bar) -> Verification:
    if options.image.endswith(PACKED_SUFFIX):
        client = s3_client(options.region, profile=options.profile) if options.image.startswith("s3://") else None
        return verify_packed(packed_at(options.image, client), tell=progress)
    if not options.image.startswith("s3://"):
        return verify_image(options.image, manifest, tell=progress)
    parts = urlsplit(options.image)
    client = s3_client(options.region, profile=options.profile)
    sink = SegmentSink(client, parts.netloc, parts.path.lstrip("/"))
    try:
        return verify_segments(sink, manifest, tell=progress)
    finally:
        sink.close()


def _tell(record: Verification) -> None:
    by, much = ("record", "") if record.packed_sha256 else ("manifest", f", {record.blocks} blocks compared")
    say(f"{record.what}: {f'as the {by} says' if record.ok else 'DIFFERENT'}{much}")
    for text in record.notes:
        note(text)
    if record.different:
        note(f"{record.different} blocks differ, the first: {record.different_blocks[:20]}")
    if record.unexpected:
        note(f"{record.unexpected} blocks should be zeros and are not, the first: {record.unexpected_blocks[:20]}")
