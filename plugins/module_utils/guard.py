# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A long-running module and whoever waits for it (plugin_utils/progress.py): progress one way, a lease the other.

Nothing stops an async job from outside: it survives whatever signal ansible-playbook gets. So the module watches by
itself whether anybody still waits. Somebody who waits touches the lease file; and where the module runs on the machine
of ansible-playbook, it looks whether that very process lives. When nobody waits, `stop` says so; a module that does not
ask in time is ended. What it does must bear that at any moment, as it must bear a power loss.

Standard library only.
"""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from .processes import machine, started

LEASE_SECONDS = 45.0
GRACE_SECONDS = 5.0  # for ending in order
_POLL = 0.5
EXIT_CODE = 75


def waiting_process(pid: int) -> dict[str, Any]:
    """What tells a process from all others, for the lease file; empty where the system does not say it."""
    try:
        since = started(pid)
        return {"pid": pid, "started": since, **machine()} if since else {}
    except OSError:
        return {}


class Guard:
    """Both sides' files, seen from the module. Without a lease file nobody is watched: `stop` never says yes."""

    def __init__(self, lease_file: str | None, progress_file: str | None, *, grace: float = GRACE_SECONDS) -> None:
        self._lease = Path(lease_file) if lease_file else None
        self._progress = Path(progress_file) if progress_file else None
        self._grace = grace
        self.reason = ""
        self._waiting: dict[str, Any] = {}
        self._seconds = LEASE_SECONDS
        if self._lease is not None:
            with suppress(OSError, ValueError):
                found = json.loads(self._lease.read_text(encoding="utf-8") or "{}")
                self._seconds = float(found.get("seconds", LEASE_SECONDS))
                waiting = found.get("waiting", {})
                if waiting and {key: waiting.get(key) for key in ("boot", "namespace")} == machine():
                    self._waiting = waiting
            threading.Thread(target=self._watch, args=(self._lease,), name="guard", daemon=True).start()

    def stop(self) -> bool:
        """Whether to end: nobody waits any more."""
        return bool(self.reason)

    def tell(self, text: str, percent: int | None = None) -> None:
        """Replace what the progress file says."""
        if self._progress is None:
            return
        new = self._progress.with_name(f"{self._progress.name}.new")
        with suppress(OSError):  # progress is a courtesy: the folder may be gone with whoever waited
            new.write_text(json.dumps({"text": text, "percent": percent}), encoding="utf-8")
            new.replace(self._progress)

    def _watch(self, lease: Path) -> None:
        seen, since = -1.0, time.monotonic()
        while not self.reason:
            time.sleep(_POLL)
            renewed = _renewed(lease)
            if renewed != seen:
                seen, since = renewed, time.monotonic()
            # Times of two clocks are never compared: what counts is how long nothing has changed.
            if renewed < 0 or time.monotonic() - since > self._seconds:
                self.reason = "nobody renews the lease"
            elif self._waiting and self._gone():
                self.reason = "ansible-playbook has ended"
        time.sleep(self._grace)
        os._exit(EXIT_CODE)

    def _gone(self) -> bool:
        try:
            return started(int(self._waiting["pid"])) != self._waiting["started"]
        except (OSError, ValueError):
            return False


def _renewed(lease: Path) -> float:
    """When the lease was renewed; negative if it was taken away."""
    try:
        return lease.stat().st_mtime
    except FileNotFoundError:
        return -1.0
    except OSError:
        return 0.0
