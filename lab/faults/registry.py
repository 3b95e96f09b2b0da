# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which faults are armed. Thread-safe: the rooms ask from many threads at once."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from lab.contracts import Fault
from lab.faults.points import POINTS


class FaultError(ValueError):
    """A fault that cannot be armed; the message is one sentence for the user."""


@dataclass
class _Armed:
    """An armed fault: `left` is how often it still fires (None: until cleared), `skip` how many matches pass first."""

    name: str
    left: int | None
    skip: int
    match: dict[str, str]
    args: dict[str, Any]
    taken: int = 0
    number: int = field(default=0)

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.number,
            "name": self.name,
            "times": self.left,
            "after": self.skip,
            "match": dict(self.match),
            "args": dict(self.args),
            "taken": self.taken,
        }


class Registry:
    """Implements `contracts.Faults`, and what arms, lists and clears for the control endpoint and the tests."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: dict[str, list[_Armed]] = {}
        self._taken: dict[str, int] = {}
        self._number = 0

    @staticmethod
    def describe() -> dict[str, dict[str, Any]]:
        """The table of `lab.faults.points`, as data."""
        return {
            name: {
                "what": point.what,
                "match": list(point.match),
                "args": {key: kind.__name__ for key, kind in point.args.items()},
            }
            for name, point in POINTS.items()
        }

    def arm(
        self,
        name: str,
        *,
        times: int | None = 1,
        after: int = 0,
        match: Mapping[str, Any] | None = None,
        args: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Arm `name` to fire `times` times (None: until cleared), after letting `after` matching requests pass.

        `match` narrows it to a context: equal, or a shell pattern (`snap-0*`). Returns the armed fault as JSON data.
        """
        if name not in POINTS:
            raise FaultError(f"There is no fault called {name!r}; the lab knows: {', '.join(sorted(POINTS))}.")
        point = POINTS[name]
        for key in match or {}:
            if key not in point.match:
                known = ", ".join(point.match)
                raise FaultError(f"The fault {name} cannot be matched on {key!r}; it can be matched on: {known}.")
        armed = _Armed(
            name=name,
            left=_count("times", times, name) if times is not None else None,
            skip=_count("after", after, name, least=0),
            match={key: str(value) for key, value in (match or {}).items()},
            args={key: _setting(name, key, value) for key, value in (args or {}).items()},
        )
        with self._lock:
            self._number += 1
            armed.number = self._number
            self._armed.setdefault(name, []).append(armed)
            return armed.to_json()

    def arm_json(self, data: Any) -> dict[str, Any]:
        """Arm what a POST to the control endpoint says: `{"name", "times", "after", "match", "args"}`."""
        if not isinstance(data, dict) or not isinstance(data.get("name"), str):
            raise FaultError('A fault is a JSON object with at least a "name".')
        unknown = sorted(set(data) - {"name", "times", "after", "match", "args"})
        if unknown:
            raise FaultError(f"A fault has no field {unknown[0]!r}; its fields are name, times, after, match, args.")
        for key in ("match", "args"):
            if not isinstance(data.get(key) or {}, dict):
                raise FaultError(f'The field "{key}" of a fault is a JSON object.')
        return self.arm(
            data["name"],
            times=data.get("times", 1),
            after=data.get("after", 0),
            match=data.get("match"),
            args=data.get("args"),
        )

    @staticmethod
    def parse_words(name: str, words: Iterable[str]) -> dict[str, Any]:
        """Data for `arm_json` from a command line: `times=3 snapshot=snap-0* seconds=2` (`times=always`: no end)."""
        if name not in POINTS:
            raise FaultError(f"There is no fault called {name!r}; the lab knows: {', '.join(sorted(POINTS))}.")
        point = POINTS[name]
        data: dict[str, Any] = {"name": name, "match": {}, "args": {}}
        for word in words:
            key, equals, value = word.partition("=")
            if not equals:
                raise FaultError(f"{word!r} is not of the form key=value.")
            if key in ("times", "after"):
                data[key] = None if (key, value) == ("times", "always") else value
            elif key in point.args:
                data["args"][key] = value
            elif key in point.match:
                data["match"][key] = value
            else:
                known = ", ".join(["times", "after", *point.match, *point.args])
                raise FaultError(f"The fault {name} has no setting {key!r}; it has: {known}.")
        return data

    def take(self, name: str, **context: Any) -> Fault | None:
        """The armed fault of that name whose conditions match `context`, its count lowered by one; else None."""
        # A dict look-up without the lock keeps an idle registry free of cost on the block path; arming replaces nothing
        # that a reader could see half done.
        if name not in self._armed:
            if name not in POINTS:
                raise FaultError(f"There is no fault point called {name!r}.")
            return None
        with self._lock:
            for armed in self._armed.get(name, ()):
                if not all(_matches(context.get(key), pattern) for key, pattern in armed.match.items()):
                    continue
                if armed.skip:
                    armed.skip -= 1
                    continue
                armed.taken += 1
                self._taken[name] = self._taken.get(name, 0) + 1
                if armed.left is not None:
                    armed.left -= 1
                    if armed.left == 0:
                        self._remove(armed)
                return Fault(name=name, args=dict(armed.args))
        return None

    def taken(self, name: str) -> int:
        """How often `name` fired since the lab started."""
        with self._lock:
            return self._taken.get(name, 0)

    def list(self) -> list[dict[str, Any]]:
        """What is armed now, oldest first."""
        with self._lock:
            return [a.to_json() for a in sorted((a for s in self._armed.values() for a in s), key=lambda a: a.number)]

    def clear(self, name: str | None = None) -> int:
        """Disarm everything, or all faults of one name; how many there were."""
        if name is not None and name not in POINTS:
            raise FaultError(f"There is no fault called {name!r}; the lab knows: {', '.join(sorted(POINTS))}.")
        with self._lock:
            gone = [name] if name is not None else [*self._armed]
            return sum(len(self._armed.pop(n, [])) for n in gone)

    def _remove(self, armed: _Armed) -> None:
        rest = [a for a in self._armed[armed.name] if a is not armed]
        if rest:
            self._armed[armed.name] = rest
        else:
            del self._armed[armed.name]


def _matches(value: Any, pattern: str) -> bool:
    if value is None:
        return False
    return str(value) == pattern or fnmatchcase(str(value), pattern)


def _count(key: str, value: Any, name: str, *, least: int = 1) -> int:
    try:
        if isinstance(value, bool) or int(value) != float(value) or int(value) < least:
            raise ValueError
    except (TypeError, ValueError):
        raise FaultError(f"{key} of the fault {name} must be a whole number from {least} up, not {value!r}.") from None
    return int(value)


def _setting(name: str, key: str, value: Any) -> Any:
    kinds = POINTS[name].args
    if key not in kinds:
        known = ", ".join(kinds) or "none"
        raise FaultError(f"The fault {name} has no argument {key!r}; it has: {known}.")
    try:
        if isinstance(value, (bool, dict, list)) or value is None:
            raise ValueError
        setting = kinds[key](value)
    except ValueError:
        kind = kinds[key].__name__
        raise FaultError(f"The argument {key} of the fault {name} must be of type {kind}, not {value!r}.") from None
    if kinds[key] is not str and setting < 0:
        raise FaultError(f"The argument {key} of the fault {name} must not be negative.")
    return setting
