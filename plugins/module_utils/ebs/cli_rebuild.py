# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`dfir_ebs rebuild`."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import cli
from .blockfolder import BlockFolder
from .console import Bar, note, say, size
from .e01 import CaseFacts, make_e01
from .errors import BadInput
from .listing import listed_indexes
from .manifest import SUFFIX, Manifest
from .rebuild import RebuildResult, rebuild_folder, rebuild_segments
from .s3 import s3_client
from .sinks import file_sink
from .sources import ImageSource, RawSource, SegmentSource, open_segments
from .wholehash import KINDS

HELP = "Make an image of what is stored in pieces (segments, single blocks), or an E01 of a finished image."


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument(
        "source",
        help="s3://bucket/<case>/<snapshot>/image/, a folder of segments or of blocks; with --e01 an image too",
    )
    parser.add_argument("output", type=Path, help="file, or block device")
    parser.add_argument("--manifest", type=Path, help="of the image; where one is made: its name (default: beside it)")
    parser.add_argument("--expect", type=Path, help="single blocks: a manifest that says which there should be")
    parser.add_argument("--against-aws", action="store_true", help="single blocks: ask AWS which there should be")
    parser.add_argument("--snapshot", default="", help="single blocks: of this snapshot")
    parser.add_argument("--ignore-foreign", action="store_true", help="single blocks: leave out other files")
    parser.add_argument("--hash", action="append", choices=KINDS, default=[], help="digest of the whole image, too")
    parser.add_argument("--e01", action="store_true", help="make an E01 through libewf, and read it back")
    parser.add_argument("--examiner", default="", help="for the header of the E01")
    parser.add_argument("--notes", default="", help="for the header of the E01")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    cli.connection_arguments(parser, required=False)


def run(options: argparse.Namespace) -> int:
    """Rebuild, or convert."""
    shown = Bar(options.quiet)
    try:
        return _e01(options, shown) if options.e01 else _raw(options, shown)
    finally:
        shown.end()


def _e01(options: argparse.Namespace, shown: Bar) -> int:
    raw = not options.source.startswith("s3://") and not Path(options.source).is_dir()
    manifest = options.manifest or (Path(f"{options.source}{SUFFIX}") if raw else Path(f"{options.output}{SUFFIX}"))
    source: ImageSource
    if raw:
        source = RawSource(options.source)
    else:
        store = open_segments(options.source, _s3(options))
        if not manifest.exists():
            store.save_manifest(manifest)
        source = SegmentSource(store)
    try:
        facts = CaseFacts(examiner=options.examiner, notes=options.notes)
        result = make_e01(source, manifest, options.output, facts=facts, tell=shown)
    finally:
        source.close()
    shown.end()
    say(f"E01             {result.first} ({len(result.files)} files)")
    say(f"media SHA-256   {result.media_sha256}")
    say(f"media MD5       {result.media_md5}")
    return 0


def _raw(options: argparse.Namespace, shown: Bar) -> int:
    manifest = options.manifest or Path(f"{options.output}{SUFFIX}")
    target, folder = file_sink(options.output), Path(options.source)
    if options.source.startswith("s3://") or (folder / "segments").is_dir():
        store = open_segments(options.source, _s3(options))
        result = rebuild_segments(store, target, manifest, hashes=options.hash, tell=shown)
    else:
        result = _from_blocks(options, manifest, shown)
    shown.end()
    if not result.changed:
        note("The image was there already.")
    if result.ignored:
        note(f"{len(result.ignored)} other files were left out, the first: {', '.join(result.ignored[:5])}")
    if not result.missing_checked:
        note("Whether blocks are missing is unknown: --expect or --against-aws would say.")
    say(f"image           {options.output} ({size(result.outcome.image_size)}, {result.outcome.blocks} blocks)")
    say(f"manifest        {result.manifest}")
    for kind, digest in (("SHA-256", result.outcome.image_sha256), ("MD5", result.outcome.image_md5)):
        if digest:
            say(f"image {kind:9} {digest}")
    return 0


def _from_blocks(options: argparse.Namespace, manifest: Path, shown: Bar) -> RebuildResult:
    blocks = BlockFolder(options.source, snapshot_id=options.snapshot, ignore_foreign=options.ignore_foreign)
    common = {"region": options.region or "", "hashes": options.hash, "tell": shown}
    target = file_sink(options.output)
    if options.expect:
        with Manifest(options.expect) as expected:
            return rebuild_folder(blocks, target, manifest, expected=expected, **common)
    if options.against_aws:
        if not options.region:
            raise BadInput("--against-aws needs --region.")
        listed = listed_indexes(cli.make_client(options), blocks.snapshot_id)
        return rebuild_folder(blocks, target, manifest, expected=listed, **common)
    return rebuild_folder(blocks, target, manifest, **common)


def _s3(options: argparse.Namespace) -> object | None:
    if not options.source.startswith("s3://"):
        return None
    if not options.region:
        raise BadInput("A bucket needs --region.")
    return s3_client(options.region, profile=options.profile)
