# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a role that looked into snapshots says of its files and its report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def kept(done: Mapping[str, Any], report: Mapping[str, Any], prefix: str, bucket: str, dest: str) -> dict[str, Any]:
    """Whether anything is new, where it lies, its files, and the short version for a screen.

    :param done: result of the module that looked: `changed` and `files`.
    :param report: result of `case_report`.
    :param prefix: where it is kept in the bucket; no bucket or no folder (`dest`) where they are empty.
    """
    places = ([f"s3://{bucket}/{prefix}"] if bucket else []) + ([dest] if dest else [])
    lines = [line.rstrip() for line in str(report["short"]).splitlines()]
    named = [line for line in lines if not line.startswith("Report: ")] if places else lines  # its place follows
    return {
        "changed": bool(done["changed"]),
        "places": places,
        "files": [{"name": str(file["path"]).rpartition("/")[2], "sha256": file["sha256"], "bytes": file["bytes"]}
                  for file in (*done["files"], report)],
        "lines": lines,
        "screen": [*named, *(f"Report: {place.rstrip('/')}/report.html" for place in places)],
    }
