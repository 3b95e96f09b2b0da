# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a request will take: what is copied, how long a host lives at most, and what that costs.

Arithmetic on what others looked up. Nothing here asks AWS, and the numbers are upper bounds unless they say otherwise:
a host ends itself at its time limit, or as late as an analyst may move that, which bounds what it costs.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from . import prices

GIB = 2**30
HOURS_A_MONTH = 730  # as AWS bills a GiB-month
BLOCKS_A_GIB = 2048  # of EBS direct, 512 KiB each
BLOCKS_A_SECOND = 980  # at which the engine reads one snapshot (ebs/rate.py), several of them one after the other
CURRENCY = "USD"
WIDTH = 64  # columns of a line in the job's output, behind its name
NOT_INCLUDED = (
    "taxes and discounts", "storing and fetching results (S3)", "KMS and API requests",
    "traffic through NAT gateways and interface endpoints", "volume initialization at a chosen rate",
)
CODES_UNKNOWN = ("AWS shows its Marketplace product codes to its owner alone; the volume is looked at before it is "
                 "attached")
CHECKED = "nothing was created and nothing written; what would happen on the host cannot be predicted"


@dataclass(frozen=True)
class Host:
    """An analysis host as it would be launched, from the role that launches it."""

    instance_type: str
    vcpus: int
    memory_mib: int
    root_gib: int
    scratch_gib: int
    hours: float
    longest_hours: float  # with all extensions that the request allows


@dataclass(frozen=True)
class Item:
    """One line of the estimate: `quantity` `unit`s at `usd_each` are `usd`."""

    name: str
    quantity: float
    unit: str
    usd_each: float | None
    usd: float | None
    price_region: str = ""
    stand_in: bool = False
    as_of: str = ""
    source: str = ""


def make(request: Mapping[str, Any], found: Mapping[str, Any], host: Host, tables: Sequence[Mapping[str, Any]], *,
         keep_hours: float, setup_minutes: float, minutes_per_gib: float, operator_max_usd: float | None,
         ) -> dict[str, Any]:
    """The plan of a request.

    :param request: as the front door returned it.
    :param found: `snapshots` to use or to copy, each with `how` (itself, reuse, copy), `id`, `volume_gib`, `full_bytes`
        (None where AWS does not say), `codes_known` (whether its product codes are), `source_id`, `source_region`; and
        `volume_gib` of all.
    :param tables: price tables, the operator's first.
    :param keep_hours: for how long a copy is kept at least.
    :param setup_minutes: expected time of a host besides the reading of its volume.
    :param minutes_per_gib: expected time in which a GiB of written data is loaded and looked at.
    :param operator_max_usd: the operator's limit; None: no limit.
    :raises prices.PriceError: when a table is none.
    """
    tables = prices.checked(tables)
    region, volume_gib = str(request["analysis_region"]), int(found["volume_gib"])
    snapshots = [_snapshot(snapshot) for snapshot in found["snapshots"]]
    data_gib = sum(snapshot["data_gib"] for snapshot in snapshots)
    copied_gib = sum(snapshot["data_gib"] for snapshot in snapshots if snapshot["how"] == "copy")
    # Whether a journal is dirty is known only when the evidence is mounted: a second volume of each, at most.
    journal_gib = 0 if request.get("journal") == "ignore" else volume_gib
    volumes_gib = host.root_gib + host.scratch_gib + volume_gib + journal_gib
    automatic = request["mode"] == "automatic"
    direct = request.get("evidence_by") == "direct"
    # A second volume is filled like the first one.
    blocks = math.ceil(data_gib * BLOCKS_A_GIB) * (2 if journal_gib else 1) if direct else 0
    filling = blocks / BLOCKS_A_SECOND / 60
    expected = min(host.hours, (setup_minutes + minutes_per_gib * data_gib + filling) / 60) if automatic else host.hours
    family = host.instance_type.partition(".")[0]
    rate = prices.find(tables, "host", region, (host.instance_type, family))
    # A family's price is that of a vCPU; a type's price is that of the whole host.
    per_hour = None if rate is None else rate.usd * (1 if rate.name == host.instance_type else host.vcpus)
    month = 1 / HOURS_A_MONTH
    items = []
    if copied_gib:
        leaving = prices.find(tables, "transfer", snapshots[0]["source_region"])
        stored = prices.find(tables, "snapshot", region)
        items += [_item("copy transfer", copied_gib, "GiB", leaving, leaving and leaving.usd),
                  _item(f"copy {_short(keep_hours)} h", copied_gib, "GiB", stored,
                        stored and stored.usd * keep_hours * month)]
    if direct:
        each = prices.find(tables, "blocks", region)
        items.append(_item("blocks", blocks / 1000, "1,000", each, each and each.usd))
    disk = prices.find(tables, "volume", region)
    items += [_item("host", host.longest_hours, "h", rate, per_hour),
              _item("volumes", volumes_gib * host.longest_hours, "GiB-h", disk, disk and disk.usd * month)]
    unpriced = [item.name for item in items if item.usd is None]
    limit, limited_by = limits(operator_max_usd, request.get("max_cost_usd"))
    return {
        "request_id": request["request_id"], "mode": request["mode"],
        "snapshots": [{**snapshot, "data_gib": round(snapshot["data_gib"], 3)} for snapshot in snapshots],
        "source_region": snapshots[0]["source_region"], "region": region,
        "evidence_by": "direct" if direct else "volume",
        "volume_gib": volume_gib, "journal_gib": journal_gib, "data_gib": round(data_gib, 3),
        "copied_gib": round(copied_gib, 3), "host": asdict(host), "volumes_gib": volumes_gib,
        "expected_hours": round(expected, 2), "items": [asdict(item) for item in items], "currency": CURRENCY,
        "total_usd": None if unpriced else round(sum(item.usd or 0 for item in items), 2), "unpriced": unpriced,
        "max_cost_usd": limit, "limited_by": limited_by,
        "not_included": [*NOT_INCLUDED, *([f"the copy after {_short(keep_hours)} hours"] if copied_gib else [])],
    }


