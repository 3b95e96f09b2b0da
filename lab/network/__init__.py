# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's network room: namespaces, cables, security groups, and the relay for those who stand outside."""

from __future__ import annotations

from lab.network.netns import NetworkError
from lab.network.network import Network

__all__ = ["Network", "NetworkError"]
