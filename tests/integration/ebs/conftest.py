# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What takes longer than a unit test may: other people's tools over whole images, runs of Ansible that are ended."""

from __future__ import annotations

from tests.unit.conftest import kit, shared_kit
from tests.unit.ebs.conftest import bucket

__all__ = ["bucket", "kit", "shared_kit"]
