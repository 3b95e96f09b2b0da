# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role `triage` hands on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.dfir.aws.plugins.plugin_utils.report.kept import kept


def triage_prefix(request: Mapping[str, Any], snapshot: Mapping[str, Any], triage: Mapping[str, Any]) -> str:
    """Where a triage is kept: each one by the time when it was made, since nothing there is ever overwritten."""
    moment = str(triage["made"]).replace(":", "").replace("-", "")
    return f"{request['incident']}/{snapshot['id']}/triage/{moment}/"


def triage_result(looked: Mapping[str, Any], report: Mapping[str, Any], request: Mapping[str, Any],
                  snapshot: Mapping[str, Any], bucket: str = "", dest: str = "") -> dict[str, Any]:
    """What was seen, and where it lies."""
    found = looked["triage"]
    return {
        **kept(looked, report, triage_prefix(request, snapshot, found), bucket, dest),
        "made": found["made"],
        "counts": dict(found["counts"]),
        "source": dict(found["source"]),
    }


class FilterModule:
    """Filters of the role triage."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Their names."""
        return {"triage_prefix": triage_prefix, "triage_result": triage_result}
