# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role `triage` hands on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def triage_prefix(request: Mapping[str, Any], snapshot: Mapping[str, Any], triage: Mapping[str, Any]) -> str:
    """Where a triage is kept: each one by the time when it was made, since nothing there is ever overwritten."""
    moment = str(triage["made"]).replace(":", "").replace("-", "")
    return f"{request['incident']}/{snapshot['id']}/triage/{moment}/"


def triage_result(looked: Mapping[str, Any], report: Mapping[str, Any], request: Mapping[str, Any],
                  snapshot: Mapping[str, Any], bucket: str = "", dest: str = "") -> dict[str, Any]:
    """What was seen, and where it lies."""
    prefix = triage_prefix(request, snapshot, looked["triage"])
    places = ([f"s3://{bucket}/{prefix}"] if bucket else []) + ([dest] if dest else [])
    files = [*looked["files"], {"path": report["path"], "sha256": report["sha256"], "bytes": report["bytes"]}]
    names = [{"name": str(file["path"]).rpartition("/")[2], "sha256": file["sha256"], "bytes": file["bytes"]}
             for file in files]
    lines = [line.rstrip() for line in str(report["short"]).splitlines()]
    return {
        "changed": bool(looked["changed"]),
        "made": looked["triage"]["made"],
        "counts": dict(looked["triage"]["counts"]),
        "source": dict(looked["triage"]["source"]),
        "places": places,
        "files": names,
        "lines": lines,
        "screen": [*lines, *(f"Report: {place.rstrip('/')}/report.html" for place in places)],
    }


class FilterModule:
    """Filters of the role triage."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Their names."""
        return {"triage_prefix": triage_prefix, "triage_result": triage_result}