def _snapshot(found: Mapping[str, Any]) -> dict[str, Any]:
    """One snapshot: what is to be copied of it at most, and whether AWS says how much is written."""
    size, full = int(found["volume_gib"]), found.get("full_bytes")
    return {"id": str(found["source_id"]), "source_region": str(found["source_region"]), "how": str(found["how"]),
            "volume_gib": size, "data_gib": size if full is None else min(size, int(full) / GIB),
            "data_known": full is not None, "codes_known": bool(found.get("codes_known", True))}


def limits(operator: float | None, request: float | None) -> tuple[float | None, str]:
    """The lower of the two limits, and whose it is."""
    given = [(float(value), name) for value, name in ((operator, "dfir_aws_max_cost_usd"), (request, "max_cost_usd"))
             if value is not None]
    return min(given) if given else (None, "")


def refusal(plan: Mapping[str, Any]) -> str:
    """Why a plan may not be carried out, in one sentence; empty when it may."""
    limit, total = plan["max_cost_usd"], plan["total_usd"]
    if limit is None:
        return ""
    host = plan["host"]
    if total is None:
        return (f"The cost cannot be held against the limit of {_usd(limit)} ({plan['limited_by']}): no price is known "
                f"for {', '.join(plan['unpriced'])} ({host['instance_type']} in {plan['region']}); add it to "
                "dfir_aws_prices, or ask for another instance type.")
    if total <= limit:
        return ""
    parts = ", ".join(f"{item['name']} {item['usd']:.2f}" for item in plan["items"])
    return (f"It would cost up to {_usd(total)} ({parts}), more than the limit of {_usd(limit)} "
            f"({plan['limited_by']}): ask for fewer hours ({_asked(host)}) or a smaller instance type, or have the "
            "limit raised.")


def table(plan: Mapping[str, Any], kept: bool = False, check_mode: bool = False) -> list[str]:
    """The plan for people, a line each, to be read in a job's output.

    :param kept: the host is there already: this is the plan as it was made then.
    """
    # Narrow, without a leading blank and without a colon before one: Ansible shows such lines as they are.
    if not plan.get("items"):
        rows = [("Plan", f"request {plan['request_id']} has a host already, and no plan of it was kept")]
    else:
        host = plan["host"]
        rows = [
            ("Plan", f"of request {plan['request_id']}" + (", as made when its host was launched" if kept else "")),
            *[("Snapshot", f"{snapshot['id']} in {snapshot['source_region']}, {_data(snapshot)} of "
                           f"{snapshot['volume_gib']} GiB") for snapshot in plan["snapshots"]],
            *([] if all(snapshot["codes_known"] for snapshot in plan["snapshots"]) else [("Snapshot", CODES_UNKNOWN)]),
            ("Copy", _copy(plan)),
            ("Host", f"{host['instance_type']} ({host['vcpus']} vCPU, {host['memory_mib'] / 1024:g} GiB) in "
                     f"{plan['region']}"),
            ("Time", f"at most {_hours(host)}, {_expected(plan)}"),
            ("Volumes", f"{plan['volumes_gib']} GiB gp3 (root {host['root_gib']}, scratch {host['scratch_gib']}, "
                        f"evidence {plan['volume_gib']}{_journal(plan)})"
                        + (", filled block by block" if plan.get("evidence_by") == "direct" else "")),
            *[("Cost", _line(item)) for item in plan["items"]],
            ("Cost", f"{'at most, in ' + plan['currency']:<45}{_amount(plan['total_usd']):>9}"),
            ("Limit", "none" if plan["max_cost_usd"] is None else
             f"{plan['max_cost_usd']:.2f} {plan['currency']} ({plan['limited_by']})"),
            *_footnotes(plan),
        ]
    rows += [("Check", CHECKED)] if check_mode else []
    return [f"{name:<10}{part}" for name, text in rows for part in textwrap.wrap(text, WIDTH) or [""]]


