# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the records of requests out of the artifact bucket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from .record import FORMAT
from .request_spec import RECORDS

ABSENT = ("NoSuchKey", "404")


def listed(s3: Any, bucket: str) -> Iterator[tuple[str, datetime]]:
    """The keys of all records, and when each was changed."""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=RECORDS, Delimiter="/"):
        for item in page.get("Contents") or []:
            yield item["Key"], item["LastModified"]


def recent(s3: Any, bucket: str, since: datetime) -> Iterator[str]:
    """Keys of records that were changed since then."""
    return (key for key, changed in listed(s3, bucket) if changed >= since)


def read(s3: Any, bucket: str, key: str) -> dict[str, Any] | None:
    """A record; None where the object is none."""
    try:
        record = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    except ValueError:
        return None
    mine = isinstance(record, dict) and record.get("format") == FORMAT and isinstance(record.get("request"), dict)
    return record if mine and key == f"{RECORDS}{record.get('request_id')}.json" else None
