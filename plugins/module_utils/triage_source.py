# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module looks into, from its options."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from .ebs.client import EbsClient
from .ebs.errors import BadInput
from .ebs.identity import describe_snapshot
from .ebs_module import AWS_SPEC, engine_client
from .ebs_work import WORKER_SPEC, Work
from .triage import opened
from .triage.opened import Keys
from .triage.sources import ImageSource, SnapshotSource, Source

SOURCE_SPEC: dict[str, dict[str, Any]] = {
    "snapshot_id": {"type": "str"},
    "image": {"type": "path"},
    "key_file": {"type": "path", "no_log": False},  # a path; what is in the file is seen by nobody
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
    if given["limit_blocks"] < 0 or given["connections"] < 1:
        raise BadInput("limit_blocks must not be negative, and connections must be at least 1.")
    if client is None:
        return ImageSource(Path(given["image"]), work.stop)
    if given["describe"]:
        describe_snapshot(client, given["snapshot_id"]).require_imageable()
    return SnapshotSource(client, given["snapshot_id"], limit=given["limit_blocks"] or None, image=given["cache"],
                          connections=given["connections"])


def source_keys(module: Any) -> Keys | None:
    """The keys to what is encrypted in it."""
    return opened.load(Path(module.params["key_file"])) if module.params["key_file"] else None


def source_name(module: Any) -> str:
    """What tells it from all others. Of a file of keys, only when it was changed: with a digest of it, passphrases
    could be guessed from what is written down."""
    name = module.params["snapshot_id"] or str(Path(module.params["image"]).resolve())
    keys = module.params["key_file"]
    if not keys:
        return name
    try:
        return f"{name} with the keys of {Path(keys).stat().st_mtime_ns}"
    except OSError as error:
        raise BadInput(f"{keys} cannot be read ({error.strerror}): name a file of keys.") from error
