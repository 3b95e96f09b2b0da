# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of these tests."""

from __future__ import annotations

from tests.request_kit import analysts, aws, endpoint, run, site, table

__all__ = ["analysts", "aws", "endpoint", "run", "site", "table"]
