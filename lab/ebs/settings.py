# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be set about the lab's EBS direct while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

LIST_TOKEN_SECONDS = 60 * 60
BLOCK_TOKEN_SECONDS = 7 * 24 * 60 * 60


@dataclass
class EbsSettings:
    """Times in seconds, quotas in requests a second (None: off), shares of pages between 0 and 1.

    AWS gives short and empty pages when it pleases; here they are drawn from `page_seed`, so that a run can be
    repeated. They are on by default: a client that cannot cope with them should find out here.
    """

    list_token_seconds: float = LIST_TOKEN_SECONDS
    block_token_seconds: float = BLOCK_TOKEN_SECONDS
    page_seed: int = 1
    short_pages: float = 0.2
    empty_pages: float = 0.1
    account_quota: float | None = None  # GetSnapshotBlock and PutSnapshotBlock, each, per account and region
    snapshot_quota: float | None = None  # the same per snapshot
    list_quota: float | None = None  # ListSnapshotBlocks and ListChangedBlocks, each, per account and region
    cache_seconds: float = 1.0  # how long a decision of the authorizer and the state of a snapshot are believed

    def to_json(self) -> dict[str, Any]:
        """All settings, as the control endpoint shows them."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def update(self, changes: Mapping[str, Any]) -> None:
        """Change settings by name, all or none; raises ValueError with a sentence."""
        checked: dict[str, Any] = {}
        for name, value in changes.items():
            if name not in self.to_json():
                raise ValueError(f"EBS direct has no setting {name!r}; it has: {', '.join(self.to_json())}.")
            checked[name] = _checked(name, value)
        for name, value in checked.items():
            setattr(self, name, value)


def _checked(name: str, value: Any) -> Any:
    if name.endswith("_quota") and value in (None, "", "off"):
        return None
    try:
        if isinstance(value, bool):
            raise ValueError
        number = int(value) if name == "page_seed" else float(value)
    except (TypeError, ValueError):
        raise ValueError(f"The setting {name} must be a number, not {value!r}.") from None
    if name == "page_seed":
        return number
    if name in ("short_pages", "empty_pages") and not 0 <= number <= 0.9:
        raise ValueError(f"The setting {name} is a share between 0 and 0.9.")
    if number < 0 or (name.endswith("_quota") and number == 0):
        raise ValueError(f"The setting {name} must be above zero.")
    return number
