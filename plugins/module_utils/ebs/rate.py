# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How often AWS may be asked, and how long to wait before asking again.

One budget is shared by everything that reads one snapshot (field notes: 1,000 GetSnapshotBlock a second per snapshot,
not adjustable, and as many per account and region). Throttling at the top is normal: the rate is lowered at once,
rises again slowly, and nobody fails for it until it lasts.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass

DEFAULT_RATE = 980.0  # a second; just under the quota of a snapshot
LIST_RATE = 45.0  # List* have a quota of 50 a second
_UNLIMITED = 100_000.0
_BURST = 0.04  # seconds' worth that may go out at once
_CUT, _RECOVERY = 0.75, 20.0  # a throttle takes a quarter; from nothing to the full rate in so many seconds


class RateBudget:
    """A token bucket for any number of threads. `rate` is in requests a second; None: no limit until throttled.

    `pause`: seconds for which nothing goes out after a throttle, spread by half around it.
    """

    def __init__(self, rate: float | None = DEFAULT_RATE, *, pause: float = 0.1) -> None:
        self.ceiling, self._pause = rate, pause
        self._rate = rate
        self._lock = threading.Lock()
        self._left, self._at = 1.0, time.monotonic()
        self._resume = 0.0  # nothing goes out before
        self._cut_at = 0.0
        self._seen = 0  # taken since the last cut, to guess a rate where there was no limit

    @property
    def rate(self) -> float | None:
        """Requests a second at present."""
        return self._rate

    def take(self) -> float:
        """0.0: go ahead, one request is yours. Otherwise ask again after that many seconds."""
        if self._rate is None:
            self._seen += 1
            return 0.0
        with self._lock:
            now = time.monotonic()
            if now < self._resume:
                return self._resume - now
            passed = now - self._at
            self._at = now
            if self.ceiling is None or self._rate < self.ceiling:
                top = self.ceiling or _UNLIMITED
                self._rate = min(top, self._rate + passed * (self.ceiling or DEFAULT_RATE) / _RECOVERY)
            self._left = min(max(1.0, self._rate * _BURST), self._left + passed * self._rate)
            if self._left >= 1.0:
                self._left -= 1.0
                return 0.0
            return (1.0 - self._left) / self._rate

    def throttled(self, sent: float) -> None:
        """A request that went out at `sent` (monotonic) was throttled. A crowd of them counts once."""
        with self._lock:
            now = time.monotonic()
            if sent <= self._cut_at:
                return
            if self._rate is None:
                self._rate = max(10.0, min(2000.0, self._seen / max(now - self._at, 0.5)))
            self._rate = max(1.0, self._rate * _CUT)
            self._cut_at = self._at = now
            self._left = 0.0
            self._resume = now + self._pause * random.uniform(0.5, 1.5)  # noqa: S311 spreads clients, keeps no secret


@dataclass(frozen=True)
class RetryPolicy:
    """How often one request is tried, and how long it waits in between (doubling, with a spread).

    Throttles have a bound of their own: they say nothing about the request, only about the others.
    """

    attempts: int = 8
    throttles: int = 120
    base: float = 0.1  # seconds
    longest: float = 10.0

    def delay(self, failures: int, throttled: bool) -> float:
        """Seconds before the next try after so many failures of this kind. A first failure is tried again at once."""
        if failures <= 1 and not throttled:
            return 0.0
        top = min(self.longest, self.base * 2 ** min(failures, 20))
        return random.uniform(top / 2, top)  # noqa: S311 as above
