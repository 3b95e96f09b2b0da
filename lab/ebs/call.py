# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One EBS direct request, understood."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lab.ebs.errors import bad_parameter
from lab.http_wire import Request


@dataclass(frozen=True)
class Call:
    """`snapshot` is empty for StartSnapshot; `block` is there for single blocks; `parameters` are of the query."""

    request: Request
    action: str
    region: str
    snapshot: str
    block: int | None
    parameters: dict[str, str]

    @cached_property
    def context(self) -> dict[str, Any]:
        """What faults are matched on."""
        return {"action": self.action, "region": self.region, "snapshot": self.snapshot, "block": self.block}

    @property
    def index(self) -> int:
        """The block of an operation that has one."""
        return -1 if self.block is None else self.block

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number of the query, within its documented range."""
        text = self.parameters.get(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 19 and least <= int(text) <= most):
            raise bad_parameter(f"The parameter {name} must be a whole number from {least} to {most}.")
        return int(text)
