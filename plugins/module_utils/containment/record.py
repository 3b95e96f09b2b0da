# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a containment: what was, what was done, and how it is undone. Releasing works from it and nothing else.

One an instance, where no analysis host can write. It is created with If-None-Match and changed with If-Match, so of
two runs at the same time one ends at its next write, before its next step. Each step is written as intended before
its first change, and with its outcome after the last. Times are UTC.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..forensics.s3_put import UploadError, put
from .base import ContainmentError, code_of

FORMAT = 1
FOLDER = "requests/containment/"
LOST = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


class Shelf:
    """Where the record of one instance lies, and its write-once statements beside the evidence."""

    def __init__(self, s3: Any, bucket: str, instance_id: str) -> None:
        self._s3, self._bucket, self._instance = s3, bucket, instance_id
        self.key = f"{FOLDER}{instance_id}.json"
        self._etag = ""

    def read(self) -> dict[str, Any] | None:
        """The record, None where there is none."""
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=self.key)
        except Exception as error:
            if code_of(error) not in ("NoSuchKey", "404"):
                raise
            self._etag = ""
            return None
        self._etag = str(answer["ETag"])
        try:
            record = json.loads(answer["Body"].read())
        except ValueError:
            record = None
        if not isinstance(record, dict) or (record.get("format"), record.get("instance_id")) != (
                FORMAT, self._instance):
            raise ContainmentError(f"s3://{self._bucket}/{self.key} is not the record of a containment (format 1): "
                                   "look at it, and restore an earlier version of the object.")
        return record

    def write(self, record: Mapping[str, Any]) -> None:
        """Put the record in the place of the one that was read."""
        condition = {"IfMatch": self._etag} if self._etag else {"IfNoneMatch": "*"}
        try:
            answer = self._s3.put_object(Bucket=self._bucket, Key=self.key, Body=_json(record),
                                         ContentType="application/json", ChecksumAlgorithm="SHA256", **condition)
        except Exception as error:
            if code_of(error) not in LOST:
                raise
            raise ContainmentError(
                f"Another run works on {self._instance} at the same time and has changed its record: this one stopped "
                "before its next step. Wait for the other, and look at what it says.") from None
        self._etag = str(answer["ETag"])

    def state(self, record: Mapping[str, Any], word: str) -> str:
        """Put what was done beside the evidence, once, named by its content. Returns its address."""
        content = _json(record)
        sha256 = hashlib.sha256(content).hexdigest()
        key = f"{record['incident']}/{self._instance}/containment/{word}-{sha256[:12]}.json"
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            try:
                put(self._s3, self._bucket, key, Path(file.name), sha256, len(content))
            except UploadError as error:
                if error.kind != "there":
                    raise
        return f"s3://{self._bucket}/{key}"


def _json(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, indent=1, sort_keys=True).encode() + b"\n"
