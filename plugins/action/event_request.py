# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets an event in, and makes a request of it in the name of a service principal.

An action for the same reason as `analysis_request`: it sees variables as they arrived. Documented in
plugins/modules/event_request.py.
"""

from __future__ import annotations

import os
from datetime import datetime, timezone
from typing import Any

from ansible.utils.vars import load_extra_vars
from ansible_collections.dfir.aws.plugins.action.analysis_request import OPTIONS as DOOR
from ansible_collections.dfir.aws.plugins.action.analysis_request import ActionModule as FrontDoor
from ansible_collections.dfir.aws.plugins.module_utils import event_fields, event_request, registry, request_door
from ansible_collections.dfir.aws.plugins.module_utils.request_fields import check
from ansible_collections.dfir.aws.plugins.plugin_utils.filters_at_hand import import_filters
from ansible_collections.dfir.aws.plugins.plugin_utils.lease import holder

GIVEN = ("registry_source", "analysts", "registry_file", "service_principal", "trust_workflow_user", "artifact_bucket")


import_filters()  # for all tasks that follow


class ActionModule(FrontDoor):
    """See the module's documentation."""

    subject = "Event"
    known = {
        "analyst": {"type": "str", "default": ""},
        "incident_prefix": {"type": "str", "default": "EVENT"},
        "max_age_minutes": {"type": "int", "default": 60},
        **{name: DOOR[name] for name in GIVEN},
    }

    def _admit(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        extra = load_extra_vars(self._loader)
        on_platform = request_door.on_platform(extra, os.environ)
        problems = request_door.refused_names(extra, on_platform=on_platform, names=event_fields.EVENT_NAMES)
        event: dict[str, Any] = {}
        if not problems:
            event, problems = check(task_vars, fields=event_fields.EVENT_FIELDS)
        if problems:
            return {"failed": True, "refused": True, "msg": f"Event refused. {request_door.sentences(problems)}",
                    "fields": [problem.field for problem in problems]}
        self._said = {"key": event_fields.event_key(event), "event": event}
        options, now = self._options(), datetime.now(timezone.utc)
        event_request.refuse_by_age(event, now, options["max_age_minutes"])
        values = event_request.values(event, options["analyst"], options["incident_prefix"])
        user = request_door.platform_user(
            extra, service_principal=options["service_principal"], trust_workflow_user=options["trust_workflow_user"]
        ) if on_platform else ""
        caller = self._caller(user, values["aws_analysis_region"], task_vars)
        entries = registry.load(
            options["registry_source"], {"analysts": options["analysts"], "file": options["registry_file"]}
        )
        spec = event_request.build(event, values, entries, caller, bucket=options["artifact_bucket"], now=now)
        return {"request_spec": spec, **self._said,
                "holder": holder(str(extra["awx_job_id"]) if on_platform else "")}
