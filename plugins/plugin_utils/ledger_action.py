# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that write custody ledgers, run near by: what one task of a run has read, the next need not read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible import constants
from ansible_collections.dfir.aws.plugins.plugin_utils.near import NearModule


class LedgerModule(NearModule):
    """Gives the module a folder of this run, which ansible-playbook removes at its end."""

    def run_module(self, name: str, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """As every module near by."""
        if self._is_near(task_vars):
            arguments = {"known_entries": str(Path(constants.DEFAULT_LOCAL_TMP) / "custody"), **arguments}
        return super().run_module(name, arguments, task_vars)
