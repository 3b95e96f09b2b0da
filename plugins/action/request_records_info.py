# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists the records of requests, for playbooks that go on with requests instead of letting one in.

Extra variables outrank facts there, too: names of the project's own are refused before anything is read.
"""

from __future__ import annotations

import os
from typing import Any

from ansible.utils.vars import load_extra_vars
from ansible_collections.dfir.aws.plugins.module_utils import request_door
from ansible_collections.dfir.aws.plugins.plugin_utils.filters_at_hand import import_filters
from ansible_collections.dfir.aws.plugins.plugin_utils.lease import holder
from ansible_collections.dfir.aws.plugins.plugin_utils.near import NearAction

import_filters()  # for all tasks that follow


class ActionModule(NearAction):
    """See the module's documentation."""

    _supports_async = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask the module, and say who would hold the leases."""
        super().run(tmp, task_vars)
        extra = load_extra_vars(self._loader)
        platform = request_door.on_platform(extra, os.environ)
        problems = request_door.refused_names(extra, on_platform=platform)
        if problems:
            return {"failed": True, "changed": False, "msg": f"Refused. {request_door.sentences(problems)}"}
        result = self.run_module("dfir.aws.request_records_info", dict(self._task.args), task_vars or {})
        return {**result, "holder": holder(str(extra["awx_job_id"]) if platform else "")}