def in_short(plan: Mapping[str, Any]) -> str:
    """The plan in one line, for a mail."""
    if not plan.get("items"):
        return "not estimated"
    hours, gib = _short(_longest(plan["host"])), plan["volumes_gib"]
    if plan["total_usd"] is None:
        return f"not known: no price for {', '.join(plan['unpriced'])} (host {hours} h, volumes {gib} GiB)"
    return f"at most {_usd(plan['total_usd'])} by estimate (host {hours} h, volumes {gib} GiB)"


def _longest(host: Mapping[str, Any]) -> float:
    return float(host.get("longest_hours") or host["hours"])  # a plan in an older record has no extensions


def _hours(host: Mapping[str, Any]) -> str:
    if _longest(host) == float(host["hours"]):
        return f"{_short(host['hours'])} h"
    return f"{_short(host['hours'])} h, with extensions {_short(_longest(host))} h"


def _asked(host: Mapping[str, Any]) -> str:
    asked = f"time_limit_hours, now {_short(host['hours'])}"
    return asked if _longest(host) == float(host["hours"]) else f"{asked}; max_hours, now {_short(_longest(host))}"


def _item(name: str, quantity: float, unit: str, price: prices.Price | None, each: float | None) -> Item:
    if price is None or each is None:
        return Item(name, round(quantity, 3), unit, None, None)
    return Item(name, round(quantity, 3), unit, round(each, 6), round(quantity * each, 4), price.region, price.stand_in,
                price.as_of, price.source)


def _data(snapshot: Mapping[str, Any]) -> str:
    known = snapshot["data_known"]
    return f"{snapshot['data_gib']:.1f} GiB written" if known else "up to all (AWS does not say how much)"


def _journal(plan: Mapping[str, Any]) -> str:
    return f", journals up to {plan['journal_gib']}" if plan["journal_gib"] else ""


def _copy(plan: Mapping[str, Any]) -> str:
    hows = [snapshot["how"] for snapshot in plan["snapshots"]]
    several = f"{hows.count('copy')} of {len(hows)} snapshots, " if len(hows) > 1 else ""
    if "copy" in hows:
        return f"{several}{plan['copied_gib']:.1f} GiB from {plan['source_region']} to {plan['region']}"
    return "an earlier one is used" if "reuse" in hows else "not needed"


def _expected(plan: Mapping[str, Any]) -> str:
    if plan["mode"] == "manual":
        return "the analyst ends it"
    after = " after the copy (AWS does not say how long that takes)" if plan["copied_gib"] else ""
    return f"about {plan['expected_hours']:.1f} h expected (assumed){after}"


def _line(item: Mapping[str, Any]) -> str:
    return (f"{item['name']:<18}{_short(item['quantity']):>7} {item['unit']:<5} x {_rate(item):<9} ="
            f"{_amount(item['usd']):>9}")


def _footnotes(plan: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where the prices come from, each source once, and what is missing from the estimate."""
    rows = []
    sources: dict[str, list[str]] = {}
    for item in plan["items"]:
        if item["source"]:
            sources.setdefault(f"{item['as_of']}, {item['source']}", []).append(item["name"])
    rows += [("Prices", f"of {', '.join(names)} as of {source}") for source, names in sources.items()]
    lent = [item["name"] for item in plan["items"] if item["stand_in"]]
    if lent:
        rows.append(("Prices", f"of {prices.REFERENCE}, for want of others, for {', '.join(lent)}"))
    if plan["unpriced"]:
        rows.append(("Prices", f"unknown for {', '.join(plan['unpriced'])}, add them to dfir_aws_prices"))
    return [*rows, ("Without", ", ".join(plan["not_included"]))]


def _rate(item: Mapping[str, Any]) -> str:
    return "?" if item["usd_each"] is None else f"{item['usd_each']:.6f}".rstrip("0").rstrip(".")


def _amount(usd: float | None) -> str:
    return "unknown" if usd is None else f"{usd:.2f}"


def _usd(amount: float) -> str:
    return f"{amount:.2f} {CURRENCY}"


def _short(number: float) -> str:
    return f"{round(float(number), 1):g}" if abs(number) < 1e6 else f"{number:.0f}"
