# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults at random, of every kind that the lab's EBS direct knows, within one imaging run."""

from __future__ import annotations

import random
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.ebs.connection import Timeouts
from ansible_collections.dfir.aws.plugins.module_utils.ebs.errors import EngineError
from ansible_collections.dfir.aws.plugins.module_utils.ebs.rate import RateBudget, RetryPolicy
from ansible_collections.dfir.aws.plugins.module_utils.ebs.verify import verify_image

from lab.contracts import Fault
from tests.unit.ebs.engine_kit import engine, expect_image, image
from tests.unit.lab.ebs_kit import Kit, block

# Shares of the faults. A stall costs a time-out each, so there are few.
KINDS = {
    "ebs.throttle_account": 14,
    "ebs.throttle_snapshot": 14,
    "ebs.error_5xx": 18,
    "ebs.reset": 18,
    "ebs.truncate": 18,
    "ebs.corrupt": 17,
    "ebs.expired_token": 17,
    "ebs.stall": 0.5,
}


class Storm:
    """Takes the place of a fault registry's `take`: each point fires by chance until enough have."""

    def __init__(self, faults: int, chance: float, seed: int) -> None:
        self._left, self._chance = faults, chance
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._whole = sum(KINDS.values())
        self.by_kind: Counter[str] = Counter()

    def take(self, name: str, **context: Any) -> Fault | None:
        """A fault, or none."""
        draw = self._random
        with self._lock:
            if self._left <= 0 or draw.random() > self._chance * KINDS[name] / self._whole:
                return None
            self._left -= 1
            self.by_kind[name] += 1
            args: dict[str, Any] = {}
            if name == "ebs.stall":
                args = {"seconds": draw.choice((0.02, 0.3)), "after_bytes": draw.randrange(500_000)}
            elif name == "ebs.truncate":
                args = {"bytes": draw.randrange(524_288)}
            elif name == "ebs.reset":
                args = {"after_bytes": draw.choice((0, draw.randrange(524_288)))}
            elif name == "ebs.corrupt":
                args = {"offset": draw.randrange(524_288)}
            elif name == "ebs.error_5xx":
                args = {"status": draw.choice((500, 503))}
            return Fault(name=name, args=args)


@dataclass
class Weather:
    """How a run through a storm ended; `right`: the image is identical, or the run failed and published nothing."""

    fired: int
    by_kind: Counter[str]
    right: bool
    verdict: str


def storm(root: Path, *, faults: int, blocks: int, seed: int, attempts: int = 100, chance: float = 1.8) -> Weather:
    """One imaging run of so many blocks, in which so many faults fire."""
    kit = Kit(root / "store", short_pages=0.2, empty_pages=0.1)
    try:
        written = {index: block(f"{seed}/{index}") for index in range(0, blocks)}
        snapshot = kit.upload(written, gib=-(-blocks // 2048))
        weather = Storm(faults, chance, seed)
        kit.faults.take = weather.take  # type: ignore[method-assign]
        policy = RetryPolicy(attempts=attempts, throttles=10_000, base=0.0005, longest=0.004)
        rate = RateBudget(50_000.0, pause=0.001)
        pages = RateBudget(50_000.0, pause=0.001)
        client = engine(kit, rate=rate, list_rate=pages, policy=policy, timeouts=Timeouts(2, 0.15, 10))
        path = root / "image"
        try:
            result = image(client, snapshot, path, hashes=("sha256",))
        except EngineError as error:
            right = not path.exists() and not Path(f"{path}.manifest").exists()
            return Weather(sum(weather.by_kind.values()), weather.by_kind, right, f"the run failed: {error}")
        expect_image(path, written, gib=-(-blocks // 2048))
        record = verify_image(path, result.manifest)
        return Weather(sum(weather.by_kind.values()), weather.by_kind, record.ok, "the image is identical")
    finally:
        kit.close()
