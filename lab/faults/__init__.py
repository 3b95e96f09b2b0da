# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's one switch for things that go wrong: `Registry` arms them, the rooms ask it at their fault points."""

from __future__ import annotations

from lab.faults.points import POINTS, Point
from lab.faults.registry import FaultError, Registry

__all__ = ["POINTS", "FaultError", "Point", "Registry"]
