# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role `reaper` decides and says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.outlived import View, judge


def outlived(exists: Mapping[str, Any], told: Mapping[str, Any], grace: float, orphan_age: float,
             iam_path: str = "/dfir/") -> dict[str, Any]:
    """What has outlived its time or its request, what stays, and what is not ours, each with its reason.

    :param exists: what M(dfir.aws.request_resources_info) returned.
    :param told: what M(dfir.aws.request_records_info) returned for the requests of all that.
    """
    view = View(
        now=datetime.now(timezone.utc), grace=timedelta(seconds=float(grace)),
        orphan_age=timedelta(seconds=float(orphan_age)), iam_path=iam_path,
        records={str(record["request_id"]): record for record in told.get("records") or []},
        unknown=[str(key).rpartition("/")[2].removesuffix(".json") for key in told.get("unreadable") or []],
        looked=list(exists.get("looked") or []), unseen=[item["place"] for item in exists.get("unseen") or []])
    judgment = judge(exists.get("resources") or [], view)
    return {"outlived": judgment.outlived, "kept": judgment.kept, "foreign": judgment.foreign}


def reaper_report(judged: Mapping[str, Any], unseen: Sequence[Mapping[str, Any]] = ()) -> list[str]:
    """What a run found, line by line."""
    titles = (("outlived", "outlived"), ("kept", "kept"), ("foreign", "not surely ours, left alone"))
    lines = [f"{title}: {_named(thing)}: {thing['reason']}" for key, title in titles for thing in judged[key]]
    lines += [f"not looked at: {item['place']}: {item['reason']}" for item in unseen]
    return lines or ["Nothing of any request exists."]


def reaper_outcome(judged: Mapping[str, Any], unseen: Sequence[Mapping[str, Any]], tried: Iterable[Mapping[str, Any]],
                   ) -> dict[str, Any]:
    """What the role hands on.

    :param tried: results of the removals, each with the thing as `item`. A failed one does not say whether it is gone.
    """
    done = [result for result in tried if not result.get("skipped")]
    failed = [{**_short(result["item"]), "reason": " ".join(str(result.get("msg") or "no reason").split())}
              for result in done if "gone" not in result]
    failed += [_short({"type": "region", "id": item["place"], "region": item["place"], "reason": item["reason"]})
               for item in unseen]
    return {
        "outlived": [_short(thing) for thing in judged["outlived"]],
        "kept": [_short(thing) for thing in judged["kept"]],
        "foreign": [_short(thing) for thing in judged["foreign"]],
        "removed": [_short(result["item"]) for result in done if "gone" in result and result.get("changed")],
        "vanished": [_short(result["item"]) for result in done if result.get("gone")],
        "failed": failed,
    }


def _short(thing: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(thing.get(key) or "") for key in ("type", "id", "region", "request_id", "reason")}


def _named(thing: Mapping[str, Any]) -> str:
    return f"{thing['type']} {thing['id']} ({thing['region']})"


class FilterModule:
    """Filters of the role `reaper`."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names as playbooks use them, below `dfir.aws.`."""
        return {function.__name__: function for function in (outlived, reaper_report, reaper_outcome)}
