# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module of the same name near by."""

from __future__ import annotations

from ansible_collections.dfir.aws.plugins.plugin_utils.near import NearModule


class ActionModule(NearModule):
    """See the module's documentation."""
