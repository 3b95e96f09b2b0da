# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module looks into, from its options."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .ebs.client import EbsClient
from .ebs.errors import BadInput
from .ebs.identity import SnapshotFacts, describe_snapshot
from .ebs_module import AWS_SPEC, engine_client
from .ebs_work import WORKER_SPEC, Work
from .triage.sources import ImageSource, SnapshotSource, Source

SOURCE_SPEC: dict[str, dict[str, Any]] = {
    "snapshot_id": {"type": "str"},
    "image": {"type": "path"},
    "limit_blocks": {"type": "int", "default": 6000},
    "cache": {"type": "path"},
    "connections": {"type": "int", "default": 16},
    "describe": {"type": "bool", "default": True},
    **AWS_SPEC,
    **WORKER_SPEC,
}
ONE_SOURCE: dict[str, Any] = {
    "required_one_of": [("snapshot_id", "image")], "mutually_exclusive": [("snapshot_id", "image")]}


def source_client(module: Any, work: Work) -> EbsClient | None:
    """The engine's client, where a snapshot is looked into."""
    # Readers of file systems log what is broken in them; here it is counted.
    logging.getLogger("dissect").setLevel(logging.CRITICAL + 1)
    return engine_client(module, work) if module.params["snapshot_id"] else None


def open_source(module: Any, work: Work, client: EbsClient | None) -> Source:
    """What is looked into, opened."""
    given = module.params
    _check(given)
    if client is None:
        return ImageSource(Path(given["image"]), work.stop)
    if given["describe"]:
        describe_snapshot(client, given["snapshot_id"]).require_imageable()
    return _snapshot(given, client, given["snapshot_id"], given["cache"])


def _check(given: dict[str, Any]) -> None:
    if given["limit_blocks"] < 0 or given["connections"] < 1:
        raise BadInput("limit_blocks must not be negative, and connections must be at least 1.")


def _snapshot(given: dict[str, Any], client: EbsClient, snapshot_id: str, cache: str | None) -> SnapshotSource:
    return SnapshotSource(client, snapshot_id, limit=given["limit_blocks"] or None, image=cache,
                          connections=given["connections"])


def source_name(module: Any) -> str:
    """What tells it from all others."""
    return module.params["snapshot_id"] or str(Path(module.params["image"]).resolve())


@dataclass
class Pair:
    """Two moments of a disk, the older one first. When each was made, as AWS says it; empty where it does not."""

    base: Source
    new: Source
    base_started: str = ""
    new_started: str = ""

    def close(self) -> None:
        """Let go of both."""
        self.base.close()
        self.new.close()


def pair_client(module: Any, work: Work) -> EbsClient | None:
    """The engine's client, where one of two that are compared is a snapshot."""
    client = source_client(module, work)
    return client or (engine_client(module, work) if module.params["base_snapshot_id"] else None)


def pair_names(module: Any) -> str:
    """What tells two that are compared from all others. Which of two snapshots is older is not the caller's to say."""
    given = module.params
    names = [given["base_snapshot_id"] or str(Path(given["base_image"]).resolve()), source_name(module)]
    return "\n".join(sorted(names) if given["base_snapshot_id"] and given["snapshot_id"] else names)


def pair_of(module: Any, work: Work, client: EbsClient | None) -> Pair:
    """What is compared, opened. Of two snapshots, the one that was started first is the older one."""
    given = module.params
    _check(given)
    ids = [given["base_snapshot_id"], given["snapshot_id"]]
    images = [given["base_image"], given["image"]]
    places = [str(Path(image).resolve()) if image else None for image in images]
    if any(one is not None and one == other for one, other in (ids, places)):
        raise BadInput("Name two that are different: there is nothing to compare.")
    known: list[SnapshotFacts | None] = [None, None]
    if client is not None and given["describe"]:
        known = [describe_snapshot(client, snapshot) if snapshot else None for snapshot in ids]
        for facts in known:
            if facts is not None:
                facts.require_imageable()
    if known[0] and known[1] and known[0].started and known[1].started < known[0].started:
        ids.reverse()
        known.reverse()
    opened: list[Source] = []
    try:
        for number, (snapshot, image) in enumerate(zip(ids, images, strict=True)):
            if client is not None and snapshot:
                opened.append(_snapshot(given, client, snapshot, given["cache"] if number else None))
            else:
                opened.append(ImageSource(Path(image), work.stop))
    except BaseException:
        for source in opened:
            source.close()
        raise
    started = [facts.started if facts else "" for facts in known]
    return Pair(opened[0], opened[1], started[0], started[1])
