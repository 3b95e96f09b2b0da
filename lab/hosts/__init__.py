# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's hosts: what runs behind an instance."""

from __future__ import annotations

from lab.hosts.backend import Hosts
from lab.hosts.processes import HostError

__all__ = ["HostError", "Hosts"]
