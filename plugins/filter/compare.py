# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role `compare` hands on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.dfir.aws.plugins.plugin_utils.report.kept import kept


def compare_prefix(request: Mapping[str, Any], comparison: Mapping[str, Any]) -> str:
    """Where a comparison is kept: with the newer snapshot, each by the time when it was made."""
    moment = str(comparison["made"]).replace(":", "").replace("-", "")
    return f"{request['incident']}/{comparison['source']['name']}/compare/{moment}/"


def compare_result(done: Mapping[str, Any], report: Mapping[str, Any], request: Mapping[str, Any], bucket: str = "",
                   dest: str = "") -> dict[str, Any]:
    """What changed, and where it lies."""
    found = done["comparison"]
    return {
        **kept(done, report, compare_prefix(request, found), bucket, dest),
        "made": found["made"],
        "base": found["base"]["name"],
        "newer": found["source"]["name"],
        "kinds": dict(found["kinds"]),
        "counts": dict(found["counts"]),
        "way": dict(found["way"]),
        "source": dict(found["source"]),
    }


class FilterModule:
    """Filters of the role compare."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Their names."""
        return {"compare_prefix": compare_prefix, "compare_result": compare_result}
