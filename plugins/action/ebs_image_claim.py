# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Claims for this run of ansible-playbook on this host; waiting shows its progress, and ends when nobody waits."""

from __future__ import annotations

from typing import Any

from ansible_collections.dfir.aws.plugins.plugin_utils.engine_action import EngineAction
from ansible_collections.dfir.aws.plugins.plugin_utils.lease import run_of_process


class ActionModule(EngineAction):
    """See the module's documentation."""

    MODULE, SUBJECT = "dfir.aws.ebs_image_claim", "incident"

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Say who asks, and run the module; only a wait takes long."""
        host = (task_vars or {}).get("inventory_hostname", "")
        self._task.args.setdefault("holder", f"{host}@{run_of_process()}")
        if self._task.args.get("state") == "taken":
            return super().run(tmp, task_vars)
        super(EngineAction, self).run(tmp, task_vars)
        return self.run_module(self.MODULE, dict(self._task.args), task_vars or {})
