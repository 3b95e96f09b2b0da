# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`dfir_ebs image`."""

from __future__ import annotations

import argparse
from pathlib import Path
from urllib.parse import urlsplit

from . import cli
from .base import BaseImage
from .client import EbsClient
from .console import Bar, note, say, size
from .errors import BadInput, EngineError
from .fetch import CONNECTIONS
from .identity import caller, describe_snapshot
from .image import ImageRequest, make_image
from .manifest import SUFFIX
from .s3 import SegmentSink, s3_client
from .segments import image_prefix
from .sinks import Sink, file_sink
from .wholehash import KINDS

HELP = "Image a snapshot into a raw file, onto a device or into a bucket; a run that was stopped goes on."


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("snapshot", help="snap-...")
    parser.add_argument(
        "target",
        nargs="+",
        help="file, block device, or s3://bucket (objects below <case>/<snapshot>/image/); several in one pass",
    )
    parser.add_argument("--manifest", type=Path, help="where the manifest goes (default: beside the first file)")
    parser.add_argument("--hash", action="append", choices=KINDS, default=[], help="digest of the whole image, too")
    parser.add_argument("--case", default="", help="the incident; needed for a bucket")
    parser.add_argument("--bucket-region", help="region of the bucket (default: that of the snapshot)")
    parser.add_argument("--base", type=Path, help="finished image of an older snapshot: fetch only what changed since")
    parser.add_argument("--base-manifest", type=Path, help="its manifest (default: beside it)")
    parser.add_argument("--connections", type=int, default=CONNECTIONS, help="(default: %(default)s)")
    parser.add_argument("--no-describe", action="store_true", help="do not ask EC2 and STS who the snapshot is")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    cli.connection_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Make the image."""
    client = cli.make_client(options)
    sinks = [_sink(target, options) for target in options.target]
    manifest = options.manifest or _beside(options)
    request = ImageRequest(
        options.snapshot, sinks, manifest, hashes=options.hash, case=options.case, connections=options.connections
    )
    if options.base:
        request.base = BaseImage(options.base, options.base_manifest or Path(f"{options.base}{SUFFIX}"))
    if not options.no_describe:
        _identify(client, request)
    progress = Bar(options.quiet)
    try:
        result = make_image(client, request, tell=progress)
    finally:
        progress.end()
    outcome = result.outcome
    if not result.changed:
        note("The image was there already.")
    say(f"snapshot        {result.identity.snapshot_id} ({result.identity.region})")
    say(f"image           {size(outcome.image_size)}, {outcome.blocks} blocks written")
    say(f"manifest        {result.manifest}")
    say(f"linear SHA-256  {outcome.linear_sha256}")
    for kind, digest in (("SHA-256", outcome.image_sha256), ("MD5", outcome.image_md5)):
        if digest:
            say(f"image {kind:9} {digest}")
    return 0


def _sink(target: str, options: argparse.Namespace) -> Sink:
    if not target.startswith("s3://"):
        return file_sink(target)
    parts = urlsplit(target)
    if parts.path.strip("/") or not parts.netloc:
        raise BadInput(f"{target}: name the bucket alone; the image lies below <case>/<snapshot>/image/ in it.")
    if not options.case:
        raise BadInput("An image in a bucket needs --case: its objects lie below it.")
    client = s3_client(options.bucket_region or options.region, profile=options.profile)
    return SegmentSink(client, parts.netloc, image_prefix(options.case, options.snapshot))


def _beside(options: argparse.Namespace) -> Path:
    for target in options.target:
        if not target.startswith(("s3://", "/dev/")):
            return Path(f"{target}{SUFFIX}")
    return Path(f"{options.snapshot}{SUFFIX}")


def _identify(client: EbsClient, request: ImageRequest) -> None:
    """EC2's and STS' words for the manifest; who may not ask them can still image."""
    try:
        request.account_id, request.caller = caller(client)
        request.facts = describe_snapshot(client, request.snapshot_id)
    except BadInput:
        raise
    except EngineError as error:
        note(f"The manifest will say less about the snapshot and its caller: {error}")
