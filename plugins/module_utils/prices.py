# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prices as data: which table names one, how old it is, and what stands in where a region has none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# What a price is for, and of what: all in US dollars.
ITEMS = {
    "host": "a vCPU and hour (by family), or an hour (by instance type)",
    "volume": "a GiB and month of gp3",
    "snapshot": "a GiB and month of a stored snapshot",
    "transfer": "a GiB that leaves the region for another one",
    "blocks": "1,000 blocks read by EBS direct",
}
ANY_REGION = "*"
# The region whose prices stand in for those of another. It is mostly the cheapest: the plan says where it stands in.
REFERENCE = "us-east-1"


class PriceError(ValueError):
    """One sentence that says what is wrong with a price table, and what to do."""


class Price(NamedTuple):
    """One price in US dollars, with where it comes from.

    :ivar name: the key under which a table names it: an instance type, a family, or nothing.
    :ivar stand_in: the table has none for the region that was asked for; this is the reference region's.
    """

    usd: float
    region: str
    name: str
    as_of: str
    source: str
    stand_in: bool


def checked(tables: Any) -> list[Mapping[str, Any]]:
    """The tables as they are, once all of them proved to be tables; `PriceError` says which is not."""
    if not isinstance(tables, Sequence) or isinstance(tables, str):
        raise PriceError("The prices (dfir_aws_prices) must be a list of tables, as in roles/plan/defaults/main.yml.")
    for number, table in enumerate(tables, 1):
        wrong = _wrong(table)
        if wrong:
            raise PriceError(f"Table {number} of the prices (dfir_aws_prices) {wrong}.")
    return list(tables)


def find(tables: Sequence[Mapping[str, Any]], item: str, region: str, names: Sequence[str] = ()) -> Price | None:
    """The price of an item in a region, from the first table that has one; an operator's tables come first.

    :param tables: as `checked` let them through.
    :param names: keys to look for where a table names several, the preferred one first: instance type, then family.
    :returns: None where no table has it, not even for the reference region.
    """
    for wanted, stand_in in ((region, False), (REFERENCE, True)):
        for table in tables:
            if table["item"] != item:
                continue
            by_region = table["prices"]
            key = wanted if wanted in by_region else ANY_REGION
            hit = _named(by_region.get(key), names)
            if hit:
                return Price(hit[1], wanted, hit[0], str(table["as_of"]), str(table["source"]),
                             stand_in and region != REFERENCE)
    return None


def _named(value: Any, names: Sequence[str]) -> tuple[str, float] | None:
    if isinstance(value, Mapping):
        return next(((name, float(value[name])) for name in names if name in value), None)
    return None if value is None else ("", float(value))


def _wrong(table: Any) -> str:
    """What is wrong with one table, as the end of a sentence; empty when nothing is."""
    if not isinstance(table, Mapping):
        return "is not a dictionary"
    if table.get("item") not in ITEMS:
        return f"has no item out of {', '.join(ITEMS)}"
    for key in ("as_of", "source"):
        if not str(table.get(key) or "").strip():
            return f"does not say {key}: a price without date and source cannot be judged"
    prices = table.get("prices")
    if not isinstance(prices, Mapping) or not prices:
        return "has no prices by region"
    for region, value in prices.items():
        if table["item"] == "host" and not isinstance(value, Mapping):
            return f"has one price for all hosts in {region}: name families or instance types"
        for number in value.values() if isinstance(value, Mapping) else [value]:
            if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 <= number < math.inf:
                return f"holds for {region} what is no price: a number of US dollars is needed"
    return ""
