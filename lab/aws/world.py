# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the corrected models work with: block store, hosts, faults, delays, and a clock for what takes time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from lab.config import ACCOUNT, Delays
from lab.contracts import BlockStore, Faults, HostBackend

from . import moto_app
from .trail import Trail
from .usage import Usage

LOG = logging.getLogger("lab.aws")


@dataclass
class World:
    """One lab's surroundings. `hosts` is None when instances have nothing behind them (`up --no-hosts`)."""

    store: BlockStore
    faults: Faults
    hosts: HostBackend | None = None
    delays: Delays = field(default_factory=Delays)
    credential_seconds: int = 6 * 3600
    trail: Trail = field(default_factory=Trail)
    usage: Usage = field(default_factory=Usage.of_environment)
    _timers: set[threading.Timer] = field(default_factory=set)
    closed: bool = False

    def hosts_of(self, account: str) -> HostBackend | None:
        """What stands behind an account's instances: hosts in the forensic account, nothing in others, whose networks
        would have the same addresses."""
        return self.hosts if account == ACCOUNT else None

    def after(self, seconds: float, job: Callable[[], None]) -> None:
        """Run `job` under the models' lock, `seconds` from now; at once when that is zero."""
        if seconds <= 0:
            with moto_app.MODELS:
                job()
            return

        def run() -> None:
            self._timers.discard(timer)
            if self.closed:
                return
            try:
                with moto_app.MODELS:
                    job()
            except Exception:
                LOG.exception("something that should have happened after %s s failed", seconds)

        timer = threading.Timer(seconds, run)
        timer.daemon = True
        self._timers.add(timer)
        timer.start()

    def aside(self, name: str, job: Callable[[], None]) -> None:
        """Run `job` in a thread of its own, without the models' lock: hosts take their time."""

        def run() -> None:
            try:
                job()
            except Exception:
                LOG.exception("%s failed", name)

        threading.Thread(target=run, name=name, daemon=True).start()

    def close(self) -> None:
        """Nothing that was to happen later happens any more."""
        self.closed = True
        for timer in list(self._timers):
            timer.cancel()


_current: World | None = None


def set_current(world: World | None) -> None:
    """Make `world` the one that moto's (process-wide) models work with."""
    global _current
    _current = world


def current() -> World:
    """The world of this process."""
    if _current is None:
        raise RuntimeError("The lab's AWS is not started: call lab.aws.start() first.")
    return _current
