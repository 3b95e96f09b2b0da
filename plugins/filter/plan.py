# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a request for playbooks: made, refused, shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.dfir.aws.plugins.module_utils import plan, prices


def request_plan(request: Mapping[str, Any], found: Mapping[str, Any], host: Mapping[str, Any],
                 tables: Sequence[Mapping[str, Any]], max_cost_usd: Any = None, keep_hours: float = 168,
                 setup_minutes: float = 30, minutes_per_gib: float = 1) -> dict[str, Any]:
    """The plan, from the request, the snapshots that were found, and the host as it would be launched."""
    made = plan.Host(str(host["instance_type"]), int(host["vcpus"]), int(host["memory_mib"]), int(host["root_gib"]),
                     int(host["scratch_gib"]), float(host["hours"]),
                     float(host.get("longest_hours") or host["hours"]))
    try:
        return plan.make(request, found, made, tables, operator_max_usd=_limit(max_cost_usd),
                         keep_hours=float(keep_hours), setup_minutes=float(setup_minutes),
                         minutes_per_gib=float(minutes_per_gib))
    except prices.PriceError as error:
        raise AnsibleFilterError(str(error)) from None


def _limit(value: Any) -> float | None:
    """The operator's limit; nothing, or an empty text, is none."""
    if value is None or str(value).strip() == "":
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number < math.inf:
        raise AnsibleFilterError(f"dfir_aws_max_cost_usd must be a number of US dollars, or empty for no limit; it is "
                                 f"{value!r}.")
    return number


def kept_plan(request: Mapping[str, Any]) -> dict[str, Any]:
    """The plan of a request whose host is there already: the one in its record, never a new one."""
    return dict(request.get("plan") or {"request_id": request["request_id"], "items": []})


class FilterModule:
    """Filters of the role `plan`."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names as playbooks use them, below `dfir.aws.`."""
        return {"request_plan": request_plan, "kept_plan": kept_plan, "plan_refusal": plan.refusal,
                "plan_table": plan.table, "plan_in_short": plan.in_short}
