# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows the progress of the module of the same name, and ends it when nobody waits any more."""

from __future__ import annotations

from ansible_collections.dfir.aws.plugins.plugin_utils.engine_action import EngineAction


class ActionModule(EngineAction):
    """See the module's documentation."""

    MODULE, SUBJECT = "dfir.aws.ebs_snapshot_compare", "snapshot_id"
