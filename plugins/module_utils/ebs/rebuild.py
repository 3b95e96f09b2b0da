# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A raw image from what was stored in pieces: segments with their manifest, or a folder of single blocks.

It does not matter which file system is inside: blocks are put where they belong, and nothing else is ever written. The
image gets its name when every block was verified; the manifest comes last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .blockfolder import BlockFolder
from .blocks import BLOCK_SIZE, image_size
from .errors import BadInput, Cancelled, ManifestError, Mismatch
from .files import flush_to_disk, publish
from .image import environment
from .journal import Journal
from .manifest import Identity, Manifest, Outcome, utc_now
from .progress import Meter, Progress
from .sinks import BlockDevice, RawFile
from .sources import ImageSource, SegmentSource, SegmentStore
from .verify import Verification
from .version import __version__
from .wholehash import KINDS, WholeHash

TOOL = "dfir.aws ebs rebuild"
_NAMED = 20

Tell = Callable[[Progress], None]
Stop = Callable[[], bool]


@dataclass
class RebuildResult:
    """`changed` is False where the image was there already. `missing_checked`: whether anything said which blocks
    there should be."""

    identity: Identity
    outcome: Outcome
    manifest: Path
    changed: bool
    missing_checked: bool
    ignored: list[str]


def rebuild_segments(
    store: SegmentStore,
    target: RawFile | BlockDevice,
    manifest_path: Path | str,
    *,
    hashes: Sequence[str] = (),
    stop: Stop | None = None,
    tell: Tell | None = None,
) -> RebuildResult:
    """An image from segments. Their manifest is verified and put beside it, as it is.

    `hashes`: digests of the whole image to compute even where the manifest does not state them.
    """
    path = Path(manifest_path)
    fetched = Path(f"{path}.fetched")
    source = SegmentSource(store)
    try:
        store.save_manifest(fetched)
        with Manifest(fetched) as manifest:
            outcome = manifest.check()
            identity = manifest.identity
            if path.exists():
                return _there_already(path, target, manifest.records(), missing_checked=True)
        _refuse_unfinished(path)
        with Manifest(fetched) as manifest, _begun(target, identity):
            stated = [kind for kind in KINDS if getattr(outcome, f"image_{kind}")]
            whole = WholeHash([*stated, *(kind for kind in hashes if kind not in stated)])
            record = copy_image(source, manifest, target.write, whole, stop=stop, tell=tell)
            require_whole(record, outcome, whole)
            target.finish()
        with fetched.open("r+b") as file:
            flush_to_disk(file)
        publish(fetched, path)
    finally:
        source.close()
        fetched.unlink(missing_ok=True)
    for kind in KINDS:
        setattr(outcome, f"image_{kind}", getattr(outcome, f"image_{kind}") or whole.hex(kind))
    return RebuildResult(identity, outcome, path, changed=True, missing_checked=True, ignored=[])


def copy_image(
    source: ImageSource,
    manifest: Manifest,
    write: Callable[[int, memoryview, bytes], None],
    whole: WholeHash,
    *,
    stop: Stop | None,
    tell: Tell | None,
    phase: str = "rebuilding",
) -> Verification:
    """Read a finished image once, in order; `write` gets each block that is right. What is not is in the record."""
    asked = stop or (lambda: False)

    def pause() -> None:
        if asked():
            raise Cancelled("The run was cancelled.")

    size = image_size(manifest.identity.volume_gib)
    record = Verification(source.name, manifest.identity.snapshot_id, manifest.done.linear_sha256)
    meter = Meter(tell, size, len(manifest), lambda: 0)
    meter.phase = phase
    for block in source.blocks(manifest, record, pause):
        record.blocks += 1
        if block.good and not record.different:
            write(block.index, block.data, block.digest)
            whole.block(block.index, block.data, pause)
        if meter.is_due():
            meter.tell((block.index + 1) * BLOCK_SIZE, record.blocks, 0)
    if not record.different:
        whole.zeros(size, pause)
    return record.end()


def require_whole(record: Verification, outcome: Outcome, whole: WholeHash) -> None:
    """Raise, with the blocks named, unless everything was as the manifest says."""
    said = list(record.notes)
    if record.different:
        said.append(f"{record.different} blocks are missing or damaged: {_numbers(record.different_blocks)}.")
    if record.unexpected:
        said.append(f"{record.unexpected} blocks do not belong to it: {_numbers(record.unexpected_blocks)}.")
    if not said:
        for kind in KINDS:
            stated, found = getattr(outcome, f"image_{kind}"), whole.hex(kind)
            if stated and found and stated != found:
                said.append(f"The {kind} of the whole image is {found}, the manifest says {stated}.")
    if said:
        error = Mismatch(f"{record.what} gives no image of {record.snapshot_id}. {' '.join(said)}")
        error.failed_blocks = (*record.different_blocks, *record.unexpected_blocks)
        raise error


