# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules of custody share: bucket, key and actor of a module's options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .custody.aws import FAILURES, BucketStore, KmsKey
from .custody.errors import BadInput
from .custody.stores import FolderStore, Store

OPTIONS: dict[str, Any] = {
    "bucket": {"type": "str", "default": ""},
    "incident": {"type": "str", "required": True},
    # The name of a key of KMS, which is no secret.
    "signing_key": {"type": "str", "default": "", "no_log": False},
}


def bucket_store(module: Any, **more: Any) -> BucketStore:
    """The ledger in the module's bucket."""
    if not module.params["bucket"]:
        raise BadInput("bucket is empty: set dfir_aws_artifact_bucket.")
    return BucketStore(module.client("s3"), module.params["bucket"], **more)


def store(module: Any) -> Store:
    """The ledger in the module's folder, or in its bucket."""
    folder = module.params["folder"]
    return FolderStore(Path(folder)) if folder else bucket_store(module)


def signer(module: Any, name: str = "") -> KmsKey:
    """The module's key, or another one. An ARN says its region; any other name is of the module's."""
    name = name or module.params["signing_key"]
    if not name:
        raise BadInput("signing_key is empty: set dfir_aws_custody_key to a KMS key that signs (docs/custody.md).")
    elsewhere = {"region": name.split(":")[3]} if name.startswith("arn:") and name.count(":") >= 5 else {}
    return KmsKey(module.client("kms", **elsewhere), name)


def actor(module: Any) -> dict[str, str]:
    """Who is behind this run: who was let in, or the AWS identity."""
    given = module.params["actor"] or {}
    if given:
        return {name: str(given.get(name) or "") for name in ("kind", "name", "arn")}
    try:
        arn = str(module.client("sts").get_caller_identity()["Arn"])
    except FAILURES as error:
        raise BadInput(f"The AWS identity of this run is unknown: {error}") from error
    return {"kind": "cli", "name": arn.rsplit("/", 1)[-1], "arn": arn}


def known_entries(module: Any) -> Path | None:
    """The module's folder for entries that were read."""
    return Path(module.params["known_entries"]) if module.params["known_entries"] else None
