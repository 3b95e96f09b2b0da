# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done again: names of events for work that may fail, be killed and be repeated.

An event stands once in a ledger. Work that failed and is tried again is an event of its own, named after the first:
`image/1`, then `image/1/again-2`. Work that was begun and broke off is still that event: whoever goes on ends it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

_AGAIN = re.compile(r"(?P<base>.+)/again-(?P<number>[1-9][0-9]{0,5})")


class _Last(NamedTuple):
    number: int  # how often it was tried
    begun: bool  # an intent whose outcome is not there
    ended: tuple[str, str, str] | None  # result, and kind and id of the object that it was done to


class Tries:
    """What was tried, as entries say in their order; it gives the next event its name."""

    def __init__(self, entries: Iterable[Mapping[str, Any]] = ()) -> None:
        self._last: dict[str, _Last] = {}
        for entry in entries:
            found = _AGAIN.fullmatch(entry["event"])
            base, number = (found["base"], int(found["number"])) if found else (entry["event"], 1)
            if number >= self._last.get(base, _Last(0, False, None)).number:
                self._last[base] = _now(number, entry)

    def named(self, told: Mapping[str, Any]) -> dict[str, Any] | None:
        """What somebody has to say, with the name of its try; None where the ledger says it already.

        :param told: as `Ledger.append` takes it, the event by its first name. With `repeats`, work that went well and
            is begun once more is new work; without, it is the same work, looked at once more.
        """
        told = dict(told)
        repeats, base = bool(told.pop("repeats", False)), told["event"]
        last = self._last.get(base, _Last(0, False, None))
        well = last.ended is not None and last.ended[0] == "ok"
        if told["phase"] == "intent":
            if last.begun or (well and not repeats):
                return None
        elif last.begun:
            told["phase"] = "outcome"
        else:
            if last.ended == _ended(told) and well and not repeats:
                return None
            told["phase"] = "record"  # nobody said before that it was about to be done
        number = last.number if told["phase"] == "outcome" else last.number + 1
        self._last[base] = _now(number, told)
        return {**told, "event": base if number == 1 else f"{base}/again-{number}"}


def _now(number: int, entry: Mapping[str, Any]) -> _Last:
    begins = entry["phase"] == "intent"
    return _Last(number, begins, None if begins else _ended(entry))


def _ended(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(entry["result"]), str(entry["object"]["kind"]), str(entry["object"]["id"])