def rebuild_folder(
    folder: BlockFolder,
    target: RawFile | BlockDevice,
    manifest_path: Path | str,
    *,
    region: str = "",
    case: str = "",
    expected: Manifest | Iterable[int] | None = None,
    hashes: Sequence[str] = (),
    stop: Stop | None = None,
    tell: Tell | None = None,
) -> RebuildResult:
    """An image from single blocks, and a manifest of it.

    A folder alone cannot say which blocks are missing: what it does not have becomes zeros. `expected` says which there
    should be: a manifest, or the indexes that AWS lists.
    """
    path, asked = Path(manifest_path), stop or (lambda: False)
    identity = Identity(
        folder.snapshot_id, region, folder.volume_gib, case=case, tool=TOOL, tool_version=__version__
    )  # fmt: skip
    if path.exists():
        return _there_already(path, target, folder.records(), missing_checked=expected is not None)
    if expected is not None:
        _compare(folder, expected)

    def pause() -> None:
        if asked():
            raise Cancelled("The run was cancelled.")

    _refuse_unfinished(path)
    journal = Journal.begin(path, identity)
    outcome = Outcome(image_size=image_size(folder.volume_gib), environment=environment())
    session: dict[str, Any] = {"started": utc_now(), "rebuilt_from": folder.name, "ignored": len(folder.ignored)}
    whole, bad = WholeHash(hashes), list[int]()
    try:
        with _begun(target, identity):
            meter = Meter(tell, outcome.image_size, len(folder), lambda: 0)
            meter.phase = "rebuilding"
            buffer = memoryview(bytearray(BLOCK_SIZE))
            for done, (index, digest) in enumerate(folder.records(), 1):
                if not folder.read(index, buffer):
                    bad.append(index)
                elif not bad:
                    target.write(index, buffer, digest)
                    whole.block(index, buffer, pause)
                    journal.append(index, digest)
                pause()
                if meter.is_due():
                    meter.tell((index + 1) * BLOCK_SIZE, done, 0)
            if bad:
                error = Mismatch(
                    f"{folder.name} gives no image of {folder.snapshot_id}. {len(bad)} blocks do not have the length or"
                    f" the SHA-256 that their names say: {_numbers(bad)}."
                )
                error.failed_blocks = tuple(bad)
                raise error
            whole.zeros(outcome.image_size, pause)
            outcome.image_sha256, outcome.image_md5 = whole.hex("sha256"), whole.hex("md5")
            outcome.sinks = [target.finish()]
            outcome.sessions = [session | {"finished": utc_now()}]
            journal.finish(outcome)
    except BaseException:
        journal.discard()
        raise
    finally:
        journal.close()
    return RebuildResult(identity, outcome, path, True, expected is not None, folder.ignored)


def _there_already(
    path: Path, target: RawFile | BlockDevice, records: Iterator[tuple[int, bytes]], *, missing_checked: bool
) -> RebuildResult:
    with Manifest(path) as manifest:
        outcome, identity = manifest.check(), manifest.identity
        if any(one != other for one, other in _pairs(records, manifest.records())):
            raise BadInput(f"{path} is there already, and it is of other blocks: choose another name.")
    if not target.complete(identity):
        raise BadInput(f"{path} is there already, but not the image that it speaks of: move it away first.")
    return RebuildResult(identity, outcome, path, changed=False, missing_checked=missing_checked, ignored=[])


def _refuse_unfinished(path: Path) -> None:
    """An imaging run that was stopped can go on: its journal and its blocks are not replaced. A rebuild's can."""
    partial = Journal.partial_path(path)
    if not partial.exists():
        return
    with suppress(ManifestError), Manifest(partial, partial=True) as found:
        if found.identity.tool != TOOL:
            raise BadInput(f"{partial} is an unfinished run that images {found.identity.snapshot_id}: go on with it.")


@contextmanager
def _begun(target: RawFile | BlockDevice, identity: Identity) -> Iterator[None]:
    """The target, ready for its blocks. A partial file that was not published is of no use to a later run."""
    try:
        target.begin(identity, resume=False)
    except BaseException:
        target.close()
        raise
    try:
        yield
    finally:
        target.close()
        if isinstance(target, RawFile):
            target.partial.unlink(missing_ok=True)


def _compare(folder: BlockFolder, expected: Manifest | Iterable[int]) -> None:
    """Raise, with the blocks named, unless the folder has what is expected, by its names."""
    wanted: Iterator[tuple[int, bytes | None]]
    if isinstance(expected, Manifest):
        identity = expected.identity
        if (identity.snapshot_id, identity.volume_gib) != (folder.snapshot_id, folder.volume_gib):
            raise BadInput(f"{expected.path} is the manifest of {identity.snapshot_id}, not of {folder.snapshot_id}.")
        expected.check()
        wanted = iter(expected.records())
    else:
        wanted = ((index, None) for index in expected)
    missing, foreign, other = list[int](), list[int](), list[int]()
    for have, want in _pairs(folder.records(), wanted):
        if want is None:
            foreign.append(have[0])
        elif have is None:
            missing.append(want[0])
        elif want[1] is not None and want[1] != have[1]:
            other.append(want[0])
    kinds = (("missing", missing), ("not of this snapshot", foreign), ("of another content", other))
    said = [f"{len(blocks)} blocks are {what}: {_numbers(blocks)}." for what, blocks in kinds if blocks]
    if said:
        error = Mismatch(f"{folder.name} gives no image of {folder.snapshot_id}. {' '.join(said)}")
        error.failed_blocks = (*missing, *foreign, *other)
        raise error


def _pairs(left: Iterator[Any], right: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
    """Entries of two ascending streams side by side, by index; None where one has none."""
    one, two = next(left, None), next(right, None)
    while one is not None or two is not None:
        if two is None or (one is not None and one[0] < two[0]):
            yield one, None
            one = next(left, None)
        elif one is None or two[0] < one[0]:
            yield None, two
            two = next(right, None)
        else:
            yield one, two
            one, two = next(left, None), next(right, None)


def _numbers(indexes: Sequence[int]) -> str:
    more = f" and {len(indexes) - _NAMED} more" if len(indexes) > _NAMED else ""
    return ", ".join(map(str, indexes[:_NAMED])) + more
