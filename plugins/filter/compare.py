# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role `compare` hands on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def compare_prefix(request: Mapping[str, Any], comparison: Mapping[str, Any]) -> str:
    """Where a comparison is kept: with the newer snapshot, each by the time when it was made."""
    moment = str(comparison["made"]).replace(":", "").replace("-", "")
    return f"{request['incident']}/{comparison['source']['name']}/compare/{moment}/"


def compare_result(done: Mapping[str, Any], report: Mapping[str, Any], request: Mapping[str, Any], bucket: str = "",
                   dest: str = "") -> dict[str, Any]:
    """What changed, and where it lies."""
    found = done["comparison"]
    places = ([f"s3://{bucket}/{compare_prefix(request, found)}"] if bucket else []) + ([dest] if dest else [])
    files = [*done["files"], {"path": report["path"], "sha256": report["sha256"], "bytes": report["bytes"]}]
    names = [{"name": str(file["path"]).rpartition("/")[2], "sha256": file["sha256"], "bytes": file["bytes"]}
             for file in files]
    lines = [line.rstrip() for line in str(report["short"]).splitlines()]
    return {
        "changed": bool(done["changed"]),
        "made": found["made"],
        "base": found["base"]["name"],
        "newer": found["source"]["name"],
        "kinds": dict(found["kinds"]),
        "counts": dict(found["counts"]),
        "way": dict(found["way"]),
        "source": dict(found["source"]),
        "places": places,
        "files": names,
        "lines": lines,
        "screen": [*lines, *(f"Report: {place.rstrip('/')}/report.html" for place in places)],
    }


class FilterModule:
    """Filters of the role compare."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Their names."""
        return {"compare_prefix": compare_prefix, "compare_result": compare_result}
